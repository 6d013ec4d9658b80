//! ONNX files of a convolution, global average pooling and one FC layer, written byte by byte.

/// A convolution of squares that do not overlap; of 1 x 1 pixels, or as many as the weights have.
pub struct Conv {
    /// [outputs, inputs, side, side]
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub inputs: usize,
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field of a text, bytes or a message.
fn part(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&varint(field << 3 | 2), &varint(bytes.len() as u64), bytes].concat()
}

const FLOAT: u64 = 1;

fn tensor(name: &str, dims: &[usize], values: &[f32]) -> Vec<u8> {
    let dims = dims.iter().flat_map(|&d| number(1, d as u64)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [dims, number(2, FLOAT), part(8, name), part(9, raw)].concat()
}

/// A value of floats; a size of 0 is any.
fn value(name: &str, dims: &[usize]) -> Vec<u8> {
    let dim = |&d: &usize| part(1, if d == 0 { part(2, "n") } else { number(1, d as u64) });
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let of_type = part(1, [number(1, FLOAT), part(2, shape)].concat());
    [part(1, name), part(2, of_type)].concat()
}

/// An operation; `attribute` is an encoded one.
fn node(kind: &str, inputs: &[&str], output: &str, attribute: Option<Vec<u8>>) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|input| part(1, input)).collect();
    let attribute = attribute.map_or(vec![], |bytes| part(5, bytes));
    [inputs, part(2, output), part(3, output), part(4, kind), attribute].concat()
}

/// Images of `side` pixels, NCHW or with channels last, through `conv` and ReLU to the map, and over its mean
/// [C, K] weights and a bias.
pub fn network(
    side: usize,
    channels_last: bool,
    conv: &Conv,
    fc_weight: &[f32],
    fc_bias: &[f32],
) -> Vec<u8> {
    const INTS: u64 = 7;
    const INT: u64 = 2;
    let (outputs, classes) = (conv.bias.len(), fc_bias.len());
    let kernel = (conv.weight.len() / outputs / conv.inputs).isqrt();
    let mut nodes = vec![];
    let (shape, planes) = match channels_last {
        true => ([0, side, side, conv.inputs], "planes"),
        false => ([0, conv.inputs, side, side], "images"),
    };
    if channels_last {
        let order: Vec<u8> = [0, 3, 1, 2].into_iter().flat_map(|axis| number(8, axis)).collect();
        let order = [part(1, "perm"), order, number(20, INTS)].concat();
        nodes.push(node("Transpose", &["images"], planes, Some(order)));
    }
    let strides: Vec<u8> = [kernel; 2].into_iter().flat_map(|s| number(8, s as u64)).collect();
    let strides = [part(1, "strides"), strides, number(20, INTS)].concat();
    let transposed = [part(1, "transB"), number(3, 1), number(20, INT)].concat();
    nodes.extend([
        node("Conv", &[planes, "conv.weight", "conv.bias"], "conv", Some(strides)),
        node("Relu", &["conv"], "map", None),
        node("GlobalAveragePool", &["map"], "pooled", None),
        node("Flatten", &["pooled"], "vector", None),
        node("Gemm", &["vector", "fc.weight", "fc.bias"], "logits", Some(transposed)),
    ]);
    let weights = [
        tensor("conv.weight", &[outputs, conv.inputs, kernel, kernel], &conv.weight),
        tensor("conv.bias", &[outputs], &conv.bias),
        tensor("fc.weight", &[classes, outputs], fc_weight),
        tensor("fc.bias", &[classes], fc_bias),
    ];
    let graph = [
        nodes.iter().flat_map(|node| part(1, node)).collect(),
        part(2, "tiny"),
        weights.iter().flat_map(|tensor| part(5, tensor)).collect(),
        part(11, value("images", &shape)),
        part(12, value("logits", &[0, classes])),
    ]
    .concat();
    let opset = part(8, [part(1, ""), number(2, 17)].concat());
    [number(1, 8), part(7, graph), opset].concat()
}
