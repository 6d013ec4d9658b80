//! Methods of Phase-II: what is known of each, and the settings they start from.

use toml::Table;

use super::{Choice, Making};
use crate::classifier::Classifier;
use crate::domain::{ClassCounts, LinearHead};

/// What is fixed about a method.
///
/// What else its authors chose (loss, learning rate, schedule, ...) are settings, so that each can be
/// changed and combined: balanced softmax on FSA's batches is `method = "fsa"` with
/// `loss = "balanced-softmax"`.
pub struct MethodFacts {
    /// The word in a pipeline and in the output folder.
    pub name: &'static str,
    /// The name in tables.
    pub title: &'static str,
    /// Where its formulas are from.
    pub source: &'static str,
    /// The classifier, as docs/method.md says it.
    pub classifier: &'static str,
    /// The settings it starts from, as TOML, over those that every method sets.
    pub preset: &'static str,
    /// How its classifier comes about.
    pub way: Way,
}

/// How a classifier comes about.
pub enum Way {
    /// It is computed.
    Computed(Computed),
    /// It is trained on batches.
    Trained(Trained),
}

/// A classifier that is computed, not trained.
pub struct Computed {
    /// Whether the strength `tau` decides it.
    pub has_tau: bool,
    /// The classifier.
    pub classifier: fn(&Given<'_>) -> Classifier,
}

/// Hands vectors over with their classes.
pub type Visit<'a> = &'a mut dyn FnMut(u32, &[f32]);

/// What a classifier is computed from.
pub struct Given<'a> {
    /// The bank's own classifier.
    pub head: &'a LinearHead,
    /// Training images of each class.
    pub counts: &'a ClassCounts,
    /// The strength.
    pub tau: f32,
    /// Visits the pooled vector of every training image, its clean view, in order; each call reads them again.
    pub visit_vectors: &'a dyn Fn(Visit<'_>),
}

/// A classifier that is trained.
pub struct Trained {
    /// How batches are drawn.
    pub batches: Batches,
    /// Where it starts.
    pub start: Start,
    /// How logits are made, where the loss does not want cosines.
    pub form: Form,
}

impl Trained {
    /// A linear layer that starts from Phase-I's.
    pub(super) const fn from_phase1(batches: Batches) -> Way {
        Way::Trained(Self { batches, start: Start::Phase1, form: Form::Linear })
    }
}

/// Where a classifier in training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the bank's own classifier.
    Phase1,
    /// From new weights, as PyTorch's `Linear` does.
    New,
}

/// How logits follow from a vector and the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// w · x + b.
    Linear,
    /// `scale` times the cosine of x and w; the caller gives x at length 1.
    Cosine {
        /// What cosines are multiplied by.
        scale: f32,
    },
    /// f (w · x + b), one factor f a class.
    Scaled {
        /// Whether w and b are learnt too, at half the factors' rate, or f alone.
        learn_weight: bool,
    },
}

/// How a method draws its batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Batches {
    /// Half head, half tail, tail samples fused (FSA).
    Fused,
    /// Half head, half tail, all real.
    HeadTail,
    /// A class uniformly, then a sample of it.
    ClassBalanced,
    /// A sample uniformly.
    Instance,
    /// Class-balanced draws, out of which samples are made.
    Made(&'static Making),
}

impl Batches {
    /// What a batch consists of, as docs/method.md says it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Fused => "half tail, half head, tail samples fused",
            Self::HeadTail => "half tail, half head, all real",
            Self::ClassBalanced => "class-balanced",
            Self::Instance => "instances",
            Self::Made(making) => making.batches,
        }
    }

    /// Whether tail and head are drawn from by themselves.
    pub fn divide_head_and_tail(self) -> bool {
        matches!(self, Self::Fused | Self::HeadTail)
    }

    /// How samples are made, where they are.
    pub fn making(self) -> Option<&'static Making> {
        match self {
            Self::Made(making) => Some(making),
            _ => None,
        }
    }
}

/// What Phase-II does.
pub type Method = Choice<MethodFacts>;

impl Default for Method {
    /// The paper's.
    fn default() -> Self {
        Self::named("fsa")
    }
}

/// The settings that every method sets, so that none takes over another's.
const RECIPE: &str = "loss = 'cross-entropy'\nlearning_rate = 0.001\nschedule = 'fixed'\n\
    weight_decay = 0.0\nmax_norm = 0.0\nnum_neighbours = 5\n";

/// Decoupling's recipe for the classifier stage (Kang et al., ICLR 2020), used for the methods whose
/// authors train the whole network too, with more keys after it.
macro_rules! decoupling {
    ($more:literal) => {
        concat!("learning_rate = 0.1\nschedule = 'cosine'\nweight_decay = 5e-4\n", $more)
    };
}
pub(super) use decoupling;

impl Method {
    /// How its classifier is trained; `None` where it is computed.
    pub fn trained(self) -> Option<&'static Trained> {
        match &self.facts().way {
            Way::Trained(trained) => Some(trained),
            Way::Computed(_) => None,
        }
    }

    /// How its classifier is computed; `None` where it is trained.
    pub fn computed(self) -> Option<&'static Computed> {
        match &self.facts().way {
            Way::Computed(computed) => Some(computed),
            Way::Trained(_) => None,
        }
    }

    /// How its batches are drawn; `None` where there are none.
    pub fn batches(self) -> Option<Batches> {
        self.trained().map(|trained| trained.batches)
    }

    /// Whether it trains, rather than computes, a classifier.
    pub fn trains(self) -> bool {
        self.trained().is_some()
    }

    /// Whether it draws from maps.
    pub fn fuses(self) -> bool {
        self.batches() == Some(Batches::Fused)
    }

    /// The settings it starts from.
    pub fn settings(self) -> Table {
        let parse = |text: &str| toml::from_str::<Table>(text).expect("presets are TOML");
        let mut preset = parse(RECIPE);
        preset.extend(parse(self.preset));
        preset
    }
}

impl Making {
    /// Whether its batches depend on a key.
    pub fn reads(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

/// A way to compute a classifier that `tau` does not touch.
pub(super) const fn computed(classifier: fn(&Given<'_>) -> Classifier) -> Way {
    Way::Computed(Computed { has_tau: false, classifier })
}

/// The same with the strength `tau`.
pub(super) const fn computed_with_tau(classifier: fn(&Given<'_>) -> Classifier) -> Way {
    Way::Computed(Computed { has_tau: true, classifier })
}
