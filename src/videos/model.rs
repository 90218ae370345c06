//! What is stored of a video. Rows outlive programs: fields that are added have defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::base::{LeaseToken, QueueId};
use crate::job::runner::RunnerWork;
use crate::store::Collection;

pub(super) const VIDEOS: Collection = Collection("videos");

/// A video and all that came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Video {
    pub name: String,
    pub source: VideoSource,
    #[serde(default)]
    pub facts: VideoFacts,
    /// All its jobs, in the order in which they were submitted.
    pub jobs: Vec<Planned>,
    /// Name of the picture among its artifacts.
    #[serde(default)]
    pub thumbnail: Option<String>,
    /// Folder for results, as the client named it; told to whoever asks.
    #[serde(default)]
    pub destination: Option<String>,
    #[serde(default)]
    pub callback: Option<Callback>,
    /// What runners delivered and nobody has looked at yet.
    #[serde(default)]
    pub received: BTreeMap<QueueId, Received>,
    #[serde(default)]
    pub results: BTreeMap<QueueId, Made>,
    /// Digests of the tokens of attempts that have ended: what their runners still say is answered.
    #[serde(default)]
    pub spent: BTreeMap<QueueId, String>,
    /// Being deleted: it is not shown any more.
    #[serde(default)]
    pub deleted: bool,
}

/// A job before it is in the queue: it may have to be put there again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub id: QueueId,
    pub work: RunnerWork,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VideoSource {
    /// In the video's own folder of uploads.
    Upload,
    /// A file below a root, or a URL, as the client named it.
    Place { text: String },
    /// What is transcoded as it happens.
    Live { text: String },
}

/// What was found out of the source, as it is shown: after rotation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VideoFacts {
    /// 0 when there are no pictures.
    pub width: u32,
    pub height: u32,
    pub fps: Option<f64>,
    pub duration_seconds: Option<f64>,
    pub has_audio: bool,
}

impl VideoFacts {
    pub fn has_pictures(&self) -> bool {
        self.width > 0 && self.height > 0
    }

    /// The shorter side.
    pub fn side(&self) -> u32 {
        self.width.min(self.height)
    }
}

/// Whom to tell when the video has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Callback {
    pub url: Url,
    /// Base of the addresses in what is told.
    pub base: String,
    #[serde(default)]
    pub told: bool,
}

/// A delivery that lies in a folder of its own, in files with fixed names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub token: LeaseToken,
    pub attempt: u32,
    /// Name of the folder below that of deliveries.
    pub folder: String,
    #[serde(default)]
    pub language: Option<String>,
}

/// What came of a job. Files are names among the video's artifacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Made {
    Hls {
        file: String,
        playlist: String,
        /// Bits per second.
        bandwidth: u64,
        average_bandwidth: u64,
        /// RFC 6381, of pictures and sound.
        video_codec: Option<String>,
        audio_codec: Option<String>,
        width: u32,
        height: u32,
        frame_rate: Option<f64>,
        channels: Option<u32>,
    },
    File {
        file: String,
        size_bytes: u64,
    },
    Captions {
        file: String,
        language: String,
    },
    Storyboard {
        file: String,
    },
    /// Its files came while it was made.
    Live,
}

impl Video {
    pub fn planned(&self, job: &QueueId) -> Option<&Planned> {
        self.jobs.iter().find(|p| p.id == *job)
    }
}
