//! Why a client certificate is refused: the cause, and what to do about it; pure.

use std::fmt;

use jiff::Timestamp;

use super::CHAIN_MAX;

/// The ConfigMap with what is trusted, as messages name it.
const MAP: &str = "ConfigMap kube-system/extension-apiserver-authentication";
/// Longest name that is kept, in bytes. Clients choose the names in their certificates, and a
/// message of the API has at most 400 bytes.
const NAME_MAX: usize = 40;

/// What a chain may be good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To name other users in headers.
    FrontProxy,
    /// To be the user that it names.
    Client,
}

/// A client certificate that is refused. Its text is the same while its cause is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Untrusted {
    /// What the certificate was shown for.
    pub purpose: Purpose,
    /// The common name of the leaf, at most 40 bytes of it; empty if there is none.
    pub common_name: String,
    /// Why it is refused.
    pub cause: Cause,
}

/// Why a certificate is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// There are more certificates in the chain than [`CHAIN_MAX`].
    LongChain,
    /// It is of X.509 version 1 or 2. Go verifies it, webpki does not.
    OldVersion,
    /// It has `CA:TRUE`. Go verifies it as a leaf, webpki does not.
    IsCa,
    /// No CA of this name is trusted.
    UnknownIssuer {
        /// The issuer of the leaf.
        issuer: String,
    },
    /// A CA of this name is trusted, and its key is another one.
    OtherKey {
        /// The issuer of the leaf.
        issuer: String,
    },
    /// The CA that signed it is out of its period of validity.
    CaOutOfTime,
    /// It, or one of its chain, has expired.
    Expired {
        /// When it did.
        not_after: Timestamp,
    },
    /// It, or one of its chain, is not valid yet.
    NotYetValid {
        /// When it will be.
        not_before: Timestamp,
    },
    /// It is not made for authenticating clients.
    NotForClients,
    /// A front proxy has another common name.
    NameNotAllowed,
    /// Anything else; the message of the verifier.
    Other(String),
}

/// As much of a name in a certificate as is kept.
#[must_use]
pub fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_MAX)].to_owned()
}

// === impl Untrusted ===

impl Untrusted {
    /// The key of the ConfigMap with the CAs that count.
    fn bundle(&self) -> &'static str {
        match self.purpose {
            Purpose::FrontProxy => "requestheader-client-ca-file",
            Purpose::Client => "client-ca-file",
        }
    }

    /// What to do about it.
    fn remedy(&self) -> &'static str {
        match (self.purpose, &self.cause) {
            (Purpose::Client, _) => "Use another client certificate, or a token",
            (_, Cause::UnknownIssuer { .. } | Cause::OtherKey { .. }) => {
                "Have kube-apiserver's --requestheader-client-ca-file sign its --proxy-client-cert-file"
            }
            (_, Cause::CaOutOfTime) => "Renew kube-apiserver's --requestheader-client-ca-file",
            (_, Cause::Expired { .. }) => "Renew kube-apiserver's --proxy-client-cert-file",
            (_, Cause::NotYetValid { .. }) => "Check the clock of depthgauge's node",
            (_, Cause::NameNotAllowed) => "Add the name to kube-apiserver's --requestheader-allowed-names",
            (_, Cause::OldVersion) => "Issue kube-apiserver's --proxy-client-cert-file as X.509 version 3",
            (_, Cause::IsCa) => "Issue kube-apiserver's --proxy-client-cert-file without CA:TRUE",
            (_, Cause::NotForClients) => "Issue kube-apiserver's --proxy-client-cert-file for clientAuth",
            (_, Cause::LongChain | Cause::Other(_)) => "Issue kube-apiserver's --proxy-client-cert-file again",
        }
    }
}

/// Names are quoted and escaped: a client chooses them.
impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, common_name, cause } = self;
        let shown = match purpose {
            Purpose::FrontProxy => "certificate presented as front proxy",
            Purpose::Client => "client certificate",
        };
        write!(f, "{shown} (common name {common_name:?}) refused: ")?;
        let bundle = self.bundle();
        match cause {
            Cause::LongChain => write!(f, "its chain has more than {CHAIN_MAX} certificates"),
            Cause::OldVersion => f.write_str("it is not of X.509 version 3"),
            Cause::IsCa => f.write_str("it is a CA certificate (CA:TRUE)"),
            Cause::UnknownIssuer { issuer } => write!(f, "issuer {issuer:?} is not a CA in {bundle} of {MAP}"),
            Cause::OtherKey { issuer } => {
                write!(f, "its chain (issuer {issuer:?}) is signed by another key than the CA's in {bundle} of {MAP}")
            }
            Cause::CaOutOfTime => write!(f, "its CA in {bundle} of {MAP} is out of its period of validity"),
            Cause::Expired { not_after } => write!(f, "it or its chain expired at {not_after}"),
            Cause::NotYetValid { not_before } => write!(f, "it or its chain is not valid before {not_before}"),
            Cause::NotForClients => f.write_str("its extended key usage has no clientAuth"),
            Cause::NameNotAllowed => write!(f, "the name is not in requestheader-allowed-names of {MAP}"),
            Cause::Other(why) => write!(f, "it can't be verified ({why})"),
        }?;
        write!(f, ". {}", self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_api_holds_every_text() {
        let (issuer, at) = (shortened(&"i".repeat(100)), Timestamp::UNIX_EPOCH);
        let causes = [
            Cause::LongChain,
            Cause::OldVersion,
            Cause::IsCa,
            Cause::UnknownIssuer { issuer: issuer.clone() },
            Cause::OtherKey { issuer },
            Cause::CaOutOfTime,
            Cause::Expired { not_after: at },
            Cause::NotYetValid { not_before: at },
            Cause::NotForClients,
            Cause::NameNotAllowed,
            Cause::Other(shortened(&"o".repeat(100))),
        ];
        for purpose in [Purpose::FrontProxy, Purpose::Client] {
            for cause in causes.clone() {
                let text = Untrusted { purpose, common_name: shortened(&"c".repeat(100)), cause }.to_string();
                assert!("Unauthorized: ".len() + text.len() <= 400, "{} {text}", text.len());
            }
        }
    }

    #[test]
    fn a_name_is_cut_between_characters_and_escaped() {
        assert_eq!(shortened("front-proxy-client"), "front-proxy-client");
        assert_eq!(shortened(&"ä".repeat(30)), "ä".repeat(20));
        let untrusted =
            Untrusted { purpose: Purpose::Client, common_name: "a\n\"b".into(), cause: Cause::NotForClients };
        assert!(untrusted.to_string().contains(r#"(common name "a\n\"b")"#), "{untrusted}");
    }
}
