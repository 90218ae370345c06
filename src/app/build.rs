//! From configuration keys to the settings of each module.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::BatchSettings;
use crate::config::{Config, Origins, ToolPath, describe};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::artifact::{ArtifactError, ArtifactStore};
use crate::discovery::{Announcement, HubSettings, SearchError};
use crate::dispatch::{DispatchError, DispatchSettings};
use crate::ffmpeg::{Accelerators, Launcher, ToolSettings, Toolchain, ToolchainError};
use crate::hardware::AcceleratorReport;
use crate::http::{
    AccessSettings, AllowedOrigin, EffectiveSetting, EffectiveSettings, Grav1Settings, Signer,
    platform,
};
use crate::plan::{AcceleratorSettings, PlanSettings};
use crate::source::{Poster, SourceClient, SourcePolicy, SourceSettings, SourceSettingsError};
use crate::store::StoreError;
use crate::telemetry::Metrics;
use crate::videos::{VideoError, VideoSettings};

use super::node::NodeIdentity;
use crate::queries::QuerySettings;
use crate::scenes::{EncoderVersions, ScenesSettings};
use crate::scratch::ScratchFolder;
use crate::session::{CacheError, FileRules, OPEN_WITHIN, Opener, SessionSettings};

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
    #[error(
        "cannot keep the gateway's identity in {path} (security.state_directory, else storage.directory): {source}"
    )]
    Identity { path: String, source: io::Error },
    #[error("transcoding.temp_directory {path} cannot be used: {source}")]
    Scratch { path: String, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    #[error("cannot take up the videos in storage.directory: {0}")]
    Videos(#[from] VideoError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error("the API key (--api-key) cannot be sent: it must be visible ASCII characters")]
    Key,
    #[error("no gateway announces itself on the local network: name one by --gateway URL")]
    NoGateway,
    #[error("the local network cannot be searched ({0}): name a gateway by --gateway URL")]
    Discovery(SearchError),
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
    let tools = Arc::new(Toolchain::find(&tool_settings(config)).await?);
    let launcher =
        Launcher::new(tracker.clone(), Metrics::default()).map_err(StartError::Thread)?;
    let plan = plan_settings(config);
    let remembered = config.storage.directory.join("hardware.json");
    let accelerators = Accelerators::new(
        tools.clone(),
        launcher.clone(),
        plan.hardware.clone(),
        Some(remembered),
    );
    Ok(Opener {
        tools,
        accelerators: Arc::new(accelerators),
        launcher,
        client: SourceClient::new(policy.clone()),
        cache: Arc::default(),
        authorization: None,
        is_sparing: false,
        beginning: None,
        files: file_rules(config),
        pictures_awaited: watch::Sender::new(0),
        open_within: OPEN_WITHIN,
        policy,
        plan,
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
    SourcePolicy::new(source_settings(config)).map(Arc::new)
}

/// Where files lie that clients sent.
fn uploads_folder(config: &Config) -> PathBuf {
    config.storage.directory.join("uploaded")
}

pub(super) fn source_settings(config: &Config) -> SourceSettings {
    SourceSettings {
        roots: config.sources.roots.clone(),
        // It is there on a gateway only.
        uploads: Some(uploads_folder(config)).filter(|f| f.is_dir()),
        allow_hosts: config.sources.allow_hosts.clone(),
        deny_hosts: config.sources.deny_hosts.clone(),
    }
}

fn plan_settings(config: &Config) -> PlanSettings {
    let t = &config.transcoding;
    PlanSettings {
        segment_seconds: f64::from(t.segment_duration),
        max_resolution: config.limits.max_resolution,
        max_bitrate: config.limits.max_bitrate,
        tone_map: t.tone_map_hdr,
        video_preset: t.video_preset.name().to_owned(),
        enable_abr: t.enable_abr,
        abr_max_variants: t.abr_max_variants as usize,
        hardware: accelerator_settings(config),
    }
}

fn file_rules(config: &Config) -> FileRules {
    FileRules {
        max_bytes: (config.limits.max_file_size_gb * 1e9) as u64,
        looks_over: config.transcoding.validate_segments,
        gives_way: config.transcoding.enable_preemption,
    }
}

fn accelerator_settings(config: &Config) -> AcceleratorSettings {
    let h = &config.hardware;
    let defaults = AcceleratorSettings::default();
    let device = (h.vaapi_device != "auto").then(|| h.vaapi_device.clone());
    AcceleratorSettings {
        prefer: h.prefer_hw_accel,
        fall_back: h.fallback_to_software,
        nvenc_preset: h.nvenc_preset.clone(),
        qsv_preset: h.qsv_preset.clone(),
        videotoolbox_preset: h.videotoolbox_preset.clone(),
        vaapi_device: device.unwrap_or(defaults.vaapi_device),
    }
}

/// Who may ask; `node` signs what is handed out to those who have the key.
pub(super) fn access_settings(config: &Config, node: Option<&NodeIdentity>) -> AccessSettings {
    let security = &config.security;
    let lifetime = Duration::from_secs(u64::from(security.job_token_ttl_seconds));
    let signer = |node: &NodeIdentity| Signer::new(node.secret.as_bytes(), lifetime);
    let origins = security.allowed_origins.iter();
    AccessSettings {
        key: security.api_key.clone().zip(node.map(signer)),
        allowed_origins: origins.map(|o| AllowedOrigin::new(o)).collect(),
        requests_per_minute: NonZeroU32::new(security.rate_limit_per_minute),
    }
}

/// Jobs that are announced for each stream that is encoded at one time. Clients of the original hold a
/// place for every stream they have not given back, watched or not, and block when there is none;
/// here a stream that nobody watches takes nothing.
const PLACES_PER_STREAM: usize = 8;

pub(super) fn announcement(
    config: &Config,
    tools: &Toolchain,
    accelerators: &[AcceleratorReport],
    address: SocketAddr,
) -> Announcement {
    let works = accelerators.iter().filter(|r| r.is_available());
    let works = works.map(|r| r.accelerator.name()).chain(["software"]);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Announcement {
        name: config.mdns.service_name.clone(),
        address,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hw_accels: owned(works.collect()),
        video_codecs: owned(tools.hardware.video_codecs()),
        audio_codecs: owned(tools.hardware.audio_codecs()),
        max_jobs: config.transcoding.max_concurrent_jobs as usize * PLACES_PER_STREAM,
        platform: platform(),
    }
}

/// GhostHub is named by the administrator: what is said of sources does not concern it.
pub(super) fn hub_settings(
    config: &Config,
    url: Url,
    node: NodeIdentity,
) -> Result<HubSettings, SourceSettingsError> {
    let everywhere = SourcePolicy::new(SourceSettings {
        deny_hosts: Vec::new(),
        ..SourceSettings::default()
    })?;
    let interval = config.ghosthub.register_interval_seconds;
    Ok(HubSettings {
        url,
        interval: Duration::from_secs(u64::from(interval)),
        advertised_url: config.server.advertised_url.clone(),
        node_id: node.node_id,
        node_secret: node.secret,
        shared_secret: config.security.registration_secret.clone(),
        poster: Poster::new(Arc::new(everywhere)),
    })
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
        stall_timeout: t.stall(),
        segment_timeout: SEGMENT_TIMEOUT,
        retention: RETENTION,
        segment_seconds: f64::from(t.segment_duration),
        retries: t.retry_count,
    }
}

/// Without the gateway's own engine batch jobs wait for another gateway on the same database.
pub(super) fn batch_settings(config: &Config) -> Result<BatchSettings, StartError> {
    let t = &config.transcoding;
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    let node = NodeIdentity::of(config)?;
    let concurrency = config.local_engine.concurrency;
    let concurrency = concurrency.unwrap_or(t.max_concurrent_jobs);
    Ok(BatchSettings {
        folder: config.storage.directory.join("batch"),
        concurrency: match config.local_engine.enabled {
            true => concurrency as usize,
            false => 0,
        },
        attempts: t.retry_count + 1,
        retry_delay: seconds(t.retry_delay),
        stall_timeout: t.stall(),
        keep: seconds(t.cleanup_after_hours * 3600),
        max_queued: t.max_queue_size as usize,
        worker_name: format!("batch-{}", node.node_id),
    })
}

/// What people are told of the configuration.
pub(super) fn effective_settings(config: &Config, origins: &Origins) -> EffectiveSettings {
    let told = describe(config, origins)
        .into_iter()
        .map(|s| EffectiveSetting {
            key: s.key,
            value: serde_json::to_value(s.value).unwrap_or_default(),
            origin: s.origin.to_string(),
            allowed: s.allowed,
            is_secret: s.is_secret,
            is_set: s.is_set,
            is_default: s.is_default,
        });
    told.collect()
}

pub(super) fn video_settings(config: &Config) -> Result<VideoSettings, StartError> {
    let p = &config.peertube;
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    let node = NodeIdentity::of(config)?;
    let engine = &config.local_engine;
    let concurrency = engine.concurrency;
    let concurrency = concurrency.unwrap_or(config.transcoding.max_concurrent_jobs);
    let most = p.max_upload_bytes.unwrap_or(config.artifacts.max_bytes);
    Ok(VideoSettings {
        folder: config.storage.directory.join("videos"),
        registration_token: p.registration_token.clone(),
        stalled_after: seconds(p.stalled_after_seconds),
        live_stalled_after: seconds(p.live_stalled_after_seconds),
        resolutions: p.resolutions.clone(),
        keeps_original: p.always_transcode_original_resolution,
        local_fallback: p
            .local_fallback_seconds
            .filter(|_| engine.enabled)
            .map(seconds),
        concurrency: concurrency as usize,
        max_upload_bytes: most.bytes(),
        encoder_stall: config.transcoding.stall(),
        worker_name: format!("videos-{}", node.node_id),
    })
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

pub(super) fn scenes_settings(config: &Config, node: &NodeIdentity) -> ScenesSettings {
    let g = &config.grav1;
    ScenesSettings {
        node: node.node_id.clone(),
        lease: Duration::from_secs(u64::from(g.lease_seconds)),
        max_attempts: g.max_attempts,
        versions: EncoderVersions {
            aom: g.encoder_versions.aom.clone(),
            vpx: g.encoder_versions.vpx.clone(),
        },
        stall: config.transcoding.stall(),
    }
}

pub(super) fn grav1_settings(config: &Config) -> Grav1Settings {
    Grav1Settings {
        password: config.grav1.password.clone(),
        worker_token: config.grav1.worker_token.clone(),
    }
}

/// A folder for what projects have under way: beside what they keep, so that it is as large.
pub(super) fn scenes_folder(config: &Config) -> Result<ScratchFolder, StartError> {
    let parent = &config.storage.directory;
    let opened = ScratchFolder::open(parent, "scenes-").and_then(ScratchFolder::canonical);
    opened.map_err(|source| StartError::Identity {
        path: parent.display().to_string(),
        source,
    })
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

pub(super) fn dispatch_settings(config: &Config) -> DispatchSettings {
    let d = &config.dispatch;
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    DispatchSettings {
        lease: seconds(d.lease_seconds),
        worker_expiry: seconds(d.engine_expiry_seconds),
        job_timeout: seconds(d.job_timeout_seconds),
    }
}

/// Opens the storage of results; a folder is made if it is missing.
pub(super) fn artifacts(config: &Config) -> Result<ArtifactStore, StartError> {
    match &config.artifacts.url {
        Some(url) => Ok(ArtifactStore::open(
            url,
            config.artifacts.max_bytes.bytes(),
        )?),
        None => in_folder(config, &config.storage.directory.join("artifacts")),
    }
}

/// Opens the storage of what clients send; its folder is made if it is missing.
pub(super) fn uploads(config: &Config) -> Result<ArtifactStore, StartError> {
    in_folder(config, &uploads_folder(config))
}

fn in_folder(config: &Config, folder: &Path) -> Result<ArtifactStore, StartError> {
    let folder = std::path::absolute(folder).ok();
    let url = folder.and_then(|f| Url::from_directory_path(f).ok());
    let unnamed = || ArtifactError::Open("storage.directory cannot be named".into());
    let url = url.ok_or_else(unnamed)?;
    Ok(ArtifactStore::open(
        &url,
        config.artifacts.max_bytes.bytes(),
    )?)
}
