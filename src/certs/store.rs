//! Where CA and certificate are kept: a Secret that all replicas share, or a directory.
//!
//! Under the names of a Secret of type `kubernetes.io/tls`, and a few more.

use std::collections::BTreeMap;

use super::CertsError;
use super::issue::Pair;
use super::rotation::Held;

pub(super) mod dir;
pub(super) mod secret;

use dir::Dir;
use secret::SharedSecret;

const CA: (&str, &str) = ("ca.crt", "ca.key");
const NEXT: (&str, &str) = ("next-ca.crt", "next-ca.key");
const PREVIOUS: &str = "previous-ca.crt";
const SERVING: (&str, &str) = ("tls.crt", "tls.key");

/// Texts by name.
type Entries = BTreeMap<String, String>;

/// Where.
pub(super) enum Store {
    Dir(Dir),
    Secret(Box<SharedSecret>),
}

/// What was read, and what a write must name so that it replaces this and nothing else.
pub(super) struct Read {
    pub(super) held: Held,
    version: Option<String>,
}

// === impl Store ===

impl Store {
    pub(super) async fn read(&self) -> Result<Read, CertsError> {
        match self {
            Self::Dir(dir) => Ok(Read { held: held(dir.read(&NAMES)?), version: None }),
            Self::Secret(secret) => {
                let (entries, version) = secret.read().await?;
                Ok(Read { held: held(entries), version })
            }
        }
    }

    /// Whether it is kept now; not if another client has written since it was read.
    pub(super) async fn replace(&self, read: &Read, by: &Held) -> Result<bool, CertsError> {
        match self {
            // One process has it for its own.
            Self::Dir(dir) => dir.write(&NAMES, &entries(by)).map(|()| true),
            Self::Secret(secret) => secret.write(entries(by), read.version.as_deref()).await,
        }
    }
}

/// Every name; keys before their certificates, which is the order to write in: a certificate
/// without its key would be read as a pair.
const NAMES: [&str; 7] = [CA.1, CA.0, NEXT.1, NEXT.0, PREVIOUS, SERVING.1, SERVING.0];

fn held(mut entries: Entries) -> Held {
    let mut pair = |(certificate, key): (&str, &str)| {
        Some(Pair { certificate: entries.remove(certificate)?, key: entries.remove(key)? })
    };
    let (ca, next, serving) = (pair(CA), pair(NEXT), pair(SERVING));
    Held { ca, next, previous: entries.remove(PREVIOUS), serving }
}

fn entries(held: &Held) -> Entries {
    let pairs = [(CA, &held.ca), (NEXT, &held.next), (SERVING, &held.serving)];
    let pairs = pairs.into_iter().filter_map(|(names, pair)| Some((names, pair.as_ref()?)));
    let both = |(names, pair): ((&str, &str), &Pair)| {
        [(names.0.to_owned(), pair.certificate.clone()), (names.1.to_owned(), pair.key.clone())]
    };
    let previous = held.previous.iter().map(|pem| (PREVIOUS.to_owned(), pem.clone()));
    pairs.flat_map(both).chain(previous).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Option<Pair> {
        Some(Pair { certificate: format!("{name} certificate"), key: format!("{name} key") })
    }

    #[test]
    fn what_is_kept_is_read_again_and_half_a_pair_is_none() {
        let all =
            Held { ca: pair("ca"), next: pair("next"), previous: Some("previous".into()), serving: pair("serving") };
        assert_eq!(entries(&all).len(), NAMES.len());
        assert!(entries(&all).keys().all(|name| NAMES.contains(&name.as_str())));
        assert!(held(entries(&all)) == all);
        let mut half = entries(&all);
        half.remove("next-ca.key");
        assert!(held(half) == Held { next: None, ..all });
        assert!(held(Entries::new()) == Held::default());
    }
}
