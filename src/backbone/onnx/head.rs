//! Another classifier put into an ONNX file of another program.

use std::collections::HashSet;

use half::{bf16, f16};
use prost::Message;

use super::export::{float_tensor, int, simple};
use super::file::OnnxFile;
use super::find::{End, Found, HeadPlace};
use super::input::Element;
use super::proto::{Dimension, Entry, Graph, Node, Shape, Tensor, TensorType, Type, data_type};
use crate::domain::LinearHead;

/// Names that a new classifier brings into a graph, but for a number where one is taken.
const NEW_WEIGHT: &str = "fsa-bank.fc.weight";
const NEW_BIAS: &str = "fsa-bank.fc.bias";
const NEW_POOLED_MAP: &str = "fsa-bank.pooled_map";
const NEW_POOLED: &str = "fsa-bank.pooled";
const NEW_LOGITS: &str = "fsa-bank.logits";

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
    let there = metadata.iter().filter(|(_, value)| !value.is_empty());
    model.metadata_props.extend(there.map(entry));
    let graph = model.graph.as_mut().expect("a model without a graph is not loaded");
    // Shapes of inner values are hints, and those after the classifier are wrong now.
    graph.value_info.clear();
    match &found.end {
        End::Classifier(old) => {
            let after = reached(graph, &old.place.scores);
            replace_classifier(graph, &old.place, head);
            for output in graph.output.iter_mut().filter(|o| after.contains(&o.name)) {
                let kind = output.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
                let shape = kind.and_then(|kind| kind.shape.as_mut());
                let old_classes = Some(old.head.classes() as i64);
                if let Some(Shape { dim }) = shape
                    && let [rows, last, ..] = dim.as_slice()
                    && (output.name == old.place.output
                        || (dim.len() == 2 && last.dim_value == old_classes))
                {
                    *dim = vec![rows.clone(), classes(head)];
                }
            }
        }
        End::Pooled(output) => append_classifier(graph, output, false, found, head),
        End::Map => append_classifier(graph, &found.map, true, found, head),
    }
    model.encode_to_vec()
}

fn classes(head: &LinearHead) -> Dimension {
    Dimension { dim_value: Some(head.classes() as i64), ..Dimension::default() }
}

/// Names of the values that follow from `value`, and its own.
fn reached(graph: &Graph, value: &str) -> HashSet<String> {
    let mut names = HashSet::from([value.to_string()]);
    for node in &graph.node {
        if node.input.iter().any(|input| names.contains(input)) {
            names.extend(node.output.iter().cloned());
        }
    }
    names
}

/// `base`, or with the first number that makes it a name of its own.
fn fresh(graph: &Graph, base: &str) -> String {
    let taken = |name: &str| {
        graph.initializer.iter().any(|t| t.name == name)
            || graph.input.iter().any(|i| i.name == name)
            || graph.node.iter().any(|n| n.output.iter().any(|o| o == name))
    };
    let numbered = (2..).map(|n| format!("{base}.{n}"));
    let names = std::iter::once(base.to_string()).chain(numbered);
    names.into_iter().find(|name| !taken(name)).expect("numbers do not end")
}

/// The FC layer from `input` [n, K] to `output`, whose numbers become constants of the graph.
fn layer(graph: &mut Graph, head: &LinearHead, element: i32, input: &str, output: &str) -> Node {
    let parts = [
        (NEW_WEIGHT, vec![head.classes(), head.channels()], &head.weight),
        (NEW_BIAS, vec![head.classes()], &head.bias),
    ];
    let mut inputs = vec![input.to_string()];
    for (base, shape, values) in parts {
        let name = fresh(graph, base);
        graph.initializer.push(tensor_of(element, float_tensor(&name, &shape, values), values));
        inputs.push(name);
    }
    simple("Gemm", inputs, output, vec![int("transB", 1)])
}

/// The same tensor in the element type that the graph computes in.
fn tensor_of(element: i32, tensor: Tensor, values: &[f32]) -> Tensor {
    let raw: Vec<u8> = match element {
        data_type::FLOAT16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        data_type::BFLOAT16 => {
            values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect()
        }
        data_type::DOUBLE => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        _ => return tensor,
    };
    Tensor { data_type: element, raw_data: Some(raw), ..tensor }
}

/// The new FC layer in place of the old; what only the old one needed goes with it.
fn replace_classifier(graph: &mut Graph, place: &HeadPlace, head: &LinearHead) {
    let old: Vec<usize> = place.between.iter().copied().chain(place.add).collect();
    let (mut nodes, mut needless, mut name) = (vec![], vec![], String::new());
    for (i, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        if i == place.node {
            (name, needless) = (node.name, [needless, node.input].concat());
            // Its place, until the new one is made.
            nodes.push(Node::default());
        } else if old.contains(&i) {
            needless.extend(node.input);
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    remove_needless(graph, needless, &place.input);
    let at = graph.node.iter().position(|n| *n == Node::default()).expect("it was put there");
    let mut put = vec![];
    // A convolution as classifier takes [n, K, 1, 1].
    let input = match place.conv {
        true => {
            put.push(flatten(graph, &place.input));
            put[0].output[0].clone()
        }
        false => place.input.clone(),
    };
    put.push(Node { name, ..layer(graph, head, place.element, &input, &place.scores) });
    graph.node.splice(at..=at, put);
}

/// Removes constants, and the operations that make them, which nothing takes any more.
fn remove_needless(graph: &mut Graph, mut names: Vec<String>, kept: &str) {
    while let Some(name) = names.pop() {
        let taken = name == kept
            || graph.output.iter().any(|o| o.name == name)
            || graph.node.iter().any(|n| n.input.contains(&name) || is_in_subgraph(n, &name));
        if taken || name.is_empty() {
            continue;
        }
        graph.initializer.retain(|t| t.name != name);
        if let Some(at) = graph.node.iter().position(|n| n.output == [name.as_str()]) {
            names.extend(graph.node.remove(at).input);
        }
    }
}

/// Whether a node's sub-graphs, which stay encoded, may take a value.
fn is_in_subgraph(node: &Node, name: &str) -> bool {
    let graphs = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
    let name = name.as_bytes();
    graphs.into_iter().any(|graph| graph.windows(name.len()).any(|part| part == name))
}

/// [n, K, 1, 1], or [n, K] as it is, to [n, K].
fn flatten(graph: &Graph, input: &str) -> Node {
    simple("Flatten", vec![input.into()], &fresh(graph, NEW_POOLED), vec![int("axis", 1)])
}

/// The new FC layer at the end, after pooling where `output` is the map; its logits are the output in place
/// of `output`.
fn append_classifier(
    graph: &mut Graph,
    output: &str,
    is_map: bool,
    found: &Found,
    head: &LinearHead,
) {
    let mut pooled = output.to_string();
    if is_map {
        let name = fresh(graph, NEW_POOLED_MAP);
        graph.node.push(simple("GlobalAveragePool", vec![pooled], &name, vec![]));
        pooled = name;
    }
    let flat = flatten(graph, &pooled);
    let (input, logits) = (flat.output[0].clone(), fresh(graph, NEW_LOGITS));
    graph.node.push(flat);
    let element = match found.input.element {
        Element::Half => data_type::FLOAT16,
        Element::Float | Element::Byte => data_type::FLOAT,
    };
    let fc = layer(graph, head, element, &input, &logits);
    graph.node.push(fc);
    for info in graph.output.iter_mut().filter(|o| o.name == output) {
        let old = info.r#type.take().and_then(|t| t.tensor_type);
        let batch = old.and_then(|t| t.shape.map(|s| (t.elem_type, s.dim.into_iter().next())));
        info.name = logits.clone();
        let Some((elem_type, Some(rows))) = batch else { continue };
        let shape = Some(Shape { dim: vec![rows, classes(head)] });
        let tensor_type = Some(TensorType { elem_type, shape });
        info.r#type = Some(Type { tensor_type, ..Default::default() });
    }
}
