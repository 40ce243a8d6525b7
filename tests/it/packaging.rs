//! Dockerfile and Tiltfile, without an engine: that what they name is there and is enough.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::layers;
use crate::manifests::{objects, read, root};

/// What `COPY` brings into the stage that builds.
fn copied() -> Vec<String> {
    let dockerfile = read(&root("Dockerfile"));
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|it| !it.starts_with("--"));
    let sources = lines.flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '));
    sources.map(str::to_owned).collect()
}

/// Files that the compiler reads into the program, as paths from the root.
fn included() -> BTreeSet<PathBuf> {
    let mut included = BTreeSet::new();
    for path in layers::sources() {
        let code = layers::code_of(&path);
        for call in ["include_str!(", "include_bytes!(", "include!("] {
            for (at, _) in code.match_indices(call) {
                let argument = code[at + call.len()..].trim_start();
                let name = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
                let name = name.unwrap_or_else(|| panic!("{call} of no literal in {}", path.display()));
                included.insert(lexical(&path.with_file_name(name)));
            }
        }
    }
    included
}

/// Without `..`, from the root.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.strip_prefix(root("")).unwrap().components() {
        match component {
            Component::ParentDir => assert!(plain.pop()),
            component => plain.push(component),
        }
    }
    plain
}

/// What stands in quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('\'').skip(1).step_by(2).collect()
}

#[test]
fn the_dockerfile_copies_all_that_a_build_reads() {
    let copied = copied();
    for name in &copied {
        assert!(root(name).exists(), "COPY {name}");
    }
    let covered = |path: &Path| copied.iter().any(|name| path.starts_with(name));
    let included = included();
    for known in ["apiservice/apiservice.yaml", "emulator/src/fault/blanks.gz"] {
        assert!(included.contains(Path::new(known)), "{included:?}");
    }
    for path in &included {
        assert!(root("").join(path).is_file() && covered(path), "{} is under no COPY", path.display());
    }
    let mut needed = vec!["Cargo.toml", "Cargo.lock", "src/main.rs", ".cargo/config.toml"];
    needed.extend(["emulator/Cargo.toml", "emulator/src/lib.rs"]);
    // Cargo wants the files of all targets that the manifest names.
    let manifest = read(&root("Cargo.toml"));
    let benches: Vec<String> =
        manifest.split("[[bench]]\nname = \"").skip(1).map(|it| format!("benches/{}.rs", quote(it))).collect();
    needed.extend(benches.iter().map(String::as_str));
    for path in needed {
        assert!(root(path).exists() && covered(Path::new(path)), "{path} is under no COPY");
    }
    let dockerfile = read(&root("Dockerfile"));
    let (_, built) = dockerfile.split_once("cargo build --profile ").unwrap();
    let profile = built.split(' ').next().unwrap();
    assert!(manifest.contains(&format!("[profile.{profile}]\n")), "Cargo.toml has no profile {profile}");
    assert!(
        dockerfile.contains(&format!("/target/{profile}/depthgauge ")),
        "another profile than {profile} is shipped"
    );
    let toolchain = read(&root("rust-toolchain.toml"));
    let channel = quote(toolchain.split_once("channel = \"").unwrap().1);
    assert!(dockerfile.contains(&format!("/rust:{channel}-")), "another compiler than {channel}");
}

/// Until the next one.
fn quote(text: &str) -> &str {
    text.split('"').next().unwrap()
}

#[test]
fn the_tiltfile_names_what_there_is() {
    let tiltfile = read(&root("Tiltfile"));
    let of = |call: &str| -> Vec<&str> {
        let lines = tiltfile.lines().filter(|line| line.starts_with(call));
        let found: Vec<_> = lines.flat_map(quoted).collect();
        assert!(!found.is_empty(), "{call}");
        found
    };
    let builds = of("docker_build(");
    let (image, only) = (builds[0], &builds[2..]);
    for path in copied().iter().map(String::as_str).chain(["Dockerfile"]) {
        assert!(only.contains(&path), "an image is not built anew for a change of {path}");
    }
    for path in only.iter().copied().chain(of("k8s_yaml(")) {
        assert!(root(path).exists(), "{path}");
    }
    for path in tiltfile.split_whitespace().filter(|word| word.starts_with("hack/")) {
        assert!(root(path).exists(), "{path}");
    }
    let base = objects(&root("manifests/base"));
    let named = |name: &str| base.iter().any(|it| it["kind"] == "Deployment" && it["metadata"]["name"] == name);
    let examples = read(&root("manifests/examples/queue-depth.yaml"));
    for name in tiltfile.lines().filter_map(|line| quoted(line.strip_prefix("k8s_resource(")?).first().copied()) {
        assert!(named(name) || examples.contains(&format!("kind: Deployment\nmetadata:\n  name: {name}\n")), "{name}");
    }
    let deployment = read(&root("manifests/base/deployment.yaml"));
    assert!(deployment.contains(&format!("image: {image}:")), "{image}");
}

/// actionlint knows the syntax of a workflow, and not what this repository has.
#[test]
fn workflows_run_scripts_that_exist() {
    let mut count = 0;
    for file in std::fs::read_dir(root(".github/workflows")).unwrap() {
        let text = read(&file.unwrap().path());
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = code.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"'=()".contains(c)));
        let paths = words.filter(|word| word.starts_with("hack/") || word.starts_with("manifests/"));
        for path in paths.filter(|path| !path.contains('*')) {
            assert!(root(path).exists(), "{path}");
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn each_smoke_test_is_a_test() {
    let list = read(&root("tests/it/e2e/smoke.txt"));
    let names: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a test, and what it is about").0)
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let (module, function) = name.rsplit_once("::").unwrap();
        let code = read(&root(&format!("tests/it/{}.rs", module.replace("::", "/"))));
        assert!(code.contains(&format!("]\nasync fn {function}() {{")), "{name}");
    }
}
