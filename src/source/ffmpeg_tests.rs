//! The real ffmpeg, kept to its source.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "the options are tried on the real tool"
)]
fn command(tool: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(tool);
    command
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    command
}

/// Makes a film of two seconds whose index lies at its end.
async fn film(path: &Path) {
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args([
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x90:r=10:d=2",
        "-g",
        "5",
    ]);
    let out = ffmpeg
        .args(["-c:v", "mpeg4"])
        .arg(path)
        .output()
        .await
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Serves a folder over http/1.1 with ranges, as long as the tracker's runtime lives.
async fn serve(tracker: &TaskTracker, folder: PathBuf, asked: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let inner = tracker.clone();
    tracker.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (folder, asked) = (folder.clone(), asked.clone());
            inner.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                asked.lock().unwrap().push(path.clone());
                if let Some(to) = path.strip_prefix("/to?") {
                    let reply = format!("HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(reply.as_bytes()).await.ok();
                    return;
                }
                let body = std::fs::read(folder.join(&path[1..])).unwrap();
                let range = head.lines().find_map(|l| l.strip_prefix("Range: bytes="));
                let first = range.and_then(|r| r.split('-').next()).unwrap_or("0");
                let first: usize = first.parse().unwrap();
                let reply = format!(
                    "HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                    body.len() - 1,
                    body.len(),
                    body.len() - first
                );
                stream.write_all(reply.as_bytes()).await.ok();
                stream.write_all(&body[first..]).await.ok();
            });
        }
    });
    base
}

struct Fixture {
    dir: tempfile::TempDir,
    policy: Arc<SourcePolicy>,
    tracker: TaskTracker,
    asked: Arc<Mutex<Vec<String>>>,
    base: String,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    film(&dir.path().join("film.mp4")).await;
    film(&dir.path().join("film.ts")).await;
    let settings = SourceSettings {
        roots: vec![dir.path().into()],
        deny_hosts: vec!["127.0.0.2".into()],
        ..Default::default()
    };
    let (tracker, asked) = (TaskTracker::new(), Arc::default());
    let base = serve(&tracker, dir.path().into(), Arc::clone(&asked)).await;
    Fixture {
        dir,
        policy: Arc::new(SourcePolicy::new(settings).unwrap()),
        tracker,
        asked,
        base,
    }
}

impl Fixture {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// How many pictures ffmpeg makes of `source`, seeking to `start`, and what the gate saw.
    async fn pictures(&self, source: &str, start: &str) -> (usize, GateReport) {
        let source = self.policy.resolve(source).await.unwrap();
        let cancel = CancellationToken::new();
        let gate = {
            let options = GateOptions::default();
            Gate::open(
                self.policy.clone(),
                &source,
                &self.tracker,
                &cancel,
                options,
            )
            .unwrap()
        };
        let options = ffmpeg_input_options(&source, Some(gate.proxy_url()));
        let mut ffmpeg = command("ffmpeg");
        for name in options.env_remove {
            ffmpeg.env_remove(name);
        }
        ffmpeg
            .envs(options.env)
            .args(["-v", "error", "-ss", start])
            .args(options.args);
        ffmpeg
            .arg("-i")
            .arg(options.url)
            .args(["-f", "framemd5", "-"]);
        let out = ffmpeg.output().await.unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        (
            text.lines().filter(|l| l.starts_with("0,")).count(),
            gate.report(),
        )
    }
}

fn playlist(segment: &str) -> String {
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{segment}\n#EXT-X-ENDLIST\n")
}

#[tokio::test]
async fn files_play_whatever_their_name_and_open_no_other() {
    let f = fixture().await;
    for name in [
        "-i.mp4",
        "percent-%03d.mp4",
        "a b;&$(id)'\".mp4",
        "例え.mp4",
        "http:x.mp4",
    ] {
        std::fs::copy(f.dir.path().join("film.mp4"), f.dir.path().join(name)).unwrap();
        assert_eq!(f.pictures(name, "0").await.0, 20, "{name}");
    }
    f.write("list.m3u8", &playlist("film.ts"));
    f.write("list.mp4", &playlist("film.ts"));
    f.write("list.mkv", "ffconcat version 1.0\nfile film.mp4\n");
    for list in ["list.m3u8", "list.mp4", "list.mkv"] {
        assert_eq!(f.pictures(list, "0").await.0, 0, "{list}");
    }
}

#[tokio::test]
async fn http_seeks_and_redirects_through_the_gate() {
    let f = fixture().await;
    let (pictures, report) = f.pictures(&format!("{}/film.mp4", f.base), "1").await;
    assert_eq!((pictures, report.last_status), (10, Some(206)));
    assert!(
        f.asked.lock().unwrap().len() > 1,
        "the index at the end was sought"
    );
    let (pictures, _) = f
        .pictures(&format!("{0}/to?{0}/film.mp4", f.base), "0")
        .await;
    assert_eq!(pictures, 20);
    let (pictures, report) = f
        .pictures(&format!("{}/to?http://127.0.0.2:8080/x", f.base), "0")
        .await;
    assert_eq!(
        (pictures, report.refused.as_deref()),
        (0, Some("127.0.0.2"))
    );
}

#[tokio::test]
async fn remote_playlists_name_only_allowed_http() {
    let f = fixture().await;
    let film = f.dir.path().join("film.ts");
    let film = film.to_str().unwrap();
    f.write("near.m3u8", &playlist("film.ts"));
    let near = format!("{}/near.m3u8", f.base);
    assert_eq!(f.pictures(&near, "0").await.0, 20);
    for (segment, refused) in [
        (format!("file://{film}"), None),
        (film.to_owned() + "?.ts", None),
        (format!("concat:{film}"), None),
        (format!("crypto+file://{film}"), None),
        ("http://127.0.0.2:8080/x.ts".to_owned(), Some("127.0.0.2")),
        ("https://127.0.0.2/x.ts".to_owned(), Some("127.0.0.2")),
        ("//127.0.0.2:8080/x.ts".to_owned(), Some("127.0.0.2")),
    ] {
        f.write("far.m3u8", &playlist(&segment));
        let (pictures, report) = f.pictures(&format!("{}/far.m3u8", f.base), "0").await;
        assert_eq!(
            (pictures, report.refused.as_deref()),
            (0, refused),
            "{segment}"
        );
    }
}
