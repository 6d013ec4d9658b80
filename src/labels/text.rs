//! Lists of class names as programs write them: one a line, JSON, Python's `{0: 'ant', 1: 'bee'}`; and other names
//! in the same form.

use serde_json::{Map, Value};

use super::python;

/// Keys under which names are found in a JSON object: those of timm's and Hugging Face's `config.json`, of
/// ultralytics, of torchvision's ImageFolder, of fastai.
const KEYS: [&str; 12] = [
    "pretrained_cfg",
    "label_names",
    "id2label",
    "label2id",
    "names",
    "class_names",
    "classes",
    "labels",
    "class_to_idx",
    "idx_to_class",
    "vocab",
    "model_config",
];
/// In a list of objects: the number of a class, and its name.
const NUMBER_KEYS: [&str; 4] = ["id", "index", "class_id", "class_index"];
const NAME_KEYS: [&str; 4] = ["name", "label", "class_name", "class"];

/// The names in a text, in the order of their numbers; `None` where it is not a list of names.
pub(super) fn parse(text: &str) -> Option<Vec<String>> {
    let names = match literal(text) {
        Some(literal) => of_json(&literal?.0),
        None => Some(of_lines(text.trim_start_matches('\u{feff}'))),
    };
    names.filter(|names| !names.is_empty() && names.iter().all(|name| !name.is_empty()))
}

/// How the value was written.
#[derive(Clone, Copy)]
enum Language {
    Json,
    Python(python::Keys),
}

/// The value of a text that is one of JSON or Python; `None` of other text, the inner `None` where it is damaged.
fn literal(text: &str) -> Option<Option<(Value, Language)>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    text.starts_with(['{', '[', '(']).then(|| match serde_json::from_str(text) {
        Ok(value) => Some((value, Language::Json)),
        Err(_) => python::read(text).map(|(value, keys)| (value, Language::Python(keys))),
    })
}

/// A list of names, an object of them by number (or the other way round), or one that has such under a
/// known key.
fn of_json(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => {
            let text = |item: &Value| item.as_str().map(String::from);
            let names: Option<Vec<String>> = items.iter().map(text).collect();
            names.or_else(|| numbered(items.iter().map(of_item).collect::<Option<_>>()?))
        }
        Value::Object(object) => known(object)
            .find_map(|key| of_json(&object[key]))
            .or_else(|| numbered(by_number(object).or_else(|| by_name(object))?)),
        _ => None,
    }
}

/// The keys of an object under which names may be.
fn known(object: &Map<String, Value>) -> impl Iterator<Item = &String> {
    KEYS.iter().filter_map(|key| object.keys().find(|there| there.eq_ignore_ascii_case(key)))
}

/// Number and name of `{"id": 0, "name": "ant"}`.
fn of_item(item: &Value) -> Option<(usize, String)> {
    let object = item.as_object()?;
    let number = NUMBER_KEYS.iter().find_map(|key| number(object.get(*key)?))?;
    Some((number, NAME_KEYS.iter().find_map(|key| object.get(*key)?.as_str())?.into()))
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|n| n.try_into().ok())
}

fn by_number(object: &Map<String, Value>) -> Option<Vec<(usize, String)>> {
    object.iter().map(|(key, name)| Some((key.parse().ok()?, name.as_str()?.into()))).collect()
}

fn by_name(object: &Map<String, Value>) -> Option<Vec<(usize, String)>> {
    object.iter().map(|(name, value)| Some((number(value)?, name.clone()))).collect()
}

/// Names in the order of their numbers, which must be 0 to C - 1.
fn numbered(mut pairs: Vec<(usize, String)>) -> Option<Vec<String>> {
    pairs.sort_unstable();
    let whole = pairs.iter().enumerate().all(|(i, (number, _))| i == *number);
    whole.then(|| pairs.into_iter().map(|(_, name)| name).collect())
}

/// The text with these names in the form of the old ones; `None` where that cannot be.
pub(super) fn renewed(old: &str, names: &[String]) -> Option<String> {
    match literal(old) {
        Some(literal) => {
            let (value, language) = literal?;
            let value = renewed_value(&value, names)?;
            Some(match language {
                Language::Json => value.to_string(),
                Language::Python(keys) => python::write(&value, keys),
            })
        }
        None => {
            let lines: Vec<String> = match (form(old), names) {
                (Form::Numbered(between), names) => names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| format!("{i}{between}{name}"))
                    .collect(),
                (_, names) => names.to_vec(),
            };
            let text = lines.join(match form(old) {
                Form::Between(separator) => separator,
                Form::Lines | Form::Numbered(_) => "\n",
            });
            (parse(&text)? == names).then_some(text)
        }
    }
}

/// Whether two texts say the same, however they are laid out.
pub(super) fn same(a: &str, b: &str) -> bool {
    match (literal(a).flatten(), literal(b).flatten()) {
        (Some((a, _)), Some((b, _))) => a == b,
        (None, None) => parse(a) == parse(b),
        _ => false,
    }
}

/// Whether a value under a known key is of other things than names, such as how many there are.
fn is_other(value: &Value) -> bool {
    !value.is_array() && !value.is_string() && of_json(value).is_none()
}

/// A value with these names in place of its own; what cannot have them is left out of an object that has more.
fn renewed_value(old: &Value, names: &[String]) -> Option<Value> {
    let new = match old {
        Value::Array(items) if items.iter().all(Value::is_string) => Value::from(names),
        Value::Array(items) => {
            let first = items.first()?.as_object()?;
            let has =
                |keys: &[&'static str]| keys.iter().copied().find(|key| first.contains_key(*key));
            let (number, name) = (has(&NUMBER_KEYS)?, has(&NAME_KEYS)?);
            if items.iter().any(|item| item.as_object().is_none_or(|object| object.len() != 2)) {
                return None;
            }
            let item = |(i, text): (usize, &String)| {
                let i = if first[number].is_string() { i.to_string().into() } else { i.into() };
                Value::Object(Map::from_iter([
                    (number.into(), i),
                    (name.into(), Value::from(text.as_str())),
                ]))
            };
            names.iter().enumerate().map(item).collect()
        }
        Value::Object(object) if known(object).any(|key| of_json(&object[key]).is_some()) => {
            let mut object = object.clone();
            for key in known(&object.clone()) {
                match renewed_value(&object[key], names) {
                    Some(value) => object.insert(key.clone(), value),
                    None if is_other(&object[key]) => None,
                    None => object.remove(key),
                };
            }
            return Some(Value::Object(object));
        }
        Value::Object(object) if by_number(object).is_some() => names
            .iter()
            .enumerate()
            .map(|(i, name)| (i.to_string(), Value::from(name.as_str())))
            .collect(),
        Value::Object(object) => {
            by_name(object)?;
            let as_text = object.values().all(Value::is_string);
            let number = |i: usize| if as_text { Value::from(i.to_string()) } else { i.into() };
            names.iter().enumerate().map(|(i, name)| (name.clone(), number(i))).collect()
        }
        _ => return None,
    };
    // Of a name that comes twice an object by name has one only.
    (of_json(&new)? == names).then_some(new)
}

/// Of names that are plain text.
enum Form {
    Lines,
    /// Each after its number and this.
    Numbered(String),
    Between(&'static str),
}

fn form(text: &str) -> Form {
    let lines = lines(text);
    match lines.as_slice() {
        [line] if line.contains("; ") => Form::Between("; "),
        [line] if line.contains(';') => Form::Between(";"),
        [line] if line.contains(", ") => Form::Between(", "),
        [line] if line.contains(',') => Form::Between(","),
        [first, ..] if lines.len() > 1 => match after_numbers(&lines) {
            Some(names) => Form::Numbered(first[1..first.len() - names[0].len()].into()),
            None => Form::Lines,
        },
        _ => Form::Lines,
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The names of lines that all have their number before them.
fn after_numbers(lines: &[&str]) -> Option<Vec<String>> {
    let after_number = |(i, line): (usize, &&str)| {
        let rest = line.strip_prefix(&i.to_string())?;
        let name = rest.trim_start_matches([' ', '\t', ':', ',', ';']);
        (name.len() < rest.len() && !name.is_empty()).then(|| name.to_string())
    };
    lines.iter().enumerate().map(after_number).collect()
}

/// One name a line, each after its number where all have one; of one line, the names between semicolons or, where it
/// has none, commas.
fn of_lines(text: &str) -> Vec<String> {
    match lines(text).as_slice() {
        [line] => {
            let separator = if line.contains(';') { ';' } else { ',' };
            line.split(separator).map(|name| name.trim().to_string()).collect()
        }
        lines => after_numbers(lines)
            .unwrap_or_else(|| lines.iter().map(|line| line.to_string()).collect()),
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
            "ant; bee; owl, barn",
            r#"["ant", "bee", "owl, barn"]"#,
            r#"{"2": "owl, barn", "0": "ant", "1": "bee"}"#,
            r#"{"bee": 1, "owl, barn": 2, "ant": 0}"#,
            "{0: 'ant', 1: 'bee', 2: 'owl, barn'}",
            "{'0': 'ant', '1': 'bee', '2': 'owl, barn',}",
            "{'bee': 1, 'ant': 0, 'owl, barn': 2}",
            "['ant', \"bee\", 'owl, barn']",
            "('ant', 'bee', 'owl, barn')",
            r#"[{"id": 1, "name": "bee"}, {"id": 0, "name": "ant"}, {"id": 2, "name": "owl, barn"}]"#,
            r#"{"architectures": ["A"], "ID2Label": {"0": "ant", "1": "bee", "2": "owl, barn"}}"#,
            r#"{"num_classes": 3, "pretrained_cfg": {"mean": [0], "label_names": ["ant", "bee", "owl, barn"]}}"#,
            r#"{"pretrained_cfg": {"mean": [0]}, "label_names": ["ant", "bee", "owl, barn"]}"#,
            "{'nc': 3, 'frozen': None, 'names': {0: 'ant', 1: 'bee', 2: 'owl, barn'}}",
        ] {
            let found = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, ["ant", "bee", "owl, barn"], "{text}");
        }
        assert_eq!(parse("ant, bee"), Some(vec!["ant".into(), "bee".into()]));
        assert_eq!(parse("0\n1\n10"), Some(vec!["0".into(), "1".into(), "10".into()]));
        assert_eq!(parse(r"{0: 'o\'ahu', 1: '{x: 1}'}").unwrap(), ["o'ahu", "{x: 1}"]);
        for text in [
            "",
            "{}",
            "[1, 2]",
            r#"{"1": "a", "2": "b"}"#,
            r#"[{"id": 1, "name": "a"}]"#,
            r#"{"mean": [0.5]}"#,
            "{0: a}",
            "['a",
            "a;b;",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn other_names_are_written_in_the_form_of_the_old() {
        for (old, new) in [
            ("ant\nbee", "o'a, hu\nfox"),
            ("0: ant\n1: bee", "0: o'a, hu\n1: fox"),
            ("ant;bee", "o'a, hu;fox"),
            (r#"["ant", "bee"]"#, r#"["o'a, hu","fox"]"#),
            (r#"{"0": "ant", "1": "bee"}"#, r#"{"0":"o'a, hu","1":"fox"}"#),
            (r#"{"ant": 0, "bee": 1}"#, r#"{"fox":1,"o'a, hu":0}"#),
            (r#"{"ant": "0", "bee": "1"}"#, r#"{"fox":"1","o'a, hu":"0"}"#),
            ("{0: 'ant', 1: 'bee'}", r"{0: 'o\'a, hu', 1: 'fox'}"),
            ("{'0': 'ant', '1': 'bee'}", r"{'0': 'o\'a, hu', '1': 'fox'}"),
            ("{'ant': 0, 'bee': 1}", r"{'fox': 1, 'o\'a, hu': 0}"),
            ("['ant', 'bee']", r"['o\'a, hu', 'fox']"),
            (
                r#"[{"id": 0, "name": "ant"}, {"id": 1, "name": "bee"}]"#,
                r#"[{"id":0,"name":"o'a, hu"},{"id":1,"name":"fox"}]"#,
            ),
            (
                r#"{"a": [1.5], "id2label": {"0": "ant", "1": "bee"}, "label2id": {"ant": 0, "bee": 1}, "vocab": [7]}"#,
                r#"{"a":[1.5],"id2label":{"0":"o'a, hu","1":"fox"},"label2id":{"fox":1,"o'a, hu":0}}"#,
            ),
        ] {
            let names = ["o'a, hu".to_string(), "fox".into()];
            assert_eq!(renewed(old, &names).as_deref(), Some(new), "{old}");
            assert_eq!(parse(new).unwrap(), names, "{new}");
        }
        let comma = ["fox".to_string(), "elk".into()];
        assert_eq!(renewed("ant, bee", &comma).as_deref(), Some("fox, elk"));
        // Names that the form does not hold.
        for (old, names) in [
            ("ant,bee", ["a,b", "c"]),
            (r#"{"ant": 0, "bee": 1}"#, ["a", "a"]),
            (r#"[{"id": 0, "name": "ant", "colour": 3}, {"id": 1, "name": "bee"}]"#, ["a", "b"]),
        ] {
            assert_eq!(renewed(old, &names.map(String::from)), None, "{old}");
        }
    }
}
