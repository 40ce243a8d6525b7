//! What `depthgauge --help` and the manual pages add to the definitions of the commands: groups, and which
//! environment variables and files a command uses. Pure.

use std::fmt::Write as _;

use clap::Command;

/// All commands, in the order of the help.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Query a cluster or a source", &["get", "explain", "check"]),
    ("Serve metrics", &["serve", "config", "unregister"]),
    ("Try without a cluster", &["demo", "emulate"]),
    ("Other commands", &["version", "completion", "man", "help"]),
];
/// Where the descriptions begin.
const INDENT: usize = 14;
/// As the descriptions of options.
const WIDTH: usize = 100;

/// The help of the whole program, with its commands in groups.
pub(super) fn grouped(command: Command) -> Command {
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (title, names) in GROUPS {
        // Writing to a String can't fail.
        let _ = writeln!(template, "\n{title}:");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            // clap adds `help` later.
            let about = about.unwrap_or_else(|| "Print the help of a command".to_owned());
            let _ = writeln!(template, "  {name:<width$}{}", wrapped(&about), width = INDENT - 2);
        }
    }
    template.push_str("\nOptions:\n{options}{after-help}");
    command.help_template(template)
}

/// Broken into lines, of which all but the first begin at the indent.
fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && INDENT + width + 1 + length > WIDTH {
            let _ = write!(lines, "\n{:INDENT$}", "");
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

/// Sections of a manual page that the definition of its command has in another form, in the language of man.
pub(super) fn sections(page: &Command, exit_codes: &str) -> String {
    let mut text = String::new();
    if let Some(examples) = page.get_after_long_help().map(ToString::to_string) {
        let lines = examples.lines().filter(|line| !line.is_empty() && *line != "Examples:");
        let lines: String = lines.map(|line| format!("{}\n", escaped(line.trim()))).collect();
        let _ = write!(text, ".SH EXAMPLES\n.nf\n{lines}.fi\n");
    }
    let variables = page.get_opts().filter_map(|option| {
        let (variable, long) = (option.get_env()?.to_str()?, option.get_long()?);
        Some(format!(".TP\n\\fB{variable}\\fR\nThe same as \\fB{}\\fR.\n", escaped(&format!("--{long}"))))
    });
    let kubeconfig = page.get_opts().any(|option| option.get_long() == Some("kubeconfig"));
    let mut variables: String = variables.collect();
    if kubeconfig {
        variables.push_str(".TP\n\\fBKUBECONFIG\\fR\nKubeconfig files, with colons in between.\n");
        variables.push_str(
            ".TP\n\\fBHTTPS_PROXY\\fR, \\fBHTTP_PROXY\\fR, \\fBNO_PROXY\\fR\nThe proxy to kube\\-apiserver.\n",
        );
    }
    if !variables.is_empty() {
        let _ = write!(text, ".SH ENVIRONMENT\n{variables}");
    }
    // A server never uses the kubeconfig of a user.
    if kubeconfig && page.get_name() != "serve" {
        text.push_str(".SH FILES\n.TP\n\\fI~/.kube/config\\fR\nThe kubeconfig, if no other is named and there is no ServiceAccount of a pod.\n");
    }
    let _ = writeln!(text, ".SH \"EXIT STATUS\"\n{exit_codes}");
    text
}

/// Backslashes and hyphens have a meaning for man, and so has a dot or a quote at the start of a line.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_command_is_in_one_group() {
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let names: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(names.len(), listed.len());
        let mut command = Cli::command();
        command.build();
        assert_eq!(names, command.get_subcommands().map(Command::get_name).collect());
        let help = grouped(Cli::command()).render_long_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= WIDTH), "{help}");
    }

    #[test]
    fn each_command_has_examples_that_the_program_accepts() {
        let mut command = Cli::command();
        command.build();
        let of = |command: &Command| {
            command.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect::<Vec<_>>()
        };
        for command in of(&command).into_iter().flat_map(|command| [of(&command), vec![command]].concat()) {
            let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = examples.lines().filter_map(|line| line.strip_prefix("  depthgauge ")).collect();
            assert!(!lines.is_empty(), "{}", command.get_name());
            for line in lines {
                let program = line.split([';', '|', '>', '#']).next().unwrap_or_default();
                let words = program.split_whitespace().map(|word| word.trim_matches('\''));
                let parsed = Cli::try_parse_from(std::iter::once("depthgauge").chain(words));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    /// A shell completes flags that are in no help, too.
    #[test]
    fn no_flag_is_hidden() {
        let mut command = Cli::command();
        command.build();
        for command in command.get_subcommands() {
            let hidden = command.get_arguments().find(|argument| argument.is_hide_set());
            assert_eq!(hidden, None, "{}", command.get_name());
        }
    }

    #[test]
    fn a_description_is_broken_at_the_width() {
        let text = wrapped(&"word ".repeat(30));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH) && text.lines().count() == 2, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with(&format!("{}word", " ".repeat(INDENT))), "{text}");
    }

    #[test]
    fn a_line_is_text_for_man_whatever_it_begins_with() {
        assert_eq!(escaped(".x --y \\"), "\\&.x \\-\\-y \\e");
    }
}
