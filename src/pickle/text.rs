//! Texts of the oldest protocol, with escapes.

/// The bytes of a text that Python 2's `repr` wrote.
pub(super) fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = line.split_first()?;
    let (&end, inner) = rest.split_last()?;
    if quote != end || ![b'\'', b'"'].contains(&quote) {
        return None;
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'\\' { quoted_escape(&mut rest)? } else { byte });
    }
    Some(bytes)
}

fn quoted_escape(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    match rest.next()? {
        byte @ (b'\\' | b'\'' | b'"') => Some(byte),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'x' => hexadecimal(rest, 2).map(|value| value as u8),
        _ => None,
    }
}

/// The characters of a text in Latin-1 with `\u` and `\U` escapes.
pub(super) fn unescape(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let digits = match rest.peek() {
            Some(b'u') if byte == b'\\' => 4,
            Some(b'U') if byte == b'\\' => 8,
            _ => {
                text.push(byte.into());
                continue;
            }
        };
        rest.next();
        text.push(char::from_u32(hexadecimal(&mut rest, digits)?)?);
    }
    Some(text)
}

fn hexadecimal(rest: &mut impl Iterator<Item = u8>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |value, _| {
        let digit = char::from(rest.next()?).to_digit(16)?;
        Some(value << 4 | digit)
    })
}
