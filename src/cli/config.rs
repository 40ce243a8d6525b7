//! `config`: what can be said of a config file without serving it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::config::Config;

/// Check a config file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every error of a file with line and column; exit 1 if there is one
    Check {
        /// The config file
        file: PathBuf,
    },
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let Command::Check { file } = self.command;
        let config = Config::read(&file)?;
        let count = config.source_count();
        println!("{}: {count} source{}, no errors", file.display(), if count == 1 { "" } else { "s" });
        Ok(())
    }
}
