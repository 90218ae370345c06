//! A scripted worker, in the words of both generations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::film::probed;
use crate::app::{Answer, TestApp, ffmpeg};

/// Long enough for a loaded machine; nothing waits for it that goes well.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
pub(crate) const VERSION: &str = "AOMedia Project AV1 Encoder v3.6.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    First,
    Third,
}

/// A gateway whose own engine is off, with a fixed version.
pub(crate) async fn server(change: impl FnOnce(&mut ghoststream::config::Config)) -> TestApp {
    TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.grav1.encoder_versions.aom = Some(VERSION.into());
        change(c);
    })
    .await
}

pub(crate) async fn add(app: &TestApp, body: Value) {
    let answer = app.post("/api/add_project", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.json()["success"], true, "{}", answer.text());
}

pub(crate) async fn project(app: &TestApp, id: &str) -> Value {
    let answer = app.get(&format!("/api/get_project/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// Asks for the project until `wanted` holds.
pub(crate) async fn until(app: &TestApp, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async {
        loop {
            let project = project(app, id).await;
            if wanted(&project) {
                return project;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(project) => project,
        Err(_) => panic!("still {}", project(app, id).await),
    }
}

pub(crate) async fn until_status(app: &TestApp, id: &str, status: &str) -> Value {
    let settled = |p: &Value| p["status"] == status || p["status"] == "failed";
    let project = until(app, id, settled).await;
    assert_eq!(project["status"], status, "{project}");
    project
}

/// A job as a worker was given it.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) project: String,
    pub(crate) scene: String,
    pub(crate) id: String,
    pub(crate) answer: Answer,
}

impl Given {
    pub(crate) fn header(&self, name: &str) -> String {
        self.answer.headers[name].to_str().unwrap().to_owned()
    }

    pub(crate) fn frames(&self) -> usize {
        self.header("frames").parse().unwrap()
    }
}

/// Asks for a job beside those that are held; the answer must be one of the two that there are.
pub(crate) async fn get_job(app: &TestApp, held: &[&Given]) -> Option<Given> {
    get_job_as(app, held, &[]).await
}

pub(crate) async fn get_job_as(
    app: &TestApp,
    held: &[&Given],
    headers: &[(&str, &str)],
) -> Option<Given> {
    let held: Vec<Value> = held
        .iter()
        .map(|g| json!({"projectid": g.project, "scene": g.scene}))
        .collect();
    let jobs = Value::from(held).to_string();
    let jobs: String = jobs
        .bytes()
        .map(|b| match b {
            b'[' | b']' | b'{' | b'}' | b'"' | b' ' => format!("%{b:02X}"),
            b => char::from(b).to_string(),
        })
        .collect();
    let path = format!("/api/get_job/{jobs}");
    let answer = app.request(Method::GET, &path, headers, Bytes::new()).await;
    if answer.status == StatusCode::NOT_FOUND {
        assert_eq!(answer.headers["success"], "0");
        assert!(answer.body.is_empty());
        return None;
    }
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.headers["success"], "1");
    assert_eq!(
        answer.headers["content-length"],
        answer.body.len().to_string()
    );
    assert!(!answer.headers.contains_key("transfer-encoding"));
    let text = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("start"), "0");
    assert_eq!(text("filename"), format!("{}.mkv", text("scene")));
    Some(Given {
        project: text("projectid"),
        scene: text("scene"),
        id: text("id"),
        answer: answer.clone(),
    })
}

/// Checks that a segment is what workers can use: the pictures of one scene, at a constant rate.
pub(crate) fn check_segment(given: &Given, folder: &Path, rate: f64) {
    let path = folder.join("segment.mkv");
    std::fs::write(&path, &given.answer.body).unwrap();
    let streams = probed(&path, &["-show_entries", "stream=codec_type"]);
    assert_eq!(streams["streams"].as_array().unwrap().len(), 1, "{streams}");
    let times = super::film::picture_times(&path);
    assert_eq!(times.len(), given.frames());
    for (nth, time) in times.iter().enumerate() {
        let wanted = nth as f64 / rate;
        assert!(
            (time - wanted).abs() < 1e-5,
            "picture {nth} at {time}, not {wanted}"
        );
    }
}

/// The raw pictures that an unmodified worker hands to its encoder, at the rate of the file.
pub(crate) fn piped(given: &Given, folder: &Path) -> PathBuf {
    let (segment, pipe) = (folder.join("in.mkv"), folder.join("pipe.y4m"));
    std::fs::write(&segment, &given.answer.body).unwrap();
    ffmpeg(&[
        "-i",
        segment.to_str().unwrap(),
        "-strict",
        "-1",
        "-pix_fmt",
        "yuv420p",
        "-vf",
        "select=gte(n\\,0)",
        "-vframes",
        &given.header("frames"),
        "-f",
        "yuv4mpegpipe",
        pipe.to_str().unwrap(),
    ]);
    pipe
}

/// Encodes what was given as the worker's encoder would, as far as the gateway can tell.
pub(crate) fn encode(given: &Given, folder: &Path) -> Vec<u8> {
    let (pipe, out) = (piped(given, folder), folder.join("out.ivf"));
    let (pipe, to) = (pipe.to_str().unwrap(), out.to_str().unwrap());
    let codec = match given.header("encoder").as_str() {
        "aom" => &[
            "-c:v",
            "libaom-av1",
            "-cpu-used",
            "8",
            "-crf",
            "25",
            "-b:v",
            "0",
        ][..],
        _ => &[
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-crf",
            "25",
            "-b:v",
            "0",
        ][..],
    };
    ffmpeg(&[&["-i", pipe][..], codec, &["-f", "ivf", to]].concat());
    std::fs::read(out).unwrap()
}

const BOUNDARY: &str = "0123456789abcdef0123456789abcdef";

/// The form of `finish_job`, in the order and shape of the generation's `requests`.
pub(crate) fn form(fields: &[(&str, &str)], file_name: &str, file: &[u8]) -> Bytes {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend(part.into_bytes());
    }
    let part = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet\r\n\r\n"
    );
    body.extend(part.into_bytes());
    body.extend(file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    body.into()
}

/// The fields that a generation sends for what it was given.
pub(crate) fn fields(given: &Given, generation: Generation) -> Vec<(&'static str, String)> {
    let text = |name: &str| given.header(name);
    match generation {
        Generation::First => vec![
            ("id", given.id.clone()),
            ("scene", given.scene.clone()),
            ("projectid", given.project.clone()),
            ("encoder", text("encoder")),
            ("encoder_params", text("encoder_params")),
        ],
        Generation::Third => vec![
            ("client", given.id.clone()),
            ("scene", given.scene.clone()),
            ("projectid", given.project.clone()),
            ("encoder", text("encoder")),
            ("version", text("version")),
            ("encoder_params", text("encoder_params")),
            ("ffmpeg_params", text("ffmpeg_params")),
            ("grain", text("grain")),
        ],
    }
}

/// Delivers `file` with `fields`; the word of the answer.
pub(crate) async fn deliver(app: &TestApp, fields: &[(&str, String)], file: &[u8]) -> String {
    deliver_to(app, "/finish_job", fields, file).await
}

pub(crate) async fn deliver_to(
    app: &TestApp,
    path: &str,
    fields: &[(&str, String)],
    file: &[u8],
) -> String {
    let borrowed: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let headers = [("content-type", kind.as_str())];
    let body = form(&borrowed, "00000.ivf", file);
    let answer = app.request(Method::POST, path, &headers, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text()
}

/// Works until there is nothing to do.
pub(crate) async fn work(app: &TestApp, folder: &Path, generation: Generation) -> usize {
    let mut done = 0;
    while let Some(given) = get_job(app, &[]).await {
        let file = encode(&given, folder);
        let word = deliver(app, &fields(&given, generation), &file).await;
        assert_eq!(word, "saved");
        done += 1;
    }
    done
}

pub(crate) async fn completed(app: &TestApp, id: &str) -> std::path::PathBuf {
    let answer = app.get(&format!("/completed/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let path = app.folder.path().join(format!("completed-{id}"));
    std::fs::write(&path, &answer.body).unwrap();
    path
}
