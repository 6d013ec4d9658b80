//! Images that cannot be decoded: they are left out, counted and listed, and an error where they are
//! more than the user allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;

use super::error::DatasetError;
use super::split_images::SplitImages;
use crate::atomic_file::{self, WriteError};
use crate::domain::{SkippedImage, Split};
use crate::text::counted;

/// How many images were left out, and where they are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SkippedList {
    /// Images of all splits.
    pub images: usize,
    /// The list, one image a line, as JSON; none where no image was left out.
    pub file: Option<PathBuf>,
}

/// The images of a dataset that were left out so far.
#[derive(Debug)]
pub struct Skipped {
    most: f64,
    /// By name of their split and index: the order of the list.
    found: Mutex<BTreeMap<(&'static str, usize), SkippedImage>>,
}

impl Default for Skipped {
    fn default() -> Self {
        Self::at_most(Self::USUAL_SHARE)
    }
}

impl Skipped {
    /// Share of a split that may be left out where the user says nothing: one image in a thousand.
    pub const USUAL_SHARE: f64 = 0.001;

    /// Allows `share` of each split to be left out, in 0 to 1.
    pub fn at_most(share: f64) -> Self {
        Self { most: share, found: Mutex::default() }
    }

    /// Leaves images out, each because of its error.
    ///
    /// # Errors
    /// More images of the split are left out than the share allows; none of them is left, or none of
    /// the training images of a class.
    pub(super) fn add(
        &self,
        name: Split,
        split: &SplitImages,
        class_names: &[String],
        images: Vec<(usize, DatasetError)>,
    ) -> Result<(), DatasetError> {
        let mut found = self.found.lock().expect("no panic while held");
        let class = |label: u32| class_names.get(label as usize).cloned().unwrap_or_default();
        for (sample_id, error) in &images {
            let image = SkippedImage {
                split: name,
                sample_id: *sample_id,
                path: split.path(*sample_id).to_string(),
                class: class(split.labels()[*sample_id]),
                reason: error.in_one_line(),
                missing: error.is_missing_file(),
            };
            found.insert(key(name, *sample_id), image);
        }
        let of_split = || found.range(key(name, 0)..=key(name, usize::MAX)).map(|(&(_, i), _)| i);
        let (skipped, all) = (of_split().count(), split.len());
        // A share such as 0.07 is not exact in binary.
        let allowed = (self.most * all as f64 + 1e-6) as usize;
        let is_lost = |label: u32| {
            let lost = of_split().filter(|&i| split.labels()[i] == label).count();
            name == Split::Train && lost == split.labels().iter().filter(|&&of| of == label).count()
        };
        let mut labels = BTreeSet::new();
        for (sample_id, error) in images {
            if skipped > allowed || skipped == all {
                let found = Box::new(error);
                let split = name;
                return Err(DatasetError::TooManySkipped {
                    found,
                    skipped,
                    allowed,
                    images: all,
                    split,
                });
            }
            let label = split.labels()[sample_id];
            if labels.insert(label) && is_lost(label) {
                let (found, class) = (Box::new(error), class(label));
                return Err(DatasetError::ClassSkipped { found, class });
            }
        }
        Ok(())
    }

    /// Whether an image was left out.
    pub fn contains(&self, split: Split, sample_id: usize) -> bool {
        self.found.lock().expect("no panic while held").contains_key(&key(split, sample_id))
    }

    /// The images, in order of their split and index.
    pub fn images(&self) -> Vec<SkippedImage> {
        self.found.lock().expect("no panic while held").values().cloned().collect()
    }

    /// Those of a split whose indices are in `samples`, in their order.
    pub fn some(&self, split: Split, samples: std::ops::Range<usize>) -> Vec<SkippedImage> {
        let found = self.found.lock().expect("no panic while held");
        found
            .range(key(split, samples.start)..key(split, samples.end))
            .map(|(_, i)| i.clone())
            .collect()
    }

    /// Takes in images that an earlier run has left out.
    pub fn restore<'i>(&self, images: impl Iterator<Item = &'i SkippedImage>) {
        let mut found = self.found.lock().expect("no panic while held");
        for image in images {
            found.insert(key(image.split, image.sample_id), image.clone());
        }
    }

    /// How many there are, in no list.
    pub fn count(&self) -> SkippedList {
        SkippedList { images: self.len(), file: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.lock().expect("no panic while held").len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the list, one image a line; where there are none, removes what an earlier run has left.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn save(&self, file: &Path) -> Result<SkippedList, WriteError> {
        save_skipped(&self.images(), file)
    }
}

fn key(split: Split, sample_id: usize) -> (&'static str, usize) {
    (split.name(), sample_id)
}

/// Writes a list of images that were left out, one image a line; where there are none, removes what an
/// earlier run has left.
///
/// # Errors
/// The file cannot be written or removed.
pub fn save_skipped(images: &[SkippedImage], file: &Path) -> Result<SkippedList, WriteError> {
    if images.is_empty() {
        return match std::fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(WriteError::at(file)(e)),
            _ => Ok(SkippedList::default()),
        };
    }
    let line = |image| serde_json::to_string(image).expect("text is JSON") + "\n";
    let text: String = images.iter().map(line).collect();
    atomic_file::write(file, text.as_bytes())?;
    Ok(SkippedList { images: images.len(), file: Some(file.into()) })
}

impl SkippedList {
    /// The list that an earlier run has left.
    pub fn of_earlier_run(file: &Path) -> Self {
        match std::fs::read_to_string(file) {
            Ok(text) => Self { images: text.lines().count(), file: Some(file.into()) },
            Err(_) => Self::default(),
        }
    }

    /// The images of a list, as far as it can be read.
    pub fn images_in(file: &Path) -> Vec<SkippedImage> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A line for the user, where images were left out.
    pub fn told(&self) -> Option<String> {
        let file = self.file.as_ref()?.display();
        let images = counted(self.images, "image");
        let [were, they_are] = match self.images {
            1 => ["was", "it is"],
            _ => ["were", "they are"],
        };
        Some(format!(
            "{images} could not be decoded and {were} left out; {they_are} listed in {file}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Framing;
    use super::super::error::share_that_allows;
    use super::*;
    use crate::config::DatasetConfig;

    /// 10 images of class a, 1 of class b.
    fn split() -> SplitImages {
        let labels = [vec![0; 10], vec![1]].concat();
        let paths = (0..11).map(|i| format!("{i}.png")).collect();
        SplitImages::files(
            Framing::of(&DatasetConfig::default()),
            Path::new("photos"),
            labels,
            paths,
        )
    }

    fn add(skipped: &Skipped, name: Split, image: usize) -> Result<(), DatasetError> {
        let path = PathBuf::from(format!("photos/{image}.png"));
        let error = DatasetError::Image { path, message: "no image".into() };
        let names = ["a".to_string(), "b".to_string()];
        skipped.add(name, &split(), &names, vec![(image, error)])
    }

    #[test]
    fn images_are_listed_once_in_their_order() {
        let skipped = Skipped::at_most(0.5);
        for image in [7, 2, 7] {
            add(&skipped, Split::Test, image).unwrap();
        }
        add(&skipped, Split::Train, 0).unwrap();
        let images = skipped.images();
        let found: Vec<_> = images.iter().map(|i| (i.split, i.sample_id)).collect();
        assert_eq!(found, [(Split::Test, 2), (Split::Test, 7), (Split::Train, 0)]);
        assert!(skipped.contains(Split::Test, 7) && !skipped.contains(Split::Train, 7));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped.jsonl");
        let saved = skipped.save(&file).unwrap();
        assert_eq!(saved, SkippedList::of_earlier_run(&file));
        let told = format!(
            "3 images could not be decoded and were left out; they are listed in {}",
            file.display()
        );
        assert_eq!(saved.told(), Some(told));
        let text = std::fs::read_to_string(&file).unwrap();
        let first = r#"{"split":"test","sample_id":2,"path":"2.png","class":"a","reason":"photos/2.png: not a readable image: no image"}"#;
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(Skipped::default().save(&file).unwrap(), SkippedList::default());
        assert!(!file.exists());
    }

    #[test]
    fn more_than_the_share_is_an_error_that_says_what_to_do() {
        let skipped = Skipped::at_most(2.0 / 11.0);
        add(&skipped, Split::Test, 1).unwrap();
        add(&skipped, Split::Test, 2).unwrap();
        let message = add(&skipped, Split::Test, 3).unwrap_err().to_string();
        assert!(message.starts_with("photos/3.png: not a readable image: no image\n"), "{message}");
        assert!(message.contains("3 of 11 test images"), "{message}");
        assert!(message.contains("--max-skipped allows 2"), "{message}");
        assert!(message.ends_with("--max-skipped 27.3%"), "{message}");
        let none = add(&Skipped::default(), Split::Val, 3).unwrap_err().to_string();
        assert!(none.contains("--max-skipped allows 0"), "{none}");
    }

    #[test]
    fn a_class_keeps_a_training_image_and_a_split_an_image() {
        let skipped = Skipped::at_most(1.0);
        add(&skipped, Split::Test, 10).unwrap();
        let message = add(&skipped, Split::Train, 10).unwrap_err().to_string();
        assert!(message.contains("Class `b` has no other training image"), "{message}");
        (0..9).for_each(|image| add(&skipped, Split::Test, image).unwrap());
        assert!(add(&skipped, Split::Test, 9).is_err());
    }

    #[test]
    fn the_share_that_is_advised_is_enough() {
        for images in 1..400 {
            for skipped in 1..=images {
                let text = share_that_allows(skipped, images);
                let percent: f64 = text.strip_suffix('%').unwrap().parse().unwrap();
                let allowed = (percent / 100.0 * images as f64 + 1e-6) as usize;
                assert!(allowed >= skipped, "{skipped} of {images}: {text}");
            }
        }
    }
}
