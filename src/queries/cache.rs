//! Results on disk, under a limit of bytes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::service::Key;

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<Key, Entry>,
    /// By age of last use.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: u64,
}

impl Index {
    fn touch(&mut self, key: &Key) -> bool {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, *key);
        true
    }

    fn insert(&mut self, key: Key, bytes: u64) {
        self.remove(&key);
        self.clock += 1;
        let used = self.clock;
        self.order.insert(used, key);
        self.entries.insert(key, Entry { bytes, used });
        self.bytes += bytes;
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets the least recently used ones until `bytes` more find room.
    fn make_room(&mut self, bytes: u64, limit: u64) -> Vec<Key> {
        let mut gone = Vec::new();
        while self.bytes + bytes > limit {
            let Some((_, key)) = self.order.first_key_value() else {
                break;
            };
            let key = *key;
            self.remove(&key);
            gone.push(key);
        }
        gone
    }
}

/// Finished results of this process; the least recently used ones go first.
#[derive(Debug)]
pub(super) struct ResultCache {
    folder: PathBuf,
    limit_bytes: u64,
    index: Mutex<Index>,
}

impl ResultCache {
    pub(super) fn new(folder: &Path, limit_bytes: u64) -> Self {
        ResultCache {
            folder: folder.to_owned(),
            limit_bytes,
            index: Mutex::default(),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("result-{}", key.hex()))
    }

    /// What was kept for `key`. Cancel-safe.
    pub(super) async fn get(&self, key: &Key) -> Option<Bytes> {
        if !self.lock().touch(key) {
            return None;
        }
        match tokio::fs::read(self.path(key)).await {
            Ok(data) => Some(data.into()),
            Err(_) => {
                self.lock().remove(key);
                None
            }
        }
    }

    /// Keeps `data`, if it finds room; others go before it is written, so that the limit holds at all
    /// times. When this is cancelled, or the disk takes nothing, it is not kept.
    pub(super) async fn put(&self, key: Key, data: Bytes) {
        let bytes = data.len() as u64;
        if bytes > self.limit_bytes {
            return;
        }
        let gone = {
            let mut index = self.lock();
            let gone = index.make_room(bytes, self.limit_bytes);
            // Holds its room, but cannot be found yet.
            index.bytes += bytes;
            gone
        };
        let reserved = Reserved { cache: self, bytes };
        for old in &gone {
            self.delete(old).await;
        }
        let path = self.path(&key);
        match write(path, data).await {
            Ok(()) => {
                drop(reserved);
                self.lock().insert(key, bytes);
            }
            Err(error) => {
                tracing::warn!(%error, "the result of a query cannot be kept");
                self.delete(&key).await;
            }
        }
    }

    async fn delete(&self, key: &Key) {
        if let Err(error) = tokio::fs::remove_file(self.path(key)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot delete a kept result");
        }
    }
}

/// Not cancelled in the middle: the file is whole, or its next writer makes it so.
async fn write(path: PathBuf, data: Bytes) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || std::fs::write(path, data)).await;
    written.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Room for a file that is being written.
struct Reserved<'a> {
    cache: &'a ResultCache,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.cache.lock().bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_least_recently_used_result_goes_first_and_the_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ResultCache::new(folder.path(), 100);
        let key = |n: u8| Key::of(&[&[n]]);
        for n in 0..3 {
            cache.put(key(n), vec![n; 40].into()).await;
            // The first one is used again and again.
            assert_eq!(cache.get(&key(0)).await.unwrap(), vec![0; 40]);
        }
        assert!(cache.get(&key(1)).await.is_none());
        assert!(cache.get(&key(2)).await.is_some());
        cache.put(key(3), vec![3; 101].into()).await;
        assert!(cache.get(&key(3)).await.is_none());
        assert!(cache.get(&key(0)).await.is_some());
        let files = std::fs::read_dir(folder.path()).unwrap();
        let bytes: u64 = files.map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert_eq!((bytes, cache.lock().bytes), (80, 80));
        cache.put(key(0), vec![9; 60].into()).await;
        assert_eq!(cache.get(&key(0)).await.unwrap(), vec![9; 60]);
        assert!(cache.lock().bytes <= 100);
    }

    #[tokio::test]
    async fn a_result_that_is_gone_from_the_disk_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ResultCache::new(folder.path(), 100);
        let key = Key::of(&[b"x"]);
        cache.put(key, Bytes::from_static(b"data")).await;
        std::fs::remove_file(cache.path(&key)).unwrap();
        assert!(cache.get(&key).await.is_none());
        assert_eq!(cache.lock().bytes, 0);
    }
}
