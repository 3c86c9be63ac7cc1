//! `micro user config`: the settings in effect, and those kept in `config.toml`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Subcommand, builder::PossibleValuesParser};
use serde::Serialize;

use super::namespace;
use crate::{
    cli::{
        context::{Context, Source},
        env,
        failure::{Failure, exit},
    },
    config::{Credentials, Identity},
    names,
    paths::{HOME_VARIABLE, Home},
};

/// Settings that are kept in the configuration file.
const KEPT: [&str; 2] = ["environment", "namespace"];

#[derive(Subcommand)]
pub(super) enum Action {
    /// Print the value of a setting.
    Get {
        /// Its name, as `micro user config` lists it.
        key: String,
    },
    /// Keep a setting for all later commands.
    Set {
        /// Its name.
        #[arg(value_parser = kept())]
        key: String,
        /// Its value from now on.
        value: String,
    },
    /// Go back to the default of a setting.
    #[command(visible_alias = "del")]
    Delete {
        /// Its name.
        #[arg(value_parser = kept())]
        key: String,
    },
}

fn kept() -> PossibleValuesParser {
    PossibleValuesParser::new(KEPT)
}

/// A setting in effect.
#[derive(Serialize)]
struct Setting {
    name: &'static str,
    value: String,
    source: String,
}

pub(super) fn run(action: Option<Action>, cx: &Context) -> anyhow::Result<()> {
    match action {
        None => list(cx),
        Some(Action::Get { key }) => {
            let settings = settings(cx)?;
            let names: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
            match settings.iter().find(|setting| setting.name == key) {
                Some(setting) => Ok(cx.ui.text(&setting.value)?),
                None => Err(Failure::new(exit::NOT_FOUND, format!("there is no setting `{key}`"))
                    .hint(format!("there are {}", names.join(", ")))
                    .into()),
            }
        }
        Some(Action::Set { key, value }) if key == "environment" => env::choose(Some(value), cx),
        Some(Action::Set { value, .. }) => namespace::choose(Some(value), cx),
        Some(Action::Delete { key }) if key == "environment" => env::choose(None, cx),
        Some(Action::Delete { .. }) => namespace::choose(None, cx),
    }
}

fn list(cx: &Context) -> anyhow::Result<()> {
    cx.ui.records(&settings(cx)?, &["SETTING", "VALUE", "SOURCE"], |setting| {
        vec![setting.name.to_owned(), setting.value.clone(), setting.source.clone()]
    })
}

/// Every setting that is in effect, and where it comes from.
fn settings(cx: &Context) -> anyhow::Result<Vec<Setting>> {
    let config = cx.config()?;
    let credentials: Credentials = cx.stored_credentials().read()?;
    let (environment, _) = cx.environment()?;
    let namespace = cx.namespace()?;
    let file = |kept: bool, path| if kept { Source::File(path) } else { Source::Default };
    let kept_login = credentials.get(&environment, &namespace).is_some();
    let of_login = file(kept_login, cx.stored_credentials().path().to_owned());
    let (user, user_source) = match credentials.identity(&environment, &namespace) {
        Identity::Account { id, access_token } => {
            (name_in(access_token).unwrap_or_else(|| id.to_owned()), of_login)
        }
        Identity::Owner => (names::ADMINISTRATOR.to_owned(), Source::Owner),
        Identity::Nobody => ("n/a".to_owned(), of_login),
    };
    let config_path = || cx.stored_config().path().to_owned();
    let kept_namespace = config.namespaces.contains_key(&environment);
    let sources = &cx.sources;
    let rows = [
        ("user", user, user_source),
        (
            "environment",
            environment,
            sources.of("env").unwrap_or_else(|| file(config.environment.is_some(), config_path())),
        ),
        (
            "namespace",
            namespace,
            sources.of("namespace").unwrap_or_else(|| file(kept_namespace, config_path())),
        ),
        ("output", cx.ui.output.name(), sources.of("output").unwrap_or(Source::Default)),
        (
            "timeout",
            humantime::format_duration(cx.timeout).to_string(),
            sources.of("timeout").unwrap_or(Source::Default),
        ),
        ("config", config_path().display().to_string(), sources.of("config").unwrap_or_else(home_source)),
        ("data", cx.home.data.display().to_string(), home_source()),
    ];
    let setting = |(name, value, source): (_, _, Source)| Setting { name, value, source: source.to_string() };
    Ok(rows.into_iter().map(setting).collect())
}

/// The name of the account that a token was issued for, as the token says it.
fn name_in(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Where the folders of the home come from.
fn home_source() -> Source {
    if Home::variable().is_some() { Source::Variable(HOME_VARIABLE) } else { Source::Default }
}
