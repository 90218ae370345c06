//! Who gets a job, who loses it, and what is still heard of it.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::runner::{Part, Runner, film, register};
use super::{
    REGISTRATION, configured, has_ended, is_problem, one_job, registered, start, states, upload,
    video, video_until,
};
use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_accept_one_gets_the_job() {
    let app = start().await;
    one_job(&app).await;
    let mut runners = Vec::new();
    for n in 0..10 {
        runners.push(registered(&app, &format!("runner {n}")).await);
    }
    let uuid = runners[0].offers(None).await[0]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    let answers = join_all(runners.iter().map(|r| r.accept(&uuid))).await;
    let got = answers
        .iter()
        .filter(|a| a.status == StatusCode::OK)
        .count();
    assert_eq!(got, 1);
    for answer in answers.iter().filter(|a| a.status != StatusCode::OK) {
        is_problem(answer, 409, Some("runner_job_not_in_pending_state"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_are_not_all_sent_to_the_same_job() {
    let app = start().await;
    let path = film(app.folder.path(), "film.mp4", "320x180", 2);
    upload(&app, &path, &[]).await;
    let (one, two) = (registered(&app, "one").await, registered(&app, "two").await);
    let first = one.offers(None).await;
    let second = two.offers(None).await;
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_ne!(first[0]["uuid"], second[0]["uuid"]);
    assert_eq!(one.offers(None).await[0]["uuid"], first[0]["uuid"]);
    assert!(one.offers(Some(&["video-transcription"])).await.is_empty());
    assert!(one.offers(Some(&["of-the-future"])).await.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_is_offered_again_and_old_tokens_are_void() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    let first = runner.take("vod-hls-transcoding").await;
    assert_eq!(states(&video(&app, &id).await), [2]);
    assert_eq!(
        runner.update(&first, "40").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(video(&app, &id).await["jobs"][0]["progress"], 40.0);
    assert_eq!(runner.abort(&first).await.status, StatusCode::NO_CONTENT);
    let told = video(&app, &id).await;
    assert_eq!(
        (states(&told), &told["jobs"][0]["failures"]),
        (vec![1], &json!(0))
    );

    let second = runner.take("vod-hls-transcoding").await;
    assert_ne!(first.token, second.token);
    is_problem(&runner.update(&first, "50").await, 404, None);
    is_problem(&runner.error(&first, "late").await, 404, None);
    is_problem(&runner.abort(&first).await, 404, None);
    is_problem(
        &runner
            .fetch(&first, &first.payload["input"]["videoFileUrl"])
            .await,
        404,
        None,
    );
    let other = registered(&app, "two").await;
    is_problem(&other.update(&second, "50").await, 404, None);
    let file = Part::File("payload[videoFile]", "a.mp4", "video/mp4", b"late");
    is_problem(&runner.say(&first, "success", &[file]).await, 404, None);
    assert_eq!(runner.work(&second).await.status, StatusCode::NO_CONTENT);
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(done["state"], "done");
    // What still comes from the holder is harmless.
    assert_eq!(
        runner.update(&second, "100").await.status,
        StatusCode::NO_CONTENT
    );
    let late = runner.say(&second, "success", &[]).await;
    is_problem(&late, 400, Some("runner_job_not_in_processing_state"));
    let late = runner.error(&second, "no").await;
    is_problem(&late, 400, Some("runner_job_not_in_processing_state"));
    assert_eq!(video(&app, &id).await["state"], "done");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fifth_failure_is_the_last() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    // All that ffmpeg wrote.
    let long = "ä".repeat(1_000_000);
    for message in ["", long.as_str(), "a\nb", "four", "five"] {
        let job = runner.take("vod-hls-transcoding").await;
        assert_eq!(
            runner.error(&job, message).await.status,
            StatusCode::NO_CONTENT
        );
        let told = video(&app, &id).await["jobs"][0]["error"].clone();
        let told = told.as_str().unwrap().to_owned();
        assert!(!told.is_empty() && told.chars().count() <= 5000, "{told}");
    }
    let failed = video(&app, &id).await;
    assert_eq!(
        (&failed["state"], states(&failed)),
        (&json!("failed"), vec![4])
    );
    assert_eq!(failed["error"], "vod-hls-transcoding: five");
    assert_eq!(failed["jobs"][0]["failures"], 5);
    // An admin may try it once more.
    let uuid = failed["jobs"][0]["uuid"].as_str().unwrap();
    let again = app
        .post(&format!("/api/v2/jobs/{uuid}/retry"), json!({}))
        .await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    runner.work_off().await;
    assert_eq!(video_until(&app, &id, has_ended).await["state"], "done");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_runner_loses_its_job() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.stalled_after_seconds = 1;
    })
    .await;
    let id = one_job(&app).await;
    let (silent, other) = (
        registered(&app, "silent").await,
        registered(&app, "other").await,
    );
    let job = silent.take("vod-hls-transcoding").await;
    let told = video_until(&app, &id, |v| states(v) == [1]).await;
    assert_eq!(told["jobs"][0]["failures"], 0);
    is_problem(&silent.update(&job, "1").await, 404, None);
    assert_eq!(other.work_off().await.len(), 1);
    assert_eq!(video_until(&app, &id, has_ended).await["state"], "done");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_fails_at_everything_is_left_alone() {
    let app = start().await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let jobs = [("jobs", "transcription,hls")];
    for _ in 0..2 {
        upload(&app, &path, &jobs).await;
    }
    let runner = registered(&app, "without whisper").await;
    let kind = "video-transcription";
    for _ in 0..5 {
        let job = runner.take(kind).await;
        runner.error(&job, "spawn whisper ENOENT").await;
    }
    assert!(runner.offers(Some(&[kind])).await.is_empty());
    assert_eq!(runner.offers(None).await[0]["type"], "vod-hls-transcoding");
    let other = registered(&app, "with whisper").await;
    let job = other.take(kind).await;
    assert_eq!(other.work(&job).await.status, StatusCode::NO_CONTENT);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_whose_results_are_of_no_use_is_left_alone() {
    let app = start().await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let jobs = [("jobs", "web-video")];
    let first = upload(&app, &path, &jobs).await;
    let second = upload(&app, &path, &jobs).await;
    let runner = registered(&app, "broken").await;
    let kind = "vod-web-video-transcoding";
    let part = [Part::File(
        "payload[videoFile]",
        "x.mp4",
        "video/mp4",
        b"no film",
    )];
    for _ in 0..5 {
        let job = runner.take(kind).await;
        let answer = runner.say(&job, "success", &part).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let counted = async {
            loop {
                let states = [
                    states(&video(&app, &first).await),
                    states(&video(&app, &second).await),
                ];
                if states.iter().all(|s| *s != [2] && *s != [9]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(super::SOON, counted).await.unwrap();
    }
    assert!(runner.offers(Some(&[kind])).await.is_empty());
    let other = registered(&app, "whole").await;
    assert!(!other.work_off().await.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_none_counts_as_a_failure() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    let job = runner.take("vod-hls-transcoding").await;
    let missing = runner.say(&job, "success", &[]).await;
    is_problem(&missing, 400, None);
    assert!(missing.text().contains("payload[videoFile]"));
    let parts = [
        Part::File(
            "payload[videoFile]",
            "../../x.mp4",
            "video/mp4",
            b"no film at all",
        ),
        Part::File(
            "payload[resolutionPlaylistFile]",
            "x.m3u8",
            "text/plain",
            b"#EXTM3U\n",
        ),
    ];
    // It is looked at after the answer.
    assert_eq!(
        runner.say(&job, "success", &parts).await.status,
        StatusCode::NO_CONTENT
    );
    let told = video_until(&app, &id, |v| v["jobs"][0]["failures"] == 1).await;
    assert_eq!(states(&told), [1]);
    runner.work_off().await;
    assert_eq!(video_until(&app, &id, has_ended).await["state"], "done");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_runner_did_not_get_whole_frees_its_job() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = start().await;
    // More than what fits between us and the runner.
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(vec![0; 32 << 20]);
    std::fs::write(&path, bytes).unwrap();
    let id = upload(&app, &path, &[]).await;
    let runner = registered(&app, "one").await;
    let job = runner.take("vod-hls-transcoding").await;
    let url = job.payload["input"]["videoFileUrl"].as_str().unwrap();
    let body = json!({"runnerToken": runner.token, "jobToken": job.token}).to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        url.strip_prefix(&runner.base).unwrap(),
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(app.gateway.address())
        .await
        .unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.read_exact(&mut [0; 1000]).await.unwrap();
    drop(socket);
    let told = video_until(&app, &id, |v| states(v) == [1]).await;
    assert_eq!(told["jobs"][0]["failures"], 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_see_and_end_everything() {
    let app = start().await;
    let generate = "/api/v1/runners/registration-tokens/generate";
    assert_eq!(
        app.post(generate, json!({})).await.status,
        StatusCode::NO_CONTENT
    );
    let tokens = app.get("/api/v1/runners/registration-tokens").await.json();
    let token = tokens["data"][0]["registrationToken"].as_str().unwrap();
    assert!(
        token.starts_with("ptrrt-") && tokens["total"] == 1,
        "{tokens}"
    );
    let runner = Runner::register(&app.gateway.url(), token, "one").await;
    let runners = app.get("/api/v1/runners").await.json();
    assert_eq!(
        (&runners["total"], &runners["data"][0]["name"]),
        (&json!(1), &json!("one"))
    );
    let counted = app.get("/api/v1/runners/registration-tokens").await.json();
    assert_eq!(counted["data"][0]["registeredRunnersCount"], 1);

    let id = one_job(&app).await;
    let job = runner.take("vod-hls-transcoding").await;
    let jobs = app
        .get("/api/v1/runners/jobs?start=0&count=5&sort=-createdAt")
        .await
        .json();
    assert_eq!(
        (&jobs["total"], &jobs["data"][0]["uuid"]),
        (&json!(1), &json!(job.uuid))
    );
    assert_eq!(jobs["data"][0]["runner"]["name"], "one");
    let none = app.get("/api/v1/runners/jobs?stateOneOf=1").await.json();
    assert_eq!(none["total"], 0);
    let cancel = format!("/api/v1/runners/jobs/{}/cancel", job.uuid);
    assert_eq!(
        app.post(&cancel, json!({})).await.status,
        StatusCode::NO_CONTENT
    );
    is_problem(&runner.update(&job, "1").await, 404, None);
    // What was withdrawn cannot be completed.
    let file = Part::File("payload[videoFile]", "a.mp4", "video/mp4", b"late");
    is_problem(&runner.say(&job, "success", &[file]).await, 404, None);
    assert_eq!(states(&video(&app, &id).await), [6]);
    let job = format!("/api/v1/runners/jobs/{}", job.uuid);
    assert_eq!(app.delete(&job).await.status, StatusCode::NO_CONTENT);
    is_problem(&app.delete(&job).await, 404, None);
    // Nothing will come of a video without jobs.
    let bare = video(&app, &id).await;
    assert_eq!(bare["state"], "failed");
    assert!(bare["error"].is_string(), "{bare}");

    // Without its token, the runner is gone too.
    let number = counted["data"][0]["id"].to_string();
    let token = format!("/api/v1/runners/registration-tokens/{number}");
    assert_eq!(app.delete(&token).await.status, StatusCode::NO_CONTENT);
    let answer = runner.post("/jobs/request", json!({})).await;
    is_problem(&answer, 404, Some("unknown_runner_token"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_given_in_pages() {
    let app = start().await;
    for name in ["one", "two", "three"] {
        registered(&app, name).await;
        app.post("/api/v1/runners/registration-tokens/generate", json!({}))
            .await;
        one_job(&app).await;
    }
    let list = async |path: &str| app.get(&format!("/api/v1/runners{path}")).await.json();
    let names = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|r| r["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = list("?start=1&count=1&sort=createdAt").await;
    assert_eq!(
        (&page["total"], names(&page)),
        (&json!(3), vec!["two".to_owned()])
    );
    assert_eq!(names(&list("").await), ["three", "two", "one"]);
    let tokens = list("/registration-tokens?count=2").await;
    assert_eq!(
        (&tokens["total"], tokens["data"].as_array().unwrap().len()),
        (&json!(3), 2)
    );
    let runner = registered(&app, "four").await;
    let job = runner.take("vod-hls-transcoding").await;
    let first =
        async |sort: &str| list(&format!("/jobs?count=1&sort={sort}")).await["data"][0].clone();
    assert_eq!(first("-state").await["uuid"], job.uuid);
    assert_eq!(first("-updatedAt").await["uuid"], job.uuid);
    assert_eq!(first("state").await["state"]["id"], 1);
    runner.update(&job, "40").await;
    assert_eq!(first("-progress").await["progress"], 40.0);
    for bad in ["?sort=x", "?count=x", "/jobs?stateOneOf=77"] {
        is_problem(&app.get(&format!("/api/v1/runners{bad}")).await, 400, None);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_leaves_gives_its_jobs_back() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    runner.take("vod-hls-transcoding").await;
    let again = register(
        &runner.base,
        json!({"name": "one", "registrationToken": REGISTRATION}),
    );
    is_problem(&again.await, 400, None);
    let left = runner.post("/unregister", json!({})).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);
    assert_eq!(states(&video(&app, &id).await), [1]);
    let left = runner.post("/unregister", json!({})).await;
    is_problem(&left, 404, Some("unknown_runner_token"));
    registered(&app, "one").await;
    app.stop().await;
}

/// The same gateway again, with what it had.
async fn restarted(app: TestApp) -> TestApp {
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    TestApp::within(folder, configured).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_gateway_begins_anew() {
    let app = start().await;
    let id = one_job(&app).await;
    let mut runner = registered(&app, "one").await;
    let app = restarted(app).await;
    runner = Runner::known(&app.gateway.url(), &runner.token);
    let job = runner.take("vod-hls-transcoding").await;
    let app = restarted(app).await;
    runner = Runner::known(&app.gateway.url(), &runner.token);
    // It has the job still; what it is told to fetch lies at the new address.
    let mut job = job;
    let path = job.payload["input"]["videoFileUrl"].as_str().unwrap();
    let path = path.split("/api/").nth(1).unwrap().to_owned();
    job.payload["input"]["videoFileUrl"] = format!("{}/api/{path}", runner.base).into();
    assert_eq!(runner.work(&job).await.status, StatusCode::NO_CONTENT);
    // It ends before or after what was delivered has been looked at.
    let app = restarted(app).await;
    let done = video_until(&app, &id, has_ended).await;
    assert_eq!(done["state"], "done", "{done}");
    let master = app.get(done["master_url"].as_str().unwrap()).await;
    assert_eq!(master.status, StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(9), app.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_too_long_after_a_restart_is_shortened() {
    // As when a process ends between two steps of taking a delivery.
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.stalled_after_seconds = 3600;
    })
    .await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    runner.take("vod-hls-transcoding").await;
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    let app = TestApp::within(folder, |config| {
        configured(config);
        config.peertube.stalled_after_seconds = 1;
    })
    .await;
    let told = video_until(&app, &id, |v| states(v) == [1]).await;
    assert_eq!(told["jobs"][0]["failures"], 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_have_the_shape_of_the_contract() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    let offer = &runner.offers(None).await[0];
    let uuid = offer["uuid"].as_str().unwrap();
    let file = format!(
        "{}/api/v1/runners/jobs/{uuid}/files/videos/{id}/max-quality",
        runner.base
    );
    let wanted: Value = json!({
        "uuid": uuid,
        "type": "vod-hls-transcoding",
        "payload": {
            "input": {"videoFileUrl": file, "separatedAudioFileUrl": []},
            "output": {"resolution": 90, "fps": 25, "separatedAudio": false},
        },
    });
    assert_eq!(*offer, wanted);
    let job = runner.accept(uuid).await.json()["job"].clone();
    assert_eq!(
        (&job["priority"], &job["failures"]),
        (&json!(100), &json!(0))
    );
    assert_eq!(job["runner"]["name"], "one");
    // Addresses follow the name under which the runner reached us.
    app.stop().await;
}
