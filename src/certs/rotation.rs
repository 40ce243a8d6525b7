//! How CA and certificate change over time. Pure.
//!
//! A CA rotates in three steps, so that clients always trust the certificate that is served:
//! - The next CA goes into the bundle.
//! - When it has been published for a minute, it replaces the CA and signs a new serving
//!   certificate.
//! - The CA before stays in the bundle, without its key, for a day.

use jiff::{SignedDuration, Timestamp};

use super::CertsError;
use super::issue::{Pair, is_for, life, signed_by};

/// How long the previous CA stays in the bundle after the next CA has signed: a day. It is for
/// replicas that could not reach kube-apiserver and serve the previous certificate.
const RETIRED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// A CA rotates when a third of its life is left, but no later than this before its end, in seconds. It
/// takes 10 until the date is checked, 10 until the next CA is seen in the caBundle, and 60 until it
/// counts as published. It takes 10 until that is checked, and 10 until the other replicas follow; 20 are
/// spare.
pub(super) const HAND_OVER: i64 = 120;

/// All that is kept, in PEM.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Held {
    /// Signs serving certificates.
    pub(super) ca: Option<Pair>,
    /// Will sign, and is being made known.
    pub(super) next: Option<Pair>,
    /// Has signed what some may still serve. Its key is gone.
    pub(super) previous: Option<String>,
    pub(super) serving: Option<Pair>,
}

/// What certificates are made for, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rules {
    /// The first is the server's own.
    pub(super) names: Vec<String>,
    pub(super) serving_lifetime: SignedDuration,
    pub(super) ca_lifetime: SignedDuration,
}

// === impl Held ===

impl Held {
    /// Every CA that vouches for something served, now or soon.
    pub(super) fn bundle(&self) -> String {
        let signing = [&self.ca, &self.next].into_iter().flatten().map(|pair| pair.certificate.as_str());
        signing.chain(self.previous.as_deref()).collect()
    }

    /// What is to be kept from now on. `is_published` returns whether clients have had a CA for
    /// long enough.
    pub(super) fn advance(
        &self,
        rules: &Rules,
        now: Timestamp,
        is_published: impl FnOnce(&str) -> bool,
    ) -> Result<Self, CertsError> {
        let mut held = self.clone();
        held.next = held.next.filter(|next| next.is_one() && in_time(&next.certificate, now));
        let can_sign = self.can_sign(now);
        if self.is_lost(now) {
            // No client can verify the current state: waiting does not help.
            let ca = held.next.take().map_or_else(|| Pair::ca(rules.ca_lifetime, now), Ok)?;
            held.hand_over(ca, now);
        } else if !can_sign || !held.ca.as_ref().is_some_and(|ca| is_left(&ca.certificate, now, HAND_OVER)) {
            match held.next.take() {
                None => held.next = Some(Pair::ca(rules.ca_lifetime, now)?),
                Some(next) if is_published(&next.certificate) => held.hand_over(next, now),
                waiting => held.next = waiting,
            }
        }
        held.renew_serving(rules, now)?;
        held.forget_previous(rules, now);
        Ok(held)
    }

    /// Whether there is nothing to rotate from: no CA that signs, and nothing served that can be
    /// verified.
    pub(super) fn is_lost(&self, now: Timestamp) -> bool {
        !self.can_sign(now) && !self.serves(now)
    }

    fn can_sign(&self, now: Timestamp) -> bool {
        self.ca.as_ref().is_some_and(|ca| ca.is_one() && in_time(&ca.certificate, now))
    }

    /// Whether a client with the bundle can verify now what is served.
    pub(super) fn serves(&self, now: Timestamp) -> bool {
        let Some(serving) = &self.serving else { return false };
        serving.is_one() && in_time(&serving.certificate, now) && signed_by(&serving.certificate, &self.bundle())
    }

    fn hand_over(&mut self, ca: Pair, now: Timestamp) {
        let before = self.ca.replace(ca).map(|pair| pair.certificate);
        self.previous = before.filter(|pem| in_time(pem, now));
    }

    /// A new one when it is not for these names, near its end, broken, or of a former CA.
    fn renew_serving(&mut self, rules: &Rules, now: Timestamp) -> Result<(), CertsError> {
        let Some(ca) = self.ca.as_ref().filter(|ca| ca.is_one()) else { return Ok(()) };
        let is_good = |serving: &Pair| {
            let pem = &serving.certificate;
            let of_this_ca = signed_by(pem, &ca.certificate);
            serving.is_one() && of_this_ca && is_for(pem, &rules.names) && in_time(pem, now) && is_left(pem, now, 0)
        };
        if !self.serving.as_ref().is_some_and(is_good) {
            self.serving = Some(ca.sign(&rules.names, rules.serving_lifetime, now)?);
        }
        Ok(())
    }

    fn forget_previous(&mut self, rules: &Rules, now: Timestamp) {
        // Reached before the serving certificate is renewed, and its age starts again.
        let retired_for = RETIRED_FOR.min(rules.serving_lifetime / 2);
        let served_since = self.serving.as_ref().and_then(|serving| life(&serving.certificate));
        let over = served_since.is_some_and(|life| life.age(now) >= retired_for);
        self.previous = self.previous.take().filter(|pem| !over && in_time(pem, now));
    }
}

fn in_time(pem: &str, now: Timestamp) -> bool {
    life(pem).is_some_and(|life| life.includes(now))
}

fn is_left(pem: &str, now: Timestamp, least: i64) -> bool {
    life(pem).is_some_and(|life| life.is_left(now, least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(offset: i64) -> Timestamp {
        "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(offset)
    }

    fn rules() -> Rules {
        Rules {
            names: vec!["depthgauge.depthgauge.svc".to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()],
            serving_lifetime: SignedDuration::from_hours(90),
            ca_lifetime: SignedDuration::from_hours(900),
        }
    }

    fn advance(held: &Held, now: Timestamp, published: bool) -> Held {
        held.advance(&rules(), now, |_| published).unwrap()
    }

    fn first() -> Held {
        advance(&Held::default(), hour(0), false)
    }

    fn certificate(pair: &Option<Pair>) -> &str {
        &pair.as_ref().unwrap().certificate
    }

    #[test]
    fn nothing_becomes_a_ca_and_a_certificate_at_once() {
        let held = first();
        assert!(held.serves(hour(0)));
        assert!(held.next.is_none() && held.previous.is_none());
        assert_eq!(held.bundle(), certificate(&held.ca));
    }

    #[test]
    fn nothing_changes_while_a_third_is_left() {
        let held = first();
        assert!(advance(&held, hour(59), true) == held);
        let renewed = advance(&held, hour(61), true);
        assert!(renewed.serving != held.serving && renewed.ca == held.ca && renewed.next.is_none());
    }

    #[test]
    fn an_hour_of_difference_between_clocks_is_survived_both_ways() {
        let held = first();
        for (clock, offset) in [("late", -1), ("ahead", 1)] {
            assert!(held.serves(hour(offset)), "{clock}");
            assert!(advance(&held, hour(offset), true) == held, "{clock}: nothing to renew");
            // And up to the very renewal.
            assert!(held.serves(hour(61 + offset)), "{clock}");
        }
    }

    #[test]
    fn the_next_ca_is_made_known_before_it_signs_and_the_one_before_stays_for_a_day() {
        let held = advance(&first(), hour(550), false);
        assert!(held.next.is_none());
        let announced = advance(&held, hour(601), false);
        assert!(announced.ca == held.ca, "the old one signs on");
        assert_eq!(announced.bundle(), format!("{}{}", certificate(&held.ca), certificate(&announced.next)));
        assert!(signed_by(certificate(&announced.serving), certificate(&held.ca)));

        assert!(advance(&announced, hour(602), false) == announced, "not known for long enough");
        let over = advance(&announced, hour(602), true);
        assert!(over.ca == announced.next && over.next.is_none());
        assert!(signed_by(certificate(&over.serving), certificate(&over.ca)));
        assert_eq!(over.bundle(), format!("{}{}", certificate(&over.ca), certificate(&held.ca)));

        assert!(advance(&over, hour(602 + 23), true) == over);
        let retired = advance(&over, hour(602 + 24), true);
        assert!(retired == Held { previous: None, ..over });
    }

    #[test]
    fn an_expired_ca_is_replaced_without_waiting() {
        let late = advance(&first(), hour(901), false);
        assert!(late.serves(hour(901)));
        assert_eq!((late.next.is_none(), late.previous), (true, None));
        let mut announced = advance(&first(), hour(601), false);
        let next = announced.next.clone();
        announced.serving = None;
        assert!(advance(&announced, hour(901), false).ca == next, "the one that was announced, if there is one");
    }

    #[test]
    fn a_lost_ca_key_is_replaced_without_a_gap() {
        let mut held = first();
        held.ca.as_mut().unwrap().key = "lost".to_owned();
        let announced = advance(&held, hour(1), false);
        assert!(announced.next.is_some() && announced.serving == held.serving);
        let over = advance(&announced, hour(2), true);
        assert!(over.serves(hour(2)) && over.bundle().contains(certificate(&held.ca)));
    }

    #[test]
    fn what_is_broken_or_for_another_name_is_made_anew() {
        let held = first();
        let mut mixed = held.clone();
        mixed.serving.as_mut().unwrap().key = held.ca.as_ref().unwrap().key.clone();
        assert!(advance(&mixed, hour(1), false).serves(hour(1)));
        let mut broken = held.clone();
        broken.serving.as_mut().unwrap().certificate = "broken".to_owned();
        assert!(advance(&broken, hour(1), false).serves(hour(1)));
        let other = Rules { names: vec!["other.depthgauge.svc".to_owned()], ..rules() };
        let renamed = held.advance(&other, hour(1), |_| false).unwrap();
        assert!(renamed.serving != held.serving && renamed.ca == held.ca);
    }

    #[test]
    fn a_serving_certificate_does_not_outlive_its_ca() {
        let held = advance(&first(), hour(870), false);
        let end = life(certificate(&held.serving)).unwrap().end();
        assert_eq!(end, hour(900));
    }

    #[test]
    fn whatever_the_moments_and_the_delays_what_was_just_served_is_in_the_bundle() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut held = first();
        let mut now = 0;
        for _ in 0..300 {
            now += random.i64(1..25);
            let bundle_before = held.bundle();
            let next = advance(&held, hour(now), random.bool());
            assert!(next.serves(hour(now)), "at {now}");
            // Replicas that have not looked yet serve the certificate of before.
            assert!(signed_by(certificate(&held.serving), &next.bundle()), "at {now}");
            // And clients may not have the new one yet.
            let serving = certificate(&next.serving);
            assert!(signed_by(serving, &bundle_before), "at {now}: served before it was made known");
            held = next;
        }
        assert!(now > 900 * 3, "several CAs came and went");
    }
}
