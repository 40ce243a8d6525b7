//! End to end on a real control plane: the real binary, real kubectl, the real HPA controller
//! and aggregator. `hack/cluster` makes the control plane; the first time it has to build it.

/// A control plane, and kubectl.
mod cluster;
/// The queue, the server beside the cluster, and the workload that follows the queue.
mod world;

/// What other users of the cluster see of us, and we of them.
mod citizen;
/// A queue that goes dark, a server that dies.
mod outage;
/// The main job: 0 to 10 and back.
mod scaling;
