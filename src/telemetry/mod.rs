//! Log output: levels, formats, the subscriber, and the names of the fields events carry.

pub mod field;
mod level;
mod setup;

pub use level::{LogFormat, LogLevel, UnknownLogWord};
pub use setup::{Settings, SetupError, init};
