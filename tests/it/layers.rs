//! Which top-level module may use which. The arrows of the house: a new one has to be put in
//! here, in the same change, where a reviewer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// `cli` may use everything and nothing uses `cli`; modules without a line may use nothing.
const ARROWS: &[(&str, &[&str])] = &[
    ("server", &["request"]),
    ("auth", &["request", "refusal", "health", "rbac"]),
    ("selector", &["metric"]),
    ("source", &["metric", "oci", "document"]),
    ("lookup", &["metric", "selector", "source"]),
    ("api", &["request", "refusal", "metric", "selector", "lookup"]),
    ("certs", &["health", "rbac"]),
    // Its embedded manifest is YAML.
    ("apiservice", &["certs", "health", "rbac", "document"]),
    // Reads what the HPA would be told, past the API; it has no part in answering.
    ("zero", &["metric", "selector", "lookup", "hpa", "health", "rbac"]),
    // Follows its file and says how that goes.
    ("config", &["metric", "source", "lookup", "document", "health"]),
    // `/status` shows what parts know of themselves; its facts come from the composition root.
    ("admin", &["health", "lookup", "source"]),
    // Wire types only, never the client's signing.
    ("emulator", &["oci"]),
];

/// Paths inside a module that another one may not name although the arrow exists.
const FORBIDDEN: &[(&str, &str)] = &[
    ("emulator", "oci::sign"),
    ("emulator", "oci::credentials"),
    ("emulator", "oci::key"),
    ("emulator", "oci::token"),
    ("emulator", "oci::Client"),
    ("lookup", "source::oci_queue"),
    ("api", "lookup::Reader"),
];

#[test]
fn no_module_uses_another_without_an_arrow() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let uses = uses();
    let modules: BTreeSet<&str> = uses.keys().map(String::as_str).collect();
    for required in ["api", "auth", "cli", "lookup", "oci", "server", "source"] {
        assert!(modules.contains(required), "src/{required}.rs is not where this test looks");
    }
    let mut wrong = Vec::new();
    for (from, targets) in uses.iter().filter(|(from, _)| *from != "cli") {
        for to in targets.keys().filter(|to| modules.contains(to.as_str()) && *to != from) {
            if !allowed.get(from.as_str()).is_some_and(|allowed| allowed.contains(to.as_str())) {
                wrong.push(format!("{from} -> {to}, in {}", targets[to].display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the house does not have:\n{}", wrong.join("\n"));
}

#[test]
fn no_arrow_is_drawn_that_nobody_uses() {
    let uses = uses();
    for (from, targets) in ARROWS {
        for to in *targets {
            assert!(uses[*from].contains_key(*to), "{from} -> {to} is allowed and not used: take it out");
        }
    }
}

#[test]
fn what_an_arrow_does_not_cover() {
    for (path, module) in files() {
        let code = code_of(&path);
        for (from, forbidden) in FORBIDDEN {
            let inside = forbidden.split_once("::").map_or("", |(_, inside)| inside);
            assert!(module != *from || !mentions(&code, forbidden, inside), "{} names {forbidden}", path.display());
        }
    }
}

#[test]
fn main_only_parses_and_dispatches() {
    let main = code_of(&source_root().join("main.rs"));
    assert!(main.lines().count() <= 40);
    assert!(!main.contains("axum::") && !main.contains("kube::"));
}

/// For each top-level module: which other names after `crate::`, and one file that says so.
fn uses() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let mut uses: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for (path, module) in files() {
        let targets = uses.entry(module).or_default();
        for target in crate_names(&code_of(&path)) {
            targets.entry(target).or_insert_with(|| path.clone());
        }
    }
    uses
}

/// The names that directly follow `crate::`, grouped imports included.
fn crate_names(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(word(item.trim()));
    }
    names
}

/// Whether code says `a::b`, or imports `b` out of a group after `a::`.
fn mentions(code: &str, path: &str, inside: &str) -> bool {
    let outside = path.split_once("::").map_or(path, |(outside, _)| outside);
    code.contains(path)
        || code.match_indices(&format!("{outside}::{{")).any(|(at, _)| {
            let group = code[at..].split(';').next().unwrap_or_default();
            group.split(|c: char| !c.is_alphanumeric() && c != '_').any(|name| name == inside)
        })
}

/// A file without its comments and without its tests, which may use anything.
pub(crate) fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every source file and the top-level module that it belongs to, `main` and `lib` left out.
fn files() -> Vec<(PathBuf, String)> {
    let module = |path: &PathBuf| {
        let relative = path.strip_prefix(source_root()).unwrap();
        let first = relative.iter().next().unwrap().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    };
    let files = sources().into_iter().map(|path| (module(&path), path));
    files.filter(|(module, _)| module != "main" && module != "lib").map(|(module, path)| (path, module)).collect()
}

/// Every source file that is no test.
pub(crate) fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![source_root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy();
            let is_test = name == "tests.rs" || name == "test_util.rs";
            if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                files.push(path);
            }
        }
    }
    files
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
