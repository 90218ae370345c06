//! Finished segments on disk, under a hard limit of bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use uuid::Uuid;

use super::rendition::TrackId;
use super::track::Track;
use crate::base::Recency;
use crate::scratch::ScratchFolder;

/// The cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("transcoding.temp_directory {path} cannot be used: {source}")]
pub struct CacheError {
    path: String,
    source: io::Error,
}

/// Names a finished segment of one track of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentKey {
    pub(super) stream: Uuid,
    pub(super) track: TrackId,
    pub(super) segment: u32,
}

#[derive(Debug, Default)]
struct Index {
    kept: Recency<SegmentKey, Weak<Track>>,
    /// Bytes stored since the start.
    written: u64,
}

/// Segments of all streams, least recently used ones deleted first.
///
/// Its folder lasts as long as it does.
#[derive(Debug)]
pub struct SegmentCache {
    folder: ScratchFolder,
    limit_bytes: AtomicU64,
    index: Mutex<Index>,
}

/// How the names of its folders begin.
const PREFIX: &str = "segments-";

impl SegmentCache {
    /// Takes possession of a new folder below `parent`, whose left-overs are deleted. Blocks on the
    /// disk: called once at start.
    pub fn open(parent: &Path, limit_bytes: u64) -> Result<Arc<Self>, CacheError> {
        let folder = ScratchFolder::open(parent, PREFIX).map_err(|source| CacheError {
            path: parent.display().to_string(),
            source,
        })?;
        Ok(Arc::new(SegmentCache {
            folder,
            limit_bytes: AtomicU64::new(limit_bytes),
            index: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &SegmentKey) -> PathBuf {
        self.folder()
            .join(format!("{}-{}-{:05}", key.stream, key.track, key.segment))
    }

    /// Deletes what killed gateways left beside; how many folders. Blocks on the disk.
    pub fn sweep(&self) -> usize {
        self.folder.sweep(PREFIX)
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Another limit. Where it is lower, segments go when the next one comes.
    pub fn set_limit_bytes(&self, limit: u64) {
        self.limit_bytes.store(limit, Ordering::Relaxed);
    }

    pub fn used_bytes(&self) -> u64 {
        self.lock().kept.bytes()
    }

    /// Bytes stored since the start.
    pub fn written_bytes(&self) -> u64 {
        self.lock().written
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stores a segment, making room first. On an error nothing is stored. `false` when it is not
    /// there any more: its stream was closed, or it had to go for others.
    pub(super) async fn put(
        &self,
        key: SegmentKey,
        owner: &Arc<Track>,
        data: Vec<u8>,
    ) -> io::Result<bool> {
        let bytes = data.len() as u64;
        if bytes > self.limit_bytes() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the segment is larger than transcoding.cache_max_bytes",
            ));
        }
        let Some(evicted) = self.reserve(key, owner, bytes) else {
            return Ok(false);
        };
        self.delete(evicted).await;
        let path = self.path(&key);
        let written = tokio::task::spawn_blocking(move || std::fs::write(path, data)).await;
        let result = written.unwrap_or_else(|e| Err(io::Error::other(e)));
        // The stream may have been deleted meanwhile, or room was made for others.
        let wanted = self.lock().kept.contains(&key);
        if result.is_err() || !wanted {
            self.lock().kept.remove(&key);
            let path = self.path(&key);
            // A part may have been written; that it cannot be deleted either is of no further use.
            let _ = tokio::fs::remove_file(path).await;
        }
        result.map(|()| wanted)
    }

    /// Notes a segment and gives those that must go for it; `None` when its stream is closed.
    fn reserve(
        &self,
        key: SegmentKey,
        owner: &Arc<Track>,
        bytes: u64,
    ) -> Option<Vec<(SegmentKey, Weak<Track>)>> {
        let mut index = self.lock();
        // Looked at under the lock: a stream is closed first, then its segments are removed.
        if owner.is_closed() {
            return None;
        }
        index.kept.remove(&key);
        let rest = self.limit_bytes().saturating_sub(bytes);
        let evicted = index.kept.shrink_to(rest);
        index.kept.insert(key, bytes, Arc::downgrade(owner));
        index.written += bytes;
        Some(evicted)
    }

    async fn delete(&self, evicted: Vec<(SegmentKey, Weak<Track>)>) {
        for (key, owner) in evicted {
            if let Some(track) = owner.upgrade() {
                track.evicted(key.segment);
            }
            if let Err(error) = tokio::fs::remove_file(self.path(&key)).await {
                tracing::warn!(%error, "cannot delete a cached segment");
            }
        }
    }

    /// A stored segment's bytes; `None` when it is not there (any more).
    pub(super) async fn get(&self, key: &SegmentKey) -> Option<Bytes> {
        if !self.lock().kept.touch(key) {
            return None;
        }
        let path = self.path(key);
        match tokio::task::spawn_blocking(move || std::fs::read(path)).await {
            Ok(Ok(data)) => Some(Bytes::from(data)),
            _ => {
                self.lock().kept.remove(key);
                None
            }
        }
    }

    /// Deletes everything of `stream`.
    pub(super) async fn remove_stream(&self, stream: Uuid) {
        let keys = self.lock().kept.retain(|key| key.stream != stream);
        for key in keys {
            // Missing files are what is wanted.
            let _ = tokio::fs::remove_file(self.path(&key)).await;
        }
    }
}
