//! Two entries of one type and name are legal while no namespace may read both.

use serde_json::json;

use super::{Scene, named, served, with};
use crate::known_faults;
use crate::support::oci::{Oci, ocid};
use crate::support::program::{Ended, Home};

/// Namespaces of two entries that have no namespace in common.
const APART: &[(&str, &str)] = &[
    ("team-a", "team-b"),
    ("team-a, team-c", "team-b"),
    ("team-a*", "team-b*"),
    ("'*-prod'", "'*-dev'"),
    ("'a*-prod'", "'b*'"),
    // Too short for both ends.
    ("'ab*ba'", "aba"),
];
/// Namespaces of two entries that have one in common, or can have.
const TOGETHER: &[(&str, &str)] = &[
    ("team-a", "team-a"),
    ("team-a, team-b", "team-c, team-b"),
    ("team-*", "team-a"),
    ("team-a", "'*'"),
    ("'*'", "'*'"),
    // `team-a-prod` is one of both.
    ("team-*", "'*-prod'"),
    ("'a*c'", "'ab*'"),
];

/// Checks a config with an entry for each of these, all of one name. They are on lines 5 and following.
async fn check(namespaces: &[&str]) -> Ended {
    let mut text =
        "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\noci: {region: eu-frankfurt-1}\nsources:\n".to_owned();
    for (number, namespaces) in namespaces.iter().enumerate() {
        let id = ocid(&format!("q{number}"));
        text += &format!("  - {{type: oci-queue, name: orders, queueId: {id}, namespaces: [{namespaces}]}}\n");
    }
    let home = Home::new();
    home.write("config.yaml", &text);
    home.run(&["config", "check", "config.yaml"]).await
}

#[tokio::test]
async fn entries_of_one_name_are_legal_where_no_namespace_may_read_both() {
    known_faults::run("entries of one name are legal where no namespace may read both", async {
        for (one, other) in APART {
            let ended = check(&[one, other]).await;
            assert_eq!(ended.status.code(), Some(0), "[{one}] and [{other}]: {}", ended.stderr);
        }
    })
    .await;
}

#[tokio::test]
async fn entries_of_one_name_are_an_error_where_a_namespace_may_read_both() {
    for (one, other) in TOGETHER {
        for (one, other) in [(one, other), (other, one)] {
            let ended = check(&[one, other]).await;
            assert_eq!(ended.status.code(), Some(1), "[{one}] and [{other}]: {}", ended.stdout);
            let line = ended.stderr.lines().find(|line| line.starts_with("config.yaml:6:"));
            let line = line.unwrap_or_else(|| panic!("[{one}] and [{other}]: {}", ended.stderr));
            let column = line["config.yaml:6:".len()..].split(':').next().unwrap();
            assert!(column.parse::<usize>().is_ok() && line.contains("\"orders\""), "{line}");
        }
    }
}

#[tokio::test]
async fn each_entry_that_shares_a_namespace_with_an_earlier_one_is_reported() {
    known_faults::run("each entry that shares a namespace with an earlier one is reported", async {
        let ended = check(&["team-a", "team-b", "team-*", "team-c", "'*-c'"]).await;
        let lines = ended.stderr.lines().filter_map(|line| line.strip_prefix("config.yaml:"));
        let mut reported: Vec<&str> = lines.map(|line| line.split(':').next().unwrap()).collect();
        // An entry may be reported for each earlier one.
        reported.dedup();
        // `team-*` means team-a and team-b too, team-c is one of them, and the last entry means that one.
        assert_eq!(reported, ["7", "8", "9"], "{}", ended.stderr);
    })
    .await;
}

#[tokio::test]
async fn each_namespace_is_served_its_own_entry_of_a_name() {
    known_faults::run("each namespace is served its own entry of a name", async {
        let oci = Oci::with_queues(&["a1", "b1"]).await;
        oci.put("a1", 3);
        oci.put("b1", 7);
        let sources = [named("orders", "a1", &["team-a"]), named("orders", "b1", &["team-b"])];
        let scene = Scene::start(oci, &json!({}), &sources).await;
        for _ in 0..2 {
            assert_eq!(scene.length("team-b", "queue=orders").await, served(&[("orders", "7")]));
            assert_eq!(scene.length("team-a", "").await, served(&[("orders", "3")]));
        }
        let (code, message) = scene.length("team-c", "queue=orders").await.unwrap_err();
        assert_eq!((code, message.contains("orders")), (404, false), "{message}");
    })
    .await;
}

/// One queue, and one alias that means a channel of it to one team and another channel to the other.
#[tokio::test]
async fn an_alias_is_that_of_the_namespaces_own_entry() {
    known_faults::run("an alias is that of the namespace's own entry", async {
        let oci = Oci::with_queues(&["shared"]).await;
        oci.put_in_channel("shared", "eu west", 3);
        oci.put_in_channel("shared", "eu east", 7);
        let entry =
            |team: &str, channel: &str| with(named("orders", "shared", &[team]), &json!({"channels": {"eu": channel}}));
        let scene = Scene::start(oci, &json!({}), &[entry("team-a", "eu west"), entry("team-b", "eu east")]).await;
        for (namespace, value) in [("team-a", "3"), ("team-b", "7"), ("team-a", "3")] {
            let outcome = scene.length(namespace, "queue=orders,channel=eu").await;
            assert_eq!(outcome, served(&[("orders", value)]), "{namespace}");
        }
    })
    .await;
}
