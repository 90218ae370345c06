//! Which sources this gateway reads.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use url::Url;

use super::dial::Resolver;
use super::error::SourceError;
use super::files::Roots;
use super::hosts::{DEFAULT_DENY_HOSTS, HostList, HostRuleError};
use crate::media::{LocalFile, SourceLocator};

/// ffmpeg cuts longer URLs silently (its `MAX_URL_SIZE` is 4096).
const MAX_SOURCE_BYTES: usize = 4000;

/// The section `sources` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Folders from which local files may be read. A relative one counts from the working
    /// directory.
    pub roots: Vec<PathBuf>,
    /// Where files lie that clients sent, which are named `uploaded/...` and not listed.
    pub uploads: Option<PathBuf>,
    /// Host names, `*.suffix`, IP addresses and CIDR networks. Empty: every host that is not
    /// denied.
    pub allow_hosts: Vec<String>,
    /// As `allow_hosts`; denied hosts are never connected to.
    pub deny_hosts: Vec<String>,
}

impl Default for SourceSettings {
    fn default() -> Self {
        SourceSettings {
            roots: Vec::new(),
            uploads: None,
            allow_hosts: Vec::new(),
            deny_hosts: DEFAULT_DENY_HOSTS.iter().map(|&h| h.to_owned()).collect(),
        }
    }
}

/// A wrong entry in [`SourceSettings`].
#[derive(Debug, thiserror::Error)]
pub enum SourceSettingsError {
    #[error("sources.roots: '{}' is not a folder that can be read: {cause}", .root.display())]
    Root {
        root: PathBuf,
        cause: std::io::Error,
    },
    #[error("sources.allow_hosts: {0}")]
    Allow(HostRuleError),
    #[error("sources.deny_hosts: {0}")]
    Deny(HostRuleError),
}

/// Which files and hosts may be read; what stands between a client's text and ffmpeg.
#[derive(Debug)]
pub struct SourcePolicy {
    rules: RwLock<Arc<Rules>>,
    resolver: Resolver,
}

#[derive(Debug)]
struct Rules {
    roots: Roots,
    allow: HostList,
    deny: HostList,
}

impl Rules {
    fn new(settings: &SourceSettings) -> Result<Arc<Rules>, SourceSettingsError> {
        Ok(Arc::new(Rules {
            roots: Roots::new(&settings.roots, settings.uploads.as_deref())
                .map_err(|(root, cause)| SourceSettingsError::Root { root, cause })?,
            allow: HostList::parse(&settings.allow_hosts).map_err(SourceSettingsError::Allow)?,
            deny: HostList::parse(&settings.deny_hosts).map_err(SourceSettingsError::Deny)?,
        }))
    }
}

impl SourcePolicy {
    /// Checks the settings; reads the file system once, to find the roots.
    ///
    /// # Errors
    /// An entry that is not a folder, or not a host rule, by its key.
    pub fn new(settings: SourceSettings) -> Result<Self, SourceSettingsError> {
        Ok(SourcePolicy {
            rules: RwLock::new(Rules::new(&settings)?),
            resolver: Resolver::System,
        })
    }

    /// From now on `settings` say what may be read; what is being read stays open. Reads the file
    /// system, as [`SourcePolicy::new`] does.
    ///
    /// # Errors
    /// As [`SourcePolicy::new`]; nothing has changed then.
    pub fn replace(&self, settings: &SourceSettings) -> Result<(), SourceSettingsError> {
        let new = Rules::new(settings)?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    /// Host names are answered from `answers` instead of the system's resolver: each lookup of a
    /// name takes its next list of addresses, and its last one from then on.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    pub fn with_names(
        mut self,
        answers: std::collections::HashMap<String, Vec<Vec<IpAddr>>>,
    ) -> Self {
        let script = super::dial::Script {
            answers,
            asked: std::sync::Mutex::default(),
        };
        self.resolver = Resolver::Scripted(std::sync::Arc::new(script));
        self
    }

    pub(super) fn roots(&self) -> Roots {
        self.rules().roots.clone()
    }

    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Turns a client's text into a source that may be read.
    ///
    /// `scheme://...` is a URL; every other text is a path, absolute or relative to a root (see
    /// [`SourcePolicy::list`] for its spelling when there are several). Only a `file://` URL is
    /// percent-decoded, and `?` and `#` belong to its path. A remote host is looked up and
    /// checked; it is not connected to. Cancel-safe.
    ///
    /// # Errors
    /// Every variant of [`SourceError`] that does not speak of an answer.
    pub async fn resolve(&self, text: &str) -> Result<SourceLocator, SourceError> {
        if text.trim().is_empty() {
            return Err(SourceError::Empty);
        }
        if text.contains('\0') {
            return Err(SourceError::Nul);
        }
        if text.len() > MAX_SOURCE_BYTES {
            return Err(SourceError::TooLong {
                limit_bytes: MAX_SOURCE_BYTES,
            });
        }
        let Some((scheme, rest)) = url_scheme(text) else {
            return match self.roots().find(text.into()).await {
                // `pipe:0` and the like are told apart from a file of that name.
                Err(SourceError::NoSuchFile | SourceError::NoRoots)
                    if bare_scheme(text).is_some() =>
                {
                    let scheme = bare_scheme(text).unwrap_or_default();
                    Err(SourceError::UnsupportedScheme(scheme.to_ascii_lowercase()))
                }
                other => other.map(SourceLocator::File),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(SourceError::FileUrlWithHost);
                }
                let path = percent_decoded(path);
                if path.contains(&0) {
                    return Err(SourceError::Nul);
                }
                self.roots()
                    .find(bytes_to_path(path))
                    .await
                    .map(SourceLocator::File)
            }
            "http" | "https" => self.resolve_url(text, 80).await.map(SourceLocator::Http),
            "rtmp" | "rtmps" | "rtsp" | "rtsps" | "srt" => {
                self.resolve_url(text, 1935).await.map(SourceLocator::Live)
            }
            other => Err(SourceError::UnsupportedScheme(
                other.chars().take(40).collect(),
            )),
        }
    }

    /// The local file that a client's text names; `None` when it is no such file, or names another
    /// host, which is not looked up. Cancel-safe.
    pub async fn resolve_file(&self, text: &str) -> Option<LocalFile> {
        let elsewhere = |(scheme, _): (&str, &str)| !scheme.eq_ignore_ascii_case("file");
        if url_scheme(text).is_some_and(elsewhere) {
            return None;
        }
        match self.resolve(text).await {
            Ok(SourceLocator::File(file)) => Some(file),
            Ok(SourceLocator::Http(_) | SourceLocator::Live(_)) | Err(_) => None,
        }
    }

    async fn resolve_url(&self, text: &str, any_port: u16) -> Result<Url, SourceError> {
        let mut url = Url::parse(text.trim()).map_err(|e| SourceError::BadUrl(e.to_string()))?;
        url.set_fragment(None);
        if url.as_str().len() > MAX_SOURCE_BYTES {
            return Err(SourceError::TooLong {
                limit_bytes: MAX_SOURCE_BYTES,
            });
        }
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host,
            Some(_) | None => return Err(SourceError::BadUrl("it names no host".to_owned())),
        };
        if url.scheme() == "srt" {
            check_srt(&url)?;
        }
        // The port is irrelevant to the lookup.
        self.addresses(host, any_port).await?;
        Ok(url)
    }

    /// Refuses a host by its name alone.
    pub(super) fn check_name(&self, name: &str) -> Result<(), SourceError> {
        if self.rules().deny.covers_name(name) {
            Err(denied(name))
        } else {
            Ok(())
        }
    }

    /// Refuses a host by one of its addresses. An allow list admits a host either by its name or
    /// by each of its addresses.
    pub(super) fn check_address(&self, name: &str, ip: IpAddr) -> Result<(), SourceError> {
        let rules = self.rules();
        if rules.deny.covers_address(ip) {
            return Err(denied(name));
        }
        let allow = &rules.allow;
        if allow.is_empty() || allow.covers_name(name) || allow.covers_address(ip) {
            return Ok(());
        }
        Err(SourceError::Refused {
            host: name.to_owned(),
            setting: "not in sources.allow_hosts",
        })
    }
}

/// libsrt takes options from the query: with `mode=listener` it would wait for callers on a port
/// of this machine.
fn check_srt(url: &Url) -> Result<(), SourceError> {
    let bad = |why: &str| Err(SourceError::BadUrl(why.to_owned()));
    if url.port().is_none() {
        return bad("an srt URL needs a port");
    }
    let mut options = url.query().unwrap_or("").split('&');
    if options.any(|o| o.strip_prefix("mode=").is_some_and(|mode| mode != "caller")) {
        return bad("an srt source is called (mode=caller)");
    }
    Ok(())
}

fn denied(name: &str) -> SourceError {
    SourceError::Refused {
        host: name.to_owned(),
        setting: "in sources.deny_hosts",
    }
}

/// Splits `scheme://rest`.
fn url_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.trim_start().split_once("://")?;
    is_scheme(scheme).then_some((scheme, rest))
}

/// The scheme of a text like `pipe:0`, which ffmpeg would take for a protocol.
fn bare_scheme(text: &str) -> Option<&str> {
    let scheme = text.split([':', ',']).next()?;
    (scheme.len() < text.len() && is_scheme(scheme)).then_some(scheme)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// The bytes that `text` stands for: `%XX` decoded, other `%` as they are.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(unix)]
fn bytes_to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn bytes_to_path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
