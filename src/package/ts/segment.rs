//! One segment: pictures and audio frames interleaved by time.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::super::adts::{AacConfig, AdtsHeader, NoAdtsForm};
use super::super::avc::AvcConfig;
use super::super::codec::SampleCodec;
use super::super::sample::{Sample, TrackConfig};
use super::packet::{Adaptation, Continuity, put_pcr_only, put_pes};
use super::pes::{BadNalLength, PictureScan, audio_pes, scan_picture, video_pes};
use super::psi::{AUDIO_PID, VIDEO_PID, put_tables};
use super::time::to_90k;

/// How far the PCR runs ahead of decode times, in 90 kHz ticks: the time a picture has to arrive.
const PCR_LEAD: i64 = 9000;
/// The longest span between two PCRs (section 2.7.2), in 90 kHz ticks.
const MAX_PCR_INTERVAL: i64 = 9000;
/// A larger gap in the samples is a hole in the stream and not bridged by PCRs.
const MAX_PCR_GAP: i64 = 900_000;
/// How far ahead of the pictures audio is written, in 90 kHz ticks.
const AUDIO_LEAD: i64 = 4500;
/// A PES packet holds no more audio than this, in 90 kHz ticks.
const MAX_AUDIO_PES: i64 = 9000;
/// Nor more frames than this: their bytes must fit its 16-bit length.
const MAX_AUDIO_PES_FRAMES: usize = 5;

/// The tracks of a transport stream; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsLayout {
    /// H.264.
    pub video: Option<TrackConfig>,
    /// AAC, in a form that ADTS can express.
    pub audio: Option<TrackConfig>,
}

/// A layout or a sample that MPEG-TS cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TsError {
    #[error("a transport stream without tracks")]
    NoTracks,
    #[error("{0} cannot be carried in a transport stream here, only H.264 with AAC")]
    Codec(String),
    #[error("this kind of AAC (object type, rate or channel layout) has no ADTS form")]
    NoAdtsForm,
    #[error("a sample for a track that the transport stream does not have")]
    NoSuchTrack,
    #[error("a sample comes after the end of its track")]
    Finished,
    #[error("time stamp {time} does not follow {previous}")]
    NotMonotonic { previous: i64, time: i64 },
    #[error("the picture at decode time {dts} has NAL units longer than itself")]
    BadNalLength { dts: i64 },
    #[error("the audio frame at {pts} has {bytes} bytes, more than ADTS can express")]
    FrameTooLarge { pts: i64, bytes: usize },
}

/// A segment in the making. Its bytes are a function of the layout, the segment's number and the
/// samples of each track in their order, not of how the calls for the two tracks interleave.
///
/// Each track holds back its last PES packet until it is followed by another or finished; a picture
/// also waits for the audio that is to be written before it. [`take`](Self::take) gives the rest.
#[derive(Debug)]
pub struct TsSegment {
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    out: BytesMut,
    /// The PES packet that is being cut up.
    pes: Vec<u8>,
    /// The decode-side time of the last PCR, before its lead is taken off.
    last_pcr: Option<i64>,
}

#[derive(Debug)]
struct VideoTrack {
    timescale: u32,
    avc: AvcConfig,
    queue: VecDeque<Picture>,
    last_dts: Option<i64>,
    finished: bool,
    continuity: Continuity,
}

#[derive(Debug)]
struct Picture {
    pts90: i64,
    dts90: i64,
    scan: PictureScan,
    key: bool,
    data: Bytes,
}

#[derive(Debug)]
struct AudioTrack {
    timescale: u32,
    adts: AdtsHeader,
    /// Length of a frame in ticks of the timescale, at least 1.
    frame_ticks: i64,
    frames_per_pes: usize,
    queue: VecDeque<AudioGroup>,
    last_pts: Option<i64>,
    finished: bool,
    continuity: Continuity,
}

/// The frames of one PES packet.
#[derive(Debug)]
struct AudioGroup {
    pts90: i64,
    frames: Vec<Bytes>,
}

/// What is known of the next PES packet of a track.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// It may be written; its place in the interleaving.
    Ready(i64),
    /// It cannot be written yet, but has its place.
    Placed(i64),
    Unknown,
    Ended,
}

impl TsSegment {
    /// `segment_index` is the number of the segment in its playlist.
    pub fn new(layout: &TsLayout, segment_index: u64) -> Result<Self, TsError> {
        if layout.video.is_none() && layout.audio.is_none() {
            return Err(TsError::NoTracks);
        }
        let video = layout.video.as_ref().map(VideoTrack::new).transpose()?;
        let audio = layout.audio.as_ref().map(AudioTrack::new).transpose()?;
        let mut out = BytesMut::with_capacity(64 << 10);
        put_tables(
            &mut out,
            video.is_some(),
            audio.is_some(),
            (segment_index & 0xf) as u8,
        );
        Ok(TsSegment {
            video,
            audio,
            out,
            pes: Vec::new(),
            last_pcr: None,
        })
    }

    /// Adds the next picture in decode order. After an error the segment is as before the call.
    pub fn push_video(&mut self, sample: Sample) -> Result<(), TsError> {
        self.video
            .as_mut()
            .ok_or(TsError::NoSuchTrack)?
            .push(sample)?;
        self.write_what_is_ready();
        Ok(())
    }

    /// Adds the next audio frame. Priming frames, which are not presented, should be left out. After
    /// an error the segment is as before the call.
    pub fn push_audio(&mut self, sample: Sample) -> Result<(), TsError> {
        self.audio
            .as_mut()
            .ok_or(TsError::NoSuchTrack)?
            .push(sample)?;
        self.write_what_is_ready();
        Ok(())
    }

    /// There are no more pictures. Without video this does nothing.
    pub fn finish_video(&mut self) {
        if let Some(video) = &mut self.video {
            video.finished = true;
        }
        self.write_what_is_ready();
    }

    /// There are no more audio frames. Without audio this does nothing.
    pub fn finish_audio(&mut self) {
        if let Some(audio) = &mut self.audio {
            audio.finished = true;
        }
        self.write_what_is_ready();
    }

    /// What can be sent now: whole packets, empty when there is nothing new.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// All tracks are finished and all packets written, though perhaps not taken.
    pub fn is_complete(&self) -> bool {
        matches!(
            (self.next_video(), self.next_audio()),
            (Next::Ended, Next::Ended)
        )
    }

    fn next_video(&self) -> Next {
        self.video.as_ref().map_or(Next::Ended, |v| {
            next(v.queue.len(), v.finished, v.queue.front().map(|p| p.dts90))
        })
    }

    fn next_audio(&self) -> Next {
        self.audio.as_ref().map_or(Next::Ended, |a| {
            next(
                a.queue.len(),
                a.finished,
                a.queue.front().map(|g| g.pts90 - AUDIO_LEAD),
            )
        })
    }

    fn write_what_is_ready(&mut self) {
        loop {
            match (self.next_video(), self.next_audio()) {
                (Next::Ready(v), Next::Ready(a) | Next::Placed(a)) if v < a => self.write_picture(),
                (Next::Ready(_), Next::Ended) => self.write_picture(),
                (Next::Ready(v) | Next::Placed(v), Next::Ready(a)) if a <= v => self.write_audio(),
                (Next::Ended, Next::Ready(_)) => self.write_audio(),
                _ => return,
            }
        }
    }

    fn write_picture(&mut self) {
        let Some((video, picture)) = self.video.as_mut().and_then(|v| {
            let picture = v.queue.pop_front()?;
            Some((v, picture))
        }) else {
            return;
        };
        let Picture {
            pts90,
            dts90,
            scan,
            key,
            data,
        } = picture;
        fill_pcr_gap(
            &mut self.out,
            VIDEO_PID,
            video.continuity,
            &mut self.last_pcr,
            dts90,
        );
        self.last_pcr = Some(dts90);
        video_pes(&mut self.pes, &video.avc, scan, key, pts90, dts90, &data);
        let adaptation = Adaptation {
            random_access: key,
            pcr: Some(dts90 - PCR_LEAD),
        };
        let last = video.finished && video.queue.is_empty();
        put_pes(
            &mut self.out,
            VIDEO_PID,
            &mut video.continuity,
            adaptation,
            &self.pes,
            last,
        );
    }

    fn write_audio(&mut self) {
        let Some((audio, group)) = self.audio.as_mut().and_then(|a| {
            let group = a.queue.pop_front()?;
            Some((a, group))
        }) else {
            return;
        };
        let time = group.pts90 - AUDIO_LEAD;
        let mut adaptation = Adaptation::default();
        match &self.video {
            Some(v) => fill_pcr_gap(
                &mut self.out,
                VIDEO_PID,
                v.continuity,
                &mut self.last_pcr,
                time,
            ),
            None => {
                fill_pcr_gap(
                    &mut self.out,
                    AUDIO_PID,
                    audio.continuity,
                    &mut self.last_pcr,
                    time,
                );
                self.last_pcr = Some(time);
                adaptation = Adaptation {
                    random_access: true,
                    pcr: Some(time - PCR_LEAD),
                };
            }
        }
        audio_pes(&mut self.pes, audio.adts, group.pts90, &group.frames);
        let last = audio.finished && audio.queue.is_empty();
        put_pes(
            &mut self.out,
            AUDIO_PID,
            &mut audio.continuity,
            adaptation,
            &self.pes,
            last,
        );
    }
}

/// A PES packet is complete, and known not to be the last of its track, when another one has begun.
fn next(queued: usize, finished: bool, place: Option<i64>) -> Next {
    match place {
        Some(place) if queued > 1 || finished => Next::Ready(place),
        Some(place) => Next::Placed(place),
        None if finished => Next::Ended,
        None => Next::Unknown,
    }
}

/// Writes PCRs so that none is further than the interval from the next, up to `time`.
fn fill_pcr_gap(
    out: &mut BytesMut,
    pid: u16,
    continuity: Continuity,
    last: &mut Option<i64>,
    time: i64,
) {
    let Some(mut t) = *last else { return };
    if time - t > MAX_PCR_GAP {
        return;
    }
    while time - t > MAX_PCR_INTERVAL {
        t += MAX_PCR_INTERVAL;
        put_pcr_only(out, pid, continuity, t - PCR_LEAD);
    }
    *last = Some(t);
}

impl VideoTrack {
    fn new(config: &TrackConfig) -> Result<Self, TsError> {
        let SampleCodec::Avc(avc) = &config.codec else {
            return Err(TsError::Codec(config.codec_string()));
        };
        Ok(VideoTrack {
            timescale: config.timescale,
            avc: avc.clone(),
            queue: VecDeque::new(),
            last_dts: None,
            finished: false,
            continuity: Continuity::default(),
        })
    }

    fn push(&mut self, sample: Sample) -> Result<(), TsError> {
        let dts = sample.dts;
        check_order(self.finished, self.last_dts, dts)?;
        let scan = scan_picture(&sample.data, &self.avc)
            .map_err(|BadNalLength| TsError::BadNalLength { dts })?;
        self.last_dts = Some(dts);
        self.queue.push_back(Picture {
            pts90: to_90k(sample.pts, self.timescale),
            dts90: to_90k(dts, self.timescale),
            scan,
            key: sample.sync || scan.idr,
            data: sample.data,
        });
        Ok(())
    }
}

impl AudioTrack {
    fn new(config: &TrackConfig) -> Result<Self, TsError> {
        let SampleCodec::Aac(aac) = &config.codec else {
            return Err(TsError::Codec(config.codec_string()));
        };
        let adts = AdtsHeader::new(aac).map_err(|NoAdtsForm| TsError::NoAdtsForm)?;
        Ok(AudioTrack {
            timescale: config.timescale,
            adts,
            frame_ticks: frame_ticks(aac, config.timescale),
            frames_per_pes: frames_per_pes(aac),
            queue: VecDeque::new(),
            last_pts: None,
            finished: false,
            continuity: Continuity::default(),
        })
    }

    fn push(&mut self, sample: Sample) -> Result<(), TsError> {
        let (pts, bytes) = (sample.pts, sample.data.len());
        check_order(self.finished, self.last_pts, pts)?;
        if !AdtsHeader::fits(bytes) {
            return Err(TsError::FrameTooLarge { pts, bytes });
        }
        // The times of all frames but the first are implied, so frames in a PES packet must be
        // contiguous; half a frame of jitter is left to the decoder's own count.
        let step = self.last_pts.map_or(0, |last| pts.saturating_sub(last));
        let contiguous = step.abs_diff(self.frame_ticks) <= self.frame_ticks.unsigned_abs() / 2;
        self.last_pts = Some(pts);
        match self.queue.back_mut() {
            Some(group) if contiguous && group.frames.len() < self.frames_per_pes => {
                group.frames.push(sample.data);
            }
            _ => {
                let mut frames = Vec::with_capacity(self.frames_per_pes);
                frames.push(sample.data);
                self.queue.push_back(AudioGroup {
                    pts90: to_90k(pts, self.timescale),
                    frames,
                });
            }
        }
        Ok(())
    }
}

fn check_order(finished: bool, previous: Option<i64>, time: i64) -> Result<(), TsError> {
    if finished {
        return Err(TsError::Finished);
    }
    match previous {
        Some(previous) if time <= previous => Err(TsError::NotMonotonic { previous, time }),
        _ => Ok(()),
    }
}

fn frame_ticks(aac: &AacConfig, timescale: u32) -> i64 {
    (i64::from(aac.frame_length) * i64::from(timescale) / i64::from(aac.core_rate.max(1))).max(1)
}

fn frames_per_pes(aac: &AacConfig) -> usize {
    let frame90 = i64::from(aac.frame_length) * 90_000 / i64::from(aac.core_rate.max(1));
    usize::try_from(MAX_AUDIO_PES / frame90.max(1))
        .unwrap_or(1)
        .clamp(1, MAX_AUDIO_PES_FRAMES)
}

#[cfg(test)]
mod tests;
