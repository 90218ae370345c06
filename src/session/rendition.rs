//! Which rendition a track makes, and how it stands.

use std::collections::BTreeMap;

/// What a track is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackKind {
    Video,
    Audio,
}

impl TrackKind {
    pub fn name(self) -> &'static str {
        match self {
            TrackKind::Video => "video",
            TrackKind::Audio => "audio",
        }
    }
}

/// A rendition: its kind and its place among those of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrackId {
    pub kind: TrackKind,
    pub nth: usize,
}

impl TrackId {
    pub(super) fn video(nth: usize) -> Self {
        TrackId {
            kind: TrackKind::Video,
            nth,
        }
    }

    pub(super) fn audio(nth: usize) -> Self {
        TrackId {
            kind: TrackKind::Audio,
            nth,
        }
    }
}

/// As in the names of files: `video0`.
impl std::fmt::Display for TrackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.kind.name(), self.nth)
    }
}

/// How a track stands, for the status of its stream.
#[derive(Debug, Clone, Default)]
pub(super) struct TrackView {
    pub(super) ready: Vec<(u32, u32)>,
    /// Segments that were ready at some time; the cache may have dropped them since.
    pub(super) made: Vec<(u32, u32)>,
    /// What there is of the segments being made, by segment: samples, or ticks of what is copied.
    pub(super) growing: BTreeMap<u32, usize>,
    /// Whether that is in units of the timeline.
    pub(super) counts_units: bool,
    pub(super) heads: Vec<u32>,
    pub(super) paused: bool,
    pub(super) speed: f64,
    pub(super) last_failure: Option<String>,
    pub(super) disk_error: Option<String>,
}

/// Whether `segment` lies in one of `ranges`, whose ends are inclusive.
pub(super) fn lies_in(ranges: &[(u32, u32)], segment: u32) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&segment))
}

/// What lies in either, as ranges in order.
fn union(one: Vec<(u32, u32)>, other: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = one.into_iter().chain(other).collect();
    all.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

impl TrackView {
    /// How many segments were ready at some time.
    pub(super) fn made_count(&self) -> u32 {
        self.made.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Two renditions of the same as one: what either has is there.
    pub(super) fn either(self, other: TrackView) -> TrackView {
        let made = union(self.made, other.made);
        // Of the same pictures in several renditions those count that are furthest.
        let mut growing = self.growing;
        for (segment, samples) in other.growing {
            let most = growing.entry(segment).or_default();
            *most = samples.max(*most);
        }
        growing.retain(|segment, _| !lies_in(&made, *segment));
        let working = |v: &[u32], paused: bool| !v.is_empty() && !paused;
        let (mine, others) = (
            working(&self.heads, self.paused),
            working(&other.heads, other.paused),
        );
        let any = !self.heads.is_empty() || !other.heads.is_empty();
        TrackView {
            ready: union(self.ready, other.ready),
            made,
            paused: any && !mine && !others,
            speed: match (mine, others) {
                (true, true) => self.speed.min(other.speed),
                (false, true) => other.speed,
                _ => self.speed,
            },
            growing,
            counts_units: self.counts_units,
            heads: [self.heads, other.heads].concat(),
            last_failure: self.last_failure.or(other.last_failure),
            disk_error: self.disk_error.or(other.disk_error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever rendition is watched, what is made of it counts, and once.
    #[test]
    fn unfinished_segments_count_in_the_rendition_that_is_furthest() {
        let left = TrackView {
            made: vec![(0, 1)],
            growing: BTreeMap::from([(2, 10)]),
            ..TrackView::default()
        };
        let watched = TrackView {
            ready: vec![(2, 3)],
            made: vec![(2, 4)],
            growing: BTreeMap::from([(1, 7), (5, 30), (6, 2)]),
            ..TrackView::default()
        };
        let behind = TrackView {
            growing: BTreeMap::from([(5, 12), (6, 3)]),
            ..TrackView::default()
        };
        let all = left.either(watched).either(behind);
        assert_eq!((all.made_count(), all.ready), (5, vec![(2, 3)]));
        assert_eq!(all.growing, BTreeMap::from([(5, 30), (6, 3)]));
    }
}
