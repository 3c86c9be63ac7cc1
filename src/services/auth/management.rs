//! The management of accounts and rules: who may, then the deed, then a note of it.

use micro_sdk::{
    Context, Error, Result, blocks,
    proto::auth::{
        ChangeSecretRequest, ChangeSecretResponse, CreateRequest, CreateResponse, DeleteAccountRequest,
        DeleteAccountResponse, DeleteRequest, DeleteResponse, ListAccountsRequest, ListAccountsResponse,
        ListRequest, ListResponse,
    },
};

use super::{Auth, Caller, check_id, check_secret, namespace, place::Place, secret};
use crate::services::PLATFORM;

impl blocks::auth::Accounts for Auth {
    async fn list(&self, cx: Context, request: ListAccountsRequest) -> Result<ListAccountsResponse> {
        let namespace = namespace(request.options.as_ref())?;
        Caller::of(&cx).may_administer(namespace)?;
        if namespace == PLATFORM {
            self.0.accounts.ensure_default(&self.0.revocations, Place::of(&Caller::of(&cx)).await).await?;
        }
        let records = self.0.accounts.list(namespace).await?;
        Ok(ListAccountsResponse {
            accounts: records.iter().map(|record| record.account(namespace)).collect(),
        })
    }

    async fn delete(&self, cx: Context, request: DeleteAccountRequest) -> Result<DeleteAccountResponse> {
        let namespace = namespace(request.options.as_ref())?;
        let caller = Caller::of(&cx);
        let by = caller.may_administer(namespace)?;
        let record = self.known(namespace, &request.id).await?;
        if by.issuer == namespace && by.id == record.id {
            return Err(Error::bad_request("nobody can delete their own account: another administrator can"));
        }
        self.0.revocations.check_room(namespace, &record.id, caller.is_platform_admin())?;
        self.0.accounts.delete(namespace, &record.id, &self.0.revocations).await?;
        self.note_change(&caller, namespace, "account.delete", &record.id);
        Ok(DeleteAccountResponse {})
    }

    async fn change_secret(&self, cx: Context, request: ChangeSecretRequest) -> Result<ChangeSecretResponse> {
        let namespace = namespace(request.options.as_ref())?;
        let caller = Caller::of(&cx);
        let by = caller.may_enter(namespace)?;
        if request.new_secret.is_empty() {
            return Err(Error::bad_request("the new secret is missing"));
        }
        check_id(&request.id)?;
        check_secret(&request.old_secret)?;
        check_secret(&request.new_secret)?;
        let administers = caller.may_administer(namespace).is_ok();
        let only_own = || Error::forbidden(format!("account {} may change its own secret only", by.id));
        // A caller that may change only its own secret learns nothing about other accounts.
        if !administers && by.id != request.id && by.name != request.id {
            return Err(only_own());
        }
        let record = self.known(namespace, &request.id).await?;
        // A service may bear the name of a person, and a person be called as another is identified.
        let own = by.issuer == namespace && by.id == record.id && by.r#type == record.r#type;
        if !administers && !own {
            return Err(only_own());
        }
        self.0.revocations.check_room(namespace, &record.id, caller.is_platform_admin())?;
        // An administrator may change another's secret, the owner of the home any. To change
        // one's own takes the old one.
        let must_know = own && !caller.owner;
        let mut good = !must_know && request.old_secret.is_empty();
        if !good {
            match self.log_in(&caller, namespace, &record.id, &request.old_secret).await {
                Ok(known) => good = known.id == record.id,
                // Not yet.
                Err(error) if error.code == 429 => return Err(error),
                Err(_) => {}
            }
        }
        if !good {
            return Err(Error::bad_request("the old secret is not right"));
        }
        let turn = self.0.turns.take(Place::of(&caller).await).await?;
        let stored = secret::hash(turn, request.new_secret).await?;
        self.0.accounts.change_secret(namespace, &record.id, stored, &self.0.revocations).await?;
        self.note_change(&caller, namespace, "account.secret", &record.id);
        Ok(ChangeSecretResponse {})
    }
}

impl Auth {
    async fn known(&self, namespace: &str, id_or_name: &str) -> Result<super::Record> {
        check_id(id_or_name)?;
        let missing = || Error::not_found(format!("no account {id_or_name} in namespace {namespace}"));
        self.0.accounts.find(namespace, id_or_name).await?.ok_or_else(missing)
    }
}

impl blocks::auth::Rules for Auth {
    async fn create(&self, cx: Context, request: CreateRequest) -> Result<CreateResponse> {
        let namespace = namespace(request.options.as_ref())?;
        let caller = Caller::of(&cx);
        caller.may_administer(namespace)?;
        let rule = request.rule.ok_or_else(|| Error::bad_request("the rule is missing"))?;
        let id = rule.id.clone();
        self.0.rules.create(namespace, rule).await?;
        self.0.revocations.tell();
        self.note_change(&caller, namespace, "rule.create", &id);
        Ok(CreateResponse {})
    }

    async fn delete(&self, cx: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let namespace = namespace(request.options.as_ref())?;
        let caller = Caller::of(&cx);
        caller.may_administer(namespace)?;
        if request.id.is_empty() {
            return Err(Error::bad_request("the id of the rule is missing"));
        }
        let existed = self.0.rules.delete(namespace, &request.id).await?;
        if existed {
            self.0.revocations.tell();
            self.note_change(&caller, namespace, "rule.delete", &request.id);
        }
        Ok(DeleteResponse { existed, missing: !existed })
    }

    async fn list(&self, cx: Context, request: ListRequest) -> Result<ListResponse> {
        let namespace = namespace(request.options.as_ref())?;
        Caller::of(&cx).may_enter(namespace)?;
        Ok(ListResponse { rules: self.0.rules.list(namespace) })
    }
}
