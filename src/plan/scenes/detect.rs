//! Where scenes begin: the difference between each picture and the one before, and what is made of it.

use serde::{Deserialize, Serialize};

use crate::plan::Invocation;
use crate::plan::run::strings;

/// What is known of one picture of the source, in the order in which pictures are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameScore {
    /// Microseconds by the source's clock; `None` where it has none.
    pub pts_us: Option<i64>,
    /// Mean difference to the picture before, 0 to 255.
    pub score: f64,
    /// Whether the source can be cut before it without being encoded again, as far as is known.
    pub is_key: bool,
}

/// Marks the pictures that an index of key frames names, by their times in ascending order.
pub fn mark_keys(frames: &mut [FrameScore], keys_us: &[i64]) {
    for frame in frames {
        let Some(time) = frame.pts_us else { continue };
        let near = keys_us.partition_point(|k| *k < time - SAME_TIME_US);
        frame.is_key = keys_us.get(near).is_some_and(|k| *k <= time + SAME_TIME_US);
    }
}

/// How scenes are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SceneRules {
    /// Difference between two pictures from which on a scene begins, 0 to 255.
    pub threshold: f64,
    /// Fewest pictures of a scene, at least 1; a shorter film is one scene.
    pub min_frames: u32,
    /// Most pictures of a scene; `None` = any number. Less than `min_frames` counts as that. The usual one is
    /// the distance that x264 keeps between key frames.
    pub max_frames: Option<u32>,
}

impl Default for SceneRules {
    fn default() -> Self {
        SceneRules {
            threshold: 30.0,
            min_frames: 24,
            max_frames: Some(250),
        }
    }
}

/// A scene: `frames` pictures from picture `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneSpan {
    pub start: u64,
    pub frames: u32,
}

impl SceneSpan {
    /// The first picture behind it.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.frames)
    }
}

/// Times that differ by less are the same: an index and a demuxer round in their own ways.
const SAME_TIME_US: i64 = 600;
/// Pictures are compared at this width: differences that make a scene are not small.
const WIDTH: u32 = 320;
/// The filter counts in hundredths of the full range, clients in steps of 8 bits.
const STEPS_PER_PERCENT: f64 = 2.55;

/// One pass over video stream `stream` that writes what [`ScoreReader`] reads to standard output.
pub fn detection(stream: u32) -> Invocation {
    let filters = format!(
        "settb=1/1000000,scale=w={WIDTH}:h=-2:flags=fast_bilinear,scdet=threshold=100,\
         metadata=mode=print:file=pipe\\\\:1"
    );
    let map = format!("0:{stream}");
    Invocation {
        // Edges of blocks make no scene, and to smooth them takes a fifth of the time.
        input: strings(&["-copyts", "-skip_loop_filter", "all"]),
        output: strings(&[
            "-map",
            &map,
            "-an",
            "-sn",
            "-dn",
            "-vf",
            &filters,
            "-fps_mode",
            "passthrough",
            "-f",
            "null",
            "-",
        ]),
    }
}

/// Reads what the filters of [`detection`] print: `frame:N pts:N ...`, then lines `key=value`.
#[derive(Debug, Default)]
pub struct ScoreReader {
    rest: Vec<u8>,
    frames: Vec<FrameScore>,
}

impl ScoreReader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else {
            return;
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("frame:") {
            let pts = line.split_whitespace().find_map(|w| w.strip_prefix("pts:"));
            self.frames.push(FrameScore {
                pts_us: pts.and_then(|p| p.parse().ok()),
                score: 0.0,
                is_key: false,
            });
        } else if let (Some(score), Some(frame)) = (
            line.strip_prefix("lavfi.scd.score="),
            self.frames.last_mut(),
        ) {
            let score = score.trim().parse::<f64>().unwrap_or(0.0);
            frame.score = score * STEPS_PER_PERCENT;
        }
    }

    /// Pictures so far.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    pub fn finish(self) -> Vec<FrameScore> {
        self.frames
    }
}

/// The scenes of a film: they follow each other without a gap, each has at least `min_frames` (unless the
/// film itself has fewer) and at most `max_frames` pictures.
pub fn scene_spans(frames: &[FrameScore], rules: SceneRules) -> Vec<SceneSpan> {
    let (total, min) = (frames.len(), rules.min_frames.max(1) as usize);
    if total == 0 {
        return Vec::new();
    }
    let mut changes: Vec<usize> = (1..total)
        .filter(|n| frames[*n].score >= rules.threshold)
        .collect();
    // The plainest change wins where several are too near to each other.
    changes.sort_by(|a, b| {
        let by_score = frames[*b].score.total_cmp(&frames[*a].score);
        by_score.then(a.cmp(b))
    });
    let mut cuts = std::collections::BTreeSet::from([0, total]);
    for change in changes {
        let before = cuts.range(..=change).next_back().copied().unwrap_or(0);
        let after = cuts.range(change..).next().copied().unwrap_or(total);
        if change - before >= min && after - change >= min {
            cuts.insert(change);
        }
    }
    let cuts: Vec<usize> = cuts.into_iter().collect();
    let max = rules.max_frames.map(|m| (m as usize).max(min));
    let mut spans = Vec::new();
    for pair in cuts.windows(2) {
        let inner = max.map_or_else(Vec::new, |max| parts(frames, pair[0], pair[1], min, max));
        let ends = inner.into_iter().chain([pair[1]]);
        let mut start = pair[0];
        for end in ends {
            spans.push(SceneSpan {
                start: start as u64,
                frames: u32::try_from(end - start).unwrap_or(u32::MAX),
            });
            start = end;
        }
    }
    spans
}

/// Where a scene from `start` to `end` that is longer than `max` is parted: at the source's key frames as
/// far as possible, else into parts of one length. None falls below `min`.
fn parts(frames: &[FrameScore], start: usize, end: usize, min: usize, max: usize) -> Vec<usize> {
    let (mut at, mut cuts) = (start, Vec::new());
    while end - at > max {
        let even = (end - at).div_ceil(max).min((end - at) / min);
        if even < 2 {
            break;
        }
        let latest = (at + max).min(end - min);
        let key = (at + min..=latest).rev().find(|n| frames[*n].is_key);
        at = key.unwrap_or(at + (end - at) / even);
        cuts.push(at);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn film(length: usize, changes: &[(usize, f64)]) -> Vec<FrameScore> {
        let score = |n| changes.iter().find(|c| c.0 == n).map_or(0.5, |c| c.1);
        (0..length)
            .map(|n| FrameScore {
                pts_us: Some(n as i64 * 40_000),
                score: score(n),
                is_key: false,
            })
            .collect()
    }

    fn starts(frames: &[FrameScore], min: u32, max: Option<u32>) -> Vec<(u64, u32)> {
        let rules = SceneRules {
            threshold: 30.0,
            min_frames: min,
            max_frames: max,
        };
        let spans = scene_spans(frames, rules);
        spans.iter().map(|s| (s.start, s.frames)).collect()
    }

    #[test]
    fn scenes_begin_at_plain_changes() {
        let clip = film(144, &[(48, 60.0), (96, 47.0)]);
        assert_eq!(starts(&clip, 10, None), [(0, 48), (48, 48), (96, 48)]);
        // Two changes that are too near: the plainer one stays.
        let clip = film(144, &[(48, 40.0), (50, 90.0), (140, 90.0)]);
        assert_eq!(starts(&clip, 10, None), [(0, 50), (50, 94)]);
        assert_eq!(starts(&film(7, &[]), 24, Some(240)), [(0, 7)]);
        assert_eq!(starts(&[], 1, None), []);
    }

    #[test]
    fn long_scenes_are_parted() {
        assert_eq!(
            starts(&film(100, &[]), 10, Some(40)),
            [(0, 33), (33, 33), (66, 34)]
        );
        assert_eq!(starts(&film(48, &[]), 24, Some(40)), [(0, 24), (24, 24)]);
        assert_eq!(starts(&film(45, &[]), 24, Some(40)), [(0, 45)]);
        // Where the source has a key frame near by, if the limits leave room for it.
        let mut clip = film(100, &[]);
        let keys = [40_000 * 36 + 400, 40_000 * 70, 40_000 * 90];
        mark_keys(&mut clip, &keys);
        assert_eq!(clip.iter().filter(|f| f.is_key).count(), 3);
        let parted = [(0, 36), (36, 34), (70, 30)];
        assert_eq!(starts(&clip, 10, Some(40)), parted);
        assert_eq!(starts(&clip, 10, Some(35)), [(0, 33), (33, 33), (66, 34)]);
    }

    #[test]
    fn scores_are_read_in_any_pieces() {
        let text = "frame:0    pts:0       pts_time:0\nlavfi.scd.mafd=0.000\nlavfi.scd.score=0.000\n\
            frame:1    pts:41667   pts_time:0.041667\nlavfi.scd.score=20.000\n\
            lavfi.scd.time=0.042\nframe:2    pts:NOPTS pts_time:NOPTS\n";
        for size in [1, 7, 1000] {
            let mut reader = ScoreReader::default();
            text.as_bytes().chunks(size).for_each(|c| reader.push(c));
            let frames = reader.finish();
            assert_eq!(frames.len(), 3);
            assert_eq!(
                frames[1],
                FrameScore {
                    pts_us: Some(41_667),
                    score: 51.0,
                    is_key: false,
                }
            );
            assert_eq!(frames[2].pts_us, None);
        }
    }

    proptest! {
        #[test]
        fn scenes_cover_the_film(
            changes in proptest::collection::vec((1usize..400, 0.0f64..255.0), 0..60),
            length in 1usize..400, min in 1u32..50, max in proptest::option::of(1u32..90),
            keys in proptest::collection::vec(0i64..400, 0..40),
        ) {
            let rules = SceneRules { threshold: 30.0, min_frames: min, max_frames: max };
            let mut keys: Vec<i64> = keys.into_iter().map(|k| k * 40_000).collect();
            keys.sort_unstable();
            let mut frames = film(length, &changes);
            mark_keys(&mut frames, &keys);
            let spans = scene_spans(&frames, rules);
            let mut next = 0;
            for span in &spans {
                prop_assert_eq!(span.start, next);
                next = span.end();
                prop_assert!(span.frames >= min || spans.len() == 1);
                if let Some(max) = max && max >= 2 * min {
                    prop_assert!(span.frames <= max);
                }
            }
            prop_assert_eq!(next, length as u64);
        }
    }
}
