//! What is shown of a track.

use crate::hls::HeadId;

use super::super::detail::{HeadDetail, TrackDetail};
use super::super::rendition::{TrackKind, TrackView};
use super::Track;

impl Track {
    pub(in crate::session) fn view(&self) -> TrackView {
        let state = self.lock();
        let growing = state.growing.iter();
        let unfinished = growing.filter(|(segment, _)| !state.scheduler.is_ready(**segment));
        let plan = &self.core.plan;
        TrackView {
            ready: state.scheduler.ready_ranges(),
            growing: unfinished.map(|(_, growing)| growing.len()).collect(),
            counts_units: match plan.main_video() {
                Some(video) => self.id.kind == TrackKind::Video && video.encode.is_some(),
                None => plan.main_audio().is_some_and(|a| a.encode.is_some()),
            },
            made: state.scheduler.made_count(),
            heads: state.scheduler.heads().map(|(_, next)| next).collect(),
            paused: !state.heads.is_empty() && state.heads.values().all(|h| h.paused),
            speed: state.scheduler.speed(),
            last_failure: state.last_failure.clone(),
            disk_error: state.disk_error.clone(),
        }
    }

    /// What is there and what is made now, in segments.
    pub(in crate::session) fn detail(&self) -> TrackDetail {
        let state = self.lock();
        let head = |(id, segment): (HeadId, u32)| {
            let working = state.heads.get(&id)?;
            let done = state.growing.get(&segment).map_or(0, |g| g.len());
            Some(HeadDetail {
                segment,
                seconds: self.seconds_of(segment, done),
                paused: working.paused,
                speed: working.speed,
            })
        };
        TrackDetail {
            id: self.id,
            ready: state.scheduler.ready_ranges(),
            heads: state.scheduler.heads().filter_map(head).collect(),
            software: state.learned.software,
            last_failure: state.last_failure.clone(),
        }
    }

    /// Where sample `done` of `segment` lies on the timeline, as far as samples are numbered.
    fn seconds_of(&self, segment: u32, done: usize) -> f64 {
        let timeline = self.cuts.timeline();
        let begin = timeline.grid().seconds(timeline.start(segment));
        let share = match self.cuts.samples(segment) {
            Some(all) if all > 0 => done.min(all) as f64 / all as f64,
            _ => 0.0,
        };
        begin + share * timeline.seconds(segment)
    }
}
