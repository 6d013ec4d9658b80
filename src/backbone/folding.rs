//! Batch normalisation of a frozen network, folded into the convolutions before it: the same function
//! with fewer passes over memory.

use super::graph::{BATCH_NORM_EPS, Conv, Network, Node, Op, Parameter, ParameterKind, Value};
use crate::weights::{NamedTensor, Weights};

impl Network {
    /// The network and its weights with every batch normalisation folded into the convolution whose
    /// result it alone takes; one that follows something else stays.
    ///
    /// `weights` must hold all tensors of the network.
    pub fn folded(&self, weights: &Weights) -> (Self, Weights) {
        let mut uses = vec![0; self.nodes.len() + 1];
        self.nodes.iter().flat_map(|n| &n.inputs).for_each(|v| uses[v.0] += 1);
        let mut folded = Folded { parameters: vec![], weights: weights.clone() };
        // Where each value of the old network is in the new one.
        let mut places = vec![Value(0)];
        let mut nodes: Vec<Node> = vec![];
        let mut last_block = None;
        for (index, node) in self.nodes.iter().enumerate() {
            if index == self.last_block {
                last_block = Some(nodes.len());
            }
            let input = node.inputs[0];
            let before = input.0.checked_sub(1).map(|i| &self.nodes[i].op);
            if let (Op::BatchNorm(name), Some(Op::Conv(conv)), 1) =
                (&node.op, before, uses[input.0])
            {
                folded.fold(conv, name);
                let place = places[input.0];
                nodes[place.0 - 1].op = Op::Conv(Conv { bias: true, ..conv.clone() });
                places.push(place);
                continue;
            }
            let inputs = node.inputs.iter().map(|v| places[v.0]).collect();
            nodes.push(Node { op: node.op.clone(), inputs });
            places.push(Value(nodes.len()));
        }
        let mut parameters: Vec<Parameter> = self.parameters.clone();
        parameters.retain(|p| folded.weights.tensors.contains_key(&p.name));
        // The classifier's stay last.
        let classifier = parameters.split_off(parameters.len() - 2);
        parameters.extend(folded.parameters);
        parameters.extend(classifier);
        let last_block = last_block.unwrap_or(0);
        (Self { nodes, parameters, last_block, ..self.clone() }, folded.weights)
    }
}

struct Folded {
    /// Biases of convolutions that had none.
    parameters: Vec<Parameter>,
    weights: Weights,
}

impl Folded {
    /// y = γ (w x + b − μ) / √(σ² + ε) + β, as a convolution: computed in f64, rounded once.
    fn fold(&mut self, conv: &Conv, norm: &str) {
        let mut take = |part: &str| {
            let tensor = self.weights.tensors.remove(&format!("{norm}.{part}"));
            tensor.map_or(vec![], |t| t.values)
        };
        let [scale, shift, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(&mut take);
        let factors: Vec<f64> = scale
            .iter()
            .zip(&var)
            .map(|(&g, &v)| f64::from(g) / (f64::from(v) + BATCH_NORM_EPS).sqrt())
            .collect();
        let bias_name = format!("{}.bias", conv.name);
        let old_bias = self.weights.tensors.get(&bias_name).map(|t| t.values.clone());
        let bias = (0..conv.outputs).map(|c| {
            let old = old_bias.as_ref().map_or(0.0, |b| f64::from(b[c]));
            (f64::from(shift[c]) + (old - f64::from(mean[c])) * factors[c]) as f32
        });
        let bias = NamedTensor { shape: vec![conv.outputs], values: bias.collect() };
        if old_bias.is_none() {
            self.parameters.push(Parameter {
                name: bias_name.clone(),
                timm_name: None,
                shape: bias.shape.clone(),
                kind: ParameterKind::Zeros,
                before_last_block: false,
            });
        }
        self.weights.tensors.insert(bias_name, bias);
        let weight = self.weights.tensors.get_mut(&format!("{}.weight", conv.name));
        let weight = &mut weight.expect("all tensors are there").values;
        let size = weight.len() / conv.outputs;
        for (row, factor) in weight.chunks_exact_mut(size).zip(&factors) {
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::networks::network;
    use super::*;
    use crate::config::{Arch, NetworkConfig};

    #[test]
    fn a_convolution_takes_over_what_follows_it() {
        // One channel: y = 2 (3 x − 1) / 2 + 0.5 = 3 x − 0.5, but for ε.
        let conv = Conv {
            name: "conv".into(),
            inputs: 1,
            outputs: 1,
            size: 1,
            stride: 1,
            padding: 0,
            groups: 1,
            bias: false,
        };
        let mut weights = Weights::default();
        for (name, value) in [
            ("conv.weight", 3.0),
            ("bn.weight", 2.0),
            ("bn.bias", 0.5),
            ("bn.running_mean", 1.0),
            ("bn.running_var", 4.0),
        ] {
            weights
                .tensors
                .insert(name.into(), NamedTensor { shape: vec![1], values: vec![value] });
        }
        let mut folded = Folded { parameters: vec![], weights };
        folded.fold(&conv, "bn");
        let value = |name: &str| folded.weights.tensors[name].values[0];
        assert!(
            (value("conv.weight") - 3.0).abs() < 1e-4 && (value("conv.bias") + 0.5).abs() < 1e-4
        );
        assert_eq!(folded.weights.tensors.len(), 2);
    }

    #[test]
    fn what_is_left_is_consistent() {
        for arch in Arch::ALL {
            let network = network(&NetworkConfig { arch, ..Default::default() }, 10, 64);
            let weights = network.initial_weights(0);
            let (folded, folded_weights) = network.folded(&weights);
            assert_eq!(folded.map_shape(64), network.map_shape(64), "{arch:?}");
            assert_eq!(folded.channels(), network.channels());
            assert_eq!(folded.parameters.len(), folded_weights.tensors.len(), "{arch:?}");
            for p in &folded.parameters {
                assert_eq!(folded_weights.tensors[&p.name].shape, p.shape, "{arch:?} {}", p.name);
            }
            let norms = |n: &Network| {
                n.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm(_))).count()
            };
            // DenseNet normalises sums of many layers, which stay.
            let stay = if arch == Arch::Densenet121 { 62 } else { 0 };
            assert_eq!(norms(&folded), stay, "{arch:?}");
            assert!(folded.last_block < folded.nodes.len());
        }
    }
}
