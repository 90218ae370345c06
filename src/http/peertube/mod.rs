//! PeerTube's side towards its runners, and the API of those whose videos they transcode (contract
//! `peertube-runner`).

mod admin;
mod files;
mod jobs;
mod multipart;
mod play;
mod problem;
mod runners;
mod socket;
mod told;
mod tus;
mod videos;
mod wire;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post};
use http::StatusCode;

use super::state::AppState;

pub(super) use play::video_of_file;
pub(super) use problem::unauthorised;
pub use socket::RunnerSockets;
pub use told::tell;
pub(super) use videos::list;

const RUNNERS: &str = "/api/v1/runners";
/// As runners write it that were registered with a slash behind the address; they follow no redirects.
const RUNNERS_SLASHED: &str = "//api/v1/runners";

/// Whether a path belongs to this protocol, known or not.
pub(super) fn is_own(path: &str) -> bool {
    let own = [RUNNERS, RUNNERS_SLASHED, "/video", "/videos", "/socket.io"];
    own.iter()
        .filter_map(|own| path.strip_prefix(own))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Calls of runners, whose tokens are in their bodies.
pub(super) fn carries_token(path: &str) -> bool {
    if path == "/socket.io/" {
        return true;
    }
    let rest = path.strip_prefix(RUNNERS_SLASHED);
    let Some(rest) = rest.or_else(|| path.strip_prefix(RUNNERS)) else {
        return false;
    };
    let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["register" | "unregister"] | ["jobs", "request"] | ["jobs", _, "files", ..] => true,
        ["jobs", _, verb] => JOB_VERBS.contains(verb),
        _ => false,
    }
}

const JOB_VERBS: [&str; 5] = ["accept", "update", "error", "abort", "success"];

/// Largest body that says why a job failed: runners send all that ffmpeg wrote.
const MAX_REASON_BYTES: usize = 32 << 20;

/// All routes. Bodies of deliveries and uploads are as large as they are: what they carry is counted
/// where it is stored.
pub(super) fn routes() -> Router<AppState> {
    let jobs = format!("{RUNNERS}/jobs");
    let files = format!("{jobs}/{{job}}/files/videos/{{video}}");
    let small = Router::new()
        .route(&format!("{files}/max-quality"), post(files::video))
        .route(&format!("{files}/max-quality/audio"), post(files::video))
        .route(
            &format!("{files}/previews/max-quality"),
            post(files::preview),
        )
        .route(
            &format!("{files}/studio/task-files/{{file}}"),
            post(files::task),
        )
        .route(RUNNERS, get(admin::runners))
        .route(&format!("{RUNNERS}/{{id}}"), delete(admin::remove_runner))
        .route(
            &format!("{RUNNERS}/registration-tokens"),
            get(admin::tokens),
        )
        .route(
            &format!("{RUNNERS}/registration-tokens/generate"),
            post(admin::new_token),
        )
        .route(
            &format!("{RUNNERS}/registration-tokens/{{id}}"),
            delete(admin::remove_token),
        )
        .route(&jobs, get(admin::jobs))
        .route(&format!("{jobs}/{{job}}/cancel"), post(admin::cancel_job))
        .route(&format!("{jobs}/{{job}}"), delete(admin::remove_job));
    let mut all = small.merge(calls(RUNNERS)).merge(calls(RUNNERS_SLASHED));
    for own in ["/video", "/videos"] {
        let large = Router::new()
            .route(&format!("{own}/upload"), post(videos::upload))
            .route(
                &format!("{own}/upload/{{id}}"),
                patch(tus::go_on).head(tus::offset).delete(tus::end),
            )
            .route(&format!("{own}/transcode"), post(videos::transcode))
            .layer(DefaultBodyLimit::disable());
        all = all
            .merge(large)
            .route(&format!("{own}/live"), post(videos::live))
            .route(
                &format!("{own}/{{id}}"),
                get(videos::show).delete(videos::remove),
            )
            .route(&format!("{own}/{{id}}/{{file}}"), get(play::file));
    }
    all.route("/videos", get(videos::list))
        .route("/videos/", get(videos::list))
        .route("/socket.io/", any(socket::connect))
}

/// What runners call, below `base`; files they fetch at the addresses that they are told.
fn calls(base: &str) -> Router<AppState> {
    let jobs = format!("{base}/jobs");
    let small = Router::new()
        .route(&format!("{base}/register"), post(runners::register))
        .route(&format!("{base}/unregister"), post(runners::unregister))
        .route(&format!("{jobs}/request"), post(jobs::request))
        .route(&format!("{jobs}/{{job}}/accept"), post(jobs::accept));
    let wordy = Router::new()
        .route(&format!("{jobs}/{{job}}/error"), post(jobs::error))
        .route(&format!("{jobs}/{{job}}/abort"), post(jobs::abort))
        .layer(DefaultBodyLimit::max(MAX_REASON_BYTES));
    let large = Router::new()
        .route(&format!("{jobs}/{{job}}/update"), post(jobs::update))
        .route(&format!("{jobs}/{{job}}/success"), post(jobs::success))
        .layer(DefaultBodyLimit::disable());
    small.merge(wordy).merge(large)
}

/// A path or a method that there is not.
pub(super) fn nothing(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or("there is no such path");
    problem::Problem::new(status, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_with_tokens_need_no_key() {
        for open in [
            "/api/v1/runners/register",
            "/api/v1/runners/jobs/request",
            "/api/v1/runners/jobs/x/success",
            "//api/v1/runners/jobs/x/success",
            "/api/v1/runners/jobs/x/files/videos/y/max-quality",
            "/socket.io/",
        ] {
            assert!(carries_token(open), "{open}");
        }
        for closed in [
            "/api/v1/runners",
            "/api/v1/runners/jobs",
            "/api/v1/runners/jobs/x",
            "/api/v1/runners/jobs/x/cancel",
            "//api/v1/runners/jobs/x/cancel",
            "/api/v1/runners/registration-tokens",
            "/api/v1/runners/registration-tokens/generate",
            "/video/upload",
            "/socket.io/admin",
        ] {
            assert!(!carries_token(closed), "{closed}");
        }
    }
}
