//! Every change of a job.

use std::time::Duration;

use serde_json::Value;

use crate::base::{LeaseToken, UnixMillis, WorkerId};

use super::model::{Failure, Job, JobOutput, JobState, Lease, Progress};

/// What happens to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker takes it, for `term` and with renewals at most for `at_most`.
    Claim {
        token: LeaseToken,
        worker: WorkerId,
        carrier: WorkerId,
        term: Duration,
        at_most: Duration,
    },
    /// The worker is alive: the lease is good for another `term`.
    Renew {
        proof: Proof,
        term: Duration,
        progress: Option<Progress>,
    },
    Complete {
        proof: Proof,
        output: JobOutput,
    },
    Fail {
        proof: Proof,
        failure: Failure,
    },
    /// The worker gives it back untouched; nothing is counted.
    Release {
        proof: Proof,
    },
    /// The lease is over by the clock.
    Expire,
    /// The worker is known to be gone, whatever the clock says of its lease.
    Abandon,
    Cancel,
    /// Once more, with all counts at zero.
    Retry,
    /// Its turn comes earlier (a higher number) or later.
    Prioritise {
        priority: i32,
    },
    /// No parent is at work any more.
    ParentsSettled {
        all_done: bool,
    },
}

/// By what right somebody speaks for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The lease's token.
    Token(LeaseToken),
    /// None: the protocol has no tokens (distconv). Good for any job that is not final.
    Word,
}

/// What a change brings about besides the job's new form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// There is work for workers that wait.
    pub ready: bool,
    /// It has become final: jobs that have it as a parent may go on.
    pub settled: bool,
}

/// Why nothing changes. The texts are for whoever sent the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the lease is no longer yours")]
    NotYours,
    #[error("the job is {}", .0.name())]
    NotReady(JobState),
    #[error("the job is already {}", .0.name())]
    Final(JobState),
    #[error("the lease is still good")]
    StillHeld,
    #[error("the job is {}; only failed and cancelled jobs are tried again", .0.name())]
    NothingToRetry(JobState),
}

/// Workers that may say that they cannot do a job before it is given up.
const MAX_UNSUITED: usize = 16;

/// The one place where jobs change: `job` after `event`, or why the event changes nothing.
///
/// What is stored is always the result of this function; the one change that stores make by
/// themselves, for the sake of atomicity, is the claim, and it equals `apply` of `Event::Claim`.
///
/// # Errors
/// [`Refused`]: a token of an earlier lease, a job that is final, a job that somebody else has.
pub fn apply(job: Job, event: Event, now: UnixMillis) -> Result<(Job, Effects), Refused> {
    let before = job.state;
    let mut job = job;
    match event {
        Event::Claim {
            token,
            worker,
            carrier,
            term,
            at_most,
        } => {
            if job.state != JobState::Ready || job.not_before > now {
                return Err(Refused::NotReady(job.state));
            }
            let deadline_at = now + at_most;
            job.state = JobState::Leased;
            job.attempts += 1;
            job.progress = None;
            job.worker = Some(worker.clone());
            job.lease = Some(Lease {
                token,
                worker,
                carrier,
                begun_at: now,
                expires_at: deadline_at.min(now + term),
                deadline_at,
            });
        }
        Event::Renew {
            proof,
            term,
            progress,
        } => {
            allow(&job, proof)?;
            if let Some(lease) = &mut job.lease {
                lease.expires_at = lease.deadline_at.min(now + term);
            }
            job.progress = progress.map(bounded).or(job.progress);
        }
        Event::Complete { proof, output } => {
            allow(&job, proof)?;
            job.state = JobState::Done;
            job.lease = None;
            job.output = Some(output);
        }
        Event::Fail { proof, failure } => {
            allow(&job, proof)?;
            fail(&mut job, failure, now);
        }
        Event::Release { proof } => {
            allow(&job, proof)?;
            let Some(_) = job.lease.take() else {
                return Err(Refused::NotYours);
            };
            job.worker = None;
            job.progress = None;
            job.state = JobState::Ready;
            job.not_before = UnixMillis::default();
        }
        Event::Expire | Event::Abandon => {
            let Some(lease) = &job.lease else {
                return Err(Refused::NotReady(job.state));
            };
            let (gone, late) = (event == Event::Abandon, lease.deadline_at <= now);
            if !gone && lease.expires_at > now {
                return Err(Refused::StillHeld);
            }
            match late {
                true => {
                    let reason = Value::from("it took longer than a job may take");
                    fail(&mut job, Failure::Transient { reason }, now);
                }
                false => expire(&mut job),
            }
        }
        Event::Cancel => {
            not_final(&job)?;
            job.lease = None;
            job.state = JobState::Cancelled;
        }
        Event::Retry => {
            if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
                return Err(Refused::NothingToRetry(job.state));
            }
            (job.failures, job.expiries) = (0, 0);
            job.unsuited.clear();
            (job.worker, job.progress) = (None, None);
            job.not_before = UnixMillis::default();
            // Its parents may have changed meanwhile: whoever knows them says so.
            job.state = match job.parents.is_empty() {
                true => JobState::Ready,
                false => JobState::Waiting,
            };
        }
        Event::Prioritise { priority } => {
            // What a worker already has keeps its number for when it is offered again.
            not_final(&job)?;
            job.priority = priority;
        }
        Event::ParentsSettled { all_done } => {
            if job.state != JobState::Waiting {
                return Err(Refused::NotReady(job.state));
            }
            if all_done {
                job.state = JobState::Ready;
                job.not_before = UnixMillis::default();
            } else {
                job.state = JobState::Failed;
                job.error = Some("work that this depends on came to nothing".into());
            }
        }
    }
    job.version += 1;
    job.updated_at = now;
    let effects = Effects {
        ready: job.state == JobState::Ready && before != JobState::Ready,
        settled: job.state.is_final() && !before.is_final(),
    };
    Ok((job, effects))
}

fn not_final(job: &Job) -> Result<(), Refused> {
    match job.state.is_final() {
        true => Err(Refused::Final(job.state)),
        false => Ok(()),
    }
}

/// Whether `proof` is good for a change of `job`.
fn allow(job: &Job, proof: Proof) -> Result<(), Refused> {
    not_final(job)?;
    match proof {
        Proof::Token(token) if !job.is_held_by(token) => Err(Refused::NotYours),
        Proof::Token(_) | Proof::Word => Ok(()),
    }
}

fn fail(job: &mut Job, failure: Failure, now: UnixMillis) {
    let lease = job.lease.take();
    let (reason, again) = match failure {
        Failure::Transient { reason } => {
            job.failures += 1;
            (reason, job.failures < job.retry.max_failures.max(1))
        }
        Failure::Unsuited { reason } => {
            job.unsuited.extend(lease.map(|l| l.worker));
            (reason, job.unsuited.len() < MAX_UNSUITED)
        }
        Failure::Permanent { reason } => {
            job.failures += 1;
            (reason, false)
        }
    };
    job.error = Some(reason);
    job.progress = None;
    if again {
        job.worker = None;
        job.not_before = match job.retry.wait(job.failures, &job.id) {
            // Not `now`: the clocks of two gateways differ.
            Duration::ZERO => UnixMillis::default(),
            wait => now + wait,
        };
        // A job whose parents are at work stays where it is, whoever reports a failure of it.
        if job.state != JobState::Waiting {
            job.state = JobState::Ready;
        }
    } else {
        job.state = JobState::Failed;
    }
}

fn expire(job: &mut Job) {
    job.lease = None;
    job.progress = None;
    job.expiries += 1;
    if job.expiries < job.retry.max_expiries.max(1) {
        job.worker = None;
        job.not_before = UnixMillis::default();
        job.state = JobState::Ready;
    } else {
        let told = match job.expiries {
            1 => "its worker was not heard of any more",
            _ => "its workers vanished too often",
        };
        job.error = Some(told.into());
        job.state = JobState::Failed;
    }
}

/// Longest message of progress that is kept, characters.
const MAX_MESSAGE: usize = 500;

fn bounded(progress: Progress) -> Progress {
    let percent = match progress.percent.is_finite() {
        true => progress.percent.clamp(0.0, 100.0),
        false => 0.0,
    };
    Progress {
        percent,
        message: progress.message.chars().take(MAX_MESSAGE).collect(),
    }
}

#[cfg(test)]
mod tests;
