//! Live streams: from a runner, and by the gateway itself.

use http::StatusCode;
use serde_json::{Value, json};

use super::runner::{Part, Runner, Taken, film};
use super::{configured, has_ended, is_problem, registered, start, video, video_until};
use crate::app::{Answer, TestApp, ffmpeg};
use crate::file_server::FileServer;
use crate::media::run;

async fn begin(app: &TestApp, source: &str) -> String {
    let answer = app
        .post("/video/live", json!({"source": source, "name": "Now"}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["video"]["id"].as_str().unwrap().to_owned()
}

const MASTER: &str = "#EXTM3U\n#EXT-X-VERSION:6\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"group_Audio\",NAME=\"audio_0\",DEFAULT=YES,URI=\"0.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=160x90,CODECS=\"avc1.42c00b,mp4a.40.2\",AUDIO=\"group_Audio\"\n\
    1.m3u8\n";

pub(super) fn list(variant: u32, first: u32, last: u32) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
    );
    for n in first..=last {
        text.push_str(&format!("#EXTINF:4.000000,\n{variant}-{n:06}.ts\n"));
    }
    text
}

/// As the real runner: fields, then files; the playlists' own names say nothing.
pub(super) async fn add(
    runner: &Runner,
    job: &Taken,
    variant: u32,
    n: u32,
    list: Option<&str>,
) -> Answer {
    let chunk = format!("{variant}-{n:06}.ts");
    let name = format!("{variant}.m3u8");
    let mut parts = vec![
        Part::Text("payload[type]", "add-chunk"),
        Part::Text("payload[videoChunkFilename]", &chunk),
    ];
    if let Some(list) = list {
        let kind = "application/vnd.apple.mpegurl";
        parts.push(Part::Text("payload[resolutionPlaylistFilename]", &name));
        parts.push(Part::File(
            "payload[masterPlaylistFile]",
            "master.m3u8",
            kind,
            MASTER.as_bytes(),
        ));
        parts.push(Part::File(
            "payload[resolutionPlaylistFile]",
            "master.m3u8",
            kind,
            list.as_bytes(),
        ));
    }
    parts.push(Part::File(
        "payload[videoChunkFile]",
        &chunk,
        "video/mp2t",
        chunk.as_bytes(),
    ));
    runner.say(job, "update", &parts).await
}

async fn served(app: &TestApp, id: &str, name: &str) -> String {
    let answer = app.get(&format!("/video/{id}/{name}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
    answer.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_in_any_order_make_a_playlist_that_only_grows() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    let id = begin(&app, "rtmp://127.0.0.1:9/live").await;
    let job = runner.take("live-rtmp-hls-transcoding").await;
    assert_eq!(job.payload["input"]["rtmpUrl"], "rtmp://127.0.0.1:9/live");
    assert_eq!(job.payload["output"]["segmentDuration"], 4);
    let sides: Vec<_> = job.payload["output"]["toTranscode"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        (&sides[0]["resolution"], &sides[1]["resolution"]),
        (&json!(90), &json!(180))
    );
    // The first segments come without playlists.
    assert_eq!(
        add(&runner, &job, 0, 0, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(video(&app, &id).await["master_url"], Value::Null);
    assert_eq!(
        add(&runner, &job, 0, 0, Some(&list(0, 0, 0))).await.status,
        StatusCode::NO_CONTENT
    );
    // The master names a playlist that has not come.
    assert_eq!(video(&app, &id).await["master_url"], Value::Null);
    assert_eq!(
        add(&runner, &job, 1, 0, Some(&list(1, 0, 0))).await.status,
        StatusCode::NO_CONTENT
    );
    // The newer one overtakes the older one.
    assert_eq!(
        add(&runner, &job, 1, 2, Some(&list(1, 0, 2))).await.status,
        StatusCode::NO_CONTENT
    );
    // It names a segment that is still on its way: players must not ask for that.
    let text = served(&app, &id, "1.m3u8").await;
    assert!(text.ends_with("1-000000.ts\n"), "{text}");
    assert_eq!(
        add(&runner, &job, 1, 1, Some(&list(1, 0, 1))).await.status,
        StatusCode::NO_CONTENT
    );
    let text = served(&app, &id, "1.m3u8").await;
    assert!(
        text.contains("1-000002.ts") && !text.contains("ENDLIST"),
        "{text}"
    );
    assert_eq!(served(&app, &id, "1-000001.ts").await, "1-000001.ts");
    let told = video(&app, &id).await;
    assert_eq!(told["state"], "processing");
    let master = app.get(told["master_url"].as_str().unwrap()).await.text();
    assert!(
        master.contains("FRAME-RATE=") && master.contains("URI=\"0.m3u8\""),
        "{master}"
    );
    // A segment that is still listed is not taken away.
    let remove = async |chunk: &str| {
        let parts = [
            Part::Text("payload[type]", "remove-chunk"),
            Part::Text("payload[videoChunkFilename]", chunk),
        ];
        runner.say(&job, "update", &parts).await.status
    };
    assert_eq!(remove("1-000000.ts").await, StatusCode::NO_CONTENT);
    served(&app, &id, "1-000000.ts").await;
    assert_eq!(
        add(&runner, &job, 1, 3, Some(&list(1, 1, 3))).await.status,
        StatusCode::NO_CONTENT
    );
    let gone = app.get(&format!("/video/{id}/1-000000.ts")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    for bad in ["../1-1.ts", "x.ts", "1-1.mp4", ""] {
        let parts = [
            Part::Text("payload[type]", "add-chunk"),
            Part::Text("payload[videoChunkFilename]", bad),
            Part::File("payload[videoChunkFile]", "x", "video/mp2t", b"x"),
        ];
        is_problem(&runner.say(&job, "update", &parts).await, 400, None);
    }
    assert_eq!(
        runner.say(&job, "success", &[]).await.status,
        StatusCode::NO_CONTENT
    );
    let done = video(&app, &id).await;
    assert_eq!(done["state"], "done", "{done}");
    for name in ["0.m3u8", "1.m3u8"] {
        assert!(served(&app, &id, name).await.ends_with("#EXT-X-ENDLIST\n"));
    }
    // What comes late changes nothing.
    assert_eq!(
        add(&runner, &job, 1, 9, Some(&list(1, 1, 9))).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!served(&app, &id, "1.m3u8").await.contains("1-000009.ts"));
    assert_eq!(
        app.delete(&format!("/video/{id}")).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        app.get(&format!("/video/{id}/1.m3u8")).await.status,
        StatusCode::NOT_FOUND
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_stream_ends_with_its_runner() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.live_stalled_after_seconds = 1;
    })
    .await;
    let runner = registered(&app, "one").await;
    let id = begin(&app, "rtmp://127.0.0.1:9/live").await;
    let job = runner.take("live-rtmp-hls-transcoding").await;
    add(&runner, &job, 1, 0, Some(&list(1, 0, 0))).await;
    // It says no more.
    let failed = video_until(&app, &id, has_ended).await;
    assert_eq!(failed["state"], "failed");
    assert!(
        failed["error"].as_str().unwrap().contains("not heard of"),
        "{failed}"
    );
    assert!(
        served(&app, &id, "1.m3u8")
            .await
            .ends_with("#EXT-X-ENDLIST\n")
    );

    // An admin ends one: the runner is told in the words that it understands.
    let id = begin(&app, "rtmp://127.0.0.1:9/live").await;
    let job = runner.take("live-rtmp-hls-transcoding").await;
    let cancel = format!("/api/v1/runners/jobs/{}/cancel", job.uuid);
    assert_eq!(
        app.post(&cancel, json!({})).await.status,
        StatusCode::NO_CONTENT
    );
    let told = add(&runner, &job, 1, 0, Some(&list(1, 0, 0))).await;
    is_problem(&told, 400, Some("runner_job_not_in_processing_state"));
    assert_eq!(
        runner.say(&job, "success", &[]).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(video(&app, &id).await["state"], "failed");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_runner_the_gateway_does_it() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.local_fallback_seconds = Some(0);
        config.peertube.resolutions = vec![90];
    })
    .await;
    let film = film(app.folder.path(), "film.ts", "160x90", 12);
    let served_by = FileServer::start(film.parent().unwrap()).await;
    let id = begin(&app, &served_by.url("/file/film.ts")).await;
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(done["state"], "done", "{done}");
    let (out, _) = run(
        "ffprobe",
        &[
            "-loglevel",
            "error",
            "-show_entries",
            "stream=codec_name,height:format=duration",
            "-of",
            "json",
            done["master_url"].as_str().unwrap(),
        ],
    );
    let found: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(found["streams"].as_array().unwrap().len(), 2, "{found}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_runner_takes_is_done_here_but_for_transcriptions() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.local_fallback_seconds = Some(0);
    })
    .await;
    let at = |name: &str| app.folder.path().join(name);
    let (film, cover, intro) = (
        std::fs::read(film(app.folder.path(), "film.mp4", "160x90", 4)).unwrap(),
        at("cover.jpg"),
        std::fs::read(super::runner::film(
            app.folder.path(),
            "intro.mp4",
            "320x180",
            2,
        ))
        .unwrap(),
    );
    let still = "testsrc2=size=160x90:rate=1:duration=1";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        still,
        "-frames:v",
        "1",
        cover.to_str().unwrap(),
    ]);
    let cover = std::fs::read(cover).unwrap();
    let tasks = json!([
        {"name": "cut", "options": {"start": 1, "end": 3}},
        {"name": "add-intro", "options": {"file": "intro"}},
        {"name": "add-outro", "options": {"file": "outro"}},
        {"name": "add-watermark", "options": {"file": "mark"}},
    ]);
    let tasks = tasks.to_string();
    let parts = [
        Part::File("videoFile", "f.mp4", "video/mp4", &film),
        Part::File("previewFile", "c.jpg", "image/jpeg", &cover),
        Part::File("intro", "i.mp4", "video/mp4", &intro),
        Part::File("outro", "o.mp4", "video/mp4", &intro),
        Part::File("mark", "m.jpg", "image/jpeg", &cover),
        Part::Text("jobs", "hls,web-video,audio-merge,studio,storyboard"),
        Part::Text("tasks", &tasks),
    ];
    let answer = super::post_parts(&app, "/video/upload", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let id = answer.json()["video"]["id"].as_str().unwrap().to_owned();
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(done["state"], "done", "{done}");
    for (kind, seconds) in [
        ("hls", 4.0),
        ("web-video", 4.0),
        ("audio-merge", 4.0),
        ("studio", 6.0),
    ] {
        let renditions = done["renditions"].as_array().unwrap();
        let url = renditions.iter().find(|r| r["kind"] == kind).unwrap()["url"].clone();
        let args = [
            "-loglevel",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ];
        let (out, _) = run("ffprobe", &[&args[..], &[url.as_str().unwrap()]].concat());
        let length: f64 = String::from_utf8(out).unwrap().trim().parse().unwrap();
        assert!((length - seconds).abs() < 0.3, "{kind}: {length}");
    }
    assert!(done["storyboard_url"].is_string());
    assert!(
        app.get(done["master_url"].as_str().unwrap())
            .await
            .text()
            .contains("avc1.")
    );

    let path = super::runner::film(app.folder.path(), "spoken.mp4", "160x90", 2);
    let id = super::upload(&app, &path, &[("jobs", "transcription")]).await;
    let told = video_until(&app, &id, |v| v["jobs"][0]["error"].is_string()).await;
    assert_eq!(told["state"], "pending");
    assert!(
        told["jobs"][0]["error"]
            .as_str()
            .unwrap()
            .contains("cannot transcribe"),
        "{told}"
    );
    app.stop().await;
}
