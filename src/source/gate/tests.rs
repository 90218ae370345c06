use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::source::SourceSettings;

/// A source that answers each connection's requests with what `answer` makes of their heads.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(
        tracker: &TaskTracker,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let inner = tracker.clone();
        tracker.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                log.lock().unwrap().push("connected".to_owned());
                inner.spawn(async move {
                    loop {
                        let head = read_head(&mut stream).await;
                        if head.is_empty() {
                            return;
                        }
                        log.lock().unwrap().push(head.clone());
                        let reply = answer(&head);
                        stream.write_all(&reply).await.ok();
                        if !String::from_utf8_lossy(&reply).contains("keep-alive") {
                            return;
                        }
                    }
                });
            }
        });
        Server { address, seen }
    }

    fn connections(&self) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|s| *s == "connected")
            .count()
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

struct Fixture {
    tracker: TaskTracker,
    cancel: CancellationToken,
    guard: GateGuard,
}

fn open(names: &[(&str, &[&[&str]])], deny: &[&str], origin: &str) -> Fixture {
    open_sharing(names, deny, origin, None)
}

/// One that reads in parts when it shares what it reads of the beginning.
fn open_sharing(
    names: &[(&str, &[&[&str]])],
    deny: &[&str],
    origin: &str,
    beginning: Option<Arc<Beginning>>,
) -> Fixture {
    let ips = |l: &[&str]| {
        l.iter()
            .map(|t| t.parse::<IpAddr>().unwrap())
            .collect::<Vec<_>>()
    };
    let names: HashMap<_, _> = names
        .iter()
        .map(|(name, turns)| ((*name).to_owned(), turns.iter().map(|l| ips(l)).collect()))
        .collect();
    let deny_hosts = deny.iter().map(|&d| d.to_owned()).collect();
    let settings = SourceSettings {
        deny_hosts,
        ..SourceSettings::default()
    };
    let policy = Arc::new(SourcePolicy::new(settings).unwrap().with_names(names));
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let origin = SourceLocator::Http(url::Url::parse(origin).unwrap());
    let value = http::HeaderValue::from_static("Bearer secret");
    let options = GateOptions {
        authorization: Authorization::new(&origin, value),
        is_sparing: beginning.is_some(),
        beginning,
        patience: Duration::from_secs(1),
    };
    let guard = Gate::open(policy, &origin, &tracker, &cancel, options).unwrap();
    Fixture {
        tracker,
        cancel,
        guard,
    }
}

impl Fixture {
    async fn stream(&self) -> TcpStream {
        let address = self.guard.proxy_url().strip_prefix("http://").unwrap();
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends `request` on a connection of its own and returns all that comes back.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.stream().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let read = stream.read_to_end(&mut reply);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("the gate hangs up")
            .ok();
        String::from_utf8_lossy(&reply).into_owned()
    }

    async fn get(&self, url: &str) -> String {
        self.ask(&format!(
            "GET {url} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ))
        .await
    }
}

const LOOPBACK: &[&[&str]] = &[&["127.0.0.1"]];

#[tokio::test]
async fn forwards_in_origin_form_without_hop_by_hop_headers() {
    let f = open(&[("film.example", LOOPBACK)], &[], "http://film.example/");
    let server = Server::start(&f.tracker, |_| {
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\
          Connection: X-Secret\r\nX-Secret: 1\r\n\r\nhello"
            .to_vec()
    })
    .await;
    let url = format!(
        "http://film.example:{}/a%20b?c={{d}}|e",
        server.address.port()
    );
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: wrong\r\nRange: bytes=5-\r\nProxy-Authorization: x\r\n\
         Connection: close\r\n\r\n"
    );
    let reply = f.ask(&request).await;
    assert!(reply.starts_with("HTTP/1.1 206"), "{reply}");
    assert!(
        reply.ends_with("hello") && !reply.to_lowercase().contains("x-secret"),
        "{reply}"
    );
    let head = server.seen.lock().unwrap()[1].clone();
    assert!(
        head.starts_with("GET /a%20b?c={d}|e HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Host: film.example:{}\r\n", server.address.port())),
        "{head}"
    );
    assert!(
        head.contains("Range: bytes=5-") && !head.contains("Proxy-Auth"),
        "{head}"
    );
    let report = f.guard.report();
    assert_eq!(
        report,
        GateReport {
            last_status: Some(206),
            bytes: 5,
            ..GateReport::default()
        }
    );
}

#[tokio::test]
async fn denied_hosts_ports_and_rebound_names_are_not_connected_to() {
    let rebinding: &[&[&str]] = &[&["127.0.0.1"], &["127.0.0.2"]];
    let f = open(
        &[("film.example", rebinding)],
        &["127.0.0.2", "*.internal"],
        "http://h:81/",
    );
    let server = Server::start(&f.tracker, |_| b"HTTP/1.1 200 OK\r\n\r\nx".to_vec()).await;
    let port = server.address.port();
    let film = format!("http://film.example:{port}/");
    assert!(f.get(&film).await.starts_with("HTTP/1.1 200"));
    assert!(f.get(&film).await.starts_with("HTTP/1.1 403"));
    assert_eq!(f.guard.report().refused.as_deref(), Some("film.example"));
    for refused in [
        "http://127.0.0.2/",
        "http://[::ffff:127.0.0.2]/",
        "http://x.internal/",
        "http://127.0.0.1:25/",
    ] {
        let reply = f.get(refused).await;
        assert!(reply.starts_with("HTTP/1.1 403"), "{refused}: {reply}");
    }
    assert_eq!(f.guard.report().refused.as_deref(), Some("127.0.0.1:25"));
    for refused in ["127.0.0.2:443", "x.internal:443", "127.0.0.1:22"] {
        let reply = f
            .ask(&format!("CONNECT {refused} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        assert!(reply.starts_with("HTTP/1.1 403"), "{refused}: {reply}");
    }
    // The port of the source itself is tried, though nothing listens there.
    assert!(
        f.get("http://127.0.0.1:81/")
            .await
            .starts_with("HTTP/1.1 502")
    );
    assert_eq!(
        f.guard.report().upstream_error.as_deref(),
        Some("the source cannot be reached: host '127.0.0.1' refuses the connection")
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_the_source_closed_them() {
    let f = open(&[], &[], "http://h/");
    let server = Server::start(&f.tracker, |head| {
        let keep = if head.contains("/keep") {
            "keep-alive"
        } else {
            "close"
        };
        format!("HTTP/1.1 200 OK\r\nConnection: {keep}\r\nContent-Length: 2\r\n\r\nok").into_bytes()
    })
    .await;
    let mut stream = f.stream().await;
    for path in ["keep1", "keep2", "last", "again"] {
        let request = format!(
            "GET http://{}/{path} HTTP/1.1\r\nHost: h\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"ok");
    }
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen.len() - server.connections(), 4, "{seen:?}");
    assert!((2..=3).contains(&server.connections()), "{seen:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_reported_until_a_whole_one_follows() {
    let f = open(&[], &[], "http://h/");
    let server = Server::start(&f.tracker, |head| {
        let length = if head.contains("/cut") { 100 } else { 5 };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello").into_bytes()
    })
    .await;
    f.get(&format!("http://{}/cut", server.address)).await;
    let report = f.guard.report();
    assert!(
        report.truncated && report.upstream_error.is_some(),
        "{report:?}"
    );
    f.get(&format!("http://{}/whole", server.address)).await;
    let report = f.guard.report();
    assert!(
        !report.truncated && report.upstream_error.is_none(),
        "{report:?}"
    );
    assert_eq!(report.bytes, 10);
}

#[tokio::test]
async fn ranges_are_made_up_for_where_the_source_has_none() {
    let f = open(&[], &[], "http://h/");
    let server = Server::start(&f.tracker, |_| {
        b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789".to_vec()
    })
    .await;
    for (range, content_range, body) in [
        ("bytes=0-", Some("bytes 0-9/10"), "0123456789"),
        ("bytes=4-", Some("bytes 4-9/10"), "456789"),
        ("bytes=4-6", Some("bytes 4-6/10"), "456"),
        ("bytes=9-99", Some("bytes 9-9/10"), "9"),
        ("bytes=10-", None, "0123456789"),
        ("bytes=-2", None, "0123456789"),
        ("bytes=6-4", None, "0123456789"),
    ] {
        let request = format!(
            "GET http://{}/ HTTP/1.1\r\nRange: {range}\r\nConnection: close\r\n\r\n",
            server.address
        );
        let reply = f.ask(&request).await;
        let (head, got) = reply.split_once("\r\n\r\n").unwrap();
        assert_eq!(got, body, "{range}");
        let found = head.lines().find_map(|l| l.strip_prefix("content-range: "));
        assert_eq!(found, content_range, "{range}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{range}: {head}"
        );
        assert!(!f.guard.report().truncated);
    }
}

#[tokio::test]
async fn only_proxy_requests_are_answered() {
    let f = open(&[], &[], "http://h/");
    assert!(f.get("/").await.starts_with("HTTP/1.1 400"));
    assert!(f.get("ftp://127.0.0.1/x").await.starts_with("HTTP/1.1 400"));
    let reply = f
        .ask("POST http://127.0.0.1/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await;
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
}

#[tokio::test]
async fn something_else_than_http_is_named() {
    let f = open(&[], &[], "http://h/");
    let server = Server::start(&f.tracker, |_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await;
    assert!(
        f.get(&format!("http://{}/", server.address))
            .await
            .starts_with("HTTP/1.1 502")
    );
    let error = f.guard.report().upstream_error.unwrap();
    assert!(error.ends_with("does not speak http"), "{error}");
}

#[tokio::test]
async fn a_silent_source_is_given_up() {
    let f = open(&[], &[], "http://h/");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let reply = f.get(&url).await;
    assert!(reply.starts_with("HTTP/1.1 504"), "{reply}");
    assert_eq!(
        f.guard.report().upstream_error,
        Some("the source did not answer in time".into())
    );
    let server = Server::start(&f.tracker, |_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: keep-alive\r\n\r\nhalf".to_vec()
    })
    .await;
    let reply = f.get(&format!("http://{}/", server.address)).await;
    assert!(
        reply.ends_with("half") && f.guard.report().truncated,
        "{reply}"
    );
    drop(listener);
}

#[tokio::test]
async fn tunnels_carry_bytes_and_end_with_the_guard() {
    let Fixture {
        tracker,
        cancel,
        guard,
    } = open(&[("tls.example", LOOPBACK)], &[], "https://h/");
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    let f = Fixture {
        tracker,
        cancel,
        guard,
    };
    f.tracker.spawn(async move {
        let (mut stream, _) = echo.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.ok();
    });
    let mut stream = f.stream().await;
    let request = format!("CONNECT tls.example:{port} HTTP/1.1\r\nHost: tls.example\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_lowercase().contains("content-length"), "{head}");
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    assert_eq!(f.guard.report().bytes, 5);
    let address = f
        .guard
        .proxy_url()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    drop(f.guard);
    assert_eq!(stream.read(&mut back).await.unwrap_or(0), 0);
    f.tracker.close();
    tokio::time::timeout(Duration::from_secs(5), f.tracker.wait())
        .await
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!f.cancel.is_cancelled());
}

#[tokio::test]
async fn credentials_are_sent_to_the_source_and_nowhere_else() {
    let names = [("film.example", LOOPBACK), ("cdn.example", LOOPBACK)];
    let tracker = TaskTracker::new();
    let answer = |_: &str| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let server = Server::start(&tracker, answer).await;
    let port = server.address.port();
    let f = open(&names, &[], &format!("http://film.example:{port}/"));
    for host in ["film.example", "cdn.example"] {
        let url = format!("http://{host}:{port}/a");
        f.ask(&format!(
            "GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await;
    }
    let seen = server.seen.lock().unwrap().join("");
    let (first, second) = seen.split_once("cdn.example").unwrap();
    assert!(first.contains("Authorization: Bearer secret\r\n"), "{seen}");
    assert!(!second.contains("secret"), "{seen}");
}

#[tokio::test]
async fn what_one_run_read_of_the_beginning_the_next_does_not_ask_for() {
    let film: Arc<String> = Arc::new((0..300_000).map(|n| format!("{n:06}")).collect());
    let served = film.clone();
    let tracker = TaskTracker::new();
    let server = Server::start(&tracker, move |head| {
        let range = head.split_once("Range: bytes=").unwrap().1;
        let (first, last) = range.lines().next().unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let last = last.min(served.len() - 1);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}\r\n\
             ETag: \"v\"\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
            served.len(),
            last - first + 1
        );
        [head.as_bytes(), &served.as_bytes()[first..=last]].concat()
    })
    .await;
    let url = format!("http://film.example:{}/film", server.address.port());
    let request = |first: usize| {
        format!(
            "GET {url} HTTP/1.1\r\nHost: h\r\nRange: bytes={first}-\r\nConnection: close\r\n\r\n"
        )
    };
    let beginning = Arc::new(Beginning::default());
    let gate = || {
        open_sharing(
            &[("film.example", LOOPBACK)],
            &[],
            &url,
            Some(beginning.clone()),
        )
    };
    // The first run reads some of it and leaves.
    let one = gate();
    let mut stream = one.stream().await;
    stream.write_all(request(0).as_bytes()).await.unwrap();
    let mut some = vec![0; 300_000];
    stream.read_exact(&mut some).await.unwrap();
    drop((stream, one));
    let before = server.seen.lock().unwrap().len();
    for first in [0, 100_003] {
        let two = gate();
        let reply = two.ask(&request(first)).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
        let range = format!("bytes {first}-{}/{}", film.len() - 1, film.len());
        assert!(head.contains(&range), "{head}");
        assert!(body == &film[first..], "{first}: {} bytes", body.len());
        assert_eq!(two.guard.report().last_status, Some(206));
    }
    // What lay behind was asked for once, in parts, and what came before it never again.
    let seen = server.seen.lock().unwrap()[before..].to_vec();
    let asked: Vec<&String> = seen.iter().filter(|s| s.starts_with("GET")).collect();
    assert!((1..=3).contains(&asked.len()), "{asked:?}");
    assert!(!asked.iter().any(|s| s.contains("bytes=0-")), "{asked:?}");
}
