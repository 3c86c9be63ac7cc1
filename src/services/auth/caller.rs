//! Who calls, and what that lets them do. The server makes a [`Caller`] once per call, at the
//! door; the building blocks ask it.

use std::{fmt, net::IpAddr, sync::Arc};

use micro_sdk::{Context, Error, Result, proto::auth::Account};

use super::{place::Place, revocation::Ties, rules::Subject};
use crate::{names, services::PLATFORM, sockets::Connection};

/// The type of the accounts that services have.
pub(crate) const SERVICE: &str = "service";
/// The type of the accounts that people have.
pub(crate) const USER: &str = "user";
/// The scope of administrators.
pub(crate) const ADMIN: &str = "admin";

/// The caller of a call: a verified account or nobody, and the way it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// None for an anonymous call.
    pub(crate) account: Option<Arc<Account>>,
    /// It came by the local socket, from the user who owns the home.
    pub(crate) owner: bool,
    /// It came by the socket for services, from a process of the user who owns the home.
    pub(crate) service: bool,
    /// The connection it came by, or none for a local socket.
    pub(crate) connection: Option<Connection>,
    /// What the token depends on that proved the account; none for a caller without a token, such as
    /// the owner of the home, whose connection is the proof: no revocation concerns it.
    pub(crate) ties: Option<Ties>,
}

/// A holder of something of which no one may have too much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// An account.
    Account { namespace: String, kind: String, id: String },
    /// All accounts of a namespace.
    Namespace(String),
    /// Who has no account, at a place.
    Anonymous(Place),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { id, .. } => write!(f, "account {}", names::shown(id)),
            Self::Namespace(name) => write!(f, "namespace {}", names::shown(name)),
            Self::Anonymous(_) => f.write_str("callers without an account"),
        }
    }
}

impl Caller {
    /// The holders that what the caller holds is counted for: the account, then all of its namespace.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let Some(account) = &self.account else {
            return vec![Holder::Anonymous(self.address().map_or(Place::Loopback, Place::at))];
        };
        let Account { issuer, r#type, id, .. } = &**account;
        let (namespace, kind, id) = (issuer.clone(), r#type.clone(), id.clone());
        vec![Holder::Account { namespace: namespace.clone(), kind, id }, Holder::Namespace(namespace)]
    }

    /// The caller that the server attached to a call.
    pub(crate) fn of(cx: &Context) -> Self {
        cx.extension::<Self>().cloned().unwrap_or_default()
    }

    /// The account of the owner of the home: of callers on the local socket without a token.
    pub(crate) fn owner() -> Self {
        let account = Account {
            id: names::ADMINISTRATOR.into(),
            name: names::ADMINISTRATOR.into(),
            r#type: USER.into(),
            scopes: vec![ADMIN.into()],
            issuer: PLATFORM.into(),
            ..Account::default()
        };
        Self { account: Some(Arc::new(account)), owner: true, ..Self::default() }
    }

    /// The account.
    ///
    /// # Errors
    /// 401 for an anonymous call.
    pub(crate) fn account(&self) -> Result<&Account> {
        self.account.as_deref().ok_or_else(|| Error::unauthorized("an account is required: log in first"))
    }

    /// Where it came from: `local socket`, or an address without its port.
    pub(super) fn peer(&self) -> String {
        self.address().map_or_else(|| "local socket".to_owned(), |address| address.to_string())
    }

    /// The address it came from, as IPv4 where it is one; none for the local socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.connection.map(|connection| connection.peer().ip())
    }

    /// The Unix user whose process calls, as far as the system tells: enough to tell users apart, and no
    /// proof. Reads the tables of the system, so it is for seldom questions such as logins.
    pub(super) async fn uid(&self) -> Option<u32> {
        match self.connection {
            None => self.local_uid(),
            Some(connection) if connection.peer().ip().is_loopback() => connection.caller_uid().await,
            Some(_) => None,
        }
    }

    /// The same if it is proven: by the local socket, or by a connection within this machine that is
    /// open in both directions, whose other end the system shows.
    async fn proven_uid(&self) -> Option<u32> {
        match self.connection {
            None => self.local_uid(),
            Some(connection) if connection.peer().ip().is_loopback() => connection.proven_caller_uid().await,
            Some(_) => None,
        }
    }

    fn local_uid(&self) -> Option<u32> {
        (self.owner || self.service).then(|| rustix::process::getuid().as_raw())
    }

    /// It is proven to come from this machine, from the user who runs the server.
    pub(super) async fn is_of_our_user(&self) -> bool {
        self.proven_uid().await == Some(rustix::process::getuid().as_raw())
    }

    /// Administrators of the platform may enter every namespace.
    pub(super) fn is_platform_admin(&self) -> bool {
        self.account.as_ref().is_some_and(|a| a.issuer == PLATFORM && is_admin(a))
    }

    /// May read what the whole namespace may see.
    ///
    /// # Errors
    /// 401 for an anonymous call, 403 for an account of another namespace.
    pub(crate) fn may_enter(&self, namespace: &str) -> Result<&Account> {
        let account = self.account()?;
        if self.is_platform_admin()
            || (account.issuer == namespace && matches!(account.r#type.as_str(), USER | SERVICE))
        {
            return Ok(account);
        }
        Err(Error::forbidden(format!(
            "access denied to namespace {namespace}: account {} belongs to namespace {}",
            account.id, account.issuer
        )))
    }

    /// May change what the whole namespace sees.
    ///
    /// # Errors
    /// As [`Caller::may_enter`], and 403 for an account that is no administrator.
    pub(crate) fn may_administer(&self, namespace: &str) -> Result<&Account> {
        let account = self.may_enter(namespace)?;
        if is_admin(account) {
            return Ok(account);
        }
        Err(Error::forbidden(format!(
            "account {} is not an administrator of namespace {namespace}",
            account.id
        )))
    }

    /// The service that calls, if it is one of this namespace.
    pub(crate) fn service_of(&self, namespace: &str) -> Option<&str> {
        let account = self.account.as_ref()?;
        (account.r#type == SERVICE && account.issuer == namespace).then_some(account.id.as_str())
    }

    /// May register nodes of this service: a service its own, an administrator any.
    ///
    /// # Errors
    /// As [`Caller::may_administer`].
    pub(crate) fn may_register(&self, namespace: &str, service: &str) -> Result<()> {
        self.may_enter(namespace)?;
        if self.service_of(namespace) == Some(service) {
            return Ok(());
        }
        self.may_administer(namespace).map(drop)
    }
}

fn is_admin(account: &Account) -> bool {
    account.r#type == USER && account.scopes.iter().any(|scope| scope == ADMIN)
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'a> {
    /// The namespace of the service; `micro` for a building block.
    pub(crate) namespace: &'a str,
    /// The name of the service.
    pub(crate) service: &'a str,
    /// `Handler.Method`.
    pub(crate) endpoint: &'a str,
}

impl<'a> Resource<'a> {
    pub(super) fn subject(&self) -> Subject<'a> {
        Subject { r#type: "service", name: self.service, separator: None, endpoint: self.endpoint }
    }
}

/// What is kept for a namespace, beside its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table of the store.
    Table,
    /// The config, by its paths.
    Config,
    /// The blobs, by their keys.
    Blob,
}

impl Kind {
    /// As rules name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Config => "config",
            Self::Blob => "blob",
        }
    }

    /// What separates the parts of its names.
    fn separator(self) -> Option<char> {
        match self {
            Self::Table => None,
            Self::Config => Some('.'),
            Self::Blob => Some('/'),
        }
    }
}

/// Something that is kept, and what is to be done with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thing<'a> {
    pub(crate) kind: Kind,
    /// The table, path or key.
    pub(crate) name: &'a str,
    /// `Handler.Method`.
    pub(crate) method: &'a str,
}

impl<'a> Thing<'a> {
    /// Whether it is a service's own: its table, what stands below its name in the config or among
    /// the blobs. Config is read by every service of the namespace.
    pub(super) fn belongs_to(&self, service: &str) -> bool {
        let reads = || matches!(self.method, "Config.Get" | "Config.List" | "Config.Read" | "Config.Watch");
        self.name == service
            || (self.kind == Kind::Config && reads())
            || self.kind.separator().is_some_and(|separator| {
                self.name.strip_prefix(service).is_some_and(|below| below.starts_with(separator))
            })
    }

    /// As people name it.
    pub(super) fn words(&self) -> String {
        let name: String = self.name.chars().take(100).collect();
        match (self.kind, name.as_str()) {
            (Kind::Table, "") => "all tables".to_owned(),
            (Kind::Config, "") => "the whole config".to_owned(),
            (Kind::Blob, "") => "all blobs".to_owned(),
            (Kind::Table, name) => format!("the table `{name}`"),
            (Kind::Config, name) => format!("the config `{name}`"),
            (Kind::Blob, name) => format!("the blob `{name}`"),
        }
    }

    /// Whether what stands below its name is part of it: of a path of the config always, of other
    /// things where the whole is meant, such as a list of all keys below a place.
    pub(super) fn is_whole(&self) -> bool {
        self.kind == Kind::Config
            || self.name.is_empty()
            || self.kind.separator().is_some_and(|separator| self.name.ends_with(separator))
    }

    /// As rules mean it.
    pub(super) fn subject(&self) -> Subject<'a> {
        Subject {
            r#type: self.kind.name(),
            name: self.name,
            separator: self.kind.separator(),
            endpoint: self.method,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(r#type: &str, id: &str, issuer: &str, scopes: &[&str]) -> Caller {
        let account = Account {
            id: id.into(),
            r#type: r#type.into(),
            issuer: issuer.into(),
            scopes: scopes.iter().map(|&s| s.into()).collect(),
            ..Account::default()
        };
        Caller { account: Some(Arc::new(account)), ..Caller::default() }
    }

    fn code<T>(result: Result<T>) -> i32 {
        result.map_or_else(|e| e.code, |_| 200)
    }

    #[test]
    fn accounts_stay_in_their_namespace() {
        let table = [
            (Caller::default(), "micro", 401, 401),
            (caller(USER, "u", "a", &[]), "a", 200, 403),
            (caller(USER, "u", "a", &[ADMIN]), "a", 200, 200),
            (caller(USER, "u", "a", &[ADMIN]), "b", 403, 403),
            (caller(USER, "u", "micro", &[]), "b", 403, 403),
            (caller(USER, "u", "micro", &[ADMIN]), "b", 200, 200),
            (caller("robot", "u", "a", &[ADMIN]), "a", 403, 403),
        ];
        for (caller, namespace, enter, administer) in table {
            assert_eq!(code(caller.may_enter(namespace)), enter, "{caller:?}");
            assert_eq!(code(caller.may_administer(namespace)), administer, "{caller:?}");
        }
    }

    #[test]
    fn a_service_of_the_platform_namespace_is_no_administrator() {
        let service = caller(SERVICE, "s", "micro", &["service", "admin"]);
        assert_eq!(code(service.may_administer("micro")), 403);
        assert_eq!(code(service.may_enter("other")), 403);
    }

    #[test]
    fn a_service_registers_itself_and_nobody_else() {
        let service = caller(SERVICE, "s", "a", &[]);
        assert_eq!(code(service.may_register("a", "s")), 200);
        assert_eq!(code(service.may_register("a", "t")), 403);
        assert_eq!(code(service.may_register("b", "s")), 403);
        assert_eq!(code(caller(USER, "s", "a", &[]).may_register("a", "s")), 403);
    }

    #[test]
    fn a_service_owns_what_bears_its_name() {
        let thing = |kind, name, method| Thing { kind, name, method };
        for (kind, name, method, own) in [
            (Kind::Table, "v1.shop", "Store.Write", true),
            (Kind::Table, "v1", "Store.Read", false),
            (Kind::Table, "v1.shop.x", "Store.Read", false),
            (Kind::Config, "v1.shop", "Config.Set", true),
            (Kind::Config, "v1.shop.price", "Config.Set", true),
            (Kind::Config, "v1.shopping", "Config.Set", false),
            (Kind::Config, "v1", "Config.Set", false),
            (Kind::Config, "", "Config.Set", false),
            (Kind::Config, "other", "Config.Get", true),
            (Kind::Config, "other", "Config.Delete", false),
            (Kind::Blob, "v1.shop/a", "BlobStore.Write", true),
            (Kind::Blob, "v1.shop.a", "BlobStore.Write", false),
            (Kind::Blob, "", "BlobStore.List", false),
        ] {
            assert_eq!(thing(kind, name, method).belongs_to("v1.shop"), own, "{kind:?} {name} {method}");
        }
    }
}
