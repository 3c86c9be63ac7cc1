//! What each method of the building blocks takes at most, and who may call it at all, in one table:
//! the server asks it before a byte of a message is read. The blocks' own checks, which need the
//! message, come after.

use micro_sdk::{Error, MESSAGE_LIMIT, Result};

use super::auth::Caller;

/// Who may call a method, as far as that does not depend on what the message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Any caller that the rules allow.
    Anyone,
    /// An account.
    Account,
    /// The owner of the home, by the local socket.
    Owner,
}

/// A method of a building block.
#[derive(Debug)]
pub(crate) struct Method {
    block: &'static str,
    /// `Handler.Method`.
    endpoint: &'static str,
    /// The largest message, in bytes, in whichever form it is written.
    pub(crate) limit: usize,
    who: Who,
    /// The caller sends a stream, and may take its time before the first message.
    pub(crate) streams: bool,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn method(block: &'static str, endpoint: &'static str, limit: usize, who: Who) -> Method {
    Method { block, endpoint, limit, who, streams: false }
}

const fn upload(block: &'static str, endpoint: &'static str, who: Who) -> Method {
    Method { block, endpoint, limit: MESSAGE_LIMIT, who, streams: true }
}

/// Every method of the contract, in order of block and endpoint. JSON writes some characters with six
/// bytes and base64 with four for three, so that a limit leaves room for that.
static METHODS: [Method; 54] = {
    use Who::{Account, Anyone, Owner};
    [
        method("auth", "Accounts.ChangeSecret", 16 * KIB, Account),
        method("auth", "Accounts.Delete", 8 * KIB, Account),
        method("auth", "Accounts.List", 4 * KIB, Account),
        method("auth", "Auth.Audit", 4 * KIB, Account),
        method("auth", "Auth.Generate", 32 * KIB, Account),
        method("auth", "Auth.Inspect", 16 * KIB, Anyone),
        method("auth", "Auth.Local", 4 * KIB, Owner),
        method("auth", "Auth.Revoke", 4 * KIB, Anyone),
        method("auth", "Auth.RotateKey", 4 * KIB, Account),
        method("auth", "Auth.Token", 4 * KIB, Anyone),
        method("auth", "Rules.Create", 64 * KIB, Account),
        method("auth", "Rules.Delete", 8 * KIB, Account),
        method("auth", "Rules.List", 4 * KIB, Account),
        method("broker", "Broker.Publish", MESSAGE_LIMIT, Anyone),
        method("broker", "Broker.Subscribe", 64 * KIB, Anyone),
        method("config", "Config.Delete", 64 * KIB, Account),
        method("config", "Config.Get", 64 * KIB, Account),
        method("config", "Config.List", 64 * KIB, Account),
        method("config", "Config.Read", 64 * KIB, Account),
        method("config", "Config.Set", 4 * MIB, Account),
        method("config", "Config.Watch", 64 * KIB, Account),
        method("events", "Store.Read", 64 * KIB, Anyone),
        method("events", "Store.Write", MESSAGE_LIMIT, Anyone),
        method("events", "Stream.Consume", 64 * KIB, Anyone),
        method("events", "Stream.Publish", MESSAGE_LIMIT, Anyone),
        method("registry", "Registry.Deregister", 256 * KIB, Account),
        // The largest set of descriptors, also in base64.
        method("registry", "Registry.Describe", 6 * MIB, Account),
        method("registry", "Registry.Descriptors", 4 * KIB, Account),
        method("registry", "Registry.GetService", 4 * KIB, Account),
        method("registry", "Registry.ListServices", 4 * KIB, Account),
        method("registry", "Registry.Register", 256 * KIB, Account),
        method("registry", "Registry.Watch", 4 * KIB, Account),
        method("runtime", "Build.Read", 16 * KIB, Anyone),
        method("runtime", "Runtime.Clean", 4 * KIB, Account),
        method("runtime", "Runtime.Create", MIB, Account),
        method("runtime", "Runtime.Delete", 64 * KIB, Account),
        method("runtime", "Runtime.Logs", 64 * KIB, Account),
        method("runtime", "Runtime.Read", 64 * KIB, Account),
        method("runtime", "Runtime.Update", MIB, Account),
        method("runtime", "Runtime.Watch", 64 * KIB, Account),
        upload("runtime", "Source.Upload", Anyone),
        method("store", "BlobStore.Delete", 64 * KIB, Account),
        method("store", "BlobStore.List", 64 * KIB, Account),
        method("store", "BlobStore.Read", 64 * KIB, Account),
        upload("store", "BlobStore.Write", Account),
        method("store", "Store.Batch", MESSAGE_LIMIT, Account),
        method("store", "Store.Databases", 4 * KIB, Account),
        method("store", "Store.Delete", 64 * KIB, Account),
        method("store", "Store.List", 64 * KIB, Account),
        method("store", "Store.Read", 64 * KIB, Account),
        upload("store", "Store.Restore", Account),
        method("store", "Store.Snapshot", 64 * KIB, Account),
        method("store", "Store.Tables", 4 * KIB, Account),
        method("store", "Store.Write", MESSAGE_LIMIT, Account),
    ]
};

impl Method {
    /// The method of a building block by its exact name.
    pub(crate) fn find(block: &str, endpoint: &str) -> Option<&'static Self> {
        let found =
            METHODS.binary_search_by(|method| (method.block, method.endpoint).cmp(&(block, endpoint)));
        found.ok().map(|index| &METHODS[index])
    }

    /// Whether its answer goes on for as long as something changes.
    pub(crate) fn follows(&self) -> bool {
        let endpoints = ["Auth.Audit", "Config.Watch", "Registry.Watch", "Runtime.Logs", "Runtime.Watch"];
        endpoints.contains(&self.endpoint)
    }

    /// Refuses who may not call it, whatever the message says.
    ///
    /// # Errors
    /// 401 for an anonymous call, 403 for one that did not come from the owner of the home.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<()> {
        match self.who {
            Who::Anyone => Ok(()),
            Who::Account => caller.account().map(drop),
            Who::Owner if caller.owner => Ok(()),
            Who::Owner => Err(Error::forbidden("a token without a secret is given on the local socket only")),
        }
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::names::BLOCKS;

    #[test]
    fn every_method_of_the_contract_has_its_limit() {
        let keys: Vec<_> = METHODS.iter().map(|method| (method.block, method.endpoint)).collect();
        assert!(keys.is_sorted(), "the table is searched by halves");
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let mut count = 0;
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let (service, block) =
                (method.parent_service().clone(), method.parent_service().package_name().to_owned());
            // What every service has is no building block.
            if !BLOCKS.contains(&block.as_str()) {
                assert_eq!(block, "debug");
                continue;
            }
            let endpoint = format!("{}.{}", service.name(), method.name());
            let found = Method::find(&block, &endpoint).unwrap_or_else(|| panic!("{block}: {endpoint}"));
            assert_eq!(found.streams, method.is_client_streaming(), "{block}: {endpoint}");
            assert!(found.limit <= MESSAGE_LIMIT);
            count += 1;
        }
        assert_eq!(count, METHODS.len(), "the table names what does not exist");
    }
}
