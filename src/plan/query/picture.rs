//! One picture of a source.

use crate::base::MediaTime;
use crate::hardware::Hardware;
use crate::media::query::{PictureFormat, Position, ThumbQuery, Watermark};
use crate::media::{SourceProbe, VideoStream};
use crate::plan::color::{self, PictureColors};
use crate::plan::{Invocation, PlanSettings};

use super::{QueryPlanError, args, deinterlaced, fit_size, time_of};

/// Where ffmpeg's output goes: the last argument is to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Pipe,
    /// The format's header is written last.
    File,
}

/// Ways of getting one picture, to be tried in turn until one gives something.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureRun {
    pub attempts: Vec<Invocation>,
    pub output: Output,
}

/// A watermark that was found to be a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatermarkPlan {
    alpha: f64,
    scale: f64,
    offset: f64,
}

/// The numbers of a watermark.
pub fn watermark_plan(watermark: &Watermark) -> WatermarkPlan {
    WatermarkPlan {
        alpha: watermark.alpha,
        scale: watermark.scale,
        offset: watermark.offset,
    }
}

/// The encoder of a format and its options, `quality` from 1 to 100.
pub(super) fn encoder(
    format: PictureFormat,
    quality: u32,
    hardware: &Hardware,
) -> Result<(Vec<String>, PictureColors, Output), QueryPlanError> {
    let worse = f64::from(100 - quality.clamp(1, 100));
    let (name, options, muxer, colors, output) = match format {
        PictureFormat::Jpeg => {
            // ffmpeg's scale goes from 2 (best) to 31.
            let q = format!("{:.2}", 2.0 + worse * 29.0 / 99.0);
            let options = vec!["-q:v".to_owned(), q];
            (
                "mjpeg",
                options,
                "image2pipe",
                PictureColors::Jpeg,
                Output::Pipe,
            )
        }
        PictureFormat::Png => (
            "png",
            vec![],
            "image2pipe",
            PictureColors::Rgb,
            Output::Pipe,
        ),
        PictureFormat::Webp => {
            let options = vec!["-quality".to_owned(), quality.to_string()];
            (
                "libwebp",
                options,
                "webp",
                PictureColors::Webp,
                Output::Pipe,
            )
        }
        PictureFormat::Avif => {
            let crf = (5.0 + worse * 0.58).round().min(63.0);
            let mut options = args(["-still-picture", "1", "-cpu-used", "6", "-b:v", "0"]);
            options.extend(["-crf".to_owned(), crf.to_string()]);
            options.extend(args(["-colorspace", "bt709", "-color_primaries", "bt709"]));
            options.extend(args(["-color_trc", "bt709", "-color_range", "tv"]));
            (
                "libaom-av1",
                options,
                "avif",
                PictureColors::Video,
                Output::File,
            )
        }
    };
    if !hardware.has_encoder(name) {
        return Err(QueryPlanError::NoEncoder {
            parameter: "format",
            encoder: name,
        });
    }
    let mut encoder = args(["-c:v", name]);
    encoder.extend(options);
    encoder.extend(args(["-f", muxer]));
    Ok((encoder, colors, output))
}

/// Plans one picture: of the video, or else of the cover.
pub fn picture_runs(
    probe: &SourceProbe,
    query: &ThumbQuery,
    watermark: Option<WatermarkPlan>,
    is_live: bool,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<PictureRun, QueryPlanError> {
    let (encoder, colors, output) = encoder(query.format, query.quality, hardware)?;
    let seeks = match (probe.main_video(), query.position) {
        (_, Position::At(_) | Position::Share(_)) if is_live => {
            return Err(QueryPlanError::LivePosition);
        }
        (Some(_), position) if !is_live => seeks(time_of(position, probe)?),
        // Covers have no time, but a wrong one is still wrong.
        (None, position) if !is_live => {
            time_of(position, probe)?;
            vec![vec![]]
        }
        _ => vec![vec![]],
    };
    let video = probe.main_video().or(probe.covers.first());
    let video = video.ok_or(QueryPlanError::NoPicture)?;
    let size = fit_size(video.display_size(), query.fit);
    let tone_map = settings.tone_map;
    let mut filters = deinterlaced(video);
    let drawing = match watermark {
        None => {
            filters.extend(color::picture(video, size, colors, tone_map, hardware)?);
            let stream = format!("0:{}", video.index);
            vec!["-map".into(), stream, "-vf".into(), filters.join(",")]
        }
        Some(mark) => {
            let base = color::picture(video, size, PictureColors::Rgb, tone_map, hardware)?;
            filters.extend(base);
            let graph = with_watermark(video, &filters, size.width.min(size.height), mark, colors);
            vec![
                "-filter_complex".into(),
                graph,
                "-map".into(),
                "[out]".into(),
            ]
        }
    };
    let mut rest = drawing;
    rest.extend(args(["-frames:v", "1", "-an", "-sn", "-dn"]));
    rest.extend(encoder);
    let attempt = |seek: Vec<String>| {
        let mut input = args(["-threads", "2"]);
        input.extend(seek);
        Invocation {
            input,
            output: rest.clone(),
        }
    };
    Ok(PictureRun {
        attempts: seeks.into_iter().map(attempt).collect(),
        output,
    })
}

/// The picture that is shown at `t`; where the video ends before the source does, its last key
/// frame; where nothing can be sought, the first picture.
fn seeks(t: MediaTime) -> Vec<Vec<String>> {
    if !t.is_positive() {
        return vec![vec![]];
    }
    let mut key = args(["-noaccurate_seek", "-ss"]);
    key.push(t.to_string());
    vec![vec!["-ss".into(), t.to_string()], key, vec![]]
}

fn with_watermark(
    video: &VideoStream,
    filters: &[String],
    shorter: u32,
    mark: WatermarkPlan,
    colors: PictureColors,
) -> String {
    let pixels = |share: f64| (share * f64::from(shorter)).round() as u32;
    let (side, offset) = (pixels(mark.scale).max(1), pixels(mark.offset));
    let finish = colors.filters_from(None).join(",");
    format!(
        "[0:{index}]{base}[base];\
         [1:v:0]format=rgba,scale={side}:{side}:force_original_aspect_ratio=decrease,setsar=1,\
         colorchannelmixer=aa={alpha:.4}[mark];\
         [base][mark]overlay=x=max(0\\,main_w-overlay_w-{offset}):\
         y=max(0\\,main_h-overlay_h-{offset}):format=gbrp,{finish}[out]",
        index = video.index,
        base = filters.join(","),
        alpha = mark.alpha,
    )
}
