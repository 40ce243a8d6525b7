//! OKE workload identity.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::oci::Error;
use depthgauge::oci::credentials::Credentials;
use jiff::Timestamp;
use serde_json::Value;

use super::sign_in_error;
use crate::support::authority::Authority;
use crate::support::eventually;
use crate::support::principals::{Oke, SECRET, SignedQueue, client, service_account};

async fn start() -> (Oke, SignedQueue) {
    let oke = Oke::start().await;
    let queue = SignedQueue::believing(oke.tokens.clone()).await;
    (oke, queue)
}

#[tokio::test]
async fn the_token_request_is_the_one_recorded_from_the_official_sdk() {
    let (oke, queue) = start().await;
    queue.read(&client(oke.credentials())).await.unwrap();
    let capture: Value = serde_json::from_str(include_str!("../../golden/oci/workload-identity-capture.json")).unwrap();
    let recorded = &capture["request"];

    let sent = oke.double.last();
    assert_eq!(format!("{} {} HTTP/1.1", sent.method, sent.target), recorded["request_line"]);
    let service_account = std::fs::read_to_string(&oke.service.token_file).unwrap();
    assert_eq!(sent.header("authorization"), format!("Bearer {}", service_account.trim()));
    assert_eq!(sent.header("host"), oke.double.address.to_string());
    assert_eq!(sent.header("content-type"), "application/json");
    // Same length as recorded, same bytes but for the key.
    assert_eq!(sent.header("content-length"), header(recorded, "Content-Length"));
    let key = |body: &str| body.split('"').nth(3).unwrap().to_owned();
    let recorded_body = recorded["body_bytes"].as_str().unwrap();
    assert_eq!(sent.body, recorded_body.replace(&key(recorded_body), &key(&sent.body)));
    let shape = |id: &str| id.split('/').map(str::len).collect::<Vec<_>>();
    assert_eq!(shape(sent.header("opc-request-id")), shape(&header(recorded, "opc-request-id")));
    // The names that both send stand in the same order.
    let ours: Vec<&str> = sent.headers.iter().map(|(name, _)| name.as_str()).collect();
    let theirs: Vec<String> =
        recorded["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_lowercase()).collect();
    let own = ["authorization", "content-type", "opc-request-id"];
    let order =
        |names: &[&str]| names.iter().filter(|name| own.contains(name)).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(order(&ours), order(&theirs.iter().map(String::as_str).collect::<Vec<_>>()));
    // RSA-2048 with e = 65537: the DER ends in its exponent.
    let public = STANDARD.decode(key(&sent.body)).unwrap();
    assert_eq!((public.len(), &public[public.len() - 5..]), (294, &[2, 3, 1, 0, 1][..]));
}

fn header(recorded: &Value, name: &str) -> String {
    let headers = recorded["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0] == name).unwrap()[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn requests_are_signed_with_the_session_key_under_one_prefix() {
    for quoted in [true, false] {
        let (oke, queue) = start().await;
        oke.answer(|manner| manner.quoted = quoted);
        let client = client(oke.credentials());
        // The queue checks the signature against the key that the token was made for.
        for _ in 0..3 {
            assert_eq!(queue.read(&client).await.unwrap().queue.visible_messages, 1);
        }
        assert_eq!(queue.last_token(), oke.tokens.all()[0]);
        assert_eq!(oke.double.count(), 1, "one session serves many reads");
    }
}

#[tokio::test]
async fn the_recorded_answer_is_understood() {
    let capture: Value = serde_json::from_str(include_str!("../../golden/oci/workload-identity-capture.json")).unwrap();
    let quoted = capture["response_accepted"]["body"].as_str().unwrap();
    let expected = serde_json::from_str::<Value>(capture["response_accepted"]["decoded"].as_str().unwrap()).unwrap();
    let expected = expected["token"].as_str().unwrap().strip_prefix("ST$").unwrap().to_owned();
    for answer in [quoted, quoted.trim_matches('"')] {
        assert_eq!(depthgauge::oci::token::from_cluster(answer.as_bytes()).unwrap(), expected);
    }
    let claims = depthgauge::oci::token::Claims::of(&expected).unwrap();
    assert_eq!(
        (Some(claims.exp), claims.iat),
        (capture["rpst_claims"]["exp"].as_i64(), capture["rpst_claims"]["iat"].as_i64())
    );
}

#[tokio::test]
async fn an_ipv6_service_host_works() {
    let oke = Oke::on(IpAddr::from(Ipv6Addr::LOCALHOST), 0).await;
    let queue = SignedQueue::believing(oke.tokens.clone()).await;
    assert_eq!(oke.service.host, "::1");
    queue.read(&client(oke.credentials())).await.unwrap();
    assert_eq!(oke.double.last().header("host"), format!("[::1]:{}", oke.double.address.port()));
}

#[tokio::test]
async fn only_the_service_accounts_ca_is_trusted() {
    let (oke, queue) = start().await;
    let right = std::fs::read(&oke.service.ca_file).unwrap();
    std::fs::write(&oke.service.ca_file, Authority::named("cluster").pem).unwrap();
    let error = sign_in_error(queue.read(&client(oke.credentials())).await);
    assert_eq!(error.cause, "token service of the cluster: TLS handshake failed", "{}", error.detail);
    assert!(error.remedy.contains("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"), "{error:?}");
    assert_eq!(oke.double.count(), 0, "the service account's token is shown to nobody else");
    std::fs::write(&oke.service.ca_file, right).unwrap();
    queue.read(&client(oke.credentials())).await.unwrap();
}

#[tokio::test]
async fn a_session_is_renewed_in_the_background_at_half_of_its_life_with_a_new_key() {
    let (oke, queue) = start().await;
    oke.answer(|manner| manner.lifetime = Duration::from_secs(4));
    let client = client(oke.credentials());
    queue.read(&client).await.unwrap();
    oke.write_service_account(&service_account("second", 3600));
    eventually("a second session", async || {
        // Never a refusal, for the old one is good until the new one is there.
        queue.read(&client).await.unwrap();
        (queue.last_token() != oke.tokens.all()[0]).then_some(())
    })
    .await;
    let tokens = oke.tokens.all();
    assert_ne!(oke.tokens.key_of(&tokens[0]), oke.tokens.key_of(&tokens[1]), "a new key pair for each session");
    let shown: Vec<String> = oke.double.received().iter().map(|sent| sent.header("authorization").to_owned()).collect();
    assert_ne!(shown[0], shown[1], "the service account's token is read anew");
}

#[tokio::test]
async fn the_service_is_not_asked_before_it_wants_to_be() {
    let (oke, queue) = start().await;
    oke.answer(|manner| manner.status = 429);
    oke.double.set_header("retry-after: 3");
    let client = client(oke.credentials());
    let began = Instant::now();
    let error = sign_in_error(queue.read(&client).await);
    let said = Some(Duration::from_secs(3));
    assert_eq!((error.cause.as_str(), error.retry_after), ("token service of the cluster: 429", said));
    oke.answer(|manner| manner.status = 200);
    eventually("a session", async || queue.read(&client).await.ok()).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(oke.double.count(), 2);
}

#[tokio::test]
async fn the_old_session_is_kept_while_it_is_valid_and_the_service_is_not_well() {
    let (oke, queue) = start().await;
    oke.answer(|manner| manner.lifetime = Duration::from_secs(5));
    let client = client(oke.credentials());
    queue.read(&client).await.unwrap();
    oke.answer(|manner| manner.status = 500);
    eventually("a failed renewal", async || {
        queue.read(&client).await.unwrap();
        (oke.double.count() > 1).then_some(())
    })
    .await;
    queue.read(&client).await.unwrap();
    assert_eq!(queue.last_token(), oke.tokens.all()[0]);
    // Over at last: an error that names the step, and never a number.
    let error = eventually("the end of the session", async || queue.read(&client).await.err()).await;
    let error = sign_in_error::<()>(Err(error));
    assert_eq!(error.cause, "token service of the cluster: 500");
    oke.answer(|manner| manner.status = 200);
    eventually("a new session", async || queue.read(&client).await.ok()).await;
}

#[tokio::test]
async fn after_a_401_the_session_is_renewed_and_the_request_repeated_once() {
    let (oke, queue) = start().await;
    let client = client(oke.credentials());
    queue.read(&client).await.unwrap();
    oke.tokens.revoke_all();
    queue.read(&client).await.unwrap();
    assert_eq!((oke.double.count(), queue.double.count()), (2, 3), "one renewal, one repeat");
    // Refused whatever is done: no token for every read.
    for _ in 0..3 {
        oke.tokens.revoke_all();
        let refused = queue.read(&client).await.unwrap_err();
        assert!(matches!(&refused, Error::Service(error) if error.status == 401), "{refused:?}");
    }
    assert_eq!((oke.double.count(), queue.double.count()), (2, 6));
}

#[tokio::test]
async fn a_403_says_that_the_cluster_must_be_an_enhanced_one() {
    let (oke, queue) = start().await;
    oke.answer(|manner| manner.status = 403);
    let client = client(oke.credentials());
    let error = sign_in_error(queue.read(&client).await);
    assert_eq!(error.cause, "token service of the cluster: 403");
    assert!(error.remedy.contains("needs an enhanced cluster"), "{error:?}");
    // The next who ask in the same second hear the same, and the service is left alone.
    assert_eq!(sign_in_error(queue.read(&client).await).cause, error.cause);
    assert_eq!((oke.double.count(), queue.double.count()), (1, 0));
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_session() {
    let (oke, queue) = start().await;
    let client = client(oke.credentials());
    let reads = (0..20).map(|_| queue.read(&client));
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(oke.double.count(), 1);
}

#[tokio::test]
async fn a_service_account_token_that_is_over_is_shown_to_nobody() {
    let (oke, queue) = start().await;
    let client = client(oke.credentials());
    oke.write_service_account(&service_account("late", -1));
    let error = sign_in_error(queue.read(&client).await);
    assert_eq!(error.cause, "the service account's token has expired");
    assert_eq!(oke.double.count(), 0);
    for (name, missing) in [("token", &oke.service.token_file), ("ca.crt", &oke.service.ca_file)] {
        std::fs::remove_file(missing).unwrap();
        let error = Credentials::workload_identity(oke.service.clone(), None, Timestamp::now).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        std::fs::write(missing, "").unwrap();
    }
    assert!(oke.dir.path().exists());
}

#[tokio::test]
async fn no_error_holds_a_token() {
    let (oke, queue) = start().await;
    let reader = client(oke.credentials());
    queue.read(&reader).await.unwrap();
    let shown = format!("{reader:?}");
    let secret = &oke.tokens.all()[0][..30];
    oke.answer(|manner| manner.lifetime = Duration::ZERO);
    oke.tokens.revoke_all();
    let refused = queue.read(&reader).await.unwrap_err();
    let unsigned = sign_in_error(queue.read(&client(oke.credentials())).await);
    assert_eq!(unsigned.cause, "token service of the cluster: its token has expired already");
    let service_account = std::fs::read_to_string(&oke.service.token_file).unwrap();
    for text in [shown, format!("{refused:?} {refused}"), format!("{unsigned:?} {unsigned}")] {
        for secret in [secret, SECRET, &service_account[..40]] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
