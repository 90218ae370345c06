//! Registering with GhostHub, again and again: that is what it takes for a heartbeat.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::source::Poster;

use super::Announcement;

/// Longest wait for GhostHub when the gateway stops.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(2);
const NONCE_BYTES: usize = 16;

/// Where and as whom a gateway registers.
#[derive(Clone)]
pub struct HubSettings {
    /// Base of GhostHub.
    pub url: Url,
    pub interval: Duration,
    /// Base under which GhostHub can reach this gateway; `None`: the address it reaches GhostHub from.
    pub advertised_url: Option<Url>,
    pub node_id: String,
    /// Signs what is sent, in base64 (URL-safe, without padding).
    pub node_secret: String,
    /// Sent along as a header.
    pub shared_secret: Option<String>,
    pub poster: Poster,
}

/// Words of a message, sorted: what is signed is their JSON in this order.
type Words = BTreeMap<&'static str, Value>;

pub(super) async fn keep_registered(
    about: Announcement,
    hub: HubSettings,
    stop: CancellationToken,
) {
    let host = hub.url.host_str().unwrap_or_default().to_owned();
    let mut registered = None;
    let mut ticks = tokio::time::interval(hub.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = async || {
        ticks.tick().await;
        register(&about, &hub).await
    };
    while let Some(result) = stop.run_until_cancelled(next()).await {
        let success = result.is_ok();
        // Told when it changes, not every few minutes.
        if registered != Some(success) {
            match result {
                Ok(()) => tracing::info!(host, "registered with GhostHub"),
                Err(why) => {
                    tracing::warn!(host, why, "not registered with GhostHub; will try again")
                }
            }
        }
        registered = Some(success);
    }
    if registered == Some(true) {
        let words = Words::from([("name", json!(about.name))]);
        let leaving = post(&hub, "unregister", words);
        match tokio::time::timeout(WITHDRAW_WITHIN, leaving).await {
            Ok(Ok(())) => tracing::info!(host, "withdrawn from GhostHub"),
            _ => tracing::info!(host, "GhostHub did not hear that this gateway stops"),
        }
    }
}

async fn register(about: &Announcement, hub: &HubSettings) -> Result<(), String> {
    let ip = match about.fixed_address() {
        Some(ip) => ip.to_string(),
        None => own_address(&hub.url)
            .await
            .map_err(|_| "there is no way to it".to_owned())?,
    };
    let address = format!("{ip}:{}", about.address.port());
    let reachable = match &hub.advertised_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{address}"),
    };
    let words = Words::from([
        ("address", json!(address)),
        ("callback_url", json!(reachable)),
        ("name", json!(about.name)),
        ("version", json!(about.version)),
        ("hw_accels", json!(about.hw_accels)),
        ("video_codecs", json!(about.video_codecs)),
        ("audio_codecs", json!(about.audio_codecs)),
        ("max_jobs", json!(about.max_jobs)),
    ]);
    post(hub, "register", words).await
}

/// The address from which packets to `url` would leave; nothing is sent.
async fn own_address(url: &Url) -> io::Result<String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let place = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?;
    let place = place.min_by_key(|a| a.is_ipv6());
    let place = place.ok_or(io::ErrorKind::NotFound)?;
    let any = if place.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(place).await?;
    Ok(match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    })
}

async fn post(hub: &HubSettings, what: &str, mut words: Words) -> Result<(), String> {
    let headers = sign(hub, &mut words)?;
    let base = hub.url.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{base}/api/ghoststream/servers/{what}"));
    let url = url.map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(&words).map_err(|e| e.to_string())?;
    let answer = hub.poster.json(&url, headers, Bytes::from(body)).await;
    let (status, body) = answer.map_err(|e| e.to_string())?;
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    match told["registered"] {
        Value::Bool(false) => Err("it does not want this gateway".to_owned()),
        _ => Ok(()),
    }
}

/// Adds who says it, when, and the signature over all of it.
fn sign(hub: &HubSettings, words: &mut Words) -> Result<HeaderMap, String> {
    let mut nonce = [0; NONCE_BYTES];
    rand::fill(&mut nonce).map_err(|_| "the system gives no randomness".to_owned())?;
    let nonce = URL_SAFE_NO_PAD.encode(nonce);
    let timestamp = jiff::Timestamp::now().as_second();
    words.insert("node_id", json!(hub.node_id));
    words.insert("timestamp", json!(timestamp));
    words.insert("nonce", json!(nonce));
    let material = serde_json::to_vec(words).map_err(|e| e.to_string())?;
    let secret = URL_SAFE_NO_PAD.decode(&hub.node_secret);
    let secret = secret.map_err(|_| "the secret of this node is broken".to_owned())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, &material));
    words.insert("signature", json!(signature));
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("x-ghoststream-node-id", &hub.node_id);
    add("x-ghoststream-registration-signature", &signature);
    add(
        "x-ghoststream-registration-timestamp",
        &timestamp.to_string(),
    );
    add("x-ghoststream-registration-nonce", &nonce);
    if let Some(secret) = &hub.shared_secret {
        add("x-ghoststream-registration-secret", secret);
    }
    Ok(headers)
}
