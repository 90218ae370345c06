//! The files of a stream: playlists, initialisation sections, segments.

use std::pin::Pin;

use async_stream::try_stream;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream as ByteStream, StreamExt, future};

use crate::hls::{
    Grid, MasterEntry, MediaPlaylist, PlaylistKind, SegmentTimeline, master_playlist,
};
use crate::package::{CmafSegment, Sample, TS_ORIGIN, TsLayout, TsSegment, init_segment};
use crate::plan::{AAC_FRAME_SAMPLES, Packaging};

use super::error::SessionError;
use super::stream::Stream;
use super::track::{OpenSegment, Track, TrackKind};

/// A file of a stream, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFile {
    Master,
    VideoPlaylist,
    AudioPlaylist,
    VideoInit,
    AudioInit,
    TransportSegment(u32),
    VideoSegment(u32),
    AudioSegment(u32),
}

impl StreamFile {
    /// The file that `name` (the path below `/stream/{job}/`) means.
    pub fn parse(name: &str) -> Option<StreamFile> {
        let number = |prefix: &str, extension: &str| -> Option<u32> {
            let digits = name.strip_prefix(prefix)?.strip_suffix(extension)?;
            let plain = digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok())?
        };
        match name {
            "master.m3u8" => Some(StreamFile::Master),
            "video.m3u8" => Some(StreamFile::VideoPlaylist),
            "audio.m3u8" => Some(StreamFile::AudioPlaylist),
            "video_init.mp4" => Some(StreamFile::VideoInit),
            "audio_init.mp4" => Some(StreamFile::AudioInit),
            _ => number("segment_", ".ts")
                .map(StreamFile::TransportSegment)
                .or_else(|| number("video_", ".m4s").map(StreamFile::VideoSegment))
                .or_else(|| number("audio_", ".m4s").map(StreamFile::AudioSegment)),
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            StreamFile::Master | StreamFile::VideoPlaylist | StreamFile::AudioPlaylist => {
                "application/vnd.apple.mpegurl"
            }
            StreamFile::TransportSegment(_) => "video/mp2t",
            StreamFile::VideoInit | StreamFile::VideoSegment(_) => "video/mp4",
            StreamFile::AudioInit | StreamFile::AudioSegment(_) => "audio/mp4",
        }
    }
}

/// The time of the timeline's zero in CMAF segments, as in transport streams: with reordered
/// pictures the first decoding times lie before zero, and cannot be negative in the file.
const CMAF_ORIGIN_SECONDS: i64 = TS_ORIGIN / 90_000;

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
    /// Gives `file`, making it if need be. Dropping the future or the body withdraws the request.
    pub async fn serve(&self, file: StreamFile) -> Result<Served, SessionError> {
        self.touch();
        let transport = self.plan().packaging == Packaging::TransportStream;
        match file {
            StreamFile::Master if transport => {
                Ok(Served::Playlist(self.transport_playlist().await?))
            }
            StreamFile::Master => Ok(Served::Playlist(self.master().await?)),
            StreamFile::TransportSegment(i) if transport => self.transport_segment(i).await,
            _ if transport => Err(SessionError::NoSuchFile),
            StreamFile::VideoPlaylist => {
                self.track(TrackKind::Video)?;
                self.some_segment(TrackKind::Video).await?;
                let timeline = &self.core.known_timeline();
                let text = self.playlist(timeline, Some("video_init.mp4"), "video_", ".m4s");
                Ok(Served::Playlist(text))
            }
            StreamFile::AudioPlaylist => {
                self.track(TrackKind::Audio)?;
                self.some_segment(TrackKind::Audio).await?;
                let timeline = self.audio_timeline();
                let text = self.playlist(&timeline, Some("audio_init.mp4"), "audio_", ".m4s");
                Ok(Served::Playlist(text))
            }
            StreamFile::VideoInit => self.init(TrackKind::Video).await,
            StreamFile::AudioInit => self.init(TrackKind::Audio).await,
            StreamFile::VideoSegment(i) => self.cmaf_segment(TrackKind::Video, i).await,
            StreamFile::AudioSegment(i) => self.cmaf_segment(TrackKind::Audio, i).await,
            StreamFile::TransportSegment(_) => Err(SessionError::NoSuchFile),
        }
    }

    /// Whether `file` is one of this stream's, without making it.
    pub fn has(&self, file: StreamFile) -> bool {
        let transport = self.plan().packaging == Packaging::TransportStream;
        let within = |i| self.plan().timeline.contains(i);
        match file {
            StreamFile::Master => true,
            StreamFile::TransportSegment(i) => transport && within(i),
            StreamFile::VideoSegment(i) => !transport && self.video.is_some() && within(i),
            StreamFile::AudioSegment(i) => !transport && self.audio.is_some() && within(i),
            StreamFile::VideoPlaylist | StreamFile::VideoInit => !transport && self.video.is_some(),
            StreamFile::AudioPlaylist | StreamFile::AudioInit => !transport && self.audio.is_some(),
        }
    }

    /// Whether `file` can be given without encoding anything.
    pub fn is_made(&self, file: StreamFile) -> bool {
        let ready =
            |track: &Option<std::sync::Arc<Track>>, i| track.as_ref().is_none_or(|t| t.is_ready(i));
        match file {
            StreamFile::Master | StreamFile::VideoPlaylist | StreamFile::AudioPlaylist => true,
            StreamFile::VideoInit | StreamFile::AudioInit => true,
            StreamFile::TransportSegment(i) => ready(&self.video, i) && ready(&self.audio, i),
            StreamFile::VideoSegment(i) => ready(&self.video, i),
            StreamFile::AudioSegment(i) => ready(&self.audio, i),
        }
    }

    fn track(&self, kind: TrackKind) -> Result<&std::sync::Arc<Track>, SessionError> {
        let track = match kind {
            TrackKind::Video => &self.video,
            TrackKind::Audio => &self.audio,
        };
        track.as_ref().ok_or(SessionError::NoSuchFile)
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
    fn audio_timeline(&self) -> SegmentTimeline {
        let plan = &self.core.plan;
        let timeline = self.core.known_timeline();
        match (&plan.audio, &self.audio) {
            (Some(a), Some(track)) if a.encode.is_some() => {
                let frame = i64::from(AAC_FRAME_SAMPLES);
                let grid = Grid::audio_frames(a.sample_rate, AAC_FRAME_SAMPLES);
                timeline.mapped(grid, |segment| track.cuts.boundary(segment) / frame)
            }
            _ => timeline,
        }
    }

    async fn transport_playlist(&self) -> Result<String, SessionError> {
        let first = if self.video.is_some() {
            TrackKind::Video
        } else {
            TrackKind::Audio
        };
        self.some_segment(first).await?;
        Ok(self.playlist(&self.core.known_timeline(), None, "segment_", ".ts"))
    }

    /// Waits until an open-ended stream has something to list: players give up on empty playlists.
    async fn some_segment(&self, kind: TrackKind) -> Result<(), SessionError> {
        let track = self.track(kind)?;
        if self.core.plan.timeline.is_open_ended() && track.listed() == 0 {
            let mut first = track.open(0).await?;
            while first.next().await?.is_some() {}
        }
        Ok(())
    }

    async fn master(&self) -> Result<String, SessionError> {
        let plan = &self.core.plan;
        let mut entries = Vec::new();
        let mut codecs = Vec::new();
        if let Some(video) = &self.video {
            codecs.push(video.config().await?.codec_string());
        }
        if let (Some(audio), Some(a)) = (&self.audio, &plan.audio) {
            codecs.push(audio.config().await?.codec_string());
            entries.push(MasterEntry::Audio {
                group: "audio".into(),
                name: a.language.clone().unwrap_or_else(|| "Audio".into()),
                language: a.language.clone(),
                default: true,
                channels: a.channels,
                uri: "audio.m3u8".into(),
            });
        }
        entries.push(MasterEntry::Variant {
            bandwidth: plan.peak_bandwidth(),
            average_bandwidth: plan.peak_bandwidth() * 2 / 3,
            codecs: codecs.join(","),
            resolution: plan.video.as_ref().map(|v| v.size),
            frame_rate: plan.video.as_ref().map(|v| v.rate.as_f64()),
            audio_group: self.audio.as_ref().map(|_| "audio".into()),
            uri: "video.m3u8".into(),
        });
        Ok(master_playlist(&entries))
    }

    async fn init(&self, kind: TrackKind) -> Result<Served, SessionError> {
        let config = self.track(kind)?.config().await?;
        Ok(Served::Whole(init_segment(&config)))
    }

    async fn transport_segment(&self, segment: u32) -> Result<Served, SessionError> {
        if !self.core.plan.timeline.contains(segment) {
            return Err(SessionError::NoSuchFile);
        }
        let open = |track: &Option<std::sync::Arc<Track>>| {
            let track = track.clone();
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
        let (video, audio) = future::try_join(open(&self.video), open(&self.audio)).await?;
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

    async fn cmaf_segment(&self, kind: TrackKind, segment: u32) -> Result<Served, SessionError> {
        let track = self.track(kind)?;
        if !self.core.plan.timeline.contains(segment) {
            return Err(SessionError::NoSuchFile);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(
            StreamFile::parse("segment_00007.ts"),
            Some(StreamFile::TransportSegment(7))
        );
        assert_eq!(
            StreamFile::parse("segment_100000.ts"),
            Some(StreamFile::TransportSegment(100_000))
        );
        assert_eq!(
            StreamFile::parse("video_00000.m4s"),
            Some(StreamFile::VideoSegment(0))
        );
        for bad in [
            "segment_7.ts",
            "segment_-0001.ts",
            "../master.m3u8",
            "segment_00001.m4s",
            "",
            "segment_99999999999.ts",
            "segment_+0001.ts",
        ] {
            assert_eq!(StreamFile::parse(bad), None, "{bad}");
        }
    }
}
