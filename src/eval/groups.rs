//! Accuracy of groups of classes: head and tail, thirds by count, many / medium / few.

use serde::{Deserialize, Serialize};

use super::Accuracy;
use crate::config::ShotRule;
use crate::domain::{ClassCounts, ClassId, HeadTail};

/// One group of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupAccuracy {
    /// Classes in it.
    pub classes: usize,
    /// Mean recall in percent; `None` for a group without a class that has images here.
    pub accuracy: Option<f64>,
}

/// Accuracy of the usual groups: each is the mean of its classes' recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Head classes of the run's `head_ratio`.
    pub head: GroupAccuracy,
    /// Tail classes.
    pub tail: GroupAccuracy,
    /// The third of the classes with the most training images.
    pub most_third: GroupAccuracy,
    /// The third between.
    pub middle_third: GroupAccuracy,
    /// The third with the fewest.
    pub fewest_third: GroupAccuracy,
    /// Rule of the next three.
    pub shot_rule: ShotRule,
    /// Many-shot classes.
    pub many: GroupAccuracy,
    /// Medium-shot classes.
    pub medium: GroupAccuracy,
    /// Few-shot classes.
    pub few: GroupAccuracy,
}

impl Groups {
    /// Groups the recalls of `accuracy`.
    pub fn of(accuracy: &Accuracy, counts: &ClassCounts, split: &HeadTail, rule: ShotRule) -> Self {
        let group = |classes: &[ClassId]| {
            let recalls = classes.iter().filter_map(|c| accuracy.per_class[c.index()].as_ref());
            GroupAccuracy { classes: classes.len(), accuracy: mean(recalls) }
        };
        let order = counts.by_count();
        let third = |i: usize| order.len() * i / 3;
        let shots = |wanted| {
            let in_group = |c: &ClassId| shot_group(rule, counts.0[c.index()]) == Some(wanted);
            group(&order.iter().copied().filter(in_group).collect::<Vec<_>>())
        };
        Self {
            head: group(&split.head),
            tail: group(&split.tail),
            most_third: group(&order[..third(1)]),
            middle_third: group(&order[third(1)..third(2)]),
            fewest_third: group(&order[third(2)..]),
            shot_rule: rule,
            many: shots(ShotGroup::Many),
            medium: shots(ShotGroup::Medium),
            few: shots(ShotGroup::Few),
        }
    }
}

/// How many training images a class has, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShotGroup {
    /// Many-shot.
    Many,
    /// Medium-shot.
    Medium,
    /// Few-shot.
    Few,
}

/// The group of a class with `n` training images; the paper's rule has none for exactly 20.
pub fn shot_group(rule: ShotRule, n: u64) -> Option<ShotGroup> {
    let (many, medium, few) = match rule {
        ShotRule::Standard => (n > 100, n >= 20, n < 20),
        ShotRule::Oltr => (n >= 100, n > 20, n <= 20),
        ShotRule::Paper => (n > 100, n > 20, n < 20),
    };
    if many {
        Some(ShotGroup::Many)
    } else if medium {
        Some(ShotGroup::Medium)
    } else {
        few.then_some(ShotGroup::Few)
    }
}

/// Mean of the values; `None` without any.
pub(super) fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_differ_at_their_borders() {
        let groups = |rule| [19, 20, 21, 100, 101].map(|n| shot_group(rule, n));
        let (many, medium, few) =
            (Some(ShotGroup::Many), Some(ShotGroup::Medium), Some(ShotGroup::Few));
        assert_eq!(groups(ShotRule::Standard), [few, medium, medium, medium, many]);
        assert_eq!(groups(ShotRule::Oltr), [few, few, medium, many, many]);
        assert_eq!(groups(ShotRule::Paper), [few, None, medium, medium, many]);
    }

    #[test]
    fn groups_by_hand_and_an_empty_group_has_no_accuracy() {
        let counts = ClassCounts(vec![30, 500, 200, 25]);
        let accuracy = Accuracy {
            images: 4,
            top1: 0.0,
            acc_macro: 0.0,
            f1_macro: 0.0,
            worst_class: 0.0,
            ece: None,
            per_class: vec![Some(40.0), Some(90.0), Some(70.0), None],
        };
        let groups = Groups::of(&accuracy, &counts, &counts.split(0.9), ShotRule::Standard);
        assert_eq!(groups.head, GroupAccuracy { classes: 2, accuracy: Some(80.0) });
        assert_eq!(groups.tail, GroupAccuracy { classes: 2, accuracy: Some(40.0) });
        assert_eq!(groups.most_third, GroupAccuracy { classes: 1, accuracy: Some(90.0) });
        assert_eq!(groups.fewest_third, GroupAccuracy { classes: 2, accuracy: Some(40.0) });
        assert_eq!(groups.many, GroupAccuracy { classes: 2, accuracy: Some(80.0) });
        assert_eq!(groups.few, GroupAccuracy { classes: 0, accuracy: None });
    }
}
