//! What happens when things go wrong: encoders that die or hang, clients that leave, disks that are
//! full, gateways that are killed.

mod encoders;
mod endings;
mod front;
mod limits;
mod process;

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::app::{TestApp, ffmpeg};
use crate::fake::FakeFfmpeg;

/// Longest clip that is encoded; longer ones repeat it, which is much faster.
const CLIP_SECONDS: u32 = 20;

/// Makes a small clip with picture (25 frames a second) and sound; gives its name. Only clips up to
/// [`CLIP_SECONDS`] have a complete grid of frames.
pub(crate) fn clip(folder: &Path, name: &str, seconds: u32) -> String {
    let path = folder.join(name);
    let once = if seconds > CLIP_SECONDS {
        folder.join(format!("once-{name}"))
    } else {
        path.clone()
    };
    let length = seconds.min(CLIP_SECONDS);
    let video = format!("testsrc2=s=160x90:r=25:d={length}");
    let audio = format!("sine=f=440:r=48000:d={length}");
    let mut args = vec!["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio];
    args.extend(["-c:v", "mpeg4", "-c:a", "mp2", once.to_str().unwrap()]);
    ffmpeg(&args);
    if seconds > CLIP_SECONDS {
        let (loops, length) = (
            seconds.div_ceil(CLIP_SECONDS).to_string(),
            seconds.to_string(),
        );
        let mut args = vec!["-stream_loop", &loops, "-i", once.to_str().unwrap()];
        args.extend(["-c", "copy", "-t", &length, path.to_str().unwrap()]);
        ffmpeg(&args);
    }
    name.to_owned()
}

/// A gateway with a fake ffmpeg and a clip; how it is configured is `change`'s.
async fn faked(
    fake: &FakeFfmpeg,
    seconds: u32,
    change: impl FnOnce(&mut ghoststream::config::Config),
) -> (TestApp, String) {
    let app = TestApp::with(|config| {
        fake.use_in(config);
        change(config);
    })
    .await;
    let source = clip(app.folder.path(), "clip.mkv", seconds);
    let job = app.stream(&source, json!({})).await;
    (app, job)
}

/// The names of a stream's segments, in order.
pub(crate) async fn segments(app: &TestApp, job: &str) -> Vec<String> {
    let playlist = String::from_utf8(app.file(job, "master.m3u8").await.to_vec()).unwrap();
    let names = playlist.lines().filter(|l| l.ends_with(".ts"));
    names.map(str::to_owned).collect()
}

/// All segments one after the other, as a player fetches them.
pub(crate) async fn play(app: &TestApp, job: &str) -> Vec<u8> {
    let mut film = Vec::new();
    for name in segments(app, job).await {
        film.extend(app.file(job, &name).await);
    }
    film
}

/// Presentation times of one of the streams in a transport stream, sorted, in 1/90000 s; of decoded
/// frames, so that a frame that cannot be decoded is missing.
#[expect(clippy::disallowed_methods, reason = "the test's own use of ffprobe")]
fn frame_times(film: &[u8], stream: &str) -> Vec<i64> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.ts");
    std::fs::write(&path, film).unwrap();
    let mut command = std::process::Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"]);
    command.args(["-show_entries", "frame=pts"]).arg(path);
    let out = command.output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(out.stdout).unwrap();
    let times = text
        .lines()
        .map(|l| l.trim_matches(','))
        .filter(|l| !l.is_empty());
    let mut times: Vec<i64> = times.map(|t| t.parse().expect(t)).collect();
    times.sort_unstable();
    times
}

/// Every frame of a clip is there once, at its time.
pub(crate) fn assert_whole(film: &[u8], seconds: u32) {
    let pictures = frame_times(film, "v");
    assert_eq!(pictures.len(), seconds as usize * 25, "pictures");
    assert!(
        pictures.windows(2).all(|w| w[1] - w[0] == 3600),
        "{pictures:?}"
    );
    let sound = frame_times(film, "a");
    assert!(
        sound.len() >= seconds as usize * 48_000 / 1024,
        "{} frames of sound",
        sound.len()
    );
    assert!(sound.windows(2).all(|w| w[1] - w[0] == 1920), "{sound:?}");
}

/// A request whose body is not read by itself.
async fn open(app: &TestApp, path: &str) -> Response<Incoming> {
    try_open(app, path).await.unwrap()
}

async fn try_open(
    app: &TestApp,
    path: &str,
) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
    let client = Client::builder(TokioExecutor::new());
    let client = client.build::<_, Full<Bytes>>(HttpConnector::new());
    let uri = format!("{}{path}", app.gateway.url());
    let request = Request::get(uri).body(Full::default()).unwrap();
    client.request(request).await
}

/// What comes of a body until it ends, and whether it ended as announced.
async fn drain(mut body: Incoming) -> (Bytes, bool) {
    let mut bytes = BytesMut::new();
    loop {
        match body.frame().await {
            None => return (bytes.freeze(), true),
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(_)) => return (bytes.freeze(), false),
        }
    }
}

/// How long a request may take on a busy machine: shorter than the time after which the gateway
/// itself gives up a segment, so that a hang is told from an answer.
const SOON: Duration = Duration::from_secs(45);

/// The answer to a request that must come within `limit`.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(limit, work).await;
    answer.unwrap_or_else(|_| panic!("{what}: nothing within {limit:?}"))
}

async fn expect_status(app: &TestApp, path: &str, wanted: StatusCode) -> crate::app::Answer {
    let answer = app.get(path).await;
    assert_eq!(answer.status, wanted, "{path}: {}", answer.text());
    answer
}
