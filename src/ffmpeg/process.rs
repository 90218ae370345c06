//! One running ffmpeg: its output, its progress, its end.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use ffmpeg_sidecar::log_parser::try_parse_progress;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{ExitLabels, ProcessLabels};

use super::launcher::{Launcher, SpawnError};
use super::log::{LineSplitter, LogTail};
use super::os;

/// Statistics as ffmpeg last printed them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProgressReport {
    pub frame: u64,
    /// Pictures per second.
    pub fps: f64,
    /// Media time per wall time.
    pub speed: f64,
    /// Time of the last packet that was written, microseconds.
    pub time_us: i64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Whether the gateway asked it to end.
    pub stopped: bool,
    pub log: LogTail,
}

impl ExitReport {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// For logs and metrics.
    fn reason(&self) -> &'static str {
        match (self.stopped, self.code, self.signal) {
            (_, Some(0), _) => "done",
            (true, ..) => "stopped",
            (false, _, Some(_)) => "killed",
            (false, ..) => "failed",
        }
    }
}

/// A child in its own process group. Dropping it ends the group in two stages (SIGTERM, then
/// SIGKILL after the grace); a task on the tracker waits for the end and reaps it.
pub struct Process {
    /// Media. The reader must keep reading, suspend the process or drop it: a full pipe stops the
    /// encoder too, only later.
    pub stdout: ChildStdout,
    pub progress: watch::Receiver<ProgressReport>,
    exit: watch::Receiver<Option<ExitReport>>,
    stop: CancellationToken,
    pid: u32,
}

impl Process {
    /// Starts `command`, whose standard output and error must be piped. `grace` is the time between
    /// the request to end and the end.
    pub async fn spawn(
        launcher: &Launcher,
        command: Command,
        grace: Duration,
    ) -> Result<Process, SpawnError> {
        let mut child = launcher.start(command).await?;
        let (Some(stdout), Some(stderr), Some(pid)) =
            (child.stdout.take(), child.stderr.take(), child.id())
        else {
            return Err(SpawnError::Stopping);
        };
        let stop = CancellationToken::new();
        let (progress_in, progress) = watch::channel(ProgressReport::default());
        let (exit_in, exit) = watch::channel(None);
        let supervisor = Supervisor {
            child,
            pid,
            stop: stop.clone(),
            grace,
        };
        let keep_thread = launcher.clone();
        let running = Running::new(launcher, pid);
        launcher.tracker().spawn(async move {
            let report = supervisor.run(stderr, progress_in).await;
            running.ended(&report);
            // The receiver may be gone; the report is then of no interest.
            let _ = exit_in.send(Some(report));
            drop(keep_thread);
        });
        Ok(Process {
            stdout,
            progress,
            exit,
            stop,
            pid,
        })
    }

    /// As [`Process::spawn`], with pipes that are the child's file descriptors from 3 on, `outputs` of
    /// them, at most 7.
    pub async fn spawn_with_outputs(
        launcher: &Launcher,
        mut command: Command,
        grace: Duration,
        outputs: usize,
    ) -> Result<(Process, Vec<pipe::Receiver>), SpawnError> {
        let io = |source| SpawnError::Io {
            program: "a pipe".into(),
            source,
        };
        let mut pipes = Vec::with_capacity(outputs);
        for number in (3..).take(outputs) {
            let pipe = os::further_output(&mut command, number).map_err(io)?;
            pipes.push(pipe::Receiver::from_owned_fd(pipe).map_err(io)?);
        }
        Ok((Process::spawn(launcher, command, grace).await?, pipes))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the group to end; [`Process::wait`] tells when it has. Idempotent.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Takes the processor away from the group, at once, until [`Process::resume`]. It can be
    /// stopped meanwhile. Idempotent.
    pub fn suspend(&self) {
        if self.exit.borrow().is_none() {
            os::suspend(self.pid);
        }
    }

    /// Lets a suspended group go on. Idempotent.
    pub fn resume(&self) {
        if self.exit.borrow().is_none() {
            os::resume(self.pid);
        }
    }

    /// Waits for the end. Cancel-safe; does not end the process.
    pub async fn wait(&self) -> ExitReport {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|r| r.clone()) {
            Ok(Some(report)) => report,
            // The supervisor always reports; without it the child is gone with the runtime.
            _ => ExitReport {
                code: None,
                signal: None,
                stopped: true,
                log: LogTail::default(),
            },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A process in the metrics, as long as it runs.
struct Running {
    metrics: Metrics,
    kind: &'static str,
    pid: u32,
    since: Instant,
}

impl Running {
    fn new(launcher: &Launcher, pid: u32) -> Self {
        let running = Running {
            metrics: launcher.metrics().clone(),
            kind: launcher.purpose().name(),
            pid,
            since: Instant::now(),
        };
        running.gauge(1);
        running
    }

    fn gauge(&self, change: i64) {
        let labels = ProcessLabels { kind: self.kind };
        self.metrics.processes.get_or_create(&labels).inc_by(change);
    }

    /// Counts the end, and says it in one line.
    fn ended(&self, report: &ExitReport) {
        let (kind, reason) = (self.kind, report.reason());
        let labels = ExitLabels { kind, reason };
        self.metrics.exits.get_or_create(&labels).inc();
        tracing::info!(
            ffmpeg.pid = self.pid,
            kind,
            reason,
            code = report.code,
            signal = report.signal,
            duration_ms = self.since.elapsed().as_millis() as u64,
            "encoder exited"
        );
    }
}

/// Also when the runtime drops the supervisor.
impl Drop for Running {
    fn drop(&mut self) {
        self.gauge(-1);
    }
}

/// How long the words of a process that has ended may take to arrive.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

struct Supervisor {
    child: Child,
    pid: u32,
    stop: CancellationToken,
    grace: Duration,
}

impl Supervisor {
    async fn run(
        mut self,
        stderr: ChildStderr,
        progress: watch::Sender<ProgressReport>,
    ) -> ExitReport {
        let mut log = LogTail::default();
        let (ended_in, ended) = oneshot::channel::<()>();
        let ending = async {
            let status = end(&mut self.child, self.pid, &self.stop, self.grace).await;
            drop(ended_in);
            status
        };
        let draining = async {
            let drain = drain(stderr, &mut log, progress);
            tokio::pin!(drain);
            tokio::select! {
                () = &mut drain => return,
                _ = ended => {}
            }
            if tokio::time::timeout(LEFT_BEHIND, &mut drain).await.is_ok() {
                return;
            }
            // Its group is not gone: something that it started keeps the pipes open.
            os::kill(self.pid);
            // What has left the group too is beyond reach; nothing waits for it.
            let _ = tokio::time::timeout(LEFT_BEHIND, drain).await;
        };
        let (status, ()) = tokio::join!(ending, draining);
        let (code, signal) = match status {
            Ok(s) => (s.code(), s.signal()),
            Err(error) => {
                tracing::error!(ffmpeg.pid = self.pid, %error, "cannot wait for a child process");
                (None, None)
            }
        };
        ExitReport {
            code,
            signal,
            stopped: self.stop.is_cancelled(),
            log,
        }
    }
}

/// Waits for the child, ending it when asked to.
async fn end(
    child: &mut Child,
    pid: u32,
    stop: &CancellationToken,
    grace: Duration,
) -> std::io::Result<std::process::ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = stop.cancelled() => {}
    }
    os::terminate(pid);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return status;
    }
    os::kill(pid);
    child.wait().await
}

/// Microseconds of `-00:03:29.04`; `None` for anything else, such as `N/A`.
fn clock_us(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut seconds = 0.0;
    for part in text.split(':') {
        let part: f64 = part
            .parse()
            .ok()
            .filter(|p: &f64| p.is_finite() && *p >= 0.0)?;
        seconds = seconds * 60.0 + part;
    }
    Some(sign * (seconds * 1e6).round() as i64)
}

/// Reads standard error to its end: statistics go to `progress`, everything else to `log`.
async fn drain(
    mut stderr: ChildStderr,
    log: &mut LogTail,
    progress: watch::Sender<ProgressReport>,
) {
    let mut lines = LineSplitter::default();
    let mut buffer = vec![0; 4096];
    loop {
        let ended = match stderr.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                lines.end();
                true
            }
            Ok(n) => {
                lines.push(&buffer[..n]);
                false
            }
        };
        while let Some(line) = lines.next() {
            let Some(p) = try_parse_progress(&line) else {
                log.push(&line);
                continue;
            };
            progress.send_replace(ProgressReport {
                frame: u64::from(p.frame),
                fps: f64::from(p.fps),
                speed: f64::from(p.speed),
                time_us: clock_us(&p.time).unwrap_or(0),
            });
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_read() {
        assert_eq!(clock_us("00:03:29.04"), Some(209_040_000));
        assert_eq!(clock_us("-00:00:00.02"), Some(-20_000));
        assert_eq!(clock_us("N/A"), None);
    }
}
