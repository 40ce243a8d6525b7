//! `NAMESPACE/NAME:PORT`.

use std::fmt;
use std::str::FromStr;

/// What the APIService points at: `NAMESPACE/NAME:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceRef {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The Service's port, not the container's.
    pub port: u16,
}

/// This text names no Service.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not of the form NAMESPACE/NAME:PORT, such as depthgauge/depthgauge:443")]
pub struct BadServiceRef(String);

// === impl ServiceRef ===

impl ServiceRef {
    /// The names that kube-apiserver may require in the handshake; the first is the one that it
    /// does require.
    pub fn host_names(&self) -> Vec<String> {
        let Self { namespace, name, .. } = self;
        vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
    }
}

impl FromStr for ServiceRef {
    type Err = BadServiceRef;

    fn from_str(text: &str) -> Result<Self, BadServiceRef> {
        let bad = || BadServiceRef(text.to_owned());
        let (namespace, rest) = text.split_once('/').ok_or_else(bad)?;
        let (name, port) = rest.split_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let dns = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !dns(namespace) || !dns(name) {
            return Err(bad());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_refs() {
        let parsed: ServiceRef = "metrics/depthgauge:443".parse().unwrap();
        assert_eq!(parsed.to_string(), "metrics/depthgauge:443");
        assert_eq!(parsed.host_names()[0], "depthgauge.metrics.svc");
        for bad in ["", "a", "a/b", "a/b:", "a/b:0", "a/b:x", "a/b:65536", "/b:1", "a/:1", "A/b:1", "a/b.c:1"] {
            assert!(bad.parse::<ServiceRef>().is_err(), "{bad}");
        }
    }
}
