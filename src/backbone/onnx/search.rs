//! A graph as it is searched: the operation that gives each value, and constants.

use std::collections::HashMap;

use super::constants::{Constant, dequantised, transposed};
use super::file::{floats, integers};
use super::nodes::{int, ints};
use super::proto::{Graph, Node, Tensor};

/// How deep constants may be wrapped in operations.
const DEEPEST_CONSTANT: usize = 8;

pub(super) struct Search<'a> {
    pub(super) graph: &'a Graph,
    /// The node that gives a value.
    pub(super) makers: HashMap<&'a str, usize>,
    pub(super) constants: HashMap<&'a str, &'a Tensor>,
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut makers = HashMap::new();
        let mut constants: HashMap<&str, &Tensor> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        for (i, node) in graph.node.iter().enumerate() {
            node.output.iter().for_each(|o| {
                makers.insert(o.as_str(), i);
            });
            if node.op_type == "Constant"
                && let (Some(name), Some(tensor)) =
                    (node.output.first(), node.attribute.iter().find_map(|a| a.t.as_ref()))
            {
                constants.insert(name, tensor);
            }
        }
        Self { graph, makers, constants }
    }

    pub(super) fn maker(&self, value: &str) -> Option<(usize, &'a Node)> {
        let index = *self.makers.get(value)?;
        Some((index, &self.graph.node[index]))
    }

    /// The constant floats that `value` is.
    pub(super) fn weights(&self, value: &str) -> Option<Constant> {
        self.constant(value, DEEPEST_CONSTANT)
    }

    fn constant(&self, value: &str, depth: usize) -> Option<Constant> {
        if let Some(&tensor) = self.constants.get(value) {
            let (shape, values) = floats(tensor)?;
            return Some(Constant { shape, values, element: tensor.data_type });
        }
        let (_, node) = self.maker(value)?;
        let inner = || self.constant(node.input.first()?, depth.checked_sub(1)?);
        match node.op_type.as_str() {
            "Identity" => inner(),
            "Cast" => Some(Constant { element: int(node, "to")? as i32, ..inner()? }),
            "Transpose" => {
                let Constant { shape, values, element } = inner()?;
                let swaps = ints(node, "perm").is_none_or(|perm| perm == [1, 0]);
                let &[rows, columns] = shape.as_slice() else { return None };
                let values = transposed(&values, rows, columns);
                swaps.then(|| Constant { shape: vec![columns, rows], values, element })
            }
            "DequantizeLinear" => dequantised(node, &self.constants),
            "Constant" => Constant::of_attributes(node),
            _ => None,
        }
    }

    pub(super) fn integers(&self, value: &str) -> Option<Vec<i64>> {
        match self.constants.get(value) {
            Some(tensor) => integers(tensor),
            None => ints(self.maker(value)?.1, "value_ints"),
        }
    }
}
