//! What a bank will be, for the one who decides whether to make it.

use super::table::Table;
use crate::domain::Split;
use crate::features::{Forecast, MapsKnown, SampleFigures};
use crate::text::{bytes_text, duration, rate, thousands};

/// Columns that the names of the lines take.
const NAMES: usize = 10;

/// A planned bank, in figures.
pub fn forecast_text(forecast: &Forecast) -> String {
    let mut text =
        format!("{}: {}\n\n{}\n", forecast.bank.display(), state(forecast), splits(forecast));
    let mut line = |name: &str, what: String| text += &format!("  {name:<NAMES$}{what}\n");
    let map = forecast.map;
    let locations = forecast.locations;
    line("map", format!("{map} (K x H x W): K = {}, L = {locations}", map.channels));
    match forecast.maps_known {
        MapsKnown::Known => {}
        MapsKnown::Sampled => {
            line("", "the rows with a map follow from some of the tail's images".into())
        }
        MapsKnown::AtMost => line("", "with all maps; the finished bank keeps fewer".into()),
    }
    line("raw", raw(forecast));
    line("on disk", on_disk(forecast));
    line("shards", shards(forecast));
    if let Some(sample) = &forecast.sample {
        line("pace", pace(sample, &forecast.device));
        line("", stages(sample));
    }
    if !forecast.already_done {
        line("time", time(forecast));
    }
    line("disk", room(forecast));
    if let Some(replaced) = forecast.disk.replaced.filter(|_| !forecast.already_done) {
        let replaced = bytes_text(replaced);
        line("", format!("the existing bank ({replaced}) stays until this one is finished"));
    }
    text
}

fn state(forecast: &Forecast) -> String {
    let state = forecast.state;
    match (forecast.already_done, state.shards_done) {
        (true, _) => "already there".into(),
        (false, 0) => "not begun".into(),
        (false, _) => state.to_string(),
    }
}

/// A line for each split, and one for all.
fn splits(forecast: &Forecast) -> String {
    let mut table = Table::new(&["", "images", "views", "rows", "with map", "shards", "bytes"]);
    let mut row = |name: &str, views: String, figures: [u64; 4], bytes: u64| {
        let [images, rows, maps, shards] = figures.map(thousands);
        table.row(vec![name.into(), images, views, rows, maps, shards, bytes_text(bytes)]);
    };
    let mut all = [0; 4];
    for name in Split::ALL {
        let Some(split) = forecast.splits.get(name.name()) else { continue };
        let views = match split.other_views {
            Some(other) => format!("{} or {other}", split.views),
            None => split.views.to_string(),
        };
        let figures = [split.images, split.rows, split.rows_with_maps, split.shards as u64];
        row(name.name(), views, figures, split.bytes);
        all.iter_mut().zip(figures).for_each(|(sum, more)| *sum += more);
    }
    row("all", String::new(), all, forecast.bytes);
    table.text()
}

fn raw(forecast: &Forecast) -> String {
    let raw = forecast.raw_bytes;
    let [f32, maps, pooled, cams] = [raw.maps_f32, raw.maps, raw.pooled, raw.cams].map(bytes_text);
    let maps = match raw.maps == raw.maps_f32 {
        true => format!("maps {f32}"),
        false => format!("maps {maps} as {} ({f32} as f32)", forecast.precision.name()),
    };
    format!("{maps}, pooled vectors {pooled}, activation maps {cams}")
}

fn on_disk(forecast: &Forecast) -> String {
    let raw = forecast.raw_bytes;
    let share = 100.0 * forecast.bytes as f64 / (raw.maps + raw.pooled + raw.cams).max(1) as f64;
    let (bytes, level) = (bytes_text(forecast.bytes), forecast.compression_level);
    let expected = if forecast.already_done { "" } else { " expected" };
    format!("{bytes}{expected}, {share:.0} % of raw (zstd level {level})")
}

fn shards(forecast: &Forecast) -> String {
    let Some(train) = forecast.splits.get(Split::Train.name()) else { return String::new() };
    let rows = forecast.shard_rows.min(train.rows);
    let bytes = (train.bytes as f64 / train.rows.max(1) as f64 * rows as f64) as u64;
    let number = thousands(forecast.state.shards as u64);
    format!("{number} of up to {} rows, {} each", thousands(rows), bytes_text(bytes))
}

fn pace(sample: &SampleFigures, device: &str) -> String {
    let (rows, secs) = (thousands(sample.rows), duration(sample.secs));
    let per_sec = rate(sample.rows_per_sec);
    format!("{per_sec} rows a second on {device} (a sample of {rows} rows, {secs})")
}

/// How fast each stage would be on its own: the whole is never faster than the slowest.
fn stages(sample: &SampleFigures) -> String {
    let stages = [
        ("decoding", sample.decode_per_sec),
        ("network", sample.forward_per_sec),
        ("encoding", sample.encode_per_sec),
    ];
    let slowest = stages.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let stage = |(name, per_sec): (&str, f64)| {
        let mark = if per_sec == slowest { " (the slowest)" } else { "" };
        format!("{name} {}{mark}", rate(per_sec))
    };
    stages.map(stage).join(", ")
}

fn time(forecast: &Forecast) -> String {
    let to_do = forecast.to_do;
    let what = match (forecast.partition, forecast.state.shards_done) {
        (Some(partition), _) => format!(" of partition {partition}"),
        (None, 0) => String::new(),
        (None, _) => " that are missing".into(),
    };
    let secs = to_do.secs.map_or("not measured".into(), duration);
    let fitting = if to_do.fitting { ", plus the fitting of the classifier" } else { "" };
    format!("{secs} for the {} rows{what}{fitting}", thousands(to_do.rows))
}

fn room(forecast: &Forecast) -> String {
    /// Of an estimate.
    const ERROR: f64 = 0.1;
    let disk = &forecast.disk;
    let (place, needed) = (disk.place.display(), bytes_text(disk.needed));
    let free = disk.free.map(bytes_text);
    match (free, disk.free) {
        (Some(free), _) if forecast.already_done => format!("{free} free in {place}"),
        (Some(free), Some(bytes)) => {
            let verdict = match disk.fits {
                Some(false) => "it does not fit",
                _ if disk.needed as f64 * (1.0 + ERROR) > bytes as f64 => "it fits, but barely",
                _ => "it fits",
            };
            format!("{needed} needed, {free} free in {place}: {verdict}")
        }
        _ => format!("{needed} needed; the free space in {place} is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::BuildState;
    use crate::config::Precision;
    use crate::domain::FeatureShape;
    use crate::features::{DiskForecast, RawBytes, SplitForecast, ToDo};

    fn forecast() -> Forecast {
        let train = SplitForecast {
            images: 400_000,
            views: 4,
            other_views: None,
            rows: 1_600_000,
            rows_with_maps: 1_600_000,
            shards: 1250,
            bytes: 153_000_000_000,
        };
        let test = SplitForecast { images: 20_000, views: 1, rows: 20_000, ..train };
        let test = SplitForecast { rows_with_maps: 0, shards: 16, bytes: 155_000_000, ..test };
        Forecast {
            bank: "runs/birds/shards".into(),
            already_done: false,
            device: "NVIDIA H100".into(),
            splits: [("train".into(), train), ("test".into(), test)].into(),
            map: FeatureShape { channels: 2048, height: 7, width: 7 },
            locations: 49,
            precision: Precision::F16,
            compression_level: 1,
            maps_known: MapsKnown::Known,
            raw_bytes: RawBytes {
                maps_f32: 642_252_800_000,
                maps: 321_126_400_000,
                pooled: 13_271_040_000,
                cams: 324_800_000,
            },
            bytes: 153_155_000_000,
            state: BuildState { shards_done: 0, shards: 1266, items_done: 0, items: 1_620_000 },
            shard_rows: 1280,
            partition: None,
            to_do: ToDo {
                shards: 1266,
                rows: 1_620_000,
                bytes: 153_155_000_000,
                secs: Some(3940.0),
                fitting: false,
            },
            sample: Some(SampleFigures {
                rows: 1328,
                secs: 4.34,
                rows_per_sec: 412.0,
                decode_per_sec: 1934.0,
                forward_per_sec: 2410.0,
                encode_per_sec: 412.0,
            }),
            disk: DiskForecast {
                place: "runs".into(),
                free: Some(500_000_000_000),
                needed: 153_300_000_000,
                replaced: None,
                fits: Some(true),
                smaller: vec![],
            },
        }
    }

    #[test]
    fn a_bank_of_many_photographs() {
        let expected = "\
runs/birds/shards: not begun

          images  views       rows   with map  shards      bytes
  train  400,000      4  1,600,000  1,600,000   1,250  142.5 GiB
  test    20,000      1     20,000          0      16  147.8 MiB
  all    420,000         1,620,000  1,600,000   1,266  142.6 GiB

  map       2048 x 7 x 7 (K x H x W): K = 2048, L = 49
  raw       maps 299.1 GiB as f16 (598.1 GiB as f32), pooled vectors 12.4 GiB, activation maps 309.8 MiB
  on disk   142.6 GiB expected, 46 % of raw (zstd level 1)
  shards    1,266 of up to 1,280 rows, 116.7 MiB each
  pace      412 rows a second on NVIDIA H100 (a sample of 1,328 rows, 4.3 s)
            decoding 1,934, network 2,410, encoding 412 (the slowest)
  time      66 min for the 1,620,000 rows
  disk      142.8 GiB needed, 465.7 GiB free in runs: it fits
";
        assert_eq!(forecast_text(&forecast()), expected);
    }

    #[test]
    fn what_is_left_and_what_does_not_fit() {
        let mut part = forecast();
        part.state = BuildState { shards_done: 12, items_done: 15_360, ..part.state };
        part.partition = Some("1/4".parse().unwrap());
        part.to_do.rows = 389_640;
        part.disk.fits = Some(false);
        part.disk.replaced = Some(1 << 30);
        let text = forecast_text(&part);
        for line in [
            "runs/birds/shards: 12 of 1266 shards done\n",
            "  time      66 min for the 389,640 rows of partition 1/4\n",
            "free in runs: it does not fit\n",
            "            the existing bank (1.0 GiB) stays until this one is finished\n",
        ] {
            assert!(text.contains(line), "no `{line}` in {text}");
        }
        part.disk.fits = Some(true);
        part.disk.free = Some(part.disk.needed + 1);
        assert!(forecast_text(&part).contains("it fits, but barely\n"));
        part.disk.free = None;
        assert!(
            forecast_text(&part).contains("142.8 GiB needed; the free space in runs is unknown\n")
        );
    }

    #[test]
    fn classes_with_fewer_views_are_said() {
        let mut some = forecast();
        some.splits.get_mut("train").unwrap().other_views = Some(1);
        assert!(forecast_text(&some).contains(" 4 or 1 "), "{}", forecast_text(&some));
    }

    #[test]
    fn how_sure_the_maps_are_is_said() {
        let mut some = forecast();
        for (known, part) in [
            (
                MapsKnown::Sampled,
                "  map       2048 x 7 x 7 (K x H x W): K = 2048, L = 49\n            the rows with a map follow",
            ),
            (MapsKnown::AtMost, "            with all maps; the finished bank keeps fewer\n  raw "),
        ] {
            some.maps_known = known;
            let text = forecast_text(&some);
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }
}
