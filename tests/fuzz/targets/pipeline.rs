//! A pipeline: its settings, and those of each of its variants.

#![no_main]

use std::cell::RefCell;
use std::fs;

use fsa_bank::config;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let file = folder.path().join("p.toml");
        fs::write(&file, bytes).unwrap();
        if let Ok(loaded) = config::load(&file, &[]) {
            let keys = &loaded.finetune_keys;
            config::resolve_finetune(keys, &Default::default()).unwrap();
            // What was read can be written and read again.
            let text = toml::to_string(&loaded.pipeline).unwrap();
            toml::from_str::<config::Pipeline>(&text).unwrap();
        }
        for variant in config::variants_of(&file).unwrap_or_default().iter().take(4) {
            if !variant.contains(['/', '\0']) && variant.len() < 200 {
                let _ = config::load(&folder.path().join(format!("p-{variant}.toml")), &[]);
            }
        }
    });
});
