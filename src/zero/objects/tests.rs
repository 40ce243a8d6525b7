//! A kube-apiserver with an adapter behind it that returns what a test sets.

use std::sync::atomic::AtomicI64;

use kube::core::Status;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::zero::autoscaler::tests::hpa;
use crate::zero::events::fitting;
use crate::zero::finding::Finding;
use crate::zero::scale::tests::answering;
use crate::zero::workload::Workload;

const V2: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/ingresses.networking.k8s.io/web/requests";
const V1: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/shop/ingresses.networking.k8s.io/web/requests";
const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Of this object, by `apiVersion/kind/name`.
fn requests_of(object: &str) -> ObjectMetric {
    let (rest, name) = object.rsplit_once('/').unwrap();
    let (api_version, kind) = rest.rsplit_once('/').unwrap();
    let object = Workload { api_version: api_version.into(), kind: kind.into(), name: name.into() };
    ObjectMetric { name: "requests".into(), selector: String::new(), object }
}

fn ingress() -> ObjectMetric {
    requests_of("networking.k8s.io/v1/Ingress/web")
}

fn list(value: &str) -> Value {
    json!({"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "metadata": {}, "items": [
        {"describedObject": {"kind": "Ingress", "name": "web"}, "metric": {"name": "requests"}, "value": value,
            "timestamp": NOW.to_string()}]})
}

/// Serves Ingresses, and Services of the core group; `answer` serves all other paths.
fn objects(answer: impl Fn(&str) -> (u16, Value) + Clone + Send + 'static) -> Arc<Objects> {
    let named = |version: &str, name: &str, kind: &str| {
        let resource = json!({"name": name, "kind": kind, "namespaced": true, "singularName": "", "verbs": ["get"]});
        json!({"kind": "APIResourceList", "groupVersion": version, "resources": [resource]})
    };
    let client = answering(move |_, path, _| match path {
        "/apis/networking.k8s.io/v1" => (200, named("networking.k8s.io/v1", "ingresses", "Ingress")),
        "/api/v1" => (200, named("v1", "services", "Service")),
        path => answer(path),
    });
    Arc::new(Objects::new(client, || NOW))
}

/// The value with these responses for the requested paths, and the paths.
async fn served_of(metric: &ObjectMetric, answers: &'static [(u16, &'static str)]) -> (MetricValue, Vec<String>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let objects = objects(move |path| {
        let mut seen = seen.lock();
        let (code, said) = answers[seen.len()];
        seen.push(path.to_owned());
        (code, if code == 200 { list(said) } else { json!(said) })
    });
    let served = said(objects.read(&Namespace::new("shop"), metric).await);
    let asked = asked.lock().clone();
    (served, asked)
}

/// What follows if nothing is known from before.
fn said(answer: Answer) -> MetricValue {
    let mut reading = Reading::default();
    reading.take(answer, Instant::now());
    reading.served(&ingress())
}

fn calls(readings: &Readings) -> usize {
    readings.0.values().filter(|reading| reading.call.is_some()).count()
}

fn read(sum: &str) -> MetricValue {
    MetricValue::Value { sum: Quantity::parse(sum).unwrap(), first: NOW, last: NOW }
}

#[tokio::test]
async fn it_is_asked_as_the_controller_asks() {
    let group = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop";
    let by_path = ObjectMetric { selector: "path in (/,/a)".to_owned(), ..ingress() };
    let piped = ObjectMetric { name: "a|b.c_d".to_owned(), ..requests_of("v1/Service/api") };
    for (metric, path) in [
        (ingress(), "ingresses.networking.k8s.io/web/requests"),
        (requests_of("v1/Service/api"), "services/api/requests"),
        (requests_of("/Service/api"), "services/api/requests"),
        (requests_of("v1/Namespace/other"), "metrics/requests"),
        (piped, "services/api/a%7Cb.c_d"),
        (by_path, "ingresses.networking.k8s.io/web/requests?metricLabelSelector=path%20in%20%28%2F%2C%2Fa%29"),
    ] {
        let (served, asked) = served_of(&metric, &[(200, "5")]).await;
        assert_eq!((served, asked), (read("5"), vec![format!("{group}/{path}")]));
    }
}

#[tokio::test]
async fn an_adapter_may_serve_either_version() {
    let (served, asked) = served_of(&ingress(), &[(404, NOBODY), (200, "1500m")]).await;
    assert_eq!((served, asked), (read("1500m"), vec![V2.to_owned(), V1.to_owned()]));
    let (served, asked) = served_of(&ingress(), &[(404, "404 page not found\n"), (404, NOBODY)]).await;
    assert_eq!(asked.len(), 2);
    let MetricValue::Unknown(why) = served else { panic!("{served:?}") };
    assert!(why.contains("no server is registered for custom.metrics.k8s.io"), "{why}");
}

#[tokio::test]
async fn the_version_that_was_served_is_asked_for_first() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let objects = objects(move |path| {
        let mut seen = seen.lock();
        seen.push(path.to_owned());
        // The older one alone, until after the third question the newer one alone.
        if path.starts_with(if seen.len() <= 3 { V1 } else { V2 }) { (200, list("5")) } else { (404, json!(NOBODY)) }
    });
    for _ in 0..4 {
        assert_eq!(said(objects.read(&Namespace::new("shop"), &ingress()).await), read("5"));
    }
    assert_eq!(*asked.lock(), [V2, V1, V1, V1, V2, V2]);
}

#[tokio::test]
async fn trouble_is_unknown_and_says_what_helps() {
    const GONE: &str = "the server could not find the metric requests for ingresses.networking.k8s.io web";
    let of = "depthgauge cannot read requests of ingress.networking.k8s.io/web: ";
    let cases: [(&[(u16, &str)], &str); 5] = [
        (&[(404, GONE)], GONE),
        (
            &[(403, "User \"u\" cannot get resource")],
            "it may not get * of custom.metrics.k8s.io in shop; to grant it, give this to kubectl apply -f -: {",
        ),
        (&[(403, "not at night")], "custom.metrics.k8s.io answers 403: not at night"),
        (
            &[(503, "dial tcp 10.0.0.7:443: refused")],
            "custom.metrics.k8s.io answers 503; see its adapter: kubectl get apiservices",
        ),
        (&[(401, "expired")], "custom.metrics.k8s.io answers 401; see its adapter: kubectl get apiservices"),
    ];
    for (answers, text) in cases {
        let (served, asked) = served_of(&ingress(), answers).await;
        let why = match (&served, answers[0].0) {
            (MetricValue::Absent(why), 404) => why,
            (MetricValue::Unknown(why), 401..=403 | 503) => why,
            _ => panic!("{served:?}"),
        };
        assert!(why.starts_with(of) && why.contains(text), "{why}");
        assert_eq!(asked, [V2], "another version would say the same");
    }
    let (served, asked) = served_of(&requests_of("example.com/v1/Robot/r"), &[(404, NOBODY)]).await;
    let MetricValue::Unknown(why) = served else { panic!("{served:?}") };
    assert!(why.ends_with("in example.com/v1; if another version has it, write that one") && asked.len() == 1, "{why}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_unknown_by_the_deadline() {
    let client = kube::Client::new(
        tower::service_fn(|_: Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        }),
        "default",
    );
    let (objects, began) = (Objects::new(client, || NOW), Instant::now());
    let (namespace, metric) = (Namespace::new("shop"), requests_of("v1/Namespace/shop"));
    let served = timeout(CALL_TIMEOUT * 2, objects.read(&namespace, &metric)).await.expect("a deadline");
    let MetricValue::Unknown(why) = said(served) else { panic!("a value") };
    assert!(
        why.ends_with("custom.metrics.k8s.io does not answer in time; see its adapter: kubectl get apiservices"),
        "{why}"
    );
    assert_eq!(began.elapsed(), CALL_TIMEOUT);
}

#[test]
fn only_one_number_is_a_value() {
    let of = |items: Value| value(&json!({ "items": items }).to_string(), NOW);
    let item = |value: Value, at: &str| json!({"value": value, "timestamp": at});
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let (now, before) = (NOW.to_string(), "2027-01-15T07:55:00Z");
    for (value, measured, milli, expected) in [
        ("0", before, 0, at(before)),
        ("1k", before, 1_000_000, at(before)),
        ("5", "2020-01-01T00:00:00Z", 5000, at("2020-01-01T00:00:00Z")),
        ("0", "2027-01-15T08:00:01Z", 0, NOW),
        ("0", "", 0, NOW),
        ("0", "yesterday", 0, NOW),
    ] {
        let served = MetricValue::Value { sum: Quantity::from_milli(milli), first: expected, last: expected };
        assert_eq!(of(json!([item(json!(value), measured)])), Ok(served), "{value} at {measured}");
    }
    assert!(of(json!([{"value": "0", "timestamp": null}])).is_ok(), "a Time that is zero");
    let two = item(json!("0"), &now);
    for (items, text) in [
        (json!([]), "the response has 0 values"),
        (json!([two, two]), "the response has 2 values"),
        (json!([item(json!("many"), &now)]), "its value is \"many\", which is not a number"),
        (json!([item(Value::Null, &now)]), "which is not a number"),
        (json!([{}]), "which is not a number"),
        (json!([item(json!("-3"), &now)]), "its value is -3, which is negative"),
        (json!([item(json!("-1m"), before)]), "its value is -1m, which is negative"),
        (json!("0"), "the answer is not a list of values"),
        (
            json!([item(json!("0"), "2027-01-15T07:49:59Z")]),
            "it was 0 at 2027-01-15T07:49:59Z, and was not measured since",
        ),
    ] {
        let why = of(items).unwrap_err();
        assert!(why.contains(text), "{why}");
    }
    assert!(value("<html>", NOW).is_err() && value("", NOW).is_err());
}

/// The last value that it read, after another refresh.
async fn look(readings: &mut Readings, objects: &Arc<Objects>, metric: &ObjectMetric) -> MetricValue {
    let object =
        json!({"apiVersion": metric.object.api_version, "kind": metric.object.kind, "name": metric.object.name});
    let queue = json!({"type": "External", "external": {"metric": {"name": "oci_queue_length"}, "target": {"type": "Value", "value": "1"}}});
    let object = json!({"type": "Object", "object": {"metric": {"name": metric.name}, "describedObject": object, "target": {"type": "Value", "value": "1"}}});
    readings.refresh(objects, &hpa(&json!({"spec": {"metrics": [queue, object]}}))).await;
    tokio::task::yield_now().await;
    readings.served(metric)
}

#[tokio::test(start_paused = true)]
async fn it_is_read_every_5_seconds_and_only_the_first_reading_is_waited_for() {
    const SLOW: Duration = Duration::from_secs(2);
    let (asked, answered) = (Arc::new(AtomicI64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, ended) = (asked.clone(), answered.clone());
    let client = kube::Client::new(
        tower::service_fn(move |request: Request<kube::client::Body>| {
            let (counted, ended) = (counted.clone(), ended.clone());
            async move {
                let kinds = json!({"kind": "APIResourceList", "groupVersion": "networking.k8s.io/v1", "resources": [
                    {"name": "ingresses", "kind": "Ingress", "namespaced": true, "singularName": "", "verbs": ["get"]}]});
                let body = if request.uri().path() == V2 {
                    let count = counted.fetch_add(1, Ordering::Relaxed) + 1;
                    tokio::time::sleep(SLOW).await;
                    ended.lock().push(count);
                    list(&count.to_string())
                } else {
                    kinds
                };
                Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::from(body.to_string().into_bytes())))
            }
        }),
        "default",
    );
    let (objects, mut readings, began) = (Arc::new(Objects::new(client, || NOW)), Readings::default(), Instant::now());
    assert_eq!(look(&mut readings, &objects, &ingress()).await, read("1"));
    assert_eq!(began.elapsed(), SLOW);
    let mut seen = Vec::new();
    while began.elapsed() < Duration::from_secs(16) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = Instant::now();
        let MetricValue::Value { sum, .. } = look(&mut readings, &objects, &ingress()).await else { panic!("unknown") };
        assert_eq!(before.elapsed(), Duration::ZERO, "a message would wait for it");
        seen.push(sum.to_string());
    }
    seen.dedup();
    assert_eq!((seen, asked.load(Ordering::Relaxed)), (["1", "2", "3", "4"].map(str::to_owned).to_vec(), 4));
    // There was no request for two minutes: a value from before does not count.
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(look(&mut readings, &objects, &ingress()).await, read("5"));
    // Another metric, and none of it yet.
    assert!(matches!(readings.served(&requests_of("v1/Service/api")), MetricValue::Unknown(_)));
}

#[test]
fn a_missing_right_fits_into_an_event() {
    let refused = Status::failure("User \"system:serviceaccount:depthgauge:depthgauge\" cannot", "Forbidden");
    let why = may_not(GROUP, RIGHTS.resource, "shop", RIGHTS.verbs, &refused);
    let long = "n".repeat(40);
    let why = format!("depthgauge cannot read {long} of ingress.networking.k8s.io/{long}: {why}");
    let hpa = hpa(&json!({}));
    for finding in [Finding::metric_unavailable_at_zero(&hpa, &why, false), Finding::unavailable_above_zero(&why)] {
        assert!(finding.text.ends_with("}]}]}"), "it is to be copied: {}", finding.text);
        assert_eq!(fitting(&finding.text), *finding.text, "{}", finding.text.len());
    }
}

/// An adapter that returns this code, until a test changes it; at 0 it does not respond.
fn adapter(code: &Arc<AtomicI64>) -> Arc<Objects> {
    let code = code.clone();
    let client = kube::Client::new(
        tower::service_fn(move |_: Request<kube::client::Body>| {
            let code = u16::try_from(code.load(Ordering::Relaxed)).unwrap();
            async move {
                if code == 0 {
                    std::future::pending::<()>().await;
                }
                let said = if code == 200 { list("0").to_string() } else { "down".to_owned() };
                let answer = http::Response::builder().status(code);
                answer.body(kube::client::Body::from(said.into_bytes())).map_err(std::io::Error::other)
            }
        }),
        "default",
    );
    Arc::new(Objects::new(client, || NOW))
}

/// An HPA with a queue and the namespace's requests, and this put over it.
fn with_namespace(over: &Value) -> Autoscaler {
    let target = json!({"type": "Value", "value": "1"});
    let queue = json!({"type": "External", "external": {"metric": {"name": "oci_queue_length"}, "target": target}});
    let object = json!({"type": "Object", "object": {"metric": {"name": "requests"}, "target": target,
        "describedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}}});
    let mut object = json!({"spec": {"metrics": [queue, object]}});
    for (key, value) in over.as_object().unwrap() {
        object[key] = value.clone();
    }
    hpa(&object)
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_fails_ends_no_cooldown_and_a_minute_of_them_is_unknown() {
    let (code, metric) = (Arc::new(AtomicI64::new(200)), requests_of("v1/Namespace/shop"));
    let (objects, mut readings, hpa) = (adapter(&code), Readings::default(), with_namespace(&json!({})));
    readings.refresh(&objects, &hpa).await;
    assert_eq!(readings.served(&metric), read("0"));
    code.store(503, Ordering::Relaxed);
    let began = Instant::now();
    while readings.served(&metric) == read("0") {
        assert!(began.elapsed() < GRACE + REFRESH * 2, "it is unknown");
        tokio::time::sleep(Duration::from_millis(500)).await;
        readings.refresh(&objects, &hpa).await;
    }
    assert!(began.elapsed() >= GRACE, "{:?}", began.elapsed());
    let MetricValue::Unknown(why) = readings.served(&metric) else { panic!("a value") };
    assert!(why.ends_with("custom.metrics.k8s.io answers 503; see its adapter: kubectl get apiservices"), "{why}");
    // A failure that does not pass by itself is reported at once.
    let mut readings = Readings::default();
    for (answers, known) in [(200, true), (403, false)] {
        code.store(answers, Ordering::Relaxed);
        tokio::time::sleep(REFRESH + CALL_TIMEOUT).await;
        readings.refresh(&objects, &hpa).await;
        assert_eq!(readings.served(&metric) == read("0"), known, "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sleeps_does_not_wait_for_an_adapter_that_hangs() {
    use crate::zero::autoscaler::{COOLDOWN, LABEL, PAUSED, SCALED_TO_ZERO_SINCE};
    let (metric, began) = (requests_of("v1/Namespace/shop"), Instant::now());
    let noted = |key: &str, value: &str| {
        json!({"metadata": {"namespace": "shop", "name": "dummy", "labels": {LABEL: "true"},
            "annotations": {COOLDOWN: "60s", key: value}}})
    };
    let objects = adapter(&Arc::new(AtomicI64::new(0)));
    let mut readings = Readings::default();
    readings.refresh(&objects, &with_namespace(&noted(SCALED_TO_ZERO_SINCE, &NOW.to_string()))).await;
    assert_eq!((began.elapsed(), calls(&readings)), (Duration::ZERO, 1));
    assert!(matches!(readings.served(&metric), MetricValue::Unknown(_)));
    // A cooldown would end, so a workload with replicas waits, up to the deadline.
    let mut readings = Readings::default();
    readings.refresh(&objects, &with_namespace(&json!({}))).await;
    assert_eq!(began.elapsed(), CALL_TIMEOUT);
    // A paused HPA reads nothing.
    let mut readings = Readings::default();
    readings.refresh(&objects, &with_namespace(&noted(PAUSED, "true"))).await;
    assert_eq!((began.elapsed(), calls(&readings)), (CALL_TIMEOUT, 0));
}

/// Every 4.5 s each HPA added a call to those that waited, for as long as the adapter hung.
#[tokio::test(start_paused = true)]
async fn calls_to_an_adapter_that_hangs_do_not_pile_up() {
    use crate::zero::autoscaler::SCALED_TO_ZERO_SINCE;
    let hangs = Arc::new(AtomicBool::default());
    let hung = hangs.clone();
    let client = kube::Client::new(
        tower::service_fn(move |request: Request<kube::client::Body>| {
            let hangs = hung.load(Ordering::Relaxed) && request.uri().path().contains("/namespaces/shop/");
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                let body = kube::client::Body::from(list("0").to_string().into_bytes());
                Ok::<_, std::io::Error>(http::Response::new(body))
            }
        }),
        "default",
    );
    let objects = Arc::new(Objects::new(client, || NOW));
    let annotations = json!({SCALED_TO_ZERO_SINCE: NOW.to_string()});
    let asleep =
        |namespace: &str| with_namespace(&json!({"metadata": {"namespace": namespace, "annotations": annotations}}));
    let (hpa, metric) = (asleep("shop"), requests_of("v1/Namespace/shop"));
    let mut all: Vec<Readings> = (0..50).map(|_| Readings::default()).collect();
    let mut hung_at = None;
    let began = Instant::now();
    while began.elapsed() < Duration::from_mins(10) {
        for readings in &mut all {
            readings.refresh(&objects, &hpa).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let served: Vec<MetricValue> = all.iter().map(|readings| readings.served(&metric)).collect();
        let known = served.iter().filter(|served| served.is_zero()).count();
        match hung_at {
            None if known == 50 => {
                hangs.store(true, Ordering::Relaxed);
                hung_at = Some(Instant::now());
            }
            None => assert!(began.elapsed() < REFRESH * 2, "{known} of 50 are known"),
            Some(at) => {
                assert!(known == 0 || at.elapsed() <= GRACE, "{known} of 50 are still known after {:?}", at.elapsed());
                let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                assert!(tasks < 60, "{tasks} tasks after {:?}", at.elapsed());
            }
        }
    }
    let MetricValue::Unknown(why) = all[0].served(&metric) else { panic!("a value") };
    assert!(
        why.ends_with("custom.metrics.k8s.io does not answer in time; see its adapter: kubectl get apiservices"),
        "{why}"
    );
    let (mut other, began) = (Readings::default(), Instant::now());
    while !other.served(&metric).is_zero() {
        assert!(began.elapsed() < REFRESH * 2, "it waits for another namespace");
        other.refresh(&objects, &asleep("team-a")).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Above zero, a reconcile waits no longer than for one call.
    let began = Instant::now();
    let mut awake = Readings::default();
    awake.refresh(&objects, &with_namespace(&json!({}))).await;
    assert!(began.elapsed() <= CALL_TIMEOUT * 2, "{:?}", began.elapsed());
    drop((all, other, awake));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks < 10, "{tasks} tasks are left over");
}
