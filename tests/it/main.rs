//! The one integration test binary.

mod app;
mod architecture;
mod exactness;
mod media;
mod package;
mod playback;
