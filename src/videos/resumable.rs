//! Uploads that come in pieces: bytes in a file, beside it what is to be made of them. They outlive the
//! process; what nobody goes on with is deleted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::error::VideoError;
use super::files::{RESUMABLE, names, remove};
use super::intake::{Order, Submission};
use super::service::Videos;

/// What is known of an upload besides its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Begun {
    length: u64,
    order: Order,
    /// The video that it has become.
    video: Option<String>,
}

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumable {
    pub id: String,
    /// Bytes that are there, and that there will be.
    pub offset: u64,
    pub length: u64,
    pub video: Option<String>,
}

/// How long an upload may rest.
const KEEP: Duration = Duration::from_secs(86_400);
const CLEAN_EVERY: Duration = Duration::from_secs(600);
const BYTES: &str = "bytes";
const FACTS: &str = "facts.json";

fn bad(text: &str) -> VideoError {
    VideoError::Bad(text.to_owned())
}

impl Videos {
    fn resumable_folder(&self, id: &str) -> Result<PathBuf, VideoError> {
        // Nothing else leads to a folder.
        let id: Uuid = id.parse().map_err(|_| VideoError::NoSuchVideo)?;
        Ok(self.folders.uploads(&format!("{RESUMABLE}{id}")))
    }

    /// Begins an upload of `length` bytes.
    ///
    /// # Errors
    /// `TooLarge`: before anything is stored.
    pub async fn begin_upload(&self, length: u64, order: Order) -> Result<Resumable, VideoError> {
        if length > self.settings.max_upload_bytes {
            return Err(VideoError::TooLarge(self.settings.max_upload_bytes));
        }
        let id = Uuid::new_v4().to_string();
        let folder = self.resumable_folder(&id)?;
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(VideoError::disk)?;
        let empty = tokio::fs::write(folder.join(BYTES), b"").await;
        empty.map_err(VideoError::disk)?;
        let begun = Begun {
            length,
            order,
            video: None,
        };
        self.write_begun(&folder, &begun).await?;
        Ok(Resumable {
            id,
            offset: 0,
            length,
            video: None,
        })
    }

    async fn write_begun(&self, folder: &std::path::Path, begun: &Begun) -> Result<(), VideoError> {
        let text = serde_json::to_vec(begun)
            .map_err(|_| VideoError::Disk(std::io::ErrorKind::InvalidData))?;
        let part = folder.join(format!("{FACTS}.part"));
        tokio::fs::write(&part, text)
            .await
            .map_err(VideoError::disk)?;
        let renamed = tokio::fs::rename(part, folder.join(FACTS)).await;
        renamed.map_err(VideoError::disk)
    }

    async fn begun(&self, id: &str) -> Result<(PathBuf, Begun, u64), VideoError> {
        let folder = self.resumable_folder(id)?;
        let text = tokio::fs::read(folder.join(FACTS)).await;
        let text = text.map_err(|_| VideoError::NoSuchVideo)?;
        let begun: Begun = serde_json::from_slice(&text).map_err(|_| VideoError::NoSuchVideo)?;
        let offset = match &begun.video {
            Some(_) => begun.length,
            None => {
                let there = tokio::fs::metadata(folder.join(BYTES)).await;
                there.map_err(VideoError::disk)?.len()
            }
        };
        Ok((folder, begun, offset))
    }

    /// How far an upload is.
    pub async fn upload_offset(&self, id: &str) -> Result<Resumable, VideoError> {
        let (_, begun, offset) = self.begun(id).await?;
        Ok(Resumable {
            id: id.to_owned(),
            offset,
            length: begun.length,
            video: begun.video,
        })
    }

    /// Opens an upload to write on at `offset`, which must be where it is.
    pub async fn upload_on(self: &Arc<Self>, id: &str, offset: u64) -> Result<Piece, VideoError> {
        let (folder, begun, at) = self.begun(id).await?;
        if begun.video.is_some() || at != offset {
            return Err(VideoError::WrongOffset(at));
        }
        if !self.memory().uploading.insert(id.to_owned()) {
            return Err(VideoError::WrongOffset(at));
        }
        let busy = super::service::Uploading {
            videos: self.clone(),
            id: id.to_owned(),
        };
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.append(true).open(folder.join(BYTES)).await;
        Ok(Piece {
            file: file.map_err(VideoError::disk)?,
            left: begun.length - at,
            limit: begun.length,
            busy,
        })
    }

    /// The bytes are all there: makes the video. After trouble of our own they still are, and the last
    /// piece (without bytes) may be sent again.
    pub async fn finish_upload(
        self: &Arc<Self>,
        whole: WholeUpload,
        base: &str,
    ) -> Result<(), VideoError> {
        let id = &whole.0.id;
        let (folder, mut begun, _) = self.begun(id).await?;
        let number: Uuid = id.parse().map_err(|_| VideoError::NoSuchVideo)?;
        let video = number.to_string();
        match self.load(&video).await {
            // A process that ended had made it, and not noted that.
            Ok(_) => {}
            Err(VideoError::NoSuchVideo) => {
                let mut submission: Submission = self.submission_as(number);
                submission.adopt("videoFile", &folder.join(BYTES)).await?;
                let given = super::intake::Given::Part("videoFile".into());
                let submitted = self.submit(submission, given, &begun.order, base).await;
                if let Err(error) = submitted {
                    if !error.may_pass() {
                        // What cannot be a video never will be.
                        remove(&folder).await;
                    }
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        begun.video = Some(video);
        self.write_begun(&folder, &begun).await?;
        let removed = tokio::fs::remove_file(folder.join(BYTES)).await;
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the bytes of an upload stay");
        }
        Ok(())
    }

    pub async fn drop_upload(&self, id: &str) -> Result<(), VideoError> {
        let (folder, ..) = self.begun(id).await?;
        remove(&folder).await;
        Ok(())
    }

    /// Deletes uploads that nobody goes on with, until the gateway stops.
    pub(super) async fn clean_uploads(&self) {
        loop {
            let parent = self.folders.parent("uploads");
            for name in names(&parent).await.unwrap_or_default() {
                let folder = parent.join(&name);
                if name.starts_with(RESUMABLE) && rests(&folder).await {
                    remove(&folder).await;
                }
            }
            tokio::time::sleep(CLEAN_EVERY).await;
        }
    }
}

/// Whether nothing was written for long.
async fn rests(folder: &std::path::Path) -> bool {
    let mut last = None;
    for name in [BYTES, FACTS] {
        let facts = tokio::fs::metadata(folder.join(name)).await.ok();
        last = last.max(facts.and_then(|f| f.modified().ok()));
    }
    last.is_none_or(|at| at.elapsed().is_ok_and(|age| age > KEEP))
}

/// A part of an upload that is being written.
pub struct Piece {
    file: tokio::fs::File,
    left: u64,
    limit: u64,
    busy: super::service::Uploading,
}

/// An upload that is complete, and that nobody else writes on.
pub struct WholeUpload(super::service::Uploading);

impl Piece {
    /// # Errors
    /// `Bad` beyond the announced length; what was written before stays.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), VideoError> {
        let length = bytes.len() as u64;
        if length > self.left {
            let text = format!(
                "Upload-Length: the upload has more than {} bytes",
                self.limit
            );
            return Err(bad(&text));
        }
        self.file
            .write_all(&bytes)
            .await
            .map_err(VideoError::disk)?;
        self.left -= length;
        Ok(())
    }

    /// The whole upload, if it was the last piece.
    pub async fn finish(mut self) -> Result<Option<WholeUpload>, VideoError> {
        self.file.flush().await.map_err(VideoError::disk)?;
        Ok((self.left == 0).then_some(WholeUpload(self.busy)))
    }
}
