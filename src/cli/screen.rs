//! Progress on standard error: bars on a terminal, otherwise plain lines, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::Progress;
use crate::text::{bytes_text, plural};

/// Time between two plain lines of the same piece of work.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// A line on standard error, where that can be written: nothing is left to tell it to where not.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Where progress goes.
pub(super) enum Screen {
    Quiet,
    /// Counts alone, one a line, on standard output, for the process that started this one.
    Counts(AtomicBool),
    Plain(Mutex<Plain>),
    Bars(Mutex<ProgressBar>),
}

/// One piece of work, told in lines.
pub(super) struct Plain {
    label: String,
    unit: &'static str,
    total: u64,
    done: u64,
    begin: Instant,
    last: Instant,
    status: String,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if std::io::stderr().is_terminal() {
            return Self::Bars(Mutex::new(ProgressBar::hidden()));
        }
        let now = Instant::now();
        let (label, status) = (String::new(), String::new());
        Self::Plain(Mutex::new(Plain {
            label,
            unit: "",
            total: 0,
            done: 0,
            begin: now,
            last: now,
            status,
        }))
    }
}

/// The work whose units another process counts.
const COUNTED: &str = "feature maps";

impl Screen {
    pub(super) fn counts() -> Self {
        Self::Counts(AtomicBool::new(false))
    }

    /// A line on standard error that `--quiet` does not silence.
    pub(super) fn warning(&self, text: &str) {
        say(&format!("warning: {text}"));
    }
}

/// The unit that is shown with a prefix, as in `12.3 MiB of 162.2 MiB`.
const BYTE: &str = "byte";

impl Plain {
    /// `epoch 3/80: 640 of 1394 images, 512 a second, 2 s left`
    fn describe(&self, elapsed: Duration) -> String {
        let rate = self.done as f64 / elapsed.as_secs_f64().max(1e-9);
        let left = (self.total - self.done.min(self.total)) as f64 / rate.max(1e-9);
        let status =
            if self.status.is_empty() { String::new() } else { format!(", {}", self.status) };
        if self.unit == BYTE {
            let size = bytes_text;
            return format!(
                "{}: {} of {}, {} a second, {left:.0} s left{status}",
                self.label,
                size(self.done),
                size(self.total),
                size(rate as u64)
            );
        }
        format!(
            "{}: {} of {} {}, {rate:.0} a second, {left:.0} s left{status}",
            self.label,
            self.done,
            self.total,
            plural(self.unit, self.total as usize)
        )
    }
}

impl Progress for Screen {
    fn start(&self, label: &str, total: u64, unit: &'static str) {
        match self {
            Self::Quiet => {}
            Self::Counts(counted) => counted.store(label == COUNTED, Ordering::Relaxed),
            Self::Plain(plain) => {
                let now = Instant::now();
                let (label, status) = (label.into(), String::new());
                *plain.lock().expect("no panic while held") =
                    Plain { label, unit, total, done: 0, begin: now, last: now, status };
            }
            Self::Bars(bar) => {
                let count = match unit {
                    BYTE => {
                        "{binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec:.dim}".into()
                    }
                    _ => format!(
                        "{{pos}}/{{len}} {}, {{per_sec:.dim}}",
                        plural(unit, total as usize)
                    ),
                };
                let template =
                    format!("{{prefix:<16}} {{bar:32}} {count}, {{eta}} left  {{msg:.dim}}");
                let style = ProgressStyle::with_template(&template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .with_key(
                        "per_sec",
                        |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                            let _ = write!(w, "{:.0}/s", state.per_sec());
                        },
                    );
                let next = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                next.set_style(style);
                next.set_prefix(label.to_string());
                *bar.lock().expect("no panic while held") = next;
            }
        }
    }

    fn advance(&self, units: u64) {
        match self {
            Self::Quiet => {}
            Self::Counts(counted) => {
                if counted.load(Ordering::Relaxed) {
                    // The process that reads this also stops this one, with or without a count.
                    let _ = super::print_text(&format!("{units}\n"));
                }
            }
            Self::Plain(plain) => {
                let mut plain = plain.lock().expect("no panic while held");
                plain.done += units;
                if plain.last.elapsed() >= PLAIN_INTERVAL {
                    plain.last = Instant::now();
                    say(&plain.describe(plain.begin.elapsed()));
                }
            }
            Self::Bars(bar) => bar.lock().expect("no panic while held").inc(units),
        }
    }

    fn status(&self, text: &str) {
        match self {
            Self::Quiet | Self::Counts(_) => {}
            Self::Plain(plain) => plain.lock().expect("no panic while held").status = text.into(),
            Self::Bars(bar) => {
                bar.lock().expect("no panic while held").set_message(text.to_string())
            }
        }
    }

    fn finish(&self) {
        if let Self::Bars(bar) = self {
            bar.lock().expect("no panic while held").finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match self {
            Self::Quiet | Self::Counts(_) => {}
            Self::Plain(_) => say(text),
            // Above the bar, if one is drawn.
            Self::Bars(bar) => bar.lock().expect("no panic while held").suspend(|| say(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_count_rate_and_time_left() {
        let (begin, elapsed) = (Instant::now(), Duration::from_secs(2));
        let plain = Plain {
            label: "maps".into(),
            unit: "row",
            total: 300,
            done: 100,
            begin,
            last: begin,
            status: "loss 0.5".into(),
        };
        let line = plain.describe(elapsed);
        assert_eq!(line, "maps: 100 of 300 rows, 50 a second, 4 s left, loss 0.5");
        let plain = Plain { unit: BYTE, total: 170_000_000, done: 85_000_000, ..plain };
        let line = plain.describe(elapsed);
        assert_eq!(line, "maps: 81.1 MiB of 162.1 MiB, 40.5 MiB a second, 2 s left, loss 0.5");
    }
}
