//! `completion`: what a shell needs to complete commands, flags and values.
//!
//! The script of a shell runs the program again at each completion, with [`VARIABLE`] in its environment. The
//! candidates and their order are those of clap.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};

use super::{Cli, PLUGIN, help, output};

mod candidates;
mod kubectl;

use kubectl::Kubectl;

/// Its value is the shell that requests candidates.
const VARIABLE: &str = "DEPTHGAUGE_COMPLETE";
const PROGRAM: &str = "depthgauge";
const SHELLS: Shells<'_> = Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh, &Kubectl]);

const EXAMPLES: &str = "\
Examples:
  source <(depthgauge completion bash)
  source <(depthgauge completion zsh)
  depthgauge completion fish | source
  depthgauge completion kubectl > /usr/local/bin/kubectl_complete-depthgauge
  chmod +x /usr/local/bin/kubectl_complete-depthgauge";

/// Generate shell completion
///
/// Metrics, selectors, namespaces, HPAs and contexts are completed from the cluster, the kubeconfig or --config.
/// SHELL kubectl prints the script that completes `kubectl depthgauge`. Save it as kubectl_complete-depthgauge in a
/// directory of PATH, and make it executable.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Shell
    #[arg(value_enum)]
    shell: Script,
}

/// The scripts that there are.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Script {
    /// Bash
    Bash,
    /// Elvish
    Elvish,
    /// Fish
    Fish,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
    /// Z shell
    Zsh,
    /// kubectl, for its plugin depthgauge
    Kubectl,
}

/// Prints the candidates and ends the process, if a shell requests them.
pub(super) fn answer() {
    let command = || candidates::with_values(help::grouped(Cli::command()));
    CompleteEnv::with_factory(command).var(VARIABLE).shells(SHELLS).complete();
}

// === impl Args ===

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let mut script = Vec::new();
        let (shell, program) = self.shell.completer();
        shell.write_registration(VARIABLE, PROGRAM, PROGRAM, program, &mut script)?;
        output::print(&String::from_utf8_lossy(&script));
        Ok(())
    }
}

// === impl Script ===

impl Script {
    /// What writes it, and the program that it runs.
    fn completer(self) -> (&'static dyn EnvCompleter, &'static str) {
        match self {
            Self::Bash => (&Bash, PROGRAM),
            Self::Elvish => (&Elvish, PROGRAM),
            Self::Fish => (&Fish, PROGRAM),
            Self::PowerShell => (&Powershell, PROGRAM),
            Self::Zsh => (&Zsh, PROGRAM),
            Self::Kubectl => (&Kubectl, PLUGIN),
        }
    }
}
