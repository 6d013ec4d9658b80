//! Where the first frame of a GIF lies on its screen, for those that it does not cover or reaches beyond.

/// The first frame.
#[derive(Debug, PartialEq)]
pub(super) struct FirstFrame {
    /// Width and height.
    screen: [u32; 2],
    /// Left, top, right, bottom; the latter two are outside.
    frame: [u32; 4],
    /// What PIL gives to pixels around it.
    pub(super) colour: [u8; 3],
}

const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const FRAME: u8 = 0x2c;

impl FirstFrame {
    /// That of a GIF.
    pub(super) fn of(gif: &[u8]) -> Option<Self> {
        let screen = gif.strip_prefix(b"GIF87a").or_else(|| gif.strip_prefix(b"GIF89a"))?;
        let ([w0, w1, h0, h1, flags, ..], rest) = screen.split_first_chunk::<7>()?;
        let short = |low: &u8, high: &u8| u32::from(u16::from_le_bytes([*low, *high]));
        let screen = [short(w0, w1), short(h0, h1)];
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
                    let colours = match colours(*flags, rest)?.0 {
                        [] => screen_colours,
                        own => own,
                    };
                    let colour = colours.get(usize::from(free)).copied().unwrap_or([free; 3]);
                    return Some(Self { screen, frame, colour });
                }
                [_, others @ ..] => rest = others,
                [] => return None,
            }
        }
    }

    /// Whether a part of the screen is outside the frame.
    pub(super) fn leaves_some(&self) -> bool {
        let [left, top, right, bottom] = self.frame;
        left > 0 || top > 0 || right < self.screen[0] || bottom < self.screen[1]
    }

    /// Whether a pixel is of the frame.
    pub(super) fn has(&self, x: u32, y: u32) -> bool {
        let [left, top, right, bottom] = self.frame;
        (left..right).contains(&x) && (top..bottom).contains(&y)
    }

    /// The bytes of a screen that holds the frame, where its own does not; some are 0 x 0.
    pub(super) fn larger_screen(&self) -> Option<[u8; 4]> {
        let [_, _, right, bottom] = self.frame;
        let [width, height] = self.screen;
        let [w0, w1] = u16::try_from(right.max(width)).ok()?.to_le_bytes();
        let [h0, h1] = u16::try_from(bottom.max(height)).ok()?.to_le_bytes();
        (right > width || bottom > height).then_some([w0, w1, h0, h1])
    }
}

/// The colours that the flags announce, and what follows them.
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
    fn what_is_around_has_the_transparent_colour_or_the_first() {
        assert!(!FirstFrame::of(&gif(&[], [0, 0, 4, 4])).unwrap().leaves_some());
        let first = FirstFrame::of(&gif(&[], [1, 0, 2, 4])).unwrap();
        assert_eq!((first.leaves_some(), first.colour), (true, [1, 2, 3]));
        assert!(!first.has(0, 0) && first.has(1, 0) && first.has(2, 3) && !first.has(3, 3));
        let control = [EXTENSION, GRAPHIC_CONTROL, 4, 1, 0, 0, 1, 0];
        let comment = [EXTENSION, 0xfe, 2, FRAME, FRAME, 0];
        let before = [&control[..], &comment].concat();
        let whole = gif(&before, [0, 0, 4, 3]);
        assert_eq!(FirstFrame::of(&whole).unwrap().colour, [4, 5, 6]);
        (0..whole.len() - 2).for_each(|end| assert_eq!(FirstFrame::of(&whole[..end]), None));
    }

    #[test]
    fn a_frame_beyond_the_screen_makes_it_larger() {
        let screen = |frame| FirstFrame::of(&gif(&[], frame)).unwrap().larger_screen();
        assert_eq!(screen([1, 1, 3, 3]), None);
        assert_eq!(screen([2, 0, 3, 1]), Some([5, 0, 4, 0]));
        assert_eq!(screen([0, 255, 4, 255]), Some([4, 0, 254, 1]));
    }
}
