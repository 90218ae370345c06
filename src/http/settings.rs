//! `GET /api/v2/config`: the configuration in effect, without its secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::state::AppState;

/// A key and what it is set to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectiveSetting {
    /// `section.key`.
    pub key: &'static str,
    /// `null` when it is not set, and when it is secret.
    pub value: Value,
    /// Where the value came from, in words.
    pub origin: String,
    /// What it may hold, to follow "must be".
    pub allowed: &'static str,
    /// The value, or a part of it, is hidden.
    pub is_secret: bool,
    pub is_set: bool,
    /// It is what it would be had nobody set it.
    pub is_default: bool,
}

/// All keys, in the order of the manual.
pub type EffectiveSettings = Arc<[EffectiveSetting]>;

/// Version, licence and address of the program stand beside its settings.
pub(super) async fn show(State(app): State<AppState>, headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "license": env!("CARGO_PKG_LICENSE"),
        "url": app.url_for_others(&headers),
        "settings": &*app.settings,
    }))
}
