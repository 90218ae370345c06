//! A line that shows how far long work is. It goes to standard error, and only to a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const STEPS: u64 = 10_000;
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// Gone from the screen when it is dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Bar {
        let bar = ProgressBar::new(STEPS);
        let template = "{wide_bar} {percent:>3} %  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW_EVERY);
        Bar(bar)
    }

    /// `percent` from 0 to 100; `eta_seconds` is said when it is known.
    pub(super) fn show(&self, percent: f64, what: &str, eta_seconds: Option<f64>) {
        let share = (percent / 100.0).clamp(0.0, 1.0);
        self.0.set_position((share * STEPS as f64) as u64);
        let eta = eta_seconds.map_or(String::new(), |s| format!("  {} left", clock(s)));
        self.0.set_message(format!("{what}{eta}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `1:02:03`, or `2:03` below an hour.
pub(super) fn clock(seconds: f64) -> String {
    let all = seconds.clamp(0.0, 1e9).round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clocks_are_read() {
        for (seconds, text) in [
            (0.0, "0:00"),
            (61.4, "1:01"),
            (3723.0, "1:02:03"),
            (-1.0, "0:00"),
        ] {
            assert_eq!(clock(seconds), text);
        }
    }
}
