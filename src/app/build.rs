//! From configuration keys to the settings of each module.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ToolPath};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ffmpeg::{Launcher, ToolSettings, Toolchain, ToolchainError};
use crate::plan::PlanSettings;
use crate::queries::QuerySettings;
use crate::scratch::ScratchFolder;
use crate::session::{CacheError, OPEN_WITHIN, Opener, SessionSettings};
use crate::source::{SourceClient, SourcePolicy, SourceSettings, SourceSettingsError};

/// The gateway cannot start; the text names the key or the tool.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Tools(#[from] ToolchainError),
    #[error(transparent)]
    Sources(#[from] SourceSettingsError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cannot listen on {host}:{port} (server.host, server.port): {source}")]
    Listen {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("cannot write the ready file {path}: {source}")]
    ReadyFile { path: String, source: io::Error },
    #[error("transcoding.temp_directory {path} cannot be used: {source}")]
    Scratch { path: String, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// How long a job that nobody asks for is kept, as in the original.
const RETENTION: Duration = Duration::from_secs(3600);
/// How long a request for a segment waits for its first bytes.
const SEGMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// What opens sources. Work goes on `tracker` and ends with `cancel`. Must be called on a runtime.
pub async fn opener(
    config: &Config,
    tracker: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<Opener, StartError> {
    let policy = source_policy(config)?;
    let tools = Toolchain::find(&tool_settings(config)).await?;
    Ok(Opener {
        tools: Arc::new(tools),
        launcher: Launcher::new(tracker.clone()).map_err(StartError::Thread)?,
        client: SourceClient::new(policy.clone()),
        cache: Arc::default(),
        authorization: None,
        is_sparing: false,
        open_within: OPEN_WITHIN,
        policy,
        plan: plan_settings(config),
        tracker: tracker.clone(),
        cancel: cancel.clone(),
    })
}

fn tool_settings(config: &Config) -> ToolSettings {
    let path = |p: &ToolPath| match p {
        ToolPath::Auto => None,
        ToolPath::Path(path) => Some(path.clone()),
    };
    ToolSettings {
        ffmpeg: path(&config.transcoding.ffmpeg_path),
        ffprobe: path(&config.transcoding.ffprobe_path),
    }
}

pub fn source_policy(config: &Config) -> Result<Arc<SourcePolicy>, SourceSettingsError> {
    let settings = SourceSettings {
        roots: config.sources.roots.clone(),
        allow_hosts: config.sources.allow_hosts.clone(),
        deny_hosts: config.sources.deny_hosts.clone(),
    };
    SourcePolicy::new(settings).map(Arc::new)
}

fn plan_settings(config: &Config) -> PlanSettings {
    let t = &config.transcoding;
    PlanSettings {
        segment_seconds: f64::from(t.segment_duration),
        max_resolution: config.limits.max_resolution,
        max_bitrate: config.limits.max_bitrate,
        tone_map: t.tone_map_hdr,
        video_preset: t.video_preset.name().to_owned(),
    }
}

pub(super) fn session_settings(config: &Config) -> SessionSettings {
    let t = &config.transcoding;
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    let heads = t.max_heads_per_session as usize;
    SessionSettings {
        max_heads_per_session: heads,
        max_encoders: heads * t.max_concurrent_jobs as usize,
        buffer_ahead: seconds(t.buffer_ahead_seconds),
        idle_timeout: seconds(t.idle_timeout_seconds),
        stall_timeout: seconds(t.stall_timeout),
        segment_timeout: SEGMENT_TIMEOUT,
        retention: RETENTION,
        segment_seconds: f64::from(t.segment_duration),
    }
}

pub(super) fn query_settings(config: &Config) -> QuerySettings {
    let q = &config.queries;
    QuerySettings {
        concurrency: q.concurrency as usize,
        queue_timeout: Duration::from_secs(u64::from(q.queue_timeout_seconds)),
        timeout: Duration::from_secs(u64::from(q.timeout_seconds)),
        cache_max_bytes: q.cache_max_bytes.bytes(),
        max_download_bytes: q.max_download_bytes.bytes(),
    }
}

/// A folder for what queries keep, beside the segments.
pub(super) fn query_folder(config: &Config) -> Result<ScratchFolder, StartError> {
    let parent = &config.transcoding.temp_directory;
    let opened = ScratchFolder::open(parent, "queries-").and_then(ScratchFolder::canonical);
    opened.map_err(|source| StartError::Scratch {
        path: parent.display().to_string(),
        source,
    })
}
