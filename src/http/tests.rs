//! The client against services that misbehave, on loopback.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::http::transport::{Roots, Trust};
use crate::upstream::Limits;

const SECRET: &str = "a-token-that-no-error-may-repeat";

/// Gives tokens, each another one than before.
struct Tokens {
    given: AtomicUsize,
    renewable: bool,
}

impl Authorize for Tokens {
    type Credential = usize;
    type Error = &'static str;

    async fn credential(&self, _: Instant) -> Result<usize, &'static str> {
        Ok(self.given.fetch_add(1, Ordering::Relaxed))
    }

    async fn authorize(&self, token: &usize, request: &Request) -> Result<Authorization, &'static str> {
        let value = format!("{SECRET} {token} {}", request.method);
        Authorization::header(&value, SECRET).filter(|_| *token < 9).ok_or("no token left")
    }

    async fn renew(&self, refused: &usize, error: &StatusError, by: Instant) -> Option<usize> {
        assert_eq!(error.status, 401);
        let next = self.credential(by).await.ok().filter(|_| self.renewable)?;
        assert!(next > *refused);
        Some(next)
    }
}

fn tokens(renewable: bool) -> Tokens {
    Tokens { given: AtomicUsize::new(0), renewable }
}

/// A service that sends these answers, one a connection, and then the last one again. Returns its
/// URL and what it was sent.
async fn service(answers: &[&str]) -> (Url, Arc<std::sync::Mutex<Vec<String>>>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/q?x=1", listener.local_addr().unwrap()).parse().unwrap();
    let received = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, answers) = (received.clone(), answers.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    tokio::spawn(async move {
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            seen.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let answer = &answers[n.min(answers.len() - 1)];
            // A client that has seen enough hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, received)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn client(per_second: u32) -> Client {
    let upstream = Arc::new(Upstream::new(Limits::new(per_second, "test")));
    let protocol = Protocol {
        body_max: 64,
        request_id: Some(RequestId { header: "x-request-id", make: Some(|| "ours".to_owned()) }),
        ..Protocol::default()
    };
    Client::new(upstream, Transport::new(Trust::System(Roots::default())), protocol, Timestamp::now)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn fault(client: &Client, url: &Url) -> Error {
    match client.send(&Request::get(url.clone()), &tokens(false), soon()).await.unwrap_err() {
        Failure::Http(error) => error,
        Failure::Authorize(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_401_renews_once_and_counts_as_an_answer() {
    let (refused, good) = (answer("401 Unauthorized", "", SECRET), answer("200 OK", "x-request-id: theirs\r\n", "{}"));
    let (url, received) = service(&[&refused, &good, &refused]).await;
    let client = client(1000);
    let response = client.send(&Request::get(url.clone()), &tokens(true), soon()).await.unwrap();
    assert_eq!((response.body.as_slice(), response.request_id.as_deref()), (&b"{}"[..], Some("theirs")));
    let sent = received.lock().unwrap().clone();
    assert!(sent[0].contains(&format!("{SECRET} 0 GET")) && sent[1].contains(&format!("{SECRET} 1 GET")), "{sent:?}");
    assert!(sent.iter().all(|request| request.contains("x-request-id: ours")), "{sent:?}");
    // Refused again: that is the end, and no failure of the host however often it happens.
    for n in 0..12 {
        let failure = client.send(&Request::get(url.clone()), &tokens(true), soon()).await.unwrap_err();
        let Failure::Http(Error { fault: Fault::Status(error), .. }) = failure else { panic!("{failure:?}") };
        assert_eq!((error.status, received.lock().unwrap().len()), (401, 4 + 2 * n));
        assert!(!error.message.contains(SECRET), "{}", error.message);
    }
    assert!(!client.upstream().breaker_open(&host(&url)));
}

#[tokio::test]
async fn a_request_that_cannot_be_authenticated_is_not_sent_and_says_nothing_of_the_host() {
    let (url, received) = service(&[&answer("200 OK", "", "{}")]).await;
    let (client, spent) = (client(1000), Tokens { given: AtomicUsize::new(9), renewable: true });
    for _ in 0..12 {
        let failure = client.send(&Request::get(url.clone()), &spent, soon()).await.unwrap_err();
        assert!(matches!(failure, Failure::Authorize("no token left")), "{failure:?}");
    }
    assert!(received.lock().unwrap().is_empty() && !client.upstream().breaker_open(&host(&url)));
}

#[tokio::test]
async fn what_each_answer_is() {
    let long = answer("200 OK", "", &"x".repeat(65));
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(100));
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{}";
    let moved = answer("301 Moved Permanently", "location: /new\r\n", "");
    for (sent, text) in [
        (long.as_str(), "the answer is not understood: it is longer than 64 bytes"),
        (&endless, "the answer is not understood: it is longer than 64 bytes"),
        (half, "connection lost"),
        ("", "connection lost"),
        (&answer("404 Not Found", "", "none"), "404"),
        (&answer("201 Created", "", "{}"), "201, but only status 200 is read"),
        (&answer("203 Non-Authoritative Information", "", "{}"), "203, but only status 200 is read"),
        (&answer("204 No Content", "", ""), "204, but only status 200 is read"),
        (&answer("206 Partial Content", "", "{"), "206, but only status 200 is read"),
        (&moved, "301"),
    ] {
        let (url, _) = service(&[sent]).await;
        let error = fault(&client(1000), &url).await;
        assert_eq!((error.to_string().as_str(), error.request_id.as_deref()), (text, Some("ours")), "{sent}");
    }
    let (url, _) = service(&[&answer("206 Partial Content", "", SECRET)]).await;
    let Fault::Status(error) = fault(&client(1000), &url).await.fault else { panic!() };
    assert_eq!(error.message, "", "no error, so it may have secrets");
    let (url, received) = service(&[&moved]).await;
    let Fault::Status(error) = fault(&client(1000), &url).await.fault else { panic!() };
    assert_eq!(error.location.unwrap(), url.join("/new").unwrap().to_string());
    assert_eq!(received.lock().unwrap().len(), 1, "a redirect is not followed");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_may_be_cut() {
    for (sent, may_be_cut) in [
        ("HTTP/1.0 200 OK\r\n\r\n12", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12", true),
        ("HTTP/1.0 200 OK\r\n\r\n12\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n12", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n", false),
    ] {
        let (url, _) = service(&[sent]).await;
        let response = client(1000).send(&Request::get(url), &tokens(false), soon()).await.unwrap();
        assert_eq!(response.may_be_cut(), may_be_cut, "{sent:?}");
    }
}

#[test]
fn an_end_is_a_length_or_a_last_chunk() {
    for (version, headers, expected) in [
        (Version::HTTP_2, &[][..], true),
        (Version::HTTP_11, &[], false),
        (Version::HTTP_11, &[(CONTENT_LENGTH, "2")], true),
        (Version::HTTP_11, &[(TRANSFER_ENCODING, "gzip, Chunked")], true),
        (Version::HTTP_11, &[(TRANSFER_ENCODING, "gzip"), (TRANSFER_ENCODING, "chunked")], true),
        // The length does not count.
        (Version::HTTP_11, &[(TRANSFER_ENCODING, "gzip"), (CONTENT_LENGTH, "2")], false),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(is_framed(version, &map), expected, "{version:?} {headers:?}");
    }
}

#[tokio::test]
async fn a_service_that_says_when_to_come_back_gets_no_request_before() {
    let throttled = answer("429 Too Many Requests", "retry-after: 30\r\n", "");
    let (url, received) = service(&[&throttled]).await;
    let client = client(1000);
    let first = fault(&client, &url).await;
    let Fault::NotSent { met, retry_after: Some(left) } = fault(&client, &url).await.fault else { panic!() };
    assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(20), "{left:?}");
    assert_eq!((met.to_string(), met.request_id), (first.to_string(), first.request_id));
    assert_eq!(received.lock().unwrap().len(), 1);
    let other = Request { key: "other".to_owned(), ..Request::get(url) };
    assert!(client.send(&other, &tokens(false), soon()).await.is_err());
    assert_eq!(received.lock().unwrap().len(), 2, "other keys are not concerned");
}

#[tokio::test]
async fn a_host_that_is_down_gets_few_requests_and_every_refusal_is_what_was_met() {
    let (url, received) = service(&[&answer("503 Service Unavailable", "", "later")]).await;
    let client = client(1000);
    for _ in 0..30 {
        let error = fault(&client, &url).await;
        assert_eq!(error.to_string(), "503");
        assert!(matches!(&error.met().fault, Fault::Status(status) if status.message == "later"));
    }
    assert!(client.upstream().breaker_open(&host(&url)));
    assert!(received.lock().unwrap().len() < 14, "{}", received.lock().unwrap().len());
}

#[tokio::test]
async fn every_request_but_the_admitted_one_is_charged() {
    let (url, received) = service(&[&answer("503 Service Unavailable", "", "")]).await;
    let client = client(10);
    client.upstream().admit(Some(&host(&url)), "/q", &[], false).await;
    let began = Instant::now();
    let request = Request { admitted: true, ..Request::get(url.clone()) };
    assert!(client.send(&request, &tokens(false), soon()).await.is_err());
    assert_eq!(received.lock().unwrap().len(), 3);
    // The turn of this read, and two retries.
    client.upstream().admit(Some(&host(&url)), "/q", &[], false).await;
    assert!(began.elapsed() >= Duration::from_millis(280), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_deadline_ends_a_request_that_hangs() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let request = Request::get(url);
    let sent = client(1000).send(&request, &tokens(false), Instant::now() + Duration::from_millis(100)).await;
    assert!(matches!(sent, Err(Failure::Http(Error { fault: Fault::TimedOut, .. }))), "{sent:?}");
}

#[tokio::test]
async fn a_request_that_gets_no_socket_is_not_sent_and_says_nothing_of_the_host() {
    let (url, received) = service(&[&answer("200 OK", "", "{}")]).await;
    let permits = Arc::new(Permits::new(1));
    let client = Client { sockets: Some(permits.clone()), ..client(1000) };
    let request = Request::get(url.clone());
    let held = permits.acquire(&["another host"], false).await;
    for _ in 0..12 {
        let failure =
            client.send(&request, &tokens(false), Instant::now() + Duration::from_millis(20)).await.unwrap_err();
        let Failure::Http(Error { fault: Fault::NoSocket, .. }) = failure else { panic!("{failure:?}") };
    }
    assert!(received.lock().unwrap().is_empty() && !client.upstream().breaker_open(&host(&url)));
    drop(held);
    client.send(&request, &tokens(false), soon()).await.unwrap();
}

#[tokio::test]
async fn a_long_answer_that_gets_no_place_says_nothing_of_the_host() {
    let short = answer("200 OK", "", &"x".repeat(body::SHORT_BYTES));
    let long = answer("200 OK", "", &"x".repeat(body::SHORT_BYTES + 1));
    let permits = Arc::new(Permits::new(1));
    let mut client = Client { long_answers: permits.clone(), ..client(1000) };
    client.protocol.body_max = 2 * body::SHORT_BYTES;
    let held = permits.acquire(&["another host"], false).await;
    let (url, _) = service(&[&short]).await;
    let response = client.send(&Request::get(url), &tokens(false), soon()).await.unwrap();
    assert!(response.permit.is_none());
    let (url, received) = service(&[&long]).await;
    let request = Request::get(url.clone());
    for _ in 0..12 {
        let failure =
            client.send(&request, &tokens(false), Instant::now() + Duration::from_millis(200)).await.unwrap_err();
        let Failure::Http(Error { fault: Fault::NoRoom, .. }) = failure else { panic!("{failure:?}") };
    }
    assert!(received.lock().unwrap().len() == 12 && !client.upstream().breaker_open(&host(&url)));
    drop(held);
    let first = client.send(&request, &tokens(false), soon()).await.unwrap();
    assert!(first.body.len() == body::SHORT_BYTES + 1 && first.permit.is_some());
    // The permit is kept as long as the response.
    let short_of_time = Instant::now() + Duration::from_millis(200);
    assert!(client.send(&request, &tokens(false), short_of_time).await.is_err());
    drop(first);
    assert!(client.send(&request, &tokens(false), soon()).await.is_ok());
}

#[tokio::test]
async fn of_an_error_only_the_beginning_is_read() {
    let long = answer("404 Not Found", "", &format!("{}end", "x".repeat(2 * body::SHORT_BYTES)));
    let mut client = client(1000);
    client.protocol.body_max = 3 * body::SHORT_BYTES;
    client.long_answers = Arc::new(Permits::new(0));
    let (url, _) = service(&[&long]).await;
    let error = fault(&client, &url).await;
    assert!(matches!(&error.fault, Fault::Status(status) if status.status == 404), "{error:?}");
}

#[tokio::test]
async fn a_service_has_the_time_that_is_left_after_the_wait_for_a_socket() {
    const TIME: Duration = Duration::from_secs(10);
    const WAIT: Duration = Duration::from_millis(50);
    let (url, received) = service(&[&answer("200 OK", "", "{}")]).await;
    let permits = Arc::new(Permits::new(1));
    let client = Client { sockets: Some(permits.clone()), ..client(1000) };
    let request = Request { time_limit: Some("timeout"), ..Request::post_form(url, "query=up".to_owned()) };
    let held = permits.acquire(&["another host"], false).await;
    let (auth, by) = (tokens(false), Instant::now() + TIME);
    let release = async {
        tokio::time::sleep(WAIT).await;
        drop(held);
    };
    let (sent, ()) = tokio::join!(client.send(&request, &auth, by), release);
    sent.unwrap();
    let sent = received.lock().unwrap()[0].clone();
    let limit: u128 = sent.split("&timeout=").nth(1).unwrap().strip_suffix("ms").unwrap().parse().unwrap();
    assert!(limit <= ((TIME - WAIT) * 9 / 10).as_millis(), "{limit}");
}
