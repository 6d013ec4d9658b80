//! Where the maps of a bank come from.

use crate::backbone::{Backbone, BackboneError};
use crate::bank::Bank;

/// Makes a network ready.
pub(super) type StartNetwork<'a> =
    Box<dyn FnOnce() -> Result<Box<dyn Backbone>, BackboneError> + 'a>;

/// A network that is made ready when it is first needed: a bank that is whole needs none.
pub(super) struct LazyNetwork<'a> {
    start: Option<StartNetwork<'a>>,
    ready: Option<Box<dyn Backbone>>,
}

impl<'a> LazyNetwork<'a> {
    pub(super) fn new(start: StartNetwork<'a>) -> Self {
        Self { start: Some(start), ready: None }
    }

    pub(super) fn get(&mut self) -> Result<&mut dyn Backbone, BackboneError> {
        if let Some(start) = self.start.take() {
            self.ready = Some(start()?);
        }
        Ok(self.ready.as_mut().expect("a network that failed is not asked for again").as_mut())
    }
}

/// Where the maps come from.
pub(super) enum MapSource<'a> {
    /// Images, through the network.
    Network(LazyNetwork<'a>),
    /// A bank that has them.
    Bank(&'a Bank),
}
