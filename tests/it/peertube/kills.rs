//! Gateways that are killed while runners work for them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::live::{add, list};
use super::runner::{Part, Runner, film, get, multipart, multipart_type, post};
use super::{REGISTRATION, SOON, has_ended};
use crate::app::{Answer, ffmpeg};

/// A gateway that can be killed; the next one has the same folder and port.
struct Victim {
    child: Child,
    base: String,
    folder: PathBuf,
}

impl Victim {
    fn start(folder: &Path, port: &str) -> Victim {
        let config = json!({
            "server": {"host": "127.0.0.1", "port": port.parse::<u16>().unwrap()},
            "storage": {"directory": folder.join("data")},
            "transcoding": {"temp_directory": folder.join("cache")},
            "hardware": {"prefer_hw_accel": false},
            "peertube": {
                "registration_token": REGISTRATION,
                "resolutions": [90],
                "always_transcode_original_resolution": false,
            },
            "logging": {"level": "WARNING"},
        });
        // JSON is YAML.
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let ready = folder.join("ready");
        let _ = std::fs::remove_file(&ready);
        #[expect(clippy::disallowed_methods, reason = "the gateway under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command.arg("--config").arg(folder.join("config.yaml"));
        command.arg("--ready-file").arg(&ready).arg("--no-mdns");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let until = Instant::now() + SOON;
        while !ready.exists() {
            assert!(Instant::now() < until, "it does not start");
            std::thread::yield_now();
        }
        Victim {
            child,
            base: std::fs::read_to_string(ready).unwrap(),
            folder: folder.to_owned(),
        }
    }

    fn killed(mut self) -> Victim {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let port = self.base.rsplit(':').next().unwrap();
        Victim::start(&self.folder, port)
    }

    async fn video(&self, id: &str) -> Value {
        get(&format!("{}/video/{id}", self.base)).await.json()
    }

    async fn ended(&self, id: &str) -> Value {
        let ask = async {
            loop {
                let video = self.video(id).await;
                if has_ended(&video) {
                    return video;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(SOON, ask).await {
            Ok(video) => video,
            Err(_) => panic!("still {}", self.video(id).await),
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["video"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_job_survives_kills_at_work_and_after_its_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let source = std::fs::read(film(folder.path(), "film.mp4", "160x90", 2)).unwrap();
    let picture = folder.path().join("picture.jpg");
    let still = "testsrc2=size=160x90:rate=1:duration=1";
    let args = ["-f", "lavfi", "-i", still, "-frames:v", "1"];
    ffmpeg(&[&args[..], &[picture.to_str().unwrap()]].concat());
    let picture = std::fs::read(picture).unwrap();
    let tasks = r#"[{"name":"cut","options":{"start":0.5,"end":1.5}},
        {"name":"add-watermark","options":{"file":"mark"}}]"#;
    let parts = [
        Part::Text(
            "jobs",
            "hls,web-video,audio-merge,studio,transcription,storyboard",
        ),
        Part::Text("tasks", tasks),
        Part::File("previewFile", "p.jpg", "image/jpeg", &picture),
        Part::File("mark", "m.jpg", "image/jpeg", &picture),
        Part::File("videoFile", "f.mp4", "video/mp4", &source),
    ];
    let mut gateway = Victim::start(folder.path(), "0");
    let runner = Runner::register(&gateway.base, REGISTRATION, "one").await;
    let url = format!("{}/video/upload", gateway.base);
    let answer = post(&url, &multipart_type(), multipart(&parts)).await;
    let id = id_of(&answer);
    gateway = gateway.killed();
    let mut kinds = Vec::new();
    while let Some(job) = runner.take_first(None).await {
        gateway = gateway.killed();
        // It has the job still.
        let answer = runner.work(&job).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
        gateway = gateway.killed();
        kinds.push(job.kind);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let done = gateway.ended(&id).await;
    assert_eq!(done["state"], "done", "{done}");
    let failures = done["jobs"].as_array().unwrap().iter();
    assert!(failures.map(|j| &j["failures"]).all(|f| f == 0), "{done}");
    let renditions = done["renditions"].as_array().unwrap().iter();
    let mut urls: Vec<&Value> = renditions.map(|r| &r["url"]).collect();
    urls.extend([
        &done["master_url"],
        &done["storyboard_url"],
        &done["captions"][0]["url"],
    ]);
    assert_eq!(urls.len(), 7);
    for url in urls {
        let file = get(url.as_str().unwrap()).await;
        assert!(
            file.status == StatusCode::OK && !file.body.is_empty(),
            "{url}"
        );
    }
    // Nothing of what was delivered lies about.
    let received = folder.path().join("data/videos/received");
    assert_eq!(std::fs::read_dir(received).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_stream_goes_on_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Victim::start(folder.path(), "0");
    let runner = Runner::register(&gateway.base, REGISTRATION, "one").await;
    let said = json!({"source": "rtmp://127.0.0.1:9/live", "name": "Now"}).to_string();
    let url = format!("{}/video/live", gateway.base);
    let id = id_of(&post(&url, "application/json", said.into()).await);
    let job = runner.take("live-rtmp-hls-transcoding").await;
    for n in 0..3 {
        for variant in 0..2 {
            let list = list(variant, 0, n);
            let told = add(&runner, &job, variant, n, Some(&list)).await;
            assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.text());
        }
        gateway = gateway.killed();
    }
    let told = runner.say(&job, "success", &[]).await;
    assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.text());
    gateway = gateway.killed();
    let done = gateway.ended(&id).await;
    assert_eq!(done["state"], "done", "{done}");
    let list = get(&format!("{}/video/{id}/1.m3u8", gateway.base)).await;
    let list = list.text();
    assert!(list.ends_with("1-000002.ts\n#EXT-X-ENDLIST\n"), "{list}");
}
