//! From a specification to the next step: a program that can be started, or a build.

use std::path::Path;

use super::{Launch, Program, Request, Source, Spec};
use crate::supervisor::{Change, build::Binaries};

/// What to do about a specification.
pub(super) enum Plan {
    /// The program is there.
    Launch(Launch),
    /// It has to be built.
    Build(Request),
    /// There is nothing to run.
    Impossible(String),
}

impl Plan {
    /// Decides.
    pub(super) fn of(spec: &Spec, change: Change, binaries: &Binaries) -> Self {
        match &spec.source {
            Source::Command { folder, command } => match command.split_first() {
                Some((path, arguments)) => Self::Launch(Launch {
                    program: Program {
                        path: path.into(),
                        arguments: arguments.iter().map(Into::into).collect(),
                        folder: folder.clone(),
                        environment: environment(spec),
                        scopes: spec.scopes.clone(),
                    },
                    build: None,
                    restart: spec.restart,
                }),
                None => Self::Impossible("the command is empty".to_owned()),
            },
            Source::Cargo { folder, program, .. } => {
                let known = match change {
                    Change::Start => spec.binary.as_deref(),
                    Change::Update | Change::Replace => None,
                };
                let launch = known
                    .and_then(|hash| Some((binaries.find(hash)?, hash)))
                    .and_then(|(binary, hash)| self::built(spec, &binary, hash.to_owned()));
                launch.map_or_else(
                    || {
                        Self::Build(Request {
                            id: spec.id.clone(),
                            folder: folder.clone(),
                            program: program.clone(),
                            environment: spec.build_environment.clone(),
                        })
                    },
                    Self::Launch,
                )
            }
        }
    }
}

/// How to start a built program; none if the source is not one that is built.
pub(super) fn built(spec: &Spec, binary: &Path, hash: String) -> Option<Launch> {
    let Source::Cargo { folder, arguments, .. } = &spec.source else { return None };
    Some(Launch {
        program: Program {
            path: binary.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            folder: folder.clone(),
            environment: environment(spec),
            scopes: spec.scopes.clone(),
        },
        build: Some(hash),
        restart: spec.restart,
    })
}

fn environment(spec: &Spec) -> Vec<(String, String)> {
    let mut variables = spec.build_environment.base();
    variables.extend(spec.environment.iter().cloned());
    variables
}
