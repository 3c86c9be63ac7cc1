//! What `micro-sdk` offers to services, as a text: a change that breaks services is seen in the diff.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Fields, ImplItem, Item, ItemImpl as Impl, TraitItem, Type, Visibility, parse_quote,
    punctuated::{Pair, Punctuated},
};

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Only what changes how a thing is used.
fn strip(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| {
        ["non_exhaustive", "derive", "must_use"].iter().any(|name| attribute.path().is_ident(name))
    });
}

fn fields(fields: &mut Fields) {
    match fields {
        Fields::Named(named) => {
            let all: Punctuated<_, _> = std::mem::take(&mut named.named);
            named.named = (all.into_pairs())
                .filter(|pair| is_public(&pair.value().vis))
                .map(|pair| {
                    let mut field = pair.into_value();
                    strip(&mut field.attrs);
                    Pair::Punctuated(field, syn::token::Comma::default())
                })
                .collect();
        }
        Fields::Unnamed(unnamed) => {
            for field in &mut unnamed.unnamed {
                if !is_public(&field.vis) {
                    field.ty = parse_quote!(private);
                }
            }
        }
        Fields::Unit => {}
    }
}

/// The item without what is private and how it works; none if nothing is left.
fn public(mut item: Item) -> Option<Item> {
    match &mut item {
        Item::Fn(function) => {
            strip(&mut function.attrs);
            *function.block = parse_quote!({});
            is_public(&function.vis).then_some(item)
        }
        Item::Struct(declared) => {
            strip(&mut declared.attrs);
            fields(&mut declared.fields);
            is_public(&declared.vis).then_some(item)
        }
        Item::Enum(declared) => {
            strip(&mut declared.attrs);
            declared.variants.iter_mut().for_each(|variant| strip(&mut variant.attrs));
            for variant in &mut declared.variants {
                if let Fields::Named(named) = &mut variant.fields {
                    named.named.iter_mut().for_each(|field| strip(&mut field.attrs));
                }
            }
            is_public(&declared.vis).then_some(item)
        }
        Item::Trait(declared) => {
            strip(&mut declared.attrs);
            for member in &mut declared.items {
                if let TraitItem::Fn(function) = member {
                    strip(&mut function.attrs);
                    function.default = function.default.take().map(|_| parse_quote!({}));
                }
            }
            is_public(&declared.vis).then_some(item)
        }
        Item::Impl(implementation) => {
            let of_trait = implementation.trait_.is_some();
            implementation.items.retain_mut(|member| match member {
                ImplItem::Fn(function) => {
                    strip(&mut function.attrs);
                    function.block = parse_quote!({});
                    is_public(&function.vis) && !of_trait
                }
                ImplItem::Type(_) => of_trait,
                ImplItem::Macro(_) => !of_trait,
                _ => false,
            });
            strip(&mut implementation.attrs);
            (of_trait || !implementation.items.is_empty()).then_some(item)
        }
        Item::Const(constant) => {
            strip(&mut constant.attrs);
            is_public(&constant.vis).then_some(item)
        }
        Item::Type(declared) => {
            strip(&mut declared.attrs);
            is_public(&declared.vis).then_some(item)
        }
        Item::Use(import) => is_public(&import.vis).then_some(item),
        Item::Mod(module) => {
            strip(&mut module.attrs);
            is_public(&module.vis).then_some(item)
        }
        _ => None,
    }
}

/// The files of a folder and of those in it, but for tests and for what is generated from the contract.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "blocks" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The name of a public type.
fn type_name(item: Item) -> Option<String> {
    match item {
        Item::Struct(declared) if is_public(&declared.vis) => Some(declared.ident.to_string()),
        Item::Enum(declared) if is_public(&declared.vis) => Some(declared.ident.to_string()),
        _ => None,
    }
}

#[test]
fn no_item_of_the_sdk_changes_unseen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let read = |path: &PathBuf| syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let types: HashSet<String> =
        found.iter().flat_map(|path| read(path).items).filter_map(type_name).collect();
    let is_shown = |item: &Item| match item {
        Item::Mod(module) => module.ident != "tests",
        // What private types do is nobody's affair.
        Item::Impl(Impl { self_ty, .. }) => match &**self_ty {
            Type::Path(path) => {
                path.path.segments.last().is_some_and(|last| types.contains(&last.ident.to_string()))
            }
            _ => false,
        },
        _ => true,
    };
    let mut whole = String::new();
    for path in &found {
        let mut file = read(path);
        file.attrs.clear();
        file.items = file.items.into_iter().filter(is_shown).filter_map(public).collect();
        if !file.items.is_empty() {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            whole.push_str(&format!("// {name}\n{}\n", prettyplease::unparse(&file)));
        }
    }
    insta::assert_snapshot!("sdk", whole);
}
