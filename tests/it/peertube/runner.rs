//! A runner that speaks as the real one does (contract `peertube-runner`, recorded traffic): the same
//! calls, the same parts in the same order, real encodes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::app::{Answer, ffmpeg};

const BOUNDARY: &str = "--------------------------857313823380419411762015";

/// One part of a multipart body.
pub(crate) enum Part<'a> {
    Text(&'a str, &'a str),
    /// Name, type, text: some clients say of which type their texts are.
    Typed(&'a str, &'a str, &'a str),
    /// Name, file name, type, bytes.
    File(&'a str, &'a str, &'a str, &'a [u8]),
}

/// A body with the parts in their order.
pub(crate) fn multipart(parts: &[Part<'_>]) -> Bytes {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        let (head, bytes): (String, &[u8]) = match part {
            Part::Text(name, text) => (
                format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n"),
                text.as_bytes(),
            ),
            Part::Typed(name, kind, text) => (
                format!(
                    "Content-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
                ),
                text.as_bytes(),
            ),
            Part::File(name, file, kind, bytes) => (
                format!(
                    "Content-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
                     Content-Type: {kind}\r\n\r\n"
                ),
                bytes,
            ),
        };
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

pub(crate) fn multipart_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// A registered runner.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) base: String,
    pub(crate) token: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// A job that a runner has.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) uuid: String,
    pub(crate) kind: String,
    pub(crate) token: String,
    pub(crate) payload: Value,
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    // API calls of the real one close their connection.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(HttpConnector::new())
}

/// What is at `url`.
pub(crate) async fn get(url: &str) -> Answer {
    let response = client().get(url.parse().unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Posts a body that is not a runner's.
pub(crate) async fn post(url: &str, kind: &str, body: Bytes) -> Answer {
    send(&client(), url, kind, body).await
}

async fn send(
    http: &Client<HttpConnector, Full<Bytes>>,
    url: &str,
    kind: &str,
    body: Bytes,
) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header("content-type", kind)
        .header("connection", "close")
        .body(Full::new(body))
        .unwrap();
    let response = http.request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Registers without looking at the answer.
pub(crate) async fn register(base: &str, said: Value) -> Answer {
    let url = format!("{base}/api/v1/runners/register");
    send(&client(), &url, "application/json", said.to_string().into()).await
}

impl Runner {
    pub(crate) async fn register(base: &str, registration: &str, name: &str) -> Runner {
        let said =
            json!({"name": name, "registrationToken": registration, "description": "a test"});
        let answer = register(base, said).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Runner::known(base, answer.json()["runnerToken"].as_str().unwrap())
    }

    /// One that has its token from before.
    pub(crate) fn known(base: &str, token: &str) -> Runner {
        Runner {
            base: base.to_owned(),
            token: token.to_owned(),
            http: client(),
        }
    }

    pub(crate) async fn post(&self, path: &str, said: Value) -> Answer {
        let url = format!("{}/api/v1/runners{path}", self.base);
        let mut said = said;
        if said.get("runnerToken").is_none() {
            said["runnerToken"] = self.token.clone().into();
        }
        let body = said.to_string().into();
        send(&self.http, &url, "application/json", body).await
    }

    /// What is offered, of `types` or of all.
    pub(crate) async fn offers(&self, types: Option<&[&str]>) -> Vec<Value> {
        let said = match types {
            Some(types) => json!({"jobTypes": types}),
            None => json!({}),
        };
        let answer = self.post("/jobs/request", said).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["availableJobs"].as_array().unwrap().clone()
    }

    pub(crate) async fn accept(&self, uuid: &str) -> Answer {
        self.post(&format!("/jobs/{uuid}/accept"), json!({})).await
    }

    /// Takes the first job that is offered, if there is one, as a runner does.
    pub(crate) async fn take_first(&self, types: Option<&[&str]>) -> Option<Taken> {
        let offers = self.offers(types).await;
        let uuid = offers.first()?["uuid"].as_str().unwrap().to_owned();
        let answer = self.accept(&uuid).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Some(Taken::of(&answer.json()["job"]))
    }

    pub(crate) async fn take(&self, kind: &str) -> Taken {
        let taken = self.take_first(Some(&[kind])).await;
        taken.unwrap_or_else(|| panic!("no {kind} is offered"))
    }

    /// Posts a multipart body; texts come first.
    pub(crate) async fn say(&self, job: &Taken, verb: &str, more: &[Part<'_>]) -> Answer {
        let body = self.words(job, more);
        let url = format!("{}/api/v1/runners/jobs/{}/{verb}", self.base, job.uuid);
        send(&self.http, &url, &multipart_type(), body).await
    }

    /// The body of `say`.
    pub(crate) fn words(&self, job: &Taken, more: &[Part<'_>]) -> Bytes {
        let mut parts = vec![
            Part::Text("jobToken", &job.token),
            Part::Text("runnerToken", &self.token),
        ];
        for part in more {
            parts.push(match part {
                Part::Text(name, text) => Part::Text(name, text),
                Part::Typed(name, kind, text) => Part::Typed(name, kind, text),
                Part::File(name, file, kind, bytes) => Part::File(name, file, kind, bytes),
            });
        }
        multipart(&parts)
    }

    pub(crate) async fn update(&self, job: &Taken, progress: &str) -> Answer {
        self.say(job, "update", &[Part::Text("progress", progress)])
            .await
    }

    pub(crate) async fn error(&self, job: &Taken, message: &str) -> Answer {
        let said = json!({"jobToken": job.token, "message": message});
        self.post(&format!("/jobs/{}/error", job.uuid), said).await
    }

    pub(crate) async fn abort(&self, job: &Taken) -> Answer {
        let said = json!({"jobToken": job.token, "reason": "Runner stopped"});
        self.post(&format!("/jobs/{}/abort", job.uuid), said).await
    }

    /// Downloads a file of the job's input.
    pub(crate) async fn fetch(&self, job: &Taken, url: &Value) -> Answer {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(&self.base) && !url.contains('?'), "{url}");
        let said = json!({"runnerToken": self.token, "jobToken": job.token});
        send(&self.http, url, "application/json", said.to_string().into()).await
    }

    async fn fetch_to(&self, job: &Taken, url: &Value, path: PathBuf) -> String {
        let answer = self.fetch(job, url).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        std::fs::write(&path, &answer.body).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Does a job with ffmpeg and delivers it.
    pub(crate) async fn work(&self, job: &Taken) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(self.update(job, "0").await.status, StatusCode::NO_CONTENT);
        let (input, output) = (&job.payload["input"], &job.payload["output"]);
        let source = match input["videoFileUrl"].is_string() {
            true => {
                self.fetch_to(job, &input["videoFileUrl"], at("source"))
                    .await
            }
            false => {
                self.fetch_to(job, &input["audioFileUrl"], at("source"))
                    .await
            }
        };
        let fps = output["fps"].to_string();
        let scale = format!("scale=w=-2:h={}", output["resolution"]);
        let made = at("made.mp4").to_str().unwrap().to_owned();
        let fast = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac";
        match job.kind.as_str() {
            "vod-hls-transcoding" => {
                let sound_only = output["resolution"] == 0;
                let video = match sound_only {
                    true => "-vn -c:a aac".to_owned(),
                    false => format!(
                        "{fast} -vf {scale} -r {fps} -g {}",
                        2 * output["fps"].as_u64().unwrap()
                    ),
                };
                let list = at("made.m3u8").to_str().unwrap().to_owned();
                let args = format!(
                    "-i {source} {video} -f hls -hls_time 4 -hls_list_size 0 -hls_playlist_type vod \
                     -hls_segment_filename {made} -hls_segment_type fmp4 -hls_flags single_file {list}"
                );
                run(&args);
                let name = format!("x-{}-fragmented.mp4", output["resolution"]);
                let text = std::fs::read_to_string(list).unwrap();
                let text = text.replace("made.mp4", &name);
                let bytes = std::fs::read(made).unwrap();
                self.say(
                    job,
                    "success",
                    &[
                        Part::File("payload[videoFile]", &name, "video/mp4", &bytes),
                        Part::File(
                            "payload[resolutionPlaylistFile]",
                            "x.m3u8",
                            "application/vnd.apple.mpegurl",
                            text.as_bytes(),
                        ),
                    ],
                )
                .await
            }
            "vod-web-video-transcoding" => {
                run(&format!("-i {source} {fast} -vf {scale} -r {fps} {made}"));
                self.deliver_video(job, &made).await
            }
            "vod-audio-merge-transcoding" => {
                let preview = self
                    .fetch_to(job, &input["previewFileUrl"], at("preview"))
                    .await;
                run(&format!(
                    "-loop 1 -i {preview} -i {source} {fast} -shortest -r {fps} {made}"
                ));
                self.deliver_video(job, &made).await
            }
            "video-studio-transcoding" => {
                let mut cut = String::new();
                for task in job.payload["tasks"].as_array().unwrap() {
                    let options = &task["options"];
                    match task["name"].as_str().unwrap() {
                        "cut" => cut = format!("-ss {} -to {}", options["start"], options["end"]),
                        _ => {
                            let file = at(task["name"].as_str().unwrap());
                            self.fetch_to(job, &options["file"], file).await;
                        }
                    }
                }
                run(&format!("{cut} -i {source} {fast} {made}"));
                self.deliver_video(job, &made).await
            }
            "video-transcription" => {
                let text = "WEBVTT\n\n00:00.000 --> 00:01.000\nHello.\n";
                let part = Part::File("payload[vttFile]", "x.vtt", "text/vtt", text.as_bytes());
                let language = Part::Text("payload[inputLanguage]", "en");
                self.say(job, "success", &[language, part]).await
            }
            "generate-video-storyboard" => {
                let sprites = &job.payload["sprites"];
                let (size, count) = (&sprites["size"], &sprites["count"]);
                let sheet = at("sheet.jpg").to_str().unwrap().to_owned();
                run(&format!(
                    "-i {source} -vf fps=1/{},scale={}:{},tile={}x{} -frames:v 1 {sheet}",
                    sprites["duration"],
                    size["width"],
                    size["height"],
                    count["width"],
                    count["height"]
                ));
                let bytes = std::fs::read(sheet).unwrap();
                let part = Part::File("payload[storyboardFile]", "x.jpg", "image/jpeg", &bytes);
                self.say(job, "success", &[part]).await
            }
            other => panic!("{other}"),
        }
    }

    async fn deliver_video(&self, job: &Taken, path: &str) -> Answer {
        let bytes = std::fs::read(path).unwrap();
        let part = Part::File("payload[videoFile]", "output-x.mp4", "video/mp4", &bytes);
        self.say(job, "success", &[part]).await
    }

    /// Does all that is offered; the kinds of jobs in their order.
    pub(crate) async fn work_off(&self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(job) = self.take_first(None).await {
            let answer = self.work(&job).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
            done.push(job.kind);
        }
        done
    }
}

fn run(args: &str) {
    ffmpeg(&args.split_whitespace().collect::<Vec<_>>());
}

impl Taken {
    pub(crate) fn of(job: &Value) -> Taken {
        let text = |key: &str| job[key].as_str().unwrap().to_owned();
        assert!(text("jobToken").starts_with("ptrjt-"));
        assert_eq!(job["state"]["id"], 2);
        Taken {
            uuid: text("uuid"),
            kind: text("type"),
            token: text("jobToken"),
            payload: job["payload"].clone(),
        }
    }
}

/// A small film with a picture and a sound; its path.
pub(crate) fn film(folder: &Path, name: &str, size: &str, seconds: u32) -> PathBuf {
    let path = folder.join(name);
    let pictures = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let sound = format!("sine=frequency=440:duration={seconds}");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &pictures,
        "-f",
        "lavfi",
        "-i",
        &sound,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "aac",
        path.to_str().unwrap(),
    ]);
    path
}
