//! The configuration: its shape, where it is read from, and what it may hold.
//!
//! Precedence, lowest first: defaults, one YAML file, environment `GHOSTSTREAM__SECTION__KEY`, flags.
//! [`load`] reads the outside once and reports every problem at once; what it hands out is valid.
//! `ghoststream.yaml` at the top of the repository is the manual of all keys.

mod describe;
mod error;
mod file;
mod layers;
mod load;
mod reload;
mod validate;
mod values;

pub use describe::{Origins, Setting, describe};
pub use error::{ConfigError, Origin, Problem};
pub use file::{Config, Limits, Logging, Server, Sources, Transcoding};
pub use load::{Inputs, Loaded, Overrides, load, search_paths};
pub use reload::{Changes, RELOADABLE};
pub use values::{ByteSize, ToolPath, VideoPreset};
