//! The metrics that an application exposes itself, read from all pods of a Service. Pure parts: what one
//! pod exposes, the rate of a counter, and the numbers of all pods together.

pub mod counter;
pub mod fleet;
pub mod reading;
