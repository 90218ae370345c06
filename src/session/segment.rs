//! A segment of one track while it is made, and its readers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::package::Sample;

use super::error::SessionError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    samples: usize,
    complete: bool,
    failed: Option<Failure>,
}

/// Why a segment stays unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Cancelled,
    Encoder(String),
}

/// Samples of one segment; grows until it is complete. Runs that break off leave it as it is, and
/// the next run goes on behind the last sample.
#[derive(Debug)]
pub(super) struct GrowingSegment {
    samples: Mutex<Vec<Sample>>,
    progress: watch::Sender<Progress>,
}

impl GrowingSegment {
    pub(super) fn new() -> Arc<Self> {
        let start = Progress {
            samples: 0,
            complete: false,
            failed: None,
        };
        Arc::new(GrowingSegment {
            samples: Mutex::default(),
            progress: watch::Sender::new(start),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, sample: Sample) {
        let mut samples = self.lock();
        samples.push(sample);
        let count = samples.len();
        drop(samples);
        self.progress.send_modify(|p| p.samples = count);
    }

    pub(super) fn complete(&self) {
        self.progress.send_modify(|p| p.complete = true);
    }

    /// Tells readers that no more will come.
    pub(super) fn fail(&self, reason: Failure) {
        self.progress.send_modify(|p| p.failed = Some(reason));
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Length of what is there, in ticks.
    pub(super) fn ticks(&self) -> usize {
        self.lock().iter().map(|s| s.duration as usize).sum()
    }

    /// Whether there is something to read, if only the end.
    pub(super) fn is_readable(&self) -> bool {
        self.len() > 0 || self.progress.borrow().complete
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().clone()
    }

    fn tail(&self, from: usize) -> Vec<Sample> {
        self.lock()
            .get(from..)
            .map(<[Sample]>::to_vec)
            .unwrap_or_default()
    }

    pub(super) fn reader(self: &Arc<Self>) -> SegmentReader {
        SegmentReader::Growing {
            progress: self.progress.subscribe(),
            segment: self.clone(),
            read: 0,
        }
    }
}

/// Reads a segment's samples in decoding order, waiting for those that are still to come.
#[derive(Debug)]
pub(super) enum SegmentReader {
    Whole(Option<Vec<Sample>>),
    Growing {
        segment: Arc<GrowingSegment>,
        progress: watch::Receiver<Progress>,
        read: usize,
    },
}

impl SegmentReader {
    /// Whether all samples are there now.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            SegmentReader::Whole(_) => true,
            SegmentReader::Growing { progress, .. } => progress.borrow().complete,
        }
    }

    /// The next samples, at least one; `None` at the end of the segment. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Sample>>, SessionError> {
        match self {
            SegmentReader::Whole(samples) => Ok(samples.take().filter(|s| !s.is_empty())),
            SegmentReader::Growing {
                segment,
                progress,
                read,
            } => {
                let at = *read;
                let more = |p: &Progress| p.samples > at || p.complete || p.failed.is_some();
                let now = match progress.wait_for(more).await {
                    Ok(now) => now.clone(),
                    Err(_) => return Err(SessionError::Cancelled),
                };
                if now.samples > at {
                    let samples = segment.tail(at);
                    *read += samples.len();
                    return Ok(Some(samples));
                }
                match now.failed {
                    Some(Failure::Encoder(reason)) if !now.complete => {
                        Err(SessionError::Encoder(reason))
                    }
                    Some(Failure::Cancelled) if !now.complete => Err(SessionError::Cancelled),
                    _ => Ok(None),
                }
            }
        }
    }
}
