//! A folder of one's own images: `train/CLASS/*`, `test/CLASS/*` and, if wanted, `val/CLASS/*`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DatasetError, Parts, Split};

const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Lists the folder; classes and images are in order of their names.
pub(super) fn open(root: &Path, size: usize) -> Result<Parts, DatasetError> {
    let train_dir = root.join("train");
    if !train_dir.is_dir() {
        return Err(DatasetError::Missing {
            path: train_dir,
            expected: "a folder with one folder of JPEG or PNG images a class".into(),
        });
    }
    let class_names = class_folders(&train_dir)?;
    let train = list(root, "train", &class_names, size)?;
    let test = list(root, "test", &class_names, size)?;
    let val =
        root.join("val").is_dir().then(|| list(root, "val", &class_names, size)).transpose()?;
    Ok(Parts { class_names, train, val, test })
}

/// Names in a directory, sorted; hidden ones are left out.
fn names(dir: &Path) -> Result<Vec<String>, DatasetError> {
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

fn class_folders(dir: &Path) -> Result<Vec<String>, DatasetError> {
    Ok(names(dir)?.into_iter().filter(|name| dir.join(name).is_dir()).collect())
}

fn list(root: &Path, split: &str, classes: &[String], size: usize) -> Result<Split, DatasetError> {
    let dir = root.join(split);
    let (mut labels, mut paths) = (vec![], vec![]);
    if !dir.is_dir() {
        return Err(DatasetError::Missing {
            path: dir,
            expected: format!("the {split} images, one folder a class, as in train/"),
        });
    }
    for class in class_folders(&dir)? {
        let Ok(label) = classes.binary_search(&class) else {
            return Err(DatasetError::UnknownClass { path: dir.join(&class), class });
        };
        for name in names(&dir.join(&class))? {
            let extension = Path::new(&name).extension().unwrap_or_default().to_ascii_lowercase();
            if EXTENSIONS.iter().any(|e| extension == *e) {
                labels.push(label as u32);
                paths.push(format!("{split}/{class}/{name}"));
            }
        }
    }
    Ok(Split::files(size, root, labels, paths))
}
