//! Words that must not return: CONTRIBUTING.md says what to write in their place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{files_below, root};

/// A phrase in lower case, and what says the same in plain English.
const AVOIDED: &[(&str, &str)] = &[
    ("anew", "again"),
    ("besides", "in addition to, also"),
    ("so many", "this many, the number"),
    ("that is there", "existing"),
    ("that are there", "existing"),
    ("where it is there", "if it exists"),
    ("is not there", "is missing"),
    ("are not there", "are missing"),
    ("what is there already", "what exists already"),
    ("goes before", "overrides"),
    ("go before", "override"),
    ("not to be had", "cannot be downloaded"),
    ("made otherwise", "made with different settings"),
    ("says otherwise of", "contradicts"),
    ("say otherwise of", "contradict each other about"),
    ("in the place of", "expected, found"),
    ("takes its place", "overrides it"),
    ("borne of", "tolerated"),
    ("speaks of", "refers to, looks like"),
    ("whose turn", "lock"),
    ("for want of", "without"),
    ("that there can be", "possible"),
    ("as there can be", "possible"),
    ("as none can be", "invalid"),
    ("out of all proportion", "far too large"),
    ("done their part", "failed"),
    ("of which nothing stays", "discarded afterwards"),
    ("stopped together with", "not finished"),
    ("waiting to be committed", "no unfinished bank"),
    ("has its bytes back", "restored byte for byte"),
    ("that was there", "existing"),
    ("that were there", "existing"),
    ("could not be decoded and left out", "could not be decoded and were left out"),
    ("cannot be decoded and left out", "could not be decoded and were left out"),
    ("says above what to do", "see above for how to fix"),
    ("stands above", "is shown above"),
    ("behind the last", "after the last"),
    ("behind its end", "after its end"),
    ("one behind the other", "one after the other"),
    ("that is no", "that is not a"),
    ("what is no", "what is not a"),
    ("which is no", "which is not a"),
    ("it is no", "it is not a"),
    ("this is no", "this is not a"),
    ("mends", "corrects"),
    ("is told of", "is reported, receives"),
    ("it is told", "it receives"),
    ("told already", "reported already"),
    ("told apart", "by"),
    ("does not decode", "cannot be decoded"),
    ("do not decode", "cannot be decoded"),
    ("does not read", "cannot be read"),
    ("looked at", "examined, read, checked"),
    ("bear it out", "confirm it"),
    ("what came of", "the result of"),
    ("comes to its place", "is moved to its place"),
    ("there already", "existing"),
    ("elsewhere", "in another folder, otherwise"),
    ("lacks", "has no"),
    ("can be had", "can be read, exists"),
    ("goes behind", "is overridden by"),
    ("what there is to", "the note, the warning"),
    ("whence", "from where"),
    ("thereof", "of it"),
];

/// Where they are searched: what users read, and what those who change the code read.
fn texts() -> Vec<(PathBuf, String)> {
    let mut files = files_below(&root().join("src"), "rs");
    for (folder, extension) in
        [("src", "md"), ("docs", "md"), ("schemas", "md"), ("pipelines", "toml")]
    {
        files.extend(files_below(&root().join(folder), extension));
    }
    files.extend(["README.md", "CHANGELOG.md", "Makefile"].map(|file| root().join(file)));
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// The text as words with a single space between them, in lower case: no comment marks, no line breaks
/// within a comment or a string, no punctuation; a name of the code is one word.
fn words(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '#']));
    let text = lines.collect::<Vec<_>>().join(" ").replace("\\n", " ").to_lowercase();
    let words =
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}

fn avoided_in(text: &str) -> Vec<String> {
    // "That is no longer so" and "no more than" are plain.
    let words = words(text).replace(" no longer ", " ").replace(" no more than ", " ");
    let found = |(phrase, plain): &(&str, &str)| {
        let at = words.find(&format!(" {phrase} "))?;
        let context: String = words[at..].chars().take(60).collect();
        Some(format!("`{phrase}` (plainly: {plain}):{context}"))
    };
    AVOIDED.iter().filter_map(found).collect()
}

#[test]
fn avoided_words_do_not_return() {
    let mut found = vec![];
    for (file, text) in texts() {
        let name = file.strip_prefix(root()).unwrap_or(Path::new("")).display().to_string();
        found.extend(avoided_in(&text).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(found.is_empty(), "{} avoided phrases:\n{}", found.len(), found.join("\n"));
}

/// In comments, in strings and over the end of a line.
#[test]
fn an_avoided_word_is_found_wherever_it_is() {
    let texts = [
        "/// Computed anew.",
        "let s = \"made anew\";",
        "    /// The bank that\n    /// is there stays.",
        "\"the bank that \\\n  is there\"",
        "A bank, besides,\nis said.",
    ];
    for text in texts {
        assert_eq!(avoided_in(text).len(), 1, "{text}: {:?}", avoided_in(text));
    }
    assert!(avoided_in("Renewed; beside it; a network that is no longer read.").is_empty());
}
