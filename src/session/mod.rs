//! Streams that are made while they are watched: encoder runs (heads) per track, the cache of
//! segments, the jobs that clients know.

mod cache;
mod detail;
mod encoder;
mod encoders;
mod error;
mod figures;
mod file;
mod files;
mod head;
mod head_start;
mod job;
mod live;
mod look_over;
mod meeting;
mod open;
mod patience;
mod progress;
mod registry;
mod rendition;
mod segment;
mod serve;
mod sharing;
mod stream;
mod subtitles;
mod to_file;
mod track;

pub use cache::{CacheError, SegmentCache};
pub use detail::{HeadDetail, StreamMap, TrackMap};
pub use error::SessionError;
pub use figures::Figures;
pub use file::StreamFile;
pub use job::{FileStage, Job, JobOrigin, JobPhase, JobStatus, SegmentCounts};
pub use open::{Facts, FactsCache, Inspection, OPEN_WITHIN, Opener, source_trouble};
pub use progress::{Event, JobState, Listener, Position, ProgressHub};
pub use registry::{Registry, RegistryParts, SessionSettings, Totals};
pub use rendition::{TrackId, TrackKind};
pub use serve::{LiveBytes, Served, collect};
pub use sharing::{SharedStream, ViewerCount};
pub use stream::Stream;
pub use to_file::{FileOrder, FileProgress, FileRules, MadeFile};
