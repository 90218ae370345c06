//! The one integration test binary. Its modules are marked as tests, so that clippy lets their
//! helper functions unwrap too.

#[cfg(test)]
mod accelerators;
#[cfg(test)]
mod access;
#[cfg(test)]
mod app;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bad_requests;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod callbacks;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod colors;
#[cfg(test)]
mod combinations;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod dispatch;
#[cfg(test)]
mod distconv;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod exactness;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fetched;
#[cfg(test)]
mod file_server;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod head_starts;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod joined;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod media;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod package;
#[cfg(test)]
mod peertube;
#[cfg(test)]
mod playback;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod real_media;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod reliability;
#[cfg(test)]
mod renditions;
#[cfg(test)]
mod resilience;
#[cfg(test)]
mod review;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod store;
#[cfg(test)]
mod together;
#[cfg(test)]
mod web_api;
