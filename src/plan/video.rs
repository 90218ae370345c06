//! What happens to the video stream.

use serde::Serialize;

use crate::base::{Bitrate, FrameRate, Resolution};
use crate::hardware::{Accelerator, Hardware};
use crate::media::{
    FieldOrder, HwAccel, MaxResolution, StreamRequest, Transfer, VideoChoice, VideoStream,
};

use super::color;
use super::encoder::{AcceleratorSettings, hardware_encoder};
use super::error::PlanError;
use super::stream::PlanSettings;

/// Codec of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    H264,
    Hevc,
    Vp9,
    Av1,
}

impl VideoCodec {
    fn from_ffmpeg(name: &str) -> Option<Self> {
        match name {
            "h264" => Some(VideoCodec::H264),
            "hevc" => Some(VideoCodec::Hevc),
            "vp9" => Some(VideoCodec::Vp9),
            "av1" => Some(VideoCodec::Av1),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            VideoCodec::H264 => "h264",
            VideoCodec::Hevc => "hevc",
            VideoCodec::Vp9 => "vp9",
            VideoCodec::Av1 => "av1",
        }
    }

    /// The codec that a request names to be encoded to.
    pub(super) fn asked(choice: VideoChoice) -> Option<Self> {
        match choice {
            VideoChoice::H264 => Some(VideoCodec::H264),
            VideoChoice::H265 => Some(VideoCodec::Hevc),
            VideoChoice::Vp9 => Some(VideoCodec::Vp9),
            VideoChoice::Av1 => Some(VideoCodec::Av1),
            VideoChoice::Copy | VideoChoice::Auto => None,
        }
    }

    /// Whether the encoder makes a key frame wherever it is asked to. SVT-AV1 does so from version
    /// 2 on only; all versions make them at a fixed distance.
    pub(super) fn obeys_cuts(self) -> bool {
        self != VideoCodec::Av1
    }

    pub(super) fn software_encoder(self) -> (&'static str, &'static str) {
        match self {
            VideoCodec::H264 => ("libx264", "h264"),
            VideoCodec::Hevc => ("libx265", "h265"),
            VideoCodec::Vp9 => ("libvpx-vp9", "vp9"),
            VideoCodec::Av1 => ("libsvtav1", "av1"),
        }
    }
}

/// The video track of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoPlan {
    /// Stream index in the source.
    pub stream: u32,
    pub codec: VideoCodec,
    /// Display size of the output.
    pub size: Resolution,
    /// Pictures per second of the output.
    pub rate: FrameRate,
    /// ffmpeg does not turn the source's pictures before it filters them.
    pub upright: bool,
    /// Where a search does not find a key frame, the source's decoder shows what it makes up.
    pub makes_up: bool,
    /// Upper bound of the rate, for VBV and for `BANDWIDTH`.
    pub max_bitrate: Bitrate,
    /// Level of H.264 that the encoder is told to announce, ten times; `None` leaves it to the encoder.
    pub level: Option<u8>,
    /// `None` copies the stream as it is.
    pub encode: Option<VideoEncode>,
    /// How the same pictures are made when hardware that `encode` names has failed.
    pub software: Option<VideoEncode>,
}

/// How pictures are made anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoEncode {
    pub encoder: &'static str,
    /// `None` encodes in software.
    pub accelerator: Option<Accelerator>,
    /// The device of the accelerator, where it is told one.
    pub device: Option<String>,
    /// Filters before the frame grid: deinterlacing.
    pub before_grid: Vec<String>,
    /// Filters after the cut: scaling, tone mapping, pixel format.
    pub after_cut: Vec<String>,
    /// Whether `after_cut` works on a Vulkan device.
    pub on_vulkan: bool,
    /// Fixed average rate; `None` = constant quality under `max_bitrate`.
    pub target_bitrate: Option<Bitrate>,
    pub preset: String,
    /// Whether pictures may be coded out of their order. What stands in for an encoder that keeps it
    /// must keep it too, or decoding times would not rise where it takes over.
    pub reorders: bool,
    /// Nobody waits for the next picture: settings that look ahead and take their time.
    pub unhurried: bool,
    /// Picture subtitles that are drawn into the picture.
    pub burn: Option<Burn>,
}

/// A subtitle track of pictures, drawn over the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Burn {
    /// Stream index in the source.
    pub stream: u32,
    /// Size of the decoded video, onto which the pictures are stretched.
    pub canvas: Resolution,
}

impl VideoEncode {
    /// An encoder on `accelerator`, as yet without filters.
    pub(super) fn on(
        accelerator: Accelerator,
        encoder: &'static str,
        settings: &AcceleratorSettings,
    ) -> Self {
        let preset = match accelerator {
            Accelerator::Nvenc => settings.nvenc_preset.clone(),
            Accelerator::Qsv => settings.qsv_preset.clone(),
            Accelerator::VideoToolbox => settings.videotoolbox_preset.clone(),
            _ => String::new(),
        };
        let vaapi = accelerator == Accelerator::Vaapi;
        VideoEncode {
            encoder,
            accelerator: Some(accelerator),
            device: vaapi.then(|| settings.vaapi_device.clone()),
            before_grid: Vec::new(),
            after_cut: Vec::new(),
            on_vulkan: false,
            target_bitrate: None,
            preset,
            reorders: false,
            unhurried: false,
            burn: None,
        }
    }

    /// An encoder in software for whole files, as yet without filters.
    pub(super) fn in_software(encoder: &'static str, preset: &str) -> Self {
        VideoEncode {
            encoder,
            accelerator: None,
            device: None,
            before_grid: Vec::new(),
            after_cut: Vec::new(),
            on_vulkan: false,
            target_bitrate: None,
            preset: preset.to_owned(),
            reorders: true,
            unhurried: true,
            burn: None,
        }
    }
}

impl VideoPlan {
    /// How pictures are made anew; `software` asks for the way without hardware.
    pub fn encoder(&self, software: bool) -> Option<&VideoEncode> {
        let instead = self.software.as_ref().filter(|_| software);
        instead.or(self.encode.as_ref())
    }

    /// The RFC 6381 name, where it is known before the first encoder run.
    pub fn codec_string(&self) -> Option<String> {
        self.level.map(|level| format!("avc1.6400{level:02x}"))
    }

    /// By how many pictures decoding is ahead of showing.
    pub fn decode_lead(&self) -> i64 {
        // x264 and x265 reorder around one picture that is reordered itself.
        let reorders = |e: &VideoEncode| match self.codec {
            VideoCodec::H264 => e.reorders && e.preset != "ultrafast",
            VideoCodec::Hevc => e.reorders,
            VideoCodec::Vp9 | VideoCodec::Av1 => false,
        };
        match self.encode.as_ref().is_some_and(reorders) {
            true => 2,
            false => 0,
        }
    }

    /// Bits that a decoder's buffer must hold: one second at the highest rate, so that no two seconds
    /// take more than half as much again.
    pub fn buffer_bits(&self) -> u64 {
        self.max_bitrate.bits_per_second()
    }
}

/// Rates above this are halved: more pictures than screens show cost time and nothing else.
const MAX_FPS: f64 = 61.0;
/// Slide shows are raised to this rate, so that a segment has enough pictures to be cut.
const MIN_FPS: f64 = 5.0;

/// The constant frame rate onto whose grid a source's pictures are put: its own rate when it has
/// one, the nearest usual rate for variable ones.
pub(super) fn output_rate(video: &VideoStream) -> FrameRate {
    let usable = |r: &FrameRate| (0.05..=1000.0).contains(&r.as_f64());
    let base = video.base_rate.filter(usable);
    let average = video.average_rate.filter(usable);
    let rate = match (base, average) {
        (Some(b), Some(a)) if (b.as_f64() / a.as_f64() - 1.0).abs() <= 0.02 => Some(b),
        (_, Some(a)) => Some(nearest_standard(a)),
        (Some(b), None) if b.as_f64() <= 120.0 => Some(b),
        _ => None,
    };
    // With parts of any size, doubling would overflow and never reach its goal.
    let mut rate = bounded(rate.unwrap_or(RATE_25));
    while rate.as_f64() > MAX_FPS {
        rate = FrameRate::new(rate.num(), rate.den().saturating_mul(2)).unwrap_or(RATE_25);
    }
    while rate.as_f64() < MIN_FPS {
        rate = FrameRate::new(rate.num().saturating_mul(2), rate.den()).unwrap_or(RATE_25);
    }
    simplified(rate)
}

const RATE_25: FrameRate = FrameRate::PAL;

fn nearest_standard(rate: FrameRate) -> FrameRate {
    let off = |usual: &FrameRate| (rate.as_f64() / usual.as_f64() - 1.0).abs();
    let best = FrameRate::USUAL
        .into_iter()
        .min_by(|a, b| off(a).total_cmp(&off(b)));
    best.filter(|usual| off(usual) <= 0.04).unwrap_or(rate)
}

/// Fractions such as 2997/100 or 500000/20833 stand for a usual rate; a track's timescale should
/// stay small. Others are kept to three decimals.
fn simplified(rate: FrameRate) -> FrameRate {
    if rate.num() <= 120_000 && rate.den() <= 1001 {
        return rate;
    }
    FrameRate::usual(rate.as_f64()).unwrap_or_else(|| thousandths(rate))
}

/// A rate whose parts leave room for calculating with them.
fn bounded(rate: FrameRate) -> FrameRate {
    if rate.num() < 1 << 24 && rate.den() < 1 << 24 {
        return rate;
    }
    thousandths(rate)
}

fn thousandths(rate: FrameRate) -> FrameRate {
    FrameRate::new((rate.as_f64() * 1000.0).round() as u32, 1000).unwrap_or(rate)
}

/// The largest even size inside the asked box and the limit, of the picture's own shape; never
/// larger than the picture.
pub(super) fn output_size(
    display: Resolution,
    asked: MaxResolution,
    limit: MaxResolution,
) -> Resolution {
    let (w, h) = (f64::from(display.width), f64::from(display.height));
    let mut factor: f64 = 1.0;
    for (long, short) in [asked.sides(), limit.sides()].into_iter().flatten() {
        let (bw, bh) = if w >= h { (long, short) } else { (short, long) };
        factor = factor.min(f64::from(bw) / w).min(f64::from(bh) / h);
    }
    let even = |v: f64, scaled: bool| {
        let half = if scaled {
            (v / 2.0).round()
        } else {
            (v / 2.0).floor()
        };
        (half as u32 * 2).max(2)
    };
    let scaled = factor < 1.0;
    Resolution {
        width: even(w * factor, scaled),
        height: even(h * factor, scaled),
    }
}

/// The original's table (contract 6.1), by the smaller side of the output.
pub(super) fn auto_bitrate(size: Resolution) -> Bitrate {
    match size.width.min(size.height) {
        0..=400 => Bitrate::kbit(800),
        401..=576 => Bitrate::kbit(1500),
        577..=800 => Bitrate::kbit(4000),
        801..=1200 => Bitrate::kbit(8000),
        1201..=1600 => Bitrate::kbit(12_000),
        _ => Bitrate::kbit(20_000),
    }
}

/// Decides about `video`. `copyable` says whether segments of the stream as it is can be cut, and
/// why not.
pub(super) fn plan_video(
    video: &VideoStream,
    copyable: Result<(), &'static str>,
    burn: Option<Burn>,
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<VideoPlan, PlanError> {
    let output = &request.output;
    let display = video.display_size();
    let size = output_size(display, output.resolution, settings.max_resolution);
    let copyable = match burn {
        None => copyable,
        Some(_) => Err("subtitles are to be drawn into it"),
    };
    let known = VideoCodec::from_ffmpeg(&video.codec);
    let wanted = match output.video {
        VideoChoice::Copy => {
            let codec = known.ok_or_else(|| PlanError::CannotCopyVideo {
                codec: video.codec.clone(),
            })?;
            copyable.map_err(|reason| PlanError::CopyNeedsIndex { reason })?;
            return Ok(copy(video, codec, settings));
        }
        VideoChoice::Auto if copyable.is_ok() && fits_any_player(video) && size == display => {
            return Ok(copy(video, VideoCodec::H264, settings));
        }
        other => VideoCodec::asked(other).unwrap_or(VideoCodec::H264),
    };
    let max_bitrate = output
        .bitrate
        .unwrap_or_else(|| auto_bitrate(size))
        .min(settings.max_bitrate);
    let target = output.bitrate.map(|b| b.min(settings.max_bitrate));
    let wish = Wish {
        codec: wanted,
        size,
        max_bitrate,
        target_bitrate: target,
        burn,
    };
    encoded(video, wish, request, hardware, settings)
}

/// What one rendition is to be.
pub(super) struct Wish {
    pub(super) codec: VideoCodec,
    pub(super) size: Resolution,
    pub(super) max_bitrate: Bitrate,
    pub(super) target_bitrate: Option<Bitrate>,
    pub(super) burn: Option<Burn>,
}

pub(super) fn encoded(
    video: &VideoStream,
    wish: Wish,
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<VideoPlan, PlanError> {
    let mut before_grid = Vec::new();
    if video.field_order == FieldOrder::Interlaced {
        if video.rotation == 0 {
            // Its pictures must have one size: this does nothing unless they change it.
            let (width, height) = (video.coded.width, video.coded.height);
            before_grid.push(format!("scale={width}:{height}"));
        }
        // One picture per frame, so the frame grid stays the source's.
        before_grid.push("bwdif=mode=send_frame:deint=all".to_owned());
    }
    let tone_map = request.output.tone_map && settings.tone_map;
    let on_vulkan = color::is_dolby_vision_5(&video.color);
    let filtered = |encode: VideoEncode| -> Result<VideoEncode, PlanError> {
        Ok(VideoEncode {
            before_grid: before_grid.clone(),
            after_cut: color::scale_and_map(video, wish.size, tone_map, hardware)?,
            on_vulkan,
            target_bitrate: wish.target_bitrate,
            burn: wish.burn,
            ..encode
        })
    };
    let (encoder, wanted) = wish.codec.software_encoder();
    let software = hardware.has_encoder(encoder).then(|| VideoEncode {
        encoder,
        accelerator: None,
        device: None,
        before_grid: Vec::new(),
        after_cut: Vec::new(),
        on_vulkan: false,
        target_bitrate: None,
        preset: settings.video_preset.clone(),
        reorders: true,
        unhurried: false,
        burn: None,
    });
    let software = software.map(&filtered).transpose()?;
    let chosen = choose(wish.codec, request.output.hw_accel, hardware, settings)?;
    // Filters have one device, and it encodes with filters too.
    let chosen = chosen.filter(|e| !on_vulkan || e.accelerator != Some(Accelerator::Vaapi));
    let chosen = chosen.map(filtered).transpose()?;
    let (encode, software) = match (chosen, software) {
        (Some(chosen), software) => {
            let software = software.filter(|_| settings.hardware.fall_back);
            let in_order = software.map(|s| VideoEncode {
                reorders: false,
                ..s
            });
            (chosen, in_order)
        }
        (None, Some(software)) => (software, None),
        (None, None) => return Err(PlanError::NoEncoder { encoder, wanted }),
    };
    Ok(VideoPlan {
        stream: video.index,
        codec: wish.codec,
        size: wish.size,
        rate: output_rate(video),
        upright: video.rotation == 0,
        makes_up: makes_up(&video.codec),
        max_bitrate: wish.max_bitrate,
        level: None,
        encode: Some(encode),
        software,
    })
}

/// The hardware encoder that a request gets; `None` = software.
pub(super) fn choose(
    codec: VideoCodec,
    asked: HwAccel,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<Option<VideoEncode>, PlanError> {
    let on = |accelerator: Accelerator| {
        let encoder = hardware_encoder(accelerator, codec)?;
        let report = hardware.accelerator(accelerator)?;
        let works = report.encoders.iter().any(|e| e == encoder);
        works.then(|| VideoEncode::on(accelerator, encoder, &settings.hardware))
    };
    match asked {
        HwAccel::Software => Ok(None),
        HwAccel::Auto if !settings.hardware.prefer => Ok(None),
        HwAccel::Auto => Ok(Accelerator::BEST_FIRST.into_iter().find_map(on)),
        named => match named.name().parse().ok().and_then(on) {
            Some(encode) => Ok(Some(encode)),
            None if settings.hardware.fall_back => Ok(None),
            None => Err(PlanError::NoSuchHardware { name: named.name() }),
        },
    }
}

fn copy(video: &VideoStream, codec: VideoCodec, settings: &PlanSettings) -> VideoPlan {
    let measured = video.bit_rate.map(|b| Bitrate(b + b / 2));
    VideoPlan {
        stream: video.index,
        codec,
        size: video.display_size(),
        rate: output_rate(video),
        upright: video.rotation == 0,
        makes_up: makes_up(&video.codec),
        max_bitrate: measured.unwrap_or(settings.max_bitrate),
        level: None,
        encode: None,
        software: None,
    }
}

/// Decoders that show nothing before they have seen a key frame, or the recovery that stands for one.
const PATIENT_DECODERS: [&str; 7] = [
    "h264",
    "hevc",
    "mpeg1video",
    "mpeg2video",
    "vp8",
    "vp9",
    "av1",
];

fn makes_up(codec: &str) -> bool {
    !PATIENT_DECODERS.contains(&codec)
}

/// What every browser decodes: 8-bit 4:2:0 H.264, progressive, upright, SDR.
fn fits_any_player(video: &VideoStream) -> bool {
    let profile = matches!(
        video.profile.as_str(),
        "Constrained Baseline" | "Baseline" | "Main" | "High" | "Progressive High"
    );
    video.codec == "h264"
        && profile
        && matches!(video.pixel_format.as_str(), "yuv420p" | "yuvj420p")
        && video.field_order != FieldOrder::Interlaced
        && video.rotation == 0
        && video.color.transfer_kind() == Transfer::Sdr
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn res(width: u32, height: u32) -> Resolution {
        Resolution { width, height }
    }

    #[test]
    fn sizes_follow_the_contract() {
        use MaxResolution::*;
        assert_eq!(output_size(res(1280, 720), R480, R4k), res(854, 480));
        assert_eq!(output_size(res(1920, 1080), R720, R4k), res(1280, 720));
        assert_eq!(output_size(res(1080, 1920), R720, R4k), res(720, 1280));
        assert_eq!(output_size(res(640, 360), R1080, R4k), res(640, 360));
        assert_eq!(output_size(res(319, 179), Original, R4k), res(318, 178));
        assert_eq!(output_size(res(7680, 4320), Original, R4k), res(3840, 2160));
        assert_eq!(output_size(res(1, 1), Original, R4k), res(2, 2));
    }

    #[test]
    fn rates_are_the_sources_own() {
        let video = |base: &str, average: &str| VideoStream {
            base_rate: base.parse().ok(),
            average_rate: average.parse().ok(),
            ..crate::plan::stream::tests::video()
        };
        for (base, average, expected) in [
            ("30000/1001", "30000/1001", "30000/1001"),
            ("24000/1001", "24000/1001", "24000/1001"),
            ("60000/1001", "60000/1001", "60000/1001"),
            ("90000/1", "2987/100", "30000/1001"),
            ("120/1", "120/1", "60/1"),
            ("1000/1", "0/0", "25/1"),
            ("2997/100", "2997/100", "2997/100"),
            ("500000/20833", "500000/20833", "24000/1000"),
            ("1/2", "1/2", "8/1"),
            ("0/0", "107374183/2147483647", "32/5"),
            ("0/0", "4294967295/4294968", "125/4"),
            ("240000/1001", "240000/1001", "60000/1001"),
        ] {
            let expected: FrameRate = expected.parse().unwrap();
            assert_eq!(
                output_rate(&video(base, average)),
                expected,
                "{base} {average}"
            );
        }
    }

    proptest! {
        #[test]
        fn sizes_are_even_and_never_larger(w in 2u32..9000, h in 2u32..9000, i in 0usize..7) {
            let asked: MaxResolution = MaxResolution::NAMES[i].parse().unwrap();
            let out = output_size(res(w, h), asked, MaxResolution::R4k);
            prop_assert_eq!((out.width % 2, out.height % 2), (0, 0));
            prop_assert!(out.width <= w.max(2) && out.height <= h.max(2));
        }
    }
}
