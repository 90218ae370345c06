//! Newtypes and small tools without domain: times, rates, sizes, ids.

mod id;
mod units;

pub use id::{JobId, ParseIdError};
pub use units::{Bitrate, FrameRate, MediaTime, ParseUnitError, Resolution};
