//! `man`: the manual pages, made from `--help`.

use std::io;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use super::failure::Failure;
use super::help::sections;
use super::{Cli, EXIT_CODES, output};

const EXAMPLES: &str = "\
Examples:
  depthgauge man | man -l -
  depthgauge man config check | man -l -";

/// Print the manual page of depthgauge or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
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
                None => {
                    let failure = Failure::usage(format!("depthgauge has no command {}", command.join(" ")));
                    return Err(failure.hint("depthgauge --help lists the commands").into());
                }
            };
        }
        output::print(&text(&page)?);
        Ok(())
    }
}

/// As clap_mangen writes it, with these differences: it has further sections after the options, and the synopsis
/// shows which options have a value.
fn text(page: &clap::Command) -> Result<String> {
    let text = rendered(page).context("cannot write the page")?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(&sections(page, EXIT_CODES));
    for option in page.get_opts() {
        let (Some(long), Some([value, ..])) = (option.get_long(), option.get_value_names()) else { continue };
        let name = format!("\\-\\-{}\\fR", long.replace('-', "\\-"));
        text = text.replace(&format!("{name}]"), &format!("{name} \\fI<{value}>\\fR]"));
    }
    Ok(text)
}

fn rendered(page: &clap::Command) -> io::Result<Vec<u8>> {
    // It leaves out the description of an option that -h leaves out.
    let man = clap_mangen::Man::new(page.clone().mut_args(|option| option.hide_short_help(false)));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if page.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    Ok(text)
}
