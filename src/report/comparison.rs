//! The tables of a comparison and of a sweep: text, Markdown, CSV.

use super::table::{Table, csv_text};
use crate::compare::{Comparison, Figures, Row, Spread};
use crate::domain::Split;
use crate::finetune::Selection;
use crate::sweep::Sweep;

/// Columns of figures: name, unit in CSV, and where they are.
const COLUMNS: [(&str, &str); 9] = [
    ("top-1", "top1"),
    ("many", "many"),
    ("medium", "medium"),
    ("few", "few"),
    ("balanced", "balanced"),
    ("macro-F1", "macro_f1"),
    ("worst class", "worst_class"),
    ("ECE", "ece"),
    ("seconds", "secs"),
];

fn values(figures: &Figures) -> [Option<Spread>; COLUMNS.len()] {
    let f = figures;
    [f.top1, f.many, f.medium, f.few, f.balanced, f.macro_f1, f.worst_class, f.ece, f.secs]
}

/// `74.30 ± 0.04`, `74.30` of one run, `n/a` of none.
fn cell(spread: Option<Spread>) -> String {
    match spread {
        None => "n/a".into(),
        Some(Spread { mean, std: None }) => format!("{mean:.2}"),
        Some(Spread { mean, std: Some(std) }) => format!("{mean:.2} ± {std:.2}"),
    }
}

/// What was chosen: `tau 1.2`, `after 640, 1280`.
fn chosen(row: &Row, selection: Selection) -> String {
    let taus: Vec<String> =
        row.runs.iter().filter_map(|run| run.tau).map(|t| t.to_string()).collect();
    if !taus.is_empty() {
        return format!("tau {}", taus.join(", "));
    }
    if selection == Selection::None || !row.config.method.trains() || row.runs.is_empty() {
        return String::new();
    }
    let after: Vec<String> = row.runs.iter().map(|run| run.iteration.to_string()).collect();
    format!("after {}", after.join(", "))
}

fn cells(row: &Row, selection: Selection) -> Vec<String> {
    let mut cells = vec![row.name.clone()];
    match &row.failed {
        Some(_) if row.runs.is_empty() => {
            cells.resize(1 + COLUMNS.len(), "n/a".into());
        }
        _ => cells.extend(values(&row.figures).map(cell)),
    }
    cells.push(chosen(row, selection));
    cells
}

fn head() -> Vec<String> {
    let names = COLUMNS.iter().map(|(name, _)| name.to_string());
    std::iter::once("method".into()).chain(names).chain(["chosen".into()]).collect()
}

/// The lines under a table.
fn notes(comparison: &Comparison) -> Vec<String> {
    let c = comparison;
    let mut notes = vec![
        format!(
            "{} test images, each classifier scored once; accuracy in %, mean ± standard deviation over seeds",
            c.test_images
        ),
        c.shot_rule.describe().into(),
    ];
    notes.push(match c.selection {
        Selection::None => c.selection.describe().into(),
        selection => format!("{} ({} images)", selection.describe(), c.selection_images),
    });
    for row in &c.rows {
        let why = row.failed.iter().map(|why| why.trim_start_matches(&format!("{}: ", row.name)));
        notes.extend(why.map(|why| format!("{}: {why}", row.name)));
    }
    notes
}

/// The table for a terminal.
pub fn compare_text(comparison: &Comparison) -> String {
    let mut table = Table::new(&head().iter().map(String::as_str).collect::<Vec<_>>());
    comparison.rows.iter().for_each(|row| table.row(cells(row, comparison.selection)));
    let mut text = format!("{}\n\n{}\n", comparison.name, table.text());
    notes(comparison).iter().for_each(|note| text += &format!("  {note}\n"));
    text + &format!("  {:.1} s in all\n", comparison.secs)
}

/// The table for a document.
pub fn compare_markdown(comparison: &Comparison) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head());
    text += &line(vec!["---".into(); COLUMNS.len() + 2]);
    for row in &comparison.rows {
        text += &line(cells(row, comparison.selection));
    }
    text.push('\n');
    text += &notes(comparison).join(".\n");
    text + ".\n"
}

/// The table for a program: mean and standard deviation in columns of their own.
pub fn compare_csv(comparison: &Comparison) -> String {
    let names = ["method", "runs", "chosen"].map(String::from).to_vec();
    let head = [names, spread_names("")].concat();
    let line = |row: &Row| {
        let runs = row.runs.len().to_string();
        let named = vec![row.name.clone(), runs, chosen(row, comparison.selection)];
        [named, spreads(&row.figures)].concat()
    };
    csv_text(std::iter::once(head).chain(comparison.rows.iter().map(line)))
}

fn spread_names(prefix: &str) -> Vec<String> {
    let pair = |(_, key): &(&str, &str)| [format!("{prefix}{key}"), format!("{prefix}{key}_std")];
    COLUMNS.iter().flat_map(pair).collect()
}

fn spreads(figures: &Figures) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
    let pair = |spread: Option<Spread>| {
        [number(spread.map(|s| s.mean)), number(spread.and_then(|s| s.std))]
    };
    values(figures).into_iter().flat_map(pair).collect()
}

/// A value of the grid without the quotes of TOML.
fn grid_value(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// The lines of a sweep for a terminal.
pub fn sweep_text(sweep: &Sweep) -> String {
    let keys: Vec<String> =
        sweep.lines.first().map(|l| l.grid.keys().cloned().collect()).unwrap_or_default();
    let chooser = match sweep.selection {
        Selection::None => None,
        Selection::Val => Some(Split::Val),
        Selection::Train => Some(Split::Train),
        Selection::Test => Some(Split::Test),
    };
    let with_test = sweep.lines.iter().any(|line| line.test.top1.is_some());
    let mut head: Vec<String> = keys.clone();
    for split in chooser.into_iter().chain(with_test.then_some(Split::Test)) {
        head.extend(["top-1", "balanced", "few"].map(|figure| format!("{split} {figure}")));
    }
    head.push("seconds".into());
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for line in &sweep.lines {
        let mut row: Vec<String> = line.grid.values().map(grid_value).collect();
        let figures = [(chooser.is_some(), &line.chooser), (with_test, &line.test)];
        for (_, figures) in figures.iter().filter(|(shown, _)| *shown) {
            row.extend([figures.top1, figures.balanced, figures.few].map(cell));
        }
        row.push(cell(line.chooser.secs.or(line.test.secs)));
        row.extend(line.failed.clone());
        table.row(row);
    }
    let mut text = format!("{}\n\n{}\n", sweep.name, table.text());
    if with_test {
        text += "  every run was scored on the test images because --with-test asked for it; nothing was chosen by that\n";
    }
    text += &format!("  {}\n", sweep.selection.describe());
    if let Some(best) = &sweep.best {
        let grid: Vec<String> =
            best.grid.iter().map(|(key, value)| format!("{key}={}", grid_value(value))).collect();
        let by = match sweep.selection {
            Selection::Val => "best by validation",
            Selection::Train => "best on training images (biased)",
            _ => "best on test (no estimate of new images)",
        };
        text += &format!(
            "  {by}: {}, balanced accuracy {:.2}; on the test images top-1 {}, balanced {}\n",
            grid.join(" "),
            best.chooser_balanced,
            cell(best.test.top1),
            cell(best.test.balanced)
        );
    }
    text
}

/// The lines of a sweep for a program.
pub fn sweep_csv(sweep: &Sweep) -> String {
    let Some(first) = sweep.lines.first() else {
        return String::new();
    };
    let keys = first.grid.keys().cloned().chain(["runs".into()]).collect();
    let head = [keys, spread_names("chooser_"), spread_names("test_")].concat();
    let lines = sweep.lines.iter().map(|line| {
        let grid = line.grid.values().map(grid_value).chain([line.runs.to_string()]).collect();
        [grid, spreads(&line.chooser), spreads(&line.test)].concat()
    });
    csv_text(std::iter::once(head).chain(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_spread() {
        assert_eq!(cell(None), "n/a");
        assert_eq!(cell(Spread::of(&[50.0])), "50.00");
        assert_eq!(cell(Spread::of(&[1.0, 3.0])), "2.00 ± 1.41");
    }
}
