//! What became of the files of a dataset, in lines.

use std::collections::BTreeMap;

use super::dataset::{counted, thousands};
use crate::dataset::{Account, LeftOut, OtherPicture, Reason};

/// Names that are shown of each reason.
const SHOWN: usize = 3;

/// The account as part of a report, with what was taken for what.
pub fn account_text(account: &Account) -> String {
    let told = account.notes.iter().chain(&account.warnings).cloned();
    let mut lines: Vec<String> = told.chain(account_lines(account)).collect();
    if !account.left_out.is_empty() {
        lines.push("  all of them: --json".into());
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// One line where every file is used; else a line for each reason, with the first names.
pub fn account_lines(account: &Account) -> Vec<String> {
    if account.left_out.is_empty() {
        return vec![format!("{}, nothing left out", counted(account.used, "image", "images"))];
    }
    let left = counted(account.left_out.len(), "file", "files");
    let used = counted(account.used, "image", "images");
    let mut lines = vec![format!("{used}; {left} left out:")];
    for (reason, count) in account.counts() {
        let of: Vec<&LeftOut> = account.left_out.iter().filter(|l| l.reason == reason).collect();
        let names: Vec<String> =
            of.iter().take(SHOWN).map(|left| left.path.escape_debug().to_string()).collect();
        let more = match count - names.len() {
            0 => String::new(),
            more => format!(" and {} more", thousands(more as u64)),
        };
        let pictures = pictures(&of);
        let counts: Vec<String> = pictures.iter().map(|(p, n)| format!("{n} {}", p.name)).collect();
        let kinds = match counts.is_empty() {
            true => String::new(),
            false => format!(" ({})", counts.join(", ")),
        };
        let (names, count) = (names.join(", "), thousands(count as u64));
        lines.push(format!("  {count} {}{kinds}: {names}{more}", words(reason)));
        lines.extend(pictures.keys().map(|OtherPicture { name, convert }| {
            format!("    {name} is not decoded here; convert it, for example with: {convert}")
        }));
    }
    lines
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Unreadable => "not decodable, which count towards --max-skipped in a class",
        Reason::OutsideClasses => "beside the folders of classes",
        Reason::NoSplit => "in a folder that is no split",
        Reason::NotListed => "in no list",
        Reason::LinkLoop => "a link to a folder that it lies in, not followed",
        Reason::NotAnImage => "not an image",
        Reason::Hidden => "hidden, or of an operating system",
    }
}

/// The kinds of other pictures, with how many there are.
fn pictures(files: &[&LeftOut]) -> BTreeMap<OtherPicture, usize> {
    let mut kinds = BTreeMap::new();
    files
        .iter()
        .filter_map(|file| file.picture)
        .for_each(|kind| *kinds.entry(kind).or_default() += 1);
    kinds
}
