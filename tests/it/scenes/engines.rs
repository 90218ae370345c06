//! Our own engines encode scenes, and real `aomenc` runs do through the worker protocol.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::film::{film, is_the_film, likeness, small};
use super::worker::*;
use crate::app::TestApp;

pub(crate) fn has_encoder(name: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests ask ffmpeg what it has")]
    let out = Command::new("ffmpeg")
        .args(["-hide_banner", "-encoders"])
        .output()
        .unwrap();
    let has = String::from_utf8_lossy(&out.stdout).contains(name);
    if !has {
        eprintln!("left out: this ffmpeg has no {name}");
    }
    has
}

async fn own_engine() -> TestApp {
    TestApp::with(|c| c.local_engine.patience_seconds = 0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_engine_has_every_encoder() {
    let app = own_engine().await;
    let source = film(app.folder.path(), "film.mkv");
    let encoders = [
        (
            "aom",
            "libaom-av1",
            "--cpu-used=8 --end-usage=q --cq-level=25",
            0.9,
        ),
        (
            "vpx",
            "libvpx-vp9",
            "--cpu-used=8 --end-usage=q --cq-level=25",
            0.9,
        ),
        (
            "vp9",
            "libvpx-vp9",
            "-crf 25 -b:v 0 -deadline good -cpu-used 5",
            0.9,
        ),
        ("svt-av1", "libsvtav1", "--preset 10 --crf 25", 0.9),
        ("rav1e", "librav1e", "--speed 10 --quantizer 60", 0.9),
        ("x265", "libx265", "--preset ultrafast --crf 20", 0.9),
        (
            "x264",
            "libx264",
            "--preset ultrafast --crf 20 --bframes 3",
            0.9,
        ),
    ];
    let there: Vec<_> = encoders.iter().filter(|e| has_encoder(e.1)).collect();
    for (name, _, params, _) in &there {
        let body = json!({"input": ["film.mkv"], "encoder": name, "encoder_params": params, "id": name,
            "max_frames": 100});
        add(&app, body).await;
    }
    for (name, _, _, least) in &there {
        let done = until_status(&app, name, "complete").await;
        let scene = &done["scenes"]["00000"];
        assert_eq!(
            (&scene["state"], &scene["frames"]),
            (&json!("done"), &json!(72)),
            "{scene}"
        );
        assert!(scene["bitrate"].as_u64().unwrap() > 1000, "{scene}");
        eprintln!("{name}: {} bytes", done["size"]);
        is_the_film(&completed(&app, name).await, &source, *least);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quality_is_found_and_told() {
    let app = own_engine().await;
    film(app.folder.path(), "film.mkv");
    let body = json!({"input": ["film.mkv"], "encoder": "x264", "encoder_params": "--preset ultrafast", "id": "q",
        "max_frames": 100, "quality": {"ssim": 0.95}});
    add(&app, body).await;
    let done = until_status(&app, "q", "complete").await;
    for (name, scene) in done["scenes"].as_object().unwrap() {
        let quality = &scene["quality"];
        assert_eq!(quality["metric"], "ssim", "{name}: {scene}");
        let (value, quantiser) = (
            quality["value"].as_f64().unwrap(),
            quality["quantiser"].as_u64().unwrap(),
        );
        assert!(value >= 0.945, "{name}: {scene}");
        // Not simply the best there is: unless even the worst is good enough, it is near the goal.
        assert!(value < 0.985 || quantiser >= 40, "{name}: {scene}");
    }
    // VMAF, or what stands in for it, which is said.
    let body = json!({"input": ["film.mkv"], "encoder": "x264", "encoder_params": "--preset ultrafast", "id": "v",
        "max_frames": 100, "quality": {"vmaf": 80}});
    add(&app, body).await;
    let done = until_status(&app, "v", "complete").await;
    let scene = &done["scenes"]["00000"];
    let metric = scene["quality"]["metric"].as_str().unwrap();
    let notes = scene["notes"].to_string();
    assert!(
        metric == "vmaf" || notes.contains("vmaf 80 was asked for"),
        "{scene}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_that_an_encoder_refuses_stop_the_attempts() {
    let app = own_engine().await;
    small(&app.folder.path().join("small.mkv"), 2, 12);
    for (encoder, params, told) in [
        ("aom", "--no-such-option=1", "no-such-option"),
        ("aom", "-o x.ivf", "encoder_params: o"),
        ("x264", "--preset nonsense", ""),
        ("svt-av1", "--input x", "input"),
    ] {
        let body = json!({"input": ["small.mkv"], "encoder": encoder, "encoder_params": params,
            "min_frames": 12, "max_frames": 12, "id": "bad"});
        add(&app, body).await;
        let failed = until(&app, "bad", |p| p["status"] == "failed").await;
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("scene 0000") && reason.contains(told),
            "{encoder}: {reason}"
        );
        assert!(!reason.contains('/'), "{reason}");
        let bad: Vec<&Value> = failed["scenes"]
            .as_object()
            .unwrap()
            .values()
            .filter(|s| s["bad"].is_string())
            .collect();
        assert!(!bad.is_empty(), "{failed}");
        assert_eq!(bad[0]["attempts"], 1, "{failed}");
        assert!(app.get("/completed/bad").await.status == 404);
        app.post("/api/delete_project/bad", json!({})).await;
    }
    app.stop().await;
}

/// SSIM of one encode of the whole film by the program `name`.
fn single_run(name: &str, params: &str, source: &Path, folder: &Path) -> Vec<f64> {
    let (pipe, log, out) = (
        folder.join("whole.y4m"),
        folder.join("whole.log"),
        folder.join("whole.ivf"),
    );
    crate::app::ffmpeg(&[
        "-i",
        source.to_str().unwrap(),
        "-strict",
        "-1",
        "-pix_fmt",
        "yuv420p",
        "-map",
        "0:v:0",
        "-f",
        "yuv4mpegpipe",
        pipe.to_str().unwrap(),
    ]);
    for pass in ["--pass=1", "--pass=2"] {
        #[expect(
            clippy::disallowed_methods,
            reason = "the encoder beside which scenes are held"
        )]
        let run = Command::new(name)
            .arg(&pipe)
            .args(["--ivf", "--passes=2", "--threads=2", pass])
            .arg(format!("--fpf={}", log.display()))
            .args(params.split(' '))
            .arg("-o")
            .arg(&out)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    likeness(&out, source)
}

/// Encodes with the real program as an unmodified worker does.
fn encode_for_real(name: &str, given: &Given, folder: &Path) -> Vec<u8> {
    let pipe = piped(given, folder);
    let (log, out) = (folder.join("real.log"), folder.join("real.ivf"));
    for pass in ["--pass=1", "--pass=2"] {
        #[expect(clippy::disallowed_methods, reason = "the worker's encoder")]
        let run = Command::new(name)
            .arg(&pipe)
            .args(["--ivf", "--passes=2", "--threads=2", pass])
            .arg(format!("--fpf={}", log.display()))
            .args(given.header("encoder_params").split(' '))
            .arg("-o")
            .arg(&out)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    std::fs::read(out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_encoders_through_the_protocol_are_as_good_as_one_run() {
    let app = TestApp::with(|c| c.local_engine.enabled = false).await;
    let source = film(app.folder.path(), "film.mkv");
    let info = app.get("/api/get_info").await.json();
    for (encoder, program) in [("aom", "aomenc"), ("vpx", "vpxenc")] {
        let Some(version) = info["encoders"][program].as_str() else {
            eprintln!("left out: {program} is not installed");
            continue;
        };
        let params = "--cpu-used=6 --end-usage=q --cq-level=30";
        let body = json!({"input": ["film.mkv"], "encoder": encoder, "encoder_params": params, "id": encoder,
            "max_frames": 100});
        add(&app, body).await;
        until_status(&app, encoder, "ready").await;
        while let Some(given) = get_job(&app, &[]).await {
            assert_eq!(given.header("version"), version);
            let file = encode_for_real(program, &given, app.folder.path());
            assert_eq!(
                deliver(&app, &fields(&given, Generation::Third), &file).await,
                "saved"
            );
        }
        until_status(&app, encoder, "complete").await;
        let made = completed(&app, encoder).await;
        is_the_film(&made, &source, 0.85);
        let whole = single_run(program, params, &source, app.folder.path());
        let parts = likeness(&made, &source);
        for nth in 0..4 {
            let mean = |s: &[f64]| s[nth * 72..(nth + 1) * 72].iter().sum::<f64>() / 72.0;
            let (whole, parts) = (mean(&whole), mean(&parts));
            eprintln!("{encoder} scene {nth}: SSIM {parts:.4} in scenes, {whole:.4} in one run");
            assert!(
                parts > whole - 0.01,
                "{encoder} scene {nth}: {parts} against {whole}"
            );
        }
    }
    app.stop().await;
}
