//! The arguments of video encoders, in software and on graphics processors.

use crate::base::{Bitrate, FrameRate, Resolution};
use crate::hardware::Accelerator;

use super::run::strings;
use super::video::{VideoCodec, VideoEncode, VideoPlan};

/// Settings of hardware encoders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceleratorSettings {
    /// Whether `hw_accel: auto` takes hardware where there is some.
    pub prefer: bool,
    /// Whether what hardware cannot do is done in software.
    pub fall_back: bool,
    /// `p1` (fast) to `p7` (slow).
    pub nvenc_preset: String,
    /// `veryfast` to `veryslow`.
    pub qsv_preset: String,
    /// The device of VA-API.
    pub vaapi_device: String,
}

impl Default for AcceleratorSettings {
    fn default() -> Self {
        AcceleratorSettings {
            prefer: true,
            fall_back: true,
            nvenc_preset: "p4".into(),
            qsv_preset: "medium".into(),
            vaapi_device: "/dev/dri/renderD128".into(),
        }
    }
}

/// ffmpeg's name of the encoder of `codec` on `accelerator`, if there is one.
pub(super) fn hardware_encoder(
    accelerator: Accelerator,
    codec: VideoCodec,
) -> Option<&'static str> {
    let prefix = match codec {
        VideoCodec::H264 => "h264_",
        VideoCodec::Hevc => "hevc_",
        VideoCodec::Vp9 => "vp9_",
        VideoCodec::Av1 => "av1_",
    };
    let mut all = accelerator.encoders().iter().copied();
    all.find(|e| e.starts_with(prefix))
}

/// Options before the input: the device that pictures are handed to.
pub(super) fn device_options(encode: &VideoEncode) -> Vec<String> {
    match (encode.accelerator, &encode.device) {
        (Some(Accelerator::Vaapi), Some(device)) => strings(&["-vaapi_device", device]),
        _ => Vec::new(),
    }
}

/// Filters that hand the finished pictures to the encoder.
pub(super) fn upload_filters(accelerator: Option<Accelerator>) -> &'static [&'static str] {
    match accelerator {
        Some(Accelerator::Vaapi) => &["format=nv12", "hwupload"],
        Some(Accelerator::Qsv | Accelerator::Amf | Accelerator::VideoToolbox) => &["format=nv12"],
        Some(Accelerator::Nvenc) | None => &[],
    }
}

/// Distance of key frames that are made without being asked for.
const NEVER: &str = "9999";

/// Encoder and rate control. `gop` is the distance of key frames in pictures in files, and in streams of
/// encoders that do not make them where they are asked to.
pub(super) fn encoder_options(video: &VideoPlan, encode: &VideoEncode, gop: i64) -> Vec<String> {
    match encode.accelerator {
        None => software(video, encode, gop),
        Some(accelerator) => hardware(video, encode, accelerator, gop),
    }
}

/// Distance of the key frames that are made without being asked for: none in streams, whose cuts are,
/// but for an encoder that does not listen.
fn regular_distance(video: &VideoPlan, encode: &VideoEncode, gop: i64) -> String {
    match encode.unhurried || !video.codec.obeys_cuts() {
        true => gop.to_string(),
        false => NEVER.to_owned(),
    }
}

fn software(video: &VideoPlan, encode: &VideoEncode, gop: i64) -> Vec<String> {
    let max_rate = video.max_bitrate.bits_per_second().to_string();
    let buffer = video.buffer_bits().to_string();
    let regular = regular_distance(video, encode, gop);
    let regular = regular.as_str();
    let mut out = strings(&["-c:v", encode.encoder]);
    let quality = match video.codec {
        VideoCodec::H264 => {
            out.extend(strings(&["-preset", &encode.preset, "-profile:v", "high"]));
            out.extend(strings(&[
                "-sc_threshold",
                "0",
                "-forced-idr",
                "1",
                "-g",
                regular,
            ]));
            if !encode.reorders {
                out.extend(strings(&["-bf", "0"]));
            }
            if let Some(level) = video.level {
                let level = format!("{}.{}", level / 10, level % 10);
                out.extend(strings(&["-level", &level]));
            }
            "23"
        }
        VideoCodec::Hevc => {
            out.extend(strings(&[
                "-preset",
                if encode.unhurried {
                    "fast"
                } else {
                    "superfast"
                },
                "-tag:v",
                "hvc1",
                "-forced-idr",
                "1",
            ]));
            let fixed = "log-level=error:scenecut=0:open-gop=0:min-keyint=1";
            let order = if encode.reorders { "" } else { ":bframes=0" };
            out.extend(strings(&[
                "-x265-params",
                &format!("{fixed}:keyint={regular}{order}"),
            ]));
            "26"
        }
        VideoCodec::Vp9 => {
            let (deadline, speed) = match encode.unhurried {
                true => ("good", "4"),
                false => ("realtime", "8"),
            };
            out.extend(strings(&["-deadline", deadline, "-cpu-used", speed]));
            out.extend(strings(&["-row-mt", "1", "-g", regular]));
            if !encode.unhurried {
                out.extend(strings(&["-lag-in-frames", "0", "-auto-alt-ref", "0"]));
            }
            "33"
        }
        VideoCodec::Av1 => {
            let preset = if encode.unhurried { "8" } else { "10" };
            out.extend(strings(&["-preset", preset, "-g", regular]));
            "35"
        }
    };
    match (encode.target_bitrate, video.codec) {
        (Some(target), _) => {
            let target = target.bits_per_second().to_string();
            out.extend(strings(&["-b:v", &target]));
        }
        // SVT-AV1 takes a cap only together with its own rate control.
        (None, VideoCodec::Av1) => {
            out.extend(strings(&["-crf", quality]));
            return out;
        }
        (None, VideoCodec::Vp9) => {
            out.extend(strings(&["-crf", quality, "-b:v", &max_rate]));
            return out;
        }
        (None, _) => out.extend(strings(&["-crf", quality])),
    }
    out.extend(strings(&["-maxrate", &max_rate, "-bufsize", &buffer]));
    out
}

/// Without reordered pictures, which save little at these rates and which some generations of hardware
/// make badly; key frames only where they are asked for.
fn hardware(
    video: &VideoPlan,
    encode: &VideoEncode,
    accelerator: Accelerator,
    gop: i64,
) -> Vec<String> {
    let mut out = strings(&["-c:v", encode.encoder]);
    match video.codec {
        VideoCodec::H264 => out.extend(strings(&["-profile:v", "high", "-bf", "0"])),
        VideoCodec::Hevc => out.extend(strings(&["-tag:v", "hvc1", "-bf", "0"])),
        VideoCodec::Vp9 | VideoCodec::Av1 => {}
    }
    match accelerator {
        Accelerator::Nvenc => {
            out.extend(strings(&["-preset", &encode.preset, "-rc", "vbr"]));
            out.extend(strings(&["-forced-idr", "1", "-no-scenecut", "1"]));
        }
        Accelerator::Qsv => {
            out.extend(strings(&["-preset", &encode.preset, "-forced_idr", "1"]));
        }
        Accelerator::Vaapi => out.extend(strings(&["-rc_mode", "VBR"])),
        Accelerator::Amf => out.extend(strings(&["-quality", "balanced", "-rc", "vbr_peak"])),
        Accelerator::VideoToolbox => {}
    }
    let gop = regular_distance(video, encode, gop);
    let max = video.max_bitrate.bits_per_second();
    let target = encode
        .target_bitrate
        .map_or(max * 2 / 3, |t| t.bits_per_second());
    out.extend(strings(&["-g", &gop, "-b:v", &target.to_string()]));
    let buffer = video.buffer_bits().to_string();
    out.extend(strings(&[
        "-maxrate",
        &max.to_string(),
        "-bufsize",
        &buffer,
    ]));
    out
}

/// The arguments, input and all, of a test encode of a few pictures with the very chain that streams
/// would use; `None` when `encoder` is not one of `accelerator`'s.
pub fn test_encode(
    accelerator: Accelerator,
    encoder: &str,
    settings: &AcceleratorSettings,
) -> Option<Vec<String>> {
    let codecs = [
        VideoCodec::H264,
        VideoCodec::Hevc,
        VideoCodec::Vp9,
        VideoCodec::Av1,
    ];
    let found = codecs.into_iter().find_map(|c| {
        Some((
            c,
            hardware_encoder(accelerator, c).filter(|e| *e == encoder)?,
        ))
    });
    let (codec, encoder) = found?;
    let encode = VideoEncode::on(accelerator, encoder, settings);
    let size = Resolution {
        width: 640,
        height: 360,
    };
    Some(synthetic(&encode, codec, size, 0.4))
}

/// Length of the clip of a benchmark, seconds.
pub const BENCHMARK_SECONDS: f64 = 10.0;

/// The arguments, input and all, of the encode that tells how fast a machine is: ten seconds of 720p to
/// H.264 as whole files are made, on `accelerator` or in software.
pub fn benchmark_encode(
    accelerator: Option<Accelerator>,
    preset: &str,
    settings: &AcceleratorSettings,
) -> Vec<String> {
    let codec = VideoCodec::H264;
    let on = |a| {
        let encoder = hardware_encoder(a, codec)?;
        Some(VideoEncode::on(a, encoder, settings))
    };
    let hardware = accelerator.and_then(on);
    let encode = hardware.unwrap_or_else(|| VideoEncode::in_software("libx264", preset));
    let size = Resolution {
        width: 1280,
        height: 720,
    };
    synthetic(&encode, codec, size, BENCHMARK_SECONDS)
}

/// Encodes pictures that ffmpeg makes itself, and throws the result away.
fn synthetic(
    encode: &VideoEncode,
    codec: VideoCodec,
    size: Resolution,
    seconds: f64,
) -> Vec<String> {
    let video = VideoPlan {
        stream: 0,
        codec,
        size,
        rate: FrameRate::PAL,
        upright: true,
        makes_up: false,
        max_bitrate: Bitrate::kbit(2000),
        level: None,
        encode: None,
        software: None,
    };
    let mut args = device_options(encode);
    let source = format!("testsrc2=s={size}:r=25:d={seconds}");
    args.extend(strings(&["-f", "lavfi", "-i", &source]));
    let mut filters = vec!["format=yuv420p"];
    filters.extend(upload_filters(encode.accelerator));
    args.extend(strings(&["-vf", &filters.join(",")]));
    args.extend(encoder_options(&video, encode, 100));
    args.extend(strings(&["-f", "null", "-"]));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoder_can_be_tested_with_the_chain_of_streams() {
        let settings = AcceleratorSettings::default();
        for accelerator in Accelerator::ALL {
            for encoder in accelerator.encoders() {
                let args = test_encode(accelerator, encoder, &settings)
                    .unwrap()
                    .join(" ");
                assert!(args.contains(&format!("-c:v {encoder} ")), "{args}");
                assert_eq!(args.contains("hwupload"), accelerator == Accelerator::Vaapi);
                assert!(args.contains("testsrc2=s=640x360:r=25:d=0.4"), "{args}");
            }
            assert_eq!(test_encode(accelerator, "libx264", &settings), None);
        }
        let args = benchmark_encode(None, "faster", &settings).join(" ");
        assert!(args.contains("s=1280x720:r=25:d=10 "), "{args}");
        assert!(args.contains("-c:v libx264 -preset faster "), "{args}");
        let args = benchmark_encode(Some(Accelerator::Nvenc), "faster", &settings).join(" ");
        assert!(args.contains("-c:v h264_nvenc "), "{args}");
    }
}
