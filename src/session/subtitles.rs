//! Subtitle renditions: the cues of a track, read from the source when somebody asks for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use crate::base::MediaTime;
use crate::ffmpeg::read_text;
use crate::hls::{Cue, parse_webvtt, webvtt_segment};
use crate::media::{SourceLocator, SubtitleRequest};
use crate::package::TS_ORIGIN;
use crate::plan::{Invocation, SubtitleOrigin, SubtitleSpan, subtitle_run};
use crate::source::{GateGuard, SourceError};

use super::error::SessionError;
use super::open::Opener;
use super::stream::StreamCore;

/// A subtitle rendition.
pub(super) struct SubtitleTrack {
    source: Source,
}

enum Source {
    /// All cues are there, in the time of the file they came from.
    External(Arc<Vec<Cue>>),
    Embedded {
        stream: u32,
        windows: Vec<Window>,
        /// Runs take turns: each may read a large part of the source.
        turn: Semaphore,
    },
}

/// A part of the stream whose cues are read in one go.
struct Window {
    /// In the stream's time.
    from: MediaTime,
    until: MediaTime,
    /// `None` reads all of the source.
    span: Option<SubtitleSpan>,
    cues: OnceCell<Arc<Vec<Cue>>>,
}

/// Sources up to this size are read whole: then a text that has been shown for long is known too.
const WHOLE_FILE_BYTES: u64 = 2 << 30;
const WHOLE_DOWNLOAD_BYTES: u64 = 128 << 20;
/// Length of the parts in which longer ones are read, and how long before a part a text that is shown
/// in it may have begun.
const WINDOW: MediaTime = MediaTime::from_micros(300_000_000);
const LOOK_BACK: MediaTime = MediaTime::from_micros(60_000_000);
/// As much of a subtitle file as is looked at for its charset.
const MOST_TEXT_BYTES: u64 = 4 << 20;
/// Longest time for reading one part.
const READ_WITHIN: Duration = Duration::from_secs(55);
/// Longest time for reading a file that a request names, while its stream is opened.
const OPEN_WITHIN: Duration = Duration::from_secs(6);

impl SubtitleTrack {
    /// The tracks of a plan. `external` are the cues of the files that its request names.
    pub(super) fn of(
        core: &StreamCore,
        external: Vec<Arc<Vec<Cue>>>,
        size_bytes: Option<u64>,
    ) -> Vec<SubtitleTrack> {
        let duration = core.plan.timeline.duration();
        let whole_bytes = match core.locator {
            SourceLocator::File(_) => WHOLE_FILE_BYTES,
            SourceLocator::Http(_) | SourceLocator::Live(_) => WHOLE_DOWNLOAD_BYTES,
        };
        let whole = size_bytes.is_some_and(|b| b <= whole_bytes);
        let tracks = core.plan.subtitles.iter().map(|plan| match plan.origin {
            SubtitleOrigin::External { nth } => Source::External(external[nth].clone()),
            SubtitleOrigin::Embedded { stream } => Source::Embedded {
                stream,
                windows: windows(duration, core.plan.origin, whole),
                turn: Semaphore::new(1),
            },
        });
        tracks.map(|source| SubtitleTrack { source }).collect()
    }

    /// The text of `segment`. Cancel-safe.
    pub(super) async fn segment(
        &self,
        core: &StreamCore,
        segment: u32,
    ) -> Result<String, SessionError> {
        let timeline = &core.plan.timeline;
        let from = timeline.start_time(segment);
        let until = timeline.start_time(segment + 1);
        let cues = match &self.source {
            Source::External(cues) => shifted(cues, core.plan.start_time),
            Source::Embedded {
                stream,
                windows,
                turn,
            } => {
                let mut all: Vec<Cue> = Vec::new();
                for window in windows.iter().filter(|w| w.from < until && w.until > from) {
                    let read = || window.read(core, *stream, turn);
                    all.extend(window.cues.get_or_try_init(read).await?.iter().cloned());
                }
                // At the border of two parts both have read what is shown there.
                all.sort_by(|a, b| (a.start, a.end, &a.text).cmp(&(b.start, b.end, &b.text)));
                all.dedup();
                all
            }
        };
        Ok(webvtt_segment(&cues, from, until, TS_ORIGIN))
    }
}

fn windows(duration: MediaTime, origin: MediaTime, whole: bool) -> Vec<Window> {
    let window = |from: MediaTime, until: MediaTime, span| Window {
        from,
        until,
        span,
        cues: OnceCell::new(),
    };
    if whole {
        return vec![window(MediaTime::ZERO, duration, None)];
    }
    let mut all = Vec::new();
    let mut from = MediaTime::ZERO;
    while from < duration {
        let until = (from + WINDOW).min(duration);
        let span = SubtitleSpan {
            from: (origin + from - LOOK_BACK).max(MediaTime::ZERO),
            until: origin + until,
        };
        all.push(window(from, until, Some(span)));
        from = until;
    }
    all
}

/// Cues counted from `zero` on.
fn shifted(cues: &[Cue], zero: MediaTime) -> Vec<Cue> {
    let shift = |cue: &Cue| Cue {
        start: cue.start - zero,
        end: cue.end - zero,
        ..cue.clone()
    };
    cues.iter().map(shift).collect()
}

impl Window {
    async fn read(
        &self,
        core: &StreamCore,
        stream: u32,
        turn: &Semaphore,
    ) -> Result<Arc<Vec<Cue>>, SessionError> {
        let reading = async {
            let Ok(_turn) = turn.acquire().await else {
                return Err(SessionError::Cancelled);
            };
            let run = subtitle_run(stream, self.span, None);
            let text = core
                .context
                .opener
                .subtitle_text(&core.locator, run, READ_WITHIN)
                .await?;
            Ok(Arc::new(shifted(&parse_webvtt(&text), core.plan.origin)))
        };
        match core.cancel.run_until_cancelled(reading).await {
            Some(read) => read,
            None => Err(SessionError::Cancelled),
        }
    }
}

impl Opener {
    /// Reads a subtitle file that a request names; the reason when it cannot be had. Cancel-safe.
    pub(super) async fn external_subtitles(
        &self,
        request: &SubtitleRequest,
    ) -> Result<Arc<Vec<Cue>>, SessionError> {
        let locator = self.resolve(&request.url).await?;
        let charset = self.charset(&locator).await?;
        let run = subtitle_run(0, None, charset);
        let text = self.subtitle_text(&locator, run, OPEN_WITHIN).await?;
        let cues = parse_webvtt(&text);
        match cues.is_empty() {
            true => Err(SessionError::Subtitles("it holds no text".into())),
            false => Ok(Arc::new(cues)),
        }
    }

    /// The charset of a file that is not Unicode: that of most old subtitles. ffmpeg would leave out
    /// every text with an accent.
    async fn charset(&self, locator: &SourceLocator) -> Result<Option<&'static str>, SessionError> {
        let opened = tokio::time::timeout(OPEN_WITHIN, self.client.open(locator)).await;
        let (_, reader) = opened.map_err(|_| SourceError::Timeout)??;
        let Some(reader) = reader else {
            return Ok(None);
        };
        let length = reader.length_bytes().unwrap_or(0).min(MOST_TEXT_BYTES);
        let bytes = reader.read_at(0, length as usize).await?;
        let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let unicode = marked || std::str::from_utf8(&bytes).is_ok();
        Ok((!unicode).then_some("CP1252"))
    }

    async fn subtitle_text(
        &self,
        locator: &SourceLocator,
        run: Invocation,
        within: Duration,
    ) -> Result<String, SessionError> {
        let (input, gate) = self.input(locator)?;
        let text = read_text(&self.tools, &self.launcher, &input, &run, within).await;
        text.map_err(|error| {
            let report = gate.as_ref().map(GateGuard::report);
            let seen = report.and_then(|r| match r.last_status {
                Some(status) if status >= 400 => Some(format!("its server answered {status}")),
                _ => r.upstream_error,
            });
            SessionError::Subtitles(seen.unwrap_or_else(|| error.to_string()))
        })
    }
}
