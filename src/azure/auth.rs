//! What authenticates requests: a shared access signature, or a token of Microsoft Entra ID.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::connection_string::{ConnectionString, Credential as Sas};
use super::namespace::Namespace;
use super::sas::{Key, Signature};
use super::token::Token;
use crate::http::Request;
use crate::http::authorize::{Authorization, Authorize, sensitive};
use crate::http::error::StatusError;
use crate::http::secret;
use crate::http::session::{Sessions, SignInError};
use crate::watched::{OnUse, Reading};

/// How long a signature is valid, as in the Python client.
const VALID_FOR: i64 = 3600;

/// The files of a shared access signature.
#[derive(Clone, Debug)]
pub enum SasFiles {
    /// A connection string, whose host must be that of the namespace.
    ConnectionString(PathBuf),
    /// The name of a policy, and the file with its key.
    Key(String, PathBuf),
    /// A signature that was made elsewhere.
    Signature(PathBuf),
}

/// The way to authenticate.
pub struct Auth(Inner);

enum Inner {
    Sas(SasAuth),
    Token { tokens: Box<Sessions<Token>>, principal: String },
}

struct SasAuth {
    files: OnUse<Sas, String>,
    /// What resources begin with.
    namespace: Namespace,
    /// The path of the URL that requests go to, which is no part of a resource.
    prefix: String,
    clock: fn() -> Timestamp,
}

/// What a request is authenticated with.
#[derive(Clone)]
pub enum Credential {
    /// A key or a signature.
    Sas(Arc<Sas>),
    /// A token.
    Token(Arc<Token>),
}

// === impl Auth ===

impl Auth {
    /// By a shared access signature. Reads the files for the first time. `prefix` is the path of the URL
    /// that requests go to.
    pub fn sas(files: SasFiles, namespace: &Namespace, prefix: &str, clock: fn() -> Timestamp) -> Result<Self, String> {
        let of = namespace.clone();
        let make = move |reading: &mut Reading| make(reading, &files, &of);
        let files = OnUse::open("files with credentials", Box::new(make))?;
        let (namespace, prefix) = (namespace.clone(), prefix.trim_end_matches('/').to_owned());
        Ok(Self(Inner::Sas(SasAuth { files, namespace, prefix, clock })))
    }

    /// By tokens, of this principal.
    pub fn tokens(tokens: Sessions<Token>, principal: String) -> Self {
        Self(Inner::Token { tokens: Box::new(tokens), principal })
    }

    /// The identity that reads, for messages: `key "reader"`.
    pub(super) fn principal(&self) -> String {
        match &self.0 {
            Inner::Sas(sas) => match &*sas.files.made() {
                Sas::Key(Key { name, .. }) => format!("policy {name:?}"),
                Sas::Signature(signature) => match signature.name() {
                    Some(name) => format!("a signature of policy {name:?}"),
                    None => "a signature".to_owned(),
                },
            },
            Inner::Token { principal, .. } => principal.clone(),
        }
    }
}

impl Authorize for Auth {
    type Credential = Credential;
    type Error = SignInError;

    async fn credential(&self, by: Instant) -> Result<Credential, SignInError> {
        Ok(match &self.0 {
            Inner::Sas(sas) => Credential::Sas(sas.files.current().await),
            Inner::Token { tokens, .. } => Credential::Token(tokens.granted(by).await?),
        })
    }

    async fn authorize(&self, credential: &Credential, request: &Request) -> Result<Authorization, SignInError> {
        let (header, secrets) = match (credential, &self.0) {
            (Credential::Token(token), _) => (token.header.clone(), vec![token.secret.clone()]),
            (Credential::Sas(sas), Inner::Sas(auth)) => {
                let text = auth.signature(sas, request)?;
                let header = sensitive(&text).ok_or_else(no_header)?;
                (header, secrets(&text))
            }
            (Credential::Sas(_), Inner::Token { .. }) => return Err(no_header()),
        };
        Ok(Authorization { headers: vec![(AUTHORIZATION, header)], query: None, secrets })
    }

    async fn renew(&self, refused: &Credential, _: &StatusError, by: Instant) -> Option<Credential> {
        match (refused, &self.0) {
            (Credential::Token(refused), Inner::Token { tokens, .. }) => {
                let is_refused = |token: &Token| token.secret == refused.secret;
                tokens.other_than(is_refused, by).await.map(Credential::Token)
            }
            (Credential::Sas(refused), Inner::Sas(sas)) => sas.other_than(refused).await.map(Credential::Sas),
            _ => None,
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}

// === impl SasAuth ===

impl SasAuth {
    /// The value of `Authorization` for a request.
    fn signature(&self, sas: &Sas, request: &Request) -> Result<String, SignInError> {
        let now = (self.clock)();
        match sas {
            Sas::Key(key) => {
                let path = request.url.path();
                let path = path.strip_prefix(&*self.prefix).unwrap_or(path);
                Ok(key.sign(&format!("{}{path}", self.namespace.url()), now.as_second() + VALID_FOR))
            }
            Sas::Signature(signature) if signature.has_expired(now) => Err(SignInError::new(
                "the shared access signature has expired",
                "Write a new one into the file, or use `keyName` and `keyFile`, by which depthgauge signs.",
                "",
            )),
            Sas::Signature(signature) => Ok(signature.as_str().to_owned()),
        }
    }

    /// Reads the files after a 401, unless they were read just before.
    async fn other_than(&self, refused: &Arc<Sas>) -> Option<Arc<Sas>> {
        Some(self.files.after_refusal(refused).await).filter(|made| !Arc::ptr_eq(made, refused))
    }
}

fn no_header() -> SignInError {
    let remedy = "Check the files that `auth` names: ASCII characters only, in one line.";
    SignInError::new("the credential is not a valid header", remedy, "")
}

/// What identifies a signature: a service may repeat it as it is, or the value of `sig` only, also decoded.
fn secrets(authorization: &str) -> Vec<String> {
    let fields = authorization.split_once(' ').map_or(authorization, |(_, fields)| fields);
    let signature = fields.split('&').find_map(|field| field.strip_prefix("sig="));
    let decoded = signature.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
    signature.map(str::to_owned).into_iter().chain(decoded).chain([authorization.to_owned()]).collect()
}

fn make(reading: &mut Reading, files: &SasFiles, namespace: &Namespace) -> Result<Sas, String> {
    let (SasFiles::ConnectionString(file) | SasFiles::Key(_, file) | SasFiles::Signature(file)) = files;
    let wrong = |what: &str| secret::wrong(file, what);
    let text = &*secret::trimmed(reading, file)?;
    match files {
        SasFiles::Key(name, _) => Ok(Sas::Key(Key::new(name.clone(), text))),
        SasFiles::Signature(_) => Signature::parse(text)
            .map(Sas::Signature)
            .ok_or_else(|| wrong("it is not a signature: write SharedAccessSignature sr=…&sig=…&se=…&skn=…")),
        SasFiles::ConnectionString(_) => {
            let string = ConnectionString::parse(text).map_err(|error| wrong(&error.to_string()))?;
            if string.namespace != *namespace {
                let (theirs, ours) = (string.namespace.host(), namespace.host());
                return Err(wrong(&format!("its Endpoint is {theirs}, and `namespace` is {ours}")));
            }
            Ok(string.credential)
        }
    }
}
