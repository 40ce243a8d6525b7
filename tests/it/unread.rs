//! Answers that clients request and do not read: their memory is bounded and divided among the users,
//! their streams have a deadline, and one answer has a maximum length.

use std::time::{Duration, Instant};

use depthgauge::server::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::shell::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, Stream, frame, next_frame};
use crate::support::client::Client;
use crate::support::cluster::FRONT_PROXY;
use crate::support::eventually;
use crate::support::server::Server;
use crate::toy::{TOYS, config};

const TOYS_PATH: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/toys";
const RED_PATH: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/toys?labelSelector=colour%3Dred";
/// Of all answers that are not read: one user gets half.
const SHARE: usize = 4 << 20;
const STREAMS: u32 = 50;
/// HPACK's index of `:status: 200`.
const OK: u8 = 0x88;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// The most items of an answer, besides a red one.
const ITEMS: usize = 999;

/// A server whose answers about toys have a red one and [`ITEMS`] more, each with so many long labels.
async fn serve(labels: usize, limits: Limits) -> Server {
    let colours: Vec<String> = (0..ITEMS).map(|item| format!("{item:063}=1")).collect();
    let labels: Vec<String> = (1..labels).map(|label| format!("label-{label}: {}", "x".repeat(63))).collect();
    let (colours, labels) = (colours.join(", "), labels.join(", "));
    let config = config(&[&format!("metric: toys, items: sum, labels: {{{labels}}}, colours: [red=1, {colours}]")]);
    Server::start_within(&config, TOYS, limits).await
}

/// The aggregator, over an HTTP/2 connection whose streams begin with a window of this size.
async fn with_window(server: &Server, size: u32) -> Stream {
    let client = server.holder(&server.front_proxies.client(FRONT_PROXY, &[]));
    let mut stream = client.connect_silently().await.unwrap();
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    let settings = [&INITIAL_WINDOW_SIZE[..], &size.to_be_bytes()].concat();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await.unwrap();
    stream
}

/// A request of this user.
async fn request(stream: &mut Stream, id: u32, path: &str, user: &str) {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // Method and scheme by HPACK's static table; the path with a name of that table; a header of its own.
    let block = [&[0x82, 0x87, 0x04], &*text(path), &[0x41, 1, b'x', 0], &text("x-remote-user"), &text(user)].concat();
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, &block)).await.unwrap();
}

/// How many of [`STREAMS`] requests of this user get an answer; none of them is read.
async fn answered(stream: &mut Stream, user: &str) -> usize {
    for number in 0..STREAMS {
        request(stream, 2 * number + 1, TOYS_PATH, user).await;
    }
    let (mut heads, mut answered) = (0, 0);
    while heads < STREAMS {
        match next_frame(stream).await {
            (HEADERS, _, block) => {
                heads += 1;
                answered += usize::from(block[0] == OK);
            }
            (DATA, ..) => panic!("no window is open"),
            _ => {}
        }
    }
    answered
}

/// Bytes of answers that are not read, as the metric shows them.
async fn unread(prometheus: &Client) -> usize {
    let text = prometheus.get("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix("depthgauge_unread_answer_bytes "));
    line.unwrap_or_else(|| panic!("no such metric in {text}")).parse().unwrap()
}

#[tokio::test]
async fn unread_answers_of_a_user_are_bounded_and_others_are_served() {
    let server = serve(1, Limits::default()).await;
    let (hpa, prometheus) = (server.aggregator("hpa"), server.aggregator("prometheus"));
    let length = hpa.get(TOYS_PATH).await.bytes.len();
    assert!(length > 100_000, "{length}");
    server.cluster.allow("mallory");
    let mut streams = Vec::new();
    let mut total = 0;
    for _ in 0..3 {
        let mut stream = with_window(&server, 0).await;
        total += answered(&mut stream, "mallory").await;
        streams.push(stream);
    }
    assert_eq!(total, SHARE / length);
    assert_eq!(unread(&prometheus).await, total * length);
    for hpa in [hpa.clone(), hpa.with_http1()] {
        let answer = hpa.get(TOYS_PATH).await;
        assert_eq!((answer.status.as_u16(), answer.bytes.len()), (200, length));
    }
    let (code, message) = server.aggregator("mallory").get(TOYS_PATH).await.refusal();
    assert_eq!(code, 503);
    assert!(message.contains("have not read earlier answers"), "{message}");
    assert_eq!(server.aggregator("mallory").get(RED_PATH).await.status, 200, "a small answer");
    drop(streams);
    eventually("all memory is free", async || (unread(&prometheus).await == 0).then_some(())).await;
    assert_eq!(server.aggregator("mallory").get(TOYS_PATH).await.status, 200);
}

#[tokio::test]
async fn a_stream_ends_although_its_client_takes_nothing() {
    let limits = Limits { stream: Duration::from_secs(1), ..Limits::default() };
    let server = serve(1, limits.clone()).await;
    // HTTP/1.1, which has no streams: the deadline is short here.
    let (hpa, prometheus) = (server.aggregator("hpa").with_http1(), server.aggregator("prometheus").with_http1());
    assert_eq!(hpa.get(TOYS_PATH).await.status, 200);
    for (window, path, taken) in [(0, TOYS_PATH, 0), (1, TOYS_PATH, 1), (0, "/apis", 0)] {
        let mut stream = with_window(&server, window).await;
        let began = Instant::now();
        request(&mut stream, 1, path, "hpa").await;
        let mut bytes = 0;
        let code = loop {
            match next_frame(&mut stream).await {
                (DATA, 1, data) => bytes += data.len(),
                (RST_STREAM, 1, code) => break code,
                _ => {}
            }
        };
        assert_eq!((&*code, bytes), (&CANCEL[..], taken), "{window} {path}");
        assert!(began.elapsed() >= limits.stream, "{window} {path}");
        // The connection stays.
        request(&mut stream, 3, path, "hpa").await;
        while !matches!(next_frame(&mut stream).await, (HEADERS, 3, block) if block[0] == OK) {}
        drop(stream);
    }
    assert_eq!(hpa.get(TOYS_PATH).await.status, 200);
    eventually("all memory is free", async || (unread(&prometheus).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_connection_without_streams_ends_although_its_client_takes_a_little() {
    let limits = Limits { idle: Duration::from_secs(1), write: Duration::from_secs(3600), ..Limits::default() };
    let server = serve(1, limits).await;
    let prometheus = server.aggregator("prometheus");
    server.cluster.allow("hpa");
    let client = server.holder(&server.front_proxies.client(FRONT_PROXY, &[])).with_http1();
    let mut stream = client.connect_silently().await.unwrap();
    // More than the sockets hold.
    let request = format!("GET {TOYS_PATH} HTTP/1.1\r\nHost: x\r\nX-Remote-User: hpa\r\n\r\n");
    stream.write_all(request.repeat(400).as_bytes()).await.unwrap();
    eventually("an answer waits", async || (unread(&prometheus).await > 0).then_some(())).await;
    eventually("its memory is free", async || (unread(&prometheus).await == 0).then_some(())).await;
    drop(stream);
}

#[tokio::test]
async fn an_answer_that_is_too_long_says_what_to_do() {
    let server = serve(32, Limits::default()).await;
    let hpa = server.aggregator("hpa");
    let table = hpa.clone().with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    for client in [&hpa, &table] {
        let (code, message) = client.get(TOYS_PATH).await.refusal();
        assert_eq!(code, 400);
        let expected =
            "the answer is longer than 2 MiB: select fewer items with labelSelector, or items with shorter labels";
        assert_eq!(message, expected);
    }
    let fewer = format!("{TOYS_PATH}?labelSelector=colour%21%3Dred");
    assert_eq!(hpa.get(&fewer).await.refusal().0, 400);
    assert_eq!(hpa.get(RED_PATH).await.status, 200);
}
