//! Commands in messages and reports: as a shell takes them when they are pasted.

use std::ffi::OsStr;
use std::path::Path;

/// A path or value as a shell takes it for one word.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "_-./+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A path as a command takes it: one that begins with `-` is no option.
pub fn quoted_path(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    match path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        true => quoted(Path::new(".").join(path)),
        false => quoted(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("runs/photos/shards"), "runs/photos/shards");
        assert_eq!(quoted("my photos"), "'my photos'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("dataset.mean=[1, 2]"), "'dataset.mean=[1, 2]'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted_path("-my photos"), "'./-my photos'");
        assert_eq!(quoted_path("a/-b.toml"), "a/-b.toml");
    }
}
