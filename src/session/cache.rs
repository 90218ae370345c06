//! Finished segments on disk, under a hard limit of bytes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use uuid::Uuid;

use super::rendition::TrackId;
use super::track::Track;
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

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
    owner: Weak<Track>,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<SegmentKey, Entry>,
    /// By age of last use.
    order: BTreeMap<u64, SegmentKey>,
    clock: u64,
    bytes: u64,
    written: u64,
}

impl Index {
    fn touch(&mut self, key: &SegmentKey) -> bool {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, *key);
        true
    }

    fn remove(&mut self, key: &SegmentKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry)
    }

    fn oldest(&self) -> Option<SegmentKey> {
        self.order.first_key_value().map(|(_, key)| *key)
    }
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
        self.lock().bytes
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
        let wanted = self.lock().entries.contains_key(&key);
        if result.is_err() || !wanted {
            self.lock().remove(&key);
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
    ) -> Option<Vec<(SegmentKey, Entry)>> {
        let mut index = self.lock();
        // Looked at under the lock: a stream is closed first, then its segments are removed.
        if owner.is_closed() {
            return None;
        }
        let mut evicted: Vec<(SegmentKey, Entry)> = Vec::new();
        index.remove(&key);
        while index.bytes + bytes > self.limit_bytes() {
            let Some(oldest) = index.oldest() else { break };
            evicted.extend(index.remove(&oldest).map(|e| (oldest, e)));
        }
        index.clock += 1;
        let used = index.clock;
        index.order.insert(used, key);
        index.bytes += bytes;
        index.written += bytes;
        index.entries.insert(
            key,
            Entry {
                bytes,
                used,
                owner: Arc::downgrade(owner),
            },
        );
        Some(evicted)
    }

    async fn delete(&self, evicted: Vec<(SegmentKey, Entry)>) {
        for (key, entry) in evicted {
            if let Some(track) = entry.owner.upgrade() {
                track.evicted(key.segment);
            }
            if let Err(error) = tokio::fs::remove_file(self.path(&key)).await {
                tracing::warn!(%error, "cannot delete a cached segment");
            }
        }
    }

    /// A stored segment's bytes; `None` when it is not there (any more).
    pub(super) async fn get(&self, key: &SegmentKey) -> Option<Bytes> {
        if !self.lock().touch(key) {
            return None;
        }
        let path = self.path(key);
        match tokio::task::spawn_blocking(move || std::fs::read(path)).await {
            Ok(Ok(data)) => Some(Bytes::from(data)),
            _ => {
                self.lock().remove(key);
                None
            }
        }
    }

    /// Deletes everything of `stream`.
    pub(super) async fn remove_stream(&self, stream: Uuid) {
        let keys: Vec<SegmentKey> = {
            let mut index = self.lock();
            let keys: Vec<_> = index
                .entries
                .keys()
                .filter(|k| k.stream == stream)
                .copied()
                .collect();
            for key in &keys {
                index.remove(key);
            }
            keys
        };
        for key in keys {
            // Missing files are what is wanted.
            let _ = tokio::fs::remove_file(self.path(&key)).await;
        }
    }
}
