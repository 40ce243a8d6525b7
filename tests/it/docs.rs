//! The documentation, compared with the repository and with the program: links, commands, flags, tables
//! of figures, and error messages.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::manifests;
use crate::support::program::Home;

mod keys;
pub(crate) mod page;
mod reference;

use page::{named, root};

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for page in page::all() {
        for (path, heading) in page.links() {
            count += 1;
            let target = format!("{}: {}", page.name, path.display());
            assert!(path.exists(), "{target} does not exist");
            let Some(heading) = heading else { continue };
            let path = path.canonicalize().unwrap();
            let headings =
                named(path.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap()).headings();
            assert!(headings.contains(&heading), "{target} has no heading #{heading}: {headings:?}");
        }
    }
    assert!(count > 50, "{count} links");
}

#[test]
fn the_readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let (lines, words) = (text.lines().count(), text.split_whitespace().count());
    assert!(lines <= 150 && words <= 1200, "{lines} lines, {words} words");
}

#[test]
fn every_how_to_ends_with_a_check_and_an_undo() {
    let mut count = 0;
    for page in page::all().iter().filter(|page| page.name.starts_with("docs/how-to/")) {
        let sections: Vec<&str> = page.prose().iter().filter_map(|line| line.strip_prefix("## ")).collect();
        assert!(sections.ends_with(&["Check that it works", "Undo"]), "{}: {sections:?}", page.name);
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// The commands of the program, which are in groups, and of `config`.
async fn commands(home: &Home, of: &[&str]) -> Vec<String> {
    let help = home.run(&[of, &["--help"]].concat()).await.stdout;
    let (listed, _) = help.split_once("Options:\n").unwrap();
    // Continued lines are further to the right.
    let names = listed.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Words of a command line that are flags.
fn flags(words: &[&str]) -> Vec<String> {
    let of_program = words.iter().take_while(|word| !["|", "&&", ">", "#", "--"].contains(*word));
    let flags = of_program.filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
    flags.map(|flag| flag.trim_end_matches([',', '.', ';', '…']).to_owned()).collect()
}

#[tokio::test]
async fn every_command_is_one_that_the_program_has() {
    let home = Home::new();
    let (all, of_config) = (commands(&home, &[]).await, commands(&home, &["config"]).await);
    let mut checked = BTreeSet::new();
    for page in page::all() {
        for command in page.commands() {
            let words: Vec<&str> = command.split_whitespace().collect();
            let program = words.iter().position(|word| *word == "depthgauge" || word.ends_with("/depthgauge"));
            let rest = match program {
                Some(at) => &words[at + 1..],
                // `serve --register=false`
                None if words.len() > 1 && all.contains(&words[0].to_owned()) => &words[..],
                None => continue,
            };
            let Some(first) = rest.first().filter(|first| first.chars().all(|c| c.is_ascii_lowercase())) else {
                continue;
            };
            // `kubectl create namespace depthgauge`, `helm install depthgauge …`
            if !all.contains(&(*first).to_owned()) {
                let of_another = program.is_some_and(|at| at > 0 && words[at - 1] != "kubectl");
                assert!(of_another, "{}: there is no `depthgauge {first}`: {command}", page.name);
                continue;
            }
            let mut sub = vec![*first];
            if *first == "config" {
                let second = rest.get(1).copied().unwrap_or_default();
                assert!(of_config.iter().any(|known| known == second), "{}: {command}", page.name);
                sub.push(second);
            }
            let help = home.run(&[&sub[..], &["--help"]].concat()).await.stdout;
            for flag in flags(&rest[sub.len()..]) {
                let is_known = options(&help).iter().any(|(known, _)| *known == flag);
                assert!(is_known || flag == "--help", "{}: {sub:?} has no flag {flag}: {command}", page.name);
            }
            checked.insert(sub.join(" "));
        }
    }
    for sub in
        ["serve", "get", "check", "explain", "unregister", "emulate", "config check", "config init", "config schema"]
    {
        assert!(checked.contains(sub), "no page has `depthgauge {sub}`");
    }
}

/// The options of a command's `--help`: each flag with its description.
fn options(help: &str) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        // A description goes on further to the right.
        let is_option = line.starts_with("      --") || line.starts_with("  -");
        if is_option && let Some(flag) = line.split_whitespace().find(|word| word.starts_with("--")) {
            options.push((flag.split(['=', '[', '.']).next().unwrap().to_owned(), line.to_owned()));
        } else if let Some((_, text)) = options.last_mut() {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    options
}

#[test]
fn every_command_that_repeats_a_figure_exists() {
    let bench = fs::read_to_string(root().join("hack/bench")).unwrap();
    let (mut measured, mut tested) = (0, 0);
    for page in page::all() {
        for command in page.commands() {
            let words: Vec<&str> = command.split_whitespace().collect();
            if let Some(script) = words.first().filter(|word| word.starts_with("hack/")) {
                assert!(root().join(script).exists(), "{}: {command}", page.name);
            }
            if let ["hack/bench", what, ..] = words[..]
                && !what.starts_with("--")
            {
                assert!(bench.contains(&format!("\n  {what}) {what} ")), "{}: {command}", page.name);
                measured += 1;
            }
            let filter = words.iter().skip_while(|word| **word != "--").nth(1).filter(|word| !word.starts_with('-'));
            if let (Some(filter), true) = (filter, command.contains("cargo test --test it ")) {
                assert!(has_tests(filter), "{}: no test matches {filter}: {command}", page.name);
                tested += 1;
            }
        }
    }
    assert!(measured > 5 && tested > 5, "{measured}, {tested}");
}

/// Whether `tests/it` has a module, or a function whose name begins so.
fn has_tests(filter: &str) -> bool {
    let parts: Vec<&str> = filter.split("::").filter(|part| !part.is_empty()).collect();
    if filter.starts_with("::") {
        let source = fs::read_to_string(root().join("tests/it/browser.rs")).unwrap();
        return source.contains(&format!("fn {}", parts[0]));
    }
    let path = root().join("tests/it").join(parts.join("/"));
    path.is_dir() || path.with_extension("rs").exists()
}

/// What the scripts print as the head of a table, with `{…}` for what is filled in.
#[test]
fn tables_of_figures_have_the_columns_that_the_scripts_print() {
    let page = named("docs/explanation/performance.md");
    let mut count = 0;
    for script in ["crowd.py", "faults.py", "scale.py", "reaction.py"] {
        let source = fs::read_to_string(root().join("hack/bench.d").join(script)).unwrap();
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let heads = lines.windows(2).filter_map(|pair| {
            let text = pair[0].strip_prefix("print(")?.trim_start_matches('f').trim_matches(['"', ')']);
            let text = text.strip_prefix("\\n").unwrap_or(text);
            let is_head = text.starts_with('|') && (text.contains("\\n| ---") || pair[1].contains("| ---"));
            is_head.then(|| text.split("\\n").next().unwrap())
        });
        for head in heads {
            let pieces: Vec<&str> =
                head.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest)).collect();
            let fits = |row: &String| {
                let mut rest = row.as_str();
                pieces.iter().all(|piece| match rest.find(piece) {
                    Some(at) => {
                        rest = &rest[at + piece.len()..];
                        true
                    }
                    None => false,
                })
            };
            assert!(page.prose().iter().any(fits), "docs/explanation/performance.md has no table of {script}: {head}");
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

/// The messages of a page: those in tables of messages, and all others in tables of the page about troubles.
fn messages(page: &page::Page) -> Vec<String> {
    let (mut messages, mut is_of_messages) = (Vec::new(), false);
    for row in page.prose() {
        is_of_messages = row.starts_with("| message |") || is_of_messages && row.starts_with('|');
        let is_of_page = page.name.ends_with("troubleshoot.md") && row.contains('…');
        if row.starts_with("| `") && (is_of_messages || is_of_page) {
            let cell = row.split(" | ").next().unwrap();
            messages.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    messages.retain(|message| !message.starts_with("depthgauge "));
    messages
}

/// The fixed pieces of each message are in the program.
#[test]
fn every_message_of_the_pages_is_one_of_the_program() {
    const FILLED: [&str; 17] = [
        "\"orders\"",
        "\"shop\"",
        "shop/web",
        "connection refused (operation: read)",
        "NotAuthenticated",
        "NotAuthorizedOrNotFound",
        "TooManyRequests",
        "not_authorised",
        "bad_data",
        "CountDetails",
        "a range vector (matrix)",
        "public",
        "private",
        "is down",
        "not json",
        "valid JSON",
        "queue",
    ];
    let mut source = String::new();
    for path in crate::layers::sources() {
        source.push_str(&fs::read_to_string(path).unwrap().replace("\\\"", "\"").replace('`', ""));
    }
    let mut count = 0;
    for page in page::all() {
        for message in messages(&page) {
            // `[!]name degraded: ` is made of the name of a check.
            let text = message.split_once("degraded: ").map_or(&*message, |(_, text)| text);
            let text = text.split_once("failed: ").map_or(text, |(_, text)| text);
            let text = FILLED.iter().fold(text.to_owned(), |text, filled| text.replace(filled, "…"));
            let is_end = |c: char| c.is_ascii_digit() || ['…', '"', '{', '}', ':', ';', ','].contains(&c);
            for piece in text.split(is_end).map(str::trim).filter(|piece| piece.len() >= 8) {
                assert!(source.contains(piece), "{}: {message:?}: the program does not say {piece:?}", page.name);
                count += 1;
            }
        }
    }
    assert!(count >= 40, "{count}");
}

/// Annotation `runbook_url`, with the placeholder that the chart replaces.
#[test]
fn every_alert_has_its_section_to_troubleshoot() {
    let headings = named("docs/how-to/troubleshoot.md").headings();
    let values = fs::read_to_string(root().join("manifests/chart/values.yaml")).unwrap();
    let page = values.lines().find_map(|line| line.strip_prefix("  runbooks: ")).unwrap();
    let template = fs::read_to_string(root().join("manifests/chart/templates/prometheus.yaml")).unwrap();
    assert!(template.contains(&format!("replace \"{page}\"")), "the chart replaces another address than {page}");
    let rule = &manifests::documents(&root().join("manifests/components/prometheus/prometheusrule.yaml"))[0];
    let alerts = rule["spec"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut anchors = BTreeSet::new();
    for alert in alerts {
        let anchor = alert["alert"].as_str().unwrap().to_lowercase();
        assert_eq!(alert["annotations"]["runbook_url"], format!("{page}#{anchor}"));
        assert!(headings.contains(&anchor), "no section #{anchor}");
        anchors.insert(anchor);
    }
    assert!(anchors.len() > 10, "{anchors:?}");
    let sections: BTreeSet<String> = headings.into_iter().filter(|it| it.starts_with("depthgauge")).collect();
    assert_eq!(sections, anchors);
}

#[test]
fn the_readmes_kubectl_output_has_the_columns_of_the_api() {
    let table: Value =
        serde_json::from_str(&fs::read_to_string(root().join("tests/golden/table.json")).unwrap()).unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap().iter().filter(|column| column["priority"] == 0);
    let columns: Vec<String> = columns.map(|column| column["name"].as_str().unwrap().to_uppercase()).collect();
    let readme = named("README.md");
    let at = readme.code().iter().position(|line| line.starts_with("$ kubectl get oci_queue_length")).unwrap();
    assert_eq!(readme.code()[at + 1].split_whitespace().collect::<Vec<_>>().join(" "), columns.join(" "));
}
