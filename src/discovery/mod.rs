//! Being found and finding others: by mDNS, by a question on UDP, and by registering with GhostHub (contract section 9).
//!
//! What fails here is logged and does no harm: a gateway that is not found can still be named.

mod hub;
mod mdns;
mod search;
mod udp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use hub::HubSettings;
pub use search::{FoundGateway, SearchError, find_gateways};
pub use udp::DISCOVERY_PORT;

/// What a gateway tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The name that a person gave it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    pub version: String,
    /// Encoder hardware that works; never empty.
    pub hw_accels: Vec<String>,
    pub video_codecs: Vec<String>,
    pub audio_codecs: Vec<String>,
    pub max_jobs: usize,
    pub platform: String,
}

impl Announcement {
    /// Whether others can reach it at all.
    fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// The address it listens on, unless that is all of them.
    fn fixed_address(&self) -> Option<IpAddr> {
        let ip = self.address.ip();
        (!ip.is_unspecified()).then_some(ip)
    }
}

/// Announces a gateway on the local network until `stop`, and says good-bye then. The work is
/// `tracker`'s. Must be called on a runtime.
pub fn announce(about: &Announcement, tracker: &TaskTracker, stop: &CancellationToken) {
    tracker.spawn(mdns::announce(about.clone(), stop.clone()));
    let host = if about.is_local() {
        about.address.ip()
    } else {
        [0; 4].into()
    };
    let place = SocketAddr::new(host, DISCOVERY_PORT);
    tracker.spawn(udp::answer(about.clone(), place, stop.clone()));
}

/// The address from which this machine speaks to others, by which they most likely know it; `None` when it
/// has no way to any. Nothing is sent.
pub fn outward_address() -> Option<IpAddr> {
    /// Nobody's: it is for documentation (RFC 5737), and only asks for the way out.
    const ANYBODY: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ANYBODY).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified() && !own.is_loopback()).then_some(own)
}

/// Registers with GhostHub until `stop`, and withdraws then. The work is `tracker`'s. Must be called
/// on a runtime.
pub fn register(
    about: &Announcement,
    hub: HubSettings,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) {
    tracker.spawn(hub::keep_registered(about.clone(), hub, stop.clone()));
}
