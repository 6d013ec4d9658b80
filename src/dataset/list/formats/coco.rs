//! Lists in the JSON of COCO and of iNaturalist 2017 and 2018: images, annotations and categories, each
//! annotation joined to its image by the image's id.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Deserializer, de};

use crate::config::DatasetConfig;
use crate::dataset::class_name::nfc;
use crate::dataset::error::DatasetError;
use crate::dataset::labelled::{List, ListError, Numbering, Place, in_list};

const BUFFER_BYTES: usize = 1 << 20;
/// Some editors put it before a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Other fields are skipped without being kept.
#[derive(Deserialize)]
struct Content {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: Id,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

/// An integer, or text as in COCO Camera Traps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Number(i64),
    Text(Box<str>),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an id, an integer or text")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
                i64::try_from(number).map(Id::Number).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::Text(text.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads the whole list; images keep their order, classes are all categories in order of their ids.
pub(super) fn read(file: &Path, _: &Path, _: &DatasetConfig) -> Result<List, DatasetError> {
    let opened =
        File::open(file).map_err(|source| DatasetError::Read { path: file.into(), source })?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, opened);
    let begin =
        reader.fill_buf().map_err(|source| DatasetError::Read { path: file.into(), source })?;
    if begin.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let content: Content = serde_json::from_reader(reader).map_err(|e| not_read(file, e))?;
    let Content { images, annotations, mut categories } = content;
    categories.sort_by(|a, b| a.id.cmp(&b.id));
    let (kept, class_of) = different(&categories);
    let mut list = List::new(file, Numbering::Declared(kept.len()), Place::Image);
    let several;
    (list.label_of, several) = joined(&images, &annotations, &categories, &class_of)
        .map_err(|e| list.wrong(Place::Whole, e))?;
    if several > 0 {
        list.notes.push(format!(
            "{several} images have several annotations of one class, which count once"
        ));
    }
    list.paths = images.into_iter().map(|image| image.file_name).collect();
    if kept.len() < categories.len() {
        let again = (0..categories.len()).filter(|i| !kept.contains(i));
        let names: BTreeSet<&str> = again.map(|i| categories[i].name.as_str()).collect();
        list.notes.extend(
            names
                .into_iter()
                .map(|name| format!("several categories are called `{name}`, and are one class")),
        );
    }
    list.labels = kept.iter().map(|&i| categories[i].id.to_string()).collect();
    list.names = kept.iter().map(|&i| Some(categories[i].name.clone())).collect();
    Ok(list)
}

/// The categories without those whose name an earlier one has, and the place among these of each one's
/// class.
fn different(categories: &[Category]) -> (Vec<usize>, Vec<u32>) {
    let mut kept = vec![];
    let mut class_of_name = HashMap::new();
    let class = |(i, category): (usize, &Category)| {
        *class_of_name.entry(nfc(&category.name).into_owned()).or_insert_with(|| {
            kept.push(i);
            kept.len() as u32 - 1
        })
    };
    let class_of = categories.iter().enumerate().map(class).collect();
    (kept, class_of)
}

fn not_read(file: &Path, error: serde_json::Error) -> DatasetError {
    if error.is_io() {
        return DatasetError::Read { path: file.into(), source: error.into() };
    }
    in_list(file, Place::Whole, ListError::Syntax { message: error.to_string() })
}

/// Of each image, its class; and how many images have more than one annotation.
fn joined(
    images: &[Image],
    annotations: &[Annotation],
    categories: &[Category],
    class_of: &[u32],
) -> Result<(Vec<u32>, usize), ListError> {
    let image_of = places(images.iter().map(|image| &image.id), "images")?;
    let category_of = places(categories.iter().map(|category| &category.id), "categories")?;
    let named = |i: usize| match &annotations[i].id {
        Some(id) => id.to_string(),
        None => format!("annotations[{i}]"),
    };
    // By category, so that an error can name it.
    let mut labels: Vec<Option<u32>> = vec![None; images.len()];
    let mut several = HashSet::new();
    for (i, Annotation { image_id, category_id, .. }) in annotations.iter().enumerate() {
        let Some(&image) = image_of.get(image_id) else {
            return Err(ListError::NoImage { annotation: named(i), image: image_id.to_string() });
        };
        let Some(&category) = category_of.get(category_id) else {
            let (annotation, category) = (named(i), category_id.to_string());
            return Err(ListError::NoCategory { annotation, category });
        };
        match labels[image as usize].replace(category) {
            Some(first) if class_of[first as usize] != class_of[category as usize] => {
                let name = |category: u32| categories[category as usize].name.clone();
                return Err(ListError::TwoClasses {
                    image: image_id.to_string(),
                    file_name: images[image as usize].file_name.clone(),
                    first: name(first),
                    second: name(category),
                });
            }
            Some(_) => drop(several.insert(image)),
            None => {}
        }
    }
    let unlabelled = |i: usize| ListError::NoAnnotation {
        image: images[i].id.to_string(),
        file_name: images[i].file_name.clone(),
    };
    let labels =
        labels.into_iter().enumerate().map(|(i, label)| label.ok_or_else(|| unlabelled(i)));
    let labels = labels.map(|label| Ok(class_of[label? as usize]));
    Ok((labels.collect::<Result<_, _>>()?, several.len()))
}

/// The place of each id.
fn places<'a>(
    ids: impl ExactSizeIterator<Item = &'a Id>,
    what: &'static str,
) -> Result<HashMap<&'a Id, u32>, ListError> {
    let mut places = HashMap::with_capacity(ids.len());
    for (id, place) in ids.zip(0..) {
        if places.insert(id, place).is_some() {
            return Err(ListError::TwoIds { what, id: id.to_string() });
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Result<(Vec<u32>, usize), ListError> {
        let Content { images, annotations, mut categories } = serde_json::from_str(text).unwrap();
        categories.sort_by(|a, b| a.id.cmp(&b.id));
        joined(&images, &annotations, &categories, &different(&categories).1)
    }

    #[test]
    fn annotations_are_joined_by_the_images_id() {
        let text = r#"{"annotations": [{"id": 1, "image_id": 20, "category_id": 7},
            {"id": 2, "image_id": 10, "category_id": 300}, {"image_id": "x", "category_id": 7}],
            "categories": [{"id": 300, "name": "b"}, {"id": 7, "name": "a"}], "info": {"year": 2018},
            "images": [{"id": 10, "file_name": "1"}, {"id": 20, "file_name": "2", "width": 5},
            {"id": "x", "file_name": "3"}]}"#;
        assert_eq!(labels(text).unwrap(), (vec![1, 0, 0], 0));
    }
}
