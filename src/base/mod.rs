//! Newtypes and small tools without domain: times, rates, sizes, ids, back-off.

mod backoff;
mod id;
mod units;

pub use backoff::Backoff;
pub use id::{JobId, ParseIdError};
pub use units::{Bitrate, FrameRate, MediaTime, ParseUnitError, Resolution};
