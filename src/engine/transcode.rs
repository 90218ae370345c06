//! Making one file of another.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{Process, encoder_command};
use crate::job::{Failure, JobSpec, TranscodeSpec, codec_family};
use crate::media::{Mode, OutputFormat, SourceLocator, StreamRequest, VideoChoice};
use crate::plan::{BatchPlace, BatchPlan, batch_file, plan_batch};
use crate::session::{Opener, SessionError};
use crate::source::{GateGuard, InputOptions, SourceErrorKind, ffmpeg_input_options};

use super::desk::Assignment;

/// Where work is done.
pub(super) struct Shop {
    pub(super) opener: Opener,
    pub(super) folder: PathBuf,
    pub(super) stall_timeout: Duration,
}

/// A file that was made.
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) name: &'static str,
    /// What was wanted and could not be had.
    pub(super) notes: Vec<String>,
    folder: PathBuf,
}

/// Between the request to end and the end of an encoder.
const GRACE: Duration = Duration::from_secs(2);

fn again(reason: impl Into<String>) -> Failure {
    Failure::Transient {
        reason: reason.into().into(),
    }
}

fn never(reason: impl Into<String>) -> Failure {
    Failure::Permanent {
        reason: reason.into().into(),
    }
}

impl Shop {
    /// Does the work; `progress` goes from 0 to 100. Cancel-safe: dropping it ends the encoder.
    pub(super) async fn make(
        &self,
        work: &Assignment,
        progress: &watch::Sender<f64>,
    ) -> Result<Made, Failure> {
        match &work.spec {
            JobSpec::Transcode(spec) => self.transcode(work, spec, progress).await,
            JobSpec::Batch(_) => Err(Failure::Unsuited {
                reason: "this engine does no batch jobs".into(),
            }),
        }
    }

    /// Deletes what is left of a job.
    pub(super) async fn clear(&self, work: &Assignment) {
        clear(self.folder_of(work)).await;
    }

    fn folder_of(&self, work: &Assignment) -> PathBuf {
        self.folder.join(format!("{}-{}", work.job, work.attempt))
    }

    async fn transcode(
        &self,
        work: &Assignment,
        spec: &TranscodeSpec,
        progress: &watch::Sender<f64>,
    ) -> Result<Made, Failure> {
        let request = request(&spec.target_codec)?;
        let opener = &self.opener;
        let locator = opener.resolve(&spec.source_url).await.map_err(unreadable)?;
        let facts = opener.facts(&locator).await.map_err(unreadable)?;
        let hardware = opener.hardware(request.output.hw_accel).await;
        let plan = plan_batch(&facts.probe, &request, &hardware, &opener.plan)
            .map_err(|e| never(e.to_string()))?;
        let folder = self.folder_of(work);
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|e| again(format!("no folder can be made for the work: {}", e.kind())))?;
        let mut attempt = self.encode(&locator, &plan, &folder, progress).await;
        if let (Err(_), Some(software)) = (&attempt, plan.in_software()) {
            tracing::info!(job.id = %work.job, "once more without hardware");
            attempt = self.encode(&locator, &software, &folder, progress).await;
        }
        attempt?;
        let name = batch_file(plan.format).name;
        Ok(Made {
            path: folder.join(name),
            name,
            notes: Vec::new(),
            folder,
        })
    }

    async fn encode(
        &self,
        locator: &SourceLocator,
        plan: &BatchPlan,
        folder: &std::path::Path,
        progress: &watch::Sender<f64>,
    ) -> Result<(), Failure> {
        let place = BatchPlace {
            folder: folder.to_string_lossy().into_owned(),
            base_url: String::new(),
        };
        let rate = plan.video.as_ref().map(|v| v.rate.as_f64());
        let frames = rate.zip(plan.duration).map(|(r, d)| r * d.as_secs_f64());
        for nth in 0..plan.passes() {
            let shown = |frame: u64| {
                let part = frames.map_or(0.0, |all| (frame as f64 / all.max(1.0)).min(1.0));
                // The last percent is for delivering.
                progress.send_replace(99.0 * (nth as f64 + part) / plan.passes() as f64);
            };
            let cancel = CancellationToken::new();
            let gate = self.opener.gate(locator, &cancel);
            let gate = gate.map_err(|e| again(format!("no local port: {}", e.kind())))?;
            let input = ffmpeg_input_options(locator, gate.as_ref().map(GateGuard::proxy_url));
            let run = plan.pass(nth, &place);
            let command = encoder_command(&self.opener.tools, &input, &run);
            self.watch(command, &input, folder, shown).await?;
        }
        Ok(())
    }

    async fn watch(
        &self,
        command: tokio::process::Command,
        input: &InputOptions,
        folder: &std::path::Path,
        shown: impl Fn(u64),
    ) -> Result<(), Failure> {
        let process = Process::spawn(&self.opener.launcher, command, GRACE).await;
        let mut process = process.map_err(|e| again(e.to_string()))?;
        let mut progress = process.progress.clone();
        let exit = loop {
            tokio::select! {
                exit = process.wait() => break exit,
                moved = tokio::time::timeout(self.stall_timeout, progress.changed()) => match moved {
                    Ok(Ok(())) => shown(progress.borrow_and_update().frame),
                    // Its last words were said; now it ends.
                    Ok(Err(_)) => break process.wait().await,
                    Err(_) => {
                        process.stop();
                        process.wait().await;
                        return Err(again("the encoder made no progress and was ended"));
                    }
                },
            }
        };
        if exit.success() {
            return Ok(());
        }
        let (url, folder) = (input.url.to_string_lossy(), folder.to_string_lossy());
        let secrets = [
            url.as_ref(),
            url.trim_start_matches("file:"),
            folder.as_ref(),
        ];
        let reason = exit.log.reason(&secrets);
        Err(again(reason.unwrap_or_else(|| "the encoder failed".into())))
    }
}

impl Made {
    /// Deletes it: it has been delivered, or nobody wants it.
    pub(super) async fn discard(self) {
        clear(self.folder).await;
    }
}

async fn clear(folder: PathBuf) {
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot delete the files of a job");
    }
}

/// What distconv's `target_codec` asks of our planner: the codec, everything else as it fits.
fn request(target_codec: &str) -> Result<StreamRequest, Failure> {
    let family = codec_family(target_codec);
    let choice: Option<VideoChoice> = family.parse().ok();
    let Some(video) = choice.filter(|c| *c != VideoChoice::Auto) else {
        // Another engine may know it.
        return Err(again(format!(
            "target_codec '{target_codec}' is not known; there are h264, h265, vp9, av1 and copy"
        )));
    };
    let mut request = StreamRequest {
        mode: Mode::Batch,
        ..StreamRequest::default()
    };
    request.output.format = OutputFormat::Mp4;
    request.output.video = video;
    Ok(request)
}

/// A source that is refused or no media will be so next time; others may come back.
fn unreadable(error: SessionError) -> Failure {
    let text = error.to_string();
    match &error {
        SessionError::Source(e) => match e.kind() {
            SourceErrorKind::BadRequest | SourceErrorKind::Forbidden => never(text),
            SourceErrorKind::NotFound | SourceErrorKind::BadGateway | SourceErrorKind::Timeout => {
                again(text)
            }
        },
        _ => again(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_codecs_are_codecs_or_encoders() {
        let video = |name| request(name).map(|r| r.output.video).ok();
        assert_eq!(video("h264"), Some(VideoChoice::H264));
        assert_eq!(video("libx265"), Some(VideoChoice::H265));
        assert_eq!(video("VP9"), Some(VideoChoice::Vp9));
        assert_eq!(video("copy"), Some(VideoChoice::Copy));
        for unknown in ["auto", "nosuchcodec", ""] {
            assert_eq!(video(unknown), None, "{unknown}");
        }
    }
}
