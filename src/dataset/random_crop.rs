//! A random rectangle of an image, of random area and shape, that becomes the whole input.

use crate::rng::KeyedRng;

/// Shapes that are drawn: width over height, log-uniformly.
const NARROWEST: f64 = 3.0 / 4.0;
const WIDEST: f64 = 4.0 / 3.0;
/// Rectangles that are tried before the middle is taken.
const TRIES: usize = 10;

/// Pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What is drawn of a rectangle before the image's size is known: torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RandomRectangle {
    /// Share of the image's area, and width over height.
    tries: [(f64, f64); TRIES],
    /// Where it lies in the room that it leaves, from 0 to 1, downwards and to the right.
    place: [f64; 2],
}

impl RandomRectangle {
    /// Areas are uniform in `scale`, as shares of the image's.
    pub(super) fn draw(rng: &mut KeyedRng, scale: [f64; 2]) -> Self {
        let [least, most] = scale;
        let mut one = || {
            let area = least + (most - least) * rng.unit();
            let shape = NARROWEST.ln() + (WIDEST.ln() - NARROWEST.ln()) * rng.unit();
            (area, shape.exp())
        };
        let tries = std::array::from_fn(|_| one());
        Self { tries, place: [rng.unit(), rng.unit()] }
    }

    /// The rectangle in an image: the first try that fits; where none does, the largest middle part of
    /// an allowed shape.
    pub(super) fn of(&self, width: u32, height: u32) -> Rectangle {
        let pixels = f64::from(width) * f64::from(height);
        let whole = |side: f64| side.round_ties_even() as u32;
        for (area, shape) in self.tries {
            let w = whole((pixels * area * shape).sqrt());
            let h = whole((pixels * area / shape).sqrt());
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let at = |share: f64, room: u32| (share * f64::from(room + 1)) as u32;
                let (top, left) = (at(self.place[0], height - h), at(self.place[1], width - w));
                return Rectangle { left, top, width: w, height: h };
            }
        }
        let shape = f64::from(width) / f64::from(height);
        let (w, h) = if shape < NARROWEST {
            (width, whole(f64::from(width) / NARROWEST).clamp(1, height))
        } else if shape > WIDEST {
            (whole(f64::from(height) * WIDEST).clamp(1, width), height)
        } else {
            (width, height)
        };
        Rectangle { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stage;

    fn draws(count: u64, scale: [f64; 2]) -> Vec<RandomRectangle> {
        let rng = |i| KeyedRng::new(0, Stage::TrainTransform, (0, i));
        (0..count).map(|i| RandomRectangle::draw(&mut rng(i), scale)).collect()
    }

    #[test]
    fn by_hand() {
        let fits = RandomRectangle { tries: [(0.5, 1.0); TRIES], place: [0.0, 0.999] };
        // The root of half of 200 x 100 pixels.
        let found = fits.of(200, 100);
        assert_eq!(found, Rectangle { left: 100, top: 0, width: 100, height: 100 });
        let too_wide = RandomRectangle { tries: [(1.0, 4.0 / 3.0); TRIES], place: [0.5; 2] };
        let middle = too_wide.of(200, 90);
        assert_eq!(middle, Rectangle { left: 40, top: 0, width: 120, height: 90 });
        let middle = too_wide.of(90, 200);
        assert_eq!(middle, Rectangle { left: 0, top: 40, width: 90, height: 120 });
        assert_eq!(too_wide.of(100, 100), Rectangle { left: 0, top: 0, width: 100, height: 100 });
        let second = RandomRectangle {
            tries: std::array::from_fn(|i| if i == 1 { (0.04, 1.0) } else { (1.0, 1.3) }),
            place: [0.5; 2],
        };
        assert_eq!(second.of(100, 100), Rectangle { left: 40, top: 40, width: 20, height: 20 });
    }

    #[test]
    fn rectangles_lie_inside_and_have_the_areas_asked_for() {
        for (width, height) in [(300, 200), (200, 300), (64, 64), (3, 2), (1, 1), (1, 500)] {
            for draw in draws(500, [0.08, 1.0]) {
                let Rectangle { left, top, width: w, height: h } = draw.of(width, height);
                assert!(w > 0 && h > 0 && left + w <= width && top + h <= height);
            }
        }
        let found: Vec<Rectangle> =
            draws(4000, [0.25, 0.75]).iter().map(|d| d.of(400, 400)).collect();
        let areas = found.iter().map(|r| f64::from(r.width * r.height) / 160_000.0);
        assert!(areas.clone().all(|area| (0.245..0.755).contains(&area)));
        let mean = areas.sum::<f64>() / found.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let wider = found.iter().filter(|r| r.width > r.height).count();
        assert!((1850..2150).contains(&wider), "{wider}");
        let shape = |r: &Rectangle| f64::from(r.width) / f64::from(r.height);
        assert!(found.iter().all(|r| (0.745..1.342).contains(&shape(r))));
    }
}
