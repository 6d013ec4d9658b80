//! Operations of a graph: their attributes and inputs, and their names in messages.

use super::proto::Node;

pub(super) fn describe(node: &Node) -> String {
    match node.name.is_empty() {
        true => format!("{} (which gives `{}`)", node.op_type, node.output.join(", ")),
        false => format!("{} `{}`", node.op_type, node.name),
    }
}

pub(super) fn int(node: &Node, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).and_then(|a| a.i)
}

pub(super) fn ints(node: &Node, name: &str) -> Option<Vec<i64>> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone())
}

pub(super) fn float(node: &Node, name: &str) -> f32 {
    node.attribute.iter().find(|a| a.name == name).and_then(|a| a.f).unwrap_or(1.0)
}

pub(super) fn two(node: &Node) -> Result<[&String; 2], String> {
    match node.input.as_slice() {
        [a, b, ..] => Ok([a, b]),
        _ => Err(format!("{} has too few inputs", describe(node))),
    }
}
