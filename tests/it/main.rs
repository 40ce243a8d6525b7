//! All integration tests, in one binary: linking it takes longer than running it.

/// Which module may use which.
mod layers;
