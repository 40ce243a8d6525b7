//! What the search for imports needs to know of single items.

use proc_macro2::Ident;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Meta, UseTree};

/// One leaf of a `use` tree.
pub(super) struct Alias {
    /// The name that it brings in; `None` for `*`.
    pub(super) name: Option<String>,
    pub(super) path: Vec<Ident>,
}

/// What `use` brings in, in the bodies of functions too.
pub(super) fn aliases(items: &[Item]) -> Vec<Alias> {
    struct Aliases(Vec<Alias>);
    impl<'ast> Visit<'ast> for Aliases {
        fn visit_item(&mut self, item: &'ast Item) {
            if !is_test(item) {
                visit::visit_item(self, item);
            }
        }

        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            self.0.extend(leaves(item));
        }
    }

    let mut aliases = Aliases(Vec::new());
    items.iter().for_each(|item| aliases.visit_item(item));
    aliases.0
}

/// The leaves of a `use` tree, none where it names another crate by `::`.
pub(super) fn leaves(item: &ItemUse) -> Vec<Alias> {
    let mut leaves = Vec::new();
    if item.leading_colon.is_none() {
        collect(&item.tree, &[], &mut leaves);
    }
    leaves
}

fn collect(tree: &UseTree, prefix: &[Ident], leaves: &mut Vec<Alias>) {
    let with = |ident: &Ident| [prefix, std::slice::from_ref(ident)].concat();
    let (name, path) = match tree {
        UseTree::Path(path) => return collect(&path.tree, &with(&path.ident), leaves),
        UseTree::Group(group) => return group.items.iter().for_each(|tree| collect(tree, prefix, leaves)),
        // `a::{self}` brings in `a`.
        UseTree::Name(name) if name.ident == "self" => (prefix.last(), prefix.to_vec()),
        UseTree::Name(name) => (Some(&name.ident), with(&name.ident)),
        UseTree::Rename(rename) if rename.ident == "self" => (Some(&rename.rename), prefix.to_vec()),
        UseTree::Rename(rename) => (Some(&rename.rename), with(&rename.ident)),
        UseTree::Glob(_) => (None, prefix.to_vec()),
    };
    leaves.push(Alias { name: name.map(ToString::to_string), path });
}

/// The name that an item defines, if it is not a module.
pub(super) fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Whether only tests have an item.
pub(super) fn is_test(item: &Item) -> bool {
    is_only_for_tests(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    })
}

/// Whether `#[cfg(test)]` is among the attributes.
pub(super) fn is_only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::Path(_) | Meta::NameValue(_) => false,
    })
}
