//! A source from its first byte to its last, to be handed on.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header;
use tokio_util::io::ReaderStream;

use crate::media::SourceLocator;

use super::client::SourceClient;
use super::download::next;
use super::error::SourceError;

/// The bytes of a source, and how many there are, where that is known.
pub struct WholeSource {
    pub length_bytes: Option<u64>,
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

/// Bytes of a local file that are read at a time.
const CHUNK: usize = 256 * 1024;

impl SourceClient {
    /// Begins to read all of a source. Live sources have no bytes of their own: `NotAFile`.
    ///
    /// # Errors
    /// As [`SourceClient::validators`].
    pub async fn whole(&self, source: &SourceLocator) -> Result<WholeSource, SourceError> {
        match source {
            SourceLocator::File(file) => {
                let file = tokio::fs::File::open(file.path()).await;
                let file = file.map_err(|_| SourceError::Unreadable)?;
                let facts = file.metadata().await.map_err(|_| SourceError::Unreadable)?;
                Ok(WholeSource {
                    length_bytes: Some(facts.len()),
                    bytes: ReaderStream::with_capacity(file, CHUNK).boxed(),
                })
            }
            SourceLocator::Http(url) => {
                let (_, answer) = self.get(url, "bytes=0-").await?;
                let length = answer.headers().get(header::CONTENT_LENGTH);
                let length = length.and_then(|l| l.to_str().ok()?.parse().ok());
                let body = answer.into_body();
                let bytes = futures_util::stream::try_unfold(body, async |mut body| {
                    let found = next(&mut body).await.map_err(io::Error::other)?;
                    Ok(found.map(|bytes| (bytes, body)))
                });
                Ok(WholeSource {
                    length_bytes: length,
                    bytes: bytes.boxed(),
                })
            }
            SourceLocator::Live(_) => Err(SourceError::NotAFile),
        }
    }
}
