//! Several URLs, paths, redirects, proxies and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use depthgauge::source::part::Part;
use tokio::time::Instant;

use super::{config_of, open, open_config, read};
use crate::support::authority::Authority;
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::files::Files;
use crate::support::relay::Relay;

/// A service whose status can be changed.
async fn switched(body: &'static str) -> (Double, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    let double = Double::start(None, move |_| (now.load(Ordering::Relaxed), body.to_owned())).await;
    (double, status)
}

#[tokio::test]
async fn the_first_url_that_answers_is_used_and_kept() {
    let ((first, status), (second, _)) = (switched("1").await, switched("2").await);
    let source = open(&format!("urls: [\"http://{}\", \"http://{}\"]", first.address, second.address));
    assert_eq!(read(&*source).await.unwrap(), "1");
    assert_eq!((first.count(), second.count()), (1, 0));
    let host = |source: &dyn depthgauge::source::Source| source.upstream().unwrap().host.unwrap();
    assert_eq!(host(&*source), first.address.to_string());
    for down in [503, 500] {
        status.store(down, Ordering::Relaxed);
        assert_eq!(read(&*source).await.unwrap(), "2");
        assert_eq!(host(&*source), second.address.to_string());
    }
    // It is well again, but not for five minutes.
    status.store(200, Ordering::Relaxed);
    assert_eq!(read(&*source).await.unwrap(), "2");
    // 401 and 404 are answers: another URL has no other credentials and paths.
    let (third, status) = switched("3").await;
    status.store(404, Ordering::Relaxed);
    let source = open(&format!("urls: [\"http://{}\", \"http://{}\"]", third.address, second.address));
    assert_eq!(read(&*source).await.unwrap_err().cause, "404");
}

#[tokio::test]
async fn the_first_url_is_probed_while_another_is_used() {
    let ((first, status), (second, _)) = (switched("1").await, switched("2").await);
    let source = open(&format!("urls: [\"http://{}\", \"http://{}\"]", first.address, second.address));
    status.store(404, Ordering::Relaxed);
    assert_eq!(read(&*source).await.unwrap_err().cause, "404");
    assert_eq!(first.count(), 1);
    status.store(503, Ordering::Relaxed);
    assert_eq!(read(&*source).await.unwrap(), "2");
    let before = first.count();
    eventually("a probe", async || (first.count() > before).then_some(())).await;
    assert_eq!(first.last().target, "/page?q=a%20b");
}

#[tokio::test]
async fn all_urls_down_is_one_message_wherever_a_read_begins() {
    let hanging = Double::start(None, |_| (0, String::new())).await;
    for (urls, cause) in [
        (format!("\"http://{}\", \"http://127.0.0.1:1\"", hanging.address), "timed out"),
        (format!("\"http://127.0.0.1:1\", \"http://{}\"", hanging.address), "connection refused"),
    ] {
        let source = open(&format!("urls: [{urls}]"));
        for _ in 0..4 {
            let error = source.read(&Part::WHOLE, Instant::now() + Duration::from_millis(600)).await.unwrap_err();
            assert_eq!(error.cause, cause, "{urls}");
        }
    }
}

#[tokio::test]
async fn a_path_stays_encoded_after_the_prefix() {
    let double = Double::start(None, |_| (200, "7".to_owned())).await;
    let keys = format!("url: \"http://{}/pre%2Ffix/\"", double.address);
    let source = open_config(&config_of(&keys, "/api/queues/%2F/a%2Bb%20c")).unwrap();
    assert_eq!(read(&*source).await.unwrap(), "7");
    assert_eq!(double.last().target, "/pre%2Ffix/api/queues/%2F/a%2Bb%20c?q=a%20b");
    assert_eq!(source.upstream().unwrap().key, "/pre%2Ffix/api/queues/%2F/a%2Bb%20c");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_the_url_to_write() {
    let target = Double::start(None, |_| (200, "7".to_owned())).await;
    for (location, url) in [("/page?session=1", ""), ("/new/page", "/new"), ("/login", "/login")] {
        let double = Double::start(None, |_| (307, String::new())).await;
        double.set_header(&format!("location: http://{}{location}", target.address));
        let error = read(&*open(&format!("url: \"http://{}\"", double.address))).await.unwrap_err();
        assert_eq!(error.cause, format!("307, a redirect to http://{}{url}", target.address));
        assert!(error.remedy.contains("Set `url`"), "{}", error.remedy);
    }
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn a_proxy_of_the_connection_is_used_for_every_host_and_named_when_it_fails() {
    let (files, authority) = (Files::new(), Authority::named("own"));
    let ca = files.write("ca.pem", &authority.pem);
    let name = "rabbitmq.invalid";
    let double = Double::start(Some(authority.acceptor_named(&[name])), |_| (200, "7".to_owned())).await;
    let proxy = Relay::proxy(double.address).await;
    let keys = |proxy: &str| format!("url: \"https://{name}:15671\", tls: {{caFile: {ca}}}, proxy: \"{proxy}\"");
    assert_eq!(read(&*open(&keys(&format!("http://{}", proxy.address)))).await.unwrap(), "7");
    assert_eq!(proxy.asked(), [format!("CONNECT {name}:15671 HTTP/1.1")]);
    let error = read(&*open(&keys("http://127.0.0.1:1"))).await.unwrap_err();
    assert_eq!(error.cause, "proxy http://127.0.0.1:1 (`proxy`): connection refused");
    assert_eq!(error.remedy, "Correct `proxy` of the connection.");
    let error = read(&*open(&keys("none"))).await.unwrap_err();
    assert_eq!(error.cause, "host name not found");
}

#[tokio::test]
async fn a_proxy_may_have_tls_where_the_service_has_none() {
    let (files, authority) = (Files::new(), Authority::named("own"));
    let ca = files.write("ca.pem", &authority.pem);
    let proxy = Double::start(Some(authority.acceptor_named(&["localhost"])), |_| (200, "7".to_owned())).await;
    let proxy_url = format!("https://localhost:{}", proxy.address.port());
    let keys = format!("url: \"http://prometheus.invalid:9090\", proxy: \"{proxy_url}\"");
    assert_eq!(read(&*open(&format!("{keys}, tls: {{caFile: {ca}}}"))).await.unwrap(), "7");
    assert_eq!(proxy.last().target, "http://prometheus.invalid:9090/page?q=a%20b");
    // The certificate of the proxy is verified.
    let error = read(&*open(&keys)).await.unwrap_err();
    assert_eq!(error.cause, format!("proxy {proxy_url} (`proxy`): TLS handshake failed"));
}

#[tokio::test]
async fn the_read_that_waited_is_not_charged_twice() {
    let double = Double::start(None, |_| (200, "7".to_owned())).await;
    let source = open(&format!("url: \"http://{}\", maxRequestsPerSecond: 1", double.address));
    let admission = source.admit(&[], true).await;
    assert!(admission.permit.is_some(), "a place at its host");
    let start = Instant::now();
    assert_eq!(read(&*source).await.unwrap(), "7");
    // The next turn comes a second after the first. A read that was charged again would make it two.
    drop(admission);
    source.admit(&[], true).await;
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn max_in_flight_is_a_limit() {
    let address = Double::start(None, |_| (200, "7".to_owned())).await.address;
    let source = open(&format!("url: \"http://{address}\", maxInFlight: 1, maxRequestsPerSecond: 10000"));
    let _first = source.admit(&[], true).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), source.admit(&[], true)).await.is_err());
}
