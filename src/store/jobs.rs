//! Jobs, one and many.

use serde_json::Value;
use sqlx::{Executor, Row};

use crate::base::{QueueId, UnixMillis, WorkerId};
use crate::job::{Job, JobKind, JobState};

use super::error::StoreError;
use super::open::{Store, on_either};
use super::row::{JobRow, parse_id, to_json};

/// Which jobs of the list are wanted; what is empty does not restrict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFilter {
    pub kinds: Vec<JobKind>,
    pub states: Vec<JobState>,
    /// Who has them, or had them last.
    pub worker: Option<WorkerId>,
    pub order: JobOrder,
    /// The last job of the page before.
    pub after: Option<QueueId>,
    /// `None`: all.
    pub limit: Option<u32>,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobOrder {
    /// By the text of the id.
    #[default]
    ById,
    NewestFirst,
}

/// How many jobs of a kind stand where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCount {
    pub kind: JobKind,
    pub state: JobState,
    pub jobs: u64,
}

const INSERT: &str = "INSERT INTO jobs (id, version, kind, requires, spec_json, state, priority, \
     parents_json, retry_json, attempts, failures, expiries, not_before, worker, unsuited_json, \
     created_at, updated_at, owner) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, $10, NULL, '[]', $11, $11, $12)";

const INSERT_PARENT: &str = "INSERT INTO job_parents (parent, child) VALUES ($1, $2)";

/// `$3` and `$4` are the fence: the version and the lease that the change was made from.
const WRITE: &str = "UPDATE jobs SET version = $2, state = $5, priority = $6, attempts = $7, \
     failures = $8, expiries = $9, not_before = $10, lease_token = $11, lease_worker = $12, \
     lease_carrier = $13, lease_begun_at = $14, lease_expires_at = $15, lease_deadline_at = $16, \
     worker = $17, unsuited_json = $18, progress_json = $19, output_json = $20, error_json = $21, \
     updated_at = $22 \
     WHERE id = $1 AND version = $3 AND lease_token IS NOT DISTINCT FROM $4";

const LIST_BY_ID: &str = "SELECT * FROM jobs \
     WHERE ($1 = '' OR $1 LIKE '%,' || kind || ',%') AND ($2 = '' OR $2 LIKE '%,' || state || ',%') \
     AND (CAST($3 AS TEXT) IS NULL OR worker = $3) AND (CAST($4 AS TEXT) IS NULL OR id > $4) \
     ORDER BY id LIMIT $5";

const LIST_NEWEST: &str = "SELECT * FROM jobs \
     WHERE ($1 = '' OR $1 LIKE '%,' || kind || ',%') AND ($2 = '' OR $2 LIKE '%,' || state || ',%') \
     AND (CAST($3 AS TEXT) IS NULL OR worker = $3) \
     AND (CAST($4 AS TEXT) IS NULL OR seq < (SELECT seq FROM jobs WHERE id = $4)) \
     ORDER BY seq DESC LIMIT $5";

const EXPIRED: &str = "SELECT * FROM jobs WHERE state = 'leased' AND lease_expires_at <= $1 \
     ORDER BY lease_expires_at LIMIT $2";

const ENDED: &str = "SELECT * FROM jobs WHERE kind = $1 AND state IN ('done', 'failed', 'cancelled') \
     AND updated_at < $2 ORDER BY seq LIMIT $3";

const HELD_BY: &str =
    "SELECT * FROM jobs WHERE state = 'leased' AND (lease_worker = $1 OR lease_carrier = $1)";

const BOOKED: &str = "SELECT DISTINCT lease_worker FROM jobs WHERE state = 'leased'";

/// Waiting jobs none of whose parents is at work. A parent that is not known is not at work.
const SETTLED_CHILDREN: &str = "SELECT * FROM jobs WHERE state = 'waiting' AND NOT EXISTS \
     (SELECT 1 FROM job_parents p JOIN jobs parent ON parent.id = p.parent WHERE p.child = jobs.id \
     AND parent.state NOT IN ('done', 'failed', 'cancelled')) ORDER BY seq LIMIT $1";

const PARENTS_NOT_DONE: &str = "SELECT COUNT(*) FROM job_parents p LEFT JOIN jobs parent \
     ON parent.id = p.parent WHERE p.child = $1 AND (parent.state IS NULL OR parent.state <> 'done')";

/// `,a,b,`, so that `LIKE '%,a,%'` finds a whole word; empty when there is no restriction.
fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(",{},", names.join(",")),
    }
}

fn jobs(rows: Vec<JobRow>) -> Result<Vec<Job>, StoreError> {
    rows.into_iter().map(Job::try_from).collect()
}

impl Store {
    /// Stores a new job (as [`Job::new`] made it). When this returns, it survives the process.
    ///
    /// # Errors
    /// `Exists` when there is a job with its id.
    pub async fn insert(&self, job: &Job) -> Result<(), StoreError> {
        self.insert_all(std::slice::from_ref(job)).await
    }

    /// Stores new jobs, all or none.
    ///
    /// # Errors
    /// `Exists` when there is a job with the id of one of them.
    pub async fn insert_all(&self, jobs: &[Job]) -> Result<(), StoreError> {
        on_either!(self, write, |pool| {
            let mut transaction = pool.begin().await?;
            for job in jobs {
                let (spec, requires) = (job.spec.to_json()?, job.spec.requires());
                let (parents, retry) = (to_json(&job.parents)?, to_json(&job.retry)?);
                let insert = sqlx::query(INSERT)
                    .bind(job.id.as_str())
                    .bind(job.version)
                    .bind(job.spec.kind().name())
                    .bind(requires)
                    .bind(spec)
                    .bind(job.state.name())
                    .bind(i64::from(job.priority))
                    .bind(parents)
                    .bind(retry)
                    .bind(job.not_before.as_millis())
                    .bind(job.created_at.as_millis())
                    .bind(job.spec.owner());
                transaction.execute(insert).await?;
                for parent in &job.parents {
                    let parent = sqlx::query(INSERT_PARENT)
                        .bind(parent.as_str())
                        .bind(job.id.as_str());
                    transaction.execute(parent).await?;
                }
            }
            transaction.commit().await?;
        });
        Ok(())
    }

    pub async fn get(&self, id: &QueueId) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as("SELECT * FROM jobs WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(pool)
                .await?
        });
        row.map(Job::try_from).transpose()
    }

    /// Writes what `apply` made of `before`, unless somebody changed the job meanwhile: then nothing
    /// is written, and the answer is `false`.
    pub async fn write(&self, before: &Job, after: &Job) -> Result<bool, StoreError> {
        let token = |job: &Job| job.lease.as_ref().map(|l| l.token.to_string());
        let lease = after.lease.as_ref();
        let unsuited = to_json(&after.unsuited)?;
        let progress = after.progress.as_ref().map(to_json).transpose()?;
        let output = after.output.as_ref().map(to_json).transpose()?;
        let error = after.error.as_ref().map(to_json::<Value>).transpose()?;
        let rows = on_either!(self, write, |pool| {
            let update = sqlx::query(WRITE)
                .bind(after.id.as_str())
                .bind(after.version)
                .bind(before.version)
                .bind(token(before))
                .bind(after.state.name())
                .bind(i64::from(after.priority))
                .bind(i64::from(after.attempts))
                .bind(i64::from(after.failures))
                .bind(i64::from(after.expiries))
                .bind(after.not_before.as_millis())
                .bind(token(after))
                .bind(lease.map(|l| l.worker.as_str()))
                .bind(lease.map(|l| l.carrier.as_str()))
                .bind(lease.map(|l| l.begun_at.as_millis()))
                .bind(lease.map(|l| l.expires_at.as_millis()))
                .bind(lease.map(|l| l.deadline_at.as_millis()))
                .bind(after.worker.as_ref().map(WorkerId::as_str))
                .bind(unsuited)
                .bind(progress)
                .bind(output)
                .bind(error)
                .bind(after.updated_at.as_millis());
            update.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }

    /// Deletes a job. Whether it was there.
    pub async fn remove(&self, id: &QueueId) -> Result<bool, StoreError> {
        let rows = on_either!(self, write, |pool| {
            let delete = sqlx::query("DELETE FROM jobs WHERE id = $1").bind(id.as_str());
            delete.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }

    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let sql = match filter.order {
            JobOrder::ById => LIST_BY_ID,
            JobOrder::NewestFirst => LIST_NEWEST,
        };
        let kinds = list_of(filter.kinds.iter().map(|k| k.name()));
        let states = list_of(filter.states.iter().map(|s| s.name()));
        let limit = filter.limit.map_or(i64::MAX, i64::from);
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as(sql)
                .bind(kinds)
                .bind(states)
                .bind(filter.worker.as_ref().map(WorkerId::as_str))
                .bind(filter.after.as_ref().map(QueueId::as_str))
                .bind(limit)
                .fetch_all(pool)
                .await?
        });
        jobs(rows)
    }

    /// All jobs that belong to `owner` ([`JobSpec::owner`](crate::job::JobSpec::owner)), oldest first.
    pub async fn owned_by(&self, owner: &str) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as("SELECT * FROM jobs WHERE owner = $1 ORDER BY seq")
                .bind(owner)
                .fetch_all(pool)
                .await?
        });
        jobs(rows)
    }

    /// Jobs whose lease is over at `now`, at most `limit`.
    pub async fn expired(&self, now: UnixMillis, limit: u32) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as(EXPIRED)
                .bind(now.as_millis())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?
        });
        jobs(rows)
    }

    /// Jobs of `kind` that were final before `before`, at most `limit`.
    pub async fn ended(
        &self,
        kind: JobKind,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as(ENDED)
                .bind(kind.name())
                .bind(before.as_millis())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?
        });
        jobs(rows)
    }

    /// Jobs that are booked on `worker`, or that it fetched.
    pub async fn held_by(&self, worker: &WorkerId) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as(HELD_BY)
                .bind(worker.as_str())
                .fetch_all(pool)
                .await?
        });
        jobs(rows)
    }

    /// All workers that a job is booked on.
    pub async fn booked_workers(&self) -> Result<Vec<WorkerId>, StoreError> {
        let names: Vec<String> = on_either!(self, read, |pool| {
            sqlx::query_scalar(BOOKED).fetch_all(pool).await?
        });
        Ok(names.into_iter().map(WorkerId::new).collect())
    }

    /// Waiting jobs none of whose parents is at work any more, at most `limit`; with each, whether
    /// all its parents are done.
    pub async fn settled_children(&self, limit: u32) -> Result<Vec<(Job, bool)>, StoreError> {
        let rows: Vec<JobRow> = on_either!(self, read, |pool| {
            sqlx::query_as(SETTLED_CHILDREN)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?
        });
        let mut found = Vec::new();
        for job in jobs(rows)? {
            let missing: i64 = on_either!(self, read, |pool| {
                sqlx::query_scalar(PARENTS_NOT_DONE)
                    .bind(job.id.as_str())
                    .fetch_one(pool)
                    .await?
            });
            found.push((job, missing == 0));
        }
        Ok(found)
    }

    /// Jobs that have `parent` as a parent.
    pub async fn children(&self, parent: &QueueId) -> Result<Vec<QueueId>, StoreError> {
        let ids: Vec<String> = on_either!(self, read, |pool| {
            sqlx::query_scalar("SELECT child FROM job_parents WHERE parent = $1 ORDER BY child")
                .bind(parent.as_str())
                .fetch_all(pool)
                .await?
        });
        ids.iter().map(|id| parse_id(id)).collect()
    }

    pub async fn counts(&self) -> Result<Vec<JobCount>, StoreError> {
        const COUNTS: &str = "SELECT kind, state, COUNT(*) AS jobs FROM jobs GROUP BY kind, state \
             ORDER BY kind, state";
        let mut found = Vec::new();
        on_either!(self, read, |pool| {
            for row in sqlx::query(COUNTS).fetch_all(pool).await? {
                found.push((
                    row.try_get::<String, _>("kind")?,
                    row.try_get::<String, _>("state")?,
                    row.try_get::<i64, _>("jobs")?,
                ));
            }
        });
        let count = |(kind, state, jobs): (String, String, i64)| {
            Ok(JobCount {
                kind: JobKind::from_name(&kind).ok_or(StoreError::Column("kind"))?,
                state: JobState::from_name(&state).ok_or(StoreError::Column("state"))?,
                jobs: jobs.unsigned_abs(),
            })
        };
        found.into_iter().map(count).collect()
    }
}
