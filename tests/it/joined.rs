//! What must hold of the segments of a stream, whichever runs made them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ghoststream::plan::StreamPlan;

use crate::media::{
    Packet, complaints, decode_numbers, decode_pictures, decode_sound, likeness, packet_times,
    packets, rms,
};

/// A media playlist with all its segments.
pub(crate) struct Rendition {
    /// Empty for transport streams.
    pub(crate) init: Bytes,
    /// `EXTINF` of each segment.
    pub(crate) lengths: Vec<f64>,
    /// `EXT-X-TARGETDURATION`.
    pub(crate) target: f64,
    pub(crate) segments: Vec<Bytes>,
}

impl Rendition {
    /// The segments in their order, and where each begins.
    fn joined(&self) -> (Vec<u8>, Vec<u64>) {
        let mut all = self.init.to_vec();
        let mut starts = Vec::new();
        for segment in &self.segments {
            starts.push(all.len() as u64);
            all.extend_from_slice(segment);
        }
        (all, starts)
    }

    fn seconds(&self) -> f64 {
        self.lengths.iter().sum()
    }

    /// RFC 8216 section 4.3.3.1.
    fn check_lengths(&self) {
        for length in &self.lengths {
            assert!(
                *length > 0.0 && length.round() <= self.target,
                "EXTINF {length}"
            );
        }
    }
}

/// A stream with all its segments: one rendition with both tracks, or one for each.
pub(crate) struct Joined {
    pub(crate) plan: StreamPlan,
    pub(crate) renditions: Vec<Rendition>,
}

impl Joined {
    /// Where the timeline's zero is on the clock of the output, and that clock's rate.
    fn video_clock(&self) -> (i64, i64) {
        let video = self.plan.main_video().unwrap();
        if self.renditions[0].init.is_empty() || video.encode.is_none() {
            (900_000, 90_000)
        } else {
            let scale = i64::from(ghoststream::plan::video_timescale(video));
            (10 * scale, scale)
        }
    }

    fn rate(&self) -> (i64, i64) {
        let rate = self.plan.main_video().unwrap().rate;
        (i64::from(rate.num()), i64::from(rate.den()))
    }

    fn picture_count(&self, seconds: f64) -> i64 {
        let (num, den) = self.rate();
        (seconds * num as f64 / den as f64).round() as i64
    }

    /// All pictures lie on the grid, each once, in the segment that they belong to.
    fn check_pictures(&self, found: &[Packet], starts: &[u64]) {
        let rendition = &self.renditions[0];
        let (origin, scale) = self.video_clock();
        let (num, den) = self.rate();
        let tick = |n: i64| origin + (2 * n * scale * den + num).div_euclid(2 * num);
        let mut at = 0;
        let mut last_dts = i64::MIN;
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(u64::MAX);
            let within = |p: &&Packet| (*start..end).contains(&p.position);
            let here: Vec<Packet> = found.iter().filter(within).copied().collect();
            let count = self.picture_count(rendition.lengths[..=i].iter().sum()) - at;
            let mut times: Vec<i64> = here.iter().map(|p| p.pts).collect();
            times.sort_unstable();
            let planned: Vec<i64> = (at..at + count).map(tick).collect();
            assert_eq!(times, planned, "pictures of segment {i}");
            assert!(
                here[0].key && here[0].pts == tick(at),
                "segment {i} begins with no key frame"
            );
            for p in &here {
                assert!(
                    p.dts > last_dts && p.dts <= p.pts,
                    "decoding times of segment {i}"
                );
                last_dts = p.dts;
            }
            at += count;
        }
        assert_eq!(found.len() as i64, at);
    }

    /// Segments of copied pictures begin with key frames where the playlist says so; decoding times
    /// rise over all joins.
    fn check_copied_segments(&self, found: &[Packet], starts: &[u64]) {
        let rendition = &self.renditions[0];
        let (origin, scale) = self.video_clock();
        let mut last_dts = i64::MIN;
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(u64::MAX);
            let mut here = found.iter().filter(|p| (*start..end).contains(&p.position));
            let first = here.clone().next().unwrap();
            let listed: f64 = rendition.lengths[..i].iter().sum();
            let begin = origin + (listed * scale as f64).round() as i64;
            assert!(
                first.key && (first.pts - begin).abs() <= 1 + i as i64 / 10,
                "segment {i} is listed at {begin} and begins at {} (key frame: {})",
                first.pts,
                first.key
            );
            assert!(
                here.all(|p| {
                    let rises = p.dts > last_dts && p.dts <= p.pts;
                    last_dts = p.dts;
                    rises
                }),
                "decoding times of segment {i}"
            );
        }
    }

    /// Copied pictures are the source's, from the first key frame on: each once, at its time.
    pub(crate) fn check_copied_pictures(&self, source: &Path, joined: &Path) {
        let video = self.plan.main_video().unwrap();
        let (origin, scale) = self.video_clock();
        let mut theirs = packet_times(source, &video.stream.to_string());
        theirs.retain(|t| *t > self.plan.origin.as_secs_f64() - 1e-4);
        let mut ours: Vec<i64> = packets(joined, "v:0").iter().map(|p| p.pts).collect();
        ours.sort_unstable();
        assert_eq!(ours.len(), theirs.len(), "copied pictures");
        for (mine, other) in ours.iter().zip(&theirs) {
            let place = (mine - origin) as f64 / scale as f64;
            let planned = other - self.plan.origin.as_secs_f64();
            assert!(
                (place - planned).abs() < 1.6 / scale as f64,
                "a picture of {planned:.6} s is at {place:.6} s"
            );
        }
        let shown = decode_numbers(joined, "0:v:0").1;
        let (times, mut numbers) = decode_numbers(source, &format!("0:{}", video.stream));
        let before = times.partition_point(|t| *t < self.plan.origin.as_secs_f64() - 1e-4);
        numbers.drain(..before);
        assert_eq!(shown, numbers);
    }

    /// Copied frames follow each other as in the source: none is missing, none is there twice.
    fn check_copied_frames(&self, found: &[Packet], origin: i64, length: i64) {
        let first = found[0].pts - origin;
        assert!(
            (0..2 * length).contains(&first),
            "the first frame is at {first}"
        );
        for pair in found.windows(2) {
            let step = pair[1].pts - pair[0].pts;
            // Containers round to milliseconds.
            let rounding = length / 12;
            assert!(
                (step - length).abs() <= rounding,
                "frames at {} and {}",
                pair[0].pts,
                pair[1].pts
            );
        }
    }

    /// All audio frames are there, each once, in the segment in which they start.
    fn check_frames(&self, found: &[Packet], starts: &[u64], alone: bool) {
        let rendition = self.renditions.last().unwrap();
        let rate = i64::from(self.plan.main_audio().unwrap().sample_rate);
        let (origin, scale) = if rendition.init.is_empty() {
            (900_000, 90_000)
        } else {
            (10 * rate, rate)
        };
        let segment_ends: Vec<f64> = self.renditions[0]
            .lengths
            .iter()
            .scan(0.0, |sum, l| {
                *sum += l;
                Some(*sum)
            })
            .collect();
        let audio = self.plan.main_audio().unwrap();
        let frame = i64::from(audio.codec.frame_samples());
        if audio.encode.is_none() {
            self.check_copied_frames(found, origin, frame * scale / rate);
            return;
        }
        for (n, p) in (0_i64..).zip(found) {
            let planned = origin as f64 + (n * frame * scale) as f64 / rate as f64;
            // Within a packet of the transport stream the demuxer adds up rounded lengths.
            assert!(
                (p.pts as f64 - planned).abs() <= 2.0,
                "frame {n} at {} not {planned}",
                p.pts
            );
            let segment = starts.partition_point(|s| *s <= p.position) - 1;
            let time = (n * frame) as f64 / rate as f64;
            let begin = if segment == 0 {
                0.0
            } else {
                segment_ends[segment - 1]
            };
            assert!(
                time > begin - 1e-4 && time < segment_ends[segment] + 1e-4,
                "frame {n} lies in segment {segment}"
            );
        }
        let frames = found.len() as f64 * frame as f64 / rate as f64;
        let missing = self.renditions[0].seconds() - frames;
        assert!(
            missing < 1e-4 && missing > -(frame as f64) / rate as f64 - 1e-4,
            "{missing} s of sound are missing"
        );
        if alone {
            assert!(
                (rendition.seconds() - frames).abs() < 1e-4,
                "EXTINF of sound"
            );
        }
    }

    /// Everything that can be said without knowing what the source shows. Gives the joined files.
    pub(crate) fn check(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (n, rendition) in self.renditions.iter().enumerate() {
            rendition.check_lengths();
            let (bytes, starts) = rendition.joined();
            let name = if rendition.init.is_empty() {
                "joined.ts"
            } else {
                "joined.mp4"
            };
            let path = folder.join(format!("{n}_{name}"));
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(complaints(&path), "");
            let both = self.renditions.len() == 1;
            match self.plan.main_video().filter(|_| n == 0) {
                None => {}
                Some(video) if video.encode.is_none() => {
                    self.check_copied_segments(&packets(&path, "v:0"), &starts);
                }
                Some(_) => self.check_pictures(&packets(&path, "v:0"), &starts),
            }
            if self.plan.main_audio().is_some() && (both || n == 1) {
                self.check_frames(&packets(&path, "a:0"), &starts, !both);
            }
            files.push(path);
        }
        files
    }

    /// Which of the source's pictures, at `times`, belong to a place of the grid: the last one whose
    /// nearest place is not behind it. Timestamps between two places may fall to either.
    fn planned(&self, times: &[f64]) -> impl Fn(i64) -> Vec<usize> {
        let (num, den) = self.rate();
        let origin = self.plan.origin.as_secs_f64();
        let variants = [0.0, 1e-4, -1e-4].map(|shift| -> Vec<i64> {
            let slot = |t: &f64| ((t + shift - origin) * num as f64 / den as f64).round() as i64;
            times.iter().map(slot).collect()
        });
        move |place| {
            let last = |v: &Vec<i64>| v.iter().rposition(|s| *s <= place).unwrap_or(0);
            variants.iter().map(last).collect()
        }
    }

    /// Pictures of the grid look like the source's at their times, and less like those before and
    /// after. Gives a note of how many could be told apart.
    pub(crate) fn check_thumbnails(&self, source: &Path, joined: &Path) -> String {
        const SIZE: (u32, u32) = (32, 18);
        let video = self.plan.main_video().unwrap();
        // Pictures of two fields are compared with what is left of them: they show two moments.
        let before = video.encode.as_ref().map(|e| e.before_grid.join(","));
        let before = before.unwrap_or_default();
        let theirs = decode_pictures(source, &format!("0:{}", video.stream), &before, SIZE);
        let ours = decode_pictures(joined, "0:v:0", "", SIZE);
        let planned = self.planned(&theirs.times);
        let distance = |a: &[u8], b: &[u8]| {
            let sum: u32 = a
                .iter()
                .zip(b)
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            f64::from(sum) / f64::from(SIZE.0 * SIZE.1)
        };
        let (mut told_apart, mut wrong) = (0, Vec::new());
        for (n, shown) in (0_i64..).zip(&ours.levels) {
            let places = planned(n);
            let at = |i: i64| {
                let i = i.clamp(0, theirs.levels.len() as i64 - 1) as usize;
                distance(shown, &theirs.levels[i])
            };
            let right = places
                .iter()
                .map(|i| at(*i as i64))
                .fold(f64::MAX, f64::min);
            let first = places[0] as i64;
            let other = [-2, -1, 1, 2]
                .map(|d| at(first + d))
                .into_iter()
                .fold(f64::MAX, f64::min);
            told_apart += i64::from(other > right + 0.5);
            if right > other + 0.5 || right > 12.0 {
                wrong.push((n, first, right, other));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} pictures are wrong: {:.2?}",
            wrong.len(),
            ours.levels.len(),
            &wrong[..wrong.len().min(8)]
        );
        format!(
            ", {told_apart} of {} pictures told apart",
            ours.levels.len()
        )
    }

    /// Grid pictures show the numbers that the source shows at their times.
    pub(crate) fn check_numbers(&self, source: &Path, joined: &Path) {
        let video = self.plan.main_video().unwrap();
        let (times, numbers) = decode_numbers(source, &format!("0:{}", video.stream));
        let (_, shown) = decode_numbers(joined, "0:v:0");
        let planned = self.planned(&times);
        let wrong: Vec<_> = (0_i64..)
            .zip(&shown)
            .filter(|(n, s)| !planned(*n).iter().any(|i| numbers[*i] == **s))
            .map(|(n, s)| (n, *s, numbers[planned(n)[0]]))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} pictures are wrong: (place, shown, planned) {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(12)]
        );
    }

    /// Sound lies where the source has it, at every join and between. `alike` is how like the
    /// source's it must be: encoders are not true to noise.
    pub(crate) fn check_sound(&self, source: &Path, joined: &Path, alike: f64) {
        const WINDOW: usize = 2048;
        const MARGIN: f64 = 0.05;
        const QUIET: f64 = 0.003;
        let audio = self.plan.main_audio().unwrap();
        let rate = audio.sample_rate;
        let millisecond = i64::from(rate / 1000);
        let theirs = decode_sound(source, &format!("0:{}", audio.stream), rate);
        let ours = decode_sound(joined, "0:a:0", rate);
        let origin = self.plan.origin.as_secs_f64();
        let reach = 30 * millisecond as usize;
        let window = WINDOW as f64 / f64::from(rate);
        let mut at = 0.0;
        for length in &self.renditions[0].lengths {
            for time in [at - window / 2.0, at + length / 2.0] {
                let mine = ours.at(10.0 + time, WINDOW);
                let begin = origin + time - reach as f64 / f64::from(rate);
                let other = theirs.at(begin, WINDOW + 2 * reach);
                let known = origin + time > theirs.start + MARGIN
                    && origin + time + window < theirs.end() - MARGIN;
                if rms(&other) < QUIET {
                    let noise = rms(&mine);
                    assert!(
                        noise < 2.0 * QUIET,
                        "noise of {noise:.4} at {time:.3} s, where the source is silent"
                    );
                } else if known && time > MARGIN && rms(&other[reach..reach + WINDOW]) > QUIET {
                    let found = likeness(&mine, &other, millisecond);
                    let near = found.iter().filter(|(lag, _)| lag.abs() <= millisecond);
                    let near = near.map(|f| f.1).fold(0.0, f64::max);
                    let best = found
                        .into_iter()
                        .max_by(|a, b| a.1.total_cmp(&b.1))
                        .unwrap();
                    let late = -best.0 as f64 / f64::from(rate) * 1000.0;
                    assert!(
                        near > best.1 - 0.05 && near > alike,
                        "sound at {time:.3} s is {late:.2} ms late (likeness {:.3}, {near:.3} in place)",
                        best.1
                    );
                }
            }
            at += length;
        }
    }

    /// The timeline is as long as what the source shows; `claimed` is how long the source says that
    /// it is, which is believed where it has less.
    pub(crate) fn check_length(&self, source: &Path, claimed: Option<f64>) {
        let mut end: f64 = 0.0;
        let origin = self.plan.origin.as_secs_f64();
        let mut slack = 0.0;
        if let Some(video) = self.plan.main_video() {
            let (times, _) = decode_numbers(source, &format!("0:{}", video.stream));
            let frame = 1.0 / video.rate.as_f64();
            let last = times.iter().copied().fold(f64::MIN, f64::max);
            let others = times.iter().copied().filter(|t| *t < last);
            // Slow pictures are repeated on the grid, the last one too.
            let step = others.reduce(f64::max).map_or(frame, |t| last - t);
            let step = step.clamp(frame, 2.0);
            end = end.max(last + step - origin);
            slack = step;
        }
        if let Some(audio) = self.plan.main_audio() {
            let sound = decode_sound(source, &format!("0:{}", audio.stream), audio.sample_rate);
            end = end.max(sound.end() - origin);
            let frame = f64::from(audio.codec.frame_samples());
            slack = f64::max(slack, frame / f64::from(audio.sample_rate));
        }
        let listed = self.renditions[0].seconds();
        let most = claimed.map_or(end, |c| c.max(end));
        assert!(
            (end - slack * 1.5..=most + slack * 1.5).contains(&listed),
            "{listed} s are listed, the source has {end} s"
        );
    }
}
