//! A web server as a source: it serves a folder, and misbehaves under some paths.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running server; stopped when dropped. By path:
///
/// - `/file/PATH`: a file of the folder, with ranges; see also [`FileServer::spoil`]
/// - `/counted/PATH`: a file, with ranges and an entity tag; its bytes are counted
/// - `/whole/PATH`: the file, without ranges
/// - `/private/PATH`: a file, with ranges, for those who send `Authorization: Bearer secret`
/// - `/status/N`: that status
/// - `/silent`: takes the request and says nothing
/// - `/drip/PATH`: the file, one byte a second
/// - `/cut/PATH`: the file, but every answer breaks off before the second half of it
/// - `/endless/zero`, `/endless/PATH`: zeros, or the file again and again, without a length or an end
/// - `/loop`: a redirect to itself; `/to/URL`: a redirect to `URL`
pub(crate) struct FileServer {
    address: SocketAddr,
    log: Arc<Log>,
    _tasks: JoinSet<()>,
}

/// What was asked for, and what was sent.
#[derive(Default)]
struct Log {
    asked: Mutex<Vec<String>>,
    trusted: Mutex<Vec<String>>,
    sent: AtomicU64,
    spoils: Mutex<Option<(Spoilt, usize)>>,
}

/// Answers of more bytes can be spoilt in the middle.
const LARGE: usize = 64 * 1024;

/// What goes wrong with answers of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoilt {
    /// The connection is reset without an answer.
    Reset,
    /// Nothing is said.
    Silent,
    /// A large answer is reset in the middle.
    Torn,
    /// A large answer stops in the middle, and nothing more is said.
    Stuck,
}

impl Log {
    /// How the answer to `request` for a file of `size` bytes is spoilt, if it is.
    fn turn(&self, request: &Request, size: usize) -> Option<Spoilt> {
        let mut spoils = self.spoils.lock().unwrap();
        let (how, left) = spoils.as_mut().filter(|(_, left)| *left > 0)?;
        let (from, last) = request.range.unwrap_or((0, None));
        let to = last.map_or(size, |last| (last as usize + 1).min(size));
        let is_large = to > from as usize + LARGE;
        if matches!(how, Spoilt::Torn | Spoilt::Stuck) && !is_large {
            return None;
        }
        *left -= 1;
        Some(*how)
    }
}

struct Request {
    path: String,
    host: String,
    /// First and last byte, inclusive.
    range: Option<(u64, Option<u64>)>,
    head_only: bool,
    authorization: Option<String>,
    counter: Option<Arc<Log>>,
}

impl FileServer {
    /// Listens on all addresses of the loopback interface.
    pub(crate) async fn start(folder: &Path) -> FileServer {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (folder, logs) = (folder.to_owned(), log.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (folder, logs) = (folder.clone(), logs.clone());
                connections.spawn(async move {
                    // A client that hangs up is no failure.
                    let _ = serve(socket, &folder, &logs).await;
                });
            }
        });
        FileServer {
            address,
            log,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.address.port())
    }

    /// `host path` of every request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.log.asked.lock().unwrap().clone()
    }

    /// `host path` of every request that carried credentials.
    pub(crate) fn trusted(&self) -> Vec<String> {
        self.log.trusted.lock().unwrap().clone()
    }

    /// From now on as many answers under `/file` go wrong.
    pub(crate) fn spoil(&self, how: Spoilt, times: usize) {
        *self.log.spoils.lock().unwrap() = Some((how, times));
    }

    /// How many answers are still to go wrong.
    pub(crate) fn to_be_spoilt(&self) -> usize {
        self.log.spoils.lock().unwrap().map_or(0, |(_, left)| left)
    }

    /// Bytes of files that were sent, or wait to be in the system's buffers.
    pub(crate) fn sent(&self) -> u64 {
        self.log.sent.load(Ordering::Relaxed)
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?, first.next()?);
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
        Some(line[name.len() + 2..].to_owned())
    };
    let range = header("range").and_then(|r| {
        let (first, last) = r.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    });
    Some(Request {
        path: path.to_owned(),
        host: header("host").unwrap_or_default(),
        range,
        head_only: method == "HEAD",
        authorization: header("authorization"),
        counter: None,
    })
}

async fn serve(mut socket: TcpStream, folder: &Path, log: &Arc<Log>) -> std::io::Result<()> {
    let Some(mut request) = read_request(&mut socket).await else {
        return Ok(());
    };
    let line = format!("{} {}", request.host, request.path);
    if request.authorization.is_some() {
        log.trusted.lock().unwrap().push(line.clone());
    }
    log.asked.lock().unwrap().push(line);
    let (verb, rest) = request.path[1..]
        .split_once('/')
        .unwrap_or((&request.path[1..], ""));
    let file = || file_of(folder, rest);
    let content = || std::fs::read(file()).unwrap_or_default();
    match verb {
        "file" => match std::fs::read(file()) {
            Ok(bytes) if let Some(how) = log.turn(&request, bytes.len()) => {
                spoil(socket, &request, &bytes, how).await
            }
            Ok(bytes) => send_file(&mut socket, &request, &bytes, bytes.len()).await,
            Err(_) => status(&mut socket, 404, "").await,
        },
        "whole" => {
            request.range = None;
            send_file(&mut socket, &request, &content(), usize::MAX).await
        }
        "private" if request.authorization.as_deref() != Some("Bearer secret") => {
            status(&mut socket, 401, "").await
        }
        "private" => send_file(&mut socket, &request, &content(), usize::MAX).await,
        "counted" => {
            request.counter = Some(log.clone());
            send_file(&mut socket, &request, &content(), usize::MAX).await
        }
        "cut" => {
            let bytes = content();
            send_file(&mut socket, &request, &bytes, bytes.len() / 2).await
        }
        "status" => status(&mut socket, rest.parse().unwrap(), "").await,
        "loop" => status(&mut socket, 302, "Location: /loop\r\n").await,
        "to" => status(&mut socket, 302, &format!("Location: {rest}\r\n")).await,
        "silent" => std::future::pending().await,
        "drip" => {
            let bytes = content();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            socket.write_all(head.as_bytes()).await?;
            for byte in bytes {
                socket.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        "endless" => {
            let piece = match rest {
                "zero" => vec![0; 64 * 1024],
                _ => content(),
            };
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .await?;
            loop {
                socket.write_all(&piece).await?;
            }
        }
        _ => status(&mut socket, 404, "").await,
    }
}

/// Answers wrongly, as `how` says.
async fn spoil(
    mut socket: TcpStream,
    request: &Request,
    bytes: &[u8],
    how: Spoilt,
) -> std::io::Result<()> {
    if matches!(how, Spoilt::Torn | Spoilt::Stuck) {
        let from = request.range.map_or(0, |(from, _)| from as usize);
        send_part(&mut socket, request, bytes, from + LARGE / 2).await?;
    }
    if matches!(how, Spoilt::Silent | Spoilt::Stuck) {
        return std::future::pending().await;
    }
    // Closed with a reset instead of an end.
    socket.set_zero_linger()
}

fn file_of(folder: &Path, path: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    folder.join(String::from_utf8(bytes).unwrap())
}

async fn status(socket: &mut TcpStream, status: u16, headers: &str) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await
}

/// Sends what is asked for of `bytes`, but nothing from byte `end` on, and closes the connection.
async fn send_file(
    socket: &mut TcpStream,
    request: &Request,
    bytes: &[u8],
    end: usize,
) -> std::io::Result<()> {
    send_part(socket, request, bytes, end).await?;
    socket.shutdown().await
}

/// The same; the connection stays open.
async fn send_part(
    socket: &mut TcpStream,
    request: &Request,
    bytes: &[u8],
    end: usize,
) -> std::io::Result<()> {
    let size = bytes.len();
    let (from, to, line) = match request.range {
        Some((from, _)) if from as usize >= size => {
            let range = format!("Content-Range: bytes */{size}\r\n");
            return status(socket, 416, &range).await;
        }
        Some((from, last)) => {
            let to = last.map_or(size, |l| (l as usize + 1).min(size));
            (from as usize, to, "206 Partial Content")
        }
        None => (0, size, "200 OK"),
    };
    let mut head = format!(
        "HTTP/1.1 {line}\r\nContent-Length: {}\r\nETag: \"{size}\"\r\nConnection: close\r\n",
        to - from
    );
    if request.range.is_some() {
        head += &format!("Content-Range: bytes {from}-{}/{size}\r\n", to - 1);
    }
    head += "\r\n";
    socket.write_all(head.as_bytes()).await?;
    if !request.head_only {
        for part in bytes[from.min(end)..to.min(end)].chunks(16 * 1024) {
            socket.write_all(part).await?;
            if let Some(counter) = &request.counter {
                counter.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
