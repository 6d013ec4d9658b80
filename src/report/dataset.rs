//! What `dataset stats`, `dataset check` and `dataset fetch` print.

use std::path::Path;

use super::account::account_text;
use super::table::Table;
use crate::check::{CheckReport, Fault, FaultKind};
use crate::dataset::ImagePlace;
use crate::dataset::known::{Known, Source};
use crate::eval::ShotGroup;
use crate::fetch::{Done, Fetched};
use crate::statistics::{GroupStatistics, Statistics};
use crate::text::{bytes_text, counted, thousands};

/// Images that are listed of each kind of fault.
const LISTED: usize = 100;
/// Columns and rows of the chart in a terminal.
const CHART_COLUMNS: usize = 60;
const CHART_ROWS: usize = 6;
/// From this ratio of the largest to the smallest class on, sizes are drawn on a logarithmic axis.
pub(super) const LOGARITHMIC_FROM: f64 = 20.0;

/// A dataset in figures, with a chart of its class sizes.
pub fn statistics_text(s: &Statistics, all_classes: bool) -> String {
    let mut text = format!("{}\n\n", s.name);
    let mut table = Table::new(&["split", "images", "classes"]);
    for split in &s.splits {
        let cells = [split.images, split.classes].map(|n| thousands(n as u64));
        table.row([vec![split.split.to_string()], cells.to_vec()].concat());
    }
    text += &table.text();
    let ratio = ratio_text(s.imbalance_ratio);
    text += &format!("\n  training images of a class: {}\n  imbalance ratio {ratio}\n\n", sizes(s));
    text += &chart(s);
    text += "\n";
    text += &groups(s);
    if all_classes {
        text += &format!("\n{}", classes(s));
    } else {
        text += "\n  --per-class lists every class, --picture FILE.svg draws them\n";
    }
    text
}

/// `largest 500 (airplane), median 71.5, smallest 10 (truck)`
fn sizes(s: &Statistics) -> String {
    let name = |class: Option<&crate::statistics::ClassStatistics>| {
        class.map_or(String::new(), |class| format!(" ({})", class.name))
    };
    format!(
        "largest {}{}, median {}, smallest {}{}",
        thousands(s.largest),
        name(s.per_class.first()),
        s.median,
        thousands(s.smallest),
        name(s.per_class.last())
    )
}

/// `50`, `33.3`
pub(super) fn ratio_text(ratio: Option<f64>) -> String {
    ratio.map_or("n/a".into(), |ratio| format!("{}", (ratio * 10.0).round() / 10.0))
}

fn groups(s: &Statistics) -> String {
    let mut table = Table::new(&["training images", "classes", "images", "share"]);
    let mut row = |name: &str, group: &GroupStatistics| {
        let share = format!("{:.1} %", 100.0 * group.share);
        table.row(vec![
            name.into(),
            thousands(group.classes as u64),
            thousands(group.images),
            share,
        ]);
    };
    for (name, group) in [
        ("head", &s.head),
        ("tail", &s.tail),
        ("many", &s.many),
        ("medium", &s.medium),
        ("few", &s.few),
    ] {
        row(name, group);
    }
    let mut text = table.text();
    text += &format!(
        "  head: the fewest largest classes with at least {} % of the training images (head_ratio {})\n",
        (1000.0 * s.head_ratio).round() / 10.0,
        s.head_ratio
    );
    text += &format!("  {}\n", s.shot_rule.describe());
    let grouped = s.many.classes + s.medium.classes + s.few.classes;
    if grouped < s.per_class.len() {
        let none = counted(s.per_class.len() - grouped, "class");
        text += &format!("  {none} of exactly 20 images in none of the three groups\n");
    }
    text
}

fn classes(s: &Statistics) -> String {
    let mut table =
        Table::new(&["class", "train images", "val", "test", "", "", "share", "up to here"]);
    let all: u64 = s.per_class.iter().map(|class| class.train_images).sum();
    let share = |n: u64| format!("{:.2} %", 100.0 * n as f64 / all.max(1) as f64);
    let mut up_to_here = 0;
    for class in &s.per_class {
        up_to_here += class.train_images;
        let shots = match class.shots {
            Some(ShotGroup::Many) => "many",
            Some(ShotGroup::Medium) => "medium",
            Some(ShotGroup::Few) => "few",
            None => "none",
        };
        table.row(vec![
            class.name.clone(),
            thousands(class.train_images),
            thousands(class.val_images),
            thousands(class.test_images),
            if class.head { "head".into() } else { "tail".into() },
            shots.into(),
            share(class.train_images),
            share(up_to_here),
        ]);
    }
    table.text()
}

/// Class sizes from the largest on, in blocks; neighbours share a column where there are too many.
fn chart(s: &Statistics) -> String {
    let counts: Vec<f64> = s.per_class.iter().map(|class| class.train_images as f64).collect();
    let columns = counts.len().clamp(1, CHART_COLUMNS);
    let wide = if counts.len() * 4 <= CHART_COLUMNS { 3 } else { 1 };
    let column = |c: usize| {
        let (from, to) = (c * counts.len() / columns, (c + 1) * counts.len() / columns);
        counts[from..to].iter().sum::<f64>() / (to - from).max(1) as f64
    };
    let scale = Scale::of(s);
    let heights: Vec<f64> =
        (0..columns).map(|c| scale.position(column(c)) * CHART_ROWS as f64).collect();
    let margin = thousands(s.largest).len();
    let mut text = String::new();
    for row in (0..CHART_ROWS).rev() {
        let label = match row {
            r if r == CHART_ROWS - 1 => thousands(s.largest),
            0 => thousands(scale.low.ceil() as u64),
            _ => String::new(),
        };
        let bars: String = heights.iter().map(|h| block(h - row as f64).repeat(wide)).collect();
        text += format!("  {label:>margin$} {bars}").trim_end();
        text.push('\n');
    }
    let head = (s.head.classes * columns).div_ceil(counts.len().max(1)) * wide;
    let tail = columns * wide - head;
    let line = format!("{}{}", "─".repeat(head), "┄".repeat(tail));
    let axis = if scale.logarithmic { ", logarithmic" } else { "" };
    let neighbours = match (counts.len() as f64 / columns as f64).round() as usize {
        1 => String::new(),
        n => format!("; a column is about {n} classes"),
    };
    let margin = " ".repeat(margin);
    text + &format!("  {margin} {line}\n  {margin} ─ head  ┄ tail{axis}{neighbours}\n")
}

/// The part of a column that is in one row of text: from nothing to the whole.
fn block(height: f64) -> &'static str {
    const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    BLOCKS[(height * 8.0).round().clamp(0.0, 8.0) as usize]
}

/// The axis of class sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) logarithmic: bool,
}

impl Scale {
    /// From 0 to the largest class; logarithmic, from clearly below the smallest one, where they differ
    /// much.
    pub(super) fn of(s: &Statistics) -> Self {
        let (smallest, high) = (s.smallest.max(1) as f64, s.largest.max(1) as f64);
        if high / smallest < LOGARITHMIC_FROM {
            return Self { low: 0.0, high, logarithmic: false };
        }
        let decade = 10f64.powf(smallest.log10().floor());
        let below = [5.0, 2.0, 1.0].map(|step| step * decade);
        let low = below.into_iter().find(|&low| low * 1.5 <= smallest).unwrap_or(decade / 2.0);
        Self { low, high, logarithmic: true }
    }

    /// Where a size lies between the ends, in 0..1.
    pub(super) fn position(self, size: f64) -> f64 {
        let share = match self.logarithmic {
            true => (size.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => size / self.high,
        };
        share.clamp(0.0, 1.0)
    }

    /// Sizes to mark.
    pub(super) fn ticks(self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.low.log10().floor() as i32;
            let decades = (first..=self.high.log10().floor() as i32).map(|e| 10f64.powi(e));
            // Two decades or less are few lines: 2 and 5 between them.
            let steps: &[f64] =
                if self.high / self.low > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let all = decades.flat_map(|decade| steps.iter().map(move |step| step * decade));
            let inside = all.filter(|tick| *tick > self.low && *tick <= self.high);
            // The lower end too, unless it stands for no number of images.
            return [self.low].into_iter().chain(inside).filter(|tick| *tick >= 1.0).collect();
        }
        let rough = self.high / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough).max(1.0);
        (0..).map(|i| i as f64 * step).take_while(|tick| *tick <= self.high).collect()
    }
}

/// What a check found.
pub fn check_text(report: &CheckReport) -> String {
    let splits: Vec<String> = report
        .splits
        .iter()
        .map(|size| format!("{} {}", thousands(size.images as u64), size.split))
        .collect();
    let classes = counted(report.classes, "class");
    let mut text =
        format!("{}: {} images of {classes}, all examined\n", report.name, splits.join(", "));
    text += &account_text(&report.account, false);
    for (kind, title) in [
        (FaultKind::Missing, "missing"),
        (FaultKind::Unreadable, "not readable"),
        (FaultKind::Undecodable, "not decodable"),
    ] {
        let faults: Vec<&Fault> = report.faults.iter().filter(|f| f.kind == kind).collect();
        text += &listing(title, &faults, |fault| match kind {
            FaultKind::Missing => place_text(&fault.place),
            _ => format!("{}: {}", place_text(&fault.place), fault.message),
        });
    }
    for (title, groups) in [
        ("in more than one split", &report.leaks),
        ("the same image in different classes", &report.conflicts),
        ("repeated within a class", &report.repeats),
    ] {
        let groups: Vec<&Vec<ImagePlace>> = groups.iter().collect();
        text += &listing(title, &groups, |same| {
            same.iter().map(place_text).collect::<Vec<_>>().join(" = ")
        });
    }
    if report.verdict().is_ok() {
        text += "  nothing missing, every image decodable, none in two splits\n";
    }
    text
}

fn place_text(place: &ImagePlace) -> String {
    format!("{} {} ({})", place.split, place.path, place.class)
}

fn listing<T: Copy>(title: &str, items: &[T], line: impl Fn(T) -> String) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("\n  {title}: {}\n", thousands(items.len() as u64));
    for item in items.iter().take(LISTED) {
        text += &format!("    {}\n", line(*item));
    }
    if items.len() > LISTED {
        let more = thousands((items.len() - LISTED) as u64);
        text += &format!("    and {more} more; --json lists all\n");
    }
    text
}

/// The result of fetching a dataset.
pub fn fetched_text(known: &Known, folder: &Path, fetched: &[Fetched]) -> String {
    let mut text = format!("{}: {}\n", folder.display(), known.title);
    let mut table = Table::default();
    for archive in fetched {
        let places = archive.places.iter().filter_map(|place| place.file_name());
        let places: Vec<_> = places.map(|name| name.to_string_lossy().into_owned()).collect();
        let done = match archive.done {
            Done::Kept => "exists already",
            Done::Unpacked => "exists already, now unpacked",
            Done::Fetched => "fetched, md5 as published",
        };
        table.row(vec![places.join(", "), done.into()]);
    }
    text += &table.text();
    let unpacked: Vec<String> = fetched
        .iter()
        .filter_map(|archive| {
            archive.archive.as_ref().filter(|path| !archive.places.contains(path))
        })
        .map(|path| path.display().to_string())
        .collect();
    if !unpacked.is_empty() {
        text += &format!("  unpacked, no longer needed: {}\n", unpacked.join(" "));
    }
    text + &format!("  {}\n", known.terms)
}

/// How to get a dataset that this program does not fetch.
pub fn by_hand_text(known: &Known, folder: &Path) -> String {
    let mut text = format!(
        "{}: cannot be downloaded automatically: it needs a registration or another tool; into {}/:\n\n",
        known.title,
        folder.display()
    );
    if let Source::ByHand(steps) = known.source {
        steps.lines().for_each(|line| text += &format!("  {line}\n"));
    }
    text.push('\n');
    let mut table = Table::new(&["archive", "size", "md5"]);
    for archive in known.archives {
        table.row(vec![archive.file.into(), bytes_text(archive.bytes), archive.md5.into()]);
    }
    text += &table.text();
    known.archives.iter().for_each(|a| text += &format!("  {}: {}\n", a.file, a.content));
    text + &format!("\n  {}\n", known.terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_at_most_one_decimal() {
        assert_eq!(ratio_text(Some(1000.0 / 30.0)), "33.3");
        assert_eq!(ratio_text(Some(50.0)), "50");
        assert_eq!(ratio_text(None), "n/a");
    }

    #[test]
    fn a_column_is_made_of_eighths() {
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 3.0].map(block), [" ", " ", "▄", "█", "█"]);
    }

    #[test]
    fn the_axis_begins_below_the_smallest_class() {
        let scale = |low, high| Scale { low, high, logarithmic: true };
        assert_eq!(scale(1.0, 1000.0).position(1.0), 0.0);
        assert_eq!(scale(1.0, 1000.0).position(1000.0), 1.0);
        assert!((scale(1.0, 1000.0).position(10.0) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(scale(1.0, 1000.0).ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(scale(2.0, 4000.0).ticks(), [2.0, 10.0, 100.0, 1000.0]);
        assert_eq!(scale(0.5, 20.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(scale(5.0, 500.0).ticks(), [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
        let linear = Scale { low: 0.0, high: 40.0, logarithmic: false };
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(linear.position(10.0), 0.25);
    }
}
