//! A folder of one's own images: `train/CLASS/**`, `test/CLASS/**` and, if wanted, `val/CLASS/**`, under
//! the names that people give them; or `CLASS/**` alone. A share becomes the test split where there is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use super::account::{Account, LeftOut, Reason};
use super::decode::Framing;
use super::error::DatasetError;
use super::image_kind::{FileKind, has_picture_extension};
use super::parts::Parts;
use super::split_images::SplitImages;
use super::walk::{self, Found, Identity, Walk, What};
use super::{class_name, too_few_classes};
use crate::config::{ClassOrder, DatasetConfig};
use crate::domain::Split;
use crate::text::shell_word;

/// Lists the folder; images are in order of their classes, folders and names.
pub(super) fn open(config: &DatasetConfig, framing: Framing) -> Result<Parts, DatasetError> {
    let root = config.path.as_path();
    if !root.is_dir() {
        let expected = "a folder with one folder of images a class".into();
        return Err(DatasetError::Missing { path: root.into(), expected });
    }
    let walk = walk::below(root)?;
    let mut account = Account::default();
    let layout = Layout::of(root, &walk, config.class_order, &mut account)?;
    if layout.class_names.len() < 2 {
        let training = layout.splits.get(&Split::Train).map_or(root.into(), |t| root.join(t));
        return Err(too_few_classes::error(root, &training, 1));
    }
    let mut images: BTreeMap<Split, Vec<Image>> = BTreeMap::new();
    let mut nested = vec![];
    for found in &walk.files {
        let reason = match layout.place(&found.path)? {
            Place::Class(split, label) if found.is_picture() => {
                images.entry(split).or_default().push(Image::of(root, found, label)?);
                nested.extend(
                    found.path.parent().filter(|folder| !layout.labels.contains_key(*folder)),
                );
                if found.what == What::File(FileKind::Image) {
                    account.used += 1;
                    continue;
                }
                Reason::Unreadable
            }
            Place::Class(..) => Reason::Unreadable,
            Place::OutsideClasses => Reason::OutsideClasses,
            Place::NoSplit => Reason::NoSplit,
        };
        account.left_out.push(found.left_out(reason));
    }
    if let Some(first) = nested.first() {
        let (images, first) = (nested.len(), first.display());
        account.notes.push(format!(
            "{images} images lie in folders inside those of classes, such as {first}, and are of these classes"
        ));
    }
    layout.tell_others(&mut account);
    account.warnings.extend(layout.shared_folders(&walk)?);
    let mut split = |name| {
        let mut images = images.remove(&name).unwrap_or_default();
        images.sort_unstable();
        let (labels, paths) = images.into_iter().map(|image| (image.label, image.path())).unzip();
        SplitImages::files(framing, root, labels, paths)
    };
    let train = split(Split::Train);
    let [val, test] = [Split::Val, Split::Test].map(|name| {
        let folder = layout.splits.get(&name)?;
        Some((folder, split(name)))
    });
    for (folder, split) in [&val, &test].into_iter().flatten() {
        Layout::must_have_classes(root, folder, split, &account)?;
    }
    let [val, test] = [val, test].map(|split| split.map(|(_, split)| split));
    let val = val.filter(|val| !val.is_empty());
    Ok(Parts { class_names: layout.class_names, train, val, test, account })
}

/// An image, in the order of its class, then of its folder and its name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Image {
    label: u32,
    folder: String,
    name: String,
}

impl Image {
    fn of(root: &Path, found: &Found, label: u32) -> Result<Self, DatasetError> {
        let not_utf8 = || DatasetError::NotUtf8 { path: root.join(&found.path) };
        let path = found.path.to_str().ok_or_else(not_utf8)?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Self { label, folder: folder.into(), name: name.into() })
    }

    fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// Where a file lies.
enum Place {
    /// In a class of a split, at any depth.
    Class(Split, u32),
    /// Beside the class folders.
    OutsideClasses,
    /// In a folder beside those of the splits.
    NoSplit,
}

/// Which folders are splits, and which are classes.
struct Layout {
    /// Folder of each split; none where the root's folders are classes.
    splits: BTreeMap<Split, String>,
    /// Folders beside them.
    others: Vec<String>,
    /// Class of each class folder, as split/class or, without splits, class.
    labels: HashMap<PathBuf, u32>,
    class_names: Vec<String>,
}

impl Layout {
    fn of(
        root: &Path,
        walk: &Walk,
        order: ClassOrder,
        account: &mut Account,
    ) -> Result<Self, DatasetError> {
        let mut splits = BTreeMap::new();
        let mut others = vec![];
        for folder in at_depth(walk, 1) {
            let name = text(root, folder)?;
            match Split::of(name) {
                None => others.push(name.to_string()),
                Some(split) => {
                    if let Some(first) = splits.insert(split, name.to_string()) {
                        let (path, second) = (root.into(), name.into());
                        return Err(DatasetError::TwoFolders { path, split, first, second });
                    }
                }
            }
        }
        let is_train =
            |folder: &Path| splits.get(&Split::Train).is_some_and(|t| folder.starts_with(t));
        let (class_folders, training): (Vec<&PathBuf>, Vec<&PathBuf>) = match splits.is_empty() {
            true => (at_depth(walk, 1).collect(), at_depth(walk, 1).collect()),
            false => {
                let in_split =
                    |folder: &&PathBuf| splits.values().any(|split| folder.starts_with(split));
                let classes: Vec<&PathBuf> = at_depth(walk, 2).filter(in_split).collect();
                (classes.clone(), classes.into_iter().filter(|folder| is_train(folder)).collect())
            }
        };
        if training.is_empty() {
            return Err(Self::without_training(root, &splits));
        }
        if let Some(taken) =
            Split::taken(splits.iter().map(|(split, name)| (name.as_str(), *split)))
        {
            account.notes.push(taken);
        }
        let mut names: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
        for folder in training {
            let name = class_name::nfc(text(root, folder)?).into_owned();
            names.entry(name).or_default().push(folder);
        }
        for (name, _) in names.iter().filter(|(_, folders)| folders.len() > 1) {
            account
                .notes
                .push(format!("`{name}` is written in two forms of Unicode, which are one class"));
        }
        let mut class_names: Vec<String> = names.into_keys().collect();
        if splits.is_empty() {
            account.warnings.extend(classes_like_splits(&class_names));
            account.warnings.extend(inner_splits(walk));
        }
        class_name::sort(&mut class_names, order);
        if order == ClassOrder::Name {
            account.warnings.extend(class_name::unnatural(&class_names));
        }
        let label_of: HashMap<&str, u32> =
            class_names.iter().map(String::as_str).zip(0..).collect();
        let mut labels = HashMap::new();
        for folder in class_folders {
            let class = text(root, folder)?;
            let Some(&label) = label_of.get(&*class_name::nfc(class)) else {
                let (path, class) = (root.join(folder), class.into());
                return Err(DatasetError::UnknownClass { path, class });
            };
            labels.insert(folder.clone(), label);
        }
        Ok(Self { splits, others, labels, class_names })
    }

    /// Why there is nothing to train on.
    fn without_training(root: &Path, splits: &BTreeMap<Split, String>) -> DatasetError {
        match (splits.get(&Split::Train), splits.is_empty()) {
            (Some(train), _) => too_few_classes::error(root, &root.join(train), 0),
            (None, true) => too_few_classes::error(root, root, 0),
            (None, false) => {
                let found: Vec<String> = splits.values().map(|name| format!("{name}/")).collect();
                let found = found.join(" and ");
                DatasetError::NoTrainFolder { path: root.into(), found }
            }
        }
    }

    fn place(&self, path: &Path) -> Result<Place, DatasetError> {
        let mut folders = path.components();
        folders.next_back();
        let depth = if self.splits.is_empty() { 1 } else { 2 };
        let folder: PathBuf = folders.clone().take(depth).collect();
        if let Some(&label) = self.labels.get(&folder) {
            let named = |(_, name): &(&Split, &String)| folder.starts_with(name);
            let split = self.splits.iter().find(named).map_or(Split::Train, |(split, _)| *split);
            return Ok(Place::Class(split, label));
        }
        let first = folders.next().map(Component::as_os_str);
        let is_other =
            first.is_some_and(|first| self.others.iter().any(|other| first == other.as_str()));
        Ok(match is_other && !self.splits.is_empty() {
            true => Place::NoSplit,
            false => Place::OutsideClasses,
        })
    }

    /// Names the folders beside the splits that have images.
    fn tell_others(&self, account: &mut Account) {
        for other in &self.others {
            let is_in = |left: &&LeftOut| {
                left.reason == Reason::NoSplit && Path::new(&left.path).starts_with(other)
            };
            let images = account.left_out.iter().filter(is_in).count();
            if images > 0 {
                account.warnings.push(format!(
                    "the folder `{other}` is not a split (train, val or test): its images are not used, {images} in all; if it is one, rename it to train, val or test"
                ));
            }
        }
    }

    /// The note on folders whose images are in two classes, by a link in one to the other.
    fn shared_folders(&self, walk: &Walk) -> Result<Option<String>, DatasetError> {
        let mut seen: HashMap<Identity, (u32, &Path)> = HashMap::new();
        let mut shared: HashMap<&Path, (&Path, [u32; 2])> = HashMap::new();
        for (folder, identity) in walk.folders.iter().zip(&walk.identities) {
            let Place::Class(_, label) = self.place(&folder.join("image"))? else { continue };
            let (first, path) = *seen.entry(*identity).or_insert((label, folder));
            if first != label {
                shared.insert(folder, (path, [first, label]));
            }
        }
        let is_shared = |found: &&Found| {
            found.is_picture() && found.path.parent().is_some_and(|at| shared.contains_key(at))
        };
        let mut images = walk.files.iter().filter(is_shared);
        let Some((at, (other, classes))) =
            images.next().and_then(|first| shared.get_key_value(first.path.parent()?))
        else {
            return Ok(None);
        };
        let [one, two] = classes.map(|class| &self.class_names[class as usize]);
        Ok(Some(format!(
            "{} images are in two classes, because folders of these lead to the same place, such as {} (`{one}`) and {} (`{two}`); remove the link from one of them",
            1 + images.count(),
            other.display(),
            at.display()
        )))
    }

    /// Refuses a split whose images all lie beside class folders.
    fn must_have_classes(
        root: &Path,
        folder: &str,
        split: &SplitImages,
        account: &Account,
    ) -> Result<(), DatasetError> {
        let is_in = |left: &&LeftOut| {
            left.reason == Reason::OutsideClasses && Path::new(&left.path).starts_with(folder)
        };
        match account.left_out.iter().filter(is_in).count() {
            images if images > 0 && split.is_empty() => {
                let (path, folder) = (root.join(folder), folder.into());
                Err(DatasetError::NoLabels { path, folder, images })
            }
            _ => Ok(()),
        }
    }
}

/// That folders taken for classes are called as splits are, with more behind, such as `train_images`.
fn classes_like_splits(names: &[String]) -> Option<String> {
    let split = |name: &String| {
        let (word, _) = name.split_once(['_', '-', ' '])?;
        Some((Split::of(word)?, name.clone()))
    };
    let found: BTreeMap<Split, String> = names.iter().filter_map(split).collect();
    if found.len() < 2 || !found.contains_key(&Split::Train) {
        return None;
    }
    let folders: Vec<String> = found.values().map(|name| format!("`{name}`")).collect();
    let renamed: Vec<&str> = found.keys().map(|split| split.name()).collect();
    Some(format!(
        "{} are taken for classes, though their names look like splits: if they are, rename them to {}, with a folder a class in each",
        folders.join(" and "),
        renamed.join(" and ")
    ))
}

/// That folders inside those of classes are named as splits: the folders are the other way round, or the
/// dataset is one level further down.
fn inner_splits(walk: &Walk) -> Vec<String> {
    let name = |folder: &Path| Some(folder.file_name()?.to_str()?.to_string());
    let is_split = |folder: &&PathBuf| name(folder).is_some_and(|n| Split::of(&n).is_some());
    let inner: Vec<&PathBuf> = at_depth(walk, 2).filter(is_split).collect();
    let has_folders = |folder: &PathBuf| at_depth(walk, 3).any(|deep| deep.starts_with(folder));
    let outer = |folder: &PathBuf| folder.parent().unwrap_or(folder).to_path_buf();
    let outers: BTreeSet<PathBuf> = inner.iter().map(|folder| outer(folder)).collect();
    if outers.len() > 1 && !inner.iter().any(|folder| has_folders(folder)) {
        let (first, class) = (inner[0], outer(inner[0]));
        let split = name(first).unwrap_or_default();
        let moved = shell_word(Path::new(&split).join(&class));
        let [from, split] = [shell_word(first), shell_word(&split)];
        return vec![format!(
            "folders of splits lie inside those of classes, such as `{}`, and are not used as splits; expected split/class: move them, for example mkdir -p {split} && mv {from} {moved}",
            first.display()
        )];
    }
    let told = |folder: &&PathBuf| {
        let (folder, outer) = (folder.display(), outer(folder));
        let outer = outer.display();
        format!(
            "`{outer}` is taken for a class, though `{folder}` is named as a split: if it is one, point dataset.path or --data at `{outer}`"
        )
    };
    inner.iter().map(told).collect()
}

/// Whether a folder has folders of images, as classes.
pub(super) fn has_classes(root: &Path) -> bool {
    let names = |folder: &Path| walk::names(folder).unwrap_or_default();
    let has_images =
        |class: &Path| names(class).iter().any(|name| has_picture_extension(Path::new(name)));
    let splits = names(root).into_iter().filter(|name| Split::of(name).is_some());
    let with_classes = splits.map(|split| root.join(split)).chain([root.to_path_buf()]);
    with_classes
        .into_iter()
        .any(|folder| names(&folder).iter().any(|c| has_images(&folder.join(c))))
}

fn at_depth(walk: &Walk, depth: usize) -> impl Iterator<Item = &PathBuf> {
    walk.folders.iter().filter(move |folder| folder.components().count() == depth)
}

/// The name of a folder.
fn text<'a>(root: &Path, folder: &'a Path) -> Result<&'a str, DatasetError> {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| DatasetError::NotUtf8 { path: root.join(folder) })
}
