//! What happens to the audio stream.

use serde::Serialize;

use crate::base::Bitrate;
use crate::hardware::Hardware;
use crate::media::{AudioChoice, AudioStream, StreamRequest};

use super::error::PlanError;

/// Samples in one AAC-LC frame.
pub const AAC_FRAME_SAMPLES: u32 = 1024;

/// The audio track of a stream; always AAC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioPlan {
    /// Stream index in the source.
    pub stream: u32,
    pub sample_rate: u32,
    pub channels: u32,
    pub bitrate: Bitrate,
    pub language: Option<String>,
    /// `None` copies the stream as it is.
    pub encode: Option<AudioEncode>,
}

/// How sound is made anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioEncode {
    pub source_rate: u32,
    /// Where containers round timestamps more coarsely than one sample: the grid on which packets
    /// really lie. An encoder run that starts anywhere then starts on the very sample on which a
    /// run from the beginning would be.
    pub snap: Option<Snap>,
}

/// The grid of the ends of frames, in samples of the source. Ends, because a decoder cuts a first
/// frame's beginning off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Snap {
    pub offset: i64,
    pub frame: u32,
    /// Timestamps further than this from the grid are gaps or drift, and are believed.
    pub tolerance: u32,
}

/// The output's sample rate: the source's own where AAC and players take it, else a whole multiple
/// or part of it, so that resampling has the same phase wherever a run starts.
fn output_rate(source: u32) -> u32 {
    match source {
        32_000 | 44_100 | 48_000 => source,
        22_050 | 11_025 | 88_200 | 176_400 | 352_800 => 44_100,
        _ => 48_000,
    }
}

/// Samples that the frames of a codec have, or a divisor of them. Frames that lie elsewhere are
/// left where they are.
fn frame_samples(codec: &str, rate: u32) -> u32 {
    match codec {
        "mp3" if rate < 32_000 => 576,
        "mp3" | "mp2" => 1152,
        "ac3" | "eac3" => 1536,
        "dts" | "flac" | "alac" => 512,
        "opus" => 960,
        "wmav1" | "wmav2" | "wmapro" => match rate {
            0..=16_000 => 512,
            16_001..=22_050 => 1024,
            22_051..=48_000 => 2048,
            _ => 4096,
        },
        "aac" => 1024,
        _ => 64,
    }
}

/// Delay of Opus encoders at 48 kHz (RFC 7845 section 4.2), which Matroska subtracts from the times
/// of all packets and then rounds.
const OPUS_PRE_SKIP: i64 = 312;

/// Where timestamps are rounded: the grid on which the ends of frames lie, and how far rounding (of
/// this packet, of the first packet, of what a decoder cut off) can move them from it.
fn snap(audio: &AudioStream) -> Option<Snap> {
    let (num, den) = audio.time_base;
    let rate = audio.sample_rate;
    if u64::from(den) >= u64::from(rate) * u64::from(num) && den % rate == 0 {
        return None;
    }
    let frame = frame_samples(&audio.codec, rate);
    let rounding = 1.6 * f64::from(num) / f64::from(den) * f64::from(rate);
    let tolerance = (rounding.ceil() as u32).clamp(1, frame / 2 - 1);
    let start = audio.start_time.unwrap_or_default().to_ticks(rate);
    let pre_skip = audio.codec == "opus" && (start + OPUS_PRE_SKIP).abs() <= 48;
    Some(Snap {
        offset: if pre_skip { -OPUS_PRE_SKIP } else { start },
        frame,
        tolerance,
    })
}

fn auto_bitrate(channels: u32) -> Bitrate {
    match channels {
        1 => Bitrate::kbit(64),
        2 => Bitrate::kbit(128),
        3..=6 => Bitrate::kbit(384),
        _ => Bitrate::kbit(512),
    }
}

pub(super) fn plan_audio(
    audio: &AudioStream,
    request: &StreamRequest,
    hardware: &Hardware,
) -> Result<AudioPlan, PlanError> {
    let output = &request.output;
    let copyable = audio.codec == "aac" && matches!(audio.profile.as_str(), "LC" | "");
    let copy = match output.audio {
        AudioChoice::Copy if !copyable => {
            return Err(PlanError::CannotCopyAudio {
                codec: audio.codec.clone(),
            });
        }
        AudioChoice::Copy => true,
        AudioChoice::Auto => {
            copyable
                && audio.channels <= output.max_audio_channels
                && output_rate(audio.sample_rate) == audio.sample_rate
        }
        _ => false,
    };
    if copy {
        return Ok(AudioPlan {
            stream: audio.index,
            sample_rate: audio.sample_rate,
            channels: audio.channels,
            bitrate: Bitrate(audio.bit_rate.unwrap_or(192_000)),
            language: audio.language.clone(),
            encode: None,
        });
    }
    if !hardware.has_encoder("aac") {
        return Err(PlanError::NoEncoder {
            encoder: "aac",
            wanted: "aac",
        });
    }
    let channels = audio.channels.min(output.max_audio_channels).clamp(1, 8);
    Ok(AudioPlan {
        stream: audio.index,
        sample_rate: output_rate(audio.sample_rate),
        channels,
        bitrate: auto_bitrate(channels),
        language: audio.language.clone(),
        encode: Some(AudioEncode {
            source_rate: audio.sample_rate,
            snap: snap(audio),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MediaTime;

    fn audio(codec: &str, rate: u32, time_base: (u32, u32)) -> AudioStream {
        AudioStream {
            index: 1,
            codec: codec.into(),
            profile: "LC".into(),
            sample_rate: rate,
            channels: 2,
            start_time: Some(MediaTime::from_micros(7_000)),
            duration: None,
            time_base,
            bit_rate: None,
            language: None,
            title: None,
            default: true,
        }
    }

    #[test]
    fn only_rounded_timestamps_are_snapped() {
        assert_eq!(snap(&audio("aac", 48_000, (1, 48_000))), None);
        assert_eq!(snap(&audio("pcm_s16le", 48_000, (1, 96_000))), None);
        let coarse = Some(Snap {
            offset: 336,
            frame: 1024,
            tolerance: 77,
        });
        assert_eq!(snap(&audio("aac", 48_000, (1, 1000))), coarse);
        let transport = Some(Snap {
            offset: 309,
            frame: 1024,
            tolerance: 1,
        });
        assert_eq!(snap(&audio("aac", 44_100, (1, 90_000))), transport);
        let opus = AudioStream {
            start_time: Some(MediaTime::from_micros(-7_000)),
            ..audio("opus", 48_000, (1, 1000))
        };
        assert_eq!(snap(&opus).map(|s| s.offset), Some(-312));
        assert_eq!(
            snap(&audio("vorbis", 48_000, (1, 1000))).map(|s| s.tolerance),
            Some(31)
        );
    }

    #[test]
    fn rates_keep_a_whole_ratio() {
        for (source, out) in [
            (8000, 48_000),
            (22_050, 44_100),
            (96_000, 48_000),
            (44_100, 44_100),
        ] {
            assert_eq!(output_rate(source), out);
        }
    }
}
