//! Every way to sign in to OCI, against services that check what they are sent.

use depthgauge::http::session::SignInError;
use depthgauge::oci::Error;

mod files;
mod instance;
mod process;
mod sdk;
mod workload;

/// The sign-in error that a read ended with.
fn sign_in_error<T: std::fmt::Debug>(read: Result<T, Error>) -> SignInError {
    match read {
        Err(Error::SignIn(error)) => error,
        other => panic!("not a failed authentication: {other:?}"),
    }
}
