//! A network without libtorch: fixed patch averages as feature maps, and an FC layer that learns.

use std::path::Path;

use fsa_bank::backbone::{
    Backbone, BackboneError, Batch, Engine, EngineOptions, HeldImage, HeldImages, MOMENTUM,
    Network, Recalibrator, Recipe, StepOutcome, Trainable,
};
use fsa_bank::domain::{FeatureShape, LinearHead};
use fsa_bank::eval::{logits, predict, softmax};
use fsa_bank::weights::{NamedTensor, Weights};

/// The engine; one that `HOLDS` prefers to hold the images.
pub struct Fake<const HOLDS: bool>;

/// An engine that is given inputs.
#[allow(non_upper_case_globals)]
pub const FakeEngine: Fake<false> = Fake;
/// An engine that is given images once.
#[allow(non_upper_case_globals)]
pub const HoldingEngine: Fake<true> = Fake;

/// Channel k of a location is the positive part of colour k % 3 of its patch, times (k + 1) / K.
fn maps(inputs: &[f32], images: usize, shape: FeatureShape) -> Vec<f32> {
    let side = (inputs.len() / (3 * images)).isqrt();
    let patch = side / shape.height;
    let mut maps = vec![];
    for image in inputs.chunks_exact(3 * side * side) {
        for k in 0..shape.channels {
            let plane = &image[(k % 3) * side * side..][..side * side];
            for y in 0..shape.height {
                for x in 0..shape.width {
                    let pixels =
                        (0..patch * patch).map(|i| (y * patch + i / patch, x * patch + i % patch));
                    let sum: f32 = pixels.map(|(y, x)| plane[y * side + x]).sum();
                    let scale = (k + 1) as f32 / shape.channels as f32;
                    maps.push((scale * sum / (patch * patch) as f32).max(0.0));
                }
            }
        }
    }
    maps
}

fn pool(maps: &[f32], shape: FeatureShape) -> Vec<f32> {
    maps.chunks_exact(shape.locations()).map(|m| m.iter().sum::<f32>() / m.len() as f32).collect()
}

fn shape_of(network: &Network, side: usize) -> FeatureShape {
    network.map_shape(side).unwrap()
}

struct FakeBackbone(FeatureShape);

impl Backbone for FakeBackbone {
    fn shape(&self) -> FeatureShape {
        self.0
    }

    fn feature_maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, BackboneError> {
        Ok(maps(inputs, images, self.0))
    }
}

/// A network without batch normalisation has nothing to estimate.
struct FakeRecalibrator(Weights);

impl Recalibrator for FakeRecalibrator {
    fn observe(&mut self, _: &[f32], _: usize) -> Result<(), BackboneError> {
        Ok(())
    }

    fn model(&self) -> Weights {
        self.0.clone()
    }
}

struct FakeTrainable {
    network: Network,
    head: LinearHead,
    momentum: Vec<f32>,
    recipe: Recipe,
    prefers_held: bool,
    held: Option<FakeHeld>,
}

/// Images with the value of each byte.
struct FakeHeld {
    pixels: Vec<u8>,
    side: usize,
    padding: usize,
    normalised: [[f32; 256]; 3],
}

impl FakeHeld {
    /// Pixel by pixel.
    fn input(&self, image: &HeldImage) -> Vec<f32> {
        let side = self.side;
        let mut input = vec![];
        for (c, table) in self.normalised.iter().enumerate() {
            for y in 0..side {
                for x in 0..side {
                    let x = if image.mirrored { side - 1 - x } else { x };
                    let (y, x) = (y + image.top, x + image.left);
                    let inside = self.padding..self.padding + side;
                    let byte = match inside.contains(&y) && inside.contains(&x) {
                        true => {
                            let at =
                                (image.sample * side + y - self.padding) * side + x - self.padding;
                            self.pixels[3 * at + c]
                        }
                        false => 0,
                    };
                    input.push(table[usize::from(byte)]);
                }
            }
        }
        input
    }
}

impl FakeTrainable {
    fn pooled(&self, batch: &Batch) -> Vec<f32> {
        let images = batch.labels.len();
        let inputs = match &self.held {
            Some(held) if !batch.held.is_empty() => {
                batch.held.iter().flat_map(|image| held.input(image)).collect()
            }
            _ => batch.inputs.clone(),
        };
        let side = (inputs.len() / (3 * images)).isqrt();
        let shape = shape_of(&self.network, side);
        pool(&maps(&inputs, images, shape), shape)
    }
}

impl Trainable for FakeTrainable {
    fn prefers_held(&self) -> bool {
        self.prefers_held
    }

    fn hold(&mut self, images: &HeldImages) -> Result<(), BackboneError> {
        let HeldImages { pixels, side, padding, normalised } = *images;
        self.held =
            Some(FakeHeld { pixels: pixels.to_vec(), side, padding, normalised: *normalised });
        Ok(())
    }

    fn step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        _: f64,
    ) -> Result<StepOutcome, BackboneError> {
        let pooled = self.pooled(batch);
        let correct = self.count_correct(batch)?;
        let channels = self.head.channels();
        let mut scores = logits(&pooled, &self.head);
        let mut loss = 0.0;
        self.momentum.iter_mut().for_each(|v| *v *= self.recipe.momentum as f32);
        for ((row, vector), &label) in
            scores.chunks_mut(self.head.classes()).zip(pooled.chunks(channels)).zip(&batch.labels)
        {
            softmax(row);
            loss -= f64::from(row[label as usize].max(1e-12).ln());
            row[label as usize] -= 1.0;
            for (c, d) in row.iter().enumerate() {
                for (k, x) in vector.iter().enumerate() {
                    self.momentum[c * channels + k] += d * x / batch.labels.len() as f32;
                }
            }
        }
        for (w, v) in self.head.weight.iter_mut().zip(&self.momentum) {
            *w -= learning_rate as f32 * v;
        }
        Ok(StepOutcome { loss: loss / batch.labels.len() as f64, correct })
    }

    fn count_correct(&mut self, batch: &Batch) -> Result<usize, BackboneError> {
        let predicted = predict(&self.pooled(batch), &self.head);
        Ok(predicted.iter().zip(&batch.labels).filter(|(p, l)| i64::from(**p) == **l).count())
    }

    fn model(&self) -> Weights {
        Weights::of_head(&self.head)
    }

    fn state(&self) -> Weights {
        let shape = vec![self.head.classes(), self.head.channels()];
        let tensor = NamedTensor { shape, values: self.momentum.clone() };
        Weights { tensors: [(format!("{MOMENTUM}fc.weight"), tensor)].into(), ..Default::default() }
    }

    fn restore(
        &mut self,
        model: &Weights,
        state: &Weights,
        path: &Path,
    ) -> Result<(), BackboneError> {
        let (classes, channels) = (self.head.classes(), self.head.channels());
        self.head = model.linear_head(classes, channels, path)?;
        self.momentum =
            state.tensor(&format!("{MOMENTUM}fc.weight"), &[classes, channels], path)?.to_vec();
        Ok(())
    }

    fn swap_average(&mut self) -> Result<(), BackboneError> {
        Ok(())
    }
}

impl<const HOLDS: bool> Engine for Fake<HOLDS> {
    fn trainable(
        &self,
        network: &Network,
        _: &Weights,
        _: &EngineOptions,
        recipe: &Recipe,
    ) -> Result<Box<dyn Trainable>, BackboneError> {
        let weights = network.classes * network.channels();
        let head = LinearHead::new(vec![0.0; weights], vec![0.0; network.classes]).unwrap();
        Ok(Box::new(FakeTrainable {
            network: network.clone(),
            head,
            momentum: vec![0.0; weights],
            recipe: recipe.clone(),
            prefers_held: HOLDS,
            held: None,
        }))
    }

    fn backbone(
        &self,
        _: &Network,
        _: &Weights,
        _: &Path,
        shape: FeatureShape,
        _: &EngineOptions,
    ) -> Result<Box<dyn Backbone>, BackboneError> {
        Ok(Box::new(FakeBackbone(shape)))
    }

    fn recalibrator(
        &self,
        _: &Network,
        weights: &Weights,
        _: &Path,
        _: &EngineOptions,
    ) -> Result<Box<dyn Recalibrator>, BackboneError> {
        Ok(Box::new(FakeRecalibrator(weights.clone())))
    }

    fn describe_device(&self, _: &EngineOptions) -> Result<String, BackboneError> {
        Ok("nothing at all".into())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![]
    }
}
