//! A gateway that runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::http::{AppState, ServerSettings, router, serve};
use crate::queries::{Queries, QueryParts};
use crate::session::{Registry, RegistryParts, SegmentCache};

use super::build::{StartError, opener, query_folder, query_settings, session_settings};

/// A running gateway. Dropping it without [`Gateway::stop`] leaves its tasks to the runtime.
pub struct Gateway {
    address: SocketAddr,
    registry: Arc<Registry>,
    queries: Arc<Queries>,
    /// Stops new connections; those that are open end after the response under way.
    stop_serving: CancellationToken,
    /// Ends everything else, and connections that are still open.
    cancel: CancellationToken,
    connections: TaskTracker,
    work: TaskTracker,
}

/// Time for responses under way to end at a stop, then for encoders.
const DRAIN: Duration = Duration::from_secs(3);
const END: Duration = Duration::from_secs(3);

/// Builds a gateway from `config` and starts to listen.
pub async fn start(config: &Config) -> Result<Gateway, StartError> {
    let (cancel, stop_serving) = (CancellationToken::new(), CancellationToken::new());
    let (connections, work) = (TaskTracker::new(), TaskTracker::new());
    let opener = opener(config, &work, &cancel).await?;
    let cache = SegmentCache::open(
        &config.transcoding.temp_directory,
        config.transcoding.cache_max_bytes.bytes(),
    )?;
    let (host, port) = (config.server.host.clone(), config.server.port);
    let listener = TcpListener::bind((host.as_str(), port)).await;
    let listener = listener.map_err(|source| StartError::Listen { host, port, source })?;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        ffmpeg = %opener.tools.hardware.ffmpeg_version,
        "starting"
    );
    let queries = Queries::new(QueryParts {
        opener: opener.clone(),
        folder: query_folder(config)?,
        settings: query_settings(config),
    });
    let registry = Registry::new(RegistryParts {
        opener,
        cache,
        settings: session_settings(config),
        tracker: work.clone(),
        cancel: cancel.clone(),
    });
    let state = AppState {
        registry: registry.clone(),
        advertised_url: config
            .server
            .advertised_url
            .as_ref()
            .map(|u| u.as_str().into()),
        max_concurrent_jobs: config.transcoding.max_concurrent_jobs as usize,
        default_video: config.transcoding.default_video_codec,
        default_audio: config.transcoding.default_audio_codec,
        queries: queries.clone(),
        legacy_query_errors: config.queries.legacy_errors,
        tracker: work.clone(),
    };
    let settings = ServerSettings {
        max_connections: config.server.max_connections as usize,
        header_timeout: Duration::from_secs(u64::from(config.server.header_timeout_seconds)),
    };
    let accept = serve(
        listener,
        router(state),
        settings,
        connections.clone(),
        stop_serving.clone(),
        cancel.clone(),
    );
    connections.spawn(accept);
    tracing::info!("listening on http://{address}");
    Ok(Gateway {
        address,
        registry,
        queries,
        stop_serving,
        cancel,
        connections,
        work,
    })
}

impl Gateway {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub fn queries(&self) -> &Arc<Queries> {
        &self.queries
    }

    /// Writes the gateway's URL to `path`, whole or not at all.
    pub async fn write_ready_file(&self, path: &Path) -> Result<(), StartError> {
        let fail = |source| StartError::ReadyFile {
            path: path.display().to_string(),
            source,
        };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        tokio::fs::write(&part, self.url()).await.map_err(fail)?;
        tokio::fs::rename(&part, path).await.map_err(fail)
    }

    /// Graceful stop: no new connections, a moment for responses under way, then encoders end and
    /// are reaped, and the segment cache is deleted.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop_serving.cancel();
        self.connections.close();
        if tokio::time::timeout(DRAIN, self.connections.wait())
            .await
            .is_err()
        {
            tracing::info!(
                connections = self.connections.len(),
                "connections are broken off"
            );
        }
        self.cancel.cancel();
        self.work.close();
        let ended = async { tokio::join!(self.work.wait(), self.connections.wait()) };
        if tokio::time::timeout(END, ended).await.is_err() {
            tracing::warn!(tasks = self.work.len(), "tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}
