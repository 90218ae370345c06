//! A runner's job as it is stored.

use serde::{Deserialize, Serialize};

use crate::job::retry::{Backoff, RetryPolicy};
use crate::job::spec::JobKind;

use super::renditions::Rendition;

/// One job of a video. Stored: what was ever written is read for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerSpec {
    /// Id of the video that it belongs to.
    pub video: String,
    pub work: RunnerWork,
}

/// The types of the contract (section 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunnerWork {
    WebVideo {
        rendition: Rendition,
    },
    Hls {
        rendition: Rendition,
    },
    /// A video of a sound and one picture.
    AudioMerge {
        rendition: Rendition,
    },
    Studio {
        tasks: Vec<StudioTask>,
    },
    /// `source` is given to the runner as it is.
    Live {
        source: String,
        renditions: Vec<Rendition>,
    },
    Transcription,
    Storyboard {
        sheet: Storyboard,
    },
}

/// One step of an edit, in the order of the list. Files are names below the video's task files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "options", rename_all = "kebab-case")]
pub enum StudioTask {
    /// Seconds; what lies outside is left out. `None` = from the beginning, to the end.
    Cut {
        start: Option<f64>,
        end: Option<f64>,
    },
    AddIntro {
        file: String,
    },
    AddOutro {
        file: String,
    },
    /// Shares of the picture's shorter side. The misspelt name is the wire's.
    #[serde(rename_all = "camelCase")]
    AddWatermark {
        file: String,
        #[serde(default = "watermark_size")]
        watermark_size_ratio: f64,
        #[serde(
            default = "watermark_margin",
            rename = "horitonzalMarginRatio",
            alias = "horizontalMarginRatio"
        )]
        horizontal_margin_ratio: f64,
        #[serde(default = "watermark_margin")]
        vertical_margin_ratio: f64,
    },
}

/// PeerTube's own.
fn watermark_size() -> f64 {
    0.2
}

fn watermark_margin() -> f64 {
    0.015
}

impl StudioTask {
    /// The file that it needs besides the video.
    pub fn file(&self) -> Option<&str> {
        match self {
            StudioTask::Cut { .. } => None,
            StudioTask::AddIntro { file }
            | StudioTask::AddOutro { file }
            | StudioTask::AddWatermark { file, .. } => Some(file),
        }
    }

    /// The same with another file.
    #[must_use]
    pub fn with_file(mut self, name: &str) -> Self {
        match &mut self {
            StudioTask::Cut { .. } => {}
            StudioTask::AddIntro { file }
            | StudioTask::AddOutro { file }
            | StudioTask::AddWatermark { file, .. } => name.clone_into(file),
        }
        self
    }
}

/// A sheet of pictures for seek bars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Storyboard {
    /// Of one picture, pixels.
    pub width: u32,
    pub height: u32,
    pub columns: u32,
    pub rows: u32,
    /// Distance of two pictures in the film, seconds, at least 1.
    pub interval_seconds: u32,
}

/// As PeerTube: pictures of about this width, at most ten by ten of them.
const PICTURE_WIDTH: u32 = 192;
const MOST_A_SIDE: u32 = 10;

impl Storyboard {
    /// The sheet of a film: a picture a second, or further apart when they would be too many.
    pub fn of(duration_seconds: f64, width: u32, height: u32) -> Storyboard {
        let seconds = duration_seconds.ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
        let interval_seconds = seconds.div_ceil(MOST_A_SIDE * MOST_A_SIDE).max(1);
        let count = seconds.div_ceil(interval_seconds).max(1);
        let columns = count.min(MOST_A_SIDE);
        let shape = f64::from(height.max(1)) / f64::from(width.max(1));
        let tall = (f64::from(PICTURE_WIDTH) * shape)
            .round()
            .clamp(2.0, 1080.0) as u32;
        Storyboard {
            width: PICTURE_WIDTH,
            height: tall - tall % 2,
            columns,
            rows: count.div_ceil(columns),
            interval_seconds,
        }
    }
}

/// Failures after which a job is given up.
const MAX_FAILURES: u32 = 5;

impl RunnerWork {
    pub fn kind(&self) -> JobKind {
        match self {
            RunnerWork::WebVideo { .. } => JobKind::VodWebVideo,
            RunnerWork::Hls { .. } => JobKind::VodHls,
            RunnerWork::AudioMerge { .. } => JobKind::VodAudioMerge,
            RunnerWork::Studio { .. } => JobKind::VideoStudio,
            RunnerWork::Live { .. } => JobKind::LiveRtmpHls,
            RunnerWork::Transcription => JobKind::VideoTranscription,
            RunnerWork::Storyboard { .. } => JobKind::VideoStoryboard,
        }
    }

    /// What it makes, when that is a file to be played.
    pub fn rendition(&self) -> Option<Rendition> {
        match self {
            RunnerWork::WebVideo { rendition }
            | RunnerWork::Hls { rendition }
            | RunnerWork::AudioMerge { rendition } => Some(*rendition),
            _ => None,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self, RunnerWork::Live { .. })
    }

    /// A live stream cannot be done again; everything else is tried five times.
    pub fn retry_policy(&self) -> RetryPolicy {
        match self.is_live() {
            true => RetryPolicy {
                max_failures: 1,
                max_expiries: 1,
                backoff: Backoff::None,
            },
            false => RetryPolicy::at_once(MAX_FAILURES),
        }
    }

    /// Higher first: what happens now cannot wait, what makes a video playable comes before what
    /// adorns it.
    pub fn priority(&self) -> i32 {
        match self {
            RunnerWork::Live { .. } => 10,
            RunnerWork::WebVideo { .. }
            | RunnerWork::Hls { .. }
            | RunnerWork::AudioMerge { .. } => 0,
            RunnerWork::Studio { .. } => -1,
            RunnerWork::Transcription | RunnerWork::Storyboard { .. } => -2,
        }
    }
}

impl JobKind {
    /// What PeerTube's runners do.
    pub const RUNNER: &'static [JobKind] = &[
        JobKind::VodHls,
        JobKind::VodWebVideo,
        JobKind::VodAudioMerge,
        JobKind::VideoStudio,
        JobKind::LiveRtmpHls,
        JobKind::VideoTranscription,
        JobKind::VideoStoryboard,
    ];

    /// The contract's name of a type of runner's jobs; `None`: runners do not do it.
    pub fn runner_type(self) -> Option<&'static str> {
        Some(match self {
            JobKind::VodHls => "vod-hls-transcoding",
            JobKind::VodWebVideo => "vod-web-video-transcoding",
            JobKind::VodAudioMerge => "vod-audio-merge-transcoding",
            JobKind::VideoStudio => "video-studio-transcoding",
            JobKind::LiveRtmpHls => "live-rtmp-hls-transcoding",
            JobKind::VideoTranscription => "video-transcription",
            JobKind::VideoStoryboard => "generate-video-storyboard",
            _ => return None,
        })
    }

    pub fn from_runner_type(name: &str) -> Option<JobKind> {
        let mut kinds = Self::RUNNER.iter().copied();
        kinds.find(|k| k.runner_type() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_read_and_write_the_wire_names() {
        let wire = r#"[{"name":"cut","options":{"start":1.5,"end":null}},
            {"name":"add-intro","options":{"file":"a"}},
            {"name":"add-watermark","options":{"file":"w","watermarkSizeRatio":0.5}}]"#;
        let tasks: Vec<StudioTask> = serde_json::from_str(wire).unwrap();
        assert_eq!(tasks[1].file(), Some("a"));
        let told = serde_json::to_value(&tasks).unwrap();
        assert_eq!(told[0]["options"]["start"], 1.5);
        assert_eq!(told[2]["options"]["horitonzalMarginRatio"], 0.015);
        assert_eq!(told[2]["options"]["watermarkSizeRatio"], 0.5);
    }

    #[test]
    fn sheets_hold_the_whole_film() {
        for seconds in [0.2, 1.0, 12.0, 59.5, 100.0, 101.0, 7200.0] {
            let s = Storyboard::of(seconds, 1280, 720);
            let pictures = s.columns * s.rows;
            assert!(f64::from(pictures * s.interval_seconds) >= seconds, "{s:?}");
            assert!(
                s.columns <= 10 && s.rows <= 10 && s.height.is_multiple_of(2),
                "{s:?}"
            );
        }
        assert_eq!(Storyboard::of(12.0, 1280, 720).height, 108);
    }

    #[test]
    fn every_kind_has_one_name() {
        for kind in JobKind::RUNNER {
            let name = kind.runner_type().unwrap();
            assert_eq!(JobKind::from_runner_type(name), Some(*kind));
        }
        assert_eq!(JobKind::from_runner_type("batch"), None);
    }
}
