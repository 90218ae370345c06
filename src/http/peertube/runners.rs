//! Registering, and leaving.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::videos::Runner;

use super::super::presence::Peer;
use super::super::state::AppState;
use super::problem::Problem;

/// The JSON body of a call.
pub(super) fn json_body<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|e| Problem::bad(format!("the body is not understood: {e}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    name: String,
    registration_token: String,
    description: Option<String>,
    version: Option<String>,
}

pub(super) async fn register(
    State(app): State<AppState>,
    peer: Option<axum::Extension<Peer>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let said: Registration = json_body(&body)?;
    let ip = peer.map(|p| p.0.0.ip().to_canonical().to_string());
    let description = said.description.as_deref();
    let version = said.version.as_deref();
    let registered = app.videos.register(
        &said.registration_token,
        &said.name,
        description,
        version,
        ip,
    );
    let (runner, token) = registered.await?;
    Ok(Json(json!({"id": runner.number, "runnerToken": token})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    runner_token: String,
}

pub(super) async fn unregister(
    State(app): State<AppState>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let said: Known = json_body(&body)?;
    app.videos.unregister(&said.runner_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The runner that speaks.
pub(super) async fn runner(app: &AppState, token: &str) -> Result<Runner, Problem> {
    // Who forgot to say who it is need not forget us.
    if token.is_empty() {
        return Err(Problem::bad("runnerToken: is missing"));
    }
    Ok(app.videos.runner(token).await?)
}
