use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;
use crate::source::{SourceErrorKind, SourceSettings};

struct Fixture {
    client: SourceClient,
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    tracker: TaskTracker,
}

/// A client, and a server that closes after each answer.
async fn fixture(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = SourceSettings {
        deny_hosts: vec!["127.0.0.2".into()],
        ..Default::default()
    };
    let names = HashMap::from([(
        "moved.example".into(),
        vec![vec!["127.0.0.2".parse().unwrap()]],
    )]);
    let policy = SourcePolicy::new(settings).unwrap().with_names(names);
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (tracker, log) = (TaskTracker::new(), heads.clone());
    tracker.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8(head).unwrap();
            log.lock().unwrap().push(head.clone());
            stream.write_all(answer(&head).as_bytes()).await.ok();
        }
    });
    Fixture {
        client: SourceClient::new(Arc::new(policy)),
        address,
        heads,
        tracker,
    }
}

impl Fixture {
    fn source(&self, path: &str) -> SourceLocator {
        let url = format!("http://{}{path}", self.address);
        SourceLocator::Http(Url::parse(&url).unwrap())
    }

    async fn error(&self, path: &str) -> SourceError {
        self.client
            .validators(&self.source(path))
            .await
            .unwrap_err()
    }
}

/// Serves `body` with ranges.
fn ranged(head: &str, body: &str, etag: &str) -> String {
    let range = head
        .lines()
        .find_map(|l| l.strip_prefix("Range: bytes="))
        .unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse::<usize>().unwrap().min(body.len() - 1);
    let total = body.len();
    let part = &body[first..=last];
    format!(
        "HTTP/1.1 206 Partial Content\r\nETag: {etag}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{part}",
        part.len()
    )
}

#[tokio::test]
async fn reads_ranges_and_tells_the_version() {
    let f = fixture(|head| ranged(head, "0123456789", "\"v1\"")).await;
    let expected = Validators {
        length_bytes: Some(10),
        etag: Some("\"v1\"".into()),
        last_modified: None,
        accepts_ranges: true,
    };
    assert_eq!(f.client.validators(&f.source("/a")).await, Ok(expected));
    let reader = f.client.open(&f.source("/a")).await.unwrap().1.unwrap();
    assert_eq!(reader.length_bytes(), Some(10));
    assert_eq!(reader.read_at(2, 3).await.unwrap(), "234");
    assert_eq!(reader.read_at(8, 100).await.unwrap(), "89");
    let asked = f.heads.lock().unwrap().len();
    assert_eq!(reader.read_at(10, 1).await.unwrap(), "");
    assert_eq!(reader.read_at(u64::MAX, 1).await.unwrap(), "");
    assert_eq!(
        f.heads.lock().unwrap().len(),
        asked,
        "nothing is asked for beyond the end"
    );
}

#[tokio::test]
async fn a_new_version_is_noticed() {
    let turn = Mutex::new(0);
    let f = fixture(move |head| {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        match *turn {
            1 => ranged(head, "0123456789", "\"v1\""),
            2 => ranged(head, "0123456789", "\"v2\""),
            _ => ranged(head, "longer body", "\"v1\""),
        }
    })
    .await;
    let reader = f.client.open(&f.source("/a")).await.unwrap().1.unwrap();
    assert_eq!(reader.read_at(0, 2).await, Err(SourceError::Changed));
    assert_eq!(reader.read_at(0, 2).await, Err(SourceError::Changed));
}

#[tokio::test]
async fn servers_without_ranges_are_not_read_to_the_end() {
    let f = fixture(|_| {
        "HTTP/1.0 200 OK\r\nContent-Length: 99999999\r\nLast-Modified: then\r\n\r\nstart".to_owned()
    })
    .await;
    let v = f.client.validators(&f.source("/a")).await.unwrap();
    assert_eq!(
        (v.length_bytes, v.accepts_ranges),
        (Some(99_999_999), false)
    );
    assert_eq!(v.last_modified.as_deref(), Some("then"));
    assert!(f.client.open(&f.source("/a")).await.unwrap().1.is_none());
}

#[tokio::test]
async fn failures_are_classified() {
    let f = fixture(|head| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/ssh" => "SSH-2.0-x\r\n".to_owned(),
            "/silent" => String::new(),
            _ => format!("HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", &path[1..]),
        }
    })
    .await;
    for (path, kind) in [
        ("/404", SourceErrorKind::NotFound),
        ("/410", SourceErrorKind::NotFound),
        ("/403", SourceErrorKind::BadGateway),
        ("/500", SourceErrorKind::BadGateway),
        ("/302", SourceErrorKind::BadGateway),
        ("/ssh", SourceErrorKind::BadGateway),
        ("/silent", SourceErrorKind::BadGateway),
    ] {
        assert_eq!(f.error(path).await.kind(), kind, "{path}");
    }
    assert_eq!(
        f.error("/404").await.to_string(),
        "the source was not found (HTTP status 404)"
    );
    let v = f.client.validators(&f.source("/416")).await.unwrap();
    assert_eq!((v.length_bytes, v.accepts_ranges), (Some(0), false));
    let nobody = SourceLocator::Http(Url::parse("http://127.0.0.1:1/").unwrap());
    assert_eq!(
        f.client.validators(&nobody).await.unwrap_err().to_string(),
        "the source cannot be reached: host '127.0.0.1' refuses the connection"
    );
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", plain.local_addr().unwrap());
    f.tracker.spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let mut hello = [0; 4096];
        assert!(stream.read(&mut hello).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let plain = SourceLocator::Http(Url::parse(&url).unwrap());
    let error = f.client.validators(&plain).await.unwrap_err().to_string();
    assert!(error.contains("has no valid TLS"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_under_the_policy() {
    let f = fixture(|head| {
        let path = head.split(' ').nth(1).unwrap();
        let to = match path {
            "/start" => "/end",
            "/end" => return ranged(head, "0123456789", "\"v\""),
            "/loop" => "/loop",
            "/denied" => "http://127.0.0.2/x",
            "/rebound" => "http://moved.example/x",
            _ => "file:///etc/passwd",
        };
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    })
    .await;
    let reader = f.client.open(&f.source("/start")).await.unwrap().1.unwrap();
    assert_eq!(reader.read_at(9, 1).await.unwrap(), "9");
    assert_eq!(f.error("/loop").await, SourceError::TooManyRedirects(5));
    assert_eq!(f.error("/denied").await.kind(), SourceErrorKind::Forbidden);
    assert_eq!(f.error("/rebound").await.kind(), SourceErrorKind::Forbidden);
    assert_eq!(
        f.error("/file").await,
        SourceError::UnsupportedScheme("file".into())
    );
}

#[tokio::test]
async fn credentials_are_sent_and_not_in_the_url() {
    let f = fixture(|head| ranged(head, "0123456789", "\"v\"")).await;
    let url = format!("http://Aladdin:open%20sesame@{}/a", f.address);
    let source = SourceLocator::Http(Url::parse(&url).unwrap());
    f.client.validators(&source).await.unwrap();
    let head = f.heads.lock().unwrap()[0].clone();
    assert!(
        head.contains("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("Host: {}\r\n", f.address)), "{head}");
}

#[tokio::test]
async fn files_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.mp4"), "0123456789").unwrap();
    let settings = SourceSettings {
        roots: vec![dir.path().into()],
        ..Default::default()
    };
    let policy = Arc::new(SourcePolicy::new(settings).unwrap());
    let source = policy.resolve("a.mp4").await.unwrap();
    let client = SourceClient::new(policy);
    let reader = client.open(&source).await.unwrap().1.unwrap();
    assert_eq!(reader.read_at(7, 100).await.unwrap(), "789");
    assert_eq!(reader.read_at(11, 1).await.unwrap(), "");
    let before = client.validators(&source).await.unwrap();
    assert_eq!(&before, reader.validators());
    std::fs::write(dir.path().join("a.mp4"), "another version").unwrap();
    assert_ne!(client.validators(&source).await.unwrap(), before);
    std::fs::remove_file(dir.path().join("a.mp4")).unwrap();
    assert_eq!(
        client.validators(&source).await,
        Err(SourceError::NoSuchFile)
    );
}
