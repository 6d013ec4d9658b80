//! Where in an ONNX graph the feature map and the classifier are.
//!
//! The search goes backwards from the outputs: past softmax, casts and reshapes to the FC layer (Gemm,
//! MatMul with or without Add, or a 1 x 1 convolution), and from its input past the same to global
//! average pooling. What pooling is applied to is the feature map. Whether the two really give the
//! network's logits is checked when it runs (`session`).

use super::constants::{Constant, transposed};
use super::error::OnnxError;
use super::file::OnnxFile;
use super::input::ImageInput;
use super::nodes::{describe, float, int, ints, two};
use super::proto::{Node, ValueInfo};
use super::search::Search;
use crate::domain::LinearHead;

/// What the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The images.
    pub input: ImageInput,
    /// Name of the value that is the feature map, (n, K, H, W).
    pub map: String,
    /// Side of the window of an average pooling that must cover the whole map.
    pub window: Option<[usize; 2]>,
    /// What comes after the map.
    pub end: End,
    /// Whether values on the way are rounded to 8-bit integers.
    pub quantised: bool,
}

/// What a network ends in.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Pooling and one FC layer.
    Classifier(Box<FoundHead>),
    /// Pooling: the output of this name is the map's mean.
    Pooled(String),
    /// The map itself.
    Map,
}

/// A classifier in a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundHead {
    /// Its weights.
    pub head: LinearHead,
    /// Name of the value that it gives, before any softmax.
    pub logits: String,
    /// Its place in the graph.
    pub(super) place: HeadPlace,
}

impl Found {
    /// The classifier, where the network has one.
    pub fn head(&self) -> Option<&LinearHead> {
        match &self.end {
            End::Classifier(found) => Some(&found.head),
            End::Pooled(_) | End::Map => None,
        }
    }
}

/// Where the classifier's numbers are, to put others there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeadPlace {
    /// Index of the Gemm, MatMul or Conv.
    pub(super) node: usize,
    /// Index of the Add after a MatMul.
    pub(super) add: Option<usize>,
    /// The value of [n, C] that softmax or the output takes: the logits, reshaped where they are not that.
    pub(super) scores: String,
    /// Indices of the operations between logits and scores.
    pub(super) between: Vec<usize>,
    /// Name of the weight, for messages.
    pub(super) weight: String,
    /// Element type of the weight.
    pub(super) element: i32,
    /// The graph's output that follows from the scores.
    pub(super) output: String,
    /// What the classifier is applied to.
    pub(super) input: String,
    /// Whether it is a convolution.
    pub(super) conv: bool,
}

/// Operations that change neither values nor their number, but for rounding.
const PASSED: [&str; 9] = [
    "Identity",
    "Cast",
    "Dropout",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "QuantizeLinear",
    "DequantizeLinear",
];
/// Operations after the classifier that keep the order of the classes.
const AFTER_LOGITS: [&str; 2] = ["Softmax", "LogSoftmax"];

const ONLY_POOLED: &str =
    "Use a CNN such as ResNet, DenseNet, EfficientNet or MobileNet, exported with its classifier.";

impl OnnxFile {
    /// Finds images, feature map and classifier.
    ///
    /// # Errors
    /// The graph does not take images, or does not end in pooling and one FC layer.
    pub fn find(&self) -> Result<Found, OnnxError> {
        self.search(Search::classifier)
    }

    /// Finds images and feature map of a network that may also end in pooling, or in the map itself:
    /// one that gets another classifier.
    ///
    /// # Errors
    /// The graph does not take images, or ends in something else.
    pub fn find_map(&self) -> Result<Found, OnnxError> {
        self.find().or_else(|error| self.search(Search::without_classifier).map_err(|_| error))
    }

    /// The one output before which `look` finds what it looks for.
    fn search<'a>(
        &'a self,
        look: impl Fn(&Search<'a>, &'a ValueInfo, ImageInput) -> Result<Found, String>,
    ) -> Result<Found, OnnxError> {
        let graph = self.graph();
        let search = Search::new(graph);
        let input = search
            .image_input()
            .map_err(|found| OnnxError::Input { path: self.path().into(), found })?;
        let found: Vec<Result<Found, String>> =
            graph.output.iter().map(|o| look(&search, o, input.clone())).collect();
        let refuse = |found: String| {
            let path = self.path().into();
            Err(match search.quantised_operation() {
                Some(found) => OnnxError::Quantised { path, found },
                None => OnnxError::NotPooled { path, found, remedy: ONLY_POOLED },
            })
        };
        let mut good: Vec<Found> = found.iter().filter_map(|f| f.as_ref().ok().cloned()).collect();
        match (good.len(), found.into_iter().find_map(Result::err)) {
            (1, _) => Ok(good.remove(0)),
            (0, Some(reason)) if graph.output.len() == 1 => refuse(reason),
            (0, Some(reason)) => refuse(format!(
                "it has {} outputs, none of them the logits of such a classifier; of the first: {reason}",
                graph.output.len()
            )),
            (0, None) => refuse("it has no output".into()),
            (n, _) => refuse(format!(
                "{n} of its outputs are logits, and it is not known which of them to use"
            )),
        }
    }
}

impl<'a> Search<'a> {
    /// Whether values are rounded to 8 bits on their way, in pairs of QuantizeLinear and DequantizeLinear.
    fn is_quantised(&self) -> bool {
        self.graph.node.iter().any(|node| node.op_type == "DequantizeLinear")
    }

    /// The last operation that computes with integers, in words.
    fn quantised_operation(&self) -> Option<String> {
        let integer = |node: &&Node| {
            ["QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize"]
                .iter()
                .any(|kind| node.op_type.starts_with(kind))
        };
        self.graph.node.iter().rfind(integer).map(describe)
    }

    /// The value that `value` is, up to operations named in `passed`.
    fn origin(&self, value: &'a str, passed: &[&str]) -> &'a str {
        let mut value = value;
        // A graph has no cycles, but a hostile file may.
        for _ in 0..self.graph.node.len() {
            let Some((_, node)) = self.maker(value) else { break };
            if !passed.contains(&node.op_type.as_str()) {
                break;
            }
            let Some(input) = node.input.first() else { break };
            value = input;
        }
        value
    }

    /// Pooling and a classifier before `output`.
    fn classifier(&self, output: &'a ValueInfo, input: ImageInput) -> Result<Found, String> {
        let after: Vec<&str> = AFTER_LOGITS.into_iter().chain(["Identity", "Cast"]).collect();
        let scores = self.origin(&output.name, &after);
        let logits = self.origin(scores, &PASSED);
        let (head, mut place) = self.fc_layer(logits)?;
        place.between = self.between(logits, scores);
        place.scores = scores.into();
        place.output = output.name.clone();
        let pooled = self.origin_of(&place.input);
        let before = describe(&self.graph.node[place.node]);
        let (map, window) = self.pooling(pooled, &before)?;
        let (map, logits) = (map.to_string(), logits.to_string());
        let end = End::Classifier(Box::new(FoundHead { head, logits, place }));
        Ok(Found { input, map, window, end, quantised: self.is_quantised() })
    }

    /// Pooling that gives `output`, or `output` as the map.
    fn without_classifier(
        &self,
        output: &'a ValueInfo,
        input: ImageInput,
    ) -> Result<Found, String> {
        let name = &output.name;
        let pooled = self.origin(name, &PASSED);
        if let Ok((map, window)) = self.pooling(pooled, "the output") {
            let end = End::Pooled(name.clone());
            let quantised = self.is_quantised();
            return Ok(Found { input, map: map.into(), window, end, quantised });
        }
        let kind = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let sizes = kind.and_then(|t| t.shape.as_ref()).map_or(0, |shape| shape.dim.len());
        match sizes {
            4 => {
                let (map, quantised) = (name.clone(), self.is_quantised());
                Ok(Found { input, map, window: None, end: End::Map, quantised })
            }
            _ => Err(format!("`{name}` is neither a map nor its mean")),
        }
    }

    /// The operations from `logits` to `scores`, whose first inputs form a chain.
    fn between(&self, logits: &str, scores: &str) -> Vec<usize> {
        let (mut nodes, mut value) = (vec![], scores);
        while value != logits {
            let Some((index, node)) = self.maker(value) else { break };
            nodes.push(index);
            value = &node.input[0];
        }
        nodes
    }

    fn origin_of(&self, value: &str) -> &'a str {
        let known = self.makers.get_key_value(value).map(|(name, _)| *name);
        known.map_or("", |name| self.origin(name, &PASSED))
    }

    /// The FC layer that gives `logits`.
    fn fc_layer(&self, logits: &'a str) -> Result<(LinearHead, HeadPlace), String> {
        let Some((index, node)) = self.maker(logits) else {
            return Err(format!("`{logits}` is given by no operation"));
        };
        let not = |what: &str| format!("{what}, at {}", describe(node));
        let (head, place) = match node.op_type.as_str() {
            "Gemm" => {
                let ([x, w], c) = (two(node)?, node.input.get(2));
                let Constant { shape, values: mut weight, element } = self
                    .weights(w)
                    .ok_or_else(|| not("an FC layer whose weight is not a constant"))?;
                let &[rows, columns] = shape.as_slice() else {
                    return Err(not("a weight that is not a matrix"));
                };
                let (classes, channels) = if int(node, "transB") == Some(1) {
                    (rows, columns)
                } else {
                    weight = transposed(&weight, rows, columns);
                    (columns, rows)
                };
                if int(node, "transA") == Some(1) {
                    return Err(not("a transposed input"));
                }
                let alpha = float(node, "alpha");
                weight.iter_mut().for_each(|v| *v *= alpha);
                let beta = float(node, "beta");
                let bias = self
                    .bias(c, classes, beta)
                    .ok_or_else(|| not("a bias that is not a constant"))?;
                (self.head(weight, bias, channels), self.place(index, None, [w, x], element))
            }
            "MatMul" => self
                .matmul(index, None, None)
                .ok_or_else(|| not("a product that is not an FC layer"))?,
            "Add" => {
                let [a, b] = two(node)?;
                let product = |x: &'a str, bias: &'a String| {
                    let (i, _) = self.maker(x).filter(|(_, n)| n.op_type == "MatMul")?;
                    self.matmul(i, Some(index), Some(bias))
                };
                product(a, b)
                    .or_else(|| product(b, a))
                    .ok_or_else(|| not("a sum that is not an FC layer"))?
            }
            "Conv" => {
                let [x, w] = two(node)?;
                let Constant { shape, values: weight, element } = self
                    .weights(w)
                    .ok_or_else(|| not("a convolution whose weight is not a constant"))?;
                let &[classes, channels, 1, 1] = shape.as_slice() else {
                    return Err(not("a convolution that is not 1 x 1"));
                };
                let bias = self
                    .bias(node.input.get(2), classes, 1.0)
                    .ok_or_else(|| not("a bias that is not a constant"))?;
                let place = self.place(index, None, [w, x], element);
                (self.head(weight, bias, channels), HeadPlace { conv: true, ..place })
            }
            _ => {
                return Err(format!("before the output comes {}, not an FC layer", describe(node)));
            }
        };
        let head = head.ok_or_else(|| not("a weight of another shape than its bias"))?;
        Ok((head, place))
    }

    fn matmul(
        &self,
        index: usize,
        add: Option<usize>,
        bias: Option<&'a String>,
    ) -> Option<(Option<LinearHead>, HeadPlace)> {
        let [x, w] = two(&self.graph.node[index]).ok()?;
        let Constant { shape, values: weight, element } = self.weights(w)?;
        let &[channels, classes] = shape.as_slice() else { return None };
        let weight = transposed(&weight, channels, classes);
        let bias = self.bias(bias, classes, 1.0)?;
        Some((self.head(weight, bias, channels), self.place(index, add, [w, x], element)))
    }

    fn place(
        &self,
        node: usize,
        add: Option<usize>,
        [weight, input]: [&String; 2],
        element: i32,
    ) -> HeadPlace {
        let (weight, input, between) = (weight.clone(), input.clone(), vec![]);
        let (scores, output, conv) = (String::new(), String::new(), false);
        HeadPlace { node, add, scores, between, weight, element, output, input, conv }
    }

    fn head(&self, weight: Vec<f32>, bias: Vec<f32>, channels: usize) -> Option<LinearHead> {
        LinearHead::new(weight, bias).filter(|head| head.channels() == channels)
    }

    /// A constant bias of `classes` values; zeros where there is none.
    fn bias(&self, value: Option<&'a String>, classes: usize, scale: f32) -> Option<Vec<f32>> {
        let Some(value) = value.filter(|v| !v.is_empty()) else {
            return Some(vec![0.0; classes]);
        };
        let values: Vec<f32> = self.weights(value)?.values.iter().map(|v| v * scale).collect();
        (values.len() == classes).then_some(values)
    }

    /// The map that `pooled`, which comes before the operation `before`, is the mean of, and the window that must cover it.
    fn pooling(
        &self,
        pooled: &'a str,
        before: &str,
    ) -> Result<(&'a str, Option<[usize; 2]>), String> {
        let Some((_, node)) = self.maker(pooled) else {
            return Err(format!("nothing is pooled before {before}"));
        };
        let input = node.input.first().map(String::as_str).unwrap_or_default();
        let found = describe(node);
        match node.op_type.as_str() {
            "GlobalAveragePool" => Ok((input, None)),
            "AveragePool" => {
                let window = ints(node, "kernel_shape").unwrap_or_default();
                let padded = ints(node, "pads").is_some_and(|pads| pads.iter().any(|&p| p != 0));
                match window.as_slice() {
                    &[h, w] if h > 0 && w > 0 && !padded => {
                        Ok((input, Some([h as usize, w as usize])))
                    }
                    _ => Err(format!("{found}, with windows {window:?}, is not global")),
                }
            }
            "ReduceMean" => {
                let axes = ints(node, "axes").or_else(|| self.integers(node.input.get(1)?));
                let axes = axes.unwrap_or_default();
                match axes.as_slice() {
                    [2, 3] | [3, 2] | [-2, -1] | [-1, -2] | [2, -1] | [-1, 2] => Ok((input, None)),
                    // The mean over locations that were made one axis before.
                    [2] | [-1] => match self.maker(input) {
                        Some((_, before))
                            if ["Reshape", "Flatten"].contains(&before.op_type.as_str()) =>
                        {
                            let map = before.input.first().map(String::as_str).unwrap_or_default();
                            Ok((map, None))
                        }
                        _ => Err(format!(
                            "{found} is over axis {axes:?} and not over height and width"
                        )),
                    },
                    [1, 2] => Err(format!(
                        "{found} is over axes [1, 2]: the map has its channels last, as that of a vision transformer"
                    )),
                    _ => {
                        Err(format!("{found} is over axes {axes:?} and not over height and width"))
                    }
                }
            }
            _ => Err(format!("between the pooling and {before} comes {found}")),
        }
    }
}
