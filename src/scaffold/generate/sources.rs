//! What code is generated from: the .proto files below a project's `proto/`, and beside them the
//! descriptor sets (`NAME.binpb`) that `micro gen --from` fetched, of services that are only called.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result, bail};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::{
    Compiler,
    file::{
        ChainFileResolver, DescriptorSetFileResolver, File as Opened, FileResolver, GoogleFileResolver,
        IncludeFileResolver,
    },
};

use prost_build::Module;

use super::{
    errors::{Origin, STANDARD},
    foreign, libraries,
    options::Include,
    well_known,
};
use crate::editions;

/// How deep folders below `proto/` are searched.
const MOST_LEVELS: usize = 16;

/// Files that belong together, compiled.
pub(super) struct Sources {
    /// The encoded descriptors of the project's own files and of what they import.
    pub(super) descriptors: Vec<u8>,
    /// Every file, a file before those that import it.
    pub(super) files: Vec<Source>,
}

/// One file.
pub(super) struct Source {
    pub(super) file: FileDescriptorProto,
    /// What stands before its name in messages: `proto/`, or nothing for a descriptor set.
    folder: String,
    /// The service it was fetched from: its own services are only called, never served.
    pub(super) foreign: Option<String>,
}

impl Source {
    /// `proto/a.proto:3:5`, the place of the element at this path of the descriptor, from 1; as much of
    /// it as is known.
    pub(super) fn place(&self, path: &[i32]) -> String {
        let name = format!("{}{}", self.folder, self.file.name());
        let locations = self.file.source_code_info.iter().flat_map(|info| &info.location);
        match locations.into_iter().find(|location| location.path == path).map(|found| found.span.as_slice())
        {
            Some([line, column, ..]) => format!("{name}:{}:{}", line + 1, column + 1),
            _ => name,
        }
    }

    /// The module its code stands in: that of its package, or one that is called as the service it was
    /// fetched from.
    pub(super) fn module(&self) -> Module {
        match &self.foreign {
            Some(service) if self.file.package().is_empty() => {
                Module::from_protobuf_package_name(&service.replace(['.', '-'], "_"))
            }
            _ => Module::from_protobuf_package_name(self.file.package()),
        }
    }
}

/// Compiles everything below a folder. `shown` is how that folder is called in messages; imports that are not
/// there are looked for in `include`; `fetched` are sets that will lie in it, by their paths.
///
/// # Errors
/// There is nothing to compile, or a file cannot be read or compiled; the text shows where.
pub(super) fn read(
    folder: &Path,
    shown: &str,
    include: &[Include],
    fetched: &[(PathBuf, Vec<u8>)],
    working_on: &dyn Fn(&str),
) -> Result<Sources> {
    let mut found = Found::default();
    // What is about to be fetched may be the first thing in it.
    if fetched.is_empty() || folder.exists() {
        search(folder, 0, &mut found)?;
    }
    let mut sets: BTreeMap<&Path, Vec<u8>> = BTreeMap::new();
    for path in &found.sets {
        let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        sets.insert(path, bytes);
    }
    sets.extend(fetched.iter().map(|(path, bytes)| (path.as_path(), bytes.clone())));
    if found.protos.is_empty() && sets.is_empty() {
        bail!("there is no .proto file in `{}`", folder.display());
    }
    let prefix = if shown.is_empty() { String::new() } else { format!("{shown}/") };
    let mut resolver = ChainFileResolver::new();
    for folder in [folder].into_iter().chain(include.iter().map(|include| include.folder.as_path())) {
        resolver.add(Folder(IncludeFileResolver::new(folder.to_owned()), folder.to_owned()));
    }
    resolver.add(GoogleFileResolver::new());
    let mut decoded = Vec::new();
    for (path, bytes) in sets {
        let broken = || {
            format!(
                "`{}` is no set of descriptors; fetch it again with `micro gen --from NAME`",
                path.display()
            )
        };
        if let Some((file, _)) = editions::unsupported(&bytes).with_context(broken)? {
            bail!("`{}`: {file}: {}", path.display(), editions::ADVICE);
        }
        resolver.add(DescriptorSetFileResolver::decode(bytes.as_slice()).with_context(broken)?);
        let set: FileDescriptorSet = prost::Message::decode(bytes.as_slice()).with_context(broken)?;
        decoded.push((path, set));
    }
    let missing = Rc::default();
    let resolver = Noting { within: resolver, missing: Rc::clone(&missing) };
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).include_imports(true);
    let is_library = |path: &&PathBuf| path.strip_prefix(folder).is_ok_and(libraries::have);
    let only_libraries = found.protos.iter().all(|path| is_library(&path));
    for path in found.protos.iter().filter(|path| only_libraries || !is_library(path)) {
        let name = path.strip_prefix(folder).unwrap_or(path);
        working_on(&format!("{prefix}{}", name.display()));
        if let Err(error) = compiler.open_file(path) {
            let origin = Origin { folder, prefix: &prefix, include, protos: &found.protos };
            return Err(origin.explained(&error, missing.take().as_deref()));
        }
    }
    let origin = Origin { folder, prefix: &prefix, include, protos: &found.protos };
    let mut files: Vec<Source> = (compiler.file_descriptor_set().file.into_iter())
        .map(|file| Source { folder: origin.prefix_of(file.name()), file, foreign: None })
        .collect();
    for (path, set) in decoded {
        add(&mut files, path, set)?;
    }
    for source in &files {
        source.check_package()?;
    }
    Ok(Sources { descriptors: compiler.encode_file_descriptor_set(), files })
}

/// Adds the files of a fetched set. One name stands for one file of a package.
fn add(files: &mut Vec<Source>, path: &Path, set: FileDescriptorSet) -> Result<()> {
    let service = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for mut file in set.file {
        foreign::make_distinct(&mut file);
        let source = Source { file, folder: format!("{}: ", path.display()), foreign: Some(service.clone()) };
        let is_it = |present: &&Source| {
            present.file.name() == source.file.name() && present.module() == source.module()
        };
        let Some(present) = files.iter().find(is_it) else {
            files.push(source);
            continue;
        };
        if !well_known::is_standard(&present.file) && !same(&present.file, &source.file) {
            bail!(
                "`{}` and `{}` have different files of the name `{}`: rename yours, or remove the older one and fetch it again with `micro gen --from NAME`",
                present.place(&[]),
                path.display(),
                source.file.name()
            );
        }
    }
    Ok(())
}

impl Source {
    /// Refuses the package of protobuf itself: what is declared there is not generated.
    fn check_package(&self) -> Result<()> {
        if well_known::is_standard(&self.file) && !STANDARD.contains(&self.file.name()) {
            bail!(
                "{}: the package `{}` is that of protobuf itself: give the file another one",
                self.place(&[2]),
                self.file.package()
            );
        }
        Ok(())
    }
}

/// Whether two files declare the same, wherever in their text.
fn same(one: &FileDescriptorProto, other: &FileDescriptorProto) -> bool {
    let bare = |file: &FileDescriptorProto| {
        let mut file = FileDescriptorProto { source_code_info: None, ..file.clone() };
        foreign::make_distinct(&mut file);
        file
    };
    bare(one) == bare(other)
}

/// What lies in a folder of sources.
#[derive(Default)]
struct Found {
    protos: Vec<PathBuf>,
    sets: Vec<PathBuf>,
}

/// Finds the files below a folder, hidden ones excepted, in the order of their names.
fn search(folder: &Path, level: usize, found: &mut Found) -> Result<()> {
    let unreadable = || format!("cannot read `{}`", folder.display());
    let entries = fs::read_dir(folder).with_context(unreadable)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().with_context(unreadable)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if level >= MOST_LEVELS {
                bail!(
                    "`{}` lies more than {MOST_LEVELS} folders deep; is it a link to a folder above it?",
                    path.display()
                );
            }
            search(&path, level + 1, found)?;
            continue;
        }
        let kind = if name.ends_with(".proto") {
            &mut found.protos
        } else if level == 0 && name.ends_with(".binpb") {
            &mut found.sets
        } else {
            continue;
        };
        // What is no file may not end: a pipe is read until somebody closes it.
        if !path.is_file() {
            bail!("`{}` is no file that can be read: remove or rename it", path.display());
        }
        kind.push(path);
    }
    Ok(())
}

/// The files of a folder, which may begin with the mark that editors put before UTF-8.
struct Folder(IncludeFileResolver, PathBuf);

impl FileResolver for Folder {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.0.resolve_path(path)
    }

    fn open_file(&self, name: &str) -> Result<Opened, protox::Error> {
        let path = self.1.join(name);
        // Of a name too long for a file, too, the compiler then says where it is imported.
        if !path.is_file() {
            return Err(protox::Error::file_not_found(name));
        }
        let text = fs::read_to_string(path).unwrap_or_default();
        match text.strip_prefix('\u{feff}') {
            Some(text) => Opened::from_source(name, text),
            None => self.0.open_file(name),
        }
    }
}

/// Finds imports, and notes which one was not there.
struct Noting {
    within: ChainFileResolver,
    missing: Rc<RefCell<Option<String>>>,
}

impl FileResolver for Noting {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.within.resolve_path(path)
    }

    fn open_file(&self, name: &str) -> Result<Opened, protox::Error> {
        self.within.open_file(name).inspect_err(|error| {
            if error.is_file_not_found() {
                self.missing.replace(Some(name.to_owned()));
            }
        })
    }
}
