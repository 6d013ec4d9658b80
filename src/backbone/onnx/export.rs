//! Networks written as ONNX files, and other classifiers put into files of other programs.

use std::collections::HashSet;

use prost::Message;

use super::file::{OnnxFile, floats};
use super::find::{End, Found, HeadPlace};
use super::proto::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo, attribute_kind, data_type,
};
use crate::backbone::graph::{Activation, BATCH_NORM_EPS, Network, Op};
use crate::domain::{FeatureShape, LinearHead};
use crate::weights::{Weights, WeightsError};

/// ONNX operator set 17 in a file of IR version 8: what onnxruntime reads since 1.12.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// What a file says of itself, besides its graph.
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

/// A model with another classifier in place of its own, or after its map or pooling where it has none;
/// nothing else of its graph changes. The number of classes may be another one; `metadata` replaces
/// entries of its keys.
pub fn with_head(
    file: &OnnxFile,
    found: &Found,
    head: &LinearHead,
    metadata: &[(String, String)],
) -> Vec<u8> {
    let mut model = file.model.clone();
    model.metadata_props.retain(|entry| metadata.iter().all(|(key, _)| *key != entry.key));
    let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
    model.metadata_props.extend(metadata.iter().map(entry));
    let graph = model.graph.as_mut().expect("a model without a graph is not loaded");
    let (classes, channels) = (head.classes(), head.channels());
    let half = match &found.end {
        End::Classifier(old) => {
            let name = &old.place.weight;
            let kind = graph.initializer.iter().find(|t| t.name == *name).map(|t| t.data_type);
            kind == Some(data_type::FLOAT16)
        }
        End::Pooled(_) | End::Map => found.input.half,
    };
    let parts = [
        (NEW_WEIGHT, vec![classes, channels], &head.weight),
        (NEW_BIAS, vec![classes], &head.bias),
    ];
    for (name, shape, values) in parts {
        graph.initializer.retain(|t| t.name != name);
        let mut tensor = float_tensor(name, &shape, values);
        if half {
            let halves = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes());
            (tensor.data_type, tensor.raw_data) = (data_type::FLOAT16, Some(halves.collect()));
        }
        graph.initializer.push(tensor);
    }
    match &found.end {
        End::Classifier(old) => replace_classifier(graph, &old.place),
        End::Pooled(output) => append_classifier(graph, output, vec![]),
        End::Map => {
            let pool = simple("GlobalAveragePool", vec![found.map.clone()], NEW_POOLED_MAP, vec![]);
            append_classifier(graph, &found.map, vec![pool]);
        }
    }
    let used: HashSet<&String> = graph.node.iter().flat_map(|n| &n.input).collect();
    graph.initializer.retain(|t| used.contains(&t.name));
    // Shapes of inner values are hints, and those after the classifier are wrong now.
    graph.value_info.clear();
    for output in &mut graph.output {
        let kind = output.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
        if let Some(shape) = kind.and_then(|t| t.shape.as_mut())
            && shape.dim.len() == 2
            && let Some(dim) = shape.dim.last_mut()
        {
            dim.dim_value = Some(classes as i64);
        }
    }
    model.encode_to_vec()
}

/// Names that a new classifier brings into a graph.
const NEW_WEIGHT: &str = "fsa-bank.fc.weight";
const NEW_BIAS: &str = "fsa-bank.fc.bias";
const NEW_POOLED_MAP: &str = "fsa-bank.pooled_map";
const NEW_POOLED: &str = "fsa-bank.pooled";
const NEW_LOGITS: &str = "fsa-bank.logits";

/// The new FC layer.
fn layer(input: &str, output: &str) -> Node {
    let inputs = [input, NEW_WEIGHT, NEW_BIAS].map(String::from).to_vec();
    simple("Gemm", inputs, output, vec![int("transB", 1)])
}

/// [n, K, 1, 1], or [n, K] as it is, to [n, K].
fn flatten(input: &str) -> Node {
    simple("Flatten", vec![input.into()], NEW_POOLED, vec![int("axis", 1)])
}

/// The new FC layer in place of the old.
fn replace_classifier(graph: &mut Graph, place: &HeadPlace) {
    let old: Vec<usize> = place.between.iter().copied().chain(place.add).collect();
    let nodes = std::mem::take(&mut graph.node);
    for (i, node) in nodes.into_iter().enumerate() {
        if i == place.node {
            // A convolution as classifier takes [n, K, 1, 1].
            graph.node.extend(place.conv.then(|| flatten(&place.input)));
            let input = if place.conv { NEW_POOLED } else { &place.input };
            graph.node.push(Node { name: node.name, ..layer(input, &place.scores) });
        } else if !old.contains(&i) {
            graph.node.push(node);
        }
    }
}

/// The new FC layer at the end, after `pooling`; its logits are the output in place of `output`.
fn append_classifier(graph: &mut Graph, output: &str, pooling: Vec<Node>) {
    let pooled = if pooling.is_empty() { output } else { NEW_POOLED_MAP };
    let end = [flatten(pooled), layer(NEW_POOLED, NEW_LOGITS)];
    graph.node.extend(pooling.into_iter().chain(end));
    for info in graph.output.iter_mut().filter(|o| o.name == output) {
        let old = info.r#type.take().and_then(|t| t.tensor_type);
        let batch = old.and_then(|t| t.shape.map(|s| (t.elem_type, s.dim.into_iter().next())));
        let Some((elem_type, Some(rows))) = batch else { continue };
        // The number of classes is filled in with that of the other outputs.
        let shape = Some(Shape { dim: vec![rows, Dimension::default()] });
        let tensor_type = Some(TensorType { elem_type, shape });
        let r#type = Some(Type { tensor_type, ..Default::default() });
        *info = ValueInfo { name: NEW_LOGITS.into(), r#type, ..Default::default() };
    }
}

/// The smallest model: one image value comes out as it went in. A device that runs it is there.
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

fn simple(kind: &str, input: Vec<String>, output: &str, attribute: Vec<Attribute>) -> Node {
    let (name, output) = (format!("/{output}"), vec![output.to_string()]);
    Node { input, output, name, op_type: kind.into(), attribute, ..Default::default() }
}

fn int(name: &str, value: i64) -> Attribute {
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

fn float_tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
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
