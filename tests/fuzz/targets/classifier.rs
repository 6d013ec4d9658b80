//! A classifier's file.

#![no_main]

use std::path::Path;

use fsa_bank::classifier_file::ClassifierCard;
use fsa_bank::weights::Weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("classifier.safetensors");
    let Ok(weights) = Weights::from_bytes(bytes, path) else { return };
    let _ = weights.sha256();
    let card = ClassifierCard::of(&weights);
    let shape = weights.tensors.get("fc.weight").map(|tensor| tensor.shape.clone());
    if let Some(&[classes, channels]) = shape.as_deref()
        && let Ok(head) = weights.linear_head(classes, channels, path)
    {
        let again = card.weights(&head, []).to_bytes();
        let again = Weights::from_bytes(&again, path).unwrap();
        assert_eq!(again.linear_head(classes, channels, path).unwrap(), head);
    }
});
