//! The one integration test binary.

mod app;
mod architecture;
mod exactness;
mod joined;
mod media;
mod package;
mod playback;
mod real_media;
mod runs;
