//! The way to kube-apiserver: kubeconfigs that kubectl accepts, proxies and credentials, in front of a
//! double of kube-apiserver over TLS.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::serve::{expect_refusal, good_home, serve_in};
use crate::support::authority::{Authority, Identity, Shown};
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::program::{Ended, Home};
use crate::support::relay::{Relay, refusing_proxy};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Only a proxy leads there.
const FAR: &str = "https://kube.invalid:6443";
const VALUES: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/oci_queue_length";
const GET: &[&str] = &["get", "oci_queue_length", "-o=json", "--kubeconfig=kubeconfig"];
/// The commands that end by themselves.
const COMMANDS: [&[&str]; 4] = [
    GET,
    &["check", "--kubeconfig=kubeconfig"],
    &["explain", "web", "--kubeconfig=kubeconfig"],
    &["unregister", "--yes", "--kubeconfig=kubeconfig"],
];
const SERVE: &[&str] = &["--config=config.yaml", "--kubeconfig=kubeconfig", "--register=false", "--secure-port=0"];

/// A kube-apiserver where the metric is 5 for every user.
async fn apiserver(tls: TlsAcceptor) -> Double {
    Double::start(Some(tls), |request| {
        if request.target.starts_with(VALUES) {
            let item = json!({"value": "5", "metricLabels": {}, "timestamp": "2026-11-22T14:00:00Z"});
            return (200, json!({ "items": [item] }).to_string());
        }
        let status = json!({"kind": "Status", "code": 404, "message": "not here", "reason": "NotFound"});
        (404, status.to_string())
    })
    .await
}

fn server_of(apiserver: &Double) -> String {
    format!("https://{}", apiserver.address)
}

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// A kubeconfig for this server, which trusts this certificate.
fn kubeconfig(server: &str, trusted: &str, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": base64(trusted)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    })
}

fn home_with(kubeconfig: &Value) -> Home {
    let home = good_home();
    home.write("kubeconfig", &kubeconfig.to_string());
    home
}

async fn run(home: &Home, variables: &[(&str, &str)], command: &[&str]) -> (Ended, String) {
    let ended = home.start_in(variables, command).ended().await;
    let all = format!("{}\n{}", ended.stdout, ended.stderr);
    (ended, all)
}

/// `get` brings the value.
async fn expect_value(home: &Home, variables: &[(&str, &str)]) {
    let (ended, all) = run(home, variables, GET).await;
    assert!(ended.status.success() && ended.stdout.contains("\"5\""), "{variables:?}: {all}");
}

/// The error of `get`. Without a connection the exit code is another one.
async fn expect_failure(home: &Home, variables: &[(&str, &str)]) -> String {
    let (ended, all) = run(home, variables, GET).await;
    let code = if ended.stderr.starts_with("error: cannot connect to ") { 3 } else { 1 };
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(code), ""), "{variables:?}: {all}");
    ended.stderr
}

#[tokio::test]
async fn every_command_goes_through_the_proxy_of_the_environment() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_named(&["kube.invalid"])).await;
    let relay = Relay::proxy(apiserver.address).await;
    let home = home_with(&kubeconfig(FAR, &authority.pem, &json!({"token": "t"})));
    let by_proxy = ("HTTPS_PROXY", &*format!("http://{}", relay.address));
    for command in COMMANDS {
        let before = relay.asked().len();
        let (_, all) = run(&home, &[by_proxy], command).await;
        assert!(relay.asked().len() > before && !all.contains("cannot connect"), "{command:?}: {all}");
    }
    let before = relay.asked().len();
    let serve = serve_in(&home, &[by_proxy], SERVE);
    eventually("a connection of serve", async || (relay.asked().len() > before).then_some(())).await;
    drop(serve);
    assert!(relay.asked().iter().all(|line| line == "CONNECT kube.invalid:6443 HTTP/1.1"), "{:?}", relay.asked());
    expect_value(&home, &[by_proxy]).await;

    let error = expect_failure(&home, &[by_proxy, ("NO_PROXY", "example.com,.invalid")]).await;
    assert!(error.starts_with(&format!("error: cannot connect to {FAR}: host name not found\n")), "{error}");
}

#[tokio::test]
async fn no_proxy_of_the_environment_leads_to_loopback() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_for(HERE)).await;
    let home = home_with(&kubeconfig(&server_of(&apiserver), &authority.pem, &json!({})));
    expect_value(&home, &[("HTTPS_PROXY", "http://127.0.0.1:1"), ("https_proxy", "http://127.0.0.1:1")]).await;
}

#[tokio::test]
async fn the_proxy_of_the_kubeconfig_holds_whatever_the_environment_says() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_named(&["kube.invalid"])).await;
    let (plain, socks) = (Relay::proxy(apiserver.address).await, Relay::socks(apiserver.address).await);
    let tls = Relay::tls_proxy(apiserver.address, authority.acceptor_for(HERE)).await;
    let connect = "CONNECT kube.invalid:6443 HTTP/1.1";
    for (relay, url, asked) in [
        (&plain, format!("http://user:p%40ss@{}", plain.address), connect),
        (&socks, format!("socks5://{}", socks.address), "kube.invalid:6443"),
        (&tls, format!("https://{}", tls.address), connect),
    ] {
        let mut kubeconfig = kubeconfig(FAR, &authority.pem, &json!({"token": "t"}));
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = json!(url);
        let home = home_with(&kubeconfig);
        expect_value(&home, &[("NO_PROXY", "*"), ("HTTPS_PROXY", "http://127.0.0.1:1")]).await;
        assert_eq!(relay.asked(), [asked], "{url}");
    }
}

#[tokio::test]
async fn a_proxy_that_makes_no_connection_is_named_with_its_setting() {
    let authority = Authority::named("cluster");
    let mut kubeconfig = kubeconfig(FAR, &authority.pem, &json!({"token": "t"}));
    let by_variable = home_with(&kubeconfig);
    for (proxy, what) in [
        (refusing_proxy("407 Proxy Authentication Required").await.to_string(), "407 Proxy Authentication Required"),
        (refusing_proxy("502 Bad Gateway").await.to_string(), "it refuses to connect to the endpoint"),
        (refusing_proxy("").await.to_string(), "it closes the connection before it is connected to the endpoint"),
        ("127.0.0.1:1".to_owned(), "connection refused"),
    ] {
        let url = format!("http://user:hidden@{proxy}");
        let text = |setting: &str| {
            format!(
                "error: cannot connect to {FAR} through proxy http://{proxy} ({setting}): {what}\nhint: check the kubeconfig and the network"
            )
        };
        assert_eq!(expect_failure(&by_variable, &[("https_proxy", &url)]).await, text("https_proxy"));
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = json!(url);
        let by_kubeconfig = home_with(&kubeconfig);
        assert_eq!(expect_failure(&by_kubeconfig, &[]).await, text("proxy-url of the kubeconfig"));
    }
}

#[tokio::test]
async fn an_unusable_proxy_is_no_error_of_the_kubeconfig() {
    let home = home_with(&kubeconfig(FAR, &Authority::named("cluster").pem, &json!({})));
    for proxy in ["http://user:hidden@proxy:port", "http://user:hid den@proxy", "ftp://user:hidden@proxy"] {
        for command in COMMANDS {
            let (ended, all) = run(&home, &[("HTTPS_PROXY", proxy)], command).await;
            assert_eq!(ended.status.code(), Some(1), "{all}");
            assert!(all.contains("HTTPS_PROXY is not the URL of a proxy: set it to http://HOST:PORT"), "{all}");
            assert!(!all.contains("the kubeconfig cannot be used") && !all.contains("hid"), "{all}");
        }
    }
}

/// A user whose credentials a shell script of this text writes.
fn plugin(home: &Home, script: &str) {
    home.write("plugin.sh", script);
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "sh", "args": ["plugin.sh"], "env": [], "interactiveMode": "IfAvailable",
    });
    let kubeconfig = kubeconfig(FAR, &Authority::named("cluster").pem, &json!({ "exec": exec }));
    home.write("kubeconfig", &kubeconfig.to_string());
}

const CREDENTIAL: &str =
    r#"{"kind": "ExecCredential", "status": {"token": "SECRET-TOKEN", "expirationTimestamp": "2020-01-01T00:00:00Z"}}"#;

#[tokio::test]
async fn the_output_of_a_failed_exec_plugin_is_not_printed() {
    let home = good_home();
    plugin(&home, &format!("echo '{CREDENTIAL}'\necho 'warning: no cache' >&2\nexit 3\n"));
    let reason = "cannot use the credentials for kube-apiserver: exec plugin \"sh\" failed with exit code 3";
    for command in COMMANDS {
        let (ended, all) = run(&home, &[], command).await;
        assert_eq!(ended.status.code(), Some(1), "{all}");
        assert!(all.contains(&format!("{reason}: warning: no cache")) && !all.contains("SECRET"), "{all}");
        // A terminal gets the plugin's standard error at once, because it can be a question.
        let terminal = home.start_on_terminal(&[], command).ended().await;
        let all = terminal.stdout;
        assert!(all.contains("warning: no cache") && all.contains(reason) && !all.contains("SECRET"), "{all}");
    }
    let ended = serve_in(&home, &[], SERVE).ended().await;
    assert!(!ended.stderr.contains("SECRET"), "{}", ended.stderr);
    assert_eq!(expect_refusal(&ended), format!("{reason}: warning: no cache"));
}

#[tokio::test]
async fn the_output_of_an_exec_plugin_that_is_not_understood_is_not_printed() {
    let home = good_home();
    for (output, why) in [
        ("SECRET-TOKEN: [", ": invalid output"),
        (r#"{"kind": "ExecCredential", "status": {"token": ["SECRET-TOKEN"]}}"#, ": invalid output"),
        (r#"{"kind": "ExecCredential", "SECRET-TOKEN": 1}"#, ": no status in its output"),
        (&CREDENTIAL.replace("2020-01-01", "SECRET"), ": invalid expiration time in its output"),
    ] {
        plugin(&home, &format!("echo '{output}'\n"));
        for command in COMMANDS {
            let (_, all) = run(&home, &[], command).await;
            assert!(all.contains(&format!("exec plugin \"sh\"{why}")) && !all.contains("SECRET"), "{output}: {all}");
        }
    }
}

/// The token has expired, so the plugin runs again before the first request.
#[tokio::test]
async fn the_output_of_an_exec_plugin_that_fails_later_is_not_printed() {
    let home = good_home();
    plugin(
        &home,
        &format!(
            "echo '{CREDENTIAL}'\necho run >> runs\n[ $(wc -l < runs) -le 2 ] || {{ echo locked >&2; exit 1; }}\n"
        ),
    );
    for command in COMMANDS {
        let _ = std::fs::remove_file(home.path("runs"));
        let (_, all) = run(&home, &[], command).await;
        assert!(all.contains("exec plugin \"sh\" failed with exit code 1: locked"), "{command:?}: {all}");
        assert!(!all.contains("SECRET"), "{all}");
    }
}

#[tokio::test]
async fn an_exec_plugin_that_is_missing_is_named() {
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "no-such-plugin",
        "installHint": "install it from example.com"});
    let home = home_with(&kubeconfig(FAR, &Authority::named("cluster").pem, &json!({ "exec": exec })));
    for command in COMMANDS {
        let (_, all) = run(&home, &[], command).await;
        let reason = "exec plugin \"no-such-plugin\" is not in PATH: install it from example.com";
        assert!(all.contains(reason), "{all}");
    }
}

#[tokio::test]
async fn flags_choose_entries_of_the_kubeconfig_and_whom_to_impersonate() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_for(HERE)).await;
    let mut kubeconfig = kubeconfig(FAR, &authority.pem, &json!({"token": "other"}));
    let near = json!({"server": server_of(&apiserver), "certificate-authority-data": base64(&authority.pem)});
    let add = |list: &mut Value, entry: Value| list.as_array_mut().unwrap().push(entry);
    add(&mut kubeconfig["clusters"], json!({"name": "near", "cluster": near}));
    add(&mut kubeconfig["users"], json!({"name": "me", "user": {"token": "mine"}}));
    add(&mut kubeconfig["contexts"], json!({"name": "y", "context": {"cluster": "near", "user": "me"}}));
    let home = home_with(&kubeconfig);
    for flags in [&["--context=y"][..], &["--cluster=near", "--user=me"]] {
        let command = [GET, flags, &["--as=jane", "--as-group=dev", "--as-group=ops"]].concat();
        let (ended, all) = run(&home, &[], &command).await;
        assert!(ended.status.success(), "{flags:?}: {all}");
        let last = apiserver.last();
        assert_eq!((last.header("authorization"), last.header("impersonate-user")), ("Bearer mine", "jane"));
        let groups = format!("{last:?}");
        assert!(
            ["dev", "ops"].iter().all(|group| groups.contains(&format!("(\"impersonate-group\", \"{group}\")"))),
            "{groups}"
        );
    }
    let (ended, _) = run(&home, &[], &[GET, &["--context=z"]].concat()).await;
    let error = "error: no context \"z\" in the kubeconfig\nhint: choose one of x, y";
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(1), error));
    let (ended, _) = run(&home, &[], &[GET, &["--as-group=dev"]].concat()).await;
    assert_eq!(ended.status.code(), Some(2));
    for command in COMMANDS {
        let (_, all) = run(&home, &[], &[command, &["--context=y", "--as=joe"]].concat()).await;
        assert_eq!(apiserver.last().header("impersonate-user"), "joe", "{command:?}: {all}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unreachable_after_the_request_timeout() {
    // Connections are accepted by the kernel, and no program reads from them.
    let silent = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let home = home_with(&kubeconfig(&server, &Authority::named("cluster").pem, &json!({})));
    for command in COMMANDS {
        let (ended, all) = run(&home, &[], &[command, &["--request-timeout=1s"]].concat()).await;
        assert_eq!(ended.status.code(), Some(3), "{command:?}: {all}");
        assert!(all.contains("no response within 1 s (--request-timeout)"), "{command:?}: {all}");
    }
}

#[tokio::test]
async fn a_token_file_may_end_with_a_line_feed() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_for(HERE)).await;
    let home = home_with(&kubeconfig(&server_of(&apiserver), &authority.pem, &json!({"tokenFile": "token"})));
    home.write("token", "t0ken\n");
    expect_value(&home, &[]).await;
    assert_eq!(apiserver.last().header("authorization"), "Bearer t0ken");
    home.write("token", "\n");
    // Beside the kubeconfig, whose path is relative here.
    let reason = "error: cannot use the credentials for kube-apiserver: token file token: it is empty";
    assert_eq!(expect_failure(&home, &[]).await, reason);
}

#[tokio::test]
async fn a_missing_file_of_a_kubeconfig_list_adds_nothing() {
    let authority = Authority::named("cluster");
    let apiserver = apiserver(authority.acceptor_for(HERE)).await;
    let home = home_with(&kubeconfig(&server_of(&apiserver), &authority.pem, &json!({})));
    let get = &GET[..3];
    let (ended, all) = run(&home, &[("KUBECONFIG", "missing:kubeconfig")], get).await;
    assert!(ended.status.success(), "{all}");
    let (ended, all) = run(&home, &[("KUBECONFIG", "missing:missing-too")], get).await;
    assert_eq!(ended.status.code(), Some(1), "{all}");
    assert!(ended.stderr.starts_with("error: KUBECONFIG: cannot read missing"), "{all}");
}

fn user_of(identity: &Identity) -> Value {
    let (certificate, key) = identity.pem();
    json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)})
}

#[tokio::test]
async fn a_client_certificate_of_any_version_is_shown() {
    let authority = Authority::named("cluster");
    let shown = Shown::default();
    let apiserver = apiserver(authority.server_at(HERE).acceptor_of_clients(shown.clone())).await;
    let server = server_of(&apiserver);
    for identity in [authority.client("admin", &[]), authority.client_of_version_1("admin")] {
        let home = home_with(&kubeconfig(&server, &authority.pem, &user_of(&identity)));
        expect_value(&home, &[]).await;
        assert_eq!(shown.lock().unwrap().last(), Some(&identity.chain[0]));
    }
    let mut user = user_of(&authority.client_of_version_1("admin"));
    user["client-key-data"] = user_of(&authority.client("other", &[]))["client-key-data"].clone();
    let error = expect_failure(&home_with(&kubeconfig(&server, &authority.pem, &user)), &[]).await;
    let reason =
        "cannot use the credentials for kube-apiserver: the client key does not belong to the client certificate";
    assert_eq!(error, format!("error: {reason}"));
}

/// The trusted certificate may be the server's own. It is still held against name and time.
#[tokio::test]
async fn a_server_may_show_the_certificate_that_is_trusted() {
    let authority = Authority::named("cluster");
    let server = authority.server_at(HERE);
    let (trusted, _) = server.pem();
    let apiserver_here = apiserver(server.acceptor()).await;
    let url = server_of(&apiserver_here);
    expect_value(&home_with(&kubeconfig(&url, &trusted, &json!({}))), &[]).await;

    let by_name = url.replace("127.0.0.1", "localhost");
    let error = expect_failure(&home_with(&kubeconfig(&by_name, &trusted, &json!({}))), &[]).await;
    assert!(error.contains("not valid for name \"localhost\""), "{error}");

    let another = authority.server_at(HERE).pem().0;
    let error = expect_failure(&home_with(&kubeconfig(&url, &another, &json!({}))), &[]).await;
    assert!(error.contains("UnknownIssuer"), "{error}");

    let expired = authority.expired_server_at(HERE);
    let (trusted, _) = expired.pem();
    let apiserver = apiserver(expired.acceptor()).await;
    let error = expect_failure(&home_with(&kubeconfig(&server_of(&apiserver), &trusted, &json!({}))), &[]).await;
    assert!(error.contains("invalid peer certificate: Expired"), "{error}");
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let home = home_with(&kubeconfig("https://127.0.0.1:1", &Authority::named("cluster").pem, &json!({})));
    for command in COMMANDS {
        let (ended, all) = run(&home, &[], command).await;
        assert_eq!(ended.status.code(), Some(3), "{all}");
        let reason = "cannot connect to https://127.0.0.1:1: connection refused";
        assert!(all.contains(reason) && !all.contains("ServiceError"), "{command:?}: {all}");
        assert_eq!(all.matches("connect").count(), 2, "{command:?}: {all}");
    }
    // What is known is printed, as kubectl does it.
    let ended = home.run(&["version", "--kubeconfig=kubeconfig"]).await;
    let known = format!("client       {}\nserver       unknown\nkubernetes   unknown", env!("CARGO_PKG_VERSION"));
    let error =
        "error: cannot connect to https://127.0.0.1:1: connection refused\nhint: check the kubeconfig and the network";
    assert_eq!((ended.status.code(), ended.stdout, ended.stderr), (Some(3), known, error.to_owned()));
    let ended = home.run(&["version", "--kubeconfig=kubeconfig", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let cause = "kube-apiserver: cannot connect to https://127.0.0.1:1: connection refused";
    assert_eq!((ended.status.code(), &document["error"]), (Some(3), &json!(cause)));
    let ended = home.run(&["version", "--kubeconfig=absent"]).await;
    assert!(ended.status.code() == Some(1) && ended.stdout.contains("server       unknown\n"), "{ended:?}");
}

#[tokio::test]
async fn a_file_that_is_no_kubeconfig_is_named_with_the_place_and_never_quoted() {
    let home = good_home();
    home.write("token", "s3cr3t-token-value\n");
    home.write("wrong", "users:\n- name: u\n  user: s3cr3t-in-user\n");
    let hint = "hint: this file can't be used as a kubeconfig: correct it, or name another one";
    for (file, place) in
        [("token", "1:1: expected a mapping, got a string"), ("wrong", "3:9: `users[0].user` must not be a string")]
    {
        let flag = format!("--kubeconfig={file}");
        let ended = home.run(&["get", "oci_queue_length", &flag]).await;
        assert_eq!(ended.stderr, format!("error: --kubeconfig: {file}:{place}\n{hint}"));
        let refusal = expect_refusal(&serve_in(&home, &[], &["--config=config.yaml", &flag]).ended().await);
        assert_eq!(refusal, format!("--kubeconfig: {file}:{place}\n{hint}"));
    }
}
