//! `--detect-hw`: what this machine can encode with.

use std::io::Write;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app;
use crate::config::Config;
use crate::hardware::{Accelerator, AcceleratorReport, Hardware};

/// Tests all encoders and prints the results, as the original words them (contract section 12).
pub(super) fn print(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let (hardware, reports) = runtime.block_on(async {
        let opener = app::opener(config, &TaskTracker::new(), &CancellationToken::new()).await?;
        let reports = opener.accelerators.reports().await.to_vec();
        Ok::<_, anyhow::Error>((opener.tools.hardware.clone(), reports))
    })?;
    runtime.shutdown_background();
    std::io::stdout().write_all(text(&hardware, &reports).as_bytes())?;
    Ok(())
}

fn text(hardware: &Hardware, reports: &[AcceleratorReport]) -> String {
    let mut lines = vec![
        format!("Platform: {}", std::env::consts::OS),
        format!("FFmpeg Version: {}", hardware.ffmpeg_version),
        "Hardware Acceleration:".to_owned(),
    ];
    for report in reports {
        let name = report.accelerator.name().to_uppercase();
        match &report.reason {
            None => {
                lines.push(format!("  {name} [OK] Available"));
                lines.push(format!("    Encoders: {}", report.encoders.join(", ")));
            }
            Some(reason) => lines.push(format!("  {name} [--] Not available: {reason}")),
        }
        if let Some(gpu) = &report.gpu {
            let memory = gpu.memory_mb.map_or(String::new(), |m| format!(", {m} MB"));
            let driver = gpu.driver_version.as_deref();
            let driver = driver.map_or(String::new(), |d| format!(", driver {d}"));
            lines.push(format!("    GPU: {}{memory}{driver}", gpu.name));
        }
    }
    lines.push("  SOFTWARE [OK] Available".to_owned());
    lines.push(format!(
        "Video Codecs: {}",
        hardware.video_codecs().join(", ")
    ));
    lines.push(format!(
        "Audio Codecs: {}",
        hardware.audio_codecs().join(", ")
    ));
    let works = |a: &Accelerator| {
        let report = reports.iter().find(|r| r.accelerator == *a);
        report.is_some_and(AcceleratorReport::is_available)
    };
    let best = Accelerator::BEST_FIRST.into_iter().find(works);
    let best = best.map_or("software", Accelerator::name);
    lines.push(format!("Best Hardware Acceleration: {best}"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_works_and_why_the_rest_does_not() {
        let report = |accelerator, encoders: &[&str], reason: Option<&str>| AcceleratorReport {
            accelerator,
            encoders: encoders.iter().map(|e| (*e).to_owned()).collect(),
            reason: reason.map(str::to_owned),
            device: None,
            gpu: None,
        };
        let reports = [
            report(Accelerator::Nvenc, &[], Some("no driver")),
            report(Accelerator::Vaapi, &["h264_vaapi"], None),
        ];
        let text = text(&Hardware::default(), &reports);
        assert!(text.contains("  NVENC [--] Not available: no driver\n"));
        assert!(text.contains("  VAAPI [OK] Available\n    Encoders: h264_vaapi\n"));
        assert!(text.ends_with("Best Hardware Acceleration: vaapi\n"));
    }
}
