//! Segments, each made by encoder runs of its own, as heads make them after seeks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ghoststream::app;
use ghoststream::config::{Config, ToolPath};
use ghoststream::hls::Grid;
use ghoststream::media::StreamRequest;
use ghoststream::package::{
    CmafSegment, Fmp4Event, Fmp4Reader, Sample, SplitError, SplitEvent, Splitter, TrackConfig,
    TrackCuts, TsLayout, TsSegment, init_segment,
};
use ghoststream::plan::{
    AudioPlan, AudioRun, COPY_TIMESCALE, PAD_SECONDS, Packaging, Padding, Preroll, StreamPlan,
    VideoRun, video_timescale,
};
use ghoststream::session::Opener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::joined::{Joined, Rendition};

/// What opens sources below `folder`, with the ffmpeg that is tested.
pub(crate) async fn opener(ffmpeg: &Path, folder: &Path) -> Opener {
    let mut config = Config::default();
    config.sources.roots.push(folder.to_owned());
    config.transcoding.segment_duration = 2;
    if ffmpeg != Path::new("ffmpeg") {
        config.transcoding.ffmpeg_path = ToolPath::Path(ffmpeg.to_owned());
        config.transcoding.ffprobe_path = ToolPath::Path(which("ffprobe"));
    }
    app::opener(&config, &TaskTracker::new(), &CancellationToken::new())
        .await
        .unwrap()
}

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|p| p.join(name))
        .find(|p| p.is_file())
        .unwrap()
}

pub(crate) async fn plan(opener: &Opener, source: &Path, request: &StreamRequest) -> StreamPlan {
    let locator = opener.resolve(source.to_str().unwrap()).await.unwrap();
    opener
        .inspect(&locator, request)
        .await
        .unwrap()
        .plan
        .unwrap()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Video,
    Audio,
}

/// One track of a stream of `source`.
struct Track<'a> {
    ffmpeg: &'a Path,
    source: &'a Path,
    plan: &'a StreamPlan,
    kind: Kind,
    cuts: TrackCuts,
    config: Option<TrackConfig>,
    source_end: Option<i64>,
}

/// From about this sample on, the middle segment is left to a second run.
const BROKEN_OFF_AT: usize = 7;

impl Track<'_> {
    /// The samples of a segment, from a run for it alone; `broken` has two runs share it.
    fn segment(&mut self, segment: u32, broken: bool) -> Vec<Sample> {
        if self.cuts.samples(segment) == Some(0) {
            return Vec::new();
        }
        let mut samples = self.run(segment, 0);
        if broken {
            // Pictures are passed on in groups; what a head has when it is stopped is whole groups.
            let mut kept = Vec::new();
            let mut splitter = Splitter::new(self.cuts.clone(), segment, 0);
            for sample in samples.clone() {
                kept.extend(splitter.push(sample).unwrap());
                if splitter.position().1 >= BROKEN_OFF_AT {
                    break;
                }
            }
            let (at, done) = splitter.position();
            if at == segment && self.cuts.unit(segment, done).is_some() {
                samples = kept
                    .into_iter()
                    .filter_map(only_samples)
                    .map(|s| s.1)
                    .collect();
                samples.extend(self.run(segment, done));
            }
        }
        if let Some(planned) = self.cuts.samples(segment) {
            assert_eq!(samples.len(), planned, "samples of segment {segment}");
        }
        samples.retain(|s| s.pts >= 0);
        samples
    }

    /// The samples of all segments from one run, with their segments.
    fn all(&mut self) -> Vec<(u32, Sample)> {
        let mut splitter = Splitter::new(self.cuts.clone(), 0, 0);
        let until = self.cuts.timeline().len();
        let mut all = self
            .attempt(&mut splitter, Preroll::FromStart, until)
            .unwrap();
        assert_eq!(splitter.position().0, until, "one run makes all segments");
        all.retain(|(_, s)| s.pts >= 0);
        all
    }

    /// What a head does for one segment: runs until all is there, deeper when a run comes too late.
    fn run(&mut self, segment: u32, done: usize) -> Vec<Sample> {
        let mut preroll = Preroll::Near;
        loop {
            let mut splitter = Splitter::new(self.cuts.clone(), segment, done);
            match self.attempt(&mut splitter, preroll, segment + 1) {
                Ok(samples) if splitter.position().0 > segment => {
                    // A copy tells that a segment is complete by the first sample of the next one.
                    let own = samples.into_iter().filter(|(of, _)| *of == segment);
                    return own.map(|(_, s)| s).collect();
                }
                Ok(samples) if !samples.is_empty() => {
                    let unit = self.cuts.unit(segment, splitter.position().1).unwrap();
                    let pad = match (self.source_end, self.kind) {
                        (Some(known), _) => panic!("the source ends at {unit}, then at {known}"),
                        (None, Kind::Video) => {
                            PAD_SECONDS as f64 * self.plan.main_video().unwrap().rate.as_f64()
                        }
                        (None, Kind::Audio) => {
                            let audio = self.plan.main_audio().unwrap();
                            let (rate, frame) = (audio.sample_rate, audio.codec.frame_samples());
                            PAD_SECONDS as f64 * f64::from(rate) / f64::from(frame)
                        }
                    };
                    self.source_end = Some((unit - pad.ceil() as i64).max(1));
                }
                Ok(_) if preroll == Preroll::FromStart && self.source_end.is_none() => {
                    self.source_end = self.cuts.unit(segment, done);
                }
                Ok(_) | Err(SplitError::Late { .. }) => {
                    preroll = preroll
                        .deeper()
                        .expect("the source cannot be read at this place");
                }
                Err(error) => panic!("segment {segment}: {error}"),
            }
        }
    }

    fn attempt(
        &mut self,
        splitter: &mut Splitter,
        preroll: Preroll,
        end: u32,
    ) -> Result<Vec<(u32, Sample)>, SplitError> {
        let (segment, done) = splitter.position();
        let timeline = self.cuts.timeline();
        let (from, until) = match self.cuts.unit(segment, done) {
            Some(from) => (from, self.cuts.unit(end, 0).unwrap()),
            None => (timeline.start(segment), timeline.start(end)),
        };
        let padding = self.source_end.map_or(Padding::Short, Padding::After);
        let invocation = match self.kind {
            Kind::Video => self.plan.video_run(
                0,
                VideoRun {
                    from,
                    until,
                    preroll,
                    padding,
                    software: false,
                },
            ),
            Kind::Audio => self.plan.audio_run(
                0,
                AudioRun {
                    from,
                    until,
                    preroll,
                    padding,
                },
            ),
        };
        let invocation = invocation.unwrap();
        let source = format!("file:{}", self.source.display());
        let mut args: Vec<&str> = vec!["-nostdin", "-loglevel", "error"];
        args.extend(invocation.input.iter().map(String::as_str));
        args.extend(["-i", &source]);
        args.extend(invocation.output.iter().map(String::as_str));
        let (bytes, _) = crate::media::run(self.ffmpeg.to_str().unwrap(), &args);
        let mut samples = Vec::new();
        let mut header = None;
        for event in Fmp4Reader::new().push(&bytes).unwrap() {
            match event {
                Fmp4Event::Config(config) => header = Some(config),
                Fmp4Event::Sample(sample) => {
                    // A run without a picture knows nothing of pictures.
                    if let Some(config) = header.take() {
                        let known = self.config.get_or_insert_with(|| config.clone());
                        assert_eq!(*known, config, "runs have different headers");
                    }
                    if splitter.position().0 >= end {
                        break;
                    }
                    let events = splitter.push(sample)?;
                    samples.extend(events.into_iter().filter_map(only_samples));
                }
            }
        }
        for event in splitter.finish() {
            samples.extend(only_samples(event));
        }
        Ok(samples)
    }
}

fn only_samples(event: SplitEvent) -> Option<(u32, Sample)> {
    match event {
        SplitEvent::Sample { segment, sample } => Some((segment, sample)),
        SplitEvent::Complete { .. } => None,
    }
}

/// All segments of a stream, every one from runs of its own, last one first.
pub(crate) fn apart(ffmpeg: &Path, source: &Path, plan: StreamPlan) -> Joined {
    joined(ffmpeg, source, plan, true)
}

/// All segments of a stream from one run.
pub(crate) fn whole(ffmpeg: &Path, source: &Path, plan: StreamPlan) -> Joined {
    joined(ffmpeg, source, plan, false)
}

fn joined(ffmpeg: &Path, source: &Path, plan: StreamPlan, apart: bool) -> Joined {
    let timeline = Arc::new(plan.timeline.clone());
    let track = |kind, cuts| Track {
        ffmpeg,
        source,
        plan: &plan,
        kind,
        cuts,
        config: None,
        source_end: None,
    };
    let mut video = plan.main_video().map(|v| {
        let mut track = match &v.encode {
            Some(_) => {
                let ticks = i64::from(video_timescale(v) / v.rate.num() * v.rate.den());
                let cuts = TrackCuts::pictures(timeline.clone(), ticks, v.decode_lead());
                track(Kind::Video, cuts)
            }
            None => track(
                Kind::Video,
                TrackCuts::key_pictures(timeline.clone(), COPY_TIMESCALE),
            ),
        };
        track.source_end = plan.video_end;
        track
    });
    let mut audio = plan.main_audio().map(|a| {
        let mut track = match &a.encode {
            Some(_) => track(
                Kind::Audio,
                TrackCuts::sound(timeline.clone(), a.sample_rate, a.codec.frame_samples()),
            ),
            None => track(
                Kind::Audio,
                TrackCuts::copied_sound(timeline.clone(), a.sample_rate),
            ),
        };
        track.source_end = a.source_end;
        track
    });
    let count = timeline.len();
    let mut made: Vec<[Vec<Sample>; 2]> = vec![Default::default(); count as usize];
    for i in (0..count).rev().filter(|_| apart) {
        for (track, place) in [&mut video, &mut audio].into_iter().zip(0..) {
            if let Some(track) = track {
                made[i as usize][place] = track.segment(i, i == count / 2);
            }
        }
    }
    if !apart {
        for (track, place) in [&mut video, &mut audio].into_iter().zip(0..) {
            for (segment, sample) in track.iter_mut().flat_map(Track::all) {
                made[segment as usize][place].push(sample);
            }
        }
    }
    let configs = [video, audio].map(|t| t.map(|t| t.config.unwrap()));
    let lengths = |grid: Option<Grid>| -> Vec<f64> {
        (0..count)
            .map(|i| match grid {
                None => timeline.seconds(i),
                Some(grid) => {
                    let starts =
                        [i, i + 1].map(|i| timeline.grid().ceil_in(timeline.start(i), grid));
                    grid.seconds(starts[1] - starts[0])
                }
            })
            .collect()
    };
    let mut renditions = Vec::new();
    let mut add = |init: Bytes, lengths: Vec<f64>, segments: Vec<Bytes>| {
        let target = lengths.iter().copied().fold(0.0, f64::max).ceil();
        renditions.push(Rendition {
            init,
            lengths,
            target,
            segments,
        });
    };
    match plan.packaging {
        Packaging::TransportStream => {
            let [video, audio] = configs;
            let layout = TsLayout { video, audio };
            let segments = made
                .into_iter()
                .zip(0..)
                .map(|(samples, i)| transport(&layout, i, samples));
            add(Bytes::new(), lengths(None), segments.collect());
        }
        Packaging::Cmaf => {
            for (config, place) in configs.into_iter().zip(0..) {
                let Some(config) = config else { continue };
                let segments = made
                    .iter_mut()
                    .zip(0..)
                    .map(|(samples, i)| cmaf(&config, i, std::mem::take(&mut samples[place])));
                let grid = plan
                    .main_audio()
                    .filter(|_| place == 1)
                    .map(AudioPlan::grid);
                add(init_segment(&config), lengths(grid), segments.collect());
            }
        }
    }
    Joined { plan, renditions }
}

fn transport(layout: &TsLayout, number: u64, [video, audio]: [Vec<Sample>; 2]) -> Bytes {
    let mut writer = TsSegment::new(layout, number).unwrap();
    video
        .into_iter()
        .for_each(|s| writer.push_video(s).unwrap());
    audio
        .into_iter()
        .for_each(|s| writer.push_audio(s).unwrap());
    writer.finish_video();
    writer.finish_audio();
    writer.take()
}

fn cmaf(config: &TrackConfig, number: u32, samples: Vec<Sample>) -> Bytes {
    let mut writer = CmafSegment::new(config, number + 1, 0);
    let origin = 10 * i64::from(config.timescale);
    for mut sample in samples {
        sample.dts += origin;
        sample.pts += origin;
        writer.push(sample).unwrap();
    }
    writer.finish();
    writer.take()
}
