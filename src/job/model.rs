//! A job and the words for what happens to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{LeaseToken, MediaTime, QueueId, UnixMillis, WorkerId};
use crate::hardware::Accelerator;

use super::retry::RetryPolicy;
use super::spec::JobSpec;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its parents are not all done.
    Waiting,
    /// A worker may have it (from [`Job::not_before`] on).
    Ready,
    /// A worker has it.
    Leased,
    /// Final: it has a result.
    Done,
    /// Given up; only [`super::Event::Retry`] leads out.
    Failed,
    /// Withdrawn; only [`super::Event::Retry`] leads out.
    Cancelled,
}

impl JobState {
    pub const ALL: &'static [JobState] = &[
        JobState::Waiting,
        JobState::Ready,
        JobState::Leased,
        JobState::Done,
        JobState::Failed,
        JobState::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Ready => "ready",
            JobState::Leased => "leased",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// Whether no worker will touch the job any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            JobState::Done | JobState::Failed | JobState::Cancelled
        )
    }
}

/// The right to work on a job, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub token: LeaseToken,
    /// On whom the job is booked.
    pub worker: WorkerId,
    /// Who fetched it. The same, but with distconv, whose server may book a job on another engine
    /// than the one that asked (contract, section 4.4).
    pub carrier: WorkerId,
    pub begun_at: UnixMillis,
    pub expires_at: UnixMillis,
    /// No renewal leads beyond this.
    pub deadline_at: UnixMillis,
}

/// How far a worker says it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    #[serde(default)]
    pub message: String,
}

/// What came of a job that is done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobOutput {
    /// Where the worker says the result lies.
    pub url: Option<String>,
    /// Name of the result in the artifact store, when it lies there.
    pub artifact: Option<String>,
    pub size_bytes: Option<u64>,
    /// Of the result's bytes, in lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// How long the result plays; stored in microseconds.
    #[serde(rename = "duration_us", skip_serializing_if = "Option::is_none")]
    pub duration: Option<MediaTime>,
    /// The hardware that encoded it; `None`: software, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_by: Option<Accelerator>,
    /// What was wanted and could not be had, in words.
    pub notes: Vec<String>,
    /// How good a scene is, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// How good something was found to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub metric: crate::media::Metric,
    pub value: f64,
    /// At which quantiser of its encoder.
    pub quantiser: u32,
}

/// A measured value is never not a number.
impl Eq for Measured {}

/// Why an attempt came to nothing. `reason` is kept as the worker sent it; distconv takes any JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Another attempt may do better.
    Transient { reason: Value },
    /// This worker cannot do it; others may. Not counted as a failure.
    Unsuited { reason: Value },
    /// No attempt can do better.
    Permanent { reason: Value },
}

/// A job before it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub id: QueueId,
    pub spec: JobSpec,
    /// Higher first; 0 is usual.
    pub priority: i32,
    /// Jobs that must be done before.
    pub parents: Vec<QueueId>,
    pub retry: RetryPolicy,
}

/// One piece of queued work.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: QueueId,
    /// Number of changes since it was made: who writes a change names the version it was made from.
    pub version: i64,
    pub spec: JobSpec,
    pub state: JobState,
    pub priority: i32,
    pub parents: Vec<QueueId>,
    pub retry: RetryPolicy,
    /// Leases so far.
    pub attempts: u32,
    /// Failures so far that count.
    pub failures: u32,
    /// Leases that ran out so far.
    pub expiries: u32,
    /// Before this, nobody gets it; 0 when there is nothing to wait for.
    pub not_before: UnixMillis,
    /// There exactly when the state is `Leased`.
    pub lease: Option<Lease>,
    /// Who has it, or had it last.
    pub worker: Option<WorkerId>,
    /// Who said that they cannot do it.
    pub unsuited: BTreeSet<WorkerId>,
    pub progress: Option<Progress>,
    /// There exactly when the state is `Done`.
    pub output: Option<JobOutput>,
    /// Reason of the last failure; stays when a later attempt succeeds.
    pub error: Option<Value>,
    pub created_at: UnixMillis,
    pub updated_at: UnixMillis,
}

impl Job {
    /// A job that was not there before. Without parents it is ready.
    pub fn new(new: NewJob, now: UnixMillis) -> Job {
        let state = match new.parents.is_empty() {
            true => JobState::Ready,
            false => JobState::Waiting,
        };
        Job {
            id: new.id,
            version: 0,
            spec: new.spec,
            state,
            priority: new.priority,
            parents: new.parents,
            retry: new.retry,
            attempts: 0,
            failures: 0,
            expiries: 0,
            not_before: UnixMillis::default(),
            lease: None,
            worker: None,
            unsuited: BTreeSet::new(),
            progress: None,
            output: None,
            error: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether `token` is that of the lease that is held now.
    pub fn is_held_by(&self, token: LeaseToken) -> bool {
        self.lease.as_ref().is_some_and(|l| l.token == token)
    }
}
