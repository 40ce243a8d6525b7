//! Which proxy a request goes through, of the config or of the environment, and the error message when
//! one of them fails.
//!
//! `reqwest` reads the variables of the environment by itself. It ignores a proxy that it can't use,
//! and its errors do not name the proxy.

use std::fmt;
use std::str::FromStr;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::url::{Url, is_bare, is_near};

/// Variables in the order in which they apply.
const OF_HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const OF_HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const OF_ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// What to do when a proxy of the environment fails.
pub const PROXY_REMEDY: &str = "Correct the variable that names the proxy, or except the endpoint from it by NO_PROXY.";
/// What names the proxy of [`Choice::By`] in messages.
const OF_CONFIG: &str = "`proxy`";

/// A proxy, and the variable or key that names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// `http://HOST:PORT`, without credentials.
    address: String,
    variable: &'static str,
}

/// The proxy that the config chooses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Choice {
    /// No proxy.
    None,
    /// This one, for every request.
    By(Url),
}

/// This text is neither a proxy nor `none`. The message does not contain it, because it may contain a
/// password.
#[derive(Debug, thiserror::Error)]
#[error("this is not a proxy: write http://HOST:PORT or https://HOST:PORT, without user and path, or none")]
pub struct BadChoice;

/// How requests to a URL travel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// Through no proxy.
    Direct,
    /// Through the proxy that the environment names for it, if there is one.
    Environment,
    /// Through this proxy.
    By(Url),
}

/// What a proxy did instead of connecting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyFailure {
    /// The proxy.
    pub proxy: Proxy,
    /// `connection refused`
    pub what: &'static str,
}

/// The value of a variable is no proxy.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not the URL of a proxy: set it to http://HOST:PORT or https://HOST:PORT, or unset it")]
pub struct UnusableProxy(&'static str);

/// Fails when the environment names a proxy for URLs of this scheme that can't be used.
pub fn check(scheme: &str) -> Result<(), UnusableProxy> {
    check_in(&|name| std::env::var(name).ok(), scheme)
}

fn check_in(var: &dyn Fn(&str) -> Option<String>, scheme: &str) -> Result<(), UnusableProxy> {
    for names in [of_scheme(scheme), OF_ALL] {
        match named(var, names) {
            Some((name, value)) if !is_usable(&value) => return Err(UnusableProxy(name)),
            _ => {}
        }
    }
    Ok(())
}

/// The variables that name the proxy for URLs of this scheme.
fn of_scheme(scheme: &str) -> [&'static str; 2] {
    if scheme == "https" { OF_HTTPS } else { OF_HTTP }
}

/// The first of these variables that is set, unless it is empty, as in `reqwest`.
fn named(var: &dyn Fn(&str) -> Option<String>, names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let set = names.into_iter().find_map(|name| Some((name, var(name)?)));
    set.filter(|(_, value)| !value.is_empty())
}

fn is_usable(value: &str) -> bool {
    parse(value, &["http", "https"]).is_some()
}

/// The proxy that this URL names, if its scheme is one of these. Without a scheme it is `http`.
pub fn parse(value: &str, schemes: &[&str]) -> Option<Intercept> {
    let matcher = Matcher::builder().all(value.to_owned()).build();
    let found = matcher.intercept(&http::Uri::from_static("https://host/"))?;
    // The matcher takes ports that are no numbers.
    let url: Url = found.uri().to_string().parse().ok()?;
    (schemes.contains(&url.scheme()) && url.has_host()).then_some(found)
}

// === impl Proxy ===

impl Proxy {
    /// The proxy that the environment names for this URL, if there is one.
    pub(super) fn of_environment(url: &Url) -> Option<Self> {
        let found = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
        let var = |name: &str| std::env::var(name).ok();
        let (variable, _) = named(&var, of_scheme(url.scheme())).or_else(|| named(&var, OF_ALL))?;
        Some(Self { address: found.uri().to_string().trim_end_matches('/').to_owned(), variable })
    }

    /// Whether the connection to it has TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.address.starts_with("https:")
    }
}

// === impl Choice ===

impl FromStr for Choice {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        if text == "none" {
            return Ok(Self::None);
        }
        let url: Url = text.parse().map_err(|_| BadChoice)?;
        if is_bare(&url) && url.has_host() && is_usable(text) { Ok(Self::By(url)) } else { Err(BadChoice) }
    }
}

// === impl Route ===

impl Route {
    /// The route to a URL. Without a choice of the config, no proxy can reach what is near.
    pub fn to(url: &Url, choice: Option<&Choice>) -> Self {
        match choice {
            Some(Choice::None) => Self::Direct,
            Some(Choice::By(proxy)) => Self::By(proxy.clone()),
            None if url.host_str().is_some_and(is_near) => Self::Direct,
            None => Self::Environment,
        }
    }

    /// The proxy by which requests to this URL go, if any.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<Proxy> {
        match self {
            Self::Direct => None,
            Self::Environment => Proxy::of_environment(url),
            Self::By(proxy) => {
                Some(Proxy { address: proxy.as_str().trim_end_matches('/').to_owned(), variable: OF_CONFIG })
            }
        }
    }
}

// === impl ProxyFailure ===

impl ProxyFailure {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.proxy.variable {
            OF_CONFIG => "Correct `proxy` of the connection.",
            _ => PROXY_REMEDY,
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy: Proxy { address, variable }, what } = self;
        write!(f, "proxy {address} ({variable}): {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_chooses_a_proxy_for_every_host() {
        let by = |text: &str| text.parse::<Choice>();
        let proxy: Url = "http://proxy:3128".parse().unwrap();
        assert_eq!(by("none").unwrap(), Choice::None);
        assert_eq!(by("http://proxy:3128").unwrap(), Choice::By(proxy.clone()));
        for bad in [
            "",
            "None",
            "proxy:3128",
            "socks5://proxy",
            "http://",
            "http://proxy/path",
            "http://u:hidden@proxy",
            "http://proxy?x",
        ] {
            assert!(!by(bad).unwrap_err().to_string().contains("hidden"), "{bad}");
        }
        for url in ["https://example.com", "http://127.0.0.1", "https://a.b.svc"] {
            let url = url.parse().unwrap();
            assert_eq!(Route::to(&url, Some(&Choice::None)), Route::Direct);
            assert_eq!(Route::to(&url, Some(&Choice::By(proxy.clone()))), Route::By(proxy.clone()));
        }
    }

    #[test]
    fn the_environment_chooses_a_proxy_for_what_is_far() {
        for (url, route) in [
            ("https://example.com", Route::Environment),
            ("http://prometheus.example.com:9090", Route::Environment),
            ("https://8.8.8.8", Route::Environment),
            ("https://svc", Route::Environment),
            ("https://rabbitmq.shop.svc:15671", Route::Direct),
            ("https://rabbitmq.shop.SVC.", Route::Direct),
            ("http://localhost:1", Route::Direct),
            ("http://[::1]", Route::Direct),
            ("https://10.0.0.1", Route::Direct),
        ] {
            assert_eq!(Route::to(&url.parse().unwrap(), None), route, "{url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_by_its_variable() {
        let check_for = |scheme, name: &'static str, value: &'static str| {
            let found = check_in(&move |variable| (variable == name).then(|| value.to_owned()), scheme);
            found.map_err(|error| error.to_string())
        };
        let check = |name, value| check_for("https", name, value);
        for value in ["", "http://proxy:3128", "proxy:3128", "https://user:secret@proxy.example.com", "http://[::1]:1/"]
        {
            assert_eq!(check("HTTPS_PROXY", value), Ok(()), "{value:?}");
        }
        for value in [
            "http://",
            "http://proxy:port",
            "socks5://proxy:1080",
            "ftp://proxy",
            "http://a b",
            "://",
            "http://u:secret@",
        ] {
            for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
                let error = check(name, value).unwrap_err();
                assert!(error.starts_with(&format!("{name} is not the URL of a proxy")), "{value:?}: {error}");
                assert!(!error.contains("secret"), "{error}");
            }
            for (scheme, name, is_used) in [
                ("https", "HTTP_PROXY", false),
                ("http", "HTTPS_PROXY", false),
                ("http", "http_proxy", true),
                ("http", "all_proxy", true),
            ] {
                assert_eq!(check_for(scheme, name, value).is_err(), is_used, "{scheme} {name}");
            }
        }
    }
}
