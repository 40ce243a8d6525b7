//! The `depthgauge` program: crypto provider, parse, run one command, say how it ended.

use std::process::ExitCode;

use depthgauge::cli::Cli;

fn main() -> ExitCode {
    // Before anything that may open a TLS connection: without a provider rustls panics.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("depthgauge: a crypto provider is installed already");
        return ExitCode::FAILURE;
    }
    match Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("depthgauge: {}", on_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What, then why; a cause that the text before it tells already is not told again.
fn on_one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}
