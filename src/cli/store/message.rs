//! Records whose values are messages of a service, as JSON: by the schema which that service has registered.

use micro_sdk::{proto::store::Record, store::MESSAGE};
use prost_reflect::DescriptorPool;

use crate::{
    cli::{
        context::{Connection, Context},
        discover,
    },
    transcode,
};

/// The largest JSON text of a record, in bytes.
const LIMIT: usize = 64 << 20;

/// What the messages in one table are.
pub(super) enum Messages {
    /// No record was a message yet.
    Unasked,
    /// The schema of the service whose table it is; none where it is not registered.
    Asked(Option<DescriptorPool>),
}

impl Messages {
    /// The value of a record as JSON; none if it is no message, or nothing says of which form.
    pub(super) async fn json(
        &mut self,
        record: &Record,
        database: &str,
        table: &str,
        cx: &Context,
        connection: &Connection,
    ) -> Option<String> {
        let name = &record.metadata.get(MESSAGE)?.value;
        if matches!(self, Self::Unasked) {
            *self = Self::Asked(discover::pool(cx, connection, database, table).await);
        }
        let Self::Asked(Some(pool)) = self else { return None };
        let json = transcode::to_json(&pool.get_message_by_name(name)?, &record.value, LIMIT).ok()?;
        String::from_utf8(json.into()).ok()
    }
}
