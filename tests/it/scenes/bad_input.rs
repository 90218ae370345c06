//! Everything that can be wrong with a request or an upload.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::film::small;
use super::worker::*;
use crate::app::TestApp;

fn changed(
    fields: &[(&'static str, String)],
    name: &str,
    value: &str,
) -> Vec<(&'static str, String)> {
    let change = |(n, v): &(&'static str, String)| match *n == name {
        true => (*n, value.to_owned()),
        false => (*n, v.clone()),
    };
    fields.iter().map(change).collect()
}

async fn refused(app: &TestApp, body: Value) -> String {
    let answer = app.post("/api/add_project", body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["success"], false, "{}", answer.text());
    answer.json()["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_are_refused_in_grav1s_words() {
    let app = server(|c| c.grav1.password = Some("open sesame".into())).await;
    small(&app.folder.path().join("small.mkv"), 1, 12);
    std::os::unix::fs::symlink("/etc/hostname", app.folder.path().join("link.mkv")).unwrap();
    let base = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "", "id": "p",
        "password": "open sesame"});
    let with = |field: &str, value: Value| {
        let mut body = base.clone();
        body[field] = value;
        body
    };
    assert_eq!(
        refused(&app, with("password", json!("wrong"))).await,
        "Bad password."
    );
    let mut without = base.clone();
    without.as_object_mut().unwrap().remove("password");
    assert_eq!(refused(&app, without).await, "Bad password.");
    for outside in [
        "/etc/passwd",
        "../../etc/passwd",
        "link.mkv",
        "nothing.mkv",
        "file:///etc/passwd",
    ] {
        let told = refused(&app, with("input", json!([outside]))).await;
        assert_eq!(told, format!("Input files not found: {outside}"));
    }
    let told = refused(&app, with("input", json!(["a", "small.mkv", "b"]))).await;
    assert_eq!(told, "Input files not found: a,b");
    let told = refused(&app, json!({"password": "open sesame"})).await;
    assert_eq!(told, "Missing fields input,encoder,encoder_params");
    assert!(
        refused(&app, with("encoder", json!("x266")))
            .await
            .contains("x266")
    );
    add(&app, base.clone()).await;
    assert_eq!(
        refused(&app, base.clone()).await,
        "Project with id p already exist"
    );
    let two = with("input", json!(["small.mkv", "small.mkv"]));
    add(&app, two.clone()).await;
    assert_eq!(
        refused(&app, two).await,
        "Project with ids p01,p02 already exist"
    );
    let plain = app
        .request(
            Method::POST,
            "/api/add_project",
            &[],
            base.to_string().into(),
        )
        .await;
    assert_eq!(plain.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let kind = [("content-type", "application/json")];
    let broken = app
        .request(
            Method::POST,
            "/api/add_project",
            &kind,
            Bytes::from_static(b"{"),
        )
        .await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    for path in [
        "/api/modify/none",
        "/api/modify_project/none",
        "/api/delete_project/none",
    ] {
        let answer = app.post(path, json!({"password": "open sesame"})).await;
        let wanted = json!({"success": false, "reason": "Project does not exist."});
        assert_eq!(answer.json(), wanted);
        let answer = app.post(path, json!({})).await;
        assert_eq!(answer.json()["reason"], "Bad password.");
    }
    let answer = app
        .post(
            "/api/modify/p",
            json!({"password": "open sesame", "priority": "x"}),
        )
        .await;
    assert_eq!(answer.json()["reason"], "priority must be a number");
    for (path, status) in [
        ("/api/get_project/none", 404),
        ("/completed/none", 404),
        ("/scene/none/00000", 404),
        ("/scene/p/99999", 404),
        ("/scene/p/x", 404),
        ("/api/is_job/none/00000", 404),
        ("/api/is_job/p/00077", 404),
        ("/api/get_grain/p/00000", 404),
        ("/api/get_job/nonsense", 400),
        ("/api/get_job/%7B%7D", 400),
    ] {
        assert_eq!(app.get(path).await.status.as_u16(), status, "{path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_encoder_that_is_named_is_taken() {
    let ours = "AOMedia Project AV1 Encoder of our own";
    let app = server(|c| c.grav1.encoder_versions.aom = Some(ours.into())).await;
    small(&app.folder.path().join("small.mkv"), 1, 12);
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "p"});
    add(&app, body).await;
    until_status(&app, "p", "ready").await;
    let given = get_job(&app, &[]).await.unwrap();
    assert_eq!(given.header("version"), ours);
    let whole = fields(&given, Generation::Third);
    let other = changed(&whole, "version", VERSION);
    assert_eq!(deliver(&app, &other, b"x").await, "bad encoder version");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_refused_in_grav1s_words_and_counted() {
    let app = server(|c| c.grav1.max_attempts = 3).await;
    small(&app.folder.path().join("small.mkv"), 2, 12);
    for id in ["p", "other"] {
        let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": id,
            "min_frames": 12, "max_frames": 12});
        add(&app, body).await;
        until_status(&app, id, "ready").await;
    }
    let given = get_job(&app, &[]).await.unwrap();
    assert_eq!(given.project, "p");
    let good = encode(&given, app.folder.path());
    let whole = fields(&given, Generation::Third);
    // Neither version nor parameters count.
    for (field, value, word) in [
        (
            "version",
            "AOMedia Project AV1 Encoder v1.0.0",
            "bad encoder version",
        ),
        ("projectid", "none", "project not found"),
        ("scene", "00077", "job not found"),
        ("scene", "nonsense", "job not found"),
        ("encoder", "vpx", "bad params"),
        ("encoder_params", "--cpu-used=1", "bad params"),
        ("ffmpeg_params", "-vf null", "bad params"),
        ("grain", "1", "bad params"),
        ("encoder_params", "", "bad params"),
    ] {
        let said = deliver(&app, &changed(&whole, field, value), &good).await;
        assert_eq!(said, word, "{field}={value}");
    }
    let now = project(&app, "p").await;
    assert_eq!(now["scenes"][&given.scene]["attempts"], 0, "{now}");
    assert_eq!(
        now["workers"],
        json!([]),
        "whoever is refused holds it no more"
    );
    // A file for a scene of another length, one that is cut off, one that is nothing: each counts.
    let short = {
        let mut short = given.clone();
        short.answer.headers.insert("frames", "7".parse().unwrap());
        encode(&short, app.folder.path())
    };
    let first = fields(&given, Generation::First);
    assert_eq!(deliver(&app, &first, &short).await, "bad framecount");
    let cut = &good[..good.len() - 20];
    let word = deliver(&app, &whole, cut).await;
    assert!(word == "bad encode" || word == "frame mismatch", "{word}");
    let now = project(&app, "p").await;
    assert_eq!(now["scenes"][&given.scene]["attempts"], 2, "{now}");
    assert_eq!(deliver(&app, &whole, b"").await, "bad upload");
    // Given up: no more dispatch, the project says why.
    let failed = until(&app, "p", |p| p["status"] == "failed").await;
    let bad = failed["scenes"][&given.scene]["bad"].as_str().unwrap();
    assert!(failed["reason"].as_str().unwrap().contains(bad), "{failed}");
    assert_eq!(app.get("/completed/p").await.status, StatusCode::NOT_FOUND);
    while let Some(next) = get_job(&app, &[]).await {
        assert!(next.project != "p" || next.scene != given.scene);
        if next.project == "other" {
            break;
        }
    }
    // Its own id is not good for another project.
    let foreign = changed(&whole, "projectid", "other");
    let garbage = deliver(&app, &foreign, b"DKIF nothing of the kind").await;
    assert_eq!(garbage, "bad encode");
    // Encoded once more on request, it ends well.
    let path = format!("/api/v2/projects/p/scenes/{}/retry", given.scene);
    let answer = app.post(&path, json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(deliver(&app, &whole, &good).await, "saved");
    app.post("/api/delete_project/other", json!({})).await;
    work(&app, app.folder.path(), Generation::Third).await;
    until_status(&app, "p", "complete").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_are_no_forms_and_paths_of_20_kb() {
    let app = server(|_| {}).await;
    let answer = app
        .request(Method::POST, "/finish_job", &[], Bytes::from_static(b"x"))
        .await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    let cut = "--b\r\nContent-Disposition: form-data; name=\"scene\"\r\n\r\n0000";
    let answer = app
        .request(Method::POST, "/finish_job", &kind, cut.into())
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let held: Vec<Value> = (0..420)
        .map(|n| json!({"projectid": "p", "scene": format!("{n:05}")}))
        .collect();
    let jobs = Value::from(held).to_string();
    let jobs = jobs
        .replace('"', "%22")
        .replace('{', "%7B")
        .replace('}', "%7D");
    let path = format!(
        "/api/get_job/{}",
        jobs.replace('[', "%5B").replace(']', "%5D")
    );
    assert!(path.len() > 20_000, "{}", path.len());
    assert_eq!(app.get(&path).await.status, StatusCode::NOT_FOUND);
    // As a worker whose address of the gateway ends in a slash.
    let slash = app
        .get(&format!("{}//api/get_projects", app.gateway.url()))
        .await;
    assert_eq!(slash.headers["location"], "/api/get_projects");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let cancel = "client=c&scene=00000&projectid=none";
    let answer = app
        .request(Method::POST, "/cancel_job", &form, cancel.into())
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::NOT_FOUND, "project not found")
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_no_film_fails_the_project_with_a_reason() {
    let app = server(|_| {}).await;
    std::fs::write(app.folder.path().join("text.mkv"), "no film at all").unwrap();
    add(
        &app,
        json!({"input": ["text.mkv"], "encoder": "aom", "encoder_params": "", "id": "t"}),
    )
    .await;
    let failed = until(&app, "t", |p| p["status"] == "failed").await;
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("text.mkv: "), "{reason}");
    assert!(
        !reason.contains(app.folder.path().to_str().unwrap()),
        "{reason}"
    );
    app.stop().await;
}
