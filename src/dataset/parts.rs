//! What the reader of any kind of dataset gives: the classes, the splits and what became of the files.

use super::account::Account;
use super::split_images::SplitImages;

/// A dataset as it was read, before it is cut or held out from.
pub(super) struct Parts {
    pub(super) class_names: Vec<String>,
    pub(super) train: SplitImages,
    pub(super) val: Option<SplitImages>,
    /// `None` where the data has no splits.
    pub(super) test: Option<SplitImages>,
    pub(super) account: Account,
}

impl Parts {
    /// Parts of images alone: nothing was left out.
    pub(super) fn whole(
        class_names: Vec<String>,
        train: SplitImages,
        val: Option<SplitImages>,
        test: Option<SplitImages>,
    ) -> Self {
        let of = |split: &Option<SplitImages>| split.as_ref().map_or(0, SplitImages::len);
        let account = Account::of_used(train.len() + of(&val) + of(&test));
        Self { class_names, train, val, test, account }
    }
}
