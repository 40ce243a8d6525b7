//! End to end on a real control plane: the real binary, real kubectl, the real HPA controller
//! and aggregator. `hack/cluster` makes the control plane; the first time it has to build it.

/// Objects, as kube-apiserver has them.
mod api;
/// A control plane, and kubectl.
mod cluster;
/// A network namespace with addresses of its own.
mod netns;
/// Where the cluster's pods are run as they are, and what a kubelet does for them.
mod node;
/// Reads one metric all the time and remembers what failed.
mod poller;
/// TCP from one address to others; who is ready, as kubelets find out.
mod proxy;
/// The queue, the server beside the cluster, and the workload that follows the queue.
mod world;

/// An application that scales on its own metrics.
mod application;
/// Callers who must not get in.
mod attacks;
/// One certificate for all replicas, handed over without a failed read.
mod certificates;
/// The Helm chart: the overlays' objects, put in and taken out by Helm.
mod chart;
/// What `check` sees of a cluster.
mod check;
/// What other users of the cluster see of us, and we of them.
mod citizen;
/// The demo overlay: an emulator, a workload, one command.
mod demo;
/// What `explain` says beside what the controller does.
mod explain;
/// An exporter that is read instead of the queue.
mod exporter;
/// The official client.
mod external_client;
/// The examples, and the demo's image.
mod install;
/// A queue that goes dark, a server that dies.
mod outage;
/// Each overlay's pods, through the ports that its policies open.
mod pods;
/// Values beside those of prometheus-adapter.
mod prometheus_adapter;
/// An APIService that others have a say in, too.
mod registration;
/// Two replicas, each restarted; kube-apiserver restarted.
mod replicas;
/// What is granted, beside what is used.
mod rights;
/// The main job: 0 to 10 and back.
mod scaling;
/// RabbitMQ and Prometheus as sources of plain HPAs.
mod services;

/// A receiver of Azure Service Bus messages.
mod servicebus;
/// Every request beside the reference adapter's answer.
mod side_by_side;
/// Workloads put to sleep and woken by ourselves.
mod zero;
