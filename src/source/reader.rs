//! Reading parts of a source at an offset.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use url::Url;

use super::client::{SourceClient, Validators};
use super::error::SourceError;
use super::files::blocking;

/// A file, or a remote source with byte ranges, open for reading at offsets.
#[derive(Debug, Clone)]
pub struct RangeReader {
    from: Origin,
    validators: Validators,
}

#[derive(Debug, Clone)]
enum Origin {
    File(Arc<File>),
    Http(Box<(SourceClient, Url)>),
}

impl RangeReader {
    pub(super) fn file(file: File, validators: Validators) -> Self {
        RangeReader {
            from: Origin::File(Arc::new(file)),
            validators,
        }
    }

    pub(super) fn http(client: SourceClient, url: Url, validators: Validators) -> Self {
        RangeReader {
            from: Origin::Http(Box::new((client, url))),
            validators,
        }
    }

    /// `None` when the server does not tell.
    pub fn length_bytes(&self) -> Option<u64> {
        self.validators.length_bytes
    }

    /// The version that was opened.
    pub fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The bytes from `offset` on: `len` of them, or fewer at the end of the source. Cancel-safe.
    ///
    /// # Errors
    /// `Changed` when a remote source is no longer the version that was opened; else as
    /// [`SourceClient::validators`].
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let rest = self
            .length_bytes()
            .map_or(u64::MAX, |l| l.saturating_sub(offset));
        let len = len.min(usize::try_from(rest).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(Bytes::new());
        }
        match &self.from {
            Origin::File(file) => {
                let file = file.clone();
                blocking(move || read_file(&file, offset, len)).await
            }
            Origin::Http(http) => http.0.read(&http.1, &self.validators, offset, len).await,
        }
    }
}

#[cfg(unix)]
fn read_file(file: &File, offset: u64, len: usize) -> Result<Bytes, SourceError> {
    use std::os::unix::fs::FileExt;
    let mut out = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(SourceError::Unreadable),
        }
    }
    out.truncate(filled);
    Ok(out.into())
}
