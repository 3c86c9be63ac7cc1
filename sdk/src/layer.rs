//! What goes around the calls of a service: logging, checks, metrics.

use std::{fmt, sync::Arc};

use crate::{
    Result,
    handler::{Call, Replies, Reply},
};

/// A function around calls, see [`Service::wrap`](crate::Service::wrap).
pub(crate) type Layer = Arc<dyn Fn(Call, Next) -> Reply + Send + Sync>;

/// What is within a function that goes around calls: the next such function, or the handler.
pub struct Next {
    layers: Arc<[Layer]>,
    /// How many of them have been asked.
    passed: usize,
    handler: Box<dyn FnOnce(Call) -> Reply + Send>,
}

impl Next {
    /// The outermost of some layers.
    pub(crate) fn new(layers: Arc<[Layer]>, handler: Box<dyn FnOnce(Call) -> Reply + Send>) -> Self {
        Self { layers, passed: 0, handler }
    }

    /// Lets the call go on, and returns its answers as they begin: one for a method that answers once, else a
    /// stream, which fails later if the handler does.
    ///
    /// # Errors
    /// What the handler fails with.
    pub async fn run(mut self, call: Call) -> Result<Replies> {
        match self.layers.get(self.passed).cloned() {
            Some(layer) => {
                self.passed += 1;
                layer(call, self).await
            }
            None => (self.handler)(call).await,
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("left", &(self.layers.len() - self.passed)).finish_non_exhaustive()
    }
}
