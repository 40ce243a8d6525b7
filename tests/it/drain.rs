//! The end of the server: no new connection, GOAWAY to idle ones, and an answer to whoever
//! has asked.

use std::time::Duration;

use depthgauge_emulator::fault::Fault;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::{Client, Connection};
use crate::support::server::{Server, VALUE, start};
use crate::support::{PATIENCE, eventually};

async fn until_connections_are_refused(server: &Server) {
    eventually("a refused connection", async || TcpStream::connect(server.address).await.err().map(drop)).await;
}

/// Both ways of speaking, for the same client.
fn protocols(client: &Client) -> [Client; 2] {
    [client.clone(), client.clone().with_http1()]
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_nothing_new_is_taken() {
    for http1 in [false, true] {
        let (server, _oci) = start().await;
        let [http2, client] = protocols(&server.aggregator("hpa"));
        let connection = if http1 { client } else { http2 }.connect().await.unwrap();
        server.cluster.hold();
        let answer = tokio::spawn(connection.begin("GET", VALUE));
        eventually("the review", async || server.cluster.reviewed().pop()).await;

        server.drain.cancel();
        until_connections_are_refused(&server).await;
        assert!(!server.serving.is_finished() && !answer.is_finished());
        server.cluster.release();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.values(), [("orders".to_owned(), "3".to_owned())]);
        timeout(PATIENCE, server.serving).await.expect("the server returns").unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_for_the_source_gets_its_answer_too() {
    let (server, oci) = start().await;
    oci.set_fault(Some(Fault::Hang));
    let connection = server.aggregator("hpa").connect().await.unwrap();
    let answer = tokio::spawn(connection.begin("GET", VALUE));
    eventually("the review", async || server.cluster.reviewed().pop()).await;
    // Over the same connection, so what was asked before has arrived.
    assert_eq!(connection.get("/version").await.status, 200);
    server.drain.cancel();
    until_connections_are_refused(&server).await;
    oci.set_fault(None);
    assert_eq!(answer.await.unwrap().unwrap().values(), [("orders".to_owned(), "3".to_owned())]);
    timeout(PATIENCE, server.serving).await.expect("the server returns").unwrap();
}

/// What is not asked any more ends at once, and not with the time-out for answers, 10 s.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Drains, and looks how these connections end.
async fn expect_goaway(server: Server, idle: Vec<Connection>) {
    assert!(idle.iter().all(|connection| !connection.closed.is_finished()));
    server.drain.cancel();
    timeout(AT_ONCE, server.serving).await.expect("the server returns").unwrap();
    for connection in idle {
        let ended = timeout(PATIENCE, connection.closed).await.expect("the connection ends").unwrap();
        // The client's word for an end, in order, before the first answer.
        let in_order = ended.as_ref().err().is_none_or(hyper::Error::is_incomplete_message);
        assert!(in_order, "{ended:?}");
    }
}

#[tokio::test]
async fn idle_connections_get_goaway() {
    let (server, _oci) = start().await;
    let mut idle = Vec::new();
    for client in protocols(&server.anyone()) {
        let connection = client.connect().await.unwrap();
        assert_eq!(connection.get("/version").await.status, 200);
        idle.push(connection);
    }
    expect_goaway(server, idle).await;
}

#[tokio::test]
async fn connections_without_a_request_yet_get_it_too() {
    let (server, _oci) = start().await;
    let mut idle = Vec::new();
    for client in protocols(&server.anyone()) {
        idle.push(client.connect().await.unwrap());
    }
    // Accepted in order: once a later one is served, the server is through with their handshakes.
    assert_eq!(server.anyone().get("/version").await.status, 200);
    expect_goaway(server, idle).await;
}

#[tokio::test]
async fn whoever_stays_silent_holds_nothing_up() {
    let (server, _oci) = start().await;
    let without_handshake = TcpStream::connect(server.address).await.unwrap();
    let without_preface = server.anyone().connect_silently().await.unwrap();
    // Accepted in order: once another one is served, the silent ones are in the server's hands.
    assert_eq!(server.anyone().get("/version").await.status, 200);
    server.drain.cancel();
    timeout(AT_ONCE, server.serving).await.expect("the server returns").unwrap();
    drop((without_handshake, without_preface));
}
