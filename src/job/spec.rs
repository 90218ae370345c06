//! What is to be done, as it is stored.

use serde::{Deserialize, Serialize};

use crate::base::FrameRate;
use crate::media::{QualityGoal, SceneEncoder, StreamRequest};

use super::runner::RunnerSpec;

/// One piece of work. Rows outlive programs: a variant that was ever written is read for ever, and
/// fields that are added have defaults. The JSON carries a version ([`JobSpec::to_json`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSpec {
    Transcode(TranscodeSpec),
    Batch(Box<BatchSpec>),
    /// Work for PeerTube's runners.
    Runner(Box<RunnerSpec>),
    Scene(Box<SceneSpec>),
}

/// A whole file in another codec (distconv contract, section 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranscodeSpec {
    pub source_url: String,
    /// As the client wrote it: a codec or the name of an ffmpeg encoder.
    pub target_codec: String,
    /// What the client says of the size, in megabytes; 0 when it says nothing.
    #[serde(default)]
    pub size_mb: f64,
    /// Attempts as the client counts them; 0 means one.
    #[serde(default)]
    pub max_retries: u64,
}

/// A whole file as GhostStream's `mode: batch` asks for it (GhostStream contract, section 3.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSpec {
    pub source: String,
    #[serde(default)]
    pub request: StreamRequest,
    #[serde(default)]
    pub session_id: Option<String>,
}

/// One scene of a film that is encoded scene by scene (grav1 contract, section 3). What is made of it has
/// the pictures of the segment, in their order, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneSpec {
    /// Id of the project that it belongs to.
    pub project: String,
    /// Five digits or more.
    pub scene: String,
    /// Name of the artifact that holds the pictures as the source has them.
    pub segment: String,
    /// Pictures of the segment before the first one of the scene; what lies behind its last one is not of
    /// it either.
    #[serde(default)]
    pub lead: u32,
    pub frames: u32,
    pub rate: FrameRate,
    pub encoder: SceneEncoder,
    #[serde(default)]
    pub encoder_params: String,
    #[serde(default)]
    pub ffmpeg_params: String,
    #[serde(default)]
    pub quality: Option<QualityGoal>,
    /// Name of the artifact with the scene's table of film grain, if it is to have grain.
    #[serde(default)]
    pub grain: Option<String>,
}

/// The kinds of work, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Transcode,
    Batch,
    VodHls,
    VodWebVideo,
    VodAudioMerge,
    VideoStudio,
    LiveRtmpHls,
    VideoTranscription,
    VideoStoryboard,
    Scene,
}

impl JobKind {
    pub const ALL: &'static [JobKind] = &[
        JobKind::Transcode,
        JobKind::Batch,
        JobKind::VodHls,
        JobKind::VodWebVideo,
        JobKind::VodAudioMerge,
        JobKind::VideoStudio,
        JobKind::LiveRtmpHls,
        JobKind::VideoTranscription,
        JobKind::VideoStoryboard,
        JobKind::Scene,
    ];

    pub fn name(self) -> &'static str {
        match self {
            JobKind::Transcode => "transcode",
            JobKind::Batch => "batch",
            JobKind::VodHls => "vod_hls",
            JobKind::VodWebVideo => "vod_web_video",
            JobKind::VodAudioMerge => "vod_audio_merge",
            JobKind::VideoStudio => "video_studio",
            JobKind::LiveRtmpHls => "live_rtmp_hls",
            JobKind::VideoTranscription => "video_transcription",
            JobKind::VideoStoryboard => "video_storyboard",
            JobKind::Scene => "scene",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }
}

/// A stored job that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("a stored job cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a stored job has version {0}; this program knows {VERSION}")]
    Version(u32),
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    spec: T,
}

impl JobSpec {
    pub fn kind(&self) -> JobKind {
        match self {
            JobSpec::Transcode(_) => JobKind::Transcode,
            JobSpec::Batch(_) => JobKind::Batch,
            JobSpec::Runner(spec) => spec.work.kind(),
            JobSpec::Scene(_) => JobKind::Scene,
        }
    }

    /// What a worker must be able to do besides the kind: the codec it encodes to. `None`: any worker
    /// of the kind will do.
    pub fn requires(&self) -> Option<String> {
        match self {
            JobSpec::Transcode(spec) => Some(codec_family(&spec.target_codec)),
            JobSpec::Batch(_) | JobSpec::Runner(_) => None,
            JobSpec::Scene(spec) => Some(spec.encoder.codec().to_owned()),
        }
    }

    /// What the job is a part of, by its id. `None`: it stands alone.
    pub fn owner(&self) -> Option<&str> {
        match self {
            JobSpec::Transcode(_) => None,
            JobSpec::Batch(spec) => spec.session_id.as_deref(),
            JobSpec::Runner(spec) => Some(&spec.video),
            JobSpec::Scene(spec) => Some(&spec.project),
        }
    }

    /// The stored form: `{"v": 1, "spec": {"kind": ..., ...}}`.
    pub fn to_json(&self) -> Result<String, SpecError> {
        Ok(serde_json::to_string(&Versioned {
            v: VERSION,
            spec: self,
        })?)
    }

    /// # Errors
    /// The text was written by a later program, or by none of ours.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        let any: Versioned<serde_json::Value> = serde_json::from_str(text)?;
        if any.v != VERSION {
            return Err(SpecError::Version(any.v));
        }
        Ok(serde_json::from_value(any.spec)?)
    }
}

/// One word for the encoders of a codec, so that a worker that lists `h264` is offered work for
/// `libx264`. Words that are not known stand for themselves, in lower case.
pub fn codec_family(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let family = match name.as_str() {
        "libx264" | "avc" | "x264" | "h264_nvenc" | "h264_vaapi" | "h264_qsv" => "h264",
        "libx265" | "hevc" | "x265" | "hevc_nvenc" | "hevc_vaapi" | "hevc_qsv" => "h265",
        "libvpx" => "vp8",
        "libvpx-vp9" => "vp9",
        "libsvtav1" | "libaom-av1" | "librav1e" => "av1",
        other => other,
    };
    family.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form that was ever stored.
    #[test]
    fn stored_jobs_of_all_versions_are_read() {
        let old = r#"{"v":1,"spec":{"kind":"transcode","source_url":"http://h/v.mp4","target_codec":"h264"}}"#;
        let spec = JobSpec::from_json(old).unwrap();
        let JobSpec::Transcode(t) = &spec else {
            panic!("{spec:?}")
        };
        assert_eq!((t.size_mb, t.max_retries), (0.0, 0));
        let old = r#"{"v":1,"spec":{"kind":"batch","source":"a.mkv","request":{"mode":"batch","output":{"format":"mp4"}}}}"#;
        let spec = JobSpec::from_json(old).unwrap();
        assert_eq!(spec.kind(), JobKind::Batch);
        let old = r#"{"v":1,"spec":{"kind":"scene","project":"p1","scene":"00000","segment":"k-00000/s.mkv","frames":48,"rate":{"num":25,"den":1},"encoder":"aom"}}"#;
        let scene = JobSpec::from_json(old).unwrap();
        assert_eq!(
            (scene.owner(), scene.requires().as_deref()),
            (Some("p1"), Some("av1"))
        );
        assert_eq!(JobSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
        let old = r#"{"v":1,"spec":{"kind":"runner","video":"v1","work":{"type":"hls","rendition":{"resolution":360,"fps":25}}}}"#;
        let spec = JobSpec::from_json(old).unwrap();
        assert_eq!((spec.kind(), spec.owner()), (JobKind::VodHls, Some("v1")));
    }

    #[test]
    fn what_a_later_program_wrote_is_refused_by_its_version() {
        let later = JobSpec::from_json(r#"{"v":2,"spec":{"kind":"hologram"}}"#).unwrap_err();
        assert_eq!(
            later.to_string(),
            "a stored job has version 2; this program knows 1"
        );
        assert!(JobSpec::from_json("{}").is_err());
    }

    #[test]
    fn encoders_belong_to_codecs() {
        assert_eq!(codec_family("libx264"), codec_family("H264"));
        assert_eq!(codec_family("h265"), "h265");
        assert_eq!(codec_family("nosuchcodec"), "nosuchcodec");
    }
}
