//! A WebM stream that is watched while it is made.

use crate::base::{Bitrate, MediaTime, Resolution};
use crate::hardware::Hardware;
use crate::media::query::{Fit, Position, WebmAudio, WebmQuery, WebmVideo};
use crate::media::{FieldOrder, MaxResolution, SourceProbe, Transfer};
use crate::plan::color;
use crate::plan::{Invocation, PlanSettings};

use super::{QueryPlanError, args, deinterlaced, fit_even, time_of};

/// The original's rate for its box of 426x240.
const SMALL_BITS_PER_SECOND: f64 = 256_000.0;
const SMALL_PIXELS: f64 = 426.0 * 240.0;

/// Pictures a second where the source does not say.
const USUAL_RATE: f64 = 25.0;

/// SVT-AV1 takes no smaller pictures.
const SMALLEST_AV1_SIDE: u32 = 64;

/// Plans `/webm`; the output goes to a pipe.
pub fn plan_webm(
    probe: &SourceProbe,
    query: &WebmQuery,
    is_live: bool,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<Invocation, QueryPlanError> {
    let start = match query.start {
        Position::At(t) if is_live && !t.is_positive() => t,
        _ if is_live => return Err(QueryPlanError::LivePosition),
        position => time_of(position, probe)?,
    };
    // Of a picture, all of a film is the last one; of a stream it is nothing.
    if let Some(length) = probe.duration.filter(|length| start >= *length) {
        return Err(QueryPlanError::BeyondEnd {
            t: start.as_secs_f64(),
            duration: length.as_secs_f64(),
        });
    }
    let video = probe.main_video();
    let audio = probe
        .main_audio()
        .filter(|_| query.audio != WebmAudio::None);
    if video.is_none() && audio.is_none() {
        return Err(QueryPlanError::NothingToPlay);
    }
    let (input, mut output) = times(start, query);
    if let Some(video) = video {
        let size = bounded(
            fit_even(video.display_size(), query.fit),
            settings.max_resolution,
        );
        let size = match query.video {
            WebmVideo::Av1 => Resolution {
                width: size.width.max(SMALLEST_AV1_SIDE),
                height: size.height.max(SMALLEST_AV1_SIDE),
            },
            WebmVideo::Vp9 | WebmVideo::Vp8 => size,
        };
        let mut filters = deinterlaced(video);
        filters.extend(color::scale_and_map(
            video,
            size,
            settings.tone_map,
            hardware,
        )?);
        output.extend(["-map".to_owned(), format!("0:{}", video.index)]);
        output.extend(["-vf".to_owned(), filters.join(",")]);
        let rate = video.average_rate.map_or(USUAL_RATE, |r| r.as_f64());
        output.extend(video_encoder(query, size, rate, hardware, settings)?);
    }
    if let Some(audio) = audio {
        output.extend(["-map".to_owned(), format!("0:{}", audio.index)]);
        output.extend(audio_encoder(query, hardware)?);
    }
    output.extend(muxer());
    Ok(Invocation { input, output })
}

/// What [`plan_webm`] will most likely plan for a source that is not known yet, so that its encoder can
/// start while the source is looked at; `None` for queries that depend on it.
pub fn guess_webm(
    query: &WebmQuery,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Option<Invocation> {
    let (Position::At(start), Some(width), Some(height)) =
        (query.start, query.fit.width, query.fit.height)
    else {
        return None;
    };
    let size = Resolution { width, height };
    let depends = query.fit.upscale || query.video == WebmVideo::Av1;
    if depends || bounded(size, settings.max_resolution) != fit_even(size, query.fit) {
        return None;
    }
    let (input, mut output) = times(start, query);
    let filters = format!(
        "scale=w=min({width}\\,iw):h=min({height}\\,ih):force_original_aspect_ratio=decrease:\
         force_divisible_by=2:flags=bicubic:out_range=tv,format=yuv420p,setsar=1"
    );
    // `V` leaves covers out.
    output.extend(args(["-map", "0:V:0?", "-vf"]));
    output.push(filters);
    output.extend(video_encoder(query, size, USUAL_RATE, hardware, settings).ok()?);
    if query.audio != WebmAudio::None {
        output.extend(args(["-map", "0:a:0?"]));
        output.extend(audio_encoder(query, hardware).ok()?);
    }
    output.extend(muxer());
    Some(Invocation { input, output })
}

/// Whether a source is what [`guess_webm`] took it for.
pub fn is_as_guessed(probe: &SourceProbe) -> bool {
    let video = probe.main_video().is_none_or(|v| {
        let first = probe.video.iter().map(|v| v.index).min();
        Some(v.index) == first
            && v.sample_aspect == (1, 1)
            && v.coded.width.min(v.coded.height) > 2
            && v.field_order != FieldOrder::Interlaced
            && v.color.transfer_kind() == Transfer::Sdr
            && v.color.dolby_vision_profile != Some(5)
    });
    let first = probe.audio.iter().map(|a| a.index).min();
    video && probe.main_audio().map(|a| a.index) == first
}

/// What is taken of the source.
fn times(start: MediaTime, query: &WebmQuery) -> (Vec<String>, Vec<String>) {
    let mut input = Vec::new();
    if start.is_positive() {
        input.extend(["-ss".to_owned(), start.to_string()]);
    }
    let mut output = Vec::new();
    if let Some(duration) = query.duration {
        output.extend(["-t".to_owned(), duration.to_string()]);
    }
    (input, output)
}

fn audio_encoder(query: &WebmQuery, hardware: &Hardware) -> Result<Vec<String>, QueryPlanError> {
    let encoder = match query.audio {
        WebmAudio::Vorbis => "libvorbis",
        WebmAudio::Opus | WebmAudio::None => "libopus",
    };
    require(hardware, "audio_codec", encoder)?;
    Ok(args(["-c:a", encoder, "-b:a", "64k", "-ac", "2"]))
}

fn muxer() -> Vec<String> {
    let mut output = args(["-sn", "-dn", "-map_metadata", "-1", "-f", "webm"]);
    // A cluster is held back until it is complete.
    output.extend(args(["-cluster_time_limit", "1000", "-flush_packets", "1"]));
    output
}

/// Within the box of `limits.max_resolution`.
fn bounded(size: Resolution, limit: MaxResolution) -> Resolution {
    let Some((long, short)) = limit.sides() else {
        return size;
    };
    let (width, height) = if size.width >= size.height {
        (long, short)
    } else {
        (short, long)
    };
    let fit = Fit {
        width: Some(width),
        height: Some(height),
        upscale: false,
    };
    fit_even(size, fit)
}

/// An encoder of about `rate` pictures a second.
fn video_encoder(
    query: &WebmQuery,
    size: Resolution,
    rate: f64,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<Vec<String>, QueryPlanError> {
    let pixels = f64::from(size.width) * f64::from(size.height);
    let usual = SMALL_BITS_PER_SECOND * (pixels / SMALL_PIXELS).powf(0.75);
    let bitrate = query
        .bitrate
        .unwrap_or(Bitrate((usual.round() as u64).max(32_000)));
    let bitrate = bitrate.min(settings.max_bitrate).bits_per_second();
    // A tile is at least 256 pixels wide.
    let tiles = (size.width / 256).max(1).ilog2().min(2).to_string();
    let (encoder, options) = match query.video {
        WebmVideo::Vp9 => {
            let mut options = args(["-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1"]);
            options.extend(args([
                "-lag-in-frames",
                "0",
                "-auto-alt-ref",
                "0",
                "-tile-columns",
            ]));
            options.push(tiles);
            ("libvpx-vp9", options)
        }
        WebmVideo::Vp8 => {
            let mut options = args(["-deadline", "realtime", "-cpu-used", "8"]);
            options.extend(args(["-lag-in-frames", "0", "-auto-alt-ref", "0"]));
            ("libvpx", options)
        }
        WebmVideo::Av1 => {
            // libaom's output is refused by the WebM muxer of ffmpeg 5.1.
            ("libsvtav1", args(["-preset", "12"]))
        }
    };
    require(hardware, "video_codec", encoder)?;
    let mut all = args(["-c:v", encoder, "-b:v"]);
    all.push(bitrate.to_string());
    all.extend(options);
    all.extend(args(["-threads", "4"]));
    // A player that joins or seeks waits for a key frame.
    let interval = (rate.clamp(1.0, 120.0) * 5.0).round() as u32;
    all.extend(["-g".to_owned(), interval.to_string()]);
    Ok(all)
}

fn require(
    hardware: &Hardware,
    parameter: &'static str,
    encoder: &'static str,
) -> Result<(), QueryPlanError> {
    match hardware.has_encoder(encoder) {
        true => Ok(()),
        false => Err(QueryPlanError::NoEncoder { parameter, encoder }),
    }
}
