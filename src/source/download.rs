//! Copies of remote sources, for what ffmpeg cannot read from their servers.

use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use url::Url;

use super::client::{SourceClient, TIMEOUT};
use super::error::SourceError;
use crate::media::{LocalFile, SourceLocator};

/// Bytes of a source's beginning that a decision about it may be based on.
const START_BYTES: usize = 64 * 1024;

/// A copy of a remote source; deleted when dropped.
#[derive(Debug)]
pub struct Download {
    file: LocalFile,
    start: Vec<u8>,
}

impl Download {
    /// The copy, as a source to be read in place of the remote one.
    pub fn locator(&self) -> SourceLocator {
        SourceLocator::File(self.file.clone())
    }

    /// The first bytes: at most 64 KiB, all of a shorter source.
    pub fn start(&self) -> &[u8] {
        &self.start
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Missing is what is wanted; what cannot be deleted goes with its folder.
        let _ = std::fs::remove_file(self.file.path());
    }
}

impl SourceClient {
    /// Copies what lies at `url` into a new file of `folder` (absolute, free of links), if `wanted`
    /// says so of its first bytes (at most 64 KiB); `None` if not. Cancel-safe: the file is deleted.
    ///
    /// # Errors
    /// As [`SourceClient::validators`], and `TooLarge` for more than `limit_bytes`, `Changed` when
    /// the body breaks off, `NoDisk`.
    pub async fn download(
        &self,
        url: &Url,
        folder: &Path,
        limit_bytes: u64,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<Download>, SourceError> {
        let (_, answer) = self.get(url, "bytes=0-").await?;
        let mut body = answer.into_body();
        let too_large = SourceError::TooLarge { limit_bytes };
        let mut start = Vec::new();
        let mut rest = None;
        while start.len() < START_BYTES {
            let Some(data) = next(&mut body).await? else {
                break;
            };
            let room = (START_BYTES - start.len()).min(data.len());
            start.extend_from_slice(&data[..room]);
            rest = (room < data.len()).then(|| data.slice(room..));
        }
        if !wanted(&start) {
            return Ok(None);
        }
        let left = body.size_hint().lower() + rest.as_ref().map_or(0, |r| r.len() as u64);
        if start.len() as u64 + left > limit_bytes {
            return Err(too_large);
        }
        let path: PathBuf = folder.join(format!("download-{}", uuid::Uuid::new_v4()));
        let file = LocalFile::new(folder, path.clone()).ok_or(SourceError::NoDisk)?;
        let copy = Download { file, start };
        let disk = |_| SourceError::NoDisk;
        let mut to = File::create_new(&path).await.map_err(disk)?;
        to.write_all(&copy.start).await.map_err(disk)?;
        let mut written = copy.start.len() as u64;
        loop {
            let data = match rest.take() {
                Some(rest) => rest,
                None => match next(&mut body).await? {
                    Some(data) => data,
                    None => break,
                },
            };
            written += data.len() as u64;
            if written > limit_bytes {
                return Err(too_large);
            }
            to.write_all(&data).await.map_err(disk)?;
        }
        to.flush().await.map_err(disk)?;
        Ok(Some(copy))
    }
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<bytes::Bytes>, SourceError> {
    loop {
        match timeout(TIMEOUT, body.frame()).await {
            Err(_) => return Err(SourceError::Timeout),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(SourceError::Changed),
            // Trailers say nothing of the content.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
        }
    }
}
