//! Queued work: what a job is, and every change it can go through. Pure.
//!
//! A job is made by [`Job::new`] and changed by [`apply`] only. Who stores jobs writes what `apply`
//! returns, and nothing else; [`Job::version`] tells whether somebody was faster.

mod apply;
mod model;
mod retry;
pub mod runner;
mod scenes;
mod spec;
mod worker;

pub use apply::{Effects, Event, Proof, Refused, apply};
pub use model::{Failure, Job, JobOutput, JobState, Lease, Measured, NewJob, Progress};
pub use retry::{Backoff, RetryPolicy};
pub use scenes::{SceneOffer, choose_scene};
pub use spec::{BatchSpec, JobKind, JobSpec, SceneSpec, SpecError, TranscodeSpec, codec_family};
pub use worker::{Abilities, Worker, choose_by_size};
