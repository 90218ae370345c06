//! Newtypes and small tools without domain: times, rates, sizes, ids.

mod id;
mod recency;
mod time;
mod units;

pub use id::{JobId, LeaseToken, ParseIdError, QueueId, WorkerId};
pub use recency::Recency;
pub use time::UnixMillis;
pub use units::{Bitrate, FrameRate, MediaTime, ParseUnitError, Resolution};
