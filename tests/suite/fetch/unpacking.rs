//! Archives whose unpacking is refused or fails.

use super::*;

fn unpacking_error(file: &'static str, content: &[u8]) -> String {
    let server = Server::new(&[(file, content)], &[]);
    let outer = tempfile::tempdir().unwrap();
    let to = outer.path().join("to");
    let known = known(vec![archive(file, content, &["photos"])]);
    let error = fetch_to(&to, &known, &server).unwrap_err();
    // The archive stays, and nothing else appears here or beside the folder.
    assert_eq!(names(&to), [file]);
    assert_eq!(names(outer.path()), ["to"]);
    error.to_string()
}

#[test]
fn members_that_would_leave_the_folder_are_refused() {
    for name in ["../escaped.jpg", "photos/../../escaped.jpg", "/tmp/escaped-from-a-test.jpg"] {
        let members: [(&str, &[u8]); 2] = [("photos/1.jpg", b"one"), (name, b"two")];
        let message = unpacking_error("a.tar.gz", &tar_gz(&members));
        assert!(message.contains(&format!("member `{name}` leads out of the folder")), "{message}");
        let message = unpacking_error("a.zip", &zipped(&members));
        assert!(message.contains(&format!("member `{name}` leads out of the folder")), "{message}");
    }
    assert!(!Path::new("/tmp/escaped-from-a-test.jpg").exists());
}

#[test]
fn links_are_refused() {
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo] {
        let mut tar = tar::Builder::new(gzip());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, "photos", "/etc").unwrap();
        let content = tar.into_inner().unwrap().finish().unwrap();
        let message = unpacking_error("a.tar.gz", &content);
        assert!(message.contains("member `photos` is neither a file nor a folder"), "{message}");
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    zip.add_symlink("photos", "/etc", zip::write::SimpleFileOptions::default()).unwrap();
    let message = unpacking_error("a.zip", &zip.finish().unwrap().into_inner());
    assert!(message.contains("member `photos` is neither a file nor a folder"), "{message}");
}

#[test]
fn a_broken_archive_leaves_nothing() {
    let whole = tar_gz(&[("photos/1.jpg", &bytes(10_000))]);
    let message = unpacking_error("a.tar.gz", &whole[..whole.len() / 2]);
    assert!(message.contains("a.tar.gz: cannot be unpacked"), "{message}");
    let message = unpacking_error("a.zip", b"no archive");
    assert!(message.contains("a.zip: cannot be unpacked"), "{message}");
    let message = unpacking_error("a.tar.gz", &tar_gz(&[("other/1.jpg", b"one")]));
    assert!(message.contains("no `photos` in it"), "{message}");
}
