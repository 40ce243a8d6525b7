//! `man`: the manual pages, made of what `--help` says.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;

use super::Cli;

/// Print the manual page of depthgauge or of one of its commands: depthgauge man get | man -l -
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Command of depthgauge, such as: config check
    command: Vec<String>,
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let Self { command } = self;
        let mut page = Cli::command();
        // Usage and names of the commands are only known after this.
        page.build();
        for name in &command {
            page = match page.find_subcommand(name) {
                Some(found) => found.clone(),
                None => bail!("depthgauge has no command {}: see depthgauge --help", command.join(" ")),
            };
        }
        // Whoever closes the pipe has read enough.
        let _ = io::stdout().write_all(text(&page)?.as_bytes());
        Ok(())
    }
}

/// As it is made for us, but for two things: what follows the options has a heading that says
/// nothing, and the synopsis does not show which options have a value.
fn text(page: &clap::Command) -> Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text).context("cannot write the page")?;
    let mut text = String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH \"EXIT STATUS\"\n");
    for option in page.get_opts() {
        let (Some(long), Some([value, ..])) = (option.get_long(), option.get_value_names()) else { continue };
        let name = format!("\\-\\-{}\\fR", long.replace('-', "\\-"));
        text = text.replace(&format!("{name}]"), &format!("{name} \\fI<{value}>\\fR]"));
    }
    Ok(text)
}
