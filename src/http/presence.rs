//! Who is there: names of clients, for `/api/clients` (contract section 10).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Json};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::state::AppState;

/// How long a client counts as there after its last request.
const SEEN_FOR: Duration = Duration::from_secs(300);
/// Clients that are remembered; the longest unseen one makes room.
const MAX_SEEN: usize = 1000;
/// Longest name, characters.
const MAX_NAME: usize = 100;

const NAME_HEADERS: [&str; 6] = [
    "x-ghoststream-client",
    "x-ghoststream-client-name",
    "x-client-name",
    "x-client",
    "client-name",
    "client",
];
const NAME_FIELDS: [&str; 3] = ["client_name", "clientName", "client"];

/// Where a request came from; put into it by the accept loop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// A name that only the body of a request told; put into its answer for [`note`].
#[derive(Debug, Clone)]
pub(super) struct ClientName(pub(super) String);

#[derive(Debug, Default)]
struct Inner {
    last_socket: u64,
    /// Open WebSockets by number; those that said who they are have a name.
    sockets: BTreeMap<u64, Option<String>>,
    seen: HashMap<String, Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Presence {
    inner: Mutex<Inner>,
}

impl Presence {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, name: String) {
        let mut inner = self.lock();
        if inner.seen.len() >= MAX_SEEN && !inner.seen.contains_key(&name) {
            let oldest = inner.seen.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                inner.seen.remove(&oldest);
            }
        }
        inner.seen.insert(name, Instant::now());
    }

    pub(super) fn connect(self: &Arc<Self>) -> SocketPresence {
        let mut inner = self.lock();
        inner.last_socket += 1;
        let number = inner.last_socket;
        inner.sockets.insert(number, None);
        SocketPresence {
            presence: self.clone(),
            number,
        }
    }

    /// Everybody once: WebSockets, then recent requests, then the clients of `jobs`.
    fn list(&self, jobs: impl Iterator<Item = (String, String)>) -> Vec<Value> {
        let mut inner = self.lock();
        inner.seen.retain(|_, at| at.elapsed() < SEEN_FOR);
        let mut requests: Vec<_> = inner.seen.keys().cloned().collect();
        requests.sort_unstable();
        let unknown = || "Unknown".to_owned();
        let sockets = inner.sockets.iter().map(|(number, name)| {
            let name = name.clone().unwrap_or_else(unknown);
            (Some(number.to_string()), name, "ws")
        });
        let requests = requests.into_iter().map(|name| (None, name, "http"));
        let jobs = jobs.map(|(id, name)| (Some(id), name, "job"));
        let mut listed = HashSet::new();
        sockets
            .chain(requests)
            .chain(jobs)
            .filter(|(_, name, _)| listed.insert(name.clone()))
            .map(|(id, name, transport)| json!({"id": id, "client": name, "transport": transport}))
            .collect()
    }
}

/// An open WebSocket; no longer listed when dropped.
#[derive(Debug)]
pub(super) struct SocketPresence {
    presence: Arc<Presence>,
    number: u64,
}

impl SocketPresence {
    pub(super) fn identify(&self, name: &str) {
        if let Some(name) = tidy(name) {
            self.presence.lock().sockets.insert(self.number, Some(name));
        }
    }
}

impl Drop for SocketPresence {
    fn drop(&mut self) {
        self.presence.lock().sockets.remove(&self.number);
    }
}

/// A name fit to be shown; `None` when nothing is left of it.
fn tidy(name: &str) -> Option<String> {
    let shown = name.chars().filter(|c| !c.is_control());
    let name: String = shown.take(MAX_NAME).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The name in a request's body, or its session's.
pub(super) fn name_in(fields: &Map<String, Value>) -> Option<String> {
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let name = NAME_FIELDS.iter().find_map(|f| text(f).and_then(tidy));
    name.or_else(|| session_name(text("session_id")?))
}

fn session_name(session: &str) -> Option<String> {
    tidy(session).map(|session| format!("session:{session}"))
}

fn name_in_head(headers: &HeaderMap, query: &str) -> Option<String> {
    let header = |name: &&str| headers.get(*name)?.to_str().ok().and_then(tidy);
    let pairs = || url::form_urlencoded::parse(query.as_bytes());
    let field = |name: &&str| {
        pairs()
            .find(|(key, _)| key == name)
            .and_then(|(_, v)| tidy(&v))
    };
    let named = NAME_HEADERS.iter().find_map(header);
    let named = named.or_else(|| NAME_FIELDS.iter().find_map(field));
    named.or_else(|| session_name(&pairs().find(|(key, _)| key == "session_id")?.1))
}

fn address_name(headers: &HeaderMap, peer: Option<IpAddr>) -> Option<String> {
    let forwarded = headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
    let forwarded = forwarded.and_then(|v| tidy(v.split(',').next()?));
    forwarded.or_else(|| Some(peer?.to_string()))
}

/// Notes who asks. Probes and the dashboard of the original do not count.
pub(super) async fn note(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let counts = !matches!(request.uri().path(), "/healthz" | "/readyz")
        && headers.get("x-ghoststream-internal").is_none();
    let peer = request.extensions().get::<Peer>().map(|p| p.0.ip());
    let told = name_in_head(headers, request.uri().query().unwrap_or_default());
    let address = address_name(headers, peer);
    let response = next.run(request).await;
    let in_body = || {
        response
            .extensions()
            .get::<ClientName>()
            .map(|n| n.0.clone())
    };
    if let Some(name) = told.or_else(in_body).or(address)
        && counts
    {
        app.presence.saw(name);
    }
    response
}

/// `GET /api/clients`.
pub(super) async fn clients(State(app): State<AppState>) -> Json<Vec<Value>> {
    let jobs = app.registry.jobs();
    let live = jobs.iter().filter(|job| job.is_live());
    let named = live.filter_map(|job| Some((job.id.to_string(), job.origin.client.clone()?)));
    Json(app.presence.list(named))
}

/// What an answer carries so that [`note`] hears of a name in the request's body.
pub(super) fn told(name: Option<String>) -> Option<Extension<ClientName>> {
    name.map(|name| Extension(ClientName(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned((transport, name): (&str, &str)) -> (String, String) {
        (transport.to_owned(), name.to_owned())
    }

    fn names(listed: &[Value]) -> Vec<(String, String)> {
        let text = |entry: &'_ Value, field: &str| entry[field].as_str().unwrap().to_owned();
        listed
            .iter()
            .map(|e| (text(e, "transport"), text(e, "client")))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_listed_once_and_for_a_while() {
        let presence = Arc::new(Presence::default());
        let socket = presence.connect();
        presence.saw("tv".into());
        presence.saw("10.0.0.7".into());
        let jobs = || {
            [
                ("id".to_owned(), "tv".to_owned()),
                ("id".to_owned(), "pi".to_owned()),
            ]
        };
        let listed = presence.list(jobs().into_iter());
        let all = [
            ("ws", "Unknown"),
            ("http", "10.0.0.7"),
            ("http", "tv"),
            ("job", "pi"),
        ];
        assert_eq!(names(&listed), all.map(owned));
        socket.identify(" phone\n");
        socket.identify("\u{7}");
        tokio::time::advance(SEEN_FOR).await;
        let listed = presence.list(jobs().into_iter());
        let left = [("ws", "phone"), ("job", "tv"), ("job", "pi")];
        assert_eq!(names(&listed), left.map(owned));
        drop(socket);
        assert!(presence.list(std::iter::empty()).is_empty());
        for i in 0..2 * MAX_SEEN {
            presence.saw(i.to_string());
        }
        assert_eq!(presence.lock().seen.len(), MAX_SEEN);
    }

    #[test]
    fn names_are_found_in_the_contracts_order() {
        let mut headers = HeaderMap::new();
        let ip = Some(IpAddr::from([10, 0, 0, 7]));
        assert_eq!(address_name(&headers, ip).as_deref(), Some("10.0.0.7"));
        headers.insert("x-forwarded-for", "192.0.2.1, 10.0.0.1".parse().unwrap());
        assert_eq!(address_name(&headers, ip).as_deref(), Some("192.0.2.1"));
        let query = "session_id=s&clientName=q%20r";
        assert_eq!(name_in_head(&headers, query).as_deref(), Some("q r"));
        assert_eq!(
            name_in_head(&headers, "session_id=s").as_deref(),
            Some("session:s")
        );
        headers.insert("x-client", "h".parse().unwrap());
        assert_eq!(name_in_head(&headers, query).as_deref(), Some("h"));
        let body = json!({"session_id": "s", "client": "b"});
        assert_eq!(name_in(body.as_object().unwrap()).as_deref(), Some("b"));
        assert_eq!(name_in_head(&HeaderMap::new(), ""), None);
    }
}
