//! The rows of HTTPS: whom depthgauge trusts with a request.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::outcomes::{Cell, Row, in_a_thread};
use super::wire::beside;
use super::{Expected, KINDS, Kind, Operation, Protocol, Reply, Service, Shape};
use crate::support::authority::Authority;
use crate::support::log::Log;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// All rows by the first kind, because all kinds share one client. Of the others the good one, which
/// shows that their config reaches that client.
pub(super) fn rows() -> Vec<BoxFuture<'static, Row>> {
    let (ours, others) = (Authority::named("ours"), Authority::named("others"));
    let shows = |acceptor| Protocol::Https(acceptor, ours.pem.clone());
    let first = KINDS[0];
    let mut rows = vec![
        (first, "a certificate of another CA", shows(others.acceptor_for(HERE)), false),
        (first, "a certificate of another name", shows(ours.acceptor_named(&["elsewhere.invalid"])), false),
        (first, "an expired certificate", shows(ours.expired_acceptor_for(HERE)), false),
        (first, "HTTP on a port for HTTPS", Protocol::HttpInsteadOfTls, false),
        (first, "no answer to a TLS handshake", Protocol::SilentInsteadOfTls, false),
    ];
    rows.extend(
        KINDS.iter().map(|kind| (*kind, "a certificate of the CA in the config", shows(ours.acceptor_for(HERE)), true)),
    );
    let row =
        |(kind, title, protocol, trusted)| in_a_thread(move |log| row(kind, title, protocol, trusted, log)).boxed();
    rows.into_iter().map(row).collect()
}

async fn row(kind: &'static dyn Kind, title: &str, protocol: Protocol, trusted: bool, log: Log) -> Row {
    let operation: &'static dyn Operation = kind.operations()[0];
    let hangs = matches!(protocol, Protocol::SilentInsteadOfTls);
    let service = Service::start(protocol, move |request, place| {
        if !operation.is(request) {
            return beside(operation, request, place);
        }
        Reply::json(operation.answer(Shape::Value, place, "").1)
    })
    .await;
    let good = operation.expected(super::Outcome::Shape(Shape::Value));
    let cell = Cell {
        name: format!("contract outcomes {} {}: {title}", kind.name(), operation.name()),
        title: format!("`{}`: {title}", kind.name()),
        expected: if trusted { good } else { Expected::Unavailable },
        is_requested_again: trusted,
        hangs,
    };
    let mut row = cell.run(kind, operation, &service, &log).await;
    if !trusted && service.count() > 0 {
        row.result = Err("a request was sent".to_owned());
    }
    row
}
