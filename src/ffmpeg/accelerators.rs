//! Finding the graphics processors that can encode, by letting them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::hardware::{Accelerator, AcceleratorReport, GpuInfo, parse_nvidia_smi};
use crate::plan::{AcceleratorSettings, dolby_vision_test, test_encode};

use super::benchmark::benchmark;
use super::launcher::Launcher;
use super::toolchain::Toolchain;

/// The accelerators of this machine. They are tested when somebody first asks.
pub struct Accelerators {
    tools: Arc<Toolchain>,
    launcher: Launcher,
    settings: AcceleratorSettings,
    /// Where the results of the tests are kept for the next start; `None` keeps none.
    cache_file: Option<PathBuf>,
    reports: OnceCell<Vec<AcceleratorReport>>,
    maps_dolby_vision: OnceCell<bool>,
    resting: Mutex<HashMap<Accelerator, Instant>>,
}

/// Time for one test encode of ten small pictures.
const TEST_WITHIN: Duration = Duration::from_secs(5);
/// Time for mapping one small picture: Vulkan in software compiles its programs first.
const MAPPING_WITHIN: Duration = Duration::from_secs(8);
/// Tests at one time: each starts a program of many libraries.
const TESTS_AT_ONCE: usize = 4;
/// How long an accelerator is left alone after an encoder on it has failed.
const REST: Duration = Duration::from_secs(120);

/// What of the machine decides about the results.
#[derive(Serialize, Deserialize, PartialEq)]
struct Machine {
    ffmpeg: PathBuf,
    version: String,
    settings: [String; 4],
    driver: String,
    devices: Vec<(String, bool)>,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    machine: Machine,
    reports: Vec<AcceleratorReport>,
}

impl Accelerators {
    pub fn new(
        tools: Arc<Toolchain>,
        launcher: Launcher,
        settings: AcceleratorSettings,
        cache_file: Option<PathBuf>,
    ) -> Self {
        Accelerators {
            tools,
            launcher,
            settings,
            cache_file,
            reports: OnceCell::new(),
            maps_dolby_vision: OnceCell::new(),
            resting: Mutex::default(),
        }
    }

    /// What the tests have shown, for each accelerator; runs them if nobody has. Takes at most a few
    /// seconds. Cancel-safe.
    pub async fn reports(&self) -> &[AcceleratorReport] {
        self.reports.get_or_init(|| self.detect()).await
    }

    /// Whether the colours of Dolby Vision profile 5 can be mapped; tests it if nobody has. Takes at most a
    /// few seconds. Cancel-safe.
    pub async fn maps_dolby_vision(&self) -> bool {
        let test = async {
            if !self.tools.hardware.has_filter("libplacebo") {
                return false;
            }
            let args = dolby_vision_test();
            let mapping = benchmark(&self.tools, &self.launcher, &args);
            let result = tokio::time::timeout(MAPPING_WITHIN, mapping).await;
            let works = matches!(result, Ok(Ok(_)));
            tracing::info!(works, "mapping of Dolby Vision profile 5 was tested");
            works
        };
        *self.maps_dolby_vision.get_or_init(|| test).await
    }

    /// The accelerators that work and do not rest.
    pub async fn usable(&self) -> Vec<AcceleratorReport> {
        let reports = self.reports().await;
        let resting = self.resting();
        let works = |r: &&AcceleratorReport| r.is_available() && !resting.contains(&r.accelerator);
        reports.iter().filter(works).cloned().collect()
    }

    /// An encoder on `accelerator` has failed: it is not used for a while.
    pub fn failed(&self, accelerator: Accelerator) {
        let until = Instant::now() + REST;
        let before = self.lock().insert(accelerator, until);
        if before.is_none_or(|b| b < Instant::now()) {
            let (name, seconds) = (accelerator.name(), REST.as_secs());
            tracing::warn!(accelerator = name, seconds, "hardware failed and rests");
        }
    }

    /// Accelerators that rest after a failure.
    pub fn resting(&self) -> HashSet<Accelerator> {
        let now = Instant::now();
        let resting = self.lock();
        let still = resting.iter().filter(|(_, until)| **until > now);
        still.map(|(accelerator, _)| *accelerator).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Accelerator, Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn detect(&self) -> Vec<AcceleratorReport> {
        let machine = self.machine().await;
        if let Some(reports) = self.remembered(&machine).await {
            return reports;
        }
        let began = Instant::now();
        let mut listed: Vec<(Accelerator, &'static str)> = Vec::new();
        for accelerator in Accelerator::ALL {
            for encoder in accelerator.encoders() {
                if self.tools.hardware.has_encoder(encoder) {
                    listed.push((accelerator, encoder));
                }
            }
        }
        let turns = Semaphore::new(TESTS_AT_ONCE);
        let tests = listed
            .into_iter()
            .map(|(a, e)| self.test_in_turn(&turns, a, e));
        let (results, gpu) = tokio::join!(future::join_all(tests), self.nvidia());
        let report = |accelerator: Accelerator| {
            let own = results.iter().filter(|(a, ..)| *a == accelerator);
            let worked = own.clone().filter(|(.., result)| result.is_ok());
            let encoders: Vec<String> = worked.map(|(_, e, _)| (*e).to_owned()).collect();
            let gpu = gpu.clone().filter(|_| accelerator == Accelerator::Nvenc);
            let failure = own.clone().find_map(|(.., result)| result.as_ref().err());
            let reason = match failure {
                _ if !encoders.is_empty() => None,
                None => Some("the installed ffmpeg has no encoders for it".to_owned()),
                Some(failure) => Some(explain(failure, gpu.as_ref())),
            };
            let vaapi = accelerator == Accelerator::Vaapi;
            AcceleratorReport {
                accelerator,
                reason,
                device: vaapi.then(|| self.settings.vaapi_device.clone()),
                gpu,
                encoders,
            }
        };
        let reports: Vec<AcceleratorReport> = Accelerator::ALL.into_iter().map(report).collect();
        let found = reports.iter().filter(|r| r.is_available());
        let found: Vec<&str> = found.map(|r| r.accelerator.name()).collect();
        let duration_ms = began.elapsed().as_millis() as u64;
        tracing::info!(accelerators = ?found, duration_ms, "hardware encoders were tested");
        self.remember(machine, &reports).await;
        reports
    }

    async fn test_in_turn(
        &self,
        turns: &Semaphore,
        accelerator: Accelerator,
        encoder: &'static str,
    ) -> (Accelerator, &'static str, Result<(), String>) {
        let _turn = turns.acquire().await;
        let result = self.test(accelerator, encoder).await;
        (accelerator, encoder, result)
    }

    /// Encodes a few pictures; the reason when that does not work.
    async fn test(&self, accelerator: Accelerator, encoder: &str) -> Result<(), String> {
        let args = test_encode(accelerator, encoder, &self.settings);
        let args = args.ok_or("it is not known")?;
        let encoding = benchmark(&self.tools, &self.launcher, &args);
        let limit = TEST_WITHIN.as_secs();
        match tokio::time::timeout(TEST_WITHIN, encoding).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the test encode took more than {limit} s")),
        }
    }

    async fn nvidia(&self) -> Option<GpuInfo> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this module is where processes start"
        )]
        let mut command = Command::new("nvidia-smi");
        command
            .args(["--query-gpu=name,memory.total,driver_version"])
            .arg("--format=csv,noheader,nounits")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let answer = tokio::time::timeout(TEST_WITHIN, command.output()).await;
        let output = answer.ok()?.ok()?;
        parse_nvidia_smi(&String::from_utf8_lossy(&output.stdout))
    }

    async fn machine(&self) -> Machine {
        let driver = tokio::fs::read_to_string("/proc/driver/nvidia/version").await;
        let mut devices = Vec::new();
        for folder in ["/dev/dri", "/dev"] {
            devices.extend(graphics_devices(Path::new(folder)).await);
        }
        devices.sort();
        let s = &self.settings;
        Machine {
            ffmpeg: self.tools.ffmpeg.clone(),
            version: self.tools.hardware.ffmpeg_version.clone(),
            settings: [
                &s.nvenc_preset,
                &s.qsv_preset,
                &s.videotoolbox_preset,
                &s.vaapi_device,
            ]
            .map(Clone::clone),
            driver: driver.unwrap_or_default(),
            devices,
        }
    }

    async fn remembered(&self, machine: &Machine) -> Option<Vec<AcceleratorReport>> {
        let text = tokio::fs::read(self.cache_file.as_ref()?).await.ok()?;
        let remembered: Remembered = serde_json::from_slice(&text).ok()?;
        (remembered.machine == *machine).then_some(remembered.reports)
    }

    async fn remember(&self, machine: Machine, reports: &[AcceleratorReport]) {
        let Some(file) = &self.cache_file else { return };
        let remembered = Remembered {
            machine,
            reports: reports.to_vec(),
        };
        let Ok(text) = serde_json::to_vec(&remembered) else {
            return;
        };
        if let Err(error) = tokio::fs::write(file, text).await {
            tracing::debug!(%error, "the results of hardware tests are not kept");
        }
    }
}

/// Names of devices, and whether this process may use them.
async fn graphics_devices(folder: &Path) -> Vec<(String, bool)> {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return Vec::new();
    };
    let mut devices = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name().to_string_lossy().into_owned();
        let graphics = ["renderD", "card", "nvidia", "dxg"];
        if graphics.iter().any(|g| name.starts_with(g)) {
            let mut options = tokio::fs::OpenOptions::new();
            let open = options.read(true).write(true).open(entry.path()).await;
            devices.push((name, open.is_ok()));
        }
    }
    devices
}

/// In words what ffmpeg says of hardware that is not there.
fn explain(failure: &str, gpu: Option<&GpuInfo>) -> String {
    let says = |words: &[&str]| words.iter().any(|w| failure.contains(w));
    match gpu {
        // Processors for data centres compute, but have no encoder.
        Some(gpu)
            if says(&[
                "unsupported device",
                "No capable devices",
                "OpenEncodeSession",
            ]) =>
        {
            format!("{} has no video encoder", gpu.name)
        }
        _ if says(&["Cannot load", "libcuda", "Could not dynamically load CUDA"]) => {
            "its driver is not installed".to_owned()
        }
        _ if says(&[
            "No VA display",
            "/dev/dri",
            "Device creation failed",
            "MFX session",
        ]) =>
        {
            "there is no device for it, or it may not be used".to_owned()
        }
        _ => failure.to_owned(),
    }
}
