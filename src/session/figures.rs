//! What streams are doing, in numbers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{QueueLabels, SegmentLabels};

use super::error::SessionError;
use super::file::StreamFile;
use super::job::{Job, JobPhase};
use super::registry::Registry;
use super::rendition::TrackKind;
use super::serve::Served;
use super::stream::{Context, Stream};

/// How the streams of a gateway stand at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Jobs that have not ended.
    pub live_jobs: usize,
    /// Of these: jobs whose source is being looked at.
    pub opening_jobs: usize,
    /// Streams that some job has.
    pub streams: usize,
    /// Heads of pictures and of sound.
    pub video_heads: usize,
    pub audio_heads: usize,
    /// Encoders that run, and how many may.
    pub encoders: usize,
    pub max_encoders: usize,
}

impl Context {
    fn metrics(&self) -> &Metrics {
        self.opener.launcher.metrics()
    }

    /// A head has waited so long for its permits.
    pub(super) fn note_encoder_wait(&self, waited: Duration) {
        let labels = QueueLabels { queue: "stream" };
        let waits = self.metrics().queue_wait.get_or_create_owned(&labels);
        waits.observe(waited.as_secs_f64());
    }
}

impl Registry {
    /// What processes and requests are counted in.
    pub fn metrics(&self) -> &Metrics {
        self.context.metrics()
    }

    /// How things stand. Takes the locks of all tracks, one after the other.
    pub fn figures(&self) -> Figures {
        let jobs = self.jobs();
        let opening = |j: &&Arc<Job>| matches!(j.phase(), JobPhase::Opening);
        let mut figures = Figures {
            live_jobs: jobs.iter().filter(|j| j.is_live()).count(),
            opening_jobs: jobs.iter().filter(opening).count(),
            encoders: self.context.encoders.in_use(),
            max_encoders: self.context.encoders.most(),
            ..Figures::default()
        };
        for stream in self.streams() {
            figures.streams += 1;
            for track in stream.tracks() {
                let heads = track.view().heads.len();
                match track.id.kind {
                    TrackKind::Video => figures.video_heads += heads,
                    TrackKind::Audio => figures.audio_heads += heads,
                }
            }
        }
        figures
    }
}

impl Stream {
    /// Gives `file`, making it if need be. Dropping the future or the body withdraws the request.
    pub async fn serve(&self, file: StreamFile) -> Result<Served, SessionError> {
        if !matches!(
            file,
            StreamFile::TransportSegment(_) | StreamFile::Segment(..)
        ) {
            return self.make(file).await;
        }
        let from = match self.is_made(file) {
            true => "cache",
            false => "encoder",
        };
        let asked = Instant::now();
        let served = self.make(file).await?;
        let (labels, metrics) = (SegmentLabels { from }, self.core.context.metrics());
        metrics.segment_requests.get_or_create(&labels).inc();
        let waits = metrics.segment_wait.get_or_create_owned(&labels);
        waits.observe(asked.elapsed().as_secs_f64());
        Ok(served)
    }
}
