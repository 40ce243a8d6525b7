//! Opens a service: reads the files that its keys name.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::failover::Failover;
use super::keys::{IN_FLIGHT, REQUESTS_PER_SECOND};
use super::{Inner, Target};
use crate::http::base::BaseUrl;
use crate::http::credentials::{Credentials, Method, Username};
use crate::http::oauth2::ClientCredentials;
use crate::http::proxy::{self, Choice, Route};
use crate::http::transport::{TlsFiles, Transport};
use crate::http::{Client, Protocol};
use crate::metric::Clock;
use crate::source::keys::Values;
use crate::source::{Context, OpenError};
use crate::upstream::{Limits, Upstream};

/// Errors in the keys of a service that are valid one by one.
pub fn conflicts(values: &Values) -> Vec<(&'static str, String)> {
    let tls = |key| values.keys("tls").and_then(|tls| tls.text(key)).is_some();
    let has_proxy = matches!(values.parsed::<Choice>("proxy"), Ok(Some(Choice::By(_))));
    let rules = [
        (
            "tls",
            tls("keyFile") && !tls("certFile"),
            "`keyFile` without `certFile`: name the file of the client certificate, too",
        ),
        (
            "proxy",
            tls("serverName") && has_proxy,
            "`proxy` with `tls.serverName`: requests under another name go through no proxy",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, is_broken, _)| *is_broken);
    broken.map(|(key, _, message)| (key, message.to_owned())).collect()
}

/// Warnings about a service with these keys.
pub fn warnings(values: &Values) -> Vec<String> {
    let (auth, _) = auth(values);
    let has_credentials = auth != "none" || values.map("headerFiles").next().is_some();
    let token_url = values.choice("auth").and_then(|(_, values)| values.text("tokenUrl"));
    let urls = urls(values).filter(|_| has_credentials).chain(token_url);
    let exposed = urls.filter(|url| url.parse().is_ok_and(|url: BaseUrl| url.exposes_credentials()));
    let warning = |url| format!("credentials are sent to {url} without encryption: use https://");
    exposed.map(warning).collect()
}

pub(super) fn open(values: &Values, context: &Context, protocol: Protocol) -> Result<Inner, OpenError> {
    let base = |url: &str| url.parse::<BaseUrl>().map_err(|error| wrong(&error));
    let bases = urls(values).map(base).collect::<Result<Vec<_>, _>>()?;
    let first = bases.first().ok_or_else(|| wrong(&"`url` is missing"))?.authority();
    let limits = Limits {
        in_flight: values.count("maxInFlight").unwrap_or(IN_FLIGHT) as usize,
        ..Limits::new(
            values.count("maxRequestsPerSecond").unwrap_or(REQUESTS_PER_SECOND),
            format!("maxRequestsPerSecond of the connection to {first}"),
        )
    };
    let upstream = Arc::new(Upstream::new(limits));
    // The next URL is the retry, so that one read can try them all.
    let protocol = if bases.len() > 1 { Protocol { attempts: 1, ..protocol } } else { protocol };
    let way = Way::of(values)?;
    let target = |base: BaseUrl| {
        let transport = way.to(&base)?;
        let client = Client::new(upstream.clone(), transport, protocol, context.clock);
        Ok(Target { base, client })
    };
    let targets = bases.into_iter().map(target).collect::<Result<Vec<_>, OpenError>>()?;
    let credentials = credentials(values, &way, context.clock)?;
    let headers = values.map("headers").map(|(name, value)| {
        Ok((
            name.parse::<HeaderName>().map_err(|error| wrong(&error))?,
            HeaderValue::from_str(value).map_err(|error| wrong(&error))?,
        ))
    });
    Ok(Inner {
        upstream,
        failover: Mutex::new(Failover::new(targets.len())),
        targets,
        credentials,
        headers: headers.collect::<Result<HeaderMap, OpenError>>()?,
        params: values.map("params").map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        identity: identity(values),
        has_whole_urls: false,
    })
}

/// The URLs of a service with these keys, in order.
pub fn urls(values: &Values) -> impl Iterator<Item = &str> {
    values.text("url").into_iter().chain(values.texts("urls").iter().map(String::as_str))
}

/// The type of `auth`, and its keys.
fn auth(values: &Values) -> (&'static str, Values) {
    values.choice("auth").map_or(("none", Values::default()), |(name, values)| (name, values.clone()))
}

/// How requests travel to a service: certificates and proxy.
#[derive(Clone, Debug)]
pub struct Way {
    tls: TlsFiles,
    proxy: Option<Choice>,
}

// === impl Way ===

impl Way {
    /// As [`super::TLS`] and [`super::PROXY`] say it.
    pub fn of(values: &Values) -> Result<Self, OpenError> {
        Ok(Self { tls: tls(values), proxy: values.parsed::<Choice>("proxy")? })
    }

    /// Whether requests have another name than the host of their URL.
    pub(super) fn has_server_name(&self) -> bool {
        self.tls.server_name.is_some()
    }

    /// To the service itself.
    pub fn to(&self, base: &BaseUrl) -> Result<Transport, OpenError> {
        transport(base, &self.tls, self.proxy.as_ref())
    }

    /// To the service that grants its tokens. Its certificate need not be of the CA of the service, and it
    /// gets no client certificate.
    pub fn to_token_service(&self, url: &BaseUrl) -> Result<Transport, OpenError> {
        let extra = TlsFiles { ca: self.tls.ca.clone(), ..TlsFiles::default() };
        let transport = Transport::beside_system(url.url(), extra, route(url, self.proxy.as_ref())?);
        transport.map_err(|error| OpenError(format!("{url}: {error}")))
    }
}

fn tls(values: &Values) -> TlsFiles {
    let Some(values) = values.keys("tls") else { return TlsFiles::default() };
    let file = |key| values.text(key).map(PathBuf::from);
    let server_name = values.text("serverName").map(str::to_owned);
    TlsFiles { ca: file("caFile"), certificate: file("certFile"), key: file("keyFile"), server_name }
}

fn transport(base: &BaseUrl, tls: &TlsFiles, proxy: Option<&Choice>) -> Result<Transport, OpenError> {
    let route = match &tls.server_name {
        Some(_) => Route::Direct,
        None => route(base, proxy)?,
    };
    let opened = Transport::followed(base.url(), tls.clone(), route);
    opened.map_err(|error| OpenError(format!("{base}: {error}")))
}

/// The route to a URL. A proxy of the environment must be one that can be used.
fn route(base: &BaseUrl, proxy: Option<&Choice>) -> Result<Route, OpenError> {
    let route = Route::to(base.url(), proxy);
    if route == Route::Environment {
        proxy::check(base.url().scheme()).map_err(|error| wrong(&error))?;
    }
    Ok(route)
}

fn credentials(values: &Values, way: &Way, clock: Clock) -> Result<Credentials, OpenError> {
    let (name, auth) = auth(values);
    let text =
        |key: &str| auth.text(key).map(str::to_owned).ok_or_else(|| OpenError(format!("`auth.{key}` is missing")));
    let file = |key: &str| text(key).map(PathBuf::from);
    let method = match name {
        "basic" if auth.text("uriFile").is_some() => Method::Uri(file("uriFile")?),
        "basic" => {
            let user = match auth.text("username") {
                Some(user) => Username::Text(user.to_owned()),
                None => Username::File(file("usernameFile")?),
            };
            Method::Basic(user, file("passwordFile")?)
        }
        "bearer" => Method::Bearer(file("tokenFile")?),
        "header" => {
            Method::Header(text("name")?.parse::<HeaderName>().map_err(|error| wrong(&error))?, file("valueFile")?)
        }
        "query" => Method::Query(text("name")?, file("valueFile")?),
        "oauth2" => {
            let url = text("tokenUrl")?.parse::<BaseUrl>().map_err(|error| wrong(&error))?;
            let transport = way.to_token_service(&url)?;
            Method::OAuth2(Box::new(ClientCredentials {
                url: url.url().clone(),
                transport,
                client_id: text("clientId")?,
                secret_file: file("clientSecretFile")?,
                scopes: auth.texts("scopes").to_vec(),
                params: auth.map("params").map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                clock,
            }))
        }
        _ => Method::None,
    };
    let headers = values
        .map("headerFiles")
        .map(|(name, file)| Ok((name.parse::<HeaderName>().map_err(|error| wrong(&error))?, PathBuf::from(file))));
    Credentials::open(method, headers.collect::<Result<_, OpenError>>()?).map_err(OpenError)
}

/// Everything that may change what the service answers. A secret is named by its file.
fn identity(values: &Values) -> String {
    let urls = urls(values).collect::<Vec<_>>().join(" ");
    let more = values.only(&["params", "headers", "headerFiles", "auth"]);
    if more.is_empty() { urls } else { format!("{urls} {}", more.to_json()) }
}

fn wrong(error: &dyn Display) -> OpenError {
    OpenError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::keys::Value;

    #[test]
    fn the_identity_is_made_of_values() {
        let text = |text: &str| Value::Text(text.to_owned());
        let map = |key: &str, value: &str| Value::Map([(key.to_owned(), value.to_owned())].into());
        let plain: Values = [("url", text("http://a")), ("maxInFlight", Value::Count(3))].into_iter().collect();
        assert_eq!(identity(&plain), "http://a");
        let basic = [("username", text("u")), ("passwordFile", text("/p"))].into_iter().collect();
        let more = plain.with("auth", Value::Choice("basic", basic)).with("params", map("dedup", "true"));
        let expected = r#"{"auth":{"passwordFile":"/p","type":"basic","username":"u"},"params":{"dedup":"true"}}"#;
        assert_eq!(identity(&more), format!("http://a {expected}"));
    }
}
