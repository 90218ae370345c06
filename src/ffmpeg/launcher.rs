//! The thread that starts every child process.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::ProcessLabels;

use super::os;

/// What a process is for, in logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Segments of a stream.
    Stream,
    /// What a source is.
    Probe,
    /// The text of subtitles.
    Subtitles,
    /// A picture, an overview or a WebM stream.
    Query,
    /// A file of a batch job.
    Batch,
    /// Queued work of any other kind.
    Job,
    /// Whether an encoder works.
    Test,
}

impl Purpose {
    const ALL: [Purpose; 7] = [
        Purpose::Stream,
        Purpose::Probe,
        Purpose::Subtitles,
        Purpose::Query,
        Purpose::Batch,
        Purpose::Job,
        Purpose::Test,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Purpose::Stream => "stream",
            Purpose::Probe => "probe",
            Purpose::Subtitles => "subtitles",
            Purpose::Query => "query",
            Purpose::Batch => "batch",
            Purpose::Job => "job",
            Purpose::Test => "test",
        }
    }
}

/// A child process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// `program` is its name without its folder: clients hear this text.
    #[error("cannot start {program}: {source}")]
    Io { program: String, source: io::Error },
    #[error("the gateway is stopping")]
    Stopping,
}

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts child processes from one thread that lives as long as any of them: the kernel's
/// parent-death signal is tied to the thread that called fork, and runtime threads may retire.
///
/// Cheap to clone. The thread ends when the last clone is dropped; every supervisor of a child
/// holds one.
#[derive(Clone)]
pub struct Launcher {
    orders: Arc<mpsc::Sender<Order>>,
    tracker: TaskTracker,
    metrics: Metrics,
    purpose: Purpose,
}

impl Launcher {
    /// Starts the thread. Supervisors of children run on `tracker`; children are counted in
    /// `metrics`, as those of streams. Must be called on a tokio runtime.
    pub fn new(tracker: TaskTracker, metrics: Metrics) -> io::Result<Launcher> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        for purpose in Purpose::ALL {
            let kind = purpose.name();
            metrics
                .processes
                .get_or_create_owned(&ProcessLabels { kind });
        }
        std::thread::Builder::new()
            .name("ffmpeg-spawn".into())
            .spawn(move || {
                let _guard = runtime.enter();
                for Order { mut command, reply } in inbox {
                    // A reply that nobody takes drops the child, which kills it (kill_on_drop).
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Launcher {
            orders: Arc::new(orders),
            tracker,
            metrics,
            purpose: Purpose::Stream,
        })
    }

    /// The same thread, for children of another purpose.
    #[must_use]
    pub fn doing(&self, purpose: Purpose) -> Self {
        Launcher {
            purpose,
            ..self.clone()
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Starts `command` in its own process group.
    pub(super) async fn start(&self, mut command: Command) -> Result<Child, SpawnError> {
        command.kill_on_drop(true);
        os::isolate(&mut command);
        let program = Path::new(command.as_std().get_program());
        let program = program.file_name().unwrap_or_default();
        let program = program.to_string_lossy().into_owned();
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(Order { command, reply })
            .map_err(|_| SpawnError::Stopping)?;
        let child = answer.await.map_err(|_| SpawnError::Stopping)?;
        child.map_err(|source| SpawnError::Io { program, source })
    }
}
