//! A server that others post to: it notes what comes and answers as it was told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    /// `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    posted: Mutex<Vec<Posted>>,
    statuses: Mutex<VecDeque<u16>>,
    came: Notify,
}

/// Stopped when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Answers `statuses` in turn, then 200.
    pub(crate) async fn start(statuses: &[u16]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.statuses.lock().unwrap() = statuses.iter().copied().collect();
        let (mut tasks, noted) = (JoinSet::new(), shared.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let shared = noted.clone();
                connections.spawn(async move {
                    // A client that hangs up is no failure.
                    let _ = serve(socket, &shared).await;
                });
            }
        });
        Receiver {
            address,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// Everything that came, as soon as it is `count` requests.
    pub(crate) async fn after(&self, count: usize) -> Vec<Posted> {
        let wait = async {
            loop {
                let came = self.shared.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                if self.posted().len() >= count {
                    return;
                }
                came.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(45), wait).await;
        assert!(waited.is_ok(), "only {:?}", self.posted());
        self.posted()
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let mut lines = head.lines();
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let pairs = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<_> = pairs
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
        socket.read_exact(&mut body).await.ok()?;
        shared.posted.lock().unwrap().push(Posted {
            path,
            headers,
            body,
        });
        let status = shared.statuses.lock().unwrap().pop_front().unwrap_or(200);
        let body = r#"{"registered":true}"#;
        let length = body.len();
        let location = if status / 100 == 3 {
            "location: /elsewhere\r\n"
        } else {
            ""
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\n{location}content-length: {length}\r\n\r\n{body}");
        socket.write_all(answer.as_bytes()).await.ok()?;
        shared.came.notify_waiters();
    }
}
