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
    /// As they are stored, from key frame to key frame, up to the one at `behind_us` (microseconds of the
    /// source's clock); `None`: to the end of the source.
    Copied { behind_us: Option<i64> },
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

    /// The scenes of it with these places, in groups of neighbours, which are decoded.
    pub fn decoded(&self, places: &[usize], frames: &[FrameScore]) -> Vec<CutGroup> {
        let times = rising(frames);
        let runs = places.chunk_by(|a, b| a + 1 == *b);
        let groups = runs.map(|run| CutGroup {
            first: self.first + run[0],
            spans: run.iter().map(|place| self.spans[*place]).collect(),
            pick: FramePick::Counted,
        });
        groups.map(|g| g.picked(false, times.as_deref())).collect()
    }

    fn picked(mut self, is_copied: bool, times: Option<&[i64]>) -> CutGroup {
        let (start, end) = self.range();
        let time = |n: u64| times?.get(usize::try_from(n).ok()?).copied();
        self.pick = match (time(start), time(end.saturating_sub(1))) {
            (Some(_), _) if is_copied => FramePick::Copied {
                behind_us: time(end),
            },
            (Some(first_us), Some(last_us)) => FramePick::Between { first_us, last_us },
            _ => FramePick::Counted,
        };
        self
    }
}

/// The times of all pictures, if all have one and each is later than the one before.
fn rising(frames: &[FrameScore]) -> Option<Vec<i64>> {
    let times: Option<Vec<i64>> = frames.iter().map(|f| f.pts_us).collect();
    times.filter(|t| t.windows(2).all(|w| w[0] < w[1]))
}

/// Scenes and pictures that one run takes at most: a killed gateway loses one run.
const GROUP_SCENES: usize = 64;
const GROUP_FRAMES: u64 = 3000;
/// Pictures of the first run, of which each later one has twice as many: nobody has anything to encode
/// before it ends.
const FIRST_FRAMES: u64 = 400;
/// How far before its first picture a run enters the source: a search may land late.
const PREROLL: MediaTime = MediaTime::from_micros(1_000_000);

/// Parts the scenes into groups. `may_copy`: scenes between two key frames are taken as they are stored.
pub fn cut_groups(spans: &[SceneSpan], frames: &[FrameScore], may_copy: bool) -> Vec<CutGroup> {
    let times = rising(frames);
    let at = |n: u64| frames.get(usize::try_from(n).ok()?);
    let is_copied = |span: &SceneSpan| {
        let ends_well =
            span.end() == frames.len() as u64 || at(span.end()).is_some_and(|f| f.is_key);
        may_copy && times.is_some() && at(span.start).is_some_and(|f| f.is_key) && ends_well
    };
    let mut groups: Vec<(CutGroup, bool)> = Vec::new();
    for (nth, span) in spans.iter().enumerate() {
        let copied = is_copied(span);
        let doublings = u32::try_from(groups.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let most = FIRST_FRAMES.saturating_mul(2_u64.saturating_pow(doublings));
        let fits = |(g, as_stored): &&mut (CutGroup, bool)| {
            let held: u64 = g.spans.iter().map(|s| u64::from(s.frames)).sum();
            let is_small = held + u64::from(span.frames) <= most.min(GROUP_FRAMES);
            g.spans.len() < GROUP_SCENES && is_small && *as_stored == copied
        };
        match groups.last_mut().filter(fits) {
            Some((group, _)) => group.spans.push(*span),
            None => {
                let group = CutGroup {
                    first: nth,
                    spans: vec![*span],
                    pick: FramePick::Counted,
                };
                groups.push((group, copied));
            }
        }
    }
    let picked = groups.into_iter();
    picked
        .map(|(g, copied)| g.picked(copied, times.as_deref()))
        .collect()
}

/// A scene with what lies around it up to key frames: it can be taken as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// All pictures of the segment.
    pub whole: SceneSpan,
    /// How many of them come before the scene.
    pub lead: u32,
}

/// Most pictures that are decoded only because they lie before a scene.
const MOST_LEAD: u64 = 600;

/// The pictures from the key frame at or before `span` to the one at or behind its end; `None` where times
/// do not rise, or the key frame before is too far away.
pub fn surroundings(span: SceneSpan, frames: &[FrameScore]) -> Option<Surroundings> {
    let start = usize::try_from(span.start).ok()?;
    let end = usize::try_from(span.end()).ok()?;
    let before = frames.get(..=start)?;
    let first = before.iter().rposition(|f| f.is_key)?;
    let behind = frames.get(end..)?.iter().position(|f| f.is_key);
    let behind = behind.map_or(frames.len(), |n| end + n);
    rising(&frames[first..behind])?;
    let lead = start - first;
    if lead as u64 > MOST_LEAD {
        return None;
    }
    Some(Surroundings {
        whole: SceneSpan {
            start: first as u64,
            frames: u32::try_from(behind - first).ok()?,
        },
        lead: u32::try_from(lead).ok()?,
    })
}

/// The group of one scene that is taken with its surroundings.
pub fn surrounded(nth: usize, around: Surroundings, frames: &[FrameScore]) -> CutGroup {
    let behind = usize::try_from(around.whole.end()).ok();
    let behind = behind.and_then(|n| frames.get(n));
    CutGroup {
        first: nth,
        spans: vec![around.whole],
        pick: FramePick::Copied {
            behind_us: behind.and_then(|f| f.pts_us),
        },
    }
}

/// What is known of the work that a scene will be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SceneSize {
    pub frames: u32,
    /// Of its pictures as they are stored for workers.
    pub bytes: f64,
    /// Whether they are stored without loss: that takes many times more.
    pub is_lossless: bool,
}

/// The places of scenes in the order in which they are best begun: what takes long comes first, or one
/// encoder would be at work alone at the end. Encoders spend their time where the source has its bytes.
pub fn longest_first(scenes: &[SceneSize]) -> Vec<usize> {
    let mean = |is_lossless: bool| {
        let alike = scenes.iter().filter(|s| s.is_lossless == is_lossless);
        let (frames, bytes) = alike.fold((0.0, 0.0), |(frames, bytes), s| {
            (frames + f64::from(s.frames), bytes + s.bytes)
        });
        (bytes / frames).max(f64::MIN_POSITIVE)
    };
    let means = [mean(false), mean(true)];
    let mut order: Vec<(usize, f64)> = scenes
        .iter()
        .map(|s| s.bytes / means[usize::from(s.is_lossless)])
        .enumerate()
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.into_iter().map(|(nth, _)| nth).collect()
}

/// Codecs whose pictures are copied: every worker decodes them.
const COPIED: [&str; 8] = [
    "h264",
    "hevc",
    "av1",
    "vp9",
    "vp8",
    "mpeg2video",
    "mpeg4",
    "prores",
];

/// Whether scenes of `video` may be taken as they are stored. Pictures that are to be turned are not, since
/// Matroska does not say so, nor are those of the full range ([`as_if_limited`]).
pub fn may_be_copied(video: &VideoStream) -> bool {
    video.rotation == 0 && !is_full_range(video) && COPIED.contains(&video.codec.as_str())
}

fn is_full_range(video: &VideoStream) -> bool {
    video.color.range.as_deref() == Some("pc") || video.pixel_format.starts_with("yuvj")
}

/// The filter that calls values of the full range limited, and leaves them as they are: the pipes of
/// workers would convert them otherwise, while the joined file says what they really are.
fn as_if_limited(video: &VideoStream) -> Option<String> {
    if !is_full_range(video) {
        return None;
    }
    Some(match video.pixel_format.strip_prefix("yuvj") {
        Some(layout) => format!("scale=in_range=limited:out_range=limited,format=yuv{layout}"),
        None => "setrange=limited".to_owned(),
    })
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

/// How long before the time of a key frame its segment may begin: times are rounded on their way.
const CUT_EARLY: MediaTime = MediaTime::from_micros(2_000);
/// How far behind its last picture a run of copies reads on: in the order in which pictures are stored
/// some of what is shown before comes later.
const READ_ON: MediaTime = MediaTime::from_micros(3_000_000);

/// The run that copies the scenes of `group`, which begin at `begin_us` (of the source's clock), into
/// `folder`, as `%05d.mkv`; what lies before and behind them comes in files of its own. Pictures keep the
/// times of the source's clock, in milliseconds.
pub fn copy_group(
    group: &CutGroup,
    begin_us: &[i64],
    behind_us: Option<i64>,
    video: &VideoStream,
    start: MediaTime,
    folder: &str,
) -> Invocation {
    let mut input = strings(&["-copyts"]);
    let first_us = begin_us.first().copied().unwrap_or(0);
    let enter = MediaTime::from_micros(first_us) - start - PREROLL;
    if enter.is_positive() {
        input.extend(strings(&["-ss", &enter.to_string()]));
    }
    // Nothing lies before the first picture of the source.
    let begin_us = begin_us.iter().skip(usize::from(group.range().0 == 0));
    let cuts = begin_us.chain(&behind_us);
    let cuts = cuts.map(|t| (MediaTime::from_micros(*t) - CUT_EARLY).to_string());
    let cuts: Vec<String> = cuts.collect();
    let mut output = strings(&["-map", &format!("0:{}", video.index), "-an", "-sn", "-dn"]);
    output.extend(strings(&["-map_metadata", "-1", "-map_chapters", "-1"]));
    output.extend(strings(&["-c", "copy", "-avoid_negative_ts", "disabled"]));
    if let Some(behind) = behind_us {
        let to = MediaTime::from_micros(behind) + READ_ON;
        output.extend(["-to".to_owned(), to.to_string()]);
    }
    output.extend(strings(&["-f", "segment", "-segment_format", "matroska"]));
    // Without an index, which would tell old times.
    output.extend(strings(&[
        "-segment_format_options",
        "write_crc32=0:live=1",
    ]));
    if cuts.is_empty() {
        output.extend(strings(&["-segment_time", "1000000"]));
    } else {
        output.extend(strings(&["-segment_times", &cuts.join(",")]));
    }
    output.push(format!("{folder}/%05d.mkv"));
    Invocation { input, output }
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
        FramePick::Counted | FramePick::Copied { .. } => {
            let last = to.saturating_sub(1);
            format!("between(n\\,{from}\\,{last})")
        }
    };
    let ticks = ticks_per_frame(rate);
    let mut filters = format!("settb=1/1000000,select={select},settb=1/1000,setpts=N*{ticks}");
    if let Some(limited) = as_if_limited(video) {
        filters = format!("{filters},{limited}");
    }
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
                is_key: false,
            })
            .collect()
    }

    #[test]
    fn groups_are_bounded_and_find_their_pictures() {
        let spans = spans(&[2900, 101, 50]);
        let film = frames((0..3051).map(|n| n * 40_000));
        let groups = cut_groups(&spans, &film, true);
        let firsts: Vec<_> = groups.iter().map(|g| (g.first, g.spans.len())).collect();
        assert_eq!(firsts, [(0, 1), (1, 2)]);
        let pick = FramePick::Between {
            first_us: 2900 * 40_000,
            last_us: 3050 * 40_000,
        };
        assert_eq!(groups[1].pick, pick);
        // Times that go back, or are missing, are not searched by.
        let back = frames((0..3051).map(|n| (n % 100) * 40_000));
        assert_eq!(cut_groups(&spans, &back, true)[1].pick, FramePick::Counted);
        let many = spans_of_one(130);
        assert_eq!(cut_groups(&many, &[], true).len(), 3);
    }

    #[test]
    fn what_lies_between_key_frames_is_copied() {
        let spans = spans(&[50, 50, 50, 50]);
        let mut film = frames((0..200).map(|n| n * 40_000));
        for key in [0, 50, 150] {
            film[key].is_key = true;
        }
        let picks = |groups: Vec<CutGroup>| -> Vec<_> {
            let of = |g: &CutGroup| {
                (
                    g.first,
                    g.spans.len(),
                    matches!(g.pick, FramePick::Copied { .. }),
                )
            };
            groups.iter().map(of).collect()
        };
        let groups = cut_groups(&spans, &film, true);
        let last = FramePick::Copied { behind_us: None };
        assert_eq!(groups[2].pick, last);
        assert_eq!(picks(groups), [(0, 1, true), (1, 2, false), (3, 1, true)]);
        assert_eq!(picks(cut_groups(&spans, &film, false)), [(0, 4, false)]);
        // Times that do not rise say nothing of where to cut.
        film[10].pts_us = None;
        assert_eq!(picks(cut_groups(&spans, &film, true)), [(0, 4, false)]);
        let group = &cut_groups(&spans, &film, true)[0];
        let runs: Vec<_> = group
            .decoded(&[0, 1, 3], &film)
            .into_iter()
            .map(|g| (g.first, g.spans.len()))
            .collect();
        assert_eq!(runs, [(0, 2), (3, 1)]);
    }

    #[test]
    fn a_scene_is_taken_with_what_lies_around_it() {
        let mut film = frames((0..200).map(|n| n * 40_000));
        for key in [0, 50, 150] {
            film[key].is_key = true;
        }
        let span = |start, frames| SceneSpan { start, frames };
        let around = |start, frames| surroundings(span(start, frames), &film);
        let middle = around(70, 60).unwrap();
        assert_eq!((middle.whole, middle.lead), (span(50, 100), 20));
        let pick = surrounded(3, middle, &film).pick;
        let behind_us = Some(150 * 40_000);
        assert_eq!(pick, FramePick::Copied { behind_us });
        let last = around(150, 20).unwrap();
        assert_eq!((last.whole, last.lead), (span(150, 50), 0));
        let pick = surrounded(3, last, &film).pick;
        assert_eq!(pick, FramePick::Copied { behind_us: None });
        // Behind a key frame far away, it is cheaper to store the scene anew.
        let mut long = frames((0..2000).map(|n| n * 40_000));
        long[0].is_key = true;
        assert!(surroundings(span(700, 10), &long).is_none());
        long[300].pts_us = Some(0);
        assert!(surroundings(span(400, 10), &long).is_none());
        assert!(surroundings(span(100, 10), &long[..301]).is_none());
        assert!(surroundings(span(0, 10), &frames(0..20)).is_none());
    }

    #[test]
    fn what_takes_long_is_begun_first() {
        let size = |frames, bytes, is_lossless| SceneSize {
            frames,
            bytes,
            is_lossless,
        };
        let black = size(250, 1e4, false);
        let short = size(50, 4e5, false);
        let long = size(250, 5e5, false);
        assert_eq!(longest_first(&[black, short, long]), [2, 1, 0]);
        // Lossless ones are compared with their like.
        let lossless = size(100, 9e6, true);
        let still = size(100, 1e6, true);
        assert_eq!(longest_first(&[still, black, lossless, long]), [3, 2, 0, 1]);
        assert_eq!(longest_first(&[size(1, 0.0, false)]), [0]);
    }

    fn spans_of_one(count: usize) -> Vec<SceneSpan> {
        spans(&vec![1; count])
    }
}
