//! The `depthgauge` program: crypto provider, parse, run one command, report how it ended.

use std::process::ExitCode;

use depthgauge::cli::{Cli, report};

fn main() -> ExitCode {
    // Before anything that may open a TLS connection: without a provider rustls panics.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: a crypto provider is installed already");
        return ExitCode::FAILURE;
    }
    match Cli::of_process().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}
