//! The pipeline's file, with a reason beside every setting, and the same in a few lines.

use std::path::Path;

use super::choices::{Choices, Section};
use super::survey::Survey;
use crate::report::account_text;
use crate::text::{bytes_text, plural};

/// The file: what was found, what may disappoint, then the settings.
pub(super) fn pipeline_text(images: &Path, survey: &Survey, choices: &Choices) -> String {
    let images = images.display().to_string();
    let mut head = vec![format!(
        "A first pipeline for {}, from what fsa-bank init saw there.",
        shown(&images)
    )];
    head.push("Change what you know better; a setting that is not here has its default.".into());
    head.push(String::new());
    head.extend(
        facts(survey, choices).into_iter().map(|(name, fact)| format!("{name:<11} {fact}")),
    );
    if !choices.warnings.is_empty() {
        head.push(String::new());
        head.extend(choices.warnings.iter().map(|warning| format!("WARNING: {warning}")));
    }
    let mut text = commented(&head);
    for section in &choices.sections {
        text += &section_text(section);
    }
    text
}

/// What was found and what follows from it, in lines for the screen.
pub(super) fn summary(file: &Path, survey: &Survey, choices: &Choices) -> String {
    let figures = &choices.figures;
    let mut lines = facts(survey, choices);
    lines.push((
        "network",
        format!(
            "{} at {} pixels, {} epochs of {} steps ({} thousand images in all)",
            figures.arch.name(),
            figures.image_size,
            figures.epochs,
            figures.train_images.div_ceil(figures.batch_size),
            figures.epochs * figures.train_images / 1000
        ),
    ));
    lines.push((
        "bank",
        format!(
            "{} {} an image, {} of maps before compression",
            figures.views,
            plural("row", figures.views),
            bytes_text(figures.map_bytes)
        ),
    ));
    let (head, tail) = (figures.head_classes, figures.tail_classes);
    lines.push(("Phase-II", format!("head {head} {}, tail {tail}", plural("class", head))));
    let mut text = format!("{}: written\n\n", file.display());
    for (name, fact) in lines {
        text += &format!("  {name:<11} {fact}\n");
    }
    text + "\n" + &account_text(&survey.account, true)
}

/// Names and what was found, one a line.
fn facts(survey: &Survey, choices: &Choices) -> Vec<(&'static str, String)> {
    let figures = &choices.figures;
    let (classes, trained) = (survey.class_names.len(), survey.train.total());
    let order = survey.train.by_count();
    let size = |at: Option<&crate::domain::ClassId>| {
        let class = at.expect("a dataset has classes").index();
        format!("{} of {}", survey.train.0[class], shown(&survey.class_names[class]))
    };
    let ratio = survey.train.imbalance_ratio();
    let [smallest, median, largest] = survey.sides.shorter;
    let mut facts = vec![
        ("training", format!("{trained} images of {classes} classes")),
        (
            "classes",
            format!(
                "{} to {}{}",
                size(order.first()),
                size(order.last()),
                ratio.map_or_else(String::new, |ratio| format!(", imbalance ratio {ratio:.1}"))
            ),
        ),
        (
            "sizes",
            format!(
                "shorter side {smallest} to {largest} pixels, median {median} ({} images measured)",
                survey.sides.measured
            ),
        ),
        ("validation", validation(survey, figures.held_out)),
        ("test", test(survey)),
    ];
    if let Some(bits) = survey.fewer_bits() {
        facts.push(("values", format!("{bits} bits in files of 16 (bit_depth)")));
    }
    facts
}

fn validation(survey: &Survey, held_out: usize) -> String {
    match (&survey.val, held_out) {
        (Some(val), _) => format!("{} images of the val split", val.total()),
        (None, 0) => "none; most classes are too small to hold images out".into(),
        (None, n) => format!("{n} of the training images, held out (val_fraction)"),
    }
}

fn test(survey: &Survey) -> String {
    let images = survey.test.total();
    match survey.test_held_out {
        true => {
            format!("{images} images, a fifth of each class held out, as there is no test split")
        }
        false => format!("{images} images"),
    }
}

/// A name from the disk, fit for a comment: without line breaks.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

fn commented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("# {line}").trim_end().to_string() + "\n").collect()
}

/// `key = value   # why`, the reasons below one another, then the advice.
fn section_text(section: &Section) -> String {
    /// A longer value does not push the other reasons to the right.
    const WIDEST: usize = 32;
    let pairs: Vec<String> =
        section.settings.iter().map(|s| format!("{} = {}", s.key, s.value)).collect();
    let widths = pairs.iter().map(|pair| pair.chars().count()).filter(|&width| width <= WIDEST);
    let width = widths.max().unwrap_or(0);
    let mut text = format!("\n[{}]\n", section.name);
    for (pair, setting) in pairs.iter().zip(&section.settings) {
        text += &format!("{pair:<width$}  # {}\n", setting.why);
    }
    text + &commented(&section.advice)
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::super::choices::Setting;
    use super::*;

    #[test]
    fn reasons_stand_below_one_another() {
        let setting = |key, value: &str, why: &str| Setting {
            key,
            value: Value::String(value.into()),
            why: why.into(),
        };
        let section = Section {
            name: "s",
            settings: vec![
                setting("a", "x", "one"),
                setting("path", "p", "two"),
                setting("b", &"long".repeat(20), "three"),
            ],
            advice: vec!["c = 1".into()],
        };
        let text = section_text(&section);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines[..3], ["[s]", "a = \"x\"     # one", "path = \"p\"  # two"]);
        assert!(lines[3].ends_with("longlong\"  # three") && lines[4] == "# c = 1", "{text}");
    }

    #[test]
    fn a_name_cannot_leave_its_comment() {
        assert_eq!(shown("a\nepochs = 1"), "a\\nepochs = 1");
        assert_eq!(commented(&["a".into(), String::new()]), "# a\n#\n");
    }
}
