//! What Phase-II can do and what both phases can minimise: one file a method, with its loss if it has one.
//!
//! Most methods are combinations: how batches are drawn, where the classifier starts, and settings. Such a
//! method is data alone. One that makes samples of its own brings a [`Maker`], one that computes its
//! classifier without training a function, one with a loss of its own the constants of that loss. All of it
//! is pure arithmetic over slices; banks, windows and threads are `finetune`'s.
//!
//! To add one: a file in `catalog/` and its entry in `catalog/mod.rs`. Names in pipelines and flags, the list
//! in `--help`, `compare`'s default and the checks of the tables in `docs/method.md` follow from that.

mod catalog;
mod choice;
mod loss;
mod making;
mod method;
mod objective;
mod settings;

pub use choice::{Choice, Registered};
pub use loss::{Loss, LossFacts, TrainLoss};
pub use making::{Drawn, Made, Maker, Making, Samples, TrainingRows};
pub use method::{Batches, Computed, Form, Given, Method, MethodFacts, Start, Trained, Visit, Way};
pub use objective::{Objective, RowTerms};
pub use settings::Settings;

/// What a file of the catalog declares.
pub struct Entry {
    /// A method of Phase-II.
    pub method: Option<MethodFacts>,
    /// What training minimises.
    pub loss: Option<LossFacts>,
}
