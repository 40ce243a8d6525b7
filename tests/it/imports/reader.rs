//! Finds the paths in the code of a module.

use std::collections::BTreeSet;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, Meta, VisRestricted};

use super::{Import, Target, Tree, syntax};

/// Adds the imports of module `at`.
pub(super) fn read(tree: &Tree, at: usize, imports: &mut BTreeSet<Import>) {
    let mut reader = Reader { tree, at, imports };
    tree.modules[at].syntax.iter().for_each(|item| reader.visit_item(item));
}

struct Reader<'a> {
    tree: &'a Tree,
    at: usize,
    imports: &'a mut BTreeSet<Import>,
}

impl Reader<'_> {
    fn add(&mut self, path: &[Ident]) {
        let module = &self.tree.modules[self.at];
        let line = || path[0].span().start().line;
        match self.tree.resolve(self.at, path, true, &mut Vec::new()) {
            Some(Target::Item(at, name)) => {
                let home = &self.tree.modules[at];
                if home.file != module.file {
                    let (from, to) = (module.file.clone(), home.file.clone());
                    let item = [home.path.as_slice(), &[name]].concat().join("::");
                    self.imports.insert(Import { from, to, item, line: line() });
                }
            }
            // Each use of what is in the module is a path of its own.
            Some(Target::Module(_)) => {}
            None => {
                let of_this_crate = ["crate", "self", "super"].iter().any(|name| path[0] == name);
                assert!(!of_this_crate, "{}:{}: {path:?} leads nowhere", module.file, line());
            }
        }
    }

    /// Adds the paths in the arguments of a macro, which need not be Rust's grammar.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_path(&mut path);
                    }
                    path.push(ident);
                }
                TokenTree::Group(group) => {
                    self.add_path(&mut path);
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.add_path(&mut path),
            }
            colons = 0;
        }
        self.add_path(&mut path);
    }

    fn add_path(&mut self, path: &mut Vec<Ident>) {
        let path = std::mem::take(path);
        if !path.is_empty() {
            self.add(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !syntax::is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = matches!(item, ImplItem::Fn(function) if syntax::is_only_for_tests(&function.attrs));
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        syntax::leaves(item).iter().for_each(|alias| self.add(&alias.path));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<Ident> = path.segments.iter().map(|segment| segment.ident.clone()).collect();
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }

    /// Attributes of derive macros may name items: `#[arg(value_parser = parse)]`.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    /// `pub(in crate::cli)` is no import.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}
