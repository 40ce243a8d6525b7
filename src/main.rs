//! The `depthgauge` program: crypto provider, parse, run one command, say how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use depthgauge::cli::Cli;

fn main() -> ExitCode {
    // Before anything that may open a TLS connection: without a provider rustls panics.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("depthgauge: a crypto provider is installed already");
        return ExitCode::FAILURE;
    }
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain on one line: what, then why.
            eprintln!("depthgauge: {error:#}");
            ExitCode::FAILURE
        }
    }
}
