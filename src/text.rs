//! Words of messages and reports: bytes, counts, durations, lists of names, commands for a shell.

use std::ffi::OsStr;
use std::path::Path;

/// `999 B`, `1.5 MiB`, `128.0 GiB`: units of 1024, as everywhere in messages.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Bytes as `--memory` takes them, exactly: `512MiB`, `100KiB`, `1B`.
pub fn memory_text(bytes: u64) -> String {
    match bytes {
        0 => "0B".into(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// A need of bytes as `--memory` takes it, rounded up to whole MiB.
pub fn need_text(bytes: u64) -> String {
    memory_text(bytes.next_multiple_of(1 << 20))
}

/// `437,513`
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1,670` or `1.3`: things a second.
pub fn rate(per_sec: f64) -> String {
    match per_sec {
        ..9.95 => format!("{per_sec:.1}"),
        _ => thousands(per_sec.round() as u64),
    }
}

/// `1 class`, `1,203 classes`, of the word for one.
pub fn counted(n: usize, one: &str) -> String {
    format!("{} {}", thousands(n as u64), plural(one, n))
}

/// The word for `n` things, of the word for one: `class`, `classes`.
pub fn plural(one: &str, n: usize) -> String {
    match n {
        1 => one.into(),
        _ if one.ends_with(['s', 'x']) || one.ends_with("ch") => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

/// `0.3 s`, `42 s`, `12 min`, `5 h 20 min` or `3.2 days`.
pub fn duration(secs: f64) -> String {
    let minutes = (secs / 60.0).round() as u64;
    match secs {
        ..9.95 => format!("{secs:.1} s"),
        ..120.0 => format!("{secs:.0} s"),
        ..7200.0 => format!("{minutes} min"),
        ..172_800.0 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{:.1} days", secs / 86_400.0),
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Names between backticks, with commas.
pub fn backticked(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value as a shell takes it for one word when it is pasted.
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "_-./+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A path as a command takes it for an argument: one that begins with `-` would be an option.
pub fn shell_path(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    match path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        true => shell_word(Path::new(".").join(path)),
        false => shell_word(path),
    }
}

/// Words as a sentence lists them: `a, b or c`.
pub fn one_of(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The word that was meant, where one of those that are known is close enough.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const CLOSE_ENOUGH: f64 = 0.75;
    known
        .map(|known| (strsim::jaro_winkler(known, word), known))
        .filter(|(similarity, _)| *similarity > CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let sizes = [0, 999, 1 << 20, 3 << 29, 127_945_569_561, 1 << 50];
        let texts = ["0 B", "999 B", "1.0 MiB", "1.5 GiB", "119.2 GiB", "1024.0 TiB"];
        assert_eq!(sizes.map(bytes_text), texts);
    }

    #[test]
    fn memory_is_written_as_the_flag_takes_it() {
        let sizes = [0, 1, 1 << 10, 1536, 5 << 20];
        assert_eq!(sizes.map(memory_text), ["0B", "1B", "1KiB", "1536B", "5MiB"]);
        assert_eq!([0, 1, (5 << 20) + 1].map(need_text), ["0B", "1MiB", "6MiB"]);
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 437_513, 1_803_460].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "437,513", "1,803,460"]);
        assert_eq!([0.42, 9.94, 9.96, 12_345.6].map(rate), ["0.4", "9.9", "10", "12,346"]);
    }

    #[test]
    fn words_follow_their_number() {
        assert_eq!(
            [0, 1, 1203].map(|n| counted(n, "class")),
            ["0 classes", "1 class", "1,203 classes"]
        );
        assert_eq!(
            ["file", "batch", "byte"].map(|word| plural(word, 2)),
            ["files", "batches", "bytes"]
        );
    }

    #[test]
    fn durations_have_the_unit_that_is_read_best() {
        let secs = [0.31, 9.96, 119.4, 1000.0, 7200.0, 19_220.0, 300_000.0];
        let texts = ["0.3 s", "10 s", "119 s", "17 min", "2 h 0 min", "5 h 20 min", "3.5 days"];
        assert_eq!(secs.map(duration), texts);
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_word("runs/photos/shards"), "runs/photos/shards");
        assert_eq!(shell_word("my photos"), "'my photos'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("dataset.mean=[1, 2]"), "'dataset.mean=[1, 2]'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_path("-my photos"), "'./-my photos'");
        assert_eq!(shell_path("a/-b.toml"), "a/-b.toml");
    }
}
