//! `completion`: what a shell needs to complete commands and flags.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

const EXAMPLES: &str = "\
Examples:
  depthgauge completion bash > /etc/bash_completion.d/depthgauge
  depthgauge completion zsh > ~/.zfunc/_depthgauge
  depthgauge completion fish > ~/.config/fish/completions/depthgauge.fish";

/// Generate shell completion
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
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
