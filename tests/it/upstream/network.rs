//! The way to OCI: who is believed to be OCI, and what stands between.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::source::KINDS;
use serde_json::json;
use tempfile::TempDir;

use super::{LONG, failure, length, open_at};
use crate::support::authority::Authority;
use crate::support::double::Double;
use crate::support::oci::{Oci, source};
use crate::support::principals::{Instance, Oke, client};
use crate::support::program::Home;
use crate::support::relay::{Relay, refusing_proxy};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn config() -> (Oci, String) {
    let oci = Oci::with_queues(&["orders"]).await;
    let config = oci.config(&json!({}), &[source("orders", &["shop"])]);
    (oci, config)
}

fn stats() -> String {
    let of = |visible| json!({"visibleMessages": visible, "inFlightMessages": 0, "sizeInBytes": 0});
    json!({"queue": of(7), "dlq": of(0)}).to_string()
}

fn ca_file(authority: &Authority) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let name = file.display().to_string();
    (dir, name)
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_and_nothing_that_it_did_not_sign_for_here() {
    let (_oci, config) = config().await;
    let (own, other) = (Authority::named("own"), Authority::named("other"));
    let (_dir, file) = ca_file(&own);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    for (acceptor, trusted) in [
        (own.acceptor_for(HERE), true),
        (own.acceptor_for(elsewhere), false),
        (own.expired_acceptor_for(HERE), false),
        (other.acceptor_for(HERE), false),
    ] {
        let double = Double::start(Some(acceptor), |_| (200, stats())).await;
        let source = open_at(&config, &format!("https://{}", double.address), &json!({"caFile": file}));
        if trusted {
            assert_eq!(length(&*source).await, "7");
            continue;
        }
        for _ in 0..2 {
            assert_eq!(failure(&*source, LONG).await, ("read", "TLS handshake failed".to_owned()));
        }
        assert_eq!(double.count(), 0);
    }
}

#[tokio::test]
async fn a_ca_file_that_is_none_ends_the_start_and_is_named() {
    let (_oci, config) = config().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    for (file, what) in
        [(file.display().to_string(), "no certificate in it"), ("/absent.pem".to_owned(), "o such file")]
    {
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["oci"]["caFile"] = json!(file);
        let config = Config::parse(&config.to_string(), KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
        let error = config.open(jiff::Timestamp::now, Endpoints::none()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&file) && error.contains(what) && error.contains("`oci.caFile`"), "{error}");
    }
}

#[tokio::test]
async fn where_nobody_is_the_cause_says_so() {
    let (_oci, config) = config().await;
    for (endpoint, cause) in
        [("http://127.0.0.1:1", "connection refused"), ("https://depthgauge.invalid", "host name not found")]
    {
        let source = open_at(&config, endpoint, &json!({}));
        for _ in 0..2 {
            assert_eq!(failure(&*source, LONG).await, ("read", cause.to_owned()));
        }
    }
}

/// An answer that leads to `target`, which nobody must follow.
async fn redirect(target: &Double) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), target.address);
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            // Whoever hangs up has not been redirected either.
            let _ = stream.read(&mut [0; 8192]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn nothing_that_is_signed_or_secret_follows_a_redirect() {
    let (_oci, config) = config().await;
    let target = Double::start(None, |_| (200, stats())).await;
    let address = redirect(&target).await;
    // GetStats, and GetQueue.
    let source = open_at(&config, &format!("http://{address}"), &json!({}));
    let error = super::read(&*source, LONG).await.unwrap_err();
    assert_eq!(error.cause, "307");
    assert!(error.remedy.contains("redirects are not followed"), "{}", error.remedy);
    let mut of_control: serde_json::Value = serde_json::from_str(&config).unwrap();
    of_control["oci"]["endpoint"] = json!(format!("http://{address}"));
    assert_eq!(failure(&*super::open(&of_control.to_string()), LONG).await, ("resolve endpoint", "307".to_owned()));
    // The metadata and the federation service of an instance.
    let instance = Instance::start().await;
    for federation in [true, false] {
        let mut metadata = instance.metadata.clone();
        let place = if federation { &mut metadata.federation } else { &mut metadata.base };
        *place = Some(format!("http://{address}"));
        let credentials = depthgauge::oci::credentials::Credentials::instance_principal(metadata, jiff::Timestamp::now);
        let signer = credentials.signer(tokio::time::Instant::now() + LONG).await;
        assert!(signer.unwrap_err().cause.ends_with("307"));
    }
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn a_token_service_that_redirects_gets_no_second_request() {
    let oke = Oke::start().await;
    oke.answer(|manner| manner.status = 307);
    let client = client(oke.credentials());
    let error = client.home(tokio::time::Instant::now() + LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "token service of the cluster: 307");
    assert_eq!(oke.double.count(), 1);
}

/// `check` in an environment of its own; the line of the source.
async fn checked(config: &str, variables: &[(&str, &str)]) -> String {
    let home = Home::new();
    let file = home.write("config.yaml", config);
    let ended = home.start_in(variables, &["check", "--config", &file]).ended().await;
    let line = ended.stdout.lines().find(|line| line.contains("queue \"orders\"")).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{} {}", ended.stdout, ended.stderr))
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_unless_the_environment_excepts_the_host() {
    let (oci, config) = config().await;
    oci.put("orders", 3);
    let authority = Authority::named("own");
    let (_dir, file) = ca_file(&authority);
    let host = "cell-1.queue.invalid";
    let double = Double::start(Some(authority.acceptor_named(&[host])), |_| (200, stats())).await;
    let proxy = Relay::proxy(double.address).await;
    let mut far: serde_json::Value = serde_json::from_str(&config).unwrap();
    far["sources"][0]["endpoint"] = json!(format!("https://{host}"));
    let far = far.to_string();
    let at = format!("http://{}", proxy.address);
    let (by_proxy, trust) = (("HTTPS_PROXY", at.as_str()), ("OCI_DEFAULT_CERTS_PATH", file.as_str()));
    let line = checked(&far, &[by_proxy, trust]).await;
    assert!(line.contains("oci_queue_length 7"), "{line}");
    assert_eq!(proxy.asked(), [format!("CONNECT {host}:443 HTTP/1.1")]);
    let line = checked(&far, &[by_proxy, trust, ("NO_PROXY", ".invalid")]).await;
    assert!(line.contains("host name not found"), "{line}");
    // No proxy can reach a loopback address of this machine.
    let line = checked(&config, &[by_proxy, ("HTTP_PROXY", &at)]).await;
    assert!(line.contains("oci_queue_length 3"), "{line}");
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_makes_no_connection_is_named_with_its_variable() {
    let (_oci, config) = config().await;
    let mut far: serde_json::Value = serde_json::from_str(&config).unwrap();
    far["sources"][0]["endpoint"] = json!("https://cell-1.queue.invalid");
    let far = far.to_string();
    let at = |address: std::net::SocketAddr| address.to_string();
    for (variable, proxy, what) in [
        (
            "HTTPS_PROXY",
            at(refusing_proxy("407 Proxy Authentication Required").await),
            "407 Proxy Authentication Required",
        ),
        ("ALL_PROXY", at(refusing_proxy("502 Bad Gateway").await), "it refuses to connect to the endpoint"),
        (
            "https_proxy",
            at(refusing_proxy("").await),
            "it closes the connection before it is connected to the endpoint",
        ),
        ("HTTPS_PROXY", "127.0.0.1:1".to_owned(), "connection refused"),
        ("HTTPS_PROXY", "proxy.invalid:3128".to_owned(), "host name not found"),
    ] {
        let line = checked(&far, &[(variable, &format!("http://user:hidden@{proxy}"))]).await;
        assert!(line.contains(&format!("proxy http://{proxy} ({variable}): {what}")), "{line}");
        assert!(line.contains("NO_PROXY") && !line.contains("DNS") && !line.contains("hidden"), "{line}");
    }
}

#[tokio::test]
async fn a_variable_that_is_no_proxy_ends_the_start() {
    let (_oci, config) = config().await;
    let mut far: serde_json::Value = serde_json::from_str(&config).unwrap();
    far["oci"]["endpoint"] = json!("https://control.queue.invalid");
    let home = Home::new();
    let file = home.write("config.yaml", &far.to_string());
    let proxy = [("HTTPS_PROXY", "http://user:hidden@proxy:port")];
    let common = ["--config", file.as_str()];
    for command in [&["get", "oci_queue_length", "-n", "shop"][..], &["serve"]] {
        let command = &[command, &common].concat();
        let ended = home.start_in(&proxy, command).ended().await;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("HTTPS_PROXY is not the URL of a proxy"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_variable_that_is_no_proxy_is_an_error_of_each_url_that_needs_it() {
    let home = Home::new();
    let secret = home.write("secret", "x");
    let far = "http://rabbitmq.invalid";
    let tokens = |url: &str| json!({"type": "oauth2", "tokenUrl": url, "clientId": "a", "clientSecretFile": secret});
    let near = "https://rabbitmq.shop.svc";
    for (variable, url, auth, is_needed) in [
        ("HTTP_PROXY", far, json!({"type": "none"}), true),
        ("HTTPS_PROXY", far, json!({"type": "none"}), false),
        ("HTTPS_PROXY", near, json!({"type": "none"}), false),
        ("HTTPS_PROXY", near, tokens("https://login.invalid/token"), true),
        ("HTTPS_PROXY", near, tokens("https://login.shop.svc/token"), false),
    ] {
        let config = json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "connections": {"broker": {"type": "rabbitmq", "url": url, "auth": auth}},
            "sources": [{"type": "rabbitmq", "queue": "orders", "timeout": "100ms", "namespaces": ["shop"]}],
        });
        let file = home.write("config.yaml", &config.to_string());
        let environment = [(variable, "http://user:hidden@proxy:port")];
        let command = ["get", "rabbitmq_queue_length", "-n", "shop", "--config", &file];
        let ended = home.start_in(&environment, &command).ended().await;
        let message = format!("{variable} is not the URL of a proxy");
        assert_eq!(ended.stderr.contains(&message), is_needed, "{variable} {config}: {}", ended.stderr);
        assert!(!ended.status.success() && !ended.stderr.contains("hidden"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_service_that_never_answers_a_handshake_is_timed_out() {
    let (_oci, config) = config().await;
    let listener = Arc::new(tokio::net::TcpListener::bind((HERE, 0)).await.unwrap());
    let source = open_at(&config, &format!("https://{}", listener.local_addr().unwrap()), &json!({}));
    let short = Duration::from_millis(300);
    assert_eq!(failure(&*source, short).await, ("read", "timed out".to_owned()));
}
