//! What a command works with: the home, the configuration, the terminal, and a way to the server
//! that is opened when it is first needed.

use std::{
    fmt,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::{ArgMatches, parser::ValueSource};
use micro_sdk::{
    Channel, Client,
    blocks::auth::AuthClient,
    local::{self, State},
    proto::auth::{Options, Token, TokenRequest},
};

use super::{
    failure::{Failure, exit},
    server::daemon::Daemon,
    ui::Ui,
};
use crate::{
    config::{Config, Credentials, Environment, Identity, LOCAL, Login, Stored},
    names::{self, DEFAULT_NAMESPACE},
    paths::Home,
};

/// The life of an access token that is asked for, in seconds.
pub(super) const TOKEN_LIFE: i64 = 900;
/// A token that ends sooner than this is renewed first, in seconds.
const TOKEN_MARGIN: u64 = 60;

/// The surroundings of a command.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) ui: Ui,
    /// The environment that was chosen for this command, by flag or variable.
    pub(crate) chosen_environment: Option<String>,
    /// The namespace that was chosen for this command, by flag or variable.
    pub(crate) chosen_namespace: Option<String>,
    /// How long a call may take.
    pub(crate) timeout: Duration,
    /// How long a stream may take, if somebody said so; else it has no limit.
    pub(crate) limit: Option<Duration>,
    /// Where the flags of every command come from.
    pub(crate) sources: Sources,
    config_file: Option<PathBuf>,
    /// The configuration, once it was needed: a command keeps to what it read first.
    config: OnceLock<Config>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag of this command.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// What is kept in a file.
    File(PathBuf),
    /// No login or logout: the owner of the home is its administrator.
    Owner,
    /// Nobody chose it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "flag --{flag}"),
            Self::Variable(name) => write!(formatter, "variable {name}"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Owner => formatter.write_str("owner of this home"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// The flags of every command that were given, by flag or variable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<(&'static str, Source)>);

impl Sources {
    /// Looks at these flags, each with its variable, if it has one.
    pub(crate) fn of_matches(matches: &ArgMatches, flags: &[(&'static str, &'static str)]) -> Self {
        let given = flags.iter().filter_map(|&(flag, variable)| match matches.value_source(flag)? {
            ValueSource::CommandLine => Some((flag, Source::Flag(flag))),
            ValueSource::EnvVariable => Some((flag, Source::Variable(variable))),
            _ => None,
        });
        Self(given.collect())
    }

    /// Where the value of a flag was given, if it was.
    pub(crate) fn of(&self, flag: &str) -> Option<Source> {
        self.0.iter().find(|(given, _)| *given == flag).map(|(_, source)| source.clone())
    }
}

/// The way to a server.
#[derive(Clone)]
pub(crate) struct Connection {
    channel: Channel,
    token: Option<String>,
    namespace: String,
    timeout: Duration,
}

impl Connection {
    /// A client of a building block.
    pub(crate) fn block<C: From<Client>>(&self, name: &str) -> C {
        C::from(self.service(name, DEFAULT_NAMESPACE))
    }

    /// A client of a service in a namespace.
    pub(crate) fn service(&self, name: &str, namespace: &str) -> Client {
        // A command that cannot reach its server says so at once.
        let client = Client::new(self.channel.clone(), name).with_retries(0);
        let client = client.with_namespace(namespace).with_default_timeout(self.timeout);
        match &self.token {
            Some(token) => client.with_token(token),
            None => client,
        }
    }

    /// The namespace the user works in.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same way with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The token in use.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Context {
    pub(crate) fn new(
        home: Home,
        ui: Ui,
        (environment, namespace): (Option<String>, Option<String>),
        timeout: Duration,
        config_file: Option<PathBuf>,
    ) -> Self {
        Self {
            home,
            ui,
            chosen_environment: environment,
            chosen_namespace: namespace,
            timeout,
            limit: None,
            sources: Sources::default(),
            config_file,
            config: OnceLock::new(),
        }
    }

    /// Notes where the flags of every command come from.
    pub(crate) fn with_sources(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// The stored configuration.
    pub(crate) fn stored_config(&self) -> Stored {
        match &self.config_file {
            Some(file) => Stored::at(file.clone()),
            None => Stored::config(&self.home.config),
        }
    }

    /// What stands in the configuration, as this command read it first.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub(crate) fn config(&self) -> anyhow::Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let read = self.stored_config().read()?;
        Ok(self.config.get_or_init(|| read))
    }

    /// The stored logins, beside the configuration.
    pub(crate) fn stored_credentials(&self) -> Stored {
        match self.config_file.as_ref().and_then(|file| file.parent()) {
            Some(folder) => Stored::credentials(folder),
            None => Stored::credentials(&self.home.config),
        }
    }

    /// The name of the environment this command goes to, and where it is.
    ///
    /// # Errors
    /// There is no such environment.
    pub(crate) fn environment(&self) -> anyhow::Result<(String, Environment)> {
        self.environment_in(self.config()?)
    }

    /// The name of the environment that was chosen, whether it is there or not.
    pub(crate) fn environment_name(&self, config: &Config) -> String {
        let chosen = self.chosen_environment.as_ref().or(config.environment.as_ref());
        chosen.cloned().unwrap_or_else(|| LOCAL.to_owned())
    }

    fn environment_in(&self, config: &Config) -> anyhow::Result<(String, Environment)> {
        let name = self.environment_name(config);
        if name == LOCAL {
            return Ok((name, Environment::default()));
        }
        match config.environments.get(&name) {
            Some(environment) => Ok((name, environment.clone())),
            None => Err(Failure::new(exit::NOT_FOUND, format!("there is no environment `{name}`"))
                .hint("list them with `micro env`, add one with `micro env add NAME HOST:PORT`")
                .into()),
        }
    }

    /// The namespace this command works in.
    ///
    /// # Errors
    /// The configuration cannot be read, or what was chosen cannot be a namespace.
    pub(crate) fn namespace(&self) -> anyhow::Result<String> {
        self.namespace_in(self.config()?)
    }

    fn namespace_in(&self, config: &Config) -> anyhow::Result<String> {
        if let Some(namespace) = &self.chosen_namespace {
            names::check_namespace(namespace).map_err(|e| Failure::usage(e.to_string()))?;
            return Ok(namespace.clone());
        }
        let (environment, _) = self.environment_in(config)?;
        Ok(config.namespaces.get(&environment).cloned().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
    }

    /// A way to the server, as the account that is logged in. Starts the local server if none runs.
    ///
    /// # Errors
    /// It cannot be reached, or the login has ended.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        self.connect_with(true).await
    }

    /// As [`Context::connect`], but starts nothing.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub(crate) async fn connect_if_running(&self) -> anyhow::Result<Connection> {
        self.connect_with(false).await
    }

    async fn connect_with(&self, start: bool) -> anyhow::Result<Connection> {
        let config = self.config()?;
        let (environment, place) = self.environment_in(config)?;
        let namespace = self.namespace_in(config)?;
        let credentials: Credentials = self.stored_credentials().read()?;
        let identity = credentials.identity(&environment, &namespace);
        let channel = if environment == LOCAL {
            let running = self.daemon().ensure(start).await?;
            if identity == Identity::Nobody { nobodys(&running.state) } else { running.socket }
        } else {
            remote(&environment, &place)?
        };
        channel.ready().await.with_context(|| format!("environment {environment}"))?;
        let mut connection =
            Connection { channel, token: None, namespace: namespace.clone(), timeout: self.timeout };
        if let Identity::Account { .. } = identity {
            connection.token = Some(self.token(&environment, &connection, &credentials).await?);
        }
        self.ui.detail(format_args!(
            "environment {environment} at {}, namespace {}, as {}",
            connection.channel.address(),
            connection.namespace,
            match identity {
                Identity::Account { id, .. } => id,
                Identity::Owner => "the owner of this home",
                Identity::Nobody => "nobody",
            }
        ));
        Ok(connection)
    }

    /// A way to the server without any login, to log in.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn connect_anonymously(&self) -> anyhow::Result<Connection> {
        self.connect_anonymously_with(true).await
    }

    /// As [`Context::connect_anonymously`], but starts nothing.
    ///
    /// # Errors
    /// As [`Context::connect_anonymously`].
    pub(crate) async fn connect_anonymously_if_running(&self) -> anyhow::Result<Connection> {
        self.connect_anonymously_with(false).await
    }

    async fn connect_anonymously_with(&self, start: bool) -> anyhow::Result<Connection> {
        let (environment, place) = self.environment()?;
        let channel = if environment == LOCAL {
            nobodys(&self.daemon().ensure(start).await?.state)
        } else {
            remote(&environment, &place)?
        };
        channel.ready().await.with_context(|| format!("environment {environment}"))?;
        Ok(Connection { channel, token: None, namespace: self.namespace()?, timeout: self.timeout })
    }

    /// The server of this home.
    pub(crate) fn daemon(&self) -> Daemon<'_> {
        Daemon { home: &self.home, ui: &self.ui, timeout: self.timeout }
    }

    /// The state of the server of this home, if one was ever started.
    pub(crate) fn state(&self) -> Option<State> {
        self.daemon().state()
    }

    /// A token that lasts, renewed if it has to be. Commands that run at once renew it once.
    async fn token(
        &self,
        environment: &str,
        connection: &Connection,
        credentials: &Credentials,
    ) -> anyhow::Result<String> {
        let stored = self.stored_credentials();
        let fresh = |login: Option<&Login>| match login {
            Some(Login::Account { access_token, expiry, .. }) if *expiry > now() + TOKEN_MARGIN => {
                Some(access_token.clone())
            }
            _ => None,
        };
        let namespace = &connection.namespace;
        if let Some(token) = fresh(credentials.get(environment, namespace)) {
            return Ok(token);
        }
        let locked = {
            let stored = stored.clone();
            tokio::task::spawn_blocking(move || stored.lock()).await??
        };
        let credentials: Credentials = locked.read()?;
        let login = credentials.get(environment, namespace);
        if let Some(token) = fresh(login) {
            return Ok(token);
        }
        let Some(Login::Account { id, refresh_token, .. }) = login.cloned() else {
            return Err(logged_out());
        };
        let token = renew(connection, refresh_token, TOKEN_LIFE).await?;
        // Another command that waited for the lock finds the new token.
        locked.change(|credentials: &mut Credentials| {
            credentials.set(environment, namespace, Some(login_of(&id, &token)));
            Ok(())
        })?;
        Ok(token.access_token)
    }

    /// A new access token of the login in use, which goes on beside it.
    ///
    /// # Errors
    /// Nobody is logged in, the login has ended, or the server cannot be reached.
    pub(crate) async fn fresh_token(&self, life: Duration) -> anyhow::Result<String> {
        let (environment, _) = self.environment()?;
        let connection = self.connect().await?;
        let namespace = connection.namespace();
        let stored = self.stored_credentials();
        let locked = tokio::task::spawn_blocking(move || stored.lock()).await??;
        let credentials: Credentials = locked.read()?;
        let Some(Login::Account { id, access_token, refresh_token, expiry }) =
            credentials.get(&environment, namespace).cloned()
        else {
            return Err(logged_out());
        };
        let token = renew(&connection, refresh_token, i64::try_from(life.as_secs())?).await?;
        let refresh_token = token.refresh_token;
        // What commands use keeps its own life, whatever was asked for here.
        locked.change(|credentials: &mut Credentials| {
            let login = Login::Account { id, access_token, refresh_token, expiry };
            credentials.set(&environment, namespace, Some(login));
            Ok(())
        })?;
        Ok(token.access_token)
    }

    /// Keeps a token for later commands.
    ///
    /// # Errors
    /// The credentials cannot be written.
    pub(crate) fn remember(
        &self,
        environment: &str,
        namespace: &str,
        id: &str,
        token: &Token,
    ) -> anyhow::Result<()> {
        self.stored_credentials().change(|credentials: &mut Credentials| {
            credentials.set(environment, namespace, Some(login_of(id, token)));
            Ok(())
        })
    }
}

/// Carries out what goes on until it ends, or its time is over.
///
/// # Errors
/// As it, and 408 when its time is over.
pub(super) async fn within(
    limit: Option<Duration>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Some(limit) = limit else { return work.await };
    let late = |_| {
        let text = format!("not at its end within {}", humantime::format_duration(limit));
        Failure::new(exit::TIMED_OUT, text).hint("allow more time with `--timeout`, or leave it out")
    };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

fn logged_out() -> anyhow::Error {
    Failure::new(exit::NOT_ALLOWED, "not logged in").hint("log in with `micro login`").into()
}

/// Exchanges a refresh token for tokens of the same login; the access token lives these seconds.
async fn renew(connection: &Connection, refresh_token: String, seconds: i64) -> anyhow::Result<Token> {
    let auth: AuthClient = connection.block("auth");
    let request = TokenRequest {
        refresh_token,
        token_expiry: seconds,
        options: Some(Options { namespace: connection.namespace().to_owned() }),
        ..TokenRequest::default()
    };
    let renewed = auth.token(request).await.map_err(|error| match error.code {
        400 | 401 => anyhow::Error::from(
            Failure::new(exit::NOT_ALLOWED, format!("the login has ended: {error}"))
                .hint("log in again with `micro login`"),
        ),
        _ => anyhow::Error::from(error).context("cannot renew the login"),
    })?;
    Ok(renewed.token.unwrap_or_default())
}

/// A token as it is kept.
fn login_of(id: &str, token: &Token) -> Login {
    Login::Account {
        id: id.to_owned(),
        access_token: token.access_token.clone(),
        refresh_token: token.refresh_token.clone(),
        expiry: u64::try_from(token.expiry).unwrap_or(0),
    }
}

/// The way to the local server by which the caller is nobody. The server is proven to be this user's, as by
/// the owner's socket: a password may go there.
fn nobodys(state: &State) -> Channel {
    Channel::unix(local::services_socket(&state.socket))
}

/// The way to a server elsewhere.
fn remote(name: &str, place: &Environment) -> anyhow::Result<Channel> {
    let address = &place.address;
    if address.is_empty() {
        let hint = format!("give it one with `micro env add {name} HOST:PORT`");
        return Err(Failure::usage(format!("environment `{name}` has no address")).hint(hint).into());
    }
    if address.starts_with("https://") || address.ends_with(":443") {
        let text =
            format!("environment `{name}` is reached by TLS, which this version of micro does not speak yet");
        let hint = format!("reach it through a tunnel: `micro env add {name} 127.0.0.1:PORT`");
        return Err(Failure::new(exit::FAILED, text).hint(hint).into());
    }
    Ok(Channel::tcp(address.clone()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
