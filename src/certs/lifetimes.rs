//! For how long certificates are made.

use std::time::Duration;

use jiff::SignedDuration;

/// A year: renewal is automatic, so this only bounds how long a stolen key is of use.
const SERVING_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Ten years: a CA's key signs nothing but the serving certificates of depthgauge.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Half of it is for the rotation ([`super::rotation::HAND_OVER`]): a CA signs for as long as it is published.
const CA_LIFETIME_MIN: Duration = Duration::from_secs(4 * 60);
/// The last third of a certificate's life must hold some reads of the Secret.
const SERVING_LIFETIME_MIN: Duration = Duration::from_secs(60);

/// What certificates are made for, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    pub(super) serving: SignedDuration,
    pub(super) ca: SignedDuration,
}

/// These lifetimes leave no time for a rotation.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadLifetimes {
    /// See the text.
    #[error("--cert-lifetime must be at least 1m: a third of it is for renewal")]
    Serving,
    /// See the text.
    #[error(
        "--ca-lifetime must be at least 4m, and longer than --cert-lifetime. A rotation of the CA takes two minutes, because the next CA must be in the caBundle for a minute before it signs"
    )]
    Ca,
}

// === impl Lifetimes ===

impl Lifetimes {
    /// Fails if there would be no time for a rotation.
    pub fn new(serving: Duration, ca: Duration) -> Result<Self, BadLifetimes> {
        if serving < SERVING_LIFETIME_MIN {
            return Err(BadLifetimes::Serving);
        }
        if ca < CA_LIFETIME_MIN || ca <= serving {
            return Err(BadLifetimes::Ca);
        }
        let signed = |lifetime| SignedDuration::try_from(lifetime).map_err(|_| BadLifetimes::Ca);
        Ok(Self { serving: signed(serving)?, ca: signed(ca)? })
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { serving: SERVING_LIFETIME, ca: CA_LIFETIME }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_that_leave_no_time_to_hand_over_are_refused() {
        let minutes = |serving: u64, ca: u64| {
            Lifetimes::new(Duration::from_secs(serving * 60), Duration::from_secs(ca * 60)).err()
        };
        assert_eq!(minutes(1, 4), None);
        assert_eq!(minutes(0, 4), Some(BadLifetimes::Serving));
        for (serving, ca) in [(1, 3), (4, 4), (5, 4)] {
            assert_eq!(minutes(serving, ca), Some(BadLifetimes::Ca));
        }
    }
}
