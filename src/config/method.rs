//! The methods of Phase-II: their names, sources and the settings they start from.
//!
//! A method is a way to draw batches, a classifier and a loss. What its authors chose besides (loss,
//! learning rate, schedule, ...) are settings, so that each can be changed and combined: balanced
//! softmax on FSA's batches is `method = "fsa"` with `loss = "balanced-softmax"`.

use serde::{Deserialize, Serialize};
use toml::Table;

/// What Phase-II does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The Phase-I classifier as it is.
    Phase1,
    /// FSA's balanced batches with real tail samples in place of fused ones.
    NoAug,
    /// Feature space augmentation: real tail, fused tail and head samples (Alg. 1).
    Fsa,
    /// Classifier re-training: a new classifier on class-balanced batches.
    Crt,
    /// Learnable weight scaling: one factor a class on frozen logits.
    Lws,
    /// Weights divided by a power of their norm.
    TauNorm,
    /// Nearest class mean.
    Ncm,
    /// The logarithm of the class shares taken off the logits, after training.
    LogitAdjustment,
    /// Logit adjustment as a loss.
    LogitAdjustedLoss,
    /// Softmax weighted by class sizes.
    BalancedSoftmax,
    /// Focal loss.
    Focal,
    /// Cross-entropy weighted by effective numbers of samples.
    ClassBalanced,
    /// Label-distribution-aware margins on a cosine classifier.
    Ldam,
    /// LDAM with class-balanced weights late in training.
    LdamDrw,
    /// Label-aware smoothing with learnt scales.
    LabelAwareSmoothing,
    /// Class-balanced loss, strong weight decay and bounded norms of the weights.
    MaxNorm,
    /// Mixup of pooled vectors on class-balanced batches.
    Mixup,
    /// Synthetic samples between neighbours of a class.
    Smote,
    /// Samples from Gaussians calibrated with the nearest classes.
    Tailcalib,
}

/// How a method draws its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Batches {
    /// None: the classifier is computed.
    None,
    /// Half head, half tail, tail samples fused (FSA).
    Fused,
    /// Half head, half tail, all real.
    HeadTail,
    /// A class uniformly, then a sample of it.
    ClassBalanced,
    /// A sample uniformly.
    Instance,
    /// Class-balanced pairs, mixed with their labels.
    Mixup,
    /// Class-balanced, filled up with points between neighbours.
    Smote,
    /// Class-balanced, filled up with draws from calibrated Gaussians.
    Calibrated,
}

/// What training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Softmax cross-entropy.
    CrossEntropy,
    /// Cross-entropy of `logits + log n` (Ren et al., NeurIPS 2020).
    BalancedSoftmax,
    /// Cross-entropy of `logits + tau log pi` (Menon et al., ICLR 2021).
    LogitAdjusted,
    /// (1 - p)^gamma times cross-entropy (Lin et al., ICCV 2017).
    Focal,
    /// Cross-entropy weighted by (1 - beta) / (1 - beta^n) (Cui et al., CVPR 2019).
    ClassBalanced,
    /// Margins of n^(-1/4) on a cosine classifier (Cao et al., NeurIPS 2019).
    Ldam,
    /// LDAM, class-balanced weights after `drw_start` of the iterations.
    LdamDrw,
    /// Smoothing that grows with the class size (Zhong et al., CVPR 2021).
    LabelAwareSmoothing,
}

impl Loss {
    /// Whether the loss works on cosines: features and weights of length 1.
    pub fn is_cosine(self) -> bool {
        matches!(self, Self::Ldam | Self::LdamDrw)
    }
}

/// What is fixed about a method.
struct Facts {
    method: Method,
    name: &'static str,
    title: &'static str,
    source: &'static str,
    batches: Batches,
    /// The settings it starts from, as TOML: `RECIPE` first, then these.
    preset: &'static str,
}

/// The settings that every method sets anew, so that none takes over another's.
const RECIPE: &str = "loss = 'cross-entropy'\nlearning_rate = 0.001\nschedule = 'fixed'\n\
    weight_decay = 0.0\nmax_norm = 0.0\nnum_neighbours = 5\n";
/// Decoupling's recipe for the classifier stage (Kang et al., ICLR 2020), used for the methods whose
/// authors train the whole network too.
macro_rules! decoupling {
    ($more:literal) => {
        concat!("learning_rate = 0.1\nschedule = 'cosine'\nweight_decay = 5e-4\n", $more)
    };
}

const METHODS: [Facts; 19] = [
    Facts {
        method: Method::Phase1,
        name: "phase1",
        title: "Phase-I",
        source: "the bank's own classifier",
        batches: Batches::None,
        preset: "",
    },
    Facts {
        method: Method::NoAug,
        name: "no-aug",
        title: "No Aug",
        source: "Chu et al., ECCV 2020, Fig. 9",
        batches: Batches::HeadTail,
        preset: "",
    },
    Facts {
        method: Method::Fsa,
        name: "fsa",
        title: "FSA",
        source: "Chu et al., ECCV 2020",
        batches: Batches::Fused,
        preset: "",
    },
    Facts {
        method: Method::Crt,
        name: "crt",
        title: "cRT",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        batches: Batches::ClassBalanced,
        preset: decoupling!(""),
    },
    Facts {
        method: Method::Lws,
        name: "lws",
        title: "LWS",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        batches: Batches::ClassBalanced,
        preset: decoupling!(""),
    },
    Facts {
        method: Method::TauNorm,
        name: "tau-norm",
        title: "tau-norm",
        source: "Kang et al., ICLR 2020, Eq. 5",
        batches: Batches::None,
        preset: "",
    },
    Facts {
        method: Method::Ncm,
        name: "ncm",
        title: "NCM",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        batches: Batches::None,
        preset: "",
    },
    Facts {
        method: Method::LogitAdjustment,
        name: "logit-adjustment",
        title: "Logit adj.",
        source: "Menon et al., ICLR 2021, Eq. 9",
        batches: Batches::None,
        preset: "",
    },
    Facts {
        method: Method::LogitAdjustedLoss,
        name: "logit-adjusted-loss",
        title: "Logit adj. loss",
        source: "Menon et al., ICLR 2021, Eq. 10",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'logit-adjusted'\n"),
    },
    Facts {
        method: Method::BalancedSoftmax,
        name: "balanced-softmax",
        title: "Balanced softmax",
        source: "Ren et al., NeurIPS 2020, Eq. 4",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'balanced-softmax'\n"),
    },
    Facts {
        method: Method::Focal,
        name: "focal",
        title: "Focal",
        source: "Lin et al., ICCV 2017, Eq. 4",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'focal'\n"),
    },
    Facts {
        method: Method::ClassBalanced,
        name: "class-balanced",
        title: "Class-balanced",
        source: "Cui et al., CVPR 2019, Eq. 9",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'class-balanced'\n"),
    },
    Facts {
        method: Method::Ldam,
        name: "ldam",
        title: "LDAM",
        source: "Cao et al., NeurIPS 2019, Eq. 13",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'ldam'\n"),
    },
    Facts {
        method: Method::LdamDrw,
        name: "ldam-drw",
        title: "LDAM-DRW",
        source: "Cao et al., NeurIPS 2019, Alg. 1",
        batches: Batches::Instance,
        preset: decoupling!("loss = 'ldam-drw'\n"),
    },
    Facts {
        method: Method::LabelAwareSmoothing,
        name: "label-aware-smoothing",
        title: "Label-aware sm.",
        source: "Zhong et al., CVPR 2021, Eq. 3 to 5",
        batches: Batches::ClassBalanced,
        preset: "learning_rate = 0.1\nschedule = 'cosine'\nweight_decay = 2e-4\n\
            loss = 'label-aware-smoothing'\n",
    },
    Facts {
        method: Method::MaxNorm,
        name: "max-norm",
        title: "MaxNorm + WD",
        source: "Alshammari et al., CVPR 2022, Eq. 5 and 6",
        batches: Batches::Instance,
        preset: "learning_rate = 0.01\nschedule = 'cosine'\nweight_decay = 0.1\nmax_norm = 0.1\n\
            loss = 'class-balanced'\n",
    },
    Facts {
        method: Method::Mixup,
        name: "mixup",
        title: "Feature mixup",
        source: "Zhang et al., ICLR 2018, on features: Verma et al., ICML 2019",
        batches: Batches::Mixup,
        preset: decoupling!(""),
    },
    Facts {
        method: Method::Smote,
        name: "smote",
        title: "SMOTE",
        source: "Chawla et al., JAIR 2002",
        batches: Batches::Smote,
        preset: decoupling!(""),
    },
    Facts {
        method: Method::Tailcalib,
        name: "tailcalib",
        title: "TailCalib",
        source: "Vigneswaran et al., ICVGIP 2021, Eq. 7 and 8",
        batches: Batches::Calibrated,
        preset: decoupling!("num_neighbours = 1\n"),
    },
];

impl Method {
    /// Every method, in the order of tables.
    pub fn all() -> impl Iterator<Item = Self> {
        METHODS.iter().map(|facts| facts.method)
    }

    fn facts(self) -> &'static Facts {
        METHODS.iter().find(|facts| facts.method == self).expect("every method has its facts")
    }

    /// The name in a pipeline and in the output folder.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name in tables.
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// Where its formulas are from.
    pub fn source(self) -> &'static str {
        self.facts().source
    }

    /// How its batches are drawn.
    pub fn batches(self) -> Batches {
        self.facts().batches
    }

    /// Whether it trains, rather than computes, a classifier.
    pub fn trains(self) -> bool {
        self.batches() != Batches::None
    }

    /// Whether the strength `tau` decides it, without any training.
    pub fn has_tau(self) -> bool {
        matches!(self, Self::TauNorm | Self::LogitAdjustment)
    }

    /// The settings it starts from.
    pub(super) fn preset(self) -> Table {
        let parse = |text: &str| toml::from_str::<Table>(text).expect("presets are TOML");
        let mut preset = parse(RECIPE);
        preset.extend(parse(self.facts().preset));
        preset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_pipelines_and_each_method_has_facts() {
        for method in Method::all() {
            let word = toml::Value::String(method.name().into());
            assert_eq!(word.try_into::<Method>().unwrap(), method);
        }
        assert_eq!(Method::all().count(), METHODS.len());
    }
}
