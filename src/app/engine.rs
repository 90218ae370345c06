//! An engine for a gateway on another machine.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::base::WorkerId;
use crate::config::Config;
use crate::engine::{self, Desk, EngineParts, RemoteDesk};

use super::build::{StartError, opener};

/// The gateway whose work is done, and how it knows us.
pub struct RemoteGateway {
    /// Ends in a slash.
    pub url: Url,
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
    let opener = opener(config, &tracker, &cancel).await?;
    let name = gateway.engine;
    let name = name.unwrap_or_else(|| format!("engine-{}", Uuid::new_v4().simple()));
    let codecs = opener.tools.hardware.video_codecs();
    let codecs = codecs.iter().map(|c| (*c).to_owned()).collect();
    let key = gateway.key.as_deref();
    let desk = RemoteDesk::new(
        gateway.url.clone(),
        key,
        WorkerId::new(name.as_str()),
        codecs,
    );
    let desk = desk.ok_or(StartError::Key)?;
    let concurrency = config.local_engine.concurrency;
    let concurrency = concurrency.unwrap_or(config.transcoding.max_concurrent_jobs);
    tracing::info!(engine = name, gateway = %gateway.url, concurrency, "engine starts");
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
