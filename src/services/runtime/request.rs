//! From a request to run something to a record of what is wanted; what cannot be had is refused
//! here, with words.

use std::path::{Path, PathBuf};

use micro_sdk::{
    Error, Result,
    proto::{
        auth::Account,
        runtime::{CreateOptions, Resource, Service, UpdateOptions},
    },
};

use super::{record::Record, watcher::OWNED};
use crate::{
    names,
    services::{auth, not_yet},
    supervisor::{RestartPolicy, Source},
};

/// The most instances of one service.
const MAX_INSTANCES: i64 = 100;
/// The most bytes of the variables and the metadata of one service.
const MAX_PAIRS: usize = 1 << 20;
/// The longest variable, with its name, and the longest word of a command: Linux starts no program with more.
const MAX_WORD: usize = (128 << 10) - 1;

/// The service a resource holds.
///
/// # Errors
/// 400 for an empty resource or a bad name, 501 for the other kinds of resources.
pub(super) fn service(resource: Option<Resource>) -> Result<Service> {
    let resource = resource.unwrap_or_default();
    if resource.namespace.is_some() || resource.networkpolicy.is_some() || resource.resourcequota.is_some() {
        return not_yet("a runtime that manages namespaces, network policies or quotas");
    }
    let mut service = resource.service.ok_or_else(|| Error::bad_request("the request names no service"))?;
    names::check(&service.name).map_err(|e| Error::bad_request(e.to_string()))?;
    if service.version.is_empty() {
        names::DEFAULT_VERSION.clone_into(&mut service.version);
    }
    if service.version.len() > 255 || service.version.contains(char::is_control) {
        return Err(Error::bad_request("a version is at most 255 bytes long, without control characters"));
    }
    Ok(service)
}

/// What is wanted, from a request to create.
///
/// # Errors
/// 400 for a source that is not there, 501 for what this version cannot do.
pub(super) fn record(
    namespace: &str,
    service: Service,
    options: CreateOptions,
    account: &Account,
) -> Result<Record> {
    if !options.image.is_empty() {
        return not_yet("running container images");
    }
    if !options.secrets.is_empty() || !options.volumes.is_empty() {
        return not_yet("giving secrets or volumes to a service");
    }
    let folder = folder(&service.source, &options.entrypoint)?;
    let origin = match options.command.as_slice() {
        [] => Source::Cargo { folder, arguments: options.args, program: given(options.bin) },
        [_, ..] if !options.bin.is_empty() => {
            return Err(Error::bad_request(
                "a command is run as it is; a program is chosen only of what is built",
            ));
        }
        [_, ..] => Source::Command { folder, command: [options.command, options.args].concat() },
    };
    let name = if account.name.is_empty() { &account.id } else { &account.name };
    let record = Record {
        namespace: namespace.to_owned(),
        name: service.name,
        version: service.version,
        source: service.source,
        origin,
        environment: options.env.iter().map(|pair| variable(pair)).collect::<Result<_>>()?,
        sealed: None,
        instances: instances(options.instances)?,
        path: given(options.path_env),
        cargo_home: given(options.cargo_home),
        rustup_home: given(options.rustup_home),
        binary: None,
        owner: name.clone(),
        metadata: service.metadata.into_iter().filter(|(key, _)| key != "source").collect(),
        scopes: scopes(options.scopes)?,
        restart: restart(&options.restart)?.unwrap_or_default(),
        killed: false,
    };
    check_size(&record)?;
    Ok(record)
}

/// Changes what is wanted, from a request to update.
///
/// # Errors
/// As [`record`].
pub(super) fn update(record: &mut Record, service: &Service, options: UpdateOptions) -> Result<()> {
    if !service.source.is_empty() && service.source != record.source {
        let folder = folder(&service.source, &options.entrypoint)?;
        record.source.clone_from(&service.source);
        match &mut record.origin {
            Source::Cargo { folder: old, .. } | Source::Command { folder: old, .. } => *old = folder,
        }
    }
    match (&mut record.origin, given(options.bin)) {
        (Source::Cargo { program, .. }, Some(chosen)) => *program = Some(chosen),
        (Source::Command { .. }, Some(_)) => {
            return Err(Error::bad_request(
                "the service runs by a command; a program is chosen only of what is built",
            ));
        }
        (_, None) => {}
    }
    if options.instances != 0 {
        record.instances = instances(options.instances)?;
    }
    if let Some(restart) = restart(&options.restart)? {
        record.restart = restart;
    }
    if !options.scopes.is_empty() {
        record.scopes = scopes(options.scopes)?;
    }
    for pair in &options.env {
        let (name, value) = variable(pair)?;
        record.environment.retain(|(known, _)| *known != name);
        record.environment.push((name, value));
    }
    match &mut record.origin {
        Source::Cargo { .. } if !options.command.is_empty() => {
            let text = format!("{} is built from its sources: run it anew to give it a command", record.name);
            return Err(Error::bad_request(text));
        }
        Source::Cargo { arguments, .. } if !options.args.is_empty() => *arguments = options.args,
        Source::Command { command, .. } if !options.command.is_empty() => {
            *command = [options.command, options.args].concat();
        }
        Source::Command { .. } if !options.args.is_empty() => {
            let text = format!("{} runs by a command: give it anew with its arguments", record.name);
            return Err(Error::bad_request(text));
        }
        Source::Cargo { .. } | Source::Command { .. } => {}
    }
    let added = service.metadata.iter().filter(|(key, _)| *key != "source");
    record.metadata.extend(added.map(|(key, value)| (key.clone(), value.clone())));
    for (old, new) in [
        (&mut record.path, options.path_env),
        (&mut record.cargo_home, options.cargo_home),
        (&mut record.rustup_home, options.rustup_home),
    ] {
        if !new.is_empty() {
            *old = Some(new);
        }
    }
    check_size(record)
}

/// Each update may add variables and metadata to those that are there.
fn check_size(record: &Record) -> Result<()> {
    let variables = record.environment.iter().map(|(name, value)| name.len() + value.len());
    let metadata = record.metadata.iter().map(|(key, value)| key.len() + value.len());
    let size: usize = variables.chain(metadata).sum();
    if size > MAX_PAIRS {
        return Err(Error::too_large(format!(
            "the variables and metadata of {} have {size} bytes; at most {MAX_PAIRS} are possible",
            record.name
        )));
    }
    let words = match &record.origin {
        Source::Cargo { arguments, .. } => arguments,
        Source::Command { command, .. } => command,
    };
    let longest = record.environment.iter().map(|(name, value)| name.len() + "=".len() + value.len());
    let longest = longest.chain(words.iter().map(String::len)).max().unwrap_or_default();
    if longest > MAX_WORD {
        return Err(Error::too_large(format!(
            "a variable or an argument of {} has {longest} bytes; a program can be given at most {MAX_WORD} in one",
            record.name
        )));
    }
    Ok(())
}

fn restart(word: &str) -> Result<Option<RestartPolicy>> {
    if word.is_empty() {
        return Ok(None);
    }
    let unknown = || {
        Error::bad_request(format!(
            "a service is restarted when `unhealthy`, `ended` or `never`, not `{word}`"
        ))
    };
    RestartPolicy::read(word).map(Some).ok_or_else(unknown)
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn instances(wanted: i64) -> Result<u32> {
    match wanted {
        0 => Ok(1),
        1..=MAX_INSTANCES => Ok(u32::try_from(wanted).unwrap_or(1)),
        _ => Err(Error::bad_request(format!("{wanted} instances: 1 to {MAX_INSTANCES} are possible"))),
    }
}

/// The scopes of the account of a service. One empty text means none.
fn scopes(mut wanted: Vec<String>) -> Result<Vec<String>> {
    wanted.retain(|scope| !scope.is_empty());
    auth::check_scopes(&wanted)?;
    wanted.dedup();
    Ok(wanted)
}

fn variable(pair: &str) -> Result<(String, String)> {
    match pair.split_once('=') {
        Some((name, _)) if OWNED.contains(&name) => Err(Error::bad_request(format!(
            "`{name}` is set by the runtime: it says to a service who it is and where its server is"
        ))),
        Some((name, value)) if !name.is_empty() && !pair.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(Error::bad_request(format!("`{pair}` is no variable of the form NAME=value"))),
    }
}

/// The folder a source means. Only folders of this machine can be run yet.
fn folder(source: &str, entrypoint: &str) -> Result<PathBuf> {
    if source.is_empty() {
        return Err(Error::bad_request("the service has no source: the absolute path of a folder"));
    }
    if source.starts_with("source://") {
        return not_yet("running uploaded sources");
    }
    let path = Path::new(source);
    if !path.is_absolute() {
        return not_yet(&format!("running `{source}` from a git repository"));
    }
    let within = Path::new(entrypoint);
    if within
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir))
    {
        return Err(Error::bad_request(format!("the entrypoint `{entrypoint}` leads out of the source")));
    }
    let folder = if entrypoint.is_empty() { path.to_owned() } else { path.join(within) };
    if !folder.is_dir() {
        return Err(Error::bad_request(format!("the source folder `{}` does not exist", folder.display())));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_add_variables_until_there_are_too_many() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().to_str().unwrap().to_owned();
        let service = Service { name: "a".into(), source, ..Service::default() };
        let account = Account::default();
        let mut known = record("n", service.clone(), CreateOptions::default(), &account).unwrap();
        let mut add = |name: &str| {
            // Each of them is as long as a program can be given.
            let env = (0..5).map(|number| format!("{name}{number}={}", "v".repeat(120_000))).collect();
            update(&mut known, &service, UpdateOptions { env, ..UpdateOptions::default() })
        };
        add("A").unwrap();
        add("A").unwrap();
        assert_eq!(add("B").unwrap_err().code, 413);
    }

    #[test]
    fn variables_of_the_runtime_and_scopes_of_other_services_are_refused() {
        for name in OWNED {
            let error = variable(&format!("{name}=x")).unwrap_err();
            assert!(error.code == 400 && error.detail.contains(name), "{error}");
        }
        // What a service may say for itself.
        for name in ["MICRO_SERVICE_ADDRESS", "MICRO_SERVICE_LEASE", "MICRO_SERVICE_TOKEN_LIFE", "PATH"] {
            variable(&format!("{name}=x")).unwrap();
        }
        let scopes = |words: &[&str]| scopes(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(scopes(&["a", "", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(scopes(&[""]).unwrap(), [""; 0]);
        for wrong in [&["service:orders"][..], &["Service:x"], &["a\nb"], &[&"x".repeat(300)]] {
            assert_eq!(scopes(wrong).unwrap_err().code, 400, "{wrong:?}");
        }
    }

    #[test]
    fn a_source_is_a_folder_of_this_machine() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().to_str().unwrap();
        assert_eq!(folder(source, "").unwrap(), root.path());
        for (source, entrypoint, code, word) in [
            ("", "", 400, "no source"),
            ("source://a.tar.gz", "", 501, "uploaded"),
            ("github.com/a/b", "", 501, "git"),
            ("/nowhere/at/all", "", 400, "does not exist"),
            (source, "missing", 400, "does not exist"),
            (source, "../b", 400, "leads out"),
        ] {
            let error = folder(source, entrypoint).unwrap_err();
            assert!(error.code == code && error.detail.contains(word), "{source} {entrypoint}: {error:?}");
        }
    }
}
