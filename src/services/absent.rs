//! What this version does not have yet. Each of it answers 501 and says so; none pretends.

use micro_sdk::{
    Error,
    handler::{Call, Handler, Reply},
    proto::DESCRIPTORS,
};

/// Handlers of these names whose every method is missing. `what` names them in the answer.
pub(super) fn handlers(what: &'static str, names: &[&'static str]) -> Vec<Box<dyn Handler>> {
    names.iter().map(|name| Box::new(Absent { name, what }) as Box<dyn Handler>).collect()
}

struct Absent {
    name: &'static str,
    what: &'static str,
}

impl Handler for Absent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn descriptor(&self) -> &'static [u8] {
        DESCRIPTORS
    }

    fn handle(&self, _: &str, _: Call) -> Option<Reply> {
        let text = format!("{} is not available in this version of micro", self.what);
        Some(Box::pin(async { Err(Error::not_implemented(text)) }))
    }
}
