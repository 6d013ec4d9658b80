//! Small banks and image folders for the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fsa_bank::augment;
use fsa_bank::bank::{
    Bank, DatasetCard, FORMAT_VERSION, Layout, Manifest, MapsKept, ModelRef, RowHead, TrainRow,
    ViewSettings,
};
use fsa_bank::config::Precision;
use fsa_bank::domain::{ClassId, FeatureShape, LinearHead};
use fsa_bank::eval::{Classifier, Prediction};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;

use crate::write_bank::{NewBank, write_bank};

/// A bank of synthetic ReLU-like maps: each class has channels of its own that it raises.
pub struct BankSpec {
    pub counts: Vec<u64>,
    pub views: u32,
    pub shape: FeatureShape,
    pub layout: Layout,
    /// Write the rows from last to first.
    pub reversed: bool,
    /// Rows of a call of the writer.
    pub append_rows: usize,
    /// Whether there is a validation split.
    pub val: bool,
    /// Which rows keep their maps.
    pub maps: MapsKept,
    /// Applied to each row before it is written.
    pub edit: fn(&mut TrainRow),
}

impl Default for BankSpec {
    fn default() -> Self {
        Self {
            counts: vec![40, 20, 6, 3],
            views: 2,
            shape: FeatureShape { channels: 8, height: 3, width: 2 },
            layout: Layout::default(),
            reversed: false,
            append_rows: usize::MAX,
            val: false,
            maps: MapsKept::All,
            edit: |_| {},
        }
    }
}

impl BankSpec {
    pub fn head(&self) -> LinearHead {
        let (classes, channels) = (self.counts.len(), self.shape.channels);
        let weight = |i: usize| if (i % channels) % classes == i / channels { 0.5 } else { -0.1 };
        // Phase-I leans to the large classes.
        let bias = (0..classes).map(|c| 0.4 - 0.3 * c as f32).collect();
        LinearHead::new((0..classes * channels).map(weight).collect(), bias).unwrap()
    }

    pub fn row(&self, sample_id: u32, view: u32, label: u32) -> TrainRow {
        let mut rng = KeyedRng::new(11, Stage::InitialWeights, (sample_id.into(), view.into()));
        let (channels, classes) = (self.shape.channels, self.counts.len());
        let mut feature_map = vec![];
        for location in 0..self.shape.locations() {
            for channel in 0..channels {
                let own = channel % classes == label as usize && location % 2 == 0;
                let value = rng.normal() as f32 * 0.5 + if own { 1.0 } else { 0.0 };
                // Multiples of 1/64 are exact in f16.
                feature_map.push((value.max(0.0) * 64.0).round() / 64.0);
            }
        }
        let head = self.head();
        let activation = augment::activation(&feature_map, head.class_weight(ClassId(label)));
        let pooled = augment::pooled(&feature_map, channels);
        let Prediction { class, confidence } = Classifier::plain(head).predict(&pooled)[0];
        let mut row = TrainRow {
            head: RowHead {
                sample_id,
                view,
                path: format!("train/{sample_id}"),
                label,
                predicted: class,
                confidence,
                pooled,
            },
            cam: augment::normalise(&activation),
            nonzero: augment::nonzero(&feature_map, channels),
            feature_map,
        };
        if !self.maps.of_class(label) {
            row.feature_map.clear();
        }
        (self.edit)(&mut row);
        row
    }

    pub fn rows(&self) -> Vec<TrainRow> {
        let labels = self
            .counts
            .iter()
            .enumerate()
            .flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n as usize));
        labels
            .enumerate()
            .flat_map(|(sample, label)| {
                (0..self.views).map(move |view| (sample as u32, view, label))
            })
            .map(|(sample, view, label)| self.row(sample, view, label))
            .collect()
    }

    /// Writes the bank and opens it.
    pub fn write(&self, dir: &Path) -> Bank {
        let mut train = self.rows();
        if self.reversed {
            train.reverse();
        }
        let classes = self.counts.len() as u32;
        let others = |from: u32, rows: u32| -> Vec<TrainRow> {
            (0..rows).map(|i| self.row(from + i, 0, i % classes)).collect()
        };
        let mut splits =
            BTreeMap::from([("train", train), ("test", others(100_000, 10 * classes))]);
        if self.val {
            splits.insert("val", others(200_000, 4 * classes));
        }
        let manifest = Manifest {
            format: Manifest::format_name(),
            version: FORMAT_VERSION,
            needs: Manifest::needs(),
            writer: "tests".into(),
            name: "synthetic".into(),
            dataset: DatasetCard { fingerprint: "none".into(), classes: self.counts.len() },
            model: ModelRef {
                arch: "synthetic".into(),
                image_size: 32,
                weights_sha256: "0123456789abcdef".into(),
                arithmetic: "f32".into(),
            },
            preprocessing: None,
            feature_shape: self.shape,
            precision: Precision::F16,
            views: ViewSettings {
                count: self.views as usize,
                seed: 0,
                crop_padding: 4,
                flip: true,
                ..Default::default()
            },
            classifier_sha256: Weights::of_head(&self.head()).sha256(),
            map_columns: vec![],
            fitted_head: None,
            maps: self.maps.clone(),
            files: Default::default(),
            splits: Default::default(),
            manifest_xxh3: Default::default(),
        };
        let bank = NewBank {
            manifest,
            layout: self.layout,
            class_names: (0..classes).map(|c| format!("class {c}")).collect(),
            head: &self.head(),
            rows: splits
                .iter()
                .map(|(split, rows)| (split.to_string(), rows.len() as u64))
                .collect(),
        };
        let written = write_bank(dir, bank, |shard, open| {
            let [from, to] = shard.items.map(|at| at as usize);
            splits[shard.split.name()][from..to]
                .chunks(self.append_rows)
                .try_for_each(|rows| open.append(rows))
        });
        // These rows have numbers and an order of their own, not those of a plan's pairs.
        let mut manifest = written.unwrap().manifest;
        let shards = manifest.splits.values_mut().flat_map(|split| &mut split.shards);
        shards.for_each(|shard| shard.items = None);
        manifest.save(dir).unwrap();
        Bank::open(dir).unwrap()
    }
}

/// Images whose colour tells their class, as `split/class/number.png`: `counts` training images a
/// class and 6 test images.
pub fn image_folder(root: &Path, counts: &[usize]) {
    let mut rng = KeyedRng::new(5, Stage::InitialWeights, (0, 0));
    for (class, &count) in counts.iter().enumerate() {
        for (split, n) in [("train", count), ("test", 6)] {
            let dir = root.join(split).join(format!("colour-{class}"));
            std::fs::create_dir_all(&dir).unwrap();
            for i in 0..n {
                let image = image::RgbImage::from_fn(20, 16, |_, _| {
                    let noise = rng.below(120) as u8;
                    let mut pixel = [noise, noise, noise];
                    pixel[class % 3] =
                        pixel[class % 3].saturating_add(if class < 3 { 90 } else { 0 });
                    image::Rgb(pixel)
                });
                image.save(dir.join(format!("{i:03}.png"))).unwrap();
            }
        }
    }
}

/// A PNG of one grey.
pub fn encoded_photograph(grey: u8) -> Vec<u8> {
    let mut encoded = std::io::Cursor::new(vec![]);
    let image = image::RgbImage::from_pixel(12, 9, image::Rgb([grey; 3]));
    image.write_to(&mut encoded, image::ImageFormat::Png).unwrap();
    encoded.into_inner()
}

/// [`encoded_photograph`] as a file, with the folders it is in.
pub fn photograph(path: &Path, grey: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, encoded_photograph(grey)).unwrap();
}

/// A pipeline over [`image_folder`], small enough for any engine.
pub fn folder_pipeline(dir: &Path) -> PathBuf {
    let text = "[dataset]\nkind = \"folder\"\npath = \"images\"\nimage_size = 16\n\
                [network]\nwidth = 2\n[train]\nepochs = 3\nbatch_size = 8\neval_every = 0\ncrop_padding = 2\n\
                [features]\nviews = 3\nbatch_size = 10\n[finetune]\niterations = 20\ntail_per_batch = 2\n";
    let path = dir.join("tiny.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The environment that `make setup` makes.
pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(python.is_file(), "{} is not there: run `make setup`", python.display());
    python
}
