//! `callback_url`: telling another server how a job ended.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::base::JobId;
use crate::session::Job;
use crate::source::Poster;

use super::links::Links;
use super::state::AppState;
use super::wire::start_response;

/// `sha256=` and the HMAC-SHA256 of the body under `security.callback_secret`, in hex.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-ghoststream-signature");

/// Calls under way at one time.
const MAX_CALLS: usize = 16;
/// Jobs whose end somebody waits for.
const MAX_WAITING: usize = 4096;
const MAX_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Calls that wait for the end of their job, or for their turn.
pub struct Callbacks {
    poster: Poster,
    secret: Option<hmac::Key>,
    calls: Semaphore,
    waiting: Mutex<HashSet<(JobId, Url)>>,
}

impl Callbacks {
    /// `secret` signs what is sent.
    pub fn new(poster: Poster, secret: Option<&str>) -> Arc<Callbacks> {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Arc::new(Callbacks {
            poster,
            secret: secret.map(key),
            calls: Semaphore::new(MAX_CALLS),
            waiting: Mutex::default(),
        })
    }

    /// Calls `url` once the job has ended. Detached on purpose: who asked for it is long gone then.
    /// `false` when too many wait already.
    pub(super) fn watch(&self, app: &AppState, job: &Arc<Job>, url: Url, links: Links) -> bool {
        let key = (job.id, url.clone());
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= MAX_WAITING {
                return false;
            }
            if !waiting.insert(key.clone()) {
                return true;
            }
        }
        let (app, job) = (app.clone(), job.clone());
        let tracker = app.tracker.clone();
        tracker.spawn(async move {
            let cancel = app.cancel.clone();
            let work = app.callbacks.call_at_end(&app, &job, &url, &links);
            cancel.run_until_cancelled(work).await;
            let waiting = &app.callbacks.waiting;
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&key);
        });
        true
    }

    async fn call_at_end(&self, app: &AppState, job: &Arc<Job>, url: &Url, links: &Links) {
        if app.registry.progress().ended(job.id).await.is_none() {
            return;
        }
        let viewers = app.registry.viewers(job);
        let body = start_response(job, &job.status(), links, viewers);
        let host = url.host_str().unwrap_or_default();
        match self.deliver(url, &body).await {
            Ok(()) => tracing::info!(job.id = %job.id, host, "callback delivered"),
            Err(why) => tracing::warn!(job.id = %job.id, host, why, "callback given up"),
        }
    }

    pub(super) async fn deliver(&self, url: &Url, body: &Value) -> Result<(), String> {
        let body = Bytes::from(body.to_string());
        let mut headers = HeaderMap::new();
        if let Some(signature) = self.signature(&body) {
            headers.insert(SIGNATURE_HEADER, signature);
        }
        let mut attempt = 0;
        loop {
            let answer = {
                let Ok(_turn) = self.calls.acquire().await else {
                    return Err("the gateway stops".to_owned());
                };
                self.poster.json(url, headers.clone(), body.clone()).await
            };
            let (why, final_) = match answer {
                Ok((status, _)) if status.is_success() => return Ok(()),
                Ok((status, _)) => (format!("answered {status}"), !may_pass(status)),
                Err(error) => {
                    let refused = matches!(error, crate::source::SourceError::Refused { .. });
                    (error.to_string(), refused)
                }
            };
            attempt += 1;
            if final_ || attempt == MAX_ATTEMPTS {
                return Err(why);
            }
            tokio::time::sleep(pause(attempt, chance())).await;
        }
    }

    fn signature(&self, body: &[u8]) -> Option<HeaderValue> {
        use std::fmt::Write as _;
        let tag = hmac::sign(self.secret.as_ref()?, body);
        let mut text = "sha256=".to_owned();
        for byte in tag.as_ref() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Whether the same request may succeed later.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The pause after attempt 1, 2, ...: doubled each time, capped, and shortened by chance by up to a
/// half, so that many callers do not come back at once.
fn pause(attempt: u32, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(1.0 - chance / 2.0)
}

/// 0.0..=1.0.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the pauses are merely the longest.
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_by_chance() {
        let millis = |attempt, chance| pause(attempt, chance).as_millis();
        assert_eq!(
            [1, 2, 3, 4].map(|a| millis(a, 0.0)),
            [500, 1000, 2000, 4000]
        );
        assert_eq!(millis(1, 1.0), 250);
        assert_eq!(millis(30, 0.0), 30_000);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let of = |status| may_pass(StatusCode::from_u16(status).unwrap());
        assert!(of(500) && of(503) && of(429) && of(408));
        assert!(!of(400) && !of(404) && !of(301) && !of(410));
    }
}
