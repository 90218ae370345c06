//! From a source's text to a plan: probing, the index of key frames, planning.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::MediaTime;
use crate::ffmpeg::{Launcher, ProbeError, Toolchain, probe_source, scan_duration};
use crate::media::{SourceLocator, SourceProbe, StreamRequest};
use crate::plan::{PlanError, PlanSettings, StreamPlan, plan_stream};
use crate::source::{Gate, GateGuard, SourceError, SourcePolicy, ffmpeg_input_options};

use super::error::SessionError;

/// Time for ffprobe to understand a source.
const PROBE_WITHIN: Duration = Duration::from_secs(9);
/// Time to find the length of a source that does not say it.
const SCAN_WITHIN: Duration = Duration::from_secs(6);

/// Opens sources. Cheap to clone.
#[derive(Clone)]
pub struct Opener {
    pub tools: Arc<Toolchain>,
    pub launcher: Launcher,
    pub policy: Arc<SourcePolicy>,
    pub plan: PlanSettings,
    /// Owns the proxies through which ffmpeg reads.
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// What was found out of a source.
pub struct Inspection {
    pub probe: SourceProbe,
    /// Presentation times of key frames, where the container has an index of them.
    pub keyframes: Option<Vec<MediaTime>>,
    pub plan: Result<StreamPlan, PlanError>,
}

impl Opener {
    /// Checks where `source` leads.
    pub async fn resolve(&self, source: &str) -> Result<SourceLocator, SessionError> {
        Ok(self.policy.resolve(source).await?)
    }

    /// Probes a source and plans a stream of it. Cancel-safe.
    pub async fn inspect(
        &self,
        locator: &SourceLocator,
        request: &StreamRequest,
    ) -> Result<Inspection, SessionError> {
        let probe = self.probe(locator).await?;
        let keyframes: Option<Vec<MediaTime>> = None;
        let hardware = &self.tools.hardware;
        let plan = plan_stream(&probe, keyframes.as_deref(), request, hardware, &self.plan);
        Ok(Inspection {
            probe,
            keyframes,
            plan,
        })
    }

    /// A gate for a source read over HTTP; local files and live protocols need none.
    pub(super) fn gate(
        &self,
        locator: &SourceLocator,
        cancel: &CancellationToken,
    ) -> std::io::Result<Option<GateGuard>> {
        match locator {
            SourceLocator::Http(_) => {
                Gate::open(self.policy.clone(), locator, &self.tracker, cancel).map(Some)
            }
            SourceLocator::File(_) | SourceLocator::Live(_) => Ok(None),
        }
    }

    async fn probe(&self, locator: &SourceLocator) -> Result<SourceProbe, SessionError> {
        let gate = self.gate(locator, &self.cancel);
        let gate =
            gate.map_err(|e| SessionError::Encoder(format!("cannot open a local port: {e}")))?;
        let input = ffmpeg_input_options(locator, gate.as_ref().map(GateGuard::proxy_url));
        let mut probe = probe_source(&self.tools, &self.launcher, &input, PROBE_WITHIN)
            .await
            .map_err(|error| blame(gate.as_ref(), error))?;
        if probe.duration.is_none() && !matches!(locator, SourceLocator::Live(_)) {
            let end = scan_duration(&self.tools, &self.launcher, &input, SCAN_WITHIN).await;
            probe.duration = end
                .map(|e| e - probe.start_time)
                .filter(|d| d.is_positive());
        }
        Ok(probe)
    }
}

/// ffprobe says only that it could not open the source; the gate knows why.
fn blame(gate: Option<&GateGuard>, error: ProbeError) -> SessionError {
    let Some(report) = gate.map(GateGuard::report) else {
        return error.into();
    };
    if let Some(host) = report.refused {
        return SourceError::Refused {
            host,
            setting: "sources.deny_hosts",
        }
        .into();
    }
    match (report.last_status, report.upstream_error) {
        (Some(status @ (404 | 410)), _) => SourceError::NotFound(status).into(),
        (Some(status), _) if status >= 400 => SourceError::HttpStatus(status).into(),
        (_, Some(reason)) => SessionError::Gate(reason),
        _ => error.into(),
    }
}
