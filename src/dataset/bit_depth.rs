//! Whether images of 16 bits have values of fewer, as cameras and scanners of 12 bits write them: such
//! images are nearly black once the higher 8 of 16 bits are taken.

use rayon::prelude::*;

use super::split_images::SplitImages;

/// Training images whose headers are read, evenly spaced.
const LOOKED_AT: usize = 64;
/// Depths that values are taken to have, where they do not need all of 16 bits.
const DEPTHS: [u32; 4] = [8, 10, 12, 14];
const WHOLE: u32 = 16;
/// Images of fewer bits among others are reported from this share on: one in this many.
const MIXED_FROM: usize = 4;

/// What images of 16 bits have in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Values {
    looked_at: usize,
    /// How many of them have 16 bits.
    images: usize,
    /// The largest colour value of those.
    largest: u16,
    /// Where all bits are needed: the depth of fewer that most of the others have, and how many do with it.
    shallow: Option<(u32, usize)>,
}

impl Values {
    /// Looks at some images of a split; `None` where none of them is a sound one of 16 bits with more than
    /// black in it.
    pub(super) fn of(split: &SplitImages) -> Option<Self> {
        let looked_at = split.len().min(LOOKED_AT);
        let sample = (0..looked_at).into_par_iter().map(|i| i * split.len() / looked_at);
        let of_16_bits: Vec<usize> = sample.filter(|&i| split.may_have_16_bits(i)).collect();
        let values = of_16_bits.par_iter().filter_map(|&i| split.largest_of_16_bits(i));
        Self::of_largest(looked_at, &values.collect::<Vec<u16>>())
    }

    /// Of the largest value of each image of 16 bits.
    fn of_largest(looked_at: usize, values: &[u16]) -> Option<Self> {
        let largest = values.iter().copied().max().filter(|&largest| largest > 0)?;
        let needing =
            |depth: u32| values.iter().filter(|&&value| value > 0 && bits(value) == depth).count();
        let depth = DEPTHS.into_iter().max_by_key(|&depth| needing(depth)).unwrap_or(WHOLE);
        let images = DEPTHS.into_iter().filter(|of| *of <= depth).map(needing).sum::<usize>();
        let considerable = bits(largest) == WHOLE && images * MIXED_FROM >= values.len();
        let shallow = (considerable && images > 0).then_some((depth, images));
        Some(Self { looked_at, images: values.len(), largest, shallow })
    }

    /// The depth that holds the values.
    pub(super) fn bit_depth(&self) -> u32 {
        bits(self.largest)
    }

    /// The warning about a setting of `bit_depth`, if there is one.
    pub(super) fn note(&self, bit_depth: u32) -> Option<String> {
        let Self { looked_at, images, largest, shallow } = *self;
        let (found, white) = (self.bit_depth(), |bits: u32| (1_u32 << bits) - 1);
        if u32::from(largest) > white(bit_depth) {
            return Some(format!(
                "images of 16 bits have values up to {largest}, and all above {} are white for dataset.bit_depth = {bit_depth}; dataset.bit_depth = {found} tells them apart",
                white(bit_depth)
            ));
        }
        if let (Some((depth, few)), WHOLE) = (shallow, bit_depth) {
            return Some(format!(
                "{few} of {images} examined images of 16 bits have values of at most {}, as of {depth} bits, and others up to {largest}: where the former are of {depth} bits, they are nearly black beside the others, which no dataset.bit_depth corrects; multiply their values first, for example with `{}`",
                white(depth),
                multiplying(depth)
            ));
        }
        (found < bit_depth && bit_depth == WHOLE).then(|| {
            format!(
                "{images} of {looked_at} examined images are of 16 bits with values up to {largest}, as of {found} bits, so they are nearly black; dataset.bit_depth = {found} makes {} white",
                white(found)
            )
        })
    }
}

/// A command that scales the values of an image of this many bits to 16.
fn multiplying(depth: u32) -> String {
    format!("magick IN -evaluate multiply {} OUT.png", 1_u32 << (WHOLE - depth))
}

/// The warning about images whose largest values of 16 bits are these, of `all`, where white is that of
/// 16 bits.
pub fn dark_images(largest: &[u16], all: usize) -> Option<String> {
    let dark = largest.iter().filter(|&&value| value > 0 && bits(value) < WHOLE);
    let (images, largest) = (dark.clone().count(), dark.copied().max()?);
    let depth = bits(largest);
    Some(format!(
        "{images} of {all} images are of 16 bits with values up to {largest}, as of {depth} bits, and nearly black to this network, which takes 65535 for white; where they are of {depth} bits, give a model of dataset.bit_depth = {depth}, or multiply their values first, for example with `{}`",
        multiplying(depth)
    ))
}

fn bits(largest: u16) -> u32 {
    let holds = |bits: &&u32| u32::from(largest) < 1 << **bits;
    DEPTHS.iter().find(holds).copied().unwrap_or(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(largest: u16, bit_depth: u32) -> Option<String> {
        Values { looked_at: 64, images: 9, largest, shallow: None }.note(bit_depth)
    }

    #[test]
    fn a_considerable_share_of_fewer_bits_is_told() {
        let told = |values: &[u16]| Values::of_largest(64, values).and_then(|v| v.note(16));
        let half = told(&[4095, 900, 4000, 65535, 40000, 0, 60000, 50000]).unwrap();
        assert!(half.contains("3 of 8 examined images") && half.contains("at most 4095"), "{half}");
        assert!(half.contains("multiply 16 OUT.png"), "{half}");
        let ten = told(&[1023, 65535, 65535, 65535]).unwrap();
        assert!(ten.contains("1 of 4") && ten.contains("multiply 64 OUT.png"), "{ten}");
        assert!(told(&[16383, 65535]).unwrap().contains("at most 16383"));
        assert_eq!(told(&[4095, 65535, 65535, 65535, 65535]), None);
        assert_eq!(told(&[0, 65535]), None);
        assert_eq!(Values::of_largest(64, &[4095, 65535]).unwrap().note(14), note(65535, 14));

        let dark = dark_images(&[900, 4095, 65535, 0], 9).unwrap();
        assert!(dark.contains("2 of 9 images") && dark.contains("bit_depth = 12"), "{dark}");
        assert_eq!(dark_images(&[65535, 0], 2), None);
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
