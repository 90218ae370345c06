//! Media queries: a picture, an overview, a description or a WebM stream of a source, made while the
//! client waits (contract `pythumbio.md`).
//!
//! Identical queries run once, their results are kept on disk, and what nobody waits for any more is
//! ended: a query is a future that its waiters share, and its process ends with it.

mod cache;
mod error;
mod meta;
mod run;
mod samples;
mod service;
mod source;
mod webm;

pub use error::QueryError;
pub use meta::{SummaryAudio, SummaryVideo};
pub use service::{Prepared, Queries, Query, QueryParts, QuerySettings};
pub use webm::WebmBody;
