//! The shape of `ghoststream.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::values::{ByteSize, ToolPath, VideoPreset, by_name, text_or_number};
use crate::base::Bitrate;
use crate::media::{AudioChoice, MaxResolution, VideoChoice};
use crate::source::DEFAULT_DENY_HOSTS;
use crate::telemetry::{LogFormat, LogLevel};

/// Every key, by section. Relative paths count from the working directory; a leading `~/` is the home
/// directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub sources: Sources,
    pub transcoding: Transcoding,
    pub hardware: Accelerated,
    pub limits: Limits,
    pub security: Security,
    pub storage: Storage,
    pub store: JobStore,
    pub artifacts: Artifacts,
    pub dispatch: Dispatch,
    pub local_engine: LocalEngine,
    pub peertube: PeerTube,
    pub grav1: Grav1,
    pub mdns: Mdns,
    pub ghosthub: GhostHub,
    pub queries: Queries,
    pub logging: Logging,
}

/// The listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address or host name to listen on. Default `0.0.0.0`: all IPv4 interfaces.
    pub host: String,
    /// TCP port, 0..=65535; 0 takes any free one. Default 8765.
    pub port: u16,
    /// Base of the absolute URLs handed to clients, such as `https://media.example.org`. Default null:
    /// the host that the request named.
    pub advertised_url: Option<Url>,
    /// What this installation calls itself in `/api/health/detailed`. Default `development`. Environment
    /// `GHOSTSTREAM_ENV` sets it too.
    pub environment: String,
    /// Most open connections, 1..=100000; further ones wait to be accepted. Default 1024.
    pub max_connections: u32,
    /// Most WebSockets that listen to progress, 1..=100000; one more is closed with 1013. Default 1000.
    pub max_websocket_connections: u32,
    /// Longest wait for the head of a request, in seconds, 1..=300. Default 10.
    pub header_timeout_seconds: u32,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            host: "0.0.0.0".into(),
            port: 8765,
            advertised_url: None,
            environment: "development".into(),
            max_connections: 1024,
            max_websocket_connections: 1000,
            header_timeout_seconds: 10,
        }
    }
}

/// What may be played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// Folders from which local files may be read, as `file:///abs/path`, `/abs/path` or a path relative
    /// to a root. Default empty: no local file is read.
    pub roots: Vec<PathBuf>,
    /// Host names, `*.suffix`, addresses and CIDR networks that may be fetched from. Default empty:
    /// every host that is not denied.
    pub allow_hosts: Vec<String>,
    /// Host names, `*.suffix`, addresses and CIDR networks that are never fetched from; wins over
    /// `allow_hosts`. Default: where clouds hand their machines credentials.
    pub deny_hosts: Vec<String>,
}

impl Default for Sources {
    fn default() -> Self {
        Sources {
            roots: Vec::new(),
            allow_hosts: Vec::new(),
            deny_hosts: DEFAULT_DENY_HOSTS.iter().map(|&h| h.into()).collect(),
        }
    }
}

/// How streams are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transcoding {
    /// The ffmpeg program, or `auto`: the first one on `PATH`. Default `auto`. Environment
    /// `GHOSTSTREAM_FFMPEG_PATH` sets it too.
    pub ffmpeg_path: ToolPath,
    /// The ffprobe program, or `auto`: beside ffmpeg, else the first one on `PATH`. Default `auto`.
    /// Environment `GHOSTSTREAM_FFPROBE_PATH` sets it too.
    pub ffprobe_path: ToolPath,
    /// Folder of the segment cache; made if it is missing. Default `./transcode_temp`.
    pub temp_directory: PathBuf,
    /// Streams that are encoded at the same time, 1..=256. Default 2.
    pub max_concurrent_jobs: u32,
    /// Length of a segment in seconds, 1..=10. Default 4.
    pub segment_duration: u32,
    /// Seconds without a request after which a session's encoders end, 1..=86400; finished segments
    /// stay. Default 60.
    pub idle_timeout_seconds: u32,
    /// Hard limit of the segment cache: bytes, or a text such as `20GiB`; at least 1 MiB. Default 20GiB.
    pub cache_max_bytes: ByteSize,
    /// Most encoders of one session, 2..=16. Default 4.
    pub max_heads_per_session: u32,
    /// How far an encoder runs ahead of the player, in seconds, 1..=3600. Default 30.
    pub buffer_ahead_seconds: u32,
    /// Seconds without progress after which an encoder is ended and started anew, 1..=3600. Default 120.
    pub stall_timeout: u32,
    /// Seconds that are added to `stall_timeout` for each second of `segment_duration`, 0..=600. Default 0: the
    /// document promises that an encoder is ended after the two minutes, or the seconds of `stall_timeout`, that
    /// it names. The original adds 10, whatever the key says; who sets it gets what it says.
    pub stall_timeout_per_segment: u32,
    /// How often a batch job is tried again after trouble with its source or encoder, and the remote source of a
    /// stream after trouble with its server, 0..=20. Default 3.
    pub retry_count: u32,
    /// Pause before the first further attempt at a batch job, doubled for each further one up to a minute, in
    /// seconds, 0..=60. Default 2.
    pub retry_delay: u32,
    /// How long the files of batch jobs are kept, in hours, 1..=87600. Default 24.
    pub cleanup_after_hours: u32,
    /// Whether the files of a batch job are looked at before it is ready. Segments of streams always are.
    /// Default true.
    pub validate_segments: bool,
    /// Whether files stand still while somebody waits for pictures of a stream. Default false.
    pub enable_preemption: bool,
    /// Most jobs that wait for their turn, 1..=1000000; one more batch job is answered 503. Default 1000.
    pub max_queue_size: u32,
    /// Whether HDR pictures are tone-mapped to SDR. Default true.
    pub tone_map_hdr: bool,
    /// Whether adaptive streams (`mode: abr`) have more than one rendition. Default true.
    pub enable_abr: bool,
    /// Most renditions of an adaptive stream, 1..=5. Default 4.
    pub abr_max_variants: u32,
    /// Preset of the x264 encoder, `ultrafast` to `placebo`. Default `veryfast`.
    pub video_preset: VideoPreset,
    /// Video codec of requests that name none: h264, h265, vp9, av1, copy or auto. Default h264.
    #[serde(deserialize_with = "by_name")]
    pub default_video_codec: VideoChoice,
    /// Audio codec of requests that name none: aac, opus, mp3, flac, ac3, copy or auto. Default aac.
    #[serde(deserialize_with = "by_name")]
    pub default_audio_codec: AudioChoice,
}

impl Default for Transcoding {
    fn default() -> Self {
        Transcoding {
            ffmpeg_path: ToolPath::Auto,
            ffprobe_path: ToolPath::Auto,
            temp_directory: "./transcode_temp".into(),
            max_concurrent_jobs: 2,
            segment_duration: 4,
            idle_timeout_seconds: 60,
            cache_max_bytes: ByteSize::gib(20),
            max_heads_per_session: 4,
            buffer_ahead_seconds: 30,
            stall_timeout: 120,
            stall_timeout_per_segment: 0,
            retry_count: 3,
            retry_delay: 2,
            cleanup_after_hours: 24,
            validate_segments: true,
            enable_preemption: false,
            max_queue_size: 1000,
            tone_map_hdr: true,
            enable_abr: true,
            abr_max_variants: 4,
            video_preset: VideoPreset::Veryfast,
            default_video_codec: VideoChoice::H264,
            default_audio_codec: AudioChoice::Aac,
        }
    }
}

impl Transcoding {
    /// Time without progress after which an encoder counts as hung.
    pub fn stall(&self) -> Duration {
        let further = self.stall_timeout_per_segment * self.segment_duration;
        Duration::from_secs(u64::from(self.stall_timeout + further))
    }
}

/// Encoders of graphics processors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accelerated {
    /// Whether `hw_accel: auto` takes hardware where it works. Default true.
    pub prefer_hw_accel: bool,
    /// Whether what hardware cannot do, or fails at, is done in software. Default true.
    pub fallback_to_software: bool,
    /// Preset of NVENC, `p1` to `p7`. Default `p4`.
    pub nvenc_preset: String,
    /// Preset of Quick Sync, `veryfast` to `veryslow`. Default `medium`.
    pub qsv_preset: String,
    /// Preset of VideoToolbox, `ultrafast` to `veryslow`: up to `fast` it is told that time matters more
    /// than size. Default `medium`.
    pub videotoolbox_preset: String,
    /// Device of VA-API, or `auto`: /dev/dri/renderD128. Default `auto`.
    pub vaapi_device: String,
}

impl Default for Accelerated {
    fn default() -> Self {
        Accelerated {
            prefer_hw_accel: true,
            fallback_to_software: true,
            nvenc_preset: "p4".into(),
            qsv_preset: "medium".into(),
            videotoolbox_preset: "medium".into(),
            vaapi_device: "auto".into(),
        }
    }
}

/// The most that a request may ask for; more is brought down to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest picture: 4k, 1440p, 1080p, 720p, 480p or 360p. Default 4k.
    #[serde(deserialize_with = "by_name")]
    pub max_resolution: MaxResolution,
    /// Highest video bit rate: `50M`, `800k`, or a bare number of Mbit/s; 10k..=1000M. Default 50M.
    #[serde(deserialize_with = "text_or_number", serialize_with = "as_text")]
    pub max_bitrate: Bitrate,
    /// Largest file that is made of a source, in GB (10^9 bytes), more than 0, at most 1000000. Default 50.
    pub max_file_size_gb: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_resolution: MaxResolution::R4k,
            max_bitrate: Bitrate::kbit(50_000),
            max_file_size_gb: 50.0,
        }
    }
}

fn as_text<S: serde::Serializer>(rate: &Bitrate, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(rate)
}

/// Who may ask, and what is signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// The key that every request must carry. Default null: none.
    pub api_key: Option<String>,
    /// Origins of web pages that may ask, such as `https://tv.example.org`, or hosts, such as
    /// `tv.example.org`: any scheme and port of it. Default empty: all.
    pub allowed_origins: Vec<String>,
    /// Most requests of one client address in a minute, 0..=1000000; 0 = any number. Default 0.
    pub rate_limit_per_minute: u32,
    /// How long an address that is handed out by a gateway with a key can be used, seconds,
    /// 1..=31536000. Default 86400.
    pub job_token_ttl_seconds: u32,
    /// Signs callbacks. Default null: they are not signed.
    pub callback_secret: Option<String>,
    /// Folder of the gateway's identity, `node_identity.json`; made if it is missing. Default null:
    /// `storage.directory`.
    pub state_directory: Option<PathBuf>,
    /// Sent to GhostHub with a registration. Default null: nothing is sent.
    pub registration_secret: Option<String>,
}

impl Default for Security {
    fn default() -> Self {
        Security {
            api_key: None,
            allowed_origins: Vec::new(),
            rate_limit_per_minute: 0,
            job_token_ttl_seconds: 86_400,
            callback_secret: None,
            state_directory: None,
            registration_secret: None,
        }
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Folder of what outlives the gateway; made when something is kept. Default `./ghoststream-data`.
    pub directory: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            directory: "./ghoststream-data".into(),
        }
    }
}

/// Being found on the local network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mdns {
    /// Whether the gateway announces itself by mDNS and answers on UDP port 8766. Default true.
    pub enabled: bool,
    /// The name under which it is found, 1..=48 characters. Default `GhostStream Transcoder`.
    pub service_name: String,
}

impl Default for Mdns {
    fn default() -> Self {
        Mdns {
            enabled: true,
            service_name: "GhostStream Transcoder".into(),
        }
    }
}

/// Registering with GhostHub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GhostHub {
    /// Base of GhostHub, such as `http://192.168.4.1:5000`. Default null: none. Environment
    /// `GHOSTHUB_URL` sets it too.
    pub url: Option<Url>,
    /// Whether the gateway registers there by itself. Default true.
    pub auto_register: bool,
    /// Between two registrations, seconds, 1..=86400. Default 300.
    pub register_interval_seconds: u32,
}

impl Default for GhostHub {
    fn default() -> Self {
        GhostHub {
            url: None,
            auto_register: true,
            register_interval_seconds: 300,
        }
    }
}

/// Pictures, overviews, descriptions and WebM streams (`/thumb` and its like).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queries {
    /// Queries that run at the same time, 1..=256; further ones wait. Default 8.
    pub concurrency: u32,
    /// Seconds that a query waits for its turn, 1..=3600; then 503. Default 30.
    pub queue_timeout_seconds: u32,
    /// Seconds to the first byte of a result and between bytes, 1..=3600. Default 60.
    pub timeout_seconds: u32,
    /// Whether refusals have status 200, as the original's had. Default false.
    pub legacy_errors: bool,
    /// Limit of the results that are kept in `transcoding.temp_directory`; 0 keeps none. Default 512MiB.
    pub cache_max_bytes: ByteSize,
    /// Largest source that is copied to `transcoding.temp_directory` while it is queried, because its
    /// index lies at its end and its server has no byte ranges; 0 copies none. Default 1GiB.
    pub max_download_bytes: ByteSize,
}

impl Default for Queries {
    fn default() -> Self {
        Queries {
            concurrency: 8,
            queue_timeout_seconds: 30,
            timeout_seconds: 60,
            legacy_errors: false,
            cache_max_bytes: ByteSize::mib(512),
            max_download_bytes: ByteSize::gib(1),
        }
    }
}

/// Where queued work is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobStore {
    /// `sqlite://FILE`, with FILE relative to `storage.directory`, or `postgres://...`. Default
    /// `sqlite://ghoststream.db`.
    pub url: String,
}

impl Default for JobStore {
    fn default() -> Self {
        JobStore {
            url: "sqlite://ghoststream.db".into(),
        }
    }
}

/// Where the results of queued work are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Artifacts {
    /// `file:///FOLDER` or `s3://BUCKET/PREFIX`. Default null: `artifacts` in `storage.directory`.
    pub url: Option<Url>,
    /// Largest result that is taken: bytes, or a text such as `64GiB`; at least 1 MiB. Default 64GiB.
    pub max_bytes: ByteSize,
}

impl Default for Artifacts {
    fn default() -> Self {
        Artifacts {
            url: None,
            max_bytes: ByteSize::gib(64),
        }
    }
}

/// Handing out queued work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatch {
    /// Time without a word of its worker after which a job is offered again, in seconds, 1..=86400.
    /// Default 30.
    pub lease_seconds: u32,
    /// Time without a heartbeat after which an engine gets no more work, in seconds, 1..=86400.
    /// Default 60.
    pub engine_expiry_seconds: u32,
    /// Longest time that one attempt at a job may take, in seconds, 1..=2592000. Default 21600.
    pub job_timeout_seconds: u32,
    /// How long transcodes that ended are kept with their results, in hours, 0..=87600; 0 keeps them for
    /// ever. Default 168.
    pub keep_hours: u32,
}

impl Default for Dispatch {
    fn default() -> Self {
        Dispatch {
            lease_seconds: 30,
            engine_expiry_seconds: 60,
            job_timeout_seconds: 21_600,
            keep_hours: 168,
        }
    }
}

/// The gateway's own engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalEngine {
    /// Whether the gateway does queued work itself. Default true.
    pub enabled: bool,
    /// Jobs that it does at the same time, 1..=256. Default null: as
    /// `transcoding.max_concurrent_jobs`.
    pub concurrency: Option<u32>,
    /// How long work that other engines may do (distconv) is left to them first, in seconds,
    /// 0..=86400. Default 10.
    pub patience_seconds: u32,
}

impl Default for LocalEngine {
    fn default() -> Self {
        LocalEngine {
            enabled: true,
            concurrency: None,
            patience_seconds: 10,
        }
    }
}

/// PeerTube's runners, and the videos that they transcode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerTube {
    /// A registration token that is always good, beside those of `ghoststream token create peertube`;
    /// 1..=512 visible ASCII characters. Default null: there is none.
    pub registration_token: Option<String>,
    /// Seconds without a word of its runner after which a job is offered again, 1..=86400. Runners say
    /// a word every 60 s. Default 120.
    pub stalled_after_seconds: u32,
    /// The same for live streams, which end then. Default 30.
    pub live_stalled_after_seconds: u32,
    /// Renditions of a video by their shorter sides in pixels, each 16..=8192; those that are larger
    /// than the source are left out. Default [360, 480, 720, 1080].
    pub resolutions: Vec<u32>,
    /// Whether a rendition of the source's own size is made beside them. Default true.
    pub always_transcode_original_resolution: bool,
    /// Seconds after which this gateway does a job that no runner has taken, 0..=86400; needs
    /// `local_engine.enabled`. Default null: it never does.
    pub local_fallback_seconds: Option<u32>,
    /// Largest file that is taken as a video: bytes, or a text such as `16GiB`; at least 1 MiB. Default
    /// null: as `artifacts.max_bytes`.
    pub max_upload_bytes: Option<ByteSize>,
}

impl Default for PeerTube {
    fn default() -> Self {
        PeerTube {
            registration_token: None,
            stalled_after_seconds: 120,
            live_stalled_after_seconds: 30,
            resolutions: vec![360, 480, 720, 1080],
            always_transcode_original_resolution: true,
            local_fallback_seconds: None,
            max_upload_bytes: None,
        }
    }
}

/// Films that are encoded scene by scene, by grav1's workers and our own engines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grav1 {
    /// What making, changing and deleting projects needs, as the field `password`. Default null: nothing.
    pub password: Option<String>,
    /// Workers must use the URL prefix `/grav1/<token>`, and need no API key there. Default null: they use
    /// none.
    pub worker_token: Option<String>,
    /// Time without a word of its worker after which a scene is offered again, in seconds, 1..=86400.
    /// Default 60.
    pub lease_seconds: u32,
    /// Bad uploads after which a scene is given up, 1..=1000. Default 5.
    pub max_attempts: u32,
    /// Versions of `aomenc` and `vpxenc` that workers must have, as these name themselves. Default null: of
    /// those that are installed here.
    #[serde(deserialize_with = "null_is_default")]
    pub encoder_versions: WorkerVersions,
}

impl Default for Grav1 {
    fn default() -> Self {
        Grav1 {
            password: None,
            worker_token: None,
            lease_seconds: 60,
            max_attempts: 5,
            encoder_versions: WorkerVersions::default(),
        }
    }
}

/// See [`Grav1::encoder_versions`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerVersions {
    pub aom: Option<String>,
    pub vpx: Option<String>,
}

fn null_is_default<'de, T, D>(d: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Log output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// Least severe event that is logged: TRACE, DEBUG, INFO, WARNING or ERROR. Default INFO. `RUST_LOG`
    /// wins when it is set.
    pub level: LogLevel,
    /// `json` (one object a line) or `text`. Default json.
    pub format: LogFormat,
    /// File that log lines are appended to. Default null: standard error.
    pub file: Option<PathBuf>,
    /// Whether every request is logged in one line. Default true.
    pub requests: bool,
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            level: LogLevel::default(),
            format: LogFormat::default(),
            file: None,
            requests: true,
        }
    }
}
