//! `man`: the manual pages, made of what `--help` says.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;

use super::Cli;

/// Print the manual page of depthgauge, or of one of its commands: depthgauge man get | man -l -
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A command of depthgauge
    command: Option<String>,
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let Self { command } = self;
        let mut all = Cli::command();
        // Usage and names of the commands are only known after this.
        all.build();
        let page = match command {
            None => all,
            Some(name) => match all.find_subcommand(&name) {
                Some(found) => found.clone(),
                None => bail!("depthgauge has no command {name}: see depthgauge --help"),
            },
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text).context("cannot write the page")?;
        // Whoever closes the pipe has read enough.
        let _ = io::stdout().write_all(&text);
        Ok(())
    }
}
