//! GhostStream.
pub mod base;
pub mod web_ui;
