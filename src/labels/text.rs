//! Lists of class names as programs write them: one a line, JSON, Python's `{0: 'ant', 1: 'bee'}`.

use serde_json::{Map, Value};

/// Keys under which names are found in a JSON object: those of timm's and Hugging Face's `config.json`, of
/// ultralytics, of torchvision's ImageFolder.
const KEYS: [&str; 9] = [
    "pretrained_cfg",
    "label_names",
    "id2label",
    "label2id",
    "names",
    "class_names",
    "classes",
    "labels",
    "class_to_idx",
];

/// The names in a text, in the order of their numbers; `None` where it is no list of names.
pub(super) fn parse(text: &str) -> Option<Vec<String>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let names = match text.chars().next()? {
        '{' | '[' => match serde_json::from_str(text) {
            Ok(value) => of_json(&value),
            Err(_) => of_python(text),
        },
        _ => Some(of_lines(text)),
    };
    names.filter(|names| !names.is_empty() && names.iter().all(|name| !name.is_empty()))
}

/// A list of names, an object of them by number (or the other way round), or one that has such under a
/// known key.
fn of_json(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        Value::Object(object) => KEYS
            .iter()
            .find_map(|&key| object.get(key).and_then(of_json))
            .or_else(|| numbered(by_number(object).or_else(|| by_name(object))?)),
        _ => None,
    }
}

fn by_number(object: &Map<String, Value>) -> Option<Vec<(usize, String)>> {
    object.iter().map(|(key, name)| Some((key.parse().ok()?, name.as_str()?.into()))).collect()
}

fn by_name(object: &Map<String, Value>) -> Option<Vec<(usize, String)>> {
    let number = |value: &Value| {
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|n| n.try_into().ok())
    };
    object.iter().map(|(name, value)| Some((number(value)?, name.clone()))).collect()
}

/// Names in the order of their numbers, which must be 0 to C - 1.
fn numbered(mut pairs: Vec<(usize, String)>) -> Option<Vec<String>> {
    pairs.sort_unstable();
    let whole = pairs.iter().enumerate().all(|(i, (number, _))| i == *number);
    whole.then(|| pairs.into_iter().map(|(_, name)| name).collect())
}

/// The names in the form that `old` has: a JSON object, a JSON list, or one a line.
pub(super) fn like(old: &str, names: &[String]) -> String {
    match old.trim_start().chars().next() {
        Some('{') => {
            let pair = |(i, name): (usize, &String)| (i.to_string(), Value::from(name.as_str()));
            Value::Object(names.iter().enumerate().map(pair).collect()).to_string()
        }
        Some('[') => Value::from(names).to_string(),
        _ => names.join("\n"),
    }
}

/// One of Python's tokens.
enum Token {
    Text(String),
    Number(usize),
}

/// Python's text of a list of texts, or of a dict of numbers and texts.
fn of_python(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text)?;
    if text.starts_with('[') {
        let name = |token| match token {
            Token::Text(name) => Some(name),
            Token::Number(_) => None,
        };
        return tokens.into_iter().map(name).collect();
    }
    let (mut pairs, mut tokens) = (vec![], tokens.into_iter());
    while let Some(key) = tokens.next() {
        pairs.push(match (key, tokens.next()?) {
            (Token::Number(number), Token::Text(name))
            | (Token::Text(name), Token::Number(number)) => (number, name),
            _ => return None,
        });
    }
    numbered(pairs)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let (mut tokens, mut rest) = (vec![], text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => {
                let mut name = String::new();
                loop {
                    match rest.next()? {
                        '\\' => name.push(rest.next()?),
                        end if end == c => break,
                        other => name.push(other),
                    }
                }
                tokens.push(Token::Text(name));
            }
            '0'..='9' => {
                let mut number = c.to_string();
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                tokens.push(Token::Number(number.parse().ok()?));
            }
            ' ' | '\n' | '\r' | '\t' | ',' | ':' | '{' | '}' | '[' | ']' => {}
            _ => return None,
        }
    }
    Some(tokens)
}

/// One name a line, each after its number where all have one; of one line, the names between commas.
fn of_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let after_number = |(i, line): (usize, &&str)| {
        let rest = line.strip_prefix(&i.to_string())?;
        let name = rest.trim_start_matches([' ', '\t', ':', ',', ';']);
        (name.len() < rest.len() && !name.is_empty()).then(|| name.to_string())
    };
    match lines.as_slice() {
        [line] => line.split(',').map(|name| name.trim().to_string()).collect(),
        lines => {
            let numbered: Option<Vec<String>> =
                lines.iter().enumerate().map(after_number).collect();
            numbered.unwrap_or_else(|| lines.iter().map(|line| line.to_string()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_programs_write_them() {
        for text in [
            "ant\nbee\r\nowl, barn\n\n",
            "\u{feff}0 ant\n1 bee\n2 owl, barn",
            "0: ant\n1: bee\n2: owl, barn",
            r#"["ant", "bee", "owl, barn"]"#,
            r#"{"2": "owl, barn", "0": "ant", "1": "bee"}"#,
            r#"{"bee": 1, "owl, barn": 2, "ant": 0}"#,
            "{0: 'ant', 1: 'bee', 2: 'owl, barn'}",
            "['ant', \"bee\", 'owl, barn']",
            r#"{"architectures": ["A"], "id2label": {"0": "ant", "1": "bee", "2": "owl, barn"}}"#,
            r#"{"num_classes": 3, "pretrained_cfg": {"mean": [0], "label_names": ["ant", "bee", "owl, barn"]}}"#,
            r#"{"pretrained_cfg": {"mean": [0]}, "label_names": ["ant", "bee", "owl, barn"]}"#,
        ] {
            let found = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, ["ant", "bee", "owl, barn"], "{text}");
        }
        assert_eq!(parse("ant, bee"), Some(vec!["ant".into(), "bee".into()]));
        assert_eq!(parse("0\n1\n10"), Some(vec!["0".into(), "1".into(), "10".into()]));
        assert_eq!(parse(r"{0: 'o\'ahu', 1: '{x: 1}'}").unwrap(), ["o'ahu", "{x: 1}"]);
        for text in
            ["", "{}", "[1, 2]", r#"{"1": "a", "2": "b"}"#, r#"{"mean": [0.5]}"#, "{0: a}", "['a"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
