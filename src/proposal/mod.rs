//! A first pipeline for images that nobody has trained on yet: they are examined, settings follow
//! from what was found, and a file gives the reasons.

mod choices;
mod survey;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::atomic_file::{self, WriteError};
use crate::backbone::BackboneError;
use crate::config::{DatasetConfig, DatasetKind, Pipeline};
use crate::dataset::{DatasetError, kind_at};

use choices::Choices;
pub use survey::{Sides, Survey};

/// What can go wrong before a pipeline is written.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// The images cannot be used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A list that settings are needed for.
    #[error(
        "{source}\n  `init` takes no settings. Write them into a pipeline file in this folder, one a line as they stand{}",
        before(given)
    )]
    Settings {
        /// What is wrong with the list.
        source: DatasetError,
        /// Settings in addition to those that the message names.
        given: Vec<String>,
    },
    /// No network for images of this size.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file is in the way.
    #[error("{}: exists already\n  Choose another file with --out, or replace it with --overwrite.", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// What a pipeline is wanted for.
pub struct ProposalRequest<'a> {
    /// A folder of images, a list of them, or Parquet files of images.
    pub images: &'a Path,
    /// The pipeline's file; `None`: the images' name and `.toml`, in the current folder.
    pub out: Option<&'a Path>,
    /// Replace an existing file.
    pub overwrite: bool,
}

/// A pipeline that was written.
#[derive(Debug, Serialize)]
pub struct Proposal {
    /// Its file.
    pub file: PathBuf,
    /// What the images are.
    pub survey: Survey,
    /// What was chosen; all other settings are the defaults.
    pub pipeline: Pipeline,
    /// What may disappoint, each a sentence.
    pub warnings: Vec<String>,
    /// The result in a few lines.
    #[serde(skip)]
    pub summary: String,
}

/// Looks at the images and writes a pipeline for them.
///
/// # Errors
/// See [`ProposalError`].
///
/// # Determinism
/// The same images and places give the same bytes.
pub fn run(request: &ProposalRequest) -> Result<Proposal, ProposalError> {
    let file = match request.out {
        Some(out) => out.to_path_buf(),
        None => default_file(request.images),
    };
    // Pipes and devices take what is written to them, and a folder is never replaced.
    match file.metadata() {
        Ok(there) if there.is_dir() => return Err(WriteError::folder(&file).into()),
        Ok(there)
            if there.is_file()
                && !request.overwrite
                && !atomic_file::names_standard_output(&file) =>
        {
            return Err(ProposalError::Exists { path: file });
        }
        _ => {}
    }
    let config = dataset_config(request.images);
    let survey = survey::examine(&config).map_err(|source| with_settings(source, &config))?;
    let choices = Choices::of(&survey, &path_in_file(&file, request.images)?)?;
    let text = text::pipeline_text(request.images, &survey, &choices);
    atomic_file::write_named(&file, text.as_bytes())?;
    Ok(Proposal {
        summary: text::summary(&file, &survey, &choices),
        pipeline: choices.pipeline(),
        warnings: choices.warnings,
        file,
        survey,
    })
}

/// How to follow an error's advice on settings.
fn with_settings(source: DatasetError, config: &DatasetConfig) -> ProposalError {
    let text = source.to_string();
    let of_list = matches!(source, DatasetError::List { .. } | DatasetError::Columns { .. });
    if !of_list || !text.contains("dataset.") {
        return source.into();
    }
    let kind = if config.kind == DatasetKind::Parquet { "parquet" } else { "list" };
    let path = config.path.to_string_lossy().into_owned();
    let settings = [("dataset.kind", kind.to_string()), ("dataset.path", path)];
    let given = settings
        .into_iter()
        .filter(|(key, _)| !text.contains(&format!("{key} = ")))
        .map(|(key, value)| format!("{key} = {}", toml::Value::String(value)))
        .collect();
    ProposalError::Settings { source, given }
}

fn before(given: &[String]) -> String {
    match given.is_empty() {
        true => ".".into(),
        false => format!(", behind\n    {}", given.join("\n    ")),
    }
}

fn dataset_config(images: &Path) -> DatasetConfig {
    DatasetConfig { kind: kind_at(images), path: images.into(), ..DatasetConfig::default() }
}

fn default_file(images: &Path) -> PathBuf {
    let absolute = images.canonicalize().unwrap_or(images.into());
    let name = if absolute.is_file() { absolute.file_stem() } else { absolute.file_name() };
    PathBuf::from(name.unwrap_or("pipeline".as_ref())).with_added_extension("toml")
}

/// Steps up that a relative path may have.
const MOST_STEPS_UP: usize = 2;

/// The images' place as the file names it: from the file's own folder where that is near, so that both
/// can be moved together, else from the root.
fn path_in_file(file: &Path, images: &Path) -> Result<String, ProposalError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(WriteError::at(file))?;
    let images = images
        .canonicalize()
        .map_err(|source| DatasetError::Read { path: images.into(), source })?;
    let path = relative(&folder, &images).unwrap_or_else(|| images.clone());
    let text = path.into_os_string().into_string();
    Ok(text.map_err(|_| DatasetError::NotUtf8 { path: images })?)
}

/// The way from `folder` to `target`, both without links; `None` where they have only the root in
/// common, or are far apart.
fn relative(folder: &Path, target: &Path) -> Option<PathBuf> {
    let shared = folder.components().zip(target.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().count() - shared;
    if up > MOST_STEPS_UP || (up > 0 && shared < 2) {
        return None;
    }
    let steps = std::iter::repeat_n(Path::new("..").as_os_str(), up);
    let down = target.components().skip(shared).map(|c| c.as_os_str());
    let path: PathBuf = steps.chain(down).collect();
    Some(if path.as_os_str().is_empty() { ".".into() } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_places_are_relative() {
        let way = |folder, target| relative(Path::new(folder), Path::new(target));
        assert_eq!(way("/a", "/a/photos"), Some("photos".into()));
        assert_eq!(way("/", "/photos"), Some("photos".into()));
        assert_eq!(way("/a/b", "/a/photos"), Some("../photos".into()));
        assert_eq!(way("/a/photos", "/a/photos"), Some(".".into()));
        assert_eq!(way("/a/b", "/data/photos"), None);
        assert_eq!(way("/a/b/c/d", "/a/photos"), None);
    }

    #[test]
    fn a_file_is_named_after_the_images() {
        let dir = tempfile::tempdir().unwrap();
        let photos = dir.path().join("my.photos");
        std::fs::create_dir(&photos).unwrap();
        assert_eq!(default_file(&photos), Path::new("my.photos.toml"));
        assert_eq!(default_file(&photos.join(".")), Path::new("my.photos.toml"));
        let list = photos.join("birds.txt");
        std::fs::write(&list, "").unwrap();
        assert_eq!(default_file(&list), Path::new("birds.toml"));
        assert_eq!(default_file(Path::new("/")), Path::new("pipeline.toml"));
    }
}
