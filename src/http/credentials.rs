//! Credentials that are files, and what they add to a request. The files are followed while they are
//! used. After a 401 they are read at once, then at most once a minute.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::header::{AUTHORIZATION, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::Request;
use super::authorize::{Authorization, Authorize, sensitive};
use super::base::encoded_text;
use super::error::StatusError;
use super::oauth2::{ClientCredentials, Token, tokens};
use super::secret::{read, wrong};
use super::session::{Sessions, SignInError};
use super::url::Url;
use crate::watched::{OnUse, Reading};

/// How requests are authenticated. Every path is a file with a secret.
pub enum Method {
    /// Not at all.
    None,
    /// By user and password.
    Basic(Username, PathBuf),
    /// By user and password of a URI, of which nothing else is used.
    Uri(PathBuf),
    /// By a token.
    Bearer(PathBuf),
    /// By the value of a header.
    Header(HeaderName, PathBuf),
    /// By the value of a query parameter.
    Query(String, PathBuf),
    /// By a token of a token service.
    OAuth2(Box<ClientCredentials>),
}

/// A user.
pub enum Username {
    /// As the config has it.
    Text(String),
    /// In a file.
    File(PathBuf),
}

/// The credentials of a service.
pub struct Credentials {
    files: OnUse<Authorization, String>,
    tokens: Option<Sessions<Token>>,
}

/// What a request is authenticated with.
#[derive(Clone)]
pub struct Credential {
    files: Arc<Authorization>,
    token: Option<Arc<Token>>,
}

// === impl Credentials ===

impl Credentials {
    /// Reads the files for the first time. `headers` are headers whose values are in files, and that are sent
    /// in addition.
    pub fn open(method: Method, headers: Vec<(HeaderName, PathBuf)>) -> Result<Self, String> {
        let (method, tokens) = match method {
            Method::OAuth2(client) => (Method::None, Some(tokens(*client)?)),
            method => (method, None),
        };
        let make = move |reading: &mut Reading| make(reading, &method, &headers);
        let files = OnUse::open("files with credentials", Box::new(make))?;
        Ok(Self { files, tokens })
    }
}

impl Authorize for Credentials {
    type Credential = Credential;
    type Error = SignInError;

    async fn credential(&self, by: Instant) -> Result<Credential, SignInError> {
        let token = match &self.tokens {
            Some(tokens) => Some(tokens.granted(by).await?),
            None => None,
        };
        Ok(Credential { files: self.files.current().await, token })
    }

    async fn authorize(&self, credential: &Credential, _: &Request) -> Result<Authorization, SignInError> {
        let mut authorization = (*credential.files).clone();
        if let Some(token) = &credential.token {
            authorization.headers.push((AUTHORIZATION, token.header.clone()));
            authorization.secrets.push(token.secret.clone());
        }
        Ok(authorization)
    }

    async fn renew(&self, refused: &Credential, _: &StatusError, by: Instant) -> Option<Credential> {
        let token = match (&self.tokens, &refused.token) {
            (Some(tokens), Some(refused)) => {
                let is_refused = |token: &Token| token.secret == refused.secret;
                tokens.other_than(is_refused, by).await
            }
            _ => None,
        };
        let files = self.files.after_refusal(&refused.files).await;
        let is_other = token.is_some() || !Arc::ptr_eq(&files, &refused.files);
        is_other.then(|| Credential { files, token: token.or(refused.token.clone()) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

fn make(reading: &mut Reading, method: &Method, headers: &[(HeaderName, PathBuf)]) -> Result<Authorization, String> {
    let mut made = Authorization::default();
    match method {
        Method::None | Method::OAuth2(_) => {}
        Method::Basic(user, password) => {
            let user = match user {
                Username::Text(user) => user.clone(),
                Username::File(file) => read(reading, file)?,
            };
            basic(&mut made, &user, &read(reading, password)?)?;
        }
        Method::Uri(file) => {
            let (user, password) = user_of(&read(reading, file)?).map_err(|what| wrong(file, what))?;
            basic(&mut made, &user, &password)?;
        }
        Method::Bearer(file) => {
            add_secret(&mut made, AUTHORIZATION, "Bearer ", read(reading, file)?)
                .ok_or_else(|| wrong(file, NO_HEADER))?;
        }
        Method::Header(name, file) => {
            add_secret(&mut made, name.clone(), "", read(reading, file)?).ok_or_else(|| wrong(file, NO_HEADER))?;
        }
        Method::Query(name, file) => {
            let value = read(reading, file)?;
            made.secrets.extend([encoded_text(&value), value.clone()]);
            made.query = Some((name.clone(), value));
        }
    }
    for (name, file) in headers {
        add_secret(&mut made, name.clone(), "", read(reading, file)?).ok_or_else(|| wrong(file, NO_HEADER))?;
    }
    Ok(made)
}

const NO_HEADER: &str = "it is not a valid value of a header: ASCII characters only, in one line";

fn add(made: &mut Authorization, name: HeaderName, value: &str) -> Option<()> {
    made.headers.push((name, sensitive(value)?));
    Some(())
}

/// A header whose value is a secret, after this prefix.
fn add_secret(made: &mut Authorization, name: HeaderName, prefix: &str, secret: String) -> Option<()> {
    add(made, name, &format!("{prefix}{secret}"))?;
    made.secrets.push(secret);
    Some(())
}

/// RFC 7617, in UTF-8.
fn basic(made: &mut Authorization, user: &str, password: &str) -> Result<(), String> {
    if user.contains(':') {
        return Err("a user with ':' can't be sent by basic authentication".to_owned());
    }
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    add(made, AUTHORIZATION, &format!("Basic {encoded}")).ok_or(NO_HEADER)?;
    made.secrets.extend([password.to_owned(), encoded]);
    Ok(())
}

/// User and password of a URI, percent-decoded.
fn user_of(uri: &str) -> Result<(String, String), &'static str> {
    let url: Url = uri.trim().parse().map_err(|_| "it is not a URI")?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| "it is not UTF-8");
    match (url.username(), url.password()) {
        ("", _) | (_, None) => Err("it has no user and password: write amqp://USER:PASSWORD@HOST"),
        (user, Some(password)) => Ok((decode(user)?, decode(password)?)),
    }
}
