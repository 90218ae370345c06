//! `GET /api/v2/licenses`: what this program is made of.

use axum::Json;
use serde_json::{Value, json};

/// Name, version and licence of every crate and package, by lines; written by `packaging/licences`.
const PARTS: &str = include_str!("parts.tsv");

pub(super) async fn list() -> Json<Value> {
    let parts = PARTS.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (name, version, license) = (fields.next()?, fields.next()?, fields.next()?);
        Some(json!({"name": name, "version": version, "license": license}))
    });
    Json(json!({"parts": parts.collect::<Vec<_>>()}))
}
