//! What documents say of methods and losses is what is registered.

use std::fs;
use std::path::Path;

use fsa_bank::config::{Loss, Method};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The rows of the table in `text` that has this first column.
fn rows<'a>(text: &'a str, column: &str) -> Vec<&'a str> {
    let heading = format!("| {column} |");
    let table = text.lines().skip_while(|line| !line.starts_with(&heading));
    table.skip(2).take_while(|line| line.starts_with('|')).collect()
}

/// The settings that a method brings, as `key` value.
fn settings(method: Method) -> String {
    let preset: toml::Table = toml::from_str(method.preset).unwrap();
    let mut words: Vec<String> = preset
        .iter()
        .map(|(key, value)| match (value.as_str(), value.as_float()) {
            (Some(word), _) => format!("`{key}` {word}"),
            (_, Some(number)) => format!("`{key}` {number}"),
            _ => format!("`{key}` {value}"),
        })
        .collect();
    words.sort();
    words.join(", ")
}

#[test]
fn the_table_of_methods_is_the_registry() {
    let row = |method: Method| {
        let batches = method.batches().map_or("", |batches| batches.describe());
        let cells =
            [batches, method.classifier, &settings(method), method.source].map(|cell| match cell {
                "" => " |".to_string(),
                cell => format!(" {cell} |"),
            });
        format!("| `{}` |{}", method.name(), cells.concat())
    };
    let wanted: Vec<String> = Method::all().map(row).collect();
    let docs = read("docs/method.md");
    let table = wanted.join("\n");
    assert!(rows(&docs, "`method`") == wanted, "docs/method.md should have\n{table}");
}

#[test]
fn the_table_of_losses_is_the_registry() {
    let phases = |loss: Loss| if loss.phase1 { "both" } else { "Phase-II" };
    let row = |loss: Loss| format!("| `{}` | {} | {} |", loss.name(), phases(loss), loss.formula);
    let wanted: Vec<String> = Loss::all().map(row).collect();
    let docs = read("docs/method.md");
    let table = wanted.join("\n");
    assert!(rows(&docs, "`loss`") == wanted, "docs/method.md should have\n{table}");
}

#[test]
fn documents_count_the_methods_right() {
    let count = Method::all().count();
    for document in ["README.md", "docs/method.md", "docs/pipeline.md"] {
        let text = read(document);
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[1].starts_with("methods")) {
            let said = pair[0].parse::<usize>();
            assert!(said.is_err() || said == Ok(count), "{document}: {} methods", pair[0]);
        }
    }
}
