//! Constant floats of a graph, as the operations around them leave them: integers with a scale among them.

use std::collections::HashMap;

use super::file::{floats, small_integers};
use super::nodes::int;
use super::proto::{Node, Tensor, data_type};

/// A constant and the element type that the graph has it in.
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
    pub(super) element: i32,
}

impl Constant {
    /// Of a Constant whose floats are attributes, and no tensor.
    pub(super) fn of_attributes(node: &Node) -> Option<Self> {
        let of = |name: &str| node.attribute.iter().find(|a| a.name == name);
        let (shape, values) = match (of("value_float"), of("value_floats")) {
            (Some(one), _) => (vec![], vec![one.f?]),
            (None, Some(all)) => (vec![all.floats.len()], all.floats.clone()),
            (None, None) => return None,
        };
        Some(Self { shape, values, element: data_type::FLOAT })
    }
}

/// [rows, columns] → [columns, rows].
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// What a DequantizeLinear makes of a constant: (q - zero point) scale, of each channel or of all.
pub(super) fn dequantised(node: &Node, constants: &HashMap<&str, &Tensor>) -> Option<Constant> {
    let tensor = |place: usize| constants.get(node.input.get(place)?.as_str()).copied();
    let (shape, integers) = small_integers(tensor(0)?)?;
    let (_, scales) = floats(tensor(1)?)?;
    let zeros = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(_) => small_integers(tensor(2)?)?.1,
        None => vec![0],
    };
    let axis = int(node, "axis").unwrap_or(1);
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    let (channels, step) = match scales.len() {
        1 => (1, 1),
        n => {
            let axis = usize::try_from(axis).ok().filter(|&axis| shape.get(axis) == Some(&n))?;
            (n, shape[axis + 1..].iter().try_fold(1usize, |n, &d| n.checked_mul(d))?)
        }
    };
    let blocks = int(node, "block_size").unwrap_or(0);
    if blocks != 0 || ![1, channels].contains(&zeros.len()) || step == 0 {
        return None;
    }
    let value = |(i, &q): (usize, &i32)| {
        let channel = i / step % channels;
        q.wrapping_sub(zeros[channel % zeros.len()]) as f32 * scales[channel]
    };
    let values = integers.iter().enumerate().map(value).collect();
    Some(Constant { shape, values, element: tensor(1)?.data_type })
}

#[cfg(test)]
mod tests {
    use super::super::proto::Attribute;
    use super::*;

    #[test]
    fn integers_with_a_scale_of_each_row_or_column_by_hand() {
        let tensor = |name: &str, dims: Vec<i64>, data_type, raw: Vec<u8>| Tensor {
            name: name.into(),
            dims,
            data_type,
            raw_data: Some(raw),
            ..Default::default()
        };
        let le = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let q = tensor("q", vec![2, 2], data_type::INT8, vec![1, 2, 0xff, 4]);
        let scales = tensor("s", vec![2], data_type::FLOAT, le(&[0.5, 2.0]));
        let one = tensor("one", vec![], data_type::FLOAT, le(&[0.25]));
        let zero = tensor("z", vec![], data_type::INT8, vec![1]);
        let constants: HashMap<&str, &Tensor> =
            [&q, &scales, &one, &zero].map(|t| (t.name.as_str(), t)).into();
        let found = |inputs: &[&str], axis: i64| {
            let axis = Attribute { name: "axis".into(), i: Some(axis), ..Default::default() };
            let input = inputs.iter().map(|name| name.to_string()).collect();
            let node = Node { input, attribute: vec![axis], ..Default::default() };
            dequantised(&node, &constants).map(|constant| constant.values)
        };
        assert_eq!(found(&["q", "s"], 0), Some(vec![0.5, 1.0, -2.0, 8.0]));
        assert_eq!(found(&["q", "s"], -1), Some(vec![0.5, 4.0, -0.5, 8.0]));
        assert_eq!(found(&["q", "one", "z"], 1), Some(vec![0.0, 0.25, -0.5, 0.75]));
        assert_eq!(found(&["q", "s"], 2), None);
        assert_eq!(found(&["s", "s"], 0), None);
    }
}
