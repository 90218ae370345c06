//! Cut points of a stream in exact units: video frames, audio frames or clock ticks.

use crate::base::{FrameRate, MediaTime};

/// The unit in which a timeline counts: `num / den` units make one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    num: u64,
    den: u64,
}

impl Grid {
    /// Units are pictures at a constant rate.
    pub fn frames(rate: FrameRate) -> Self {
        Grid {
            num: u64::from(rate.num()),
            den: u64::from(rate.den()),
        }
    }

    /// Units are audio frames of `frame_samples` samples.
    pub fn audio_frames(sample_rate: u32, frame_samples: u32) -> Self {
        Grid {
            num: u64::from(sample_rate.max(1)),
            den: u64::from(frame_samples.max(1)),
        }
    }

    /// Units are ticks of a clock.
    pub fn ticks(timescale: u32) -> Self {
        Grid {
            num: u64::from(timescale.max(1)),
            den: 1,
        }
    }

    pub fn time_of(self, unit: i64) -> MediaTime {
        let us = div_round(
            i128::from(unit) * i128::from(self.den) * 1_000_000,
            i128::from(self.num),
        );
        MediaTime::from_micros(us as i64)
    }

    pub fn unit_near(self, t: MediaTime) -> i64 {
        let n = i128::from(t.as_micros()) * i128::from(self.num);
        div_round(n, i128::from(self.den) * 1_000_000) as i64
    }

    pub fn seconds(self, units: i64) -> f64 {
        units as f64 * self.den as f64 / self.num as f64
    }

    /// Units in `seconds`, rounded, at least one.
    fn units_in(self, seconds: f64) -> i64 {
        ((seconds * self.num as f64 / self.den as f64).round() as i64).max(1)
    }

    /// The first unit of `other` that starts at or after unit `unit` of this grid; exact.
    pub fn ceil_in(self, unit: i64, other: Grid) -> i64 {
        let n = i128::from(unit) * i128::from(self.den) * i128::from(other.num);
        let d = i128::from(self.num) * i128::from(other.den);
        (n.div_euclid(d) + i128::from(n.rem_euclid(d) != 0)) as i64
    }
}

fn div_round(a: i128, b: i128) -> i128 {
    (a + b / 2).div_euclid(b)
}

/// Lengths of the first segments, in seconds: short ones, so that the first picture comes soon.
const BOOTSTRAP_SECONDS: [f64; 3] = [1.0, 1.0, 2.0];
/// A cut moves to a source key frame this near, as a share of the segment's length: a seek to it
/// then needs no decoding of pictures before it.
const KEYFRAME_REACH: f64 = 0.25;
/// How long an open-ended timeline is laid out, in seconds.
const OPEN_ENDED_SECONDS: f64 = 48.0 * 3600.0;

/// Where every segment of a stream begins, for the whole stream, fixed before the first encoder
/// starts. One timeline per session, shared by all its tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentTimeline {
    grid: Grid,
    /// First unit of each segment, then the end of the last one. Strictly increasing.
    starts: Vec<i64>,
    open_ended: bool,
}

impl SegmentTimeline {
    /// Cuts `total` units (> 0) into three short segments and then segments of `segment_seconds`.
    ///
    /// `keyframes` (sorted units; may be empty) attract cuts that lie near them. No segment is
    /// longer than 1.25 times the asked length, rounded to a unit.
    pub fn fixed(grid: Grid, total: i64, segment_seconds: f64, keyframes: &[i64]) -> Self {
        let seconds = |index| wanted_seconds(index, segment_seconds);
        Self::laid_out(grid, total, seconds, keyframes)
    }

    /// Cuts `total` units (> 0) into segments of `segment_seconds`, the first ones too: for encoders
    /// that make key frames at a fixed distance only.
    pub fn uniform(grid: Grid, total: i64, segment_seconds: f64) -> Self {
        Self::laid_out(grid, total, |_| segment_seconds, &[])
    }

    fn laid_out(grid: Grid, total: i64, seconds: impl Fn(usize) -> f64, keyframes: &[i64]) -> Self {
        let total = total.max(1);
        let mut starts = vec![0];
        let mut at = 0;
        loop {
            let length = grid.units_in(seconds(starts.len() - 1));
            let reach = (length as f64 * KEYFRAME_REACH) as i64;
            if total - at <= length + reach {
                break;
            }
            let next = at + length;
            at = nearest_within(keyframes, next, reach).unwrap_or(next);
            starts.push(at);
        }
        starts.push(total);
        SegmentTimeline {
            grid,
            starts,
            open_ended: false,
        }
    }

    /// A timeline for a source whose end is not known; its segments come into being as they are
    /// made. Laid out for 48 hours.
    pub fn open_ended(grid: Grid, segment_seconds: f64) -> Self {
        let total = grid.units_in(OPEN_ENDED_SECONDS);
        let fixed = Self::fixed(grid, total, segment_seconds, &[]);
        SegmentTimeline {
            open_ended: true,
            ..fixed
        }
    }

    /// As [`SegmentTimeline::open_ended`], with segments of one length from the first on.
    pub fn uniform_open_ended(grid: Grid, segment_seconds: f64) -> Self {
        let total = grid.units_in(OPEN_ENDED_SECONDS);
        SegmentTimeline {
            open_ended: true,
            ..Self::uniform(grid, total, segment_seconds)
        }
    }

    /// Cuts only at `keyframes` (sorted units, the first one is the start), for streams that are
    /// copied. A segment is at least as long as asked, as far as key frames allow.
    /// `None` when there is no key frame before `total`.
    pub fn at_keyframes(
        grid: Grid,
        total: i64,
        segment_seconds: f64,
        keyframes: &[i64],
    ) -> Option<Self> {
        let first = *keyframes.first().filter(|k| **k < total)?;
        let mut starts = vec![first];
        let mut at = first;
        for &key in keyframes.iter().filter(|k| **k < total) {
            let length = grid.units_in(wanted_seconds(starts.len() - 1, segment_seconds));
            if key > at && key - at >= length - (length as f64 * KEYFRAME_REACH) as i64 {
                starts.push(key);
                at = key;
            }
        }
        starts.push(total);
        Some(SegmentTimeline {
            grid,
            starts,
            open_ended: false,
        })
    }

    pub fn grid(&self) -> Grid {
        self.grid
    }

    pub fn is_open_ended(&self) -> bool {
        self.open_ended
    }

    /// Number of segments, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a timeline is never empty")]
    pub fn len(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }

    pub fn contains(&self, segment: u32) -> bool {
        segment < self.len()
    }

    /// First unit of `segment`; for `segment == len()` the end of the stream. Saturates there.
    pub fn start(&self, segment: u32) -> i64 {
        let last = self.starts.len() - 1;
        self.starts[(segment as usize).min(last)]
    }

    pub fn end(&self, segment: u32) -> i64 {
        self.start(segment.saturating_add(1))
    }

    pub fn units(&self, segment: u32) -> i64 {
        self.end(segment) - self.start(segment)
    }

    pub fn seconds(&self, segment: u32) -> f64 {
        self.grid.seconds(self.units(segment))
    }

    pub fn start_time(&self, segment: u32) -> MediaTime {
        self.grid.time_of(self.start(segment))
    }

    pub fn duration(&self) -> MediaTime {
        self.grid.time_of(self.start(self.len())) - self.grid.time_of(self.starts[0])
    }

    /// The segment that holds `unit`; the first or last one for units outside.
    pub fn segment_of(&self, unit: i64) -> u32 {
        let i = self.starts.partition_point(|s| *s <= unit);
        (i.saturating_sub(1) as u32).min(self.len() - 1)
    }

    /// The same timeline cut off after `segments` segments, or at unit `end` if that comes first.
    pub fn closed_at(&self, end: i64) -> Self {
        let end = end.max(self.starts[0] + 1);
        let mut starts: Vec<i64> = self.starts.iter().copied().filter(|s| *s < end).collect();
        starts.push(end);
        SegmentTimeline {
            grid: self.grid,
            starts,
            open_ended: false,
        }
    }

    /// The same segments counted in another unit: `start` gives the first unit of a segment, and for
    /// `len()` the end.
    pub fn mapped(&self, grid: Grid, start: impl Fn(u32) -> i64) -> Self {
        let starts = (0..=self.len()).map(start).collect();
        SegmentTimeline {
            grid,
            starts,
            open_ended: self.open_ended,
        }
    }

    /// Units at which key frames are forced in a run over `segments`, without its first unit.
    pub fn cuts(&self, segments: std::ops::Range<u32>) -> &[i64] {
        let from = (segments.start as usize + 1).min(self.starts.len() - 1);
        let to = (segments.end as usize).clamp(from, self.starts.len() - 1);
        &self.starts[from..to]
    }
}

fn wanted_seconds(index: usize, segment_seconds: f64) -> f64 {
    BOOTSTRAP_SECONDS
        .get(index)
        .map_or(segment_seconds, |s| s.min(segment_seconds))
}

/// The element of `sorted` nearest to `target`, if it is at most `reach` away.
fn nearest_within(sorted: &[i64], target: i64, reach: i64) -> Option<i64> {
    let i = sorted.partition_point(|k| *k < target);
    let near = [i.checked_sub(1), Some(i)].into_iter().flatten();
    let candidates = near.filter_map(|i| sorted.get(i).copied());
    candidates
        .min_by_key(|k| (k - target).abs())
        .filter(|k| (k - target).abs() <= reach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(i: usize) -> Grid {
        let rates = [
            (24000, 1001),
            (25, 1),
            (30000, 1001),
            (30, 1),
            (60000, 1001),
            (10, 1),
        ];
        Grid::frames(FrameRate::new(rates[i].0, rates[i].1).unwrap())
    }

    #[test]
    fn starts_short_and_goes_on_long() {
        let t = SegmentTimeline::fixed(grid(3), 600, 4.0, &[]);
        let lengths: Vec<i64> = (0..t.len()).map(|i| t.units(i)).collect();
        assert_eq!(lengths, [30, 30, 60, 120, 120, 120, 120]);
    }

    #[test]
    fn uniform_segments_have_one_length_but_for_the_last() {
        let t = SegmentTimeline::uniform(grid(0), 460, 4.0);
        let lengths: Vec<i64> = (0..t.len()).map(|i| t.units(i)).collect();
        assert_eq!(lengths, [96, 96, 96, 96, 76]);
        assert_eq!(
            SegmentTimeline::uniform_open_ended(grid(0), 4.0).units(0),
            96
        );
    }

    #[test]
    fn cuts_move_to_key_frames_nearby() {
        let t = SegmentTimeline::fixed(grid(3), 600, 4.0, &[0, 36, 200, 260, 500]);
        assert_eq!(
            (t.start(1), t.start(2), t.start(3), t.start(4)),
            (36, 66, 126, 260)
        );
    }

    #[test]
    fn copies_are_cut_at_key_frames_only() {
        let keys = [0, 30, 75, 250, 490];
        let t = SegmentTimeline::at_keyframes(grid(3), 600, 4.0, &keys).unwrap();
        let starts: Vec<i64> = (0..=t.len()).map(|i| t.start(i)).collect();
        assert_eq!(starts, [0, 30, 75, 250, 490, 600]);
        assert!(SegmentTimeline::at_keyframes(grid(3), 600, 4.0, &[]).is_none());
    }

    proptest! {
        #[test]
        fn segments_tile_the_stream(
            i in 0usize..6, total in 1i64..400_000, seconds in 1u32..=10,
            mut keys in proptest::collection::vec(0i64..400_000, 0..200),
        ) {
            keys.sort_unstable();
            let t = SegmentTimeline::fixed(grid(i), total, f64::from(seconds), &keys);
            prop_assert_eq!(t.start(0), 0);
            prop_assert_eq!(t.end(t.len() - 1), total);
            let longest = grid(i).units_in(f64::from(seconds)) as f64 * 1.25;
            for s in 0..t.len() {
                prop_assert!(t.units(s) > 0);
                prop_assert!(t.units(s) as f64 <= longest);
                prop_assert_eq!(t.segment_of(t.start(s)), s);
                prop_assert_eq!(t.segment_of(t.end(s) - 1), s);
            }
        }

        #[test]
        fn audio_frames_tile_it_too(i in 0usize..6, total in 1i64..100_000, rate in 0usize..3) {
            let t = SegmentTimeline::fixed(grid(i), total, 4.0, &[]);
            // A frame belongs to the segment in which it begins.
            let frames = Grid::audio_frames([48_000, 44_100, 22_050][rate], 1024);
            let first = |s: u32| t.grid().ceil_in(t.start(s), frames);
            prop_assert_eq!(first(0), 0);
            for s in 0..t.len() {
                prop_assert!(frames.seconds(first(s)) >= grid(i).seconds(t.start(s)) - 1e-9);
                prop_assert!(frames.seconds(first(s) - 1) < grid(i).seconds(t.start(s)));
                prop_assert!(first(s) <= first(s + 1));
            }
            prop_assert!(frames.seconds(first(t.len())) >= grid(i).seconds(total) - 1e-9);
        }

        #[test]
        fn key_frame_cuts_tile_the_rest(mut keys in proptest::collection::vec(0i64..9_000, 1..100)) {
            keys.sort_unstable();
            let t = SegmentTimeline::at_keyframes(grid(1), 10_000, 4.0, &keys).unwrap();
            prop_assert_eq!(t.start(0), keys[0]);
            for s in 0..t.len() {
                prop_assert!(keys.contains(&t.start(s)) && t.units(s) > 0);
            }
            prop_assert_eq!(t.end(t.len() - 1), 10_000);
        }
    }
}
