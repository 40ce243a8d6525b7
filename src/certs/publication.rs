//! Since when a CA has been published to the clients that verify.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// kube-apiservers reload an APIService each on its own, within seconds; a minute is the time
/// that the contract of this project states.
const KNOWN_AFTER: Duration = Duration::from_secs(60);

/// Connects the task that writes the `caBundle` with the one that signs by its content. Clones
/// share it.
///
/// Seen by this process itself, and for as long as it lives: no other clock counts.
#[derive(Clone, Debug, Default)]
pub struct Publication(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<(String, Instant)>>,
    read_again: Notify,
}

// === impl Publication ===

impl Publication {
    /// This bundle, in PEM, is published now: seen with one's own eyes.
    pub fn seen(&self, bundle: &str) {
        const END: &str = "-----END CERTIFICATE-----";
        let now = Instant::now();
        let mut seen = self.0.seen.lock();
        let certificates: Vec<&str> =
            bundle.split_inclusive(END).map(str::trim).filter(|pem| pem.ends_with(END)).collect();
        seen.retain(|(pem, _)| certificates.contains(&pem.as_str()));
        for certificate in certificates {
            if !seen.iter().any(|(pem, _)| pem == certificate) {
                seen.push((certificate.to_owned(), now));
            }
        }
    }

    /// Requests an immediate read of the certificates, because another replica may have changed
    /// them.
    pub fn read_again(&self) {
        self.0.read_again.notify_one();
    }

    pub(super) async fn asked_to_read_again(&self) {
        self.0.read_again.notified().await;
    }

    /// Whether this CA has been published for long enough to sign by it.
    pub(super) fn is_known(&self, certificate: &str) -> bool {
        self.0.seen.lock().iter().any(|(pem, since)| pem == certificate.trim() && since.elapsed() >= KNOWN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_is_known_after_a_minute_in_the_bundle_without_a_break() {
        let publication = Publication::default();
        let (first, next) = (pem("first"), pem("next"));
        publication.seen(&first);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!publication.is_known(&first));
        publication.seen(&format!("{first}{next}"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(publication.is_known(&first) && !publication.is_known(&next));
        publication.seen(&next);
        publication.seen(&format!("{next}{first}"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(publication.is_known(&next) && !publication.is_known(&first), "its time starts anew");
    }
}
