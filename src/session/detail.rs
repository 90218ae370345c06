//! A stream as its map shows it: what of each track is there, and who makes the rest.

use uuid::Uuid;

use crate::plan::{AudioPlan, VideoPlan};

use super::rendition::TrackId;
use super::stream::Stream;

/// An encoder at work on a track.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadDetail {
    /// The segment it makes.
    pub segment: u32,
    /// How far it is, seconds of the timeline.
    pub seconds: f64,
    /// It is held back until its player has come nearer.
    pub paused: bool,
    /// Media time per wall time of what it last made; `None` before that.
    pub speed: Option<f64>,
}

/// A track, in segments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrackDetail {
    pub(super) id: TrackId,
    pub(super) ready: Vec<(u32, u32)>,
    pub(super) heads: Vec<HeadDetail>,
    /// The hardware that the plan names has failed.
    pub(super) software: bool,
    pub(super) last_failure: Option<String>,
}

/// A track as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackMap {
    pub id: TrackId,
    /// For people: `1280x720`, or a language.
    pub name: String,
    pub codec: &'static str,
    /// Name of the encoder as ffmpeg has it, or `copy`.
    pub encoder: &'static str,
    /// Hardware that encodes; `None` in software and for copies.
    pub accelerator: Option<&'static str>,
    /// Segments that are there.
    pub ready_segments: u32,
    /// What is there, seconds of the timeline, in order and apart.
    pub ready: Vec<(f64, f64)>,
    pub heads: Vec<HeadDetail>,
    pub last_failure: Option<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamMap {
    /// Seconds; of an open-ended source, as long as it is so far.
    pub duration: f64,
    pub open_ended: bool,
    /// `None` as long as the end of the source is not known.
    pub segments: Option<u32>,
    pub tracks: Vec<TrackMap>,
}

impl Stream {
    /// The same for all jobs that share it.
    pub fn id(&self) -> Uuid {
        self.core.id
    }

    /// Encoders at work on it, those included that are held back.
    pub fn encoders(&self) -> usize {
        self.tracks().map(|t| t.detail().heads.len()).sum()
    }

    /// How the stream stands now; computed when asked.
    pub fn map(&self) -> StreamMap {
        let plan = &self.core.plan;
        let videos = self.videos.iter().zip(&plan.videos);
        let videos = videos.map(|(track, plan)| (track.detail(), picture(plan)));
        let names = plan.audio_names();
        let audios = self.audios.iter().zip(&plan.audios).zip(names);
        let audios = audios.map(|((track, plan), name)| (track.detail(), sound(plan, name)));
        // After the tracks: a source that ends in between is then shown whole.
        let details: Vec<_> = videos.chain(audios).collect();
        let timeline = self.core.known_timeline();
        let grid = timeline.grid();
        let begin = timeline.start(0);
        let seconds = |unit: i64| grid.seconds(unit - begin);
        let tracks: Vec<TrackMap> = details
            .into_iter()
            .map(|(detail, made)| {
                let spans = detail.ready.iter();
                let spans =
                    spans.map(|(a, b)| (seconds(timeline.start(*a)), seconds(timeline.end(*b))));
                let encode = made.encoder(detail.software);
                TrackMap {
                    id: detail.id,
                    ready: spans.collect(),
                    ready_segments: detail.ready.iter().map(|(a, b)| b - a + 1).sum(),
                    heads: detail.heads,
                    last_failure: detail.last_failure,
                    encoder: encode.0,
                    accelerator: encode.1,
                    codec: made.codec,
                    name: made.name,
                }
            })
            .collect();
        let so_far = tracks.iter().filter_map(|t| t.ready.last()).map(|r| r.1);
        let open_ended = timeline.is_open_ended();
        StreamMap {
            duration: match open_ended {
                true => so_far.fold(0.0, f64::max),
                false => timeline.duration().as_secs_f64(),
            },
            open_ended,
            segments: (!open_ended).then(|| timeline.len()),
            tracks,
        }
    }
}

/// The encoder and its hardware.
type Maker = (&'static str, Option<&'static str>);

const COPY: Maker = ("copy", None);

/// What the plan says of a track.
struct Made {
    name: String,
    codec: &'static str,
    planned: Maker,
    /// When hardware has failed.
    instead: Maker,
}

impl Made {
    fn encoder(&self, software: bool) -> Maker {
        if software { self.instead } else { self.planned }
    }
}

fn picture(plan: &VideoPlan) -> Made {
    let maker = |software| {
        let encode = plan.encoder(software);
        encode.map_or(COPY, |e| (e.encoder, e.accelerator.map(|a| a.name())))
    };
    Made {
        name: format!("{}x{}", plan.size.width, plan.size.height),
        codec: plan.codec.name(),
        planned: maker(false),
        instead: maker(true),
    }
}

fn sound(plan: &AudioPlan, name: String) -> Made {
    let maker = match plan.encode {
        Some(_) => (plan.codec.encoder(), None),
        None => COPY,
    };
    Made {
        name,
        codec: plan.codec.name(),
        planned: maker,
        instead: maker,
    }
}
