//! `GET /api/v2/files`: what may be played from `sources.roots`.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::state::AppState;

#[derive(Deserialize)]
pub(super) struct FilesQuery {
    #[serde(default)]
    path: String,
}

pub(super) async fn list(
    State(app): State<AppState>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<Value>, ApiError> {
    let entries = app.registry.policy().list(&query.path).await?;
    let entries: Vec<Value> = entries
        .iter()
        .map(|e| json!({"name": e.name, "path": e.path, "is_dir": e.is_dir, "size_bytes": e.size_bytes}))
        .collect();
    Ok(Json(json!({"path": query.path, "entries": entries})))
}
