//! Taking some of a dataset's classes, so that a tail of thousands of classes can be tried out small.

use super::parts::Parts;
use super::split_images::SplitImages;
use crate::domain::ClassCounts;

/// The parts with `most` of the classes: those at evenly spaced ranks from the largest to the smallest
/// training class (equal ones in label order), in label order. No more than there are: all of them.
pub(super) fn keep(parts: Parts, most: usize) -> Parts {
    let classes = parts.class_names.len();
    if classes <= most {
        return parts;
    }
    let kept = evenly_spaced(&ClassCounts::from_labels(parts.train.labels(), classes), most);
    let mut new_labels = vec![None; classes];
    kept.iter().enumerate().for_each(|(new, &old)| new_labels[old] = Some(new as u32));
    let of = |split: SplitImages| {
        let labels = split.labels().iter().enumerate();
        let keep: Vec<usize> =
            labels.filter(|(_, l)| new_labels[**l as usize].is_some()).map(|(i, _)| i).collect();
        let mut split = split.subset(&keep);
        split.labels.iter_mut().for_each(|l| *l = new_labels[*l as usize].unwrap_or(*l));
        split
    };
    let class_names = kept.iter().map(|&class| parts.class_names[class].clone()).collect();
    let (train, val, test) = (of(parts.train), parts.val.map(of), parts.test.map(of));
    let mut account = parts.account;
    account.notes.push(format!("dataset.max_classes keeps {most} of {classes} classes"));
    Parts { class_names, train, val, test, account }
}

/// `most` of the classes, at ranks round(i (C − 1) / (most − 1)), in label order.
fn evenly_spaced(counts: &ClassCounts, most: usize) -> Vec<usize> {
    let order = counts.by_count();
    let steps = (most - 1).max(1);
    let rank = |i: usize| (i * (order.len() - 1) + steps / 2) / steps;
    let mut kept: Vec<usize> = (0..most).map(|i| order[rank(i)].index()).collect();
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_evenly_spaced_with_both_ends() {
        // By size: 3 (90), 0 (50), 4 (20), 1 (7), 2 (2).
        let counts = ClassCounts(vec![50, 7, 2, 90, 20]);
        assert_eq!(evenly_spaced(&counts, 2), [2, 3]);
        assert_eq!(evenly_spaced(&counts, 3), [2, 3, 4]);
        assert_eq!(evenly_spaced(&counts, 5), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn images_of_the_other_classes_go_and_the_rest_is_numbered_anew() {
        let split = |labels: &[u32]| {
            let paths = labels.iter().map(|l| format!("image of {l}")).collect();
            let pixels = labels.iter().flat_map(|&l| [l as u8; 3]).collect();
            SplitImages::decoded(1, labels.to_vec(), paths, pixels)
        };
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let (train, test) = (split(&[1, 0, 2, 2, 1, 2]), split(&[0, 1, 2]));
        let parts = Parts::whole(names, train, None, Some(test));
        // By size: c, b, a.
        let Parts { class_names, train, test, .. } = keep(parts, 2);
        assert_eq!(class_names, ["a", "c"]);
        assert_eq!(train.labels(), [0, 1, 1, 1]);
        assert_eq!((train.path(0), &*train.image(3).unwrap()), ("image of 0", &[2u8; 3][..]));
        assert_eq!(test.unwrap().labels(), [0, 1]);
    }
}
