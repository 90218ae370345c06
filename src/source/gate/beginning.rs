//! What several runs read of the same place: the index at the beginning of a long body.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::Uri;

/// Most bytes that are kept: the index of a long film is a few megabytes.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The beginning of one body, kept for the runs of one query. ffprobe reads the index there, and then
/// each ffmpeg does.
#[derive(Debug, Default)]
pub struct Beginning(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    uri: Uri,
    /// Of the answer that it is from.
    headers: HeaderMap,
    total: u64,
    chunks: Vec<Bytes>,
    length: u64,
}

/// Bytes from some place on that were read before.
pub(super) struct Known {
    pub(super) headers: HeaderMap,
    /// Length of the whole body.
    pub(super) total: u64,
    pub(super) chunks: Vec<Bytes>,
}

impl Beginning {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the answer to a request for `uri` from its first byte on. The first body is the one that is
    /// kept, as long as it does not change.
    pub(super) fn begin(&self, uri: &Uri, headers: &HeaderMap, total: u64) {
        let mut kept = self.lock();
        let tag = |headers: &HeaderMap| headers.get(header::ETAG).cloned();
        let is_wanted = match &*kept {
            Some(kept) => {
                kept.uri == *uri && (kept.total != total || tag(&kept.headers) != tag(headers))
            }
            None => true,
        };
        if is_wanted {
            *kept = Some(Kept {
                uri: uri.clone(),
                headers: headers.clone(),
                total,
                chunks: Vec::new(),
                length: 0,
            });
        }
    }

    /// Keeps `data`, when it goes on where the bytes kept of `uri` end.
    pub(super) fn add(&self, uri: &Uri, offset: u64, data: &Bytes) {
        let mut kept = self.lock();
        let Some(kept) = kept.as_mut().filter(|kept| kept.uri == *uri) else {
            return;
        };
        let length = offset + data.len() as u64;
        if offset == kept.length && length <= MOST_BYTES {
            kept.chunks.push(data.clone());
            kept.length = length;
        }
    }

    /// What is kept of `uri` from byte `first` on, if anything is.
    pub(super) fn from(&self, uri: &Uri, first: u64) -> Option<Known> {
        let kept = self.lock();
        let kept = kept.as_ref()?;
        if kept.uri != *uri || first >= kept.length {
            return None;
        }
        let mut before = first;
        let rest = |chunk: &Bytes| {
            let skipped = before.min(chunk.len() as u64);
            before -= skipped;
            chunk.slice(skipped as usize..)
        };
        let chunks = kept.chunks.iter().map(rest);
        Some(Known {
            headers: kept.headers.clone(),
            total: kept.total,
            chunks: chunks.filter(|chunk| !chunk.is_empty()).collect(),
        })
    }
}
