//! Encoders that start while their source is still being looked at.
//!
//! A source's header, which is read first, says nearly always what ffprobe will say a tenth of a second
//! later. The first encoders of the stream that would be planned of that start at once. They are used
//! when the stream is planned with the very same arguments, and ended otherwise: what a guess got
//! wrong is never shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{Process, encoder_command};
use crate::media::{Mode, SourceLocator, StreamRequest};
use crate::plan::{Invocation, StreamPlan};
use crate::source::{GateGuard, InputOptions, ffmpeg_input_options};

use super::head::{GRACE, Learned, Span, invocation};
use super::open::{Facts, Opener};
use super::rendition::TrackId;
use super::stream::{Context, track_cuts};

/// A running encoder and what it reads through.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) gate: Option<GateGuard>,
    pub(super) input: InputOptions,
    pub(super) since: Instant,
}

/// Starts an encoder of `locator`; the error is one in words. `cancel` closes its gate.
pub(super) async fn start(
    opener: &Opener,
    locator: &SourceLocator,
    invocation: &Invocation,
    cancel: &CancellationToken,
) -> Result<Started, String> {
    let gate = opener.gate(locator, cancel);
    let gate = gate.map_err(|error| format!("cannot open a local port: {error}"))?;
    let input = ffmpeg_input_options(locator, gate.as_ref().map(GateGuard::proxy_url));
    let command = encoder_command(&opener.tools, &input, invocation);
    let process = Process::spawn(&opener.launcher, command, GRACE).await;
    Ok(Started {
        process: process.map_err(|error| error.to_string())?,
        gate,
        input,
        since: Instant::now(),
    })
}

struct Begun {
    track: TrackId,
    invocation: Invocation,
    started: Started,
}

/// Encoders of a stream that was not opened yet. Dropping it ends them.
#[derive(Default)]
pub(super) struct Foresight {
    starting: Mutex<Option<JoinHandle<Vec<Begun>>>>,
}

impl Foresight {
    /// Starts the first encoders of what is planned if the source is what `guess` says, unless others
    /// need the encoders there are.
    pub(super) fn begin(
        &self,
        context: &Arc<Context>,
        locator: &SourceLocator,
        request: &StreamRequest,
        guess: Facts,
    ) {
        let encoders = &context.encoders;
        if request.mode != Mode::Stream || encoders.in_use() + 2 > encoders.most() {
            return;
        }
        let (context, locator, request) = (context.clone(), locator.clone(), request.clone());
        let starting = context.tracker.clone().spawn(async move {
            let opener = &context.opener;
            let Ok(plan) = opener.plan(&guess, &request).await else {
                return Vec::new();
            };
            let mut begun = Vec::new();
            for (track, invocation) in opening_runs(&plan) {
                // What goes wrong here will go wrong again, and be told then.
                let started = start(opener, &locator, &invocation, &context.cancel).await;
                begun.extend(started.ok().map(|started| Begun {
                    track,
                    invocation,
                    started,
                }));
            }
            begun
        });
        *self.lock() = Some(starting);
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<Vec<Begun>>>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The encoders that do what `plan` wants; the others are ended.
    pub(super) async fn judge(&self, plan: &StreamPlan) -> HeadStart {
        let starting = self.lock().take();
        let mut begun = match starting {
            Some(starting) => starting.await.unwrap_or_default(),
            None => Vec::new(),
        };
        let wanted = match begun.is_empty() {
            true => Vec::new(),
            false => opening_runs(plan),
        };
        begun.retain(|b| {
            let right = wanted
                .iter()
                .any(|(track, invocation)| *track == b.track && *invocation == b.invocation);
            tracing::debug!(track = %b.track, right, "an encoder had a head start");
            right
        });
        HeadStart(Mutex::new(begun))
    }
}

/// Encoders that wait for the first heads of their stream. Dropping it ends them.
#[derive(Default)]
pub(super) struct HeadStart(Mutex<Vec<Begun>>);

impl HeadStart {
    fn lock(&self) -> MutexGuard<'_, Vec<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The encoder of a track that was started with these arguments.
    pub(super) fn take(&self, track: TrackId, invocation: &Invocation) -> Option<Started> {
        let mut begun = self.lock();
        let is_it = |b: &Begun| b.track == track && b.invocation == *invocation;
        let place = begun.iter().position(is_it)?;
        Some(begun.swap_remove(place).started)
    }

    /// Ends the encoders that no head has taken.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// What the first heads of a stream run before they have learned anything.
fn opening_runs(plan: &StreamPlan) -> Vec<(TrackId, Invocation)> {
    if plan.timeline.is_open_ended() {
        return Vec::new();
    }
    let timeline = Arc::new(plan.timeline.clone());
    let video = plan
        .main_video()
        .map(|_| (TrackId::video(0), plan.video_end));
    let audio = plan.main_audio().map(|a| (TrackId::audio(0), a.source_end));
    let runs = video.into_iter().chain(audio).filter_map(|(id, end)| {
        let span = Span {
            segment: 0,
            done: 0,
            until: plan.longest_run(0).min(plan.timeline.len()),
        };
        let cuts = track_cuts(plan, &timeline, id)?;
        let run = invocation(plan, id, &cuts, span, Learned::before(end))?;
        Some((id, run))
    });
    runs.collect()
}
