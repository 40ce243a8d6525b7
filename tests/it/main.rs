//! All integration tests, in one binary: linking it takes longer than running it.
#![allow(unreachable_pub, reason = "a binary of its own has no outside")]
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

/// Files that import each other in a circle.
mod circles;
/// The documentation, compared with the repository and the program.
mod docs;
/// What files import from each other.
mod imports;
/// Which module may import from which.
mod layers;

/// Documents compared with `tests/golden/`.
mod golden;

/// What clients are served about OCI queues, byte for byte.
mod answers;

/// Faults that tests show and that are not fixed yet.
mod known_faults;

/// A server between a fake Kubernetes API and the OCI emulator: what the next ones are written in.
mod support;

/// Discovery: the same for everybody, always.
mod discovery;

/// Aggregated discovery and OpenAPI, for the API server.
mod openapi;

/// Who is calling.
mod identity;

/// May they.
mod access;
/// What is written of those who may not, or got no value.
mod audit;

/// Attacks on the listener, and callers who are served meanwhile.
mod shell;

/// Answers that clients request and do not read.
mod unread;

/// One certificate for all replicas.
mod shared_certificate;

/// The identity ConfigMap, followed.
mod rotation;

/// Values and selectors, and what is wrong with a question.
mod values;
mod zero;

/// `get`, without a cluster.
mod get;

/// Documents of `-o json` and `-o yaml`.
mod output;

/// The way to kube-apiserver: kubeconfigs, proxies, credentials.
mod kubeconfig;

/// The connections to kube-apiserver: HTTP/2, and their end when nothing answers.
mod kube_connection;

/// Few descriptors, and many hosts.
mod descriptors;

/// What `check` and `explain` say of HPAs, and what they request for that.
mod hpas;

/// Channels and consumer groups of a queue.
mod parts;

/// Activation and fallback.
mod policies;

/// Values that are fractions.
mod decimals;

/// The forms in which a value can be had.
mod representation;

/// When a source is read, and what is served while it throttles.
mod reads;

/// Which numbers can be values.
mod bounds;

/// Two teams that share a server.
mod tenants;

/// How fresh a value is, and how often the queue is read for it.
mod freshness;

/// The queues of a compartment: listed, made, taken away, and two of one name.
mod compartments;

/// The config's JSON Schema, held against what reads the config.
mod schema;

/// The connection that sources over HTTP share.
mod site;
/// A kind of source of the tests' own.
mod toy;

/// What programs expose, as a real Prometheus reads it.
mod exposition;
/// Documents over HTTP.
mod http_json;
/// PromQL queries, with a real Prometheus.
mod prometheus;
/// Queues of RabbitMQ, played and real.
mod rabbitmq;
/// Windows of time.
mod schedule;
/// The metrics of pods.
mod scrape;

/// Queues and subscriptions of Azure Service Bus.
mod servicebus;

/// The manifests as files: what no API server asks of them.
mod manifests;
mod memory;
/// What the image and who builds it are told, beside what there is.
mod packaging;

/// The config, changed while it is served.
mod reload;

/// A source that fails: what is said, and that no number is.
mod failing;

/// What is served for every answer of a service, and how the service is treated: all kinds.
mod contract;

/// OCI as it must not be, seen by a source.
mod upstream;

/// Every way to sign in to OCI.
mod sign_in;

/// Who scales to zero and back, of several replicas.
mod lease;

/// The end of the server.
mod drain;

/// The emulator, driven by the official SDK and CLI.
mod emulator;

/// The program's commands.
mod cli;
mod completion;

/// `check` without a cluster.
mod check;

/// `serve` as a process.
mod serve;
/// Its sources: a file that changes, variables, gauges.
mod serve_sources;

/// Metrics, and who names them.
mod telemetry;

/// The status page, and its JSON.
mod status;

/// The same in a real browser.
mod browser;

/// End to end on a real control plane.
mod e2e;
