//! Which rendition a track makes, and how it stands.

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
    /// Segments that were ready at some time.
    pub(super) made: u32,
    /// Samples of the segments being made.
    pub(super) growing: Vec<usize>,
    /// Whether a sample is a unit of the timeline, as in all that is encoded.
    pub(super) counts_units: bool,
    pub(super) heads: Vec<u32>,
    pub(super) paused: bool,
    pub(super) speed: f64,
    pub(super) last_failure: Option<String>,
    pub(super) disk_error: Option<String>,
}

impl TrackView {
    /// Two renditions of the same as one: what either has is there.
    pub(super) fn either(self, other: TrackView) -> TrackView {
        let mut all: Vec<(u32, u32)> = self.ready.into_iter().chain(other.ready).collect();
        all.sort_unstable();
        let mut ready: Vec<(u32, u32)> = Vec::new();
        for (first, last) in all {
            match ready.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => ready.push((first, last)),
            }
        }
        let count: u32 = ready.iter().map(|(first, last)| last - first + 1).sum();
        let working = |v: &[u32], paused: bool| !v.is_empty() && !paused;
        let (mine, others) = (
            working(&self.heads, self.paused),
            working(&other.heads, other.paused),
        );
        let any = !self.heads.is_empty() || !other.heads.is_empty();
        TrackView {
            made: count.max(self.made).max(other.made),
            ready,
            paused: any && !mine && !others,
            speed: match (mine, others) {
                (true, true) => self.speed.min(other.speed),
                (false, true) => other.speed,
                _ => self.speed,
            },
            // Another rendition's unfinished segments are the same pictures once more.
            growing: self.growing,
            counts_units: self.counts_units,
            heads: [self.heads, other.heads].concat(),
            last_failure: self.last_failure.or(other.last_failure),
            disk_error: self.disk_error.or(other.disk_error),
        }
    }
}
