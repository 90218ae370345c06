//! The shape of an HLS stream: where segments are cut, what the playlists say, and which encoder
//! run (head) serves which segment. Pure.

mod live_list;
mod playlist;
mod schedule;
mod timeline;
mod uploaded;
mod webvtt;

pub use live_list::{LiveList, is_chunk_name, is_list_name, live_master, playable_master};
pub use playlist::{MasterEntry, MediaPlaylist, PlaylistKind, master_playlist};
pub use schedule::{Action, Ending, HeadId, Scheduler, WaiterId};
pub use timeline::{Grid, SegmentTimeline};
pub use uploaded::{ByteSpan, SingleFile, SpanSegment, UploadedError};
pub use webvtt::{Cue, parse_webvtt, webvtt_segment};
