//! Videos that runners transcode: taken in, split into jobs, handed out, put together, kept.
//!
//! A video is one document; its jobs belong to it in the queue. What a runner delivers is first put on
//! disk and noted in the document (from then on the runner is free), then looked at, stored as
//! artifacts and entered as a result; only then the job is done. Each step is repeated by the next
//! process where one broke off.

mod admin;
mod error;
mod files;
mod finish;
mod intake;
mod live;
mod local;
mod local_live;
mod model;
mod offer;
mod resumable;
mod roster;
mod service;
mod token;
mod view;
mod work;

pub use admin::{JobPage, JobQuery, JobSort};
pub use error::VideoError;
pub use files::{Incoming, StoredFile};
pub use intake::{Given, Order, Submission};
pub use live::LiveUpdate;
pub use model::{Callback, Made, Video, VideoFacts, VideoSource};
pub use offer::Accepted;
pub use resumable::{Piece, Resumable, WholeUpload};
pub use roster::{RegistrationToken, Runner};
pub use service::{Connected, VideoParts, VideoSettings, Videos};
pub use token::{JobToken, RegistrationSecret};
pub use view::{JobView, RunnerJobState, VideoState, VideoView};
pub use work::{Delivered, InputFile, Right, Working};
