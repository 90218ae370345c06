//! The files of `web/dist` as the compiler found them.

use std::borrow::Cow;

use rust_embed::Embed;

/// The built page. Empty when it was not built before the gateway was.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// One file of the page.
pub(crate) struct File {
    pub(crate) data: Cow<'static, [u8]>,
    /// SHA-256 of `data`.
    pub(crate) sha256: [u8; 32],
}

/// The file at `path`, relative to `web/dist` and without a leading slash. Only names that
/// were there at build time exist, so no path can lead outside.
pub(crate) fn file(path: &str) -> Option<File> {
    let found = Dist::get(path)?;
    Some(File {
        sha256: found.metadata.sha256_hash(),
        data: found.data,
    })
}

/// The names of all files.
#[cfg(test)]
pub(crate) fn names() -> Vec<String> {
    Dist::iter().map(Cow::into_owned).collect()
}
