//! The process that a run reads from: one of its own, or a part of one that makes several renditions.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{ExitReport, Process, ProgressReport, encoder_command};
use crate::media::SourceLocator;
use crate::plan::Invocation;
use crate::source::{GateGuard, GateReport, ffmpeg_input_options};

use super::head::GRACE;
use super::open::Opener;
use super::rendition::TrackId;
use super::stream::StreamCore;

/// A process and what it reads through.
pub(super) struct Launched {
    process: Process,
    gate: Option<GateGuard>,
    /// As the command names the source, to be kept out of what users read.
    url: String,
    since: Instant,
}

/// Starts ffmpeg for `invocation`, with pipes for so many `outputs` beside the standard one; the error
/// is one in words. `cancel` closes its gate.
pub(super) async fn launch(
    opener: &Opener,
    locator: &SourceLocator,
    invocation: &Invocation,
    outputs: usize,
    cancel: &CancellationToken,
) -> Result<(Launched, Vec<pipe::Receiver>), String> {
    let gate = opener.gate(locator, cancel);
    let gate = gate.map_err(|error| format!("cannot open a local port: {error}"))?;
    let input = ffmpeg_input_options(locator, gate.as_ref().map(GateGuard::proxy_url));
    let command = encoder_command(&opener.tools, &input, invocation);
    let spawned = Process::spawn_with_outputs(&opener.launcher, command, GRACE, outputs).await;
    let (process, pipes) = spawned.map_err(|error| error.to_string())?;
    let launched = Launched {
        process,
        gate,
        url: input.url.to_string_lossy().into_owned(),
        since: Instant::now(),
    };
    Ok((launched, pipes))
}

/// See the module.
pub(super) enum Encoder {
    Own(OwnEncoder),
    Part(JointPart),
}

/// A process that makes one rendition.
pub(super) struct OwnEncoder(Launched);

/// A process that makes several renditions at the pace of the slowest reader.
struct JointEncoder {
    launched: Launched,
    /// Which of its readers could do without more for now.
    sated: Mutex<Vec<bool>>,
    /// One of its readers has gone on elsewhere.
    parted: CancellationToken,
}

/// One rendition of a process that makes several.
pub(super) struct JointPart {
    pipe: pipe::Receiver,
    place: usize,
    progress: watch::Receiver<ProgressReport>,
    joint: Arc<JointEncoder>,
}

impl Encoder {
    /// A process for one rendition: the one that had a head start, else a new one.
    pub(super) async fn start(
        core: &StreamCore,
        track: TrackId,
        invocation: &Invocation,
        cancel: &CancellationToken,
    ) -> Result<Encoder, String> {
        let context = &core.context;
        let launched = match core.head_start.take(track, invocation) {
            Some(begun) => {
                context.head_starts.fetch_add(1, Ordering::Relaxed);
                begun
            }
            None => {
                let started = launch(&context.opener, &core.locator, invocation, 0, cancel);
                started.await?.0
            }
        };
        context.encoder_starts.fetch_add(1, Ordering::Relaxed);
        Ok(Encoder::Own(OwnEncoder(launched)))
    }

    fn launched(&self) -> &Launched {
        match self {
            Encoder::Own(own) => &own.0,
            Encoder::Part(part) => &part.joint.launched,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.launched().process.pid()
    }

    /// When the process was started.
    pub(super) fn since(&self) -> Instant {
        self.launched().since
    }

    pub(super) fn is_joint(&self) -> bool {
        matches!(self, Encoder::Part(_))
    }

    /// Pictures that were made, when that was told anew.
    pub(super) fn new_frames(&mut self) -> Option<u64> {
        let progress = match self {
            Encoder::Own(own) => &mut own.0.process.progress,
            Encoder::Part(part) => &mut part.progress,
        };
        let is_new = progress.has_changed().unwrap_or(false);
        is_new.then(|| progress.borrow_and_update().frame)
    }

    /// Cancel-safe.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Encoder::Own(own) => own.0.process.stdout.read(buffer).await,
            Encoder::Part(part) => part.pipe.read(buffer).await,
        }
    }

    /// Notes whether this reader could do without more for now; whether all of them could. The second
    /// value tells whether that has changed, so that the others must be told.
    pub(super) fn may_rest(&self, sated: bool) -> (bool, bool) {
        let Encoder::Part(part) = self else {
            return (sated, false);
        };
        let all = &part.joint.sated;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = all
            .get_mut(part.place)
            .is_some_and(|own| std::mem::replace(own, sated) != sated);
        (all.iter().all(|s| *s), changed)
    }

    pub(super) fn suspend(&self) {
        self.launched().process.suspend();
    }

    pub(super) fn resume(&self) {
        self.launched().process.resume();
    }

    /// Cancelled when another reader of the same process has gone on elsewhere.
    pub(super) fn parted(&self) -> CancellationToken {
        match self {
            Encoder::Own(_) => CancellationToken::new(),
            Encoder::Part(part) => part.joint.parted.clone(),
        }
    }

    /// Ends the process, also for other readers of it.
    pub(super) fn stop(&self) {
        if let Encoder::Part(part) = self {
            part.joint.parted.cancel();
        }
        self.launched().process.stop();
    }

    /// Waits for the end of the process. Cancel-safe.
    pub(super) async fn wait(&self) -> ExitReport {
        self.launched().process.wait().await
    }

    /// What its gate saw of the source's server.
    pub(super) fn gate_report(&self) -> Option<GateReport> {
        self.launched().gate.as_ref().map(GateGuard::report)
    }

    /// Why it failed, for users.
    pub(super) fn reason(&self, exit: &ExitReport) -> Option<String> {
        let url = self.launched().url.as_str();
        exit.log.reason(&[url, url.trim_start_matches("file:")])
    }
}

/// Starts a process for several renditions; gives the part of each.
pub(super) async fn start_joint(
    core: &StreamCore,
    invocation: &Invocation,
    outputs: usize,
) -> Result<Vec<JointPart>, String> {
    let context = &core.context;
    let (opener, locator) = (&context.opener, &core.locator);
    let (launched, pipes) = launch(opener, locator, invocation, outputs, &core.cancel).await?;
    context.encoder_starts.fetch_add(1, Ordering::Relaxed);
    let joint = Arc::new(JointEncoder {
        launched,
        sated: Mutex::new(vec![false; outputs]),
        parted: CancellationToken::new(),
    });
    let part = |(place, pipe)| JointPart {
        pipe,
        place,
        progress: joint.launched.process.progress.clone(),
        joint: joint.clone(),
    };
    Ok(pipes.into_iter().enumerate().map(part).collect())
}

impl JointPart {
    /// Its reader is not there any more: the others go on without it.
    pub(super) fn decline(self) {
        Encoder::Part(self).stop();
    }
}
