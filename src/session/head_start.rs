//! Encoders that start while their source is still being looked at.
//!
//! A source's header, which is read first, says nearly always what ffprobe will say a tenth of a second
//! later. The first encoders of the stream that would be planned of that start at once. They are used
//! when the stream is planned with the very same arguments, and ended otherwise: what a guess got
//! wrong is never shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::media::{Mode, SourceLocator, StreamRequest};
use crate::plan::{Invocation, StreamPlan};

use super::encoder::{Launched, launch};
use super::head::{Learned, Span, invocation};
use super::open::Facts;
use super::rendition::TrackId;
use super::stream::{Context, track_cuts};

struct Begun {
    track: TrackId,
    invocation: Invocation,
    launched: Launched,
    /// Of the encoders that may run at one time. The head that takes the encoder has it from then on.
    permit: Option<OwnedSemaphorePermit>,
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
        if request.mode != Mode::Stream {
            return;
        }
        let permit = || context.encoders.try_acquire();
        let (Some(first), Some(second)) = (permit(), permit()) else {
            return;
        };
        let (context, locator, request) = (context.clone(), locator.clone(), request.clone());
        let starting = context.tracker.clone().spawn(async move {
            let opener = &context.opener;
            let Ok(plan) = opener.plan(&guess, &request).await else {
                return Vec::new();
            };
            let mut begun = Vec::new();
            let permits = [first, second];
            for ((track, invocation), permit) in opening_runs(&plan).into_iter().zip(permits) {
                // What goes wrong here will go wrong again, and be told then.
                let started = launch(opener, &locator, &invocation, 0, &context.cancel).await;
                begun.extend(started.ok().map(|(launched, _)| Begun {
                    track,
                    invocation,
                    launched,
                    permit: Some(permit),
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
    pub(super) fn take(&self, track: TrackId, invocation: &Invocation) -> Option<Launched> {
        let mut begun = self.lock();
        let is_it = |b: &Begun| b.track == track && b.invocation == *invocation;
        let place = begun.iter().position(is_it)?;
        Some(begun.swap_remove(place).launched)
    }

    /// What the encoder of a track that has a head start holds: its head need not wait for another.
    pub(super) fn take_permit(&self, track: TrackId) -> Option<OwnedSemaphorePermit> {
        let mut begun = self.lock();
        let of_track = begun.iter_mut().find(|b| b.track == track)?;
        of_track.permit.take()
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
