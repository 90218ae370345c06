//! What the gateway says of itself: log output (levels, formats, the subscriber, the names of the fields
//! that events carry) and metrics.

pub mod field;
mod level;
pub mod metrics;
mod setup;

pub use level::{LogFormat, LogLevel, UnknownLogWord};
pub use metrics::Metrics;
pub use setup::{LogControl, Settings, SetupError, init};
