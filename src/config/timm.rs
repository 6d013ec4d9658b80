//! timm's config.json: what it says of a network's inputs.

use std::path::Path;

use serde::Deserialize;

use super::dataset::is_of_bytes;
use super::{ConfigError, InputSpec, Source, Statement};

/// What it says at its top, or under `pretrained_cfg`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timm {
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    interpolation: Option<String>,
    input_size: Option<[usize; 3]>,
    pretrained_cfg: Option<Box<Timm>>,
}

impl Timm {
    /// Its own values, and the other's where it has none.
    fn or(self, other: Self) -> Self {
        Self {
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            crop_pct: self.crop_pct.or(other.crop_pct),
            crop_mode: self.crop_mode.or(other.crop_mode),
            interpolation: self.interpolation.or(other.interpolation),
            input_size: self.input_size.or(other.input_size),
            pretrained_cfg: None,
        }
    }

    /// As settings, with the keys that it speaks for: timm has defaults for crop_pct and crop_mode, which hold where
    /// these are left out. Without interpolation and input_size it says nothing of them; what is empty is left out.
    fn spec(self) -> Result<(InputSpec, Vec<&'static str>), String> {
        let triple = |values: Option<Vec<f32>>| values.and_then(|v| <[f32; 3]>::try_from(v).ok());
        let (Some(mean), Some(std)) = (triple(self.mean), triple(self.std)) else {
            return Err("no `mean` and `std` of three numbers; expected timm's config.json".into());
        };
        let mut spec = InputSpec { mean, std, ..InputSpec::imagenet(224) };
        let of_bytes = [("mean", spec.mean), ("std", spec.std)];
        if let Some((key, values)) =
            of_bytes.into_iter().find(|(_, values)| values.iter().any(|&v| is_of_bytes(v)))
        {
            return Err(format!(
                "{key} is {values:?}; expected that of values from 0 to 1, as timm's are\n  Divide mean and std by 255 in it; or, of a network that takes values of 0 to 255, leave it out and set dataset.value_range = 255, dataset.mean and dataset.std."
            ));
        }
        let mut keys =
            vec!["crop_fraction", "crop_mode", "mean", "std", "value_range", "channel_order"];
        if let Some(crop) = self.crop_pct {
            spec.crop_fraction = crop;
        }
        if let Some(mode) = self.crop_mode.filter(|mode| !mode.is_empty()) {
            spec.crop_mode = word(&mode).ok_or_else(|| {
                format!("crop_mode `{mode}`; expected `center`, `squash` or `border`")
            })?;
        }
        if let Some(filter) = self.interpolation.filter(|filter| !filter.is_empty()) {
            spec.interpolation = word(&filter).ok_or_else(|| {
                format!("interpolation `{filter}`; expected `bilinear` or `bicubic`")
            })?;
            keys.push("interpolation");
        }
        match self.input_size {
            None => {}
            Some([3, height, width]) if height == width => {
                spec.image_size = width;
                keys.push("image_size");
            }
            Some([channels, height, width]) => {
                return Err(format!(
                    "input_size is [{channels}, {height}, {width}]; expected 3 channels of a square, [3, n, n]"
                ));
            }
        }
        Ok((spec, keys))
    }
}

/// The value that a word stands for, in `[dataset]` as in timm.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

/// What a file says.
///
/// # Errors
/// It cannot be read, has no mean and standard deviation, or asks for what is not supported.
pub fn read(file: &Path) -> Result<Statement, ConfigError> {
    let wrong = |message: String| ConfigError::Timm { file: file.into(), message };
    let text = std::fs::read(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let mut top: Timm =
        serde_json::from_slice(&text).map_err(|e| wrong(format!("not a timm config.json: {e}")))?;
    let inner = top.pretrained_cfg.take().map_or(Timm::default(), |inner| *inner);
    let (spec, keys) = inner.or(top).spec().map_err(wrong)?;
    let said = Statement::part(Source::Given, file, &spec, |key| keys.contains(&key));
    super::settled(std::slice::from_ref(&said), &spec)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Statement, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        read(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn what_it_names_is_taken_and_the_rest_left_to_others() {
        let inner = r#""mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95"#;
        let said = of(&format!(
            r#"{{"interpolation": "bicubic", "pretrained_cfg": {{{inner}, "crop_mode": "squash", "input_size": [3, 96, 96]}}}}"#
        ));
        let spec = said.unwrap().spec;
        assert_eq!(
            spec.to_string(),
            "96 px, middle 95 %, squashed, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
        );
        let said = of(&format!(r#"{{{inner}, "interpolation": "", "crop_mode": ""}}"#)).unwrap();
        let keys = ["crop_fraction", "crop_mode", "mean", "std", "value_range", "channel_order"];
        assert_eq!(said.keys, keys);
        // timm's own defaults.
        let said = of(r#"{"mean": [0, 0, 0], "std": [1, 1, 1]}"#).unwrap();
        assert_eq!((said.keys.as_slice(), said.spec.crop_fraction), (&keys[..], 0.875));
    }

    #[test]
    fn what_is_not_there_is_refused_by_its_name() {
        let with = |more: &str| {
            of(&format!(r#"{{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], {more}}}"#))
                .unwrap_err()
        };
        for (more, message) in [
            (r#""interpolation": "lanczos""#, "interpolation `lanczos`; expected `bilinear`"),
            (r#""interpolation": "random""#, "interpolation `random`"),
            (r#""crop_mode": "corner""#, "crop_mode `corner`; expected `center`, `squash`"),
            (r#""input_size": [3, 224, 256]"#, "input_size is [3, 224, 256]"),
            (r#""input_size": [1, 28, 28]"#, "expected 3 channels"),
            (r#""crop_pct": 1.1"#, "`dataset.crop_fraction` is 1.1"),
        ] {
            let found = with(more);
            assert!(found.contains(message) && found.contains("config.json: "), "{found}");
        }
        for (mean, std) in
            [("[123.675, 116.28, 103.53]", "[1, 1, 1]"), ("[0, 0, 0]", "[58, 57, 57]")]
        {
            let message = of(&format!(r#"{{"mean": {mean}, "std": {std}}}"#)).unwrap_err();
            assert!(
                message.contains("by 255") && message.contains("value_range = 255"),
                "{message}"
            );
        }
        assert!(of("{}").unwrap_err().contains("no `mean` and `std`"));
        assert!(of("[").unwrap_err().contains("not a timm config.json"));
    }
}
