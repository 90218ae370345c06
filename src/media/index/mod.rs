//! Keyframe times from a container's own index, without reading its pictures: the sample tables
//! of MP4 and MOV, the Cues of Matroska and WebM.
//!
//! No input or output happens here: [`IndexReader`] says which bytes it needs, and takes them.

mod bytes;
mod matroska;
mod mp4;
mod reader;

pub use reader::{ContainerHint, IndexReader, Step, index_follows_media};
