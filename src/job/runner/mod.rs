//! Work that PeerTube's runners do (contract `peertube-runner`): what there is, which renditions a
//! video gets, what a runner is told, and which of several jobs it is offered first.

mod breaker;
mod offers;
mod payload;
mod renditions;
mod spec;

pub use breaker::{Breaker, FailureStreak};
pub use offers::{OFFERS, offered};
pub use payload::payload;
pub use renditions::{Rendition, fps_for, renditions};
pub use spec::{RunnerSpec, RunnerWork, Storyboard, StudioTask};
