//! Whether a classifier is right about its classes and wrong about their order: each output speaks for one
//! class, but for another than that of its number.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::natural_key;

/// Clean training images by what was predicted of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Images of each class.
    pub images: Vec<u64>,
    /// Of each class, images by the other class that was predicted.
    pub mistaken: BTreeMap<u32, BTreeMap<u32, u64>>,
}

/// Classes whose images another output speaks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reordering {
    /// Each such class and that output.
    pub moved: Vec<(String, u32)>,
    /// Images whose class is found, in percent.
    pub top1: f64,
    /// The same if each of these classes had that output.
    pub top1_moved: f64,
    /// Whether the outputs are those of the classes in natural order: numbers in names as numbers.
    pub is_natural: bool,
}

/// Fewer images may be mistaken for each other by chance.
const FEWEST_IMAGES: u64 = 5;

impl Confusion {
    /// Adds the images of some of the rows.
    pub fn add(
        &mut self,
        images: &BTreeMap<u32, u64>,
        mistaken: &BTreeMap<u32, BTreeMap<u32, u64>>,
    ) {
        for (&label, &n) in images {
            if let Some(all) = self.images.get_mut(label as usize) {
                *all += n;
            }
        }
        for (&label, others) in mistaken {
            let of_class = self.mistaken.entry(label).or_default();
            others.iter().for_each(|(&other, n)| *of_class.entry(other).or_default() += n);
        }
    }

    /// Adds an image.
    pub fn add_image(&mut self, label: u32, predicted: u32) {
        let mistaken = (predicted != label).then(|| (label, [(predicted, 1)].into()));
        self.add(&[(label, 1)].into(), &mistaken.into_iter().collect());
    }

    /// The classes of which another output says most images, while most of what this output says is of
    /// them, where these outputs are the others' of such classes: a permutation, but for links that the
    /// classifier is not sure of.
    pub fn reordering(&self, class_names: &[String]) -> Option<Reordering> {
        let wrong: u64 = self.mistaken.values().flat_map(BTreeMap::values).sum();
        let all: u64 = self.images.iter().sum();
        let right_of = |class: u32| {
            let images = self.images.get(class as usize).copied().unwrap_or(0);
            let wrong = self.mistaken.get(&class).map_or(0, |others| others.values().sum());
            images.saturating_sub(wrong)
        };
        let mut said: BTreeMap<u32, u64> = BTreeMap::new();
        for (&output, n) in self.mistaken.values().flatten() {
            *said.entry(output).or_default() += n;
        }
        let most = |part: u64, whole: u64| 2 * part > whole;
        let mut moved: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
        for (&class, others) in &self.mistaken {
            let images = self.images.get(class as usize).copied().unwrap_or(0);
            let output = others.iter().find(|(output, n)| {
                most(**n, images) && most(**n, said[*output] + right_of(**output))
            });
            moved.extend(output.map(|(&output, &n)| (class, (output, n))));
        }
        let within = moved.values().filter(|(output, _)| moved.contains_key(output)).count();
        let gained: u64 = moved.values().map(|(_, n)| n).sum();
        if within == 0 || 2 * within < moved.len() || gained < FEWEST_IMAGES {
            return None;
        }
        let lost: u64 = moved.keys().map(|&class| right_of(class)).sum();
        let right = all.saturating_sub(wrong);
        let percent = |n: u64| 100.0 * n as f64 / all.max(1) as f64;
        let natural = natural_places(class_names);
        let name = |class: u32| class_names.get(class as usize).cloned().unwrap_or_default();
        Some(Reordering {
            is_natural: moved
                .iter()
                .all(|(&c, &(o, _))| natural.get(c as usize) == Some(&(o as usize))),
            moved: moved.iter().map(|(&class, &(output, _))| (name(class), output)).collect(),
            top1: percent(right),
            top1_moved: percent((right + gained).saturating_sub(lost)),
        })
    }
}

/// The place that each name has where numbers in names are ordered as numbers.
fn natural_places(names: &[String]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|&i| (natural_key(&names[i]), &names[i]));
    let mut places = vec![0; names.len()];
    order.iter().enumerate().for_each(|(place, &class)| places[class] = place);
    places
}

/// Classes shown at most.
const SHOWN: usize = 5;

impl Reordering {
    fn summary(&self, images: &str) -> String {
        let (top1, moved) = (self.top1, self.top1_moved);
        let outputs =
            self.moved.iter().map(|(class, output)| format!("output {output} is `{class}`"));
        let shown: Vec<String> = outputs.take(SHOWN).collect();
        let more = match self.moved.len() {
            n if n > SHOWN => format!(", and {} more", n - SHOWN),
            _ => String::new(),
        };
        format!(
            "the classifier finds the classes of {top1:.1} % of the {images} images, and of {moved:.1} % if its outputs are taken in another order than the images' classes: {}{more}",
            shown.join(", ")
        )
    }

    /// The note where the images are the test images and no bank is made of them.
    pub fn of_test_images(&self) -> String {
        let remedy = match self.is_natural {
            true => "That is the order of numbers: --set dataset.class_order=natural.",
            false => {
                "Give the names of its outputs, one a line in their order, with --labels FILE."
            }
        };
        format!("{}\n  {remedy}", self.summary("test"))
    }
}

impl std::fmt::Display for Reordering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let remedy = match self.is_natural {
            true => {
                "That is the order of numbers: make the bank again with --set dataset.class_order=natural --overwrite."
            }
            false => {
                "Give the names of its outputs, one a line in their order, with --labels FILE, and make the bank again with --overwrite."
            }
        };
        write!(f, "{}\n  {remedy}", self.summary("training"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion(rows: &[&[u64]]) -> Confusion {
        let mut found = Confusion { images: vec![0; rows.len()], ..Confusion::default() };
        for (class, row) in (0u32..).zip(rows) {
            let others = (0u32..).zip(row.iter().copied());
            let others = others.filter(|&(other, n)| other != class && n > 0).collect();
            found.add(&[(class, row.iter().sum())].into(), &[(class, others)].into());
        }
        found
    }

    fn moved(rows: &[&[u64]]) -> Option<Vec<u32>> {
        let names: Vec<String> = (0..rows.len()).map(|i| i.to_string()).collect();
        confusion(rows)
            .reordering(&names)
            .map(|r| r.moved.iter().map(|(_, output)| *output).collect())
    }

    #[test]
    fn a_permutation_is_told_from_mistakes() {
        // Two of three classes change places.
        assert_eq!(moved(&[&[9, 0, 1], &[0, 1, 8], &[1, 9, 0]]), Some(vec![2, 1]));
        // All of a cycle but one, of which the classifier is not sure.
        assert_eq!(moved(&[&[0, 9, 0], &[1, 0, 9], &[3, 3, 3]]), Some(vec![1, 2]));
        // Right, guessing, everything as the largest class, and a rare class taken for another.
        assert_eq!(moved(&[&[9, 1, 0], &[0, 9, 1], &[1, 0, 9]]), None);
        assert_eq!(moved(&[&[3, 4, 3], &[4, 3, 3], &[3, 3, 4]]), None);
        assert_eq!(moved(&[&[90, 0, 0], &[9, 0, 0], &[5, 0, 0]]), None);
        assert_eq!(moved(&[&[90, 0, 0], &[0, 9, 0], &[0, 5, 0]]), None);
        // Too few to tell.
        assert_eq!(moved(&[&[0, 2, 0], &[2, 0, 0], &[0, 0, 2]]), None);
    }

    #[test]
    fn the_order_of_numbers_is_known() {
        let names: Vec<String> = ["0", "1", "10", "11", "2", "3"].map(String::from).into();
        assert_eq!(natural_places(&names), [0, 1, 4, 5, 2, 3]);
        let mut rows = vec![vec![0; 6]; 6];
        for (class, place) in [0, 1, 4, 5, 2, 3].into_iter().enumerate() {
            rows[class][place] = 3;
        }
        let rows: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
        let found = confusion(&rows).reordering(&names).unwrap();
        assert!(found.is_natural && found.moved.len() == 4);
        assert!((found.top1 - 100.0 / 3.0).abs() < 1e-9 && (found.top1_moved - 100.0).abs() < 1e-9);
        let text = found.to_string();
        assert!(text.contains("33.3 %") && text.contains("output 4 is `10`"), "{text}");
        let words = ["class 9", "class 10", "b2"].map(String::from);
        assert_eq!(natural_places(&words), [1, 2, 0]);
    }
}
