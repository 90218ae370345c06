//! `mode: batch`: a source becomes a file that is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::{TestApp, ffmpeg};
use crate::fake::FakeFfmpeg;
use crate::file_server::FileServer;
use crate::media::{make, pictures, run, sweeps};

const SECONDS: f64 = 6.0;
const SOON: Duration = Duration::from_secs(90);

fn film(folder: &Path, name: &str) {
    let inputs = [pictures("25", SECONDS), sweeps(48000, SECONDS)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    make(folder, name, &inputs, "-c:v libx264 -g 50 -c:a aac");
}

async fn begin(app: &TestApp, source: &str, output: Value) -> String {
    let body = json!({"source": source, "mode": "batch", "output": output});
    let answer = app.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let job = answer.json();
    assert!(
        job["stream_url"].is_null() && job["download_url"].is_null(),
        "{job}"
    );
    job["job_id"].as_str().unwrap().to_owned()
}

/// Waits for the end and gives the file.
async fn fetch(app: &TestApp, job: &str) -> (Value, Vec<u8>) {
    let ended = |s: &Value| s["status"] == "ready" || s["status"] == "error";
    let status = app.status_until(job, SOON, ended).await;
    assert_eq!(status["status"], "ready", "{status}");
    let answer = app.get(status["download_url"].as_str().unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    (status, answer.body.to_vec())
}

/// `codec` of each stream and the length in seconds.
fn probed(file: &Path) -> (Vec<String>, f64) {
    let file = file.to_str().unwrap();
    let show = [
        "-loglevel",
        "error",
        "-show_entries",
        "stream=codec_name,channels:format=duration",
    ];
    let (out, _) = run("ffprobe", &[&show[..], &["-of", "json", file]].concat());
    let told: Value = serde_json::from_slice(&out).unwrap();
    let streams = told["streams"].as_array().unwrap();
    let names = streams
        .iter()
        .map(|s| s["codec_name"].as_str().unwrap().to_owned());
    let length = told["format"]["duration"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    (names.collect(), length)
}

fn keep(app: &TestApp, name: &str, bytes: &[u8]) -> PathBuf {
    let path = app.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_hold_the_codecs_that_were_asked_for() {
    let app = TestApp::start().await;
    film(app.folder.path(), "film.mkv");
    for (format, video, audio, codecs) in [
        ("mp4", "h264", "aac", ["h264", "aac"]),
        ("mp4", "h265", "opus", ["hevc", "opus"]),
        ("mkv", "h264", "flac", ["h264", "flac"]),
        ("mkv", "copy", "ac3", ["h264", "ac3"]),
        ("webm", "vp9", "opus", ["vp9", "opus"]),
        ("mp4", "av1", "mp3", ["av1", "mp3"]),
    ] {
        let output = json!({"format": format, "video_codec": video, "audio_codec": audio,
            "resolution": "original"});
        let job = begin(&app, "film.mkv", output).await;
        let (status, bytes) = fetch(&app, &job).await;
        assert_eq!(status["progress"], 100.0, "{status}");
        let file = keep(&app, &format!("made.{format}"), &bytes);
        let (found, length) = probed(&file);
        assert_eq!(found, codecs, "{format}");
        assert!((length - SECONDS).abs() < 0.15, "{format} of {length} s");
        if format == "mp4" {
            let place = |name: &[u8]| bytes.windows(4).position(|w| w == name);
            assert!(
                place(b"moov") < place(b"mdat"),
                "the index follows the media"
            );
        }
    }
    for (output, words) in [
        (json!({"format": "webm"}), "webm does not take h264"),
        (
            json!({"format": "webm", "video_codec": "vp9"}),
            "webm does not take aac",
        ),
        (json!({"format": "dash"}), "dash"),
        (
            json!({"format": "mp4", "video_codec": "av1", "two_pass": true}),
            "two_pass",
        ),
    ] {
        let body = json!({"source": "film.mkv", "mode": "batch", "output": output});
        let answer = app.post("/api/transcode/start", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_given_in_parts_and_as_an_attachment() {
    let app = TestApp::start().await;
    film(app.folder.path(), "film.mkv");
    let job = begin(&app, "film.mkv", json!({"format": "mp4"})).await;
    let early = app.get(&format!("/download/{job}")).await;
    assert_eq!(early.status, StatusCode::BAD_REQUEST);
    assert_eq!(early.json()["detail"], "Job is not ready for download");
    let (status, whole) = fetch(&app, &job).await;
    let url = status["download_url"].as_str().unwrap();
    let of = async |range: &str| {
        let headers = [("range", range)];
        let get = http::Method::GET;
        app.request(get, url, &headers, "".into()).await
    };
    let part = of("bytes=10-19").await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body, whole[10..20]);
    assert_eq!(of("bytes=-5").await.body, whole[whole.len() - 5..]);
    assert_eq!(
        of("bytes=99999999999-").await.status,
        StatusCode::RANGE_NOT_SATISFIABLE
    );
    let head = app.request(http::Method::HEAD, url, &[], "".into()).await;
    assert_eq!(head.headers["content-length"], whole.len().to_string());
    assert_eq!(head.headers["content-type"], "video/mp4");
    let disposition = head.headers["content-disposition"].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"output.mp4\"");
    for bad in ["..%2Foutput.mp4", "%2e%2e", "passes-0.log.mbtree/x"] {
        let answer = app.get(&format!("/download/{job}/{bad}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{bad}");
    }
    let unknown = app
        .get("/download/00000000-0000-4000-8000-000000000000")
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    // Deleted with its file.
    assert_eq!(
        app.delete(&format!("/api/transcode/{job}")).await.status,
        StatusCode::OK
    );
    assert_eq!(app.get(url).await.status, StatusCode::NOT_FOUND);
    let left = std::fs::read_dir(app.folder.path().join("data/batch"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hls_is_downloaded_playlist_first() {
    let app = TestApp::start().await;
    film(app.folder.path(), "film.mkv");
    let job = begin(&app, "film.mkv", json!({})).await;
    let (status, playlist) = fetch(&app, &job).await;
    let playlist = String::from_utf8(playlist).unwrap();
    assert!(playlist.contains("#EXT-X-PLAYLIST-TYPE:VOD") && playlist.contains("#EXT-X-ENDLIST"));
    // A player finds the segments from the playlist's address.
    let url = status["download_url"].as_str().unwrap().to_owned();
    let out = app.folder.path().join("played.mkv");
    let played = tokio::task::spawn_blocking(move || {
        ffmpeg(&["-i", &url, "-c", "copy", out.to_str().unwrap()]);
        probed(&out).1
    });
    let length = played.await.unwrap();
    assert!((length - SECONDS).abs() < 0.2, "{length}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_passes_channels_and_rates_are_obeyed() {
    let app = TestApp::start().await;
    let noise = "testsrc2=s=640x360:r=25:d=6,noise=alls=15:allf=t";
    let sound = "aevalsrc='0.1*sin(300*t)|0.1*sin(400*t)|0|0|0|0':c=5.1:d=6";
    make(
        app.folder.path(),
        "film.mkv",
        &[noise, sound],
        "-c:v mpeg4 -q:v 2 -c:a ac3",
    );
    for (codec, channels) in [("h264", 6), ("vp9", 2), ("h265", 1)] {
        let output = json!({"format": "mkv", "video_codec": codec, "two_pass": true,
            "bitrate": "600k", "max_audio_channels": channels});
        let job = begin(&app, "film.mkv", output).await;
        let (_, bytes) = fetch(&app, &job).await;
        let file = keep(&app, "made.mkv", &bytes);
        let args = [
            "-loglevel",
            "error",
            "-show_entries",
            "stream=channels",
            "-select_streams",
            "a",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ];
        let (out, _) = run("ffprobe", &args);
        assert_eq!(String::from_utf8(out).unwrap().trim(), channels.to_string());
        let show = [
            "-loglevel",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=size",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ];
        let (out, _) = run("ffprobe", &show);
        let sizes = String::from_utf8(out).unwrap();
        let bytes: f64 = sizes
            .lines()
            .map(|l| l.trim_matches(',').parse::<f64>().unwrap())
            .sum();
        let rate = bytes * 8.0 / 6.0;
        assert!(
            (rate / 600e3 - 1.0).abs() < 0.35,
            "{codec}: {rate:.0} bit/s of 600000"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_moves_and_never_falls() {
    let app = TestApp::start().await;
    let source = "testsrc2=s=1280x720:r=25:d=20";
    make(
        app.folder.path(),
        "film.mkv",
        &[source],
        "-c:v libx264 -preset ultrafast",
    );
    let output = json!({"format": "mp4", "video_codec": "h265"});
    let job = begin(&app, "film.mkv", output).await;
    let (mut seen, mut last) = (0, 0.0);
    loop {
        let status = app.status(&job).await;
        let progress = status["progress"].as_f64().unwrap();
        assert!(progress >= last, "{progress} after {last}");
        seen += usize::from(progress > last && progress < 100.0);
        last = progress;
        match status["status"].as_str().unwrap() {
            "ready" => break,
            "queued" | "processing" => {}
            other => panic!("{other}: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen >= 2, "progress was seen to move {seen} times");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_tried_again_and_hopeless_things_are_not() {
    let fake = FakeFfmpeg::with("times=2 error=Connection_reset_by_peer\n");
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.retry_delay = 0;
        c.transcoding.retry_count = 2;
    })
    .await;
    film(app.folder.path(), "film.mkv");
    let job = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
    fetch(&app, &job).await;
    fake.set("error=Connection_reset_by_peer\n");
    let job = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
    let before = fake.runs().len();
    let status = app
        .status_until(&job, SOON, |s| s["status"] == "error")
        .await;
    assert!(
        status["error_message"]
            .as_str()
            .unwrap()
            .contains("Connection reset"),
        "{status}"
    );
    assert!(fake.runs().len() - before <= 3, "more than three attempts");
    // What is no media will not become any.
    std::fs::write(app.folder.path().join("text.mkv"), "no media").unwrap();
    let job = begin(&app, "text.mkv", json!({"format": "mkv"})).await;
    let status = app
        .status_until(&job, SOON, |s| s["status"] == "error")
        .await;
    assert!(!status["error_message"].is_null());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_its_encoder_and_stays_readable() {
    let fake = FakeFfmpeg::with("hang=0\n");
    let app = TestApp::with(|c| fake.use_in(c)).await;
    film(app.folder.path(), "film.mkv");
    let job = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
    let started = || !fake.alive().is_empty();
    crate::fake::eventually(SOON, "an encoder runs", started).await;
    let answer = app
        .post(&format!("/api/transcode/{job}/cancel"), json!({}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    fake.all_ended(Duration::from_secs(5)).await;
    assert_eq!(app.status(&job).await["status"], "cancelled");
    app.stop().await;
}

/// The queue and what clients of the original are shown are one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_a_job_in_the_queue_is_shown() {
    let fake = FakeFfmpeg::with("hang=0\n");
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.retry_count = 0;
    })
    .await;
    film(app.folder.path(), "film.mkv");
    let job = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
    let started = || !fake.alive().is_empty();
    crate::fake::eventually(SOON, "an encoder runs", started).await;
    let path = |verb: &str| format!("/api/v2/jobs/{job}/{verb}");
    let answer = app.post(&path("cancel"), json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let is = |state: &'static str| move |s: &Value| s["status"] == state;
    app.status_until(&job, SOON, is("cancelled")).await;
    fake.all_ended(Duration::from_secs(5)).await;

    fake.set("error=Connection_reset_by_peer\n");
    let answer = app.post(&path("retry"), json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    app.status_until(&job, SOON, is("error")).await;
    fake.set("");
    let answer = app.post(&path("retry"), json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    app.status_until(&job, SOON, is("ready")).await;
    let (status, file) = fetch(&app, &job).await;
    assert!(
        status["error_message"].is_null() && !file.is_empty(),
        "{status}"
    );
    app.stop().await;
}

/// Whatever its worker was about to do, and whatever was heard of it late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_at_any_moment_stays_so() {
    let fake = FakeFfmpeg::with("hang=0\n");
    let app = TestApp::with(|c| fake.use_in(c)).await;
    film(app.folder.path(), "film.mkv");
    let mut jobs = Vec::new();
    for _ in 0..40 {
        let job = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
        let path = format!("/api/transcode/{job}/cancel");
        assert_eq!(app.post(&path, json!({})).await.status, StatusCode::OK);
        assert_eq!(app.status(&job).await["status"], "cancelled");
        jobs.push(job);
    }
    fake.all_ended(Duration::from_secs(5)).await;
    for job in jobs {
        assert_eq!(app.status(&job).await["status"], "cancelled");
    }
    app.stop().await;
}

/// Nothing of a batch is lost when the gateway is: the job goes on, the file of another one is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_files_survive_the_gateway() {
    let fake = FakeFfmpeg::new();
    let data = tempfile::tempdir().unwrap();
    let media = tempfile::tempdir().unwrap();
    film(media.path(), "film.mkv");
    let change = |c: &mut ghoststream::config::Config| {
        fake.use_in(c);
        c.storage.directory = data.path().to_owned();
        c.sources.roots.push(media.path().to_owned());
        c.local_engine.concurrency = Some(1);
    };
    let app = TestApp::with(change).await;
    let done = begin(&app, "film.mkv", json!({"format": "mp4"})).await;
    let (_, bytes) = fetch(&app, &done).await;
    fake.set("hang=0\n");
    let under_way = begin(&app, "film.mkv", json!({"format": "mkv"})).await;
    let waiting = begin(
        &app,
        "film.mkv",
        json!({"format": "webm", "video_codec": "vp9", "audio_codec": "opus"}),
    )
    .await;
    let started = |s: &Value| s["status"] == "processing";
    app.status_until(&under_way, SOON, started).await;
    assert_eq!(app.status(&waiting).await["status"], "queued");
    app.stop().await;
    fake.set("");
    let app = TestApp::with(change).await;
    let again = app.get(&format!("/download/{done}")).await;
    assert_eq!(again.body, bytes);
    let status = app.status(&done).await;
    assert_eq!(
        (&status["status"], &status["progress"]),
        (&json!("ready"), &json!(100.0))
    );
    assert!(
        (status["duration"].as_f64().unwrap() - SECONDS).abs() < 0.1,
        "{status}"
    );
    fetch(&app, &under_way).await;
    fetch(&app, &waiting).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_fails_is_replaced_and_remote_sources_are_read() {
    let fake = FakeFfmpeg::with("encoder=nvenc error=device_lost\n");
    fake.set_hardware("nvenc");
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.hardware.prefer_hw_accel = true;
    })
    .await;
    film(app.folder.path(), "film.mp4");
    let server = FileServer::start(app.folder.path()).await;
    let job = begin(
        &app,
        &server.url("/file/film.mp4"),
        json!({"format": "mp4"}),
    )
    .await;
    let (status, bytes) = fetch(&app, &job).await;
    assert_eq!(status["hw_accel_used"], "software", "{status}");
    let (_, length) = probed(&keep(&app, "made.mp4", &bytes));
    assert!((length - SECONDS).abs() < 0.15);
    let gone = begin(&app, &server.url("/status/404"), json!({"format": "mp4"})).await;
    let status = app
        .status_until(&gone, SOON, |s| s["status"] == "error")
        .await;
    assert!(
        status["error_message"].as_str().unwrap().contains("404"),
        "{status}"
    );
    app.stop().await;
}
