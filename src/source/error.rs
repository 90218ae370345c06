//! Why a source is not read, in words for the client that named it.

/// Why a source cannot be used. The texts name what the client wrote and never a path, an address
/// or a setting's content of this server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("the source is empty")]
    Empty,
    #[error("the source contains a NUL byte")]
    Nul,
    #[error("the source is longer than {limit_bytes} bytes")]
    TooLong { limit_bytes: usize },
    #[error(
        "scheme '{0}' is not served; use http, https, rtmp, rtsp, srt or a file under sources.roots"
    )]
    UnsupportedScheme(String),
    #[error("not a valid URL: {0}")]
    BadUrl(String),
    #[error("a file URL names no host; use file:///absolute/path")]
    FileUrlWithHost,
    #[error("local files are not served: sources.roots is empty")]
    NoRoots,
    /// The same for a file that is missing and one that lies outside the roots.
    #[error("no such file under sources.roots")]
    NoSuchFile,
    #[error("not a regular file")]
    NotAFile,
    #[error("not a folder")]
    NotAFolder,
    #[error("the file cannot be read")]
    Unreadable,
    /// The host is on the deny list or not on the allow list.
    #[error("host '{host}' is not allowed ({setting})")]
    Refused { host: String, setting: &'static str },
    #[error("the source was not found (HTTP status {0})")]
    NotFound(u16),
    #[error("the source answered with HTTP status {0}")]
    HttpStatus(u16),
    #[error("the source cannot be reached: {0}")]
    Unreachable(String),
    #[error("the source did not answer in time")]
    Timeout,
    #[error("the source redirects more than {0} times")]
    TooManyRedirects(u8),
    #[error("the source does not serve byte ranges")]
    NoRanges,
    #[error("the source changed or ended while it was read")]
    Changed,
    #[error(
        "the source is larger than {limit_bytes} bytes, which is the most that is copied of it"
    )]
    TooLarge { limit_bytes: u64 },
    #[error("no space to copy the source to")]
    NoDisk,
}

/// The class of a [`SourceError`], for choosing an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// The text itself is wrong (400).
    BadRequest,
    /// The text is fine and this gateway does not read it (403).
    Forbidden,
    /// Nothing lies there (404).
    NotFound,
    /// The other server fails (502).
    BadGateway,
    /// The other server is too slow (504).
    Timeout,
}

impl SourceError {
    /// Whether the same question may be answered a moment later: trouble of the network or of the other
    /// server, not an answer of it.
    pub fn may_pass(&self) -> bool {
        match self {
            SourceError::Unreachable(_)
            | SourceError::Timeout
            | SourceError::Changed
            | SourceError::NoDisk => true,
            // Too early, too often, or its own fault (RFC 9110 section 15.6).
            SourceError::HttpStatus(status) => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }

    pub fn kind(&self) -> SourceErrorKind {
        use SourceError as E;
        match self {
            E::Empty
            | E::Nul
            | E::TooLong { .. }
            | E::UnsupportedScheme(_)
            | E::BadUrl(_)
            | E::FileUrlWithHost
            | E::NotAFile
            | E::NotAFolder => SourceErrorKind::BadRequest,
            E::NoRoots | E::Unreadable | E::Refused { .. } => SourceErrorKind::Forbidden,
            E::NoSuchFile | E::NotFound(_) => SourceErrorKind::NotFound,
            E::HttpStatus(_)
            | E::Unreachable(_)
            | E::TooManyRedirects(_)
            | E::NoRanges
            | E::Changed
            | E::TooLarge { .. }
            | E::NoDisk => SourceErrorKind::BadGateway,
            E::Timeout => SourceErrorKind::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trouble_may_pass() {
        let of = |status| SourceError::HttpStatus(status).may_pass();
        assert!([408, 429, 500, 503].into_iter().all(of));
        assert!(![400, 401, 403, 416].into_iter().any(of));
        assert!(SourceError::Timeout.may_pass());
        assert!(SourceError::Unreachable("host 'h' closed the connection".into()).may_pass());
        assert!(!SourceError::NotFound(404).may_pass());
        assert!(!SourceError::TooManyRedirects(5).may_pass());
    }
}
