//! A gateway that runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::ArtifactStore;
use crate::base::WorkerId;
use crate::batch::{BatchParts, Batches};
use crate::config::{Config, Origins};
use crate::discovery::{self, HubSettings};
use crate::dispatch::{Clock, DispatchParts, Dispatcher, House, keep_house};
use crate::engine::{self, Desk, EngineParts, LocalDesk};
use crate::ffmpeg::Purpose;
use crate::http::tell_ends_of_videos;
use crate::http::{
    Access, AppState, Callbacks, Machine, Observer, RunnerSockets, ServerSettings, router, serve,
};
use crate::queries::{Queries, QueryParts};
use crate::scenes::{Scenes, ScenesParts};
use crate::session::{Opener, Registry, RegistryParts, SegmentCache};
use crate::source::Poster;
use crate::store::Store;
use crate::videos::{VideoParts, Videos};

use super::build::{
    StartError, access_settings, announcement, artifacts, batch_settings, dispatch_settings,
    effective_settings, grav1_settings, hub_settings, opener, query_folder, query_settings,
    scenes_folder, scenes_settings, session_settings, uploads, video_settings,
};

use super::job_metrics;
use super::node::NodeIdentity;

/// A running gateway. Dropping it without [`Gateway::stop`] leaves its tasks to the runtime.
pub struct Gateway {
    address: SocketAddr,
    registry: Arc<Registry>,
    queries: Arc<Queries>,
    store: Store,
    pub(super) access: Arc<Access>,
    pub(super) observer: Arc<Observer>,
    /// The configuration as it is obeyed.
    pub(super) config: Mutex<Config>,
    #[cfg(feature = "test-support")]
    routes: String,
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
    start_on(config, &Origins::new(), None).await
}

/// As [`start`]; tells people where each value came from, and takes a socket that listens already, if
/// there is one: `server.host` and `server.port` say nothing then.
pub async fn start_on(
    config: &Config,
    origins: &Origins,
    socket: Option<std::net::TcpListener>,
) -> Result<Gateway, StartError> {
    let (cancel, stop_serving) = (CancellationToken::new(), CancellationToken::new());
    let (connections, work) = (TaskTracker::new(), TaskTracker::new());
    let hub_url = config.ghosthub.url.clone();
    let hub_url = hub_url.filter(|_| config.ghosthub.auto_register);
    let needs_identity = config.security.api_key.is_some() || hub_url.is_some();
    let node = needs_identity.then(|| NodeIdentity::load_or_create(&config.storage.directory));
    let node = node.transpose()?;
    // Before sources are, which it is one of.
    let uploads = uploads(config)?;
    let opener = opener(config, &work, &cancel).await?;
    let cache = SegmentCache::open(
        &config.transcoding.temp_directory,
        config.transcoding.cache_max_bytes.bytes(),
    )?;
    let listener = listen(config, socket).await?;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        ffmpeg = %opener.tools.hardware.ffmpeg_version,
        "starting"
    );
    let queries = Queries::new(QueryParts {
        opener: opener.doing(Purpose::Query),
        folder: query_folder(config)?,
        settings: query_settings(config),
    });
    let store = Store::open(&config.store.url, &config.storage.directory).await?;
    let artifacts = artifacts(config)?;
    artifacts.check().await?;
    let dispatcher = Dispatcher::new(DispatchParts {
        store: store.clone(),
        settings: dispatch_settings(config),
        clock: Clock::System,
        tracker: work.clone(),
        cancel: cancel.clone(),
    });
    let hours = Some(config.dispatch.keep_hours).filter(|hours| *hours > 0);
    let house = House {
        artifacts: artifacts.clone(),
        uploads: uploads.clone(),
        keep: hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600)),
    };
    work.spawn(keep_house(dispatcher.clone(), house, cancel.clone()));
    if config.local_engine.enabled {
        let opener = opener.doing(Purpose::Job);
        let engine = local_engine(config, &dispatcher, &artifacts, &opener, &work, &cancel);
        engine::run(engine.await?).await;
    }
    let scenes = Scenes::start(ScenesParts {
        dispatcher: dispatcher.clone(),
        artifacts: artifacts.clone(),
        opener: opener.clone(),
        folder: scenes_folder(config)?,
        settings: scenes_settings(
            config,
            &NodeIdentity::load_or_create(&config.storage.directory)?,
        ),
        tracker: work.clone(),
        cancel: cancel.clone(),
    });
    let scenes = scenes.await?;
    let registry = Registry::new(RegistryParts {
        opener: opener.clone(),
        cache,
        settings: session_settings(config),
        tracker: work.clone(),
        cancel: cancel.clone(),
    });
    let batches = Batches::start(BatchParts {
        registry: registry.clone(),
        opener: opener.doing(Purpose::Batch),
        dispatcher: dispatcher.clone(),
        settings: batch_settings(config)?,
        tracker: work.clone(),
        cancel: cancel.clone(),
    });
    let access = Access::new(access_settings(config, node.as_ref()));
    let metrics = registry.metrics().clone();
    work.spawn(job_metrics::run(
        dispatcher.changes(),
        metrics.clone(),
        cancel.clone(),
    ));
    let observer = Arc::new(Observer::new(metrics, config.logging.requests));
    let videos = Box::pin(Videos::start(VideoParts {
        opener: opener.doing(Purpose::Job),
        dispatcher: dispatcher.clone(),
        artifacts: artifacts.clone(),
        queries: queries.clone(),
        settings: video_settings(config)?,
        tracker: work.clone(),
        cancel: cancel.clone(),
    }));
    let videos = videos.await?;
    let state = AppState {
        registry: registry.clone(),
        batches: batches.await?,
        sockets: RunnerSockets::new(
            &videos,
            config.server.advertised_url.as_ref(),
            &work,
            &cancel,
        ),
        videos,
        dispatcher,
        artifacts,
        uploads,
        scenes,
        grav1: grav1_settings(config),
        advertised_url: config
            .server
            .advertised_url
            .as_ref()
            .map(|u| u.as_str().into()),
        address,
        environment: config.server.environment.as_str().into(),
        machine: Arc::new(Machine::new(registry.cache().folder().to_owned())),
        max_concurrent_jobs: config.transcoding.max_concurrent_jobs as usize,
        settings: effective_settings(config, origins),
        default_video: config.transcoding.default_video_codec,
        default_audio: config.transcoding.default_audio_codec,
        access: access.clone(),
        callbacks: Callbacks::new(
            Poster::new(registry.policy().clone()),
            config.security.callback_secret.as_deref(),
        ),
        cancel: cancel.clone(),
        queries: queries.clone(),
        legacy_query_errors: config.queries.legacy_errors,
        tracker: work.clone(),
        connections: connections.clone(),
        stop: stop_serving.clone(),
        presence: Arc::default(),
        observer: observer.clone(),
        websockets: Arc::new(Semaphore::new(
            config.server.max_websocket_connections as usize,
        )),
    };
    let (telling, told) = (tell_ends_of_videos(state.clone()), cancel.clone());
    work.spawn(async move { told.run_until_cancelled(telling).await });
    let settings = ServerSettings {
        max_connections: config.server.max_connections as usize,
        header_timeout: Duration::from_secs(u64::from(config.server.header_timeout_seconds)),
    };
    let router = router(state);
    #[cfg(feature = "test-support")]
    let routes = format!("{router:?}");
    let accept = serve(
        listener,
        router,
        settings,
        connections.clone(),
        stop_serving.clone(),
        cancel.clone(),
    );
    connections.spawn(accept);
    let hub = match (hub_url, node) {
        (Some(url), Some(node)) => Some(hub_settings(config, url, node)?),
        _ => None,
    };
    if config.mdns.enabled || hub.is_some() {
        let (config, registry) = (config.clone(), registry.clone());
        let (tracker, stop) = (work.clone(), stop_serving.clone());
        let telling = tell_others(config, registry, address, hub, tracker, stop.clone());
        work.spawn(async move { stop.run_until_cancelled(telling).await });
    }
    if config.hardware.prefer_hw_accel {
        let (registry, stop) = (registry.clone(), cancel.clone());
        work.spawn(async move {
            let testing = registry.accelerators().reports();
            stop.run_until_cancelled(testing).await.map(<[_]>::len)
        });
    }
    tracing::info!("listening on http://{address}");
    Ok(Gateway {
        address,
        registry,
        queries,
        store,
        access,
        observer,
        config: Mutex::new(config.clone()),
        #[cfg(feature = "test-support")]
        routes,
        stop_serving,
        cancel,
        connections,
        work,
    })
}

async fn listen(
    config: &Config,
    socket: Option<std::net::TcpListener>,
) -> Result<TcpListener, StartError> {
    let (host, port) = (config.server.host.clone(), config.server.port);
    let listener = match socket {
        Some(socket) => {
            let quick = socket.set_nonblocking(true);
            quick.and_then(|()| TcpListener::from_std(socket))
        }
        None => TcpListener::bind((host.as_str(), port)).await,
    };
    listener.map_err(|source| StartError::Listen { host, port, source })
}

/// The engine of this gateway. What it had when it was killed is put back at once.
async fn local_engine(
    config: &Config,
    dispatcher: &Arc<Dispatcher>,
    artifacts: &ArtifactStore,
    opener: &Opener,
    work: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<EngineParts, StartError> {
    let node = NodeIdentity::load_or_create(&config.storage.directory)?;
    let worker = WorkerId::new(format!("local-{}", node.node_id));
    dispatcher.take_back(&worker).await?;
    let concurrency = config.local_engine.concurrency;
    let concurrency = concurrency.unwrap_or(config.transcoding.max_concurrent_jobs);
    Ok(EngineParts {
        desk: Desk::Local(LocalDesk {
            dispatcher: dispatcher.clone(),
            artifacts: artifacts.clone(),
            worker,
            patience: Duration::from_secs(u64::from(config.local_engine.patience_seconds)),
        }),
        opener: opener.clone(),
        folder: config.storage.directory.join("work"),
        concurrency: concurrency as usize,
        stall_timeout: Duration::from_secs(u64::from(config.transcoding.stall_timeout)),
        tracker: work.clone(),
        cancel: cancel.clone(),
    })
}

/// Announces the gateway and registers it. What it can do is known only when its hardware was tested.
async fn tell_others(
    config: Config,
    registry: Arc<Registry>,
    address: SocketAddr,
    hub: Option<HubSettings>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let reports = registry.accelerators().reports().await;
    let about = announcement(&config, registry.tools(), reports, address);
    if config.mdns.enabled {
        discovery::announce(&about, &tracker, &stop);
    }
    if let Some(hub) = hub {
        discovery::register(&about, hub, &tracker, &stop);
    }
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

    /// All routes, as axum writes them when asked for its insides.
    #[cfg(feature = "test-support")]
    pub fn routes(&self) -> &str {
        &self.routes
    }

    pub fn queries(&self) -> &Arc<Queries> {
        &self.queries
    }

    /// Whether the runtime's workers and the locks of streams are free: asked by the watchdog. Cancel-safe.
    pub async fn is_alive(&self) -> bool {
        let registry = self.registry.clone();
        let looked = self.work.spawn(async move { registry.figures() });
        looked.await.is_ok()
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
        self.store.close().await;
        tracing::info!("stopped");
    }
}
