//! Progress moves with the work, in every mode, for those who ask and for those who listen.
//!
//! The encoder goes on by one step when the test lets it, so that no step can be missed and no clock decides.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::fake::FakeFfmpeg;
use crate::media::make;
use crate::progress::Socket;

const SOON: Duration = Duration::from_secs(60);
/// Length of the film.
const SECONDS: u64 = 6;

async fn gateway(fake: &FakeFfmpeg) -> TestApp {
    let app = TestApp::with(|c| fake.use_in(c)).await;
    // Noise, so that every picture has its bytes.
    let film = format!("testsrc2=s=854x480:r=25:d={SECONDS},noise=alls=12:allf=t");
    let encoder = "-c:v libx264 -preset ultrafast -g 25";
    make(app.folder.path(), "film.mkv", &[&film], encoder);
    app
}

async fn start(app: &TestApp, mode: &str, output: Value) -> String {
    let body = json!({"source": "film.mkv", "mode": mode, "output": output});
    let answer = app.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

/// One who asks for a job's status and one who listens to it, and what both know so far.
struct Onlookers {
    job: String,
    socket: Socket,
    asked: f64,
    heard: f64,
}

impl Onlookers {
    /// `listens` to the job itself, so that it is made to its end; else to all jobs, which says nothing of that.
    async fn of(app: &TestApp, job: String, listens: bool) -> Onlookers {
        let mut socket = Socket::open(app).await;
        if listens {
            socket.subscribe(&job).await;
        }
        Onlookers {
            job,
            socket,
            asked: 0.0,
            heard: 0.0,
        }
    }

    /// Waits until both know of a progress beyond `least`, never less than what they knew; what was asked.
    async fn see_more_than(&mut self, app: &TestApp, least: f64) -> f64 {
        let known = self.asked;
        let further = |s: &Value| {
            let progress = s["progress"].as_f64().unwrap();
            assert!(progress >= known, "{progress} after {known}: {s}");
            progress > least
        };
        let status = app.status_until(&self.job, SOON, further).await;
        self.asked = status["progress"].as_f64().unwrap();
        while self.heard <= least {
            let event = self.socket.hear().await;
            let Some(progress) = event["data"]["progress"].as_f64() else {
                continue;
            };
            assert!(progress >= self.heard, "{event} after {}", self.heard);
            self.heard = progress;
        }
        self.asked
    }
}

/// Every report of an encoder is seen: by status and by listeners, over all passes.
async fn reports_are_seen(output: Value, rules: &str, passes: &[&str]) {
    let fake = FakeFfmpeg::with(rules);
    let app = gateway(&fake).await;
    let job = start(&app, "batch", output.clone()).await;
    let mut onlookers = Onlookers::of(&app, job, true).await;
    let share = 100.0 / (SECONDS as f64 * passes.len() as f64);
    let mut time = 0.0;
    for (nth, gate) in passes.iter().enumerate() {
        for step in 1..SECONDS {
            fake.allow(gate, step);
            let wanted = (nth as u64 * SECONDS + step) as f64 * share;
            let seen = onlookers.see_more_than(&app, wanted - share / 2.0).await;
            assert!(
                (seen - wanted).abs() < 0.02,
                "{output}: {seen}, not {wanted}"
            );
            let status = app.status(&onlookers.job).await;
            let now = status["current_time"].as_f64().unwrap();
            assert!(now > time, "{output}: {now} s after {time} s");
            assert!(status["eta_seconds"].is_u64(), "{output}: {status}");
            time = now;
        }
        fake.allow(gate, SECONDS);
    }
    let ready = |s: &Value| s["status"] == "ready";
    let status = app.status_until(&onlookers.job, SOON, ready).await;
    assert_eq!(status["progress"], 100.0, "{status}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_moves_with_every_report_of_its_encoder() {
    for format in ["mp4", "hls"] {
        reports_are_seen(json!({"format": format}), "steps=one:5\n", &["one"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_passes_are_one_way_to_the_end() {
    let output = json!({"format": "mp4", "two_pass": true, "bitrate": "300k"});
    let rules = "times=1 steps=one:5\nsteps=two:5\n";
    reports_are_seen(output, rules, &["one", "two"]).await;
}

/// The first pass of VP9 writes nothing: ffmpeg then tells of pictures only, with a time of 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_pass_that_writes_nothing_moves_too() {
    let output = json!({"format": "webm", "video_codec": "vp9", "audio_codec": "opus",
        "resolution": "360p", "two_pass": true, "bitrate": "300k"});
    let rules = "times=1 blind=one:5\nsteps=two:5\n";
    reports_are_seen(output, rules, &["one", "two"]).await;
}

/// Every part that an encoder delivers is seen, also of a segment that is far from whole.
async fn parts_are_seen(app: &TestApp, fake: &FakeFfmpeg, mut onlookers: Onlookers) {
    let mut seen = 0.0;
    let mut rises = 0;
    for turn in 1..=10 {
        fake.allow("go", turn);
        seen = onlookers.see_more_than(app, seen).await;
        rises += usize::from(seen < 100.0);
    }
    assert!(rises >= 8, "{rises} rises before the end");
    fake.allow("go", 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_moves_with_all_that_its_encoder_delivers() {
    let fake = FakeFfmpeg::with("track=video parts=go:40000\n");
    let app = gateway(&fake).await;
    let output = json!({"resolution": "360p", "bitrate": "800k"});
    let job = start(&app, "stream", output).await;
    let onlookers = Onlookers::of(&app, job, true).await;
    parts_are_seen(&app, &fake, onlookers).await;
    app.stop().await;
}

/// Whichever rendition is watched: here the least one, while that of the best stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_moves_with_the_rendition_that_is_watched() {
    let fake = FakeFfmpeg::with("with=scale=640 parts=go:40000\ntrack=video hang=0\n");
    let app = gateway(&fake).await;
    let job = start(&app, "abr", json!({})).await;
    let onlookers = Onlookers::of(&app, job.clone(), false).await;
    let list = app.file(&job, "video1.m3u8").await;
    let list = String::from_utf8(list.to_vec()).unwrap();
    let names: Vec<&str> = list.lines().filter(|l| l.ends_with(".m4s")).collect();
    let watching = async {
        for name in &names {
            app.file(&job, name).await;
        }
    };
    tokio::join!(watching, parts_are_seen(&app, &fake, onlookers));
    app.stop().await;
}
