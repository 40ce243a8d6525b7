//! `completion`: what a shell needs to complete commands and flags.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Generate shell completion: source <(depthgauge completion bash)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) {
        let Self { shell } = self;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "depthgauge", &mut script);
        // Whoever closes the pipe has read enough.
        let _ = io::stdout().write_all(&script);
    }
}
