//! What the compiler of protobuf says, with its place in the project and with what to do about it.

use std::{fs, path::Path, path::PathBuf};

use prost_types::{DescriptorProto, FileDescriptorProto};
use protox::file::{File as Opened, FileResolver as _, GoogleFileResolver};
use strsim::osa_distance;

use super::{libraries, options::Include};
use crate::editions;

/// The files that protobuf brings along.
pub(super) const STANDARD: [&str; 12] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/compiler/plugin.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// Where errors come from.
pub(super) struct Origin<'a> {
    /// The folder that is compiled, and what stands before a file of it in messages.
    pub(super) folder: &'a Path,
    pub(super) prefix: &'a str,
    /// The folders in which imports are looked for besides.
    pub(super) include: &'a [Include],
    /// The .proto files in it.
    pub(super) protos: &'a [PathBuf],
}

impl Origin<'_> {
    /// The folder that a file was found in, where it is not that of the project.
    fn included(&self, file: &str) -> Option<&Include> {
        let is_own = self.folder.join(file).is_file();
        self.include.iter().find(|include| !is_own && include.folder.join(file).is_file())
    }

    /// What stands before the name of a file in messages.
    pub(super) fn prefix_of(&self, file: &str) -> String {
        self.included(file).map_or_else(|| self.prefix.to_owned(), |include| format!("{}/", include.shown))
    }

    fn path_of(&self, file: &str) -> PathBuf {
        self.included(file).map_or(self.folder, |include| &include.folder).join(file)
    }

    /// The compiler's error with the place as a path of the project, and what to do about it. `missing` is
    /// the import that was not found last.
    pub(super) fn explained(&self, error: &protox::Error, missing: Option<&str>) -> anyhow::Error {
        // The debug form is the one that shows line and column.
        let text = format!("{error:?}");
        if let Some((importer, imported)) = text.strip_prefix("import cycle detected: ").and_then(cycle) {
            let place = self.place_of_import(importer, imported);
            return anyhow::anyhow!("{}{importer}:{place} {text}", self.prefix_of(importer));
        }
        let Some(file) = error.file() else { return anyhow::anyhow!(text) };
        let (mut place, said) = placed(text.strip_prefix(&format!("{file}:")).unwrap_or(&text));
        // What is wrong with a file as a whole has no place, nor has the type of the values of a map.
        if place.is_empty() {
            place = self.place_of(file, said);
        }
        let line = self.line(file, &place);
        let advised = self.advised(file, &line, said).unwrap_or_else(|| said.to_owned());
        let mut text = format!("{}{file}:{place} {advised}", self.prefix_of(file));
        if let Some(missing) = missing.filter(|_| error.is_file_not_found()) {
            text.push_str(&self.remedy(missing));
        }
        anyhow::anyhow!(text)
    }

    /// What is said instead of a text that helps nobody, or with what to do added to it.
    fn advised(&self, file: &str, line: &str, said: &str) -> Option<String> {
        let names: Vec<&str> = said.split('\'').skip(1).step_by(2).collect();
        if said == "invalid group name" && line.trim_start().starts_with("import") {
            return Some(bad_import(line, self.prefix));
        }
        if said.ends_with("but found 'edition'") {
            return Some(editions::ADVICE.to_owned());
        }
        let is_of_fields = said.contains("name of field") || said.starts_with("a field with JSON name");
        if is_of_fields && names.iter().all(|name| name.trim_matches('_').is_empty()) {
            return Some("the names of two fields have no letter or digit: rename them".to_owned());
        }
        if said.starts_with("camel-case name of field") && names.len() == 2 {
            return Some(if names[0] == names[1] {
                format!("the field `{}` is declared twice", names[0])
            } else {
                format!(
                    "the fields `{}` and `{}` differ only in case and underscores: rename one of them",
                    names[0], names[1]
                )
            });
        }
        let name = names.first()?;
        if said.starts_with("a field with JSON name") {
            return Some(format!("two fields are called `{name}` in JSON: rename one of them"));
        }
        if said.ends_with("is not defined") {
            let declares = self.file_that_declares(name)?;
            return Some(format!("{said}; write `import \"{declares}\";`"));
        }
        let copied = STANDARD.iter().any(|standard| *standard != file && file.ends_with(standard));
        if copied && said.contains("is already defined") {
            return Some(format!(
                "{said}, which is always there: delete `{}{file}`, and import it by that name",
                self.prefix
            ));
        }
        None
    }

    /// What to do about an import that was not found.
    fn remedy(&self, missing: &str) -> String {
        let prefix = self.prefix;
        if missing.starts_with("google/protobuf/") {
            let nearest = STANDARD.iter().min_by_key(|standard| osa_distance(missing, standard));
            return match nearest.filter(|standard| osa_distance(missing, standard) <= 4) {
                Some(standard) => format!("; did you mean `{standard}`?"),
                None => format!("; protobuf has {}", STANDARD.join(", ")),
            };
        }
        let wanted = Path::new(missing).file_name();
        let same_name = self.protos.iter().find(|path| path.file_name() == wanted);
        if let Some(present) = same_name.and_then(|path| path.strip_prefix(self.folder).ok()) {
            return format!(
                "; imports are looked for below `{prefix}`: write `import \"{}\";`, or move that file to `{prefix}{missing}`",
                present.display()
            );
        }
        let mut text = format!("; put the file at `{prefix}{missing}`");
        match libraries::home_of(missing) {
            Some(home) => text.push_str(&format!(": it is part of {home}, as `{missing}`")),
            None => {
                text.push_str(
                    ", or name its folder in `include` of `[package.metadata.micro]` in Cargo.toml",
                );
            }
        }
        text
    }

    /// Where in a file an error is that does not say so, as `3:5:`: at the end of the file, at the byte that
    /// is no text, or where the first name that the error quotes stands first. Empty where none of them is
    /// known.
    fn place_of(&self, file: &str, error: &str) -> String {
        let Ok(content) = fs::read(self.path_of(file)) else { return String::new() };
        let before = if error.ends_with("reached end of file") {
            content.trim_ascii_end()
        } else {
            match std::str::from_utf8(&content) {
                Err(invalid) => &content[..invalid.valid_up_to()],
                Ok(text) => {
                    let name = error.split('\'').nth(1).unwrap_or_default();
                    let last = name.rsplit('.').next().unwrap_or_default();
                    let found = text.find(name).or_else(|| text.find(last));
                    let Some(at) = found.filter(|_| !last.is_empty()) else { return String::new() };
                    &content[..at]
                }
            }
        };
        let lines = before.split(|byte| *byte == b'\n');
        let (line, last) = lines.enumerate().last().unwrap_or_default();
        format!("{}:{}:", line + 1, last.len() + 1)
    }

    /// Where one file imports another, as `3:1:`.
    fn place_of_import(&self, importer: &str, wanted: &str) -> String {
        let text = fs::read_to_string(self.path_of(importer)).unwrap_or_default();
        let imports = |line: &str| {
            line.trim_start().starts_with("import")
                && (line.contains(&format!("\"{wanted}\"")) || line.contains(&format!("'{wanted}'")))
        };
        let found = text.lines().position(imports);
        found.map_or_else(String::new, |line| format!("{}:1:", line + 1))
    }

    /// The line of a file that a place `3:5:` is in; empty if it is not known.
    fn line(&self, file: &str, place: &str) -> String {
        let number = place.split(':').next().and_then(|line| line.parse::<usize>().ok());
        let text = fs::read_to_string(self.path_of(file)).unwrap_or_default();
        let line = number.and_then(|number| text.lines().nth(number.checked_sub(1)?));
        line.unwrap_or_default().to_owned()
    }

    /// The one file of protobuf or of the project that declares a type, of which the end of the full name
    /// is known.
    fn file_that_declares(&self, name: &str) -> Option<String> {
        let name = name.trim_start_matches('.');
        let standard = STANDARD.iter().filter_map(|file| GoogleFileResolver::new().open_file(file).ok());
        let own = self.protos.iter().filter_map(|path| {
            let name = path.strip_prefix(self.folder).ok()?.to_str()?;
            Opened::open(name, path).ok()
        });
        let files = standard.chain(own).map(FileDescriptorProto::from);
        let mut declaring = files.filter(|file| {
            let mut names = Vec::new();
            full_names(file.package(), &file.message_type, &mut names);
            names.extend(file.enum_type.iter().map(|declared| joined(file.package(), declared.name())));
            names.iter().any(|full| full == name || full.ends_with(&format!(".{name}")))
        });
        let file = declaring.next()?;
        declaring.next().is_none().then(|| file.name().to_owned())
    }
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn full_names(scope: &str, messages: &[DescriptorProto], names: &mut Vec<String>) {
    for message in messages {
        let name = joined(scope, message.name());
        names.extend(message.enum_type.iter().map(|declared| joined(&name, declared.name())));
        full_names(&name, &message.nested_type, names);
        names.push(name);
    }
}

/// `3:5:` and the text behind it; an empty place where there is none.
fn placed(text: &str) -> (String, &str) {
    match text.split_once(' ') {
        Some((place, said)) if place.chars().all(|c| c == ':' || c.is_ascii_digit()) => {
            (place.to_owned(), said)
        }
        _ => (String::new(), text),
    }
}

/// The last two files of `a -> b -> a`: which imports which.
fn cycle(files: &str) -> Option<(&str, &str)> {
    let mut files = files.rsplit(" -> ");
    let imported = files.next()?;
    Some((files.next()?, imported))
}

/// What is wrong with the name in an import, and the one that would do.
fn bad_import(line: &str, prefix: &str) -> String {
    let given = line.split(['"', '\'']).nth(1).unwrap_or_default();
    let parts: Vec<&str> =
        given.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let parts = parts.strip_prefix(&[prefix.trim_end_matches('/')]).unwrap_or(&parts);
    let better = if parts.is_empty() { "other.proto".to_owned() } else { parts.join("/") };
    format!(
        "imports are named from `{prefix}` on, without `.`, `..`, `//` or `\\`: write `import \"{better}\";`"
    )
}
