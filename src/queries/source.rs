//! From a query's texts to what ffmpeg can read.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt;

use crate::media::SourceLocator;
use crate::media::index::index_follows_media;
use crate::session::{Facts, Opener};
use crate::source::{Download, InputOptions, SourceError, Validators, picture_input_options};

use super::error::QueryError;

/// Largest watermark, bytes.
const MAX_WATERMARK_BYTES: u64 = 16 << 20;
/// Bytes of a picture's beginning that tell its format.
const MAGIC_BYTES: u64 = 16;

/// A source that was found, and which version of it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) locator: SourceLocator,
    pub(super) validators: Validators,
    /// Changes when the source does; `None` when nothing tells.
    pub(super) version: Option<String>,
    /// Why we could not talk to it, which need not mean that ffmpeg cannot.
    pub(super) unreached: Option<String>,
}

/// Finds the source that `text` names.
pub(super) async fn find(opener: &Opener, text: &str) -> Result<Found, SourceError> {
    let locator = opener.policy.resolve(text).await?;
    found(opener, locator).await
}

/// Which version of it is there.
pub(super) async fn found(opener: &Opener, locator: SourceLocator) -> Result<Found, SourceError> {
    let (validators, unreached) = match opener.client.validators(&locator).await {
        Ok(validators) => (validators, None),
        // Where only we cannot talk to it, ffmpeg may.
        Err(SourceError::Unreachable(reason)) => (Validators::default(), Some(reason)),
        Err(error) => return Err(error),
    };
    let version = opener.version(&locator, &validators);
    Ok(Found {
        locator,
        validators,
        version,
        unreached,
    })
}

/// A source that is ready to be read.
pub(super) struct Opened {
    pub(super) locator: SourceLocator,
    pub(super) facts: Arc<Facts>,
    /// The copy that is read in its place.
    _copy: Option<Download>,
}

impl Opened {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.locator, SourceLocator::Live(_))
    }
}

/// Makes a source readable: an MP4 whose index follows its media is copied first, when its server
/// does not serve parts of it. Cancel-safe.
pub(super) async fn open(
    opener: &Opener,
    found: &Found,
    folder: &Path,
    max_download_bytes: u64,
    with_index: bool,
) -> Result<Opened, QueryError> {
    let copy = copy(opener, found, folder, max_download_bytes).await?;
    let locator = match &copy {
        Some(copy) => copy.locator(),
        None => found.locator.clone(),
    };
    let facts = match with_index {
        true => opener.facts(&locator).await,
        false => opener.facts_without_index(&locator).await,
    };
    let facts = facts.map_err(QueryError::source)?;
    Ok(Opened {
        locator,
        facts,
        _copy: copy,
    })
}

/// The copy of a source that cannot be read where it lies.
pub(super) async fn copy(
    opener: &Opener,
    found: &Found,
    folder: &Path,
    max_download_bytes: u64,
) -> Result<Option<Download>, QueryError> {
    let SourceLocator::Http(url) = &found.locator else {
        return Ok(None);
    };
    if found.validators.accepts_ranges || found.unreached.is_some() {
        return Ok(None);
    }
    let copy = opener
        .client
        .download(url, folder, max_download_bytes, index_follows_media)
        .await;
    copy.map_err(QueryError::source)
}

/// A watermark that is ready to be read.
pub(super) struct OpenWatermark {
    pub(super) input: InputOptions,
    _copy: Option<Download>,
}

/// Makes a watermark readable; one that lies elsewhere is copied. Cancel-safe.
pub(super) async fn open_watermark(
    opener: &Opener,
    locator: &SourceLocator,
    folder: &Path,
) -> Result<OpenWatermark, QueryError> {
    let (file, start, copy) = match locator {
        SourceLocator::File(file) => {
            let start = start_of(file.path()).await;
            let start = start.map_err(|_| QueryError::watermark(SourceError::Unreadable))?;
            (file.clone(), start, None)
        }
        SourceLocator::Http(url) => {
            let copied = opener
                .client
                .download(url, folder, MAX_WATERMARK_BYTES, |_| true)
                .await;
            let copy = copied.map_err(QueryError::watermark)?;
            let copy = copy.ok_or(QueryError::NoWatermark)?;
            let SourceLocator::File(file) = copy.locator() else {
                return Err(QueryError::NoWatermark);
            };
            (file, copy.start().to_vec(), Some(copy))
        }
        SourceLocator::Live(_) => return Err(QueryError::NoWatermark),
    };
    let input = picture_input_options(&file, &start).ok_or(QueryError::NoWatermark)?;
    Ok(OpenWatermark { input, _copy: copy })
}

async fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAGIC_BYTES).read_to_end(&mut start).await?;
    Ok(start)
}
