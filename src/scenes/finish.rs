//! What grav1's workers deliver: checked, decoded, taken or refused (grav1 contract, section 3.4).

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::base::QueueId;
use crate::dispatch::DispatchError;
use crate::ffmpeg::{ProbeError, count_frames};
use crate::job::{Failure, Job, JobOutput, JobState, Proof, Refused};

use super::error::{ScenesError, StepError};
use super::files::store_file;
use super::project::{Project, scene_name};
use super::service::Scenes;
use super::split::segment_name;
use super::table::SceneState;

/// What a worker says of the file that it sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upload {
    pub project: String,
    pub scene: String,
    /// The id under which it was given the scene.
    pub worker: String,
    pub encoder: String,
    pub encoder_params: String,
    /// Workers of the first generation send none of the following.
    pub version: Option<String>,
    pub ffmpeg_params: Option<String>,
    pub grain: Option<String>,
    pub file_name: String,
}

/// The answer to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Saved,
    NoSuchProject,
    NoSuchScene,
    BadVersion,
    BadParams,
    /// An empty file, or one that is far too large.
    BadUpload,
    /// It cannot be decoded, or is of another codec.
    BadEncode,
    /// It has another number of pictures.
    FrameMismatch,
}

/// Longest time that decoding a scene may take.
const DECODE_WITHIN: Duration = Duration::from_secs(600);
/// An encode is smaller than the lossless segment, by far; scaled up by `ffmpeg_params` it may not be.
const MOST_OF_SEGMENT: u64 = 4;
const MOST_BYTES_ABOVE: u64 = 64 << 20;
/// Times that the job of a resting project is taken up for its result.
const MOST_TRIES: usize = 32;

struct Checked {
    project: Project,
    nth: usize,
    job: QueueId,
}

impl Scenes {
    /// Whether a file would be taken, before it is read; the most bytes it may have. `Saved`: it is there
    /// already, and this one is not needed.
    ///
    /// # Errors
    /// The database or the storage does not answer.
    pub async fn check_upload(&self, upload: &Upload) -> Result<Result<u64, Verdict>, ScenesError> {
        let checked = match self.check(upload) {
            Ok(checked) => checked,
            Err((verdict, nth)) => {
                if let Some(nth) = nth {
                    self.drop_holder(&upload.project, nth, &upload.worker);
                }
                return Ok(Err(verdict));
            }
        };
        let Some(segment) = segment_name(&checked.project, checked.nth) else {
            return Ok(Err(Verdict::NoSuchScene));
        };
        let segment = self.artifacts.facts(&segment).await?.size_bytes;
        let most = segment * MOST_OF_SEGMENT + MOST_BYTES_ABOVE;
        Ok(Ok(most.min(self.artifacts.max_bytes())))
    }

    /// Everything that can be said without the file.
    fn check(&self, upload: &Upload) -> Result<Checked, (Verdict, Option<usize>)> {
        let table = self.table();
        let entry = table.entries.get(&upload.project);
        // As the original, which looks at the version first: it stops the worker for good.
        let wanted = entry.and_then(|e| self.version_for(&e.project));
        if let (Some(wanted), Some(has)) = (wanted, &upload.version)
            && wanted != has
        {
            let nth = entry.and_then(|e| e.scene_number(&upload.scene));
            return Err((Verdict::BadVersion, nth));
        }
        let entry = entry.ok_or((Verdict::NoSuchProject, None))?;
        let nth = entry.scene_number(&upload.scene);
        let nth = nth.ok_or((Verdict::NoSuchScene, None))?;
        let project = &entry.project;
        let grain = upload.grain.as_deref().unwrap_or_default();
        let has_grain = !matches!(grain, "" | "0" | "False" | "false" | "None");
        if upload.encoder != project.encoder.name()
            || upload.encoder_params != project.params_of(nth)
            || upload.ffmpeg_params.as_deref().unwrap_or_default() != project.ffmpeg_params
            || has_grain != project.grain_table.is_some()
        {
            return Err((Verdict::BadParams, Some(nth)));
        }
        match entry.scenes[nth].state {
            SceneState::Open => {}
            SceneState::Done(_) => return Err((Verdict::Saved, Some(nth))),
            SceneState::Uncut => return Err((Verdict::NoSuchScene, None)),
            SceneState::GivenUp => return Err((Verdict::NoSuchScene, Some(nth))),
        }
        let job = project.job_id(nth).ok_or((Verdict::NoSuchScene, None))?;
        Ok(Checked {
            project: project.clone(),
            nth,
            job,
        })
    }

    /// Judges the file `path`, which lies in [`Scenes::folder`]; `None`: it was empty or too large. When
    /// the answer is `Saved`, the scene survives the gateway.
    ///
    /// # Errors
    /// The database or the storage does not answer; the worker should try again.
    pub async fn finish(
        &self,
        upload: &Upload,
        path: Option<&Path>,
    ) -> Result<Verdict, ScenesError> {
        let checked = match self.check(upload) {
            Ok(checked) => checked,
            Err((verdict, nth)) => {
                if let Some(nth) = nth {
                    self.drop_holder(&upload.project, nth, &upload.worker);
                }
                return Ok(verdict);
            }
        };
        let verdict = match path {
            None => Err((
                Verdict::BadUpload,
                "the upload was empty or too large".to_owned(),
            )),
            Some(path) => self.verify(&checked, path).await?,
        };
        match (verdict, path) {
            (Ok(()), Some(path)) => self.accept(upload, &checked, path).await,
            (Err((verdict, reason)), _) => {
                self.count_failure(&checked, reason).await?;
                self.drop_holder(&upload.project, checked.nth, &upload.worker);
                Ok(verdict)
            }
            (Ok(()), None) => Ok(Verdict::BadUpload),
        }
    }

    /// Decodes the file to its end.
    async fn verify(
        &self,
        checked: &Checked,
        path: &Path,
    ) -> Result<Result<(), (Verdict, String)>, ScenesError> {
        let Ok(_permit) = self.verifying.acquire().await else {
            return Err(ScenesError::NotNow("the gateway is stopping"));
        };
        let mut url = std::ffi::OsString::from("file:");
        url.push(path);
        let formats = [
            "-protocol_whitelist",
            "file",
            "-format_whitelist",
            "ivf,matroska,webm",
        ];
        let input = crate::source::InputOptions {
            args: formats.map(Into::into).to_vec(),
            url,
            env: Vec::new(),
            env_remove: &[],
        };
        let (tools, launcher) = (&self.opener.tools, &self.opener.launcher);
        let decoded = match count_frames(tools, launcher, &input, DECODE_WITHIN).await {
            Ok(decoded) => decoded,
            Err(ProbeError::Spawn(_)) => {
                return Err(ScenesError::NotNow(
                    "the gateway cannot decode now; try again",
                ));
            }
            Err(error) => return Ok(Err((Verdict::BadEncode, error.to_string()))),
        };
        let wanted = checked.project.scenes[checked.nth].frames;
        let codec = checked.project.encoder.codec();
        if let Some(fault) = decoded.fault {
            return Ok(Err((
                Verdict::BadEncode,
                format!("the encode is damaged: {fault}"),
            )));
        }
        if decoded.codec != codec {
            let told = format!("the encode is {}, not {codec}", shown(&decoded.codec));
            return Ok(Err((Verdict::BadEncode, told)));
        }
        if decoded.frames != u64::from(wanted) {
            let found = decoded.frames;
            let told = format!("the encode has {found} frames, not {wanted}");
            return Ok(Err((Verdict::FrameMismatch, told)));
        }
        Ok(Ok(()))
    }

    async fn count_failure(&self, checked: &Checked, reason: String) -> Result<(), ScenesError> {
        let reason = reason.into();
        let failure = Failure::Transient { reason };
        match self
            .dispatcher
            .fail(&checked.job, Proof::Word, failure)
            .await
        {
            Ok(job) => {
                self.follow_scene(checked, &job);
                Ok(())
            }
            Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn accept(
        &self,
        upload: &Upload,
        checked: &Checked,
        path: &Path,
    ) -> Result<Verdict, ScenesError> {
        let extension = match upload.file_name.rsplit_once('.') {
            Some((_, "webm")) => "webm",
            _ => "ivf",
        };
        // Two workers may deliver the same scene in the same moment.
        let unique = Uuid::new_v4().simple().to_string();
        let file = format!("{}-{}.{extension}", &unique[..8], scene_name(checked.nth));
        let Ok(name) = ArtifactName::new(checked.job.clone(), &file) else {
            return Ok(Verdict::NoSuchScene);
        };
        let kept = match store_file(&self.artifacts, &name, path).await {
            Ok(kept) => kept,
            Err(StepError::Trouble(error)) => return Err(error),
            Err(_) => return Err(ScenesError::NotNow("the file cannot be kept; try again")),
        };
        let output = JobOutput {
            artifact: Some(name.to_string()),
            size_bytes: Some(kept.size_bytes),
            sha256: Some(kept.sha256),
            ..JobOutput::default()
        };
        let job = match self.complete(&checked.job, output).await {
            Ok(job) => job,
            // Somebody was faster, or the scene is gone.
            Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {
                self.artifacts.delete(&name).await?;
                return Ok(match self.check(upload) {
                    Err((verdict, _)) => verdict,
                    Ok(_) => Verdict::NoSuchScene,
                });
            }
            Err(error) => return Err(error.into()),
        };
        if !self.follow_scene(checked, &job) {
            // The project was deleted in this moment.
            self.forget_artifact(&name, &job).await;
            self.dispatcher.forget(&job.id).await?;
            return Ok(Verdict::NoSuchProject);
        }
        let frames = u64::from(checked.project.scenes[checked.nth].frames);
        let mut table = self.table();
        let since = table.accepted.map_or(job.updated_at, |a| a.0);
        let before = table.accepted.map_or(0, |a| a.1);
        table.accepted = Some((since, before + frames));
        Ok(Verdict::Saved)
    }

    async fn complete(&self, id: &QueueId, output: JobOutput) -> Result<Job, DispatchError> {
        let complete = || self.dispatcher.complete(id, Proof::Word, output.clone());
        let mut done = complete().await;
        for _ in 0..MOST_TRIES {
            // The project rests; what is made is taken all the same. Whoever hears that the job is ready
            // again, in this moment, cancels it once more.
            let Err(DispatchError::Refused(Refused::Final(JobState::Cancelled))) = done else {
                break;
            };
            match self.dispatcher.retry(id).await {
                Ok(_) | Err(DispatchError::Refused(_)) => done = complete().await,
                Err(error) => return Err(error),
            }
        }
        done
    }

    /// Takes over what became of a scene's job. Whether the project is still there.
    fn follow_scene(&self, checked: &Checked, job: &Job) -> bool {
        let mut table = self.table();
        let mut entries = table.entries.values_mut();
        let Some(entry) = entries.find(|e| e.project.key == checked.project.key) else {
            return false;
        };
        if let Some(scene) = entry.scenes.get_mut(checked.nth) {
            scene.follow(job);
        }
        if job.state == JobState::Done {
            entry.last_accepted = entry.last_accepted.max(Some(job.updated_at));
        }
        entry.changed.notify_one();
        true
    }
}

fn shown(codec: &str) -> &str {
    if codec.is_empty() { "no video" } else { codec }
}
