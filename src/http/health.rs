//! Health, capabilities and statistics (contract sections 2, 4 and 5).

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::hardware::{Accelerator, AcceleratorReport};

use super::state::AppState;

/// (jobs that can be played or are worked on, jobs that wait for their turn or their source)
pub(super) fn job_counts(app: &AppState) -> (usize, usize) {
    let jobs = app.registry.jobs();
    let live = jobs.iter().filter(|j| j.is_live()).count();
    let queued = app.registry.queued();
    (live - queued.min(live), queued)
}

pub(super) async fn health(State(app): State<AppState>) -> Json<Value> {
    let (current, queued) = job_counts(&app);
    Json(json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.registry.uptime().as_secs_f64(),
        "current_jobs": current,
        "queued_jobs": queued,
    }))
}

pub(super) async fn alive() -> Json<Value> {
    Json(json!({"alive": true, "timestamp": jiff::Timestamp::now().to_string()}))
}

pub(super) async fn capabilities(State(app): State<AppState>) -> Json<Value> {
    let hardware = &app.registry.tools().hardware;
    let known = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .filter(|n| hardware.has_encoder(n))
            .map(|n| (*n).to_owned())
            .collect()
    };
    let software = ["libx264", "libx265", "libvpx-vp9", "libsvtav1"];
    let decoders = ["h264", "hevc", "vp9", "av1", "mpeg2video", "mpeg4", "vc1"];
    let decoders: Vec<&str> = decoders
        .into_iter()
        .filter(|d| hardware.decoders.contains(*d))
        .collect();
    let accelerators = app.registry.accelerators();
    let reports = accelerators.reports().await;
    let resting = accelerators.resting();
    let told = |report| accelerator(report, &resting);
    // In the order and number of the original.
    let mut accels: Vec<Value> = reports.iter().map(told).collect();
    accels.push(json!({
        "type": "software",
        "available": true,
        "encoders": known(&software),
        "decoders": decoders,
    }));
    Json(json!({
        "hw_accels": accels,
        "video_codecs": hardware.video_codecs(),
        "audio_codecs": hardware.audio_codecs(),
        "formats": ["hls", "mp4", "webm", "mkv"],
        "max_concurrent_jobs": app.max_concurrent_jobs,
        "ffmpeg_version": hardware.ffmpeg_version,
        "platform": platform(),
    }))
}

fn accelerator(report: &AcceleratorReport, resting: &HashSet<Accelerator>) -> Value {
    let rests = report.is_available() && resting.contains(&report.accelerator);
    let reason = match rests {
        true => Some("it failed and rests for a while"),
        false => report.reason.as_deref(),
    };
    let mut entry = json!({
        "type": report.accelerator.name(),
        "available": report.is_available() && !rests,
        "encoders": report.encoders,
        "decoders": [],
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let (Some(value), Some(entry)) = (value, entry.as_object_mut()) {
            entry.insert(name.to_owned(), value);
        }
    };
    put("reason", reason.map(Value::from));
    let device = report.device.as_deref().filter(|_| report.is_available());
    put("device_path", device.map(Value::from));
    let gpu = report.gpu.as_ref();
    put("gpu_info", gpu.map(|g| {
        json!({"name": g.name, "memory_mb": g.memory_mb, "driver_version": g.driver_version})
    }));
    entry
}

/// Name and version of the operating system.
pub fn platform() -> String {
    let name = sysinfo::System::name().unwrap_or_else(|_| std::env::consts::OS.to_owned());
    match sysinfo::System::kernel_version() {
        Ok(version) => format!("{name} {version}"),
        Err(_) => name,
    }
}

pub(super) async fn stats(State(app): State<AppState>) -> Json<Value> {
    let totals = &app.registry.totals;
    let count = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
    let (current, queued) = job_counts(&app);
    let succeeded = count(&totals.succeeded);
    Json(json!({
        "total_jobs_processed": succeeded + count(&totals.failed) + count(&totals.cancelled),
        "successful_jobs": succeeded,
        "failed_jobs": count(&totals.failed),
        "cancelled_jobs": count(&totals.cancelled),
        "current_queue_length": queued,
        "active_jobs": current,
        "average_transcode_speed": app.registry.average_speed(),
        "uptime_seconds": app.registry.uptime().as_secs_f64(),
        "total_bytes_processed": app.registry.cache().written_bytes(),
        "hw_accel_usage": app.registry.hardware_usage(),
        "active_encoders": app.registry.active_encoders(),
        "cache_bytes": app.registry.cache().used_bytes(),
    }))
}
