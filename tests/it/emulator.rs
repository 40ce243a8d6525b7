//! The emulator, driven by those who know nothing of ours: the official SDK and CLI.
//!
//! Both come from `hack/setup oci`. Where that fails these tests fail with what it said, for a
//! look-alike that nobody compared proves nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod command_line;
mod sdk;

/// The project's own copy of a script.
fn hack(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hack").join(script)
}

/// Runs to the end on a thread where waiting is allowed, without this process' ways to sign in.
pub(crate) async fn run(mut command: Command) -> Output {
    command.env_remove("OCI_CONFIG_FILE").env_remove("OCI_REGION").env("OCI_CLI_AUTH", "api_key");
    let text = format!("{command:?}");
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    done.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Python with the official SDK.
pub(crate) async fn sdk_python() -> Command {
    python("oci").await
}

/// Python with what `hack/setup` installs under this name.
pub(crate) async fn python(name: &str) -> Command {
    Command::new(format!("{}/bin/python", set_up(name).await))
}

/// The path that `hack/setup` prints for an official client.
pub(crate) async fn set_up(name: &str) -> String {
    let mut setup = Command::new(hack("setup"));
    setup.arg(name);
    let setup = run(setup).await;
    let said = String::from_utf8_lossy(&setup.stderr);
    assert!(setup.status.success(), "no official client to compare with; hack/setup {name} says:\n{said}");
    String::from_utf8(setup.stdout).unwrap().trim().to_owned()
}

/// What a program that went well printed, as JSON.
pub(crate) fn json(output: &Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}:\n{out}\n{err}"))
}
