//! How long work tells the outside what it does, and how the outside stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receives the progress of a stage. The command line shows it; a library caller may stay silent.
pub trait Progress: Sync {
    /// A piece of work of `total` units begins.
    fn start(&self, label: &str, total: u64, unit: &'static str);
    /// `units` more are done.
    fn advance(&self, units: u64);
    /// A few words to show beside the count, such as the current loss.
    fn status(&self, text: &str);
    /// The piece of work is done.
    fn finish(&self);
    /// A line to keep.
    fn line(&self, text: &str);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn finish(&self) {}
    fn line(&self, _: &str) {}
}

/// Set once the user asks to stop; stages look at it between steps.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The two together, as stages take them.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Is told what is done.
    pub progress: &'a dyn Progress,
    /// Says when to stop.
    pub interrupt: &'a Interrupt,
}

impl<'a> Watch<'a> {
    /// Of both.
    pub fn new(progress: &'a dyn Progress, interrupt: &'a Interrupt) -> Self {
        Self { progress, interrupt }
    }

    /// Whether to stop.
    pub fn interrupted(self) -> bool {
        self.interrupt.requested()
    }
}
