//! The modules of the generated code, as prost's paths assume them: one a part of a package's name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use prost_build::Module;

/// The file of a package's code, beside `mod.rs`.
pub(super) fn file_name(module: &Module) -> PathBuf {
    let parts: Vec<&str> = module.parts().map(|part| part.trim_start_matches("r#")).collect();
    let name = parts.join(".");
    // `mod.rs` is the list of the modules.
    if name == "mod" { "mod_.rs".into() } else { format!("{name}.rs").into() }
}

/// `pub mod a;`, or for `a.b` the nesting of the two. Packages may share a beginning. What is `nameless`
/// has a module though it stands in no package: it and the packages see each other as if it had none.
pub(super) fn declare(packages: &[Module], nameless: &BTreeSet<Module>) -> String {
    let mut tree = Package::default();
    for package in packages {
        let mut place = &mut tree;
        for part in package.parts() {
            place = place.within.entry(part).or_default();
        }
        place.file = Some(file_name(package).display().to_string());
        place.is_nameless = nameless.contains(package);
    }
    let modules = tree.within.iter().map(|(name, package)| match &package.file {
        Some(file) if package.within.is_empty() && !package.is_nameless => {
            let usual = *file == format!("{}.rs", name.trim_start_matches("r#"));
            let path = if usual { String::new() } else { format!("#[path = \"{file}\"]\n") };
            format!("#[rustfmt::skip]\n{path}pub mod {name};\n")
        }
        _ => format!("#[rustfmt::skip]\n{}\n", package.module(name)),
    });
    let names = nameless.iter().flat_map(Module::parts);
    let imports = names.map(|name| format!("#[allow(unused_imports)]\nuse self::{name}::*;\n"));
    modules.chain(imports).collect()
}

/// A package, with the packages whose names begin with its own.
#[derive(Default)]
struct Package<'a> {
    file: Option<String>,
    is_nameless: bool,
    within: BTreeMap<&'a str, Self>,
}

impl Package<'_> {
    fn module(&self, name: &str) -> String {
        let own = self.file.as_ref().map_or_else(String::new, |file| format!("include!(\"{file}\"); "));
        let within: String = self.within.iter().map(|(name, package)| package.module(name)).collect();
        let around = if self.is_nameless { "#[allow(unused_imports)] use super::*; " } else { "" };
        format!("pub mod {name} {{ {around}{own}{within}}} ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(packages: &[&str]) -> Vec<Module> {
        packages.iter().map(|name| Module::from_protobuf_package_name(name)).collect()
    }

    #[test]
    fn packages_that_begin_alike_share_their_modules() {
        let index =
            declare(&modules(&["a.b", "shop", "shop.cart", "shop.order", "single"]), &BTreeSet::new());
        assert_eq!(index.matches("pub mod shop ").count(), 1, "{index}");
        syn::parse_file(&index).unwrap();
        assert!(index.contains("pub mod a { pub mod b { include!(\"a.b.rs\"); } }"), "{index}");
        assert!(index.contains("pub mod shop { include!(\"shop.rs\"); pub mod cart"), "{index}");
        assert!(index.contains("pub mod single;"), "{index}");
    }

    #[test]
    fn a_package_named_by_a_word_of_rust_has_a_plain_file() {
        let index = declare(&modules(&["google.type", "match", "mod"]), &BTreeSet::new());
        assert!(index.contains("pub mod r#type { include!(\"google.type.rs\"); }"), "{index}");
        assert!(index.contains("pub mod r#match;"), "{index}");
        assert!(index.contains("#[path = \"mod_.rs\"]\npub mod r#mod;"), "{index}");
        syn::parse_file(&index).unwrap();
    }
}
