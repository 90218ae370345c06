//! What runners fetch: sources, pictures, files of edits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http::{HeaderValue, StatusCode, header};

use crate::videos::{InputFile, VideoError, Working};

use super::super::state::AppState;
use super::jobs::{Holder, working};
use super::problem::Problem;
use super::runners::{json_body, runner};

/// Time in which a runner may fetch a file again before its job is given to another.
const SECOND_TRY: Duration = Duration::from_secs(2);

pub(super) async fn video(
    State(app): State<AppState>,
    Path((job, video)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    give(&app, &job, &video, &InputFile::Video, &body).await
}

pub(super) async fn preview(
    State(app): State<AppState>,
    Path((job, video)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    give(&app, &job, &video, &InputFile::Preview, &body).await
}

pub(super) async fn task(
    State(app): State<AppState>,
    Path((job, video, file)): Path<(String, String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    give(&app, &job, &video, &InputFile::Task(file), &body).await
}

async fn give(
    app: &AppState,
    job: &str,
    video: &str,
    file: &InputFile,
    body: &Bytes,
) -> Result<Response, Problem> {
    let said: Holder = json_body(body)?;
    let runner = runner(app, &said.runner_token).await?;
    let held = working(app, &runner, job, &said.job_token).await?;
    let whole = app.videos.open_input(&held, video, file).await;
    let whole = match whole {
        // It was there when the video was taken.
        Err(error @ VideoError::Source { .. }) => {
            return Err(Problem::new(StatusCode::NOT_FOUND, error.to_string()));
        }
        whole => whole?,
    };
    let length = whole.length_bytes;
    let watched = Watched {
        bytes: whole.bytes,
        left: length,
        ended: false,
        nth: app.videos.begins_to_fetch(&held),
        held: Some(held),
        app: app.clone(),
    };
    let mut response = Body::from_stream(watched).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// A file on its way to a runner. Runners do not notice when it breaks off, and wait for ever; we do.
struct Watched {
    bytes: BoxStream<'static, std::io::Result<Bytes>>,
    /// Bytes that are still to be sent.
    left: Option<u64>,
    ended: bool,
    nth: u64,
    held: Option<Box<Working>>,
    app: AppState,
}

impl Stream for Watched {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.bytes.as_mut().poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                self.left = self.left.map(|n| n.saturating_sub(bytes.len() as u64));
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let whole = self.ended || self.left == Some(0);
        let Some(held) = self.held.take().filter(|_| !whole) else {
            return;
        };
        let (app, nth) = (self.app.clone(), self.nth);
        let cancel = app.cancel.clone();
        self.app.tracker.spawn(async move {
            let work = async {
                tokio::time::sleep(SECOND_TRY).await;
                if app.videos.last_fetch(&held) == nth {
                    app.videos.cut_off(&held).await;
                }
            };
            cancel.run_until_cancelled(work).await
        });
    }
}
