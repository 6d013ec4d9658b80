//! Class activation maps and pooled vectors of a map stored as [L, K], location by location.
//!
//! All sums are taken in f64 in order of their index and rounded once, so that the same map and
//! weights give the same bits everywhere.

/// A map (K, H, W), as networks give it, location by location: [L, K].
pub fn by_location(map: &[f32], channels: usize) -> Vec<f32> {
    let locations = map.len() / channels;
    let mut by_location = vec![0.0; map.len()];
    for (k, channel) in map.chunks_exact(locations).enumerate() {
        for (l, &value) in channel.iter().enumerate() {
            by_location[l * channels + k] = value;
        }
    }
    by_location
}

/// M_c(x, y) = Σ_k w_k^c f_k(x, y): paper, Sec. 3.2, Eq. 1 (no bias).
///
/// Shape: `map` is [L, K], `weight` is `[K]`; the result is `[L]`.
pub fn activation(map: &[f32], weight: &[f32]) -> Vec<f64> {
    let dot = |vector: &[f32]| {
        vector.iter().zip(weight).fold(0.0, |sum, (&f, &w)| sum + f64::from(f) * f64::from(w))
    };
    map.chunks_exact(weight.len()).map(dot).collect()
}

/// An activation map scaled to [0, 1] by its own minimum and maximum (Sec. 3.2).
///
/// A constant map has no range to scale by: all its locations become 0, which makes none of them
/// class-specific (this project's choice; the paper is silent).
pub fn normalise(activation: &[f64]) -> Vec<f32> {
    let min = activation.iter().copied().fold(f64::INFINITY, f64::min);
    let max = activation.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = max - min;
    let scale = |m: &f64| if range > 0.0 { ((m - min) / range) as f32 } else { 0.0 };
    activation.iter().map(scale).collect()
}

/// Global average pooling: [L, K] → `[K]`.
pub fn pooled(map: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for vector in map.chunks_exact(channels) {
        sums.iter_mut().zip(vector).for_each(|(sum, &f)| *sum += f64::from(f));
    }
    let locations = (map.len() / channels) as f64;
    sums.into_iter().map(|sum| (sum / locations) as f32).collect()
}

/// Which locations have a vector that is not all zeros (Alg. 1: "excluding all zeros feature").
pub fn nonzero(map: &[f32], channels: usize) -> Vec<bool> {
    map.chunks_exact(channels).map(|vector| vector.iter().any(|&f| f != 0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two channels on a 2 x 2 map, location by location.
    const MAP: [f32; 8] = [1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 1.0];

    #[test]
    fn a_2_by_2_map_by_hand() {
        let activation = activation(&MAP, &[1.0, -1.0]);
        assert_eq!(activation, [1.0, -2.0, 0.0, 2.0]);
        assert_eq!(normalise(&activation), [0.75, 0.0, 0.5, 1.0]);
        assert_eq!(pooled(&MAP, 2), [1.0, 0.75]);
        assert_eq!(nonzero(&MAP, 2), [true, true, false, true]);
    }

    #[test]
    fn a_constant_map_is_zero() {
        assert_eq!(normalise(&[3.5; 4]), [0.0; 4]);
        assert_eq!(normalise(&[7.0]), [0.0]);
    }

    proptest! {
        #[test]
        fn a_normalised_cam_is_in_the_unit_interval(
            map in proptest::collection::vec(-1e4f32..1e4, 12),
            weight in proptest::collection::vec(-10f32..10.0, 3),
        ) {
            let cam = normalise(&activation(&map, &weight));
            prop_assert!(cam.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
