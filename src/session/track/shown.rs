//! What is shown of a track.

use crate::hls::HeadId;

use super::super::detail::{HeadDetail, TrackDetail};
use super::super::rendition::{TrackKind, TrackView, lies_in};
use super::super::segment::GrowingSegment;
use super::Track;

impl Track {
    pub(in crate::session) fn view(&self) -> TrackView {
        let state = self.lock();
        let made = state.scheduler.made_ranges();
        let growing = state.growing.iter();
        let unfinished = growing.filter(|(segment, _)| !lies_in(&made, **segment));
        let plan = &self.core.plan;
        let video = plan.main_video();
        // The timeline of copied pictures counts their ticks.
        let is_copy = video.is_some_and(|v| v.encode.is_none());
        let units = |growing: &GrowingSegment| match is_copy {
            true => growing.ticks(),
            false => growing.len(),
        };
        let growing = unfinished
            .map(|(at, growing)| (*at, units(growing)))
            .collect();
        TrackView {
            ready: state.scheduler.ready_ranges(),
            growing,
            counts_units: match video {
                Some(_) => self.id.kind == TrackKind::Video,
                None => plan.main_audio().is_some_and(|a| a.encode.is_some()),
            },
            made,
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
