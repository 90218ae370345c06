//! Refusals in PeerTube's shape (contract section 1).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::artifact::ArtifactError;
use crate::dispatch::DispatchError;
use crate::session::SessionError;
use crate::source::SourceErrorKind;
use crate::store::StoreError;
use crate::videos::VideoError;

use super::super::error::{ApiError, Verbatim};

const DOCS: &str = "https://docs.joinpeertube.org/api-rest-reference.html#section/Errors/";

/// An answer that is an error: `application/problem+json`, with the member `error` of older servers.
#[derive(Debug)]
pub(in super::super) struct Problem {
    status: StatusCode,
    detail: String,
    code: Option<&'static str>,
}

impl Problem {
    pub(in super::super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            status,
            detail: detail.into(),
            code: None,
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = match self.code {
            Some(code) => format!("{DOCS}{code}"),
            None => "about:blank".to_owned(),
        };
        let mut body = json!({
            "type": kind,
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
        });
        if let Some(code) = self.code {
            body["code"] = code.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        }
        response.extensions_mut().insert(Verbatim);
        response
    }
}

impl From<VideoError> for Problem {
    fn from(error: VideoError) -> Self {
        let code = match &error {
            VideoError::UnknownRunner => Some("unknown_runner_token"),
            VideoError::NotPending => Some("runner_job_not_in_pending_state"),
            VideoError::NotProcessing => Some("runner_job_not_in_processing_state"),
            _ => None,
        };
        let status = status(&error);
        if status.is_server_error() {
            tracing::warn!(%error, "a call of a runner or for a video failed");
        }
        Problem {
            status,
            detail: error.to_string(),
            code,
        }
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        VideoError::from(error).into()
    }
}

fn status(error: &VideoError) -> StatusCode {
    match error {
        VideoError::NoSuchVideo
        | VideoError::NoSuchFile
        | VideoError::UnknownRegistration
        | VideoError::UnknownRunner
        | VideoError::NoSuchRunner
        | VideoError::NoSuchToken
        | VideoError::UnknownJob => StatusCode::NOT_FOUND,
        VideoError::Bad(_) | VideoError::NameTaken | VideoError::NotProcessing => {
            StatusCode::BAD_REQUEST
        }
        VideoError::NotPending | VideoError::WrongOffset(_) => StatusCode::CONFLICT,
        VideoError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        VideoError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        VideoError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        VideoError::Source { cause, .. } => source_status(cause),
        VideoError::Dispatch(error) => dispatch_status(error),
        VideoError::Store(StoreError::Unavailable(_)) | VideoError::Contended => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        VideoError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        VideoError::Artifact(error) => match error {
            ArtifactError::NotFound => StatusCode::NOT_FOUND,
            ArtifactError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ArtifactError::Empty => StatusCode::BAD_REQUEST,
            ArtifactError::Unavailable(_) | ArtifactError::Denied(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ArtifactError::Open(_) => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// What a client named and cannot be read is the client's matter.
fn source_status(cause: &SessionError) -> StatusCode {
    use crate::source::SourceError;
    match cause {
        // Whether there is such a file elsewhere is nobody's business.
        SessionError::Source(SourceError::NoRoots) => StatusCode::NOT_FOUND,
        SessionError::Source(e) => match e.kind() {
            SourceErrorKind::NotFound => StatusCode::NOT_FOUND,
            SourceErrorKind::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        },
        SessionError::Spawn(_) => StatusCode::INTERNAL_SERVER_ERROR,
        SessionError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn dispatch_status(error: &DispatchError) -> StatusCode {
    match error {
        DispatchError::NoSuchJob | DispatchError::NoSuchWorker => StatusCode::NOT_FOUND,
        DispatchError::Refused(_) => StatusCode::CONFLICT,
        DispatchError::Store(StoreError::Exists) => StatusCode::CONFLICT,
        DispatchError::Store(StoreError::Unavailable(_)) | DispatchError::Contended => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        DispatchError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A call without the key.
pub(in super::super) fn unauthorised(error: &ApiError) -> Response {
    let text = error.text().unwrap_or_else(|| "Unauthorized".to_owned());
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, text).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, scheme);
    response
}
