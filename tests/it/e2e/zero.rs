//! To zero and back by `serve --scale-to-zero`: where no HPA can ([`below`]), where each can by
//! itself ([`native`]), beside metrics of another server ([`objects`]), while the replica that acts is
//! replaced ([`leaders`]), and whatever else happens ([`marks`]).

/// A control plane as below 1.37: `minReplicas: 0` is refused.
mod below;
/// The one that acts is replaced in every state.
mod leaders;
/// The mark of those that sleep.
mod marks;
/// 1.37, where HPAs scale to zero themselves.
mod native;
/// Object metrics, of an adapter.
mod objects;
/// What the scenarios are written in.
pub(super) mod stage;
