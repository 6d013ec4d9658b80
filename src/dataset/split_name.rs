//! The three splits, and the words that people use for them in names of folders and files and in columns
//! of lists.

/// A split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SplitName {
    Train,
    Val,
    Test,
}

impl SplitName {
    pub(super) const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The split that a word stands for, as data sets call them, in any case.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// What was taken for what, where it was not the split's own name.
    pub(super) fn taken<'a>(words: impl IntoIterator<Item = (&'a str, Self)>) -> Option<String> {
        let other = words.into_iter().filter(|(word, split)| *word != split.name());
        let taken =
            other.map(|(word, split)| format!("`{word}` is taken for the {} split", split.name()));
        let taken: Vec<String> = taken.collect();
        (!taken.is_empty()).then(|| taken.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_case_stand_for_splits() {
        let words = ["Train", "TRAINING", "val", "Valid", "validation", "dev", "test", "Testing"];
        let splits: Vec<_> = words.iter().map(|word| SplitName::of(word).unwrap()).collect();
        let taken = SplitName::taken(words.into_iter().zip(splits)).unwrap();
        assert!(taken.starts_with("`Train` is taken for the train split, `TRAINING`"), "{taken}");
        assert!(!taken.contains("`val`") && taken.contains("`dev` is taken for the val split"));
        assert_eq!(SplitName::of("trainer"), None);
        assert_eq!(SplitName::taken([("test", SplitName::Test)]), None);
    }
}
