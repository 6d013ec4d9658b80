//! A JSON file of the size and form of iNaturalist's, for tests and benches.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Kingdoms and classes of animals, as the data set's folders.
const GROUPS: [&str; 6] = ["Plantae", "Insecta", "Aves", "Reptilia", "Mammalia", "Fungi"];
/// Images of the largest class, and of the smallest.
const LARGEST: f64 = 1000.0;
const SMALLEST: f64 = 2.0;

/// Writes `images` images of a long tail of `classes` classes, the annotations in another order than the
/// images, and returns the file's path. The folder of an image is called as its category's id.
pub fn write(dir: &Path, images: usize, classes: usize) -> PathBuf {
    let path = dir.join("train2018.json");
    let mut out = BufWriter::new(File::create(&path).unwrap());
    let labels = labels(images, classes);
    // Odd and not a divisor: visits every image once.
    let stride = (images / 3..).find(|s| gcd(*s, images) == 1).unwrap();
    let shuffled = |i: usize| i * stride % images;
    write!(out, "{{\"info\": {{\"year\": 2018}}, \"images\": [").unwrap();
    for i in 0..images {
        let label = labels[shuffled(i)];
        write!(
            out,
            "{}{{\"license\": 3, \"file_name\": \"train_val2018/{}/{label}/{:032x}.jpg\", \"rights_holder\": \
             \"Holder {}\", \"height\": 600, \"width\": 800, \"id\": {i}}}",
            comma(i),
            GROUPS[label % GROUPS.len()],
            (i as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            i % 999
        )
        .unwrap();
    }
    write!(out, "], \"annotations\": [").unwrap();
    for at in 0..images {
        let i = images - 1 - at;
        let label = labels[shuffled(i)];
        write!(out, "{}{{\"image_id\": {i}, \"category_id\": {label}, \"id\": {at}}}", comma(at))
            .unwrap();
    }
    write!(out, "], \"categories\": [").unwrap();
    for class in 0..classes {
        let group = GROUPS[class % GROUPS.len()];
        write!(
            out,
            "{}{{\"id\": {class}, \"name\": \"Species {class}\", \"supercategory\": \"{group}\"}}",
            comma(class)
        )
        .unwrap();
    }
    write!(out, "]}}").unwrap();
    out.flush().unwrap();
    path
}

/// The class of each image, class by class: a long tail that has the wanted sum.
fn labels(images: usize, classes: usize) -> Vec<usize> {
    let mean = images as f64 / classes as f64;
    let power = (LARGEST - SMALLEST) / (mean - SMALLEST).max(0.01) - 1.0;
    let wanted = |class: usize| {
        SMALLEST + (LARGEST - SMALLEST) * (1.0 - class as f64 / classes as f64).powf(power)
    };
    let mut labels: Vec<usize> =
        (0..classes).flat_map(|class| std::iter::repeat_n(class, wanted(class) as usize)).collect();
    labels.truncate(images);
    let missing = images - labels.len();
    labels.extend((0..missing).map(|i| i % classes));
    labels
}

fn comma(i: usize) -> &'static str {
    if i > 0 { ", " } else { "" }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
