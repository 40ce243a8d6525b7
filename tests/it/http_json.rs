//! Documents over HTTP as they are requested, checked and shared.

use std::ptr;

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::metric::MetricName;
use depthgauge::source::part::Part;
use depthgauge::source::{KINDS, Opened, Source, SourceError};
use tokio::time::{Duration, Instant};

use crate::support::double::Double;
use crate::support::files::Files;
use crate::support::program::Home;

/// The deadline of a read that succeeds.
const LONG: Duration = Duration::from_secs(20);

fn config(entries: &[impl AsRef<str>]) -> String {
    let entry = |entry: &str| format!("  - {{type: http-json, metric: jobs, namespaces: [shop], {entry}}}\n");
    let entries: String = entries.iter().map(|text| entry(text.as_ref())).collect();
    format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{entries}")
}

fn open(entries: &[impl AsRef<str>]) -> Vec<Box<dyn Source>> {
    crate::support::crypto();
    let config = Config::parse(&config(entries), KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
    let configs = config.open(jiff::Timestamp::now, Endpoints::none()).unwrap();
    let source = |opened| match opened {
        Opened::One(identified) => identified.source,
        Opened::Many(_) => panic!("a list"),
    };
    configs.into_iter().map(|config| source(config.source)).collect()
}

async fn read(source: &dyn Source) -> Result<String, SourceError> {
    let items = source.read(&Part::WHOLE, Instant::now() + LONG).await?;
    Ok(items.value(&MetricName::chosen("jobs")).unwrap().to_string())
}

#[tokio::test]
async fn the_document_is_requested_as_the_config_has_it() {
    let files = Files::new();
    let key = files.write("key", "a key+1");
    let double = Double::start(None, |_| (200, "queues: {ready: 10Mi}".to_owned())).await;
    let [source] = &open(&[&format!(
        "url: \"http://{}/a%20b/stats\", format: yaml, value: $.queues.ready, params: {{q: \"x y\"}}, headers: {{X-Team: shop}}, auth: {{type: query, name: api_key, valueFile: {key}}}",
        double.address
    )])[..] else {
        panic!("one source")
    };
    assert_eq!(read(&**source).await.unwrap(), "10485760");
    let request = double.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a%20b/stats?q=x%20y&api_key=a%20key%2B1"));
    assert_eq!(request.header("x-team"), "shop");
}

#[tokio::test]
async fn metrics_of_a_program_are_requested_in_the_formats_that_are_read() {
    let double = Double::start(None, |_| (200, "oci_queue_length{queue=\"orders\"} 7\n".to_owned())).await;
    double.set_header("content-type: text/plain; version=0.0.4");
    let value = "value: 'oci_queue_length{queue=\"orders\"}', format: prometheus";
    let [usual, own] = &open(&[
        &format!("url: \"http://{}/metrics\", {value}", double.address),
        &format!("url: \"http://{}/metrics\", {value}, headers: {{accept: text/plain}}", double.address),
    ])[..] else {
        panic!("two sources")
    };
    assert_eq!(read(&**usual).await.unwrap(), "7");
    assert_eq!(double.last().header("accept"), depthgauge::exposition::ACCEPT);
    assert_eq!(read(&**own).await.unwrap(), "7");
    assert_eq!(double.last().header("accept"), "text/plain");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_message_has_the_url_to_write() {
    let double = Double::start(None, |_| (301, String::new())).await;
    let [source] = &open(&[&format!("url: \"http://{}/stats\", value: $.a", double.address)])[..] else {
        panic!("one source")
    };
    for location in ["https://jobs.example.com/stats", "https://login.example.com/"] {
        double.set_header(&format!("location: {location}"));
        let error = read(&**source).await.unwrap_err();
        assert_eq!(error.cause, format!("301, a redirect to {location}"));
    }
    assert_eq!(double.count(), 2);
}

/// By their upstreams, whose addresses differ while both are open.
fn share(sources: &[Box<dyn Source>]) -> bool {
    let [one, two] = sources else { panic!("{} sources", sources.len()) };
    ptr::eq(one.upstream().unwrap().upstream, two.upstream().unwrap().upstream)
}

#[test]
fn sources_of_one_origin_share_a_connection_if_all_of_its_keys_are_equal() {
    let files = Files::new();
    let (one, two) = (files.write("one", "1"), files.write("two", "2"));
    let token = |file: &str| format!("auth: {{type: bearer, tokenFile: {file}}}");
    for (first, second, expected) in [
        ("url: \"https://a.example.com/x\"", "url: \"https://a.example.com/y\"", true),
        ("url: \"https://a.example.com/x\"", "url: \"https://A.example.com:443/x\", params: {q: z}", true),
        ("url: \"https://a.example.com/x\"", "url: \"https://a.example.com:8443/x\"", false),
        ("url: \"https://a.example.com/x\"", "url: \"http://a.example.com/x\"", false),
        ("url: \"https://a.example.com/x\"", "url: \"https://b.example.com/x\"", false),
        ("url: \"https://a.example.com/x\"", "url: \"https://a.example.com/x\", maxInFlight: 2", false),
        ("url: \"https://a.example.com/x\"", "url: \"https://a.example.com/x\", proxy: none", false),
        ("url: \"https://a.example.com/x\"", "url: \"https://a.example.com/x\", tls: {serverName: c}", false),
    ] {
        let sources = open(&[&format!("{first}, value: $.a"), &format!("{second}, value: $.b, labels: {{a: b}}")]);
        assert_eq!(share(&sources), expected, "{first} {second}");
    }
    // Each has its own header Accept.
    let formats = ["format: json, value: $.a", "format: prometheus, value: a"];
    assert!(share(&open(&formats.map(|format| format!("url: \"https://a.example.com/x\", {format}")))));
    let of = |file: &str| format!("url: \"https://a.example.com/x\", value: $.a, {}", token(file));
    assert!(share(&open(&[&of(&one), &format!("{}, labels: {{a: b}}", of(&one))])));
    assert!(!share(&open(&[&of(&one), &format!("{}, labels: {{a: b}}", of(&two))])));
}

#[tokio::test]
async fn config_check_has_an_error_with_its_place_for_each_wrong_key() {
    let home = Home::new();
    let good = config(&["url: \"https://a.example.com/x\", value: $.a, format: json"]);
    home.write("config.yaml", &good);
    let checked = home.run(&["config", "check", "config.yaml"]).await;
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("config.yaml: 1 source, no errors", ""));
    for (part, instead, message) in [
        ("value: $.a", "value: a.0.b", "4:96: \"a.0.b\" is not a JSONPath (RFC 9535): write $.queues[0].ready"),
        ("value: $.a, ", "", "4:5: `value` is missing here"),
        ("url: \"https://a.example.com/x\", ", "", "4:5: `url` is missing here"),
        ("/x\"", "/x?key=hunter2\"", "a URL has no query and no fragment here: write parameters into `params`"),
        ("https://a", "https://u:p@a", "a URL has no user and no password here"),
        ("https://a", "ftp://a", "this is not a URL of a service"),
        ("a.example.com", "169.254.169.254", "is the metadata service of a cloud"),
        ("format: json", "format: xml", "\"xml\" is not supported; choose one of json, yaml, prometheus"),
        ("format: json", "connection: x", "unknown key `connection`"),
        ("format: json", "auth: {type: sas}", "auth type \"sas\" is not supported"),
        ("format: json", "tls: {verify: false}", "unknown key `verify`"),
        ("format: json", "namespaceLabel: ns", "`namespaceLabel` has no effect here: remove it"),
        ("value: $.a", "value: $..a..b", "has `..` more than once, or in a filter"),
        ("format: json", "headers: {Authorization: x}", "can't be set here: write `auth`"),
    ] {
        assert!(good.contains(part), "{part}");
        home.write("config.yaml", &good.replacen(part, instead, 1));
        let checked = home.run(&["config", "check", "config.yaml"]).await;
        let lines: Vec<&str> = checked.stderr.lines().collect();
        assert!(!checked.status.success() && lines.len() == 2 && lines[0].contains(message), "{instead}: {lines:?}");
        assert!(!checked.stderr.contains("hunter2"), "{}", checked.stderr);
    }
    home.write(
        "config.yaml",
        &good.replace("https://a", "http://a").replace("format: json", "auth: {type: bearer, tokenFile: /x}"),
    );
    let warned = home.run(&["config", "check", "config.yaml"]).await.stderr;
    let warning = "4:5: warning: credentials are sent to http://a.example.com/x without encryption: use https://";
    assert!(warned.contains(warning), "{warned}");
}
