//! A folder of one's own images: `train/CLASS/*`, `test/CLASS/*` and, if wanted, `val/CLASS/*`; or
//! `CLASS/*` alone, of which a share becomes the test split; or a list of such images.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

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
    Ok(Parts { class_names, train, val, test: Some(test) })
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
    Ok(Parts { class_names, train, val: None, test: None })
}

/// A text file of `PATH CLASS` lines (separated by a comma, a tab or, last on the line, a space); paths
/// are relative to its folder and stay in it.
pub(super) fn open_list(file: &Path, framing: Framing) -> Result<Parts, DatasetError> {
    let bytes = super::read_file(file)?;
    let text = String::from_utf8(bytes).map_err(|_| DatasetError::NotUtf8 { path: file.into() })?;
    let mut entries = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |found: &'static str| DatasetError::ListLine {
            path: file.into(),
            line: number + 1,
            found,
        };
        let parts = line.trim().rsplit_once(['\t', ',']).or_else(|| line.trim().rsplit_once(' '));
        let (path, class) = parts.ok_or_else(|| wrong("has no class"))?;
        let (path, class) = (path.trim(), class.trim());
        let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        if path.is_empty() || !Path::new(path).components().all(inside) {
            return Err(wrong("leads out of the list's folder"));
        }
        entries.push((path.to_string(), class));
    }
    let mut class_names: Vec<String> = entries.iter().map(|(_, class)| class.to_string()).collect();
    // Classes that are numbers are in their order, not that of their digits.
    class_names.sort_by_key(|name| (name.parse::<u64>().ok(), name.clone()));
    class_names.dedup();
    let ids: HashMap<&str, u32> =
        class_names.iter().enumerate().map(|(i, name)| (name.as_str(), i as u32)).collect();
    let labels = entries.iter().map(|(_, class)| ids[class]).collect();
    let paths = entries.into_iter().map(|(path, _)| path).collect();
    let root = file.parent().unwrap_or(Path::new(""));
    Ok(Parts {
        train: Split::files(framing, root, labels, paths),
        val: None,
        test: None,
        class_names,
    })
}

/// Whether a file's name is that of an image.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|e| extension == *e)
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
