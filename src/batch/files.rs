//! Where the files of batch jobs lie.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::JobId;

/// A folder with one folder for each job.
#[derive(Debug, Clone)]
pub(super) struct JobFolders {
    root: PathBuf,
}

impl JobFolders {
    /// Folders below `root`, which is made when the first one is.
    pub(super) fn new(root: PathBuf) -> Self {
        JobFolders { root }
    }

    pub(super) fn of(&self, id: JobId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// An empty folder for a job; what an earlier attempt left in it is deleted. The path is absolute
    /// and free of links.
    pub(super) async fn begin(&self, id: JobId) -> io::Result<PathBuf> {
        let folder = self.of(id);
        remove(&folder).await?;
        tokio::fs::create_dir_all(&folder).await?;
        tokio::fs::canonicalize(&folder).await
    }

    pub(super) async fn remove(&self, id: JobId) -> io::Result<()> {
        remove(&self.of(id)).await
    }

    /// Deletes folders of jobs that `is_known` does not know: what a deletion left that was cut short.
    pub(super) async fn sweep(&self, is_known: impl Fn(JobId) -> bool) -> io::Result<()> {
        let mut entries = match tokio::fs::read_dir(&self.root).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let id = entry.file_name().to_string_lossy().parse();
            if id.is_ok_and(|id| !is_known(id)) {
                remove(&entry.path()).await?;
            }
        }
        Ok(())
    }
}

async fn remove(folder: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether `name` can be the name of a file that a job makes: no path, nothing hidden.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    !name.is_empty() && !name.starts_with('.') && name.len() <= 64 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        assert!(is_plain("output.mp4") && is_plain("segment_00001.ts"));
        for bad in ["", "..", ".x", "a/b", "../output.mp4", "a\\b", "é.mp4"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
