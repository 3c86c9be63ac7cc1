//! `micro new`: scaffolds a service.

use std::{
    env,
    path::{Component, Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{commands, context::Context, failure::Failure, ui::Output};
use crate::scaffold::{self, BadName, Created, Options, Workspace, patch, sdk};

/// Write a new service.
///
/// The service builds with plain cargo. Needs no server.
#[derive(Args)]
pub(super) struct New {
    /// Its name, or a path that ends in it.
    name: String,
}

impl New {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let created = create(&self.name, &env::current_dir().context("there is no current folder")?, cx)?;
        let name = &self.name;
        if cx.ui.output != Output::Table {
            let workspace = match &created.workspace {
                Workspace::Member(root) => Some(root),
                Workspace::None | Workspace::Standalone { .. } => None,
            };
            return Ok(cx.ui.document(&json!({
                "name": last(name), "folder": created.folder, "files": created.files, "workspace": workspace,
            }))?);
        }
        cx.ui.line(format_args!("Creating service {}\n", last(name)))?;
        cx.ui.line(tree(&created.files))?;
        match &created.workspace {
            Workspace::None => {}
            Workspace::Member(root) => {
                cx.ui.line(format_args!("It is a member of the cargo workspace `{}`.\n", root.display()))?;
            }
            Workspace::Standalone { root, reason } => {
                cx.ui.line(format_args!(
                    "It stands alone, with an empty [workspace] of its own: in the cargo workspace `{}` {reason}.\n",
                    root.display()
                ))?;
            }
        }
        cx.ui.line(format_args!(
            "No protoc is needed: `micro gen` is run for you. Next:\n\n  cd {name}\n  micro run .\n  micro {} call --name=Jane",
            last(name)
        ))?;
        Ok(())
    }
}

/// Files, sorted, as the tree of their folders.
fn tree(files: &[PathBuf]) -> String {
    let mut drawing = ".\n".to_owned();
    draw(&files.iter().map(|file| file.components().collect()).collect::<Vec<_>>(), "", &mut drawing);
    drawing
}

fn draw(files: &[Vec<Component<'_>>], indent: &str, drawing: &mut String) {
    let mut folders = files.chunk_by(|a, b| a.first() == b.first()).peekable();
    while let Some(entries) = folders.next() {
        let Some(Some(name)) = entries.first().map(|path| path.first()) else { continue };
        let (branch, below) = if folders.peek().is_some() {
            ("├── ", "│\u{a0}\u{a0} ")
        } else {
            ("└── ", "    ")
        };
        drawing.push_str(&format!("{indent}{branch}{}\n", name.as_os_str().display()));
        let inside: Vec<_> =
            entries.iter().filter(|path| path.len() > 1).map(|path| path[1..].to_vec()).collect();
        draw(&inside, &format!("{indent}{below}"), drawing);
    }
}

fn last(name: &str) -> &str {
    name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
}

/// Writes a service, generates its code, and makes plain cargo find the SDK.
///
/// # Errors
/// The name is not possible, the folder exists, or it cannot be written.
pub(super) fn create(name: &str, parent: &Path, cx: &Context) -> anyhow::Result<Created> {
    let created = scaffold::new(&Options { name, parent, commands: commands::NAMES }).map_err(|error| {
        match error.downcast::<BadName>() {
            Ok(refused) => Failure::usage(refused.to_string()).into(),
            Err(error) => error,
        }
    })?;
    let patched = match patch::ensure_patch(&created.folder, &sdk::unpack(&cx.home.data)?) {
        Ok(patched) => patched,
        Err(error) => {
            // The service is written; what keeps cargo from building it is for the user to mend.
            cx.ui.warn(format_args!("cargo cannot find the SDK yet: {error:#}; then run `micro gen` there"));
            return Ok(created);
        }
    };
    if matches!(patched.ignored, patch::Ignored::Shared) {
        cx.ui.warn(format_args!(
            "`{}` holds settings of yours, so it is not ignored by git: it now names the SDK's folder of this machine",
            patched.config.display()
        ));
    }
    Ok(created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_drawn_as_a_tree() {
        let files: Vec<PathBuf> =
            ["a", "src/b/c", "src/b/d", "src/e", "z"].iter().map(PathBuf::from).collect();
        let lines = [
            ".",
            "├── a",
            "├── src",
            "│\u{a0}\u{a0} ├── b",
            "│\u{a0}\u{a0} │\u{a0}\u{a0} ├── c",
            "│\u{a0}\u{a0} │\u{a0}\u{a0} └── d",
            "│\u{a0}\u{a0} └── e",
            "└── z",
        ];
        assert_eq!(tree(&files), lines.join("\n") + "\n");
    }
}
