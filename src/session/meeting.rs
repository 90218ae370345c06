//! How encoders of several renditions become one: the source is then read and decoded once.
//!
//! Heads start alone, so that nobody waits for anybody. When two of different renditions, both of them
//! watched, are at work near each other, both end their processes and meet in a new one. It ends when
//! one of them leaves it, for whatever reason; the others then go on alone where they stand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::hls::HeadId;
use crate::plan::VideoRun;

use super::encoder::{JointPart, start_joint};
use super::stream::{LEFT_AFTER, StreamCore};
use super::track::Track;

/// Heads that are further apart do not meet: the one behind has to make up for it alone.
const NEAR_SEGMENTS: u32 = 3;
/// The same where somebody waits for the one that is ahead.
const NEAR_AWAITED: u32 = 1;
/// Segments that must be left to make for a meeting to be worth a new process.
const WORTH_SEGMENTS: u32 = 3;
/// How long after trouble with a joint process every head works alone.
const ALONE_AFTER_TROUBLE: Duration = Duration::from_secs(60);

/// The video heads of one stream, as far as they may meet.
#[derive(Default)]
pub(super) struct Meetings {
    stands: Mutex<Vec<Standing>>,
    alone_until_ms: AtomicU64,
    number: AtomicU64,
}

struct Standing {
    track: Arc<Track>,
    head: HeadId,
    began_ms: u64,
    /// The segment it makes now, and the one before which it ends.
    segment: u32,
    until: u32,
    /// The meeting it came from, while that lasts.
    meeting: Option<u64>,
    call: Option<Call>,
}

/// A place in a meeting. Dropped, it is declined.
struct Call {
    meeting: u64,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

struct Arrival {
    nth: usize,
    run: VideoRun,
    part: oneshot::Sender<(JointPart, u32)>,
}

impl Meetings {
    /// For a while nobody meets: a process that they shared came to no good.
    fn had_trouble(&self, now_ms: u64) {
        let until = now_ms + ALONE_AFTER_TROUBLE.as_millis() as u64;
        self.alone_until_ms.store(until, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a head stands; it is forgotten when this is dropped.
pub(super) struct Stand {
    track: Arc<Track>,
    head: HeadId,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.track
            .core
            .meetings
            .lock()
            .retain(|s| s.head != self.head || s.track.id != self.track.id);
    }
}

impl Stand {
    /// `None` for a head that has nobody to meet.
    pub(super) fn of(track: &Arc<Track>, head: HeadId, segment: u32, until: u32) -> Option<Stand> {
        let core = &track.core;
        let encoded = core.plan.videos.get(track.id.nth)?.encode.is_some();
        // What cuts by counting pictures cannot begin with others in the middle of a segment.
        if !track.is_one_of_several_pictures() || !encoded || !core.plan.video_obeys_cuts() {
            return None;
        }
        core.meetings.lock().push(Standing {
            track: track.clone(),
            head,
            began_ms: core.context.now_ms(),
            segment,
            until,
            meeting: None,
            call: None,
        });
        Some(Stand {
            track: track.clone(),
            head,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Standing) -> T) -> Option<T> {
        let mut stands = self.track.core.meetings.lock();
        let own = stands
            .iter_mut()
            .find(|s| s.head == self.head && s.track.id == self.track.id);
        own.map(look)
    }

    /// The head has come to `segment`; others that are near may be called to a meeting with it.
    pub(super) fn at(&self, segment: u32) {
        self.with(|s| s.segment = segment);
        self.gather();
    }

    /// A joint process has ended.
    pub(super) fn alone(&self) {
        self.with(|s| s.meeting = None);
    }

    /// The process that was shared came to no good.
    pub(super) fn had_trouble(&self) {
        let core = &self.track.core;
        core.meetings.had_trouble(core.context.now_ms());
    }

    /// Whether a meeting waits for the head to end its process.
    pub(super) fn is_called(&self) -> bool {
        self.with(|s| s.call.is_some()).unwrap_or(false)
    }

    /// Takes part in the meeting that the head was called to: its part of the process, and the segment
    /// before which that ends. `None` when there is none, or when nothing came of it. Cancel-safe:
    /// dropping it declines.
    pub(super) async fn meet(&self, run: VideoRun) -> Option<(JointPart, u32)> {
        let call = self.with(|s| s.call.take())??;
        let (part_in, part) = oneshot::channel();
        let arrival = Arrival {
            nth: self.track.id.nth,
            run,
            part: part_in,
        };
        // The meeting waits as long as a place is open.
        call.arrivals.send(arrival).ok()?;
        let meeting = call.meeting;
        drop(call);
        let part = part.await.ok()?;
        self.with(|s| s.meeting = Some(meeting));
        Some(part)
    }

    /// Calls the head and another one that it goes well with, and all that work with either already.
    fn gather(&self) {
        let core = &self.track.core;
        let meetings = &core.meetings;
        if core.context.now_ms() < meetings.alone_until_ms.load(Ordering::Relaxed) {
            return;
        }
        let mut stands = meetings.lock();
        let own = |s: &Standing| s.head == self.head && s.track.id == self.track.id;
        let Some(me) = stands.iter().find(|s| own(s)) else {
            return;
        };
        let Some(other) = stands.iter().find(|s| goes_well(me, s)) else {
            return;
        };
        let both = [me, other].map(|s| (s.track.id, s.head, s.meeting));
        let with = |s: &Standing| {
            both.iter().any(|(id, head, meeting)| {
                (*id, *head) == (s.track.id, s.head) || meeting.is_some() && *meeting == s.meeting
            })
        };
        let mut renditions: Vec<usize> = stands
            .iter()
            .filter(|s| with(s))
            .map(|s| s.track.id.nth)
            .collect();
        renditions.sort_unstable();
        if renditions.windows(2).any(|w| w[0] == w[1]) {
            return;
        }
        let meeting = meetings.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (arrivals, expected) = mpsc::unbounded_channel();
        for standing in stands.iter_mut().filter(|s| with(s)) {
            standing.call = Some(Call {
                meeting,
                arrivals: arrivals.clone(),
            });
        }
        drop(stands);
        core.context.tracker.spawn(hold(core.clone(), expected));
        core.changed.notify_waiters();
    }
}

/// Whether two heads should share a process: of different renditions, near each other, and both watched,
/// by somebody who has asked for more since the later one began.
fn goes_well(a: &Standing, b: &Standing) -> bool {
    let free = a.call.is_none() && b.call.is_none();
    let apart = a.meeting.is_none() || a.meeting != b.meeting;
    if a.track.id == b.track.id || !free || !apart {
        return false;
    }
    let (behind, ahead) = if a.segment <= b.segment {
        (a, b)
    } else {
        (b, a)
    };
    let near = match ahead.track.is_waited_for() {
        true => NEAR_AWAITED,
        false => NEAR_SEGMENTS,
    };
    let worth = |s: &Standing| s.until >= ahead.segment + WORTH_SEGMENTS;
    let later = a.began_ms.max(b.began_ms);
    let watched = |s: &Standing| s.track.asked_ms() > later && s.track.unasked_for() < LEFT_AFTER;
    ahead.segment - behind.segment <= near && [a, b].into_iter().all(|s| worth(s) && watched(s))
}

/// Waits for all that were called, then starts their process.
async fn hold(core: Arc<StreamCore>, mut expected: mpsc::UnboundedReceiver<Arrival>) {
    let mut arrivals = Vec::new();
    while let Some(arrival) = expected.recv().await {
        arrivals.push(arrival);
    }
    arrivals.retain(|a| !a.part.is_closed());
    // Where one ends before the others, all end, and those that have more to make go on.
    let Some(until) = arrivals.iter().map(|a| a.run.until).min() else {
        return;
    };
    arrivals.iter_mut().for_each(|a| a.run.until = until);
    let latest = arrivals.iter().map(|a| a.run.from).max();
    if arrivals.len() < 2 || core.cancel.is_cancelled() || latest.is_none_or(|from| from >= until) {
        return;
    }
    let runs: Vec<(usize, VideoRun)> = arrivals.iter().map(|a| (a.nth, a.run)).collect();
    let Some(invocation) = core.plan.joint_run(&runs) else {
        return core.meetings.had_trouble(core.context.now_ms());
    };
    let parts = match start_joint(&core, &invocation, runs.len()).await {
        Ok(parts) => parts,
        Err(reason) => {
            tracing::warn!(stream.id = %core.id, %reason, "renditions get no process together");
            return core.meetings.had_trouble(core.context.now_ms());
        }
    };
    let renditions: Vec<usize> = runs.iter().map(|(nth, _)| *nth).collect();
    tracing::debug!(stream.id = %core.id, ?renditions, "one encoder for several renditions");
    let until = core.plan.timeline.segment_of(until - 1) + 1;
    for (arrival, part) in arrivals.into_iter().zip(parts) {
        if let Err((part, _)) = arrival.part.send((part, until)) {
            part.decline();
        }
    }
}
