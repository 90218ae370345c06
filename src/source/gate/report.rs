//! What a gate saw, for turning ffmpeg's vague failure into a clear one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::source::SourceError;

/// What a gate saw so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GateReport {
    /// The status of the newest answer to a plain http request. https is opaque.
    pub last_status: Option<u16>,
    /// The newest host (or `host:port`) that the policy refused.
    pub refused: Option<String>,
    /// Why the newest failed request failed, in words; none once a later request is answered.
    pub upstream_error: Option<String>,
    /// The newest body to end did so before its length.
    pub truncated: bool,
    /// Bytes of bodies and tunnels received from the sources.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct SharedReport {
    state: Mutex<GateReport>,
    bytes: AtomicU64,
}

impl SharedReport {
    pub(super) fn snapshot(&self) -> GateReport {
        let mut report = self.lock().clone();
        report.bytes = self.bytes.load(Ordering::Relaxed);
        report
    }

    pub(super) fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, status: Option<u16>) {
        let mut state = self.lock();
        state.last_status = status.or(state.last_status);
        state.upstream_error = None;
    }

    pub(super) fn failed(&self, error: &SourceError) {
        let mut state = self.lock();
        if let SourceError::Refused { host, .. } = error {
            state.refused = Some(host.clone());
        }
        state.upstream_error = Some(error.to_string());
    }

    pub(super) fn body_ended(&self, complete: bool) {
        let mut state = self.lock();
        state.truncated = !complete;
        if !complete {
            state.upstream_error = Some(SourceError::Changed.to_string());
        }
    }

    fn lock(&self) -> MutexGuard<'_, GateReport> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
