//! What a media query asks for (contract `pythumbio.md`, and what was added to it): numbers within
//! bounds and names of closed lists. No text of a client's goes further than this module, but for
//! the source and the watermark, which `source` judges.

mod parameters;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::request::{UnknownName, names};
use crate::base::{Bitrate, MediaTime};
use parameters::{decimal, not_allowed};

pub use parameters::{ParameterError, Parameters};

names! {
    /// File format of a picture.
    PictureFormat { Jpeg = "jpg", Png = "png", Webp = "webp", Avif = "avif" }
}

names! {
    /// File format of an animated overview.
    PreviewFormat { Webm = "webm", Gif = "gif", Webp = "webp", Mp4 = "mp4" }
}

names! {
    /// Video codec of a WebM stream.
    WebmVideo { Vp9 = "vp9", Vp8 = "vp8", Av1 = "av1" }
}

names! {
    /// Audio codec of a WebM stream.
    WebmAudio { Opus = "opus", Vorbis = "vorbis", None = "none" }
}

names! {
    /// How much `/meta` says.
    MetaFields { All = "all", Summary = "summary" }
}

/// Largest side of a picture, pixels.
pub const MAX_SIDE: u32 = 8192;

/// The original's box.
const BOX: Fit = Fit {
    width: Some(426),
    height: Some(240),
    upscale: false,
};

/// A box into which a picture is fitted in its own shape; `None` is a side without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Whether a smaller picture is made larger.
    pub upscale: bool,
}

impl Fit {
    fn read(p: &Parameters, default: Fit) -> Result<Fit, ParameterError> {
        let width = p.whole("width", 1..=MAX_SIDE)?;
        let height = p.whole("height", 1..=MAX_SIDE)?;
        let upscale = p.flag("upscale")?;
        Ok(match (width, height) {
            (None, None) => Fit { upscale, ..default },
            (width, height) => Fit {
                width,
                height,
                upscale,
            },
        })
    }
}

/// A place in a film.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Position {
    /// Where a first picture is likely to show something: 2 s, or earlier in a short clip.
    Auto,
    /// From the first timestamp on; not negative.
    At(MediaTime),
    /// A share of the film's length, 0 to 1.
    Share(f64),
}

/// Longest film that a place is looked for in: 48 hours, as for streams.
const MAX_SECONDS: f64 = 172_800.0;

impl Position {
    fn read(p: &Parameters) -> Result<Option<Position>, ParameterError> {
        let allowed = "seconds from 0 to 172800, or a share of the length such as 50%";
        p.read("t", allowed, |text| match text.strip_suffix('%') {
            Some(share) => decimal(share)
                .filter(|s| *s <= 100.0)
                .map(|s| Position::Share(s / 100.0)),
            None => decimal(text)
                .filter(|s| *s <= MAX_SECONDS)
                .map(|s| Position::At(MediaTime::from_secs_f64(s))),
        })
    }
}

/// A picture to be laid over the lower right corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Watermark {
    /// Where it lies, as the client wrote it.
    pub url: String,
    /// How much it covers, 0 to 1.
    pub alpha: f64,
    /// Its longer side as a share of the picture's shorter one, 0 to 1.
    pub scale: f64,
    /// Its distance from both edges as a share of the picture's shorter side, 0 to 1.
    pub offset: f64,
}

/// `/thumb`.
#[derive(Debug, Clone, PartialEq)]
pub struct ThumbQuery {
    pub position: Position,
    pub fit: Fit,
    pub format: PictureFormat,
    /// 1 to 100.
    pub quality: u32,
    pub watermark: Option<Watermark>,
}

impl ThumbQuery {
    pub fn read(p: &Parameters) -> Result<Self, ParameterError> {
        let alpha = p.number("alpha", 0.0..=1.0)?.unwrap_or(0.5);
        let scale = p.number("scale", 0.0..=1.0)?.unwrap_or(0.2);
        let offset = p.number("offset", 0.0..=1.0)?.unwrap_or(0.1);
        let watermark = p.text("watermark")?.map(|url| Watermark {
            url: url.to_owned(),
            alpha,
            scale,
            offset,
        });
        // With a watermark the original keeps the source's size.
        let default = match watermark {
            Some(_) => Fit {
                width: None,
                height: None,
                upscale: false,
            },
            None => BOX,
        };
        Ok(ThumbQuery {
            position: Position::read(p)?.unwrap_or(Position::Auto),
            fit: Fit::read(p, default)?,
            format: picture_format(p)?,
            quality: quality(p)?,
            watermark,
        })
    }
}

fn quality(p: &Parameters) -> Result<u32, ParameterError> {
    Ok(p.whole("quality", 1..=100)?.unwrap_or(80))
}

fn picture_format(p: &Parameters) -> Result<PictureFormat, ParameterError> {
    match p.text("format")? {
        Some("jpeg") => Ok(PictureFormat::Jpeg),
        _ => Ok(p.choice("format")?.unwrap_or(PictureFormat::Jpeg)),
    }
}

/// `/preview`.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewQuery {
    pub format: PreviewFormat,
    pub fit: Fit,
    /// Pictures, 2 to 120; `None` = one for every 4 s of the film, at most 40.
    pub frames: Option<u32>,
    /// How often a picture follows another: `speed` in 4 s.
    pub speed: f64,
}

impl PreviewQuery {
    pub fn read(p: &Parameters) -> Result<Self, ParameterError> {
        Ok(PreviewQuery {
            format: p.choice("format")?.unwrap_or(PreviewFormat::Webm),
            fit: Fit::read_moving(p)?,
            frames: p.whole("frames", 2..=120)?,
            speed: p.number("speed", 0.1..=100.0)?.unwrap_or(10.0),
        })
    }
}

impl Fit {
    /// As for pictures, with sides that encoders of moving ones take.
    fn read_moving(p: &Parameters) -> Result<Fit, ParameterError> {
        let fit = Fit::read(p, BOX)?;
        for (name, side) in [("width", fit.width), ("height", fit.height)] {
            if let Some(side) = side.filter(|s| *s < 16) {
                return Err(not_allowed(
                    name,
                    "a whole number from 16 to 8192",
                    &side.to_string(),
                ));
            }
        }
        Ok(fit)
    }
}

/// `/storyboard`: the list of pictures, or with `sheet` one of the sheets it names.
#[derive(Debug, Clone, PartialEq)]
pub struct StoryboardQuery {
    /// Seconds between two pictures.
    pub interval_seconds: f64,
    /// Of one picture, pixels.
    pub width: u32,
    pub columns: u32,
    pub format: PictureFormat,
    pub quality: u32,
    pub sheet: Option<u32>,
}

impl StoryboardQuery {
    pub fn read(p: &Parameters) -> Result<Self, ParameterError> {
        Ok(StoryboardQuery {
            interval_seconds: p.number("interval", 1.0..=3600.0)?.unwrap_or(10.0),
            width: p.whole("width", 16..=480)?.unwrap_or(160),
            columns: p.whole("columns", 1..=20)?.unwrap_or(5),
            format: picture_format(p)?,
            quality: quality(p)?,
            sheet: p.whole("sheet", 0..=172_800)?,
        })
    }
}

/// `/webm`.
#[derive(Debug, Clone, PartialEq)]
pub struct WebmQuery {
    pub start: Position,
    pub duration: Option<MediaTime>,
    pub fit: Fit,
    /// Of the video; `None` = by picture size.
    pub bitrate: Option<Bitrate>,
    pub video: WebmVideo,
    pub audio: WebmAudio,
}

impl WebmQuery {
    pub fn read(p: &Parameters) -> Result<Self, ParameterError> {
        let video = p.choice("video_codec")?.unwrap_or(WebmVideo::Vp9);
        let audio = match (p.choice("audio_codec")?, video) {
            (Some(audio), _) => audio,
            // Players that need VP8 may know no Opus.
            (None, WebmVideo::Vp8) => WebmAudio::Vorbis,
            (None, WebmVideo::Vp9 | WebmVideo::Av1) => WebmAudio::Opus,
        };
        let duration = p.number("duration", 0.1..=MAX_SECONDS)?;
        Ok(WebmQuery {
            start: Position::read(p)?.unwrap_or(Position::At(MediaTime::ZERO)),
            duration: duration.map(MediaTime::from_secs_f64),
            fit: Fit::read_moving(p)?,
            bitrate: p.read("bitrate", "10k to 50M, such as 500k or 2M", bitrate)?,
            video,
            audio,
        })
    }
}

/// With a unit, or a bare number of bits per second.
fn bitrate(text: &str) -> Option<Bitrate> {
    let rate = match decimal(text) {
        Some(bits) => Bitrate(bits.round() as u64),
        None => Bitrate::from_str(text).ok()?,
    };
    (10_000..=50_000_000)
        .contains(&rate.bits_per_second())
        .then_some(rate)
}

/// `/meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaQuery {
    pub fields: MetaFields,
}

impl MetaQuery {
    pub fn read(p: &Parameters) -> Result<Self, ParameterError> {
        let fields = p.choice("fields")?.unwrap_or(MetaFields::All);
        Ok(MetaQuery { fields })
    }
}

#[cfg(test)]
#[path = "query/tests.rs"]
mod tests;
