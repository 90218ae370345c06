//! Results on disk, under a limit of bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::service::Key;
use crate::base::Recency;

#[derive(Debug, Default)]
struct Index {
    kept: Recency<Key, ()>,
    /// Bytes of files that are being written.
    reserved: u64,
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
        self.lock().kept.bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("result-{}", key.hex()))
    }

    /// What was kept for `key`. Cancel-safe.
    pub(super) async fn get(&self, key: &Key) -> Option<Bytes> {
        if !self.lock().kept.touch(key) {
            return None;
        }
        match tokio::fs::read(self.path(key)).await {
            Ok(data) => Some(data.into()),
            Err(_) => {
                self.lock().kept.remove(key);
                None
            }
        }
    }

    /// Keeps `data`, if it finds room; others go before it is written, so that the limit holds at all
    /// times. When this is cancelled, or the disk takes nothing, it is not kept.
    pub(super) async fn put(&self, key: Key, data: Bytes) {
        let bytes = data.len() as u64;
        let (gone, reserved) = {
            let mut index = self.lock();
            let Some(rest) = self.limit_bytes.checked_sub(index.reserved + bytes) else {
                return;
            };
            index.reserved += bytes;
            (index.kept.shrink_to(rest), Reserved { cache: self, bytes })
        };
        for (old, ()) in &gone {
            self.delete(old).await;
        }
        let path = self.path(&key);
        match write(path, data).await {
            Ok(()) => {
                drop(reserved);
                self.lock().kept.insert(key, bytes, ());
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
        self.cache.lock().reserved -= self.bytes;
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
        assert_eq!((bytes, cache.used_bytes()), (80, 80));
        cache.put(key(0), vec![9; 60].into()).await;
        assert_eq!(cache.get(&key(0)).await.unwrap(), vec![9; 60]);
        assert!(cache.used_bytes() <= 100);
    }

    #[tokio::test]
    async fn a_result_that_is_gone_from_the_disk_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ResultCache::new(folder.path(), 100);
        let key = Key::of(&[b"x"]);
        cache.put(key, Bytes::from_static(b"data")).await;
        std::fs::remove_file(cache.path(&key)).unwrap();
        assert!(cache.get(&key).await.is_none());
        assert_eq!(cache.used_bytes(), 0);
    }
}
