//! Which Rust toolchain a project asks for, so that a long download does not look like a build that
//! hangs. It follows rustup's own search and never runs it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use toml_edit::DocumentMut;

/// A toolchain that rustup would download.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Its name: `1.90.0`, `nightly-2026-01-01`.
    pub(crate) channel: String,
    /// The file that asks for it.
    pub(crate) file: PathBuf,
}

/// The toolchain that `folder` asks for, if rustup is in use here and does not have it.
pub(crate) fn missing(folder: &Path) -> Option<Missing> {
    // The variable wins over every file.
    if env::var_os("RUSTUP_TOOLCHAIN").is_some_and(|name| !name.is_empty()) {
        return None;
    }
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))?;
    missing_from(folder, &rustup.join("toolchains"))
}

fn missing_from(folder: &Path, toolchains: &Path) -> Option<Missing> {
    let (channel, file) = asked_for(folder)?;
    let installed = fs::read_dir(toolchains).ok()?;
    let names = installed.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // A folder is named with the system behind the channel: `1.90.0-x86_64-unknown-linux-gnu`.
    let is_it = |name: String| {
        let rest = name.strip_prefix(&channel).and_then(|rest| rest.strip_prefix('-'));
        name == channel || rest.is_some_and(|system| !system.starts_with(|c: char| c.is_ascii_digit()))
    };
    (!names.into_iter().any(is_it)).then_some(Missing { channel, file })
}

/// The channel that the nearest file names, and that file.
fn asked_for(folder: &Path) -> Option<(String, PathBuf)> {
    for above in folder.ancestors() {
        for name in ["rust-toolchain", "rust-toolchain.toml"] {
            let file = above.join(name);
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let channel = match text.parse::<DocumentMut>() {
                Ok(document) => document.get("toolchain")?.get("channel")?.as_str()?.to_owned(),
                // Without the ending, the file may hold the channel alone.
                Err(_) if name == "rust-toolchain" => text.trim().to_owned(),
                Err(_) => return None,
            };
            let plain = !channel.is_empty() && !channel.contains(|c: char| c.is_whitespace() || c == '/');
            return plain.then_some((channel, file));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_missing_unless_its_folder_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let toolchains = folder.path().join("toolchains");
        for name in ["stable-x86_64-unknown-linux-gnu", "nightly-2026-01-01-x86_64-unknown-linux-gnu", "mine"]
        {
            fs::create_dir_all(toolchains.join(name)).unwrap();
        }
        let project = folder.path().join("project/service");
        fs::create_dir_all(&project).unwrap();
        let asked = |name: &str, text: &str| {
            let file = folder.path().join("project").join(name);
            fs::write(&file, text).unwrap();
            let missing = missing_from(&project, &toolchains);
            fs::remove_file(file).unwrap();
            missing.map(|missing| missing.channel)
        };
        let named = |channel: &str| format!("[toolchain]\nchannel = \"{channel}\"\n");
        for present in ["stable", "nightly-2026-01-01", "mine", "stable-x86_64-unknown-linux-gnu"] {
            assert_eq!(asked("rust-toolchain.toml", &named(present)), None, "{present}");
        }
        for absent in ["1.80.0", "nightly", "beta", "min"] {
            assert_eq!(asked("rust-toolchain.toml", &named(absent)).as_deref(), Some(absent));
        }
        assert_eq!(asked("rust-toolchain", "1.80.0\n").as_deref(), Some("1.80.0"));
        assert_eq!(asked("rust-toolchain.toml", "[toolchain]\npath = \"/x\"\n"), None);
        assert_eq!(asked("rust-toolchain.toml", "no toml"), None);
        assert_eq!(missing_from(&project, &toolchains), None, "nothing is asked for");
    }
}
