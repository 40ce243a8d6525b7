//! Whole config files, and the errors of wrong ones.

use std::time::Duration;

use super::*;
use crate::metric::quantity::Quantity;
use crate::source::KINDS;

pub(super) fn lines(text: &str) -> Vec<String> {
    match Config::parse(text, KINDS) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.lines().collect(),
    }
}

const GOOD: &str = r#"
apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci:
  region: eu-frankfurt-1
  auth: {type: apiKey, configFile: /dev/null, profile: X}
  endpoint: http://127.0.0.1:1234
defaults: {refresh: 2s, maxAge: 30s}
sources:
  - type: oci-queue
    name: orders
    queueId: ocid1.queue.oc1.eu-frankfurt-1.amaaaa
    endpoint: https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com
    namespaces: [shop, "team-*"]
    timeout: 1s
    activation: 0.5
    fallback: 12
    channels: {eu-west: "orders/eu west"}
    consumerGroups: {billing: ocid1.consumergroup.oc1.eu-frankfurt-1.amaaaa}
  - type: oci-queue
    name: bills
    queueId: ocid1.queue.oc1.eu-frankfurt-1.bbbbbb
    namespaces: ["*"]
"#;

#[test]
fn an_object_of_another_api_has_two_errors() {
    let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n";
    assert_eq!(
        lines(kustomization),
        [
            "1:13: \"kustomize.config.k8s.io/v1beta1\" is not supported; write `apiVersion: depthgauge.dev/v1alpha1`",
            "2:7: \"Kustomization\" is not supported; write `kind: Config`",
        ]
    );
}

#[test]
fn a_good_file() {
    let config = Config::parse(GOOD, KINDS).unwrap();
    assert_eq!(config.source_count(), 2);
    let entry = &config.entries[0];
    assert_eq!(entry.name, "orders");
    assert!(entry.namespaces[1].matches("team-a"));
    let seconds = Duration::from_secs;
    let expected = Timing { refresh: seconds(2), timeout: seconds(1), max_age: seconds(30), idle_after: seconds(120) };
    assert_eq!(entry.timing, expected);
    let milli = |n| Some(Quantity::from_milli(n));
    assert_eq!(entry.value_rules, ValueRules { activation: milli(500), fallback: milli(12_000) });
    assert_eq!(config.entries[1].value_rules, ValueRules::default());
}

#[test]
fn every_error_is_reported_at_once_with_its_place() {
    let text = r#"apiVersion: depthgauge.dev/v2
extra: 1
oci: {auth: {type: magic}, region: atlantis-1, extra: 2, maxRequestsPerSecond: 0}
defaults: {refresh: 0s, extra: 3}
sources:
  - type: oci-queue
    name: orders
    queueId: orders
    namespaces: []
    extra: 4
  - type: oci-queue
    name: orders
    queueId: ocid1.queue.oc1.fra.amaaaa
    endpoint: http://example.com
    namespaces: [7, Shop, "team-*"]
  - type: kafka
    name: -x
  - name: y
"#;
    let expected = [
        "1:1: `kind` is missing here",
        "1:13: \"depthgauge.dev/v2\" is not supported; write `apiVersion: depthgauge.dev/v1alpha1`",
        "2:1: unknown key `extra`; known here: apiVersion, connections, defaults, kind, oci, sources",
        "3:20: auth type \"magic\" is not supported; choose one of apiKey, sessionToken, workloadIdentity, instancePrincipal, resourcePrincipal",
        "3:36: \"atlantis-1\" is not a known region; write its name, such as eu-frankfurt-1, or describe one that is new in OCI_REGION_METADATA",
        "3:48: unknown key `extra`; known here: auth, caFile, endpoint, maxRequestsPerSecond, region",
        "3:80: expected a whole number from 1 to 10000",
        "4:21: expected a duration above zero and up to 24h, such as 5s, 500ms or 2m",
        "4:25: unknown key `extra`; known here: idleAfter, maxAge, refresh, timeout",
        "8:14: \"orders\" is not the OCID of a queue: write ocid1.queue.oc1.<region>.<unique id>",
        "9:17: no namespace could read this source: name namespaces, or \"*\" for all",
        "10:5: unknown key `extra`; known here: activation, channels, compartmentId, consumerGroups, endpoint, export, fallback, idleAfter, labels, maxAge, name, namespaces, queueId, refresh, timeout, type",
        "14:15: \"http://example.com\" is not an endpoint: write https://messaging.eu-frankfurt-1.oci.oraclecloud.com, without path or user; http:// is for loopback addresses only",
        "15:18: expected a string: write \"7\" with quotes",
        "15:21: invalid namespace \"Shop\": lowercase letters, digits and '-' within, and \"*\" for any part",
        "16:5: `namespaces` is missing here",
        "16:11: unknown type \"kafka\"; choose one of oci-queue, prometheus, rabbitmq, azure-servicebus, http-json, scrape, schedule",
        "17:11: invalid label value \"-x\": at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit",
        "18:5: `namespaces` is missing here",
        "18:5: `type` is missing here",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn a_value_rule_is_a_number() {
    for bad in ["-1", "-0.5", "x", "12x", "9200000000000001", "10000000000000000"] {
        let lines = lines(&GOOD.replace("fallback: 12", &format!("fallback: {bad}")));
        let expected = "17:15: expected a number from 0 to 9200000000000000, such as 12 or 0.5";
        assert_eq!(lines, [expected], "{bad}");
    }
}

#[test]
fn the_default_timeout_depends_on_the_type() {
    let timeouts = |defaults: &str| {
        let text = format!(
            "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n{defaults}connections: {{broker: {{type: rabbitmq, url: \"http://localhost\"}}}}\nsources:\n  - {{type: rabbitmq, queue: a, namespaces: [shop]}}\n  - {{type: rabbitmq, queue: b, namespaces: [shop], timeout: 2s}}\n  - {{type: oci-queue, name: c, queueId: ocid1.queue.oc1.eu-frankfurt-1.amaaaa, namespaces: [shop]}}\n"
        );
        let config = Config::parse(&text, KINDS).unwrap();
        config.entries.iter().map(|entry| entry.timing.timeout.as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(timeouts(""), [10, 2, 3]);
    assert_eq!(timeouts("defaults: {refresh: 1s}\n"), [10, 2, 3]);
    assert_eq!(timeouts("defaults: {timeout: 4s}\n"), [4, 2, 4]);
}

#[test]
fn a_static_label_is_none_of_the_type() {
    let with = |labels: &str| lines(&GOOD.replace("    fallback: 12\n", &format!("    labels: {{{labels}}}\n")));
    assert_eq!(with("env: prod, example.com/team: a"), [""; 0]);
    for label in ["queue", "channel", "consumer-group"] {
        let expected = format!("17:13: {label:?} is a label that oci-queue has itself: use another one");
        assert_eq!(with(&format!("{label}: x")), [expected]);
    }
    let bus = "connections: {bus: {type: azure-servicebus, namespace: a.servicebus.windows.net, auth: {type: azureManagedIdentity}}}";
    let entry = "{type: azure-servicebus, topic: a, subscription: b, namespaces: [shop], labels: {subscription: x}}";
    let bus = lines(&format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n{bus}\nsources: [{entry}]\n"));
    assert!(bus.len() == 1 && bus[0].contains("\"subscription\" is a label that azure-servicebus has"), "{bus:?}");
    let own = with("depthgauge.dev/name: x");
    assert!(own.len() == 1 && own[0].contains("are depthgauge's own"), "{own:?}");
}

#[test]
fn a_max_age_below_refresh_is_an_error() {
    let lines = lines(&GOOD.replace("maxAge: 30s", "maxAge: 1s"));
    assert!(lines[0].starts_with("8:11: maxAge (1s) is shorter than refresh (2s)"), "{lines:?}");
}

#[test]
fn sources_of_a_compartment_have_a_pattern_and_no_name() {
    let listed = r#"
  - {type: oci-queue, compartmentId: ocid1.compartment.oc1..aaaa, namespaces: [shop]}
  - {type: oci-queue, compartmentId: ocid1.tenancy.oc1..aaaa, match: "orders-*", namespaces: [shop], export: true}
"#;
    let config = Config::parse(&format!("{GOOD}{}", listed.trim_start_matches('\n')), KINDS).unwrap();
    let entries: Vec<_> = config.entries.iter().map(|entry| (entry.name.as_str(), entry.export)).collect();
    assert_eq!(entries, [("orders", false), ("bills", false), ("*", false), ("orders-*", true)]);
    let wrong = r#"apiVersion: depthgauge.dev/v1alpha1
kind: Config
sources:
  - {type: oci-queue, compartmentId: shop, name: orders, match: "", namespaces: [shop], export: maybe}
  - {type: oci-queue, name: orders, match: "*", queueId: ocid1.queue.oc1.fra.amaaaa, namespaces: [shop]}
"#;
    let expected = [
        "4:38: \"shop\" is not the OCID of a compartment: write ocid1.compartment.oc1..<unique id>",
        "4:50: `compartmentId` is here, too: write either `compartmentId` or `name`",
        "4:65: no name is empty: leave `match` out for all names, or write one such as \"orders-*\"",
        "4:97: expected true or false",
        "5:44: `queueId` is here, too: write either `queueId` or `match`",
    ];
    assert_eq!(lines(wrong), expected);
}

#[test]
fn definitions_are_the_same_while_what_they_mean_is() {
    let definitions = |text: &str| {
        let Config { entries, .. } = Config::parse(text, KINDS).unwrap();
        entries.into_iter().map(|entry| entry.definition).collect::<Vec<_>>()
    };
    let before = definitions(GOOD);
    assert_ne!(before[0], before[1]);
    for same in [GOOD.replace("timeout: 1s", "timeout: 2s"), GOOD.replace("  - type", "\n\n  - type")] {
        assert_eq!(definitions(&same), before);
    }
    let moved = definitions(&GOOD.replace("bbbbbb", "cccccc"));
    assert_eq!((moved[0] == before[0], moved[1] == before[1]), (true, false));
    let other_user = definitions(&GOOD.replace("profile: X", "profile: Y"));
    assert_eq!((other_user[0] == before[0], other_user[1] == before[1]), (false, false));
}

#[test]
fn what_is_no_config_at_all() {
    for (text, line) in
        [("", "1:1: the file is empty"), ("[]", "1:1: expected a mapping, got a list"), ("a: [", "2:1: not YAML")]
    {
        let lines = lines(text);
        assert!(lines[0].starts_with(line), "{lines:?}");
    }
}
