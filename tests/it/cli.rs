//! The program itself, run as its users run it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::app::{TestApp, ffmpeg};

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test is a process"
)]
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghoststream"));
    command
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end without keeping the gateway of the test from its work.
pub(crate) async fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = program(folder, args);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    run.await.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn clip(folder: &Path, name: &str) {
    let path = folder.join(name);
    let video = "testsrc2=s=320x180:r=25:d=6";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        video,
        "-c:v",
        "mpeg4",
        path.to_str().unwrap(),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_film_plays_where_it_says() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    clip(folder, "a film.mkv");
    let url = app.gateway.url();
    let args = ["submit", "a film.mkv", "--gateway", &url];
    let plain = run(folder, &args).await;
    assert!(plain.status.success(), "{}", stderr(&plain));
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(text.starts_with(&format!("page:    {url}/?job=")), "{text}");

    let output = run(
        folder,
        &[&args[..], &["--json", "--resolution", "360p"]].concat(),
    )
    .await;
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let job = told["job_id"].as_str().unwrap();
    assert_eq!(told["page_url"], format!("{url}/?job={job}"));
    let stream = told["stream_url"].as_str().unwrap();
    assert_eq!(app.get(stream).await.status, StatusCode::OK);
    assert!(!app.file(job, "segment_00000.ts").await.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_played_is_refused_in_words() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    std::fs::write(folder.join("film.mkv"), "no film at all").unwrap();
    let url = app.gateway.url();
    let refusals = [
        (
            vec!["submit", "film.mkv", "--gateway", &url],
            "cannot be played",
        ),
        (
            vec!["submit", "none.mkv", "--gateway", &url],
            "no such file",
        ),
        (
            vec![
                "submit",
                "film.mkv",
                "--gateway",
                &url,
                "--mode",
                "abr",
                "--video-codec",
                "copy",
            ],
            "cannot be made of copies",
        ),
        // A port that nothing listens on.
        (
            vec!["submit", "film.mkv", "--gateway", "127.0.0.1:9"],
            "no gateway answers at http://127.0.0.1:9/",
        ),
    ];
    for (args, words) in refusals {
        let output = run(folder, &args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let told = stderr(&output).to_lowercase();
        assert!(told.contains(words), "{args:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let left = app.get("/api/stats").await.json();
    assert_eq!(left["active_jobs"], 0, "{left}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_file_is_made_waited_for_and_fetched() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    clip(folder, "film.mkv");
    let url = app.gateway.url();
    let base = ["submit", "film.mkv", "--gateway", &url];
    let args = [
        &base[..],
        &["--codec", "vp9", "--wait", "-o", "out.webm", "--json"],
    ]
    .concat();
    let output = run(folder, &args).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = std::fs::metadata(folder.join("out.webm")).unwrap().len();
    assert_eq!(
        (&told["status"], &told["size_bytes"]),
        (&"ready".into(), &size.into())
    );
    assert_eq!(video_codec(&folder.join("out.webm")), "vp9");
    assert!(
        app.get(told["download_url"].as_str().unwrap())
            .await
            .body
            .len() as u64
            == size
    );

    // Without waiting, the job's name is enough to ask for it later.
    let args = [&base[..], &["--format", "mkv"]].concat();
    let output = run(folder, &args).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let job = text
        .strip_prefix("job:     ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let status = app
        .get(&format!("/api/transcode/{job}/status"))
        .await
        .json();
    assert_eq!(status["mode"], "batch", "{status}");

    std::fs::write(folder.join("none.mkv"), "no film at all").unwrap();
    let args = ["submit", "none.mkv", "--gateway", &url, "-o", "none.mp4"];
    let failed = run(folder, &args).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        stderr(&failed).contains("ghoststream: job "),
        "{}",
        stderr(&failed)
    );
    assert!(!folder.join("none.mp4").exists());
    let args = [&base[..], &["-o", "out.avi"]].concat();
    let refused = run(folder, &args).await;
    assert!(
        stderr(&refused).contains(".mp4, .mkv or .webm"),
        "{}",
        stderr(&refused)
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_gateway_cannot_read_is_sent_to_it() {
    let app = TestApp::with(|c| c.security.api_key = Some("secret".into())).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path();
    clip(folder, "my film.mkv");
    let url = app.gateway.url();
    let base = ["submit", "my film.mkv", "--gateway", &url, "--api-key"];
    let args = [&base[..], &["secret", "-o", "out.mp4", "--json"]].concat();
    let output = run(folder, &args).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(video_codec(&folder.join("out.mp4")), "h264");
    let args = [&base[..], &["secret", "--upload"]].concat();
    let output = run(folder, &args).await;
    assert!(output.status.success(), "{}", stderr(&output));
    // Both times; they are not part of the library.
    let sent = std::fs::read_dir(app.folder.path().join("data/uploaded"));
    assert_eq!(sent.unwrap().count(), 2);
    let key = [("x-api-key", "secret")];
    let listed = app.request(
        Method::GET,
        "/api/v2/files?path=uploaded",
        &key,
        Bytes::new(),
    );
    assert_ne!(listed.await.status, StatusCode::OK);
    let args = [&base[..], &["wrong", "--upload"]].concat();
    let refused = run(folder, &args).await;
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("API key"), "{}", stderr(&refused));
    let args = ["submit", "none.mkv", "--gateway", &url, "--upload"];
    let missing = run(folder, &args).await;
    assert!(
        stderr(&missing).contains("no such file: none.mkv"),
        "{}",
        stderr(&missing)
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_is_told_where_the_job_is() {
    let app = TestApp::with(|c| c.local_engine.enabled = false).await;
    let folder = app.folder.path();
    clip(folder, "film.mkv");
    let url = app.gateway.url();
    let args = ["submit", "film.mkv", "--gateway", &url, "-o", "out.mp4"];
    let mut command = program(folder, &args);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let queued = async {
        loop {
            let page = app.get("/api/v2/jobs?kind=batch").await.json();
            if let Some(id) = page["jobs"][0]["id"].as_str() {
                return id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let queued = tokio::time::timeout(Duration::from_secs(60), queued).await;
    let id = queued.unwrap();
    // It listens to signals once it knows the job, which it does when it asks for its state.
    let status = format!("/api/transcode/{id}/status");
    let seen = async {
        while !app
            .get("/metrics")
            .await
            .text()
            .contains("/api/transcode/{id}/status")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen)
        .await
        .unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let ended = tokio::task::spawn_blocking(move || (child.wait().unwrap(), child));
    let (ended, child) = ended.await.unwrap();
    assert_eq!(ended.code(), Some(1));
    let told = std::io::read_to_string(child.stderr.unwrap()).unwrap();
    assert!(told.contains(&format!("job {id} goes on")), "{told}");
    assert_eq!(app.get(&status).await.json()["status"], "queued");
    app.stop().await;
}

/// What the first video of a file is encoded with.
fn video_codec(file: &Path) -> String {
    #[expect(clippy::disallowed_methods, reason = "the second opinion")]
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"]);
    probe.args(["-show_entries", "stream=codec_name"]).arg(file);
    String::from_utf8(probe.output().unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_made_without_a_gateway_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    clip(folder, "film.mkv");
    std::fs::write(
        folder.join("ghoststream.yaml"),
        "hardware: {prefer_hw_accel: false}",
    )
    .unwrap();
    let args = [
        "transcode",
        "film.mkv",
        "out.mp4",
        "--codec",
        "h265",
        "--json",
    ];
    let made = run(folder, &args).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told["encoded_by"], "software", "{told}");
    assert_eq!(video_codec(&folder.join("out.mp4")), "hevc");

    let again = run(folder, &args).await;
    assert!(stderr(&again).contains("--overwrite"), "{}", stderr(&again));
    let args = [
        "transcode",
        "film.mkv",
        "out.mp4",
        "-y",
        "--resolution",
        "360p",
    ];
    let replaced = run(folder, &args).await;
    assert!(replaced.status.success(), "{}", stderr(&replaced));
    assert_eq!(video_codec(&folder.join("out.mp4")), "h264");

    std::fs::write(folder.join("none.mkv"), "no film at all").unwrap();
    for (source, output, words) in [
        ("film.mkv", "out.avi", "must end in .mp4, .mkv or .webm"),
        ("none.mkv", "none.mp4", "is not media"),
        ("film.mkv", "nowhere/out.mp4", "cannot write beside"),
        ("absent.mkv", "absent.mp4", "no such file"),
    ] {
        let failed = run(folder, &["transcode", source, output]).await;
        assert_eq!(failed.status.code(), Some(1), "{source}");
        let told = stderr(&failed);
        assert!(told.to_lowercase().contains(words), "{told}");
        assert!(!folder.join(output).exists(), "{output}");
    }
    let left = std::fs::read_dir(folder).unwrap();
    let left = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("part")
    });
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_transcode_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let long = folder.join("long.mkv");
    let source = "testsrc2=s=1280x720:r=25:d=120";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "mpeg2video",
        long.to_str().unwrap(),
    ]);
    std::fs::write(
        folder.join("ghoststream.yaml"),
        "hardware: {prefer_hw_accel: false}",
    )
    .unwrap();
    let mut command = program(folder, &["transcode", "long.mkv", "out.mp4"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let hidden = |e: std::io::Result<std::fs::DirEntry>| {
        let name = e.unwrap().file_name().to_string_lossy().into_owned();
        name.starts_with(".out.mp4.part-").then_some(name)
    };
    let begun = async || {
        let mut parts = std::fs::read_dir(folder).unwrap().filter_map(hidden);
        let part = parts.next().map(|p| folder.join(p).join("output.mp4"));
        part.is_some_and(|p| p.exists())
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !begun().await {
        assert!(Instant::now() < until, "it does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = tokio::task::spawn_blocking(move || (child.wait().unwrap(), child));
    let (status, child) = status.await.unwrap();
    assert_eq!(status.code(), Some(1));
    let told = std::io::read_to_string(child.stderr.unwrap()).unwrap();
    assert!(told.contains("interrupted"), "{told}");
    assert!(!folder.join("out.mp4").exists());
    assert_eq!(
        std::fs::read_dir(folder)
            .unwrap()
            .filter_map(hidden)
            .count(),
        0
    );
}

#[tokio::test]
async fn a_wrong_start_is_told_in_one_line_that_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cases = [
        ("server: {prot: 1}", "server.prot"),
        (
            "transcoding: {ffmpeg_path: /nowhere/ffmpeg}",
            "transcoding.ffmpeg_path",
        ),
        (
            "transcoding: {ffprobe_path: /nowhere/ffprobe}",
            "transcoding.ffprobe_path",
        ),
        ("sources: {roots: [/nowhere]}", "sources.roots"),
    ];
    for (yaml, key) in cases {
        std::fs::write(folder.join("c.yaml"), yaml).unwrap();
        let output = run(folder, &["--port", "0", "-c", "c.yaml"]).await;
        assert_eq!(output.status.code(), Some(1), "{yaml}");
        let told = stderr(&output);
        assert!(told.contains(key), "{yaml}: {told}");
    }
}

/// A gateway process; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, mostly; else it must not outlive the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn serving_ends_with_code_0_on_both_signals() {
    use nix::sys::signal::{Signal, kill};
    for end in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let args = [
            "--host",
            "127.0.0.1",
            "--no-mdns",
            "--port",
            "0",
            "--ready-file",
            "ready",
        ];
        let mut command = program(folder, &args);
        let mut running = Running(command.stderr(Stdio::null()).spawn().unwrap());
        let ready = folder.join("ready");
        let url = wait_for("ready file", || std::fs::read_to_string(&ready).ok()).await;
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let pid = nix::unistd::Pid::from_raw(running.0.id() as i32);
        kill(pid, end).unwrap();
        let status = wait_for("end", || running.0.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0), "{end}");
        let left = std::fs::read_dir(folder.join("transcode_temp")).unwrap();
        assert_eq!(left.count(), 0, "segments are left");
    }
}
