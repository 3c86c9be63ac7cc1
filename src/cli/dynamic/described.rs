//! A service by what describes it: its descriptors, or what it registered. A line needs a part of that.

use super::{
    descriptors::Descriptors,
    schema::{Field, Kind, Service, Wanted},
};
use crate::names::loose;

/// What is known of a service, of which a line needs a part.
pub(crate) enum Schema {
    /// What it registered, whole.
    Whole(Service),
    /// Its descriptors.
    Descriptors {
        /// All its messages and services, decoded as they are needed.
        set: Descriptors,
        /// The name it is registered with.
        name: String,
        /// Its version.
        version: String,
        /// What it is for, where its own handler does not say so.
        about: String,
        /// The endpoints it registered, where others may stand in the set.
        registered: Option<Vec<String>>,
    },
}

impl Schema {
    /// The endpoints, without their fields.
    pub(crate) fn outline(&self, comments: bool) -> Service {
        self.describe(&Wanted { comments, ..Wanted::default() })
    }

    /// What is wanted of it.
    pub(super) fn describe(&self, wanted: &Wanted) -> Service {
        match self {
            Self::Whole(service) => {
                let mut service = service.clone();
                for endpoint in &mut service.endpoints {
                    if wanted.is_for(&endpoint.name) {
                        trim(&mut endpoint.fields, "", 1, wanted);
                    } else {
                        endpoint.fields.clear();
                    }
                }
                service
            }
            Self::Descriptors { set, name, version, about, registered } => {
                let mut service = set.describe(name, version, wanted);
                if let Some(registered) = registered {
                    service = service.only(registered);
                }
                if service.about.is_empty() {
                    service.about.clone_from(about);
                }
                if let (true, 1, Some(about)) =
                    (service.about.is_empty(), service.handlers.len(), service.handlers.values().next())
                {
                    service.about.clone_from(about);
                }
                service
            }
        }
    }
}

/// Leaves out the fields below a place that nobody wants.
fn trim(fields: &mut [Field], place: &str, depth: usize, wanted: &Wanted) {
    for field in fields {
        let place = format!("{place}{}", loose(&field.name));
        if let Kind::Message { fields, .. } = &mut field.kind {
            if wanted.is_typed_below(&place) || wanted.shows_below(depth) {
                trim(fields, &place, depth + 1, wanted);
            } else {
                fields.clear();
            }
        }
    }
}
