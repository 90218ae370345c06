//! Who may ask: the API key, signed addresses, origins, and how often.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::constant_time;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::body::linger;
use super::distconv;
use super::error::{ApiError, QueryRefusal};
use super::grav1;
use super::links::{BadToken, Signer, TOKEN_PARAMETER, job_of_file};
use super::openapi;
use super::peertube;
use super::presence::Peer;
use super::queries;
use super::state::AppState;

/// The section `security` of the configuration, as far as it concerns requests.
#[derive(Clone, Default)]
pub struct AccessSettings {
    /// The key, and what signs the addresses that are handed out to those who have it.
    pub key: Option<(String, Signer)>,
    /// Origins of pages that may ask; empty = all.
    pub allowed_origins: Vec<HeaderValue>,
    /// Most requests of one client a minute; see [`is_counted`].
    pub requests_per_minute: Option<NonZeroU32>,
}

/// See the module.
pub struct Access {
    rules: RwLock<Arc<Rules>>,
}

struct Rules {
    settings: AccessSettings,
    limiter: Option<Arc<Limiter>>,
}

type Limiter = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// Clients whose recent requests are remembered, beyond which those are dropped that could ask as
/// often as they like anyway.
const MAX_CLIENTS: usize = 10_000;

impl Access {
    pub fn new(settings: AccessSettings) -> Arc<Access> {
        let limiter = limiter(&settings);
        let rules = Arc::new(Rules { settings, limiter });
        Arc::new(Access {
            rules: RwLock::new(rules),
        })
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    /// From now on key and limit are those of `settings`; origins stay as they are.
    pub fn replace(&self, settings: AccessSettings) {
        let old = self.rules();
        // Who was counted stays counted.
        let limiter = match settings.requests_per_minute == old.settings.requests_per_minute {
            true => old.limiter.clone(),
            false => limiter(&settings),
        };
        let settings = AccessSettings {
            allowed_origins: old.settings.allowed_origins.clone(),
            ..settings
        };
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Arc::new(Rules { settings, limiter });
    }

    pub(super) fn allowed_origins(&self) -> Vec<HeaderValue> {
        self.rules().settings.allowed_origins.clone()
    }

    /// What signs addresses, on a keyed gateway.
    pub(super) fn signer(&self) -> Option<Signer> {
        let rules = self.rules();
        rules
            .settings
            .key
            .as_ref()
            .map(|(_, signer)| signer.clone())
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let rules = self.rules();
        let Some((key, signer)) = &rules.settings.key else {
            return Ok(());
        };
        let path = request.uri().path();
        let given = keys(request);
        let is_key = |given: &String| {
            constant_time::verify_slices_are_equal(given.as_bytes(), key.as_bytes()).is_ok()
        };
        if is_open(path) || grav1::carries_token(path) || given.iter().any(is_key) {
            return Ok(());
        }
        let told = |text| Err(ApiError::new(StatusCode::UNAUTHORIZED, text));
        let token = parameter(request, TOKEN_PARAMETER);
        let subject = job_of_file(path).map(|job| job.to_string());
        let subject = subject.or_else(|| grav1::project_of_file(path));
        match (
            subject.or_else(|| queries::sheet_subject(request.uri())),
            token,
        ) {
            (Some(subject), Some(token)) => match signer.check(&token, subject, now()) {
                Ok(()) => Ok(()),
                Err(BadToken::Expired) => {
                    told("This address has expired: ask for the job's status for a new one")
                }
                Err(BadToken::Forged) => told("Invalid or missing API key"),
            },
            _ => told("Invalid or missing API key"),
        }
    }

    /// Counts a request of `client`; `Err` is how long it must wait.
    fn count(&self, client: IpAddr) -> Result<(), Duration> {
        let rules = self.rules();
        let Some(limiter) = &rules.limiter else {
            return Ok(());
        };
        if limiter.len() > MAX_CLIENTS {
            limiter.retain_recent();
        }
        let counted = limiter.check_key(&network(client));
        counted.map_err(|refused| refused.wait_time_from(DefaultClock::default().now()))
    }

    /// Whether a page of this origin may open a WebSocket, which CORS does not cover.
    pub(super) fn admits_origin(&self, headers: &HeaderMap) -> bool {
        let rules = self.rules();
        let allowed = &rules.settings.allowed_origins;
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let own = |scheme: &str| host.is_some_and(|h| *origin == format!("{scheme}://{h}"));
        allowed.is_empty() || allowed.contains(origin) || own("http") || own("https")
    }
}

fn limiter(settings: &AccessSettings) -> Option<Arc<Limiter>> {
    let quota = settings.requests_per_minute.map(Quota::per_minute);
    quota.map(|quota| Arc::new(RateLimiter::hashmap(quota)))
}

/// One household's addresses of IPv6 count as one client.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Every key that a request names; a wrong one beside the right one does no harm.
fn keys(request: &Request) -> Vec<String> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|v| v.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let in_headers = text("x-api-key").into_iter();
    let in_headers = in_headers.chain(bearer.map(|(_, key)| key.trim()));
    in_headers
        .map(str::to_owned)
        .chain(parameter(request, "api_key"))
        .collect()
}

fn parameter(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, v)| v.into_owned())
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/favicon.svg") || path.starts_with("/assets/")
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/api/health" | "/health" | "/healthz" | "/readyz")
}

/// What needs no key: probes, the page itself, which asks for the key, and calls of PeerTube's runners,
/// which carry tokens.
fn is_open(path: &str) -> bool {
    is_probe(path) || is_page(path) || openapi::is_page(path) || peertube::carries_token(path)
}

/// Whether a request counts towards the limit: all do but those of a player that plays, of a page
/// that is loaded, of probes, and questions about a job, which clients ask twice a second.
fn is_counted(method: &Method, path: &str) -> bool {
    let plays = path.starts_with("/stream/")
        || path.starts_with("/download/")
        || peertube::video_of_file(path).is_some();
    let asks = method == Method::GET
        && (path.starts_with("/transcode/") || path.starts_with("/api/transcode/"));
    let works = path.starts_with("/api/v2/artifacts/")
        || path.contains("/lease/")
        || peertube::carries_token(path);
    let plays = plays || path.starts_with("/scene/") || path.starts_with("/completed/");
    !plays && !asks && !works && !is_open(path)
}

/// Lets through what may be asked. A client that guesses keys is counted wherever it guesses.
pub(super) async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Peer>().map(|p| p.0.ip());
    let count = || client.map_or(Ok(()), |client| app.access.count(client));
    let counted = is_counted(request.method(), request.uri().path());
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    if counted && let Err(wait) = count() {
        return too_many(&path, wait);
    }
    match app.access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            linger(&app, request.into_body());
            match count() {
                Err(wait) if !counted => too_many(&path, wait),
                _ if distconv::is_own(&path) => distconv::unauthorised(&headers),
                _ if queries::is_own(&path) => queries::unauthorised(&error),
                _ if peertube::is_own(&path) => peertube::unauthorised(&error),
                _ => {
                    let mut response = error.into_response();
                    let scheme = HeaderValue::from_static("Bearer");
                    response
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, scheme);
                    response
                }
            }
        }
    }
}

fn too_many(path: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let text = format!("too many requests; try again in {seconds} s");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = match queries::is_own(path) {
        true => QueryRefusal::new(status, text).into_response(),
        false => ApiError::new(status, text).into_response(),
    };
    let seconds = HeaderValue::from(seconds);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_and_pollers_are_not_counted() {
        for path in [
            "/stream/x/a.ts",
            "/download/x",
            "/api/health",
            "/",
            "/assets/a.js",
        ] {
            assert!(!is_counted(&Method::GET, path), "{path}");
        }
        for path in ["/api/transcode/x/status", "/transcode/x"] {
            assert!(!is_counted(&Method::GET, path), "{path}");
        }
        for path in [
            "/api/transcode/start",
            "/transcode",
            "/api/transcode/x/cancel",
        ] {
            assert!(is_counted(&Method::POST, path), "{path}");
        }
        for path in ["/api/stats", "/api/v2/files", "/ws/progress", "/nothing"] {
            assert!(is_counted(&Method::GET, path), "{path}");
        }
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }
}
