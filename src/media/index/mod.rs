//! Keyframe times from a container's own index, without reading its pictures: the sample tables
//! of MP4 and MOV, the Cues of Matroska and WebM.
//!
//! Beside it lies most of what ffprobe will say of a plain source: [`IndexReader::outline`].
//!
//! No input or output happens here: [`IndexReader`] says which bytes it needs, and takes them.

mod bytes;
mod matroska;
mod matroska_outline;
mod mp4;
mod mp4_outline;
mod outline;
mod reader;

pub use reader::{ContainerHint, IndexReader, Step, index_follows_media};
