//! Pictures spread over a film: animated overviews, and the sheets of seek bars.
//!
//! Pictures are taken first, as raw video of one size ([`SampleRun`]), then encoded together. What is
//! taken is the newest key frame at each moment, which needs little of the source; only short stretches
//! with few key frames are decoded whole.

use std::fmt::Write as _;

use crate::base::{FrameRate, MediaTime, Resolution};
use crate::hardware::Hardware;
use crate::media::index::ContainerHint;
use crate::media::query::{Fit, PreviewFormat, PreviewQuery, StoryboardQuery};
use crate::media::{KeyframeIndex, SourceProbe, VideoStream};
use crate::plan::color::{self, PictureColors};
use crate::plan::{Invocation, PlanSettings};

use super::picture::{Output, encoder};
use super::{MAX_LENGTH, QueryPlanError, args, deinterlaced, fit_even};

/// Moments in a film, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleTimes {
    pub first: MediaTime,
    pub interval: MediaTime,
    /// At least 1.
    pub count: u32,
}

impl SampleTimes {
    fn nth(&self, n: u32) -> MediaTime {
        let after = self.interval.as_micros().saturating_mul(i64::from(n));
        self.first + MediaTime::from_micros(after)
    }

    fn span(&self) -> MediaTime {
        self.nth(self.count) - self.first
    }
}

/// How pictures are taken: raw 4:2:0 of `size`, BT.709 in limited range, to a pipe.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRun {
    pub size: Resolution,
    pub count: u32,
    /// One list of attempts for each picture, or one for all of them together.
    pub runs: Vec<Vec<Invocation>>,
}

impl SampleRun {
    /// Bytes of one picture.
    pub fn picture_bytes(&self) -> usize {
        let pixels = self.size.width as usize * self.size.height as usize;
        pixels + pixels / 2
    }
}

/// An animated overview, or one sheet of a storyboard.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledPlan {
    pub samples: SampleRun,
    /// Encodes raw video that is read from a file.
    pub encode: Invocation,
    pub output: Output,
}

/// Seconds of film that one picture of an overview stands for, unless there are too many.
const PREVIEW_STEP: f64 = 4.0;
const MAX_PREVIEW_PICTURES: f64 = 40.0;
/// Largest overview, pixels wide or high.
const MAX_PREVIEW_SIDE: u32 = 1280;
/// Key frames are closer together than this in most films.
const USUAL_GOP: MediaTime = MediaTime::from_micros(6_000_000);
/// A stretch that is decoded whole when key frames are too few.
const SHORT: MediaTime = MediaTime::from_micros(60_000_000);
/// More pictures in one storyboard than this are of no use to anybody.
const MAX_STORYBOARD: u32 = 20_000;
/// Most pixels of a sheet: what the weakest devices decode.
const MAX_SHEET_PIXELS: u32 = 16 << 20;
const MAX_ROWS: u32 = 10;

struct Film<'a> {
    video: &'a VideoStream,
    length: MediaTime,
    probe: &'a SourceProbe,
    keyframes: Option<&'a KeyframeIndex>,
}

impl<'a> Film<'a> {
    fn of(
        probe: &'a SourceProbe,
        keyframes: Option<&'a KeyframeIndex>,
    ) -> Result<Self, QueryPlanError> {
        let video = probe.main_video().ok_or(QueryPlanError::NoPicture)?;
        let own = video.duration.filter(|d| d.is_positive());
        let length = match (own, probe.duration) {
            // Sound may go on behind the last picture.
            (Some(own), Some(all)) => own.min(all),
            (own, all) => own.or(all).ok_or(QueryPlanError::NoLength)?,
        };
        if length > MAX_LENGTH {
            return Err(QueryPlanError::TooLong);
        }
        Ok(Film {
            video,
            length,
            probe,
            keyframes,
        })
    }

    fn keyframes_in(&self, times: &SampleTimes) -> Option<usize> {
        let pts = self.keyframes?.pts();
        let first = times.first + self.probe.start_time;
        let from = pts.partition_point(|&k| k < first);
        let to = pts.partition_point(|&k| k < first + times.span());
        Some(to - from)
    }

    fn samples(
        &self,
        times: SampleTimes,
        size: Resolution,
        hardware: &Hardware,
        settings: &PlanSettings,
    ) -> Result<SampleRun, QueryPlanError> {
        let map = settings.tone_map;
        let drawing = color::picture(self.video, size, PictureColors::Video, map, hardware)?;
        let mut filters = deinterlaced(self.video);
        filters.extend(drawing);
        let output = |filters: &[String], count: u32| {
            let mut out = vec!["-map".to_owned(), format!("0:{}", self.video.index)];
            out.extend(["-vf".to_owned(), filters.join(",")]);
            out.extend(["-frames:v".to_owned(), count.to_string()]);
            out.extend(args(["-an", "-sn", "-dn", "-f", "rawvideo"]));
            out
        };
        let keyframes = self.keyframes_in(&times);
        let count = times.count as usize;
        let few = keyframes.is_none_or(|k| k < count);
        let skips = ContainerHint::from_format_name(&self.probe.format) == Some(ContainerHint::Mp4);
        let runs = if few && times.span() <= SHORT {
            // An exact seek would leave out the picture that is shown at the first moment since before it.
            let mut input = args(["-noaccurate_seek", "-ss"]);
            input.push(times.first.to_string());
            vec![self.pass(input, &filters, &times, output)]
        } else if times.interval <= USUAL_GOP
            || (skips && keyframes.is_some_and(|k| k <= 6 * count))
        {
            let mut input = args(["-skip_frame", "nokey"]);
            if skips {
                // Its reader then leaves out the bytes too.
                input.extend(args(["-discard:v", "nokey"]));
            }
            input.extend(args(["-noaccurate_seek", "-ss"]));
            input.push(times.first.to_string());
            vec![self.pass(input, &filters, &times, output)]
        } else {
            let seek = |t: MediaTime, more: &[&str]| {
                let mut input = args(["-threads", "1"]);
                input.extend(more.iter().map(|&s| s.to_owned()));
                input.extend(args(["-noaccurate_seek", "-ss"]));
                input.push(t.to_string());
                Invocation {
                    input,
                    output: output(&filters, 1),
                }
            };
            let attempts = |t| vec![seek(t, &["-skip_frame", "nokey"]), seek(t, &[])];
            (0..times.count).map(|n| attempts(times.nth(n))).collect()
        };
        Ok(SampleRun {
            size,
            count: times.count,
            runs,
        })
    }

    /// One run over all of it: each moment gets the newest picture that is there.
    fn pass(
        &self,
        mut input: Vec<String>,
        filters: &[String],
        times: &SampleTimes,
        output: impl Fn(&[String], u32) -> Vec<String>,
    ) -> Vec<Invocation> {
        let interval = times.interval.as_micros().max(1);
        let mut all = deinterlaced(self.video);
        all.push(format!("fps=fps=1000000/{interval}:start_time=0:round=up"));
        all.extend(filters.iter().skip(all.len() - 1).cloned());
        let span = times.span() + times.interval;
        input.splice(0..0, args(["-threads", "2"]));
        input.extend(["-t".to_owned(), span.to_string()]);
        vec![Invocation {
            input,
            output: output(&all, times.count),
        }]
    }
}

/// How ffmpeg reads what a [`SampleRun`] gave.
fn raw_input(size: Resolution, rate: FrameRate) -> Vec<String> {
    let mut input = args(["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size"]);
    input.extend([size.to_string(), "-framerate".to_owned(), rate.to_string()]);
    input
}

/// Plans `/preview`.
pub fn plan_preview(
    probe: &SourceProbe,
    keyframes: Option<&KeyframeIndex>,
    query: &PreviewQuery,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<SampledPlan, QueryPlanError> {
    let film = Film::of(probe, keyframes)?;
    let usual = (film.length.as_secs_f64() / PREVIEW_STEP).ceil();
    let count = query
        .frames
        .unwrap_or(usual.clamp(2.0, MAX_PREVIEW_PICTURES) as u32);
    let interval = MediaTime::from_micros(film.length.as_micros() / i64::from(count));
    let times = SampleTimes {
        first: MediaTime::from_micros(interval.as_micros() / 2),
        interval,
        count,
    };
    let most = Fit {
        width: Some(MAX_PREVIEW_SIDE),
        height: Some(MAX_PREVIEW_SIDE),
        upscale: false,
    };
    let size = fit_even(fit_even(film.video.display_size(), query.fit), most);
    let samples = film.samples(times, size, hardware, settings)?;
    let rate = (query.speed / PREVIEW_STEP * 1000.0).round() as u32;
    let rate = FrameRate::new(rate, 1000).unwrap_or(FrameRate::PAL);
    let (encoder, output) = preview_encoder(query.format);
    if !hardware.has_encoder(encoder[1].as_str()) {
        return Err(QueryPlanError::NoEncoder {
            parameter: "format",
            encoder: preview_encoder_name(query.format),
        });
    }
    let mut out = match query.format {
        PreviewFormat::Gif => {
            let rgb = PictureColors::Rgb.filters_from(Some("bt709")).join(",");
            let palette = "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse";
            vec!["-vf".to_owned(), format!("{rgb},{palette}")]
        }
        PreviewFormat::Webp => {
            let filters = PictureColors::Webp.filters_from(Some("bt709"));
            vec!["-vf".to_owned(), filters.join(",")]
        }
        PreviewFormat::Webm | PreviewFormat::Mp4 => {
            let mut tags = args(["-colorspace", "bt709", "-color_primaries", "bt709"]);
            tags.extend(args(["-color_trc", "bt709", "-color_range", "tv"]));
            tags
        }
    };
    out.extend(encoder);
    Ok(SampledPlan {
        samples,
        encode: Invocation {
            input: raw_input(size, rate),
            output: out,
        },
        output,
    })
}

fn preview_encoder_name(format: PreviewFormat) -> &'static str {
    match format {
        PreviewFormat::Webm => "libvpx-vp9",
        PreviewFormat::Gif => "gif",
        PreviewFormat::Webp => "libwebp_anim",
        PreviewFormat::Mp4 => "libx264",
    }
}

fn preview_encoder(format: PreviewFormat) -> (Vec<String>, Output) {
    let mut all = args(["-c:v", preview_encoder_name(format)]);
    let (options, output): (&[&str], Output) = match format {
        // To a file: its header then holds the length.
        PreviewFormat::Webm => (
            &[
                "-b:v",
                "0",
                "-crf",
                "36",
                "-deadline",
                "good",
                "-cpu-used",
                "5",
                "-f",
                "webm",
            ],
            Output::File,
        ),
        PreviewFormat::Gif => (&["-loop", "0", "-f", "gif"], Output::Pipe),
        PreviewFormat::Webp => (
            &["-loop", "0", "-quality", "70", "-f", "webp"],
            Output::Pipe,
        ),
        PreviewFormat::Mp4 => (
            &[
                "-preset",
                "veryfast",
                "-crf",
                "24",
                "-movflags",
                "+faststart",
                "-f",
                "mp4",
            ],
            Output::File,
        ),
    };
    all.extend(options.iter().map(|&o| o.to_owned()));
    (all, output)
}

/// The layout of a storyboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Storyboard {
    length: MediaTime,
    interval: MediaTime,
    /// Pictures in all, at least 1.
    count: u32,
    columns: u32,
    rows: u32,
    /// Of one picture.
    size: Resolution,
}

/// Lays a storyboard out.
pub fn plan_storyboard(
    probe: &SourceProbe,
    query: &StoryboardQuery,
) -> Result<Storyboard, QueryPlanError> {
    let film = Film::of(probe, None)?;
    let interval = MediaTime::from_secs_f64(query.interval_seconds);
    let count = (film.length.as_secs_f64() / interval.as_secs_f64()).ceil();
    let count = count.max(1.0) as u32;
    if count > MAX_STORYBOARD {
        let least = (film.length.as_secs_f64() / f64::from(MAX_STORYBOARD)).ceil() as u32;
        return Err(QueryPlanError::IntervalTooShort { least });
    }
    let fit = Fit {
        width: Some(query.width),
        height: None,
        upscale: true,
    };
    // A picture of one pixel's width would be as high as a tower.
    let mut size = fit_even(film.video.display_size(), fit);
    size.height = size.height.min(4 * query.width);
    let row_pixels = size.width * size.height * query.columns;
    let rows = (MAX_SHEET_PIXELS / row_pixels).clamp(1, MAX_ROWS.min(query.columns));
    Ok(Storyboard {
        length: film.length,
        interval,
        count,
        columns: query.columns,
        rows,
        size,
    })
}

impl Storyboard {
    fn per_sheet(&self) -> u32 {
        self.columns * self.rows
    }

    /// The WebVTT list of all pictures; `sheet` gives the URL of a sheet. Times count from the first
    /// timestamp on, as players do.
    pub fn vtt(&self, sheet: impl Fn(u32) -> String) -> String {
        let mut text = String::from("WEBVTT\n");
        for n in 0..self.count {
            let start = self.interval.as_micros() * i64::from(n);
            let end = (start + self.interval.as_micros()).min(self.length.as_micros());
            let place = n % self.per_sheet();
            let (x, y) = (place % self.columns, place / self.columns);
            let (w, h) = (self.size.width, self.size.height);
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n{} --> {}\n{}#xywh={},{},{w},{h}\n",
                clock(start),
                clock(end.max(start + 1000)),
                sheet(n / self.per_sheet()),
                x * w,
                y * h,
            );
        }
        text
    }
}

/// `hh:mm:ss.ttt` (WebVTT section 3.3).
fn clock(micros: i64) -> String {
    let ms = micros / 1000;
    let (s, m, h) = (ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000);
    format!("{h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

/// Plans one sheet of a storyboard.
pub fn plan_sheet(
    probe: &SourceProbe,
    keyframes: Option<&KeyframeIndex>,
    query: &StoryboardQuery,
    sheet: u32,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<SampledPlan, QueryPlanError> {
    let board = plan_storyboard(probe, query)?;
    let last = (board.count - 1) / board.per_sheet();
    if sheet > last {
        return Err(QueryPlanError::NoSuchSheet { last });
    }
    let before = sheet * board.per_sheet();
    let times = SampleTimes {
        first: MediaTime::from_micros(board.interval.as_micros() * i64::from(before)),
        interval: board.interval,
        count: (board.count - before).min(board.per_sheet()),
    };
    let film = Film::of(probe, keyframes)?;
    let samples = film.samples(times, board.size, hardware, settings)?;
    let (encoder, colors, output) = encoder(query.format, query.quality, hardware)?;
    let rows = times.count.div_ceil(board.columns);
    let mut filters = vec![format!("tile={}x{rows}", board.columns)];
    filters.extend(colors.filters_from(Some("bt709")));
    let mut out = vec!["-vf".to_owned(), filters.join(",")];
    out.extend(args(["-frames:v", "1"]));
    out.extend(encoder);
    Ok(SampledPlan {
        samples,
        encode: Invocation {
            input: raw_input(board.size, FrameRate::PAL),
            output: out,
        },
        output,
    })
}
