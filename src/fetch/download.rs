//! One file over HTTP: continued where it was left, checked by its md5, named when it is whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{HeaderMap, Response, header};

use super::{FetchError, Patience};
use crate::dataset::known::Archive;
use crate::file_lock::LockedFile;
use crate::progress::{Interrupt, Watch};
use crate::text::bytes_text;

/// A connection that gives nothing for this long is given up and made again.
const SILENCE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 1 << 18;

/// Where a file is until it is whole.
pub(super) fn part_of(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{name}.part"))
}

/// Compares an existing file with its published md5.
pub(super) fn verify(path: &Path, archive: &Archive, watch: Watch<'_>) -> Result<(), FetchError> {
    let mut file = File::open(path).map_err(FetchError::file(path))?;
    let mut md5 = Md5::new();
    hash_file(&mut file, path, &mut md5, watch)?;
    let found = crate::text::hex(&md5.finalize());
    if found == archive.md5 {
        return Ok(());
    }
    Err(FetchError::OtherFile { path: path.into(), expected: archive.md5.into(), found })
}

/// Gets the file at `url`.
pub(super) fn download(
    url: &str,
    target: &Path,
    archive: &Archive,
    patience: Patience,
    watch: Watch<'_>,
) -> Result<(), FetchError> {
    let mut part = Part::open(target, watch)?;
    let call = Call { url, target, archive, agent: agent(), watch };
    let mut failures = 0;
    loop {
        let before = part.bytes;
        let message = match call.attempt(&mut part) {
            Ok(()) => return part.commit(url, archive),
            Err(Ending::Final(error)) => return Err(error),
            Err(Ending::Again(message)) => message,
        };
        failures = if part.bytes > before { 1 } else { failures + 1 };
        if failures >= patience.failures {
            let (url, part, have) = (url.into(), part.path, part.bytes);
            return Err(FetchError::Connection { url, tries: failures, message, have, part });
        }
        let pause = patience.wait * 2u32.pow((failures - 1).min(8));
        watch.progress.line(&format!("{}: {message}; going on in {pause:.1?}", archive.file));
        wait(pause, target, watch.interrupt)?;
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("fsa-bank/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Sleeps, but not through a Ctrl-C.
fn wait(pause: Duration, target: &Path, interrupt: &Interrupt) -> Result<(), FetchError> {
    let begin = Instant::now();
    while begin.elapsed() < pause {
        stop_if_asked(target, interrupt)?;
        std::thread::sleep(Duration::from_millis(50).min(pause));
    }
    Ok(())
}

fn stop_if_asked(target: &Path, interrupt: &Interrupt) -> Result<(), FetchError> {
    let path = target.parent().unwrap_or(target).into();
    if interrupt.requested() { Err(FetchError::Interrupted { path }) } else { Ok(()) }
}

/// Feeds a whole file to `md5`, from where it stands.
fn hash_file(
    file: &mut File,
    path: &Path,
    md5: &mut Md5,
    watch: Watch<'_>,
) -> Result<(), FetchError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = file.metadata().map_err(FetchError::file(path))?.len();
    watch.progress.start(&format!("checking {name}"), bytes, "byte");
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        stop_if_asked(path, watch.interrupt)?;
        let read = file.read(&mut buffer).map_err(FetchError::file(path))?;
        if read == 0 {
            watch.progress.finish();
            return Ok(());
        }
        md5.update(&buffer[..read]);
        watch.progress.advance(read as u64);
    }
}

/// A file that is not whole yet, held by this process alone.
struct Part {
    path: PathBuf,
    target: PathBuf,
    file: LockedFile,
    bytes: u64,
    md5: Md5,
}

impl Part {
    /// Opens what an earlier call left, or an empty file.
    fn open(target: &Path, watch: Watch<'_>) -> Result<Self, FetchError> {
        let path = part_of(target);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(FetchError::file(&path))?;
        let mut file = match LockedFile::try_new(file) {
            Ok(file) => file,
            Err(TryLockError::WouldBlock) => return Err(FetchError::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(FetchError::File { path, source }),
        };
        let bytes = file.metadata().map_err(FetchError::file(&path))?.len();
        let mut md5 = Md5::new();
        if bytes > 0 {
            hash_file(&mut file, &path, &mut md5, watch)?;
        }
        Ok(Self { path, target: target.into(), file, bytes, md5 })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(FetchError::file(&self.path))?;
        self.md5.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Back to an empty file.
    fn clear(&mut self) -> Result<(), FetchError> {
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(FetchError::file(&self.path))?;
        (self.bytes, self.md5) = (0, Md5::new());
        Ok(())
    }

    /// Gives the file its name if it is what was published.
    fn commit(self, url: &str, archive: &Archive) -> Result<(), FetchError> {
        let found = crate::text::hex(&self.md5.finalize());
        if found != archive.md5 {
            std::fs::remove_file(&self.path).map_err(FetchError::file(&self.path))?;
            return Err(FetchError::Md5 { url: url.into(), expected: archive.md5.into(), found });
        }
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let named = || -> io::Result<()> {
            self.file.sync_all()?;
            std::fs::rename(&self.path, &self.target)?;
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        named().map_err(FetchError::file(&self.target))
    }
}

/// How an attempt ended short of the whole file.
enum Ending {
    /// Another one may do better.
    Again(String),
    Final(FetchError),
}

impl From<FetchError> for Ending {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// What every attempt at one file has in common.
struct Call<'a> {
    url: &'a str,
    target: &'a Path,
    archive: &'a Archive,
    agent: Agent,
    watch: Watch<'a>,
}

impl Call<'_> {
    /// One request, for what is missing yet.
    fn attempt(&self, part: &mut Part) -> Result<(), Ending> {
        let mut request = self.agent.get(self.url);
        if part.bytes > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", part.bytes));
        }
        let response = request.call().map_err(|error| self.ending(error))?;
        let whole = match response.status().as_u16() {
            200 => {
                if part.bytes > 0 {
                    let text = "the server cannot resume; starting over";
                    self.watch.progress.line(&format!("{}: {text}", self.archive.file));
                    part.clear()?;
                }
                response.body().content_length()
            }
            206 => Some(self.range(response.headers(), part.bytes)?),
            416 if range_total(response.headers()) == Some(part.bytes) => return Ok(()),
            416 => {
                part.clear()?;
                return Err(Ending::Again(
                    "the local file is longer than the server's; starting over".into(),
                ));
            }
            status @ (408 | 429 | 500..=599) => {
                return Err(Ending::Again(format!("the server answered {status}")));
            }
            status => {
                let (url, target) = (self.url.into(), self.target.into());
                return Err(FetchError::Status { url, status, target }.into());
            }
        };
        self.receive(part, response, whole)
    }

    /// Whether an error of the client may be gone at the next attempt.
    fn ending(&self, error: ureq::Error) -> Ending {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::TooManyRedirects => {
                self.answer(error.to_string())
            }
            other => Ending::Again(other.to_string()),
        }
    }

    fn answer(&self, message: String) -> Ending {
        FetchError::Answer { url: self.url.into(), message }.into()
    }

    /// The whole length that a partial answer gives; it must begin where the file ends.
    fn range(&self, headers: &HeaderMap, have: u64) -> Result<u64, Ending> {
        let first = content_range(headers).and_then(|(range, _)| range.split_once('-'));
        let begins = first.and_then(|(first, _)| first.parse::<u64>().ok());
        match (begins, range_total(headers)) {
            (Some(begins), Some(total)) if begins == have => Ok(total),
            _ => Err(self.answer(format!(
                "asked for what follows byte {have}, the server answered with `{}`",
                text(headers, header::CONTENT_RANGE)
            ))),
        }
    }

    /// Appends the body, up to the length that was announced.
    fn receive(
        &self,
        part: &mut Part,
        response: Response<ureq::Body>,
        whole: Option<u64>,
    ) -> Result<(), Ending> {
        self.refuse_too_long(whole.unwrap_or(0))?;
        let to_come = whole.unwrap_or(self.archive.bytes).saturating_sub(part.bytes);
        self.watch.progress.start(self.archive.file, to_come, "byte");
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let ended = loop {
            stop_if_asked(self.target, self.watch.interrupt)?;
            match body.read(&mut buffer) {
                Ok(0) => break None,
                Ok(read) => {
                    part.append(&buffer[..read])?;
                    self.refuse_too_long(part.bytes)?;
                    self.watch.progress.advance(read as u64);
                }
                Err(error) => break Some(error.to_string()),
            }
        };
        self.watch.progress.finish();
        let cut = whole.is_some_and(|whole| part.bytes < whole);
        match ended {
            Some(message) => Err(Ending::Again(format!("the connection was lost ({message})"))),
            None if cut => Err(Ending::Again("the connection was closed too early".into())),
            None => Ok(()),
        }
    }

    /// An answer that goes on and on is not the archive, and would fill the disk.
    fn refuse_too_long(&self, bytes: u64) -> Result<(), Ending> {
        let most = self.archive.bytes.saturating_mul(2);
        if bytes <= most {
            return Ok(());
        }
        let expected = bytes_text(self.archive.bytes);
        Err(self.answer(format!("{} and more; expected {expected}", bytes_text(bytes))))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nothing")
}

/// `bytes 100-199/200` in its parts: range and whole length.
fn content_range(headers: &HeaderMap) -> Option<(&str, &str)> {
    text(headers, header::CONTENT_RANGE).strip_prefix("bytes ")?.split_once('/')
}

fn range_total(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.1.parse().ok()
}
