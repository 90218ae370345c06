//! The one place where errors become statuses.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::artifact::ArtifactError;
use crate::batch::BatchError;
use crate::dispatch::DispatchError;
use crate::ffmpeg::ProbeError;
use crate::plan::query::QueryPlanError;
use crate::queries::QueryError;
use crate::scenes::ScenesError;
use crate::session::SessionError;
use crate::source::{SourceError, SourceErrorKind};
use crate::store::StoreError;

use super::ranges::Unsatisfiable;

/// An answer that is an error, in GhostStream's shape: `{"detail": ...}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    detail: Value,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        ApiError {
            status,
            detail: Value::String(detail.into()),
        }
    }

    /// What it says, when that is one text.
    pub(super) fn text(&self) -> Option<String> {
        self.detail.as_str().map(str::to_owned)
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The list of field errors of a 422 (contract 3.2).
    pub(super) fn invalid(errors: Vec<Value>) -> Self {
        ApiError {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: Value::Array(errors),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"detail": self.detail}))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        }
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<&SessionError> for ApiError {
    fn from(error: &SessionError) -> Self {
        ApiError::new(session_status(error), error.to_string())
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        (&error).into()
    }
}

/// On an answer whose body has the shape that it should have.
#[derive(Clone, Copy)]
pub(super) struct Verbatim;

impl From<DispatchError> for ApiError {
    fn from(error: DispatchError) -> Self {
        let status = match &error {
            DispatchError::NoSuchJob | DispatchError::NoSuchWorker => StatusCode::NOT_FOUND,
            DispatchError::Refused(_) => StatusCode::CONFLICT,
            DispatchError::Store(StoreError::Exists) => StatusCode::CONFLICT,
            DispatchError::Store(StoreError::Unavailable(_)) | DispatchError::Contended => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            DispatchError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    }
}

impl From<BatchError> for ApiError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Session(error) => error.into(),
            BatchError::Dispatch(error) => error.into(),
            BatchError::NotReady => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
            BatchError::NoFile => ApiError::not_found(&error.to_string()),
        }
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        let status = match &error {
            ArtifactError::NotFound => StatusCode::NOT_FOUND,
            ArtifactError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ArtifactError::Empty => StatusCode::BAD_REQUEST,
            ArtifactError::Unavailable(_) | ArtifactError::Denied(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ArtifactError::Open(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    }
}

impl From<ScenesError> for ApiError {
    fn from(error: ScenesError) -> Self {
        let status = match error {
            ScenesError::NoSuchProject | ScenesError::NoSuchScene => StatusCode::NOT_FOUND,
            ScenesError::InputsNotFound(_) | ScenesError::BadGrain { .. } => {
                StatusCode::BAD_REQUEST
            }
            ScenesError::Exist(_) | ScenesError::NotNow(_) => StatusCode::CONFLICT,
            ScenesError::Dispatch(error) => return error.into(),
            ScenesError::Store(error) => return DispatchError::from(error).into(),
            ScenesError::Artifact(error) => return error.into(),
        };
        ApiError::new(status, error.to_string())
    }
}

const UNSATISFIABLE: &str = "Range not satisfiable";

impl From<Unsatisfiable> for ApiError {
    fn from(_: Unsatisfiable) -> Self {
        ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, UNSATISFIABLE)
    }
}

impl From<Unsatisfiable> for QueryRefusal {
    fn from(_: Unsatisfiable) -> Self {
        QueryRefusal::new(StatusCode::RANGE_NOT_SATISFIABLE, UNSATISFIABLE)
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        ApiError::new(source_status(&error), error.to_string())
    }
}

/// An answer that is an error, in the shape of media queries: `{"Error": ...}`.
#[derive(Debug)]
pub(super) struct QueryRefusal {
    status: StatusCode,
    text: String,
}

impl QueryRefusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        QueryRefusal { status, text }
    }
}

impl IntoResponse for QueryRefusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"Error": self.text}))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        }
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<QueryError> for QueryRefusal {
    fn from(error: QueryError) -> Self {
        QueryRefusal::new(query_status(&error), error.to_string())
    }
}

impl From<Arc<QueryError>> for QueryRefusal {
    fn from(error: Arc<QueryError>) -> Self {
        QueryRefusal::new(query_status(&error), error.to_string())
    }
}

fn query_status(error: &QueryError) -> StatusCode {
    match error {
        QueryError::Parameter(_) => StatusCode::BAD_REQUEST,
        QueryError::Source { cause, .. } => session_status(cause),
        QueryError::NoWatermark | QueryError::Undecodable(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        QueryError::Plan(
            QueryPlanError::NoPicture
            | QueryPlanError::NothingToPlay
            | QueryPlanError::NoLength
            | QueryPlanError::TooLong
            | QueryPlanError::Source(_),
        ) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        QueryError::Plan(_) => StatusCode::BAD_REQUEST,
        QueryError::BrokeOff(_) => StatusCode::BAD_GATEWAY,
        QueryError::Busy | QueryError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        QueryError::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
        QueryError::Spawn(_) | QueryError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn source_status(error: &SourceError) -> StatusCode {
    match error.kind() {
        SourceErrorKind::BadRequest => StatusCode::BAD_REQUEST,
        SourceErrorKind::Forbidden => StatusCode::FORBIDDEN,
        SourceErrorKind::NotFound => StatusCode::NOT_FOUND,
        SourceErrorKind::BadGateway => StatusCode::BAD_GATEWAY,
        SourceErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn session_status(error: &SessionError) -> StatusCode {
    match error {
        SessionError::NoSuchJob | SessionError::NoSuchFile => StatusCode::NOT_FOUND,
        SessionError::Source(e) => source_status(e),
        SessionError::Probe(ProbeError::Timeout(_)) => StatusCode::GATEWAY_TIMEOUT,
        SessionError::Probe(ProbeError::Spawn(_)) | SessionError::Spawn(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        SessionError::Probe(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        SessionError::Plan(_) => StatusCode::BAD_REQUEST,
        SessionError::Gate(_)
        | SessionError::Encoder(_)
        | SessionError::Subtitles(_)
        | SessionError::Package(_) => StatusCode::BAD_GATEWAY,
        SessionError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        SessionError::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
        SessionError::Cancelled => StatusCode::GONE,
    }
}
