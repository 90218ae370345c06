//! Between the artifact store and temporary files, and runs of ffmpeg over the latter.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use uuid::Uuid;

use crate::artifact::{ArtifactName, ArtifactStore, Uploaded};
use crate::ffmpeg::{RunError, Watching, run_to_end};
use crate::media::{LocalFile, SourceLocator};
use crate::session::{SessionError, source_trouble};
use crate::source::{GateGuard, InputOptions, ffmpeg_input_options};

use super::error::StepError;
use super::service::Scenes;

/// A folder that is deleted with this.
pub(super) struct TempFolder(PathBuf);

/// Bytes that are copied at a time.
const CHUNK: usize = 256 * 1024;

impl TempFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        // Large files take their time; nobody waits for it. Without a runtime the whole scratch folder
        // is deleted anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || {
                if let Err(error) = std::fs::remove_dir_all(&folder)
                    && folder.exists()
                {
                    tracing::warn!(%error, "cannot delete a temporary folder");
                }
            });
        }
    }
}

/// How ffmpeg reads `file` of `folder`, which is ours.
pub(super) fn own_input(folder: &Path, file: &str) -> Option<InputOptions> {
    let local = LocalFile::new(folder, folder.join(file))?;
    Some(ffmpeg_input_options(&SourceLocator::File(local), None))
}

pub(super) async fn store_file(
    artifacts: &ArtifactStore,
    name: &ArtifactName,
    path: &Path,
) -> Result<Uploaded, StepError> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut upload = artifacts.upload(name).await?;
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        if file.read_buf(&mut buffer).await? == 0 {
            break;
        }
        upload.write(buffer.freeze()).await?;
    }
    Ok(upload.finish().await?)
}

pub(super) async fn fetch_file(
    artifacts: &ArtifactStore,
    name: &ArtifactName,
    path: &Path,
) -> Result<(), StepError> {
    let mut bytes = artifacts.read(name, None).await?.bytes;
    let mut file = tokio::fs::File::create(path).await?;
    while let Some(part) = bytes.try_next().await? {
        file.write_all(&part).await?;
    }
    file.flush().await?;
    Ok(())
}

/// All of a small artifact.
pub(super) async fn fetch_bytes(
    artifacts: &ArtifactStore,
    name: &ArtifactName,
) -> Result<Vec<u8>, StepError> {
    let mut parts = artifacts.read(name, None).await?.bytes;
    let mut all = Vec::new();
    while let Some(part) = parts.try_next().await? {
        all.extend_from_slice(&part);
    }
    Ok(all)
}

impl Scenes {
    pub(super) async fn temp_folder(&self) -> Result<TempFolder, StepError> {
        let path = self.folder.path().join(Uuid::new_v4().simple().to_string());
        tokio::fs::create_dir(&path).await?;
        Ok(TempFolder(path))
    }

    /// Runs ffmpeg to its end. Of a source that is read through `gate`, its trouble is told.
    pub(super) async fn ffmpeg(
        &self,
        mut command: Command,
        gate: Option<&GateGuard>,
        secrets: &[&str],
        output: &mut (dyn FnMut(&[u8]) + Send),
        frames: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), StepError> {
        command.arg("-y");
        let watching = Watching {
            output,
            frames,
            stall: self.settings.stall,
            secrets,
        };
        let ended = run_to_end(&self.opener.launcher, command, watching).await;
        ended.map_err(|error| {
            let seen = gate.and_then(|g| source_trouble(g.report()));
            let told = seen.map_or_else(|| error.to_string(), |e: SessionError| e.to_string());
            if let RunError::Failed(reason) = &error {
                tracing::info!(reason, "a run of a project fails");
            }
            StepError::Failed(told)
        })
    }
}
