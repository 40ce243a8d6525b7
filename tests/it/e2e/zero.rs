//! To zero and back by `serve --scale-to-zero`: where no HPA can ([`below`]), and where each can
//! by itself ([`native`]).

/// A control plane as below 1.37: `minReplicas: 0` is refused.
mod below;
/// 1.37, where HPAs scale to zero themselves.
mod native;
/// What the scenarios are written in.
mod stage;
