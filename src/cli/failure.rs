//! How a command fails: its error message, what to do about it, and the exit code.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::Error;

use super::output;
use crate::config::ConfigError;

/// What to do without a config.
const INIT: &str = "depthgauge config init prints one to begin with";

/// What scripts distinguish.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Exit {
    /// A finding or a failure.
    Failed = 1,
    /// A wrong command line. clap uses the same code.
    Usage = 2,
    /// The cluster or the source can't be reached, so nothing is known.
    Unreachable = 3,
}

/// An error with a hint, or with another exit code than 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    text: String,
    hint: Option<String>,
    exit: Exit,
}

// === impl Failure ===

impl Failure {
    /// `text` is `<what>: <cause>`.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, exit: Exit::Failed }
    }

    /// The same for a command line that only the command finds wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(text) }
    }

    /// The same for a cluster or a source that can't be reached.
    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, ..Self::new(text) }
    }

    /// What to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Several as one; `None` if there is none. The first hint is the one that is printed.
    pub(super) fn all(failures: impl IntoIterator<Item = Self>) -> Option<Self> {
        failures.into_iter().reduce(|all, next| Self {
            text: format!("{}; {}", all.text, next.text),
            hint: all.hint.or(next.hint),
            exit: all.exit.max(next.exit),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Prints why a command failed. Returns the exit code.
pub fn report(error: &Error) -> ExitCode {
    let (text, exit) = described(error);
    output::print_error(text);
    ExitCode::from(exit as u8)
}

/// `<what>: <cause>; <what to do>`, for output that has one line for each finding.
pub(super) fn on_one_line(error: &Error) -> String {
    format!("{}{}", text(error), hint(error).map(|hint| format!("; {hint}")).unwrap_or_default())
}

/// `error: <what>: <cause>`, with `hint: <what to do>` in the next line where there is one.
fn described(error: &Error) -> (String, Exit) {
    let failure = failure(error);
    let hint = hint(error).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    (format!("error: {}{hint}", text(error)), failure.map_or(Exit::Failed, |failure| failure.exit))
}

/// Texts in their order, without one that those before it contain.
pub(super) fn each_once(texts: impl Iterator<Item = String>) -> String {
    texts.map(|text| without_os_error(&text)).fold(String::new(), |all, next| match all.as_str() {
        "" => next,
        _ if all.contains(&next) => all,
        _ => format!("{all}: {next}"),
    })
}

/// A text without the numbers that the standard library adds to errors of the operating system: `(os error 2)`.
pub(super) fn without_os_error(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(')') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => text + rest,
        _ => format!("{text} (os error {part}"),
    })
}

/// What failed, and why. A cause that the text before it contains is not repeated.
fn text(error: &Error) -> String {
    each_once(error.chain().map(ToString::to_string))
}

fn hint(error: &Error) -> Option<&str> {
    let without_config = || {
        error.chain().find_map(|cause| match cause.downcast_ref()? {
            ConfigError::Read { source, .. } if source.kind() == ErrorKind::NotFound => Some(INIT),
            ConfigError::Empty(_) => Some(INIT),
            ConfigError::Read { .. } | ConfigError::Wrong(_) => None,
        })
    };
    failure(error).and_then(|failure| failure.hint.as_deref()).or_else(without_config)
}

fn failure(error: &Error) -> Option<&Failure> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn an_error_is_what_and_why_and_the_hint_has_a_line() {
        let failed = || Failure::unreachable("cannot connect to https://a: refused").hint("start it");
        for (error, text, exit) in [
            (anyhow!("b").context("a"), "error: a: b", Exit::Failed),
            (anyhow!("b").context("a: b"), "error: a: b", Exit::Failed),
            (failed().into(), "error: cannot connect to https://a: refused\nhint: start it", Exit::Unreachable),
            (
                Err::<(), _>(failed()).context("get").unwrap_err(),
                "error: get: cannot connect to https://a: refused\nhint: start it",
                Exit::Unreachable,
            ),
        ] {
            assert_eq!(described(&error), (text.to_owned(), exit));
        }
        assert_eq!(on_one_line(&failed().into()), "cannot connect to https://a: refused; start it");
    }

    #[test]
    fn numbers_of_the_operating_system_are_left_out() {
        for (text, shown) in [
            (
                "cannot read a: No such file or directory (os error 2); set b",
                "cannot read a: No such file or directory; set b",
            ),
            ("refused (os error 111): again (os error 111)", "refused: again"),
            ("a (os error x)", "a (os error x)"),
            ("a", "a"),
        ] {
            assert_eq!(without_os_error(text), shown);
        }
    }

    #[test]
    fn of_several_the_gravest_exit_code_counts() {
        let all = Failure::all([Failure::new("a"), Failure::unreachable("b").hint("c")]).unwrap();
        assert_eq!(all, Failure::unreachable("a; b").hint("c"));
        assert_eq!(Failure::all([]), None);
    }
}
