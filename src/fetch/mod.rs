//! Gets a known dataset: its archives over HTTP, checked and unpacked into the folder that pipelines
//! expect. What exists already is neither fetched again nor changed.

mod download;
mod unpack;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::dataset::known::{Archive, Known, Source};
use crate::disk;
use crate::progress::Watch;
use crate::text::bytes_text;

/// What to get, and where to.
pub struct FetchRequest<'a> {
    /// The dataset.
    pub known: &'a Known,
    /// Folder of its files; it is made if it does not exist.
    pub to: &'a Path,
    /// Address of the archives' folder, in place of the publisher's.
    pub server: Option<&'a str>,
    /// How many failed attempts are tolerated.
    pub patience: Patience,
}

/// How many failed attempts are tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Failures in a row, without a byte between them, after which it is given up.
    pub failures: u32,
    /// Time before the first new try; it doubles with each failure.
    pub wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { failures: 6, wait: Duration::from_secs(1) }
    }
}

/// What was done with one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The archive.
    pub file: &'static str,
    /// Where its content is now: the archive itself, or what was unpacked from it.
    pub places: Vec<PathBuf>,
    /// The archive on this machine, if it exists.
    pub archive: Option<PathBuf>,
    /// What was done.
    pub done: Done,
}

/// What was done with an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// Nothing: its content existed.
    Kept,
    /// It existed, was checked and unpacked.
    Unpacked,
    /// It was fetched and checked and, where pipelines need that, unpacked.
    Fetched,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The dataset is not on a server that this program fetches from.
    #[error(
        "{name}: cannot be downloaded automatically: it needs a registration or another tool\n  `fsa-bank dataset fetch {name}` says how to get it."
    )]
    ByHand {
        /// The dataset.
        name: &'static str,
    },
    /// Less room than the archives and what is unpacked from them take.
    #[error("{}: {} are needed and {} are free\n  Make room, or choose another place with --to.", path.display(), bytes_text(*needed), bytes_text(*free))]
    Space {
        /// The folder.
        path: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The connection failed again and again.
    #[error("{url}: no connection after {tries} tries: {message}\n  The same command goes on with the {} that are in {}.", bytes_text(*have), part.display())]
    Connection {
        /// The address.
        url: String,
        /// Tries in a row that brought nothing.
        tries: u32,
        /// What the last one said.
        message: String,
        /// Bytes that are kept.
        have: u64,
        /// Where.
        part: PathBuf,
    },
    /// The server has no such file, or does not give it.
    #[error("{url}: the server answered {status}\n  Fetch the file with another program and put it at {}; the same command then goes on with it.", target.display())]
    Status {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
        /// Where the file belongs.
        target: PathBuf,
    },
    /// An address or an answer that makes no sense.
    #[error("{url}: {message}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// What was fetched is not what was published.
    #[error(
        "{url}: md5 {found}; expected {expected}\n  What was fetched was removed. Run the same command again; if it fails again, a proxy or the server gives another file."
    )]
    Md5 {
        /// The address.
        url: String,
        /// Of the published file.
        expected: String,
        /// Of the fetched one.
        found: String,
    },
    /// A file of the archive's name with other content.
    #[error("{}: md5 {found}; expected {expected}\n  It was left as it is. Move it away to have it fetched.", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// Of the published file.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// Another process fetches the same file.
    #[error("{}: another process is writing it\n  Wait for that one, or choose another place with --to.", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// An archive that cannot be read, or does not hold what it should.
    #[error("{}: cannot be unpacked: {message}\n  Nothing of it was left in the folder.", path.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A member of an archive that is not to be trusted.
    #[error("{}: member `{member}` {found}\n  Nothing of the archive was left in the folder; it is not the published one.", path.display())]
    Member {
        /// The archive.
        path: PathBuf,
        /// Its name in the archive.
        member: String,
        /// What is wrong with it.
        found: &'static str,
    },
    /// A file that cannot be written or read.
    #[error("{}: {source}\n  Check permissions and free space, or choose another place with --to.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user stopped it.
    #[error("stopped; what was fetched is kept in {}\n  The same command goes on from there.", path.display())]
    Interrupted {
        /// The folder.
        path: PathBuf,
    },
}

impl FetchError {
    /// For `map_err`.
    fn file(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self::File { path: path.into(), source }
    }
}

/// Gets what is missing of the dataset.
///
/// # Errors
/// See [`FetchError`]. What was fetched until then stays, and the next call goes on from it; an archive
/// and what is unpacked from it get their names only when they are whole.
pub fn run(request: &FetchRequest, watch: Watch<'_>) -> Result<Vec<Fetched>, FetchError> {
    let Source::Server(publisher) = request.known.source else {
        return Err(FetchError::ByHand { name: request.known.name });
    };
    let server = request.server.unwrap_or(publisher).trim_end_matches('/');
    std::fs::create_dir_all(request.to).map_err(FetchError::file(request.to))?;
    require_space(request)?;
    let get = |archive| fetch_archive(request, server, archive, watch);
    request.known.archives.iter().map(get).collect()
}

fn fetch_archive(
    request: &FetchRequest,
    server: &str,
    archive: &Archive,
    watch: Watch<'_>,
) -> Result<Fetched, FetchError> {
    let target = request.to.join(archive.file);
    let unpacks = !archive.makes.is_empty();
    let places = match unpacks {
        true => archive.makes.iter().map(|made| request.to.join(made)).collect(),
        false => vec![target.clone()],
    };
    let mut done = Done::Kept;
    if !(unpacks && archive.is_in(request.to)) {
        if target.exists() {
            download::verify(&target, archive, watch)?;
        } else {
            let url = format!("{server}/{}", archive.file);
            let patience = request.patience;
            download::download(&url, &target, archive, patience, watch)?;
            done = Done::Fetched;
        }
        if unpacks {
            unpack::unpack(&target, archive, request.to, watch)?;
            done = if done == Done::Kept { Done::Unpacked } else { done };
        }
    }
    let archive_path = target.exists().then_some(target);
    Ok(Fetched { file: archive.file, places, archive: archive_path, done })
}

/// Bytes that an archive still takes in `folder`.
fn bytes_to_come(archive: &Archive, folder: &Path) -> u64 {
    if archive.is_in(folder) {
        return 0;
    }
    let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let target = folder.join(archive.file);
    let have = length(target.clone()).max(length(download::part_of(&target)));
    archive.bytes.saturating_sub(have).saturating_add(archive.unpacked_bytes)
}

fn require_space(request: &FetchRequest) -> Result<(), FetchError> {
    let archives = request.known.archives.iter();
    let needed = archives.fold(0u64, |sum, a| sum.saturating_add(bytes_to_come(a, request.to)));
    if let Some(free) = disk::free_bytes(request.to)
        && needed > free
    {
        return Err(FetchError::Space { path: request.to.into(), needed, free });
    }
    Ok(())
}
