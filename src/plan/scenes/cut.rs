//! Cutting scenes out of the source, each into a segment of its own that any worker can decode.
//!
//! Segments are cut in groups, by one run over neighbouring scenes. Their timestamps are a constant
//! grid, whatever the source's are: a worker's pipe would otherwise repeat and drop pictures.

use crate::base::{FrameRate, MediaTime};
use crate::media::VideoStream;
use crate::plan::Invocation;
use crate::plan::run::strings;

use super::detect::{FrameScore, SceneSpan};

/// Neighbouring scenes that one run cuts out.
#[derive(Debug, Clone, PartialEq)]
pub struct CutGroup {
    /// Number of the first scene.
    pub first: usize,
    pub spans: Vec<SceneSpan>,
    pub pick: FramePick,
}

/// How a run finds its pictures in the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FramePick {
    /// By their times, inclusive, microseconds of the source's clock; decoding begins near the first.
    Between { first_us: i64, last_us: i64 },
    /// By counting from the beginning of the source.
    Counted,
}

impl CutGroup {
    /// First picture and the one behind the last.
    fn range(&self) -> (u64, u64) {
        let start = self.spans.first().map_or(0, |s| s.start);
        (start, self.spans.last().map_or(start, SceneSpan::end))
    }

    /// The same, found without a search in the source and without trust in its times.
    #[must_use]
    pub fn counted(&self) -> CutGroup {
        CutGroup {
            pick: FramePick::Counted,
            ..self.clone()
        }
    }
}

/// Scenes and pictures that one run takes at most: a killed gateway loses one run.
const GROUP_SCENES: usize = 64;
const GROUP_FRAMES: u64 = 3000;
/// How far before its first picture a run enters the source: a search may land late.
const PREROLL: MediaTime = MediaTime::from_micros(1_000_000);

/// Parts the scenes into groups.
pub fn cut_groups(spans: &[SceneSpan], frames: &[FrameScore]) -> Vec<CutGroup> {
    let times: Option<Vec<i64>> = frames.iter().map(|f| f.pts_us).collect();
    let times = times.filter(|t| t.windows(2).all(|w| w[0] < w[1]));
    let mut groups: Vec<CutGroup> = Vec::new();
    for (nth, span) in spans.iter().enumerate() {
        let fits = |g: &&mut CutGroup| {
            let held: u64 = g.spans.iter().map(|s| u64::from(s.frames)).sum();
            g.spans.len() < GROUP_SCENES && held + u64::from(span.frames) <= GROUP_FRAMES
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.spans.push(*span),
            None => groups.push(CutGroup {
                first: nth,
                spans: vec![*span],
                pick: FramePick::Counted,
            }),
        }
    }
    for group in &mut groups {
        let (start, end) = group.range();
        let time = |n: u64| times.as_ref()?.get(usize::try_from(n).ok()?).copied();
        if let (Some(first_us), Some(last_us)) = (time(start), time(end.saturating_sub(1))) {
            group.pick = FramePick::Between { first_us, last_us };
        }
    }
    groups
}

/// The codec in which segments are kept without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lossless {
    /// H.264, which every decoder takes; the flag: of RGB it takes none.
    X264,
    /// FFV1, for what H.264 cannot hold.
    Ffv1,
}

/// How pictures of `video` are kept without loss.
pub fn lossless(video: &VideoStream) -> Lossless {
    const HELD: [&str; 13] = [
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuvj422p",
        "yuv444p",
        "yuvj444p",
        "nv12",
        "nv16",
        "gray",
        "gray10le",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
    ];
    match HELD.contains(&video.pixel_format.as_str()) {
        true => Lossless::X264,
        false => Lossless::Ffv1,
    }
}

/// The constant rate of segments: the source's own, or the mean of one that varies.
pub fn segment_rate(video: &VideoStream, frames: &[FrameScore]) -> FrameRate {
    let times: Vec<i64> = frames.iter().filter_map(|f| f.pts_us).collect();
    let measured = match (times.first(), times.last()) {
        (Some(first), Some(last)) if last > first => {
            Some((times.len() - 1) as f64 * 1e6 / (last - first) as f64)
        }
        _ => None,
    };
    let named = [video.average_rate, video.base_rate].into_iter().flatten();
    let Some(measured) = measured else {
        return named.into_iter().next().unwrap_or(FrameRate::PAL);
    };
    // What the container says, where the pictures agree.
    let near = |rate: &FrameRate| (rate.as_f64() / measured - 1.0).abs() < 0.01;
    let exact = named.into_iter().find(near);
    let mean = || FrameRate::new((measured * 1000.0).round().max(1.0) as u32, 1000);
    exact.or_else(mean).unwrap_or(FrameRate::PAL)
}

/// Milliseconds between pictures as the muxer is told; what a tick really lasts is written into the
/// file afterwards (`package::matroska`), since the muxer knows milliseconds only.
pub fn ticks_per_frame(rate: FrameRate) -> u32 {
    (1000.0 / rate.as_f64()).round().clamp(1.0, 30_000.0) as u32
}

/// The run that cuts `group` out of video stream `video` into `folder`, as `%05d.mkv` numbered from 0.
/// `start` is the container's first time.
pub fn cut_group(
    group: &CutGroup,
    video: &VideoStream,
    rate: FrameRate,
    start: MediaTime,
    folder: &str,
) -> Invocation {
    let (from, to) = group.range();
    let mut input = strings(&["-copyts"]);
    let select = match group.pick {
        FramePick::Between { first_us, last_us } => {
            let enter = MediaTime::from_micros(first_us) - start - PREROLL;
            if enter.is_positive() {
                input.extend(strings(&["-ss", &enter.to_string()]));
            }
            format!("between(pts\\,{first_us}\\,{last_us})")
        }
        FramePick::Counted => {
            let last = to.saturating_sub(1);
            format!("between(n\\,{from}\\,{last})")
        }
    };
    let ticks = ticks_per_frame(rate);
    let filters = format!("settb=1/1000000,select={select},settb=1/1000,setpts=N*{ticks}");
    let count = (to - from).to_string();
    let mut output = strings(&["-map", &format!("0:{}", video.index), "-an", "-sn", "-dn"]);
    output.extend(strings(&["-map_metadata", "-1", "-map_chapters", "-1"]));
    output.extend(strings(&["-vf", &filters, "-fps_mode", "passthrough"]));
    output.extend(strings(&["-enc_time_base", "1:1000", "-frames:v", &count]));
    let cuts: Vec<u64> = group.spans.iter().skip(1).map(|s| s.start - from).collect();
    match lossless(video) {
        Lossless::X264 => output.extend(strings(&[
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-qp",
            "0",
            "-bf",
            "0",
            "-g",
            "250",
            "-sc_threshold",
            "0",
            "-forced-idr",
            "1",
        ])),
        // Every picture stands alone.
        Lossless::Ffv1 => output.extend(strings(&["-c:v", "ffv1", "-level", "3", "-g", "1"])),
    }
    output.extend(strings(&["-f", "segment", "-segment_format", "matroska"]));
    let own = "write_crc32=0:reserve_index_space=0";
    output.extend(strings(&["-segment_format_options", own]));
    output.extend(strings(&["-reset_timestamps", "1"]));
    if cuts.is_empty() {
        // One segment, however long it is.
        output.extend(strings(&["-segment_time", "1000000"]));
    } else {
        let frames: Vec<String> = cuts.iter().map(u64::to_string).collect();
        let times: Vec<String> = cuts
            .iter()
            .map(|n| MediaTime::from_ticks((n * u64::from(ticks)).cast_signed(), 1000).to_string())
            .collect();
        output.extend(strings(&["-force_key_frames", &times.join(",")]));
        output.extend(strings(&["-segment_frames", &frames.join(",")]));
    }
    output.push(format!("{folder}/%05d.mkv"));
    Invocation { input, output }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(lengths: &[u32]) -> Vec<SceneSpan> {
        let mut start = 0;
        lengths
            .iter()
            .map(|frames| {
                let span = SceneSpan {
                    start,
                    frames: *frames,
                };
                start = span.end();
                span
            })
            .collect()
    }

    fn frames(times: impl Iterator<Item = i64>) -> Vec<FrameScore> {
        times
            .map(|t| FrameScore {
                pts_us: Some(t),
                score: 0.0,
            })
            .collect()
    }

    #[test]
    fn groups_are_bounded_and_find_their_pictures() {
        let spans = spans(&[2900, 101, 50]);
        let film = frames((0..3051).map(|n| n * 40_000));
        let groups = cut_groups(&spans, &film);
        let firsts: Vec<_> = groups.iter().map(|g| (g.first, g.spans.len())).collect();
        assert_eq!(firsts, [(0, 1), (1, 2)]);
        let pick = FramePick::Between {
            first_us: 2900 * 40_000,
            last_us: 3050 * 40_000,
        };
        assert_eq!(groups[1].pick, pick);
        // Times that go back, or are missing, are not searched by.
        let back = frames((0..3051).map(|n| (n % 100) * 40_000));
        assert_eq!(cut_groups(&spans, &back)[1].pick, FramePick::Counted);
        let many = spans_of_one(130);
        assert_eq!(cut_groups(&many, &[]).len(), 3);
    }

    fn spans_of_one(count: usize) -> Vec<SceneSpan> {
        spans(&vec![1; count])
    }
}
