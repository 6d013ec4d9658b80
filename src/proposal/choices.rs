//! From the images to settings, each with its reason.
//!
//! The bounds here are rules of thumb: they put a first run on safe ground and are not tuned.

use toml::{Table, Value};

use super::survey::Survey;
use crate::backbone::{self, BackboneError};
use crate::config::{Arch, DatasetKind, NetworkConfig, Pipeline, Stem};
use crate::dataset::held_of;
use crate::domain::ClassCounts;
use crate::text::{bytes_text, plural};

/// A key with its value and the reason for it.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: Value,
    pub(super) why: String,
}

/// Settings of one section, and lines of advice below them.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) settings: Vec<Setting>,
    pub(super) advice: Vec<String>,
}

/// All that was chosen.
pub(super) struct Choices {
    pub(super) sections: Vec<Section>,
    pub(super) warnings: Vec<String>,
    pub(super) figures: Figures,
}

/// What follows from the choices, for the screen.
pub(super) struct Figures {
    pub(super) image_size: usize,
    pub(super) train_images: usize,
    pub(super) held_out: usize,
    pub(super) arch: Arch,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) views: usize,
    pub(super) map_bytes: u64,
    pub(super) head_classes: usize,
    pub(super) tail_classes: usize,
    pub(super) iterations: usize,
}

impl Choices {
    /// Chooses; `path` is the images' place as the file will name it.
    pub(super) fn of(survey: &Survey, path: &str) -> Result<Self, BackboneError> {
        let fraction = val_fraction(survey);
        let train = without_held(&survey.train, fraction);
        let (images, image_size) = (train.total() as usize, image_size(survey.sides.shorter[1]));
        let network = network(image_size, images);
        let (_, shape) = backbone::network(&network, survey.class_names.len(), image_size)?;
        // The maps are kept in 16 bits.
        let view_bytes = images as u64 * shape.values() as u64 * 2;
        let (head_ratio, iterations) = (head_ratio(&train), iterations(images));
        let split = train.split(head_ratio);
        let views = views(view_bytes);
        let figures = Figures {
            image_size,
            train_images: images,
            held_out: survey.train.total() as usize - images,
            arch: network.arch,
            epochs: epochs(images),
            batch_size: batch_size(images, network.arch),
            views,
            map_bytes: view_bytes * views as u64,
            head_classes: split.head.len(),
            tail_classes: split.tail.len(),
            iterations,
        };
        let sections = vec![
            dataset_section(survey, path, fraction, &figures),
            network_section(&network, &figures),
            train_section(&figures),
            features_section(&figures, shape),
            finetune_section(&figures, head_ratio),
        ];
        Ok(Self { sections, warnings: warnings(survey, &train), figures })
    }

    /// The settings as a pipeline, the defaults for the rest.
    pub(super) fn pipeline(&self) -> Pipeline {
        let section = |section: &Section| {
            let keys = section.settings.iter().map(|s| (s.key.to_string(), s.value.clone()));
            (section.name.to_string(), Value::Table(keys.collect()))
        };
        let table: Table = self.sections.iter().map(section).collect();
        table.try_into().expect("choices are settings")
    }
}

/// The side of the network's images, for images of this shorter side: a size that networks are used
/// with, and not far above theirs.
fn image_size(shorter_side: u32) -> usize {
    match shorter_side {
        0..48 => 32,
        48..112 => 64,
        112..192 => 128,
        _ => 224,
    }
}

/// Whether images are treated as photographs: with the layout that ImageNet weights exist for.
fn is_photograph(image_size: usize) -> bool {
    image_size >= 128
}

/// The share that leaves most classes with an image to choose on; 0 where classes are too small, or
/// there is a val split.
fn val_fraction(survey: &Survey) -> f64 {
    let share_of_classes = |fraction| {
        let gives = |n: &&u64| held_of(**n as usize, fraction) > 0;
        survey.train.0.iter().filter(gives).count() as f64 / survey.train.0.len() as f64
    };
    match () {
        _ if survey.val.is_some() => 0.0,
        _ if share_of_classes(0.1) >= 0.75 => 0.1,
        _ if share_of_classes(0.2) >= 0.5 => 0.2,
        _ => 0.0,
    }
}

fn without_held(counts: &ClassCounts, fraction: f64) -> ClassCounts {
    ClassCounts(counts.0.iter().map(|&n| n - held_of(n as usize, fraction) as u64).collect())
}

const MANY_PHOTOGRAPHS: usize = 20_000;
const FEW_SMALL_IMAGES: usize = 5_000;

fn network(image_size: usize, images: usize) -> NetworkConfig {
    let photographs = is_photograph(image_size);
    NetworkConfig {
        arch: if photographs && images >= MANY_PHOTOGRAPHS {
            Arch::Resnet50
        } else {
            Arch::Resnet18
        },
        width: if !photographs && images < FEW_SMALL_IMAGES { 32 } else { 0 },
        stem: if image_size == 64 { Stem::Cifar } else { Stem::Auto },
        ..NetworkConfig::default()
    }
}

/// Training images that a network should have seen in all, and bounds of the epochs that this takes; 90
/// are usual for ImageNet.
const IMAGE_VISITS: usize = 2_000_000;
const EPOCHS: [usize; 2] = [90, 200];

/// Rounded to tens.
fn epochs(images: usize) -> usize {
    (IMAGE_VISITS / images.max(1) / 10 * 10).clamp(EPOCHS[0], EPOCHS[1])
}

/// Of ImageNet weights, which need less of everything.
const PRETRAINED_EPOCHS: usize = 30;
const PRETRAINED_RATE_FACTOR: f64 = 0.1;

/// Steps that an epoch should have at least.
const EPOCH_STEPS: usize = 16;

/// A power of two; ResNet-50's activations of 64 photographs take some 6 GB.
fn batch_size(images: usize, arch: Arch) -> usize {
    let most = if arch == Arch::Resnet50 { 64 } else { 128 };
    [128, 64, 32].into_iter().find(|&b| b <= most && images / b >= EPOCH_STEPS).unwrap_or(16)
}

/// In proportion to the batch, from the usual 0.1 for 128 small images or 256 photographs.
fn learning_rate(figures: &Figures) -> f64 {
    let usual_batch = if is_photograph(figures.image_size) { 256 } else { 128 };
    0.1 * figures.batch_size as f64 / usual_batch as f64
}

/// Bytes of maps that a first bank may have.
const BANK_BYTES: u64 = 8 << 30;

fn views(view_bytes: u64) -> usize {
    [8, 4, 2].into_iter().find(|&v| view_bytes.saturating_mul(v as u64) <= BANK_BYTES).unwrap_or(1)
}

/// 0.9, the paper's, or less: until a quarter of the classes is tail.
fn head_ratio(train: &ClassCounts) -> f64 {
    let enough = |ratio: &f64| 4 * train.split(*ratio).tail.len() >= train.0.len();
    // With 0.5 at least one class is left: the others hold half of the images.
    [0.9, 0.8, 0.7, 0.6].into_iter().find(enough).unwrap_or(0.5)
}

fn iterations(images: usize) -> usize {
    match images {
        0..5_000 => 1600,
        5_000..20_000 => 3200,
        _ => 6400,
    }
}

fn setting(key: &'static str, value: impl Into<Value>, why: impl Into<String>) -> Setting {
    Setting { key, value: value.into(), why: why.into() }
}

fn integer(key: &'static str, value: usize, why: impl Into<String>) -> Setting {
    setting(key, value as i64, why)
}

fn section(name: &'static str, settings: Vec<Setting>) -> Section {
    Section { name, settings, advice: vec![] }
}

fn dataset_section(survey: &Survey, path: &str, fraction: f64, figures: &Figures) -> Section {
    let (kind, what) = match survey.kind {
        DatasetKind::List => ("list", "a list of images and their classes"),
        DatasetKind::Parquet => ("parquet", "tables of images and their classes"),
        _ => ("folder", "one folder a class"),
    };
    let (median, size) = (survey.sides.shorter[1], figures.image_size);
    let mut settings = vec![
        setting("kind", kind, what),
        setting("path", path, "seen from this file's folder"),
        integer("image_size", size, size_reason(median, size)),
    ];
    if size == 224 {
        let why = "the middle of each image, as usual for ImageNet networks";
        settings.push(setting("crop_fraction", 0.875, why));
    }
    if let Some(bits) = survey.fewer_bits() {
        let why =
            "no value of the examined 16-bit images needs more; 16 if they are meant to be dark";
        settings.push(integer("bit_depth", bits as usize, why));
    }
    let mut advice = vec![];
    if fraction > 0.0 {
        settings.push(setting("val_fraction", fraction, val_reason(survey, fraction)));
    } else if survey.val.is_none() {
        advice.push(
            "No val_fraction: most classes are too small to give an image away. Choices of".into(),
        );
        advice.push("compare and sweep then need --select none or train, which is biased.".into());
    }
    Section { advice, ..section("dataset", settings) }
}

fn size_reason(median: u32, size: usize) -> String {
    let what =
        if size == 224 { "the usual size for photographs" } else { "the nearest usual size" };
    format!("{what}; half of the images have a shorter side of {median} pixels or more")
}

/// What the held-out images are for, and how many classes give none.
fn val_reason(survey: &Survey, fraction: f64) -> String {
    let without = survey.train.0.iter().filter(|&&n| held_of(n as usize, fraction) == 0).count();
    let why = "held out of each class, so that nothing is chosen on test images";
    match without {
        0 => why.into(),
        n => format!("{why}; too much for {n} small {}", plural("class", n)),
    }
}

fn network_section(network: &NetworkConfig, figures: &Figures) -> Section {
    let (arch, images) = (network.arch.name(), figures.train_images);
    let why = match network.arch {
        Arch::Resnet50 => format!("{images} photographs are enough for it"),
        _ if is_photograph(figures.image_size) => {
            format!("resnet50 asks for more than {images} photographs")
        }
        _ => "enough for small images".into(),
    };
    let mut settings = vec![setting("arch", arch, why)];
    if network.width > 0 {
        let why = format!("half the published width: {images} images are few");
        settings.push(integer("width", network.width, why));
    }
    if network.stem == Stem::Cifar {
        let why = "maps of 8 x 8 locations, where ImageNet's stem leaves 2 x 2";
        settings.push(setting("stem", "cifar", why));
    }
    let photographs = is_photograph(figures.image_size);
    let advice = if photographs { pretrained_advice(arch) } else { vec![] };
    Section { advice, ..section("network", settings) }
}

fn pretrained_advice(arch: &str) -> Vec<String> {
    let make = format!(
        "  python -c \"import torchvision, safetensors.torch as s; s.save_file(torchvision.models.{arch}(weights='DEFAULT').state_dict(), '{arch}.safetensors')\""
    );
    vec![
        "A network that begins with ImageNet weights needs fewer images and epochs. Make them once,".into(),
        "beside this file, in a Python that has torchvision and safetensors:".into(),
        make,
        "then take the # off the next line, and change [train] as it says there.".into(),
        format!("weights = \"{arch}.safetensors\""),
        "freeze = \"all-but-last-block\"   # trains the last block and the classifier alone".into(),
    ]
}

fn train_section(figures: &Figures) -> Section {
    let Figures { image_size, train_images, epochs, batch_size, .. } = *figures;
    let photographs = is_photograph(image_size);
    let with_weights = |value: String| match photographs {
        true => format!("; with weights: {value}"),
        false => String::new(),
    };
    let rate = learning_rate(figures);
    let lower = (rate * PRETRAINED_RATE_FACTOR * 1e6).round() / 1e6;
    let visits = format!(
        "random weights need many: {} thousand looks at an image in all",
        epochs * train_images / 1000
    );
    let steps = train_images.div_ceil(batch_size);
    let settings = vec![
        integer("epochs", epochs, visits + &with_weights(PRETRAINED_EPOCHS.to_string())),
        integer("batch_size", batch_size, format!("{steps} steps an epoch")),
        setting(
            "learning_rate",
            rate,
            format!("in proportion to batch_size{}", with_weights(lower.to_string())),
        ),
        integer("warmup_epochs", 5, "a gentle start"),
        setting("schedule", "cosine", "down to 0 at the end"),
        integer(
            "crop_padding",
            image_size / 8,
            "random crops, moved by up to an eighth of image_size",
        ),
    ];
    let mut advice =
        vec!["flip = false   # where a mirrored image is of another class, as with text".into()];
    if is_photograph(image_size) {
        advice.push(
            "crop = \"resized\"   # in place of crop_padding: random sizes and shapes, usual for ImageNet"
                .into(),
        );
        advice.push("color_jitter = 0.4   # random brightness, contrast and saturation".into());
    }
    Section { advice, ..section("train", settings) }
}

fn features_section(figures: &Figures, shape: crate::domain::FeatureShape) -> Section {
    let bytes = bytes_text(figures.map_bytes);
    let why = match figures.views {
        1 => format!("the clean image alone: {bytes} of maps ({shape}), before compression"),
        n => format!(
            "one clean, {} cropped and flipped: {bytes} of maps ({shape}), before compression",
            n - 1
        ),
    };
    section("features", vec![integer("views", figures.views, why)])
}

fn finetune_section(figures: &Figures, head_ratio: f64) -> Section {
    let Figures { head_classes, tail_classes, .. } = *figures;
    let why = format!(
        "this share of the images is in the {head_classes} largest {} (head), the other {tail_classes} are tail",
        plural("class", head_classes)
    );
    let settings = vec![
        setting("head_ratio", head_ratio, why),
        integer("iterations", figures.iterations, "seconds, from the bank alone"),
    ];
    section("finetune", settings)
}

/// Fewer images in all, or in a class on average, are few for random weights; photographs ask for more.
const FEW_IMAGES: usize = 1_000;
const FEW_PHOTOGRAPHS: usize = 10_000;
const FEW_IMAGES_A_CLASS: usize = 20;
/// Below this imbalance ratio there is no long tail.
const LONG_TAIL: f64 = 2.0;
/// Longer over shorter side above which the middle square leaves out much.
const LONG_ASPECT: f64 = 1.7;

/// What may disappoint; `train` are the counts that Phase-I sees.
fn warnings(survey: &Survey, train: &ClassCounts) -> Vec<String> {
    let checks = [
        unreadable(survey),
        few_images(survey, train),
        single_images(survey, train),
        untested(survey),
        balanced(train),
        long_images(survey),
    ];
    checks.into_iter().flatten().collect()
}

fn unreadable(survey: &Survey) -> Option<String> {
    let first = survey.unreadable.first()?;
    let (n, of) = (survey.unreadable.len(), survey.unreadable.len() + survey.sides.measured);
    Some(format!(
        "{n} of {of} examined files cannot be decoded, such as {}; training stops where --max-skipped allows fewer",
        first.escape_debug()
    ))
}

fn few_images(survey: &Survey, train: &ClassCounts) -> Option<String> {
    let (images, classes) = (train.total() as usize, train.0.len());
    let photographs = is_photograph(image_size(survey.sides.shorter[1]));
    let few = if photographs { FEW_PHOTOGRAPHS } else { FEW_IMAGES };
    let weights = if photographs { ", or set network.weights as the file says" } else { "" };
    (images < few || images < FEW_IMAGES_A_CLASS * classes).then(|| {
        format!(
            "{images} training images of {classes} classes are few for a network that begins with random weights; take a trained one (features --onnx NETWORK.onnx --head fit){weights}"
        )
    })
}

fn single_images(survey: &Survey, train: &ClassCounts) -> Option<String> {
    let single = named(survey, |class| train.0[class] == 1)?;
    Some(format!("{single} one training image only: a network learns that image, not the class"))
}

fn untested(survey: &Survey) -> Option<String> {
    let without = named(survey, |class| survey.test.0[class] == 0)?;
    Some(format!("{without} no test image, so no accuracy"))
}

/// `2 classes (a, b) have`, or `class a has`; `None` of none.
fn named(survey: &Survey, is_meant: impl Fn(usize) -> bool) -> Option<String> {
    const SHOWN: usize = 5;
    let names: Vec<_> = (0..survey.class_names.len())
        .filter(|&class| is_meant(class))
        .map(|class| survey.class_names[class].escape_debug().to_string())
        .collect();
    match names.len() {
        0 => None,
        1 => Some(format!("class {} has", names[0])),
        n if n <= SHOWN => Some(format!("{n} classes ({}) have", names.join(", "))),
        n => Some(format!("{n} classes ({}, ...) have", names[..SHOWN].join(", "))),
    }
}

fn balanced(train: &ClassCounts) -> Option<String> {
    let ratio = train.imbalance_ratio().filter(|ratio| *ratio < LONG_TAIL)?;
    Some(format!(
        "the classes are nearly of one size (imbalance ratio {ratio:.1}); methods for a long tail have little to gain"
    ))
}

fn long_images(survey: &Survey) -> Option<String> {
    let aspect = survey.sides.median_aspect;
    (aspect > LONG_ASPECT).then(|| {
        format!(
            "the images are {aspect:.1} times as long as they are short; only the middle square is used"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::survey::Sides;
    use super::*;

    fn survey(counts: &[u64], side: u32) -> Survey {
        let counts = ClassCounts(counts.to_vec());
        Survey {
            kind: DatasetKind::Folder,
            class_names: (0..counts.0.len()).map(|c| format!("class {c}")).collect(),
            test: counts.clone(),
            train: counts,
            val: None,
            test_held_out: false,
            sides: Sides { measured: 10, shorter: [side; 3], median_aspect: 1.3 },
            bit_depth: None,
            unreadable: vec![],
            account: Default::default(),
        }
    }

    fn pipeline(survey: &Survey) -> Pipeline {
        Choices::of(survey, "photos").unwrap().pipeline()
    }

    fn warned(survey: &Survey) -> String {
        Choices::of(survey, "photos").unwrap().warnings.join("\n")
    }

    #[test]
    fn the_size_is_one_that_networks_are_used_with() {
        let sizes = [20, 32, 64, 100, 128, 191, 200, 3000].map(image_size);
        assert_eq!(sizes, [32, 32, 64, 64, 128, 128, 224, 224]);
    }

    #[test]
    fn small_images_get_a_small_network_and_photographs_a_published_one() {
        let p = pipeline(&survey(&[900, 300, 100], 32));
        assert_eq!((p.dataset.image_size, p.dataset.crop_fraction), (32, 1.0));
        assert_eq!(
            (p.network.arch, p.network.width, p.train.crop_padding),
            (Arch::Resnet18, 32, 4)
        );
        assert_eq!((p.train.batch_size, p.train.learning_rate, p.train.epochs), (64, 0.05, 200));
        assert_eq!((p.features.views, p.finetune.iterations), (8, 1600));

        let p = pipeline(&survey(&[9000, 3000, 1000], 60));
        assert_eq!((p.network.stem, p.network.width), (Stem::Cifar, 0));
        assert_eq!((p.train.batch_size, p.train.epochs, p.finetune.iterations), (128, 170, 3200));

        let p = pipeline(&survey(&[90_000, 30_000, 1000], 300));
        assert_eq!((p.dataset.image_size, p.dataset.crop_fraction), (224, 0.875));
        assert_eq!(
            (p.network.arch, p.network.width, p.train.crop_padding),
            (Arch::Resnet50, 0, 28)
        );
        assert_eq!((p.train.batch_size, p.train.learning_rate, p.train.epochs), (64, 0.025, 90));
        // 108,900 images of 2048 x 7 x 7 values are 20 GiB.
        assert_eq!((p.features.views, p.finetune.iterations), (1, 6400));
    }

    #[test]
    fn images_are_held_out_where_classes_are_large_enough() {
        assert_eq!(pipeline(&survey(&[100, 40, 9, 5], 32)).dataset.val_fraction, 0.1);
        assert_eq!(pipeline(&survey(&[100, 4, 3, 2], 32)).dataset.val_fraction, 0.2);
        assert_eq!(pipeline(&survey(&[100, 2, 2, 2], 32)).dataset.val_fraction, 0.0);
        let mut with_val = survey(&[100, 40, 9, 5], 32);
        with_val.val = Some(ClassCounts(vec![1; 4]));
        assert_eq!(pipeline(&with_val).dataset.val_fraction, 0.0);
    }

    #[test]
    fn there_is_always_a_head_and_a_tail() {
        for counts in [&[5, 5][..], &[100, 1], &[50, 49, 48, 47, 46], &[9; 40], &[1000, 10, 5, 2]] {
            let counts = ClassCounts(counts.to_vec());
            let split = counts.split(head_ratio(&counts));
            assert!(!split.head.is_empty() && !split.tail.is_empty(), "{counts:?} {split:?}");
        }
        let long_tail = [500, 323, 209, 135, 87, 56, 36, 23, 15, 10].to_vec();
        assert_eq!(head_ratio(&ClassCounts(long_tail)), 0.9);
        assert_eq!(head_ratio(&ClassCounts(vec![9; 40])), 0.7);
    }

    #[test]
    fn what_may_disappoint_is_said() {
        let fine = survey(&[2000, 300, 50], 32);
        assert_eq!(warned(&fine), "");
        let mut poor = survey(&[30, 20, 1, 1], 32);
        poor.test = ClassCounts(vec![3, 3, 3, 0]);
        poor.class_names[3] = "a\nb".into();
        poor.sides.median_aspect = 2.5;
        poor.unreadable = vec!["train/x.png".into()];
        let said = warned(&poor);
        for part in [
            "1 of 11 examined files cannot be decoded, such as train/x.png",
            "training images of 4 classes are few",
            "2 classes (class 2, a\\nb) have one training image only",
            "class a\\nb has no test image",
            "2.5 times as long",
        ] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert!(
            warned(&survey(&[600, 500], 32)).contains("nearly of one size (imbalance ratio 1.2)")
        );
    }
}
