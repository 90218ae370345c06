//! `GET /readyz`: whether the gateway can take work, and if not, what is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nix::unistd::{AccessFlags, access};
use serde_json::{Map, Value, json};

use super::state::AppState;

/// Less than this free, and segments will soon fail to be written.
const LEAST_FREE_BYTES: u64 = 64 << 20;
/// A database that takes longer is as good as none.
const DATABASE_WITHIN: Duration = Duration::from_secs(3);

/// Each check by its name, and what is wrong; `None`: nothing.
type Checks = [(&'static str, Option<&'static str>); 4];

/// Ready to take work: the database answers, ffmpeg is there, segments can be written, and there is room
/// for another job.
pub(super) async fn ready(State(app): State<AppState>) -> Response {
    let database = tokio::time::timeout(DATABASE_WITHIN, app.dispatcher.store().ping()).await;
    let database = match database {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some("the database does not answer"),
        Err(_) => Some("the database does not answer in time"),
    };
    let tools = app.registry.tools();
    let programs = [tools.ffmpeg.clone(), tools.ffprobe.clone()];
    let folder = app.registry.cache().folder().to_owned();
    let looked = move || (look_for(&programs), look_at(&folder));
    let looked = tokio::task::spawn_blocking(looked).await;
    let (ffmpeg, disk) = looked.unwrap_or((None, Some("the segment cache is gone")));
    let is_full = app.registry.queued() >= app.batches.max_queued()
        || app.registry.opening() >= app.registry.max_opening();
    let queue = is_full.then_some("Queue full");
    answer([
        ("queue", queue),
        ("database", database),
        ("ffmpeg", ffmpeg),
        ("disk", disk),
    ])
}

fn answer(checks: Checks) -> Response {
    let wrong = checks.iter().find_map(|(_, wrong)| *wrong);
    let told = checks.map(|(name, wrong)| (name.to_owned(), wrong.unwrap_or("ok").into()));
    let told: Map<String, Value> = told.into_iter().collect();
    match wrong {
        None => Json(json!({"ready": true, "checks": told})).into_response(),
        Some(reason) => {
            let body = json!({"ready": false, "reason": reason, "checks": told});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

fn look_for(programs: &[PathBuf]) -> Option<&'static str> {
    let is_there = |program: &PathBuf| access(program, AccessFlags::X_OK).is_ok();
    let all = programs.iter().all(is_there);
    (!all).then_some("ffmpeg or ffprobe is gone")
}

fn look_at(folder: &Path) -> Option<&'static str> {
    if !folder.is_dir() {
        return Some("the segment cache is gone");
    }
    if access(folder, AccessFlags::W_OK).is_err() {
        return Some("the segment cache cannot be written");
    }
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    (free < LEAST_FREE_BYTES).then_some("the disk of the segment cache is full")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look_at(folder.path()), None);
        let gone = folder.path().join("gone");
        assert_eq!(look_at(&gone), Some("the segment cache is gone"));
        let missing = look_for(std::slice::from_ref(&gone));
        assert_eq!(missing, Some("ffmpeg or ffprobe is gone"));
        let answer = answer([
            ("queue", None),
            ("database", None),
            ("ffmpeg", missing),
            ("disk", None),
        ]);
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["ready"], false);
        assert_eq!(body["reason"], "ffmpeg or ffprobe is gone");
        assert_eq!(body["checks"]["ffmpeg"], "ffmpeg or ffprobe is gone");
        assert_eq!(body["checks"]["database"], "ok");
    }
}
