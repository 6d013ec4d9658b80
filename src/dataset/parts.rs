//! What the reader of any kind of dataset gives: the classes, the splits and what became of the files.

use super::account::Account;
use super::split::Split;

/// A dataset as it was read, before it is cut or held out from.
pub(super) struct Parts {
    pub(super) class_names: Vec<String>,
    pub(super) train: Split,
    pub(super) val: Option<Split>,
    /// `None` where the data has no splits.
    pub(super) test: Option<Split>,
    pub(super) account: Account,
}

impl Parts {
    /// Parts of images alone: nothing was left out.
    pub(super) fn whole(
        class_names: Vec<String>,
        train: Split,
        val: Option<Split>,
        test: Option<Split>,
    ) -> Self {
        let of = |split: &Option<Split>| split.as_ref().map_or(0, Split::len);
        let account = Account::of_used(train.len() + of(&val) + of(&test));
        Self { class_names, train, val, test, account }
    }
}
