//! The one integration test binary.

mod app;
mod architecture;
mod package;
mod playback;
