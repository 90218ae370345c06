//! Queued work and who does it: the one core behind every protocol that hands out jobs.
//!
//! A job is submitted, offered, claimed for a time (a lease), kept alive, and ended; a lease that runs
//! out puts the job back. Every change is `job::apply`, written only if nobody was faster, so the
//! methods may be called by anybody at any time, on several gateways with one PostgreSQL too. All
//! methods are cancel-safe: what was begun is either written whole or not at all.

mod assign;
mod clock;
mod dispatcher;
mod error;
mod reaper;
mod retention;
mod signal;
mod workers;

pub use clock::Clock;
pub use dispatcher::{DispatchParts, DispatchSettings, Dispatcher};
pub use error::DispatchError;
pub use retention::{House, keep_house};
pub use workers::WorkerView;
