//! The account of a dataset's files, in lines.

use std::collections::BTreeMap;

use crate::dataset::{Account, LeftOut, OtherPicture};
use crate::text::{counted, thousands};

/// Names that are shown of each reason.
const SHOWN: usize = 3;

/// The account as part of a report, with what was taken for what; `so_far` as in [`account_lines`].
pub fn account_text(account: &Account, so_far: bool) -> String {
    let told = account.notes.iter().chain(&account.warnings).cloned();
    let mut lines: Vec<String> = told.chain(account_lines(account, so_far)).collect();
    if !account.left_out.is_empty() {
        lines.push("  all of them: --json".into());
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// One line where every file is used; else a line for each reason, with the first names. `so_far` where the
/// images are still to be decoded.
pub fn account_lines(account: &Account, so_far: bool) -> Vec<String> {
    let so_far = if so_far { " so far" } else { "" };
    if account.left_out.is_empty() {
        let used = counted(account.used, "image");
        return vec![format!("{used}, nothing left out{so_far}")];
    }
    let left = counted(account.left_out.len(), "file");
    let used = counted(account.used, "image");
    let mut lines = vec![format!("{used}; {left} left out{so_far}:")];
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
        lines.push(format!("  {count} {reason}{kinds}: {names}{more}"));
        lines.extend(pictures.keys().map(|picture| format!("    {picture}")));
    }
    lines
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
