//! Multipart bodies: texts with a bound, files as they come.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartRejection};
use bytes::Bytes;

use crate::videos::{Incoming, StoredFile};

use super::super::state::AppState;
use super::problem::Problem;

/// Longest text of a part, bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Most parts of a body that are texts.
const MAX_TEXTS: usize = 64;
/// How long the rest of a body that was refused is read, so that its sender hears the answer.
const LINGER: Duration = Duration::from_secs(5);

/// The texts of a body, by the names of their parts.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<String, String>);

impl Texts {
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn put(&mut self, name: &str, text: String) -> Result<(), Problem> {
        if self.0.len() >= MAX_TEXTS {
            return Err(Problem::bad("the body has too many parts"));
        }
        self.0.insert(name.to_owned(), text);
        Ok(())
    }

    /// # Errors
    /// 400, with the name of what is missing.
    pub(super) fn required(&self, name: &str) -> Result<&str, Problem> {
        let found = self.0.get(name).map(String::as_str);
        let found = found.filter(|text| !text.is_empty());
        found.ok_or_else(|| Problem::bad(format!("{name}: is missing")))
    }
}

pub(super) fn body(multipart: Result<Multipart, MultipartRejection>) -> Result<Multipart, Problem> {
    multipart.map_err(|_| Problem::bad("the body must be multipart/form-data"))
}

/// The next part; `None` behind the last one.
pub(super) async fn next(multipart: &mut Multipart) -> Result<Option<Field<'_>>, Problem> {
    multipart.next_field().await.map_err(|_| broken())
}

fn broken() -> Problem {
    Problem::bad("the body broke off or is no valid multipart/form-data")
}

/// Whether a part is a file. Some clients give the type of texts too.
pub(super) fn is_file(field: &Field<'_>) -> bool {
    let is_text = |kind: &str| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("text/plain") || kind.starts_with("application/json")
    };
    field.file_name().is_some() || field.content_type().is_some_and(|kind| !is_text(kind))
}

pub(super) async fn text(field: &mut Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(part) = part(field).await? {
        bytes.extend_from_slice(&part);
        if bytes.len() > MAX_TEXT_BYTES {
            let name = field.name().unwrap_or_default();
            return Err(Problem::bad(format!("{name}: is too long")));
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        let name = field.name().unwrap_or_default();
        Problem::bad(format!("{name}: is no UTF-8 text"))
    })
}

pub(super) async fn part(field: &mut Field<'_>) -> Result<Option<Bytes>, Problem> {
    field.chunk().await.map_err(|_| broken())
}

/// Writes a part to disk; what breaks off is deleted.
pub(super) async fn store(
    field: &mut Field<'_>,
    mut file: Incoming,
) -> Result<StoredFile, Problem> {
    while let Some(bytes) = part(field).await? {
        file.write(bytes).await?;
    }
    Ok(file.finish().await?)
}

/// Answers at once and reads on for a while, without keeping anything: a sender that is still at it
/// may not look at an answer to a connection that is cut. Detached on purpose, for a few seconds.
pub(super) fn refuse(app: &AppState, mut multipart: Multipart, problem: Problem) -> Problem {
    let cancel = app.cancel.clone();
    app.tracker.spawn(async move {
        let rest = async {
            while let Ok(Some(mut field)) = multipart.next_field().await {
                while let Ok(Some(_)) = field.chunk().await {}
            }
        };
        let rest = tokio::time::timeout(LINGER, rest);
        cancel.run_until_cancelled(rest).await
    });
    problem
}
