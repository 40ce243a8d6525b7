//! Signed in by every way, through every failure: keys, tokens and passphrases stay where they are.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::environment::Environment;
use depthgauge::oci::queue::{QueueId, QueuePart};
use depthgauge::oci::resource_principal::ResourcePrincipal;
use depthgauge_emulator::fault::Fault;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::double::{Double, Received};
use crate::support::oci::{Oci, ocid, source};
use crate::support::principals::{Instance, Oke, SECRET, Tokens, client};
use crate::support::server::{Server, VALUE};

/// Everything that is logged in this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Credentials of each kind, and what must never be seen of them.
struct Everybody {
    credentials: Vec<Credentials>,
    secrets: Vec<String>,
    oke: Oke,
    instance: Instance,
    dir: tempfile::TempDir,
}

/// The middle of a text's longest lines: what a careless print would show.
fn pieces(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.len() >= 40 && !line.starts_with("-----"));
    lines.map(|line| line[8..40].to_owned()).collect()
}

async fn everybody() -> Everybody {
    let (oke, instance, dir) = (Oke::start().await, Instance::start().await, tempfile::tempdir().unwrap());
    let vectors: Value = serde_json::from_str(include_str!("../../golden/oci/vectors.json")).unwrap();
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tokens = Tokens::default();
    let token = tokens.issue(&text("pod_key_format"), Duration::from_secs(3600));
    for (name, content) in [
        ("key", text("private_key_pkcs8_encrypted_pem")),
        ("plain", text("private_key_pkcs8_pem")),
        ("token", token.clone()),
        (
            "config",
            format!(
                "[DEFAULT]\nuser=ocid1.user.oc1..u\ntenancy=ocid1.tenancy.oc1..t\nfingerprint={}\nkey_file={}\npass_phrase={}\nsecurity_token_file={}\n",
                text("fingerprint"),
                path("key"),
                text("passphrase"),
                path("token")
            ),
        ),
    ] {
        std::fs::write(path(name), content).unwrap();
    }
    let config = dir.path().join("config");
    let var = |name: &str| match name {
        "OCI_RESOURCE_PRINCIPAL_VERSION" => Some("2.2".to_owned()),
        "OCI_RESOURCE_PRINCIPAL_RPST" => Some(token.clone()),
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM" => Some(text("private_key_pkcs8_pem")),
        _ => None,
    };
    let principal = ResourcePrincipal::from_env(&Environment::new(&var, &|_| false)).unwrap();
    let credentials = vec![
        Credentials::api_key(&config, "DEFAULT").unwrap(),
        Credentials::session_token(&config, "DEFAULT", Timestamp::now).unwrap(),
        Credentials::resource_principal(principal, Timestamp::now).unwrap(),
        oke.credentials(),
        instance.credentials(),
    ];
    let service_account = std::fs::read_to_string(&oke.service.token_file).unwrap();
    let instance_key = instance.identity.lock().unwrap().key.clone();
    let mut secrets = vec![text("passphrase"), SECRET.to_owned(), "PRIVATE KEY".to_owned(), "Bearer".to_owned()];
    for whole in
        [text("private_key_pkcs8_encrypted_pem"), text("private_key_pkcs8_pem"), token, service_account, instance_key]
    {
        secrets.extend(pieces(&whole));
    }
    Everybody { credentials, secrets, oke, instance, dir }
}

#[tokio::test]
async fn no_secret_is_in_a_log_an_error_or_what_debug_shows() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    let subscriber = subscriber.with_max_level(tracing::Level::TRACE).finish();
    let _logging = crate::support::listen(subscriber);
    let everybody = everybody().await;
    let oci = Oci::with_queues(&["orders"]).await;
    let id: QueueId = ocid("orders").parse().unwrap();
    // Sends back what it was sent, as debugging proxies do.
    let echo = Double::start(None, |request| (500, request.header("authorization").to_owned())).await;
    // And as an answer, where figures should be.
    let told = |request: &Received| json!({"queue": request.header("authorization"), "dlq": {}}).to_string();
    let parrot = Double::start(None, move |request| (200, told(request))).await;
    let mut shown = Vec::new();
    let faults = [Fault::Reset, Fault::Empty, Fault::Garbage, Fault::Html, Fault::Redirect, Fault::Hang];
    let statuses = [400, 401, 403, 404, 429, 500].map(|code| Fault::Status(StatusCode::from_u16(code).unwrap()));
    for credentials in &everybody.credentials {
        let client = client(credentials.clone());
        let here = format!("http://{}", oci.address).parse().unwrap();
        for fault in faults.into_iter().chain(statuses) {
            oci.set_fault(Some(fault));
            let error = client
                .get_stats(&here, &id, QueuePart::default(), Instant::now() + Duration::from_millis(500))
                .await
                .unwrap_err();
            shown.push(format!("{error} {error:?}"));
        }
        for there in [&echo, &parrot] {
            let there = format!("http://{}", there.address).parse().unwrap();
            let by = Instant::now() + Duration::from_secs(5);
            let error = client.get_stats(&there, &id, QueuePart::default(), by).await.unwrap_err();
            shown.push(format!("{error} {error:?} {client:?} {credentials:?}"));
        }
    }
    for status in [301, 401, 403, 500] {
        everybody.oke.answer(|manner| manner.status = status);
        everybody.instance.manner.lock().unwrap().status = status;
        for credentials in [everybody.oke.credentials(), everybody.instance.credentials()] {
            let error = credentials.signer(Instant::now() + Duration::from_secs(20)).await.unwrap_err();
            shown.push(format!("{error} {error:?}"));
        }
    }
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("depthgauge::http"), "the log is listened to: {said}");
    let all = format!("{} {said}", shown.join("\n"));
    let session_tokens = everybody.oke.tokens.all().into_iter().chain(everybody.instance.tokens.all());
    for secret in everybody.secrets.iter().cloned().chain(session_tokens.flat_map(|token| pieces(&token))) {
        let at = all.find(&secret);
        assert!(
            at.is_none(),
            "{secret} in …{}",
            &all[all.floor_char_boundary(at.unwrap().saturating_sub(300))..at.unwrap()]
        );
    }
}

#[tokio::test]
async fn no_secret_is_on_the_status_page() {
    let everybody = everybody().await;
    let oci = Oci::with_queues(&["orders", "bills"]).await;
    // Both know nobody; one sends back what it was sent.
    let echo = Double::start(None, |request| (500, request.header("authorization").to_owned())).await;
    let sources = [source("orders", &["shop"]), source("bills", &["shop"])];
    let mut config: Value = serde_json::from_str(&oci.config(&json!({}), &sources)).unwrap();
    config["oci"]["auth"] = json!({"type": "sessionToken", "configFile": everybody.dir.path().join("config")});
    for (at, address) in [(0, echo.address), (1, oci.address)] {
        config["sources"][at]["endpoint"] = json!(format!("http://{address}"));
    }
    let server = Server::start(&config.to_string()).await;
    for queue in ["orders", "bills"] {
        let answer = server.aggregator("hpa").get(&format!("{VALUE}?labelSelector=queue%3D{queue}")).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
    }
    let operator = server.aggregator("operator");
    let json = operator.get("/status").await.body;
    let page = operator.with_header("Accept", "text/html").get("/status").await.body;
    for text in [json, page] {
        assert!(text.contains("500 (operation: read)") && text.contains("401 NotAuthenticated"), "{text}");
        for secret in &everybody.secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn a_passphrase_that_looks_like_a_path_is_not_shown() {
    let var = |name: &str| match name {
        "OCI_RESOURCE_PRINCIPAL_VERSION" => Some("2.2".to_owned()),
        "OCI_RESOURCE_PRINCIPAL_RPST" => Some("e30.e30.c2ln".to_owned()),
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM" => Some("no key".to_owned()),
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE" => Some(format!("/{SECRET}")),
        _ => None,
    };
    let principal = ResourcePrincipal::from_env(&Environment::new(&var, &|_| false)).unwrap();
    let error = Credentials::resource_principal(principal, Timestamp::now).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) && shown.contains("PEM_PASSPHRASE begins with /"), "{shown}");
}
