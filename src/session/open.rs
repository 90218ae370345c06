//! From a source's text to a stream: probing, the index of key frames, the plan.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ffmpeg::{ProbeError, probe_source, scan_duration};
use crate::media::{SourceLocator, SourceProbe};
use crate::plan::plan_stream;
use crate::media::StreamRequest;
use crate::source::{Gate, GateGuard, SourceError, ffmpeg_input_options};

use super::error::SessionError;
use super::stream::{Context, Stream};

/// Time for ffprobe to understand a source.
const PROBE_WITHIN: Duration = Duration::from_secs(9);
/// Time to find the length of a source that does not say it.
const SCAN_WITHIN: Duration = Duration::from_secs(6);
/// Probes kept in memory.
const MAX_PROBES: usize = 256;

/// Probes of this process's sources, by identity and validators.
#[derive(Debug, Default)]
pub struct ProbeCache {
    probes: Mutex<HashMap<String, Arc<SourceProbe>>>,
}

impl ProbeCache {
    fn get(&self, key: &str) -> Option<Arc<SourceProbe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: String, probe: Arc<SourceProbe>) {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if probes.len() >= MAX_PROBES {
            probes.clear();
        }
        probes.insert(key, probe);
    }
}

impl Context {
    /// Probes `locator` through a gate of its own.
    pub(super) async fn probe(&self, locator: &SourceLocator) -> Result<SourceProbe, SessionError> {
        let gate = match locator {
            SourceLocator::Http(_) => {
                let gate = Gate::open(self.policy.clone(), locator, &self.tracker, &self.cancel);
                Some(gate.map_err(|e| SessionError::Encoder(format!("cannot open a local port: {e}")))?)
            }
            SourceLocator::File(_) | SourceLocator::Live(_) => None,
        };
        let input = ffmpeg_input_options(locator, gate.as_ref().map(GateGuard::proxy_url));
        match probe_source(&self.tools, &self.launcher, &input, PROBE_WITHIN).await {
            Ok(mut probe) => {
                if probe.duration.is_none() && !matches!(locator, SourceLocator::Live(_)) {
                    let end = scan_duration(&self.tools, &self.launcher, &input, SCAN_WITHIN).await;
                    probe.duration =
                        end.map(|e| e - probe.start_time).filter(|d| d.is_positive());
                }
                Ok(probe)
            }
            Err(error) => Err(blame(gate.as_ref(), error)),
        }
    }

    /// Opens a stream of `locator`.
    pub(super) async fn open(
        self: &Arc<Self>,
        locator: SourceLocator,
        request: &StreamRequest,
    ) -> Result<Stream, SessionError> {
        let probe = self.probe(&locator).await?;
        let keyframes: Option<Vec<crate::base::MediaTime>> = None;
        let plan = plan_stream(
            &probe,
            keyframes.as_deref(),
            request,
            &self.tools.hardware,
            &self.settings.plan,
        )?;
        Ok(Stream::new(plan, locator, self.clone()))
    }
}

/// ffprobe says only that it could not open the source; the gate knows why.
fn blame(gate: Option<&GateGuard>, error: ProbeError) -> SessionError {
    let Some(report) = gate.map(GateGuard::report) else { return error.into() };
    if let Some(host) = report.refused {
        return SourceError::Refused { host, setting: "sources.deny_hosts" }.into();
    }
    match (report.last_status, report.upstream_error) {
        (Some(status @ (404 | 410)), _) => SourceError::NotFound(status).into(),
        (Some(status), _) if status >= 400 => SourceError::HttpStatus(status).into(),
        (_, Some(reason)) => SourceError::Unreachable(reason).into(),
        _ => error.into(),
    }
}
