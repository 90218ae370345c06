//! `GET /video/{id}/{file}`: what came of a video, to be played.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use http::{HeaderValue, header};

use crate::videos::{VideoError, VideoState};

use super::super::artifacts;
use super::super::links::carry;
use super::super::ranges::Asked;
use super::super::state::AppState;
use super::problem::Problem;

const MASTER: &str = "master.m3u8";
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// The video whose file `path` names, if it is one: such addresses are signed.
pub(in super::super) fn video_of_file(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/video/");
    let rest = rest.or_else(|| path.strip_prefix("/videos/"))?;
    let (id, file) = rest.split_once('/')?;
    (!id.is_empty() && !file.is_empty()).then_some(id)
}

/// A playlist, or a file whole or in parts.
pub(super) async fn file(
    State(app): State<AppState>,
    Path((id, file)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    let view = app.videos.view(&id).await?;
    if !file.ends_with(".m3u8") {
        let name = app.videos.artifact_name(&id, &file)?;
        return Ok(artifacts::give(&app.artifacts, &name, &asked)
            .await
            .unwrap_or_else(IntoResponse::into_response));
    }
    let live = app.videos.live_playlist(&id, &file).await?;
    let text = match (live, file.as_str()) {
        (Some(text), _) => text,
        (None, MASTER) => view.master().ok_or(VideoError::NoSuchFile)?,
        (None, name) => {
            let name = app.videos.artifact_name(&id, name)?;
            let playlist = app.artifacts.read(&name, None).await?;
            let parts: Vec<bytes::Bytes> = playlist.bytes.try_collect().await?;
            String::from_utf8_lossy(&parts.concat()).into_owned()
        }
    };
    let text = match app.video_links(&id, app.base_url(&asked.headers)).token {
        Some(token) => carry(&text, &token),
        None => text,
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAYLIST));
    // Until all is there, a playlist that is kept somewhere is an old one.
    let caching = match view.state() == VideoState::Done {
        true => "private",
        false => "no-store",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_signed() {
        assert_eq!(video_of_file("/video/a/b.mp4"), Some("a"));
        assert_eq!(video_of_file("/videos/a/b.mp4"), Some("a"));
        for not in [
            "/video/a",
            "/video/a/",
            "/video/upload",
            "/video//b",
            "/videos",
            "/x/a/b",
        ] {
            assert_eq!(video_of_file(not), None, "{not}");
        }
    }
}
