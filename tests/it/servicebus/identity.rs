//! Ways to authenticate: signatures, workload identity and managed identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};

use super::{POLICY, Scene, active, message, often, once, one};
use crate::support::double::{Answer, Double, Received};
use crate::support::eventually;
use crate::support::program::Home;

const ASSERTION: &str = "throwaway.token.of-the-service-account";

#[tokio::test]
async fn every_form_of_a_signature_is_accepted() {
    let scene = Scene::new().await;
    scene.bus.add_queue("Orders");
    scene.bus.send("/orders", 3);
    scene.bus.add_policy("of-queue", "throwaway-key-of-a-queue=", "/orders", true);
    let (host, (name, key)) = (scene.bus.host(), POLICY);
    let string = format!("Endpoint=sb://{host}/;SharedAccessKeyName={name};SharedAccessKey={key}");
    // Made by openssl for every resource that begins with the host.
    let resource = format!("https%3A%2F%2F{}", host.replace(':', "%3A"));
    let expires = jiff::Timestamp::now().as_second() + 600;
    let signature = format!(
        "SharedAccessSignature sr={resource}&sig={}&se={expires}&skn={name}",
        openssl(key, &format!("{resource}\n{expires}"))
    );
    let with_signature = format!("Endpoint=sb://{host}/;SharedAccessSignature={signature}");
    for auth in [
        scene.sas(POLICY),
        // A policy of the queue alone.
        scene.sas(("of-queue", "throwaway-key-of-a-queue=")),
        json!({"type": "sas", "connectionStringFile": scene.files.write("string", &string)}),
        json!({"type": "sas", "connectionStringFile": scene.files.write("with-signature", &with_signature)}),
        json!({"type": "sas", "signatureFile": scene.files.write("signature", &signature)}),
    ] {
        let server = scene.serve_as(&auth, &once(), &[json!({"queue": "Orders"})]).await;
        assert_eq!(active(&server, "queue=Orders").await, one("3"), "{auth}");
    }
    let count = scene.bus.count();
    let old = signature.replace(&format!("se={expires}"), "se=1000");
    let auth = json!({"type": "sas", "signatureFile": scene.files.write("signature", &old)});
    let server = scene.serve_as(&auth, &once(), &[json!({"queue": "Orders"})]).await;
    let text = message(&server, 503, "queue=Orders").await;
    assert!(text.contains("the shared access signature has expired (operation: authenticate)"), "{text}");
    assert_eq!(scene.bus.count(), count, "nothing is sent");
}

/// The percent-encoded signature of a text.
fn openssl(key: &str, text: &str) -> String {
    let command = format!("printf '%s' \"$1\" | openssl dgst -sha256 -hmac '{key}' -binary | openssl base64 -A");
    let output = std::process::Command::new("sh").args(["-c", &command, "sh", text]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[tokio::test]
async fn a_connection_string_of_another_namespace_is_refused_at_start() {
    let scene = Scene::new().await;
    let string = "Endpoint=sb://other.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=hidden";
    let auth = json!({"type": "sas", "connectionStringFile": scene.files.write("string", string)});
    let home = Home::new();
    home.write("config.yaml", &scene.config(&auth, &once(), &[json!({"queue": "orders"})]).to_string());
    let ended = home.run(&["get", "--config=config.yaml", super::ACTIVE, "-n", "shop"]).await;
    assert!(!ended.status.success() && !ended.stderr.contains("hidden"), "{ended:?}");
    let said = format!("its Endpoint is other.servicebus.windows.net, and `namespace` is {}", scene.bus.host());
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
}

/// The token service of a tenant, which accepts one assertion.
async fn entra(issued: Arc<AtomicUsize>) -> Double {
    Double::start(None, move |request| {
        let form: Vec<(&str, &str)> = request.body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("client_id", "client-of-test"),
            ("scope", "https%3A%2F%2Fservicebus.azure.net%2F.default"),
            ("client_assertion_type", "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"),
            ("client_assertion", ASSERTION),
        ];
        if request.target != "/tenant-of-test/oauth2/v2.0/token" || form != expected {
            let error = "AADSTS70021: No matching federated identity record found for presented assertion.";
            return (401, json!({"error": "invalid_client", "error_description": error}).to_string());
        }
        granted(&issued, |token| json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))
    })
    .await
}

fn granted(issued: &AtomicUsize, answer: impl Fn(&str) -> Value) -> Answer {
    let number = issued.fetch_add(1, SeqCst) + 1;
    (200, answer(&format!("throwaway-token-{number}")).to_string())
}

#[tokio::test]
async fn workload_identity_changes_the_token_of_the_pod_once_for_all_reads() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.send("/orders", 5);
    scene.bus.accept("throwaway-token-1");
    let issued: Arc<AtomicUsize> = Arc::default();
    let entra = entra(issued.clone()).await;
    let auth = |assertion: &str| {
        json!({
            "type": "azureWorkloadIdentity", "clientId": "client-of-test", "tenantId": "tenant-of-test",
            "tokenFile": scene.files.write("assertion", assertion), "authorityHost": format!("http://{}", entra.address),
        })
    };
    let source = [json!({"queue": "orders"})];
    let server = scene.serve_as(&auth(&format!("{ASSERTION}\n")), &often(), &source).await;
    for _ in 0..3 {
        assert_eq!(active(&server, "queue=orders").await, one("5"));
    }
    assert_eq!(issued.load(SeqCst), 1);
    // The role was taken away and given again, so that only a new token is accepted.
    scene.bus.accept_none();
    scene.bus.accept("throwaway-token-2");
    scene.bus.send("/orders", 1);
    eventually("a new token", async || (active(&server, "queue=orders").await == one("6")).then_some(())).await;
    assert_eq!(issued.load(SeqCst), 2);
    let server = scene.serve_as(&auth("another.assertion"), &once(), &source).await;
    let text = message(&server, 503, "queue=orders").await;
    assert!(text.contains("Microsoft Entra ID: 401 AADSTS70021 (operation: authenticate)"), "{text}");
    assert!(text.contains("Check the federated credential of the identity"), "{text}");
}

/// The metadata service of a machine with one identity.
async fn metadata_service(issued: Arc<AtomicUsize>) -> Double {
    Double::start(None, move |request: &Received| {
        let target =
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fservicebus.azure.net%2F";
        let of_client = format!("{target}&client_id=client-of-test");
        if request.header("metadata") != "true" || ![target, &of_client].contains(&&*request.target) {
            return (400, json!({"error": "invalid_request", "error_description": "Identity not found"}).to_string());
        }
        let expires = (jiff::Timestamp::now().as_second() + 86400).to_string();
        granted(&issued, |token| json!({"token_type": "Bearer", "expires_on": expires, "access_token": token}))
    })
    .await
}

#[tokio::test]
async fn managed_identity_reads_by_the_identity_of_the_machine() {
    let scene = Scene::new().await;
    scene.bus.add_queue("orders");
    scene.bus.send("/orders", 9);
    scene.bus.accept("throwaway-token-1");
    let metadata = metadata_service(Arc::default()).await;
    let address = format!("http://{}", metadata.address);
    let get = async |auth: Value| {
        let home = Home::new();
        home.write("config.yaml", &scene.config(&auth, &once(), &[json!({"queue": "orders"})]).to_string());
        let arguments = ["get", "--config=config.yaml", super::ACTIVE, "-n", "shop"];
        home.start_in(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &address)], &arguments).ended().await
    };
    for auth in [json!({}), json!({"clientId": "client-of-test"})] {
        let mut keys = json!({"type": "azureManagedIdentity"});
        keys.as_object_mut().unwrap().extend(auth.as_object().unwrap().clone());
        let ended = get(keys).await;
        assert!(ended.status.success() && ended.stdout.contains(" 9 "), "{ended:?}");
        scene.bus.accept("throwaway-token-2");
    }
    let told = get(json!({"type": "azureManagedIdentity", "clientId": "another"})).await;
    assert!(
        told.stderr.contains("instance metadata service: 400 invalid_request (operation: authenticate)"),
        "{told:?}"
    );
    assert!(told.stderr.contains("The machine has no such identity"), "{told:?}");
}
