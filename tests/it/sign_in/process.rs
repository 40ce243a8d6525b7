//! What a process says of how it signs in, and what keeps it from starting.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::oci::ocid;
use crate::support::principals::{Oke, SECRET, SignedQueue, client};
use crate::support::program::{Home, Program};
use crate::support::server::{Server, VALUE};

/// A config whose `auth` is this, if anything.
fn config(auth: &Value) -> String {
    let mut oci = json!({"endpoint": "http://127.0.0.1:1"});
    if !auth.is_null() {
        oci["auth"] = auth.clone();
    }
    json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "oci": oci,
        "sources": [{"type": "oci-queue", "name": "orders", "queueId": ocid("orders"), "namespaces": ["shop"]}],
    })
    .to_string()
}

/// `serve` beside a cluster that is not there.
fn serve(home: &Home, variables: &[(&str, &str)], auth: &Value) -> Program {
    home.write("config.yaml", &config(auth));
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "nobody", "user": {"token": "t"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "current-context": "nowhere",
    });
    home.write("kubeconfig", &kubeconfig.to_string());
    let place = ["--bind-address=127.0.0.1", "--secure-port=0", "--admin-address=127.0.0.1:0", "--cert-dir=certs"];
    let cluster = ["--kubeconfig=kubeconfig", "--service=depthgauge/depthgauge:443"];
    home.start_in(variables, &[&["serve", "--config=config.yaml"][..], &place, &cluster].concat())
}

/// Started, asked to stop, and what it logged.
async fn log_of(mut program: Program) -> String {
    program.said("serving on ").await;
    program.terminate();
    program.ended().await.stderr
}

#[tokio::test]
async fn the_log_says_which_way_was_chosen_and_why() {
    let home = Home::new();
    // A variable that is empty is not set.
    let said = log_of(serve(&home, &[("OCI_REGION", "")], &Value::Null)).await;
    assert!(said.contains("auth=instancePrincipal"), "{said}");
    assert!(said.contains("`oci.auth` is not set, and there is no OCI config file"), "{said}");
    let contacts = "contacts the instance metadata service at http://169.254.169.254/opc/v2";
    assert!(said.contains(contacts), "{said}");
    let (token, ca) = (home.write("token", "t"), home.write("ca.crt", "c"));
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", token.as_str()),
        ("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", ca.as_str()),
    ];
    // Nobody listens on port 12250, which keeps nobody from starting.
    let said = log_of(serve(&home, &pod, &Value::Null)).await;
    assert!(said.contains("auth=workloadIdentity") && said.contains("this is a pod with a service account"), "{said}");
    let said = log_of(serve(&home, &pod, &json!({"type": "instancePrincipal"}))).await;
    assert!(said.contains("auth=instancePrincipal") && said.contains("`oci.auth` says so"), "{said}");
    assert!(!said.contains("metadata service"), "{said}");
}

#[tokio::test]
async fn a_command_uses_the_identity_of_the_computer_only_if_the_config_says_so() {
    let home = Home::new();
    let metadata = crate::support::double::Double::start(None, |_| (404, String::new())).await;
    let base = format!("http://{}/opc/v2", metadata.address);
    let variables = [("OCI_METADATA_BASE_URL", base.as_str()), ("OCI_CLI_PROFILE", "mine")];
    let commands = [&["get", "oci_queue_length", "-n", "shop"][..], &["check"], &["config", "check"]];
    home.write("config.yaml", &config(&Value::Null));
    for command in commands {
        let file: &[&str] = if command[0] == "config" { &["config.yaml"] } else { &["--config", "config.yaml"] };
        let ended = home.start_in(&variables, &[command, file].concat()).ended().await;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        if command[0] != "config" {
            assert!(said.contains("no credentials for OCI: `oci.auth` is not set"), "{command:?}: {said}");
            assert!(said.contains("set `oci.auth: {type: instancePrincipal}`"), "{command:?}: {said}");
            assert!(said.contains("only the OCI CLI reads OCI_CLI_PROFILE"), "{command:?}: {said}");
        }
        assert_eq!(metadata.count(), 0, "{command:?}: {said}");
    }
    home.write("config.yaml", &config(&json!({"type": "instancePrincipal"})));
    home.start_in(&variables, &["check", "--config", "config.yaml"]).ended().await;
    assert!(metadata.count() > 0);
}

#[tokio::test]
async fn a_file_that_is_missing_ends_it_at_the_start() {
    let home = Home::new();
    let pod =
        [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", "/absent/token")];
    for (auth, said) in [
        ("workloadIdentity", "/absent/token"),
        ("sessionToken", ".oci/config"),
        ("resourcePrincipal", "OCI_RESOURCE_PRINCIPAL_VERSION is not set"),
    ] {
        let ended = serve(&home, &pod, &json!({"type": auth})).ended().await;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.lines().last().unwrap().contains(said), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn an_hpa_reads_why_the_sign_in_failed() {
    let home = Home::new();
    let tokens = crate::support::principals::Tokens::default();
    let token = home.write("session", &tokens.issue("", std::time::Duration::ZERO));
    let vectors: Value = serde_json::from_str(include_str!("../../golden/oci/vectors.json")).unwrap();
    let key = home.write("key", vectors["private_key_pkcs8_pem"].as_str().unwrap());
    let file = home.write("oci", &format!("[DEFAULT]\nsecurity_token_file={token}\nkey_file={key}\n"));
    let server = Server::start(&config(&json!({"type": "sessionToken", "configFile": file}))).await;
    let answer = server.aggregator("hpa").get(VALUE).await;
    let (code, message) = answer.refusal();
    assert_eq!(code, 503);
    assert!(message.contains("authenticate") && message.contains("the token has expired"), "{message}");
    assert!(message.contains("oci session authenticate"), "{message}");
    for secret in [SECRET, "eyJ", "PRIVATE"] {
        assert!(!message.contains(secret), "{message}");
    }
}

/// Everything that is logged in this thread, in full.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_holds_no_secret_even_where_it_holds_everything() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    let subscriber = subscriber.with_max_level(tracing::Level::TRACE).finish();
    let _logging = crate::support::listen(subscriber);
    let oke = Oke::start().await;
    let queue = SignedQueue::believing(oke.tokens.clone()).await;
    let client = client(oke.credentials());
    queue.read(&client).await.unwrap();
    oke.answer(|manner| manner.status = 403);
    oke.tokens.revoke_all();
    queue.read(&client).await.unwrap_err();
    let said = eventually("the failure in the log", async || {
        let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        said.contains("cannot authenticate to OCI").then_some(said)
    })
    .await;
    assert!(said.contains("authenticated to OCI"), "{said}");
    let service_account = std::fs::read_to_string(&oke.service.token_file).unwrap();
    for secret in [&oke.tokens.all()[0][..40], SECRET, &service_account[..40], "PRIVATE KEY"] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}
