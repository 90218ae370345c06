//! Where queued work is kept: jobs, workers and what use cases know of them, in SQLite or PostgreSQL.
//!
//! The store decides nothing: it writes what `job::apply` returned, and only if nobody was faster
//! ([`Store::write`]). The claim alone is made here, in one statement, because two workers must not get
//! the same job; it changes the row exactly as `apply` would.

mod claim;
mod documents;
mod error;
mod jobs;
mod open;
mod row;
mod work_signal;
mod workers;

pub use claim::{Claim, Wanted};
pub use documents::{Collection, Document};
pub use error::StoreError;
pub use jobs::{JobCount, JobFilter, JobOrder};
pub use open::Store;
pub use work_signal::WorkListener;
