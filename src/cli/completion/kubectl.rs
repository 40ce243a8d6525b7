//! Completion of `kubectl depthgauge`. kubectl runs `kubectl_complete-depthgauge` with the words behind the plugin's
//! name, and takes what Cobra prints for its shells: a candidate with its description a line, and a directive
//! (`k8s.io/kubectl/pkg/cmd/plugin`, `plugin_completion.go`).

use std::ffi::OsString;
use std::io::{Error, Write};
use std::path::Path;

use clap_complete::engine::complete;
use clap_complete::env::EnvCompleter;

/// Cobra's directive that files are no candidates.
const NO_FILES: u8 = 4;

/// The plugin of kubectl.
pub(super) struct Kubectl;

impl EnvCompleter for Kubectl {
    fn name(&self) -> &'static str {
        "kubectl"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(
        &self,
        var: &str,
        _: &str,
        _: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> Result<(), Error> {
        let name = self.name();
        writeln!(buf, "#!/bin/sh")?;
        writeln!(buf, "# kubectl runs this as kubectl_complete-depthgauge, which must be in PATH.")?;
        writeln!(buf, "{var}={name} exec {completer} -- {completer} \"$@\"")
    }

    fn write_complete(
        &self,
        cmd: &mut clap::Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> Result<(), Error> {
        let last = args.len().saturating_sub(1);
        for candidate in complete(cmd, args, last, current_dir)? {
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            let value = candidate.get_value().to_string_lossy();
            writeln!(buf, "{value}\t{}", help.lines().next().unwrap_or_default())?;
        }
        writeln!(buf, ":{NO_FILES}")
    }
}
