//! Whether images of 16 bits have values of fewer, as cameras and scanners of 12 bits write them: such
//! images are nearly black once the higher 8 of 16 bits are taken.

use rayon::prelude::*;

use super::Split;

/// Training images whose headers are read, evenly spaced.
const LOOKED_AT: usize = 64;
/// Images that are decoded before it is asked whether their values need all bits.
const AT_ONCE: usize = 8;
/// Depths that values are taken to have, where they do not need all of 16 bits.
const DEPTHS: [u32; 4] = [8, 10, 12, 14];
const WHOLE: u32 = 16;

/// What images of 16 bits have in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Values {
    looked_at: usize,
    /// How many of them have 16 bits.
    images: usize,
    /// The largest colour value of those.
    largest: u16,
}

impl Values {
    /// Looks at some images of a split; `None` where none of them is a sound one of 16 bits with more than
    /// black in it.
    pub(super) fn of(split: &Split) -> Option<Self> {
        let looked_at = split.len().min(LOOKED_AT);
        let sample = (0..looked_at).into_par_iter().map(|i| i * split.len() / looked_at);
        let of_16_bits: Vec<usize> = sample.filter(|&i| split.may_have_16_bits(i)).collect();
        let (mut images, mut largest) = (0, 0);
        for some in of_16_bits.chunks(AT_ONCE) {
            let values = some.par_iter().filter_map(|&i| split.largest_of_16_bits(i));
            let values: Vec<u16> = values.collect();
            images += values.len();
            largest = values.into_iter().fold(largest, u16::max);
            if bits(largest) == WHOLE {
                break;
            }
        }
        (largest > 0).then_some(Self { looked_at, images, largest })
    }

    /// The depth that holds the values.
    pub(super) fn bit_depth(&self) -> u32 {
        bits(self.largest)
    }

    /// What there is to say with a setting of `bit_depth`.
    pub(super) fn note(&self, bit_depth: u32) -> Option<String> {
        let Self { looked_at, images, largest } = *self;
        let (found, white) = (self.bit_depth(), |bits: u32| (1_u32 << bits) - 1);
        if u32::from(largest) > white(bit_depth) {
            return Some(format!(
                "images of 16 bits have values up to {largest}, and all above {} are white for dataset.bit_depth = {bit_depth}; dataset.bit_depth = {found} tells them apart",
                white(bit_depth)
            ));
        }
        (found < bit_depth && bit_depth == WHOLE).then(|| {
            format!(
                "{images} of {looked_at} images looked at are of 16 bits with values up to {largest}, as of {found} bits, so they are nearly black; dataset.bit_depth = {found} makes {} white",
                white(found)
            )
        })
    }
}

fn bits(largest: u16) -> u32 {
    let holds = |bits: &&u32| u32::from(largest) < 1 << **bits;
    DEPTHS.iter().find(holds).copied().unwrap_or(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(largest: u16, bit_depth: u32) -> Option<String> {
        Values { looked_at: 64, images: 9, largest }.note(bit_depth)
    }

    #[test]
    fn a_note_names_the_depth_that_holds_the_values() {
        for (largest, depth) in [
            (1, 8),
            (255, 8),
            (256, 10),
            (1023, 10),
            (1024, 12),
            (4095, 12),
            (4096, 14),
            (16383, 14),
        ] {
            let said = note(largest, 16).unwrap();
            assert!(said.contains(&format!("; dataset.bit_depth = {depth} makes ")), "{said}");
            assert!(said.contains("9 of 64") && said.contains("nearly black"), "{said}");
            assert_eq!(note(largest, depth), None);
        }
        assert_eq!((note(16384, 16), note(u16::MAX, 16)), (None, None));
        assert_eq!(note(900, 12), None, "someone chose it");
        let cut = note(5000, 12).unwrap();
        assert!(
            cut.contains("above 4095") && cut.contains("; dataset.bit_depth = 14 tells"),
            "{cut}"
        );
    }
}
