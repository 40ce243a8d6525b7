//! Facts about a certificate that a server uses, read without serving it.

use jiff::Timestamp;

use super::issue::{is_for, life, signed_by};

/// A serving certificate, seen from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inspection {
    /// When it is of no use any more.
    pub expires: Timestamp,
    /// Whether its dates include now.
    pub is_in_its_time: bool,
    /// Whether it should have been renewed by now.
    pub is_due: bool,
    /// Whether it is valid for each of the given names.
    pub is_for_names: bool,
    /// Whether a CA of the bundle made it.
    pub is_vouched_for: bool,
}

// === impl Inspection ===

impl Inspection {
    /// Of the first certificate in a PEM text, for a server of these names, by a bundle of CAs in
    /// PEM. It is `None` when there is no certificate in the text.
    pub fn of(certificate: &str, names: &[String], bundle: &str, now: Timestamp) -> Option<Self> {
        let life = life(certificate)?;
        Some(Self {
            expires: life.end(),
            is_in_its_time: life.includes(now),
            is_due: !life.is_left(now, 0),
            is_for_names: is_for(certificate, names),
            is_vouched_for: signed_by(certificate, bundle),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::certs::issue::Pair;

    #[test]
    fn what_is_wrong_with_a_certificate_is_seen() {
        let made: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let (ca, other) = (Pair::ca(days(100), made).unwrap(), Pair::ca(days(100), made).unwrap());
        let names = ["a.b.svc".to_owned()];
        let leaf = ca.sign(&names, days(30), made).unwrap();
        let good = Inspection::of(&leaf.certificate, &names, &ca.certificate, made).unwrap();
        let expected = Inspection {
            expires: made + days(30),
            is_in_its_time: true,
            is_due: false,
            is_for_names: true,
            is_vouched_for: true,
        };
        assert_eq!(good, expected);
        let at = |now, names: &[String], bundle: &str| Inspection::of(&leaf.certificate, names, bundle, now).unwrap();
        assert!(at(made + days(21), &names, &ca.certificate).is_due);
        assert!(!at(made + days(31), &names, &ca.certificate).is_in_its_time);
        assert!(!at(made, &["c.b.svc".to_owned()], &ca.certificate).is_for_names);
        for bundle in [other.certificate.as_str(), "", "nonsense"] {
            assert!(!at(made, &names, bundle).is_vouched_for);
        }
        assert!(Inspection::of("nonsense", &names, "", made).is_none());
    }
}
