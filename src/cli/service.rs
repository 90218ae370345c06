//! The gateway as a service: what systemd is told and gives, and reloading.

use std::future;
use std::net::TcpListener;

use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::app::Gateway;
use crate::config::{Changes, Inputs, load};
use crate::telemetry::LogControl;

/// The socket that systemd listens on for us (`ghoststream.socket`); `None` when it does not.
///
/// # Errors
/// It handed over something that is no TCP socket. Called before there are threads, since it takes
/// the variables out of the environment.
pub(super) fn socket() -> anyhow::Result<Option<TcpListener>> {
    let mut handed = ListenFd::from_env();
    let socket = handed.take_tcp_listener(0);
    socket.context("the socket that the service manager handed over is no TCP socket")
}

/// Says something to systemd; without it nothing happens.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

pub(super) fn tell_ready(url: &str) {
    let status = format!("listening on {url}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives systemd a sign of life twice in the time after which it would start the gateway anew, as long
/// as the gateway is alive. Never returns.
pub(super) async fn feed_watchdog(gateway: &Gateway) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|l| !l.is_zero()) else {
        return future::pending().await;
    };
    loop {
        if gateway.is_alive().await {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(limit / 2).await;
    }
}

/// Reads the configuration again and obeys what can be obeyed.
pub(super) fn reload(gateway: &Gateway, inputs: &Inputs, log: &LogControl) {
    // systemd takes the end of the reload only with the time of its beginning.
    let begun = NotifyState::monotonic_usec_now();
    let begun = begun.unwrap_or(NotifyState::MonotonicUsec(0));
    tell(&[NotifyState::Reloading, begun]);
    if let Err(error) = log.reopen() {
        tracing::error!(%error, "the log goes on where it was");
    }
    match obey(gateway, inputs, log) {
        Ok(Changes {
            reloaded,
            needs_restart,
        }) => {
            let (changed, waiting) = (reloaded.join(", "), needs_restart.join(", "));
            tracing::info!(changed, needs_restart = waiting, "configuration reloaded");
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the new configuration is not obeyed");
        }
    }
    tell_ready(&gateway.url());
}

fn obey(gateway: &Gateway, inputs: &Inputs, log: &LogControl) -> anyhow::Result<Changes> {
    let config = load(inputs)?.config;
    let changes = gateway.reload(&config)?;
    if changes.reloaded.contains(&"logging.level") && !log.set_level(config.logging.level) {
        tracing::warn!("RUST_LOG decides what is logged, not logging.level");
    }
    Ok(changes)
}
