//! The config's JSON Schema, held against the decoder: what the one refuses the other does, too, but
//! for what no schema can say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use depthgauge::config::{self, Config};
use depthgauge::document::{Node, Problems};
use depthgauge::lookup::Timing;
use depthgauge::oci;
use depthgauge::oci::credentials::Method;
use depthgauge::source::keys::{Key, Shape};
use depthgauge::source::{Form, KINDS, Place};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::Value;

use crate::golden;
use crate::support::program::Home;

/// Everything that there is, once.
const FULL: &str = r#"apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci:
  region: eu-frankfurt-1
  auth: {type: apiKey, configFile: /etc/oci/config, profile: P}
  endpoint: https://messaging.eu-frankfurt-1.oci.oraclecloud.com
  caFile: /etc/ssl/company.pem
  maxRequestsPerSecond: 10000
connections:
  monitoring:
    type: prometheus
    urls: ["http://prometheus-0.monitoring.svc:9090", "https://prometheus.example.com/prefix"]
    headers: {X-Scope-OrgID: team-a}
    params: {dedup: "true"}
    only: {cluster: prod-eu}
  broker: {type: rabbitmq, url: "https://rabbitmq.shop.svc:15671"}
  bus:
    type: azure-servicebus
    namespace: shop.servicebus.windows.net
    endpoint: http://servicebus-emulator.shop.svc:5300
    auth: {type: sas, keyName: reader, keyFile: /etc/depthgauge-credentials/key}
defaults: {refresh: 5s, timeout: 3s, maxAge: 60s, idleAfter: 2m}
sources:
  - type: oci-queue
    name: orders
    queueId: ocid1.queue.oc1.eu-frankfurt-1.amaaaa
    endpoint: http://127.0.0.1:8080
    namespaces: [shop, "team-*"]
    refresh: 500ms
    timeout: 1s
    maxAge: 30s
    idleAfter: 1h
    export: true
    activation: 0
    fallback: 12
    channels: {eu-west: "orders/eu west"}
    consumerGroups: {billing: ocid1.consumergroup.oc1..amaaaa}
  - type: oci-queue
    compartmentId: ocid1.compartment.oc1..aaaa
    match: "orders-*"
    namespaces: ["*"]
  - type: prometheus
    connection: monitoring
    metric: http_requests_per_second
    query: sum by (namespace) (rate(http_requests_total[2m]))
    namespaces: ["*"]
    items: sum
    labels: {env: prod}
    namespaceLabel: namespace
    nan: 0
    negative: zero
    warnings: ignore
  - {type: rabbitmq, connection: broker, vhost: shop, queue: invoices, namespaces: [shop]}
  - {type: rabbitmq, match: "bills-*", namespaces: [shop]}
  - {type: azure-servicebus, queue: team/invoices, disabled: error, namespaces: [shop]}
  - {type: azure-servicebus, match: "bills-*", namespaces: [shop]}
  - {type: azure-servicebus, topic: orders, subscription: worker, namespaces: [shop]}
  - {type: azure-servicebus, topic: orders, match: "*", namespaces: [shop]}
  - type: http-json
    metric: jobs
    url: https://jobs.example.com/stats
    value: $.queues[0].ready
    format: yaml
    auth: {type: query, name: api_key, valueFile: /etc/key}
    tls: {caFile: /etc/ca.pem}
    proxy: none
    maxInFlight: 4
    namespaces: [shop]
  - type: scrape
    metric: app_requests_per_second
    service: shop/web
    port: metrics
    path: /metrics
    scheme: https
    series: 'requests_total{code!~"4.."}'
    as: rate
    window: 1m
    by: [path]
    items: sum
    auth: {type: bearer, tokenFile: /etc/token}
    tls: {caFile: /etc/ca.pem, serverName: web.shop.svc}
    namespaces: [shop]
  - {type: schedule, metric: hours, start: "0 8 * * 1-5", end: "0 18 * * MON-FRI", timezone: Europe/Berlin, value: 10, namespaces: [shop]}
"#;

/// The schema as editors use it.
struct Schema {
    document: Value,
    schemas: Schemas,
    index: SchemaIndex,
}

// === impl Schema ===

impl Schema {
    /// One that is no schema of its draft fails here.
    fn new() -> Self {
        let document = config::schema(KINDS).unwrap();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("config.schema.json", document.clone()).unwrap();
        let index = compiler.compile("config.schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { document, schemas, index }
    }

    /// What is wrong with a text; YAML is read as the decoder reads it.
    fn check(&self, text: &str) -> Result<(), String> {
        let json = Node::parse(text, &mut Problems::default()).unwrap_or_else(|| panic!("no YAML: {text}")).to_json();
        self.schemas.validate(&json, self.index).map_err(|error| error.to_string())
    }

    /// The keys of the mapping that the schema has at this place.
    fn keys(&self, pointer: &str) -> BTreeSet<String> {
        let place = self.document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
        place["properties"].as_object().unwrap().keys().cloned().collect()
    }
}

fn decoded(text: &str) -> Result<(), String> {
    Config::parse(text, KINDS).map(|_| ()).map_err(|problems| problems.lines().collect::<Vec<_>>().join("\n"))
}

/// `FULL` with a part of it replaced.
fn with(part: &str, instead: &str) -> String {
    assert!(FULL.contains(part), "{part}");
    FULL.replacen(part, instead, 1)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_program_prints_what_is_kept_in_manifests() {
    let printed = Home::new().run(&["config", "schema"]).await;
    assert_eq!((printed.status.code(), printed.stderr.as_str()), (Some(0), ""));
    golden::check_file(&root().join("manifests/config.schema.json"), &format!("{}\n", printed.stdout));
}

#[test]
fn the_schema_has_the_keys_that_the_decoder_knows() {
    let schema = Schema::new();
    let head = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n";
    // A mapping with a key that nobody knows, and where the schema has that mapping.
    let mut places = vec![
        (format!("{head}sources: []\nzzz: 1\n"), String::new()),
        (format!("{head}sources: []\ndefaults: {{zzz: 1}}\n"), "/properties/defaults".to_owned()),
    ];
    let mut named = 0..;
    for (at, kind) in KINDS.iter().enumerate() {
        let (name, of) = (kind.name, kind.connection.name);
        let entry = format!("/properties/sources/items/allOf/{at}/then");
        // The first form whose key is present, otherwise the last.
        let (last, others) = kind.forms.split_last().unwrap_or_else(|| panic!("{name} has no form"));
        let pointer = |at: usize| format!("{entry}{}", "/else".repeat(at));
        places.push((format!("{head}sources: [{{type: {name}, zzz: 1}}]\n"), pointer(others.len())));
        assert!(others.iter().all(|other| other.key != last.key), "{name}");
        for (at, Form { key, .. }) in others.iter().enumerate() {
            let text = format!("{head}sources: [{{type: {name}, {key}: x, zzz: 1}}]\n");
            places.push((text, format!("{}/then", pointer(at))));
        }
        let (start, end, pointer) = match kind.connection.place {
            Place::Section => (format!("{head}sources: []\n{of}: {{"), "}\n", format!("/properties/{of}")),
            Place::Named => (
                format!("{head}sources: []\nconnections: {{x: {{type: {of}, "),
                "}}\n",
                format!("/properties/connections/additionalProperties/allOf/{}/then", named.next().unwrap()),
            ),
            Place::Entry => (format!("{head}sources: [{{type: {name}, "), "}]\n", entry.clone()),
        };
        let of_entries = kind.forms.iter().filter(|_| kind.connection.place == Place::Entry).map(|form| form.keys);
        let keys = kind.connection.keys.iter().copied().chain(of_entries).flatten();
        let inner = keys.filter(|key| matches!(key.shape, Shape::Keys(_) | Shape::Choice(..)));
        let inner = inner.map(|Key { name, .. }| {
            (format!("{start}{name}: {{zzz: 1}}{end}"), format!("{pointer}/properties/{name}"))
        });
        places.extend(inner);
        places.push((format!("{start}zzz: 1{end}"), pointer));
    }
    for (text, pointer) in &places {
        let said = decoded(text).unwrap_err();
        let known = said.lines().find_map(|line| line.split_once("unknown key `zzz`; known here: "));
        let known = known.unwrap_or_else(|| panic!("{said}")).1.split(", ").map(str::to_owned).collect();
        assert_eq!(schema.keys(pointer), known, "{pointer}");
        assert!(schema.check(text).is_err(), "{text}");
    }
    // And no others, each with its description.
    let mut closed = BTreeSet::new();
    walk(&schema.document, "", &mut |pointer, value| {
        if value["additionalProperties"] == Value::Bool(false) {
            closed.insert(pointer.to_owned());
            for (key, value) in value["properties"].as_object().unwrap() {
                let described = value["description"].as_str().is_some_and(|text| text.ends_with('.'));
                assert!(described, "{pointer} {key} has no description that is a sentence");
            }
        }
    });
    assert_eq!(closed, places.into_iter().map(|(_, pointer)| pointer).collect());
}

fn walk(value: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(pointer, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(value, &format!("{pointer}/{key}"), visit)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{pointer}/{at}"), visit));
        }
        _ => {}
    }
}

#[test]
fn what_the_schema_tells_is_so() {
    let Schema { document, .. } = Schema::new();
    let timing = &document["properties"]["defaults"]["properties"];
    let default =
        |key: &str| timing[key]["default"].as_str().unwrap().parse::<SignedDuration>().unwrap().unsigned_abs();
    let told = Timing {
        refresh: default("refresh"),
        timeout: default("timeout"),
        max_age: default("maxAge"),
        idle_after: default("idleAfter"),
    };
    assert_eq!(told, Timing::default());
    let section = &document["properties"]["oci"]["properties"];
    assert_eq!(section["maxRequestsPerSecond"]["default"], oci::Settings::default().reads_per_second);
    let auth = &section["auth"]["properties"]["type"];
    assert_eq!(auth["enum"], Value::from(Method::ALL.map(Method::as_str).to_vec()));
    let description = auth["description"].as_str().unwrap();
    assert!(Method::ALL.iter().all(|method| description.contains(method.as_str())), "{description}");
}

#[test]
fn what_is_decoded_is_valid() {
    let schema = Schema::new();
    let mut texts = vec![FULL.to_owned()];
    for method in Method::ALL {
        texts.push(with("type: apiKey, configFile: /etc/oci/config, profile: P", &format!("type: {method}")));
    }
    for duration in [
        "24h",
        "1h30m",
        "1.5s",
        "1,5s",
        "+5s",
        "5 secs",
        "1 hour, 2 minutes",
        "300000us",
        "300000µs",
        "9000000ns",
        "PT5S",
        "pt1m5.5s",
        "00:00:05",
        "20 seconds",
        "1m 05s",
        "3hrs",
    ] {
        texts.push(with("idleAfter: 2m", &format!("idleAfter: \"{duration}\"")));
    }
    for endpoint in [
        "https://host/",
        "https://host:443",
        "https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com",
        "http://localhost:8080",
        "\"http://[::1]:8080\"",
        "http://127.0.0.1",
    ] {
        texts.push(with("http://127.0.0.1:8080", endpoint));
    }
    for number in
        ["0.5", ".5", "12.0", "1e3", "1e-10", "0x10", "9200000000000000", "1500m", "\"0.5\"", "\"+1.\"", "1Ki", "9200T"]
    {
        texts.push(with("activation: 0", &format!("activation: {number}")));
        texts.push(with("fallback: 12", &format!("fallback: {number}")));
    }
    for part in ["nan: error", "nan: 0.5", "nan: \"1500m\""] {
        texts.push(with("nan: 0", part));
    }
    for part in ["", "    empty: 7\n", "    empty: error\n"] {
        texts.push(with("    namespaceLabel: namespace\n", part));
    }
    texts.push(with("ocid1.compartment.oc1..aaaa", "ocid1.tenancy.oc1..aaaa"));
    texts.push("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources: []\n".to_owned());
    for text in texts {
        assert_eq!(decoded(&text), Ok(()), "{text}");
        assert_eq!(schema.check(&text), Ok(()), "{text}");
    }
}

#[test]
fn every_config_that_is_kept_here_is_valid() {
    let schema = Schema::new();
    let mut files = vec![root().join("src/config/tests.rs")];
    for folder in ["docs", "manifests", "fuzz/corpus/config"] {
        collect(&root().join(folder), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for config in configs(&text) {
            // The corpus has what is no config, too.
            if decoded(&config).is_ok() {
                assert_eq!(schema.check(&config), Ok(()), "{}: {config}", file.display());
                found.insert(file.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    let kept = [
        "docs/reference/configuration.md",
        "src/config/tests.rs",
        "manifests/base/config.yaml",
        "fuzz/corpus/config/full",
        "docs/how-to/prometheus.md",
    ];
    for file in kept {
        assert!(found.contains(file), "the config in {file} is not found or not good: {found:?}");
    }
}

/// The configs in a text: from the line that names the format on, as long as nothing is further to
/// the left or closes a block.
fn configs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let starts =
        lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("apiVersion: depthgauge.dev"));
    let config = |(at, first): (usize, &&str)| {
        let indent = &first[..first.len() - first.trim_start().len()];
        let inside = |line: &&&str| {
            let ends = line.starts_with("```") || line.starts_with("\"#");
            line.trim().is_empty() || (line.starts_with(indent) && !ends)
        };
        let inside = lines[at..].iter().take_while(inside);
        inside.map(|line| format!("{}\n", line.strip_prefix(indent).unwrap_or_default())).collect()
    };
    starts.map(config).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

#[test]
fn both_refuse() {
    let schema = Schema::new();
    let auth = "{type: apiKey, configFile: /etc/oci/config, profile: P}";
    let queue = "ocid1.queue.oc1.eu-frankfurt-1.amaaaa";
    let compartment = "ocid1.compartment.oc1..aaaa";
    let group = "ocid1.consumergroup.oc1..amaaaa";
    let (long, long_id) = ("x".repeat(64), format!("ocid1.queue.oc1..{}", "x".repeat(239)));
    let rows: &[(&str, &[&str])] = &[
        ("apiVersion: depthgauge.dev/v1alpha1\n", &["", "apiVersion: depthgauge.dev/v1\n"]),
        ("kind: Config\n", &["", "kind: config\n", "kind: [Config]\n"]),
        ("sources:\n", &["source:\n"]),
        (auth, &["apiKey", "{}", "{type: apikey}", "{type: apiKey, user: x}", "{type: apiKey, profile: 7}"]),
        (auth, &["{type: workloadIdentity, profile: P}", "{type: instancePrincipal, configFile: /x}"]),
        ("eu-frankfurt-1\n", &["1\n", "[fra]\n", "\"\"\n"]),
        ("caFile: /etc/ssl/company.pem", &["caFile: {}", "cafile: /x"]),
        ("10000", &["0", "-1", "10001", "1.5", "many", "\"200\""]),
        ("https://messaging.eu-frankfurt-1.oci.oraclecloud.com", &["fra", "http://example.com", "https://u@host", "7"]),
        (
            "http://127.0.0.1:8080",
            &["https://host/x", "https://host?x=1", "ftp://127.0.0.1", "http://10.0.0.1", "\"\""],
        ),
        ("http://127.0.0.1:8080", &["https://u:p@host", "https://", "http://127.0.0.1.example.com"]),
        ("refresh: 5s", &["refresh: 5", "refresh: \"5\"", "refresh: soon", "refresh: 5d", "refresh: -5s", "refresh:"]),
        ("refresh: 5s", &["refresh: 0s", "refresh: \"\"", "refresh: 5s ago", "refesh: 5s", "refresh: [5s]", "5s: 5s"]),
        ("type: oci-queue\n    name", &["type: kafka\n    name", "type: 7\n    name", "name"]),
        ("    name: orders\n", &["", "    name: 7\n", "    name: -x\n", "    name: \"\"\n", "    name: a b\n"]),
        ("name: orders", &[&format!("name: {long}"), "Name: orders"]),
        ("    queueId: ocid1.queue.oc1.eu-frankfurt-1.amaaaa\n", &["", "    match: \"*\"\n"]),
        (queue, &["orders", compartment, "ocid1.queue.oc1.amaaaa", "ocid1.queue...x", "ocid1.queue.oc1..", &long_id]),
        (
            "[shop, \"team-*\"]",
            &["shop", "[]", "[7]", "[Shop]", "[-shop]", "[shop-]", "[\"\"]", "[shop.x]", "[[shop]]"],
        ),
        ("    namespaces: [\"*\"]\n", &["", "    namespace: [\"*\"]\n"]),
        ("export: true", &["export: yes", "export: 1", "export: \"true\"", "export:"]),
        (
            "activation: 0",
            &["activation: -1", "activation: -0.5", "activation: \"-1\"", "activation: 1.5.5", "activation: x"],
        ),
        (
            "fallback: 12",
            &[
                "fallback: -1",
                "fallback: [12]",
                "fallback: 1K",
                "fallback: true",
                "fallback:",
                "fallback: .nan",
                "fallBack: 12",
            ],
        ),
        ("eu-west:", &["eu/west:", "-x:", &format!("{long}:")]),
        ("\"orders/eu west\"", &["\"\"", "7", "[x]", "{}"]),
        (group, &["billing", queue, "ocid1.consumergroup.oc1.", "7"]),
        (compartment, &["shop", queue, "7"]),
        ("    metric: http_requests_per_second\n", &["", "    metric: Requests\n", "    metric: status\n"]),
        (
            "    query: sum by (namespace) (rate(http_requests_total[2m]))\n",
            &["", "    query: \"\"\n", "    query: \" \"\n", "    query: 7\n", "    query: [up]\n"],
        ),
        ("items: sum", &["items: average", "items: 1"]),
        (
            "labels: {env: prod}",
            &["labels: {env: a b}", "labels: {depthgauge.dev/x: y}", "labels: [x]", "labels: {-x: y}"],
        ),
        ("namespaceLabel: namespace", &["namespaceLabel: -x", "namespaceLabel: depthgauge.dev/x", "namespaceLabel: 7"]),
        ("nan: 0", &["nan: x", "nan: -1", "nan: [0]", "nan:"]),
        ("negative: zero", &["negative: one", "negative: 0"]),
        ("warnings: ignore", &["warnings: true", "warnings: none"]),
        ("only: {cluster: prod-eu}", &["only: {cluster: \"\"}", "only: [x]", "only: {cluster: 7}"]),
        ("    match: \"orders-*\"\n", &["    match: \"\"\n", "    match: 7\n", "    name: x\n", "    channels: {}\n"]),
        ("    match: \"orders-*\"\n", &["    endpoint: https://host\n", "    queueId: ocid1.queue.oc1..x\n"]),
        ("queue: invoices", &["queue: \"\"", "queue: 7", "queues: invoices", "queue: invoices, match: x"]),
        ("vhost: shop", &["vhost: \"\"", "vhost: 7", "vhost: [shop]"]),
        ("match: \"bills-*\"", &["match: \"\"", "match: bills, name: x", "export: true"]),
        ("    value: $.queues[0].ready\n", &["", "    value: \"\"\n", "    value: 7\n", "    values: $.a\n"]),
        (
            "https://jobs.example.com/stats",
            &["jobs", "https://jobs.example.com/?a=b", "https://u:p@jobs", "ftp://jobs"],
        ),
        ("format: yaml", &["format: xml", "format: JSON", "format: 1", "connection: x"]),
        ("{type: query, name: api_key, valueFile: /etc/key}", &["{type: query, name: api_key}", "{type: sas}", "none"]),
        ("tls: {caFile: /etc/ca.pem}", &["tls: {verify: false}", "tls: yes"]),
        ("maxInFlight: 4", &["maxInFlight: 0", "maxInFlight: 129"]),
        ("\"0 8 * * 1-5\"", &["\"0 8 * *\"", "\"0 0 8 * * 1-5\"", "\"@daily\"", "8", "\"\""]),
        ("timezone: Europe/Berlin, ", &["", "timezone: \"\", ", "timezone: \"+01:00\", ", "timezone: 1, "]),
        ("value: 10", &["value: -1", "value: x", "value: [1]", "values: 10"]),
    ];
    for (part, instead) in rows {
        for instead in *instead {
            let text = with(part, instead);
            assert!(decoded(&text).is_err(), "the decoder takes {instead:?} for {part:?}");
            assert!(schema.check(&text).is_err(), "the schema takes {instead:?} for {part:?}");
        }
    }
    for text in ["[]", "x", "null"] {
        assert!(decoded(text).is_err() && schema.check(text).is_err(), "{text}");
    }
}

#[test]
fn what_only_the_decoder_sees() {
    let schema = Schema::new();
    for (part, instead) in [
        ("region: eu-frankfurt-1", "region: atlantis-1"),
        ("maxAge: 60s", "maxAge: 1s"),
        ("idleAfter: 2m", "idleAfter: 25h"),
        (
            "compartmentId: ocid1.compartment.oc1..aaaa\n    match: \"orders-*\"",
            "name: orders\n    queueId: ocid1.queue.oc1..x",
        ),
        ("fallback: 12", "fallback: 10P"),
        ("labels: {env: prod}", "labels: {namespace: shop}"),
        ("    nan: 0\n", "    empty: 0\n"),
        ("connection: monitoring", "connection: other"),
        ("value: $.queues[0].ready", "value: queues.0.ready"),
        ("start: \"0 8", "start: \"60 8"),
        ("end: \"0 18 * * MON-FRI", "end: \"0 8 * * FRI"),
        ("timezone: Europe/Berlin", "timezone: Europe/Bonn"),
    ] {
        let text = with(part, instead);
        assert!(decoded(&text).is_err(), "{instead}");
        assert_eq!(schema.check(&text), Ok(()), "now it does: {instead} is one for `both_refuse`");
    }
}

proptest! {
    #[test]
    fn names_are_the_same_to_both(
        name in "[A-Za0-9._/-]{1,5}",
        namespace in "[a-b0A.*-]{1,4}",
        queue in "(ocid1\\.)?queue(\\.[a-bZ_/-]{0,2}){1,4}",
        group in "ocid1\\.(queue|group|)(\\.[a-bZ_/-]{0,2}){1,4}",
        compartment in "ocid1\\.(compartment|tenancy|x)(\\.[a-bZ_/-]{0,2}){1,4}",
    ) {
        let schema = Schema::new();
        for (part, instead) in [
            ("name: orders", format!("name: \"{name}\"")),
            ("[shop, \"team-*\"]", format!("[\"{namespace}\"]")),
            ("ocid1.queue.oc1.eu-frankfurt-1.amaaaa", queue),
            ("ocid1.consumergroup.oc1..amaaaa", group),
            ("ocid1.compartment.oc1..aaaa", compartment),
            ("eu-west:", format!("\"{name}\":")),
        ] {
            let text = with(part, &instead);
            prop_assert_eq!(decoded(&text).is_ok(), schema.check(&text).is_ok(), "{}", instead);
        }
    }

    #[test]
    fn a_number_that_is_decoded_is_valid(
        written in "[+]?[0-9]{0,3}[.]?[0-9]{0,4}(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,2})?",
        other in "[0-9.+eEmKi]{1,6}",
    ) {
        let schema = Schema::new();
        for number in [&written, &format!("\"{written}\""), &other] {
            let text = with("fallback: 12", &format!("fallback: {number}"));
            prop_assert!(decoded(&text).is_err() || schema.check(&text).is_ok(), "{}", number);
        }
    }

    #[test]
    fn a_duration_that_is_decoded_is_valid(
        written in "[+]?([0-9]{1,2}([.,][0-9])? ?(h|m|s|ms|us|ns|µs|hours|mins|secs|x),? ?){1,3}",
        other in "[0-9PTpthms:., +-]{1,8}",
    ) {
        let schema = Schema::new();
        for duration in [written, other] {
            let text = with("idleAfter: 2m", &format!("idleAfter: \"{duration}\""));
            prop_assert!(decoded(&text).is_err() || schema.check(&text).is_ok(), "{}", duration);
        }
    }
}
