//! A kind of source that the program does not have: its metric has a name that the config chooses, its
//! reads go through a connection and bring several items, and one value is unknown. It needs no change
//! outside of this file, because no generic room names a kind.

use depthgauge::config::{self, Config};
use depthgauge::endpoints::Endpoints;
use depthgauge::lookup::consumers::ConsumerState;
use depthgauge::lookup::rules::Applied;
use depthgauge::selector::Selector;
use depthgauge::source::chosen::{ItemRules, Number, Point};
use depthgauge::source::keys::{Key, Shape, Text, Values};
use depthgauge::source::part::Part;
use depthgauge::source::{
    Connection, ConnectionType, ErrorKind, Form, Identified, Items, Kind, Kinds, NextRequest, OpenError, Opened,
    Operation, Place, Source, SourceError,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use tokio::time::Instant;

use crate::support::client::Answer;
use crate::support::server::Server;

/// `type: toy`
const TOY: Kind = Kind {
    name: "toy",
    label: "metric",
    metrics: &[],
    gauges: &[],
    depths: &[],
    apart: &[],
    labels: &[],
    parts: &[],
    forms: &[Form { key: "colours", keys: &[COLOURS], label: None }],
    slow: false,
    connection: ConnectionType {
        name: "box",
        place: Place::Named,
        doc: "A box of toys.",
        keys: &[&[Key::new("times", Shape::Count(10), "What each value is multiplied by.").required()]],
        conflicts: |_| Vec::new(),
        warn: |_| Vec::new(),
        connect: |values, _| Ok(Arc::new(Toys(values.count("times").unwrap_or(1)))),
    },
    environment: None,
    without_effect: &[],
    conflicts: |_| Vec::new(),
    changes: |_, _| Vec::new(),
    pods_of: None,
    warn: |_| Vec::new(),
};

pub(crate) const TOYS: Kinds = &[&TOY];

const COLOURS: Key = Key::new(
    "colours",
    Shape::Texts(Text::ANY, "a box without colours is not a source"),
    "Colours, perhaps with a size, and how many toys have them, as in red=2 or red/big=2; `?` is not known, and of `nothing` there are none.",
)
.required();

/// A box, and how many times each toy is there.
struct Toys(u32);

/// The toys of some colours.
struct Coloured {
    rules: ItemRules,
    colours: Vec<(String, Number)>,
}

impl Connection for Toys {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let colour = |text: &String| {
            let (colour, count) = text.split_once('=').ok_or_else(|| OpenError(format!("{text:?} has no count")))?;
            let count = count.parse::<i64>().map_or(count.to_owned(), |count| (count * i64::from(self.0)).to_string());
            let number = Number::parse(&count).unwrap_or(Number::Unusable("the box does not say"));
            Ok((colour.to_owned(), number))
        };
        let colours = entry.texts(COLOURS.name).iter().map(colour).collect::<Result<_, OpenError>>()?;
        let rules = ItemRules::of(entry);
        let identity = rules.identity(&format!("{} times {}", self.0, entry.texts(COLOURS.name).join(" ")));
        Ok(Opened::One(Identified { identity, source: Box::new(Coloured { rules, colours }) }))
    }
}

impl Source for Coloured {
    fn read<'s>(&'s self, _: &'s Part, _: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        let there = self.colours.iter().filter(|(colour, _)| colour != "nothing");
        let points = there.map(|(colour, number)| {
            let (colour, size) = colour.split_once('/').unwrap_or((colour, ""));
            let labels = [("colour", colour), ("size", size)].into_iter().collect();
            Point { labels, number: *number }
        });
        let items = self.rules.items(&points.collect::<Vec<_>>(), "the box is empty");
        let is_broken = self.colours.iter().any(|(colour, _)| colour == "broken");
        let broken =
            || SourceError::new(Operation::Read, ErrorKind::Transient, "the box is broken", "Mend the box.", "");
        async move { if is_broken { Err(broken()) } else { items } }.boxed()
    }

    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }
}

const HEAD: &str = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n";
const BOXES: &str = "connections:\n  attic: {type: box, times: 1}\n";
const PREFIX: &str = "/apis/external.metrics.k8s.io/v1beta1";

pub(crate) fn config(entries: &[&str]) -> String {
    let entries: String =
        entries.iter().map(|entry| format!("  - {{type: toy, namespaces: [shop], {entry}}}\n")).collect();
    format!("{HEAD}{BOXES}sources:\n{entries}")
}

async fn serve(entries: &[&str]) -> Server {
    Server::start_with(&config(entries), TOYS).await
}

async fn toys(server: &Server, namespace: &str, selector: &str) -> Answer {
    let selector = selector.replace('=', "%3D").replace(' ', "%20");
    server.aggregator("hpa").get(&format!("{PREFIX}/namespaces/{namespace}/toys?labelSelector={selector}")).await
}

/// Colours, values and value sources of an answer; or its code and message. `/status` shows the same.
async fn said(server: &Server, selector: &str) -> Result<Vec<[String; 3]>, (u16, String)> {
    let said = answered(server, selector).await;
    check_shown(server, selector, &said);
    said
}

/// Compares what consumers of this selector are served by `/status` with their answer, if that has one
/// source.
fn check_shown(server: &Server, selector: &str, said: &Result<Vec<[String; 3]>, (u16, String)>) {
    let Ok(selector) = Selector::parse(selector) else { return };
    for state in server.catalog.readings() {
        let these = |consumer: &&ConsumerState| consumer.alone && consumer.selector == selector.to_string();
        for consumer in state.consumers.iter().filter(these) {
            let Some(shown) = state.served_to(consumer) else { continue };
            let rule = shown.applied.map(Applied::as_str).unwrap_or_default();
            match (said, shown.value) {
                (Ok(items), Some(value)) => {
                    let values: Vec<_> = items.iter().map(|[_, value, rule]| (value.clone(), rule.as_str())).collect();
                    assert_eq!(values, [(value.to_string(), rule)], "{selector}");
                }
                (Err(_), None) => {}
                (said, shown) => panic!("{selector}: {said:?} and {shown:?}"),
            }
        }
    }
}

async fn answered(server: &Server, selector: &str) -> Result<Vec<[String; 3]>, (u16, String)> {
    let answer = toys(server, "shop", selector).await;
    if answer.status != 200 {
        return Err(answer.refusal());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let item = |item: &Value| {
        let labels = &item["metricLabels"];
        [text(&labels["colour"]), text(&item["value"]), text(&labels["depthgauge.dev/value-source"])]
    };
    Ok(answer.json()["items"].as_array().unwrap().iter().map(item).collect())
}

fn item(colour: &str, value: &str, source: &str) -> [String; 3] {
    [colour, value, source].map(str::to_owned)
}

fn refused(code: u16, message: &str) -> Result<Vec<[String; 3]>, (u16, String)> {
    Err((code, message.to_owned()))
}

#[tokio::test]
async fn a_selector_picks_items_of_one_read() {
    let server = serve(&["metric: toys, colours: [red=2, blue=1500, grey=?]"]).await;
    assert_eq!(said(&server, "colour=red").await, Ok(vec![item("red", "2", "")]));
    assert_eq!(said(&server, "colour in (blue)").await, Ok(vec![item("blue", "1500", "")]));
    assert_eq!(
        said(&server, "colour!=grey").await,
        refused(
            400,
            "the selector picks 2 items of toys, such as toys{colour=red} and toys{colour=blue}: pick one, or set `items: sum` in each entry of toys in depthgauge's config"
        )
    );
    assert_eq!(
        said(&server, "colour=green").await,
        refused(404, "no item of toys matches \"colour=green\"; its items have the labels colour")
    );
    assert_eq!(
        said(&server, "size=big").await,
        refused(404, "no item of toys matches \"size=big\"; its items have the labels colour")
    );
}

#[tokio::test]
async fn only_an_answer_with_an_unknown_value_fails() {
    let server = serve(&["metric: toys, items: sum, colours: [red=2, blue=3, grey=?]"]).await;
    let both = vec![item("red", "2", ""), item("blue", "3", "")];
    assert_eq!(said(&server, "colour!=grey").await, Ok(both));
    let unknown = refused(503, "the value of toys{colour=grey} is unknown: the box does not say");
    assert_eq!(said(&server, "").await, unknown);
    assert_eq!(said(&server, "colour=grey,depthgauge.dev/fallback=7").await, unknown, "the read was good");
}

#[tokio::test]
async fn a_fallback_is_not_held_by_an_activation() {
    let server = serve(&["metric: toys, activation: 5, fallback: 3, maxAge: 5s, colours: [broken=1]"]).await;
    let expected = Ok(vec![["".to_owned(), "3".to_owned(), "fallback".to_owned()]]);
    assert_eq!(said(&server, "").await, expected);
    assert_eq!(said(&server, "depthgauge.dev/activation=4").await, expected);
}

#[tokio::test]
async fn a_selector_that_is_wrong_is_no_failing_source() {
    let server = serve(&["metric: toys, colours: [red=2, grey=?]"]).await;
    let (code, message) = said(&server, "").await.unwrap_err();
    assert!(code == 400 && message.starts_with("the selector picks 2 items of toys"), "{message}");
    let slip =
        "no such selector key: depthgauge.dev/fallbak; there are depthgauge.dev/activation and depthgauge.dev/fallback";
    assert_eq!(said(&server, "colour=red,depthgauge.dev/fallbak=7").await, refused(400, slip));
}

#[tokio::test]
async fn activation_is_about_what_is_selected() {
    let entries = ["metric: toys, items: sum, activation: 4, colours: [red=2, blue=3]"];
    let server = serve(&entries).await;
    let held = |colour| item(colour, "0", "activation");
    assert_eq!(said(&server, "colour=red").await, Ok(vec![held("red")]));
    let both = vec![item("red", "2", ""), item("blue", "3", "")];
    assert_eq!(said(&server, "").await, Ok(both.clone()), "5 is above 4");
    assert_eq!(said(&server, "depthgauge.dev/activation=5").await, Ok(vec![held("red"), held("blue")]));
    assert_eq!(said(&server, "depthgauge.dev/activation=4.9").await, Ok(both));
}

#[tokio::test]
async fn entries_may_share_a_metric_unless_their_items_are_equal() {
    let server =
        serve(&["metric: toys, items: sum, colours: [red=2]", "metric: toys, items: sum, colours: [blue=3]"]).await;
    assert_eq!(said(&server, "").await, Ok(vec![item("red", "2", ""), item("blue", "3", "")]));
    let server =
        serve(&["metric: toys, items: sum, colours: [red=2]", "metric: toys, items: sum, colours: [red=3]"]).await;
    let twice = "two entries of depthgauge's config have toys{colour=red}: :6:5 and :7:5. Set `labels` in one of them, or another `metric`.";
    assert_eq!(said(&server, "colour=red").await, refused(503, twice));
    let server = serve(&[
        "metric: toys, colours: [red=2], labels: {env: prod}",
        "metric: toys, colours: [red=?, broken=1], labels: {env: dev}",
    ])
    .await;
    // What its labels rule out is not read.
    assert_eq!(said(&server, "colour=red,env=prod").await, Ok(vec![item("red", "2", "")]));
    let (code, message) = said(&server, "colour=red").await.unwrap_err();
    assert!(code == 503 && message.contains("the box is broken"), "{message}");
    let none = "no item of toys matches \"env=test\"; its items have the labels env";
    assert_eq!(said(&server, "env=test").await, refused(404, none));
}

#[tokio::test]
async fn static_labels_are_on_each_item_and_on_a_fallback() {
    let server = serve(&["metric: toys, colours: [red=2], labels: {env: prod, colour: all}"]).await;
    let answer = toys(&server, "shop", "env=prod,exported_colour=red").await.json();
    let expected = serde_json::json!({"env": "prod", "colour": "all", "exported_colour": "red"});
    assert_eq!(answer["items"][0]["metricLabels"], expected);
    let server = serve(&["metric: toys, fallback: 3, maxAge: 5s, colours: [broken=1], labels: {env: prod}"]).await;
    let answer = toys(&server, "shop", "").await.json();
    let expected = serde_json::json!({"env": "prod", "depthgauge.dev/value-source": "fallback"});
    assert_eq!(answer["items"][0]["metricLabels"], expected);
}

#[tokio::test]
async fn a_value_of_the_config_is_labelled() {
    let server =
        serve(&["metric: toys, items: sum, nan: 7, negative: zero, colours: [red=NaN, blue=-2, green=inf]"]).await;
    assert_eq!(said(&server, "colour=red").await, Ok(vec![item("red", "7", "nan")]));
    assert_eq!(said(&server, "colour=blue").await, Ok(vec![item("blue", "0", "clamp")]));
    let states = server.catalog.readings();
    let shown: Vec<_> = states[0].consumers.iter().filter_map(|consumer| states[0].served_to(consumer)).collect();
    let rules: Vec<_> = shown.iter().filter_map(|shown| shown.applied.map(Applied::as_str)).collect();
    assert_eq!(rules, ["clamp", "nan"], "the last request first");
    let infinite =
        "the value of toys{colour=green} is unknown: it is infinite. Correct what is read, such as a division by 0.";
    assert_eq!(said(&server, "").await, refused(503, infinite));
    let server = serve(&["metric: toys, colours: [red=NaN, blue=-2]"]).await;
    for (colour, cause) in [("red", "it is NaN"), ("blue", "it is negative")] {
        let (code, message) = said(&server, &format!("colour={colour}")).await.unwrap_err();
        assert!(code == 503 && message.contains(cause), "{message}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_a_failed_read_unless_the_config_has_a_value() {
    let server = serve(&["metric: toys, colours: [nothing=0]"]).await;
    let (code, message) = said(&server, "").await.unwrap_err();
    assert!(code == 503 && message.contains(": the box is empty (operation: read). "), "{message}");
    let server = serve(&["metric: toys, colours: [nothing=0], empty: 4, labels: {env: prod}"]).await;
    assert_eq!(said(&server, "env=prod").await, Ok(vec![item("", "4", "empty")]));
    let none = "no item of toys matches \"colour=red\"; its items have the labels env";
    assert_eq!(said(&server, "colour=red").await, refused(404, none));
    // The selector is wrong, and nothing is empty.
    let server = serve(&["metric: toys, colours: [red=1], empty: 4, fallback: 5"]).await;
    let none = "no item of toys matches \"colour=blue\"; its items have the labels colour";
    assert_eq!(said(&server, "colour=blue").await, refused(404, none));
}

#[tokio::test]
async fn an_item_belongs_to_the_namespace_that_its_label_names() {
    let many: String = (0..1001).map(|n| format!("big/{n}={n}, ")).collect();
    let entry = format!(
        "metric: toys, namespaceLabel: owner, namespaces: ['*'], colours: [{many}shop=2, bank=3, 'shop!=4', '?=5']"
    );
    let config = config(&["metric: x, colours: [red=1]"]).replace(
        "  - {type: toy, namespaces: [shop], metric: x, colours: [red=1]}\n",
        &format!("  - {{type: toy, {}}}\n", entry.replace("owner", "colour")),
    );
    let server = Server::start_with(&config, TOYS).await;
    let value = async |namespace: &str, selector: &str| {
        let answer = toys(&server, namespace, selector).await;
        if answer.status == 200 { Ok(answer.json()["items"][0]["value"].clone()) } else { Err(answer.refusal()) }
    };
    assert_eq!(value("shop", "").await, Ok("2".into()));
    assert_eq!(value("bank", "colour=bank").await, Ok("3".into()));
    // The value of another namespace is not even named.
    let none = "no item of toys matches \"colour=bank\"; its items have the labels colour";
    assert_eq!(value("shop", "colour=bank").await, Err((404, none.to_owned())));
    let nothing =
        "no item of toys belongs to this namespace: the label `colour` of an item names the namespace that may read it";
    for selector in ["", "colour=shop"] {
        assert_eq!(value("empty", selector).await, Err((404, nothing.to_owned())));
    }
    let (code, message) = value("big", "").await.unwrap_err();
    assert_eq!(code, 503);
    assert!(message.contains("has 1001 items in this namespace, and the maximum is 1000"), "{message}");
    // The only item belongs to a namespace, too.
    let server = serve(&["metric: toys, namespaceLabel: colour, colours: [bank=3]"]).await;
    assert_eq!(said(&server, "").await, refused(404, nothing));
}

#[tokio::test]
async fn a_namespace_reads_its_own_entries() {
    let server = serve(&["metric: toys, colours: [red=2]"]).await;
    let (code, message) = toys(&server, "bank", "colour=red").await.refusal();
    let expected = "namespace \"bank\" may not read toys: see `namespaces` in depthgauge's config";
    assert_eq!((code, message.as_str()), (404, expected));
    let absent = server.aggregator("hpa").get(&format!("{PREFIX}/namespaces/shop/oci_queue_length")).await;
    assert_eq!(absent.refusal(), (404, "there is no metric \"oci_queue_length\"; there are toys".to_owned()));
}

#[tokio::test]
async fn discovery_status_and_tables_name_the_chosen_metric() {
    let server = serve(&["metric: toys, colours: [red=2, blue=3]"]).await;
    let list = server.anyone().get(PREFIX).await.json();
    let resources = list["resources"].as_array().unwrap();
    assert_eq!(
        (resources.len(), &resources[0]["name"], &resources[0]["categories"][0]),
        (1, &"toys".into(), &"depthgauge".into())
    );
    assert_eq!(said(&server, "colour=red").await.unwrap().len(), 1);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let client = server.aggregator("hpa").with_header("accept", accept);
    let table = client.get(&format!("{PREFIX}/namespaces/shop/toys?labelSelector=colour%3Dred")).await.json();
    let cells: Vec<&str> =
        table["rows"][0]["cells"].as_array().unwrap().iter().take(3).filter_map(Value::as_str).collect();
    assert_eq!(cells, ["toys", "red", "2"]);
}

#[tokio::test]
async fn a_table_has_the_items_that_are_known_beside_one_that_is_not() {
    let server = serve(&["metric: toys, items: sum, activation: 4, colours: [red=2, blue=3, grey=?]"]).await;
    let client = server.aggregator("hpa").with_header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let rows = async |selector: &str| -> Vec<Vec<String>> {
        let table = client.get(&format!("{PREFIX}/namespaces/shop/toys?labelSelector={selector}")).await.json();
        let cells = |row: &Value| -> Vec<String> {
            let cells = row["cells"].as_array().unwrap().iter().take(3);
            cells.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
        };
        table["rows"].as_array().unwrap_or_else(|| panic!("{table}")).iter().map(cells).collect()
    };
    // Their sum is unknown, so the activation does not apply.
    assert_eq!(rows("").await, [["toys", "red", "2"], ["toys", "blue", "3"], ["toys", "grey", "?"]]);
    assert_eq!(rows("colour=red").await, [["toys", "red", "0"]]);
    let none = client.get(&format!("{PREFIX}/namespaces/shop/toys?labelSelector=colour%3Dgrey")).await;
    assert_eq!(none.refusal().0, 503, "there is no row with a value");
}

#[test]
fn its_keys_are_checked_and_in_the_schema() {
    let lines = |text: &str| match Config::parse(text, TOYS) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.lines().collect(),
    };
    let good = config(&["metric: toys, colours: [red=2], connection: attic"]);
    assert!(lines(&good).is_empty(), "{:?}", lines(&good));
    for (part, instead, line) in [
        ("metric: toys", "metric: Toys", "invalid metric \"Toys\": at most 63 of lowercase letters"),
        ("metric: toys", "metric: status", "invalid metric \"status\": it is a subresource"),
        ("metric: toys, ", "", "`metric` is missing here"),
        ("connection: attic", "connection: cellar", "there is no connection \"cellar\" of type box; write attic"),
        ("connection: attic", "export: true", "unknown key `export`"),
        ("connection: attic", "items: average", "\"average\" is not supported; write sum"),
        ("connection: attic", "empty: nothing", "expected a number from 0 to 9200000000000000"),
        ("connection: attic", "empty: error", ""),
        ("connection: attic", "empty: 0.5, nan: 2, negative: zero", ""),
        ("connection: attic", "nan: -1", "expected a number from 0 to 9200000000000000"),
        ("connection: attic", "negative: one", "\"one\" is not supported; choose one of error, zero"),
        (
            "connection: attic",
            "labels: {depthgauge.dev/x: y}",
            "labels that begin with depthgauge.dev/ are depthgauge's own",
        ),
        ("connection: attic", "labels: {-x: y}", "invalid label key \"-x\""),
        ("connection: attic", "labels: {a: b c}", "invalid label value \"b c\""),
        ("connection: attic", "namespaceLabel: a, labels: {a: b}", "every item would belong to one namespace"),
        ("connection: attic", "namespaceLabel: a, empty: 0", "no namespace could read this item"),
        ("connection: attic", "namespaceLabel: a, empty: error, labels: {b: c}", ""),
        ("type: box", "type: bag", "unknown connection type \"bag\"; write box"),
        (", times: 1", "", "`times` is missing here"),
        ("attic:", "attic: {type: box, times: 2}\n  cellar:", ""),
        (
            "sources:",
            "oci: {}\nsources:",
            "unknown key `oci`; known here: apiVersion, connections, defaults, kind, sources",
        ),
    ] {
        assert!(good.contains(part), "{part}");
        let found = lines(&good.replacen(part, instead, 1));
        assert!(
            if line.is_empty() { found.is_empty() } else { found.len() == 1 && found[0].contains(line) },
            "{instead}: {found:?}"
        );
    }
    let two = good.replace("attic:", "attic: {type: box, times: 2}\n  cellar:").replace(", connection: attic", "");
    assert_eq!(
        lines(&two),
        ["7:5: `connection` is missing here: name one of the connections of type box: attic, cellar"]
    );
    let schema = config::schema(TOYS).unwrap();
    let entry = &schema["properties"]["sources"]["items"]["allOf"][0]["then"]["properties"];
    assert!(entry["metric"].is_object() && entry["items"].is_object() && entry["connection"].is_object(), "{entry}");
    assert!(schema["properties"]["connections"].is_object() && schema["properties"]["oci"].is_null());
}

#[test]
fn a_fixed_name_can_not_be_chosen() {
    const BOTH: Kinds = &[depthgauge::source::KINDS[0], &TOY];
    let text = config(&["metric: oci_queue_length, colours: [red=2]"]);
    let lines: Vec<String> = Config::parse(&text, BOTH).err().unwrap().lines().collect();
    assert_eq!(lines, ["6:45: \"oci_queue_length\" is a metric of another type: choose another name"]);
}

#[test]
fn each_entry_that_can_not_be_opened_is_an_error_with_its_place() {
    let text = config(&["metric: a, colours: [red]", "metric: b, colours: [red=1]", "metric: c, colours: [blue]"]);
    let error =
        Config::parse(&text, TOYS).unwrap().open(jiff::Timestamp::now, Endpoints::none()).err().unwrap().to_string();
    assert_eq!(error, ":6:5: \"red\" has no count\n:8:5: \"blue\" has no count");
}
