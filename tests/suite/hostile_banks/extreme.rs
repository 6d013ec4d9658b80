//! Banks at the ends of what there may be.

use super::*;

/// Values at the ends of what a bank may hold, and splits without rows.
#[test]
fn extreme_banks_end_in_results_or_in_named_errors() {
    type Edit = fn(&mut TrainRow);
    type Attack = (&'static str, Edit, fn(&Victim));
    let cases: [Attack; 5] = [
        (
            "the largest numbers",
            |row| {
                row.head.pooled.fill(f32::MAX);
                row.feature_map.fill(f32::MAX);
            },
            |_| {},
        ),
        (
            "nothing but zeros",
            |row| {
                row.head.pooled.fill(0.0);
                row.feature_map.fill(0.0);
                row.cam.fill(0.0);
                row.nonzero.fill(false);
            },
            |_| {},
        ),
        ("the smallest numbers", |row| row.feature_map.fill(1e-45), |_| {}),
        (
            "no test rows",
            |_| {},
            |v| {
                v.manifest(|m| {
                    let test = m.splits.get_mut("test").unwrap();
                    (test.rows, test.images) = (0, 0);
                    test.shards.clear();
                });
            },
        ),
        (
            "a classifier of the largest numbers",
            |_| {},
            |v| {
                let mut head = BankSpec { counts: vec![8, 4, 3], ..Default::default() }.head();
                head.weight.fill(f32::MAX);
                head.bias.fill(f32::MIN);
                let weights = Weights::of_head(&head);
                v.manifest(|m| m.classifier_sha256 = weights.sha256());
                v.content(CLASSIFIER, &weights.to_bytes());
            },
        ),
    ];
    for (name, edit, harm) in cases {
        let victim = Victim::of(edit);
        harm(&victim);
        let compare = [
            "compare",
            "BANK",
            "--iterations=2",
            "--seeds=1",
            "--head-ratio=0.5",
            "--memory=256MiB",
            "--out",
            "OUT",
        ];
        for command in [&INSPECT[..], &FINETUNE, &compare, &["verify", "BANK"]] {
            let output = victim.bounded(command);
            let message = text(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0 | 1 | 3)),
                "{name}, {command:?}: {message}"
            );
            assert!(!message.contains("panicked"), "{name}, {command:?}: {message}");
        }
    }
}
