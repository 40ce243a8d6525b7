//! The metrics of pods: what is requested of which pod, and what is served of the answers.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use depthgauge::config::Config;
use depthgauge::endpoints::Endpoints;
use depthgauge::metric::MetricName;
use depthgauge::source::part::Part;
use depthgauge::source::{Item, KINDS, Opened, Source, SourceError};
use tokio::time::{Duration, Instant};

use crate::support::authority::Authority;
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::files::Files;
use crate::support::program::Home;
use crate::support::slices::Slices;

mod ages;

/// The deadline of a read that succeeds.
const LONG: Duration = Duration::from_secs(20);

fn config(entries: &[&str]) -> String {
    let entry = |entry: &&str| {
        format!("  - {{type: scrape, metric: rps, service: shop/web, port: metrics, namespaces: [shop], {entry}}}\n")
    };
    let entries: String = entries.iter().map(entry).collect();
    format!("apiVersion: depthgauge.dev/v1alpha1\nkind: Config\nsources:\n{entries}")
}

fn open_all(entries: &[&str], endpoints: Endpoints) -> Vec<Box<dyn Source>> {
    crate::support::crypto();
    let config = Config::parse(&config(entries), KINDS).unwrap_or_else(|problems| panic!("{problems:?}"));
    let configs = config.open(jiff::Timestamp::now, endpoints).unwrap();
    let source = |opened| match opened {
        Opened::One(identified) => identified.source,
        Opened::Many(_) => panic!("a list"),
    };
    configs.into_iter().map(|config| source(config.source)).collect()
}

fn open(entry: &str, slices: &Slices) -> Box<dyn Source> {
    open_all(&[entry], slices.endpoints()).remove(0)
}

/// Each item: its labels, and its value or why there is none.
async fn read(source: &dyn Source) -> Result<Vec<(String, Result<f64, String>)>, SourceError> {
    let items = source.read(&Part::WHOLE, Instant::now() + LONG).await?;
    let item = |item: &Item| {
        let labels: Vec<String> = item.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let value = item.value(&MetricName::chosen("rps")).unwrap().clone();
        (labels.join(","), value.map(|value| value.as_f64()).map_err(|cause| cause.to_string()))
    };
    Ok(items.iter().map(item).collect())
}

/// The only value.
async fn value(source: &dyn Source) -> Result<f64, String> {
    read(source).await.map_err(|error| error.cause)?.remove(0).1
}

/// A pod that exposes this.
async fn pod(exposes: impl Fn() -> String + Send + Sync + 'static) -> Double {
    Double::start(None, move |_| (200, exposes())).await
}

#[tokio::test]
async fn a_rate_is_the_sum_of_what_all_pods_count_and_needs_two_reads() {
    let counts: [Arc<AtomicU64>; 2] = [Arc::new(AtomicU64::new(1000)), Arc::new(AtomicU64::new(0))];
    let [a, b] = counts.clone();
    let exposes = |count: Arc<AtomicU64>| {
        move || format!("# TYPE ops_total counter\nops_total{{code=\"200\"}} {}\n", count.load(Relaxed))
    };
    let (one, two) = (pod(exposes(a)).await, pod(exposes(b)).await);
    let slices = Slices::of(&[("a", one.address), ("b", two.address)]);
    let source = open("series: ops_total, as: rate", &slices);
    assert!(source.reads_from_start());
    let unknown = "it was read once, and a rate needs two reads. Wait for the next one.";
    let began = Instant::now();
    assert_eq!(value(&*source).await, Err(unknown.to_owned()));
    let after = Instant::now();
    counts[0].fetch_add(30, Relaxed);
    counts[1].fetch_add(60, Relaxed);
    let before = Instant::now();
    let rate = value(&*source).await.unwrap();
    let (least, most) = (90.0 / began.elapsed().as_secs_f64(), 90.0 / (before - after).as_secs_f64());
    assert!(rate >= least - 0.001 && rate <= most + 0.001, "{least} {rate} {most}");
    assert_eq!((one.count(), two.count()), (2, 2));
}

#[tokio::test]
async fn gauges_of_all_pods_are_one_number_or_one_for_each_value_of_labels() {
    let one = pod(|| "jobs{q=\"x\",w=\"1\"} 1\njobs{q=\"y\",w=\"1\"} 2.5\nother 7\n".to_owned()).await;
    let two = pod(|| "jobs{q=\"x\",w=\"2\"} 4\n".to_owned()).await;
    let slices = Slices::of(&[("a", one.address), ("b", two.address)]);
    for (keys, expected) in [
        ("series: jobs, as: sum", vec![("", 7.5)]),
        ("series: jobs, as: avg", vec![("", 2.5)]),
        ("series: jobs, as: max, window: 1m", vec![("", 4.0)]),
        ("series: 'jobs{q=~\"x|z\"}', as: sum", vec![("", 5.0)]),
        ("series: jobs, as: sum, by: [q], labels: {env: prod}", vec![("env=prod,q=x", 5.0), ("env=prod,q=y", 2.5)]),
    ] {
        let source = open(keys, &slices);
        assert!(!source.reads_from_start(), "{keys}");
        let expected: Vec<(String, Result<f64, String>)> =
            expected.into_iter().map(|(labels, value): (&str, f64)| (labels.to_owned(), Ok(value))).collect();
        assert_eq!(read(&*source).await, Ok(expected), "{keys}");
    }
    let error = read(&*open("series: nothing, as: sum", &slices)).await.unwrap_err();
    assert_eq!(error.cause, "no pod exposes a series that `series` selects");
    assert_eq!(value(&*open("series: nothing, as: sum, empty: 3", &slices)).await, Ok(3.0));
}

#[tokio::test]
async fn a_pod_is_requested_as_the_config_has_it() {
    let (files, double) = (Files::new(), pod(|| "jobs 3\n".to_owned()).await);
    let token = files.write("token", "t0k");
    let slices = Slices::of(&[("a", double.address)]);
    let source = open(
        &format!(
            "series: jobs, as: sum, path: /a%20b/m, params: {{q: \"x y\"}}, headers: {{X-Team: shop}}, auth: {{type: bearer, tokenFile: {token}}}"
        ),
        &slices,
    );
    assert_eq!(value(&*source).await, Ok(3.0));
    let request = double.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a%20b/m?q=x%20y"));
    assert_eq!((request.header("x-team"), request.header("authorization")), ("shop", "Bearer t0k"));
    assert_eq!(request.header("accept"), depthgauge::exposition::ACCEPT);
    assert_eq!(request.header("host"), double.address.to_string());
    let own = open("series: jobs, as: sum, headers: {accept: text/plain}", &slices);
    assert_eq!(value(&*own).await, Ok(3.0));
    assert_eq!(double.last().header("accept"), "text/plain");
}

#[tokio::test]
async fn pods_come_and_go() {
    let (one, two) = (pod(|| "jobs 1\n".to_owned()).await, pod(|| "jobs 10\n".to_owned()).await);
    let slices = Slices::of(&[("a", one.address)]);
    let source = open("series: jobs, as: sum", &slices);
    assert_eq!(value(&*source).await, Ok(1.0));
    let none = "no pod of the service is ready, so there is nothing to read";
    for (pods, expected) in [
        (vec![("a", one.address), ("b", two.address)], Ok(11.0)),
        (vec![("b", two.address)], Ok(10.0)),
        (vec![], Err(none.to_owned())),
        (vec![("a", one.address)], Ok(1.0)),
    ] {
        slices.set(&pods);
        eventually("the pods", async || (value(&*source).await == expected).then_some(())).await;
    }
}

#[tokio::test]
async fn a_smaller_sum_is_never_served_for_a_pod_that_fails() {
    let (well, down) = (pod(|| "jobs 1\n".to_owned()).await, Double::start(None, |_| (500, "secret".to_owned())).await);
    let slices = Slices::of(&[("a", well.address), ("b", down.address)]);
    let source = open("series: jobs, as: sum", &slices);
    let error = read(&*source).await.unwrap_err();
    assert_eq!(error.cause, "1 of 2 pods can't be read: 500");
    // Addresses of pods are for the log.
    let (port, shown) = (down.address.port().to_string(), format!("{}{}", error.cause, error.remedy));
    assert!(error.detail.contains(&port) && !shown.contains(&port) && !shown.contains("127.0.0.1"), "{error:?}");
    // One request each: the next read is the next attempt.
    assert_eq!((well.count(), down.count()), (1, 1));
    let broken = pod(|| "jobs 1\nbroken\n".to_owned()).await;
    slices.set(&[("c", broken.address)]);
    eventually("the other pod", async || {
        let cause = read(&*source).await.unwrap_err().cause;
        (cause == "1 of 1 pods can't be read: the answer of a pod is not a valid exposition").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_smaller_sum_is_never_served_for_a_pod_that_exposes_nothing() {
    let well = pod(|| "jobs 1\n".to_owned()).await;
    for exposed in ["", "# HELP jobs Jobs that wait.\n# TYPE jobs gauge\n"] {
        let empty = pod(move || exposed.to_owned()).await;
        let slices = Slices::of(&[("a", well.address), ("b", empty.address)]);
        // Not even where the config has a number for no series.
        for keys in ["series: jobs, as: sum", "series: jobs, as: sum, empty: 0"] {
            let error = read(&*open(keys, &slices)).await.unwrap_err();
            assert_eq!(error.cause, "1 of 2 pods can't be read: the answer of a pod has no sample", "{exposed:?}");
        }
    }
}

#[tokio::test]
async fn one_pod_of_ten_that_fails_keeps_its_number() {
    let fails = Arc::new(AtomicU64::new(0));
    let is_down = fails.clone();
    let last = Double::start(None, move |_| match is_down.load(Relaxed) {
        0 => (200, "jobs 5\n".to_owned()),
        _ => (503, String::new()),
    })
    .await;
    let mut pods = Vec::new();
    for _ in 0..9 {
        pods.push(pod(|| "jobs 1\n".to_owned()).await);
    }
    let names: Vec<String> = (0..9).map(|number| number.to_string()).collect();
    let mut all: Vec<_> = names.iter().zip(&pods).map(|(name, pod)| (name.as_str(), pod.address)).collect();
    all.push(("last", last.address));
    let slices = Slices::of(&all);
    let source = open("series: jobs, as: sum", &slices);
    assert_eq!(value(&*source).await, Ok(14.0));
    fails.store(1, Relaxed);
    assert_eq!(value(&*source).await, Ok(14.0));
    assert_eq!(last.count(), 2);
}

/// All pods have a certificate of the same name, and connections to one must not be used for another.
#[tokio::test]
async fn pods_with_one_name_in_their_certificates_are_requested_one_by_one() {
    let (files, authority) = (Files::new(), Authority::named("pods"));
    let ca = files.write("ca.pem", &authority.pem);
    let tls = || Some(authority.acceptor_named(&["web.shop.svc"]));
    let one = Double::start(tls(), |_| (200, "jobs 1\n".to_owned())).await;
    // Another address of loopback with the same port.
    let address = ([127, 0, 0, 2], one.address.port()).into();
    let two = Double::on(address, tls(), |_| (200, "jobs 10\n".to_owned())).await;
    let slices = Slices::of(&[("a", one.address), ("b", two.address)]);
    let keys = format!("series: jobs, as: sum, scheme: https, tls: {{caFile: {ca}, serverName: NAME}}");
    let source = open(&keys.replace("NAME", "web.shop.svc"), &slices);
    for reads in 1..3 {
        assert_eq!(value(&*source).await, Ok(11.0));
        assert_eq!((one.count(), two.count()), (reads, reads));
    }
    let other = open(&keys.replace("NAME", "elsewhere.shop.svc"), &slices);
    assert!(read(&*other).await.is_err());
    assert_eq!((one.count(), two.count()), (2, 2));
}

/// By their upstreams, whose addresses differ while both are open.
fn share(sources: &[Box<dyn Source>]) -> bool {
    let [one, two] = sources else { panic!("{} sources", sources.len()) };
    ptr::eq(one.upstream().unwrap().upstream, two.upstream().unwrap().upstream)
}

#[tokio::test]
async fn sources_of_one_service_share_its_limits_and_one_watch() {
    let double = pod(|| "jobs 1\n".to_owned()).await;
    for (first, second, expected) in [
        ("path: /a", "path: /b, window: 5m", true),
        ("labels: {a: b}", "params: {q: z}", false),
        ("labels: {a: b}", "maxRequestsPerSecond: 9", false),
        ("labels: {a: b}", "scheme: https", false),
    ] {
        let slices = Slices::of(&[("a", double.address)]);
        let entries = [format!("series: jobs, as: sum, {first}"), format!("series: jobs, as: max, {second}")];
        let sources = open_all(&entries.each_ref().map(String::as_str), slices.endpoints());
        assert_eq!(share(&sources), expected, "{first} {second}");
        assert_eq!(value(&*sources[0]).await, Ok(1.0));
        let watches = if expected { 1 } else { 2 };
        eventually("the watches", async || (slices.watches() == watches).then_some(())).await;
        drop(sources);
        eventually("no watch", async || (slices.watches() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_command_opens_such_an_entry_and_can_not_read_it() {
    let entry = "series: jobs, as: sum";
    let source = open_all(&[entry], Endpoints::none()).remove(0);
    let error = read(&*source).await.unwrap_err();
    assert_eq!(error.cause, "only depthgauge in its cluster can read the pods of a Service");
    let home = Home::new();
    home.write("config.yaml", &config(&[entry]));
    let got = home.run(&["get", "rps", "-n", "shop", "--config", "config.yaml"]).await;
    let hint = "Query it with `depthgauge get`, without `--config`.";
    assert!(!got.status.success() && got.stderr.contains(hint), "{}", got.stderr);
    let checked = home.run(&["check", "--config", "config.yaml"]).await.stdout;
    let line = "metric \"rps\": read by depthgauge in its cluster only: query it with `depthgauge get`. It can't scale from zero";
    assert!(checked.contains(line), "{checked}");
}

#[tokio::test]
async fn config_check_has_an_error_with_its_place_for_each_wrong_key() {
    let home = Home::new();
    let good = config(&["series: ops_total, as: rate, window: 1m"]);
    home.write("config.yaml", &good);
    let checked = home.run(&["config", "check", "config.yaml"]).await;
    let note = "config.yaml:4:5: rps can't scale from zero: it is read from pods, and at zero there are none\nconfig.yaml: 1 source, no errors";
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), (note, ""));
    for (part, instead, message) in [
        ("series: ops_total, ", "", "4:5: `series` is missing here"),
        ("as: rate, ", "", "4:5: `as` is missing here"),
        ("service: shop/web, ", "", "4:5: `service` is missing here"),
        ("port: metrics, ", "", "4:5: `port` is missing here"),
        ("shop/web", "web", "\"web\" is not a Service of the form NAMESPACE/NAME, such as shop/web"),
        ("port: metrics", "port: 9100", "expected a string: write \"9100\" with quotes"),
        ("port: metrics", "port: \"0\"", "a port is a number from 1 to 65535, or the name of a port of the Service"),
        ("series: ops_total", "series: \"{a=\"", "a value between quotation marks"),
        ("as: rate", "as: quantile", "\"quantile\" is not supported; choose one of rate, sum, avg, max"),
        ("window: 1m", "path: metrics", "a path begins with / and has no query: write parameters into `params`"),
        ("window: 1m", "path: \"/metrics?x=y\"", "a path begins with / and has no query"),
        ("window: 1m", "namespaceLabel: ns, by: [path]", "items have labels of `by` only: add \"ns\" to it"),
        ("window: 1m", "scheme: ftp", "\"ftp\" is not supported; choose one of http, https"),
        ("window: 1m", "by: []", "leave `by` out for one number, or name the labels that distinguish several"),
        ("window: 1m", "connection: x", "unknown key `connection`"),
    ] {
        assert!(good.contains(part), "{part}");
        home.write("config.yaml", &good.replacen(part, instead, 1));
        let checked = home.run(&["config", "check", "config.yaml"]).await;
        let lines: Vec<&str> = checked.stderr.lines().collect();
        assert!(!checked.status.success() && lines.len() == 2 && lines[0].contains(message), "{instead}: {lines:?}");
    }
    for (instead, warning) in [
        (
            "auth: {type: bearer, tokenFile: /x}",
            "credentials are sent to the pods without encryption: use `scheme: https`",
        ),
        ("scheme: https", "pods are requested by their addresses, which certificates rarely have"),
    ] {
        home.write("config.yaml", &good.replacen("window: 1m", instead, 1));
        let warned = home.run(&["config", "check", "config.yaml"]).await;
        assert!(warned.status.success() && warned.stderr.contains(warning), "{instead}: {}", warned.stderr);
    }
    home.write("config.yaml", &good.replacen("as: rate", "as: sum", 1));
    let warned = home.run(&["config", "check", "config.yaml"]).await.stderr;
    assert!(warned.contains("4:5: warning: `window` has an effect with `as: rate` only"), "{warned}");
}
