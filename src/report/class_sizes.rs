//! Training images of every class, from the largest to the smallest, as SVG: the long tail.

use std::fmt::Write;

use super::dataset::{Scale, ratio_text};
use super::picture::escaped;
use crate::statistics::{GroupStatistics, Statistics};
use crate::text::{counted, thousands};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 64.0;
/// Room for the names of classes, and for ranks in their place.
const BOTTOM_OF_NAMES: f64 = 100.0;
const BOTTOM_OF_RANKS: f64 = 48.0;
/// Blue and orange of the Okabe-Ito palette, distinct with any colour vision.
const HEAD: &str = "#9db4c0";
const TAIL: &str = "#d55e00";
/// More classes than this are drawn as one area, with ranks in place of names.
const MOST_BARS: usize = 40;
/// Names are cut where they would leave the picture: to this many letters with the count after them, and
/// to what fits to the left of their bar, a letter being so wide.
const LONGEST_LABEL: usize = 19;
const LETTER_WIDTH: f64 = 7.0;

/// Where everything is.
struct Frame {
    scale: Scale,
    bottom: f64,
    /// Width of one class.
    step: f64,
}

impl Frame {
    fn y(&self, images: f64) -> f64 {
        TOP + (self.bottom - TOP) * (1.0 - self.scale.position(images))
    }

    /// The left edge of the class of this rank, from 0.
    fn x(&self, rank: usize) -> f64 {
        LEFT + self.step * rank as f64
    }
}

/// The picture; the same figures give the same bytes.
pub fn class_sizes_svg(s: &Statistics) -> String {
    let classes = s.per_class.len();
    let names = classes <= MOST_BARS;
    let bottom = HEIGHT - if names { BOTTOM_OF_NAMES } else { BOTTOM_OF_RANKS };
    let step = (WIDTH - LEFT - RIGHT) / classes.max(1) as f64;
    let frame = Frame { scale: Scale::of(s), bottom, step };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    title(&mut svg, s, frame.scale.logarithmic);
    grid(&mut svg, &frame);
    if names {
        bars(&mut svg, s, &frame);
    } else {
        area(&mut svg, s, &frame, 0..s.head.classes, HEAD);
        area(&mut svg, s, &frame, s.head.classes..classes, TAIL);
        ranks(&mut svg, &frame, classes);
    }
    boundary(&mut svg, s, &frame);
    svg += "</svg>\n";
    svg
}

fn title(svg: &mut String, s: &Statistics, logarithmic: bool) {
    let all = s.head.images + s.tail.images;
    let axis = if logarithmic { ", logarithmic axis" } else { "" };
    let key = |name: &str, group: &GroupStatistics| {
        let (classes, share) = (counted(group.classes, "class"), 100.0 * group.share);
        format!("{name}: {classes}, {share:.1} % of the images")
    };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\" fill=\"#111111\">{}: training images of each class, largest first</text>\n\
         <text x=\"{LEFT}\" y=\"36\" fill=\"#333333\">{} images, {} classes of {} to {}, imbalance ratio {}{axis}</text>\n\
         <rect x=\"{LEFT}\" y=\"43\" width=\"11\" height=\"11\" fill=\"{HEAD}\"/>\
         <text x=\"{:.1}\" y=\"53\" fill=\"#333333\">{} (head_ratio {})</text>\
         <rect x=\"{:.1}\" y=\"43\" width=\"11\" height=\"11\" fill=\"{TAIL}\"/>\
         <text x=\"{:.1}\" y=\"53\" fill=\"#333333\">{}</text>",
        escaped(&s.name),
        thousands(all),
        thousands(s.per_class.len() as u64),
        thousands(s.largest),
        thousands(s.smallest),
        ratio_text(s.imbalance_ratio),
        LEFT + 17.0,
        key("head", &s.head),
        s.head_ratio,
        LEFT + 390.0,
        LEFT + 407.0,
        key("tail", &s.tail),
    );
}

fn grid(svg: &mut String, frame: &Frame) {
    for tick in frame.scale.ticks() {
        let at = frame.y(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e2e2e2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            thousands(tick as u64)
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#999999\"/>",
        WIDTH - RIGHT,
        frame.bottom
    );
}

fn bars(svg: &mut String, s: &Statistics, frame: &Frame) {
    let width = (frame.step * 0.76).min(44.0);
    for (rank, class) in s.per_class.iter().enumerate() {
        let middle = frame.x(rank) + frame.step / 2.0;
        let top = frame.y(class.train_images as f64);
        let colour = if class.head { HEAD } else { TAIL };
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
             <text transform=\"translate({:.1} {:.1}) rotate(-40)\" text-anchor=\"end\" fill=\"#333333\">{}</text>",
            middle - width / 2.0,
            frame.bottom - top,
            middle + 4.0,
            frame.bottom + 14.0,
            escaped(&label(&class.name, class.train_images, middle))
        );
    }
}

/// `heron (12)`, to end at `right` after it was turned by 40 degrees.
fn label(name: &str, images: u64, right: f64) -> String {
    let count = format!(" ({images})");
    let fits = (right / (LETTER_WIDTH * 40f64.to_radians().cos())) as usize;
    let letters = fits.min(LONGEST_LABEL).saturating_sub(count.len()).max(1);
    if name.chars().count() <= letters {
        return format!("{name}{count}");
    }
    let kept: String = name.chars().take(letters - 1).collect();
    format!("{}…{count}", kept.trim_end())
}

/// The classes of some ranks as one area with a step wherever the size changes.
fn area(
    svg: &mut String,
    s: &Statistics,
    frame: &Frame,
    ranks: std::ops::Range<usize>,
    colour: &str,
) {
    if ranks.is_empty() {
        return;
    }
    let mut path = format!("M{:.2} {:.1}", frame.x(ranks.start), frame.bottom);
    let mut rank = ranks.start;
    for equal in s.per_class[ranks.clone()].chunk_by(|a, b| a.train_images == b.train_images) {
        let _ = write!(path, "V{:.1}", frame.y(equal[0].train_images as f64));
        rank += equal.len();
        let _ = write!(path, "H{:.2}", frame.x(rank));
    }
    let _ = write!(path, "V{:.1}Z", frame.bottom);
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"{colour}\"/>");
}

/// Marks under the axis at round ranks, and at the last one.
fn ranks(svg: &mut String, frame: &Frame, classes: usize) {
    let decade = 10usize.pow(classes.ilog10());
    let step = [decade / 5, decade / 2, decade, 2 * decade]
        .into_iter()
        .find(|step| *step > 0 && classes / step <= 8)
        .unwrap_or(decade);
    // A mark too close to the last one would lie under it.
    let round = (1..).map(|i| i * step).take_while(|rank| rank + step / 2 < classes);
    for rank in [1].into_iter().chain(round).chain([classes]) {
        let at = frame.x(rank - 1) + frame.step / 2.0;
        let anchor = if rank == classes { "end" } else { "middle" };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#999999\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#555555\">{}</text>",
            frame.bottom,
            frame.bottom + 4.0,
            frame.bottom + 17.0,
            thousands(rank as u64)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#333333\">class, by its number of training images</text>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        frame.bottom + 36.0
    );
}

/// A dashed line where the head ends.
fn boundary(svg: &mut String, s: &Statistics, frame: &Frame) {
    if s.tail.classes == 0 {
        return;
    }
    let at = frame.x(s.head.classes);
    let _ = writeln!(
        svg,
        "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#333333\" stroke-dasharray=\"5 4\"/>",
        frame.bottom
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_its_count_and_fits() {
        assert_eq!(label("heron", 12, 700.0), "heron (12)");
        assert_eq!(label("a heron of the northern lakes", 1234, 700.0), "a heron of… (1234)");
        assert_eq!(label("a heron of the northern lakes", 12, 60.0), "a her… (12)");
        assert_eq!(label("é".repeat(30).as_str(), 1, 700.0).chars().count(), LONGEST_LABEL);
    }
}
