//! What commands write: to standard output, and to files that their users name.

use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fixtures::{BankSpec, folder_pipeline, image_folder};
use crate::support::program::{PROGRAM, call, text};

/// A folder with images, a pipeline of them, a bank and a network.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        image_folder(&dir.path().join("images"), &[24, 12, 5, 2]);
        folder_pipeline(dir.path());
        BankSpec::default().write(&dir.path().join("run/shards"));
        let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx");
        for name in ["external.onnx", "external.onnx.data"] {
            std::fs::copy(onnx.join(name), dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program in this folder; `-q`.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("-q").args(args.split_whitespace()).current_dir(self.dir.path());
        // The environment that `make setup` makes is found from the folder of the tests.
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
        command.env("VIRTUAL_ENV", python).env("COLUMNS", "100");
        command
    }
}

/// What prints something.
const PRINTING: &[&str] = &[
    "--help",
    "--version",
    "finetune --help",
    "init images",
    "--json init images --overwrite",
    "finetune run/shards --iterations 5",
    "--json finetune run/shards --iterations 5",
    "compare run/shards --methods no-aug --seeds 1 --iterations 5",
    "--json compare run/shards --methods no-aug --seeds 1 --iterations 5",
    "sweep run/shards --grid head_ratio=0.8 --select none --iterations 5",
    "inspect run/shards",
    "--json inspect run/shards",
    "verify run/shards",
    "--json verify run/shards",
    "dataset stats tiny.toml",
    "--json dataset check tiny.toml",
    "dataset fetch imagenet-lt",
    #[cfg(feature = "onnx")]
    "plan --onnx external.onnx --images images",
    #[cfg(feature = "onnx")]
    "features --onnx external.onnx --images images",
    #[cfg(feature = "onnx")]
    "predict external.onnx images/test",
    #[cfg(feature = "onnx")]
    "predict external.onnx images/test --csv",
    #[cfg(feature = "onnx")]
    "predict external.onnx images/test --json",
    #[cfg(feature = "onnx")]
    "export external.onnx --head head.npz",
    #[cfg(feature = "onnx")]
    "doctor",
];

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    for args in PRINTING {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = place.command(args).stdout(full).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {message}");
        assert!(message.contains("standard output: cannot be written: No space left"), "{message}");
    }
}

#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    let place = Place::new();
    for args in PRINTING {
        let mut child =
            place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let message = text(&output.stderr);
        assert!(output.status.success(), "{args}: {message}");
        assert!(
            !message.contains("standard output") && !message.contains("panic"),
            "{args}: {message}"
        );
    }
}

/// With nowhere to tell it, an error is still an error and not a panic.
#[test]
fn errors_that_cannot_be_told_have_their_code() {
    for (args, code) in [(&["inspect", "/nowhere"][..], 3), (&["train", "/nowhere"], 2)] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let status = Command::new(PROGRAM).args(args).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

/// Commands up to the name of a file that they write.
const WRITING: &[&str] = &[
    "dataset stats tiny.toml --picture",
    "init images --overwrite --out",
    #[cfg(feature = "onnx")]
    "predict external.onnx images/test --parquet",
    #[cfg(feature = "onnx")]
    "export external.onnx --onnx",
    #[cfg(feature = "onnx")]
    "export external.onnx --head",
];

/// `--head` tells the format by the ending.
fn named(command: &str, name: &str) -> String {
    if command.ends_with("--head") { format!("{name}.npz") } else { name.into() }
}

#[test]
fn links_pipes_and_devices_that_are_named_stay_and_are_written_through() {
    for command in WRITING {
        let place = Place::new();
        let run = |name: &str| place.command(&format!("{command} {name}")).output().unwrap();
        let done = |name: &str| {
            let output = run(name);
            assert!(output.status.success(), "{command} {name}: {}", text(&output.stderr));
            output.stdout
        };
        let [file, link, dangling, pipe, folder] =
            ["file", "link", "dangling", "pipe", "folder"].map(|name| named(command, name));
        std::fs::create_dir(place.path("far")).unwrap();
        done(&file);
        let wanted = std::fs::read(place.path(&file)).unwrap();
        assert!(!wanted.is_empty());

        symlink("far/there", place.path(&link)).unwrap();
        std::fs::write(place.path("far/there"), "before").unwrap();
        symlink("far/new", place.path(&dangling)).unwrap();
        for (link, end) in [(&link, "far/there"), (&dangling, "far/new")] {
            done(link);
            assert!(place.path(link).is_symlink(), "{command} {link}");
            assert!(std::fs::read(place.path(end)).unwrap() == wanted, "{command} {link}");
        }
        assert_eq!(std::fs::read_dir(place.path("far")).unwrap().count(), 2, "{command}");

        let fifo = place.path(&pipe);
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || std::fs::read(fifo).unwrap()
        });
        done(&pipe);
        assert!(reader.join().unwrap() == wanted, "{command}");
        assert!(std::fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "{command}");

        std::fs::create_dir(place.path(&folder)).unwrap();
        let refused = run(&folder);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        let message = text(&refused.stderr);
        assert!(message.contains("it is a folder\n  Give the path of a file."), "{message}");
        assert!(place.path(&folder).is_dir());

        if !command.ends_with("--head") {
            done("/dev/null");
            assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
            let full = run("/dev/full");
            assert_eq!(full.status.code(), Some(1), "{command}");
            // To a pipe, and to a file: what was asked for by its name alone; the rest is told elsewhere.
            let output = done("/dev/stdout");
            if command.starts_with("init") {
                // A pipeline names its images from where it is.
                assert!(text(&output).contains("[dataset]\nkind = \"folder\""));
                assert!(toml::from_str::<toml::Table>(&text(&output)).is_ok());
            } else {
                assert!(output == wanted, "{command}");
            }
            let done = place
                .command(&format!("{} /dev/stdout", command.replace(" --overwrite", "")))
                .stdout(std::fs::File::create(place.path("all")).unwrap())
                .output()
                .unwrap();
            assert!(done.status.success(), "{command}: {}", text(&done.stderr));
            assert!(std::fs::read(place.path("all")).unwrap() == output, "{command}");
            let printed = command.starts_with("predict") || text(&done.stderr).contains(": ");
            assert!(printed, "{command}");
        }
    }
}

#[test]
fn standard_output_is_one_thing() {
    let place = Place::new();
    for args in [
        "--json dataset stats tiny.toml --picture /dev/stdout",
        "--json init images --out /dev/stdout",
        "--json export external.onnx --onnx /dev/stdout",
        "export external.onnx --onnx /dev/stdout --safetensors /dev/stdout",
        "--json predict external.onnx images/test --parquet /dev/stdout",
        "predict external.onnx images/test --csv --parquet /dev/stdout",
    ] {
        let output = place.command(args).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {message}");
        assert!(output.stdout.is_empty(), "{args}");
        assert!(message.contains("standard output can be only one of them"), "{message}");
    }
    for command in WRITING {
        let output = place.command(&format!("{command} -")).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {message}");
        assert!(message.contains("-: not the name of a file") && message.contains("/dev/stdout"));
        assert!(!place.path("-").exists());
    }
}

/// The commands that follow `Next:`.
#[cfg(feature = "onnx")]
fn next(output: &str) -> Vec<String> {
    let lines = output.lines().skip_while(|line| !line.starts_with("Next: "));
    let command = |line: &str| Some(line[line.find("fsa-bank ")?..].to_string());
    lines.filter_map(command).collect()
}

#[cfg(feature = "onnx")]
#[test]
fn commands_that_are_printed_can_be_pasted() {
    let place = Place::new();
    let name = "my photos (1)'s";
    std::fs::rename(place.path("images"), place.path(name)).unwrap();
    let bin = Path::new(PROGRAM).parent().unwrap().to_str().unwrap().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let paste = |line: &str| {
        let mut shell = place.command("");
        let envs: Vec<_> =
            shell.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(place.dir.path()).envs(envs).env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    // A name that begins as an option does.
    image_folder(&place.path("-dash"), &[24, 12, 5, 2]);
    let told = paste("fsa-bank init -- -dash");
    let commands = next(&told);
    assert_eq!(commands[1], "fsa-bank features ./-dash.toml");
    paste(&commands[1].replace("features", "dataset stats"));
    assert!(commands[4].contains("--images ./-dash "), "{commands:?}");
    let told = paste(r#"fsa-bank init "my photos (1)'s""#);
    let told = next(&told);
    assert_eq!(told.len(), 6, "{told:?}");
    for (line, part) in [(1, "features"), (3, "compare")] {
        assert!(told[line].starts_with(&format!("fsa-bank {part} ")), "{told:?}");
    }
    std::fs::copy(place.path("external.onnx"), place.path("NETWORK.onnx")).unwrap();
    paste(&told[4]);
    paste(&format!("{} --iterations 5", told[5]));
    // The pipeline of the run that would be trained, and its bank under another place of that kind.
    let out = r#"--out "my runs (1)'s""#;
    let made = paste(&format!(
        r#"fsa-bank features "{name}.toml" --onnx external.onnx --set dataset.image_size=16 {out}"#
    ));
    let tune = next(&made);
    assert_eq!(tune, [r"fsa-bank finetune 'my runs (1)'\''s/shards'"]);
    paste(&format!("{} --iterations 5", tune[0]));
}

#[test]
fn versions_and_help_go_to_standard_output() {
    for args in [&["--help"][..], &["--version"], &["sweep", "--help"]] {
        let output = call(args);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty());
    }
    let output = call(&["sweep"]);
    assert!(output.stdout.is_empty() && output.status.code() == Some(2));
}

#[cfg(feature = "onnx")]
#[test]
fn names_of_images_that_are_no_text_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let image = std::fs::read(place.path("images/train/colour-0/000.png")).unwrap();
    std::fs::create_dir(place.path("odd")).unwrap();
    for name in [&b"a\xff.png"[..], b"b\n\x1b[31m.png"] {
        std::fs::write(place.path("odd").join(std::ffi::OsStr::from_bytes(name)), &image).unwrap();
    }
    let done = |args: &str| {
        let output = place.command(&format!("predict external.onnx odd {args}")).output().unwrap();
        assert!(output.status.success(), "{args}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let rows: serde_json::Value = serde_json::from_str(&done("--json")).unwrap();
    assert_eq!(rows[0]["path"], "odd/a\u{fffd}.png");
    assert_eq!(rows[1]["path"], "odd/b\n\u{1b}[31m.png");
    let table = done("");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains(r"odd/b\n\u{1b}[31m.png"), "{table}");
}
