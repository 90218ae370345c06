//! A head: one encoder run after the other until its segments are made or it is stopped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::ExitReport;
use crate::hls::{Ending, HeadId};
use crate::package::{
    Fmp4Event, Fmp4Reader, SplitError, SplitEvent, Splitter, TrackConfig, TrackCuts,
};
use crate::plan::{AudioRun, Invocation, PAD_SECONDS, Padding, Preroll, StreamPlan, VideoRun};

use super::encoder::{Encoder, JointPart};
use super::meeting::Stand;
use super::patience::PAUSES;
use super::rendition::{TrackId, TrackKind};
use super::track::Track;

/// What a head is started for.
pub(super) struct Order {
    pub(super) head: HeadId,
    pub(super) segment: u32,
    pub(super) until: u32,
    pub(super) cancel: CancellationToken,
}

/// What heads learned about the source, so that the next one begins better.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learned {
    pub(super) preroll: Preroll,
    /// Unit after the last one that the source has, when it ends before the timeline.
    pub(super) source_end: Option<i64>,
    /// The hardware that the plan names has failed.
    pub(super) software: bool,
}

impl Learned {
    /// What is known before the first run, of a track that ends at `source_end`.
    pub(super) fn before(source_end: Option<i64>) -> Self {
        Learned {
            preroll: Preroll::Near,
            source_end,
            software: false,
        }
    }

    fn padding(self) -> Padding {
        self.source_end.map_or(Padding::Short, Padding::After)
    }
}

/// What a run makes: from `done` samples into `segment` on, to the beginning of segment `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) segment: u32,
    pub(super) done: usize,
    pub(super) until: u32,
}

impl Span {
    /// First unit, and the one after the last.
    fn units(self, cuts: &TrackCuts) -> (i64, i64) {
        let timeline = cuts.timeline();
        match cuts.unit(self.segment, self.done) {
            Some(from) => (from, cuts.unit(self.until, 0).unwrap_or(from)),
            None => (timeline.start(self.segment), timeline.start(self.until)),
        }
    }

    fn video_run(self, cuts: &TrackCuts, learned: Learned) -> VideoRun {
        let (from, until) = self.units(cuts);
        VideoRun {
            from,
            until,
            preroll: learned.preroll,
            padding: learned.padding(),
            software: learned.software,
        }
    }
}

/// The arguments of a run; `None` when there is no such track.
pub(super) fn invocation(
    plan: &StreamPlan,
    track: TrackId,
    cuts: &TrackCuts,
    span: Span,
    learned: Learned,
) -> Option<Invocation> {
    match track.kind {
        TrackKind::Video => plan.video_run(track.nth, span.video_run(cuts, learned)),
        TrackKind::Audio => {
            let (from, until) = span.units(cuts);
            let run = AudioRun {
                from,
                until,
                preroll: learned.preroll,
                padding: learned.padding(),
            };
            plan.audio_run(track.nth, run)
        }
    }
}

/// Why a run ended.
enum Outcome {
    /// All segments up to the run's end are made.
    Done,
    /// The order was withdrawn, another head's segments begin, or its encoder is left to others.
    Stopped,
    /// Its first sample was after the wanted one.
    TooLate,
    /// It came to the end of the source without a sample.
    Nothing,
    /// The source ended at this unit, before the timeline does.
    SourceEnded {
        unit: i64,
    },
    Failed(String),
    /// The source's server gave nothing of use, however often it was asked.
    Unreachable(String),
    /// The head goes on from here in another process: with others, or without them.
    Parted,
}

/// Time between SIGTERM and SIGKILL. Nothing an encoder still wants to say is of use.
pub(super) const GRACE: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 128 * 1024;

/// Runs encoders until the order is fulfilled; tells the track how it ended.
pub(super) async fn run(track: Arc<Track>, order: Order) {
    let head = order.head;
    let mut at = order.segment;
    let (ending, failure) = match fulfil(&track, &order, &mut at).await {
        None => (Ending::Done, None),
        Some((ending, reason)) => (ending, Some(reason)),
    };
    if let Some(reason) = &failure {
        tracing::warn!(
            stream.id = %track.core.id, track = %track.id, segment = at, %reason,
            "an encoder run failed"
        );
    }
    track.ended(head, at, ending, failure);
}

/// How it failed and why; `None` when it did not.
async fn fulfil(track: &Arc<Track>, order: &Order, at: &mut u32) -> Option<(Ending, String)> {
    let asked = Instant::now();
    // Both are held until the process is gone.
    let _own = order
        .cancel
        .run_until_cancelled(track.permits.acquire())
        .await??;
    let encoders = &track.core.context.encoders;
    let begun = (*at == 0).then(|| track.core.head_start.take_permit(track.id));
    let _shared = match begun.flatten() {
        Some(permit) => permit,
        None => {
            let permit = order.cancel.run_until_cancelled(encoders.acquire());
            permit.await??
        }
    };
    track.core.context.note_encoder_wait(asked.elapsed());
    let stand = Stand::of(track, order.head, *at, order.until);
    // Where nothing comes, the source may have ended before: that says nothing of other places.
    let mut preroll = Preroll::Near;
    loop {
        let mut run = Run::new(track, order, *at, stand.as_ref());
        run.learned.preroll = run.learned.preroll.max(preroll);
        let part = order.cancel.run_until_cancelled(run.meet()).await?;
        let outcome = run.execute(part).await;
        *at = run.splitter.position().0;
        match outcome {
            Outcome::Done if *at < order.until => {}
            Outcome::Parted => {}
            Outcome::Done | Outcome::Stopped => return None,
            Outcome::TooLate | Outcome::Nothing => {
                let learned = track.learned();
                let Some(deeper) = learned.preroll.max(run.learned.preroll).deeper() else {
                    let reason = "the source cannot be read at this place".into();
                    return Some((Ending::Failed, reason));
                };
                tracing::debug!(
                    track = %track.id,
                    segment = *at,
                    ?deeper,
                    "seek was too late"
                );
                preroll = deeper;
                if matches!(outcome, Outcome::TooLate) {
                    track.learn(|l| l.preroll = l.preroll.max(deeper));
                }
            }
            Outcome::SourceEnded { unit } => {
                if track
                    .learned()
                    .source_end
                    .is_some_and(|known| known <= unit)
                {
                    return Some((Ending::Failed, "the source ended too early".into()));
                }
                tracing::debug!(
                    track = %track.id,
                    unit,
                    "the source ends before its length"
                );
                track.learn(|l| l.source_end = Some(unit));
            }
            Outcome::Failed(reason) if run.fell_back() => {
                tracing::warn!(
                    stream.id = %track.core.id, track = %track.id, segment = *at, %reason,
                    "a hardware encoder failed; software goes on"
                );
            }
            Outcome::Failed(reason) => {
                if track.core.locator.is_remote()
                    && let Some(nth) = track.next_retry(*at)
                {
                    // A server that refused once is given a moment, and a longer one the next time.
                    let pause = PAUSES.wait(nth, &track.core.id.to_string());
                    let pause = tokio::time::sleep(pause);
                    order.cancel.run_until_cancelled(pause).await;
                }
                return Some((Ending::Failed, reason));
            }
            Outcome::Unreachable(reason) => return Some((Ending::Hopeless, reason)),
        }
        if order.cancel.is_cancelled() {
            return None;
        }
    }
}

struct Run<'a> {
    track: &'a Arc<Track>,
    order: &'a Order,
    /// Where others find the head; `None` when there are no others.
    stand: Option<&'a Stand>,
    /// The segment before which it ends; at most the order's.
    until: u32,
    reader: Fmp4Reader,
    splitter: Splitter,
    /// What was known when it began.
    learned: Learned,
    /// Headers that came and were not yet needed: a run without a sample may have made them up.
    config: Option<TrackConfig>,
    /// In a process that makes other renditions too, from where the one furthest behind stands.
    joint: bool,
    /// What its key frames need before them.
    in_band: Bytes,
    /// Bytes that came from the encoder.
    received: u64,
    /// Samples that were passed on.
    delivered: u64,
    started: Instant,
    /// When the first sample came and how long the run was paused since.
    first_sample: Option<Instant>,
    paused: Duration,
    segment_began: Instant,
    /// Frames and time of the encoder's last words, unless it was paused since.
    last_report: Option<(u64, Instant)>,
}

impl<'a> Run<'a> {
    fn new(
        track: &'a Arc<Track>,
        order: &'a Order,
        segment: u32,
        stand: Option<&'a Stand>,
    ) -> Self {
        let done = track.partial(segment);
        let learned = track.learned();
        let now = Instant::now();
        // A run from the middle of a segment meets later cuts only if its encoder obeys them.
        let obeys = track.id.kind == TrackKind::Audio || track.core.plan.video_obeys_cuts();
        let furthest = if done == 0 || obeys {
            order.until
        } else {
            segment + 1
        };
        Run {
            splitter: Splitter::new(track.cuts.clone(), segment, done),
            track,
            order,
            stand,
            until: furthest.min(track.core.plan.longest_run(segment)),
            reader: Fmp4Reader::new(),
            learned,
            config: None,
            joint: false,
            in_band: Bytes::new(),
            received: 0,
            delivered: 0,
            started: now,
            first_sample: None,
            paused: Duration::ZERO,
            segment_began: now,
            last_report: None,
        }
    }

    /// After a failure: whether it was that of hardware which software can stand in for, from now on.
    fn fell_back(&self) -> bool {
        let TrackId { kind, nth } = self.track.id;
        let core = &self.track.core;
        let video = core
            .plan
            .videos
            .get(nth)
            .filter(|_| kind == TrackKind::Video);
        let used = video.and_then(|v| v.encoder(self.learned.software)?.accelerator);
        let (Some(accelerator), Some(video)) = (used, video) else {
            return false;
        };
        core.context.opener.accelerators.failed(accelerator);
        let instead = video.software.is_some();
        self.track.learn(|l| l.software |= instead);
        instead
    }

    fn span(&self) -> Span {
        let (segment, done) = self.splitter.position();
        Span {
            segment,
            done,
            until: self.until,
        }
    }

    /// The part of a joint process for the head, when others called it to one.
    async fn meet(&self) -> Option<(JointPart, u32)> {
        let run = self.span().video_run(&self.track.cuts, self.learned);
        self.stand?.meet(run).await
    }

    fn is_called(&self) -> bool {
        self.stand.is_some_and(Stand::is_called)
    }

    fn invocation(&self) -> Option<Invocation> {
        let (plan, cuts) = (&self.track.core.plan, &self.track.cuts);
        invocation(plan, self.track.id, cuts, self.span(), self.learned)
    }

    async fn execute(&mut self, part: Option<(JointPart, u32)>) -> Outcome {
        let core = &self.track.core;
        let encoder = match part {
            Some((part, until)) => {
                self.joint = true;
                self.until = until.min(self.until);
                Ok(Encoder::Part(part))
            }
            None => match self.invocation() {
                Some(invocation) => {
                    let (track, cancel) = (self.track.id, &self.order.cancel);
                    Encoder::start(core, track, &invocation, cancel).await
                }
                None => Err("the stream has no such track".into()),
            },
        };
        let mut encoder = match encoder {
            Ok(encoder) => encoder,
            Err(reason) => return Outcome::Failed(reason),
        };
        tracing::debug!(
            stream.id = %core.id, track = %self.track.id, ffmpeg.pid = encoder.pid(),
            segment = self.splitter.position().0, until = self.until, preroll = ?self.learned.preroll,
            "encoder started"
        );
        self.started = encoder.since();
        self.segment_began = self.started;
        let outcome = self.follow(&mut encoder).await;
        if let Some(stand) = self.stand.filter(|_| encoder.is_joint()) {
            stand.alone();
            if !matches!(outcome, Outcome::Done | Outcome::Stopped | Outcome::Parted) {
                stand.had_trouble();
            }
        }
        outcome
    }

    /// Reads the encoder until it ends or must be ended.
    async fn follow(&mut self, encoder: &mut Encoder) -> Outcome {
        let core = &self.track.core;
        let early = self.read(encoder).await;
        if matches!(early, Some(Outcome::Done)) && encoder.is_joint() {
            // It ends when the others have taken what is theirs.
            return Outcome::Done;
        }
        let exit = self.end(encoder, early.is_none()).await;
        let signal = exit.signal;
        if let Some(outcome) = early {
            return outcome;
        }
        let made = self.splitter.position().0 >= self.until;
        if encoder.is_joint() && !made && !exit.success() {
            // Whose fault it was shows when each works alone.
            if let Some(stand) = self.stand {
                stand.had_trouble();
            }
            return Outcome::Parted;
        }
        if let Some(report) = encoder.gate_report()
            && let Some(reason) = core.gate_trouble(&report)
        {
            // ffmpeg has by itself asked again a few times for what was broken off.
            return match self.delivered {
                0 if report.truncated => Outcome::Unreachable(reason),
                _ => Outcome::Failed(reason),
            };
        }
        // An error after everything was made is of no interest.
        if !exit.success() && !made {
            return Outcome::Failed(encoder.reason(&exit).unwrap_or_else(|| match signal {
                Some(signal) => format!("ffmpeg was ended by signal {signal}"),
                None => "ffmpeg ended with an error".into(),
            }));
        }
        self.judge_end()
    }

    /// Waits for the encoder's end; one that has closed its output `by_itself` may take as long as
    /// it may between two outputs.
    async fn end(&self, encoder: &Encoder, by_itself: bool) -> ExitReport {
        if by_itself {
            let stall = self.track.core.context.settings.stall_timeout;
            let ended = tokio::time::timeout(stall, encoder.wait());
            if let Some(Ok(exit)) = self.order.cancel.run_until_cancelled(ended).await {
                return exit;
            }
        }
        encoder.stop();
        encoder.wait().await
    }

    /// The encoder has ended by itself without an error: is everything there?
    fn judge_end(&mut self) -> Outcome {
        // A run over nothing may end well without a single byte; one that broke off may not.
        let reader = std::mem::take(&mut self.reader);
        if self.received > 0
            && let Err(error) = reader.finish()
        {
            return Outcome::Failed(error.to_string());
        }
        for event in self.splitter.finish() {
            if let Err(outcome) = self.take(event) {
                return outcome;
            }
        }
        let (segment, done) = self.splitter.position();
        if segment >= self.until {
            return Outcome::Done;
        }
        let Some(unit) = self.track.cuts.unit(segment, done) else {
            return Outcome::Failed("the source ended before its index does".into());
        };
        if self.delivered == 0 {
            // The place lies beyond the end, or the seek went past the last frame.
            return match (self.learned.preroll, self.learned.source_end) {
                // All of the source was read. Its end is before this place; where, did not show.
                (Preroll::FromStart, None) => Outcome::SourceEnded { unit },
                _ => Outcome::Nothing,
            };
        }
        let pad = match self.learned.padding() {
            Padding::After(_) => 0,
            Padding::Short => self.track.core.units_in(self.track.id, PAD_SECONDS),
        };
        Outcome::SourceEnded {
            unit: (unit - pad).max(1),
        }
    }

    /// Reads the encoder's output to its end; `Some` when the run must be ended from here.
    async fn read(&mut self, encoder: &mut Encoder) -> Option<Outcome> {
        let track = self.track;
        let stall = track.core.context.settings.stall_timeout;
        let mut buffer = vec![0; READ_BYTES];
        let mut heard = Instant::now();
        let parted = encoder.parted();
        loop {
            let changed = track.core.changed.notified();
            tokio::pin!(changed);
            // Registered before the state is looked at, so no change is missed.
            changed.as_mut().enable();
            if self.is_called() {
                return Some(Outcome::Parted);
            }
            if self.holds_back(encoder) {
                if !self.pause(encoder).await {
                    return Some(Outcome::Stopped);
                }
                heard = Instant::now();
                continue;
            }
            let n = tokio::select! {
                () = self.order.cancel.cancelled() => return Some(Outcome::Stopped),
                // It may have to hold back before it says anything more.
                () = changed => continue,
                () = parted.cancelled() => return Some(Outcome::Parted),
                () = tokio::time::sleep_until(heard + stall) => {
                    if encoder.is_joint() {
                        // What is ahead may have waited for what is behind.
                        self.stand.into_iter().for_each(Stand::had_trouble);
                        return Some(Outcome::Parted);
                    }
                    let seconds = stall.as_secs();
                    return Some(Outcome::Failed(format!("no output for {seconds} s")));
                }
                read = encoder.read(&mut buffer) => match read {
                    Ok(0) => return None,
                    Ok(n) => n,
                    Err(error) => return Some(Outcome::Failed(error.to_string())),
                },
            };
            heard = Instant::now();
            self.received += n as u64;
            self.note_speed(encoder);
            let events = match self.reader.push(&buffer[..n]) {
                Ok(events) => events,
                Err(error) => return Some(Outcome::Failed(error.to_string())),
            };
            for event in events {
                // One read may hold many segments of a small picture.
                if self.holds_back(encoder) && !self.pause(encoder).await {
                    return Some(Outcome::Stopped);
                }
                if let Err(outcome) = self.event(event) {
                    return Some(outcome);
                }
            }
        }
    }

    /// Whether the encoder should make nothing more for now; one that others share goes on as long as
    /// one of them needs more.
    fn holds_back(&self, encoder: &Encoder) -> bool {
        let head = self.order.head;
        let sated = self.track.should_pause(head) || self.track.yields_to_pictures(head);
        let (may_rest, changed) = encoder.may_rest(sated);
        if changed {
            self.track.core.changed.notify_waiters();
        }
        may_rest
    }

    /// Suspends the encoder until its player has come nearer. `false` when the head was stopped
    /// meanwhile, or when another stream waits for an encoder: this one's can be started again when
    /// its player has caught up.
    async fn pause(&mut self, encoder: &Encoder) -> bool {
        let began = Instant::now();
        self.track.note_paused(self.order.head, true);
        encoder.suspend();
        let goes_on = self.wait_to_go_on(encoder).await;
        encoder.resume();
        self.track.note_paused(self.order.head, false);
        self.paused += began.elapsed();
        self.last_report = None;
        goes_on
    }

    async fn wait_to_go_on(&self, encoder: &Encoder) -> bool {
        let core = &self.track.core;
        let parted = encoder.parted();
        loop {
            let changed = core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.holds_back(encoder) || self.is_called() {
                return !self.order.cancel.is_cancelled();
            }
            let far_ahead = self.track.should_pause(self.order.head);
            let replaceable = far_ahead || self.track.id.kind == TrackKind::Video;
            tokio::select! {
                () = changed => {}
                () = parted.cancelled() => return true,
                () = self.wanted(), if replaceable => {
                    tracing::debug!(
                        stream.id = %core.id, track = %self.track.id,
                        "a paused encoder makes room"
                    );
                    return false;
                }
                () = self.order.cancel.cancelled() => return false,
            }
        }
    }

    /// Waits until another head waits for a permit that this one holds. Among the heads of one track
    /// the scheduler has already said which of them ends.
    async fn wanted(&self) {
        let plan = &self.track.core.plan;
        let several = match self.track.id.kind {
            TrackKind::Video => plan.videos.len() > 1,
            TrackKind::Audio => plan.audios.len() > 1,
        };
        tokio::select! {
            () = self.track.core.context.encoders.wanted() => {}
            () = self.track.permits.wanted(), if several => {}
        }
    }

    fn event(&mut self, event: Fmp4Event) -> Result<(), Outcome> {
        let sample = match event {
            Fmp4Event::Config(config) => {
                self.config = Some(config);
                return Ok(());
            }
            Fmp4Event::Sample(sample) => sample,
        };
        if let Some(config) = self.config.take() {
            let Some(sets) = self.track.accept_config(config) else {
                let reason = "its headers differ from earlier runs'".into();
                return Err(Outcome::Failed(reason));
            };
            self.in_band = sets;
        }
        let sample = sample.with_in_band(&self.in_band);
        match self.splitter.push(sample) {
            Ok(events) => events.into_iter().try_for_each(|e| self.take(e)),
            Err(SplitError::Late { .. }) => Err(Outcome::TooLate),
            Err(error) => Err(Outcome::Failed(error.to_string())),
        }
    }

    fn take(&mut self, event: SplitEvent) -> Result<(), Outcome> {
        let goes_on = match event {
            SplitEvent::Sample { segment, sample } => {
                self.delivered += 1;
                if self.first_sample.is_none() {
                    let now = Instant::now();
                    self.first_sample = Some(now);
                    self.segment_began = now;
                    self.paused = Duration::ZERO;
                    if !self.joint {
                        self.track.observe_start(now - self.started);
                    }
                }
                self.track.append(self.order.head, segment, sample)
            }
            SplitEvent::Complete { segment } => {
                if self.track.id.kind == TrackKind::Audio {
                    self.measure(segment);
                }
                let goes_on = self.track.finished(self.order.head, segment);
                if let Some(stand) = self.stand.filter(|_| goes_on) {
                    stand.at(segment + 1);
                }
                if goes_on && segment + 1 >= self.until {
                    // A copy would run on to the end of the source; sound has frames to settle on.
                    return Err(Outcome::Done);
                }
                goes_on
            }
        };
        if goes_on {
            Ok(())
        } else {
            Err(Outcome::Stopped)
        }
    }

    /// Takes the speed of a video encoder from its own statistics, twice a second.
    fn note_speed(&mut self, encoder: &mut Encoder) {
        if self.track.id.kind != TrackKind::Video {
            return;
        }
        let Some(frame) = encoder.new_frames() else {
            return;
        };
        let now = Instant::now();
        let rate = self.track.core.plan.main_video().map(|v| v.rate.as_f64());
        if let (Some((before, at)), Some(rate)) = (self.last_report, rate) {
            let seconds = (now - at).as_secs_f64().max(0.05);
            let frames = frame.saturating_sub(before) as f64;
            let ratio = frames / rate / seconds;
            self.track.observe_speed(self.order.head, ratio);
        }
        self.last_report = Some((frame, now));
    }

    /// The speed of an audio encoder, which counts no frames, by the segments it finishes.
    fn measure(&mut self, segment: u32) {
        let now = Instant::now();
        let working = (now - self.segment_began)
            .saturating_sub(self.paused)
            .as_secs_f64();
        if working > 0.0 {
            let ratio = self.track.cuts.timeline().seconds(segment) / working;
            self.track.observe_speed(self.order.head, ratio);
        }
        self.segment_began = now;
        self.paused = Duration::ZERO;
    }
}
