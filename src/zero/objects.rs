//! Values of Object metrics: `custom.metrics.k8s.io`, requested as the HPA controller requests it.
//!
//! For HPAs that depthgauge scales to zero, and only beside metrics of depthgauge: while their
//! workload is at zero, the HPA is disabled and reads nothing. A workload at zero does not wait for
//! a slow adapter, because otherwise a message would wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::autoscaler::Autoscaler;
use super::calls::{CALL_TIMEOUT, Calls, ScaleError, answered, in_time, is_passing, is_rbac, may_not};
use super::finding::Finding;
use super::kinds::Kinds;
use super::metrics::{Metric, MetricValue, ObjectMetric};
use crate::metric::names::{self, escaped};
use crate::metric::quantity::Quantity;
use crate::metric::{Clock, Namespace};
use crate::rbac::Grant;

/// All rights that reading them needs. The HPAs name the metrics.
pub const RIGHTS: Grant<'_> = Grant { group: GROUP, resource: "*", name: "", namespace: None, verbs: &["get"] };

const GROUP: &str = "custom.metrics.k8s.io";
/// How much of an adapter's message is repeated.
const SAID_BYTES: usize = 200;
const ADAPTER: &str = "see its adapter: kubectl get apiservices";
/// The versions of the API, the newer first. Adapters may serve either; the version that an adapter
/// served last is requested first.
pub const VERSIONS: [&str; 2] = [NEWER, OLDER];
const NEWER: &str = "v1beta2";
const OLDER: &str = "v1beta1";
/// What kube-apiserver returns in plain text for a path that no server serves.
const NOBODY: &str = "404 page not found";
/// From one reading to the next: the default `refresh` of a source less one reconcile, so that
/// these scale up as fast. What depthgauge serves is in memory at every reconcile; this costs an
/// adapter and kube-apiserver a request.
const REFRESH: Duration = Duration::from_millis(4500);
/// How long what was read stands in for what cannot be read: the default `maxAge` of a source. It
/// keeps its own time, so it ends no cooldown.
const GRACE: Duration = Duration::from_secs(60);
/// How old a 0 may be by its own timestamp. Adapters pass on what was measured some minutes ago,
/// but a timestamp that never changes proves nothing.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);

/// Reads the metrics of every object.
pub(super) struct Objects {
    client: kube::Client,
    calls: Calls,
    kinds: Kinds,
    clock: Clock,
    /// Whether it was the older one.
    older: AtomicBool,
}

/// What the Object metrics of one HPA read.
#[derive(Default)]
pub(super) struct Readings(BTreeMap<ObjectMetric, Reading>);

/// What a reading brought.
enum Answer {
    /// A value, or why there is none, if that lasts until a user acts on it.
    Served(MetricValue),
    /// Nothing, and the next reading may bring something.
    Transient(Arc<str>),
}

#[derive(Default)]
struct Reading {
    asked: Option<Instant>,
    /// The call that is in flight or waits for others: at most one. It is aborted when this is
    /// dropped.
    call: Option<AbortOnDropHandle<(Answer, Instant)>>,
    /// When a call ended last.
    answered: Option<Instant>,
    /// What one brought last, and when.
    last: Option<(MetricValue, Instant)>,
    /// Why a later one brought nothing.
    trouble: Option<Arc<str>>,
}

// === impl Objects ===

impl Objects {
    pub(super) fn new(client: kube::Client, clock: Clock) -> Self {
        let calls = Calls::of_objects();
        Self {
            // A reading discovers its kind within its own call: with the same permits, all could wait for one.
            kinds: Kinds::new(client.clone(), Calls::of_objects()),
            client,
            calls,
            clock,
            older: AtomicBool::default(),
        }
    }

    /// As it is now.
    async fn read(&self, namespace: &Namespace, metric: &ObjectMetric) -> Answer {
        let _permit = self.calls.permit(namespace).await;
        let asked = in_time(self.ask(namespace, metric)).await;
        match asked.unwrap_or_else(|_| trouble(late())) {
            Ok(MetricValue::Absent(why)) => Answer::Served(MetricValue::Absent(unread(metric, &why))),
            Ok(served) => Answer::Served(served),
            Err(ScaleError::Transient(why)) => Answer::Transient(unread(metric, &why)),
            Err(lasting) => Answer::Served(MetricValue::Unknown(unread(metric, &lasting.to_string()))),
        }
    }

    async fn ask(&self, namespace: &Namespace, metric: &ObjectMetric) -> Result<MetricValue, ScaleError> {
        let resource = self.resource(namespace, metric).await?;
        let wrong = |why| Err(ScaleError::Wrong(why));
        let older = self.older.load(Ordering::Relaxed);
        for version in if older { [OLDER, NEWER] } else { VERSIONS } {
            let path = path(version, namespace, resource.as_deref(), metric);
            let request = Request::get(path).body(Vec::new()).map_err(|error| ScaleError::Wrong(error.to_string()))?;
            match self.client.request_text(request).await {
                Ok(answer) => {
                    self.older.store(version == OLDER, Ordering::Relaxed);
                    return value(&answer, (self.clock)()).or_else(wrong);
                }
                Err(kube::Error::Api(status)) if status.code == 404 && status.message.trim() == NOBODY => {}
                Err(kube::Error::Api(status)) if status.code == 403 && is_rbac(&status) => {
                    return wrong(may_not(GROUP, RIGHTS.resource, namespace.as_str(), RIGHTS.verbs, &status));
                }
                // The server behind it fails, with a message of its own.
                Err(kube::Error::Api(status)) if is_passing(&status) => {
                    return trouble(format!("{GROUP} answers {}; {ADAPTER}", status.code));
                }
                Err(kube::Error::Api(status)) => {
                    let said = names::shortened(status.message.lines().next().unwrap_or_default(), SAID_BYTES);
                    let why = format!("{GROUP} answers {}: {said}", status.code);
                    return if status.code == 404 { Ok(MetricValue::Absent(why.into())) } else { wrong(why) };
                }
                Err(error) => return trouble(answered(&error)),
            }
        }
        wrong(format!(
            "no server is registered for {GROUP}: install an adapter that has this metric, or remove it from the HPA"
        ))
    }

    /// `ingresses.networking.k8s.io`; `None` is the namespace itself, whose metrics have a path of
    /// their own.
    async fn resource(&self, namespace: &Namespace, metric: &ObjectMetric) -> Result<Option<String>, ScaleError> {
        let object = &metric.object;
        if object.kind == "Namespace" && !object.api_version.contains('/') {
            return Ok(None);
        }
        let kind = self.kinds.of(namespace, object).await?.resource;
        Ok(Some(if kind.group.is_empty() { kind.plural } else { format!("{}.{}", kind.plural, kind.group) }))
    }
}

fn trouble<T>(why: String) -> Result<T, ScaleError> {
    Err(ScaleError::Transient(why))
}

fn late() -> String {
    format!("{GROUP} does not answer in time; {ADAPTER}")
}

fn unread(metric: &ObjectMetric, why: &str) -> Arc<str> {
    format!("depthgauge cannot read {}: {why}", metric.title()).into()
}

/// As `k8s.io/metrics/pkg/client/custom_metrics` writes it. For a metric of a namespace, the HPA's
/// own namespace is requested, whatever the HPA names: the controller does not read other
/// namespaces.
fn path(version: &str, namespace: &Namespace, resource: Option<&str>, metric: &ObjectMetric) -> String {
    let name = escaped(&metric.name);
    let of = match resource {
        Some(resource) => format!("{resource}/{}/{name}", escaped(&metric.object.name)),
        None => format!("metrics/{name}"),
    };
    let query = match metric.selector.as_str() {
        "" => String::new(),
        selector => format!("?metricLabelSelector={}", escaped(selector)),
    };
    format!("/apis/{GROUP}/{version}/namespaces/{namespace}/{of}{query}")
}

/// The value of a MetricValueList with one item, or what is wrong with it.
fn value(answer: &str, now: Timestamp) -> Result<MetricValue, String> {
    let list: Value = serde_json::from_str(answer).unwrap_or_default();
    let items = list["items"].as_array().ok_or("the answer is not a list of values")?;
    let [item] = items.as_slice() else {
        return Err(format!("the response has {} values, and an HPA needs one", items.len()));
    };
    let written = item["value"].as_str().unwrap_or_default();
    let sum = Quantity::parse(written).ok_or_else(|| format!("its value is {written:?}, which is not a number"))?;
    // As for a metric that depthgauge serves: the meaning of a negative value is unknown.
    if sum < Quantity::ZERO {
        return Err(format!("its value is {written}, which is negative: correct it at its source or adapter"));
    }
    let measured = item["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    // A time in the future, or a missing one, counts as now.
    let at = measured.filter(|at| *at <= now).unwrap_or(now);
    if sum == Quantity::ZERO && now.duration_since(at) > MAX_AGE {
        return Err(format!("it was 0 at {at:.0}, and was not measured since"));
    }
    Ok(MetricValue::Value { sum, first: at, last: at })
}

// === impl Readings ===

impl Readings {
    /// Requests those of `hpa` that are due and have no call under way. Above zero it waits for a first or too
    /// old value, for at most [`CALL_TIMEOUT`].
    pub(super) async fn refresh(&mut self, objects: &Arc<Objects>, hpa: &Autoscaler) {
        let mut wanted: Vec<&ObjectMetric> = hpa.metrics.iter().filter_map(Metric::object).collect();
        // An HPA that is not to be scaled whatever they read needs none.
        if !wanted.is_empty() && (hpa.paused || Finding::obstacle(hpa).is_some()) {
            wanted.clear();
        }
        self.0.retain(|metric, _| wanted.contains(&metric));
        for metric in wanted {
            let reading = self.0.entry(metric.clone()).or_default();
            reading.take_ended();
            if reading.call.is_none() && reading.asked.is_none_or(|asked| asked.elapsed() >= REFRESH) {
                reading.ask(objects.clone(), hpa.namespace.clone(), metric.clone());
            }
        }
        if hpa.zero_state.scaled_to_zero_since.is_none() {
            let unusable = self.0.values_mut().filter(|reading| !reading.is_usable());
            // If it is late, the next reconcile takes it.
            _ = timeout(CALL_TIMEOUT, join_all(unusable.map(Reading::ended))).await;
        }
    }

    pub(super) fn served(&self, metric: &ObjectMetric) -> MetricValue {
        let served = self.0.get(metric).map(|reading| reading.served(metric));
        served.unwrap_or_else(|| MetricValue::Unknown("not read yet.".into()))
    }
}

// === impl Reading ===

impl Reading {
    fn ask(&mut self, objects: Arc<Objects>, namespace: Namespace, metric: ObjectMetric) {
        self.asked = Some(Instant::now());
        self.call = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let answer = objects.read(&namespace, &metric).await;
            (answer, Instant::now())
        })));
    }

    /// Waits for the end of the call, if there is one.
    async fn ended(&mut self) {
        let Some(call) = &mut self.call else { return };
        let ended = call.await;
        self.call = None;
        match ended {
            Ok((answer, at)) => self.take(answer, at),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    fn take_ended(&mut self) {
        if self.call.as_ref().is_some_and(AbortOnDropHandle::is_finished) {
            _ = self.ended().now_or_never();
        }
    }

    fn take(&mut self, answer: Answer, at: Instant) {
        self.answered = Some(at);
        match answer {
            Answer::Served(served) => (self.last, self.trouble) = (Some((served, at)), None),
            Answer::Transient(why) => self.trouble = Some(why),
        }
    }

    /// It is replaced when the next call ends.
    fn is_usable(&self) -> bool {
        self.answered.is_some_and(|at| at.elapsed() < REFRESH + CALL_TIMEOUT)
    }

    /// A value is too old after a time, whether a call has failed since or does not end.
    fn served(&self, metric: &ObjectMetric) -> MetricValue {
        match (&self.last, &self.trouble) {
            (Some((served @ MetricValue::Value { .. }, at)), _) if at.elapsed() < GRACE => served.clone(),
            (_, Some(why)) => MetricValue::Unknown(why.clone()),
            (Some((served @ (MetricValue::Unknown(_) | MetricValue::Absent(_)), _)), None) => served.clone(),
            (None, None) if self.asked.is_none_or(|asked| asked.elapsed() < CALL_TIMEOUT) => {
                MetricValue::Unknown("not read yet.".into())
            }
            _ => MetricValue::Unknown(unread(metric, &late())),
        }
    }
}

#[cfg(test)]
mod tests;
