//! The Rust code of compiled .proto files: messages by prost, services by [`handlers`].
//!
//! [`handlers`]: super::handlers

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, Result, bail};
use prost_build::{Config, Module, ServiceGenerator};
use prost_types::{DescriptorProto, FileDescriptorProto, field_descriptor_proto::Type};

use syn::{Field, Ident, Meta};

use super::{formatted, names, sources::Source, well_known};

/// Where the type of a message is told in an `Any`.
const TYPE_URL: &str = "type.googleapis.com";

/// How the code of messages is written.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// The path of the crate `prost`.
    pub(super) prost: &'static str,
    /// The path of the crate `prost-types`.
    pub(super) types: &'static str,
    /// Whether messages know their names, as an `Any` needs it.
    pub(super) named: bool,
}

/// The code of each package.
///
/// # Errors
/// prost refuses a file; the text names it.
pub(super) fn of(
    sources: &[Source],
    style: Style,
    services: Option<Box<dyn ServiceGenerator>>,
) -> Result<Vec<(Module, Vec<u8>)>> {
    let mut config = Config::new();
    config.prost_path(style.prost);
    well_known::configure(&mut config, style.prost, style.types);
    if style.named {
        config.enable_type_names().type_name_domain(["."], TYPE_URL);
    }
    for source in sources {
        for group in groups(&source.file) {
            config.boxed(group);
        }
    }
    if let Some(services) = services {
        config.service_generator(services);
    }
    // What prost refuses by panicking is checked before; this is for what was overlooked.
    let generated = catch_unwind(AssertUnwindSafe(|| config.generate(requests(sources))));
    let generated = match generated {
        Ok(generated) => generated?,
        Err(panic) => {
            let reason = super::reason(&*panic);
            bail!("no Rust code can be generated from {}: {reason}", culprit(sources, style));
        }
    };
    let wanted = well_known::is_generated(sources.iter().map(|source| &source.file));
    let is_standard =
        |module: &Module| well_known::PACKAGES.contains(&&*module.parts().collect::<Vec<_>>().join("."));
    let mut modules: Vec<_> =
        generated.into_iter().filter(|(module, _)| wanted || !is_standard(module)).collect();
    modules.sort_by(|a, b| a.0.cmp(&b.0));
    let format = |(module, code): (Module, String)| {
        let mut file = syn::parse_file(&code)
            .with_context(|| format!("no Rust code can be generated from package `{module}`"))?;
        rename_maps(&mut file.items);
        let code = formatted(&file);
        Ok((module, code))
    };
    modules.into_iter().map(format).collect()
}

fn requests(sources: &[Source]) -> Vec<(Module, FileDescriptorProto)> {
    sources.iter().map(|source| (source.module(), readable(&source.file))).collect()
}

/// The first file with which nothing can be generated; what it imports stands before it.
fn culprit(sources: &[Source], style: Style) -> String {
    let panics = |sources: &[Source]| {
        let mut config = Config::new();
        well_known::configure(&mut config, style.prost, style.types);
        catch_unwind(AssertUnwindSafe(|| drop(config.generate(requests(sources))))).is_err()
    };
    let first = (0..sources.len()).find(|last| panics(&sources[..=*last]));
    first.map_or_else(|| "the services".to_owned(), |index| format!("`{}`", sources[index].place(&[])))
}

/// Gives the fields that are maps of enums their names.
fn rename_maps<'a>(items: impl IntoIterator<Item = &'a mut syn::Item>) {
    for item in items {
        match item {
            syn::Item::Mod(module) => {
                rename_maps(module.content.iter_mut().flat_map(|(_, items)| items).collect::<Vec<_>>());
            }
            syn::Item::Struct(message) => {
                for field in message.fields.iter_mut().filter(|field| is_map_of_enums(field)) {
                    if let Some(ident) = &mut field.ident
                        && let Some(bare) = ident.to_string().strip_prefix("r#")
                    {
                        *ident = Ident::new(&names::member_of_map(bare), ident.span());
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_map_of_enums(field: &Field) -> bool {
    field.attrs.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("prost") => {
            let terms = list.tokens.to_string();
            terms.starts_with("map") && terms.contains("enumeration")
        }
        _ => false,
    })
}

/// The fields that hold a group. prost sees no circle that leads through one, and without a box the
/// type would be infinitely large.
fn groups(file: &FileDescriptorProto) -> Vec<String> {
    fn walk(scope: &str, message: &DescriptorProto, found: &mut Vec<String>) {
        let name = format!("{scope}.{}", message.name());
        for field in message.field.iter().filter(|field| field.r#type() == Type::Group) {
            let oneof =
                field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
            let oneof = oneof.map_or_else(String::new, |oneof| format!(".{}", oneof.name()));
            found.push(format!("{name}{oneof}.{}", field.name()));
        }
        message.nested_type.iter().for_each(|nested| walk(&name, nested, found));
    }
    let scope = if file.package().is_empty() { String::new() } else { format!(".{}", file.package()) };
    let mut found = Vec::new();
    file.message_type.iter().for_each(|message| walk(&scope, message, &mut found));
    found
}

/// A file with comments that rustc takes: no line breaks but its own, no characters that make text
/// appear in another order than it is read.
fn readable(file: &FileDescriptorProto) -> FileDescriptorProto {
    let mut file = file.clone();
    let locations = file.source_code_info.iter_mut().flat_map(|info| &mut info.location);
    for location in locations {
        for comment in [&mut location.leading_comments, &mut location.trailing_comments].into_iter().flatten()
        {
            if comment.contains(is_unreadable) {
                *comment = comment.replace(is_unreadable, " ");
            }
        }
        location.leading_detached_comments.clear();
    }
    file
}

fn is_unreadable(character: char) -> bool {
    (character.is_control() && !matches!(character, '\n' | '\t'))
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}
