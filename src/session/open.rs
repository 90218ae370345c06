//! From a source's text to a plan: probing, the index of key frames, planning.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use futures_util::future;

use crate::ffmpeg::{
    Accelerators, Launcher, ProbeError, Probed, Purpose, Toolchain, describe_source, probe_source,
    scan_duration,
};
use crate::hardware::Hardware;
use crate::hls::Cue;
use crate::media::index::ContainerHint;
use crate::media::{HwAccel, KeyframeIndex, SourceLocator, SourceProbe, StreamRequest};
use crate::plan::{PlanError, PlanSettings, StreamPlan, is_dolby_vision_5, plan_stream};
use crate::source::{
    Authorization, Beginning, Gate, GateGuard, GateOptions, GateReport, InputOptions, RangeReader,
    SourceClient, SourceError, SourcePolicy, Validators, ffmpeg_input_options, read_keyframe_index,
};

use super::error::SessionError;
use super::to_file::FileRules;

/// The usual time for everything together.
pub const OPEN_WITHIN: Duration = Duration::from_secs(9);
/// Time to find the length of a source that does not say it.
const SCAN_WITHIN: Duration = Duration::from_secs(6);
/// Time to find it where there is a guess to go by.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a source's beginning that tell its container.
const SNIFF_BYTES: usize = 16;

/// Opens sources. Cheap to clone.
#[derive(Clone)]
pub struct Opener {
    pub tools: Arc<Toolchain>,
    pub accelerators: Arc<Accelerators>,
    pub launcher: Launcher,
    pub policy: Arc<SourcePolicy>,
    pub plan: PlanSettings,
    pub client: SourceClient,
    pub cache: Arc<FactsCache>,
    /// What requests to the source's host carry.
    pub authorization: Option<Authorization>,
    /// Whether sources are read in small parts: for runs that take little of them.
    pub is_sparing: bool,
    /// What runs for the same purpose read of a source's beginning.
    pub beginning: Option<Arc<Beginning>>,
    /// What holds for whole files.
    pub files: FileRules,
    /// Tracks of pictures that somebody waits for, in all streams.
    pub pictures_awaited: watch::Sender<usize>,
    /// Time to find out what a source is.
    pub open_within: Duration,
    /// Owns the proxies through which ffmpeg reads.
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// What a source is.
pub struct Facts {
    /// A text that changes when the source does; `None` when it says nothing to tell by.
    pub version: Option<String>,
    pub probe: SourceProbe,
    /// Key frames of the main video stream, where the container has an index of them.
    pub keyframes: Option<KeyframeIndex>,
}

/// What was found out of a source, and what would be made of it.
pub struct Inspection {
    pub facts: Arc<Facts>,
    pub plan: Result<StreamPlan, PlanError>,
}

/// A stream that is about to be made.
pub(super) struct Opened {
    pub(super) plan: StreamPlan,
    /// The subtitles that the plan's external renditions name.
    pub(super) external: Vec<Arc<Vec<Cue>>>,
    pub(super) size_bytes: Option<u64>,
    /// What of the request could not be had, in words.
    pub(super) left_out: Vec<String>,
}

/// Facts of this process's sources, by identity and validators; the oldest are forgotten first.
#[derive(Default)]
pub struct FactsCache {
    entries: Mutex<VecDeque<(String, Arc<Facts>)>>,
}

/// Facts kept in memory, a few kilobytes each.
const MAX_FACTS: usize = 128;

impl FactsCache {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Facts>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &str) -> Option<Arc<Facts>> {
        self.lock()
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, facts)| facts.clone())
    }

    fn put(&self, key: String, facts: Arc<Facts>) {
        let mut entries = self.lock();
        entries.retain(|(k, _)| *k != key);
        entries.push_back((key, facts));
        if entries.len() > MAX_FACTS {
            entries.pop_front();
        }
    }
}

/// A text that changes when the source does; `None` when the source says nothing to tell by.
fn cache_key(locator: &SourceLocator, v: &Validators) -> Option<String> {
    if v.etag.is_none() && v.last_modified.is_none() {
        return None;
    }
    Some(format!(
        "{}\n{:?}\n{:?}\n{:?}",
        locator.identity(),
        v.length_bytes,
        v.etag,
        v.last_modified
    ))
}

/// The key of facts without an index.
fn brief_key(key: &str) -> String {
    format!("{key}\nwithout index")
}

impl Opener {
    /// The same, with processes that are counted as those of `purpose`.
    #[must_use]
    pub fn doing(&self, purpose: Purpose) -> Self {
        Opener {
            launcher: self.launcher.doing(purpose),
            ..self.clone()
        }
    }

    /// The same for one source with credentials.
    #[must_use]
    pub fn authorized(&self, authorization: Authorization) -> Self {
        Opener {
            client: self.client.authorized(Some(authorization.clone())),
            authorization: Some(authorization),
            ..self.clone()
        }
    }

    /// A text that changes when the source does, or who asks for it; `None` when the source says
    /// nothing to tell by. It holds credentials: a key, never to be shown.
    pub fn version(&self, locator: &SourceLocator, validators: &Validators) -> Option<String> {
        let key = cache_key(locator, validators)?;
        Some(match &self.authorization {
            None => key,
            Some(given) => format!("{key}\n{}", given.fingerprint()),
        })
    }

    /// Whether the facts of the version `version` of a source are known.
    pub fn knows(&self, version: &str) -> bool {
        let brief = brief_key(version);
        self.cache.get(version).is_some() || self.cache.get(&brief).is_some()
    }

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
        let facts = self.facts(locator).await?;
        let plan = self.plan(&facts, request).await;
        Ok(Inspection { facts, plan })
    }

    /// Plans a stream of a source that is known, with the subtitles of the request that can be had.
    pub(super) async fn open(
        &self,
        facts: &Facts,
        request: &StreamRequest,
    ) -> Result<Opened, SessionError> {
        let reading = request.subtitles.iter().map(|s| self.external_subtitles(s));
        let read = future::join_all(reading).await;
        let mut request = request.clone();
        let mut asked = std::mem::take(&mut request.subtitles).into_iter();
        let (mut external, mut left_out) = (Vec::new(), Vec::new());
        for result in read {
            let Some(subtitle) = asked.next() else { break };
            match result {
                Ok(cues) => {
                    external.push(cues);
                    request.subtitles.push(subtitle);
                }
                Err(error) => {
                    let name = subtitle.label.unwrap_or(subtitle.language);
                    tracing::info!(%error, subtitles = %name, "a subtitle file is left out");
                    left_out.push(format!("subtitles '{name}' are left out: {error}"));
                }
            }
        }
        Ok(Opened {
            plan: self.plan(facts, &request).await?,
            external,
            size_bytes: facts.probe.size_bytes,
            left_out,
        })
    }

    /// What this machine can do for a request that asks for `wanted`: with the hardware that works
    /// now, if any may be used. The first one to ask waits for the tests.
    pub async fn hardware(&self, wanted: HwAccel) -> Hardware {
        let mut hardware = self.tools.hardware.clone();
        let software = match wanted {
            HwAccel::Software => true,
            HwAccel::Auto => !self.plan.hardware.prefer,
            _ => false,
        };
        if !software {
            hardware.accelerators = self.accelerators.usable().await;
        }
        hardware
    }

    /// The same for a source that is known.
    pub async fn hardware_for(&self, probe: &SourceProbe, wanted: HwAccel) -> Hardware {
        let mut hardware = self.hardware(wanted).await;
        if probe.video.iter().any(|v| is_dolby_vision_5(&v.color)) {
            hardware.maps_dolby_vision = self.accelerators.maps_dolby_vision().await;
        }
        hardware
    }

    /// Plans a stream of a source that is known.
    pub(super) async fn plan(
        &self,
        facts: &Facts,
        request: &StreamRequest,
    ) -> Result<StreamPlan, PlanError> {
        let keyframes = facts.keyframes.as_ref().map(KeyframeIndex::pts);
        let wanted = request.output.hw_accel;
        let hardware = self.hardware_for(&facts.probe, wanted).await;
        plan_stream(&facts.probe, keyframes, request, &hardware, &self.plan)
    }

    /// What is known of a source: from the cache when its validators say that it is the same.
    pub async fn facts(&self, locator: &SourceLocator) -> Result<Arc<Facts>, SessionError> {
        self.find_out(locator, true, None).await
    }

    /// The same; `foresee` is told what the source most likely is as soon as its header was read,
    /// unless it is known already.
    pub(super) async fn facts_foreseen(
        &self,
        locator: &SourceLocator,
        foresee: &(dyn Fn(Facts) + Sync),
    ) -> Result<Arc<Facts>, SessionError> {
        self.find_out(locator, true, Some(foresee)).await
    }

    /// The same without the index of key frames, unless it is known already: less is read.
    pub async fn facts_without_index(
        &self,
        locator: &SourceLocator,
    ) -> Result<Arc<Facts>, SessionError> {
        self.find_out(locator, false, None).await
    }

    /// Opens the source by `deadline`. A server that has said nothing for half of the time is asked once
    /// more.
    async fn reach(
        &self,
        locator: &SourceLocator,
        deadline: Instant,
    ) -> Result<(Validators, Option<RangeReader>), SourceError> {
        for until in [deadline - self.open_within / 2, deadline] {
            let opening = self.client.open(locator);
            if let Ok(opened) = tokio::time::timeout_at(until, opening).await {
                return opened;
            }
        }
        Err(SourceError::Timeout)
    }

    async fn find_out(
        &self,
        locator: &SourceLocator,
        with_index: bool,
        foresee: Option<&(dyn Fn(Facts) + Sync)>,
    ) -> Result<Arc<Facts>, SessionError> {
        let deadline = Instant::now() + self.open_within;
        let mut unreached = None;
        let (validators, reader) = match Box::pin(self.reach(locator, deadline)).await {
            Ok(opened) => opened,
            // What the server says is final; where only we cannot talk to it, ffprobe may.
            Err(SourceError::Unreachable(reason)) => {
                tracing::debug!(%locator, %reason, "no reads of our own");
                unreached = Some(reason);
                (Validators::default(), None)
            }
            Err(error) => return Err(error.into()),
        };
        let key = self.version(locator, &validators);
        let brief = key.as_ref().map(|k| brief_key(k));
        let known = |key: &Option<String>| key.as_ref().and_then(|k| self.cache.get(k));
        let brief_is_enough = || known(&brief).filter(|_| !with_index);
        if let Some(facts) = known(&key).or_else(brief_is_enough) {
            return Ok(facts);
        }
        let reader = reader.filter(|_| with_index);
        let first_video = in_time(deadline, async {
            let reader = reader.as_ref()?;
            let container = ContainerHint::sniff(&reader.read_at(0, SNIFF_BYTES).await.ok()?)?;
            let (keyframes, outline) = read_keyframe_index(reader, container, 0).await;
            if let (Some(foresee), Some(probe)) = (foresee, outline) {
                foresee(Facts {
                    version: None,
                    probe,
                    keyframes: keyframes.clone(),
                });
            }
            keyframes
        });
        // A source that is still being made has no length to be found by reading on.
        let finite = validators.length_bytes.is_some();
        let probing = self.probe(locator, unreached.as_deref(), finite, deadline);
        let (probe, mut keyframes) = tokio::join!(probing, first_video);
        let probe = probe?;
        let main = probe.main_video().map(|v| v.index);
        let nth = probe.video.iter().position(|v| Some(v.index) == main);
        match (nth, &reader, ContainerHint::from_format_name(&probe.format)) {
            (Some(0), ..) => {}
            (Some(nth), Some(reader), Some(container)) => {
                let reading = async { read_keyframe_index(reader, container, nth).await.0 };
                keyframes = in_time(deadline, reading).await;
            }
            _ => keyframes = None,
        }
        let facts = Arc::new(Facts {
            version: key.clone(),
            probe,
            keyframes,
        });
        if let Some(key) = if with_index { key } else { brief } {
            self.cache.put(key, facts.clone());
        }
        Ok(facts)
    }

    /// How ffmpeg is given `locator`, and the gate through which it reads, to be kept as long as it
    /// does.
    pub fn input(
        &self,
        locator: &SourceLocator,
    ) -> Result<(InputOptions, Option<GateGuard>), SessionError> {
        let gate = self.gate(locator, &self.cancel);
        let gate =
            gate.map_err(|e| SessionError::Encoder(format!("cannot open a local port: {e}")))?;
        let input = match &gate {
            Some(gate) => gate.input_options(locator),
            None => ffmpeg_input_options(locator, None),
        };
        Ok((input, gate))
    }

    /// ffprobe's JSON about a source, which names it by `InputOptions::url` of the second value.
    /// `unreached` is why we could not talk to it ourselves. Cancel-safe.
    pub async fn describe(
        &self,
        locator: &SourceLocator,
        unreached: Option<&str>,
    ) -> Result<(String, InputOptions), SessionError> {
        let (input, gate) = self.input(locator)?;
        let json = describe_source(&self.tools, &self.launcher, &input, self.open_within).await;
        let json = json.map_err(|error| blame(gate.as_ref(), locator, unreached, error))?;
        Ok((json, input))
    }

    /// A gate for a source read over HTTP; local files and live protocols need none.
    pub fn gate(
        &self,
        locator: &SourceLocator,
        cancel: &CancellationToken,
    ) -> std::io::Result<Option<GateGuard>> {
        match locator {
            SourceLocator::Http(_) => {
                let options = GateOptions {
                    authorization: self.authorization.clone(),
                    is_sparing: self.is_sparing,
                    beginning: self.beginning.clone(),
                    ..GateOptions::default()
                };
                Gate::open(self.policy.clone(), locator, &self.tracker, cancel, options).map(Some)
            }
            SourceLocator::File(_) | SourceLocator::Live(_) => Ok(None),
        }
    }

    async fn probe(
        &self,
        locator: &SourceLocator,
        unreached: Option<&str>,
        finite: bool,
        deadline: Instant,
    ) -> Result<SourceProbe, SessionError> {
        let (input, gate) = self.input(locator)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let Probed {
            mut probe,
            guessed_length,
        } = probe_source(&self.tools, &self.launcher, &input, left)
            .await
            .map_err(|error| blame(gate.as_ref(), locator, unreached, error))?;
        // A guess is better than nothing, when the end is not found in a moment.
        let guess = probe.duration.filter(|_| guessed_length);
        if guessed_length || probe.has_absurd_length() {
            probe.forget_lengths();
        }
        if probe.duration.is_none() && finite && probe.format != "hls" {
            let left = deadline.saturating_duration_since(Instant::now());
            let within = left.min(match guess {
                Some(_) => CHECK_WITHIN,
                None => SCAN_WITHIN,
            });
            let end = scan_duration(&self.tools, &self.launcher, &input, within).await;
            let found = end.map(|e| e - probe.start_time);
            probe.duration = found.filter(|d| d.is_positive()).or(guess);
        }
        Ok(probe)
    }
}

/// The index is worth a wait, but not any: a source that only trickles is planned without.
async fn in_time<T>(deadline: Instant, reading: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout_at(deadline, reading)
        .await
        .ok()
        .flatten()
}

/// ffprobe says only that it could not open the source. The gate knows why; behind TLS it does not, but
/// we may have been told; and what speaks another protocol than HTTP delivers media or is out of reach.
fn blame(
    gate: Option<&GateGuard>,
    locator: &SourceLocator,
    unreached: Option<&str>,
    error: ProbeError,
) -> SessionError {
    if let Some(seen) = gate.and_then(|g| source_trouble(g.report())) {
        return seen;
    }
    let reason = match (&error, locator) {
        (ProbeError::NotMedia(reason), SourceLocator::Live(_)) => Some(reason.as_str()),
        (ProbeError::NotMedia(_), _) => unreached,
        _ => None,
    };
    match reason {
        Some(reason) => SourceError::Unreachable(reason.to_owned()).into(),
        None => error.into(),
    }
}

/// What went wrong between a gate and its source, if anything did.
pub fn source_trouble(report: GateReport) -> Option<SessionError> {
    if let Some(host) = report.refused {
        let setting = "sources.deny_hosts";
        return Some(SourceError::Refused { host, setting }.into());
    }
    match (report.last_status, report.upstream_error) {
        (Some(status @ (404 | 410)), _) => Some(SourceError::NotFound(status).into()),
        (Some(status), _) if status >= 400 => Some(SourceError::HttpStatus(status).into()),
        (_, reason) => reason.map(SessionError::Gate),
    }
}
