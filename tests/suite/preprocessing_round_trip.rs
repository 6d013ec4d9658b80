//! What a network does to images goes with it: ten networks that are right only for images that were prepared as
//! theirs must be, through every way from images to classes.

use std::path::Path;
use std::process::Command;

use fsa_bank::bank::Bank;
use fsa_bank::config::CropMode;
use fsa_bank::domain::Split;
use fsa_bank::eval;
use serde_json::{Value, json};

use crate::fixtures::python;
use crate::support::program::{call, text};
use crate::tiny_onnx::{Conv, network};

/// Side of the networks' images.
pub const SIDE: usize = 16;
/// Of each class in each split.
const IMAGES: usize = 3;

/// How a network wants its images.
pub struct Case {
    name: &'static str,
    crop_fraction: f64,
    crop_mode: CropMode,
    interpolation: &'static str,
    mean: [f32; 3],
    std: [f32; 3],
    value_range: u32,
    bgr: bool,
    channels_last: bool,
    /// Whether its classes differ in what only a cubic filter makes of them.
    overshoot: bool,
}

pub const PLAIN: Case = Case {
    name: "plain",
    crop_fraction: 1.0,
    crop_mode: CropMode::Center,
    interpolation: "bilinear",
    mean: [0.0; 3],
    std: [1.0; 3],
    value_range: 1,
    bgr: false,
    channels_last: false,
    overshoot: false,
};
const IMAGENET: Case = Case { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], ..PLAIN };
const HALF: Case = Case { mean: [0.5; 3], std: [0.5; 3], ..PLAIN };

fn cases() -> Vec<Case> {
    let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    let std = [0.268_629_54, 0.261_302_6, 0.275_777_1];
    let caffe = [123.68, 116.779, 103.939];
    vec![
        PLAIN,
        Case { name: "inception", crop_fraction: 0.875, interpolation: "bicubic", ..HALF },
        Case { name: "clip", mean, std, interpolation: "bicubic", ..PLAIN },
        Case { name: "squash", crop_mode: CropMode::Squash, ..IMAGENET },
        Case { name: "bicubic", interpolation: "bicubic", overshoot: true, ..PLAIN },
        Case { name: "bytes", value_range: 255, ..PLAIN },
        Case { name: "channels-last", channels_last: true, ..HALF },
        Case { name: "caffe", value_range: 255, bgr: true, mean: caffe, ..PLAIN },
        Case { name: "crop-95", crop_fraction: 0.95, ..IMAGENET },
        Case { name: "border", crop_mode: CropMode::Border, ..IMAGENET },
    ]
}

/// Centres of the classes, in R, G, B of [0, 1]: three greys, tinted red or blue.
fn colours() -> Vec<[f64; 3]> {
    let greys = [0.54, 0.60, 0.66];
    greys.iter().flat_map(|g| [0.1, -0.1].map(|t| [g + t, *g, g - t])).collect()
}

impl Case {
    fn classes(&self) -> usize {
        if self.overshoot { 2 } else { colours().len() }
    }

    /// The network: undoes the preprocessing, then takes the class whose colour is nearest to the mean one.
    pub fn onnx(&self) -> Vec<u8> {
        let range = self.value_range as f32;
        // From each plane of the input to R, G, B and what of G exceeds 0.72.
        let (mut weight, mut bias) = (vec![0.0; 4 * 3], vec![0.0; 4]);
        for (channel, from) in [(0, 0), (1, 1), (2, 2), (3, 1)] {
            let plane = if self.bgr { 2 - from } else { from };
            weight[3 * channel + plane] = self.std[from] / range;
            bias[channel] = self.mean[from] / range;
        }
        bias[3] -= 0.72;
        let (fc_weight, fc_bias) = if self.overshoot {
            (vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1000.0], vec![0.0, -1.0])
        } else {
            let rows = colours();
            let weight =
                rows.iter().flat_map(|c| [c[0], c[1], c[2], 0.0].map(|v| 200.0 * v as f32));
            let bias = rows.iter().map(|c| -100.0 * c.iter().map(|v| v * v).sum::<f64>() as f32);
            (weight.collect(), bias.collect())
        };
        let conv = Conv { weight, bias, inputs: 3 };
        network(SIDE, self.channels_last, &conv, &fc_weight, &fc_bias)
    }

    /// Width and height of image `i`.
    fn size(&self, i: usize) -> (u32, u32) {
        match self.crop_mode {
            // How much of the square is border decides the colour.
            CropMode::Border => [(40, 30), (30, 40), (48, 36)][i % 3],
            CropMode::Squash => [(48, 24), (20, 40), (64, 16)][i % 3],
            CropMode::Center => [(16, 16), (40, 28), (28, 44)][i % 3],
        }
    }

    /// An image that is of its class if this network gets it as it should.
    fn image(&self, class: usize, i: usize) -> image::RgbImage {
        if self.overshoot {
            let dark = |x: u32, y: u32| class == 1 && (x / 2 + y / 2).is_multiple_of(2);
            return image::RgbImage::from_fn(8, 8, |x, y| {
                image::Rgb([if dark(x, y) { 51 } else { 178 }; 3])
            });
        }
        let (width, height) = self.size(i);
        let (w, h) = (f64::from(width), f64::from(height));
        let sides = match self.crop_mode {
            CropMode::Center => [w.min(h); 2],
            CropMode::Squash => [w, h],
            CropMode::Border => [w.max(h); 2],
        };
        let seen = sides.map(|side| side * self.crop_fraction);
        // Shares of a pixel that lie in the part that is seen; what is usual sees `middle` alone.
        let share = |x: u32, whole: f64, part: f64| {
            let (from, to) = ((whole - part) / 2.0, (whole + part) / 2.0);
            (f64::from(x + 1).min(to) - f64::from(x).max(from)).clamp(0.0, 1.0)
        };
        let middle = |x: u32, y: u32| {
            let half = 0.4375 * w.min(h);
            (f64::from(x) + 0.5 - w / 2.0).abs() < half
                && (f64::from(y) + 0.5 - h / 2.0).abs() < half
        };
        let (mut inner, mut all) = (0.0, 0.0);
        for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
            let part = share(x, w, seen[0]) * share(y, h, seen[1]);
            all += part;
            inner += if middle(x, y) { part } else { 0.0 };
        }
        let whole = seen[0] * seen[1];
        let colour: [f64; 3] = std::array::from_fn(|c| {
            let border = (whole - all) * f64::from(self.mean[c]);
            (colours()[class][c] * whole - border) / all
        });
        // Around the middle it is darker, so that the middle alone is of another class.
        let [middle_colour, around] = [1.0 - inner / all, -inner / all]
            .map(|share| colour.map(|v| (255.0 * (v + 0.3 * share)).round() as u8));
        image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb(if middle(x, y) { middle_colour } else { around })
        })
    }

    pub fn write_images(&self, photos: &Path) {
        for split in ["train", "test"] {
            for class in 0..self.classes() {
                let folder = photos.join(split).join(format!("class-{class}"));
                std::fs::create_dir_all(&folder).unwrap();
                for i in 0..IMAGES {
                    self.image(class, i).save(folder.join(format!("{i}.bmp"))).unwrap();
                }
            }
        }
    }

    /// timm's config.json, where it has words for this.
    fn timm(&self) -> Option<Value> {
        (self.value_range == 1 && !self.bgr).then(|| {
            json!({"architecture": self.name, "pretrained_cfg": {
                "input_size": [3, SIDE, SIDE], "mean": self.mean, "std": self.std,
                "crop_pct": self.crop_fraction, "interpolation": self.interpolation,
                "crop_mode": self.crop_mode,
            }})
        })
    }
}

pub fn run(args: &[&str]) -> Vec<u8> {
    let output = call(&[&["-q", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

pub fn json_of(args: &[&str]) -> Value {
    serde_json::from_slice(&run(args)).unwrap()
}

/// The class of every test image, by `predict`.
fn predicted(args: &[&str]) -> Vec<u64> {
    let images = json_of(&[&["predict"], args].concat());
    images.as_array().unwrap().iter().map(|i| i["top"][0]["class"].as_u64().unwrap()).collect()
}

#[test]
fn ten_networks_find_the_same_classes_in_every_way() {
    for case in cases() {
        let name = case.name;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let (net, photos, out, timm) =
            (path("net.onnx"), path("photos"), path("run"), path("t.json"));
        std::fs::write(&net, case.onnx()).unwrap();
        case.write_images(Path::new(&photos));
        let test = path("photos/test");
        let right: Vec<u64> =
            (0..case.classes() as u64).flat_map(|class| [class; IMAGES]).collect();
        // Only what the network wants is right.
        assert_ne!(predicted(&[&net, &test]), right, "{name}");

        let set;
        let how: Vec<&str> = match case.timm() {
            Some(config) => {
                std::fs::write(&timm, config.to_string()).unwrap();
                vec!["--preprocessing", &timm]
            }
            None => {
                set = [
                    format!("dataset.mean={:?}", case.mean),
                    format!("dataset.std={:?}", case.std),
                    format!("dataset.channel_order={}", if case.bgr { "bgr" } else { "rgb" }),
                ];
                let fixed = ["dataset.value_range=255", "dataset.crop_fraction=1"];
                let all = fixed.into_iter().chain(set.iter().map(String::as_str));
                all.flat_map(|setting| ["--set", setting]).collect()
            }
        };
        let features = ["features", "--onnx", &net, "--images", &photos, "--out", &out];
        let exact = ["--set", "features.precision=f32"];
        let made = json_of(&[&features[..], &exact, &how].concat());
        assert_eq!(made["top1"], json!({"test": 100.0, "train": 100.0}), "{name}");
        let bank = Bank::open(&dir.path().join("run/shards")).unwrap();
        let (_, pooled) = bank.rows(Split::Test).unwrap().clean();
        let found = eval::predict(&pooled, &bank.head);
        assert!(found.iter().map(|&class| class as u64).eq(right.iter().copied()), "{name}");

        // Neither the network nor the pipeline says it again: bank and exported file have it.
        let pipeline = path("p.toml");
        std::fs::write(&pipeline, "[dataset]\nkind = \"folder\"\npath = \"photos\"\n").unwrap();
        let crt = ["--method", "crt", "--iterations", "1"];
        let finetune = ["finetune", &path("run/shards"), "--out", &path("tuned")];
        run(&[finetune, crt].concat());
        let classifier = path("run/shards/classifier.safetensors");
        let exported = path("exported.onnx");
        run(&["export", &net, "--classifier", &classifier, "--onnx", &exported]);
        for model in [&[exported.as_str()][..], &[&net, "--classifier", &classifier]] {
            let (first, rest) = (model[0], &model[1..]);
            assert_eq!(predicted(&[&[first, &test], rest].concat()), right, "{name}");
            let score = json_of(&[&["eval", first, &pipeline], rest].concat());
            assert_eq!(score["accuracy"]["top1"], 100.0, "{name}");
        }
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check_preprocessing.py");
        let output = Command::new(python()).arg(script).args([&exported, &test]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let found = text(&output.stdout);
        assert!(
            found.lines().map(|line| line.parse::<u64>().unwrap()).eq(right),
            "{name}: {found}"
        );

        // It is shown, and in the classifiers of Phase-II and of `export --head`.
        let images = bank.manifest.preprocessing.as_ref().unwrap();
        let told = call(&["inspect", &path("run/shards")]);
        assert!(text(&told.stdout).contains(&format!("images       {images}\n")), "{name}");
        let head = path("head.safetensors");
        run(&["export", &exported, "--head", &head]);
        for file in [&path("tuned/classifier.safetensors"), &head] {
            let card = fsa_bank::classifier_file::read(Path::new(file)).unwrap().1;
            assert_eq!(card.preprocessing.as_ref(), Some(images), "{name}: {file}");
        }
    }
}
