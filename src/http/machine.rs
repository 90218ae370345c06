//! `GET /api/health/detailed`: how the machine is (contract section 2, row 3).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use sysinfo::System;

use super::health::job_counts;
use super::state::AppState;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Below these a machine that is nearly full is in trouble: the last five percent of a large disk
/// are still a lot.
const SCARCE_MEMORY_BYTES: u64 = 256 * MIB;
const SCARCE_DISK_BYTES: u64 = GIB;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Healthy,
    Degraded,
    Unhealthy,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Degraded => "degraded",
            Verdict::Unhealthy => "unhealthy",
        }
    }

    fn of(used_percent: f64, degraded: f64) -> Verdict {
        if used_percent >= degraded {
            Verdict::Degraded
        } else {
            Verdict::Healthy
        }
    }

    /// Of memory and disk.
    fn of_space(used_percent: f64, free_bytes: u64, scarce_bytes: u64) -> Verdict {
        if used_percent >= 95.0 && free_bytes < scarce_bytes {
            Verdict::Unhealthy
        } else {
            Verdict::of(used_percent, 85.0)
        }
    }
}

/// What was read of the machine, percent and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    cpu_percent: f64,
    memory_percent: f64,
    memory_free_bytes: u64,
    disk_percent: f64,
    disk_free_bytes: u64,
}

/// Reads the load of the machine: that of the processors since the last time.
#[derive(Debug)]
pub struct Machine {
    /// `None` on a system whose load cannot be read.
    system: Arc<Mutex<Option<System>>>,
    folder: PathBuf,
}

impl Machine {
    /// `folder` lies on the disk that counts.
    pub fn new(folder: PathBuf) -> Machine {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Machine {
            system: Arc::new(Mutex::new(system)),
            folder,
        }
    }

    /// `None` when the machine does not say. Cancel-safe.
    async fn read(&self) -> Option<Reading> {
        let (system, folder) = (self.system.clone(), self.folder.clone());
        let read = move || {
            let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
            let system = system.as_mut()?;
            system.refresh_cpu_usage();
            system.refresh_memory();
            let cpu_percent = f64::from(system.global_cpu_usage());
            let (free, total) = (system.available_memory(), system.total_memory());
            let disk = nix::sys::statvfs::statvfs(&folder).ok()?;
            let unit = disk.fragment_size();
            let (disk_free, disk_total) = (disk.blocks_available() * unit, disk.blocks() * unit);
            let used = |free: u64, all: u64| 100.0 - free as f64 / all.max(1) as f64 * 100.0;
            Some(Reading {
                cpu_percent,
                memory_percent: used(free, total),
                memory_free_bytes: free,
                disk_percent: used(disk_free, disk_total),
                disk_free_bytes: disk_free,
            })
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }
}

/// Jobs against their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    active: usize,
    max_active: usize,
    queued: usize,
    max_queued: usize,
}

/// The verdict on all, and on each. Busy processors are what a transcoder is for: they never make it
/// unhealthy, since a 503 would be asked again and again.
fn judge(reading: Reading, load: Load) -> (Verdict, Value) {
    let queue_percent = load.queued as f64 / load.max_queued.max(1) as f64 * 100.0;
    let cpu = Verdict::of(reading.cpu_percent, 90.0);
    let memory = Verdict::of_space(
        reading.memory_percent,
        reading.memory_free_bytes,
        SCARCE_MEMORY_BYTES,
    );
    let disk = Verdict::of_space(
        reading.disk_percent,
        reading.disk_free_bytes,
        SCARCE_DISK_BYTES,
    );
    let queue = Verdict::of(queue_percent, 80.0);
    let all = cpu
        .max(memory)
        .max(disk)
        .max(Verdict::of(queue_percent, 95.0));
    let percent = |v: f64| (v * 10.0).round() / 10.0;
    let checks = json!({
        "cpu": {"status": cpu.name(), "usage_percent": percent(reading.cpu_percent)},
        "memory": {
            "status": memory.name(),
            "usage_percent": percent(reading.memory_percent),
            "available_mb": reading.memory_free_bytes / MIB,
        },
        "disk": {
            "status": disk.name(),
            "usage_percent": percent(reading.disk_percent),
            "free_gb": reading.disk_free_bytes / GIB,
        },
        "job_queue": {
            "status": queue.name(),
            "current": load.queued,
            "max": load.max_queued,
            "usage_percent": percent(queue_percent),
        },
        "active_jobs": {
            "status": "healthy",
            "count": load.active,
            "max_concurrent": load.max_active,
        },
    });
    (all, checks)
}

/// `GET /api/health/detailed`: 503 only when something is about to fail.
pub(super) async fn detailed(State(app): State<AppState>) -> Response {
    let Some(reading) = app.machine.read().await else {
        let body = json!({"status": Verdict::Unhealthy.name(), "reason": "the machine's load cannot be read"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    };
    let (active, queued) = job_counts(&app);
    let load = Load {
        active,
        max_active: app.max_concurrent_jobs,
        queued,
        max_queued: app.batches.max_queued(),
    };
    let (verdict, checks) = judge(reading, load);
    let body = json!({
        "status": verdict.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "environment": &*app.environment,
        "uptime_seconds": app.registry.uptime().as_secs_f64(),
        "timestamp": jiff::Timestamp::now().as_microsecond() as f64 / 1e6,
        "checks": checks,
    });
    let status = match verdict {
        Verdict::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        Verdict::Healthy | Verdict::Degraded => StatusCode::OK,
    };
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Reading = Reading {
        cpu_percent: 20.0,
        memory_percent: 50.0,
        memory_free_bytes: 8 * GIB,
        disk_percent: 50.0,
        disk_free_bytes: 100 * GIB,
    };
    const QUIET: Load = Load {
        active: 0,
        max_active: 2,
        queued: 0,
        max_queued: 100,
    };

    #[test]
    fn verdicts_follow_the_contracts_thresholds() {
        let of = |reading, load| judge(reading, load).0;
        let queued = |queued| Load { queued, ..QUIET };
        let cpu = |cpu_percent| Reading {
            cpu_percent,
            ..WELL
        };
        let disk = |disk_percent, disk_free_bytes| Reading {
            disk_percent,
            disk_free_bytes,
            ..WELL
        };
        let memory = |memory_percent, memory_free_bytes| Reading {
            memory_percent,
            memory_free_bytes,
            ..WELL
        };
        assert_eq!(of(WELL, QUIET), Verdict::Healthy);
        assert_eq!(of(cpu(89.0), QUIET), Verdict::Healthy);
        assert_eq!(of(cpu(100.0), QUIET), Verdict::Degraded);
        assert_eq!(of(disk(84.0, GIB), QUIET), Verdict::Healthy);
        assert_eq!(of(disk(97.0, 50 * GIB), QUIET), Verdict::Degraded);
        assert_eq!(of(disk(97.0, MIB), QUIET), Verdict::Unhealthy);
        assert_eq!(of(memory(90.0, MIB), QUIET), Verdict::Degraded);
        assert_eq!(of(memory(96.0, MIB), QUIET), Verdict::Unhealthy);
        assert_eq!(of(WELL, queued(94)), Verdict::Healthy);
        assert_eq!(of(WELL, queued(95)), Verdict::Degraded);
        let (_, checks) = judge(WELL, queued(80));
        assert_eq!(checks["job_queue"]["status"], "degraded");
        assert_eq!(checks["job_queue"]["usage_percent"], 80.0);
    }
}
