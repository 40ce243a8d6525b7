//! Failures made to order: what a client must survive, on demand.
//!
//! One fault at a time, for every signed route, until it is lifted. A fault decides before the
//! request is looked at: a broken service does not check signatures first.

use http::StatusCode;
use serde::Deserialize;
use tokio::sync::watch;

use super::answer::Answer;

/// What happens to every signed request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Answers with this status and an error body.
    Status(StatusCode),
    /// Holds the request: no answer until the fault is lifted or replaced, and none at all if
    /// the caller or the server goes first.
    Hang,
}

/// The fault of the moment, and those who wait for it to pass.
pub(crate) struct FaultSwitch(watch::Sender<Option<Fault>>);

/// `{"status": 500}` or `{"hang": true}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultDocument {
    status: Option<u16>,
    hang: Option<bool>,
}

// === impl Fault ===

impl Fault {
    /// Reads what is sent to `/faults`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Answer> {
        let form = || Answer::invalid(r#"a fault is {"status": 400 to 599} or {"hang": true}"#);
        let document: FaultDocument = serde_json::from_slice(body).map_err(|_| form())?;
        match (document.status, document.hang) {
            (None, Some(true)) => Ok(Self::Hang),
            (Some(status), None) => {
                let status = StatusCode::from_u16(status).ok();
                let error = status.filter(|status| status.is_client_error() || status.is_server_error());
                error.map(Self::Status).ok_or_else(form)
            }
            _ => Err(form()),
        }
    }
}

// === impl FaultSwitch ===

impl FaultSwitch {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn set(&self, fault: Option<Fault>) {
        tracing::debug!(?fault, "fault set");
        self.0.send_replace(fault);
    }

    /// Lets a request pass, or says what to answer in its place; holds it while the fault is
    /// [`Fault::Hang`].
    pub(crate) async fn pass(&self) -> Result<(), Answer> {
        let mut faults = self.0.subscribe();
        loop {
            let fault = *faults.borrow_and_update();
            match fault {
                None => return Ok(()),
                Some(Fault::Status(status)) => return Err(Answer::fault(status)),
                // Fails only when the sender is gone, and `self` holds it.
                Some(Fault::Hang) => drop(faults.changed().await),
            }
        }
    }

    /// How many requests are between their arrival and their answer for this fault.
    pub(crate) fn held(&self) -> usize {
        self.0.receiver_count()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    const BROKEN: Fault = Fault::Status(StatusCode::INTERNAL_SERVER_ERROR);

    #[test]
    fn what_is_no_fault_is_refused() {
        assert_eq!(Fault::parse(br#"{"status":500}"#).unwrap(), BROKEN);
        assert_eq!(Fault::parse(br#"{"hang":true}"#).unwrap(), Fault::Hang);
        for body in [
            "",
            "{}",
            "500",
            r#"{"status":200}"#,
            r#"{"status":600}"#,
            r#"{"status":99999}"#,
            r#"{"hang":false}"#,
            r#"{"status":500,"hang":true}"#,
            r#"{"drip":true}"#,
        ] {
            assert!(Fault::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_hanging_request_goes_on_when_the_fault_is_lifted() {
        let switch = FaultSwitch::new();
        assert!(switch.pass().await.is_ok());
        switch.set(Some(Fault::Hang));
        let mut held = Box::pin(switch.pass());
        assert!(poll!(&mut held).is_pending());
        switch.set(Some(Fault::Hang));
        assert!(poll!(&mut held).is_pending());
        switch.set(None);
        assert!(matches!(poll!(&mut held), Poll::Ready(Ok(()))));
    }

    #[tokio::test]
    async fn a_status_replaces_the_answer() {
        let switch = FaultSwitch::new();
        switch.set(Some(Fault::Hang));
        let mut held = Box::pin(switch.pass());
        assert!(poll!(&mut held).is_pending());
        switch.set(Some(BROKEN));
        assert_eq!(held.await.unwrap_err().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
