//! `[train]`: Phase-I.

use serde::{Deserialize, Serialize};

use super::TrainLoss;
use super::range::{POSITIVE, above, at_least, below, closed};
use super::settings::{settings, words};

/// Which images make up an epoch of Phase-I.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpochSampling {
    /// Every image once.
    Instance,
    /// As many draws as images, with replacement: a class uniformly, then an image of it.
    Class,
    /// The same with classes in proportion to the square root of their images (Kang et al., ICLR 2020).
    SquareRoot,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Times `step_factor` every `step_epochs`.
    Step,
    /// Times `step_factor` after each of the epochs of `milestones`.
    Multistep,
    /// Half a cosine, from the learning rate to 0 at the last step.
    Cosine,
}

/// The number type of the network's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// bf16 where the device computes in it, otherwise f32.
    Auto,
    /// 32-bit floats.
    F32,
    /// Convolutions in bf16; weights, batch statistics and the loss in f32.
    Bf16,
}

/// How Phase-I cuts training images at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RandomCrop {
    /// A square of `image_size` out of the middle square with `crop_padding` black pixels around it.
    Padded,
    /// A rectangle of the original image, of an area in `crop_scale` and 3/4 to 4/3 as wide as high,
    /// scaled to the square: torchvision's `RandomResizedCrop`.
    Resized,
}

words!(EpochSampling Schedule Arithmetic RandomCrop);

settings! {
/// `[train]`: Phase-I. The defaults are the paper's CIFAR schedule (Sec. 5.1).
TrainConfig = "train" {
    /// Passes over as many images as there are.
    epochs: usize = 300, range(closed(1.0, 100_000.0));
    /// Images a step.
    batch_size: usize = 128, range(closed(2.0, 65_536.0)), expected("2 to 65536 images");
    /// Learning rate after warm-up.
    learning_rate: f64 = 0.1, range(POSITIVE);
    /// Momentum of SGD.
    momentum: f64 = 0.9, range(below(0.0, 1.0));
    /// L2 penalty on all parameters (the paper is silent; usual for CIFAR ResNets).
    weight_decay: f64 = 5e-4, range(at_least(0.0));
    /// Epochs over which the learning rate rises linearly from 0.
    warmup_epochs: usize = 0, rule(|t| t.warmup_epochs <= t.epochs, "at most train.epochs");
    /// How the learning rate falls.
    schedule: Schedule = Schedule::Step;
    /// Epochs between the drops of `step`.
    step_epochs: usize = 150, range(at_least(1.0));
    /// Epochs after which the learning rate drops, of `multistep`.
    milestones: Vec<usize> = vec![],
        rule(|t| t.has_milestones(),
            "rising epochs below train.epochs with schedule = \"multistep\", none without");
    /// Factor of a drop.
    step_factor: f64 = 0.1, range(above(0.0, 1.0));
    /// What training minimises.
    loss: TrainLoss = TrainLoss::default(),
        note("; formulas as in [Phase-II](method.md#losses)");
    /// γ of the focal losses.
    focal_gamma: f64 = 2.0, range(closed(0.0, 100.0));
    /// β of class-balanced weights.
    class_balance_beta: f64 = 0.9999, range(below(0.0, 1.0));
    /// Share of the target that is spread over all classes.
    label_smoothing: f64 = 0.0, range(below(0.0, 1.0));
    /// α of mixup's Beta distribution (Zhang et al., ICLR 2018), one draw a batch; 0 mixes nothing.
    mixup_alpha: f64 = 0.0, range(closed(0.0, 100.0));
    /// Which images make up an epoch: each once, or with replacement by classes.
    sampling: EpochSampling = EpochSampling::Instance;
    /// Share that a running average of weights and batch statistics keeps of itself in each step; the
    /// average becomes the model. 0 keeps none.
    ema_decay: f64 = 0.0, range(below(0.0, 1.0));
    /// How images are cut at random: `padded` (padding, then a random square) or `resized`
    /// (torchvision's RandomResizedCrop).
    crop: RandomCrop = RandomCrop::Padded;
    /// Pixels of black around the middle square before `padded` crops; 0 does not crop.
    crop_padding: usize = 4, note("; at most `image_size`");
    /// Smallest and largest area of a `resized` crop, as shares of the image's.
    crop_scale: [f64; 2] = [0.08, 1.0],
        valid(|t| is_rising_share(t.crop_scale), "[least, most] with 0 < least <= most <= 1");
    /// Random horizontal flips.
    flip: bool = true;
    /// Random changes of brightness, contrast and saturation: factors lie between 1 less this and 1 plus
    /// this; 0 changes nothing, 0.4 is usual for photographs.
    color_jitter: f64 = 0.0, range(closed(0.0, 1.0));
    /// Number type of the convolutions; `auto` is `bf16` where the device computes in it.
    arithmetic: Arithmetic = Arithmetic::F32;
    /// Keep activations and weights in channels-last order, faster on most devices.
    channels_last: bool = true;
    /// Epochs between checkpoints; an interrupt writes one as well.
    checkpoint_every: usize = 1, range(at_least(1.0));
    /// Epochs between evaluations on the test images (shown, never used to choose); 0: at the end only.
    eval_every: usize = 10;
}
}

fn is_rising_share([least, most]: [f64; 2]) -> bool {
    least > 0.0 && least <= most && most <= 1.0
}

impl TrainConfig {
    /// Whether the milestones rise, and are given where the schedule uses them.
    fn has_milestones(&self) -> bool {
        let within = |&epoch: &usize| epoch > 0 && epoch < self.epochs;
        self.milestones.is_empty() != (self.schedule == Schedule::Multistep)
            && self.milestones.is_sorted_by(|a, b| a < b)
            && self.milestones.iter().all(within)
    }
}
