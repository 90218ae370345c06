//! Streams that are made while they are watched: encoder runs (heads) per track, the cache of
//! segments, the jobs that clients know.

mod cache;
mod encoders;
mod error;
mod head;
mod job;
mod live;
mod open;
mod registry;
mod segment;
mod serve;
mod stream;
mod track;

pub use cache::{CacheError, SegmentCache};
pub use error::SessionError;
pub use job::{Job, JobPhase, JobStatus, SegmentCounts};
pub use open::{Facts, FactsCache, Inspection, OPEN_WITHIN, Opener, source_trouble};
pub use registry::{Registry, RegistryParts, SessionSettings, Totals};
pub use serve::{LiveBytes, Served, StreamFile, collect};
pub use stream::Stream;
