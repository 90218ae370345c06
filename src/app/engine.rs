//! An engine for a gateway on another machine.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::base::WorkerId;
use crate::config::Config;
use crate::discovery;
use crate::engine::{self, Desk, EngineParts, RemoteDesk};
use crate::ffmpeg::benchmark;
use crate::plan::{BENCHMARK_SECONDS, benchmark_encode};
use crate::session::Opener;

use super::build::{StartError, opener};

/// The gateway whose work is done, and how it knows us.
pub struct RemoteGateway {
    /// Ends in a slash. `None`: one that announces itself on the local network.
    pub url: Option<Url>,
    pub key: Option<String>,
    /// Name of the engine; `None`: one is made up.
    pub engine: Option<String>,
}

/// An engine that runs.
pub struct Engine {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

/// Time to give work back, and for encoders to end.
const END: Duration = Duration::from_secs(5);

/// Starts to work. What may be read is what `sources` of this machine's configuration says.
pub async fn start_engine(config: &Config, gateway: RemoteGateway) -> Result<Engine, StartError> {
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let url = match gateway.url {
        Some(url) => url,
        None => find_gateway().await?,
    };
    let opener = opener(config, &tracker, &cancel).await?;
    let name = gateway.engine;
    let name = name.unwrap_or_else(|| format!("engine-{}", Uuid::new_v4().simple()));
    let codecs = opener.tools.hardware.video_codecs();
    let codecs = codecs.iter().map(|c| (*c).to_owned()).collect();
    let key = gateway.key.as_deref();
    let desk = RemoteDesk::new(
        url.clone(),
        key,
        WorkerId::new(name.as_str()),
        codecs,
        measured(config, &opener).await,
    );
    let desk = desk.ok_or(StartError::Key)?;
    let concurrency = config.local_engine.concurrency;
    let concurrency = concurrency.unwrap_or(config.transcoding.max_concurrent_jobs);
    tracing::info!(engine = name, gateway = %url, concurrency, "engine starts");
    engine::run(EngineParts {
        desk: Desk::Remote(Box::new(desk)),
        opener,
        folder: config
            .storage
            .directory
            .join(format!("work-{}", std::process::id())),
        concurrency: concurrency as usize,
        stall_timeout: Duration::from_secs(u64::from(config.transcoding.stall_timeout)),
        tracker: tracker.clone(),
        cancel: cancel.clone(),
    })
    .await;
    Ok(Engine { tracker, cancel })
}

/// How long an engine looks around before it says that there is no gateway.
const LOOK_AROUND: Duration = Duration::from_secs(5);

async fn find_gateway() -> Result<Url, StartError> {
    let found = discovery::find_gateways(LOOK_AROUND).await;
    let found = found.map_err(StartError::Discovery)?;
    for other in found.iter().skip(1) {
        tracing::info!(name = other.name, url = %other.url, "another gateway announces itself too");
    }
    let first = found.into_iter().next().ok_or(StartError::NoGateway)?;
    tracing::info!(name = first.name, url = %first.url, "a gateway was found on the local network");
    Ok(first.url)
}

/// How fast this machine is. An engine that cannot tell is still of use.
async fn measured(config: &Config, opener: &Opener) -> Option<Duration> {
    let usable = opener.accelerators.usable().await;
    let prefer = opener.plan.hardware.prefer;
    let accelerator = usable.first().filter(|_| prefer).map(|r| r.accelerator);
    let preset = config.transcoding.video_preset.name();
    let args = benchmark_encode(accelerator, preset, &opener.plan.hardware);
    match benchmark(&opener.tools, &opener.launcher, &args).await {
        Ok(took) => {
            let speed = BENCHMARK_SECONDS / took.as_secs_f64().max(1e-3);
            let by = accelerator.map_or("software", |a| a.name());
            tracing::info!(
                seconds = took.as_secs_f64(),
                speed,
                by,
                "benchmark: 10 s of 720p to H.264"
            );
            Some(took)
        }
        Err(error) => {
            tracing::warn!(%error, "the benchmark failed");
            None
        }
    }
}

impl Engine {
    /// Gives back what is not done and waits for encoders to end.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        if tokio::time::timeout(END, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(tasks = self.tracker.len(), "tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}
