//! The only encoder run of a source without a known end: both tracks from one process, segments
//! listed as they are finished, the playlist closed when the source ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{Process, encoder_command};
use crate::hls::HeadId;
use crate::package::{Fmp4Event, Fmp4Reader, SplitEvent, Splitter};
use crate::source::{GateGuard, ffmpeg_input_options};

use super::head::GRACE;
use super::stream::StreamCore;
use super::track::Track;

/// How far an open-ended stream is.
#[derive(Debug, Default)]
pub(super) struct LiveState {
    started: AtomicBool,
    ended: AtomicBool,
}

impl LiveState {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Longer than any stream is served.
const NO_STALL: Duration = Duration::from_secs(48 * 3600);
const READ_BYTES: usize = 64 * 1024;

/// Starts the run, once in a stream's life: a live source cannot be read from its start again.
pub(super) fn start(core: &Arc<StreamCore>, tracks: Vec<Arc<Track>>) {
    if core.live.started.swap(true, Ordering::AcqRel) {
        return;
    }
    let cancel = core.cancel.child_token();
    let heads: Vec<_> = tracks.into_iter().map(|t| (t.attach(&cancel), t)).collect();
    let core = core.clone();
    let tracker = core.context.tracker.clone();
    tracker.spawn(async move {
        let failure = run(&core, &heads, &cancel).await;
        if let Some(reason) = &failure {
            tracing::warn!(stream.id = %core.id, %reason, "the live encoder failed");
        }
        core.live.ended.store(true, Ordering::Release);
        for (head, track) in heads {
            track.close_live(head, failure.clone());
        }
    });
}

async fn run(
    core: &Arc<StreamCore>,
    heads: &[(HeadId, Arc<Track>)],
    cancel: &CancellationToken,
) -> Option<String> {
    let _permit = cancel
        .run_until_cancelled(core.context.encoders.acquire())
        .await??;
    let opener = &core.context.opener;
    let gate = match opener.gate(&core.locator, cancel) {
        Ok(gate) => gate,
        Err(error) => return Some(format!("cannot open a local port: {error}")),
    };
    let input = ffmpeg_input_options(&core.locator, gate.as_ref().map(GateGuard::proxy_url));
    let command = encoder_command(&opener.tools, &input, &core.plan.live_run());
    let spawned = Process::spawn_with_outputs(&opener.launcher, command, GRACE, 1).await;
    let (mut process, mut further) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => return Some(error.to_string()),
    };
    let broken = match (heads, further.first_mut()) {
        ([only], _) => read(only, &mut process.stdout, cancel).await.err(),
        ([video, audio], Some(second)) => {
            let both = tokio::join!(
                read(video, &mut process.stdout, cancel),
                read(audio, second, cancel)
            );
            both.0.and(both.1).err()
        }
        _ => Some("the stream has no tracks".into()),
    };
    process.stop();
    let exit = process.wait().await;
    if cancel.is_cancelled() || exit.success() {
        return broken;
    }
    let trouble = gate.as_ref().and_then(|g| core.gate_trouble(&g.report()));
    let url = input.url.to_string_lossy();
    // What was made before the source broke off stays; the reason is told all the same.
    trouble.or(broken).or_else(|| exit.log.reason(&[&url]))
}

/// Reads one track to the end of its pipe. An error ends the other track too.
async fn read(
    (head, track): &(HeadId, Arc<Track>),
    pipe: &mut (impl AsyncRead + Unpin),
    cancel: &CancellationToken,
) -> Result<(), String> {
    let result = read_on(*head, track, pipe, cancel).await;
    if result.is_err() {
        cancel.cancel();
    }
    result
}

async fn read_on(
    head: HeadId,
    track: &Arc<Track>,
    pipe: &mut (impl AsyncRead + Unpin),
    cancel: &CancellationToken,
) -> Result<(), String> {
    let mut reader = Fmp4Reader::new();
    let mut splitter = Splitter::new(track.cuts.clone(), 0, 0);
    let pauses = track.core.may_pause();
    // Where one track is held back, the process and with it the other track stand still: silence
    // means nothing then, and the gate ends reads of a server that says nothing.
    let stall = match pauses {
        true => NO_STALL,
        false => track.core.context.settings.stall_timeout,
    };
    let mut buffer = vec![0; READ_BYTES];
    loop {
        while pauses && track.should_pause(head) {
            let changed = track.core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if track.should_pause(head) && cancel.run_until_cancelled(changed).await.is_none() {
                break;
            }
        }
        let read = tokio::time::timeout(stall, pipe.read(&mut buffer));
        let n = match cancel.run_until_cancelled(read).await {
            None | Some(Ok(Ok(0))) => break,
            Some(Err(_)) => return Err(format!("no output for {} s", stall.as_secs())),
            Some(Ok(Err(error))) => return Err(error.to_string()),
            Some(Ok(Ok(n))) => n,
        };
        for event in reader.push(&buffer[..n]).map_err(|e| e.to_string())? {
            match event {
                Fmp4Event::Config(config) => {
                    // There is only one run.
                    let _ = track.accept_config(config);
                }
                Fmp4Event::Sample(sample) => {
                    let events = splitter.push(sample).map_err(|e| e.to_string())?;
                    pass_on(head, track, events);
                }
            }
        }
    }
    if let Some((segment, samples, events)) = splitter.close() {
        if let Some(unit) = track.cuts.unit(segment, samples) {
            track.core.note_live_end(track.id.kind, unit);
        }
        pass_on(head, track, events);
    }
    Ok(())
}

fn pass_on(head: HeadId, track: &Arc<Track>, events: Vec<SplitEvent>) {
    for event in events {
        match event {
            SplitEvent::Sample { segment, sample } => {
                track.append(head, segment, sample);
            }
            SplitEvent::Complete { segment } => {
                track.finished(head, segment);
            }
        }
    }
}
