//! What handlers work with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::{Host, Url};

use crate::artifact::ArtifactStore;
use crate::base::JobId;
use crate::batch::Batches;
use crate::discovery::outward_address;
use crate::dispatch::Dispatcher;
use crate::media::{AudioChoice, VideoChoice};
use crate::queries::Queries;
use crate::scenes::Scenes;
use crate::session::Registry;
use crate::videos::Videos;

use super::access::{Access, now};
use super::callbacks::Callbacks;
use super::grav1::Grav1Settings;
use super::links::{ARTIFACTS, Links};
use super::machine::Machine;
use super::observe::Observer;
use super::peertube::RunnerSockets;
use super::presence::Presence;
use super::settings::EffectiveSettings;
use super::wire::Defaults;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub registry: Arc<Registry>,
    pub batches: Arc<Batches>,
    pub dispatcher: Arc<Dispatcher>,
    pub videos: Arc<Videos>,
    pub sockets: RunnerSockets,
    pub artifacts: ArtifactStore,
    /// What clients send to have it transcoded.
    pub uploads: ArtifactStore,
    pub scenes: Arc<Scenes>,
    pub grav1: Grav1Settings,
    /// Base of absolute URLs; `None` = as the request's Host says.
    pub advertised_url: Option<Arc<str>>,
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// What this installation calls itself.
    pub environment: Arc<str>,
    pub machine: Arc<Machine>,
    pub max_concurrent_jobs: usize,
    /// The configuration in effect, for people.
    pub settings: EffectiveSettings,
    /// Codecs of requests that name none.
    pub default_video: VideoChoice,
    pub default_audio: AudioChoice,
    pub access: Arc<Access>,
    pub callbacks: Arc<Callbacks>,
    /// Ends all work.
    pub cancel: CancellationToken,
    pub queries: Arc<Queries>,
    /// Whether refused queries are answered with the original's status 200.
    pub legacy_query_errors: bool,
    /// Owns work that goes on when its client has left.
    pub tracker: TaskTracker,
    /// Owns connections that are no longer HTTP.
    pub connections: TaskTracker,
    /// Fires when no new requests are taken.
    pub stop: CancellationToken,
    /// Who is there.
    pub presence: Arc<Presence>,
    /// Counts and logs requests.
    pub observer: Arc<Observer>,
    /// WebSockets that may still be opened.
    pub websockets: Arc<Semaphore>,
}

impl AppState {
    pub(super) fn defaults(&self) -> Defaults {
        Defaults {
            video: self.default_video,
            audio: self.default_audio,
        }
    }

    /// Addresses of a job's files, as the client that sent `headers` can use them.
    pub(super) fn links(&self, job: JobId, headers: &HeaderMap) -> Links {
        Links {
            base: self.base_url(headers),
            token: self.access.signer().map(|s| s.token(job, now())),
        }
    }

    /// Addresses of a video's files below `base`.
    pub(super) fn video_links(&self, id: &str, base: String) -> Links {
        let token = self.access.signer().map(|s| s.token(id, now()));
        Links { base, token }
    }

    /// Addresses of the sheets that `subject` names.
    pub(super) fn sheet_links(&self, subject: &str, headers: &HeaderMap) -> Links {
        Links {
            base: self.base_url(headers),
            token: self.access.signer().map(|s| s.token(subject, now())),
        }
    }

    /// The address of the artifact `name` (`JOB/FILE`), as the client that sent `headers` can use it.
    pub(super) fn artifact_url(&self, name: &str, headers: &HeaderMap) -> String {
        let job = name.split('/').next().unwrap_or_default();
        let links = Links {
            base: self.base_url(headers),
            token: self.access.signer().map(|s| s.token(job, now())),
        };
        links.to(&format!("{ARTIFACTS}{name}"))
    }

    /// `http://host:port` under which the client reached us, without a trailing slash.
    pub(super) fn base_url(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.advertised_url {
            return url.trim_end_matches('/').to_owned();
        }
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let host = text(http::header::HOST.as_str()).filter(|h| valid_host(h));
        let host = host.unwrap_or("127.0.0.1:8765");
        let scheme = match text("x-forwarded-proto") {
            Some("https") => "https",
            _ => "http",
        };
        format!("{scheme}://{host}")
    }

    /// Where other devices most likely reach the gateway, without a trailing slash; `None` when only its own
    /// machine does.
    pub(super) fn url_for_others(&self, headers: &HeaderMap) -> Option<String> {
        let own = match self.address.ip() {
            ip if ip.is_unspecified() => outward_address(),
            ip if ip.is_loopback() => None,
            ip => Some(ip),
        };
        for_others(&self.base_url(headers), own)
    }
}

/// The address in `base` for other devices: its host, where that is the machine itself, becomes `outward`,
/// the address under which they know it. `None` when there is none.
fn for_others(base: &str, outward: Option<IpAddr>) -> Option<String> {
    let mut url = Url::parse(base).ok()?;
    let is_local = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    if is_local {
        url.set_ip_host(outward?).ok()?;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// A Host header ends up in URLs that we hand out.
fn valid_host(host: &str) -> bool {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    !host.is_empty() && host.len() <= 255 && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_is_called_by_its_address() {
        let lan = Some(IpAddr::from([192, 168, 1, 20]));
        for (base, outward, expected) in [
            (
                "http://localhost:8765",
                lan,
                Some("http://192.168.1.20:8765"),
            ),
            ("http://127.0.0.1", lan, Some("http://192.168.1.20")),
            ("http://[::1]:9000", lan, Some("http://192.168.1.20:9000")),
            ("http://nas:8765", lan, Some("http://nas:8765")),
            (
                "https://films.example/gs",
                None,
                Some("https://films.example/gs"),
            ),
            ("http://localhost:8765", None, None),
        ] {
            assert_eq!(for_others(base, outward).as_deref(), expected, "{base}");
        }
    }
}
