//! Python's text of plain data: dicts, lists, tuples, texts and numbers.

use serde_json::Value;

/// How a dict's numbers are written where they are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// `'0'`
    Quoted,
    /// `0`
    Bare,
}

/// The value of a text; numbers that are keys become texts.
pub(super) fn read(text: &str) -> Option<(Value, Keys)> {
    let (mut json, mut keys) = (String::new(), Keys::Quoted);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => {
                let mut name = String::new();
                loop {
                    match rest.next()? {
                        '\\' => name.push(match rest.next()? {
                            'n' => '\n',
                            't' => '\t',
                            // Of these the meaning is in what follows.
                            'x' | 'u' | 'U' | 'N' => return None,
                            other => other,
                        }),
                        end if end == c => break,
                        other => name.push(other),
                    }
                }
                json += &Value::from(name).to_string();
            }
            '0'..='9' | '-' | '.' => {
                let mut number = c.to_string();
                let of_number = |c: &char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '-' | '+');
                while let Some(digit) = rest.next_if(of_number) {
                    number.push(digit);
                }
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
                if rest.peek() == Some(&':') {
                    keys = Keys::Bare;
                    number = format!("\"{number}\"");
                }
                json += &number;
            }
            'A'..='Z' => {
                let mut word = c.to_string();
                while let Some(letter) = rest.next_if(char::is_ascii_lowercase) {
                    word.push(letter);
                }
                json += match word.as_str() {
                    "True" => "true",
                    "False" => "false",
                    "None" => "null",
                    _ => return None,
                };
            }
            ',' => {
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
                if !matches!(rest.peek(), Some('}' | ']' | ')')) {
                    json.push(',');
                }
            }
            '(' => json.push('['),
            ')' => json.push(']'),
            '{' | '}' | '[' | ']' | ':' => json.push(c),
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    Some((serde_json::from_str(&json).ok()?, keys))
}

/// The text of a value.
pub(super) fn write(value: &Value, keys: Keys) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| write(item, keys)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(object) => {
            let mut pairs: Vec<(&String, &Value)> = object.iter().collect();
            pairs.sort_by_key(|(key, _)| key.parse::<u64>().ok());
            let key = |key: &String| match keys {
                Keys::Bare if key.parse::<u64>().is_ok() => key.clone(),
                _ => quoted(key),
            };
            let pair =
                |(k, value): (&String, &Value)| format!("{}: {}", key(k), write(value, keys));
            format!("{{{}}}", pairs.into_iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", text.replace('\n', "\\n").replace('\t', "\\t"))
}
