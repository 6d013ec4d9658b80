//! Banks that are changed at random, whose checksums fit.

use super::*;

/// Rounds of the test below; more for a longer search.
fn rounds(usual: u64) -> u64 {
    std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

/// Some bytes changed, inserted, taken out, or all after one of them cut off.
fn changed(bytes: &[u8], rng: &mut KeyedRng) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 2, 7, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u32) as usize;
        match rng.below(8) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 => bytes.insert(at, rng.below(256) as u8),
            2 => bytes.truncate(at.max(1)),
            3 | 4 if at < bytes.len() => bytes[at] = TELLING[rng.below(8) as usize],
            _ if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            _ => {}
        }
    }
    bytes
}

/// Changes something of a bank whose checksums are made to fit.
fn harm(victim: &Victim, rng: &mut KeyedRng) {
    let file = || ParquetFile::of(&fs::read(victim.path(TRAIN)).unwrap());
    let pick = |rng: &mut KeyedRng, of: usize| rng.below(of as u32) as usize;
    match rng.below(10) {
        0 => {
            let text = changed(&fs::read(victim.path(MANIFEST)).unwrap(), rng);
            fs::write(victim.path(MANIFEST), &text).unwrap();
            // Sealed again, where it is a manifest still.
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) {
                fs::write(victim.path(MANIFEST), sealed(&manifest)).unwrap();
            }
        }
        1 => {
            let bytes = changed(&fs::read(victim.path(CLASSIFIER)).unwrap(), rng);
            if let Ok(weights) = Weights::from_bytes(&bytes, Path::new(CLASSIFIER)) {
                victim.manifest(|m| m.classifier_sha256 = weights.sha256());
            }
            victim.content(CLASSIFIER, &bytes);
        }
        2 => {
            let bytes = changed(&fs::read(victim.path(CLASSES)).unwrap(), rng);
            victim.content(CLASSES, &bytes);
        }
        3 => {
            let mut file = file().assemble(|_| {});
            let at = file.footer_offset as usize;
            let tail = changed(&file.bytes[at..], rng);
            file.bytes.splice(at.., tail);
            victim.replace("train", &file);
        }
        4 => {
            let mut file = file();
            let group = pick(rng, 3);
            let column = pick(rng, 11);
            let page = &mut file.groups[group][column].pages[0];
            let header = changed(&page.header.encode(), rng);
            // As it stands, whatever it is.
            page.header = Thrift::Raw(12, header);
            victim.replace("train", &file.assemble(|_| {}));
        }
        _ => {
            let mut file = file();
            let group = pick(rng, 3);
            let column = pick(rng, 11);
            let pages = &mut file.groups[group][column].pages;
            let page = pick(rng, pages.len());
            let content = changed(&pages[page].decompressed(), rng);
            pages[page].compress(&content);
            victim.replace("train", &file.assemble(|_| {}));
        }
    }
}

#[test]
fn changed_banks_whose_checksums_fit_are_read_or_are_errors() {
    const SEED: u64 = 9;
    let victim = Victim::new();
    let names = [TRAIN, CLASSES, CLASSIFIER, MANIFEST];
    let whole = names.map(|name| fs::read(victim.path(name)).unwrap());
    let (mut read, mut refused) = (0, 0);
    for round in 0..rounds(1500) {
        let mut rng = KeyedRng::new(SEED, Stage::InitialWeights, (round, 0));
        harm(&victim, &mut rng);
        let result = std::panic::catch_unwind(|| read_all(&victim.dir));
        match result {
            Ok(Ok(())) => read += 1,
            Ok(Err(error)) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.starts_with(victim.dir.to_str().unwrap()), "round {round}: {text}");
            }
            Err(_) => panic!("seed {SEED}, round {round}: a panic"),
        }
        for (name, bytes) in names.iter().zip(&whole) {
            fs::write(victim.path(name), bytes).unwrap();
        }
    }
    assert!(read > 0 && refused > read, "{read} {refused}");
}
