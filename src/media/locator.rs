//! Where a source lies.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// Where a source lies, after its text was checked. The only form of a source that the rest of the
/// gateway takes; only `source::SourcePolicy` makes one from a client's text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceLocator {
    /// A regular file inside a configured root.
    File(LocalFile),
    /// An `http` or `https` URL, without a fragment.
    Http(Url),
    /// A stream that is received as it happens: `rtmp`, `rtmps`, `rtsp`, `rtsps` or `srt`.
    Live(Url),
}

/// The three ways of reaching a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    File,
    Http,
    Live,
}

impl SourceLocator {
    pub fn kind(&self) -> SourceKind {
        match self {
            SourceLocator::File(_) => SourceKind::File,
            SourceLocator::Http(_) => SourceKind::Http,
            SourceLocator::Live(_) => SourceKind::Live,
        }
    }

    /// Whether reading it needs the network.
    pub fn is_remote(&self) -> bool {
        self.kind() != SourceKind::File
    }

    /// The canonical path of a local file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            SourceLocator::File(f) => Some(f.path()),
            SourceLocator::Http(_) | SourceLocator::Live(_) => None,
        }
    }

    /// The URL of a remote source, credentials included.
    pub fn url(&self) -> Option<&Url> {
        match self {
            SourceLocator::File(_) => None,
            SourceLocator::Http(u) | SourceLocator::Live(u) => Some(u),
        }
    }

    /// The source as it may be logged or told to a client: without user name and password, and
    /// with a local file relative to its root.
    pub fn display(&self) -> String {
        match self {
            SourceLocator::File(f) => f.shown().to_owned(),
            SourceLocator::Http(u) | SourceLocator::Live(u) => without_credentials(u),
        }
    }

    /// A text that is equal for two sources exactly when they are read from the same place with
    /// the same credentials; a trailing `/` does not count. It holds the server's path and the
    /// password: a key to hash, never to show.
    pub fn identity(&self) -> String {
        let text = match self {
            SourceLocator::File(f) => match Url::from_file_path(f.path()) {
                Ok(u) => u.into(),
                Err(()) => format!("file:{}", f.path().display()),
            },
            SourceLocator::Http(u) | SourceLocator::Live(u) => u.as_str().to_owned(),
        };
        text.trim_end_matches('/').to_owned()
    }
}

/// As `display`.
impl fmt::Display for SourceLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

/// A file inside a root, with the text that may be shown for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalFile {
    path: PathBuf,
    shown: String,
}

impl LocalFile {
    /// `path` and `root` are absolute and free of symbolic links and `..`. `None` when `path` is
    /// not below `root`.
    pub fn new(root: &Path, path: PathBuf) -> Option<Self> {
        let below = path.strip_prefix(root).ok()?;
        let shown = below.to_string_lossy().into_owned();
        if shown.is_empty() {
            None
        } else {
            Some(LocalFile { path, shown })
        }
    }

    /// Absolute and canonical.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path relative to the root; bytes that are not UTF-8 are replaced.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

fn without_credentials(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    // Both fail only for a URL that cannot carry credentials.
    let cleared = shown
        .set_password(None)
        .and_then(|()| shown.set_username(""));
    match cleared {
        Ok(()) => shown.into(),
        Err(()) => format!("{}://{}", url.scheme(), url.host_str().unwrap_or("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> SourceLocator {
        SourceLocator::Http(Url::parse(text).unwrap())
    }

    #[test]
    fn shows_no_credentials() {
        assert_eq!(http("http://me:secret@h/a?b=c").display(), "http://h/a?b=c");
        let live = SourceLocator::Live(Url::parse("rtsp://me:secret@cam:554/1").unwrap());
        assert_eq!(live.display(), "rtsp://cam:554/1");
        assert_eq!(live.kind(), SourceKind::Live);
        assert!(live.is_remote());
    }

    #[test]
    fn shows_no_server_path() {
        let f = LocalFile::new(Path::new("/srv/films"), "/srv/films/a/b.mkv".into()).unwrap();
        let f = SourceLocator::File(f);
        assert_eq!(f.to_string(), "a/b.mkv");
        assert_eq!(f.identity(), "file:///srv/films/a/b.mkv");
        assert!(!f.is_remote());
        assert_eq!(
            LocalFile::new(Path::new("/srv/films"), "/srv/filmsX/b".into()),
            None
        );
        assert_eq!(LocalFile::new(Path::new("/srv"), "/srv".into()), None);
    }

    #[test]
    fn identities_differ_by_credentials_and_not_by_a_slash() {
        assert_eq!(
            http("http://H:80/a/").identity(),
            http("http://h/a").identity()
        );
        assert_ne!(
            http("http://u@h/a").identity(),
            http("http://h/a").identity()
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_keep_their_identity() {
        use std::os::unix::ffi::OsStrExt;
        let id = |bytes: &[u8]| {
            let path = Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned();
            SourceLocator::File(LocalFile::new(Path::new("/r"), path).unwrap()).identity()
        };
        assert_ne!(id(b"/r/\xff"), id(b"/r/\xfe"));
    }
}
