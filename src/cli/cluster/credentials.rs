//! How requests to kube-apiserver are authenticated, and why they can't be. The standard output of an
//! exec plugin is a secret: no message contains it.

use std::io::{self, IsTerminal as _};

use kube::client::AuthError;
use kube::config::{AuthInfo, ExecInteractiveMode};

/// Longest end of a plugin's standard error in a message.
const STDERR_CHARS: usize = 200;

/// Only on a terminal can an exec plugin ask for input. Elsewhere its standard error is collected, for
/// the message of [`reason`].
pub(super) fn set_interactive_mode(user: &mut AuthInfo) {
    let Some(exec) = &mut user.exec else { return };
    if exec.interactive_mode != Some(ExecInteractiveMode::Always) && !io::stdin().is_terminal() {
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
}

/// Why a request can't be authenticated as this user.
pub(super) fn reason(error: &AuthError, user: &AuthInfo) -> String {
    let exec = user.exec.as_ref();
    let provider = user.auth_provider.as_ref().and_then(|provider| provider.config.get("cmd-path"));
    let command = exec.and_then(|exec| exec.command.as_ref()).or(provider).map_or("", String::as_str);
    let plugin = format!("exec plugin {command:?}");
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let status = out.status.code().map_or_else(|| out.status.to_string(), |code| format!("exit code {code}"));
            let text = String::from_utf8_lossy(&out.stderr);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{plugin} failed with {status}{}", after_colon(&end(&text)))
        }
        AuthError::AuthExecStart(error) => {
            let hint = exec.and_then(|exec| exec.install_hint.as_deref()).map(str::trim).unwrap_or_default();
            let what = match error.kind() {
                io::ErrorKind::NotFound if !command.contains('/') => "is not in PATH".to_owned(),
                _ => format!("can't be started: {error}"),
            };
            format!("{plugin} {what}{}", after_colon(hint))
        }
        // The texts of these errors can contain the output.
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => format!("{plugin}: invalid output"),
        AuthError::ExecPluginFailed => format!("{plugin}: no status in its output"),
        AuthError::MalformedTokenExpirationDate(_) => format!("{plugin}: invalid expiration time in its output"),
        other => other.to_string(),
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// The cause is usually in the last line.
fn end(text: &str) -> String {
    match text.char_indices().nth_back(STDERR_CHARS) {
        Some((at, cut)) => format!("…{}", &text[at + cut.len_utf8()..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{ExitStatus, Output};

    use kube::config::ExecConfig;
    use serde_json::json;

    use super::*;

    fn plugin(command: &str, hint: Option<&str>) -> AuthInfo {
        let exec = json!({"command": command, "args": ["--secret=42"], "installHint": hint});
        let exec: ExecConfig = serde_json::from_value(exec).unwrap();
        AuthInfo { exec: Some(exec), ..AuthInfo::default() }
    }

    #[test]
    fn a_failed_plugin_is_named_with_its_exit_code_and_standard_error_only() {
        for (status, text) in [(256, "exit code 1"), (9, "signal: 9 (SIGKILL)")] {
            let out = Output {
                status: ExitStatus::from_raw(status),
                stdout: b"SECRET-TOKEN".to_vec(),
                stderr: b"no cache\n  dir\n".to_vec(),
            };
            let error = AuthError::AuthExecRun { cmd: "KEY=SECRET oci --secret=42".to_owned(), out: Box::new(out) };
            let reason = reason(&error, &plugin("oci", None));
            assert_eq!(reason, format!("exec plugin \"oci\" failed with {text}: no cache dir"));
        }
    }

    #[test]
    fn a_missing_plugin_is_named_with_the_hint_to_install_it() {
        let error = AuthError::AuthExecStart(io::ErrorKind::NotFound.into());
        let hinted = reason(&error, &plugin("oci", Some("pip install oci-cli\n")));
        assert_eq!(hinted, "exec plugin \"oci\" is not in PATH: pip install oci-cli");
        let with_path = reason(&error, &plugin("/opt/oci", None));
        assert_eq!(with_path, "exec plugin \"/opt/oci\" can't be started: entity not found");
    }

    #[test]
    fn a_long_standard_error_is_cut_at_its_start() {
        assert_eq!(end("short"), "short");
        let long = format!("{}é", "x".repeat(500));
        assert_eq!(end(&long), format!("…{}é", "x".repeat(STDERR_CHARS - 1)));
    }
}
