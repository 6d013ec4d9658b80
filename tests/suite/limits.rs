//! Memory and address space that commands are bound to.

use std::process::{Command, Output};

use fsa_bank::bank::{Layout, MapsKept};
use fsa_bank::domain::FeatureShape;

use crate::fixtures::{BankSpec, python};
use crate::output::Place;
use crate::support::program::{PROGRAM, text};

/// The program in a shell that limits its address space, in KiB.
fn within(place: &Place, kib: u64, args: &str) -> Output {
    let inner = place.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {kib}; exec \"$@\"")).arg("sh");
    shell.arg(PROGRAM).args(inner.get_args()).current_dir(place.dir.path());
    shell.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.output().unwrap()
}

/// Classes and channels for which matrix products are more than a few rows.
fn wide_bank() -> BankSpec {
    let counts = (0..40).map(|class| 40 - class).collect();
    let shape = FeatureShape { channels: 64, height: 2, width: 2 };
    BankSpec { counts, views: 1, shape, ..Default::default() }
}

#[test]
fn commands_work_within_a_limited_address_space() {
    let place = Place::new();
    wide_bank().write(&place.path("wide/shards"));
    for args in [
        "finetune wide/shards --iterations 20",
        "compare wide/shards --methods fsa,tailcalib,smote --seeds 2 --iterations 5",
        "sweep wide/shards --grid head_ratio=0.7,0.8 --select none --iterations 5",
        "inspect wide/shards",
        "verify wide/shards",
        "init images --overwrite",
        "dataset stats tiny.toml",
        "dataset check tiny.toml",
        #[cfg(feature = "onnx")]
        "predict external.onnx images/test",
        #[cfg(feature = "onnx")]
        "features --onnx external.onnx --images images --out made --overwrite",
    ] {
        let free = place.command(&format!("--json {args}")).output().unwrap();
        let output = within(&place, 800_000, &format!("--json {args}"));
        let message = text(&output.stderr);
        assert!(output.status.success(), "{args}: {message}");
        let more = within(&place, 1_150_000, &format!("--json {args}"));
        assert!(more.status.success(), "{args}: {}", text(&more.stderr));
        let times = ["finetune", "compare", "sweep", "features"];
        if !times.iter().any(|command| args.starts_with(command)) {
            assert!(output.stdout == free.stdout, "{args}");
        }
    }
    // With too little for any, what is needed is said.
    for args in ["finetune wide/shards --iterations 21", "inspect wide/shards"] {
        let message = text(&within(&place, 250_000, args).stderr);
        let told = message.contains("--memory 183MiB: too little") && message.contains("MiB ");
        assert!(told, "{args}: {message}");
    }
    let told = within(&place, 800_000, "doctor").stdout;
    let threads = std::thread::available_parallelism().unwrap().get();
    let expected = format!("1 of {threads}: the address space is limited to 781.2 MiB (ulimit -v)");
    assert!(threads == 1 || text(&told).contains(&expected), "{}", text(&told));
}

#[cfg(feature = "onnx")]
#[test]
fn where_onnxruntime_has_no_room_the_limit_is_said() {
    let place = Place::new();
    let commands = [
        "predict external.onnx images/test",
        "features --onnx external.onnx --images images --out made --overwrite",
    ];
    for args in commands {
        for kib in [400_000, 600_000] {
            let output = within(&place, kib, args);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args}: {message}");
            assert!(message.contains("the address space is limited to"), "{message}");
            assert!(!message.contains("Install"), "{message}");
            let (_, needed) = message.split_once("Raise the limit: ulimit -v ").unwrap();
            let needed = needed.trim().trim_end_matches('.').parse().unwrap();
            let output = within(&place, needed, args);
            assert!(output.status.success(), "{args}, {needed}: {}", text(&output.stderr));
        }
        // Nowhere above is too little.
        for kib in [1_050_000, 1_100_000, 1_200_000, 1_300_000] {
            let output = within(&place, kib, args);
            assert!(output.status.success(), "{args}, {kib}: {}", text(&output.stderr));
        }
    }
}

/// Prints the peak of a program's memory, in KiB, and keeps its output in a file.
const PEAK: &str = "import os, subprocess, sys
with open(sys.argv[1], 'w') as output:
    process = subprocess.Popen(sys.argv[2:], stdout=output)
_, status, usage = os.wait4(process.pid, 0)
assert status == 0
print(usage.ru_maxrss)";

#[test]
fn inspect_holds_no_more_of_a_larger_bank_and_says_how_much_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let shape = FeatureShape { channels: 1024, height: 1, width: 1 };
    // As many rows in a group as real maps have.
    let layout = Layout { row_group_bytes: 1 << 21, ..Default::default() };
    for (name, counts) in [("small", vec![200, 10, 5, 3]), ("large", vec![38_000, 1000, 600, 400])]
    {
        let maps = MapsKept::None;
        BankSpec { counts, views: 1, shape, maps, layout, ..Default::default() }
            .write(dir.path().join(name).as_path());
    }
    let peak_kib = |bank: &str, memory: &str, output: &str| -> u64 {
        let mut command = Command::new(python());
        command.args(["-c", PEAK, &path(output), PROGRAM, "--threads", "2", "--json", "inspect"]);
        let done = command.args([&path(bank), "--memory", memory]).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout).trim().parse().unwrap()
    };
    let args = ["--threads", "2", "inspect", &path("large"), "--memory", "10MiB"];
    let message = text(&Command::new(PROGRAM).args(args).output().unwrap().stderr);
    let (_, needed) = message.split_once("Give --memory ").expect("what is needed");
    let needed = needed.split(' ').next().unwrap();

    let small = peak_kib("small", "1GiB", "s");
    let vectors_kib = 40_000 * 1024 * 4 / 1024;
    for (memory, output) in [("1GiB", "a"), (needed, "b")] {
        let large = peak_kib("large", memory, output);
        assert!(
            large < small + vectors_kib * 3 / 4,
            "{memory}: {large} KiB, {small} of a small bank"
        );
    }
    assert_eq!(std::fs::read(path("a")).unwrap(), std::fs::read(path("b")).unwrap());
}
