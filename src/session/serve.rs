//! The content of a stream's files: playlists, initialisation sections, segments.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_stream::try_stream;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream as ByteStream, StreamExt, future};

use crate::hls::{MasterEntry, MediaPlaylist, PlaylistKind, SegmentTimeline, master_playlist};
use crate::package::{CmafSegment, Sample, TS_ORIGIN, TsLayout, TsSegment, init_segment};
use crate::plan::{Packaging, VideoPlan};

use super::error::SessionError;
use super::file::StreamFile;
use super::rendition::{TrackId, TrackKind};
use super::stream::Stream;
use super::track::{OpenSegment, Track};

/// The time of the timeline's zero in CMAF segments, as in transport streams: with reordered
/// pictures the first decoding times lie before zero, and cannot be negative in the file.
const CMAF_ORIGIN_SECONDS: i64 = TS_ORIGIN / 90_000;

const AUDIO_GROUP: &str = "audio";
const SUBTITLE_GROUP: &str = "subtitles";

/// Bytes as they are made.
pub type LiveBytes = Pin<Box<dyn ByteStream<Item = Result<Bytes, SessionError>> + Send>>;

/// The content of a file.
pub enum Served {
    /// May change (a growing playlist) or is cheap to make.
    Playlist(String),
    /// All of it is there.
    Whole(Bytes),
    /// Is being encoded; the first bytes are there.
    Growing(LiveBytes),
}

impl Stream {
    /// As [`Stream::serve`], without counting.
    pub(super) async fn make(&self, file: StreamFile) -> Result<Served, SessionError> {
        self.touch();
        if let StreamFile::TransportSegment(_) | StreamFile::Segment(..) = file {
            self.played.store(true, Ordering::Relaxed);
        }
        match file {
            StreamFile::Master if self.is_plain() => {
                Ok(Served::Playlist(self.transport_playlist().await?))
            }
            StreamFile::Master => Ok(Served::Playlist(self.master().await?)),
            _ if !self.has(file) => Err(SessionError::NoSuchFile),
            StreamFile::TransportSegment(i) => self.transport_segment(i).await,
            StreamFile::Playlist(id) => {
                let text = self.track_playlist(self.track(id)?).await?;
                Ok(Served::Playlist(text))
            }
            StreamFile::Init(id) => {
                let config = self.track(id)?.config().await?;
                Ok(Served::Whole(init_segment(&config)))
            }
            StreamFile::Segment(id, i) => self.cmaf_segment(self.track(id)?, i).await,
            StreamFile::SubtitlePlaylist(nth) => {
                let prefix = format!("subtitles{nth}_");
                let timeline = self.core.known_timeline();
                Ok(Served::Playlist(
                    self.playlist(&timeline, None, &prefix, ".vtt"),
                ))
            }
            StreamFile::SubtitleSegment(nth, i) => {
                let track = self.subtitles.get(nth).ok_or(SessionError::NoSuchFile)?;
                let text = track.segment(&self.core, i).await?;
                Ok(Served::Whole(text.into()))
            }
        }
    }

    /// Whether the stream is one playlist of transport streams.
    fn is_plain(&self) -> bool {
        self.plan().packaging == Packaging::TransportStream
    }

    fn track(&self, id: TrackId) -> Result<&Arc<Track>, SessionError> {
        let tracks = match id.kind {
            TrackKind::Video => &self.videos,
            TrackKind::Audio => &self.audios,
        };
        tracks.get(id.nth).ok_or(SessionError::NoSuchFile)
    }

    /// Whether `file` is one of this stream's, without making it.
    pub fn has(&self, file: StreamFile) -> bool {
        let plain = self.is_plain();
        let within = |i| self.plan().timeline.contains(i);
        match file {
            StreamFile::Master => true,
            StreamFile::TransportSegment(i) => plain && within(i),
            StreamFile::Playlist(id) | StreamFile::Init(id) => !plain && self.track(id).is_ok(),
            StreamFile::Segment(id, i) => !plain && self.track(id).is_ok() && within(i),
            StreamFile::SubtitlePlaylist(nth) => nth < self.subtitles.len(),
            StreamFile::SubtitleSegment(nth, i) => nth < self.subtitles.len() && within(i),
        }
    }

    /// Whether `file` can be given without encoding anything.
    pub fn is_made(&self, file: StreamFile) -> bool {
        match file {
            StreamFile::Master
            | StreamFile::Playlist(_)
            | StreamFile::Init(_)
            | StreamFile::SubtitlePlaylist(_) => true,
            StreamFile::TransportSegment(i) => self.tracks().all(|t| t.is_ready(i)),
            StreamFile::Segment(id, i) => self.track(id).is_ok_and(|t| t.is_ready(i)),
            StreamFile::SubtitleSegment(..) => false,
        }
    }

    fn playlist(
        &self,
        timeline: &SegmentTimeline,
        init_uri: Option<&str>,
        segment_prefix: &str,
        extension: &str,
    ) -> String {
        let longest_hint = self.core.context.settings.segment_seconds * 1.25;
        let kind = match self.core.plan.timeline.is_open_ended() {
            false => PlaylistKind::Vod,
            true => {
                let ended = self.core.live.has_ended();
                let listed = self.tracks().map(|t| t.listed()).min().unwrap_or(0);
                PlaylistKind::Event {
                    complete: listed.min(timeline.len()),
                    ended,
                }
            }
        };
        MediaPlaylist {
            timeline,
            kind,
            init_uri,
            segment_prefix,
            extension,
            longest_hint,
        }
        .text()
    }

    /// The same cuts in audio frames: `EXTINF` of an audio rendition is exact too.
    fn audio_timeline(&self, track: &Track) -> SegmentTimeline {
        let timeline = self.core.known_timeline();
        match self.plan().audios.get(track.id.nth) {
            Some(a) if a.encode.is_some() => {
                let frame = i64::from(a.codec.frame_samples());
                timeline.mapped(a.grid(), |segment| track.cuts.boundary(segment) / frame)
            }
            _ => timeline,
        }
    }

    async fn track_playlist(&self, track: &Arc<Track>) -> Result<String, SessionError> {
        self.some_segment(track).await?;
        let timeline = match track.id.kind {
            TrackKind::Video => self.core.known_timeline(),
            TrackKind::Audio => self.audio_timeline(track),
        };
        let init = format!("{}_init.mp4", track.id);
        let prefix = format!("{}_", track.id);
        Ok(self.playlist(&timeline, Some(&init), &prefix, ".m4s"))
    }

    async fn transport_playlist(&self) -> Result<String, SessionError> {
        let first = self.tracks().next().ok_or(SessionError::NoSuchFile)?;
        self.some_segment(first).await?;
        Ok(self.playlist(&self.core.known_timeline(), None, "segment_", ".ts"))
    }

    /// Waits until an open-ended stream has something to list: players give up on empty playlists.
    async fn some_segment(&self, track: &Arc<Track>) -> Result<(), SessionError> {
        if self.core.plan.timeline.is_open_ended() && track.listed() == 0 {
            let mut first = track.open(0).await?;
            while first.next().await?.is_some() {}
        }
        Ok(())
    }

    async fn master(&self) -> Result<String, SessionError> {
        let plan = self.plan();
        let mut entries = Vec::new();
        let mut sound = None;
        let names = plan.audio_names();
        for ((nth, audio), name) in plan.audios.iter().enumerate().zip(names) {
            if nth == 0 {
                // All have the same codec.
                let track = self.track(TrackId::audio(0))?;
                sound = Some(track.config().await?.codec_string());
            }
            entries.push(MasterEntry::Audio {
                group: AUDIO_GROUP.into(),
                name,
                language: audio.language.clone(),
                default: nth == 0,
                channels: audio.channels,
                uri: format!("{}.m3u8", TrackId::audio(nth)),
            });
        }
        for (nth, subtitles) in plan.subtitles.iter().enumerate() {
            entries.push(MasterEntry::Subtitles {
                group: SUBTITLE_GROUP.into(),
                name: subtitles.name.clone(),
                language: subtitles.language.clone(),
                default: subtitles.default,
                forced: subtitles.forced,
                uri: format!("subtitles{nth}.m3u8"),
            });
        }
        let seconds = self.core.context.settings.segment_seconds;
        let variant =
            |video: Option<&VideoPlan>, codecs: Vec<String>, id: TrackId| MasterEntry::Variant {
                bandwidth: plan.peak_bandwidth(video, seconds),
                average_bandwidth: plan.average_bandwidth(video),
                codecs: codecs.join(","),
                resolution: video.map(|v| v.size),
                frame_rate: video.map(|v| v.rate.as_f64()),
                audio_group: (!plan.audios.is_empty()).then(|| AUDIO_GROUP.into()),
                subtitle_group: (!plan.subtitles.is_empty()).then(|| SUBTITLE_GROUP.into()),
                uri: format!("{id}.m3u8"),
            };
        for (nth, video) in plan.videos.iter().enumerate() {
            let id = TrackId::video(nth);
            let pictures = match video.codec_string() {
                Some(known) => known,
                None => self.track(id)?.config().await?.codec_string(),
            };
            let codecs = std::iter::once(pictures).chain(sound.clone()).collect();
            entries.push(variant(Some(video), codecs, id));
        }
        if plan.videos.is_empty() {
            let codecs = sound.into_iter().collect();
            entries.push(variant(None, codecs, TrackId::audio(0)));
        }
        Ok(master_playlist(&entries))
    }

    async fn transport_segment(&self, segment: u32) -> Result<Served, SessionError> {
        let open = |tracks: &[Arc<Track>]| {
            let track = tracks.first().cloned();
            async move {
                match track {
                    Some(track) => {
                        let opened = track.open(segment).await?;
                        Ok::<_, SessionError>(Some((opened, track.config().await?)))
                    }
                    None => Ok(None),
                }
            }
        };
        let (video, audio) = future::try_join(open(&self.videos), open(&self.audios)).await?;
        let whole = [&video, &audio]
            .into_iter()
            .flatten()
            .all(|(o, _)| o.is_whole());
        let layout = TsLayout {
            video: video.as_ref().map(|(_, c)| (**c).clone()),
            audio: audio.as_ref().map(|(_, c)| (**c).clone()),
        };
        let writer = TsSegment::new(&layout, u64::from(segment))?;
        let body = mux(writer, video.map(|(o, _)| o), audio.map(|(o, _)| o));
        deliver(Box::pin(body), whole).await
    }

    async fn cmaf_segment(&self, track: &Arc<Track>, segment: u32) -> Result<Served, SessionError> {
        let mut open = track.open(segment).await?;
        let whole = open.is_whole();
        let config = track.config().await?;
        let origin = i64::from(config.timescale) * CMAF_ORIGIN_SECONDS;
        let body = try_stream! {
            let mut writer = CmafSegment::new(&config, segment + 1, 0);
            while let Some(samples) = open.next().await? {
                for mut sample in samples.into_iter().filter(|s| s.pts >= 0) {
                    sample.dts += origin;
                    sample.pts += origin;
                    writer.push(sample)?;
                }
                let bytes = writer.take();
                if !bytes.is_empty() {
                    yield bytes;
                }
            }
            writer.finish();
            yield writer.take();
        };
        deliver(Box::pin(body), whole).await
    }
}

/// Both tracks' samples in one transport stream, as they come.
fn mux(
    mut writer: TsSegment,
    mut video: Option<OpenSegment>,
    mut audio: Option<OpenSegment>,
) -> impl ByteStream<Item = Result<Bytes, SessionError>> + Send {
    try_stream! {
        loop {
            let (from_video, samples) = tokio::select! {
                samples = next(&mut video), if video.is_some() => (true, samples),
                samples = next(&mut audio), if audio.is_some() => (false, samples),
                else => break,
            };
            match (from_video, samples?) {
                (true, Some(samples)) => {
                    for sample in samples {
                        writer.push_video(sample)?;
                    }
                }
                (false, Some(samples)) => {
                    for sample in samples.into_iter().filter(|s| s.pts >= 0) {
                        writer.push_audio(sample)?;
                    }
                }
                (true, None) => {
                    writer.finish_video();
                    video = None;
                }
                (false, None) => {
                    writer.finish_audio();
                    audio = None;
                }
            }
            let bytes = writer.take();
            if !bytes.is_empty() {
                yield bytes;
            }
        }
    }
}

async fn next(open: &mut Option<OpenSegment>) -> Result<Option<Vec<Sample>>, SessionError> {
    match open {
        Some(open) => open.next().await,
        None => Ok(None),
    }
}

/// Everything at once when all samples are there; else the first bytes are awaited, so that a
/// failure before them is still an honest status.
async fn deliver(mut body: LiveBytes, whole: bool) -> Result<Served, SessionError> {
    if whole {
        let mut all = BytesMut::new();
        while let Some(bytes) = body.next().await {
            all.extend_from_slice(&bytes?);
        }
        return Ok(Served::Whole(all.freeze()));
    }
    match body.next().await {
        Some(first) => {
            let first = first?;
            let rest = try_stream! {
                yield first;
                while let Some(bytes) = body.next().await {
                    yield bytes?;
                }
            };
            Ok(Served::Growing(Box::pin(rest)))
        }
        None => Ok(Served::Whole(Bytes::new())),
    }
}

/// Collects a body; for requests of a part of it.
pub async fn collect(mut body: LiveBytes) -> Result<Bytes, SessionError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all.freeze())
}
