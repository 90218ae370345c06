//! Folders for what a running gateway keeps on disk and nobody needs after it.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder of this process, deleted when dropped.
///
/// It is held by a lock on a file in it; folders that nobody holds are what killed gateways left, and
/// are deleted when the next one is opened beside them.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    _lock: std::fs::File,
}

const LOCK_NAME: &str = "lock";

impl ScratchFolder {
    /// Takes possession of a new folder below `parent`, whose name begins with `prefix`; left-overs
    /// with that prefix are deleted. Blocks on the disk: called once at start.
    ///
    /// # Errors
    /// When `parent` cannot be made or written to.
    pub fn open(parent: &Path, prefix: &str) -> io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        remove_left_overs(parent, prefix)?;
        let id = Uuid::now_v7();
        // It gets its name when it is locked: another gateway may be looking for left-overs.
        let (unnamed, path) = (
            parent.join(format!("new-{id}")),
            parent.join(format!("{prefix}{id}")),
        );
        std::fs::create_dir(&unnamed)?;
        let lock = std::fs::File::create(unnamed.join(LOCK_NAME))?;
        lock.lock()?;
        std::fs::rename(unnamed, &path)?;
        Ok(ScratchFolder { path, _lock: lock })
    }

    /// The same with an absolute path, free of links.
    ///
    /// # Errors
    /// When it is gone.
    pub fn canonical(mut self) -> io::Result<Self> {
        self.path = std::fs::canonicalize(&self.path)?;
        Ok(self)
    }

    /// Deletes what killed gateways left beside, in folders whose names begin with `prefix`; how many.
    /// Blocks on the disk.
    pub fn sweep(&self, prefix: &str) -> usize {
        let parent = self.path.parent();
        parent.map_or(0, |p| remove_left_overs(p, prefix).unwrap_or(0))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        remove_folder(&self.path);
    }
}

/// Deletes the folders of gateways that are gone. One that cannot be deleted stays.
fn remove_left_overs(parent: &Path, prefix: &str) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(parent)? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(prefix) || !folder.is_dir() {
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
        tracing::warn!(%error, "cannot delete a temporary folder");
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
                let folder = ScratchFolder::open(parent.path(), "segments-").unwrap();
                std::fs::write(folder.path().join("segment"), "x").unwrap();
                std::thread::yield_now();
                assert!(folder.path().join("segment").exists());
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
        let _folder = ScratchFolder::open(parent.path(), "segments-").unwrap();
        assert!(!left.exists() && parent.path().join("others").exists());
    }
}
