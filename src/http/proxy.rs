//! The proxies that the environment names, and what to say when one of them fails.
//!
//! `reqwest` reads the same variables by itself. It ignores a proxy that it can't use, and its
//! errors do not name the proxy.

use std::fmt;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::url::Url;

/// Variables in the order in which they apply to `https://`.
const OF_HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const OF_HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const OF_ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// A proxy, and the variable that names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// `http://HOST:PORT`, without credentials.
    address: String,
    variable: &'static str,
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

/// Fails when the environment names a proxy for `https://` that can't be used.
pub fn check() -> Result<(), UnusableProxy> {
    check_in(&|name| std::env::var(name).ok())
}

fn check_in(var: &dyn Fn(&str) -> Option<String>) -> Result<(), UnusableProxy> {
    for names in [OF_HTTPS, OF_ALL] {
        match named(var, names) {
            Some((name, value)) if !is_usable(&value) => return Err(UnusableProxy(name)),
            _ => {}
        }
    }
    Ok(())
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
        let own = if url.scheme() == "https" { OF_HTTPS } else { OF_HTTP };
        let var = |name: &str| std::env::var(name).ok();
        let (variable, _) = named(&var, own).or_else(|| named(&var, OF_ALL))?;
        Some(Self { address: found.uri().to_string().trim_end_matches('/').to_owned(), variable })
    }
}

// === impl ProxyFailure ===

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
    fn a_proxy_that_cannot_be_used_is_named_by_its_variable() {
        let check = |name: &'static str, value: &'static str| {
            let found = check_in(&move |asked| (asked == name).then(|| value.to_owned()));
            found.map_err(|error| error.to_string())
        };
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
        }
    }
}
