//! Instance principal.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::http::transport::Roots;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::metadata::Metadata;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::sign_in_error;
use crate::support::authority::Authority;
use crate::support::double::{Double, Received};
use crate::support::eventually;
use crate::support::principals::{Identity, Instance, Manner, SignedQueue, client, instance_answer};
use crate::support::signed::{body_hash, is_signed, part};

const TENANCY: &str = "opc-tenant:ocid1.tenancy.oc1..fake";
const METADATA: [&str; 3] =
    ["/opc/v2/identity/cert.pem", "/opc/v2/identity/key.pem", "/opc/v2/identity/intermediate.pem"];

async fn start() -> (Instance, SignedQueue) {
    let instance = Instance::start().await;
    let queue = SignedQueue::believing(instance.tokens.clone()).await;
    (instance, queue)
}

fn der(pem: &str) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

/// That a federation request is signed by the certificate of this identity.
fn assert_federated_as(request: &Received, identity: &Identity) {
    let leaf = der(&identity.leaf);
    let fingerprint: Vec<String> = digest(&SHA256, &leaf).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let key_id = format!("ocid1.tenancy.oc1..fake/fed-x509-sha256/{}", fingerprint.join(":"));
    assert_eq!(part(request, "keyId"), key_id);
    let (_, certificate) = X509Certificate::from_der(&leaf).unwrap();
    let public = STANDARD.encode(certificate.public_key().raw);
    // Alone of all requests, this one does not sign its host.
    let headers = "date (request-target) content-length content-type x-content-sha256";
    assert!(is_signed(request, headers, &public), "{request:?}");
    assert_eq!(request.header("x-content-sha256"), body_hash(request));
}

#[tokio::test]
async fn the_metadata_service_is_asked_as_recorded_from_the_official_sdk() {
    let (instance, queue) = start().await;
    queue.read(&client(instance.credentials())).await.unwrap();
    let capture: Value =
        serde_json::from_str(include_str!("../../golden/oci/instance-principal-capture.json")).unwrap();
    // The SDK reads the certificate once more for its tenancy: left out here.
    let recorded = &capture["first_construction"].as_array().unwrap()[..4];
    let sent = instance.double.received();
    assert_eq!(sent.len(), 5, "four of metadata, one of federation");
    for (sent, recorded) in sent.iter().zip(recorded) {
        assert_eq!(
            (sent.method.as_str(), sent.target.as_str()),
            (recorded["method"].as_str().unwrap(), recorded["target"].as_str().unwrap())
        );
        assert_eq!((sent.header("authorization"), sent.body.as_str()), ("Bearer Oracle", ""));
    }
}

#[tokio::test]
async fn federation_is_signed_by_the_certificate_with_its_sha_256_fingerprint() {
    let (instance, queue) = start().await;
    queue.read(&client(instance.credentials())).await.unwrap();
    let sent = instance.double.last();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/v1/x509"));
    let identity = instance.identity.lock().unwrap().clone();
    assert_federated_as(&sent, &identity);
    let body: Value = serde_json::from_str(&sent.body).unwrap();
    assert_eq!(body["certificate"], STANDARD.encode(der(&identity.leaf)));
    assert_eq!(body["intermediateCertificates"], serde_json::json!([STANDARD.encode(der(&identity.intermediate))]));
    assert_eq!(body["fingerprintAlgorithm"], "SHA256");
    // The queue has checked its request against `publicKey`.
    assert_eq!(queue.last_token(), instance.tokens.all()[0]);
    let order: Vec<&str> = ["certificate", "publicKey", "intermediateCertificates"].to_vec();
    assert!(order.windows(2).all(|pair| sent.body.find(pair[0]) < sent.body.find(pair[1])), "{}", sent.body);
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends_and_follows_the_rotation_of_the_leaf() {
    let (instance, queue) = start().await;
    instance.manner.lock().unwrap().lifetime = Duration::from_secs(4);
    let client = client(instance.credentials());
    queue.read(&client).await.unwrap();
    let rotated = instance.rotate(TENANCY);
    eventually("a second session", async || {
        queue.read(&client).await.unwrap();
        (queue.last_token() != instance.tokens.all()[0]).then_some(())
    })
    .await;
    let paths = instance.paths();
    // All three anew; the region stays.
    assert_eq!(paths[5..8], METADATA);
    assert_eq!(paths[8], "/v1/x509");
    assert_federated_as(&instance.double.received()[8], &rotated);
    let tokens = instance.tokens.all();
    assert_ne!(instance.tokens.key_of(&tokens[0]), instance.tokens.key_of(&tokens[1]));
}

#[tokio::test]
async fn a_rotation_between_two_reads_is_read_again() {
    let (instance, queue) = start().await;
    // The key of another certificate, once.
    let right = instance.identity.lock().unwrap().clone();
    instance.identity.lock().unwrap().key = Authority::named("x").instance(TENANCY).key;
    let client = client(instance.credentials());
    let error = sign_in_error(queue.read(&client).await);
    assert!(error.detail.contains("do not belong together"), "{error:?}");
    assert_eq!(instance.paths()[..6], [METADATA, METADATA].concat());
    *instance.identity.lock().unwrap() = right;
    eventually("a session", async || queue.read(&client).await.ok()).await;
}

#[tokio::test]
async fn a_certificate_of_another_tenancy_is_not_used() {
    let (instance, queue) = start().await;
    instance.manner.lock().unwrap().lifetime = Duration::from_secs(2);
    let client = client(instance.credentials());
    queue.read(&client).await.unwrap();
    instance.rotate("opc-tenant:ocid1.tenancy.oc1..other");
    let error = eventually("the end of the session", async || queue.read(&client).await.err()).await;
    let error = sign_in_error::<()>(Err(error));
    assert_eq!(error.cause, "the instance's certificate is of another tenancy than before");
    assert_eq!(instance.tokens.all().len(), 1);
}

#[tokio::test]
async fn the_region_comes_from_the_metadata_service() {
    let by = || Instant::now() + Duration::from_secs(20);
    let (instance, _queue) = start().await;
    let home = instance.credentials().home(by()).await.unwrap().unwrap();
    assert_eq!(home.queue_control_plane().unwrap(), "https://messaging.eu-frankfurt-1.oci.oraclecloud.com");
    instance.identity.lock().unwrap().region = "Atlantis-1".to_owned();
    let home = instance.credentials().home(by()).await.unwrap().unwrap();
    // A region that the table does not know: the platform says its domain.
    assert_eq!(home.queue_control_plane().unwrap(), "https://messaging.atlantis-1.oci.oraclecloud99.com");
}

#[tokio::test]
async fn an_instance_signs_in_again_after_a_401_and_says_which_service_fails() {
    let (instance, queue) = start().await;
    let client = client(instance.credentials());
    queue.read(&client).await.unwrap();
    instance.tokens.revoke_all();
    queue.read(&client).await.unwrap();
    assert_eq!(queue.double.count(), 3);

    let (instance, queue) = start().await;
    instance.manner.lock().unwrap().status = 201;
    queue.read(&crate::support::principals::client(instance.credentials())).await.unwrap();
    instance.manner.lock().unwrap().status = 401;
    let error = sign_in_error(queue.read(&crate::support::principals::client(instance.credentials())).await);
    assert_eq!(error.cause, "federation service: 401");
    assert_eq!(error.request_id.as_deref(), Some(instance.double.last().header("opc-request-id")));
    assert_eq!(error.retry_after, None);
    instance.manner.lock().unwrap().status = 429;
    instance.double.set_header("retry-after: 7");
    let error = sign_in_error(queue.read(&crate::support::principals::client(instance.credentials())).await);
    let said = Some(Duration::from_secs(7));
    assert_eq!((error.cause.as_str(), error.retry_after), ("federation service: 429", said));
    let mut metadata = instance.metadata.clone();
    metadata.base = Some(format!("http://{}/nothing", instance.double.address));
    let lost = Credentials::instance_principal(metadata, Timestamp::now);
    let error = sign_in_error(queue.read(&crate::support::principals::client(lost)).await);
    assert_eq!(error.cause, "instance metadata service: 404");
    assert!(error.remedy.contains("`oci.auth`"));
}

#[tokio::test]
async fn the_federation_service_is_believed_by_the_ca_file_and_by_nothing_less() {
    let (instance, _queue) = start().await;
    let (authority, dir) = (Authority::named("own"), tempfile::tempdir().unwrap());
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let (tokens, identity) = (instance.tokens.clone(), instance.identity.lock().unwrap().clone());
    let acceptor = authority.acceptor_for(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let answer = move |request: &Received| instance_answer(request, &tokens, &Manner::default(), &identity);
    let federation = Double::start(Some(acceptor), answer).await;
    for (roots, expected) in [
        (Roots::read(&ca).unwrap(), Ok(())),
        (Roots::default(), Err("federation service: TLS handshake failed".to_owned())),
    ] {
        let here = Some(format!("https://{}", federation.address));
        let metadata = Metadata { roots, federation: here, ..instance.metadata.clone() };
        let signed_in = Credentials::instance_principal(metadata, Timestamp::now);
        let signer = signed_in.signer(Instant::now() + Duration::from_secs(20)).await;
        assert_eq!(signer.map(drop).map_err(|error| error.cause), expected);
    }
    assert_eq!(federation.count(), 1);
}
