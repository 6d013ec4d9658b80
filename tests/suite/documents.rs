//! README and the guides: their commands run, their settings are settings, their links lead somewhere.
//!
//! CONTRIBUTING.md says which comments before a block change what is done with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsa_bank::config;
use fsa_bank::rng::{KeyedRng, Stage};

use crate::fixtures::{image_folder, python};
use crate::support::program::{PROGRAM, call, text};
use crate::tiny_onnx::{Conv, network};

const README_LINES: usize = 150;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mark {
    None,
    Download,
    Libtorch,
    AnyExit,
}

struct Block {
    place: String,
    language: String,
    mark: Mark,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// Every document, relative to the root.
fn documents() -> Vec<String> {
    let mut found: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(String::from).into();
    for folder in ["docs", "schemas"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().file_name());
        let names = files.map(|name| format!("{folder}/{}", name.to_str().unwrap()));
        found.extend(names.filter(|name| name.ends_with(".md")));
    }
    found.sort();
    found
}

/// What a comment before a block says of it; text that is no such comment says nothing.
fn mark(line: &str, place: &str) -> Mark {
    match line {
        "<!-- needs: download -->" => Mark::Download,
        "<!-- needs: libtorch -->" => Mark::Libtorch,
        "<!-- exit: any -->" => Mark::AnyExit,
        _ => {
            assert!(!line.starts_with("<!--"), "{place}: `{line}` is no mark of a block");
            Mark::None
        }
    }
}

fn blocks(document: &str) -> Vec<Block> {
    let text = read(document);
    let mut lines = text.lines().enumerate();
    let (mut found, mut before) = (vec![], "");
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let place = format!("{document}:{}", number + 1);
            let content: Vec<&str> =
                lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```").collect();
            let mark = mark(before, &place);
            let (language, text) = (language.into(), content.join("\n"));
            found.push(Block { place, language, mark, text });
        }
        before = line;
    }
    found
}

/// Photographs of four classes, images that are new, a network of these classes and one of others.
fn prepare(folder: &Path) {
    image_folder(&folder.join("photos"), &[24, 12, 5, 3]);
    fs::create_dir(folder.join("new")).unwrap();
    for class in ["colour-0", "colour-3"] {
        let image = folder.join("photos/test").join(class).join("000.png");
        fs::copy(image, folder.join(format!("new/{class}.png"))).unwrap();
    }
    fs::write(folder.join("species.onnx"), onnx(4)).unwrap();
    fs::write(folder.join("network.onnx"), onnx(10)).unwrap();
}

/// A network of 32 pixels with a map of 8 x 4 x 4.
fn onnx(classes: usize) -> Vec<u8> {
    const CHANNELS: usize = 8;
    let mut rng = KeyedRng::new(11, Stage::InitialWeights, (0, 0));
    let mut drawn = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32 * 0.2).collect() };
    let conv = Conv { weight: drawn(CHANNELS * 3 * 8 * 8), bias: vec![0.1; CHANNELS], inputs: 3 };
    network(32, false, &conv, &drawn(classes * CHANNELS), &drawn(classes))
}

/// Runs a block as a reader would, with the built program first in the path.
fn run(block: &Block, folder: &Path) {
    let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = match block.language.as_str() {
        "python" => Command::new(python()),
        _ => Command::new("bash"),
    };
    if block.language == "sh" {
        command.args(["-eu", "-o", "pipefail"]);
    }
    let output =
        command.arg("-c").arg(&block.text).current_dir(folder).env("PATH", path).output().unwrap();
    let code = output.status.code();
    let good = code == Some(0) || (block.mark == Mark::AnyExit && code == Some(1));
    let told = [text(&output.stdout), text(&output.stderr)].concat();
    assert!(good, "{}: {code:?}\n{}\n{told}", block.place, block.text);
}

fn is_run(block: &Block) -> bool {
    let there = match block.mark {
        Mark::None | Mark::AnyExit => true,
        Mark::Libtorch => cfg!(feature = "torch"),
        Mark::Download => false,
    };
    there && ["sh", "python"].contains(&block.language.as_str())
}

/// A block of settings that begins with `# NAME.toml` is a file that commands after it take.
fn named_file(block: &Block) -> Option<&str> {
    let name = block.text.lines().next()?.strip_prefix("# ")?;
    (block.language == "toml" && name.ends_with(".toml")).then_some(name)
}

/// Runs what is not marked, and gives how many blocks that were.
fn run_document(document: &str) -> usize {
    let blocks = blocks(document);
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    for block in &blocks {
        if let Some(name) = named_file(block) {
            fs::write(folder.path().join(name), &block.text).unwrap();
        }
        if is_run(block) {
            run(block, folder.path());
        }
    }
    blocks.iter().filter(|block| is_run(block)).count()
}

#[test]
fn the_commands_of_every_document_run() {
    let documents = documents();
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            documents.iter().map(|document| scope.spawn(|| run_document(document))).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    let ran = |name: &str| counts[documents.iter().position(|d| d == name).unwrap()];
    let guides = ["README.md", "docs/networks.md", "docs/large-banks.md", "docs/data.md"];
    assert!(guides.iter().all(|name| ran(name) > 0), "{documents:?} {counts:?}");
}

#[test]
fn blocks_are_of_kinds_that_are_tested() {
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let known = ["sh", "python", "toml", "json", "text"].contains(&block.language.as_str());
        assert!(known, "{}: a block of `{}`", block.place, block.language);
        let marked = block.mark == Mark::None || block.language == "sh";
        assert!(marked, "{}: {:?} is of commands", block.place, block.mark);
    }
}

/// The commands of a block, each as one line without its comment.
fn commands(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let of_line = |line: &str| {
        let line = line.split(" #").next().unwrap();
        line.split(['|', ';']).map(|part| part.trim().to_string()).collect::<Vec<_>>()
    };
    joined.lines().flat_map(of_line).filter(|part| !part.is_empty()).collect()
}

/// `fsa-bank`'s subcommand of a command line and its help.
fn help_of(words: &[&str]) -> String {
    let depth = 1 + usize::from(words[0] == "dataset");
    let output = call(&[&words[..depth], &["--help"]].concat());
    assert!(output.status.success(), "fsa-bank {words:?} is no command");
    text(&output.stdout)
}

/// The targets that a call of make names are in the Makefile.
fn check_targets(makefile: &str, place: &str, command: &str) {
    for target in command.split_whitespace().skip(1).filter(|word| !word.contains('=')) {
        assert!(makefile.contains(&format!("\n{target}:")), "{place}: {command}: no such target");
    }
}

#[test]
fn commands_that_are_not_run_exist() {
    let makefile = read("Makefile");
    let shell = |block: &Block| block.language == "sh" && !is_run(block);
    let mut checked = 0;
    for block in documents().iter().flat_map(|document| blocks(document)).filter(shell) {
        for command in commands(&block) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let flags = words.iter().filter(|w| w.starts_with("--"));
            match words[0] {
                "fsa-bank" => {
                    let mut rest = words[1..].iter().copied();
                    let first = rest.find(|w| !w.starts_with('-')).unwrap();
                    let from = words.iter().position(|w| *w == first).unwrap();
                    let help = help_of(&words[from..]);
                    for flag in flags {
                        let known =
                            help.split_whitespace().any(|w| w.trim_end_matches(',') == *flag);
                        assert!(known, "{}: {command}: no {flag}", block.place);
                    }
                }
                "make" => check_targets(&makefile, &block.place, &command),
                _ => continue,
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
    for document in documents() {
        for span in prose(&document).split('`').skip(1).step_by(2) {
            if span.starts_with("make ") {
                check_targets(&makefile, &document, span);
            }
        }
    }
}

#[test]
fn settings_of_documents_are_settings() {
    let folder = tempfile::tempdir().unwrap();
    let mut loaded = 0;
    for block in documents().iter().flat_map(|document| blocks(document)) {
        if block.language == "toml" {
            let file = folder.path().join("part.toml");
            fs::write(&file, &block.text).unwrap();
            let table: toml::Table = block.text.parse().unwrap();
            let path = table.get("dataset").and_then(|dataset| dataset.get("path"));
            let path = path.and_then(|path| path.as_str()).unwrap_or("photos");
            let overrides = [format!("dataset.path={path:?}")];
            config::load(&file, &overrides).unwrap_or_else(|e| panic!("{}: {e}", block.place));
            loaded += 1;
        }
    }
    assert!(loaded >= 5, "{loaded}");
}

/// Text outside of fenced blocks.
fn prose(document: &str) -> String {
    let mut fenced = false;
    let text = read(document);
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The anchors of headings, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in prose(document).lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|a| !found.contains(a));
        found.extend(free);
    }
    found
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut checked = 0;
    for document in documents() {
        let text = prose(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => document.clone(),
                _ => relative(&document, file),
            };
            assert!(root().join(&linked).exists(), "{document}: {target} is not there");
            let there = anchor.is_empty() || anchors(&linked).contains(anchor);
            assert!(there, "{document}: {target}: no such heading");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

/// A file as a document names it, seen from the root.
fn relative(document: &str, file: &str) -> String {
    let mut path = PathBuf::from(document);
    path.pop();
    for part in file.split('/') {
        match part {
            ".." => assert!(path.pop(), "{document}: {file} leads out"),
            _ => path.push(part),
        }
    }
    path.to_str().unwrap().into()
}

#[test]
fn the_readme_is_short_and_every_command_is_in_some_guide() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
    let guides: String = documents().iter().map(|document| read(document)).collect();
    let help = text(&call(&["--help"]).stdout);
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let name = |line: &str| line.strip_prefix("  ")?.split_whitespace().next().map(String::from);
    let names = listed.lines().filter(|line| !line.starts_with("   ")).filter_map(name);
    for name in names.filter(|name| name != "help") {
        let told =
            guides.contains(&format!("fsa-bank {name}")) || guides.contains(&format!("`{name}`"));
        assert!(told, "no document has `fsa-bank {name}`");
    }
}

/// Every file of the program, in one text.
fn program_text(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|p| if p.is_dir() { program_text(&p) } else { fs::read_to_string(p).unwrap() })
        .collect()
}

#[test]
fn messages_that_are_explained_are_messages_of_the_program() {
    let text = read("docs/troubleshooting.md");
    let part = text.split("\n## ").find(|part| part.starts_with("Messages")).unwrap();
    let program = program_text(&root().join("src"));
    let mut checked = 0;
    for row in part.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cell = row.split('|').nth(1).unwrap();
        for message in cell.split('`').skip(1).step_by(2).flat_map(|span| span.split("...")) {
            let there = program.contains(message.trim());
            assert!(there, "docs/troubleshooting.md: nothing in src says `{message}`");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}
