//! The building block as its callers meet it: logins, renewals, revocation, who may change what.

mod first_account;
mod forgeries;
mod guesses;

use std::{net::IpAddr, sync::Arc, time::Duration};

use micro_sdk::{
    Client,
    blocks::auth::{AccountsClient, RulesClient},
    proto::auth::{
        Access, ChangeSecretRequest, CreateRequest, DeleteAccountRequest, ListAccountsRequest, ListRequest,
        Resource as Named, RevokeTokenRequest, Rule, Token,
    },
};
use tempfile::TempDir;

use super::*;
use crate::{backend, sockets::Connection};

/// A building block with its own state, and the place its keys lie in.
struct Block {
    auth: Auth,
    database: Arc<dyn Database>,
    keys: TempDir,
    tasks: Tasks,
}

impl Block {
    async fn new() -> Self {
        Self::over(backend::open("memory:").await.unwrap(), tempfile::tempdir().unwrap()).await
    }

    async fn over(database: Arc<dyn Database>, keys: TempDir) -> Self {
        let tasks = Tasks::default();
        let auth = Auth::open(&database, keys.path(), &tasks).await.unwrap();
        Self { auth, database, keys, tasks }
    }

    /// The same state after a restart.
    async fn again(self) -> Self {
        assert!(self.tasks.stop(Duration::from_mins(1)).await);
        Self::over(self.database, self.keys).await
    }

    async fn log_in(&self, caller: &Caller, id: &str, given: &str) -> Result<Token> {
        let request = TokenRequest { id: id.to_owned(), secret: given.to_owned(), ..TokenRequest::default() };
        self.exchange(caller, request).await
    }

    async fn renew(&self, token: &str) -> Result<Token> {
        let request = TokenRequest { refresh_token: token.to_owned(), ..TokenRequest::default() };
        self.exchange(&from("127.0.0.1"), request).await
    }

    async fn exchange(&self, caller: &Caller, request: TokenRequest) -> Result<Token> {
        let answer: TokenResponse = self.call(caller, "Auth.Token", request).await?;
        Ok(answer.token.unwrap())
    }

    async fn make(&self, id: &str, scopes: &[&str]) -> Result<GenerateResponse> {
        let request = GenerateRequest {
            id: id.to_owned(),
            secret: "old".to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..GenerateRequest::default()
        };
        self.call(&Caller::owner(), "Auth.Generate", request).await
    }

    async fn change_secret(&self, caller: &Caller, id: &str, old: &str, new: &str) -> Result<()> {
        let request = ChangeSecretRequest {
            id: id.to_owned(),
            old_secret: old.to_owned(),
            new_secret: new.to_owned(),
            options: None,
        };
        let _: micro_sdk::proto::auth::ChangeSecretResponse =
            self.call(caller, "Accounts.ChangeSecret", request).await?;
        Ok(())
    }

    async fn call<I, O>(&self, caller: &Caller, endpoint: &str, request: I) -> Result<O>
    where
        I: micro_sdk::prost::Message,
        O: micro_sdk::prost::Message + Default + 'static,
    {
        self.client(caller).unary(endpoint, &request).await
    }

    /// A client whose calls come from this caller, as the server's doors would say.
    fn client(&self, caller: &Caller) -> Client {
        let router = micro_sdk::Router::new("auth", self.auth.handlers());
        let caller = caller.clone();
        let (sender, mut pipes) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(pipe) = pipes.recv().await {
                let (router, caller) = (router.clone(), caller.clone());
                let service =
                    hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                        request.extensions_mut().insert(caller.clone());
                        let router = router.clone();
                        async move { Ok::<_, std::convert::Infallible>(router.serve(request).await) }
                    });
                let executor = hyper_util::rt::TokioExecutor::new();
                let connection = hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(hyper_util::rt::TokioIo::new(pipe), service);
                tokio::spawn(connection);
            }
        });
        Client::new(micro_sdk::Channel::new(micro_sdk::Address::Pipe(sender)), "auth")
    }
}

fn from(address: &str) -> Caller {
    let peer = (address.parse::<IpAddr>().unwrap(), 0).into();
    Caller { connection: Some(Connection::new(peer, peer)), ..Caller::default() }
}

/// The owner of the home, before a login.
fn by_socket() -> Caller {
    Caller { owner: true, ..Caller::default() }
}

fn code<T>(result: Result<T>) -> i32 {
    result.map_or_else(|error| error.code, |_| 200)
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_once_and_a_minute_long_for_the_same_successor() {
    let block = Block::new().await;
    let near = by_socket();
    let first = block.log_in(&near, "admin", "micro").await.unwrap();
    let (one, two) = tokio::join!(block.renew(&first.refresh_token), block.renew(&first.refresh_token));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.refresh_token, two.refresh_token);
    assert_ne!(one.refresh_token, first.refresh_token);
    let block = block.again().await;
    assert_eq!(block.renew(&first.refresh_token).await.unwrap().refresh_token, one.refresh_token);
    let third = block.renew(&one.refresh_token).await.unwrap();
    // A refresh token is no secret, and an access token is neither.
    for token in [&third.refresh_token, &third.access_token] {
        assert_eq!(code(block.log_in(&near, "admin", token).await), 400);
    }
    assert_eq!(code(block.renew(&third.access_token).await), 400);
}

#[tokio::test]
async fn a_refresh_token_used_again_later_ends_the_whole_login() {
    let block = Block::new().await;
    let first = block.log_in(&by_socket(), "admin", "micro").await.unwrap();
    let other = block.log_in(&by_socket(), "admin", "micro").await.unwrap();
    let second = block.renew(&first.refresh_token).await.unwrap();
    // As if the exchange had been two minutes ago.
    for entry in block.database.list("auth", &backend::Range::prefix("refresh/")).await.unwrap() {
        let mut stored: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        if let Some(used) = stored["used"].as_u64() {
            stored["used"] = (used - 120).into();
            let put = backend::Commit::new().put("auth", entry.key, stored.to_string().into_bytes());
            block.database.commit(put).await.unwrap();
        }
    }
    block.auth.verify(&second.access_token).unwrap();
    assert_eq!(code(block.renew(&first.refresh_token).await), 400);
    assert_eq!(code(block.renew(&second.refresh_token).await), 400);
    assert_eq!(code(block.auth.verify(&second.access_token)), 401);
    block.auth.verify(&other.access_token).unwrap();
    block.renew(&other.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_logout_ends_the_login_and_no_other() {
    let block = Block::new().await;
    let near = by_socket();
    let [gone, stays] =
        [block.log_in(&near, "admin", "micro").await, block.log_in(&near, "admin", "micro").await];
    let (gone, stays) = (gone.unwrap(), stays.unwrap());
    let request = RevokeTokenRequest { refresh_token: gone.refresh_token.clone(), options: None };
    let _: RevokeTokenResponse = block.call(&near, "Auth.Revoke", request).await.unwrap();
    let block = block.again().await;
    assert_eq!(code(block.auth.verify(&gone.access_token)), 401);
    assert_eq!(code(block.renew(&gone.refresh_token).await), 400);
    block.auth.verify(&stays.access_token).unwrap();
}

#[tokio::test]
async fn another_secret_and_a_deletion_end_all_that_was_issued() {
    let block = Block::new().await;
    let near = from("127.0.0.1");
    block.make("jane", &[]).await.unwrap();
    let before = block.log_in(&near, "jane", "old").await.unwrap();
    let jane = block.auth.verify(&before.access_token).unwrap();
    assert!(block.auth.still_counts(&jane));
    let mut told = block.auth.revocations();
    block.change_secret(&jane, "jane", "old", "new").await.unwrap();
    assert!(told.has_changed().unwrap());
    told.mark_unchanged();
    assert!(!block.auth.still_counts(&jane));
    assert_eq!(code(block.auth.verify(&before.access_token)), 401);
    assert_eq!(code(block.renew(&before.refresh_token).await), 400);
    assert_eq!(code(block.log_in(&near, "jane", "old").await), 400);

    let after = block.log_in(&near, "jane", "new").await.unwrap();
    let block = block.again().await;
    block.auth.verify(&after.access_token).unwrap();
    let delete = || DeleteAccountRequest { id: "jane".to_owned(), options: None };
    let owner = Caller::owner();
    let deleted = |request| block.call(&owner, "Accounts.Delete", request);
    let _: micro_sdk::proto::auth::DeleteAccountResponse = deleted(delete()).await.unwrap();
    assert_eq!(code(block.auth.verify(&after.access_token)), 401);
    assert_eq!(code(block.renew(&after.refresh_token).await), 400);
    let again: Result<micro_sdk::proto::auth::DeleteAccountResponse> = deleted(delete()).await;
    assert_eq!(code(again), 404);

    // A later account of that name does not inherit the tokens.
    block.make("jane", &[]).await.unwrap();
    let block = block.again().await;
    assert_eq!(code(block.auth.verify(&after.access_token)), 401);
    let fresh = block.log_in(&near, "jane", "old").await.unwrap();
    block.auth.verify(&fresh.access_token).unwrap();
}

/// A revocation is kept for as long as access tokens live, logins can be renewed for much longer.
#[tokio::test]
async fn what_has_ended_stays_so_when_its_revocation_is_forgotten() {
    let block = Block::new().await;
    let near = from("127.0.0.1");
    block.make("jane", &[]).await.unwrap();
    let first = block.log_in(&near, "jane", "old").await.unwrap();
    let second = block.renew(&first.refresh_token).await.unwrap();
    let third = block.renew(&second.refresh_token).await.unwrap();
    // Even told by the oldest of its tokens.
    let request = RevokeTokenRequest { refresh_token: first.refresh_token.clone(), options: None };
    let _: micro_sdk::proto::auth::RevokeTokenResponse =
        block.call(&near, "Auth.Revoke", request).await.unwrap();
    let inherited = block.log_in(&near, "jane", "old").await.unwrap();
    let delete = DeleteAccountRequest { id: "jane".to_owned(), options: None };
    let _: micro_sdk::proto::auth::DeleteAccountResponse =
        block.call(&Caller::owner(), "Accounts.Delete", delete).await.unwrap();
    for entry in crate::services::every(&*block.database, "auth", "revoked/").await.unwrap() {
        block.database.commit(backend::Commit::new().delete("auth", entry.key)).await.unwrap();
    }
    let block = block.again().await;
    block.make("jane", &[]).await.unwrap();
    for token in [first, second, third, inherited] {
        assert_eq!(code(block.renew(&token.refresh_token).await), 400);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_with_a_namespace_and_a_life_that_can_be() {
    let block = Block::new().await;
    block.make("x/y", &[]).await.unwrap();
    let request = |id: &str, namespace: &str, life| TokenRequest {
        id: id.to_owned(),
        secret: "old".to_owned(),
        token_expiry: life,
        options: Some(Options { namespace: namespace.to_owned() }),
        ..TokenRequest::default()
    };
    let near = from("127.0.0.1");
    // Together they are the same words.
    for (id, namespace, life) in [("y", "micro/x", 0), ("x/y", "", -1)] {
        assert_eq!(code(block.exchange(&near, request(id, namespace, life)).await), 400);
    }
    block.exchange(&near, request("x/y", "micro", 60)).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_changed_by_who_knows_it_or_by_an_administrator_for_another() {
    let block = Block::new().await;
    let near = from("127.0.0.1");
    for (id, scopes) in [("jane", &[][..]), ("john", &[]), ("boss", &["admin"])] {
        block.make(id, scopes).await.unwrap();
    }
    let caller = |id: &'static str| {
        let block = &block;
        let near = near.clone();
        async move {
            let token = block.log_in(&near, id, "old").await.unwrap();
            Caller { connection: near.connection, ..block.auth.verify(&token.access_token).unwrap() }
        }
    };
    let (jane, boss) = (caller("jane").await, caller("boss").await);
    for (who, id, old, new, expected) in [
        (&near, "jane", "old", "new", 401),
        (&jane, "jane", "wrong", "new", 400),
        (&jane, "jane", "", "new", 400),
        (&jane, "jane", "old", "", 400),
        (&jane, "john", "old", "new", 403),
        (&jane, "nobody", "old", "new", 403),
        (&boss, "nobody", "", "new", 404),
        (&boss, "boss", "", "new", 400),
        (&boss, "boss", "wrong", "new", 400),
        (&boss, "john", "wrong", "new", 400),
        (&boss, "john", "", "new", 200),
        (&boss, "boss", "old", "new", 200),
    ] {
        assert_eq!(code(block.change_secret(who, id, old, new).await), expected, "{id} {old:?} {new:?}");
    }
    block.log_in(&near, "john", "new").await.unwrap();
}

#[tokio::test]
async fn a_namesake_changes_nobodys_secret() {
    let block = Block::new().await;
    block.make("jane", &["admin"]).await.unwrap();
    let make = |id: &str, name: &str, kind: &str| GenerateRequest {
        id: id.to_owned(),
        name: name.to_owned(),
        r#type: kind.to_owned(),
        secret: "old".to_owned(),
        ..GenerateRequest::default()
    };
    // One is called as the other is identified; that one has another name.
    for request in [make("boss", "Boss", "user"), make("x", "boss", "user"), make("own", "own", "service")] {
        let _: GenerateResponse = block.call(&Caller::owner(), "Auth.Generate", request).await.unwrap();
    }
    let stored = |id: &'static str| {
        let block = &block;
        async move {
            let token = block.log_in(&from("127.0.0.1"), id, "old").await.unwrap();
            block.auth.verify(&token.access_token).unwrap()
        }
    };
    let (called, service) = (stored("x").await, stored("own").await);
    // A process of a service that bears the name of a person.
    let (id, secret) = block.auth.begin_instance("micro", "jane", "jane-1", &[]).unwrap();
    let token = block.log_in(&from("127.0.0.1"), &id, &secret).await.unwrap();
    let process = block.auth.verify(&token.access_token).unwrap();
    for (who, id, old, expected) in [
        (&called, "boss", "", 403),
        (&called, "boss", "old", 403),
        (&process, "jane", "", 403),
        (&process, "jane", "old", 403),
        (&service, "own", "", 400),
        (&service, "own", "old", 200),
        (&called, "x", "old", 200),
    ] {
        assert_eq!(code(block.change_secret(who, id, old, "new").await), expected, "{who:?} {id} {old:?}");
    }
}

#[tokio::test]
async fn what_becomes_of_a_person_does_not_concern_the_service_of_that_name() {
    let block = Block::new().await;
    block.make("orders", &[]).await.unwrap();
    let (id, secret) = block.auth.begin_instance("micro", "orders", "orders-1", &[]).unwrap();
    let before = block.log_in(&from("127.0.0.1"), &id, &secret).await.unwrap();
    block.change_secret(&Caller::owner(), "orders", "", "new").await.unwrap();
    block.auth.verify(&before.access_token).unwrap();
    let after = block.log_in(&from("127.0.0.1"), &id, &secret).await.unwrap();
    block.auth.verify(&after.access_token).unwrap();
    block.auth.end_instance("orders-1");
    for token in [before, after] {
        assert_eq!(code(block.auth.verify(&token.access_token)), 401);
    }
}

#[tokio::test]
async fn an_introduction_is_for_one_service_and_for_no_call() {
    let block = Block::new().await;
    let header = block.auth.introduce_owner("micro", "orders").unwrap();
    assert_eq!(block.auth.introduce_owner("micro", "orders").unwrap(), header, "made once");
    assert_ne!(block.auth.introduce_owner("micro", "other").unwrap(), header);
    let token = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(code(block.auth.verify(token)), 401);
    let service = |namespace: &str, id: &str| {
        let account = super::instances::service_account(namespace, id, Vec::new());
        Some(account)
    };
    let person = Account { r#type: USER.to_owned(), ..service("micro", "orders").unwrap() };
    for (asking, known) in [
        (service("micro", "orders"), true),
        (service("micro", "other"), false),
        (service("shop", "orders"), false),
        (Some(person), false),
        (Caller::owner().account.as_deref().cloned(), false),
        (None, false),
    ] {
        let told = block.auth.verify_for(token, asking.as_ref());
        assert_eq!(told.is_ok(), known, "{asking:?}");
        if let Ok(told) = told {
            assert_eq!(told.account().unwrap().id, "admin");
        }
    }
}

#[tokio::test]
async fn rules_are_enforced_and_never_shut_out_who_mends_them() {
    let block = Block::new().await;
    block.make("boss", &["admin"]).await.unwrap();
    block.make("jane", &[]).await.unwrap();
    let near = from("127.0.0.1");
    let token = block.log_in(&near, "jane", "old").await.unwrap();
    let jane = block.auth.verify(&token.access_token).unwrap();
    let resource = |service, endpoint| Resource { namespace: "micro", service, endpoint };
    let allowed =
        |caller: &Caller, service, endpoint| code(block.auth.authorise(caller, resource(service, endpoint)));
    assert_eq!(allowed(&near, "store", "Store.Read"), 200);
    let rules = RulesClient::new(block.client(&Caller::owner()));
    let rule = |id: &str, scope: &str, name: &str, endpoint: &str| CreateRequest {
        rule: Some(Rule {
            id: id.to_owned(),
            scope: scope.to_owned(),
            resource: Some(Named { name: name.into(), r#type: "*".into(), endpoint: endpoint.into() }),
            access: Access::Granted.into(),
            priority: 0,
        }),
        options: None,
    };
    rules.create(rule("known", "*", "*", "*")).await.unwrap();
    rules.create(rule("login", "", "auth", "Auth.Token")).await.unwrap();
    assert_eq!(allowed(&near, "store", "Store.Read"), 200);
    rules
        .delete(micro_sdk::proto::auth::DeleteRequest { id: "default".into(), options: None })
        .await
        .unwrap();
    assert_eq!(allowed(&near, "store", "Store.Read"), 401);
    assert_eq!(allowed(&near, "auth", "Auth.Token"), 200);
    assert_eq!(allowed(&jane, "store", "store.read"), 200);
    rules.create(rule("few", "few", "*", "*")).await.unwrap();
    rules.delete(micro_sdk::proto::auth::DeleteRequest { id: "known".into(), options: None }).await.unwrap();
    assert_eq!(allowed(&jane, "store", "Store.Read"), 403);
    assert_eq!(allowed(&Caller::owner(), "store", "Store.Read"), 403);
    assert_eq!(allowed(&Caller::owner(), "auth", "Rules.Create"), 200);
    assert_eq!(allowed(&jane, "auth", "Rules.Create"), 403);
    let block = block.again().await;
    assert_eq!(code(block.auth.authorise(&jane, resource("store", "Store.Read"))), 403);
    let listed = RulesClient::new(block.client(&jane)).list(ListRequest { options: None }).await.unwrap();
    assert_eq!(listed.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["few", "login"]);
    let refused = RulesClient::new(block.client(&jane)).create(rule("mine", "", "*", "*")).await;
    assert_eq!(code(refused), 403);
}

#[tokio::test]
async fn accounts_are_listed_without_secrets_and_nobody_deletes_themselves() {
    let block = Block::new().await;
    let owner = AccountsClient::new(block.client(&Caller::owner()));
    block.make("jane", &["a"]).await.unwrap();
    assert_eq!(code(block.make("jane", &[]).await), 400);
    let listed = owner.list(ListAccountsRequest { options: None }).await.unwrap().accounts;
    // The account of a fresh server is not made beside one that somebody has made before it.
    assert_eq!(listed.iter().map(|account| account.id.as_str()).collect::<Vec<_>>(), ["jane"]);
    assert!(listed.iter().all(|account| account.secret.is_empty()));
    let token = block.log_in(&from("127.0.0.1"), "jane", "old").await.unwrap();
    let jane = AccountsClient::new(block.client(&block.auth.verify(&token.access_token).unwrap()));
    assert_eq!(code(jane.list(ListAccountsRequest { options: None }).await), 403);
    let own = DeleteAccountRequest { id: "admin".to_owned(), options: None };
    block.make("admin", &["admin"]).await.unwrap();
    assert_eq!(code(owner.delete(own).await), 400);
}

#[tokio::test]
async fn the_tokens_of_an_instance_end_with_it() {
    let block = Block::new().await;
    let (id, secret) = block.auth.begin_instance("shop", "orders", "orders-1", &[]).unwrap();
    let request = TokenRequest {
        id,
        secret,
        options: Some(Options { namespace: "shop".to_owned() }),
        ..TokenRequest::default()
    };
    let token = block.exchange(&from("127.0.0.1"), request.clone()).await.unwrap();
    block.auth.verify(&token.access_token).unwrap();
    block.auth.end_instance("orders-1");
    assert_eq!(code(block.auth.verify(&token.access_token)), 401);
    assert_eq!(code(block.exchange(&from("127.0.0.1"), request).await), 400);
}

#[tokio::test]
async fn an_account_that_looks_like_another_is_refused_while_that_is_there() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    for alike in ["Jane", "JANE", "j\u{430}ne"] {
        let error = block.make(alike, &[]).await.unwrap_err();
        assert!(error.code == 400 && error.detail.contains("`jane`"), "{alike}: {error:?}");
    }
    block.make("john", &[]).await.unwrap();
    let request = DeleteAccountRequest { id: "jane".to_owned(), options: None };
    let _: micro_sdk::proto::auth::DeleteAccountResponse =
        block.call(&Caller::owner(), "Accounts.Delete", request).await.unwrap();
    block.make("Jane", &[]).await.unwrap();
    assert_eq!(code(block.make("jane", &[]).await), 400);
}
