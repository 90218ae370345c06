//! What happens to the audio stream.

use serde::Serialize;

use crate::base::Bitrate;
use crate::hardware::Hardware;
use crate::hls::Grid;
use crate::media::{AudioChoice, AudioStream, StreamRequest};

use super::error::PlanError;

/// Codec of an audio track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    Aac,
    Opus,
    Mp3,
    Flac,
    Ac3,
    /// Copied only.
    Eac3,
}

impl AudioCodec {
    fn from_ffmpeg(audio: &AudioStream) -> Option<Self> {
        match audio.codec.as_str() {
            "aac" if matches!(audio.profile.as_str(), "LC" | "") => Some(AudioCodec::Aac),
            "opus" => Some(AudioCodec::Opus),
            "mp3" => Some(AudioCodec::Mp3),
            "flac" => Some(AudioCodec::Flac),
            "ac3" => Some(AudioCodec::Ac3),
            "eac3" => Some(AudioCodec::Eac3),
            _ => None,
        }
    }

    /// The codec that a request names to be encoded to.
    pub(super) fn asked(choice: AudioChoice) -> Option<Self> {
        match choice {
            AudioChoice::Aac => Some(AudioCodec::Aac),
            AudioChoice::Opus => Some(AudioCodec::Opus),
            AudioChoice::Mp3 => Some(AudioCodec::Mp3),
            AudioChoice::Flac => Some(AudioCodec::Flac),
            AudioChoice::Ac3 => Some(AudioCodec::Ac3),
            AudioChoice::Copy | AudioChoice::Auto => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "opus",
            AudioCodec::Mp3 => "mp3",
            AudioCodec::Flac => "flac",
            AudioCodec::Ac3 => "ac3",
            AudioCodec::Eac3 => "eac3",
        }
    }

    /// ffmpeg's name of the encoder.
    pub fn encoder(self) -> &'static str {
        match self {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "libopus",
            AudioCodec::Mp3 => "libmp3lame",
            AudioCodec::Flac => "flac",
            AudioCodec::Ac3 => "ac3",
            AudioCodec::Eac3 => "eac3",
        }
    }

    /// Samples in one frame of the encoder's output.
    pub fn frame_samples(self) -> u32 {
        match self {
            AudioCodec::Aac => 1024,
            AudioCodec::Opus => 960,
            AudioCodec::Mp3 | AudioCodec::Flac => 1152,
            AudioCodec::Ac3 | AudioCodec::Eac3 => 1536,
        }
    }

    /// Samples by which the encoder dates its first packet before its first input: LAME's delay and
    /// the decoder's, the look-ahead of Opus at 48 kHz, the overlap of the transforms.
    fn priming_samples(self) -> u32 {
        match self {
            AudioCodec::Aac => 1024,
            AudioCodec::Opus => 312,
            AudioCodec::Mp3 => 1105,
            AudioCodec::Flac => 0,
            AudioCodec::Ac3 | AudioCodec::Eac3 => 256,
        }
    }

    /// How many samples before a frame the input must begin so that packets lie on the grid of whole
    /// frames.
    pub(super) fn early_samples(self) -> i64 {
        let frame = self.frame_samples();
        i64::from((frame - self.priming_samples() % frame) % frame)
    }

    fn most_channels(self) -> u32 {
        match self {
            AudioCodec::Mp3 => 2,
            AudioCodec::Ac3 | AudioCodec::Eac3 => 6,
            AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac => 8,
        }
    }

    /// The output's sample rate: the source's own where codec and players take it, else one of whose
    /// frames each has a whole number of the source's samples, so that resampling has the same phase
    /// wherever a run starts.
    fn output_rate(self, source: u32) -> u32 {
        match source {
            _ if self == AudioCodec::Opus => 48_000,
            32_000 | 44_100 | 48_000 => source,
            22_050 | 11_025 | 88_200 | 176_400 | 352_800 => 44_100,
            _ => 48_000,
        }
    }

    fn auto_bitrate(self, channels: u32, rate: u32) -> Bitrate {
        let kbit = match (self, channels) {
            // About what music takes.
            (AudioCodec::Flac, _) => return Bitrate(u64::from(rate * channels * 16) * 7 / 10),
            (AudioCodec::Ac3, 1) => 96,
            (AudioCodec::Ac3, 2) => 192,
            (AudioCodec::Ac3, _) => 448,
            (AudioCodec::Mp3, 2) => 160,
            (_, 1) => 64,
            (_, 2) => 128,
            (_, 3..=6) => 384,
            _ => 512,
        };
        Bitrate::kbit(kbit)
    }
}

/// One audio track of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioPlan {
    /// Stream index in the source.
    pub stream: u32,
    pub codec: AudioCodec,
    pub sample_rate: u32,
    pub channels: u32,
    pub bitrate: Bitrate,
    pub language: Option<String>,
    /// What a listener chooses the track by, if the source names it.
    pub title: Option<String>,
    /// Frame of the output at which the sound is known to end, when that is well before the
    /// stream's end.
    pub source_end: Option<i64>,
    /// `None` copies the stream as it is.
    pub encode: Option<AudioEncode>,
}

impl AudioPlan {
    /// The grid on which the frames of an encoded track lie.
    pub fn grid(&self) -> Grid {
        Grid::audio_frames(self.sample_rate, self.codec.frame_samples())
    }
}

/// How sound is made anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioEncode {
    pub source_rate: u32,
    pub source_channels: u32,
    /// Where containers round timestamps more coarsely than one sample: the grid on which packets
    /// really lie. An encoder run that starts anywhere then starts on the very sample on which a
    /// run from the beginning would be.
    pub snap: Option<Snap>,
    /// Single frames may be dated later than they are: where sound goes on, its samples are counted.
    /// ffmpeg's Ogg reader does that to the first short block of Vorbis on a page; its decoder of
    /// WMA Voice dates the frame that began in the packet before by the packet in which it ends, but
    /// after a search, where that frame is lost.
    pub counted: bool,
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
        "wmavoice" => 480,
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

/// Decides about `audio`.
pub(super) fn plan_audio(
    audio: &AudioStream,
    request: &StreamRequest,
    hardware: &Hardware,
) -> Result<AudioPlan, PlanError> {
    let output = &request.output;
    let known = AudioCodec::from_ffmpeg(audio);
    let copied = match output.audio {
        AudioChoice::Copy => Some(known.ok_or_else(|| PlanError::CannotCopyAudio {
            codec: audio.codec.clone(),
        })?),
        AudioChoice::Auto => known.filter(|codec| {
            *codec == AudioCodec::Aac
                && audio.channels <= output.max_audio_channels
                && codec.output_rate(audio.sample_rate) == audio.sample_rate
        }),
        _ => None,
    };
    let plan = |codec, sample_rate, channels, bitrate, encode| AudioPlan {
        stream: audio.index,
        codec,
        sample_rate,
        channels,
        bitrate,
        language: audio.language.clone(),
        title: audio.title.clone(),
        source_end: None,
        encode,
    };
    if let Some(codec) = copied {
        let bitrate = Bitrate(audio.bit_rate.unwrap_or(192_000));
        let (rate, channels) = (audio.sample_rate, audio.channels);
        return Ok(plan(codec, rate, channels, bitrate, None));
    }
    let codec = AudioCodec::asked(output.audio).unwrap_or(AudioCodec::Aac);
    check_encoder(codec, hardware)?;
    let most = output.max_audio_channels.min(codec.most_channels());
    let channels = audio.channels.min(most).max(1);
    let rate = codec.output_rate(audio.sample_rate);
    let snap = snap(audio);
    let encode = AudioEncode {
        source_rate: audio.sample_rate,
        source_channels: audio.channels,
        counted: match audio.codec.as_str() {
            "vorbis" => snap.is_none(),
            codec => codec == "wmavoice",
        },
        snap,
    };
    let bitrate = codec.auto_bitrate(channels, rate);
    Ok(plan(codec, rate, channels, bitrate, Some(encode)))
}

pub(super) fn check_encoder(codec: AudioCodec, hardware: &Hardware) -> Result<(), PlanError> {
    let (encoder, wanted) = (codec.encoder(), codec.name());
    if hardware.has_encoder(encoder) {
        return Ok(());
    }
    Err(PlanError::NoEncoder { encoder, wanted })
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
        for codec in [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3] {
            for source in [
                8000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000,
            ] {
                let out = u64::from(codec.output_rate(source));
                // Runs begin at multiples of six frames.
                let samples = 6 * u64::from(codec.frame_samples()) * u64::from(source);
                assert_eq!(samples % out, 0, "{codec:?} from {source}");
            }
        }
    }
}
