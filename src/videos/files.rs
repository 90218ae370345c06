//! Files on their way in, and the folders in which they lie.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::media::{LocalFile, SourceLocator};

use super::error::VideoError;

/// The folders of videos in `storage.directory`.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Makes the folders below `root`. Blocks: called once at the start.
    pub(super) fn open(root: &Path) -> io::Result<Folders> {
        for name in ["uploads", "received", "work"] {
            std::fs::create_dir_all(root.join(name))?;
        }
        Ok(Folders {
            root: root.canonicalize()?,
        })
    }

    /// What a client uploaded for the video `id`.
    pub(super) fn uploads(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    /// What a runner delivered.
    pub(super) fn received(&self, name: &str) -> PathBuf {
        self.root.join("received").join(name)
    }

    pub(super) fn parent(&self, of: &str) -> PathBuf {
        self.root.join(of)
    }

    /// A file of ours as something to be read with ffmpeg.
    pub(super) fn locator(&self, path: PathBuf) -> Option<SourceLocator> {
        LocalFile::new(&self.root, path).map(SourceLocator::File)
    }
}

/// Deletes a folder; one that is not there is no error.
pub(super) async fn remove(folder: &Path) {
    if let Err(error) = tokio::fs::remove_dir_all(folder).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot delete the files of a video");
    }
}

/// The names in `folder`.
pub(super) async fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut entries = tokio::fs::read_dir(folder).await?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(found)
}

/// A file that is being written. Dropped before [`Incoming::finish`], it is deleted.
pub struct Incoming {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    written: u64,
    limit: u64,
}

/// A file that was written whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub path: PathBuf,
    pub size_bytes: u64,
}

impl Incoming {
    pub(super) async fn create(path: PathBuf, limit: u64) -> Result<Incoming, VideoError> {
        if let Some(folder) = path.parent() {
            let made = tokio::fs::create_dir_all(folder).await;
            made.map_err(VideoError::disk)?;
        }
        let file = tokio::fs::File::create(&path).await;
        Ok(Incoming {
            file: Some(file.map_err(VideoError::disk)?),
            path,
            written: 0,
            limit,
        })
    }

    /// # Errors
    /// `TooLarge`, `DiskFull`, `Disk`: the file cannot be finished any more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), VideoError> {
        self.written += bytes.len() as u64;
        if self.written > self.limit {
            return Err(VideoError::TooLarge(self.limit));
        }
        let Some(file) = &mut self.file else {
            return Err(VideoError::Disk(io::ErrorKind::NotConnected));
        };
        file.write_all(&bytes).await.map_err(VideoError::disk)
    }

    pub async fn finish(mut self) -> Result<StoredFile, VideoError> {
        if let Some(file) = &mut self.file {
            // A write that went to a cache may fail only now.
            file.flush().await.map_err(VideoError::disk)?;
        }
        self.file = None;
        Ok(StoredFile {
            path: std::mem::take(&mut self.path),
            size_bytes: self.written,
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Missing is what is wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// How the folders of uploads that come in pieces begin: they outlive the process without a video.
pub(super) const RESUMABLE: &str = "resumable-";
