//! `GET /metrics`: what was counted, and how things stand now, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::dispatch::WorkerView;
use crate::store::JobCount;
use crate::telemetry::metrics::PREFIX;

use super::error::ApiError;
use super::state::AppState;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Longest wait for the database: whoever asks wants an answer while it is in trouble, too.
const DATABASE_WITHIN: Duration = Duration::from_secs(3);

type Labels = Vec<(&'static str, String)>;
type Values = Vec<(Labels, f64)>;

pub(super) async fn metrics(State(app): State<AppState>) -> Result<Response, ApiError> {
    let jobs = async { app.dispatcher.counts().await.ok() };
    let workers = async { app.dispatcher.workers().await.ok() };
    let asked = async { tokio::join!(jobs, workers) };
    let (jobs, workers) = tokio::time::timeout(DATABASE_WITHIN, asked)
        .await
        .unwrap_or_default();
    let process = tokio::task::spawn_blocking(of_process).await;
    let now = [of_gateway(&app, jobs, workers), process.unwrap_or_default()];
    let text = app.observer.metrics().text(&now);
    let text = text.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

/// Values of one moment.
struct Now(Registry);

impl Now {
    fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>, values: Values) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, family),
            None => self.0.register(name, help, family),
        }
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, gauge),
            None => self.0.register(name, help, gauge),
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn counters(&mut self, name: &str, help: &str, values: impl Iterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }
}

fn labelled(name: &'static str, values: &[(&str, f64)]) -> Values {
    let one = |(label, value): &(&str, f64)| (vec![(name, (*label).to_owned())], *value);
    values.iter().map(one).collect()
}

/// `None` where the database did not say.
fn of_gateway(
    app: &AppState,
    jobs: Option<Vec<JobCount>>,
    workers: Option<Vec<WorkerView>>,
) -> Registry {
    let mut now = Now(Registry::with_prefix(PREFIX));
    let build = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("ffmpeg", app.queries.ffmpeg_version().to_owned()),
    ];
    now.gauges(
        "build_info",
        "This program and the ffmpeg it uses",
        None,
        vec![(build, 1.0)],
    );
    of_streams(&mut now, app);
    of_disk(&mut now, app);
    let is_up = jobs.is_some() && workers.is_some();
    now.gauge(
        "database_up",
        "Whether the database of queued work answers",
        None,
        f64::from(u8::from(is_up)),
    );
    if let Some(jobs) = jobs {
        let value = |c: JobCount| {
            let labels = vec![
                ("kind", c.kind.name().to_owned()),
                ("state", c.state.name().to_owned()),
            ];
            (labels, c.jobs as f64)
        };
        let values = jobs.into_iter().map(value).collect();
        now.gauges(
            "job_state",
            "Queued jobs by kind and state; all gateways of one database count the same",
            None,
            values,
        );
    }
    if let Some(workers) = workers {
        of_workers(&mut now, app, &workers);
    }
    now.counter(
        "job_lease_expired",
        "Leases of queued jobs that ended because their worker fell silent",
        app.dispatcher.expired_leases(),
    );
    now.0
}

fn of_streams(now: &mut Now, app: &AppState) {
    let figures = app.registry.figures();
    let playing = figures.live_jobs.saturating_sub(figures.opening_jobs);
    let values = [
        ("open", playing as f64),
        ("opening", figures.opening_jobs as f64),
    ];
    now.gauges(
        "session_active",
        "Jobs of clients that have not ended: opening = their source is being looked at",
        None,
        labelled("state", &values),
    );
    now.gauge(
        "streams",
        "Streams that some job has",
        None,
        figures.streams as f64,
    );
    let heads = [
        ("video", figures.video_heads as f64),
        ("audio", figures.audio_heads as f64),
    ];
    now.gauges(
        "heads",
        "Places in streams that are being encoded",
        None,
        labelled("track", &heads),
    );
    now.gauge(
        "encoders",
        "Encoders of streams that run",
        None,
        figures.encoders as f64,
    );
    now.gauge(
        "encoders_limit",
        "Encoders of streams that may run",
        None,
        figures.max_encoders as f64,
    );
    now.gauge(
        "ffmpeg_speed_ratio",
        "Media time made per wall time, over the streams that are being encoded",
        None,
        app.registry.average_speed(),
    );
    now.counter(
        "encoder_starts",
        "Encoders of streams that were started",
        app.registry.encoder_starts(),
    );
    now.counter(
        "head_starts",
        "Encoders of streams that ran before their source was known",
        app.registry.head_starts(),
    );
    let usage = app.registry.hardware_usage().into_iter();
    now.counters(
        "streams_opened",
        "Streams that were opened, by what encodes them",
        usage.map(|(encoder, n)| (vec![("encoder", encoder.to_owned())], n)),
    );
    let totals = &app.registry.totals;
    let ends = [
        ("ready", &totals.succeeded),
        ("error", &totals.failed),
        ("cancelled", &totals.cancelled),
    ];
    now.counters(
        "session_ended",
        "Jobs of clients that ended",
        ends.into_iter().map(|(state, n)| {
            let labels = vec![("state", state.to_owned())];
            (labels, n.load(Ordering::Relaxed))
        }),
    );
    now.counter(
        "session_started",
        "Jobs of clients that were started",
        totals.started.load(Ordering::Relaxed),
    );
    now.gauge(
        "websockets_free",
        "WebSockets that may still be opened",
        None,
        app.websockets.available_permits() as f64,
    );
    now.gauge(
        "query_places_free",
        "Queries that could start at once",
        None,
        app.queries.free_places() as f64,
    );
}

fn of_disk(now: &mut Now, app: &AppState) {
    let cache = app.registry.cache();
    let kept = [
        ("segments", cache.used_bytes() as f64),
        ("queries", app.queries.cached_bytes() as f64),
    ];
    let bytes = Some(Unit::Bytes);
    let help = "Bytes kept in transcoding.temp_directory";
    now.gauges("scratch", help, bytes.clone(), labelled("kind", &kept));
    now.gauge(
        "segment_cache_limit",
        "The most that segments may take there",
        bytes.clone(),
        cache.limit_bytes() as f64,
    );
    now.counter(
        "segment_cache_written_bytes",
        "Bytes of segments that were kept",
        cache.written_bytes(),
    );
    if let Ok(disk) = nix::sys::statvfs::statvfs(cache.folder()) {
        let free = disk.blocks_available() as f64 * disk.fragment_size() as f64;
        now.gauge(
            "disk_free",
            "Free on the disk of transcoding.temp_directory",
            bytes,
            free,
        );
    }
}

fn of_workers(now: &mut Now, app: &AppState, workers: &[WorkerView]) {
    let count = |state: &str| workers.iter().filter(|w| state_of(w) == state).count() as f64;
    let states = ["idle", "working", "draining", "gone"].map(|state| (state, count(state)));
    now.gauges(
        "workers",
        "Engines and other workers that were heard of; gone = not lately",
        None,
        labelled("state", &states),
    );
    let at = app.dispatcher.now();
    let newest = workers
        .iter()
        .map(|w| at.since(w.worker.last_contact))
        .min();
    if let Some(newest) = newest {
        now.gauge(
            "worker_last_contact",
            "Time since any worker was heard of",
            Some(Unit::Seconds),
            newest.as_secs_f64(),
        );
    }
}

fn state_of(view: &WorkerView) -> &'static str {
    match (view.alive, view.worker.abilities.draining, view.booked) {
        (false, ..) => "gone",
        (true, true, _) => "draining",
        (true, false, true) => "working",
        (true, false, false) => "idle",
    }
}

/// The metrics that Prometheus wants of every process, under the names it has for them. Blocks on the
/// system.
fn of_process() -> Registry {
    let mut now = Now(Registry::default());
    let pid = Pid::from_u32(std::process::id());
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    let Ok(mut system) = System::new() else {
        return now.0;
    };
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    let Some(process) = system.process(pid) else {
        return now.0;
    };
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(process.accumulated_cpu_time() as f64 / 1e3);
    now.0.register_with_unit(
        "process_cpu",
        "Processor time of this process, without its encoders",
        Unit::Seconds,
        cpu,
    );
    let bytes = || Some(Unit::Bytes);
    let memory = process.memory() as f64;
    now.gauge("process_resident_memory", "Memory in use", bytes(), memory);
    let memory = process.virtual_memory() as f64;
    now.gauge(
        "process_virtual_memory",
        "Memory addressed",
        bytes(),
        memory,
    );
    now.gauge(
        "process_start_time",
        "When the process was started, since 1970",
        Some(Unit::Seconds),
        process.start_time() as f64,
    );
    if let Some(open) = process.open_files() {
        now.gauge("process_open_fds", "Open files", None, open as f64);
    }
    if let Some(most) = process.open_files_limit() {
        now.gauge(
            "process_max_fds",
            "Files that may be open",
            None,
            most as f64,
        );
    }
    now.0
}
