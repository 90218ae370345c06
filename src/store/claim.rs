//! The claim: one statement that finds a job and books it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{LeaseToken, QueueId, UnixMillis, WorkerId};
use crate::job::{Job, JobKind};

use super::error::StoreError;
use super::open::{Store, on_either};
use super::row::{JobRow, to_json};

/// Which work a worker is offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub kinds: Vec<JobKind>,
    /// Families of codecs; `None`: all.
    pub codecs: Option<BTreeSet<String>>,
}

/// Who takes a job, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub token: LeaseToken,
    pub worker: WorkerId,
    pub carrier: WorkerId,
    pub term: Duration,
    pub at_most: Duration,
    pub now: UnixMillis,
}

/// The condition and order of what a worker is offered. `$1` now, `$2` worker; the others as given.
macro_rules! matching {
    // The plus keeps SQLite from choosing an index by kind and then sorting all that waits.
    (sqlite, $kinds:literal, $codecs:literal) => {
        concat!(
            "state = 'ready' AND not_before <= $1 AND +kind IN (SELECT value FROM json_each(",
            $kinds,
            ")) AND (",
            $codecs,
            " IS NULL OR requires IS NULL OR requires IN (SELECT value FROM json_each(",
            $codecs,
            "))) AND NOT EXISTS (SELECT 1 FROM json_each(unsuited_json) WHERE value = $2) \
             ORDER BY priority DESC, seq"
        )
    };
    (postgres, $kinds:literal, $codecs:literal) => {
        concat!(
            "state = 'ready' AND not_before <= $1 \
             AND kind IN (SELECT jsonb_array_elements_text(CAST(",
            $kinds,
            " AS JSONB))) AND (CAST(",
            $codecs,
            " AS TEXT) IS NULL OR requires IS NULL \
             OR requires IN (SELECT jsonb_array_elements_text(CAST(",
            $codecs,
            " AS JSONB)))) AND NOT jsonb_exists(CAST(unsuited_json AS JSONB), $2) \
             ORDER BY priority DESC, seq"
        )
    };
}

/// What a claim changes, as `job::apply` changes it. `$1` to `$6` are the claim, `$7` and on say which
/// job.
macro_rules! booking {
    ($which:expr) => {
        concat!(
            "UPDATE jobs SET state = 'leased', version = version + 1, attempts = attempts + 1, \
             progress_json = NULL, worker = $2, lease_token = $3, lease_worker = $2, \
             lease_carrier = $4, lease_begun_at = $1, lease_expires_at = $5, \
             lease_deadline_at = $6, updated_at = $1 WHERE state = 'ready' AND ",
            $which,
            " RETURNING *"
        )
    };
}

const NEXT_SQLITE: &str = booking!(concat!(
    "seq = (SELECT seq FROM jobs WHERE ",
    matching!(sqlite, "$7", "$8"),
    " LIMIT 1)"
));
const NEXT_POSTGRES: &str = booking!(concat!(
    "seq = (SELECT seq FROM jobs WHERE ",
    matching!(postgres, "$7", "$8"),
    " LIMIT 1 FOR UPDATE SKIP LOCKED)"
));
const ONE: &str = booking!("id = $7 AND not_before <= $1");
const OFFERS_SQLITE: &str = concat!(
    "SELECT * FROM jobs WHERE ",
    matching!(sqlite, "$3", "$4"),
    " LIMIT $5"
);
const OFFERS_POSTGRES: &str = concat!(
    "SELECT * FROM jobs WHERE ",
    matching!(postgres, "$3", "$4"),
    " LIMIT $5"
);

/// The claim's own values as the first six of a statement.
macro_rules! booked {
    ($sql:expr, $claim:expr) => {{
        let claim: &Claim = $claim;
        let deadline = claim.now + claim.at_most;
        let expires = deadline.min(claim.now + claim.term);
        sqlx::query_as($sql)
            .bind(claim.now.as_millis())
            .bind(claim.worker.as_str())
            .bind(claim.token.to_string())
            .bind(claim.carrier.as_str())
            .bind(expires.as_millis())
            .bind(deadline.as_millis())
    }};
}

impl Store {
    /// Books the first job that suits, by priority and then by age. `None`: there is none.
    pub async fn claim_next(
        &self,
        wanted: &Wanted,
        claim: &Claim,
    ) -> Result<Option<Job>, StoreError> {
        let kinds = to_json(&wanted.kinds)?;
        let codecs = wanted.codecs.as_ref().map(to_json).transpose()?;
        let row: Option<JobRow> = match self {
            Store::Sqlite(s) => {
                let query = booked!(NEXT_SQLITE, claim).bind(kinds).bind(codecs);
                query.fetch_optional(&s.write).await?
            }
            Store::Postgres(s) => {
                let query = booked!(NEXT_POSTGRES, claim).bind(kinds).bind(codecs);
                query.fetch_optional(&s.write).await?
            }
        };
        row.map(Job::try_from).transpose()
    }

    /// Books the job `id`, if it is ready.
    pub async fn claim_one(&self, id: &QueueId, claim: &Claim) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = on_either!(self, write, |pool| {
            let query = booked!(ONE, claim).bind(id.as_str());
            query.fetch_optional(pool).await?
        });
        row.map(Job::try_from).transpose()
    }

    /// What `claim_next` would choose from, first choice first, at most `limit`. Takes nothing.
    pub async fn offers(
        &self,
        wanted: &Wanted,
        worker: &WorkerId,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let kinds = to_json(&wanted.kinds)?;
        let codecs = wanted.codecs.as_ref().map(to_json).transpose()?;
        macro_rules! bound {
            ($sql:expr, $pool:expr) => {
                sqlx::query_as($sql)
                    .bind(now.as_millis())
                    .bind(worker.as_str())
                    .bind(kinds)
                    .bind(codecs)
                    .bind(i64::from(limit))
                    .fetch_all($pool)
                    .await?
            };
        }
        let rows: Vec<JobRow> = match self {
            Store::Sqlite(s) => bound!(OFFERS_SQLITE, &s.read),
            Store::Postgres(s) => bound!(OFFERS_POSTGRES, &s.read),
        };
        rows.into_iter().map(Job::try_from).collect()
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;

    /// Otherwise a claim takes the longer the more jobs wait.
    #[tokio::test]
    async fn a_claim_walks_the_index_of_what_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite://t.db", folder.path()).await.unwrap();
        let Store::Sqlite(sqlite) = &store else {
            panic!("no SQLite")
        };
        for sql in [NEXT_SQLITE, OFFERS_SQLITE] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let steps = sqlx::query(explain).fetch_all(&sqlite.read).await.unwrap();
            let steps: Vec<String> = steps.iter().map(|s| s.get("detail")).collect();
            let plan = steps.join("; ");
            assert!(
                plan.contains("jobs_ready") && !plan.contains("B-TREE"),
                "{plan}"
            );
        }
        store.close().await;
    }
}
