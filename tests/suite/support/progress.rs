//! An outside that keeps what a stage tells of its progress, and asks it to stop where a test says so.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use fsa_bank::progress::{Interrupt, Progress};

/// Keeps lines and the labels of the work that began.
#[derive(Default)]
pub struct Watcher {
    lines: Mutex<Vec<String>>,
    begun: Mutex<Vec<String>>,
    stop: Option<Stop>,
}

struct Stop {
    /// The work whose units count; all work without one.
    label: Option<&'static str>,
    units_left: AtomicI64,
    interrupt: Interrupt,
}

impl Watcher {
    /// Asks to stop as soon as a piece of work of this label begins.
    pub fn stopping_at(label: &'static str, interrupt: &Interrupt) -> Self {
        Self::stopping(Some(label), 0, interrupt)
    }

    /// Asks to stop once so many units of any work are done.
    pub fn stopping_after(units: i64, interrupt: &Interrupt) -> Self {
        Self::stopping(None, units, interrupt)
    }

    /// Asks to stop once so many units of the work of this label are done.
    pub fn stopping_within(label: &'static str, units: i64, interrupt: &Interrupt) -> Self {
        Self::stopping(Some(label), units, interrupt)
    }

    fn stopping(label: Option<&'static str>, units: i64, interrupt: &Interrupt) -> Self {
        let stop = Stop { label, units_left: units.into(), interrupt: interrupt.clone() };
        Self { stop: Some(stop), ..Self::default() }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn has_line(&self, part: &str) -> bool {
        self.lines().iter().any(|line| line.contains(part))
    }

    pub fn has_begun(&self, label: &str) -> bool {
        self.begun.lock().unwrap().iter().any(|begun| begun == label)
    }

    /// Counts units of the work that began last.
    fn count(&self, units: i64) {
        let Some(stop) = &self.stop else { return };
        let begun = self.begun.lock().unwrap();
        let counts = stop.label.is_none_or(|label| begun.last().is_some_and(|last| last == label));
        if counts && stop.units_left.fetch_sub(units, Ordering::SeqCst) <= units {
            stop.interrupt.request();
        }
    }
}

impl Progress for Watcher {
    fn start(&self, label: &str, _: u64, _: &'static str) {
        self.begun.lock().unwrap().push(label.into());
        self.count(0);
    }
    fn advance(&self, units: u64) {
        self.count(units as i64);
    }
    fn status(&self, _: &str) {}
    fn finish(&self) {}
    fn line(&self, text: &str) {
        self.lines.lock().unwrap().push(text.into());
    }
}
