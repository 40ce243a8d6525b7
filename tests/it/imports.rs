//! What the files of a crate import from each other: `use` trees and paths, followed through
//! re-exports to the file that defines the item. Code that only tests have is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::Ident;
use syn::Item;

use syntax::Alias;

/// Finds the paths in the code of a module.
mod reader;

/// What this needs to know of single items.
mod syntax;

/// One place where a file names an item of another file. Files are relative to the root.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Import {
    /// The file that names the item: `certs/store.rs`.
    pub(crate) from: String,
    /// The file that defines it.
    pub(crate) to: String,
    /// The item where it is defined, without `crate::`: `certs::lifetimes::Lifetimes`.
    pub(crate) item: String,
    /// The first line of `from` that does.
    pub(crate) line: usize,
}

/// All imports between files of the crate whose `lib.rs` is in `root`.
///
/// # Panics
///
/// Panics on a path of the crate that leads nowhere: a missed import could be a missed circle.
pub(crate) fn imports(root: &Path) -> Vec<Import> {
    let mut tree = Tree { root: root.to_owned(), modules: Vec::new() };
    let syntax = tree.parse("lib.rs");
    tree.add(None, Vec::new(), "lib.rs".to_owned(), syntax);
    let mut imports = BTreeSet::new();
    for at in 0..tree.modules.len() {
        reader::read(&tree, at, &mut imports);
    }
    let mut imports: Vec<Import> = imports.into_iter().collect();
    imports.dedup_by(|next, first| (&next.from, &next.item) == (&first.from, &first.item));
    imports
}

/// The modules of a crate, parents first.
struct Tree {
    root: PathBuf,
    modules: Vec<Module>,
}

/// A module: a file, or a block in one.
struct Module {
    path: Vec<String>,
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The names that it defines, without those of `children`.
    items: BTreeSet<String>,
    /// The names that it imports.
    aliases: Vec<Alias>,
    syntax: Vec<Item>,
}

/// What a path leads to: a module, or an item of a module.
enum Target {
    Module(usize),
    Item(usize, String),
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} -> {} ({})", self.from, self.line, self.to, self.item)
    }
}

// === impl Tree ===

impl Tree {
    fn parse(&self, file: &str) -> Vec<Item> {
        let text = fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}")).items
    }

    fn add(&mut self, parent: Option<usize>, path: Vec<String>, file: String, syntax: Vec<Item>) -> usize {
        let at = self.modules.len();
        let (inner, syntax): (Vec<Item>, Vec<Item>) =
            syntax.into_iter().filter(|item| !syntax::is_test(item)).partition(|item| matches!(item, Item::Mod(_)));
        let items = syntax.iter().filter_map(syntax::name).collect();
        let (aliases, children) = (syntax::aliases(&syntax), BTreeMap::new());
        self.modules.push(Module { path, file, parent, children, items, aliases, syntax });
        for item in inner {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let path: Vec<String> = self.modules[at].path.iter().chain([&name]).cloned().collect();
            let (file, syntax) = match module.content {
                Some((_, block)) => (self.modules[at].file.clone(), block),
                None => {
                    let file = format!("{}.rs", path.join("/"));
                    let syntax = self.parse(&file);
                    (file, syntax)
                }
            };
            let child = self.add(Some(at), path, file, syntax);
            self.modules[at].children.insert(name, child);
        }
        at
    }

    /// Where a path in module `at` leads. `None` is another crate, or a local name.
    ///
    /// A module and a function may share a name: `item` says which of them the whole path means.
    /// `trail` holds the names that are being resolved, because imports can lead back to themselves.
    fn resolve(&self, at: usize, path: &[Ident], item: bool, trail: &mut Vec<(usize, String)>) -> Option<Target> {
        let mut target = Target::Module(at);
        for (depth, segment) in path.iter().enumerate() {
            // Variants and associated items are where their type is.
            let Target::Module(inside) = target else { break };
            let item = item && depth + 1 == path.len();
            target = match segment.to_string().as_str() {
                "crate" => Target::Module(0),
                "self" => Target::Module(inside),
                "super" => Target::Module(self.modules[inside].parent?),
                name => self.find(inside, name, item, trail)?,
            };
        }
        Some(target)
    }

    fn find(&self, at: usize, name: &str, item: bool, trail: &mut Vec<(usize, String)>) -> Option<Target> {
        let step = (at, name.to_owned());
        if trail.contains(&step) {
            return None;
        }
        trail.push(step);
        let module = &self.modules[at];
        let mut found = Vec::new();
        found.extend(module.items.contains(name).then(|| Target::Item(at, name.to_owned())));
        found.extend(module.children.get(name).map(|child| Target::Module(*child)));
        for alias in &module.aliases {
            match &alias.name {
                Some(other) if other != name => {}
                Some(_) => found.extend(self.resolve(at, &alias.path, item, trail)),
                None => {
                    if let Some(Target::Module(glob)) = self.resolve(at, &alias.path, false, trail) {
                        found.extend(self.find(glob, name, item, trail));
                    }
                }
            }
        }
        trail.pop();
        let wanted = found.iter().position(|target| matches!(target, Target::Item(..)) == item);
        (!found.is_empty()).then(|| found.swap_remove(wanted.unwrap_or(0)))
    }
}

/// Every form of an import, and what looks like one.
#[test]
fn imports_lead_to_the_file_that_defines_the_item() {
    let files = [
        ("lib.rs", "pub mod a; pub mod b; pub mod glob; pub(crate) mod plain;"),
        ("a.rs", "pub use one::{One, make as build}; mod one; mod two;"),
        ("a/one.rs", "use super::two::{self, Two}; pub struct One(Two, two::Other); pub fn make() {}"),
        ("a/two.rs", "pub struct Two; pub struct Other; pub enum Kind { Big } #[cfg(test)] use crate::b::B;"),
        (
            "b.rs",
            "use crate::{a::{self as first, One}, plain};
             pub struct B(pub(in crate::b) One, std::vec::Vec<first::One>);
             impl B {
                 fn call(plain: u8) { first::build(); println!(\"{}\", crate::plain::MAX + plain::plain()); }
                 #[cfg(test)] fn test() { crate::glob::all(); }
             }
             mod inner { pub fn up() -> super::super::glob::Two { todo!() } }",
        ),
        (
            "glob.rs",
            "pub use crate::plain::*; pub use crate::plain::Kind::*; pub fn all() -> u8 { MAX } pub struct Two;",
        ),
        (
            "plain.rs",
            "pub const MAX: u8 = 1; pub fn plain() -> u8 { MAX } pub enum Kind { Big } use crate::glob::MAX as SAME;",
        ),
    ];
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    for (file, text) in files {
        fs::write(root.path().join(file), text).unwrap();
    }
    let found: Vec<String> = imports(root.path()).iter().map(ToString::to_string).collect();
    let expected = [
        "a.rs:1 -> a/one.rs (a::one::One)",
        "a.rs:1 -> a/one.rs (a::one::make)",
        "a/one.rs:1 -> a/two.rs (a::two::Other)",
        "a/one.rs:1 -> a/two.rs (a::two::Two)",
        "b.rs:1 -> a/one.rs (a::one::One)",
        "b.rs:4 -> a/one.rs (a::one::make)",
        "b.rs:7 -> glob.rs (glob::Two)",
        "b.rs:4 -> plain.rs (plain::MAX)",
        "b.rs:4 -> plain.rs (plain::plain)",
        "glob.rs:1 -> plain.rs (plain::Kind)",
        "glob.rs:1 -> plain.rs (plain::MAX)",
    ];
    assert_eq!(found, expected);
}
