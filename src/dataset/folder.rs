//! A folder of one's own images: `train/CLASS/*`, `test/CLASS/*` and, if wanted, `val/CLASS/*`; or
//! `CLASS/*` alone, of which a share becomes the test split.

use std::fs;
use std::path::{Path, PathBuf};

use super::decode::Framing;
use super::{DatasetError, Parts, Split};

/// Names of images end in these; what the files are follows from their content.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Lists the folder; classes and images are in order of their names.
pub(super) fn open(root: &Path, framing: Framing) -> Result<Parts, DatasetError> {
    if !root.is_dir() {
        let expected = "a folder with one folder of images a class".into();
        return Err(DatasetError::Missing { path: root.into(), expected });
    }
    if !root.join("train").is_dir() {
        return open_flat(root, framing);
    }
    let class_names = class_folders(&root.join("train"))?;
    let train = list(root, "train/", &class_names, framing)?;
    let test = list(root, "test/", &class_names, framing)?;
    let val =
        root.join("val").is_dir().then(|| list(root, "val/", &class_names, framing)).transpose()?;
    Ok(Parts::whole(class_names, train, val, Some(test)))
}

/// `CLASS/*` without splits.
fn open_flat(root: &Path, framing: Framing) -> Result<Parts, DatasetError> {
    let class_names = class_folders(root)?;
    // Folders that are splits and not classes are more likely a missing train/.
    if class_names.is_empty() || class_names.iter().any(|name| name == "test") {
        return Err(DatasetError::Missing {
            path: root.join("train"),
            expected: "a folder with one folder of images a class".into(),
        });
    }
    let train = list(root, "", &class_names, framing)?;
    Ok(Parts::whole(class_names, train, None, None))
}

/// Whether a file's name is that of an image.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|e| extension == *e)
}

/// Names in a directory, sorted; hidden ones are left out.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, DatasetError> {
    let read = |source| DatasetError::Read { path: dir.into(), source };
    let mut names = vec![];
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| DatasetError::NotUtf8 { path: dir.join(PathBuf::from(name)) })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a folder has folders of images, as classes.
pub(super) fn has_classes(root: &Path) -> bool {
    let folders = |dir: &Path| class_folders(dir).unwrap_or_default();
    let has_images =
        |dir: &Path| names(dir).unwrap_or_default().iter().any(|name| is_image(Path::new(name)));
    [root.to_path_buf(), root.join("train")]
        .iter()
        .any(|dir| folders(dir).iter().any(|class| has_images(&dir.join(class))))
}

fn class_folders(dir: &Path) -> Result<Vec<String>, DatasetError> {
    Ok(names(dir)?.into_iter().filter(|name| dir.join(name).is_dir()).collect())
}

fn list(
    root: &Path,
    split: &str,
    classes: &[String],
    framing: Framing,
) -> Result<Split, DatasetError> {
    let dir = root.join(split);
    let (mut labels, mut paths) = (vec![], vec![]);
    if !dir.is_dir() {
        return Err(DatasetError::Missing {
            path: dir,
            expected: format!(
                "the {} images, one folder a class, as in train/",
                split.trim_end_matches('/')
            ),
        });
    }
    for class in class_folders(&dir)? {
        let Ok(label) = classes.binary_search(&class) else {
            return Err(DatasetError::UnknownClass { path: dir.join(&class), class });
        };
        for name in names(&dir.join(&class))? {
            if is_image(Path::new(&name)) {
                labels.push(label as u32);
                paths.push(format!("{split}{class}/{name}"));
            }
        }
    }
    Ok(Split::files(framing, root, labels, paths))
}
