//! A whole source into one file: the work of a batch job.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::MediaTime;
use crate::ffmpeg::{Process, ProgressReport, encoder_command};
use crate::hardware::Accelerator;
use crate::media::{SourceLocator, StreamRequest};
use crate::plan::{BatchFile, BatchPlace, BatchPlan, batch_file, plan_batch};
use crate::source::{GateGuard, InputOptions};

use super::error::SessionError;
use super::look_over::{look_over, size_of, written_within};
use super::open::{Opener, source_trouble};

/// Where and how a file is made.
#[derive(Debug, Clone)]
pub struct FileOrder {
    pub locator: SourceLocator,
    pub request: StreamRequest,
    /// What HLS playlists put before the names of segments.
    pub base_url: String,
    /// Time without progress after which an encoder counts as hung.
    pub stall_timeout: Duration,
}

/// What holds for every file that is made.
#[derive(Debug, Clone, Copy)]
pub struct FileRules {
    /// Bytes that all files of one order may have together.
    pub max_bytes: u64,
    /// Whether files are looked over before they count as made.
    pub looks_over: bool,
    /// Whether encoders stand still while somebody waits for pictures of a stream.
    pub gives_way: bool,
}

impl Default for FileRules {
    fn default() -> Self {
        FileRules {
            max_bytes: u64::MAX,
            looks_over: true,
            gives_way: false,
        }
    }
}

/// How far a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FileProgress {
    /// 0 to 100 over all passes; 0 as long as the length of the source is not known.
    pub percent: f64,
    /// Media time made, seconds: of several passes each counts for its share. Never falls.
    pub seconds: f64,
    pub duration: Option<f64>,
    pub frame: u64,
    /// Pictures per second.
    pub fps: f64,
    /// Media time per wall time, over all passes.
    pub speed: f64,
    /// The hardware that encodes; `None` = software.
    pub accelerator: Option<Accelerator>,
}

/// A file that was made, in the folder of its order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MadeFile {
    pub file: BatchFile,
    pub duration: Option<MediaTime>,
    pub accelerator: Option<Accelerator>,
}

/// Time between SIGTERM and SIGKILL: a muxer that is ended may close its file.
const GRACE: Duration = Duration::from_secs(2);

impl Opener {
    /// Makes the file that `order` asks for in `folder`, which is its own. Ends with `Cancelled` when
    /// `cancel` is, and when dropped; what is in the folder then is of no use.
    pub async fn make_file(
        &self,
        order: &FileOrder,
        folder: &Path,
        progress: &watch::Sender<FileProgress>,
        cancel: &CancellationToken,
    ) -> Result<MadeFile, SessionError> {
        let facts = cancel.run_until_cancelled(self.facts(&order.locator)).await;
        let facts = facts.ok_or(SessionError::Cancelled)??;
        let wanted = order.request.output.hw_accel;
        let hardware = self.hardware_for(&facts.probe, wanted).await;
        let mut plan = plan_batch(&facts.probe, &order.request, &hardware, &self.plan)?;
        let place = BatchPlace {
            folder: folder.to_string_lossy().into_owned(),
            base_url: order.base_url.clone(),
        };
        let mut nth = 0;
        while nth < plan.passes() {
            progress.send_modify(|p| {
                p.duration = plan.duration.map(MediaTime::as_secs_f64);
                p.accelerator = plan.accelerator();
            });
            let pass = Pass {
                opener: self,
                order,
                plan: &plan,
                place: &place,
                nth,
            };
            match (pass.run(progress, cancel).await, plan.accelerator()) {
                (Ok(()), _) => nth += 1,
                (Err(SessionError::Encoder(reason)), Some(accelerator)) => {
                    self.accelerators.failed(accelerator);
                    let Some(software) = plan.in_software() else {
                        return Err(SessionError::Encoder(reason));
                    };
                    tracing::warn!(%reason, "a hardware encoder failed; software begins anew");
                    (plan, nth) = (software, 0);
                }
                (Err(error), _) => return Err(error),
            }
        }
        let file = batch_file(plan.format);
        if file.name.ends_with(".m3u8") {
            name_header(&folder.join(file.name), &order.base_url).await?;
        }
        if self.files.looks_over {
            let looked = look_over(folder, file).await;
            looked.map_err(SessionError::Encoder)?;
        }
        Ok(MadeFile {
            file,
            duration: plan.duration,
            accelerator: plan.accelerator(),
        })
    }
}

/// ffmpeg puts `base_url` before the names of segments, but not before that of their header.
async fn name_header(playlist: &Path, base_url: &str) -> Result<(), SessionError> {
    let gone = |_: std::io::Error| {
        SessionError::Encoder("it ended well, but its playlist cannot be read".into())
    };
    let list = tokio::fs::read_to_string(playlist).await.map_err(gone)?;
    let named = list.replace("#EXT-X-MAP:URI=\"", &format!("#EXT-X-MAP:URI=\"{base_url}"));
    tokio::fs::write(playlist, named).await.map_err(gone)
}

struct Pass<'a> {
    opener: &'a Opener,
    order: &'a FileOrder,
    plan: &'a BatchPlan,
    place: &'a BatchPlace,
    nth: usize,
}

impl Pass<'_> {
    async fn run(
        &self,
        progress: &watch::Sender<FileProgress>,
        cancel: &CancellationToken,
    ) -> Result<(), SessionError> {
        let (input, gate) = self.opener.input(&self.order.locator)?;
        let invocation = self.plan.pass(self.nth, self.place);
        let mut command = encoder_command(&self.opener.tools, &input, &invocation);
        command.arg("-y");
        let process = Process::spawn(&self.opener.launcher, command, GRACE).await?;
        let stall = self.order.stall_timeout;
        let (mut heard, mut reached) = (Instant::now(), (0, 0));
        let mut reports = process.progress.clone();
        let mut awaited = self.opener.pictures_awaited.subscribe();
        let mut stands_still = false;
        let ended_early = loop {
            let waited_for = *awaited.borrow_and_update() > 0;
            let yields = self.opener.files.gives_way && waited_for;
            if yields != stands_still {
                stands_still = yields;
                heard = Instant::now();
                match yields {
                    true => process.suspend(),
                    false => process.resume(),
                }
            }
            tokio::select! {
                () = cancel.cancelled() => break Some(SessionError::Cancelled),
                _ = awaited.changed() => {}
                () = tokio::time::sleep_until(heard + stall), if !stands_still => {
                    // The index of a large MP4 is put before its media without a word.
                    if written_within(Path::new(&self.place.folder), stall).await {
                        heard = Instant::now();
                        continue;
                    }
                    let reason = format!("no progress for {} s", stall.as_secs());
                    break Some(SessionError::Encoder(reason));
                }
                changed = reports.changed() => match changed {
                    Ok(()) => {
                        let report = *reports.borrow_and_update();
                        self.tell(progress, report);
                        let now = (report.time_us, report.frame);
                        if now != reached {
                            (heard, reached) = (Instant::now(), now);
                        }
                        let most = self.opener.files.max_bytes;
                        if size_of(Path::new(&self.place.folder)).await > most {
                            break Some(SessionError::TooLarge(most));
                        }
                    }
                    // It has closed its standard error: it ends.
                    Err(_) => break None,
                },
            }
        };
        if let Some(error) = ended_early {
            process.stop();
            process.wait().await;
            return Err(error);
        }
        let exit = process.wait().await;
        let most = self.opener.files.max_bytes;
        match exit.success() {
            true if size_of(Path::new(&self.place.folder)).await > most => {
                Err(SessionError::TooLarge(most))
            }
            true => Ok(()),
            false => Err(self.failure(
                &input,
                gate.as_ref(),
                exit.log.reason(&self.secrets(&input)),
            )),
        }
    }

    fn secrets<'a>(&'a self, input: &'a InputOptions) -> [&'a str; 2] {
        [input.url.to_str().unwrap_or_default(), &self.place.folder]
    }

    fn failure(
        &self,
        input: &InputOptions,
        gate: Option<&GateGuard>,
        reason: Option<String>,
    ) -> SessionError {
        let report = gate.map(GateGuard::report);
        if let Some(report) = report {
            if report.truncated {
                let seen = "the source's server broke off in the middle";
                return SessionError::Gate(seen.into());
            }
            if let Some(seen) = source_trouble(report) {
                return seen;
            }
        }
        let file = input.url.to_string_lossy();
        let reason = reason.map(|r| r.replace(file.trim_start_matches("file:"), "the source"));
        SessionError::Encoder(reason.unwrap_or_else(|| "ffmpeg ended with an error".into()))
    }

    fn tell(&self, progress: &watch::Sender<FileProgress>, report: ProgressReport) {
        let passes = self.plan.passes() as f64;
        let whole = self.plan.duration.map(MediaTime::as_secs_f64);
        let video = self.plan.video.as_ref();
        let rate = video.map(|v| v.rate.as_f64()).filter(|r| *r > 0.0);
        let (seconds, speed) = match (report.time_us, rate) {
            // A first pass of VP9 writes nothing, so it has no time: its pictures are counted.
            (..=0, Some(rate)) => (report.frame as f64 / rate, report.fps / rate),
            (time_us, _) => ((time_us as f64 / 1e6).max(0.0), report.speed),
        };
        let share = whole.map_or(0.0, |w| (seconds / w.max(0.001)).clamp(0.0, 1.0));
        let done = (self.nth as f64 + share) / passes;
        progress.send_modify(|p| {
            // Audio runs ahead of video now and then, and software that stands in for hardware begins anew:
            // what was shown stays shown.
            p.percent = p.percent.max((done * 100.0).min(99.9));
            p.seconds = p.seconds.max(whole.map_or(seconds, |w| w * done));
            (p.frame, p.fps, p.speed) = (report.frame, report.fps, speed / passes);
        });
    }
}
