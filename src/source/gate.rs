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

mod beginning;
mod body;
mod report;
mod serve;
mod window;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::authorization::Authorization;
use super::client::https_connector;
use super::input_options::{InputOptions, ffmpeg_input_options};
use super::policy::SourcePolicy;
use crate::media::SourceLocator;

pub use beginning::Beginning;
pub use report::GateReport;
use report::SharedReport;

/// How long a source may send nothing, before the head of its answer or within the body.
const SOURCE_PATIENCE: Duration = Duration::from_secs(20);

/// What a sparing gate lets the system hold between it and ffmpeg, in each direction: everything that
/// waits there was sent by the source for nothing when ffmpeg seeks.
pub(super) const SPARING_BUFFER_BYTES: u32 = 64 * 1024;

/// Connections of ffmpeg that wait to be accepted.
const BACKLOG: u32 = 128;

/// What a gate may do beyond the usual.
#[derive(Debug, Clone)]
pub struct GateOptions {
    /// Credentials that requests to the origin's host carry, and no others. With https the gate
    /// itself speaks TLS to that host: see [`GateGuard::input_url`].
    pub authorization: Option<Authorization>,
    /// Whether a long body is asked for in parts, as it is read, for a run that seeks in what it
    /// asked for whole. Says nothing of https, which the gate cannot look into.
    pub is_sparing: bool,
    /// Shared by gates that are read through for one purpose, one after the other: what the first one
    /// read of the beginning of the source, the others do not ask for again. Only of sparing ones.
    pub beginning: Option<Arc<Beginning>>,
    /// How long a source may send nothing.
    pub patience: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions {
            authorization: None,
            is_sparing: false,
            beginning: None,
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
    is_sparing: bool,
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
        let socket = tokio::net::TcpSocket::new_v4()?;
        if options.is_sparing {
            // Connections inherit it.
            socket.set_send_buffer_size(SPARING_BUFFER_BYTES)?;
        }
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let proxy_url = format!("http://{}", listener.local_addr()?);
        let cancel = cancel.child_token();
        let report = Arc::new(SharedReport::default());
        let authorization = options.authorization;
        let tls = authorization.as_ref().filter(|a| a.is_https());
        let tls = tls.map(|_| https_connector(policy.clone()));
        let context = Arc::new(serve::Context {
            policy,
            authorization: authorization.clone(),
            tls,
            is_sparing: options.is_sparing,
            beginning: options.beginning,
            origin_port: origin.url().and_then(url::Url::port_or_known_default),
            report: report.clone(),
            tracker: tracker.clone(),
            cancel: cancel.clone(),
            patience: options.patience,
        });
        tracker.spawn(serve::accept(listener, context));
        Ok(GateGuard {
            proxy_url,
            is_sparing: options.is_sparing,
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

    /// How ffmpeg is given `source` to read it through this gate.
    pub fn input_options(&self, source: &SourceLocator) -> InputOptions {
        let mut options = ffmpeg_input_options(&self.named(source), Some(&self.proxy_url));
        if self.is_sparing {
            let bytes = SPARING_BUFFER_BYTES.to_string();
            options
                .args
                .extend(["-recv_buffer_size".into(), bytes.into()]);
        }
        options
    }

    /// `source` as ffmpeg must name it to read it through this gate: an https source with
    /// credentials is asked for as http, and the gate speaks TLS to its host. ffmpeg itself would
    /// carry the credentials on to every host that it is redirected to.
    fn named(&self, source: &SourceLocator) -> SourceLocator {
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
