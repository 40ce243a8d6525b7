//! Errors in a command line, in the form of all other errors. Pure.

use super::failure::Failure;

/// How clap begins its hints.
const TIP: &str = "tip: ";

/// The commands that these words begin with, such as `config` and `check`.
pub(super) fn commands<'w>(program: &clap::Command, words: &'w [String]) -> Vec<&'w str> {
    let mut command = program;
    let mut next = |word: &'w String| {
        command = command.find_subcommand(word)?;
        Some(word.as_str())
    };
    words.iter().map_while(&mut next).collect()
}

/// Converts an error that clap has rendered. `program` is what is typed before the arguments, and `commands` are the
/// first of them.
pub(super) fn failure(rendered: &str, program: &str, commands: &[&str]) -> Failure {
    let paragraphs = rendered.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let (mut text, mut tips) = (String::new(), Vec::new());
    for paragraph in paragraphs {
        if let Some(message) = paragraph.strip_prefix("error: ") {
            text = message.to_owned();
        } else if let Some(tip) = paragraph.strip_prefix(TIP) {
            tips.push(tip.replace(&format!(" {TIP}"), "; "));
        }
    }
    // Otherwise there is the usage, which the help has too.
    let typed = [&[program], commands].concat().join(" ");
    let hint = if tips.is_empty() { format!("{typed} --help has the usage") } else { tips.join("; ") };
    Failure::usage(text).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        for (rendered, text, hint) in [
            (
                "error: unexpected argument '--contxt' found\n\n  tip: a similar argument exists: '--context'\n\nUsage: depthgauge get --context <NAME> [METRIC]\n\nFor more information, try '--help'.\n",
                "unexpected argument '--contxt' found",
                "a similar argument exists: '--context'",
            ),
            (
                "error: invalid value 'x' for '--output <FORMAT>'\n  [possible values: table, json]\n\nFor more information, try '--help'.\n",
                "invalid value 'x' for '--output <FORMAT>' [possible values: table, json]",
                "kubectl depthgauge get --help has the usage",
            ),
            (
                "error: unrecognized subcommand 'gt'\n\n  tip: some similar subcommands exist: 'get', 'git'\n  tip: to pass 'gt' as a value, use '-- gt'\n\nUsage: x\n",
                "unrecognized subcommand 'gt'",
                "some similar subcommands exist: 'get', 'git'; to pass 'gt' as a value, use '-- gt'",
            ),
        ] {
            let expected = Failure::usage(text).hint(hint);
            assert_eq!(failure(rendered, "kubectl depthgauge", &["get"]), expected);
        }
    }

    #[test]
    fn the_help_is_that_of_the_command() {
        let program = clap::Command::new("depthgauge")
            .subcommand(clap::Command::new("config").subcommand(clap::Command::new("check")))
            .subcommand(clap::Command::new("get"));
        for (line, expected) in [
            ("config check --x", &["config", "check"][..]),
            ("config get", &["config"]),
            ("--context get serve", &[]),
            ("gt", &[]),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(commands(&program, &words), expected, "{line}");
        }
    }
}
