//! Finding the quantiser at which a scene is as good as it should be.

use crate::hardware::Hardware;
use crate::media::{Metric, QualityGoal};
use crate::plan::Invocation;
use crate::plan::run::strings;

use super::options::ffmpeg_options;

/// A metric that the installed ffmpeg can measure, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measuring {
    pub metric: Metric,
    /// What is to be reached by it.
    pub goal: f64,
}

/// Values of VMAF and what people take for the same by the other metrics (films at 1080p, from the
/// published curves of the encoders' own tests). Rough: the answer says what was measured.
const ALIKE: [(f64, f64, f64); 7] = [
    (60.0, 0.920, 33.0),
    (70.0, 0.940, 35.0),
    (80.0, 0.960, 37.5),
    (90.0, 0.976, 40.5),
    (95.0, 0.985, 43.0),
    (98.0, 0.992, 46.0),
    (100.0, 0.998, 50.0),
];

fn filter(metric: Metric) -> &'static str {
    match metric {
        Metric::Vmaf => "libvmaf",
        Metric::Ssim => "ssim",
        Metric::Xpsnr => "xpsnr",
    }
}

/// What is measured in place of `goal` where ffmpeg lacks its metric: XPSNR or SSIM.
pub fn translate(goal: QualityGoal, hardware: &Hardware) -> Option<Measuring> {
    let wanted = [goal.metric, Metric::Xpsnr, Metric::Ssim];
    let metric = wanted
        .into_iter()
        .find(|m| hardware.has_filter(filter(*m)))?;
    Some(Measuring {
        metric,
        goal: convert(goal.value, goal.metric, metric),
    })
}

fn convert(value: f64, from: Metric, to: Metric) -> f64 {
    if from == to {
        return value;
    }
    let of = |row: &(f64, f64, f64), metric| match metric {
        Metric::Vmaf => row.0,
        Metric::Ssim => row.1,
        Metric::Xpsnr => row.2,
    };
    let (low, high) = (of(&ALIKE[0], from), of(&ALIKE[ALIKE.len() - 1], from));
    let value = value.clamp(low, high);
    for pair in ALIKE.windows(2) {
        let (a, b) = (of(&pair[0], from), of(&pair[1], from));
        if value <= b {
            let share = (value - a) / (b - a);
            return of(&pair[0], to) + share * (of(&pair[1], to) - of(&pair[0], to));
        }
    }
    of(&ALIKE[ALIKE.len() - 1], to)
}

impl Measuring {
    /// Compares the second input (what was encoded) with the first (the original); scores go to standard
    /// output, a line for each picture.
    ///
    /// The original is taken as the encoder took it: `frames` pictures behind the first `lead`, with the
    /// filters of `ffmpeg_params`.
    pub fn run(&self, ffmpeg_params: &str, lead: u32, frames: u32) -> Invocation {
        let own = ffmpeg_options(ffmpeg_params).unwrap_or_default().filters;
        let own = own.map_or(String::new(), |f| format!("{f},"));
        let end = lead + frames;
        let filters = format!("trim=start_frame={lead}:end_frame={end},setpts=PTS-STARTPTS,{own}");
        let grid = "format=yuv420p,settb=1/25,setpts=N";
        let alike = format!("[0:v]{filters}{grid}[a];[1:v]{grid}[b]");
        let graph = match self.metric {
            Metric::Vmaf => {
                format!("{alike};[b][a]libvmaf=log_fmt=csv:log_path=/dev/stdout:n_subsample=2")
            }
            Metric::Ssim => format!("{alike};[b][a]ssim=stats_file=-"),
            Metric::Xpsnr => format!("{alike};[b][a]xpsnr=stats_file=-"),
        };
        Invocation {
            input: Vec::new(),
            output: strings(&["-lavfi", &graph, "-f", "null", "-"]),
        }
    }
}

/// The mean over all pictures of what [`Measuring::run`] wrote; `None` when there is none.
pub fn read_scores(metric: Metric, text: &str) -> Option<f64> {
    let mut scores: Vec<f64> = Vec::new();
    let mut column = None;
    for line in text.lines() {
        let score = match metric {
            Metric::Ssim => value_after(line, "All:"),
            Metric::Xpsnr => value_after(line, "XPSNR y:"),
            Metric::Vmaf => {
                let mut cells = line.split(',');
                match column {
                    None => {
                        column = cells.position(|c| c.trim() == "vmaf");
                        None
                    }
                    Some(at) => cells.nth(at).and_then(|c| c.trim().parse().ok()),
                }
            }
        };
        // Pictures that are equal are infinitely good.
        scores.extend(score.map(|s: f64| s.min(100.0)));
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    mean.is_finite().then_some(mean)
}

fn value_after(line: &str, mark: &str) -> Option<f64> {
    let (_, rest) = line.split_once(mark)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Looks for the largest quantiser at which the goal is reached, by probes.
#[derive(Debug, Clone)]
pub struct QuantiserSearch {
    goal: f64,
    /// The largest that is known to be good enough, and the smallest that is known not to be.
    good: Option<(u32, f64)>,
    bad: Option<(u32, f64)>,
    lowest: u32,
    highest: u32,
    left: u32,
}

/// Probes of one scene: the curve is close to a line, so few suffice.
const PROBES: u32 = 5;

impl QuantiserSearch {
    /// Among quantisers `lowest` (best) to `highest`.
    pub fn new(goal: f64, lowest: u32, highest: u32) -> Self {
        QuantiserSearch {
            goal,
            good: None,
            bad: None,
            lowest,
            highest,
            left: PROBES,
        }
    }

    /// The next quantiser to be tried; `None`: the search is over.
    pub fn next(&self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let (low, high) = match (self.good, self.bad) {
            (None, None) => return Some((self.lowest + self.highest) / 2),
            (good, bad) => (
                good.map_or(self.lowest, |g| g.0 + 1),
                bad.map_or(self.highest, |b| b.0.saturating_sub(1)),
            ),
        };
        if low > high {
            return None;
        }
        let guess = match (self.good, self.bad) {
            (Some((a, above)), Some((b, below))) if above > below => {
                let share = (above - self.goal) / (above - below);
                f64::from(a) + share * f64::from(b - a)
            }
            _ => f64::from(low + high) / 2.0,
        };
        Some((guess.round() as u32).clamp(low, high))
    }

    pub fn record(&mut self, quantiser: u32, score: f64) {
        self.left = self.left.saturating_sub(1);
        match score >= self.goal {
            true if self.good.is_none_or(|g| g.0 < quantiser) => {
                self.good = Some((quantiser, score));
            }
            false if self.bad.is_none_or(|b| b.0 > quantiser) => {
                self.bad = Some((quantiser, score));
            }
            _ => {}
        }
    }

    /// The quantiser to encode with: the largest that was good enough, else the best there is.
    pub fn found(&self) -> u32 {
        self.good.map_or(self.lowest, |g| g.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// On any falling curve the result is good enough (unless nothing is), and near the border.
        #[test]
        fn the_goal_is_reached(slope in 0.1f64..1.5, bend in 0.0f64..0.02, goal in 60.0f64..99.0) {
            let score = |q: u32| 100.0 - slope * f64::from(q) - bend * f64::from(q * q);
            let mut search = QuantiserSearch::new(goal, 10, 60);
            while let Some(q) = search.next() {
                prop_assert!((10..=60).contains(&q));
                search.record(q, score(q));
            }
            let found = search.found();
            prop_assert!(score(found) >= goal || score(10) < goal);
            prop_assert!(found == 60 || score(found + 4) < goal, "{} too careful", found);
        }
    }

    #[test]
    fn scores_of_all_metrics_are_read() {
        let ssim = "n:1 Y:0.90 U:0.9 V:0.9 All:0.98 (15.3)\nn:2 Y:1 All:1.0 (inf)\n";
        assert_eq!(read_scores(Metric::Ssim, ssim), Some(0.99));
        let vmaf = "Frame,integer_adm2,vmaf,\n0,0.9,94.0,\n1,0.9,96.0,\n";
        assert_eq!(read_scores(Metric::Vmaf, vmaf), Some(95.0));
        let xpsnr = "n:    1  XPSNR y: 40.0  XPSNR u: 43.0\nn: 2  XPSNR y: inf  XPSNR u: 1\n";
        assert_eq!(read_scores(Metric::Xpsnr, xpsnr), Some(70.0));
        assert_eq!(read_scores(Metric::Ssim, ""), None);
    }

    #[test]
    fn a_metric_that_is_missing_is_replaced() {
        let goal = QualityGoal {
            metric: Metric::Vmaf,
            value: 95.0,
        };
        let mut hardware = Hardware::default();
        assert_eq!(translate(goal, &hardware), None);
        hardware.filters.insert("ssim".into());
        let measuring = translate(goal, &hardware).unwrap();
        assert_eq!((measuring.metric, measuring.goal), (Metric::Ssim, 0.985));
        hardware.filters.insert("libvmaf".into());
        assert_eq!(translate(goal, &hardware).unwrap().goal, 95.0);
    }
}
