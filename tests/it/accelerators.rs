//! Graphics processors, played by a fake ffmpeg.

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::fake::FakeFfmpeg;
use crate::media::{make, pictures, run, sweeps};

const SECONDS: f64 = 12.0;

async fn gateway(fake: &FakeFfmpeg, prefer: bool, fall_back: bool) -> TestApp {
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.hardware.prefer_hw_accel = prefer;
        c.hardware.fallback_to_software = fall_back;
    })
    .await;
    let inputs = [pictures("25", SECONDS), sweeps(48000, SECONDS)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    make(
        app.folder.path(),
        "film.mkv",
        &inputs,
        "-c:v libx264 -g 50 -c:a aac",
    );
    app
}

/// Plays the whole film and gives its pictures as ffprobe sees them.
async fn play(app: &TestApp, job: &str) -> Vec<u8> {
    let list = app.file(job, "master.m3u8").await;
    let list = String::from_utf8_lossy(&list).into_owned();
    let mut film = Vec::new();
    for name in list.lines().filter(|l| l.ends_with(".ts")) {
        film.extend(app.file(job, name).await);
    }
    film
}

fn assert_all_pictures(app: &TestApp, film: &[u8]) {
    let file = app.folder.path().join("played.ts");
    std::fs::write(&file, film).unwrap();
    let args = [
        "-loglevel",
        "warning",
        "-i",
        file.to_str().unwrap(),
        "-map",
        "0:v",
        "-f",
        "framemd5",
        "-",
    ];
    let (out, log) = run("ffmpeg", &args);
    assert_eq!(log, "", "the decoder complains");
    let text = String::from_utf8(out).unwrap();
    let frames: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(frames.len(), (SECONDS * 25.0) as usize);
    let mut sums: Vec<&str> = frames
        .iter()
        .map(|f| f.rsplit(' ').next().unwrap())
        .collect();
    sums.sort();
    sums.dedup();
    assert!(sums.len() > frames.len() - 5, "pictures are there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_accelerator_that_works_is_found_and_used() {
    for name in ["nvenc", "qsv", "vaapi", "amf", "videotoolbox"] {
        let fake = FakeFfmpeg::new();
        fake.set_hardware(name);
        let app = gateway(&fake, true, true).await;
        let told = app.get("/api/capabilities").await.json();
        let accels = told["hw_accels"].as_array().unwrap();
        let available = |a: &&Value| a["available"] == true;
        let names: Vec<&str> = accels
            .iter()
            .filter(available)
            .map(|a| a["type"].as_str().unwrap())
            .collect();
        assert_eq!(names, [name, "software"], "{told}");
        let encoders = accels.iter().find(|a| a["type"] == name).unwrap()["encoders"].to_string();
        assert!(encoders.contains(&format!("h264_{name}")), "{encoders}");
        let job = app.stream("film.mkv", json!({})).await;
        assert_all_pictures(&app, &play(&app, &job).await);
        assert_eq!(app.status(&job).await["hw_accel_used"], name);
        // Who asks for software gets it.
        let job = app
            .stream("film.mkv", json!({"hw_accel": "software"}))
            .await;
        app.file(&job, "segment_00000.ts").await;
        assert_eq!(app.status(&job).await["hw_accel_used"], "software");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_is_not_there_is_told_and_stood_in_for() {
    let fake = FakeFfmpeg::new();
    let app = gateway(&fake, true, true).await;
    let told = app.get("/api/capabilities").await.json();
    let accels = told["hw_accels"].as_array().unwrap();
    assert_eq!(accels.len(), 6, "{told}");
    for accel in accels.iter().filter(|a| a["type"] != "software") {
        assert_eq!(
            (&accel["available"], &accel["encoders"]),
            (&json!(false), &json!([]))
        );
        assert!(
            accel["reason"].as_str().is_some_and(|r| !r.is_empty()),
            "{accel}"
        );
    }
    let job = app.stream("film.mkv", json!({"hw_accel": "nvenc"})).await;
    app.file(&job, "segment_00000.ts").await;
    assert_eq!(app.status(&job).await["hw_accel_used"], "software");
    app.stop().await;

    let strict = gateway(&fake, true, false).await;
    let body = json!({"source": "film.mkv", "output": {"hw_accel": "nvenc"}});
    let answer = strict.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("nvenc"), "{}", answer.text());
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_is_not_preferred_is_used_when_it_is_named() {
    let fake = FakeFfmpeg::new();
    fake.set_hardware("vaapi");
    let app = gateway(&fake, false, true).await;
    let job = app.stream("film.mkv", json!({})).await;
    app.file(&job, "segment_00000.ts").await;
    assert_eq!(app.status(&job).await["hw_accel_used"], "software");
    let job = app.stream("film.mkv", json!({"hw_accel": "vaapi"})).await;
    app.file(&job, "segment_00000.ts").await;
    assert_eq!(app.status(&job).await["hw_accel_used"], "vaapi");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_fails_in_mid_stream_is_replaced_without_a_gap_and_rests() {
    let fake = FakeFfmpeg::with("encoder=nvenc die=60000\n");
    fake.set_hardware("nvenc");
    let app = gateway(&fake, true, true).await;
    let job = app.stream("film.mkv", json!({})).await;
    assert_all_pictures(&app, &play(&app, &job).await);
    assert_eq!(app.status(&job).await["hw_accel_used"], "software");
    // Another stream does not even try.
    fake.set("encoder=nvenc error=it_should_rest\n");
    let job = app
        .stream("film.mkv", json!({"resolution": "360p", "bitrate": "300k"}))
        .await;
    app.file(&job, "segment_00000.ts").await;
    let status = app.status(&job).await;
    assert_eq!(status["hw_accel_used"], "software", "{status}");
    let told = app.get("/api/capabilities").await.json();
    assert_eq!(told["hw_accels"][0]["available"], false, "{told}");
    assert!(
        told["hw_accels"][0]["reason"].to_string().contains("rests"),
        "{told}"
    );
    app.stop().await;
}

/// A driver that passes its test and takes no film: the request that meets it is answered by software.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_fails_at_once_is_replaced_unnoticed() {
    for how in ["error=device_lost", "die=0", "garbage=1000"] {
        let fake = FakeFfmpeg::with(&format!("encoder=nvenc {how}\n"));
        fake.set_hardware("nvenc");
        let app = gateway(&fake, true, true).await;
        let job = app.stream("film.mkv", json!({})).await;
        assert_all_pictures(&app, &play(&app, &job).await);
        let status = app.status(&job).await;
        assert_eq!(status["hw_accel_used"], "software", "{how}: {status}");
        let tried = fake.commands().iter().any(|c| c.contains("h264_nvenc"));
        assert!(tried, "{how}: {:?}", fake.commands());
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_presets_of_hardware_are_obeyed() {
    let cases = [
        ("nvenc", "-preset p7"),
        ("qsv", "-preset veryslow"),
        ("videotoolbox", "-realtime 1"),
        ("vaapi", "-vaapi_device /dev/dri/renderD129"),
    ];
    for (accelerator, wanted) in cases {
        let fake = FakeFfmpeg::new();
        fake.set_hardware(accelerator);
        let app = TestApp::with(|c| {
            fake.use_in(c);
            c.hardware.prefer_hw_accel = true;
            c.hardware.nvenc_preset = "p7".into();
            c.hardware.qsv_preset = "veryslow".into();
            c.hardware.videotoolbox_preset = "veryfast".into();
            c.hardware.vaapi_device = "/dev/dri/renderD129".into();
        })
        .await;
        make(
            app.folder.path(),
            "film.mkv",
            &[&pictures("25", 2.0)],
            "-c:v libx264",
        );
        let job = app.stream("film.mkv", json!({})).await;
        app.file(&job, "segment_00000.ts").await;
        let commands = fake.commands();
        let encoder = format!("-c:v h264_{accelerator}");
        let obeyed = |c: &String| c.contains(&encoder) && c.contains(wanted);
        assert!(commands.iter().any(obeyed), "{commands:?}");
        app.stop().await;
    }
}

/// Not every machine lacks hardware: whatever is found here must make pictures that are right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_machine_plays_with_what_it_has() {
    let app = TestApp::with(|c| c.hardware.prefer_hw_accel = true).await;
    let inputs = [pictures("25", SECONDS), sweeps(48000, SECONDS)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    make(
        app.folder.path(),
        "film.mkv",
        &inputs,
        "-c:v libx264 -g 50 -c:a aac",
    );
    let job = app.stream("film.mkv", json!({})).await;
    assert_all_pictures(&app, &play(&app, &job).await);
    let used = app.status(&job).await["hw_accel_used"].to_string();
    eprintln!("encoded by {used}");
    app.stop().await;
}
