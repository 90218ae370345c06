//! Film grain: the film's table made into one for each scene, for workers and for our own engines.

use http::StatusCode;
use serde_json::{Value, json};

use super::film::{likeness, small};
use super::worker::*;
use crate::app::TestApp;

const PARAMETERS: &str = "\tp 0 6 0 8 0 1 128 192 256 128 192 256\n\tsY 2 0 40 255 40\n\tsCb 0\n\tsCr 0\n\
    \tcY\n\tcCb 0\n\tcCr 0\n";

/// Other grain in the second half of the first second: from the second scene of twelve pictures on.
fn table() -> String {
    format!("filmgrn1\nE 0 4800000 1 7391 1\n{PARAMETERS}E 4800000 9223372036854775807 1 1234 0\n")
}

fn body(params: &str) -> Value {
    json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": params, "id": "g",
        "min_frames": 12, "max_frames": 12})
}

async fn source(app: &TestApp) {
    small(&app.folder.path().join("small.mkv"), 2, 12);
    std::fs::write(app.folder.path().join("film.tbl"), table()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_get_the_table_of_their_scene() {
    let app = server(|_| {}).await;
    source(&app).await;
    add(&app, body("--cpu-used=8 --film-grain-table=film.tbl")).await;
    let ready = until_status(&app, "g", "ready").await;
    assert_eq!(
        (&ready["encoder_params"], &ready["grain_table"]),
        (&json!("--cpu-used=8"), &json!("film.tbl"))
    );
    let one = get_job(&app, &[]).await.unwrap();
    let two = get_job(&app, &[&one]).await.unwrap();
    for (given, seed, end) in [(&one, 7391, 4_800_000), (&two, 1234, i64::MAX)] {
        assert_eq!(given.header("grain"), "1");
        assert_eq!(given.header("encoder_params"), "--cpu-used=8");
        let path = format!("/api/get_grain/g/{}", given.scene);
        let answer = app.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.headers["content-length"],
            answer.body.len().to_string()
        );
        assert!(!answer.headers.contains_key("transfer-encoding"));
        let wanted = format!("filmgrn1\nE 0 {end} 1 {seed} 1\n{PARAMETERS}");
        assert_eq!(answer.text(), wanted);
    }
    for path in ["/api/get_grain/g/00002", "/api/get_grain/none/00000"] {
        let answer = app.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 0));
    }
    // Who has not used it has made something else.
    let file = encode(&one, app.folder.path());
    let mut without = fields(&one, Generation::Third);
    without.last_mut().unwrap().1 = "0".into();
    assert_eq!(deliver(&app, &without, &file).await, "bad params");
    let first = fields(&one, Generation::First);
    assert_eq!(deliver(&app, &first, &file).await, "bad params");
    assert_eq!(work(&app, app.folder.path(), Generation::Third).await, 2);
    until_status(&app, "g", "complete").await;
    let path = "/api/v2/projects/g/scenes/0/retry";
    let answer = app
        .post(
            path,
            json!({"encoder_params": "--film-grain-table=film.tbl"}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    app.post("/api/delete_project/g", json!({})).await;
    let left = super::web::files_below(&app.folder.path().join("data/artifacts"));
    assert!(left.is_empty(), "{left:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_table_is_refused_with_its_name() {
    let app = server(|_| {}).await;
    source(&app).await;
    let refused = async |body: Value| {
        let answer = app.post("/api/add_project", body).await.json();
        assert_eq!(answer["success"], false, "{answer}");
        answer["reason"].as_str().unwrap().to_owned()
    };
    for missing in ["nothing.tbl", "/etc/passwd", "../film.tbl"] {
        let params = format!("--film-grain-table={missing}");
        let told = refused(body(&params)).await;
        assert_eq!(told, format!("Input files not found: {missing}"));
    }
    let told = refused(body("--film-grain-table=small.mkv")).await;
    assert!(
        told.starts_with("small.mkv is no table of film grain"),
        "{told}"
    );
    let mut other = body("--film-grain-table=film.tbl");
    other["encoder"] = json!("vpx");
    assert!(refused(other).await.contains("for aom only"));
    let mut goal = body("--film-grain-table=film.tbl");
    goal["quality"] = json!({"ssim": 0.9});
    assert!(refused(goal).await.contains("quality"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_engine_adds_the_grain() {
    let app = TestApp::with(|c| c.local_engine.patience_seconds = 0).await;
    source(&app).await;
    let params = "--cpu-used=8 --end-usage=q --cq-level=10";
    let mut likenesses = Vec::new();
    for option in ["", " --film-grain-table=film.tbl"] {
        add(&app, body(&format!("{params}{option}"))).await;
        until_status(&app, "g", "complete").await;
        let made = completed(&app, "g").await;
        let scores = likeness(&made, &app.folder.path().join("small.mkv"));
        likenesses.push(scores.iter().sum::<f64>() / scores.len() as f64);
        app.post("/api/delete_project/g", json!({})).await;
    }
    // Noise on plain grey.
    assert!(
        likenesses[1] < likenesses[0] - 0.1,
        "SSIM without and with grain: {likenesses:?}"
    );
    app.stop().await;
}
