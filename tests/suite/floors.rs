//! The floors of the library: a module uses what lies below it, nothing beside or above it, and no
//! two files use each other. The table is in `src/ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::project::{root, sources};

/// A module's path from the crate's root: `["bank", "reader"]`.
type Module = Vec<String>;

/// What the files of the library say of each other.
#[derive(Default)]
struct Uses {
    /// Their text, without comments and tests.
    files: BTreeMap<Module, String>,
    /// `pub use child::Name` of a module: where the name comes from.
    exported: BTreeMap<(Module, String), Module>,
}

impl Uses {
    fn of(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let files = sources.into_iter().filter(|(name, _)| {
            !name.starts_with("torch/") && name != "main.rs" && !name.ends_with("tests.rs")
        });
        let mut uses = Self {
            files: files.map(|(name, text)| (module(&name), code(&text))).collect(),
            ..Self::default()
        };
        for (module, text) in &uses.files {
            for (at, _) in text.match_indices("use ") {
                let before = text[..at].trim_end();
                if !(before.ends_with("pub") || before.ends_with(')')) {
                    continue;
                }
                for path in paths(&text[at + 4..]) {
                    let from = uses.absolute(module, &path);
                    if let (Some(name), Some(from)) = (path.last(), from) {
                        uses.exported.insert((module.clone(), name.clone()), from);
                    }
                }
            }
        }
        uses
    }

    /// A path that begins with `crate`, `super`, `self` or a child of `module`, from the root.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let (base, rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (&module[..module.len().checked_sub(supers)?], &path[supers..]),
            child if self.is_file(module, child) => (module, path),
            _ => return None,
        };
        Some([base, rest].concat())
    }

    fn is_file(&self, module: &[String], child: &str) -> bool {
        self.files.contains_key(&[module, &[child.to_string()]].concat())
    }

    /// The file that defines what a path names.
    fn home(&self, path: &[String]) -> Module {
        let mut module = Module::new();
        for (i, part) in path.iter().enumerate() {
            if self.is_file(&module, part) {
                module.push(part.clone());
            } else if let Some(from) = self.exported.get(&(module.clone(), part.clone())) {
                return self.home(&[&from[..], &path[i + 1..]].concat());
            } else {
                break;
            }
        }
        module
    }

    /// Each file with those it uses.
    fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (module, text) in &self.files {
            for path in all_paths(text) {
                let home = self.absolute(module, &path).map(|path| self.home(&path));
                arrows.extend(
                    home.filter(|to| to != module && !to.is_empty()).map(|to| (module.clone(), to)),
                );
            }
        }
        arrows
    }
}

/// `bank/reader.rs` and `bank/mod.rs` as paths of modules.
fn module(file: &str) -> Module {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| *part != "lib").map(String::from).collect()
}

/// Text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let begins_tests =
        |line: &&str| line.starts_with("mod tests {") || line.contains(" mod tests {");
    let lines = text.lines().take_while(|line| !begins_tests(line));
    let lines = lines.map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path of a text: identifiers joined by `::`, trees of `use` branch by branch.
fn all_paths(text: &str) -> Vec<Module> {
    let begins = |&(at, _): &(usize, &str)| !text[..at].trim_end_matches(word_char).ends_with("::");
    let starts = text.match_indices("::").filter(begins);
    starts
        .flat_map(|(at, _)| paths(&text[text[..at].trim_end_matches(word_char).len()..]))
        .collect()
}

fn word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths of the tree that a text begins with: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn paths(text: &str) -> Vec<Module> {
    tree(text.trim_start()).0
}

/// The paths, and the text behind them.
fn tree(text: &str) -> (Vec<Module>, &str) {
    let end = text.find(|c| !word_char(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let Some(rest) = rest.strip_prefix("::") else {
        return (vec![vec![word.to_string()]], rest);
    };
    let (tails, rest) = match rest.strip_prefix('{') {
        Some(inner) => branches(inner),
        None => tree(rest),
    };
    let whole = |tail: Module| [vec![word.to_string()], tail].concat();
    (tails.into_iter().map(whole).collect(), rest)
}

fn branches(mut text: &str) -> (Vec<Module>, &str) {
    let mut found = vec![];
    loop {
        let (paths, rest) = tree(text.trim_start());
        found.extend(paths);
        match rest.trim_start().strip_prefix(',') {
            Some(rest) => text = rest,
            None => return (found, rest.split_once('}').map_or("", |(_, rest)| rest)),
        }
    }
}

/// The floor of each room, as the table has them: `| 3 | [`room`] | what it is |`.
fn floors() -> Vec<(String, usize)> {
    let text = fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse().ok()?, cells.next()?))
    });
    let rooms = |(floor, cell): (usize, &str)| {
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).map(String::from).collect();
        names.into_iter().map(move |name| (name, floor))
    };
    rows.flat_map(rooms).collect()
}

fn shown(module: &[String]) -> String {
    module.join("::")
}

/// Arrows between rooms that do not go down.
fn arrows_up(arrows: &BTreeSet<(Module, Module)>, floors: &[(String, usize)]) -> Vec<String> {
    let floor =
        |room: &String| floors.iter().find(|(name, _)| name == room).map(|(_, floor)| floor);
    let between = arrows.iter().filter(|(from, to)| !from.is_empty() && from[0] != to[0]);
    let wrong = between.filter(|(from, to)| floor(&from[0]) <= floor(&to[0]));
    wrong.map(|(from, to)| format!("{} uses {}", shown(from), shown(to))).collect()
}

/// Arrows that lead back to where they begin, directly or through other files. A file may use the words
/// of the folder that it lies in: `mod.rs` and its files are one room.
fn circles(arrows: &BTreeSet<(Module, Module)>) -> Vec<String> {
    let mut used: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
    for (from, to) in arrows.iter().filter(|(from, to)| !from.starts_with(to)) {
        used.entry(from).or_default().push(to);
    }
    let leads_back = |(from, to): &&(Module, Module)| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![to]);
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(used.get(module).into_iter().flatten());
            }
        }
        seen.contains(from)
    };
    let back = arrows.iter().filter(|(from, to)| !from.starts_with(to)).filter(leads_back);
    back.map(|(from, to)| format!("{} uses {}", shown(from), shown(to))).collect()
}

fn made_up(files: &[(&str, &str)]) -> BTreeSet<(Module, Module)> {
    Uses::of(files.iter().map(|(name, text)| (name.to_string(), text.to_string()))).arrows()
}

#[test]
fn a_circle_and_an_arrow_up_are_seen() {
    let floors = [("a".to_string(), 1), ("b".to_string(), 2)];
    let below = ("a/mod.rs", "mod x;\nmod y;\npub use y::Deep;\n");
    let upper = ("b.rs", "use crate::a::{Deep, x::{self, Other}};\n");
    let sound =
        made_up(&[below, ("a/x.rs", "// crate::b\nuse super::Deep;"), ("a/y.rs", ""), upper]);
    assert_eq!((arrows_up(&sound, &floors), circles(&sound)), (vec![], vec![]));
    assert!(sound.contains(&(module("b.rs"), module("a/y.rs"))), "{sound:?}");

    let up =
        made_up(&[below, ("a/x.rs", "fn f() { crate::b::g() }"), ("a/y.rs", ""), ("b.rs", "")]);
    assert_eq!(arrows_up(&up, &floors), ["a::x uses b"]);
    let ring =
        made_up(&[below, ("a/x.rs", "use super::Deep;"), ("a/y.rs", "use super::{x::X};"), upper]);
    assert_eq!(circles(&ring), ["a::x uses a::y", "a::y uses a::x"]);
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let (uses, floors) = (Uses::of(sources()), floors());
    let rooms: BTreeSet<String> = uses.files.keys().filter_map(|m| m.first().cloned()).collect();
    let listed: Vec<String> = floors.iter().map(|(room, _)| room.clone()).collect();
    assert_eq!(BTreeSet::from_iter(listed.clone()), rooms, "the table of floors");
    assert_eq!(listed.len(), rooms.len(), "a room stands on two floors");
    let arrows = uses.arrows();
    assert!(arrows.len() > 500, "{}", arrows.len());
    let wrong = arrows_up(&arrows, &floors);
    assert!(wrong.is_empty(), "arrows up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let found = circles(&Uses::of(sources()).arrows());
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}
