//! The two ways in which Places365 is stored: what a path says of its image, and the path in the other way.

use std::borrow::Cow;

/// Folders of Places365's training and validation images.
pub(in crate::dataset) enum Layout {
    /// `train/arena-hockey/00001.jpg`, `val/arena-hockey/Places365_val_00000001.jpg`.
    ByClass { train: &'static str, val: &'static str },
    /// `data_256/a/arena/hockey/00001.jpg`, `val_256/Places365_val_00000001.jpg`.
    ByLetter { train: &'static str, val: &'static str },
}

/// As published, and as torchvision unpacks them.
pub(in crate::dataset) const LAYOUTS: [Layout; 5] = [
    Layout::ByClass { train: "train", val: "val" },
    Layout::ByLetter { train: "data_256", val: "val_256" },
    Layout::ByLetter { train: "data_large", val: "val_large" },
    Layout::ByLetter { train: "data_256_standard", val: "val_256" },
    Layout::ByLetter { train: "data_large_standard", val: "val_large" },
];

/// What a path says of an image of Places365.
pub(in crate::dataset) struct Photograph<'a> {
    training: bool,
    /// As `arena/hockey`; the folder of validation images by letter does not say it.
    pub(in crate::dataset) class: Option<Cow<'a, str>>,
    file: &'a str,
}

impl Layout {
    fn parse<'a>(&self, path: &'a str) -> Option<Photograph<'a>> {
        let (folder, file) = path.rsplit_once('/')?;
        match self {
            Self::ByClass { train, val } => {
                let (set, class) = folder.split_once('/')?;
                let known = (set == *train || set == *val) && !class.contains('/');
                let class = Some(class.replace('-', "/").into());
                known.then_some(Photograph { training: set == *train, class, file })
            }
            Self::ByLetter { val, .. } if folder == *val => {
                Some(Photograph { training: false, class: None, file })
            }
            Self::ByLetter { train, .. } => {
                let class = by_letter(folder, train)?;
                Some(Photograph { training: true, class: Some(class.into()), file })
            }
        }
    }

    /// The path here; `None` where the class is needed and not known.
    pub(in crate::dataset) fn path(
        &self,
        photograph: &Photograph,
        class: Option<&str>,
    ) -> Option<String> {
        let file = photograph.file;
        let class = photograph.class.as_deref().or(class);
        match self {
            Self::ByClass { train, val } => {
                let set = if photograph.training { train } else { val };
                Some(format!("{set}/{}/{file}", class?.replace('/', "-")))
            }
            Self::ByLetter { val, .. } if !photograph.training => Some(format!("{val}/{file}")),
            Self::ByLetter { train, .. } => {
                let letter = class?.chars().next()?;
                Some(format!("{train}/{letter}/{}/{file}", class?))
            }
        }
    }
}

/// `arena/hockey` of `data_256/a/arena/hockey`.
fn by_letter<'a>(folder: &'a str, train: &str) -> Option<&'a str> {
    let (letter, class) = folder.strip_prefix(train)?.strip_prefix('/')?.split_once('/')?;
    (letter.chars().count() == 1 && class.starts_with(letter)).then_some(class)
}

/// The class that a folder of training images by letter is of.
pub(in crate::dataset) fn class_of_folder(folder: &str) -> Option<&str> {
    LAYOUTS.iter().find_map(|layout| match layout {
        Layout::ByLetter { train, .. } => by_letter(folder, train),
        Layout::ByClass { .. } => None,
    })
}

/// The photograph that a path of any layout is of.
pub(in crate::dataset) fn photograph(path: &str) -> Option<Photograph<'_>> {
    LAYOUTS.iter().find_map(|layout| layout.parse(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_either_layout_lead_to_the_other() {
        let [by_class, by_letter] = [&LAYOUTS[0], &LAYOUTS[1]];
        let pairs = [
            ("train/airfield/1.jpg", "data_256/a/airfield/1.jpg"),
            ("train/arena-hockey/1.jpg", "data_256/a/arena/hockey/1.jpg"),
            ("val/arena-hockey/v_1.jpg", "val_256/v_1.jpg"),
        ];
        for (first, second) in pairs {
            let class = Some("arena/hockey");
            assert_eq!(by_letter.path(&photograph(first).unwrap(), None).unwrap(), second);
            assert_eq!(by_class.path(&photograph(second).unwrap(), class).unwrap(), first);
        }
        assert!(by_class.path(&photograph("val_256/v_1.jpg").unwrap(), None).is_none());
    }

    #[test]
    fn other_paths_are_not_of_places() {
        for path in
            ["1.jpg", "train/1.jpg", "train/a/b/1.jpg", "data_256/b/airfield/1.jpg", "x/a/1.jpg"]
        {
            assert!(photograph(path).is_none(), "{path}");
        }
        assert_eq!(class_of_folder("data_256/f/field/wild"), Some("field/wild"));
        assert_eq!(class_of_folder("train/field-wild"), None);
    }
}
