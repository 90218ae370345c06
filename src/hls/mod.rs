//! The shape of an HLS stream: where segments are cut, what the playlists say, and which encoder
//! run (head) serves which segment. Pure.

mod playlist;
mod schedule;
mod timeline;
mod webvtt;

pub use playlist::{MasterEntry, MediaPlaylist, PlaylistKind, master_playlist};
pub use schedule::{Action, Ending, HeadId, Scheduler, WaiterId};
pub use timeline::{AudioCuts, Grid, SegmentTimeline};
pub use webvtt::{Cue, parse_webvtt, webvtt_segment};
