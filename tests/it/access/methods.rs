//! Which callers may call each method of the contract: the table that every method has to stand in.

use super::doors::Door;

/// Who calls. The namespace that is asked about is `shop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    /// With a token that is none.
    Invalid,
    User,
    Administrator,
    Service,
    OtherAdministrator,
    OtherService,
    /// A person of the platform who is no administrator.
    PlatformUser,
    /// An administrator of the platform.
    Root,
}

impl Caller {
    pub(super) const ALL: [Self; 9] = [
        Self::Nobody,
        Self::Invalid,
        Self::User,
        Self::Administrator,
        Self::Service,
        Self::OtherAdministrator,
        Self::OtherService,
        Self::PlatformUser,
        Self::Root,
    ];
}

/// The callers a method is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// Any caller, also without an account.
    Everybody,
    /// The accounts of the namespace.
    Members,
    /// Its administrators.
    Administrators,
    /// Its administrators, and the service that owns what is asked for.
    Owner,
    /// Its administrators and its services.
    Services,
    /// The administrators of the platform.
    Platform,
    /// Callers on the local socket.
    Socket,
}

impl Open {
    /// 200 where the method may be called, else the code of the refusal.
    pub(super) fn expected(self, caller: Caller, door: Door) -> i64 {
        use Caller as C;
        let granted = match (self, caller) {
            (_, C::Invalid) => return 401,
            (Self::Everybody, _) => true,
            (Self::Socket, _) => door == Door::Socket,
            (_, C::Nobody) => return 401,
            (_, C::Root) => true,
            (Self::Platform, _) | (_, C::OtherAdministrator | C::OtherService | C::PlatformUser) => false,
            (_, C::Administrator) | (Self::Members, _) => true,
            (Self::Owner | Self::Services, _) => caller == C::Service,
            (Self::Administrators, _) => false,
        };
        if granted { 200 } else { 403 }
    }
}

/// A method: its name, the callers it is open to, a request, and what those get that may call it, on the
/// local socket too unless that is told apart.
///
/// In a request `NS` stands for the namespace, `KEY` for the key of something, `TABLE` for a table,
/// and `{n}` for a number that no other request has.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) open: Open,
    pub(super) request: &'static str,
    pub(super) granted: i64,
    /// What is answered holds what is kept for the namespace.
    pub(super) shows: bool,
}

/// What has other words on the local socket, where services can be run.
pub(super) const BY_SOCKET: [(&str, i64); 1] = [("runtime.Runtime.Create", 400)];

const fn method(name: &'static str, open: Open, request: &'static str, granted: i64) -> Method {
    Method { name, open, request, granted, shows: false }
}

const fn shows(name: &'static str, open: Open, request: &'static str) -> Method {
    Method { name, open, request, granted: 200, shows: true }
}

/// Every method there is.
pub(super) const METHODS: &[Method] = &[
    method(
        "auth.Auth.Generate",
        Open::Administrators,
        r#"{"id":"made-{n}","options":{"namespace":"NS"}}"#,
        200,
    ),
    method("auth.Auth.Inspect", Open::Everybody, r#"{"token":"a.b.c","options":{"namespace":"NS"}}"#, 400),
    method("auth.Auth.Token", Open::Everybody, r#"{"id":"KEY","options":{"namespace":"NS"}}"#, 400),
    method("auth.Auth.Local", Open::Socket, r#"{"service":"some","namespace":"NS"}"#, 200),
    method(
        "auth.Auth.Revoke",
        Open::Everybody,
        r#"{"refresh_token":"KEY","options":{"namespace":"NS"}}"#,
        200,
    ),
    method("auth.Auth.RotateKey", Open::Platform, "{}", 200),
    method("auth.Auth.Audit", Open::Administrators, r#"{"options":{"namespace":"NS"},"count":"10"}"#, 200),
    shows("auth.Accounts.List", Open::Administrators, r#"{"options":{"namespace":"NS"}}"#),
    method(
        "auth.Accounts.Delete",
        Open::Administrators,
        r#"{"id":"none","options":{"namespace":"NS"}}"#,
        404,
    ),
    method(
        "auth.Accounts.ChangeSecret",
        Open::Administrators,
        r#"{"id":"none","new_secret":"x","options":{"namespace":"NS"}}"#,
        404,
    ),
    method(
        "auth.Rules.Create",
        Open::Administrators,
        r#"{"rule":{"id":"made-{n}","scope":"none","access":"DENIED","resource":{"type":"service","name":"none","endpoint":"None.None"}},"options":{"namespace":"NS"}}"#,
        200,
    ),
    method("auth.Rules.Delete", Open::Administrators, r#"{"id":"none","options":{"namespace":"NS"}}"#, 200),
    shows("auth.Rules.List", Open::Members, r#"{"options":{"namespace":"NS"}}"#),
    // Not there in this version.
    method("broker.Broker.Publish", Open::Everybody, r#"{"topic":"KEY"}"#, 501),
    method("broker.Broker.Subscribe", Open::Everybody, r#"{"topic":"KEY"}"#, 501),
    shows(
        "config.Config.Get",
        Open::Services,
        r#"{"namespace":"NS","path":"KEY","options":{"secret":true}}"#,
    ),
    method(
        "config.Config.Set",
        Open::Administrators,
        r#"{"namespace":"NS","path":"made","value":{"data":"1"}}"#,
        200,
    ),
    method("config.Config.Delete", Open::Administrators, r#"{"namespace":"NS","path":"none"}"#, 200),
    shows("config.Config.Read", Open::Services, r#"{"namespace":"NS","path":"KEY"}"#),
    shows("config.Config.List", Open::Services, r#"{"namespace":"NS","path":"","options":{"secret":true}}"#),
    shows(
        "config.Config.Watch",
        Open::Services,
        r#"{"namespace":"NS","path":"KEY","options":{"secret":true}}"#,
    ),
    // It is part of every service, and no building block.
    method("debug.Debug.Health", Open::Everybody, "{}", 404),
    method("debug.Debug.Stats", Open::Everybody, "{}", 404),
    // Not there in this version.
    method("events.Stream.Publish", Open::Everybody, r#"{"topic":"KEY"}"#, 501),
    method("events.Stream.Consume", Open::Everybody, r#"{"topic":"KEY"}"#, 501),
    method("events.Store.Read", Open::Everybody, r#"{"topic":"KEY"}"#, 501),
    method("events.Store.Write", Open::Everybody, "{}", 501),
    shows("registry.Registry.GetService", Open::Members, r#"{"service":"KEY","options":{"domain":"NS"}}"#),
    method(
        "registry.Registry.Register",
        Open::Owner,
        r#"{"name":"orders","version":"v{n}","nodes":[{"id":"1","address":"127.0.0.1:1"}],"options":{"domain":"NS"}}"#,
        200,
    ),
    method(
        "registry.Registry.Deregister",
        Open::Owner,
        r#"{"name":"orders","version":"none","nodes":[{"id":"1"}],"options":{"domain":"NS"}}"#,
        200,
    ),
    shows("registry.Registry.ListServices", Open::Members, r#"{"options":{"domain":"NS"}}"#),
    shows("registry.Registry.Watch", Open::Members, r#"{"options":{"domain":"NS"}}"#),
    method(
        "registry.Registry.Describe",
        Open::Services,
        r#"{"descriptor_hash":"x","options":{"domain":"NS"}}"#,
        400,
    ),
    method(
        "registry.Registry.Descriptors",
        Open::Members,
        r#"{"descriptor_hash":"x","options":{"domain":"NS"}}"#,
        404,
    ),
    method(
        "runtime.Runtime.Create",
        Open::Administrators,
        r#"{"resource":{"service":{"name":"made","source":"/nowhere"}},"options":{"namespace":"NS"}}"#,
        501,
    ),
    shows("runtime.Runtime.Read", Open::Members, r#"{"options":{"namespace":"NS"}}"#),
    method(
        "runtime.Runtime.Delete",
        Open::Administrators,
        r#"{"resource":{"service":{"name":"none"}},"options":{"namespace":"NS"}}"#,
        404,
    ),
    method(
        "runtime.Runtime.Update",
        Open::Administrators,
        r#"{"resource":{"service":{"name":"none"}},"options":{"namespace":"NS"}}"#,
        404,
    ),
    shows(
        "runtime.Runtime.Logs",
        Open::Administrators,
        r#"{"service":"parrot","count":"100","options":{"namespace":"NS"}}"#,
    ),
    shows("runtime.Runtime.Watch", Open::Members, r#"{"options":{"namespace":"NS"}}"#),
    method("runtime.Runtime.Clean", Open::Platform, r#"{"dry_run":true}"#, 200),
    // Not there in this version.
    method("runtime.Source.Upload", Open::Everybody, "{}", 501),
    method("runtime.Build.Read", Open::Everybody, r#"{"name":"parrot"}"#, 501),
    shows(
        "store.Store.Read",
        Open::Administrators,
        r#"{"key":"KEY","options":{"database":"NS","table":"TABLE"}}"#,
    ),
    method(
        "store.Store.Write",
        Open::Administrators,
        r#"{"record":{"key":"made","value":"eA=="},"options":{"database":"NS","table":"TABLE"}}"#,
        200,
    ),
    method(
        "store.Store.Delete",
        Open::Administrators,
        r#"{"key":"none","options":{"database":"NS","table":"TABLE"}}"#,
        200,
    ),
    shows("store.Store.List", Open::Administrators, r#"{"options":{"database":"NS","table":"TABLE"}}"#),
    method("store.Store.Databases", Open::Platform, "{}", 200),
    shows("store.Store.Tables", Open::Administrators, r#"{"database":"NS"}"#),
    method(
        "store.Store.Batch",
        Open::Administrators,
        r#"{"database":"NS","changes":[{"table":"TABLE","write":{"key":"made","value":"eA=="}}]}"#,
        200,
    ),
    shows("store.Store.Snapshot", Open::Administrators, r#"{"database":"NS"}"#),
    method("store.Store.Restore", Open::Administrators, r#"{"database":"NS","data":"eA=="}"#, 400),
    shows("store.BlobStore.Read", Open::Administrators, r#"{"key":"/KEY","options":{"namespace":"NS"}}"#),
    method(
        "store.BlobStore.Write",
        Open::Administrators,
        r#"{"key":"/made","blob":"eA==","options":{"namespace":"NS"}}"#,
        200,
    ),
    method(
        "store.BlobStore.Delete",
        Open::Administrators,
        r#"{"key":"/none","options":{"namespace":"NS"}}"#,
        200,
    ),
    shows("store.BlobStore.List", Open::Administrators, r#"{"options":{"namespace":"NS","prefix":"/"}}"#),
];
