//! Which top-level module may import from which. A new arrow goes into the table here, in the same
//! change, where a reviewer sees it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::{Import, imports};

/// `cli` may import from all modules and none from `cli`. A module without a line imports from none.
const ARROWS: &[(&str, &[&str])] = &[
    ("server", &["request"]),
    // What is wrong with JSON of the identity ConfigMap.
    ("auth", &["request", "api_error", "health", "rbac", "document"]),
    ("selector", &["metric"]),
    // Reads values.
    ("document", &["metric"]),
    // Its credentials and certificates are files that are followed.
    ("http", &["upstream", "watched"]),
    // Its files with regions are JSON.
    ("oci", &["http", "upstream", "watched", "document"]),
    ("azure", &["http", "upstream", "watched"]),
    // `errors` maps what `http` met to a source's error; a source names the upstream that it reads from, and decodes
    // what a program exposes.
    ("source", &["metric", "oci", "azure", "http", "upstream", "document", "exposition", "endpoints"]),
    ("lookup", &["metric", "selector", "source"]),
    ("api", &["request", "api_error", "metric", "selector", "lookup"]),
    ("certs", &["health", "rbac"]),
    ("endpoints", &["rbac"]),
    // An HPA names its metrics' selectors and targets.
    ("hpa", &["metric", "selector"]),
    // Its embedded manifest is YAML.
    ("apiservice", &["certs", "health", "rbac", "document"]),
    // Reads what the HPA is served, past the API; it has no part in answering. Its calls take permits.
    ("zero", &["metric", "selector", "lookup", "hpa", "health", "rbac", "upstream"]),
    // Follows its file and says how that goes.
    ("config", &["metric", "source", "lookup", "document", "health", "watched", "endpoints"]),
    // `/status` shows what parts know of themselves; its facts come from the composition root.
    ("admin", &["health", "lookup", "source", "metric"]),
];

/// What a module may not import although the arrow exists: an item, or all that a module defines.
const FORBIDDEN: &[(&str, &str)] = &[
    ("lookup", "source::oci_queue"),
    ("lookup", "source::rabbitmq"),
    ("lookup", "source::servicebus"),
    ("lookup", "source::scrape"),
    ("lookup", "source::NextRequest"),
    ("api", "lookup::reader::Reader"),
];

#[test]
fn modules_import_along_the_arrows_only() {
    let arrow = |from, to| ARROWS.iter().any(|(module, targets)| *module == from && targets.contains(&to));
    let allowed = |from, to| from == to || from == "cli" || arrow(from, to);
    let imports = imports(&source_root());
    let wrong: Vec<String> = imports
        .iter()
        .filter(|import| !allowed(module(&import.from), module(&import.to)))
        .map(ToString::to_string)
        .collect();
    assert!(wrong.is_empty(), "imports without an arrow:\n{}", wrong.join("\n"));
}

#[test]
fn every_arrow_is_used() {
    let imports = imports(&source_root());
    for (from, to) in ARROWS.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (*from, *to))) {
        let used = imports.iter().any(|import| module(&import.from) == from && module(&import.to) == to);
        assert!(used, "{from} -> {to} is not used: take it out");
    }
}

#[test]
fn an_arrow_does_not_cover_what_is_forbidden() {
    let imports = imports(&source_root());
    for (from, path) in FORBIDDEN {
        let leads_there = |import: &&Import| format!("{}::", import.item).starts_with(&format!("{path}::"));
        let (wrong, right): (Vec<&Import>, Vec<&Import>) =
            imports.iter().filter(leads_there).partition(|import| module(&import.from) == *from);
        assert!(wrong.is_empty(), "{from} must not import {path}: {wrong:#?}");
        assert!(!right.is_empty(), "no module imports {path}: correct the path");
    }
}

/// The rate limit and the circuit breaker hold because no other module can send a request.
#[test]
fn only_http_names_the_http_client() {
    // The demo's user is a client of depthgauge itself.
    let allowed = ["http", "cli/demo/poller.rs"];
    for path in rust_files(source_root()) {
        let named = code_of(&path).contains("reqwest");
        let file = path.strip_prefix(source_root()).unwrap().to_str().unwrap();
        let exempt = allowed.contains(&file) || allowed.contains(&module(file));
        assert!(!named || exempt, "{} names reqwest: send by crate::http, which needs an Upstream", path.display());
    }
    let client = code_of(&source_root().join("http.rs"));
    assert!(client.contains("pub fn new(upstream: Arc<Upstream>,"), "a client is made with an Upstream");
    let transport = code_of(&source_root().join("http/transport.rs"));
    let public = transport.lines().filter(|line| line.trim_start().starts_with("pub fn"));
    assert!(public.clone().count() > 0 && !public.clone().any(|line| line.contains("reqwest")), "a client leaves http");
}

#[test]
fn main_only_parses_and_dispatches() {
    let main = code_of(&source_root().join("main.rs"));
    assert!(main.lines().count() <= 40);
    assert!(!main.contains("axum::") && !main.contains("kube::"));
}

/// The client is tested against the emulator: a mistake that both share shows in no test.
#[test]
fn the_emulator_does_not_depend_on_depthgauge() {
    let manifest = fs::read_to_string(emulator_root().join("../Cargo.toml")).unwrap();
    let lines: Vec<&str> = manifest.lines().filter(|line| line.contains("depthgauge")).collect();
    assert_eq!(lines, [r#"name = "depthgauge-emulator""#], "emulator/Cargo.toml names depthgauge");
}

#[test]
fn only_commands_use_the_emulator() {
    let users = rust_files(source_root()).into_iter().filter(|path| code_of(path).contains("depthgauge_emulator"));
    let users: Vec<PathBuf> = users.map(|path| path.strip_prefix(source_root()).unwrap().to_owned()).collect();
    assert!(users.contains(&PathBuf::from("cli/emulate.rs")), "{users:?}");
    assert!(users.iter().all(|path| path.starts_with("cli")), "{users:?}");
}

/// The top-level module of a file.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// A file without its comments and without its tests, which may use anything.
pub(crate) fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every source file of both packages that is no test.
pub(crate) fn sources() -> Vec<PathBuf> {
    [source_root(), emulator_root()].into_iter().flat_map(rust_files).collect()
}

fn rust_files(root: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root];
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

fn emulator_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator/src")
}
