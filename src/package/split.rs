//! Which segment a sample belongs to, and whether an encoder run delivered what was planned.
//!
//! Nothing that fails these checks is ever served: joins of segments from different runs are exact
//! because every run proves here that it is on the grid.

use std::sync::Arc;

use crate::hls::{Grid, SegmentTimeline};

use super::sample::Sample;

/// The boundaries of a timeline in the ticks of one track.
#[derive(Debug, Clone)]
pub struct TrackCuts {
    timeline: Arc<SegmentTimeline>,
    kind: CutKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CutKind {
    /// Encoded pictures: every one lies on the grid, `ticks` apart, and is decoded `lead` pictures
    /// ahead of its place.
    Pictures { ticks: i64, lead: i64 },
    /// Copied pictures: segments begin at key frames, found within `tolerance` ticks.
    KeyPictures { tolerance: i64 },
    /// Encoded sound: frames of `samples` follow each other without a gap.
    Sound { rate: u32, samples: i64 },
    /// Copied sound: frames lie where they lie.
    CopiedSound { rate: u32 },
}

impl TrackCuts {
    /// `lead` is by how many pictures decoding is ahead of showing. Decoding times are counted from it:
    /// an encoder finds out from the pictures that it is given, and may have been given too few.
    pub fn pictures(timeline: Arc<SegmentTimeline>, ticks_per_frame: i64, lead: i64) -> Self {
        TrackCuts {
            timeline,
            kind: CutKind::Pictures {
                ticks: ticks_per_frame.max(1),
                lead,
            },
        }
    }

    /// `timescale` is that of the timeline's grid too.
    pub fn key_pictures(timeline: Arc<SegmentTimeline>, timescale: u32) -> Self {
        let tolerance = i64::from(timescale) / 500;
        TrackCuts {
            timeline,
            kind: CutKind::KeyPictures { tolerance },
        }
    }

    pub fn sound(timeline: Arc<SegmentTimeline>, rate: u32, frame_samples: u32) -> Self {
        let samples = i64::from(frame_samples.max(1));
        TrackCuts {
            timeline,
            kind: CutKind::Sound { rate, samples },
        }
    }

    pub fn copied_sound(timeline: Arc<SegmentTimeline>, rate: u32) -> Self {
        TrackCuts {
            timeline,
            kind: CutKind::CopiedSound { rate },
        }
    }

    pub fn timeline(&self) -> &Arc<SegmentTimeline> {
        &self.timeline
    }

    /// First tick of `segment`; for `segment == len()` the end.
    pub fn boundary(&self, segment: u32) -> i64 {
        let unit = self.timeline.start(segment);
        let grid = self.timeline.grid();
        match self.kind {
            CutKind::Pictures { ticks, .. } => unit * ticks,
            CutKind::KeyPictures { .. } => unit,
            CutKind::Sound { rate, samples } => {
                grid.ceil_in(unit, Grid::audio_frames(rate, samples as u32)) * samples
            }
            CutKind::CopiedSound { rate } => grid.ceil_in(unit, Grid::ticks(rate)),
        }
    }

    /// Distance of two samples, where it is fixed.
    fn step(&self) -> Option<i64> {
        match self.kind {
            CutKind::Pictures { ticks, .. } => Some(ticks),
            CutKind::Sound { samples, .. } => Some(samples),
            CutKind::KeyPictures { .. } | CutKind::CopiedSound { .. } => None,
        }
    }

    /// Samples in `segment`, where they can be counted beforehand.
    pub fn samples(&self, segment: u32) -> Option<usize> {
        let span = self.boundary(segment.saturating_add(1)) - self.boundary(segment);
        self.step().map(|step| (span / step) as usize)
    }

    /// Number of the sample that begins `done` samples into `segment`, where samples are numbered.
    pub fn unit(&self, segment: u32, done: usize) -> Option<i64> {
        self.step()
            .map(|step| self.boundary(segment) / step + done as i64)
    }
}

/// What became of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitEvent {
    Sample { segment: u32, sample: Sample },
    Complete { segment: u32 },
}

/// A run did not deliver what was planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("the first sample is {late_ticks} ticks late")]
    Late { late_ticks: i64 },
    #[error("sample at {pts} where {expected} was planned")]
    OffGrid { pts: i64, expected: i64 },
    #[error("segment {segment} does not begin with a key frame")]
    NoKeyFrame { segment: u32 },
}

/// Sorts the samples of one run into segments.
#[derive(Debug)]
pub struct Splitter {
    cuts: TrackCuts,
    segment: u32,
    /// Samples of `segment` that are there, from this run or an earlier one.
    count: usize,
    /// Samples of `segment` from an earlier run, which a copy delivers again.
    skip: usize,
    started: bool,
    /// Pictures whose predecessors in presentation order are still to come.
    held: Vec<Sample>,
    /// Largest presentation time in `segment` so far, in steps from its boundary.
    latest: i64,
}

impl Splitter {
    /// A run that begins `done` samples into `segment`.
    pub fn new(cuts: TrackCuts, segment: u32, done: usize) -> Self {
        let skip = if cuts.step().is_none() { done } else { 0 };
        let count = if skip > 0 { 0 } else { done };
        Splitter {
            cuts,
            segment,
            count,
            skip,
            started: false,
            held: Vec::new(),
            latest: done as i64 - 1,
        }
    }

    /// The segment being filled and the samples in it.
    pub fn position(&self) -> (u32, usize) {
        (self.segment, self.count)
    }

    /// Takes the next sample in decoding order.
    pub fn push(&mut self, sample: Sample) -> Result<Vec<SplitEvent>, SplitError> {
        let mut out = Vec::new();
        if !self.cuts.timeline.contains(self.segment) {
            return Ok(out);
        }
        match self.cuts.kind {
            CutKind::Pictures { ticks, .. } => self.picture(sample, ticks, &mut out)?,
            CutKind::KeyPictures { tolerance } => self.key_picture(sample, tolerance, &mut out)?,
            CutKind::Sound { samples, .. } => self.sound(sample, samples, &mut out)?,
            CutKind::CopiedSound { .. } => self.copied_sound(sample, &mut out)?,
        }
        Ok(out)
    }

    /// The source has ended: where the length of segments is not known beforehand, the last one is
    /// complete now.
    pub fn finish(&mut self) -> Vec<SplitEvent> {
        let mut out = Vec::new();
        let last = self.segment + 1 == self.cuts.timeline.len();
        if self.cuts.step().is_none() && self.started && last {
            self.complete(&mut out);
        }
        out
    }

    /// Completes the segment being filled though it is shorter than planned: the end of a source
    /// whose length was not known. Gives its true length in samples; `None` when it is empty.
    pub fn close(&mut self) -> Option<(u32, usize, Vec<SplitEvent>)> {
        let mut out = Vec::new();
        self.release(&mut out);
        let (segment, count) = (self.segment, self.count);
        if count == 0 {
            return None;
        }
        self.complete(&mut out);
        Some((segment, count, out))
    }

    fn complete(&mut self, out: &mut Vec<SplitEvent>) {
        out.push(SplitEvent::Complete {
            segment: self.segment,
        });
        self.segment += 1;
        self.count = 0;
        self.skip = 0;
        self.latest = -1;
    }

    fn emit(&mut self, mut sample: Sample, out: &mut Vec<SplitEvent>) {
        if let CutKind::Pictures { ticks, lead } = self.cuts.kind {
            let place = self.cuts.boundary(self.segment) + (self.count as i64 - lead) * ticks;
            sample.dts = place.min(sample.pts);
        }
        self.count += 1;
        if self.count > self.skip {
            out.push(SplitEvent::Sample {
                segment: self.segment,
                sample,
            });
        }
    }

    /// A picture is passed on when all that are shown before it are there: should the run break
    /// off, another one can then go on with the next picture.
    fn picture(
        &mut self,
        sample: Sample,
        ticks: i64,
        out: &mut Vec<SplitEvent>,
    ) -> Result<(), SplitError> {
        let start = self.cuts.boundary(self.segment);
        let begins = !self.started || self.count + self.held.len() == 0;
        if begins {
            let expected = start + self.count as i64 * ticks;
            if sample.pts > expected && !self.started {
                return Err(SplitError::Late {
                    late_ticks: sample.pts - expected,
                });
            }
            if sample.pts != expected {
                return Err(SplitError::OffGrid {
                    pts: sample.pts,
                    expected,
                });
            }
            if !sample.sync {
                return Err(SplitError::NoKeyFrame {
                    segment: self.segment,
                });
            }
            self.started = true;
        }
        let end = self.cuts.boundary(self.segment + 1);
        let step = (sample.pts - start).div_euclid(ticks);
        if sample.pts < start || sample.pts >= end || (sample.pts - start) % ticks != 0 {
            return Err(SplitError::OffGrid {
                pts: sample.pts,
                expected: start,
            });
        }
        self.latest = self.latest.max(step);
        self.held.push(sample);
        let have = (self.count + self.held.len()) as i64;
        if have > self.latest + 1 {
            return Err(SplitError::OffGrid {
                pts: start + step * ticks,
                expected: start,
            });
        }
        if have == self.latest + 1 {
            self.release(out);
            if start + have * ticks == end {
                self.complete(out);
            }
        }
        Ok(())
    }

    fn release(&mut self, out: &mut Vec<SplitEvent>) {
        for sample in std::mem::take(&mut self.held) {
            self.emit(sample, out);
        }
    }

    fn key_picture(
        &mut self,
        sample: Sample,
        tolerance: i64,
        out: &mut Vec<SplitEvent>,
    ) -> Result<(), SplitError> {
        let start = self.cuts.boundary(self.segment);
        if !self.started {
            if !sample.sync || sample.pts < start - tolerance {
                return Ok(());
            }
            if sample.pts > start + tolerance {
                return Err(SplitError::Late {
                    late_ticks: sample.pts - start,
                });
            }
            self.started = true;
        } else if sample.sync && sample.pts >= self.cuts.boundary(self.segment + 1) - tolerance {
            let next = self.cuts.boundary(self.segment + 1);
            if self.segment + 1 < self.cuts.timeline.len() {
                if sample.pts > next + tolerance {
                    return Err(SplitError::OffGrid {
                        pts: sample.pts,
                        expected: next,
                    });
                }
                self.complete(out);
            }
        }
        self.emit(sample, out);
        Ok(())
    }

    fn sound(
        &mut self,
        sample: Sample,
        step: i64,
        out: &mut Vec<SplitEvent>,
    ) -> Result<(), SplitError> {
        let expected = self.cuts.boundary(self.segment) + self.count as i64 * step;
        if !self.started && sample.pts < expected {
            // Frames that only settle the encoder.
            return Ok(());
        }
        if sample.pts != expected {
            return Err(match self.started {
                false => SplitError::Late {
                    late_ticks: sample.pts - expected,
                },
                true => SplitError::OffGrid {
                    pts: sample.pts,
                    expected,
                },
            });
        }
        self.started = true;
        self.emit(sample, out);
        while self.cuts.timeline.contains(self.segment)
            && expected + step >= self.cuts.boundary(self.segment + 1)
        {
            self.complete(out);
        }
        Ok(())
    }

    fn copied_sound(
        &mut self,
        sample: Sample,
        out: &mut Vec<SplitEvent>,
    ) -> Result<(), SplitError> {
        if !self.started {
            if sample.pts < self.cuts.boundary(self.segment) {
                return Ok(());
            }
            self.started = true;
        }
        while self.cuts.timeline.contains(self.segment + 1)
            && sample.pts >= self.cuts.boundary(self.segment + 1)
        {
            self.complete(out);
        }
        self.emit(sample, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameRate;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn timeline(frames: i64) -> Arc<SegmentTimeline> {
        let rate = FrameRate::new(30, 1).unwrap();
        Arc::new(SegmentTimeline::fixed(Grid::frames(rate), frames, 4.0, &[]))
    }

    fn sample(pts: i64, sync: bool) -> Sample {
        Sample {
            dts: pts,
            pts,
            duration: 1,
            sync,
            data: Bytes::new(),
        }
    }

    /// Pictures `from..until` in a decoding order with B-frames, key frames at every cut.
    fn pictures(t: &SegmentTimeline, from: i64, until: i64) -> Vec<Sample> {
        let mut out = Vec::new();
        let mut at = from;
        while at < until {
            let segment_end = t.end(t.segment_of(at)).min(until);
            out.push(sample(at * 10, true));
            at += 1;
            while at < segment_end {
                let group = (segment_end - at).min(4);
                out.push(sample((at + group - 1) * 10, false));
                out.extend((at..at + group - 1).map(|f| sample(f * 10, false)));
                at += group;
            }
        }
        out
    }

    fn run(s: &mut Splitter, samples: Vec<Sample>) -> Vec<SplitEvent> {
        samples
            .into_iter()
            .flat_map(|x| s.push(x).unwrap())
            .collect()
    }

    proptest! {
        /// A run that breaks off anywhere and another one that goes on where it stopped deliver
        /// every picture once.
        #[test]
        fn broken_runs_are_continued(frames in 40i64..700, stop in 1usize..600) {
            let t = timeline(frames);
            let cuts = TrackCuts::pictures(t.clone(), 10, 2);
            let mut first = Splitter::new(cuts.clone(), 0, 0);
            let mut all = pictures(&t, 0, frames);
            all.truncate(stop);
            let mut events = run(&mut first, all);
            let (segment, done) = first.position();
            if t.contains(segment) {
                let mut second = Splitter::new(cuts, segment, done);
                let from = t.start(segment) + done as i64;
                events.extend(run(&mut second, pictures(&t, from, frames)));
            }
            let mut seen = Vec::new();
            let mut completed = 0;
            let mut decoded = i64::MIN;
            for e in events {
                match e {
                    SplitEvent::Sample { segment, sample } => {
                        prop_assert!(sample.dts > decoded && sample.dts <= sample.pts);
                        decoded = sample.dts;
                        prop_assert_eq!(t.segment_of(sample.pts / 10), segment);
                        seen.push(sample.pts / 10);
                    }
                    SplitEvent::Complete { segment } => {
                        prop_assert_eq!(segment, completed);
                        completed += 1;
                        prop_assert_eq!(seen.len() as i64, t.end(segment));
                    }
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..frames).collect::<Vec<_>>());
            prop_assert_eq!(completed, t.len());
        }

        #[test]
        fn sound_is_sorted_by_its_start(frames in 40i64..700, segment in 0u32..4) {
            let t = timeline(frames);
            let cuts = TrackCuts::sound(t.clone(), 44_100, 1024);
            let segment = segment.min(t.len() - 1);
            let first = cuts.boundary(segment);
            let mut s = Splitter::new(cuts.clone(), segment, 0);
            let lead = (first / 1024 - 5).max(-1);
            let all = (lead..cuts.boundary(t.len()) / 1024).map(|f| sample(f * 1024, true));
            let events = run(&mut s, all.collect());
            let samples = events.iter().filter(|e| matches!(e, SplitEvent::Sample { .. })).count();
            prop_assert_eq!(samples as i64, (cuts.boundary(t.len()) - first) / 1024);
            prop_assert_eq!(events.len() - samples, (t.len() - segment) as usize);
        }
    }

    #[test]
    fn what_is_not_as_planned_is_refused() {
        let cuts = TrackCuts::pictures(timeline(300), 10, 2);
        let at = |done| Splitter::new(cuts.clone(), 1, done);
        assert_eq!(
            at(0).push(sample(310, true)),
            Err(SplitError::Late { late_ticks: 10 })
        );
        assert_eq!(
            at(0).push(sample(300, false)),
            Err(SplitError::NoKeyFrame { segment: 1 })
        );
        assert!(matches!(
            at(0).push(sample(290, true)),
            Err(SplitError::OffGrid { .. })
        ));
        let mut twice = at(0);
        twice.push(sample(300, true)).unwrap();
        assert!(twice.push(sample(300, false)).is_err());
        let mut sound = Splitter::new(TrackCuts::sound(timeline(300), 48_000, 1024), 0, 0);
        sound.push(sample(0, true)).unwrap();
        assert!(sound.push(sample(2048, true)).is_err());
    }

    #[test]
    fn copies_are_cut_at_key_frames() {
        let keys = [0, 90_000, 270_000, 500_000];
        let t = SegmentTimeline::at_keyframes(Grid::ticks(90_000), 600_000, 4.0, &keys).unwrap();
        let cuts = TrackCuts::key_pictures(Arc::new(t), 90_000);
        let mut s = Splitter::new(cuts, 1, 0);
        let mut events = run(
            &mut s,
            vec![sample(0, true), sample(90_001, true), sample(95_000, false)],
        );
        events.extend(run(
            &mut s,
            vec![sample(270_000, true), sample(500_000, true)],
        ));
        events.extend(s.finish());
        let completed = events
            .iter()
            .filter(|e| matches!(e, SplitEvent::Complete { .. }))
            .count();
        assert_eq!((completed, events.len()), (3, 7));
    }
}
