//! Banks whose making is killed, interrupted, or done twice at once: what is there is whole, and the same
//! command ends with the same bytes.
//!
//! The process that is killed is this test program itself, which runs [`child`] alone.

use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fsa_bank::bank::{Bank, BankError, Manifest};
use fsa_bank::features::{self, FeaturesError, FeaturesRequest};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::rng::{KeyedRng, Stage};

use crate::support::bank_process::{
    PARTITION, assert_nothing_or_whole, assert_whole, command, made_as_asked_by_the_environment,
    make, prepared, trained, undisturbed,
};
use crate::support::files::files;
use crate::support::program::{PROGRAM, text};
use crate::support::progress::Watcher;

/// The process that the other tests start; by itself, it starts one that nothing disturbs.
#[test]
fn child() {
    match made_as_asked_by_the_environment() {
        Some(Ok(_)) => {}
        Some(Err(e)) => {
            eprintln!("error: {e}");
            std::process::exit(1);
        }
        None => {
            let run = trained();
            let whole = undisturbed(&run);
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("shards");
            assert!(command(run.path(), &out).status().unwrap().success());
            assert_whole(&out, &whole);
        }
    }
}

/// A seed of this run, printed, or the one that is asked for.
fn seed() -> u64 {
    let given = std::env::var("FSA_BANK_FAULT_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = given.unwrap_or_else(now);
    println!("FSA_BANK_FAULT_SEED={seed}");
    seed
}

/// Waits until the bank under way at `out` has this many files, or its process has ended.
fn wait_for_files(out: &Path, wanted: usize, child: &mut Child) {
    let bank = out.with_file_name("shards.partial/bank");
    let there = || std::fs::read_dir(&bank).map_or(0, Iterator::count);
    while child.try_wait().unwrap().is_none() && there() < wanted {
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn killed_200_times_at_random_points_banks_are_completed_to_the_same_bytes() {
    const KILLS: u64 = 200;
    const KILLERS: u64 = 2;
    let run = trained();
    let whole = undisturbed(&run);
    let once = || {
        let out = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        assert!(command(run.path(), &out.path().join("shards")).status().unwrap().success());
        begin.elapsed()
    };
    let mut times = [once(), once(), once()];
    times.sort();
    let usual = times[1];
    let seed = seed();
    let killer = |killer: u64| {
        let mut rng = KeyedRng::new(seed, Stage::DataOrder, (killer, 0));
        let (mut killed, mut under_way) = (0, 0);
        while killed < KILLS / KILLERS {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("shards");
            // A bank is killed up to four times before it is left to end.
            for attempt in 0.. {
                let mut child = command(run.path(), &out).spawn().unwrap();
                if attempt < 4 {
                    // Half of them at any time, half once some files are there, however busy the machine is.
                    match rng.below(2) {
                        0 => std::thread::sleep(usual.mul_f64(1.2 * rng.unit())),
                        _ => wait_for_files(&out, rng.below(15) as usize, &mut child),
                    }
                    child.kill().unwrap();
                }
                let output = child.wait_with_output().unwrap();
                assert_nothing_or_whole(&out, &whole);
                if output.status.success() {
                    break;
                }
                assert_eq!(output.status.code(), None, "{}", text(&output.stderr));
                killed += 1;
                let partial = folder.path().join("shards.partial/bank");
                under_way += u64::from(partial.exists() && !files(&partial).is_empty());
            }
            assert_whole(&out, &whole);
        }
        (killed, under_way)
    };
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..KILLERS).map(|k| scope.spawn(move || killer(k))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |of: fn(&(u64, u64)) -> u64| counts.iter().map(of).sum::<u64>();
    println!("{} kills, {} of them with files of the bank on disk", sum(|c| c.0), sum(|c| c.1));
    assert!(sum(|c| c.0) >= KILLS && sum(|c| c.1) >= KILLS / 5);
}

#[test]
fn two_writers_of_one_bank_do_not_disturb_each_other() {
    let run = trained();
    let whole = undisturbed(&run);
    let seed = seed();
    let mut rng = KeyedRng::new(seed, Stage::DataOrder, (9, 0));
    for round in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("shards");
        let mut writers: Vec<_> =
            (0..3).map(|_| command(run.path(), &out).spawn().unwrap()).collect();
        // In every second round one of them is killed.
        let victim = writers.pop().unwrap();
        let victim = match round % 2 {
            0 => victim,
            _ => {
                let mut victim = victim;
                std::thread::sleep(Duration::from_micros((1e5 * rng.unit()) as u64));
                victim.kill().unwrap();
                victim
            }
        };
        for writer in writers {
            let output = writer.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", text(&output.stderr));
        }
        let output = victim.wait_with_output().unwrap();
        assert!(round % 2 == 1 || output.status.success(), "{}", text(&output.stderr));
        // One that was killed while it ended the bank leaves files, which the next run removes.
        if round % 2 == 1 {
            assert!(command(run.path(), &out).status().unwrap().success());
        }
        assert_whole(&out, &whole);
    }
}

#[test]
fn partitions_made_at_once_and_committed_are_the_same_bank() {
    let run = trained();
    let whole = undisturbed(&run);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let commit = || Command::new(PROGRAM).args(["commit", out.to_str().unwrap()]).output().unwrap();
    let refused = text(&commit().stderr);
    assert!(refused.contains("no unfinished bank here"), "{refused}");
    // The second partition of three twice, once of two, and again when all is there.
    let made = |parts: &[&str]| {
        let start = |part: &&str| command(run.path(), &out).env(PARTITION, part).spawn().unwrap();
        let all: Vec<_> = parts.iter().map(start).collect();
        for one in all {
            let output = one.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    };
    made(&["1/3", "2/3", "2/3", "2/2"]);
    assert!(matches!(Bank::open(&out), Err(BankError::Unfinished { .. })));
    let output: Output = commit();
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(message.contains("missing: ") && message.contains(" of "), "{message}");
    made(&["3/3"]);
    let before = files(&folder.path().join("shards.partial/bank"));
    made(&["3/3", "1/3"]);
    assert!(files(&folder.path().join("shards.partial/bank")) == before);
    // Damage after a shard was marked is found before it is a bank.
    let shard = folder.path().join("shards.partial/bank/train-00001.parquet");
    let mut bytes = before["train-00001.parquet"].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let output = commit();
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(message.contains("missing: train-00001.parquet"), "{message}");
    made(&["2/3"]);
    let output = commit();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_whole(&out, &whole);
    assert!(text(&commit().stdout).contains("committed already"));
}

#[test]
fn an_interrupt_finishes_the_shard_in_hand_and_the_run_goes_on_from_there() {
    let run = trained();
    let whole = undisturbed(&run);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let mut done = 0;
    for rows in [1, 7, 40] {
        let stop = Interrupt::default();
        let progress = Watcher::stopping_within("feature maps", rows, &stop);
        let error = make(run.path(), &out, &[], |_| {}, &progress, &stop).unwrap_err();
        let FeaturesError::Interrupted { state } = error else { panic!("{error}") };
        assert!(state.shards_done > done && state.shards_done < state.shards, "{state}");
        let lines = progress.lines();
        assert!(lines.iter().any(|line| line.contains("stopping when the shard")), "{lines:?}");
        let told = format!("{done} of {} shards", state.shards);
        assert!(done == 0 || lines.iter().any(|line| line.contains(&told)), "{lines:?}");
        done = state.shards_done;
    }
    // A finished shard that was damaged since, a marker that is none, and one of another run.
    let partial = folder.path().join("shards.partial");
    let shard = partial.join("bank/train-00000.parquet");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    std::fs::write(partial.join("train-00001.json"), "{\"split\":").unwrap();
    let marker = partial.join("train-00002.json");
    let foreign = std::fs::read_to_string(&marker)
        .unwrap()
        .replace("weights_sha256\":\"", "weights_sha256\":\"ab");
    std::fs::write(&marker, foreign).unwrap();
    let go = Interrupt::default();
    let error = make(run.path(), &out, &[], |_| {}, &Silent, &go).unwrap_err().to_string();
    assert!(error.contains("weights_sha256 is ab") && error.contains("--overwrite"), "{error}");
    make(run.path(), &out, &[], |request| request.overwrite = true, &Silent, &go).unwrap();
    assert_whole(&out, &whole);
}

#[test]
fn what_was_begun_with_other_settings_is_refused_and_said() {
    let run = trained();
    let whole = undisturbed(&run);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let part = |request: &mut FeaturesRequest| request.partition = Some("2/3".parse().unwrap());
    let go = Interrupt::default();
    let other = |what: &str, more: &[&str]| {
        let error = make(run.path(), &out, more, part, &Silent, &go).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("was begun here"), "{error}");
    };
    let made = make(run.path(), &out, &[], part, &Silent, &go).unwrap();
    let state = made.state.unwrap();
    assert_eq!(state.shards_done, (state.shards + 1) / 3);
    other("begun here: features.views is 3, not 2", &["features.views=2"]);
    other("begun here: seed is 0, not 5", &["seed=5"]);
    other("features.batch_size is 5, not 4", &["features.batch_size=4"]);
    other("features.compression_level is 1, not 3", &["features.compression_level=3"]);
    other("features.precision is f16, not f32", &["features.precision=\"f32\""]);
    // With leave to replace it, what differs is made again; files of the other plan do not stay.
    let more = ["features.batch_size=3"];
    let replace = |request: &mut FeaturesRequest| request.overwrite = true;
    let made = make(run.path(), &out, &more, replace, &Silent, &go).unwrap();
    assert!(made.state.is_none());
    let error = make(run.path(), &out, &[], |_| {}, &Silent, &go).map(|made| made.already_done);
    assert!(error.unwrap(), "the size of batches decides no row");
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    make(run.path(), &out, &[], replace, &Silent, &go).unwrap();
    // What is not of the bank stays with it.
    assert_eq!(std::fs::read(out.join("notes.txt")).unwrap(), b"mine");
    std::fs::remove_file(out.join("notes.txt")).unwrap();
    assert_whole(&out, &whole);
}

#[test]
fn leave_to_replace_leaves_nothing_of_other_settings() {
    let run = trained();
    let whole = undisturbed(&run);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let go = Interrupt::default();
    let part = |text: &'static str, overwrite: bool, more: &[&str]| {
        let change = |request: &mut FeaturesRequest| {
            request.partition = Some(text.parse().unwrap());
            request.overwrite = overwrite;
        };
        make(run.path(), &out, more, change, &Silent, &go).unwrap().state.unwrap()
    };
    part("1/2", false, &["features.views=2"]);
    let state = part("2/2", true, &[]);
    assert_eq!(state.shards_done, state.shards / 2);
    let state = part("1/2", false, &[]);
    assert_eq!(state.shards_done, state.shards);
    features::commit(&out, false, Watch::new(&Silent, &go)).unwrap();
    assert_whole(&out, &whole);
}

#[test]
fn what_is_no_whole_bank_is_not_taken_for_one() {
    let run = trained();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let go = Interrupt::default();
    let again = || make(run.path(), &out, &[], |_| {}, &Silent, &go);
    std::fs::write(&out, "mine").unwrap();
    let message = again().unwrap_err().to_string();
    assert!(message.contains("shards: a file; a bank is a folder"), "{message}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    std::fs::remove_file(&out).unwrap();
    again().unwrap();
    assert!(again().unwrap().already_done);
    let shard = out.join("train-00002.parquet");
    let content = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &content[1..]).unwrap();
    for (edit, part) in [("cut", " bytes; the manifest says "), ("gone", "cannot be read: ")] {
        if edit == "gone" {
            std::fs::remove_file(&shard).unwrap();
        }
        let messages = [again(), features::commit(&out, false, Watch::new(&Silent, &go))];
        for message in messages.map(|made| made.unwrap_err().to_string()) {
            assert!(message.contains("train-00002.parquet") && message.contains(part), "{message}");
            assert!(message.contains("verify SHARDS --repair"), "{message}");
        }
    }
}

#[test]
fn damaged_files_alone_are_made_anew() {
    let run = trained();
    let whole = undisturbed(&run);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shards");
    let go = Interrupt::default();
    make(run.path(), &out, &[], |_| {}, &Silent, &go).unwrap();
    let damaged =
        ["train-00003.parquet", "test-00001.parquet", "classes.parquet"].map(String::from);
    let damage = || {
        std::fs::remove_file(out.join(&damaged[0])).unwrap();
        std::fs::write(out.join(&damaged[1]), "no shard").unwrap();
        let mut classes = whole[&damaged[2]].clone();
        classes[40] ^= 4;
        std::fs::write(out.join(&damaged[2]), classes).unwrap();
    };
    let repair = |more: &[&str]| {
        prepared(
            run.path(),
            &out,
            more,
            |_| {},
            |request, model| features::repair(request, model, &damaged, Watch::new(&Silent, &go)),
        )
    };
    damage();
    let refused = repair(&["features.views=2"]).unwrap_err().to_string();
    assert!(
        refused.contains("made with different settings: features.views is 3, not 2"),
        "{refused}"
    );
    let done = repair(&[]).unwrap();
    assert_eq!((done.restored.as_slice(), done.changed.len()), (damaged.as_slice(), 0));
    assert_whole(&out, &whole);
    // Where a network on another device has rounded otherwise, the manifest takes what was made.
    let (mut manifest, _) = Manifest::load(&out).unwrap();
    let entry = &mut manifest.splits.get_mut("train").unwrap().shards[3];
    (entry.sha256, entry.footer_xxh3) = ("0".repeat(64), Default::default());
    manifest.save(&out).unwrap();
    damage();
    assert_eq!(repair(&[]).unwrap().changed, [damaged[0].clone()]);
    assert_whole(&out, &whole);
    // Other images are refused.
    let grey = run.path().join("images/train/colour-0/000.png");
    image::RgbImage::from_pixel(20, 16, image::Rgb([9; 3])).save(&grey).unwrap();
    let refused = repair(&[]).unwrap_err().to_string();
    assert!(refused.contains("another dataset"), "{refused}");
}
