//! Cutting a balanced training set to a long tail, as the field's CIFAR-LT protocol does.

use std::path::Path;

use rand_mt::Mt;

use super::DatasetError;
use crate::config::{DatasetConfig, Selection};

/// Seed of LDAM-DRW's subset.
const LDAM_SEED: u32 = 0;

/// Images that class i of C keeps: trunc(max · ratio^(-i / (C - 1))), the classes in label order.
///
/// Source: `get_img_num_per_cls` of kaidic/LDAM-DRW, imb_type "exp".
pub(super) fn class_sizes(classes: usize, max: usize, imbalance_ratio: f64) -> Vec<usize> {
    let mu = 1.0 / imbalance_ratio;
    let share = |i: usize| i as f64 / (classes - 1) as f64;
    (0..classes).map(|i| (max as f64 * mu.powf(share(i))) as usize).collect()
}

/// Indices of the images that are kept, class by class.
pub(super) fn select(
    path: &Path,
    class_names: &[String],
    labels: &[u32],
    config: &DatasetConfig,
) -> Result<Vec<usize>, DatasetError> {
    let mut members = vec![vec![]; class_names.len()];
    labels.iter().enumerate().for_each(|(i, &label)| members[label as usize].push(i));
    let max = members.iter().map(Vec::len).max().unwrap_or(0);
    let sizes = class_sizes(class_names.len(), max, config.imbalance_ratio);
    let too_few = |class: usize, wanted: usize, remedy| DatasetError::TooFew {
        path: path.into(),
        class: class_names[class].clone(),
        found: members[class].len(),
        wanted,
        remedy,
    };
    if config.selection == Selection::Ldam
        && let Some(cut) = members.iter().position(|m| m.len() != max)
    {
        let remedy = "selection = \"ldam\" shuffles the full, balanced training set; for images \
                      that are cut already, use selection = \"first\".";
        return Err(too_few(cut, max, remedy));
    }
    if let Some(class) = (0..sizes.len()).find(|&c| members[c].len() < sizes[c]) {
        let remedy = "Classes shrink in label order: use images of more classes, or a larger imbalance ratio.";
        return Err(too_few(class, sizes[class], remedy));
    }
    let mut generator = Mt::new(LDAM_SEED);
    let mut keep = Vec::with_capacity(sizes.iter().sum());
    for (class, &size) in members.iter_mut().zip(&sizes) {
        if config.selection == Selection::Ldam {
            numpy_shuffle(&mut generator, class);
        }
        keep.extend_from_slice(&class[..size]);
    }
    Ok(keep)
}

/// `numpy.random.shuffle` of a legacy `numpy.random.seed` generator.
fn numpy_shuffle(generator: &mut Mt, items: &mut [usize]) {
    for i in (1..items.len()).rev() {
        items.swap(i, numpy_interval(generator, i as u32) as usize);
    }
}

/// `random_interval` of numpy: uniform in 0..=max by masked rejection.
fn numpy_interval(generator: &mut Mt, max: u32) -> u32 {
    let mask = max
        .checked_next_power_of_two()
        .map_or(u32::MAX, |p| if p == max { 2 * p - 1 } else { p - 1 });
    loop {
        let value = generator.next_u32() & mask;
        if value <= max {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(classes: usize, size: usize, ratio: f64) -> Vec<usize> {
        let labels: Vec<u32> = (0..classes * size).map(|i| (i / size) as u32).collect();
        let names: Vec<String> = (0..classes).map(|c| c.to_string()).collect();
        let config = DatasetConfig { imbalance_ratio: ratio, ..Default::default() };
        select(Path::new("x"), &names, &labels, &config).unwrap()
    }

    #[test]
    fn class_sizes_are_those_of_the_protocol() {
        let totals = |classes, max| {
            [10.0, 20.0, 50.0, 100.0, 200.0].map(|ratio| {
                let sizes = class_sizes(classes, max, ratio);
                (sizes.iter().sum::<usize>(), *sizes.last().unwrap())
            })
        };
        assert_eq!(
            totals(10, 5000),
            [(20431, 500), (17023, 250), (13996, 100), (12406, 50), (11203, 25)]
        );
        assert_eq!(
            totals(100, 500),
            [(19573, 50), (15907, 25), (12608, 10), (10847, 5), (9502, 2)]
        );
    }

    #[test]
    fn ldam_subset_is_numpys_bit_for_bit() {
        let keep = subset(10, 5000, 100.0);
        assert_eq!(keep[..8], [398, 3833, 4836, 4572, 636, 2545, 1161, 2230]);
        let second: Vec<usize> = keep[5000..5005].iter().map(|i| i - 5000).collect();
        assert_eq!(second, [597, 332, 521, 3935, 4800]);

        let keep = subset(100, 500, 100.0);
        assert_eq!(keep[..8], [90, 254, 283, 445, 461, 15, 316, 489]);
        let sizes = class_sizes(100, 500, 100.0);
        assert_eq!(keep[sizes[0]..][..2], [500 + 277, 500 + 307]);
        let last: Vec<usize> = keep[keep.len() - 5..].iter().map(|i| i - 99 * 500).collect();
        assert_eq!(last[..2], [348, 153]);
    }

    #[test]
    fn a_steeper_subset_is_a_prefix_of_each_class() {
        let (steep, gentle) = (subset(10, 5000, 200.0), subset(10, 5000, 100.0));
        let of_class = |keep: &[usize], c: usize| -> Vec<usize> {
            keep.iter().copied().filter(|i| i / 5000 == c).collect()
        };
        for class in 0..10 {
            assert!(of_class(&gentle, class).starts_with(&of_class(&steep, class)));
        }
    }

    #[test]
    fn first_keeps_file_order_and_ldam_refuses_a_cut_set() {
        let labels = [0, 1, 0, 1, 0, 0];
        let names = ["a".to_string(), "b".to_string()];
        let mut config = DatasetConfig { imbalance_ratio: 2.0, ..Default::default() };
        config.selection = Selection::First;
        assert_eq!(select(Path::new("x"), &names, &labels, &config).unwrap(), [0, 2, 4, 5, 1, 3]);
        config.selection = Selection::Ldam;
        let message = select(Path::new("x"), &names, &labels, &config).unwrap_err().to_string();
        assert!(
            message.contains("class `b` has 2 images") && message.contains("first"),
            "{message}"
        );
    }
}
