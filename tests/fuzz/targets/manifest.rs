//! A bank's manifest: as it stands, and with the checksum that its content should have.

#![no_main]

use std::cell::RefCell;
use std::fs;

use fsa_bank::bank::Manifest;
use libfuzzer_sys::fuzz_target;

mod victim;
use victim::{Victim, look_at};

thread_local! {
    static VICTIM: RefCell<Victim> = RefCell::new(Victim::new());
}

fuzz_target!(|bytes: &[u8]| {
    VICTIM.with_borrow(|victim| {
        fs::write(victim.dir.join("manifest.json"), bytes).unwrap();
        look_at(&victim.dir, false);
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
            victim.put(&manifest);
            look_at(&victim.dir, bytes.len() % 8 == 0);
        }
    });
});
