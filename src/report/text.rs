//! Reports of commands as text.

use super::table::Table;
use crate::bank::{Manifest, MapsKept};
use crate::config::FinetuneConfig;
use crate::domain::Split;
use crate::eval::{Accuracy, GroupAccuracy, Groups, Score};
use crate::finetune::{Report, Selection};
use crate::inspect::Summary;
use crate::text::{bytes_text, plural};

/// Classes that are all listed; of more, only those that changed most.
const LISTED_CLASSES: usize = 30;
const CHANGED_MOST: usize = 10;

fn percent(value: Option<f64>) -> String {
    value.map_or("n/a".into(), |v| format!("{v:.2}"))
}

fn change(before: Option<f64>, after: Option<f64>) -> String {
    before.zip(after).map_or(String::new(), |(b, a)| format!("{:+.2}", a - b))
}

/// The result of Phase-II: before and after, by group and by class.
pub fn finetune_text(report: &Report, all_classes: bool) -> String {
    let config = &report.config;
    let title = &config_title(config);
    let mut text = format!(
        "{}: {title}, {}seed {}; {} test images, accuracy in %\n\n",
        report.name,
        how(report),
        report.seed,
        report.before.accuracy.images,
    );
    text += &overall(report, title);
    text += &format!("  {}\n\n", config.shot_rule.describe());
    text += &by_class(report, title, all_classes);
    let f = &report.fallbacks;
    if f.fused > 0 {
        text += &format!(
            "\n  {} fused samples; empty class-specific mask: {}, empty class-generic mask: {}, both: {}\n",
            f.fused, f.no_specific, f.no_generic, f.neither
        );
    }
    let t = &report.timing;
    text += &format!("  {:.2} s to load the bank, {:.2} s", t.load_secs, t.train_secs);
    text += &match config.method.trains() {
        true => format!(
            " for {} iterations ({:.0} a second)\n",
            config.iterations, t.iterations_per_sec
        ),
        false => " to compute the classifier\n".into(),
    };
    if report.selection != Selection::None {
        text += &format!("  {}\n", report.selection.describe());
    }
    text
}

/// The method's name, with its loss where that is not its own.
fn config_title(config: &FinetuneConfig) -> String {
    let title = config.title();
    match title.split_once('+') {
        Some((_, loss)) => format!("{} + {loss}", config.method.title),
        None => config.method.title.into(),
    }
}

/// `3200 iterations of 128, `, and what was chosen.
fn how(report: &Report) -> String {
    let config = &report.config;
    let mut text = match (config.method.trains(), report.chosen_tau) {
        (true, _) => format!("{} iterations of {}, ", config.iterations, config.batch_size()),
        (_, Some(tau)) => format!("tau {tau}, "),
        _ => String::new(),
    };
    if report.selection != Selection::None && config.method.trains() {
        text += &format!("taken after {}, ", report.chosen_iteration);
    }
    text
}

/// Each measure's name and value: overall, then groups of classes.
fn measures(accuracy: &Accuracy, groups: &Groups) -> Vec<(String, Option<f64>)> {
    let group = |name: &str, g: &GroupAccuracy| {
        let classes = plural("class", g.classes);
        (format!("{name} ({} {classes})", g.classes), g.accuracy)
    };
    vec![
        ("top-1".into(), Some(accuracy.top1)),
        ("balanced (mean of classes)".into(), Some(accuracy.acc_macro)),
        ("macro-F1".into(), Some(accuracy.f1_macro)),
        ("worst class".into(), Some(accuracy.worst_class)),
        ("calibration error".into(), accuracy.ece),
        group("head", &groups.head),
        group("tail", &groups.tail),
        group("most images, third", &groups.most_third),
        group("between, third", &groups.middle_third),
        group("fewest images, third", &groups.fewest_third),
        group("many", &groups.many),
        group("medium", &groups.medium),
        group("few", &groups.few),
    ]
}

fn overall(report: &Report, title: &str) -> String {
    let of = |score: &Score| measures(&score.accuracy, &score.groups);
    let mut table = Table::new(&["", "Phase-I", title, "change"]);
    for ((name, b), (_, a)) in of(&report.before).into_iter().zip(of(&report.after)) {
        table.row(vec![name, percent(b), percent(a), change(b, a)]);
    }
    table.text()
}

/// A classifier's score on the test images.
pub fn score_text(title: &str, score: &Score) -> String {
    let mut table = Table::new(&["", "%"]);
    for (name, value) in measures(&score.accuracy, &score.groups) {
        table.row(vec![name, percent(value)]);
    }
    let (images, rule) = (score.accuracy.images, score.groups.shot_rule.describe());
    format!("{title}; {images} test images\n\n{}  {rule}\n", table.text())
}

fn by_class(report: &Report, title: &str, all_classes: bool) -> String {
    let (before, after) = (&report.before.accuracy.per_class, &report.after.accuracy.per_class);
    let mut order: Vec<usize> =
        report.split.head.iter().chain(&report.split.tail).map(|c| c.index()).collect();
    let all = order.len();
    let shortened = !all_classes && all > LISTED_CLASSES;
    if shortened {
        let gain = |c: &usize| after[*c].unwrap_or(0.0) - before[*c].unwrap_or(0.0);
        order.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        order.drain(CHANGED_MOST..all - CHANGED_MOST);
    }
    let mut table = Table::new(&["class", "train images", "Phase-I", title, "change"]);
    for c in order {
        table.row(vec![
            report.class_names[c].clone(),
            report.train_images[c].to_string(),
            percent(before[c]),
            percent(after[c]),
            change(before[c], after[c]),
        ]);
    }
    let mut text = table.text();
    if shortened {
        text += &format!(
            "  the {CHANGED_MOST} classes that gained most and the {CHANGED_MOST} that lost most of {all}; --per-class lists all\n"
        );
    }
    text
}

/// A bank in figures.
pub fn summary_text(summary: &Summary) -> String {
    let m = &summary.manifest;
    let train = &m.splits[Split::Train.name()];
    let mut text =
        format!("{} (bank {}, format {}, {})\n", m.name, &summary.id[..12], m.version, m.writer);
    text += &format!(
        "  model        {}, {} px images, feature map {} (K x H x W), weights {}\n",
        m.model.arch,
        m.model.image_size,
        m.feature_shape,
        &m.model.weights_sha256[..12]
    );
    if let Some(preprocessing) = &m.preprocessing {
        text += &format!("  images       {preprocessing}\n");
    }
    text += &format!(
        "  train        {} images x {} = {} rows{}\n",
        train.images,
        m.views_text(),
        train.rows,
        if m.maps.is_all() { format!(" with maps in {}", m.precision.name()) } else { "".into() },
    );
    text += &kept_text(summary);
    for (name, split) in m.splits.iter().filter(|(name, _)| *name != Split::Train.name()) {
        text += &format!("  {name:<12} {} images, pooled vectors only\n", split.images);
    }
    text += &format!("  bytes        {}", bytes_text(summary.bytes));
    if summary.map_bytes > 0 {
        let saved = 100.0 * summary.bytes as f64 / summary.map_bytes as f64;
        text += &format!(" ({saved:.0} % of the maps as f32)");
    }
    text.push('\n');
    for (split, top1) in &summary.top1 {
        text += &format!("  Phase-I top-1 on {split}: {top1:.2}\n");
    }
    text += &format!(
        "  head         {} classes (head_ratio {}), tail {} classes\n\n",
        summary.split.head.len(),
        summary.head_ratio,
        summary.split.tail.len()
    );
    text += &masks_table(summary);
    text.push('\n');
    text + &classes_table(summary)
}

/// Which rows have maps, where not all have.
fn kept_text(summary: &Summary) -> String {
    let Manifest { maps, precision, .. } = &summary.manifest;
    match maps {
        MapsKept::All => String::new(),
        MapsKept::None => format!("  kept         {maps}\n"),
        MapsKept::Needed { classes, .. } => format!(
            "  kept         {maps}: {} rows of {} classes, in {}\n",
            summary.map_rows,
            classes.len(),
            precision.name()
        ),
    }
}

fn masks_table(summary: &Summary) -> String {
    let mut table = Table::new(&[
        "rows of",
        "rows",
        "CAM mean",
        "zero locations",
        "specific",
        "empty",
        "generic",
        "empty",
    ]);
    for masks in &summary.masks {
        let share = |v: f64| format!("{:.1} %", 100.0 * v);
        table.row(vec![
            masks.group.into(),
            masks.rows.to_string(),
            format!("{:.3}", masks.cam_mean),
            share(masks.zero_locations),
            share(masks.specific),
            masks.specific_empty.to_string(),
            share(masks.generic),
            masks.generic_empty.to_string(),
        ]);
    }
    table.text()
}

fn classes_table(summary: &Summary) -> String {
    let some_maps = !summary.manifest.maps.is_all();
    let mut columns = vec!["class", "group", "train images", "rows"];
    columns.extend(some_maps.then_some("with maps"));
    let mut table = Table::new(&columns);
    let (head, tail) = (&summary.split.head, &summary.split.tail);
    let all = head.len() + tail.len();
    let groups = head.iter().map(|c| (c, "head")).chain(tail.iter().map(|c| (c, "tail")));
    let hidden = |place: usize| {
        all > LISTED_CLASSES && (CHANGED_MOST..all - 2 * CHANGED_MOST).contains(&place)
    };
    let mut text = String::new();
    for (place, (class, group)) in groups.enumerate() {
        if hidden(place) {
            continue;
        }
        let row = &summary.classes[class.index()];
        let mut cells = vec![
            row.name.clone(),
            group.into(),
            row.train_images.to_string(),
            row.train_rows.to_string(),
        ];
        cells.extend(some_maps.then(|| row.map_rows.to_string()));
        if let Some(confusing) = summary.confusing.iter().find(|c| c.class == *class) {
            let ranked = confusing.ranked.iter();
            let names =
                ranked.map(|(c, score)| format!("{} {score:.2}", summary.classes[c.index()].name));
            cells.push(format!("confused with {}", names.collect::<Vec<_>>().join(", ")));
        }
        table.row(cells);
    }
    text += &table.text();
    if all > LISTED_CLASSES {
        text += &format!(
            "  {CHANGED_MOST} largest and {} smallest of {all} classes; --json lists all\n",
            2 * CHANGED_MOST
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_group_is_not_a_number() {
        assert_eq!(percent(None), "n/a");
        assert_eq!(change(None, Some(1.0)), "");
        assert_eq!(change(Some(40.0), Some(38.5)), "-1.50");
    }
}
