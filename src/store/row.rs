//! Between rows and jobs.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{ColumnIndex, Database, Decode, FromRow, Row, Type};

use crate::base::{LeaseToken, QueueId, UnixMillis, WorkerId};
use crate::job::{Job, JobSpec, JobState, Lease};

use super::error::StoreError;

/// The columns of `jobs` as they lie in the table.
pub(super) struct JobRow {
    id: String,
    version: i64,
    spec: String,
    state: String,
    priority: i64,
    parents: String,
    retry: String,
    attempts: i64,
    failures: i64,
    expiries: i64,
    not_before: i64,
    lease_token: Option<String>,
    lease_worker: Option<String>,
    lease_carrier: Option<String>,
    lease_begun_at: Option<i64>,
    lease_expires_at: Option<i64>,
    lease_deadline_at: Option<i64>,
    worker: Option<String>,
    unsuited: String,
    progress: Option<String>,
    output: Option<String>,
    error: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl<'r, R> FromRow<'r, R> for JobRow
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(JobRow {
            id: row.try_get("id")?,
            version: row.try_get("version")?,
            spec: row.try_get("spec_json")?,
            state: row.try_get("state")?,
            priority: row.try_get("priority")?,
            parents: row.try_get("parents_json")?,
            retry: row.try_get("retry_json")?,
            attempts: row.try_get("attempts")?,
            failures: row.try_get("failures")?,
            expiries: row.try_get("expiries")?,
            not_before: row.try_get("not_before")?,
            lease_token: row.try_get("lease_token")?,
            lease_worker: row.try_get("lease_worker")?,
            lease_carrier: row.try_get("lease_carrier")?,
            lease_begun_at: row.try_get("lease_begun_at")?,
            lease_expires_at: row.try_get("lease_expires_at")?,
            lease_deadline_at: row.try_get("lease_deadline_at")?,
            worker: row.try_get("worker")?,
            unsuited: row.try_get("unsuited_json")?,
            progress: row.try_get("progress_json")?,
            output: row.try_get("output_json")?,
            error: row.try_get("error_json")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Unreadable(e.into()))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Unreadable(e.into()))
}

fn optional<T: DeserializeOwned>(text: Option<&String>) -> Result<Option<T>, StoreError> {
    text.map(|t| from_json(t)).transpose()
}

fn count(value: i64, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::Column(column))
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Job, StoreError> {
        let state = JobState::from_name(&row.state).ok_or(StoreError::Column("state"))?;
        let unsuited: BTreeSet<WorkerId> = from_json(&row.unsuited)?;
        let priority = i32::try_from(row.priority).map_err(|_| StoreError::Column("priority"))?;
        Ok(Job {
            id: parse_id(&row.id)?,
            version: row.version,
            spec: JobSpec::from_json(&row.spec)?,
            state,
            priority,
            parents: from_json(&row.parents)?,
            retry: from_json(&row.retry)?,
            attempts: count(row.attempts, "attempts")?,
            failures: count(row.failures, "failures")?,
            expiries: count(row.expiries, "expiries")?,
            not_before: UnixMillis::new(row.not_before),
            lease: lease(&row)?,
            worker: row.worker.map(WorkerId::new),
            unsuited,
            progress: optional(row.progress.as_ref())?,
            output: optional(row.output.as_ref())?,
            error: optional(row.error.as_ref())?,
            created_at: UnixMillis::new(row.created_at),
            updated_at: UnixMillis::new(row.updated_at),
        })
    }
}

pub(super) fn parse_id(text: &str) -> Result<QueueId, StoreError> {
    text.parse().map_err(|_| StoreError::Column("id"))
}

fn lease(row: &JobRow) -> Result<Option<Lease>, StoreError> {
    let Some(token) = &row.lease_token else {
        return Ok(None);
    };
    let token: LeaseToken = token
        .parse()
        .map_err(|_| StoreError::Column("lease_token"))?;
    let worker = |name: &Option<String>, column| {
        let name = name.clone().ok_or(StoreError::Column(column))?;
        Ok::<_, StoreError>(WorkerId::new(name))
    };
    let time = |ms: Option<i64>, column| ms.map(UnixMillis::new).ok_or(StoreError::Column(column));
    Ok(Some(Lease {
        token,
        worker: worker(&row.lease_worker, "lease_worker")?,
        carrier: worker(&row.lease_carrier, "lease_carrier")?,
        begun_at: time(row.lease_begun_at, "lease_begun_at")?,
        expires_at: time(row.lease_expires_at, "lease_expires_at")?,
        deadline_at: time(row.lease_deadline_at, "lease_deadline_at")?,
    }))
}
