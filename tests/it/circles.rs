//! Files import each other in no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::imports::{Import, imports};

/// The folders of a `lib.rs`.
const ROOTS: &[&str] = &["src", "emulator/src"];

#[test]
fn files_import_each_other_in_no_circle() {
    let mut wrong = Vec::new();
    for root in ROOTS {
        let imports = counted(root);
        for circle in circles(&imports) {
            wrong.push(format!("a circle: {}", circle.join(", ")));
            let inside = |import: &&Import| circle.contains(&&*import.from) && circle.contains(&&*import.to);
            wrong.extend(imports.iter().filter(inside).map(|import| format!("    {import}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The imports of a root, without those from a file to its own ancestor: a module may use what the
/// module around it defines. Files are relative to the repository.
fn counted(root: &str) -> Vec<Import> {
    let is_ancestor = |import: &Import| {
        import.to == "lib.rs" || import.from.starts_with(&format!("{}/", import.to.trim_end_matches(".rs")))
    };
    let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
    let imports = imports.into_iter().filter(|import| !is_ancestor(import));
    let in_root = |file: String| format!("{root}/{file}");
    imports.map(|import| Import { from: in_root(import.from), to: in_root(import.to), ..import }).collect()
}

/// The strongly connected components of more than one file: in each of them, every file reaches the others.
fn circles(imports: &[Import]) -> BTreeSet<Vec<&str>> {
    let mut targets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        targets.entry(&import.from).or_default().insert(&import.to);
    }
    let reached: BTreeMap<&str, _> = targets.keys().map(|file| (*file, reachable(&targets, file))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let circle = |file: &str| reached[file].iter().copied().filter(|other| reaches(other, file)).collect::<Vec<_>>();
    targets.keys().map(|file| circle(file)).filter(|circle| circle.len() > 1).collect()
}

/// All files that a path of imports leads to.
fn reachable<'a>(targets: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(targets.get(file).into_iter().flatten().filter(|target| reached.insert(**target)));
    }
    reached
}
