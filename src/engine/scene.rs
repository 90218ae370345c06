//! Encoding one scene.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::artifact::ArtifactName;
use crate::ffmpeg::{
    RunError, Watching, count_frames, encoder_command, picture_command, run_piped, run_to_end,
};
use crate::job::{Failure, Measured, SceneSpec};
use crate::media::{LocalFile, SceneEncoder, SourceLocator};
use crate::plan::scenes::{
    EncodePlace, GRAIN_FILE, Measuring, OptionError, QuantiserSearch, ScenePass, ScenePasses,
    SceneWork, plan_scene, quantisers, read_scores, translate,
};
use crate::session::{FileProgress, Opener};
use crate::source::{InputOptions, ffmpeg_input_options};

use super::transcode::{again, never};

/// Longest time that decoding the result may take.
const DECODE_WITHIN: Duration = Duration::from_secs(600);
/// Share of the progress that finding a quantiser counts for, percent.
const SEARCH_SHARE: f64 = 40.0;

/// A scene, and where it is encoded.
pub(super) struct SceneShop<'a> {
    pub(super) opener: &'a Opener,
    pub(super) spec: &'a SceneSpec,
    /// Its own folder, which holds the segment.
    pub(super) folder: &'a Path,
    pub(super) segment: &'a str,
    pub(super) stall: Duration,
    /// Threads of one encoder.
    pub(super) threads: usize,
    pub(super) progress: &'a watch::Sender<FileProgress>,
}

/// A scene that is encoded and verified.
pub(super) struct MadeScene {
    pub(super) path: PathBuf,
    pub(super) name: &'static str,
    pub(super) measured: Option<Measured>,
    pub(super) notes: Vec<String>,
}

/// The name of the segment in the folder of a scene.
pub(super) const SEGMENT: &str = "segment.mkv";

/// What another engine, or a worker of grav1, may be able to do.
fn unsuited(error: &OptionError) -> bool {
    matches!(
        error,
        OptionError::NoEncoder(_)
            | OptionError::NeedsTool(..)
            | OptionError::NoMetric
            | OptionError::FfmpegOption(_)
            | OptionError::Filter(_)
    )
}

fn refused(error: OptionError) -> Failure {
    match unsuited(&error) {
        true => Failure::Unsuited {
            reason: error.to_string().into(),
        },
        false => never(error.to_string()),
    }
}

fn ended(error: RunError) -> Failure {
    match error {
        // The encoder's own words: it would say them again.
        RunError::Failed(reason) if names_options(&reason) => never(reason),
        other => again(other.to_string()),
    }
}

/// Whether an encoder complains of its options rather than of its work.
fn names_options(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    let words = [
        "option",
        "argument",
        "parameter",
        "invalid",
        "unrecognized",
        "not understood",
    ];
    words.iter().any(|w| reason.contains(w))
}

/// Name of a scene's file among artifacts.
fn result_name(encoder: SceneEncoder) -> &'static str {
    if encoder.keeps_order() {
        "scene.ivf"
    } else {
        "scene.mp4"
    }
}

impl SceneShop<'_> {
    /// Encodes the scene, at the quality that is asked for. Cancel-safe: dropping it ends the encoder.
    pub(super) async fn make(&self) -> Result<MadeScene, Failure> {
        let mut measured = None;
        let mut notes = Vec::new();
        let mut quantiser = None;
        if let Some(goal) = self.spec.quality {
            let measuring = translate(goal, &self.opener.tools.hardware);
            let measuring = measuring.ok_or_else(|| refused(OptionError::NoMetric))?;
            if measuring.metric != goal.metric {
                let (wanted, used) = (goal.metric.name(), measuring.metric.name());
                let (asked, aim) = (goal.value, measuring.goal);
                notes.push(format!(
                    "{wanted} {asked} was asked for; this ffmpeg has no {wanted}: {used} {aim:.4} was aimed at"
                ));
            }
            quantiser = Some(self.search(measuring).await?);
            let path = self.encode(quantiser, false, SEARCH_SHARE).await?;
            let value = self.measure(measuring, &path).await?;
            measured = Some(Measured {
                metric: measuring.metric,
                value,
                quantiser: quantiser.unwrap_or_default(),
            });
        } else {
            self.encode(quantiser, false, 0.0).await?;
        }
        let name = result_name(self.spec.encoder);
        let path = self.folder.join(name);
        self.verify(&path).await?;
        Ok(MadeScene {
            path,
            name,
            measured,
            notes,
        })
    }

    async fn search(&self, measuring: Measuring) -> Result<u32, Failure> {
        let (lowest, highest) = quantisers(self.spec.encoder);
        let mut search = QuantiserSearch::new(measuring.goal, lowest, highest);
        let mut probes = 0.0;
        while let Some(quantiser) = search.next() {
            let path = self.encode(Some(quantiser), true, 0.0).await?;
            let score = self.measure(measuring, &path).await?;
            tracing::debug!(
                scene = self.spec.scene,
                quantiser,
                metric = measuring.metric.name(),
                score,
                "a scene is probed"
            );
            search.record(quantiser, score);
            probes += 1.0;
            self.tell(SEARCH_SHARE * probes / (probes + 2.0), 0);
        }
        Ok(search.found())
    }

    fn tell(&self, percent: f64, frame: u64) {
        self.progress.send_modify(|p| {
            p.percent = p.percent.max(percent.min(99.9));
            p.frame = frame;
        });
    }

    fn input(&self, file: &str) -> Result<InputOptions, Failure> {
        let local = LocalFile::new(self.folder, self.folder.join(file));
        let local = local.ok_or_else(|| again("the work has no folder"))?;
        Ok(ffmpeg_input_options(&SourceLocator::File(local), None))
    }

    /// Encodes the whole scene; where the result lies. Progress goes from `from` percent to the end, but
    /// that of probes is not told.
    async fn encode(
        &self,
        quantiser: Option<u32>,
        is_probe: bool,
        from: f64,
    ) -> Result<PathBuf, Failure> {
        let spec = self.spec;
        let work = SceneWork {
            encoder: spec.encoder,
            encoder_params: &spec.encoder_params,
            ffmpeg_params: &spec.ffmpeg_params,
            lead: spec.lead,
            frames: spec.frames,
            rate: spec.rate,
            quantiser,
            is_probe,
            has_grain: spec.grain.is_some(),
        };
        let folder = self.folder.to_string_lossy();
        let programs = &self.opener.tools.programs;
        let place = EncodePlace {
            folder: &folder,
            hardware: &self.opener.tools.hardware,
            has_aomenc: programs.aomenc.is_some(),
            has_vpxenc: programs.vpxenc.is_some(),
            threads: self.threads,
        };
        let ScenePasses { passes, file } = plan_scene(&work, &place).map_err(refused)?;
        let total = f64::from(spec.frames.max(1)) * passes.len() as f64;
        for (nth, pass) in passes.iter().enumerate() {
            let done = f64::from(spec.frames) * nth as f64;
            let mut frames = |frame: u64| {
                let share = ((done + frame as f64) / total).clamp(0.0, 1.0);
                if !is_probe {
                    self.tell(from + (100.0 - from) * share, frame);
                }
            };
            self.run(pass, &folder, &mut frames).await?;
        }
        Ok(self.folder.join(file))
    }

    async fn run(
        &self,
        pass: &ScenePass,
        folder: &str,
        frames: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Failure> {
        let input = self.input(self.segment)?;
        let tools = &self.opener.tools;
        let mut command = encoder_command(tools, &input, &pass.ffmpeg);
        command.arg("-y");
        let secrets = [folder];
        let mut output = |_: &[u8]| {};
        let watching = Watching {
            output: &mut output,
            frames,
            stall: self.stall,
            secrets: &secrets,
        };
        let launcher = &self.opener.launcher;
        let program = match self.spec.encoder {
            SceneEncoder::Aom => tools.programs.aomenc.as_ref(),
            _ => tools.programs.vpxenc.as_ref(),
        };
        let run = match (&pass.tool, program) {
            (Some(args), Some(program)) => {
                run_piped(launcher, command, program, args, watching).await
            }
            _ => run_to_end(launcher, command, watching).await,
        };
        run.map_err(ended)
    }

    async fn measure(&self, measuring: Measuring, encoded: &Path) -> Result<f64, Failure> {
        let file = encoded.file_name().unwrap_or_default().to_string_lossy();
        let (original, encoded) = (self.input(self.segment)?, self.input(&file)?);
        let run = measuring.run(&self.spec.ffmpeg_params, self.spec.lead, self.spec.frames);
        let command = picture_command(&self.opener.tools, &original, Some(&encoded), &run);
        let mut text = Vec::new();
        let mut output = |bytes: &[u8]| text.extend_from_slice(bytes);
        let watching = Watching {
            output: &mut output,
            frames: &mut |_| {},
            stall: self.stall,
            secrets: &[],
        };
        let measured = run_to_end(&self.opener.launcher, command, watching).await;
        measured.map_err(ended)?;
        let text = String::from_utf8_lossy(&text);
        let score = read_scores(measuring.metric, &text);
        score.ok_or_else(|| again("the quality of the scene could not be measured"))
    }

    /// The result is decoded to its end before it is delivered.
    async fn verify(&self, path: &Path) -> Result<(), Failure> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let input = self.input(&file)?;
        let (tools, launcher) = (&self.opener.tools, &self.opener.launcher);
        let decoded = count_frames(tools, launcher, &input, DECODE_WITHIN).await;
        let decoded = decoded.map_err(|e| again(e.to_string()))?;
        if let Some(fault) = decoded.fault {
            return Err(again(format!("the encode is damaged: {fault}")));
        }
        match decoded.frames == u64::from(self.spec.frames) {
            true => Ok(()),
            false => Err(again(format!(
                "the encode has {} frames, not {}",
                decoded.frames, self.spec.frames
            ))),
        }
    }
}

/// What a scene is made of: artifacts, and the names of their files in its folder.
pub(super) fn parts_of(spec: &SceneSpec) -> Result<Vec<(ArtifactName, &'static str)>, Failure> {
    let segment = spec.segment.parse();
    let segment = segment.map_err(|_| never("the job names no segment"))?;
    let mut parts = vec![(segment, SEGMENT)];
    if let Some(grain) = &spec.grain {
        let grain = grain.parse();
        let grain = grain.map_err(|_| never("the job names no table of film grain"))?;
        parts.push((grain, GRAIN_FILE));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_encoder_refuses_is_refused_for_good() {
        let ends = |text: &str| ended(RunError::Failed(text.into()));
        let refused = ends("Error: Unrecognized option --nosuch");
        assert!(matches!(refused, Failure::Permanent { .. }));
        let refused = ends("Error parsing option 'nosuch'");
        assert!(matches!(refused, Failure::Permanent { .. }));
        assert!(matches!(
            ends("Cannot allocate memory"),
            Failure::Transient { .. }
        ));
    }
}
