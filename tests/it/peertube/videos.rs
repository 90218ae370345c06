//! Videos from their upload to what is played.

use std::path::Path;

use http::StatusCode;
use serde_json::{Value, json};

use super::runner::{Part, film};
use super::{
    configured, has_ended, head, post_parts, registered, start, upload, video, video_until,
};
use crate::app::{TestApp, ffmpeg};
use crate::media::run;
use crate::receiver::Receiver;

/// Codecs and sizes of what is at `url`, as ffprobe sees them.
fn probed(url: &str) -> Value {
    let show = "stream=codec_name,width,height,r_frame_rate:format=duration";
    let args = [
        "-loglevel",
        "error",
        "-show_entries",
        show,
        "-of",
        "json",
        url,
    ];
    let (out, _) = run("ffprobe", &args);
    serde_json::from_slice(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_becomes_a_stream_of_all_renditions() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    let path = film(app.folder.path(), "film.mp4", "320x180", 6);
    let id = upload(&app, &path, &[]).await;
    let taken = video(&app, &id).await;
    assert_eq!(
        (&taken["state"], &taken["name"]),
        (&json!("pending"), &json!("A film"))
    );
    assert!(taken["master_url"].is_null(), "{taken}");
    let picture = app.get(taken["thumbnail_url"].as_str().unwrap()).await;
    assert_eq!(picture.headers["content-type"], "image/jpeg");
    assert_eq!(picture.body[..2], [0xff, 0xd8]);
    let renditions = taken["renditions"].as_array().unwrap();
    let sides: Vec<_> = renditions.iter().map(|r| r["resolution"].clone()).collect();
    assert_eq!(sides, [90, 180]);
    assert!(
        renditions
            .iter()
            .all(|r| r["url"].is_null() && r["fps"] == 25 && r["kind"] == "hls")
    );

    // What is there can be played at once, and nobody between us and the player keeps that state.
    let first = runner.take("vod-hls-transcoding").await;
    assert_eq!(runner.work(&first).await.status, StatusCode::NO_CONTENT);
    let partly = video_until(&app, &id, |v| v["master_url"].is_string()).await;
    let master = app.get(partly["master_url"].as_str().unwrap()).await;
    assert_eq!(master.headers["cache-control"], "no-store");
    assert_eq!(master.text().matches("RESOLUTION=").count(), 1);
    assert_eq!(runner.work_off().await, ["vod-hls-transcoding"]);
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(super::states(&done), [3, 3]);
    let master_url = done["master_url"].as_str().unwrap();
    let master = app.get(master_url).await.text();
    for wanted in [
        "RESOLUTION=320x180",
        "RESOLUTION=160x90",
        "FRAME-RATE=25.000",
        "avc1.",
        "mp4a.40.2",
    ] {
        assert!(master.contains(wanted), "{wanted} is not in {master}");
    }
    let found = probed(master_url);
    let length: f64 = found["format"]["duration"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((length - 6.0).abs() < 0.3, "{found}");
    for rendition in done["renditions"].as_array().unwrap() {
        let url = rendition["url"].as_str().unwrap();
        let found = probed(url);
        assert_eq!(
            found["streams"][0]["height"], rendition["resolution"],
            "{found}"
        );
    }
    // Its bandwidth is that of the files.
    let playlist = app
        .get(done["renditions"][0]["url"].as_str().unwrap())
        .await
        .text();
    let file = playlist.lines().find(|l| l.ends_with(".mp4")).unwrap();
    let file = format!("/video/{id}/{file}");
    let range = [("range", "bytes=0-9")];
    let part = app
        .request(http::Method::GET, &file, &range, "".into())
        .await;
    assert_eq!(
        (part.status, part.body.len()),
        (StatusCode::PARTIAL_CONTENT, 10)
    );
    let whole = head(&app, &file).await;
    let bytes: f64 = whole.headers["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let bandwidths = master.split("AVERAGE-BANDWIDTH=").skip(1);
    let smallest: f64 = bandwidths
        .map(|b| b.split(',').next().unwrap().parse().unwrap())
        .fold(f64::INFINITY, f64::min);
    assert!(
        (smallest / (bytes * 8.0 / 6.0) - 1.0).abs() < 0.1,
        "{smallest} {bytes}"
    );

    assert_eq!(
        app.delete(&format!("/video/{id}")).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(app.get(master_url).await.status, StatusCode::NOT_FOUND);
    super::is_problem(&app.get(&format!("/video/{id}")).await, 404, None);
    assert_eq!(files(&app.folder.path().join("data/artifacts")), 0);
    assert_eq!(files(&app.folder.path().join("data/videos")), 0);
    app.stop().await;
}

/// All files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let paths = entries.map(|e| e.unwrap().path());
    paths.map(|p| if p.is_dir() { files(&p) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_becomes_everything_that_there_is_to_make() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    film(app.folder.path(), "film.mp4", "160x90", 3);
    let body = json!({"path": "film.mp4", "name": "n", "destination": "out/here",
        "jobs": "hls,web-video,transcription,storyboard"});
    let answer = app.post("/videos/transcode", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let id = answer.json()["video"]["id"].as_str().unwrap().to_owned();
    let mut kinds = runner.work_off().await;
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "generate-video-storyboard",
            "video-transcription",
            "vod-hls-transcoding",
            "vod-web-video-transcoding",
        ]
    );
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(
        (&done["state"], &done["destination"]),
        (&json!("done"), &json!("out/here"))
    );
    let captions = &done["captions"][0];
    assert_eq!(captions["language"], "en");
    let text = app.get(captions["url"].as_str().unwrap()).await.text();
    assert!(text.starts_with("WEBVTT"));
    let sheet = app.get(done["storyboard_url"].as_str().unwrap()).await;
    assert_eq!(sheet.headers["content-type"], "image/jpeg");
    let web = done["renditions"].as_array().unwrap();
    let web = web.iter().find(|r| r["kind"] == "web-video").unwrap();
    assert_eq!(
        probed(web["url"].as_str().unwrap())["streams"][0]["height"],
        90
    );
    for list in ["/video/", "/videos/", "/videos"] {
        let all = app.get(list).await.json();
        assert_eq!(
            (&all["total"], &all["videos"][0]["id"]),
            (&json!(1), &json!(id)),
            "{list}"
        );
    }
    // With a source it is the picture of that.
    let picture = app.get("/video/?url=film.mp4").await;
    assert_eq!(picture.headers["content-type"], "image/jpeg");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sounds_and_edits_bring_their_files() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    let at = |name: &str| app.folder.path().join(name);
    let (sound, picture) = (at("sound.m4a"), at("cover.jpg"));
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "sine=duration=3",
        "-c:a",
        "aac",
        sound.to_str().unwrap(),
    ]);
    let still = "testsrc2=size=160x90:rate=1:duration=1";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        still,
        "-frames:v",
        "1",
        picture.to_str().unwrap(),
    ]);
    let (sound, picture) = (
        std::fs::read(sound).unwrap(),
        std::fs::read(picture).unwrap(),
    );
    let parts = [
        Part::File("file", "a.m4a", "audio/mp4", &sound),
        Part::File("previewFile", "a.jpg", "image/jpeg", &picture),
        Part::Text("jobs", "audio-merge,hls"),
    ];
    let answer = post_parts(&app, "/video/upload", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let merged = answer.json()["video"]["id"].as_str().unwrap().to_owned();
    let told = video(&app, &merged).await;
    assert!(
        told["thumbnail_url"].is_string() && told["name"] == "a.m4a",
        "{told}"
    );

    let film = film(app.folder.path(), "film.mp4", "160x90", 4);
    let tasks = json!([
        {"name": "cut", "options": {"start": 1, "end": 3}},
        {"name": "add-watermark", "options": {"file": "mark"}},
    ]);
    let film = std::fs::read(film).unwrap();
    let tasks = tasks.to_string();
    let parts = [
        Part::File("videoFile", "f.mp4", "video/mp4", &film),
        Part::File("mark", "../../mark.png", "image/png", &picture),
        Part::Text("jobs", "studio"),
        Part::Text("tasks", &tasks),
    ];
    let answer = post_parts(&app, "/video/upload", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let edited = answer.json()["video"]["id"].as_str().unwrap().to_owned();

    assert_eq!(runner.work_off().await.len(), 3);
    let merged = video_until(&app, &merged, has_ended).await;
    assert_eq!(merged["state"], "done", "{merged}");
    // Sound alone is a rendition too.
    let master = app.get(merged["master_url"].as_str().unwrap()).await.text();
    assert!(master.contains("CODECS=\"mp4a.40.2\"\n"), "{master}");
    let edited = video_until(&app, &edited, has_ended).await;
    let found = probed(edited["renditions"][0]["url"].as_str().unwrap());
    let length: f64 = found["format"]["duration"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((length - 2.0).abs() < 0.3, "{found}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_keyed_gateway_runners_need_no_key_and_files_are_signed() {
    let app = TestApp::with(|config| {
        configured(config);
        config.security.api_key = Some("secret".into());
    })
    .await;
    let runner = registered(&app, "one").await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let bytes = std::fs::read(path).unwrap();
    let parts = [Part::File("videoFile", "f.mp4", "video/mp4", &bytes)];
    super::is_problem(&post_parts(&app, "/video/upload", &parts).await, 401, None);
    let kind = super::multipart_type();
    let key = [("content-type", kind.as_str()), ("x-api-key", "secret")];
    let body = super::multipart(&parts);
    let answer = app
        .request(http::Method::POST, "/video/upload", &key, body)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let id = answer.json()["video"]["id"].as_str().unwrap().to_owned();
    runner.work_off().await;
    let asked = format!("/video/{id}?api_key=secret");
    let ask = async {
        loop {
            let told = app.get(&asked).await.json();
            if has_ended(&told) {
                return told;
            }
        }
    };
    let done = tokio::time::timeout(super::SOON, ask).await.unwrap();
    let master_url = done["master_url"].as_str().unwrap();
    assert!(master_url.contains("gst="), "{master_url}");
    // A player without the key reads it all.
    assert!(probed(master_url)["streams"].as_array().unwrap().len() >= 2);
    let bare = master_url.split('?').next().unwrap();
    assert_eq!(app.get(bare).await.status, StatusCode::UNAUTHORIZED);
    for path in [
        &format!("/video/{id}"),
        "/api/v1/runners",
        "/videos/",
        "/api/v1/runners/jobs",
    ] {
        super::is_problem(&app.get(path).await, 401, None);
    }
    let token = master_url.split("gst=").nth(1).unwrap();
    let status = app.get(&format!("/video/{id}?gst={token}")).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token is for files");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asked_is_told_of_the_end() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    let receiver = Receiver::start(&[503, 200]).await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let id = upload(&app, &path, &[("callback_url", &receiver.url("/ended"))]).await;
    runner.work_off().await;
    let told = receiver.after(2).await[1].json();
    assert_eq!(
        (&told["video"]["id"], &told["video"]["state"]),
        (&json!(id), &json!("done"))
    );
    assert!(
        told["video"]["master_url"]
            .as_str()
            .unwrap()
            .starts_with(&app.gateway.url())
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_rates_are_as_configured_or_as_asked() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.resolutions = vec![90, 1080];
    })
    .await;
    let path = film(app.folder.path(), "film.mp4", "320x180", 2);
    let id = upload(&app, &path, &[]).await;
    let told = video(&app, &id).await;
    let renditions = told["renditions"].as_array().unwrap();
    assert_eq!(renditions.len(), 1, "not that of the source: {told}");
    app.stop().await;

    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.resolutions = vec![90, 1080];
        config.peertube.always_transcode_original_resolution = true;
    })
    .await;
    let path = film(app.folder.path(), "film.mp4", "320x180", 2);
    let sides = async |more: &[(&str, &str)]| {
        let id = upload(&app, &path, more).await;
        let told = video(&app, &id).await;
        let renditions = told["renditions"].as_array().unwrap().clone();
        let pair = |r: &Value| {
            (
                r["resolution"].as_u64().unwrap(),
                r["fps"].as_u64().unwrap(),
            )
        };
        renditions.iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(sides(&[]).await, [(90, 25), (180, 25)]);
    assert_eq!(
        sides(&[("resolutions", "120, 90"), ("fps", "10")]).await,
        [(90, 10), (120, 10)]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_may_have_a_type_and_parts_any_order() {
    let app = start().await;
    let film = std::fs::read(film(app.folder.path(), "film.mp4", "160x90", 2)).unwrap();
    let tasks = r#"[{"name":"cut","options":{"start":1}}]"#;
    let parts = [
        Part::File("videoFile", "../f.mp4", "video/mp4", &film),
        Part::Typed("name", "text/plain; charset=utf-8", "Ein Film"),
        Part::Typed("tasks", "application/json", tasks),
        Part::Typed("jobs", "text/plain", "studio, hls"),
    ];
    let answer = post_parts(&app, "/videos/upload", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let told = video(&app, answer.json()["video"]["id"].as_str().unwrap()).await;
    assert_eq!(told["name"], "Ein Film");
    let kinds = told["jobs"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|j| j["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["video-studio-transcoding", "vod-hls-transcoding"]);
    app.stop().await;
}
