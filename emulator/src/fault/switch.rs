//! The current rules, and the requests that wait for one to be lifted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;
use tokio::time::sleep;

use super::{Fault, Rule};
use crate::operation::Operation;

/// What faults there are now.
pub(crate) struct FaultSwitch(watch::Sender<Arc<[Armed]>>);

struct Armed {
    rule: Arc<Rule>,
    /// How often it may still happen, where that is limited.
    left: Option<AtomicU32>,
}

// === impl FaultSwitch ===

impl FaultSwitch {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Arc::new([])))
    }

    /// Replaces all rules.
    pub(crate) fn set(&self, rules: Vec<Rule>) {
        tracing::debug!(?rules, "faults set");
        self.0.send_replace(rules.into_iter().map(Armed::new).collect());
    }

    /// Returns the rule that a request meets; `queue` has the names of its queue. Holds the request
    /// while the fault is [`Fault::Hang`], and for the time of a [`Fault::Delay`].
    pub(crate) async fn pass(&self, operation: Option<Operation>, queue: &[&str]) -> Option<Arc<Rule>> {
        let mut rules = self.0.subscribe();
        loop {
            let now = rules.borrow_and_update().clone();
            let met = now.iter().find(|armed| armed.rule.fits(operation, queue) && armed.take())?.rule.clone();
            match met.fault {
                // Fails only when the sender is gone, and `self` holds it.
                Fault::Hang => drop(rules.changed().await),
                Fault::Delay(time) => {
                    sleep(time).await;
                    return Some(met);
                }
                _ => return Some(met),
            }
        }
    }

    /// How many requests are between their arrival and their answer for a fault.
    pub(crate) fn held(&self) -> usize {
        self.0.receiver_count()
    }
}

// === impl Armed ===

impl Armed {
    fn new(rule: Rule) -> Self {
        Self { left: rule.times.map(AtomicU32::new), rule: Arc::new(rule) }
    }

    /// Uses it once; returns whether it was not used up before.
    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left.as_ref().is_none_or(|left| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::poll;
    use http::StatusCode;
    use tokio::time::Instant;

    use super::*;

    const BROKEN: Fault = Fault::Status(StatusCode::INTERNAL_SERVER_ERROR);

    async fn met(switch: &FaultSwitch, operation: Operation, queue: &[&str]) -> Option<Fault> {
        switch.pass(Some(operation), queue).await.map(|rule| rule.fault)
    }

    #[tokio::test]
    async fn a_hanging_request_goes_on_when_the_fault_is_lifted() {
        let switch = FaultSwitch::new();
        assert!(switch.pass(None, &[]).await.is_none());
        switch.set(vec![Fault::Hang.into()]);
        let mut held = Box::pin(switch.pass(None, &[]));
        assert!(poll!(&mut held).is_pending());
        switch.set(vec![Fault::Hang.into()]);
        assert!(poll!(&mut held).is_pending());
        assert_eq!(switch.held(), 1);
        switch.set(vec![]);
        assert!(matches!(poll!(&mut held), Poll::Ready(None)));
    }

    #[tokio::test]
    async fn another_fault_replaces_a_hanging_one() {
        let switch = FaultSwitch::new();
        switch.set(vec![Fault::Hang.into()]);
        let mut held = Box::pin(switch.pass(None, &[]));
        assert!(poll!(&mut held).is_pending());
        switch.set(vec![BROKEN.into()]);
        assert_eq!(held.await.unwrap().fault, BROKEN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_passes() {
        let (switch, start) = (FaultSwitch::new(), Instant::now());
        switch.set(vec![Fault::Delay(Duration::from_secs(7)).into()]);
        switch.pass(None, &[]).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 7);
    }

    #[tokio::test]
    async fn a_rule_meets_only_those_who_are_meant_and_so_often() {
        let switch = FaultSwitch::new();
        let stats = Rule { operation: Some(Operation::GetStats), queue: Some("a".to_owned()), ..BROKEN.into() };
        let once = Rule { times: Some(1), ..Fault::Empty.into() };
        switch.set(vec![stats, once]);
        assert_eq!(met(&switch, Operation::GetStats, &["id", "a"]).await, Some(BROKEN));
        assert_eq!(met(&switch, Operation::GetStats, &["id", "b"]).await, Some(Fault::Empty));
        assert_eq!(met(&switch, Operation::GetStats, &["id", "b"]).await, None);
        assert_eq!(met(&switch, Operation::GetQueue, &["id", "a"]).await, None);
        assert_eq!(met(&switch, Operation::GetStats, &["a"]).await, Some(BROKEN));
    }
}
