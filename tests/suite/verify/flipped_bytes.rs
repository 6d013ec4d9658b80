//! Every byte of a bank, flipped: `verify` tells of it, and no result is made of it.

use super::*;

/// Flips byte after byte of every file. All files but the manifest are flipped together, each at the same
/// place: what is damaged in one is not reported in another, so each has to have its own finding.
#[test]
fn every_byte_of_every_file_is_covered() {
    let shape = FeatureShape { channels: 2, height: 2, width: 1 };
    let spec = BankSpec {
        counts: vec![2, 1],
        shape,
        // 4 maps a page.
        layout: Layout { map_page_bytes: 64, ..Default::default() },
        ..Default::default()
    };
    let (_keep, dir) = bank(spec);
    assert_eq!(found(&dir), []);
    let whole = by_path(&dir);
    let longest = whole.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    let copy = || {
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in &whole {
            fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        copy
    };
    let flipped = |at: usize, copy: &mut tempfile::TempDir| {
        for manifest in [true, false] {
            let mut names = vec![];
            for (path, bytes) in &whole {
                let name = path.file_name().unwrap().to_str().unwrap();
                if at < bytes.len() && (name == MANIFEST_FILE) == manifest {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << (at % 8);
                    fs::write(copy.path().join(name), damaged).unwrap();
                    names.push((name, bytes));
                }
            }
            match verify(copy.path()) {
                Ok(report) => names.iter().for_each(|(name, _)| {
                    let mut of_file = report.findings.iter().filter(|f| f.file == **name);
                    let named = |bytes: [u64; 2]| (bytes[0]..bytes[1]).contains(&(at as u64));
                    assert!(of_file.any(|f| f.bytes.is_none_or(named)), "{name}: byte {at}");
                }),
                Err(error) => assert!(manifest, "byte {at}: {error}"),
            }
            for (name, bytes) in names {
                fs::write(copy.path().join(name), bytes).unwrap();
            }
        }
    };
    (0..longest).into_par_iter().for_each_init(copy, |copy, at| flipped(at, copy));
}

/// Format 1 seals the values of the manifest alone, and has no checksum of a whole shard.
#[test]
fn every_byte_of_a_bank_of_format_1_is_covered() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/banks/v1");
    let copy = tempfile::tempdir().unwrap();
    let whole = by_path(&written);
    let place = |path: &Path| copy.path().join(path.file_name().unwrap());
    whole.iter().for_each(|(path, bytes)| fs::write(place(path), bytes).unwrap());
    assert_eq!(found(copy.path()), []);
    for (path, bytes) in &whole {
        let name = path.file_name().unwrap().to_str().unwrap();
        let begin = if name == MANIFEST_FILE { 0..400 } else { 0..40 };
        for at in begin.chain((40..bytes.len()).step_by(97)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(place(path), damaged).unwrap();
            let named = match verify(copy.path()) {
                Ok(report) => report.findings.iter().any(|f| f.file == name),
                Err(_) => name == MANIFEST_FILE,
            };
            assert!(named, "{name}: byte {at}");
        }
        fs::write(place(path), bytes).unwrap();
    }
    let manifest = fs::read_to_string(copy.path().join(MANIFEST_FILE)).unwrap();
    fs::write(copy.path().join(MANIFEST_FILE), manifest.replacen(": ", ":  ", 1)).unwrap();
    let text = verify_text(&verify(copy.path()).unwrap());
    assert!(text.contains("manifest.json: line 2 is `  \"format\":  "), "{text}");
}

/// What Phase-II makes of a bank: the classifier and its accuracy.
fn finetuned(dir: &Path, memory_bytes: u64) -> Result<(Vec<u8>, String), FinetuneError> {
    let out = dir.parent().unwrap().join("result");
    let request = FinetuneRequest {
        bank: dir,
        config: settings(),
        seed: 1,
        selection: Selection::None,
        out: Some(out.clone()),
        overwrite: true,
        memory_bytes,
    };
    let outcome = finetune::run(&request, Watch::new(&Silent, &Interrupt::default()))?;
    let report = &outcome.report;
    let scores = serde_json::to_string(&(&report.before, &report.after)).unwrap();
    Ok((fs::read(out.join("classifier.safetensors")).unwrap(), scores))
}

fn settings() -> FinetuneConfig {
    FinetuneConfig { iterations: 2, tail_per_batch: 2, ..Default::default() }
}

#[test]
fn a_flipped_byte_stops_finetune_or_changes_nothing() {
    const SEED: u64 = 20;
    const FLIPS: u64 = 240;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("shards");
    let spec = BankSpec { counts: vec![120, 30, 8, 5], layout: SMALL, ..Default::default() };
    let bank = spec.write(&dir);
    let memory = least_memory_bytes(&bank, &settings());
    let intact = finetuned(&dir, memory).unwrap();
    let whole = by_path(&dir);
    let all: usize = whole.iter().map(|(_, bytes)| bytes.len()).sum();
    let (mut stopped, mut unread) = (0, 0);
    for flip in 0..FLIPS {
        let mut rng = KeyedRng::new(SEED, Stage::BatchRows, (flip, 0));
        let (mut at, bit) = (rng.below(all as u32) as usize, 1 << rng.below(8));
        let file = whole.iter().find(|(_, bytes)| {
            let inside = at < bytes.len();
            at -= if inside { 0 } else { bytes.len() };
            inside
        });
        let (path, bytes) = file.unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= bit;
        fs::write(path, damaged).unwrap();
        match finetuned(&dir, memory) {
            Err(_) => stopped += 1,
            Ok(result) => {
                unread += 1;
                assert!(result == intact, "seed {SEED}: {}, byte {at}, bit {bit}", path.display());
            }
        }
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(finetuned(&dir, memory).unwrap(), intact);
    assert!(stopped > FLIPS / 5 && unread > FLIPS / 20, "{stopped} stopped, {unread} not read");
}
