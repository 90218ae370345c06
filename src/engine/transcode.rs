//! Making one file of another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::job::{Failure, JobSpec, Measured, SceneSpec, TranscodeSpec, codec_family};
use crate::media::{LocalFile, Mode, OutputFormat, SourceLocator, StreamRequest, VideoChoice};
use crate::session::{FileOrder, FileProgress, MadeFile, Opener, SessionError};
use crate::source::SourceErrorKind;

use super::desk::{Assignment, Desk};
use super::run::insist;
use super::scene::{self, SceneShop};

/// Where work is done.
pub(super) struct Shop {
    pub(super) opener: Opener,
    pub(super) folder: PathBuf,
    pub(super) stall_timeout: Duration,
    /// Threads of one encoder of scenes.
    pub(super) threads: usize,
}

/// A file that was made.
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) name: &'static str,
    /// What was wanted and could not be had.
    pub(super) notes: Vec<String>,
    pub(super) measured: Option<Measured>,
    /// How long it plays, and the hardware that encoded it.
    pub(super) file: Option<MadeFile>,
    folder: PathBuf,
}

pub(super) fn again(reason: impl Into<String>) -> Failure {
    Failure::Transient {
        reason: reason.into().into(),
    }
}

pub(super) fn never(reason: impl Into<String>) -> Failure {
    Failure::Permanent {
        reason: reason.into().into(),
    }
}

impl Shop {
    /// Does the work. Cancel-safe: dropping it ends the encoder.
    pub(super) async fn make(
        &self,
        desk: &Desk,
        work: &Assignment,
        progress: &watch::Sender<FileProgress>,
    ) -> Result<Made, Failure> {
        match &work.spec {
            JobSpec::Transcode(spec) => self.transcode(desk, work, spec, progress).await,
            JobSpec::Scene(spec) => self.scene(desk, work, spec, progress).await,
            JobSpec::Batch(_) | JobSpec::Runner(_) => Err(Failure::Unsuited {
                reason: "this engine does no jobs of this kind".into(),
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

    async fn new_folder(&self, work: &Assignment) -> Result<PathBuf, Failure> {
        let folder = self.folder_of(work);
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|e| again(format!("no folder can be made for the work: {}", e.kind())))?;
        // ffmpeg is given absolute paths.
        let found = tokio::fs::canonicalize(&folder).await;
        found.map_err(|e| again(format!("the folder of the work is gone: {}", e.kind())))
    }

    async fn scene(
        &self,
        desk: &Desk,
        work: &Assignment,
        spec: &SceneSpec,
        progress: &watch::Sender<FileProgress>,
    ) -> Result<Made, Failure> {
        let folder = self.new_folder(work).await?;
        for (name, file) in scene::parts_of(spec)? {
            let path = folder.join(file);
            let fetched = insist(|| desk.fetch(&name, &path)).await;
            fetched.map_err(|e| again(format!("the scene cannot be fetched: {e}")))?;
        }
        let shop = SceneShop {
            opener: &self.opener,
            spec,
            folder: &folder,
            segment: scene::SEGMENT,
            stall: self.stall_timeout,
            threads: self.threads,
            progress,
        };
        let made = shop.make().await?;
        Ok(Made {
            path: made.path,
            name: made.name,
            notes: made.notes,
            measured: made.measured,
            file: None,
            folder,
        })
    }

    async fn transcode(
        &self,
        desk: &Desk,
        work: &Assignment,
        spec: &TranscodeSpec,
        progress: &watch::Sender<FileProgress>,
    ) -> Result<Made, Failure> {
        let request = request(&spec.target_codec)?;
        let opener = &self.opener;
        let folder = self.new_folder(work).await?;
        let locator = match opener.resolve(&spec.source_url).await {
            Ok(locator) => locator,
            // What lies below the roots of this machine too need not be fetched.
            Err(_) if work.has_source => fetched(desk, work, spec, &folder).await?,
            Err(error) => return Err(unmade(error)),
        };
        let order = FileOrder {
            locator,
            request,
            base_url: String::new(),
            stall_timeout: self.stall_timeout,
        };
        // Who drops this future ends the encoder; nobody else wants to.
        let cancel = CancellationToken::new();
        let making = opener.make_file(&order, &folder, progress, &cancel);
        let made = making.await.map_err(unmade)?;
        Ok(Made {
            path: folder.join(made.file.name),
            name: made.file.name,
            notes: Vec::new(),
            measured: None,
            file: Some(made),
            folder,
        })
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

/// The source as a file of this machine. It is fetched whole before the work begins, which then needs the
/// gateway no more until it is done.
async fn fetched(
    desk: &Desk,
    work: &Assignment,
    spec: &TranscodeSpec,
    folder: &Path,
) -> Result<SourceLocator, Failure> {
    let extension = Path::new(&spec.source_url).extension();
    let extension = extension.and_then(|e| e.to_str()).unwrap_or_default();
    let plain = extension.chars().all(|c| c.is_ascii_alphanumeric());
    let path = folder.join("source").with_extension(match plain {
        true => extension,
        false => "",
    });
    let fetched = insist(|| desk.fetch_source(work, &path)).await;
    fetched.map_err(|e| again(format!("the source cannot be fetched: {e}")))?;
    let file = LocalFile::new(folder, path);
    let file = file.ok_or_else(|| again("the folder of the work is gone"))?;
    Ok(SourceLocator::File(file))
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

/// A source that is refused will be so next time, and what cannot be planned never can; all else may
/// pass.
fn unmade(error: SessionError) -> Failure {
    let text = error.to_string();
    match &error {
        SessionError::Source(e) => match e.kind() {
            SourceErrorKind::BadRequest | SourceErrorKind::Forbidden => never(text),
            SourceErrorKind::NotFound | SourceErrorKind::BadGateway | SourceErrorKind::Timeout => {
                again(text)
            }
        },
        SessionError::Plan(_) => never(text),
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
