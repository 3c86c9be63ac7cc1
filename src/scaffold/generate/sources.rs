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

/// How deep folders below `proto/` are searched.
const MOST_LEVELS: usize = 16;

/// Google's files for the use of others, copied whole more often than not: compiled where one is imported.
const LIBRARIES: [&str; 4] = ["google/api/", "google/rpc/", "google/type/", "google/longrunning/"];

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
    /// Whether its services are only called, never served.
    pub(super) foreign: bool,
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

    /// The module its code stands in.
    pub(super) fn module(&self) -> Module {
        Module::from_protobuf_package_name(self.file.package())
    }
}

/// Compiles everything below a folder. `shown` is how that folder is called in messages.
///
/// # Errors
/// There is nothing to compile, or a file cannot be read or compiled; the text shows where.
pub(super) fn read(folder: &Path, shown: &str, working_on: &dyn Fn(&str)) -> Result<Sources> {
    let mut found = Found::default();
    search(folder, 0, &mut found)?;
    if found.protos.is_empty() && found.sets.is_empty() {
        bail!("there is no .proto file in `{}`", folder.display());
    }
    let prefix = if shown.is_empty() { String::new() } else { format!("{shown}/") };
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(folder.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut fetched = Vec::new();
    for path in &found.sets {
        let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let broken = || {
            format!(
                "`{}` is no set of descriptors; fetch it again with `micro gen --from NAME`",
                path.display()
            )
        };
        resolver.add(DescriptorSetFileResolver::decode(bytes.as_slice()).with_context(broken)?);
        let set: FileDescriptorSet = prost::Message::decode(bytes.as_slice()).with_context(broken)?;
        fetched.push((path, set));
    }
    let missing = Rc::default();
    let resolver = Noting { within: resolver, missing: Rc::clone(&missing) };
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).include_imports(true);
    let is_library = |path: &&PathBuf| LIBRARIES.iter().any(|library| path.starts_with(folder.join(library)));
    let only_libraries = found.protos.iter().all(|path| is_library(&path));
    for path in found.protos.iter().filter(|path| only_libraries || !is_library(path)) {
        let name = path.strip_prefix(folder).unwrap_or(path);
        working_on(&format!("{prefix}{}", name.display()));
        if let Err(error) = compiler.open_file(path) {
            return Err(explained(&error, &prefix, folder, &found.protos, missing.take()));
        }
    }
    let mut files: Vec<Source> = (compiler.file_descriptor_set().file.into_iter())
        .map(|file| Source { file, folder: prefix.clone(), foreign: false })
        .collect();
    for (path, set) in fetched {
        add(&mut files, path, set)?;
    }
    Ok(Sources { descriptors: compiler.encode_file_descriptor_set(), files })
}

/// Adds the files of a fetched set. One name stands for one file in all of protobuf.
fn add(files: &mut Vec<Source>, path: &Path, set: FileDescriptorSet) -> Result<()> {
    for file in set.file {
        let Some(present) = files.iter().find(|present| present.file.name() == file.name()) else {
            let folder = format!("{}: ", path.display());
            files.push(Source { file, folder, foreign: true });
            continue;
        };
        if !present.is_standard() && !same(&present.file, &file) {
            bail!(
                "`{}` and `{}` have different files of the name `{}`: rename yours, or remove the older one and fetch it again with `micro gen --from NAME`",
                present.place(&[]),
                path.display(),
                file.name()
            );
        }
    }
    Ok(())
}

impl Source {
    /// Whether it is a file of protobuf itself.
    fn is_standard(&self) -> bool {
        self.file.name().starts_with("google/protobuf/")
    }
}

/// Whether two files declare the same, wherever in their text.
fn same(one: &FileDescriptorProto, other: &FileDescriptorProto) -> bool {
    let bare = |file: &FileDescriptorProto| FileDescriptorProto { source_code_info: None, ..file.clone() };
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
        } else if name.ends_with(".proto") {
            found.protos.push(path);
        } else if level == 0 && name.ends_with(".binpb") {
            found.sets.push(path);
        }
    }
    Ok(())
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

/// The compiler's error with the place as a path of the project, and what to do about a missing import.
fn explained(
    error: &protox::Error,
    prefix: &str,
    folder: &Path,
    protos: &[PathBuf],
    missing: Option<String>,
) -> anyhow::Error {
    // The debug form is the one that shows line and column.
    let mut text = format!("{error:?}");
    if error.file().is_some_and(|file| text.starts_with(&format!("{file}:"))) {
        text.insert_str(0, prefix);
    }
    let Some(missing) = missing.filter(|_| error.is_file_not_found()) else { return anyhow::anyhow!(text) };
    let by_name: BTreeMap<_, _> = protos.iter().filter_map(|path| Some((path.file_name()?, path))).collect();
    let wanted = Path::new(&missing).file_name();
    match wanted.and_then(|name| by_name.get(name)).and_then(|path| path.strip_prefix(folder).ok()) {
        Some(present) => text.push_str(&format!(
            "; imports are looked for below `{prefix}`: write `import \"{}\";`, or move that file to `{prefix}{missing}`",
            present.display()
        )),
        None => text.push_str(&format!("; put the file at `{prefix}{missing}`")),
    }
    if LIBRARIES.iter().any(|library| missing.starts_with(library)) {
        text.push_str(&format!(": it is part of https://github.com/googleapis/googleapis, as `{missing}`"));
    }
    anyhow::anyhow!(text)
}
