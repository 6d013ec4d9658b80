//! Banks on disks that fill, or that do not give an image: what is there is whole, and the same command ends
//! with the same bytes once the disk is well.

use std::path::Path;
use std::process::{Command, Output};

use fsa_bank::bank::{Bank, BankError};
use fsa_bank::progress::{Interrupt, Silent};

use crate::support::bank_process::{
    MORE, assert_nothing_or_whole, assert_whole, command, make, trained, undisturbed,
};
use crate::support::files::files;
use crate::support::program::text;

/// Runs a child whose bank is on a file system of `bytes`, whose content is then copied to `copy`.
fn on_small_disk(run: &Path, copy: &Path, bytes: usize) -> Output {
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" || exit 99; copy=$3; disk=$2; shift 3
                  \"$@\"; code=$?; cp -a \"$disk/.\" \"$copy\"; exit $code";
    let inner = command(run, &disk.path().join("shards"));
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    outer.arg(bytes.to_string()).arg(disk.path()).arg(copy);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = outer.output().unwrap_or_else(|e| panic!("unshare (util-linux): {e}"));
    let denied = "this test mounts a file system in a user namespace, which is not allowed here";
    assert_ne!(output.status.code(), Some(99), "{denied}: {}", text(&output.stderr));
    output
}

#[test]
fn on_a_full_disk_a_bank_stops_and_goes_on_elsewhere() {
    let run = trained();
    let whole = undisturbed(&run);
    // Files take whole pages of the small disk.
    let pages: usize = whole.values().map(|content| content.len().div_ceil(4096)).sum();
    let mut full = 0;
    for share in 1..12 {
        let folder = tempfile::tempdir().unwrap();
        let output = on_small_disk(run.path(), folder.path(), 4096 * (3 + pages * share / 5));
        let out = folder.path().join("shards");
        assert_nothing_or_whole(&out, &whole);
        let message = text(&output.stderr);
        if !output.status.success() {
            full += 1;
            assert!(message.contains("No space left on device"), "{message}");
            assert!(message.contains("cannot be written"), "{message}");
            let begun = folder.path().join("shards.partial/plan.json").exists();
            assert!(!begun || message.contains("the same command goes on from there"), "{message}");
            let partial = folder.path().join("shards.partial");
            for (name, content) in files(&partial.join("bank")) {
                let finished = partial.join(&name).with_extension("json").exists();
                assert!(!finished || whole[&name] == content, "{name}");
            }
            let names = std::fs::read_dir(&partial).unwrap().map(|e| e.unwrap().file_name());
            let left: Vec<_> = names.filter(|n| n.to_str().unwrap().ends_with(".tmp")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
        make(run.path(), &out, &[], |_| {}, &Silent, &Interrupt::default()).unwrap();
        assert_whole(&out, &whole);
    }
    assert!((3..11).contains(&full), "{full} of 11 disks were full");
}

/// Runs a child for which opening `image` fails with `errno`, from the `from`-th time on.
fn with_faulty_disk(command: &mut Command, image: &str, errno: i32, from: u32) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("faulty_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/faulty_disk.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().unwrap().success());
    command.env("LD_PRELOAD", &library).env("FAULT_PATH", image);
    command.env("FAULT_ERRNO", errno.to_string()).env("FAULT_FROM", from.to_string());
    command.output().unwrap()
}

#[test]
fn a_disk_that_does_not_give_an_image_stops_the_run_and_changes_nothing() {
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;
    let run = trained();
    let whole = undisturbed(&run);
    let image = "train/colour-0/020.png";
    for errno in [EIO, EMFILE] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("shards");
        let output = with_faulty_disk(&mut command(run.path(), &out), image, errno, 1);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(&format!("{image}: cannot be read: ")), "{message}");
        assert!(message.contains(&format!("(os error {errno})")), "{message}");
        assert!(message.contains("the image is not left out"), "{message}");
        assert!(matches!(Bank::open(&out), Err(BankError::Unfinished { .. })));
        let finished = files(&folder.path().join("shards.partial/bank"));
        assert!(finished.len() > 3, "{} files", finished.len());
        assert!(finished.iter().all(|(name, content)| whole[name] == *content));
        // Once it gives it, the bank is what it would have been.
        assert!(command(run.path(), &out).status().unwrap().success());
        assert_whole(&out, &whole);
    }
}

#[test]
fn an_image_that_goes_between_two_of_its_views_is_in_no_bank() {
    const ENOENT: i32 = 2;
    let run = trained();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let image = "train/colour-0/020.png";
    // Images are decoded for each view; maps of 1,024 bytes, so that all views are in one shard.
    let fails_from = |from| {
        let mut command = command(run.path(), &out);
        command.env(MORE, "train.crop=resized\nfeatures.batch_size=15");
        with_faulty_disk(&mut command, image, ENOENT, from)
    };
    // It is opened to see what it is, for its bits, and for the first view.
    let output = fails_from(4);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("020.png: this image was readable at the first pass but not when"),
        "{message}"
    );
    assert!(matches!(Bank::open(&out), Err(BankError::Unfinished { .. })));
}
