//! Looking a host up, checking every address, and connecting only to a checked one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::SourceError;
use super::policy::SourcePolicy;

/// Looking up and connecting together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one of several addresses may take before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// More addresses than this of one name are not tried.
const MAX_ADDRESSES: usize = 8;

/// Where host names are looked up.
#[derive(Debug, Clone, Default)]
pub(super) enum Resolver {
    #[default]
    System,
    /// Each lookup answers the next entry of the name's list, its last one for ever.
    #[cfg(any(test, feature = "test-support"))]
    Scripted(std::sync::Arc<Script>),
}

/// Answers for [`Resolver::Scripted`].
#[cfg(any(test, feature = "test-support"))]
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) answers: std::collections::HashMap<String, Vec<Vec<IpAddr>>>,
    pub(super) asked: std::sync::Mutex<std::collections::HashMap<String, usize>>,
}

impl Resolver {
    async fn lookup(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        match self {
            Resolver::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(any(test, feature = "test-support"))]
            Resolver::Scripted(script) => Ok(script.answer(host, port)),
        }
    }
}

#[cfg(any(test, feature = "test-support"))]
impl Script {
    fn answer(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let mut asked = self
            .asked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let turn = asked.entry(host.to_owned()).or_default();
        let answers = self.answers.get(host).map_or(&[][..], Vec::as_slice);
        let now = answers
            .get(*turn)
            .or(answers.last())
            .cloned()
            .unwrap_or_default();
        *turn += 1;
        now.into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect()
    }
}

impl SourcePolicy {
    /// The addresses of `host`, a name or an address in any notation (IPv6 with or without
    /// brackets), all of them allowed.
    ///
    /// # Errors
    /// `Refused` when the name or any address is not allowed, `Unreachable` when there is no
    /// address, `Timeout`.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, SourceError> {
        let name = super::hosts::canonical_name(host);
        self.check_name(&name)?;
        let bare = name
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(&name);
        let found = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match timeout(CONNECT_TIMEOUT, self.resolver().lookup(bare, port)).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => Vec::new(),
                Err(_) => return Err(SourceError::Timeout),
            },
        };
        if found.is_empty() {
            return Err(SourceError::Unreachable(format!(
                "host '{host}' is not known"
            )));
        }
        for address in &found {
            self.check_address(&name, address.ip())?;
        }
        Ok(found)
    }

    /// A connection to `host`, whose every address is allowed at this moment.
    ///
    /// # Errors
    /// As [`SourcePolicy::addresses`], and `Unreachable` when no address accepts. Cancel-safe.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, SourceError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let addresses = timeout_at(deadline, self.addresses(host, port))
            .await
            .map_err(|_| SourceError::Timeout)??;
        let mut last = SourceError::Timeout;
        let several = addresses.len() > 1;
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let until = if several {
                deadline.min(Instant::now() + ADDRESS_TIMEOUT)
            } else {
                deadline
            };
            match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A request is one small write that waits for an answer. Failing to set this
                    // only costs time.
                    stream.set_nodelay(true).ok();
                    return Ok(stream);
                }
                Ok(Err(e)) => last = unreachable(host, &e),
                Err(_) => last = SourceError::Timeout,
            }
        }
        Err(last)
    }
}

fn unreachable(host: &str, error: &std::io::Error) -> SourceError {
    use std::io::ErrorKind as K;
    let why = match error.kind() {
        K::ConnectionRefused => "refuses the connection",
        K::HostUnreachable | K::NetworkUnreachable => "is not reachable",
        K::ConnectionReset | K::ConnectionAborted => "closed the connection",
        K::TimedOut => return SourceError::Timeout,
        _ => "cannot be connected to",
    };
    SourceError::Unreachable(format!("host '{host}' {why}"))
}
