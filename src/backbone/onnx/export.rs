//! Networks written as ONNX files.

use prost::Message;

use super::file::floats;
use super::proto::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo, attribute_kind, data_type,
};
use crate::backbone::graph::{Activation, BATCH_NORM_EPS, Network, Op};
use crate::domain::FeatureShape;
use crate::weights::{Weights, WeightsError};

/// ONNX operator set 17 in a file of IR version 8: what onnxruntime reads since 1.12.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// What a file says of itself, apart from its graph.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Side of the images.
    pub side: usize,
    /// Shape of the feature map.
    pub shape: FeatureShape,
    /// Texts by key, such as labels and preprocessing.
    pub metadata: Vec<(String, String)>,
}

/// Writes a network with its weights: input `images` (n, 3, side, side), outputs `logits` (n, C) and
/// `feature_map` (n, K, H, W); n is not fixed.
///
/// # Errors
/// A tensor is missing or has another shape; `path` names the weights in messages.
pub fn export(
    network: &Network,
    weights: &Weights,
    path: &std::path::Path,
    info: &ModelInfo,
) -> Result<Vec<u8>, WeightsError> {
    let mut initializer = vec![];
    for parameter in &network.parameters {
        let values = weights.tensor(&parameter.name, &parameter.shape, path)?;
        initializer.push(float_tensor(&parameter.name, &parameter.shape, values));
    }
    let last = network.nodes.len();
    let name = |value: usize| match value {
        0 => "images".to_string(),
        v if v == last => "feature_map".to_string(),
        v => format!("v{v}"),
    };
    let mut node: Vec<Node> = vec![];
    for (i, n) in network.nodes.iter().enumerate() {
        let inputs: Vec<String> = n.inputs.iter().map(|v| name(v.0)).collect();
        node.extend(operation(&n.op, inputs, name(i + 1), &mut initializer));
    }
    let part = |part: &str| format!("{}.{part}", network.classifier);
    node.push(simple("GlobalAveragePool", vec![name(last)], "pooled_map", vec![]));
    node.push(simple("Flatten", vec!["pooled_map".into()], "pooled", vec![int("axis", 1)]));
    let inputs = vec!["pooled".into(), part("weight"), part("bias")];
    node.push(simple("Gemm", inputs, "logits", vec![int("transB", 1)]));
    let FeatureShape { channels, height, width } = info.shape;
    let graph = Graph {
        node,
        name: "fsa-bank".into(),
        initializer,
        input: vec![value("images", &[3, info.side, info.side])],
        output: vec![
            value("logits", &[network.classes]),
            value("feature_map", &[channels, height, width]),
        ],
        ..Default::default()
    };
    let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
    let model = Model {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        producer_name: Some("fsa-bank".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph),
        metadata_props: info.metadata.iter().map(entry).collect(),
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

/// The smallest model: one image value comes out as it went in. A device that runs it is available.
#[cfg(feature = "onnx")]
pub(super) fn smallest() -> Vec<u8> {
    let graph = Graph {
        node: vec![simple("Identity", vec!["images".into()], "same", vec![])],
        name: "fsa-bank".into(),
        input: vec![value("images", &[1])],
        output: vec![value("same", &[1])],
        ..Default::default()
    };
    let model = Model {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        graph: Some(graph),
        ..Default::default()
    };
    model.encode_to_vec()
}

fn operation(
    op: &Op,
    mut inputs: Vec<String>,
    output: String,
    initializer: &mut Vec<Tensor>,
) -> Vec<Node> {
    let square = |size: usize| vec![size as i64; 2];
    let one = |kind: &str, inputs, attributes| vec![simple(kind, inputs, &output, attributes)];
    match op {
        Op::Conv(c) => {
            inputs.push(format!("{}.weight", c.name));
            if c.bias {
                inputs.push(format!("{}.bias", c.name));
            }
            let attributes = vec![
                ints("kernel_shape", square(c.size)),
                ints("strides", square(c.stride)),
                ints("pads", vec![c.padding as i64; 4]),
                int("group", c.groups as i64),
            ];
            one("Conv", inputs, attributes)
        }
        Op::BatchNorm(name) => {
            let parts = ["weight", "bias", "running_mean", "running_var"];
            inputs.extend(parts.map(|part| format!("{name}.{part}")));
            one("BatchNormalization", inputs, vec![float("epsilon", BATCH_NORM_EPS as f32)])
        }
        Op::Activation(Activation::Relu) => one("Relu", inputs, vec![]),
        Op::Activation(Activation::Sigmoid) => one("Sigmoid", inputs, vec![]),
        Op::Activation(Activation::Relu6) => {
            for (name, value) in [("zero", 0.0), ("six", 6.0)] {
                if !initializer.iter().any(|t| t.name == name) {
                    initializer.push(float_tensor(name, &[], &[value]));
                }
                inputs.push(name.into());
            }
            one("Clip", inputs, vec![])
        }
        Op::Activation(Activation::Silu) => {
            let gate = format!("{output}.sigmoid");
            let sigmoid = simple("Sigmoid", inputs.clone(), &gate, vec![]);
            inputs.push(gate);
            vec![sigmoid, simple("Mul", inputs, &output, vec![])]
        }
        Op::MaxPool { size, stride, padding } => {
            let attributes = vec![
                ints("kernel_shape", square(*size)),
                ints("strides", square(*stride)),
                ints("pads", vec![*padding as i64; 4]),
            ];
            one("MaxPool", inputs, attributes)
        }
        Op::AveragePool { size } => {
            let attributes =
                vec![ints("kernel_shape", square(*size)), ints("strides", square(*size))];
            one("AveragePool", inputs, attributes)
        }
        Op::GlobalAverage => one("GlobalAveragePool", inputs, vec![]),
        Op::PadChannels { before, after } => {
            let name = format!("{output}.pads");
            let pads = [0, *before as i64, 0, 0, 0, *after as i64, 0, 0];
            initializer.push(Tensor {
                dims: vec![pads.len() as i64],
                data_type: data_type::INT64,
                name: name.clone(),
                raw_data: Some(pads.iter().flat_map(|p| p.to_le_bytes()).collect()),
                ..Default::default()
            });
            inputs.push(name);
            one("Pad", inputs, vec![])
        }
        Op::Add => one("Add", inputs, vec![]),
        Op::Multiply => one("Mul", inputs, vec![]),
        Op::Concat => one("Concat", inputs, vec![int("axis", 1)]),
    }
}

pub(super) fn simple(
    kind: &str,
    input: Vec<String>,
    output: &str,
    attribute: Vec<Attribute>,
) -> Node {
    let (name, output) = (format!("/{output}"), vec![output.to_string()]);
    Node { input, output, name, op_type: kind.into(), attribute, ..Default::default() }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    let kind = attribute_kind::INT;
    Attribute { name: name.into(), i: Some(value), kind, ..Default::default() }
}

fn ints(name: &str, values: Vec<i64>) -> Attribute {
    let kind = attribute_kind::INTS;
    Attribute { name: name.into(), ints: values, kind, ..Default::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    let kind = attribute_kind::FLOAT;
    Attribute { name: name.into(), f: Some(value), kind, ..Default::default() }
}

pub(super) fn float_tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let tensor = Tensor {
        dims: shape.iter().map(|&d| d as i64).collect(),
        data_type: data_type::FLOAT,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        ..Default::default()
    };
    debug_assert!(floats(&tensor).is_some());
    tensor
}

/// A float value of n rows, n not fixed.
fn value(name: &str, sizes: &[usize]) -> ValueInfo {
    let rows = Dimension { dim_param: Some("n".into()), ..Default::default() };
    let size = |&s: &usize| Dimension { dim_value: Some(s as i64), ..Default::default() };
    let dim = std::iter::once(rows).chain(sizes.iter().map(size)).collect();
    let tensor_type = TensorType { elem_type: data_type::FLOAT, shape: Some(Shape { dim }) };
    let r#type = Some(Type { tensor_type: Some(tensor_type), ..Default::default() });
    ValueInfo { name: name.into(), r#type, ..Default::default() }
}
