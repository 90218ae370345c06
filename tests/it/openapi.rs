//! The description of the API is complete and true: every route and method is in it, and answers are as
//! it says.

use std::collections::BTreeSet;

use bytes::Bytes;
use ghoststream::http::{ALIASES, FOREIGN, text_of_document};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{TestApp, ffmpeg};
use crate::cli;

fn document() -> Value {
    serde_json::from_str(&text_of_document()).unwrap()
}

/// What the page's client is made of, and what shows in a review that the API changes.
#[test]
fn the_description_of_the_page_is_this_one() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/web/openapi.json");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(
        kept == text_of_document(),
        "the API has changed: ghoststream openapi >web/openapi.json"
    );
}

/// Every path that the gateway's router knows.
fn routes(app: &TestApp) -> BTreeSet<String> {
    let text = app.gateway.routes();
    // What stands behind the name of each route in the router's own list.
    let ids = text.split("RouteId(").skip(1);
    let paths = ids.filter_map(|rest| {
        let path = rest.split_once("): \"")?.1.split('"').next()?;
        (rest.find("): \"") == rest.find(')')).then(|| path.to_owned())
    });
    let mut found: BTreeSet<String> = paths.filter(|p| p.starts_with('/')).collect();
    // axum's own places for what no route takes.
    found.retain(|path| !path.contains("__private"));
    // Fails when axum writes its list differently one day.
    for known in ["/", "/api/health", "/stream/{id}/{*file}", "/jobs/{*path}"] {
        assert!(found.contains(known), "{known} is not in {found:?}");
    }
    found
}

fn is_foreign(route: &str) -> bool {
    let begins = |(start, _): &(&str, &str)| {
        let rest = route.strip_prefix(start);
        rest.is_some_and(|r| r.is_empty() || r.starts_with('/') || start.ends_with('/'))
    };
    FOREIGN.iter().any(begins)
}

/// The described path that a route is, or is another name of.
fn described_as(route: &str) -> String {
    let bare = match route.len() {
        1 => route,
        _ => route.trim_end_matches('/'),
    };
    let alias = ALIASES.iter().find(|(name, _)| *name == bare);
    alias.map_or(bare, |(_, of)| of).replace("{*", "{")
}

#[tokio::test]
async fn every_route_is_described_or_another_protocols() {
    let app = TestApp::start().await;
    let (document, routes) = (document(), routes(&app));
    let described = document["paths"].as_object().unwrap();
    let mut told = BTreeSet::new();
    for route in &routes {
        // What lies below a query is only there to be refused in its words.
        if is_foreign(route) || route.ends_with("/{*rest}") {
            continue;
        }
        let path = described_as(route);
        assert!(
            described.contains_key(&path),
            "{route} is a route and neither described in src/http/openapi nor listed in FOREIGN"
        );
        told.insert(path);
    }
    for path in described.keys() {
        assert!(told.contains(path), "{path} is described and no route");
    }
    for (list, entries) in [("ALIASES", ALIASES), ("FOREIGN", FOREIGN)] {
        for (start, _) in entries {
            let used = routes.iter().any(|r| r.starts_with(start));
            assert!(used, "{start} of {list} is no route");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn every_method_of_a_described_route_is_described() {
    let app = TestApp::start().await;
    for (path, item) in document()["paths"].as_object().unwrap() {
        let target = path.replace("{id}", "x").replace("{job}", "x");
        let target = target.replace("{file}", "x").replace("{part}", "x");
        let target = target.replace("{verb}", "x").replace("{project}", "x");
        let target = target.replace("{scene}", "x");
        let answer = app.request(Method::PATCH, &target, &[], Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = answer.headers["allow"].to_str().unwrap().to_lowercase();
        let mut allowed: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
        // It works wherever GET does.
        allowed.remove("head");
        let described = item.as_object().unwrap().keys().map(String::as_str);
        assert_eq!(allowed, described.collect::<BTreeSet<_>>(), "{path}");
    }
    app.stop().await;
}

/// Holds a value against a shape of the document; says where it differs. A field that is not described
/// is as wrong as one that is missing.
fn check(document: &Value, shape: &Value, value: &Value, place: &str) -> Result<(), String> {
    let wrong = |text: &str| Err(format!("{place}: {text}: {value}"));
    if let Some(to) = shape["$ref"].as_str() {
        let target = document
            .pointer(&to[1..])
            .ok_or(format!("{to} is not there"))?;
        return check(document, target, value, place);
    }
    if let Some(either) = shape["oneOf"].as_array() {
        let results: Vec<_> = either
            .iter()
            .map(|s| check(document, s, value, place))
            .collect();
        let fitting = results.iter().filter(|r| r.is_ok()).count();
        return match fitting {
            1 => Ok(()),
            n => Err(format!("{place}: {n} of oneOf fit: {results:?}")),
        };
    }
    if let Some(words) = shape["enum"].as_array() {
        return match words.contains(value) {
            true => Ok(()),
            false => wrong("is none of the words"),
        };
    }
    match shape["type"].as_str() {
        None => Ok(()),
        Some("null") if value.is_null() => Ok(()),
        Some("string") if value.is_string() => Ok(()),
        Some("boolean") if value.is_boolean() => Ok(()),
        Some("number") if value.is_number() => Ok(()),
        Some("integer") if value.is_u64() || value.is_i64() => Ok(()),
        Some("array") if value.is_array() => {
            let mut all = value.as_array().unwrap().iter().enumerate();
            all.try_for_each(|(i, v)| check(document, &shape["items"], v, &format!("{place}[{i}]")))
        }
        Some("object") if value.is_object() => {
            let fields = value.as_object().unwrap();
            for name in shape["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap()) {
                    return wrong(&format!("{name} is missing"));
                }
            }
            fields.iter().try_for_each(|(name, value)| {
                let inner = &shape["properties"][name];
                let inner = match inner.is_null() {
                    true => &shape["additionalProperties"],
                    false => inner,
                };
                match inner.is_null() {
                    true => Err(format!("{place}.{name} is not described")),
                    false => check(document, inner, value, &format!("{place}.{name}")),
                }
            })
        }
        Some(kind) => wrong(&format!("is no {kind}")),
    }
}

/// Asks, and holds the answer against what is said of the call.
async fn ask(
    app: &TestApp,
    method: Method,
    path: &str,
    target: &str,
    body: Option<Value>,
) -> Value {
    let document = document();
    let headers = [("content-type", "application/json")];
    let sent = body.map_or_else(Bytes::new, |b| b.to_string().into());
    let answer = app.request(method.clone(), target, &headers, sent).await;
    let operation = &document["paths"][path][method.as_str().to_lowercase()];
    let told = &operation["responses"][answer.status.as_str()];
    assert!(
        told.is_object(),
        "{target}: {} is not described",
        answer.status
    );
    if !told["content"].is_object() {
        assert!(answer.body.is_empty(), "{target}");
        return Value::Null;
    }
    let kind = answer.headers["content-type"].to_str().unwrap();
    let kind = kind.split(';').next().unwrap();
    let content = &told["content"][kind];
    assert!(content.is_object(), "{target}: {kind} is not described");
    if kind != "application/json" {
        return Value::Null;
    }
    let value = answer.json();
    if let Err(error) = check(&document, &content["schema"], &value, "answer") {
        panic!("{method} {target}: {error}");
    }
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_described() {
    let app = TestApp::with(|c| c.local_engine.enabled = false).await;
    let film = app.folder.path().join("film.mp4");
    let video = "testsrc2=s=320x180:r=25:d=4";
    ffmpeg(&["-f", "lavfi", "-i", video, film.to_str().unwrap()]);
    let (get, post) = (Method::GET, Method::POST);
    let start = "/api/transcode/start";
    let body = json!({"source": "film.mp4", "session_id": "s"});
    let started = ask(&app, post.clone(), start, start, Some(body)).await;
    let id = started["job_id"].as_str().unwrap().to_owned();
    app.file(&id, "segment_00000.ts").await;
    let of_job = |path: &'static str| (path, path.replace("{id}", &id));
    for wrong in [
        json!({"source": 1, "mode": "fast"}),
        json!({"source": "no.mp4"}),
        json!({"source": " "}),
    ] {
        ask(&app, post.clone(), start, start, Some(wrong)).await;
    }
    app.post(
        "/jobs/",
        json!({"source_url": "film.mp4", "target_codec": "h264"}),
    )
    .await;
    let claim = "/api/v2/engines/{id}/claim";
    let wanted = json!({"kinds": ["transcode"], "codecs": ["h264"]});
    let engine = claim.replace("{id}", "e1");
    let lease = ask(&app, post.clone(), claim, &engine, Some(wanted.clone())).await;
    let none = ask(&app, post.clone(), claim, &engine, Some(wanted)).await;
    assert_eq!(none, Value::Null);
    let queued = lease["job_id"].as_str().unwrap();
    let report = "/api/v2/jobs/{id}/lease/{verb}";
    let at = |verb: &str| report.replace("{id}", queued).replace("{verb}", verb);
    let renew =
        json!({"lease_token": lease["lease_token"], "progress": {"percent": 4, "message": "m"}});
    ask(&app, post.clone(), report, &at("renew"), Some(renew)).await;

    let mut gets: Vec<(&str, String)> = [
        "/",
        "/api/health",
        "/api/health/detailed",
        "/healthz",
        "/readyz",
        "/api/stats",
        "/api/capabilities",
        "/api/clients",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/api/v2/files",
        "/api/streams/shared",
        "/api/cleanup/stats",
        "/api/v2/jobs",
        "/api/v2/engines",
        "/api/v2/queue",
        "/api/v2/streams",
        "/api/v2/config",
        "/api/v2/licenses",
        "/api/v2/scene-workers",
        "/version",
    ]
    .map(|path| (path, path.to_owned()))
    .into();
    gets.extend([
        of_job("/api/transcode/{id}/status"),
        of_job("/api/transcode/{id}/stream"),
    ]);
    gets.push(("/stream/{id}/{file}", format!("/stream/{id}/master.m3u8")));
    gets.push((
        "/stream/{id}/{file}",
        format!("/stream/{id}/segment_00000.ts"),
    ));
    gets.push(("/stream/{id}/{file}", format!("/stream/{id}/nothing")));
    gets.push(("/download/{id}", format!("/download/{id}")));
    gets.push(("/api/v2/jobs/{id}", format!("/api/v2/jobs/{queued}")));
    gets.push(("/api/v2/jobs/{id}", "/api/v2/jobs/nothing".into()));
    gets.push(("/api/v2/jobs", "/api/v2/jobs?limit=0".into()));
    gets.push(("/api/v2/files", "/api/v2/files?path=nothing".into()));
    gets.push((
        "/api/v2/artifacts/{job}/{file}",
        "/api/v2/artifacts/x/y".into(),
    ));
    gets.push(("/ws/progress", "/ws/progress".into()));
    for query in ["thumb", "meta", "preview", "storyboard", "webm"] {
        let path: &'static str = format!("/{query}").leak();
        gets.push((path, format!("{path}?url=film.mp4&width=64")));
        gets.push((path, format!("{path}?url=nothing.mp4")));
        gets.push((path, format!("{path}?width=0")));
    }
    for (path, target) in gets {
        ask(&app, get.clone(), path, &target, None).await;
    }

    let (path, target) = of_job("/api/v2/streams/{id}");
    ask(&app, get.clone(), path, &target, None).await;
    ask(&app, get, path, "/api/v2/streams/nothing", None).await;
    let path = "/api/v2/jobs/{id}/priority";
    for priority in [json!(3), json!("high")] {
        let target = path.replace("{id}", queued);
        let body = json!({"priority": priority});
        ask(&app, post.clone(), path, &target, Some(body)).await;
    }
    let pause = "/api/v2/projects/{project}/pause";
    let target = pause.replace("{project}", "nothing");
    ask(&app, post.clone(), pause, &target, Some(json!({}))).await;

    let cancel = "/api/v2/jobs/{id}/cancel";
    for _ in 0..2 {
        let target = cancel.replace("{id}", queued);
        ask(&app, post.clone(), cancel, &target, None).await;
    }
    ask(
        &app,
        post.clone(),
        report,
        &at("complete"),
        Some(json!({"lease_token": lease["lease_token"]})),
    )
    .await;
    ask(&app, post.clone(), report, &at("renew"), Some(json!({}))).await;
    for verb in ["drain", "resume", "drain"] {
        let path: &'static str = format!("/api/v2/engines/{{id}}/{verb}").leak();
        ask(&app, post.clone(), path, &path.replace("{id}", "e1"), None).await;
        ask(&app, post.clone(), path, &path.replace("{id}", "e9"), None).await;
    }
    for _ in 0..2 {
        let path = "/api/v2/engines/{id}";
        ask(&app, Method::DELETE, path, "/api/v2/engines/e1", None).await;
    }
    let (path, target) = of_job("/api/transcode/{id}/leave");
    ask(&app, post.clone(), path, &target, None).await;
    let (path, target) = of_job("/api/transcode/{id}/cancel");
    for _ in 0..2 {
        ask(&app, post.clone(), path, &target, None).await;
    }
    ask(&app, post, "/api/cleanup/run", "/api/cleanup/run", None).await;
    let (path, target) = of_job("/api/transcode/{id}");
    for _ in 0..2 {
        ask(&app, Method::DELETE, path, &target, None).await;
    }
    app.stop().await;
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_needs_the_key_as_it_says() {
    let app = TestApp::with(|c| c.security.api_key = Some("key".into())).await;
    assert_eq!(
        app.get("/openapi.json").await.status,
        StatusCode::UNAUTHORIZED
    );
    let served = app.get("/openapi.json?api_key=key").await;
    assert_eq!(served.text(), text_of_document());
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(operation["summary"].is_string(), "{path}");
            let is_open = operation["security"] == json!([{}]);
            assert_eq!(is_open, operation["responses"]["401"].is_null(), "{path}");
            let parts = path
                .split('{')
                .skip(1)
                .map(|p| p.split('}').next().unwrap());
            let in_path = |p: &&Value| p["in"] == "path";
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<_> = parameters
                .filter(in_path)
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, parts.collect(), "{path}");
            if method == "get" && path != "/ws/progress" {
                let target = path.replace(['{', '}'], "");
                let status = app.get(&target).await.status;
                let refused = status == StatusCode::UNAUTHORIZED;
                assert_eq!(refused, !is_open, "{path}: {status}");
            }
        }
    }
    let page = app.get("/docs").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(app.get("/docs/style.css").await.status, StatusCode::OK);
    app.stop().await;
}

#[tokio::test]
async fn the_program_prints_description_manual_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let printed = async |args: &[&str]| {
        let output = cli::run(folder.path(), args).await;
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed(&["openapi"]).await, text_of_document());
    let manual = printed(&["man"]).await;
    assert!(manual.contains(".TH ghoststream 1") && manual.contains("GHOSTSTREAM ENGINE"));
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef ghoststream"),
        ("fish", "complete -c ghoststream"),
    ] {
        let text = printed(&["completions", shell]).await;
        assert!(text.contains(word) && text.contains("submit"), "{shell}");
    }
}
