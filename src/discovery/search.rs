//! Finding gateways on the local network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::mdns::SERVICE_TYPE;

/// A gateway that announces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGateway {
    /// The name that a person gave it.
    pub name: String,
    /// Ends in a slash.
    pub url: Url,
}

/// mDNS does not work here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SearchError(#[from] mdns_sd::Error);

/// After the first answer, time for others to answer too.
const OTHERS: Duration = Duration::from_millis(500);
/// Longest wait for the end of the library's thread.
const END: Duration = Duration::from_secs(1);

/// Asks for `within` at most, by name; none is no error. Cancel-safe but for a thread of the library,
/// which then lives as long as the process.
pub async fn find_gateways(within: Duration) -> Result<Vec<FoundGateway>, SearchError> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(SERVICE_TYPE)?;
    let mut found = BTreeMap::new();
    let mut until = Instant::now() + within;
    while let Ok(Ok(event)) = timeout_at(until, events.recv_async()).await {
        if let ServiceEvent::ServiceResolved(service) = event
            && let Some(gateway) = gateway(&service)
        {
            found.insert(gateway.name.clone(), gateway);
            until = until.min(Instant::now() + OTHERS);
        }
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = tokio::time::timeout(END, done.recv_async()).await;
    }
    Ok(found.into_values().collect())
}

fn gateway(service: &ResolvedService) -> Option<FoundGateway> {
    let suffix = format!(".{SERVICE_TYPE}");
    let name = service.fullname.strip_suffix(suffix.as_str());
    let mut addresses: Vec<IpAddr> = service
        .addresses
        .iter()
        .map(|scoped| scoped.to_ip_addr())
        .collect();
    // IPv4 first: addresses of IPv6 that are local to a link need its name too.
    addresses.sort_by_key(|a| (a.is_ipv6(), a.is_loopback(), *a));
    let host = match addresses.first()? {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Some(FoundGateway {
        name: name.unwrap_or(&service.fullname).to_owned(),
        url: Url::parse(&format!("http://{host}:{}/", service.port)).ok()?,
    })
}
