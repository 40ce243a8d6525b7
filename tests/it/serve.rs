//! `serve` as a process: what ends it before it begins, and what does not.

use std::net::TcpListener;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::golden;
use crate::support::client::Client;
use crate::support::oci::ocid;
use crate::support::program::{Ended, Home, Program};
use crate::support::server::roots;
use crate::support::{crypto, eventually};

/// Where nobody listens: kube-apiserver, and OCI.
const NOWHERE: &str = "127.0.0.1:1";

/// Files that `serve` needs; the key is the recorded one in this form.
fn home(key: Option<&str>) -> Home {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/oci/vectors.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let text = |field: &str| golden[field].as_str().unwrap();
    let home = Home::new();
    let key_file = home.path("oci.pem");
    if let Some(key) = key {
        std::fs::write(&key_file, text(key)).unwrap();
    }
    let (user, tenancy, fingerprint) = (text("user"), text("tenancy"), text("fingerprint"));
    let profile = home.write(
        "oci-config",
        &format!(
            "[DEFAULT]\nuser={user}\ntenancy={tenancy}\nfingerprint={fingerprint}\nkey_file={}\n",
            key_file.display()
        ),
    );
    let config = json!({
        "apiVersion": "depthgauge.dev/v1alpha1",
        "kind": "Config",
        "oci": {"endpoint": format!("http://{NOWHERE}"), "auth": {"type": "apiKey", "configFile": profile}},
        "sources": [{"type": "oci-queue", "name": "orders", "queueId": ocid("orders"), "namespaces": ["shop"]}],
    });
    home.write("config.yaml", &config.to_string());
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": format!("https://{NOWHERE}")}}],
        "users": [{"name": "nobody", "user": {"token": "t"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "current-context": "nowhere",
    });
    home.write("kubeconfig", &kubeconfig.to_string());
    home
}

pub(crate) fn good_home() -> Home {
    home(Some("private_key_pkcs8_pem"))
}

/// `serve` on free ports of loopback, and what else is wanted; the last of two equal flags is
/// for the caller to avoid.
fn serve(home: &Home, port: u16, more: &[&str]) -> Program {
    let port = port.to_string();
    let flags = ["--config=config.yaml", "--service=depthgauge/depthgauge:443", "--secure-port", &port];
    serve_in(home, &[], &[&flags[..], more].concat())
}

/// `serve` on loopback with these variables, and what is wanted besides.
pub(crate) fn serve_in(home: &Home, variables: &[(&str, &str)], more: &[&str]) -> Program {
    let common = ["serve", "--bind-address=127.0.0.1", "--admin-address=127.0.0.1:0", "--cert-dir=certs"];
    home.start_in(variables, &[&common[..], more].concat())
}

/// With everything in place but the cluster.
fn serve_well(home: &Home, more: &[&str]) -> Program {
    serve(home, 0, &[&["--kubeconfig=kubeconfig"][..], more].concat())
}

/// Ended before it listened. Returns the error, and the hint in the next line if there is one.
pub(crate) fn expect_refusal(ended: &Ended) -> String {
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    lines.join("\n").strip_prefix("error: ").unwrap_or_else(|| panic!("{}", ended.stderr)).to_owned()
}

pub(crate) async fn admin(address: &str, path: &str) -> (u16, String) {
    crypto();
    let answer = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = answer.get(format!("{address}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Without a cluster to learn from this takes the time that a start waits for it.
async fn until_ready(operator: &str) {
    eventually("ready", async || (admin(operator, "/readyz").await == (200, "ok".to_owned())).then_some(())).await;
}

/// A client of the secure port, which trusts the CA in the certificate directory.
pub(crate) fn client(home: &Home, address: &str) -> Client {
    crypto();
    let ca = std::fs::read_to_string(home.path("certs").join("ca.crt")).unwrap();
    Client::new(address.parse().unwrap(), roots(&ca))
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_said_before_the_port_opens() {
    // Taken: whoever tries to listen says so, instead of what is wrong with the key.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (key, expected) in [
        (
            None,
            "No such file or directory; set `key_file` of profile [DEFAULT] (line 5) to a file that this process may read",
        ),
        (
            Some("private_key_pkcs8_encrypted_pem"),
            "the private key is protected by a passphrase: set `pass_phrase` in the profile",
        ),
        (Some("public_key_pem"), "this is a public key: name the private key that was made with it"),
    ] {
        let home = home(key);
        let ended = serve(&home, port, &["--kubeconfig=kubeconfig"]).ended().await;
        let key_file = home.path("oci.pem");
        assert_eq!(expect_refusal(&ended), format!("OCI key file {}: {expected}", key_file.display()));
        assert!(!home.path("certs").exists());
    }
}

#[tokio::test]
async fn a_wrong_config_is_said_with_its_places() {
    let home = good_home();
    let file = home.write("config.yaml", "kind: Config\nsources: []\n");
    let ended = serve_well(&home, &[]).ended().await;
    assert_eq!(expect_refusal(&ended), "config.yaml:1:1: `apiVersion` is missing here", "{file}");
}

#[tokio::test]
async fn a_port_in_use_is_said_with_the_flag_that_changes_it() {
    let home = good_home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = serve(&home, address.port(), &["--kubeconfig=kubeconfig"]).ended().await;
    let expected = format!("cannot listen on {address}: choose another --bind-address or --secure-port: ");
    assert!(expect_refusal(&ended).starts_with(&expected), "{}", ended.stderr);
}

#[tokio::test]
async fn without_a_cluster_to_speak_to_it_says_how_to_name_one() {
    let home = good_home();
    // A person's own rights are not taken, even where they lie ready.
    std::fs::create_dir(home.path(".kube")).unwrap();
    std::fs::copy(home.path("kubeconfig"), home.path(".kube").join("config")).unwrap();
    let refusal = expect_refusal(&serve(&home, 0, &[]).ended().await);
    assert!(
        refusal == "no kubeconfig found\nhint: name one with --kubeconfig or KUBECONFIG, or run in a pod",
        "{refusal}"
    );
    assert!(refusal.trim_end().ends_with("or run in a pod"), "{refusal}");
    let refusal = expect_refusal(&serve(&home, 0, &["--kubeconfig=absent"]).ended().await);
    assert!(refusal.starts_with("--kubeconfig: cannot read absent: "), "{refusal}");
}

#[tokio::test]
async fn a_cluster_that_is_away_at_the_start_does_not_keep_it_from_serving() {
    let home = good_home();
    let mut program = serve_well(&home, &[]);
    let address = program.said("serving on https://").await;
    let operator = program.said("admin on ").await;
    until_ready(&operator).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(admin(&operator, path).await, (200, "ok".to_owned()), "{path}");
    }
    let cause = format!("kube-apiserver does not answer: cannot connect to https://{NOWHERE}: connection refused");
    let identity = "cannot watch ConfigMap kube-system/extension-apiserver-authentication";
    let lines = [
        format!("[!]identity degraded: {identity}: {cause}\n"),
        format!("[!]apiservice degraded: cannot register: {cause}\n"),
        "[+]listener ok\n".to_owned(),
        "readyz check passed\n".to_owned(),
    ];
    eventually("each part's own line", async || {
        let (code, body) = admin(&operator, "/readyz?verbose").await;
        assert_eq!(code, 200);
        let verdict = body.starts_with("HPAs get no values from this replica: ");
        (verdict && lines.iter().all(|line| body.contains(&**line))).then_some(())
    })
    .await;
    let anyone = client(&home, &address);
    let resources = anyone.get("/apis/external.metrics.k8s.io/v1beta1").await;
    assert_eq!(resources.status, 200);
    golden::check("discovery-resources.json", &resources.body);
    assert_eq!(anyone.get("/readyz").await.status, 200);
    let withheld = anyone.get("/readyz?verbose").await.body;
    assert!(withheld.contains("[!]apiservice degraded: reason withheld\n"), "{withheld}");

    program.terminate();
    let ended = program.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    // Nobody's questions were taken before it had tried for a while to learn whom to believe.
    let time = |words: &str| {
        let line = ended.stderr.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{}", ended.stderr));
        line.split_whitespace().next().unwrap().parse::<Timestamp>().unwrap()
    };
    let waited = time("ok check=\"listener\"") - time("serving sources=");
    assert!(waited.get_seconds() >= 4, "{waited}");
}

#[tokio::test]
async fn asked_to_stop_it_is_unready_and_serves_on_for_the_delay() {
    let home = good_home();
    let mut program = serve_well(&home, &["--shutdown-delay=10m", "--register=false"]);
    let address = program.said("serving on https://").await;
    let operator = program.said("admin on ").await;
    until_ready(&operator).await;
    program.terminate();
    let body = eventually("not ready", async || {
        let (code, body) = admin(&operator, "/readyz").await;
        (code == 503).then_some(body)
    })
    .await;
    assert!(body.contains("[-]listener failed: draining\n"), "{body}");
    assert_eq!(admin(&operator, "/livez").await.0, 200);
    assert_eq!(client(&home, &address).get("/apis").await.status, 200);
    // A second signal is for those who will not wait.
    program.terminate();
    let ended = program.ended().await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.ends_with("error: stopped immediately by a second signal"), "{}", ended.stderr);
}

/// `serve` with the files of its folder, within these limits in the words of `ulimit`.
pub(crate) fn serve_limited(home: &Home, limits: &str) -> Program {
    home.start_limited(
        limits,
        &[
            "serve",
            "--config=config.yaml",
            "--kubeconfig=kubeconfig",
            "--register=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--admin-address=127.0.0.1:0",
        ],
    )
}

#[tokio::test]
async fn the_limit_on_open_files_is_raised_and_a_low_one_is_said() {
    for (limits, raised) in [("-Sn 200", true), ("-n 500", false)] {
        let home = good_home();
        let mut program = serve_limited(&home, limits);
        let _ = program.said("admin on ").await;
        let (soft, hard) = program.open_files();
        assert_eq!(soft, hard);
        assert_eq!(soft != "500", raised, "{soft}");
        program.terminate();
        let ended = program.ended().await;
        assert_eq!(ended.stderr.contains("the limit on open files is low"), !raised, "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_config_without_sources_is_served() {
    let home = good_home();
    home.write("config.yaml", "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: []\n");
    let mut program = serve_well(&home, &[]);
    let operator = program.said("admin on ").await;
    until_ready(&operator).await;
    program.terminate();
    assert_eq!(program.ended().await.status.code(), Some(0));
}
