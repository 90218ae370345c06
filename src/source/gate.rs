//! The proxy on the loopback interface through which ffmpeg does all its http(s).
//!
//! ffmpeg follows redirects, and its HLS and DASH demuxers open whatever a playlist names. With
//! `http_proxy` set it asks this proxy for each of these: `GET http://host/...` for http,
//! `CONNECT host:port` for https. Every request looks its host up anew, is held against the
//! policy, and goes to an address that was checked; so neither a redirect, a playlist nor a name
//! that changes its address leads where the request itself could not have pointed.
//!
//! Ports below 1024 other than 80, 443 and the source's own are refused: what listens there does
//! not speak http.

mod body;
mod report;
mod serve;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::authorization::Authorization;
use super::client::https_connector;
use super::policy::SourcePolicy;
use crate::media::SourceLocator;

pub use report::GateReport;
use report::SharedReport;

/// How long a source may send nothing, before the head of its answer or within the body.
const SOURCE_PATIENCE: Duration = Duration::from_secs(20);

/// What a gate may do beyond the usual.
#[derive(Debug, Clone)]
pub struct GateOptions {
    /// Credentials that requests to the origin's host carry, and no others. With https the gate
    /// itself speaks TLS to that host: see [`GateGuard::input_url`].
    pub authorization: Option<Authorization>,
    /// How long a source may send nothing.
    pub patience: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions {
            authorization: None,
            patience: SOURCE_PATIENCE,
        }
    }
}

/// Opens gates; see [`Gate::open`].
#[derive(Debug)]
pub struct Gate;

/// An open gate. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct GateGuard {
    proxy_url: String,
    authorization: Option<Authorization>,
    report: Arc<SharedReport>,
    _close: DropGuard,
}

impl Gate {
    /// Opens a gate on a free port of 127.0.0.1 for one run of ffmpeg on `origin`. Its tasks run
    /// on `tracker` until the guard is dropped or `cancel` fires. Must be called on a runtime.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open(
        policy: Arc<SourcePolicy>,
        origin: &SourceLocator,
        tracker: &TaskTracker,
        cancel: &CancellationToken,
        options: GateOptions,
    ) -> io::Result<GateGuard> {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let proxy_url = format!("http://{}", listener.local_addr()?);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let cancel = cancel.child_token();
        let report = Arc::new(SharedReport::default());
        let authorization = options.authorization;
        let tls = authorization.as_ref().filter(|a| a.is_https());
        let tls = tls.map(|_| https_connector(policy.clone()));
        let context = Arc::new(serve::Context {
            policy,
            authorization: authorization.clone(),
            tls,
            origin_port: origin.url().and_then(url::Url::port_or_known_default),
            report: report.clone(),
            tracker: tracker.clone(),
            cancel: cancel.clone(),
            patience: options.patience,
        });
        tracker.spawn(serve::accept(listener, context));
        Ok(GateGuard {
            proxy_url,
            authorization,
            report,
            _close: cancel.drop_guard(),
        })
    }
}

impl GateGuard {
    /// `http://127.0.0.1:PORT`, for the variable `http_proxy`.
    pub fn proxy_url(&self) -> &str {
        &self.proxy_url
    }

    /// `source` as ffmpeg must name it to read it through this gate: an https source with
    /// credentials is asked for as http, and the gate speaks TLS to its host. ffmpeg itself would
    /// carry the credentials on to every host that it is redirected to.
    pub fn named(&self, source: &SourceLocator) -> SourceLocator {
        match (source, &self.authorization) {
            (SourceLocator::Http(url), Some(authorization)) => {
                SourceLocator::Http(authorization.as_plain(url).unwrap_or_else(|| url.clone()))
            }
            _ => source.clone(),
        }
    }

    /// What happened so far.
    pub fn report(&self) -> GateReport {
        self.report.snapshot()
    }
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
