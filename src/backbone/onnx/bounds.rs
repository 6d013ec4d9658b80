//! How many parts an encoded ONNX file has, counted before it is decoded: an empty part takes two bytes
//! in the file and hundreds in memory.

/// Parts of a file at most; networks have some tens of thousands.
pub(super) const MOST_PARTS: usize = 1 << 20;
/// As deep as the messages of onnx.proto that are decoded here.
const DEEPEST: usize = 8;

/// Messages whose fields are decoded, by what they are part of.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Message {
    /// The message in a field, where it is one that is decoded (see `proto`).
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 8 | 14)
            | (Self::Graph, 16)
            | (Self::Node, 9)
            | (Self::Tensor, 13 | 16)
            | (Self::ValueInfo, 4)
            | (Self::Shape, 1) => Self::Leaf,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// Parts of an encoded model, up to and one above [`MOST_PARTS`]; of a damaged one those before the
/// damage.
pub(super) fn parts(model: &[u8]) -> usize {
    let mut count = 0;
    walk(model, Message::Model, 0, &mut count);
    count
}

fn walk(mut rest: &[u8], message: Message, depth: usize, count: &mut usize) -> Option<()> {
    while !rest.is_empty() && *count <= MOST_PARTS && depth < DEEPEST {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => rest = rest.get(8..)?,
            5 => rest = rest.get(4..)?,
            2 => {
                *count += 1;
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let part = rest.get(..length)?;
                rest = &rest[length..];
                if let Some(child) = message.child(key >> 3) {
                    walk(part, child, depth + 1, count)?;
                }
            }
            _ => return None,
        }
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, later) = rest.split_first()?;
        *rest = later;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_are_counted_at_every_level() {
        // A graph of three empty operations, the last with two empty attributes.
        let node = [0x0a, 4, 0x2a, 0, 0x2a, 0];
        let graph = [&[0x0a, 0, 0x0a, 0][..], &node].concat();
        let model = [&[0x3a, graph.len() as u8][..], &graph].concat();
        assert_eq!(parts(&model), 1 + 3 + 2);
        assert_eq!(parts(&model[..model.len() - 1]), 1);
        let bomb = [0x0a, 0].repeat(MOST_PARTS + 10);
        let mut model = vec![0x3a];
        let mut length = bomb.len();
        while length >= 0x80 {
            model.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        model.push(length as u8);
        model.extend(bomb);
        assert_eq!(parts(&model), MOST_PARTS + 1);
    }
}
