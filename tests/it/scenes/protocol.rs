//! The way of a film through the worker protocol.

use http::StatusCode;
use serde_json::json;

use super::film::{film, is_the_film, probed, small};
use super::worker::*;
use crate::app::{TestApp, ffmpeg};

const PARAMS: &str = "--cpu-used=6 --end-usage=q --cq-level=25";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_goes_to_workers_of_both_generations_and_comes_back_whole() {
    let app = server(|_| {}).await;
    let source = film(app.folder.path(), "film.mkv");
    let body = json!({"input": ["film.mkv"], "encoder": "aom", "encoder_params": PARAMS, "id": "p1",
        "min_frames": 24, "max_frames": -1});
    add(&app, body).await;
    let ready = until_status(&app, "p1", "ready").await;
    assert_eq!(
        (&ready["total_frames"], &ready["jobs"], &ready["total_jobs"]),
        (&json!(288), &json!(4), &json!(4))
    );
    let starts = ["00000", "00001", "00002", "00003"].map(|s| {
        let scene = &ready["scenes"][s];
        assert_eq!(
            (&scene["frames"], &scene["filesize"]),
            (&json!(72), &json!(0)),
            "{scene}"
        );
        scene["start"].as_u64().unwrap()
    });
    assert_eq!(starts, [0, 72, 144, 216]);
    // The second worker is of the first generation.
    let one = get_job(&app, &[]).await.unwrap();
    let two = get_job(&app, &[]).await.unwrap();
    assert_ne!(one.scene, two.scene);
    assert_eq!(one.header("encoder_params"), PARAMS);
    assert_eq!(
        (
            one.header("version").as_str(),
            one.header("ffmpeg_params").as_str()
        ),
        (VERSION, "")
    );
    assert!(one.id.starts_with("127.0.0.1:"), "{}", one.id);
    check_segment(&one, app.folder.path(), 24_000.0 / 1001.0);
    let held = project(&app, "p1").await;
    let mut scenes = vec![one.scene.clone(), two.scene.clone()];
    scenes.sort();
    assert_eq!(held["workers"], json!(scenes));
    // Both came from this machine.
    let seen = app.get("/api/v2/scene-workers").await.json();
    let held: Vec<_> = scenes
        .iter()
        .map(|scene| json!({"project": "p1", "scene": scene}))
        .collect();
    assert_eq!(seen["workers"].as_array().unwrap().len(), 1, "{seen}");
    let worker = &seen["workers"][0];
    assert_eq!(
        (&worker["ip"], &worker["scenes"]),
        (&json!("127.0.0.1"), &json!(held))
    );
    assert!(worker["last_contact_seconds"].is_number(), "{worker}");
    let third = fields(&one, Generation::Third);
    let file = encode(&one, app.folder.path());
    assert_eq!(deliver(&app, &third, &file).await, "saved");
    assert_eq!(deliver(&app, &third, &file).await, "saved", "a duplicate");
    let first = fields(&two, Generation::First);
    assert_eq!(
        deliver(&app, &first, &encode(&two, app.folder.path())).await,
        "saved"
    );
    assert_eq!(work(&app, app.folder.path(), Generation::Third).await, 2);
    let done = until_status(&app, "p1", "complete").await;
    assert_eq!(
        (&done["jobs"], &done["frames"], &done["workers"]),
        (&json!(0), &json!(288), &json!([]))
    );
    let sizes = done["scenes"].as_object().unwrap().values();
    let size: u64 = sizes.map(|s| s["filesize"].as_u64().unwrap()).sum();
    assert_eq!(done["size"], size);
    is_the_film(&completed(&app, "p1").await, &source, 0.9);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_text_and_chapters_are_put_back() {
    let app = server(|_| {}).await;
    let source = film(app.folder.path(), "film.mkv");
    for (id, action) in [
        ("mkv", "merge"),
        ("mp4", "merge-mp4"),
        ("webm", "merge-webm"),
    ] {
        let body = json!({"input": ["film.mkv"], "encoder": "vpx", "encoder_params": "--cpu-used=5",
            "id": id, "max_frames": 100, "on_complete": action});
        add(&app, body).await;
        until_status(&app, id, "ready").await;
        assert_eq!(work(&app, app.folder.path(), Generation::Third).await, 4);
        until_status(&app, id, "complete").await;
        let made = completed(&app, id).await;
        is_the_film(&made, &source, 0.85);
        let found = probed(&made, &["-show_streams", "-show_chapters", "-show_format"]);
        let kinds: Vec<_> = found["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| &s["codec_type"])
            .collect();
        assert!(
            kinds.contains(&&json!("audio")) && kinds.contains(&&json!("subtitle")),
            "{id}: {kinds:?}"
        );
        assert_eq!(found["chapters"].as_array().unwrap().len(), 2, "{id}");
        assert!(
            found["format"]["format_name"]
                .as_str()
                .unwrap()
                .contains(&id[..2])
                || id == "mkv"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_keep_their_own_times() {
    let app = server(|_| {}).await;
    // Two rates in one film, and a beginning that is not 0.
    let source = app.folder.path().join("varies.mkv");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x90:r=25:d=4",
        "-vf",
        "select='lt(n\\,50)+not(mod(n\\,2))',setpts=PTS+1/TB",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-g",
        "25",
        source.to_str().unwrap(),
    ]);
    let body = json!({"input": [source], "encoder": "aom", "encoder_params": PARAMS, "id": "v", "max_frames": 30,
        "min_frames": 5});
    add(&app, body).await;
    until_status(&app, "v", "ready").await;
    work(&app, app.folder.path(), Generation::Third).await;
    until_status(&app, "v", "complete").await;
    let made = completed(&app, "v").await;
    let (times, mut wanted) = (
        super::film::picture_times(&made),
        super::film::picture_times(&source),
    );
    let first = wanted[0];
    wanted.iter_mut().for_each(|t| *t -= first);
    assert_eq!(times.len(), 75);
    for (time, wanted) in times.iter().zip(&wanted) {
        assert!((time - wanted).abs() < 0.0021, "{time} s, not {wanted} s");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_worker_loses_its_scene_and_one_that_speaks_keeps_it() {
    let app = server(|c| c.grav1.lease_seconds = 2).await;
    small(&app.folder.path().join("small.mkv"), 2, 12);
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": PARAMS, "id": "s",
        "min_frames": 12, "max_frames": 12});
    add(&app, body).await;
    until_status(&app, "s", "ready").await;
    let speaks = get_job(&app, &[]).await.unwrap();
    let silent = get_job(&app, &[]).await.unwrap();
    assert_ne!(speaks.scene, silent.scene);
    // All are taken: a third gets the one with the fewest holders, but nobody gets what it has.
    assert!(get_job(&app, &[&speaks, &silent]).await.is_none());
    let wanted = json!([speaks.scene]);
    loop {
        // It asks, and says what it has.
        assert!(get_job(&app, &[&speaks, &silent]).await.is_none());
        let now = project(&app, "s").await;
        if now["workers"].as_array().unwrap().len() == 2 {
            break;
        }
    }
    let kept = async {
        loop {
            let other = json!([{"projectid": "s", "scene": speaks.scene}]).to_string();
            let other = other
                .replace('[', "%5B")
                .replace(']', "%5D")
                .replace('{', "%7B");
            let other = other.replace('}', "%7D").replace('"', "%22");
            let path = format!("/api/get_job/{other}");
            let now = project(&app, "s").await;
            if now["workers"] == wanted {
                return;
            }
            // A poll that would take the other scene: given back at once.
            let answer = app.get(&path).await;
            if answer.status == StatusCode::OK {
                let worker = answer.headers["id"].to_str().unwrap();
                let form = format!("client={worker}&scene={}&projectid=s", silent.scene);
                let kind = [("content-type", "application/x-www-form-urlencoded")];
                let given_back = app
                    .request(http::Method::POST, "/cancel_job", &kind, form.into())
                    .await;
                assert_eq!(given_back.text(), "saved");
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LIMIT, kept)
        .await
        .expect("the silent worker is forgotten, the other is not");
    // Its encode is still taken.
    let late = encode(&silent, app.folder.path());
    assert_eq!(
        deliver(&app, &fields(&silent, Generation::Third), &late).await,
        "saved"
    );
    app.stop().await;
}

async fn order(app: &TestApp, count: usize) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for _ in 0..count {
        let refs: Vec<&Given> = held.iter().collect();
        let given = get_job(app, &refs).await.unwrap();
        held.push(given);
    }
    held.into_iter().map(|g| (g.project, g.scene)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenes_come_by_priority_and_size() {
    let app = server(|_| {}).await;
    let film = app.folder.path().join("f.mkv");
    // 30 pictures, then 50.
    let luma = "geq=lum='if(lt(N\\,30)\\,30\\,200)':cb=128:cr=128";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x36:r=25",
        "-vf",
        luma,
        "-frames:v",
        "80",
        "-c:v",
        "libx264",
        film.to_str().unwrap(),
    ]);
    for (id, priority) in [("late", json!(1.5)), ("soon", json!(1.25))] {
        let body = json!({"input": ["f.mkv"], "encoder": "aom", "encoder_params": "", "id": id,
            "priority": priority});
        add(&app, body).await;
        until_status(&app, id, "ready").await;
    }
    let pair = |p: &str, s: &str| (p.to_owned(), s.to_owned());
    let got = order(&app, 4).await;
    assert_eq!(
        got,
        [
            pair("soon", "00001"),
            pair("soon", "00000"),
            pair("late", "00001"),
            pair("late", "00000")
        ]
    );
    let body = json!({"priority": -1});
    assert_eq!(
        app.post("/api/modify/late", body).await.json(),
        json!({"success": true})
    );
    assert_eq!(project(&app, "late").await["priority"], -1);
    assert_eq!(get_job(&app, &[]).await.unwrap().project, "late");
    app.stop().await;
}
