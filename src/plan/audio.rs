//! What happens to the audio stream.

use serde::Serialize;

use crate::base::{Bitrate, MediaTime};
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

/// The grid of packets, in samples of the source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Snap {
    pub offset: i64,
    pub frame: u32,
    /// Timestamps further than this from the grid are gaps or drift, and are believed.
    pub tolerance: u32,
    /// The first packet of the source is cut by the decoder's delay and does not begin on the grid.
    pub first_is_cut: bool,
}

/// What the usual encoder of Opus adds in front, microseconds (RFC 7845 section 4.2: the pre-skip).
const OPUS_DELAY_US: i64 = 6_500;

/// The output's sample rate: the source's own where AAC and players take it, else a whole multiple
/// or part of it, so that resampling has the same phase wherever a run starts.
fn output_rate(source: u32) -> u32 {
    match source {
        32_000 | 44_100 | 48_000 => source,
        22_050 | 11_025 | 88_200 | 176_400 | 352_800 => 44_100,
        _ => 48_000,
    }
}

/// Packet sizes in samples that a codec's packets are multiples of, and how far rounding of
/// timestamps to milliseconds (of the packet and of the first packet) can move them.
fn snap(audio: &AudioStream) -> Option<Snap> {
    let (num, den) = audio.time_base;
    if u64::from(den) >= u64::from(audio.sample_rate) * u64::from(num) {
        let exact = den % audio.sample_rate == 0;
        if exact {
            return None;
        }
    }
    let frame = match audio.codec.as_str() {
        "aac" => 1024,
        "mp3" | "mp2" => 576,
        "ac3" | "eac3" | "dts" => 256,
        "opus" => 120,
        _ => 64,
    };
    let rounding = 1.1 * f64::from(num) / f64::from(den) * f64::from(audio.sample_rate);
    let tolerance = (rounding.ceil() as u32).clamp(1, frame / 2 - 1);
    let start = audio.start_time.unwrap_or_default();
    let is_opus = audio.codec == "opus";
    let offset = match is_opus && den == 1000 {
        // The first packet begins a decoder delay before a whole millisecond, and that time was
        // rounded away from zero; half a millisecond would be heard at joins.
        true => {
            let content_ms = (start.as_micros() + OPUS_DELAY_US) / 1000;
            MediaTime::from_micros(content_ms * 1000 - OPUS_DELAY_US).to_ticks(audio.sample_rate)
        }
        false => start.to_ticks(audio.sample_rate),
    };
    Some(Snap {
        offset,
        frame,
        tolerance,
        first_is_cut: is_opus,
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
            tolerance: 53,
            first_is_cut: false,
        });
        assert_eq!(snap(&audio("aac", 48_000, (1, 1000))), coarse);
        let transport = Some(Snap {
            offset: 309,
            frame: 1024,
            tolerance: 1,
            first_is_cut: false,
        });
        assert_eq!(snap(&audio("aac", 44_100, (1, 90_000))), transport);
        let opus = |start_ms: i64| {
            let start = Some(MediaTime::from_micros(start_ms * 1000));
            snap(&AudioStream {
                start_time: start,
                ..audio("opus", 48_000, (1, 1000))
            })
        };
        assert_eq!(opus(-7).map(|s| s.offset), Some(-312));
        assert_eq!(opus(1694).map(|s| s.offset), Some(1700 * 48 - 312));
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
