//! Fetching datasets, from a server in the test: whole, in pieces, after lost connections, and from
//! servers and archives that are not to be trusted.

mod unpacking;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fsa_bank::dataset::known::{Archive, Known, Source};
use fsa_bank::fetch::{self, Done, FetchError, FetchRequest, Fetched, Patience};
use fsa_bank::progress::{Interrupt, Progress, Silent, Watch};
use md5::{Digest, Md5};

use crate::support::program::{call, text};

/// How the server answers one request.
#[derive(Clone, Copy)]
enum Answer {
    /// As it should.
    Right,
    /// It closes the connection after so many bytes of the body.
    Cut(usize),
    /// It sends the whole file, whatever range was asked for.
    WithoutRange,
    /// It sends another range than was asked for.
    OtherRange,
    /// This status and no file.
    Status(u16),
    /// Zeros for ever, of no announced length.
    Endless,
}

/// A server of some files; its first answers are as told, the later ones right.
struct Server {
    address: String,
    /// Each request: path, and range where one was asked for.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(files: &[(&str, &[u8])], answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let owned = files.iter().map(|(name, bytes)| (format!("/{name}"), bytes.to_vec()));
        let files: BTreeMap<String, Vec<u8>> = owned.collect();
        let requests = Arc::new(Mutex::new(vec![]));
        let (seen, answers) = (requests.clone(), answers.to_vec());
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming() {
                let answer = answers.next().unwrap_or(Answer::Right);
                // A client that has gone is the test's doing.
                let _ = serve(stream.unwrap(), &files, answer, &seen);
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    answer: Answer,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap()?;
    let path = first.split(' ').nth(1).unwrap().to_string();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(from) = line.strip_prefix("range: bytes=") {
            range = Some(from.trim_end_matches('-').parse::<usize>().unwrap());
        }
    }
    seen.lock().unwrap().push(match range {
        Some(from) => format!("{path} {from}-"),
        None => path.clone(),
    });
    let status =
        |code: u16, headers: &str| format!("HTTP/1.1 {code} X\r\n{headers}Connection: close\r\n");
    let Some(file) = files.get(&path) else {
        return write!(stream, "{}Content-Length: 0\r\n\r\n", status(404, ""));
    };
    let whole = file.len();
    match answer {
        Answer::Status(code) => {
            return write!(stream, "{}Content-Length: 0\r\n\r\n", status(code, ""));
        }
        Answer::Endless => {
            write!(stream, "{}\r\n", status(200, ""))?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        }
        _ => {}
    }
    let from = if matches!(answer, Answer::WithoutRange) { None } else { range };
    if from.is_some_and(|from| from >= whole) {
        let headers = format!("Content-Range: bytes */{whole}\r\n");
        return write!(stream, "{}Content-Length: 0\r\n\r\n", status(416, &headers));
    }
    let shift = if matches!(answer, Answer::OtherRange) { 1 } else { 0 };
    let body = &file[from.map_or(0, |from| from + shift)..];
    let head = match from {
        Some(from) => {
            status(206, &format!("Content-Range: bytes {}-{}/{whole}\r\n", from + shift, whole - 1))
        }
        None => status(200, ""),
    };
    write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len())?;
    let sent = if let Answer::Cut(after) = answer { after.min(body.len()) } else { body.len() };
    stream.write_all(&body[..sent])
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn archive(file: &'static str, bytes: &[u8], makes: &'static [&'static str]) -> Archive {
    let unpacked_bytes = if makes.is_empty() { 0 } else { 1000 };
    let (length, md5) = (bytes.len() as u64, leaked(md5_of(bytes)));
    Archive { file, content: "test", bytes: length, md5, makes, unpacked_bytes }
}

fn known(archives: Vec<Archive>) -> Known {
    Known {
        name: "tiny",
        title: "Tiny",
        folder: "data/tiny",
        source: Source::Server("http://127.0.0.1:9"),
        archives: Box::leak(archives.into_boxed_slice()),
        terms: "none",
    }
}

/// Impatient, so that tests are short.
fn fetch_to(to: &Path, known: &Known, server: &Server) -> Result<Vec<Fetched>, FetchError> {
    fetch_with(to, known, server, &Silent, &Interrupt::default())
}

fn fetch_with(
    to: &Path,
    known: &Known,
    server: &Server,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Fetched>, FetchError> {
    let patience = Patience { failures: 3, wait: Duration::from_millis(1) };
    let request = FetchRequest { known, to, server: Some(&server.address), patience };
    fetch::run(&request, Watch::new(progress, interrupt))
}

/// Bytes that do not repeat within the length of a test's file.
fn bytes(n: u32) -> Vec<u8> {
    (0..n).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| name(entry).into_string().unwrap()).collect();
    names.sort();
    names
}

fn tar_gz(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(gzip());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written as they are: `append_data` would refuse the ones that the tests are about.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn gzip() -> flate2::write::GzEncoder<Vec<u8>> {
    flate2::write::GzEncoder::new(vec![], flate2::Compression::fast())
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_are_fetched_checked_and_unpacked_once() {
    let images = tar_gz(&[("photos/a/1.jpg", b"one"), ("photos/b/2.jpg", b"two")]);
    let annotations = zipped(&[("both/train.json", b"{}"), ("both/val.json", b"[]")]);
    let plain = bytes(1000);
    let server = Server::new(
        &[("images.tar.gz", &images), ("annotations.zip", &annotations), ("plain.bin", &plain)],
        &[],
    );
    let known = known(vec![
        archive("annotations.zip", &annotations, &["train.json", "val.json"]),
        archive("images.tar.gz", &images, &["photos"]),
        archive("plain.bin", &plain, &[]),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("data/tiny");
    let done = |fetched: Vec<Fetched>| fetched.iter().map(|f| f.done).collect::<Vec<_>>();
    assert_eq!(done(fetch_to(&to, &known, &server).unwrap()), [Done::Fetched; 3]);
    assert_eq!(fs::read(to.join("photos/b/2.jpg")).unwrap(), b"two");
    assert_eq!(fs::read(to.join("train.json")).unwrap(), b"{}");
    assert_eq!(fs::read(to.join("plain.bin")).unwrap(), plain);
    let whole =
        ["annotations.zip", "images.tar.gz", "photos", "plain.bin", "train.json", "val.json"];
    assert_eq!(names(&to), whole);
    assert_eq!(server.requests().len(), 3);

    // Nothing again: neither with the archives there nor, once unpacked, without them.
    assert_eq!(done(fetch_to(&to, &known, &server).unwrap()), [Done::Kept; 3]);
    fs::remove_file(to.join("images.tar.gz")).unwrap();
    assert_eq!(done(fetch_to(&to, &known, &server).unwrap()), [Done::Kept; 3]);
    assert_eq!(server.requests().len(), 3);

    // What was removed is unpacked again from the archive that is there.
    fs::remove_file(to.join("val.json")).unwrap();
    let again = done(fetch_to(&to, &known, &server).unwrap());
    assert_eq!(again, [Done::Unpacked, Done::Kept, Done::Kept]);
    assert_eq!(fs::read(to.join("val.json")).unwrap(), b"[]");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_lost_connection_is_continued_from_where_it_broke() {
    let file = bytes(100_000);
    let answers = [Answer::Cut(150_000), Answer::Status(503), Answer::Cut(100_000)];
    let server = Server::new(&[("a.bin", &file)], &answers);
    let dir = tempfile::tempdir().unwrap();
    fetch_to(dir.path(), &known(vec![archive("a.bin", &file, &[])]), &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);
    let requests = server.requests();
    assert_eq!(requests, ["/a.bin", "/a.bin 150000-", "/a.bin 150000-", "/a.bin 250000-"]);
    assert_eq!(names(dir.path()), ["a.bin"]);
}

#[test]
fn what_an_earlier_call_left_is_kept() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[]);
    let known = known(vec![archive("a.bin", &file, &[])]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.bin.part"), &file[..1234]).unwrap();
    fetch_to(dir.path(), &known, &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);
    assert_eq!(server.requests(), ["/a.bin 1234-"]);

    // All of it, but it was not renamed yet.
    fs::rename(dir.path().join("a.bin"), dir.path().join("a.bin.part")).unwrap();
    fetch_to(dir.path(), &known, &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);
    // More than the server has.
    let longer = [&file[..], b"more"].concat();
    fs::remove_file(dir.path().join("a.bin")).unwrap();
    fs::write(dir.path().join("a.bin.part"), longer).unwrap();
    fetch_to(dir.path(), &known, &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);
}

#[test]
fn a_server_that_knows_no_ranges_gives_the_whole_file_again() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[Answer::Cut(500), Answer::WithoutRange]);
    let dir = tempfile::tempdir().unwrap();
    fetch_to(dir.path(), &known(vec![archive("a.bin", &file, &[])]), &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);
    assert_eq!(server.requests(), ["/a.bin", "/a.bin 500-"]);
}

#[test]
fn another_range_than_asked_for_is_refused() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[Answer::Cut(500), Answer::OtherRange]);
    let dir = tempfile::tempdir().unwrap();
    let error =
        fetch_to(dir.path(), &known(vec![archive("a.bin", &file, &[])]), &server).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("follows byte 500") && message.contains("bytes 501-"), "{message}");
    assert_eq!(fs::read(dir.path().join("a.bin.part")).unwrap(), file[..500]);
}

#[test]
fn a_wrong_file_gets_no_name() {
    let (right, wrong) = (bytes(1000), vec![7; 4000]);
    let server = Server::new(&[("a.bin", &wrong)], &[]);
    let dir = tempfile::tempdir().unwrap();
    let error =
        fetch_to(dir.path(), &known(vec![archive("a.bin", &right, &[])]), &server).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, FetchError::Md5 { .. }), "{message}");
    assert!(message.contains(&md5_of(&right)) && message.contains(&md5_of(&wrong)), "{message}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_file_that_is_there_is_checked_and_never_changed() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[]);
    let known = known(vec![archive("a.bin", &file, &[])]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    fs::write(&path, &file).unwrap();
    let unpacking = self::known(vec![archive("a.bin", &file, &["made"])]);
    assert_eq!(fetch_to(dir.path(), &known, &server).unwrap()[0].done, Done::Kept);
    fs::write(&path, "the user's own").unwrap();
    let error = fetch_to(dir.path(), &unpacking, &server).unwrap_err();
    assert!(matches!(error, FetchError::OtherFile { .. }), "{error}");
    assert!(error.to_string().contains("left as it is"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"the user's own");
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn it_gives_up_after_failures_in_a_row_and_keeps_what_it_has() {
    let file = bytes(1000);
    let known = known(vec![archive("a.bin", &file, &[])]);
    let dir = tempfile::tempdir().unwrap();
    let answers = [Answer::Cut(800), Answer::Cut(0), Answer::Status(500)];
    let server = Server::new(&[("a.bin", &file)], &answers);
    let error = fetch_to(dir.path(), &known, &server).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("after 3 tries") && message.contains("answered 500"), "{message}");
    assert!(message.contains("800 B") && message.contains("a.bin.part"), "{message}");
    assert_eq!(fs::read(dir.path().join("a.bin.part")).unwrap(), file[..800]);
    fetch_to(dir.path(), &known, &server).unwrap();
    assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), file);

    let nobody = Server { address: "http://127.0.0.1:1".into(), requests: Default::default() };
    let other = tempfile::tempdir().unwrap();
    let error = fetch_to(other.path(), &known, &nobody).unwrap_err();
    assert!(matches!(error, FetchError::Connection { tries: 3, .. }), "{error}");
}

#[test]
fn a_refusal_is_told_with_the_way_around_it() {
    let file = bytes(10);
    let server = Server::new(&[("a.bin", &file)], &[Answer::Status(403)]);
    let dir = tempfile::tempdir().unwrap();
    let known = known(vec![archive("a.bin", &file, &[])]);
    let message = fetch_to(dir.path(), &known, &server).unwrap_err().to_string();
    assert!(message.contains("/a.bin: the server answered 403"), "{message}");
    assert!(message.contains(&format!("put it at {}", dir.path().join("a.bin").display())));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_endless_answer_does_not_fill_the_disk() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[Answer::Endless]);
    let dir = tempfile::tempdir().unwrap();
    let known = known(vec![archive("a.bin", &file, &[])]);
    let error = fetch_to(dir.path(), &known, &server).unwrap_err();
    assert!(error.to_string().contains("and more; expected 3.9 KiB"), "{error}");
    assert!(fs::metadata(dir.path().join("a.bin.part")).unwrap().len() < 1_000_000);
}

/// Stops at the first bytes of the piece of work of this name.
struct StopsAt(&'static str, Interrupt, Mutex<bool>);

impl Progress for StopsAt {
    fn start(&self, label: &str, _: u64, unit: &'static str) {
        assert_eq!(unit, "byte");
        *self.2.lock().unwrap() = label == self.0;
    }
    fn advance(&self, _: u64) {
        if *self.2.lock().unwrap() {
            self.1.request();
        }
    }
    fn status(&self, _: &str) {}
    fn finish(&self) {}
    fn line(&self, _: &str) {}
}

#[test]
fn ctrl_c_loses_nothing() {
    let members: Vec<(String, Vec<u8>)> =
        (0..20).map(|i| (format!("photos/{i}.jpg"), bytes(50_000 + i))).collect();
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let file = tar_gz(&members);
    let server = Server::new(&[("a.tar.gz", &file)], &[]);
    let known = known(vec![archive("a.tar.gz", &file, &["photos"])]);
    let dir = tempfile::tempdir().unwrap();
    for (work, left) in [("a.tar.gz", "a.tar.gz.part"), ("checking a.tar.gz.part", "a.tar.gz.part")]
    {
        let interrupt = Interrupt::default();
        let progress = StopsAt(work, interrupt.clone(), Mutex::new(false));
        let error = fetch_with(dir.path(), &known, &server, &progress, &interrupt).unwrap_err();
        assert!(matches!(error, FetchError::Interrupted { .. }), "{error}");
        assert_eq!(names(dir.path()), [left]);
    }
    let part = fs::read(dir.path().join("a.tar.gz.part")).unwrap();
    assert!(!part.is_empty() && part.len() < file.len() && file.starts_with(&part));

    let interrupt = Interrupt::default();
    let progress = StopsAt("unpacking a.tar.gz", interrupt.clone(), Mutex::new(false));
    let error = fetch_with(dir.path(), &known, &server, &progress, &interrupt).unwrap_err();
    assert!(matches!(error, FetchError::Interrupted { .. }), "{error}");
    assert_eq!(names(dir.path()), ["a.tar.gz"]);
    fetch_to(dir.path(), &known, &server).unwrap();
    assert_eq!(names(&dir.path().join("photos")).len(), 20);
    assert_eq!(server.requests(), ["/a.tar.gz".into(), format!("/a.tar.gz {}-", part.len())]);
}

#[test]
fn two_processes_do_not_write_one_file() {
    let file = bytes(1000);
    let server = Server::new(&[("a.bin", &file)], &[]);
    let dir = tempfile::tempdir().unwrap();
    let held = fs::File::create(dir.path().join("a.bin.part")).unwrap();
    held.lock().unwrap();
    let known = known(vec![archive("a.bin", &file, &[])]);
    let error = fetch_to(dir.path(), &known, &server).unwrap_err();
    assert!(matches!(error, FetchError::Busy { .. }), "{error}");
    // Closed alone, it would stay locked in a child that another test has forked just now.
    held.unlock().unwrap();
    fetch_to(dir.path(), &known, &server).unwrap();
}

#[test]
fn room_is_looked_for_before_the_first_byte() {
    let mut large = archive("a.bin", b"", &[]);
    large.bytes = 1 << 60;
    let server = Server::new(&[], &[]);
    let dir = tempfile::tempdir().unwrap();
    let error = fetch_to(dir.path(), &known(vec![large.clone()]), &server).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, FetchError::Space { .. }), "{message}");
    assert!(message.contains("are needed") && message.contains("--to"), "{message}");
    // What is unpacked counts too.
    let small = Archive { bytes: 10, makes: &["made"], unpacked_bytes: 1 << 60, ..large };
    let error = fetch_to(dir.path(), &known(vec![small]), &server).unwrap_err();
    assert!(matches!(error, FetchError::Space { .. }), "{error}");
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn the_command_tells_the_terms_and_refuses_what_is_not_the_archive() {
    let server = Server::new(&[("val2018.json.tar.gz", b"something else")], &[]);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().to_str().unwrap();
    let free = rustix::fs::statvfs(dir.path()).map(|s| s.f_bavail * s.f_frsize).unwrap();
    let arguments = |name| {
        ["dataset", "fetch", name, "--to", to, "--server", &server.address].map(String::from)
    };
    let call = |name| {
        let arguments = arguments(name);
        call(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = call("inat2018");
    let told = text(&output.stderr);
    assert!(told.contains("non-commercial"), "{told}");
    if free > 300_000_000_000 {
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("expected f2ed8bfe3e9901cdefceb4e53cd3775d"), "{told}");
    } else {
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("240.9 GiB are needed"), "{told}");
    }
    let server_of_cifar = Server::new(&[("cifar-10-binary.tar.gz", b"something else")], &[]);
    let arguments =
        ["dataset", "fetch", "cifar10-lt-im50", "--to", to, "--server", &server_of_cifar.address];
    let output = crate::support::program::call(&arguments);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("expected c32a1d4ab5d03f1284b67883e8d87530"), "{told}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_fetched_is_explained() {
    for (name, parts) in [
        (
            "imagenet-lt",
            ["ILSVRC2012_img_train.tar", "137.7 GiB", "image-net.org", "non-commercial"],
        ),
        (
            "places-lt",
            ["train_256_places365standard.tar", "24.3 GiB", "places2.csail", "non-commercial"],
        ),
    ] {
        let output = call(&["dataset", "fetch", name, "--to", "/somewhere"]);
        assert!(output.status.success());
        let told = text(&output.stdout);
        for part in parts.into_iter().chain(["into /somewhere/", "_LT_train.txt"]) {
            assert!(told.contains(part), "no `{part}` in {told}");
        }
    }
    let output = call(&["dataset", "fetch", "inat2019"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("known are cifar10, cifar100, inat2017, inat2018"), "{told}");
    let output = call(&["--json", "dataset", "fetch", "places-lt"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["dataset"]["archives"][1]["bytes"], 26_103_685_120u64);
}

#[test]
fn a_dataset_that_is_there_is_told_as_json() {
    let dir = tempfile::tempdir().unwrap();
    for made in ["train2018.json", "val2018.json"] {
        fs::write(dir.path().join(made), "").unwrap();
    }
    fs::create_dir(dir.path().join("train_val2018")).unwrap();
    let to = dir.path().to_str().unwrap();
    let output = call(&["--json", "-q", "dataset", "fetch", "inat2018", "--to", to]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["fetched"][2]["done"], "kept");
    assert!(json["dataset"]["terms"].as_str().unwrap().contains("non-commercial"));
    let told = text(&call(&["-q", "dataset", "fetch", "inat2018", "--to", to]).stdout);
    assert!(told.contains("train_val2018   exists already"), "{told}");
    assert!(told.contains("non-commercial"), "{told}");
}

/// The server itself, so that a test cannot pass by its fault.
#[test]
fn the_tests_server_cuts_what_it_is_told_to_cut() {
    let server = Server::new(&[("a", b"abcdef")], &[Answer::Cut(2)]);
    let host = server.address.strip_prefix("http://").unwrap();
    let ask = |range: &str| {
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /a HTTP/1.1\r\nHost: x\r\n{range}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("").ends_with("Content-Length: 6\r\n\r\nab"));
    assert!(ask("Range: bytes=4-\r\n").ends_with("Content-Length: 2\r\n\r\nef"));
}
