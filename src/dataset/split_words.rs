//! The words that people use for splits, in names of folders and files and in columns of lists.

use crate::domain::Split;

impl Split {
    /// The split that a word stands for, as data sets call them, in any case.
    pub(in crate::dataset) fn of(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }

    /// What was taken for what, where it was not the split's own name.
    pub(in crate::dataset) fn taken<'a>(
        words: impl IntoIterator<Item = (&'a str, Self)>,
    ) -> Option<String> {
        let other = words.into_iter().filter(|(word, split)| *word != split.name());
        let taken = other.map(|(word, split)| format!("`{word}` is taken for the {split} split"));
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
        let splits: Vec<_> = words.iter().map(|word| Split::of(word).unwrap()).collect();
        let taken = Split::taken(words.into_iter().zip(splits)).unwrap();
        assert!(taken.starts_with("`Train` is taken for the train split, `TRAINING`"), "{taken}");
        assert!(!taken.contains("`val`") && taken.contains("`dev` is taken for the val split"));
        assert_eq!(Split::of("trainer"), None);
        assert_eq!(Split::taken([("test", Split::Test)]), None);
    }
}
