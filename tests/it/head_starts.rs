//! Encoders that run while their source is still being looked at.

use std::time::Duration;

use serde_json::json;

use crate::app::{TestApp, shared_media};
use crate::fake::{FakeFfmpeg, eventually};
use crate::media::{make, packet_times, pictures, sweeps};

async fn faked(fake: &FakeFfmpeg) -> TestApp {
    TestApp::with(|c| fake.use_in(c)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoders_of_plain_sources_have_a_head_start() {
    let fake = FakeFfmpeg::new();
    let app = faked(&fake).await;
    let folder = app.folder.path();
    let late = format!("-itsoffset 0.4|{}", pictures("25", 5.0));
    let both = |rate: &str, sound| [pictures(rate, 5.0), sweeps(sound, 5.0)];
    let h264 = "-c:v libx264 -g 50 -c:a aac";
    let clips = [
        ("25.mp4", both("25", 48000), h264),
        ("23.976.mp4", both("24000/1001", 44100), h264),
        ("29.97.mkv", both("30000/1001", 48000), h264),
        ("25.mkv", both("25", 44100), h264),
        ("late.mp4", [late.clone(), sweeps(48000, 5.0)], h264),
        ("late.mkv", [late, sweeps(48000, 5.0)], h264),
        (
            "vp9.webm",
            both("30", 48000),
            "-c:v libvpx-vp9 -b:v 1M -deadline realtime -cpu-used 8 -g 50 -c:a libopus",
        ),
    ];
    let mut sources = Vec::new();
    for (name, inputs, options) in &clips {
        make(folder, name, &[&inputs[0], &inputs[1]], options);
        sources.push((*name).to_owned());
    }
    if let Some(media) = shared_media() {
        let film = media.join("plain/sintel_trailer-720p.mp4");
        sources.push(film.to_str().unwrap().to_owned());
    }
    let registry = app.gateway.registry();
    for source in sources {
        let before = (registry.head_starts(), fake.runs().len());
        let job = app.stream(&source, json!({})).await;
        app.file(&job, "segment_00000.ts").await;
        let after = (registry.head_starts(), fake.runs().len());
        assert_eq!(after, (before.0 + 2, before.1 + 2), "{source}");
        app.delete(&format!("/api/transcode/{job}")).await;
        fake.all_ended(Duration::from_secs(5)).await;
    }
    app.stop().await;
}

/// The header of an MP4 does not say that its pictures are interlaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_guessed_wrong_is_ended_and_never_shown() {
    let fake = FakeFfmpeg::new();
    let app = faked(&fake).await;
    let folder = app.folder.path();
    let inputs = [pictures("25", 5.0), sweeps(48000, 5.0)];
    let options = "-c:v libx264 -x264-params tff=1 -flags +ildct+ilme -s 160x96 -c:a aac";
    make(folder, "fields.mp4", &[&inputs[0], &inputs[1]], options);
    let job = app.stream("fields.mp4", json!({})).await;
    let first = folder.join("first.ts");
    std::fs::write(&first, app.file(&job, "segment_00000.ts").await).unwrap();
    assert_eq!(packet_times(&first, "v:0").len(), 25);
    // The sound was as guessed, the pictures were not.
    assert_eq!(app.gateway.registry().head_starts(), 1);
    assert_eq!(fake.runs().len(), 3);
    let two = || fake.alive().len() <= 2;
    eventually(Duration::from_secs(5), "the guess lives on", two).await;
    app.delete(&format!("/api/transcode/{job}")).await;
    fake.all_ended(Duration::from_secs(5)).await;
    app.stop().await;
}

/// A job that is deleted while its source is looked at leaves no encoder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_start_ends_with_its_job() {
    let fake = FakeFfmpeg::new();
    let app = faked(&fake).await;
    let folder = app.folder.path();
    let inputs = [pictures("25", 60.0), sweeps(48000, 60.0)];
    let options = "-c:v libx264 -preset ultrafast -g 50 -c:a aac";
    make(folder, "film.mp4", &[&inputs[0], &inputs[1]], options);
    for pause in [0, 20, 60, 150] {
        // A source of which nothing is known yet.
        let name = format!("{pause}.mp4");
        std::fs::hard_link(folder.join("film.mp4"), folder.join(&name)).unwrap();
        let job = app.stream(&name, json!({})).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        app.delete(&format!("/api/transcode/{job}")).await;
        fake.all_ended(Duration::from_secs(5)).await;
    }
    app.stop().await;
}
