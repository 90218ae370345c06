//! One track of a stream: its heads, the segments being made, the requests that wait.

mod shown;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::hls::{Action, Ending, HeadId, Scheduler, WaiterId};
use crate::package::{Sample, TrackConfig, TrackCuts, decode_samples, encode_samples};

use super::cache::SegmentKey;
use super::encoders::Encoders;
use super::error::SessionError;
use super::head::{self, Learned};
use super::rendition::{TrackId, TrackKind};
use super::segment::{Failure, GrowingSegment, SegmentReader};
use super::stream::StreamCore;

/// A head and how it does.
struct Working {
    cancel: CancellationToken,
    /// It is not read from now.
    paused: bool,
    /// Media time per wall time of what it last made; `None` before that.
    speed: Option<f64>,
}

impl Working {
    fn new(cancel: CancellationToken) -> Self {
        Working {
            cancel,
            paused: false,
            speed: None,
        }
    }
}

struct State {
    scheduler: Scheduler,
    heads: HashMap<HeadId, Working>,
    growing: HashMap<u32, Arc<GrowingSegment>>,
    /// Complete segments that the disk did not take, oldest first.
    unsaved: Vec<u32>,
    given_up: HashMap<WaiterId, String>,
    config: Option<Arc<TrackConfig>>,
    learned: Learned,
    last_failure: Option<String>,
    disk_error: Option<String>,
    /// Complete segments on their way to the disk.
    storing: usize,
    /// The only head has ended; what is not there never will be.
    closed: bool,
    /// Size of the largest segment so far, as it is stored.
    largest_bytes: u64,
}

/// See the module.
pub(super) struct Track {
    pub(super) id: TrackId,
    pub(super) cuts: TrackCuts,
    pub(super) core: Arc<StreamCore>,
    state: Mutex<State>,
    /// As many processes as heads are allowed, for all tracks of the kind: a new one starts when an
    /// old one is gone.
    pub(super) permits: Arc<Encoders>,
    /// Whether a request waits for this track, as it was last told to the stream.
    awaited: AtomicBool,
    /// When a request last came.
    last_asked_ms: AtomicU64,
}

impl std::fmt::Debug for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Track")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How far sound is made ahead of the player of a film, milliseconds.
const AUDIO_AHEAD_MS: u64 = 10_000;
/// Complete segments kept in memory while the disk takes none.
const MAX_UNSAVED: usize = 6;
/// Complete segments on their way to the disk, beyond which heads wait for it.
const MAX_STORING: usize = 8;

impl Track {
    pub(super) fn new(
        id: TrackId,
        cuts: TrackCuts,
        core: Arc<StreamCore>,
        permits: Arc<Encoders>,
        source_end: Option<i64>,
    ) -> Arc<Track> {
        let max_heads = permits.most();
        let timeline = cuts.timeline().clone();
        let lengths = (0..timeline.len())
            .map(|i| (timeline.seconds(i) * 1000.0) as u32)
            .collect();
        let mut goal_ms = core.context.settings.buffer_ahead.as_millis() as u64;
        if id.kind == TrackKind::Audio
            && core.plan.main_video().is_some()
            && !core.plan.timeline.is_open_ended()
        {
            // Sound is made so fast that it need not be far ahead, and the first pictures of a
            // stream need the processor more.
            goal_ms = goal_ms.min(AUDIO_AHEAD_MS);
        }
        let now = core.context.now_ms();
        Arc::new(Track {
            id,
            cuts,
            core,
            state: Mutex::new(State {
                scheduler: Scheduler::new(lengths, max_heads, goal_ms),
                heads: HashMap::new(),
                growing: HashMap::new(),
                unsaved: Vec::new(),
                given_up: HashMap::new(),
                config: None,
                learned: Learned::before(source_end),
                last_failure: None,
                disk_error: None,
                storing: 0,
                closed: false,
                largest_bytes: 0,
            }),
            permits,
            awaited: AtomicBool::new(false),
            last_asked_ms: AtomicU64::new(now),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the scheduler asks; called with the lock held, so that actions keep their order.
    fn perform(self: &Arc<Self>, state: &mut State, actions: Vec<Action>) {
        for action in actions {
            match action {
                // Its end would only start the next one for the requests that are still there.
                Action::Start { .. } if self.is_closed() => {}
                Action::Start {
                    head,
                    segment,
                    until,
                } => {
                    let cancel = self.core.cancel.child_token();
                    state.heads.insert(head, Working::new(cancel.clone()));
                    let order = head::Order {
                        head,
                        segment,
                        until,
                        cancel,
                    };
                    let track = self.clone();
                    self.core.context.tracker.spawn(head::run(track, order));
                }
                Action::Stop { head } => {
                    if let Some(working) = state.heads.remove(&head) {
                        working.cancel.cancel();
                    }
                }
                Action::GiveUp { waiter } => {
                    let reason = state.last_failure.clone();
                    let reason = reason.unwrap_or_else(|| "no reason is known".to_owned());
                    state.given_up.insert(waiter, reason);
                }
            }
        }
        if self.id.kind == TrackKind::Video {
            let awaited = state.scheduler.is_waited_for();
            let before = self.awaited.swap(awaited, Ordering::AcqRel);
            let everywhere = &self.core.context.opener.pictures_awaited;
            if awaited && !before {
                self.core.pictures_awaited.fetch_add(1, Ordering::AcqRel);
                everywhere.send_modify(|n| *n += 1);
            } else if before && !awaited {
                self.core.pictures_awaited.fetch_sub(1, Ordering::AcqRel);
                everywhere.send_modify(|n| *n -= 1);
            }
        }
        self.core.changed.notify_waiters();
    }

    /// Starts a head at `segment` before anybody asks for it.
    pub(super) fn prefetch(self: &Arc<Self>, segment: u32) {
        let now = self.core.context.now_ms();
        self.last_asked_ms.store(now, Ordering::Relaxed);
        let mut state = self.lock();
        let actions = state.scheduler.prefetch(segment);
        self.perform(&mut state, actions);
    }

    /// Goes on towards the end, where no player asks for anything.
    pub(super) fn advance(self: &Arc<Self>) {
        let now = self.core.context.now_ms();
        self.last_asked_ms.store(now, Ordering::Relaxed);
        let mut state = self.lock();
        let actions = state.scheduler.advance();
        self.perform(&mut state, actions);
    }

    /// Takes on the only head of an open-ended source.
    pub(super) fn attach(&self, cancel: &CancellationToken) -> HeadId {
        let mut state = self.lock();
        let head = state.scheduler.attach();
        state.heads.insert(head, Working::new(cancel.clone()));
        head
    }

    /// The only head has ended: nothing more will come.
    pub(super) fn close_live(self: &Arc<Self>, head: HeadId, failure: Option<String>) {
        let mut state = self.lock();
        state.closed = true;
        state.heads.remove(&head);
        let reason = match &failure {
            Some(reason) => Failure::Encoder(reason.clone()),
            None => Failure::Cancelled,
        };
        state.last_failure = failure.or(state.last_failure.take());
        let actions = state.scheduler.ended(head, Ending::Done);
        self.perform(&mut state, actions);
        let State {
            scheduler, growing, ..
        } = &mut *state;
        for (_, unfinished) in growing.extract_if(|segment, _| !scheduler.is_ready(*segment)) {
            unfinished.fail(reason.clone());
        }
    }

    /// Segments that were completed, for an open-ended source from the first one on without a gap.
    pub(super) fn listed(&self) -> u32 {
        self.lock().scheduler.made_count()
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.lock().scheduler.is_waited_for()
    }

    /// Ends all heads unless a request waits for them; segments stay.
    pub(super) fn stop_idle_heads(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        if state.scheduler.is_waited_for() {
            return false;
        }
        let actions = state.scheduler.stop_all();
        let any = !actions.is_empty();
        self.perform(&mut state, actions);
        any
    }

    /// Ends all heads; segments stay.
    pub(super) fn stop_heads(self: &Arc<Self>) {
        let mut state = self.lock();
        let actions = state.scheduler.stop_all();
        self.perform(&mut state, actions);
    }

    /// Ends all readers of unfinished segments: the stream is deleted.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        for growing in std::mem::take(&mut state.growing).into_values() {
            growing.fail(Failure::Cancelled);
        }
        drop(state);
        self.core.changed.notify_waiters();
    }

    /// Whether the stream is deleted or the gateway stops.
    pub(super) fn is_closed(&self) -> bool {
        self.core.cancel.is_cancelled()
    }

    pub(super) fn is_ready(&self, segment: u32) -> bool {
        self.lock().scheduler.is_ready(segment)
    }

    /// The cache dropped `segment`.
    pub(super) fn evicted(&self, segment: u32) {
        let mut state = self.lock();
        // On its way to the disk it is read from memory; `store` sees that the cache has it no more.
        if !state.growing.contains_key(&segment) {
            state.scheduler.evicted(segment);
        }
    }

    /// A reader of `segment` that delivers samples as they are made. Waits until the first ones can
    /// be read. Cancel-safe: dropping the future or the reader takes the request back.
    pub(super) async fn open(self: &Arc<Self>, segment: u32) -> Result<OpenSegment, SessionError> {
        let mut guard = WaiterGuard {
            track: self.clone(),
            waiter: None,
        };
        if self.cuts.samples(segment) == Some(0) {
            // A segment shorter than one audio frame may hold none.
            return Ok(OpenSegment {
                reader: SegmentReader::Whole(None),
                guard,
            });
        }
        let now = self.core.context.now_ms();
        self.last_asked_ms.store(now, Ordering::Relaxed);
        let deadline = self.core.context.settings.segment_timeout;
        let find = self.find(segment, &mut guard);
        let reader = match tokio::time::timeout(deadline, find).await {
            Ok(found) => found?,
            Err(_) => return Err(self.too_slow(deadline)),
        };
        Ok(OpenSegment { reader, guard })
    }

    fn too_slow(&self, deadline: Duration) -> SessionError {
        let state = self.lock();
        if let Some(reason) = &state.last_failure {
            return SessionError::Encoder(reason.clone());
        }
        if self.core.context.encoders.all_in_use() {
            return SessionError::Busy;
        }
        SessionError::TooSlow(deadline.as_secs())
    }

    async fn find(
        self: &Arc<Self>,
        segment: u32,
        guard: &mut WaiterGuard,
    ) -> Result<SegmentReader, SessionError> {
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            // Registered before the state is looked at, so no change is missed.
            changed.as_mut().enable();
            if self.core.cancel.is_cancelled() {
                return Err(SessionError::Cancelled);
            }
            match self.look(segment, guard)? {
                Look::Growing(reader) => return Ok(reader),
                Look::Stored => {
                    if let Some(samples) = self.load(segment).await {
                        return Ok(SegmentReader::Whole(Some(samples)));
                    }
                    self.evicted(segment);
                }
                Look::Wait => {
                    tokio::select! {
                        () = changed => {}
                        () = self.core.cancel.cancelled() => return Err(SessionError::Cancelled),
                    }
                }
            }
        }
    }

    /// What can be done for a request of `segment` now.
    fn look(self: &Arc<Self>, segment: u32, guard: &mut WaiterGuard) -> Result<Look, SessionError> {
        let mut state = self.lock();
        if let Some(id) = guard.waiter
            && let Some(reason) = state.given_up.remove(&id)
        {
            guard.waiter = None;
            return Err(SessionError::Encoder(reason));
        }
        // A segment that was finished and dropped at once, before this request came to look, is asked
        // for again.
        if guard.waiter.is_none_or(|w| !state.scheduler.is_waiting(w)) {
            let (waiter, actions) = state.scheduler.request(segment);
            guard.waiter = waiter;
            self.perform(&mut state, actions);
        }
        if let Some(growing) = state.growing.get(&segment)
            && growing.is_readable()
        {
            return Ok(Look::Growing(growing.reader()));
        }
        if state.scheduler.is_ready(segment) {
            // The head may have finished it while the request waited.
            guard.waiter = None;
            return Ok(Look::Stored);
        }
        if state.scheduler.is_lost(segment) {
            return Err(SessionError::NoSuchFile);
        }
        if state.closed {
            return Err(match &state.last_failure {
                Some(reason) => SessionError::Encoder(reason.clone()),
                None => SessionError::NoSuchFile,
            });
        }
        Ok(Look::Wait)
    }

    async fn load(&self, segment: u32) -> Option<Vec<Sample>> {
        let data = self.core.context.cache.get(&self.key(segment)).await?;
        match decode_samples(data) {
            Ok(samples) => Some(samples),
            Err(error) => {
                tracing::warn!(%error, "a cached segment is damaged and is made again");
                None
            }
        }
    }

    fn key(&self, segment: u32) -> SegmentKey {
        SegmentKey {
            stream: self.core.id,
            track: self.id,
            segment,
        }
    }

    fn leave(self: &Arc<Self>, waiter: WaiterId) {
        let mut state = self.lock();
        state.given_up.remove(&waiter);
        let actions = state.scheduler.leave(waiter);
        self.perform(&mut state, actions);
        state.sweep();
    }

    /// Headers of the track, waiting for the first head that delivers them.
    pub(super) async fn config(self: &Arc<Self>) -> Result<Arc<TrackConfig>, SessionError> {
        if let Some(config) = self.lock().config.clone() {
            return Ok(config);
        }
        // A head sends the headers before its first sample.
        let _open = self.open(0).await?;
        let config = self.lock().config.clone();
        config.ok_or_else(|| SessionError::Encoder("it sent no headers".into()))
    }
}

/// What heads do with a track.
impl Track {
    pub(super) fn learned(&self) -> Learned {
        self.lock().learned
    }

    pub(super) fn learn(&self, change: impl FnOnce(&mut Learned)) {
        change(&mut self.lock().learned);
    }

    /// Samples that are there of `segment`, on which a head goes on.
    pub(super) fn partial(&self, segment: u32) -> usize {
        self.lock().growing.get(&segment).map_or(0, |g| g.len())
    }

    /// Takes the headers of a run. Gives what to put before its key frames when they are not those of
    /// the track; `None` when its segments would not fit together with those that are there.
    pub(super) fn accept_config(&self, config: TrackConfig) -> Option<Bytes> {
        let mut state = self.lock();
        match &state.config {
            Some(known) => known.in_band(&config),
            None => {
                state.config = Some(Arc::new(config));
                drop(state);
                self.core.changed.notify_waiters();
                Some(Bytes::new())
            }
        }
    }

    /// Adds a sample to a segment; `false` when the head was stopped meanwhile.
    pub(super) fn append(&self, head: HeadId, segment: u32, sample: Sample) -> bool {
        let mut state = self.lock();
        if !state.heads.contains_key(&head) {
            return false;
        }
        let fresh = !state.growing.contains_key(&segment);
        let growing = state
            .growing
            .entry(segment)
            .or_insert_with(GrowingSegment::new)
            .clone();
        growing.append(sample);
        drop(state);
        if fresh {
            self.core.changed.notify_waiters();
        }
        true
    }

    /// A segment has all its samples; stores it. `false` when the head was stopped meanwhile.
    pub(super) fn finished(self: &Arc<Self>, head: HeadId, segment: u32) -> bool {
        let mut state = self.lock();
        if !state.heads.contains_key(&head) {
            return false;
        }
        let growing = state
            .growing
            .entry(segment)
            .or_insert_with(GrowingSegment::new)
            .clone();
        growing.complete();
        let actions = state.scheduler.finished(head, segment);
        state.last_failure = None;
        let stays = !actions.contains(&Action::Stop { head });
        state.storing += 1;
        self.perform(&mut state, actions);
        drop(state);
        let track = self.clone();
        self.core
            .context
            .tracker
            .spawn(async move { track.store(segment, growing).await });
        stays
    }

    async fn store(self: Arc<Self>, segment: u32, growing: Arc<GrowingSegment>) {
        let data = encode_samples(&growing.samples());
        let bytes = data.len() as u64;
        let result = self
            .core
            .context
            .cache
            .put(self.key(segment), &self, data)
            .await;
        let mut state = self.lock();
        state.largest_bytes = state.largest_bytes.max(bytes);
        state.storing -= 1;
        match result {
            Ok(kept) => {
                state.growing.remove(&segment);
                state.disk_error = None;
                if !kept {
                    state.scheduler.evicted(segment);
                }
            }
            Err(error) => {
                if state.disk_error.is_none() {
                    tracing::error!(%error, "cannot store a segment; it is kept in memory");
                }
                state.disk_error = Some(error.to_string());
                state.unsaved.push(segment);
                if state.unsaved.len() > MAX_UNSAVED {
                    let oldest = state.unsaved.remove(0);
                    state.growing.remove(&oldest);
                    state.scheduler.evicted(oldest);
                }
            }
        }
        drop(state);
        self.core.changed.notify_waiters();
    }

    /// See [`Scheduler::next_retry`].
    pub(super) fn next_retry(&self, segment: u32) -> Option<u32> {
        self.lock().scheduler.next_retry(segment)
    }

    pub(super) fn should_pause(&self, head: HeadId) -> bool {
        let limit = self.core.context.cache.limit_bytes();
        let state = self.lock();
        // What is made further ahead would push out what the player needs first.
        let most_ahead = match state.disk_error {
            Some(_) => MAX_UNSAVED as u64 - 2,
            None => (limit / 4 / state.largest_bytes.max(1)).max(2),
        };
        let most_ahead = u32::try_from(most_ahead).unwrap_or(u32::MAX);
        state.storing >= MAX_STORING || state.scheduler.should_pause(head, most_ahead)
    }

    /// Whether `head` makes what nobody waits for while somebody waits for pictures of another track:
    /// sound is made in no time once it is wanted, a rendition that was left may never be, and
    /// pictures need the processor.
    pub(super) fn yields_to_pictures(&self, head: HeadId) -> bool {
        let own = usize::from(self.awaited.load(Ordering::Acquire));
        self.core.pictures_awaited.load(Ordering::Acquire) > own
            && !self.lock().scheduler.serves_request(head)
    }

    /// Whether the stream has these pictures in other sizes too, each to be made with its own cuts.
    pub(super) fn is_one_of_several_pictures(&self) -> bool {
        let plan = &self.core.plan;
        self.id.kind == TrackKind::Video && plan.videos.len() > 1 && !plan.timeline.is_open_ended()
    }

    /// When somebody last asked for a segment, milliseconds since the gateway started.
    pub(super) fn asked_ms(&self) -> u64 {
        self.last_asked_ms.load(Ordering::Relaxed)
    }

    /// Time since somebody asked for a segment.
    pub(super) fn unasked_for(&self) -> Duration {
        Duration::from_millis(self.core.context.now_ms().saturating_sub(self.asked_ms()))
    }

    pub(super) fn note_paused(&self, head: HeadId, paused: bool) {
        if let Some(working) = self.lock().heads.get_mut(&head) {
            working.paused = paused;
        }
    }

    pub(super) fn observe_start(&self, latency: Duration) {
        self.lock()
            .scheduler
            .observe_start(latency.as_millis() as u32);
    }

    pub(super) fn observe_speed(&self, head: HeadId, ratio: f64) {
        let mut state = self.lock();
        if let Some(working) = state.heads.get_mut(&head) {
            working.speed = Some(ratio);
        }
        state.scheduler.observe_speed(ratio);
    }

    /// A head is gone; its process has ended. What it began and nobody reads is dropped.
    pub(super) fn ended(
        self: &Arc<Self>,
        head: HeadId,
        segment: u32,
        ending: Ending,
        failure: Option<String>,
    ) {
        let mut state = self.lock();
        state.heads.remove(&head);
        if let Some(reason) = &failure {
            state.last_failure = Some(reason.clone());
        }
        let actions = state.scheduler.ended(head, ending);
        let given_up = actions.iter().any(|a| matches!(a, Action::GiveUp { .. }));
        self.perform(&mut state, actions);
        let owned = state.scheduler.heads().any(|(_, next)| next == segment);
        if given_up
            && !owned
            && !state.scheduler.is_ready(segment)
            && let Some(growing) = state.growing.remove(&segment)
        {
            growing.fail(failure.map_or(Failure::Cancelled, Failure::Encoder));
        }
        state.sweep();
    }
}

impl State {
    /// Drops what heads began, no head goes on with and nobody reads.
    fn sweep(&mut self) {
        let State {
            scheduler, growing, ..
        } = self;
        growing.retain(|segment, begun| {
            scheduler.is_ready(*segment)
                || scheduler.heads().any(|(_, next)| next == *segment)
                || Arc::strong_count(begun) > 1
        });
    }
}

enum Look {
    Growing(SegmentReader),
    Stored,
    Wait,
}

/// A request for a segment; taken back when dropped.
struct WaiterGuard {
    track: Arc<Track>,
    waiter: Option<WaiterId>,
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.track.leave(waiter);
        }
    }
}

/// An open segment: the reader, and the request that keeps its head alive.
pub(super) struct OpenSegment {
    reader: SegmentReader,
    guard: WaiterGuard,
}

impl OpenSegment {
    pub(super) fn is_whole(&self) -> bool {
        self.reader.is_whole()
    }

    /// The next samples; `None` at the end. Ends with an error when the stream is closed, and when
    /// nothing comes for longer than a hung encoder may take to be replaced. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Sample>>, SessionError> {
        let core = &self.guard.track.core;
        let settings = &core.context.settings;
        let limit = settings.stall_timeout + settings.segment_timeout;
        let next = tokio::time::timeout(limit, self.reader.next());
        match core.cancel.run_until_cancelled(next).await {
            None => Err(SessionError::Cancelled),
            Some(Err(_)) => Err(SessionError::TooSlow(limit.as_secs())),
            Some(Ok(next)) => next,
        }
    }
}
