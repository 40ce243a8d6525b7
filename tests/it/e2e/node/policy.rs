//! NetworkPolicies as a network plugin enforces them: what no policy allows is dropped. The
//! kernel counts what each rule let through.

use std::process::Command;

use serde_json::{Value, json};

use super::super::cluster::{Cluster, run};
use super::super::netns::Netns;
use super::text;

/// Of a cloud's instances.
const METADATA: &str = "169.254.169.254";
/// Before the kernel rewrites any address.
const PRIORITY: i32 = -150;
const TABLE: &str = "network_policy";
/// How the rule ends that counts what none allows.
pub const DROPPED: &str = "dropped";

/// A rule, and what it let through.
#[derive(Debug)]
pub struct Port {
    /// `egress tcp 443`, `egress tcp 80 to 169.254.169.254/32`.
    pub rule: String,
    /// How many connections, or datagrams.
    pub packets: u64,
}

/// Puts those in force that select this pod; there has to be one for either direction.
pub fn enforce(netns: &Netns, cluster: &Cluster, pod: &Value) {
    let namespace = text(&pod["metadata"]["namespace"]);
    let policies: Value =
        serde_json::from_str(&cluster.told(&["get", "networkpolicies", "-n", &namespace, "-o", "json"])).unwrap();
    let specs: Vec<&Value> = policies["items"].as_array().unwrap().iter().map(|policy| &policy["spec"]).collect();
    let selecting: Vec<&Value> = specs.into_iter().filter(|spec| selects(spec, pod)).collect();
    let mut ruleset = format!("table inet {TABLE} {{\n");
    for (direction, hook, link, kind) in [("ingress", "input", "iif", "Ingress"), ("egress", "output", "oif", "Egress")]
    {
        let closed = |spec: &&Value| spec["policyTypes"].as_array().unwrap().contains(&json!(kind));
        assert!(selecting.iter().any(closed), "no NetworkPolicy closes {direction}");
        ruleset += &format!("chain {direction} {{\ntype filter hook {hook} priority {PRIORITY}; policy drop;\n");
        ruleset += &format!("ct state established,related accept\nct state invalid drop\nmeta {link} lo accept\n");
        for rule in selecting.iter().filter_map(|spec| spec[direction].as_array()).flatten() {
            ruleset += &rules(direction, rule);
        }
        // Policies speak of these; neighbours find each other by ICMPv6.
        ruleset += &format!("meta l4proto {{ tcp, udp, sctp }} counter comment \"{direction} {DROPPED}\"\n}}\n");
    }
    ruleset += "}\n";
    // Like every name, the metadata service leads to this machine.
    ruleset += &format!(
        "table ip metadata {{\nchain output {{\ntype nat hook output priority {};\nip daddr {METADATA} dnat to {}\n}}\n}}\n",
        PRIORITY + 1,
        netns.host()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &ruleset).unwrap();
    let said = nft(netns, &["-f", file.path().to_str().unwrap()]);
    assert!(said.ok, "this test needs nft (hack/setup system): {}\n{ruleset}", said.stderr);
}

/// What has passed each so far, and what was dropped.
pub fn ports(netns: &Netns) -> Vec<Port> {
    let said = nft(netns, &["-j", "list", "table", "inet", TABLE]);
    let table: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let rules = table["nftables"].as_array().unwrap().iter().map(|entry| &entry["rule"]);
    let packets = |rule: &Value| {
        let mut expressions = rule["expr"].as_array()?.iter();
        expressions.find_map(|expression| expression["counter"]["packets"].as_u64())
    };
    let counted =
        rules.filter_map(|rule| Some(Port { rule: rule["comment"].as_str()?.to_owned(), packets: packets(rule)? }));
    counted.collect()
}

fn selects(spec: &Value, pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    assert!(spec["podSelector"]["matchExpressions"].is_null(), "{spec}");
    spec["podSelector"]["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

fn rules(direction: &str, rule: &Value) -> String {
    let blocks: Vec<String> = match rule["to"].as_array() {
        None => vec![String::new()],
        Some(peers) => peers.iter().map(|peer| text(&peer["ipBlock"]["cidr"])).collect(),
    };
    assert!(rule["from"].is_null(), "who may come is not known here: {rule}");
    let mut rules = String::new();
    for port in rule["ports"].as_array().unwrap() {
        let (protocol, number) = (text(&port["protocol"]).to_lowercase(), &port["port"]);
        assert!(number.is_u64(), "{rule}");
        for block in &blocks {
            let (only, to) = match block.as_str() {
                "" => (String::new(), String::new()),
                block => {
                    let family = if block.contains(':') { "ip6" } else { "ip" };
                    (format!("{family} daddr {block} "), format!(" to {block}"))
                }
            };
            rules += &format!(
                "{only}{protocol} dport {number} counter accept comment \"{direction} {protocol} {number}{to}\"\n"
            );
        }
    }
    rules
}

fn nft(netns: &Netns, args: &[&str]) -> super::super::cluster::Said {
    let enter = netns.enter();
    run(Command::new(&enter[0]).args(&enter[1..]).arg("nft").args(args))
}
