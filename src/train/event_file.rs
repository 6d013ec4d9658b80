//! The epochs of Phase-I as TensorBoard reads them: an event file with the rows of `metrics.jsonl`.
//!
//! Format: TFRecord (length, its checksum, content, its checksum; little-endian) around TensorFlow's
//! `Event` messages, of which only the fields below are used.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::EpochMetrics;
use crate::atomic_file::{self, WriteError};

/// Name of the event file in a run's folder; TensorBoard looks for `tfevents` in it.
pub const EVENT_FILE: &str = "events.out.tfevents.fsa-bank";

/// What the first event of a file says.
const FILE_VERSION: &str = "brain.Event:2";
/// What TFRecord adds to a rotated checksum.
const MASK_DELTA: u32 = 0xa282_ead8;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Of several kinds of values: 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Now, in seconds since 1970; 0 with a clock before that.
pub(super) fn now_unix_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Brings the event file of a run's folder to these epochs.
///
/// The same epochs are the same bytes. A file that holds the first of them, whole or cut short, is
/// appended to, because a TensorBoard that has it open would not see another in its place; one that
/// holds other epochs, as a run that went back to its checkpoint has, is replaced.
pub(super) fn write(folder: &Path, epochs: &[EpochMetrics]) -> Result<(), WriteError> {
    let path = folder.join(EVENT_FILE);
    let wanted = content(epochs);
    let there = std::fs::read(&path).unwrap_or_default();
    match wanted.strip_prefix(there.as_slice()) {
        Some(rest) if !there.is_empty() => append(&path, rest).map_err(WriteError::at(&path)),
        _ => atomic_file::write(&path, &wanted),
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().append(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// The whole file: its version, then one event an epoch.
fn content(epochs: &[EpochMetrics]) -> Vec<u8> {
    let begin = epochs.first().map_or(0.0, |row| row.finished_unix_secs - row.secs);
    let version = Event {
        wall_time: begin.max(0.0),
        file_version: Some(FILE_VERSION.into()),
        ..Event::default()
    };
    let events = std::iter::once(version).chain(epochs.iter().map(event));
    events.flat_map(|event| record(&event.encode_to_vec())).collect()
}

/// One epoch; the tags are the keys of `metrics.jsonl`.
fn event(row: &EpochMetrics) -> Event {
    let scalars = [
        ("train_loss", Some(row.train_loss)),
        ("train_top1", Some(row.train_top1)),
        ("test_top1", row.test_top1),
        ("learning_rate", Some(row.learning_rate)),
        ("images_per_sec", Some(row.images_per_sec)),
    ];
    let scalar = |(tag, value): (&str, Option<f64>)| {
        value.map(|v| Scalar { tag: tag.into(), simple_value: Some(v as f32) })
    };
    Event {
        wall_time: row.finished_unix_secs,
        step: row.epoch as i64,
        file_version: None,
        summary: Some(Summary { value: scalars.into_iter().filter_map(scalar).collect() }),
    }
}

fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length, &masked_crc(&length)[..], content, &masked_crc(content)[..]].concat()
}

/// CRC-32C, rotated and shifted, so that a checksum of data that holds checksums means something.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<EpochMetrics> {
        let row = |epoch: usize| EpochMetrics {
            epoch,
            learning_rate: 0.5,
            train_loss: 2.0,
            train_top1: 0.0,
            test_top1: (epoch == 2).then_some(25.0),
            secs: 4.0,
            images_per_sec: 100.0,
            finished_unix_secs: epoch as f64 * 8.0,
        };
        (1..=count).map(row).collect()
    }

    /// The published check value of CRC-32C, and its mask worked by hand: e3069283 rotated right by
    /// 15 bits is 2507c60d; plus a282ead8 is c78ab0e5.
    #[test]
    fn a_checksum_is_masked() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5u32.to_le_bytes());
    }

    #[test]
    fn a_file_begins_as_tensorflows_do() {
        let bytes = content(&rows(1));
        // 24 bytes follow, as in every event file whose first event has a time.
        assert_eq!(bytes[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        // wall_time 8 - 4 = 4.0, then the version.
        assert_eq!(bytes[12..21], [0x09, 0, 0, 0, 0, 0, 0, 0x10, 0x40]);
        assert_eq!(bytes[21..36], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(bytes[36..40], masked_crc(&bytes[12..36]));
    }

    #[test]
    fn an_epoch_is_one_event_of_scalars() {
        let event = event(&rows(2)[1]).encode_to_vec();
        // wall_time 16.0, step 2, a summary of 101 bytes.
        assert_eq!(event[..13], [9, 0, 0, 0, 0, 0, 0, 0x30, 0x40, 0x10, 2, 0x2a, 101]);
        assert_eq!(event[13..32], *b"\x0a\x11\x0a\x0atrain_loss\x15\x00\x00\x00\x40");
        // A value of 0 is written too.
        assert_eq!(event[32..51], *b"\x0a\x11\x0a\x0atrain_top1\x15\x00\x00\x00\x00");
        assert_eq!(event[51..69], *b"\x0a\x10\x0a\x09test_top1\x15\x00\x00\xc8\x41");
        assert_eq!(event.len(), 13 + 101);
        let unmeasured = super::event(&rows(1)[0]).encode_to_vec();
        assert_eq!(unmeasured.len(), event.len() - 18);
    }

    #[test]
    fn a_file_grows_and_a_cut_one_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EVENT_FILE);
        write(dir.path(), &rows(1)).unwrap();
        // Open before the second epoch, as a viewer has it.
        let mut open = File::open(&path).unwrap();
        write(dir.path(), &rows(2)).unwrap();
        let whole = content(&rows(2));
        let mut seen = vec![];
        std::io::Read::read_to_end(&mut open, &mut seen).unwrap();
        assert!(seen == whole);
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        write(dir.path(), &rows(3)).unwrap();
        assert!(std::fs::read(&path).unwrap() == content(&rows(3)));
    }

    #[test]
    fn epochs_that_were_rolled_back_are_not_there_twice() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &rows(3)).unwrap();
        let mut again = rows(3);
        (again[2].train_loss, again[2].finished_unix_secs) = (1.0, 99.0);
        write(dir.path(), &again).unwrap();
        assert!(std::fs::read(dir.path().join(EVENT_FILE)).unwrap() == content(&again));
        write(dir.path(), &rows(1)).unwrap();
        assert!(std::fs::read(dir.path().join(EVENT_FILE)).unwrap() == content(&rows(1)));
    }
}
