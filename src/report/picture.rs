//! Recall of every class before and after Phase-II, from the most to the fewest images, as SVG.

use std::fmt::Write;

use crate::finetune::Report;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 92.0;
/// Blue and orange of the Okabe-Ito palette, distinct with any colour vision.
const BEFORE: &str = "#9db4c0";
const AFTER: &str = "#d55e00";
/// More classes than this are averaged into this many groups of neighbours.
const MOST_BARS: usize = 50;

/// One pair of bars.
struct Pair {
    label: String,
    images: u64,
    before: f64,
    after: f64,
}

/// The picture; the same report gives the same bytes.
pub fn accuracy_svg(report: &Report) -> String {
    let pairs = pairs(report);
    let plot = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let y = |percent: f64| TOP + plot.1 * (1.0 - percent / 100.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    title(&mut svg, report);
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e2e2e2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{percent}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let step = plot.0 / pairs.len() as f64;
    let bar = (step * 0.38).min(22.0);
    for (place, pair) in pairs.iter().enumerate() {
        let middle = LEFT + step * (place as f64 + 0.5);
        for (x, percent, colour) in
            [(middle - bar, pair.before, BEFORE), (middle, pair.after, AFTER)]
        {
            let top = y(percent);
            let height = y(0.0) - top;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<text transform=\"translate({:.1} {:.1}) rotate(-40)\" text-anchor=\"end\" fill=\"#333333\">{} ({})</text>",
            middle + 4.0,
            y(0.0) + 14.0,
            escaped(&pair.label),
            pair.images
        );
    }
    svg += "</svg>\n";
    svg
}

fn title(svg: &mut String, report: &Report) {
    let (before, after) = (report.before.accuracy.top1, report.after.accuracy.top1);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\" fill=\"#111111\">{}: accuracy of each class in %, most training images to the left</text>\n\
         <rect x=\"{LEFT}\" y=\"34\" width=\"11\" height=\"11\" fill=\"{BEFORE}\"/>\
         <text x=\"{:.1}\" y=\"44\" fill=\"#333333\">Phase-I, top-1 {before:.1}</text>\
         <rect x=\"{:.1}\" y=\"34\" width=\"11\" height=\"11\" fill=\"{AFTER}\"/>\
         <text x=\"{:.1}\" y=\"44\" fill=\"#333333\">{} on the bank, top-1 {after:.1}</text>",
        escaped(&report.name),
        LEFT + 17.0,
        LEFT + 170.0,
        LEFT + 187.0,
        report.config.method.name()
    );
}

/// Classes from most to fewest images, neighbours averaged where there are too many; classes
/// without test images are left out.
fn pairs(report: &Report) -> Vec<Pair> {
    let order = report.split.head.iter().chain(&report.split.tail).map(|c| c.index());
    let (before, after) = (&report.before.accuracy.per_class, &report.after.accuracy.per_class);
    let known: Vec<(usize, f64, f64)> =
        order.filter_map(|c| Some((c, before[c]?, after[c]?))).collect();
    let size = known.len().div_ceil(MOST_BARS).max(1);
    let pair = |group: &[(usize, f64, f64)]| {
        let n = group.len() as f64;
        let label = match group {
            [one] => report.class_names[one.0].clone(),
            _ => format!("{} classes", group.len()),
        };
        Pair {
            label,
            images: group.iter().map(|(c, ..)| report.train_images[*c]).sum::<u64>()
                / group.len() as u64,
            before: group.iter().map(|(_, b, _)| b).sum::<f64>() / n,
            after: group.iter().map(|(.., a)| a).sum::<f64>() / n,
        }
    };
    known.chunks(size).map(pair).collect()
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
