//! What the first frame of a GIF leaves free of its screen, and the colour that PIL gives it.

/// Where the first frame lies, and the colour around it.
#[derive(Debug, PartialEq)]
pub(super) struct Surround {
    /// Left, top, right, bottom; the latter two are outside.
    frame: [u32; 4],
    pub(super) colour: [u8; 3],
}

const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const FRAME: u8 = 0x2c;

impl Surround {
    /// Of a GIF whose first frame does not cover the screen.
    pub(super) fn of(gif: &[u8]) -> Option<Self> {
        let screen = gif.strip_prefix(b"GIF87a").or_else(|| gif.strip_prefix(b"GIF89a"))?;
        let ([w0, w1, h0, h1, flags, ..], rest) = screen.split_first_chunk::<7>()?;
        let short = |low: &u8, high: &u8| u32::from(u16::from_le_bytes([*low, *high]));
        let (width, height) = (short(w0, w1), short(h0, h1));
        let (screen_colours, mut rest) = colours(*flags, rest)?;
        // The transparent colour, or the first one.
        let mut free = 0;
        loop {
            match rest {
                [EXTENSION, kind, blocks @ ..] => {
                    if let (&GRAPHIC_CONTROL, [_, flags, _, _, index, ..]) = (kind, blocks)
                        && flags & 1 != 0
                    {
                        free = *index;
                    }
                    rest = after(blocks)?;
                }
                [FRAME, x0, x1, y0, y1, w0, w1, h0, h1, flags, rest @ ..] => {
                    let (left, top) = (short(x0, x1), short(y0, y1));
                    let frame = [left, top, left + short(w0, w1), top + short(h0, h1)];
                    let covers = left == 0 && top == 0 && frame[2] >= width && frame[3] >= height;
                    let colours = match colours(*flags, rest)?.0 {
                        [] => screen_colours,
                        own => own,
                    };
                    let colour = colours.get(usize::from(free)).copied().unwrap_or([free; 3]);
                    return (!covers).then_some(Self { frame, colour });
                }
                [_, others @ ..] => rest = others,
                [] => return None,
            }
        }
    }

    /// Whether a pixel is none of the frame.
    pub(super) fn has(&self, x: u32, y: u32) -> bool {
        let [left, top, right, bottom] = self.frame;
        !((left..right).contains(&x) && (top..bottom).contains(&y))
    }
}

/// The colours that flags say are there, and what follows them.
fn colours(flags: u8, bytes: &[u8]) -> Option<(&[[u8; 3]], &[u8])> {
    let colours = if flags & 0x80 == 0 { 0 } else { 2 << (flags & 7) };
    let (colours, rest) = bytes.split_at_checked(3 * colours)?;
    Some((colours.as_chunks().0, rest))
}

/// What follows blocks that each begin with their length; the last one has none.
fn after(mut blocks: &[u8]) -> Option<&[u8]> {
    while let [length @ 1..=255, rest @ ..] = blocks {
        blocks = rest.get(usize::from(*length)..)?;
    }
    blocks.get(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen of 4 x 4 with two colours and a frame; `before` stands before the frame.
    fn gif(before: &[u8], frame: [u8; 4]) -> Vec<u8> {
        let [left, top, width, height] = frame;
        let screen = [4, 0, 4, 0, 0x80, 0, 0, 1, 2, 3, 4, 5, 6];
        let frame = [FRAME, left, 0, top, 0, width, 0, height, 0, 0, 2, 0];
        [&b"GIF89a"[..], &screen, before, &frame].concat()
    }

    #[test]
    fn the_surround_has_the_transparent_colour_or_the_first() {
        assert_eq!(Surround::of(&gif(&[], [0, 0, 4, 4])), None);
        let around = Surround::of(&gif(&[], [1, 0, 2, 4])).unwrap();
        assert_eq!(around.colour, [1, 2, 3]);
        assert!(around.has(0, 0) && !around.has(1, 0) && !around.has(2, 3) && around.has(3, 3));
        let control = [EXTENSION, GRAPHIC_CONTROL, 4, 1, 0, 0, 1, 0];
        let comment = [EXTENSION, 0xfe, 2, FRAME, FRAME, 0];
        let before = [&control[..], &comment].concat();
        assert_eq!(Surround::of(&gif(&before, [0, 0, 4, 3])).unwrap().colour, [4, 5, 6]);
        let whole = gif(&before, [0, 0, 4, 3]);
        (0..whole.len() - 2).for_each(|end| assert_eq!(Surround::of(&whole[..end]), None));
    }
}
