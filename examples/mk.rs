//! scratch
#[path = "../tests/benches/synthetic.rs"]
mod synthetic;
use fsa_bank::bank::*;
use fsa_bank::domain::FeatureShape;
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let n = |i: usize| a[i].parse::<usize>().unwrap();
    let (shape, classes, rows) =
        (FeatureShape { channels: n(1), height: n(2), width: n(3) }, n(4), n(5));
    let keep = a.get(6).is_some();
    let dir = std::path::Path::new(&a[0]);
    let head = synthetic::head(shape, classes);
    let place = |c: usize| c as f64 / (classes - 1) as f64;
    let share: Vec<f64> = (0..classes).map(|c| 100f64.powf(-place(c))).collect();
    let total: f64 = share.iter().sum();
    let counts: Vec<u64> =
        share.iter().map(|s| ((rows as f64 * s / total).round() as u64).max(1)).collect();
    let mut writer =
        BankWriter::new(dir, shape, Layout::default(), synthetic::class_names(classes)).unwrap();
    let labels: Vec<u32> = counts
        .iter()
        .enumerate()
        .flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n as usize))
        .collect();
    let small = FeatureShape { channels: shape.channels, height: 1, width: 1 };
    let l = shape.locations();
    let make = |i: usize, label: u32| {
        let mut row = synthetic::row(&head, if keep { shape } else { small }, i as u32, label);
        if !keep {
            let mut x = i as u64 * 2654435761 + 1;
            let mut next = || {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x
            };
            row.cam = (0..l).map(|_| (next() % 1001) as f32 / 1000.0).collect();
            row.nonzero = (0..l).map(|_| next() % 8 != 0).collect();
            row.feature_map = vec![];
        }
        row
    };
    for (c, chunk) in labels.chunks(1024).enumerate() {
        let rows: Vec<TrainRow> = std::thread::scope(|s| {
            let halves: Vec<_> = chunk
                .chunks(512)
                .enumerate()
                .map(|(h, labels)| {
                    let make = &make;
                    s.spawn(move || {
                        labels
                            .iter()
                            .enumerate()
                            .map(|(i, &l)| make(c * 1024 + h * 512 + i, l))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            halves.into_iter().flat_map(|h| h.join().unwrap()).collect()
        });
        writer.append_train(&rows, rows.len() as u64).unwrap();
    }
    let test: Vec<RowHead> =
        (0..classes as u32).map(|c| make((1 << 24 | c) as usize, c).head).collect();
    writer.append_pooled("test", &test).unwrap();
    synthetic::finish(writer, shape, &head, &counts).unwrap();
    if !keep {
        let (mut m, _) = Manifest::load(dir).unwrap();
        m.maps = MapsKept::None;
        m.save(dir).unwrap();
    }
}
