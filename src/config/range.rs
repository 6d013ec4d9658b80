//! Ranges of numbers in settings, and their words.

use std::ops::{Bound, RangeBounds};

/// Between which bounds a number lies.
#[derive(Debug, Clone, Copy)]
pub struct Range(Bound<f64>, Bound<f64>);

/// Any number above 0.
pub(super) const POSITIVE: Range = Range(Bound::Excluded(0.0), Bound::Unbounded);

/// Both bounds belong to it.
pub(super) const fn closed(least: f64, most: f64) -> Range {
    Range(Bound::Included(least), Bound::Included(most))
}

/// Neither bound belongs to it.
pub(super) const fn open(low: f64, high: f64) -> Range {
    Range(Bound::Excluded(low), Bound::Excluded(high))
}

/// From `least` up to, not including, `end`.
pub(super) const fn below(least: f64, end: f64) -> Range {
    Range(Bound::Included(least), Bound::Excluded(end))
}

/// From above `low` to `most`.
pub(super) const fn above(low: f64, most: f64) -> Range {
    Range(Bound::Excluded(low), Bound::Included(most))
}

/// `least` or more.
pub(super) const fn at_least(least: f64) -> Range {
    Range(Bound::Included(least), Bound::Unbounded)
}

/// `most` or less.
pub(super) const fn at_most(most: f64) -> Range {
    Range(Bound::Unbounded, Bound::Included(most))
}

impl Range {
    /// Whether `value` is in it; a number that is not finite is in none.
    pub(super) fn has(self, value: f64) -> bool {
        value.is_finite() && (self.0, self.1).contains(&value)
    }

    /// It in words.
    pub(super) fn text(self) -> String {
        use Bound::{Excluded, Included, Unbounded};
        match (self.0, self.1) {
            (Included(least), Included(most)) => format!("{least} to {most}"),
            (Included(least), Excluded(end)) => format!("{least} up to, not including, {end}"),
            (Excluded(low), Included(most)) => format!("above {low}, at most {most}"),
            (Excluded(low), Excluded(high)) => format!("between {low} and {high}, both excluded"),
            (Included(0.0), Unbounded) => "0 or more".into(),
            (Included(least), Unbounded) => format!("at least {least}"),
            (Excluded(0.0), Unbounded) => "a positive number".into(),
            (Excluded(low), Unbounded) => format!("above {low}"),
            (Unbounded, Included(most)) => format!("at most {most}"),
            (Unbounded, Excluded(end)) => format!("below {end}"),
            (Unbounded, Unbounded) => "a number".into(),
        }
    }
}
