//! A head: one encoder run after the other until its segments are made or it is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{Process, encoder_command};
use crate::hls::HeadId;
use crate::package::{Fmp4Event, Fmp4Reader, SplitError, SplitEvent, Splitter};
use crate::plan::{AudioRun, Invocation, PAD_SECONDS, Padding, Preroll, VideoRun};
use crate::source::{GateGuard, ffmpeg_input_options};

use super::track::{Track, TrackKind};

/// What a head is started for.
pub(super) struct Order {
    pub(super) head: HeadId,
    pub(super) segment: u32,
    pub(super) until: u32,
    pub(super) cancel: CancellationToken,
}

/// Why a run ended.
enum Outcome {
    /// All segments that the run was for are made.
    Done,
    Stopped,
    /// Its first sample was after the wanted one.
    TooLate,
    /// The source ended at this unit, before the timeline does.
    SourceEnded {
        unit: i64,
    },
    Failed(String),
}

/// Time between SIGTERM and SIGKILL. Nothing an encoder still wants to say is of use.
pub(super) const GRACE: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 128 * 1024;

/// Runs encoders until the order is fulfilled; tells the track how it ended.
pub(super) async fn run(track: Arc<Track>, order: Order) {
    let head = order.head;
    let mut at = order.segment;
    let failure = fulfil(&track, &order, &mut at).await;
    if let Some(reason) = &failure {
        tracing::warn!(
            stream.id = %track.core.id, track = track.kind.name(), segment = at, %reason,
            "an encoder run failed"
        );
    }
    track.ended(head, at, failure);
}

async fn fulfil(track: &Arc<Track>, order: &Order, at: &mut u32) -> Option<String> {
    // Both are held until the process is gone.
    let _own = order
        .cancel
        .run_until_cancelled(track.permits.acquire())
        .await?;
    let encoders = &track.core.context.encoders;
    let _shared = order.cancel.run_until_cancelled(encoders.acquire()).await?;
    loop {
        let mut run = Run::new(track, order, *at);
        let outcome = run.execute().await;
        *at = run.splitter.position().0;
        match outcome {
            Outcome::Done if *at < order.until => {}
            Outcome::Done | Outcome::Stopped => return None,
            Outcome::TooLate => {
                let learned = track.learned();
                let Some(deeper) = learned.preroll.max(run.preroll).deeper() else {
                    return Some("the source cannot be read at this place".into());
                };
                tracing::debug!(
                    track = track.kind.name(),
                    segment = *at,
                    ?deeper,
                    "seek was too late"
                );
                track.learn(|l| l.preroll = l.preroll.max(deeper));
            }
            Outcome::SourceEnded { unit } => {
                if track
                    .learned()
                    .source_end
                    .is_some_and(|known| known <= unit)
                {
                    return Some("the source ended too early".into());
                }
                tracing::debug!(
                    track = track.kind.name(),
                    unit,
                    "the source ends before its length"
                );
                track.learn(|l| l.source_end = Some(unit));
            }
            Outcome::Failed(reason) => {
                if track.core.locator.is_remote() {
                    // A server that refused once is given a moment.
                    let pause = tokio::time::sleep(Duration::from_millis(500));
                    order.cancel.run_until_cancelled(pause).await;
                }
                return Some(reason);
            }
        }
        if order.cancel.is_cancelled() {
            return None;
        }
    }
}

struct Run<'a> {
    track: &'a Arc<Track>,
    order: &'a Order,
    reader: Fmp4Reader,
    splitter: Splitter,
    /// The segment before which the run ends.
    until: u32,
    preroll: Preroll,
    padding: Padding,
    /// Samples that were passed on.
    delivered: u64,
    started: Instant,
    /// When the first sample came and how long the run was paused since.
    first_sample: Option<Instant>,
    paused: Duration,
    segment_began: Instant,
}

impl<'a> Run<'a> {
    fn new(track: &'a Arc<Track>, order: &'a Order, segment: u32) -> Self {
        let done = track.partial(segment);
        let learned = track.learned();
        let now = Instant::now();
        // A run from the middle of a segment meets later cuts only if its encoder obeys them.
        let obeys = track.kind == TrackKind::Audio || track.core.plan.video_obeys_cuts();
        let until = if done == 0 || obeys {
            order.until
        } else {
            segment + 1
        };
        Run {
            until,
            splitter: Splitter::new(track.cuts.clone(), segment, done),
            track,
            order,
            reader: Fmp4Reader::new(),
            preroll: learned.preroll,
            padding: learned.source_end.map_or(Padding::Short, Padding::After),
            delivered: 0,
            started: now,
            first_sample: None,
            paused: Duration::ZERO,
            segment_began: now,
        }
    }

    /// The units of this run: from the first missing one to the end of the order.
    fn units(&self) -> (i64, i64) {
        let (segment, done) = self.splitter.position();
        let cuts = &self.track.cuts;
        let timeline = cuts.timeline();
        match cuts.unit(segment, done) {
            Some(from) => (from, cuts.unit(self.until, 0).unwrap_or(from)),
            None => (timeline.start(segment), timeline.start(self.until)),
        }
    }

    fn invocation(&self) -> Option<Invocation> {
        let (from, until) = self.units();
        let plan = &self.track.core.plan;
        let (preroll, padding) = (self.preroll, self.padding);
        match self.track.kind {
            TrackKind::Video => plan.video_run(VideoRun {
                from,
                until,
                preroll,
                padding,
            }),
            TrackKind::Audio => plan.audio_run(AudioRun {
                from,
                until,
                preroll,
                padding,
            }),
        }
    }

    async fn execute(&mut self) -> Outcome {
        let core = &self.track.core;
        let Some(invocation) = self.invocation() else {
            return Outcome::Failed("the stream has no such track".into());
        };
        let opener = &core.context.opener;
        let gate = match opener.gate(&core.locator, &self.order.cancel) {
            Ok(gate) => gate,
            Err(error) => return Outcome::Failed(format!("cannot open a local port: {error}")),
        };
        let input = ffmpeg_input_options(&core.locator, gate.as_ref().map(GateGuard::proxy_url));
        let command = encoder_command(&opener.tools, &input, &invocation);
        let mut process = match Process::spawn(&opener.launcher, command, GRACE).await {
            Ok(process) => process,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        tracing::debug!(
            stream.id = %core.id, track = self.track.kind.name(), ffmpeg.pid = process.pid(),
            segment = self.splitter.position().0, until = self.until, preroll = ?self.preroll,
            "encoder started"
        );
        core.context.encoder_starts.fetch_add(1, Ordering::Relaxed);
        self.started = Instant::now();
        self.segment_began = self.started;
        let early = self.read(&mut process).await;
        if early.is_some() {
            process.stop();
        }
        let exit = process.wait().await;
        let (code, signal) = (exit.code, exit.signal);
        tracing::debug!(
            stream.id = %core.id, ffmpeg.pid = process.pid(), code, signal,
            duration_ms = self.started.elapsed().as_millis() as u64, "encoder ended"
        );
        if let Some(outcome) = early {
            return outcome;
        }
        if let Some(report) = gate.as_ref().map(GateGuard::report)
            && let Some(reason) = core.gate_trouble(&report)
        {
            return Outcome::Failed(reason);
        }
        if !exit.success() {
            let url = input.url.to_string_lossy();
            let reason = exit.log.reason(&[&url, url.trim_start_matches("file:")]);
            return Outcome::Failed(reason.unwrap_or_else(|| match signal {
                Some(signal) => format!("ffmpeg was ended by signal {signal}"),
                None => "ffmpeg ended with an error".into(),
            }));
        }
        self.judge_end()
    }

    /// The encoder has ended by itself without an error: is everything there?
    fn judge_end(&mut self) -> Outcome {
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
            // Nothing at all: the place lies beyond the end, or the seek went past the last frame.
            return Outcome::TooLate;
        }
        let pad = match (self.padding, self.track.kind) {
            (Padding::After(_), _) => 0,
            (Padding::Short, TrackKind::Video) => self.track.core.units_in(PAD_SECONDS),
            (Padding::Short, TrackKind::Audio) => self.track.core.audio_units_in(PAD_SECONDS),
        };
        Outcome::SourceEnded {
            unit: (unit - pad).max(1),
        }
    }

    /// Reads the encoder's output to its end; `Some` when the run must be ended from here.
    async fn read(&mut self, process: &mut Process) -> Option<Outcome> {
        let stall = self.track.core.context.settings.stall_timeout;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if self.track.should_pause(self.order.head) && !self.pause().await {
                return Some(Outcome::Stopped);
            }
            let read = tokio::time::timeout(stall, process.stdout.read(&mut buffer));
            let n = match self.order.cancel.run_until_cancelled(read).await {
                None => return Some(Outcome::Stopped),
                Some(Err(_)) => {
                    let seconds = stall.as_secs();
                    return Some(Outcome::Failed(format!("no output for {seconds} s")));
                }
                Some(Ok(Err(error))) => return Some(Outcome::Failed(error.to_string())),
                Some(Ok(Ok(0))) => return None,
                Some(Ok(Ok(n))) => n,
            };
            let events = match self.reader.push(&buffer[..n]) {
                Ok(events) => events,
                Err(error) => return Some(Outcome::Failed(error.to_string())),
            };
            for event in events {
                // One read may hold many segments of a small picture.
                if self.track.should_pause(self.order.head) && !self.pause().await {
                    return Some(Outcome::Stopped);
                }
                if let Err(outcome) = self.event(event) {
                    return Some(outcome);
                }
            }
        }
    }

    /// Leaves the pipe alone until the player has come nearer; a full pipe stops the encoder.
    /// `false` when the head was stopped meanwhile.
    async fn pause(&mut self) -> bool {
        let began = Instant::now();
        self.track.count_paused(true);
        let goes_on = loop {
            let changed = self.track.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.track.should_pause(self.order.head) {
                break !self.order.cancel.is_cancelled();
            }
            if self
                .order
                .cancel
                .run_until_cancelled(changed)
                .await
                .is_none()
            {
                break false;
            }
        };
        self.track.count_paused(false);
        self.paused += began.elapsed();
        goes_on
    }

    fn event(&mut self, event: Fmp4Event) -> Result<(), Outcome> {
        let sample = match event {
            Fmp4Event::Config(config) => {
                return match self.track.accept_config(config) {
                    true => Ok(()),
                    false => Err(Outcome::Failed(
                        "its headers differ from earlier runs'".into(),
                    )),
                };
            }
            Fmp4Event::Sample(sample) => sample,
        };
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
                    self.track.observe_start(now - self.started);
                }
                self.track.append(self.order.head, segment, sample)
            }
            SplitEvent::Complete { segment } => {
                self.measure(segment);
                let goes_on = self.track.finished(self.order.head, segment);
                if goes_on && segment + 1 >= self.until {
                    // What still comes only lets the last frames settle.
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

    fn measure(&mut self, segment: u32) {
        let now = Instant::now();
        let working = (now - self.segment_began)
            .saturating_sub(self.paused)
            .as_secs_f64();
        if working > 0.0 {
            self.track
                .observe_speed(self.track.cuts.timeline().seconds(segment) / working);
        }
        self.segment_began = now;
        self.paused = Duration::ZERO;
    }
}
