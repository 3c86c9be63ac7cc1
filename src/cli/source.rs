//! What `run`, `update`, `kill`, `status` and `logs` are given: a folder, a name, a version.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{CreateOptions, ReadOptions, ReadRequest, Service, UpdateOptions},
};

use super::{
    commands, completion,
    context::Context,
    failure::{Failure, exit},
    pairs,
    ui::Ui,
};
use crate::{
    names,
    scaffold::{generate, patch, sdk, toolchain},
};

/// Which service `run` and `update` mean, and how they wait.
#[derive(Args)]
pub(super) struct ServiceArgs {
    /// The folder of the service.
    #[arg(default_value = ".", add = completion::folders())]
    pub(super) folder: String,
    /// Its name; the last part of the folder if none is given.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Its version; `latest` if none is given.
    #[arg(long)]
    pub(super) version: Option<String>,
    /// Which program of the package runs, where it has several.
    #[arg(long, value_name = "NAME")]
    pub(super) bin: Option<String>,
    /// How many processes run it.
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..=100))]
    pub(super) instances: Option<i64>,
    /// Return at once instead of waiting until the service is running.
    #[arg(long, visible_alias = "no-wait")]
    pub(super) detach: bool,
}

/// When a process is started again.
#[derive(Clone, Copy, ValueEnum)]
enum Restart {
    Unhealthy,
    Ended,
    Never,
}

impl Restart {
    fn word(restart: Option<Self>) -> String {
        let value = restart.and_then(|restart| restart.to_possible_value());
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How a service is to run.
#[derive(Args)]
pub(super) struct Launch {
    /// Run this command in the folder instead of building a program.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Arguments of the program.
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    args: Option<String>,
    /// A variable of the service's environment; may be repeated.
    #[arg(long = "env_vars", visible_alias = "env-var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Start a process again when it ended or is unhealthy, only when it ended, or never [default:
    /// unhealthy].
    #[arg(long, value_enum, value_name = "WHEN")]
    restart: Option<Restart>,
    /// Scopes of the service's account, as rules name them, beside `service:NAME`; repeated or with commas.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// A pair of metadata; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    metadata: Vec<String>,
}

impl Launch {
    /// Whether the folder holds a project that has to be built.
    pub(super) fn builds(&self) -> bool {
        self.command.is_none()
    }

    fn command_words(&self) -> anyhow::Result<Vec<String>> {
        let words = words("--command", self.command.as_deref())?;
        if self.command.is_some() && words.is_empty() {
            return Err(Failure::usage("--command is empty").into());
        }
        Ok(words)
    }

    fn checked_variables(&self, ui: &Ui) -> anyhow::Result<Vec<String>> {
        let variable = |pair: &String| {
            let (name, value) = pairs::split("env_vars", "variable", pair, ui)?;
            Ok(format!("{name}={value}"))
        };
        self.variables.iter().map(variable).collect()
    }

    fn metadata(&self, ui: &Ui) -> anyhow::Result<HashMap<String, String>> {
        let mut metadata = HashMap::new();
        for pair in &self.metadata {
            let (name, value) = pairs::split("metadata", "pair of metadata", pair, ui)?;
            if name == "source" {
                return Err(Failure::usage("the metadata key `source` is reserved").into());
            }
            metadata.insert(name.to_owned(), value.to_owned());
        }
        Ok(metadata)
    }

    /// Completes what the server needs to run the service.
    ///
    /// # Errors
    /// A pair of metadata is malformed, or a quote in the command or its arguments is not closed.
    pub(super) fn request(
        &self,
        source: &ServiceArgs,
        mut service: Service,
        namespace: &str,
        ui: &Ui,
    ) -> anyhow::Result<(Service, CreateOptions)> {
        if self.command.is_some() && source.bin.is_some() {
            return Err(
                Failure::usage("--bin and --command exclude each other: a command is run as it is").into()
            );
        }
        service.metadata = self.metadata(ui)?;
        let (path_env, cargo_home, rustup_home) = tools();
        let options = CreateOptions {
            command: self.command_words()?,
            args: words("--args", self.args.as_deref())?,
            env: self.checked_variables(ui)?,
            namespace: namespace.to_owned(),
            instances: source.instances.unwrap_or(0),
            bin: source.bin.clone().unwrap_or_default(),
            restart: Restart::word(self.restart),
            scopes: self.scopes.clone(),
            path_env,
            cargo_home,
            rustup_home,
            ..CreateOptions::default()
        };
        Ok((service, options))
    }

    /// Completes what the server needs to change the service.
    ///
    /// # Errors
    /// As [`Launch::request`].
    pub(super) fn update(
        &self,
        source: &ServiceArgs,
        service: Service,
        namespace: &str,
        ui: &Ui,
    ) -> anyhow::Result<(Service, UpdateOptions)> {
        let (service, launched) = self.request(source, service, namespace, ui)?;
        let CreateOptions {
            command,
            args,
            env,
            namespace,
            instances,
            bin,
            restart,
            scopes,
            path_env,
            cargo_home,
            rustup_home,
            ..
        } = launched;
        let options = UpdateOptions {
            command,
            args,
            env,
            namespace,
            instances,
            bin,
            restart,
            scopes,
            path_env,
            cargo_home,
            rustup_home,
            ..UpdateOptions::default()
        };
        Ok((service, options))
    }
}

impl ServiceArgs {
    /// Finds the service, generates what has to be generated, and tells what the server needs.
    ///
    /// # Errors
    /// There is no folder, no project, or no usable name; the text has the next step.
    pub(super) fn local(&self, builds: bool, cx: &Context) -> anyhow::Result<Service> {
        let folder = fs::canonicalize(&self.folder).map_err(|error| no_folder(&self.folder, &error))?;
        if !folder.is_dir() {
            return Err(Failure::usage(format!("`{}` is a file, not the folder of a service", self.folder))
                .hint("name the folder it lies in")
                .into());
        }
        if builds {
            check_project(&folder)?;
        }
        let name = self.name.clone().map_or_else(|| name_of(&folder), Ok)?;
        names::check(&name).map_err(|e| {
            Failure::usage(e.to_string()).hint("name the service with --name, such as `--name helloworld`")
        })?;
        if commands::NAMES.contains(&name.as_str()) {
            cx.ui.warn(format_args!(
                "`{name}` is also a command of micro, which wins: call the service with `micro call {name} …`"
            ));
        }
        if builds {
            prepare(&folder, cx)?;
        }
        let source = folder.to_str().context("the path of the folder is not valid UTF-8")?.to_owned();
        let version = self.version.clone().unwrap_or_else(|| names::DEFAULT_VERSION.to_owned());
        Ok(Service { name, version, source, ..Service::default() })
    }
}

fn no_folder(folder: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::new(exit::FAILED, format!("there is no folder `{folder}`: {error}"));
    let first = folder.split('/').next().unwrap_or_default();
    if folder.contains("://") || (folder.contains('/') && first.contains('.') && !first.starts_with('.')) {
        return failure.hint(
            "running from a git repository is not available in this version: clone it, then run the folder",
        );
    }
    let name = folder.trim_start_matches("./").trim_end_matches('/');
    if names::follows_rule(name) {
        return failure.hint(format!("make a service with `micro new {name}`"));
    }
    failure
}

/// Where the caller's build tools are.
fn tools() -> (String, String, String) {
    let variable = |name| env::var(name).unwrap_or_default();
    (variable("PATH"), variable("CARGO_HOME"), variable("RUSTUP_HOME"))
}

/// Refuses a folder without a project.
fn check_project(folder: &Path) -> Result<(), Failure> {
    if folder.join("Cargo.toml").is_file() {
        return Ok(());
    }
    let text = format!("there is no project in `{}`: it has no Cargo.toml", folder.display());
    let hint = "make one with `micro new NAME`, or run a program with --command";
    Err(Failure::new(exit::FAILED, text).hint(above(folder, "run").unwrap_or_else(|| hint.to_owned())))
}

/// The hint for a command in a folder without a project below one that has a project: the path to type is one or
/// more `..` where the current folder is below the project, else the whole path.
pub(super) fn above(folder: &Path, command: &str) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let project = folder.ancestors().find(|above| above.join("Cargo.toml").is_file())?;
    if project == folder {
        return None;
    }
    let here = env::current_dir().and_then(fs::canonicalize).unwrap_or_default();
    let levels = here.strip_prefix(project).map_or(0, |below| below.components().count());
    let path = if levels > 0 { vec![".."; levels].join("/") } else { project.display().to_string() };
    Some(format!("its project is in the folder above: `micro {command} {}`", shell_words::quote(&path)))
}

/// Keeps generated code and the way to the SDK fresh before a build.
///
/// # Errors
/// A .proto file does not compile, or a file cannot be written.
fn prepare(folder: &Path, cx: &Context) -> anyhow::Result<()> {
    if let Some(missing) = toolchain::missing(folder) {
        cx.ui.say(format_args!(
            "the toolchain `{}`, which `{}` asks for, is not installed: rustup downloads it before the build",
            missing.channel,
            missing.file.display()
        ));
    }
    for path in generate::refresh(folder)? {
        cx.ui.say(format_args!("generated {}", path.display()));
    }
    // What cannot be read of the project is told by the server, which reads it too.
    if patch::is_needed(folder).unwrap_or_default() {
        patch::ensure_patch(folder, &sdk::unpack(&cx.home.data)?)?;
    }
    Ok(())
}

/// Words as a shell splits them, quotes and all.
fn words(flag: &str, text: Option<&str>) -> anyhow::Result<Vec<String>> {
    shell_words::split(text.unwrap_or_default())
        .map_err(|_| Failure::usage(format!("a quote in {flag} is not closed")).into())
}

fn name_of(folder: &Path) -> anyhow::Result<String> {
    let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| {
        Failure::usage(format!("`{}` has no name", folder.display())).hint("give one with --name").into()
    })
}

/// `NAME`, `NAME@VERSION`, `.` or a path: the name and the version that was given.
///
/// # Errors
/// The path has no name.
pub(super) fn name_and_version(text: &str) -> anyhow::Result<(String, Option<String>)> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version.to_owned()).filter(|version| !version.is_empty())),
        None => (text, None),
    };
    if name == "." || name == ".." || name.ends_with('/') || name.starts_with(['.', '/']) {
        let path = fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
        return Ok((name_of(&path)?, version));
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok((last.to_owned(), version))
}

/// The version that is meant where none was given: `latest` if it was run, else the only one.
///
/// # Errors
/// There are several, or the runtime cannot be asked.
pub(super) async fn version_of(
    runtime: &RuntimeClient,
    namespace: &str,
    name: &str,
    given: Option<String>,
) -> anyhow::Result<String> {
    if let Some(version) = given {
        return Ok(version);
    }
    let options =
        ReadOptions { service: name.to_owned(), namespace: namespace.to_owned(), ..ReadOptions::default() };
    let known = runtime.read(ReadRequest { options: Some(options) }).await?.services;
    let mut versions: Vec<String> = known.into_iter().map(|service| service.version).collect();
    match versions.as_slice() {
        [] => Ok(names::DEFAULT_VERSION.to_owned()),
        [_] => Ok(versions.remove(0)),
        _ if versions.iter().any(|version| version == names::DEFAULT_VERSION) => {
            Ok(names::DEFAULT_VERSION.to_owned())
        }
        _ => Err(Failure::usage(format!("{name} runs in the versions {}", versions.join(", ")))
            .hint(format!("say which, such as `{name}@{}`", versions[0]))
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_with_versions_and_from_paths() {
        for (text, name, version) in [
            ("helloworld", "helloworld", None),
            ("helloworld@v2", "helloworld", Some("v2")),
            ("helloworld@", "helloworld", None),
            ("a/b/c@feature/x", "c", Some("feature/x")),
            ("/nowhere/at/all", "all", None),
        ] {
            assert_eq!(name_and_version(text).unwrap(), (name.to_owned(), version.map(str::to_owned)));
        }
    }

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        assert_eq!(
            words("--command", Some("sh -c 'a \"b\"' c\\ d")).unwrap(),
            ["sh", "-c", "a \"b\"", "c d"]
        );
        assert!(words("--command", None).unwrap().is_empty());
        assert!(words("--args", Some("'a")).unwrap_err().to_string().contains("--args"));
    }
}
