//! How requests to kube-apiserver are authenticated, and why they can't be. The standard output of an
//! exec plugin is a secret: no message contains it.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use http::{HeaderValue, Request, header};
use kube::client::AuthError;
use kube::config::{AuthInfo, ExecInteractiveMode};

use crate::watched::{OnUse, Reading};

/// Longest end of a plugin's standard error in a message.
const STDERR_CHARS: usize = 200;

/// A bearer token in a file that is followed, because another program renews it.
#[derive(Clone)]
pub(super) struct TokenFile(OnUse<HeaderValue, anyhow::Error>);

// === impl TokenFile ===

impl TokenFile {
    /// Takes `tokenFile` from the user. As in client-go it comes before `token`, which is used while
    /// the file can't be read at the start.
    pub(super) fn take(user: &mut AuthInfo) -> Result<Option<Self>> {
        let Some(file) = user.token_file.take() else { return Ok(None) };
        match Self::open(file.into()) {
            Ok(token) => {
                user.token = None;
                Ok(Some(token))
            }
            Err(_) if user.token.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(file: PathBuf) -> Result<Self> {
        OnUse::open("the credentials for kube-apiserver", Box::new(move |reading| bearer(&file, reading))).map(Self)
    }

    /// Adds the header `Authorization`.
    pub(super) async fn authorize<B>(self, mut request: Request<B>) -> Request<B> {
        let header = self.0.current().await;
        request.headers_mut().insert(header::AUTHORIZATION, (*header).clone());
        request
    }
}

/// White space around the token is not part of it, as in client-go.
fn bearer(file: &Path, reading: &mut Reading) -> Result<HeaderValue> {
    let unusable = |why: &str| anyhow!("token file {}: {why}", file.display());
    let content = reading.read(file).map_err(|error| unusable(&error.to_string()))?;
    let token = content.trim_ascii();
    if token.is_empty() {
        return Err(unusable("it is empty"));
    }
    let header = HeaderValue::try_from([b"Bearer ", token].concat());
    let mut header = header.map_err(|_| unusable("it contains no valid token"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Only on a terminal can an exec plugin read input. Elsewhere its standard error is collected, for
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
    use std::fs;
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

    #[tokio::test]
    async fn a_token_file_is_trimmed_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, " one\n").unwrap();
        let token = TokenFile::open(file.clone()).unwrap();
        // What is there for a moment while it is written is no token.
        for (content, used) in [(" one\n", "one"), ("two\r\n", "two"), ("", "two"), ("a\nb", "two"), ("three", "three")]
        {
            fs::write(&file, content).unwrap();
            token.0.look().await;
            let request = token.clone().authorize(Request::new(())).await;
            assert_eq!(request.headers()[header::AUTHORIZATION], format!("Bearer {used}"), "{content:?}");
        }
    }

    #[test]
    fn a_token_file_comes_before_a_token_unless_it_is_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let user = |token: Option<&str>| {
            serde_json::from_value::<AuthInfo>(json!({"token": token, "tokenFile": file.to_str().unwrap()})).unwrap()
        };
        for content in ["", "\n", "a\nb"] {
            fs::write(&file, content).unwrap();
            let error = TokenFile::take(&mut user(None)).err().unwrap().to_string();
            assert!(error.starts_with(&format!("token file {}: it ", file.display())), "{error}");
        }
        let mut both = user(Some("inline"));
        assert!(TokenFile::take(&mut both).unwrap().is_none() && both.token.is_some());
        fs::write(&file, "in-file").unwrap();
        let mut both = user(Some("inline"));
        assert!(TokenFile::take(&mut both).unwrap().is_some() && both.token.is_none());
    }
}
