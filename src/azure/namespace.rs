//! The host of a namespace. Pure.

use std::fmt;
use std::str::FromStr;

use crate::http::base::BaseUrl;

/// The service's own domain in each national cloud, and the host of that cloud's token service.
const CLOUDS: &[(&str, &str)] = &[
    (".servicebus.windows.net", "https://login.microsoftonline.com"),
    (".servicebus.usgovcloudapi.net", "https://login.microsoftonline.us"),
    (".servicebus.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
];

/// `NAME.servicebus.windows.net`, in small letters. A port is allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace(String);

/// A text is no host of a namespace.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadNamespace {
    /// The host would be incomplete.
    #[error("{0:?} is the name only: write the host, as in {0}.servicebus.windows.net")]
    Name(String),
    /// It can be no host.
    #[error("this is not a host of a namespace: write NAME.servicebus.windows.net, without https:// and path")]
    Other,
}

// === impl Namespace ===

impl Namespace {
    /// The host, with the port if there is one.
    pub fn host(&self) -> &str {
        &self.0
    }

    /// The URL of the service.
    pub fn url(&self) -> String {
        format!("https://{}", self.0)
    }

    /// The host of the token service of its cloud.
    pub fn authority(&self) -> &'static str {
        let of_cloud = CLOUDS.iter().find(|(domain, _)| self.0.ends_with(domain));
        of_cloud.unwrap_or(&CLOUDS[0]).1
    }
}

impl FromStr for Namespace {
    type Err = BadNamespace;

    fn from_str(text: &str) -> Result<Self, BadNamespace> {
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !text.is_empty() && is_name(text) && text != "localhost" {
            return Err(BadNamespace::Name(text.to_owned()));
        }
        if text.contains(['/', '@', '?', '#']) {
            return Err(BadNamespace::Other);
        }
        let url = format!("https://{text}").parse::<BaseUrl>().map_err(|_| BadNamespace::Other)?;
        Ok(Self(url.authority()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_host() {
        for (text, host) in [
            ("shop.servicebus.windows.net", "shop.servicebus.windows.net"),
            ("Shop.ServiceBus.Windows.Net", "shop.servicebus.windows.net"),
            ("shop.servicebus.windows.net:443", "shop.servicebus.windows.net"),
            ("localhost:5300", "localhost:5300"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(text.parse::<Namespace>().unwrap().host(), host);
        }
        assert_eq!("shop".parse::<Namespace>(), Err(BadNamespace::Name("shop".to_owned())));
        for text in
            ["", "https://shop.servicebus.windows.net", "shop.servicebus.windows.net/", "a b.c", "169.254.169.254"]
        {
            assert_eq!(text.parse::<Namespace>(), Err(BadNamespace::Other), "{text}");
        }
    }

    #[test]
    fn the_token_service_is_that_of_the_cloud() {
        for (host, authority) in [
            ("shop.servicebus.windows.net", "https://login.microsoftonline.com"),
            ("shop.servicebus.usgovcloudapi.net", "https://login.microsoftonline.us"),
            ("shop.servicebus.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
            ("bus.example.com", "https://login.microsoftonline.com"),
        ] {
            assert_eq!(host.parse::<Namespace>().unwrap().authority(), authority);
        }
    }
}
