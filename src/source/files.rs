//! Local files under the configured roots.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::error::SourceError;
use super::policy::SourcePolicy;
use crate::media::LocalFile;

/// A listing ends after this many entries.
const MAX_ENTRIES: usize = 1000;

/// A folder is not read further than this, so that a huge one costs bounded time.
const MAX_SCANNED: usize = 50_000;

/// File name extensions that a listing shows.
const MEDIA_EXTENSIONS: &[&str] = &[
    "3g2", "3gp", "aac", "ac3", "aif", "aiff", "asf", "avi", "dts", "dv", "eac3", "f4v", "flac",
    "flv", "gif", "ivf", "m2t", "m2ts", "m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp2", "mp3",
    "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "oga", "ogg", "ogm", "ogv", "opus", "rm", "rmvb",
    "ts", "vob", "wav", "webm", "wma", "wmv", "wtv", "y4m",
];

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DirEntry {
    /// The last part of the path, or a root's name.
    pub name: String,
    /// Relative to the roots; usable as a source (a file) or for a further listing (a folder).
    pub path: String,
    pub is_dir: bool,
    /// 0 for a folder.
    pub size_bytes: u64,
}

/// The configured folders, canonical.
#[derive(Debug, Clone, Default)]
pub(super) struct Roots {
    roots: Vec<Root>,
    /// What clients sent: no folder of the library's, so it is not listed.
    uploads: Option<Root>,
}

/// What the names of sources begin with that clients sent.
pub const UPLOADED: &str = "uploaded/";

#[derive(Debug, Clone)]
struct Root {
    /// The folder's own name, with `-2` and so on where several share it.
    name: String,
    path: PathBuf,
}

impl Roots {
    pub(super) fn new(
        folders: &[PathBuf],
        uploads: Option<&Path>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let found = |folder: &Path| {
            let readable = fs::canonicalize(folder).and_then(|p| fs::read_dir(&p).map(|_| p));
            readable.map_err(|cause| (folder.to_owned(), cause))
        };
        let uploads = uploads.map(found).transpose()?.map(|path| Root {
            name: UPLOADED.trim_end_matches('/').to_owned(),
            path,
        });
        let mut roots: Vec<Root> = Vec::new();
        for folder in folders {
            let path = found(folder)?;
            if roots.iter().any(|r| r.path == path) {
                continue;
            }
            let own = path
                .file_name()
                .map_or("root".into(), |n| n.to_string_lossy());
            let taken = |name: &str| roots.iter().any(|r| r.name == name);
            let mut name = own.to_string();
            let mut nth = 2;
            while taken(&name) {
                name = format!("{own}-{nth}");
                nth += 1;
            }
            roots.push(Root { name, path });
        }
        Ok(Roots { roots, uploads })
    }

    /// The readable regular file that `path` names. Missing and outside are one error.
    pub(super) async fn find(&self, path: PathBuf) -> Result<LocalFile, SourceError> {
        let roots = self.clone();
        blocking(move || roots.find_now(&path)).await
    }

    fn find_now(&self, path: &Path) -> Result<LocalFile, SourceError> {
        let (root, found) = match self.locate_uploaded(path) {
            Some(found) => found,
            None => self.locate(path)?,
        };
        let kind = fs::metadata(&found)
            .map_err(|_| SourceError::NoSuchFile)?
            .file_type();
        if !kind.is_file() {
            return Err(SourceError::NotAFile);
        }
        open_regular(&found).map_err(|_| SourceError::Unreadable)?;
        LocalFile::new(&root.path, found).ok_or(SourceError::NoSuchFile)
    }

    /// The canonical form of `path` and the root it lies in.
    fn locate(&self, path: &Path) -> Result<(&Root, PathBuf), SourceError> {
        if self.roots.is_empty() {
            return Err(SourceError::NoRoots);
        }
        self.candidates(path)
            .iter()
            .find_map(|candidate| {
                let found = fs::canonicalize(candidate).ok()?;
                let root = self.roots.iter().find(|r| found.starts_with(&r.path))?;
                Some((root, found))
            })
            .ok_or(SourceError::NoSuchFile)
    }

    /// The same for what a client sent.
    fn locate_uploaded(&self, path: &Path) -> Option<(&Root, PathBuf)> {
        let uploads = self.uploads.as_ref()?;
        let below = path.strip_prefix(UPLOADED).ok()?;
        let found = fs::canonicalize(uploads.path.join(below)).ok()?;
        found.starts_with(&uploads.path).then_some((uploads, found))
    }

    /// Where `path` may lie, best first: an absolute path only there; a relative one with several
    /// roots first below the root that its first part names, then below each root in order.
    fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        if path.is_absolute() {
            return vec![path.to_owned()];
        }
        if climbs(path) {
            return Vec::new();
        }
        let path = path.strip_prefix(".").unwrap_or(path);
        let mut parts = path.components();
        let named = match parts.next() {
            Some(Component::Normal(first)) if self.roots.len() > 1 => {
                let root = self.roots.iter().find(|r| first.to_str() == Some(&r.name));
                root.map(|r| r.path.join(parts.as_path()))
            }
            _ => None,
        };
        named
            .into_iter()
            .chain(self.roots.iter().map(|r| r.path.join(path)))
            .collect()
    }

    fn list_now(&self, folder: &str) -> Result<Vec<DirEntry>, SourceError> {
        let several = self.roots.len() > 1;
        if several && folder.trim_matches(['/', '.']).is_empty() {
            let named = |r: &Root| DirEntry {
                name: r.name.clone(),
                path: r.name.clone(),
                is_dir: true,
                size_bytes: 0,
            };
            return Ok(self.roots.iter().take(MAX_ENTRIES).map(named).collect());
        }
        let folder = folder.trim_start_matches('/');
        let (root, dir) = self.locate(Path::new(folder))?;
        if !fs::metadata(&dir)
            .map_err(|_| SourceError::NoSuchFile)?
            .is_dir()
        {
            return Err(SourceError::NotAFolder);
        }
        let below = dir
            .strip_prefix(&root.path)
            .map_err(|_| SourceError::NoSuchFile)?;
        let below = below.to_str().ok_or(SourceError::NoSuchFile)?;
        let prefix = match (several, below.is_empty()) {
            (true, true) => format!("{}/", root.name),
            (true, false) => format!("{}/{below}/", root.name),
            (false, true) => String::new(),
            (false, false) => format!("{below}/"),
        };
        let mut entries: Vec<DirEntry> = fs::read_dir(&dir)
            .map_err(|_| SourceError::Unreadable)?
            .take(MAX_SCANNED)
            .filter_map(|entry| self.entry(&entry.ok()?.path(), &prefix))
            .collect();
        let key = |e: &DirEntry| (!e.is_dir, e.name.to_lowercase(), e.name.clone());
        entries.sort_by_cached_key(key);
        entries.truncate(MAX_ENTRIES);
        Ok(entries)
    }

    /// `None` for what a listing leaves out: hidden names, names that are not text, links that
    /// lead outside the roots, and files that are not media by their extension.
    fn entry(&self, path: &Path, prefix: &str) -> Option<DirEntry> {
        let name = path.file_name()?.to_str()?;
        if name.starts_with('.') {
            return None;
        }
        let extension = Path::new(name)
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("");
        let is_media = MEDIA_EXTENSIONS
            .iter()
            .any(|m| extension.eq_ignore_ascii_case(m));
        let kind = fs::symlink_metadata(path).ok()?.file_type();
        if !is_media && kind.is_file() {
            return None;
        }
        if kind.is_symlink() {
            let found = fs::canonicalize(path).ok()?;
            self.roots.iter().find(|r| found.starts_with(&r.path))?;
        }
        let metadata = fs::metadata(path).ok()?;
        if !(metadata.is_dir() || metadata.is_file() && is_media) {
            return None;
        }
        Some(DirEntry {
            name: name.to_owned(),
            path: format!("{prefix}{name}"),
            is_dir: metadata.is_dir(),
            size_bytes: if metadata.is_dir() { 0 } else { metadata.len() },
        })
    }
}

impl SourcePolicy {
    /// The folders and media files in a folder below the roots, folders first, each sorted by
    /// name without regard to case; at most 1000. An empty `folder` is the top.
    ///
    /// With one root, paths are relative to it. With several, the top lists the roots under their
    /// names (`films`, `films-2`), and a path begins with the root's name: `films/a.mkv`. As a
    /// source, such a text means that root first and then, as one without a root's name does,
    /// the first root in which it exists. Names beginning with a dot are not shown.
    ///
    /// # Errors
    /// `NoRoots`, `NoSuchFile` (also for a folder outside the roots), `NotAFolder`, `Unreadable`.
    pub async fn list(&self, folder: &str) -> Result<Vec<DirEntry>, SourceError> {
        if folder.contains('\0') {
            return Err(SourceError::Nul);
        }
        let (roots, folder) = (self.roots(), folder.to_owned());
        blocking(move || roots.list_now(&folder)).await
    }
}

/// Whether a relative path leaves the folder that it starts from, be it to come back.
fn climbs(path: &Path) -> bool {
    let mut depth = 0_i32;
    path.components().any(|part| {
        depth += match part {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => 0,
        };
        depth < 0
    })
}

/// Opens a file that must be regular at the moment of opening. Never waits for a FIFO's writer.
pub(super) fn open_regular(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::libc::O_NONBLOCK);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Runs file system work, which may hang on a network mount, away from the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SourceError::Unreadable))
}
