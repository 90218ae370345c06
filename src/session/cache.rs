//! Finished segments on disk, under a hard limit of bytes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use uuid::Uuid;

use super::rendition::TrackId;
use super::track::Track;

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
/// A gateway works in its own folder below `transcoding.temp_directory`, held by a lock on a file in
/// it; folders that nobody holds are what killed gateways left, and are deleted at the next start.
#[derive(Debug)]
pub struct SegmentCache {
    folder: PathBuf,
    limit_bytes: u64,
    index: Mutex<Index>,
    _lock: std::fs::File,
}

const LOCK_NAME: &str = "lock";
/// How the folders of gateways begin.
const PREFIX: &str = "segments-";

impl SegmentCache {
    /// Takes possession of a new folder below `parent`, whose left-overs are deleted. Blocks on the
    /// disk: called once at start.
    pub fn open(parent: &Path, limit_bytes: u64) -> Result<Arc<Self>, CacheError> {
        let fail = |source| CacheError {
            path: parent.display().to_string(),
            source,
        };
        std::fs::create_dir_all(parent).map_err(fail)?;
        remove_left_overs(parent).map_err(fail)?;
        let id = Uuid::now_v7();
        // It gets its name when it is locked: another gateway may be looking for left-overs.
        let (unnamed, folder) = (
            parent.join(format!("new-{id}")),
            parent.join(format!("{PREFIX}{id}")),
        );
        std::fs::create_dir(&unnamed).map_err(fail)?;
        let lock = std::fs::File::create(unnamed.join(LOCK_NAME)).map_err(fail)?;
        lock.lock().map_err(fail)?;
        std::fs::rename(unnamed, &folder).map_err(fail)?;
        Ok(Arc::new(SegmentCache {
            folder,
            limit_bytes,
            index: Mutex::default(),
            _lock: lock,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &SegmentKey) -> PathBuf {
        self.folder
            .join(format!("{}-{}-{:05}", key.stream, key.track, key.segment))
    }

    /// Deletes what killed gateways left beside; how many folders. Blocks on the disk.
    pub fn sweep(&self) -> usize {
        let parent = self.folder.parent().unwrap_or(&self.folder);
        remove_left_overs(parent).unwrap_or(0)
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes stored since the start.
    pub fn written_bytes(&self) -> u64 {
        self.lock().written
    }

    pub fn folder(&self) -> &Path {
        &self.folder
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
        if bytes > self.limit_bytes {
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
        while index.bytes + bytes > self.limit_bytes {
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

impl Drop for SegmentCache {
    fn drop(&mut self) {
        remove_folder(&self.folder);
    }
}

/// Deletes the folders of gateways that are gone. One that cannot be deleted stays.
fn remove_left_overs(parent: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(parent)? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) || !folder.is_dir() {
            continue;
        }
        // Held while its folder is deleted, so that nobody else does the same.
        let lock = std::fs::File::open(folder.join(LOCK_NAME));
        if let Ok(lock) = &lock
            && lock.try_lock().is_err()
        {
            continue;
        }
        remove_folder(&folder);
        removed += 1;
    }
    Ok(removed)
}

/// Somebody else may be deleting it too.
fn remove_folder(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && folder.exists()
    {
        tracing::warn!(%error, "cannot delete a segment cache");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway that starts while another one starts or ends in the same folder harms neither.
    #[test]
    fn gateways_that_come_and_go_leave_each_other_alone() {
        let parent = tempfile::tempdir().unwrap();
        let come_and_go = || {
            for _ in 0..50 {
                let cache = SegmentCache::open(parent.path(), 1 << 20).unwrap();
                std::fs::write(cache.folder().join("segment"), "x").unwrap();
                std::thread::yield_now();
                assert!(cache.folder().join("segment").exists());
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(come_and_go);
            }
        });
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_gateway_left_is_deleted() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("segments-1");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join(LOCK_NAME), "").unwrap();
        std::fs::create_dir(parent.path().join("others")).unwrap();
        let _cache = SegmentCache::open(parent.path(), 1 << 20).unwrap();
        assert!(!left.exists() && parent.path().join("others").exists());
    }
}
