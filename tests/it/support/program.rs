//! The `depthgauge` program as a process, in an environment and a directory of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::eventually;

/// A directory that is home and the place for temporary files at once.
pub(crate) struct Home(TempDir);

/// A running program; dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

// === impl Home ===

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Starts the program; nothing of this process' environment but PATH is handed on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        self.start_in(&[], arguments)
    }

    /// The same, with these variables.
    pub(crate) fn start_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Program {
        self.spawn(Command::new(env!("CARGO_BIN_EXE_depthgauge")).args(arguments), variables)
    }

    /// The same within these limits, in the words of `ulimit`.
    pub(crate) fn start_limited(&self, limits: &str, arguments: &[&str]) -> Program {
        let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
        self.spawn(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_depthgauge")]).args(arguments), &[])
    }

    /// The same on a terminal, which is its standard output and standard error in one. No argument
    /// may need quotes.
    pub(crate) fn start_on_terminal(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Program {
        let line = format!("exec {} {}", env!("CARGO_BIN_EXE_depthgauge"), arguments.join(" "));
        self.spawn(Command::new("script").args(["-qec", &line, "/dev/null"]), variables)
    }

    fn spawn(&self, command: &mut Command, variables: &[(&str, &str)]) -> Program {
        let mut child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("TMPDIR", self.0.path())
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Program { child, stdout: Output::of(stdout), stderr: Output::of(stderr) }
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended().await
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }
}

// === impl Program ===

impl Program {
    /// What follows `prefix` in the first line on standard output that begins so.
    pub(crate) async fn said(&mut self, prefix: &str) -> String {
        let mut found = None;
        eventually(&format!("a line that begins with {prefix:?}"), async || {
            found = self.stdout.line(prefix);
            let over = found.is_some() || self.child.try_wait().unwrap().is_some();
            over.then_some(())
        })
        .await;
        // What was printed last may arrive after the end was seen.
        found.unwrap_or_else(|| {
            self.stdout.join();
            self.stderr.join();
            self.stdout.line(prefix).unwrap_or_else(|| panic!("ended without {prefix:?}: {}", self.stderr.text()))
        })
    }

    /// How many files it has open.
    pub(crate) fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The soft and the hard limit on its open files.
    pub(crate) fn open_files(&self) -> (String, String) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = limit.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    /// Asks it to stop, as a kubelet does.
    pub(crate) fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let status = eventually("the end of the program", async || self.child.try_wait().unwrap()).await;
        self.stdout.join();
        self.stderr.join();
        Ended { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Output ===

impl Output {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let lines = lines.clone();
            move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn line(&self, prefix: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
    }

    /// Reads what is left; the program must have ended.
    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}
