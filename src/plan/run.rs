//! The ffmpeg arguments of one encoder run.
//!
//! A run delivers one track as fragmented MP4 on its standard output, from one exact unit of the
//! timeline to another. The recipes are those whose joins were measured to be exact.

use crate::base::MediaTime;

use super::audio::{AudioCodec, AudioEncode, AudioPlan};
use super::encoder::{device_options, encoder_options, upload_filters};
use super::stream::{COPY_TIMESCALE, StreamPlan};
use super::video::{Burn, VideoCodec, VideoEncode, VideoPlan};

/// Arguments of ffmpeg, apart from what names and opens the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Before `-i`: seeking.
    pub input: Vec<String>,
    /// After `-i`: mapping, filters, encoder, muxer.
    pub output: Vec<String>,
}

/// How far before the wanted unit the source is opened. Deeper steps are taken when a run came up
/// with its first picture too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preroll {
    /// As the container's index promises.
    Near,
    /// Twelve seconds: longer than most distances of key frames.
    Far,
    /// One minute.
    VeryFar,
    /// Everything is read; what is missing at the start is filled.
    FromStart,
}

impl Preroll {
    /// The next deeper step.
    pub fn deeper(self) -> Option<Preroll> {
        match self {
            Preroll::Near => Some(Preroll::Far),
            Preroll::Far => Some(Preroll::VeryFar),
            Preroll::VeryFar => Some(Preroll::FromStart),
            Preroll::FromStart => None,
        }
    }
}

/// What follows when the source ends before the timeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Up to [`PAD_SECONDS`] of still picture or silence: streams of one file rarely end together.
    Short,
    /// As much as the timeline needs: the track is known to end at this unit, which is before the
    /// timeline's end. Runs beyond it open the source just before it.
    After(i64),
}

/// Seconds that are filled without asking; an end earlier than that is looked into.
pub const PAD_SECONDS: i64 = 2;

/// A run of the video encoder, in timeline units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoRun {
    pub from: i64,
    pub until: i64,
    pub preroll: Preroll,
    pub padding: Padding,
    /// In software, though the plan has hardware for it.
    pub software: bool,
}

/// A run of the audio encoder, in audio frames of the output; of copied sound, in timeline units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioRun {
    pub from: i64,
    pub until: i64,
    pub preroll: Preroll,
    pub padding: Padding,
}

/// Output frames made before the first one that is used: the first carries the encoder's delay, the
/// others let its transform and psychoacoustic state settle. A multiple of six, so that every
/// ratio of sample rates starts in phase.
const AUDIO_LEAD_FRAMES: i64 = 6;
/// Output frames before the first one that is encoded, for the resampler; a multiple of six too.
const AUDIO_SETTLING_FRAMES: i64 = 6;
/// Input beyond the last frame that is used, in frames: each frame's transform reaches into the
/// next one, and must find there what the next run finds.
const AUDIO_TAIL_FRAMES: i64 = 3;
/// How much of a track's end is read to go on from it.
const LAST_PART: MediaTime = MediaTime::from_micros(500_000);
/// For demuxers that search by decoding time, ffmpeg moves the target of a seek back by 3/23 s.
const SEEK_SLACK: MediaTime = MediaTime::from_micros(131_000);

/// Cuts that one run forces. Linux takes arguments of up to 128 KiB (`MAX_ARG_STRLEN`), and a cut
/// of a stream of 48 hours is written with 14 characters.
const MAX_CUTS: u32 = 8000;

impl StreamPlan {
    /// The segment before which a run that begins in `segment` must end.
    pub fn longest_run(&self, segment: u32) -> u32 {
        match self.main_video().and_then(|v| v.encode.as_ref()) {
            Some(_) => segment.saturating_add(MAX_CUTS),
            None => u32::MAX,
        }
    }

    /// Arguments for a run of the video rendition `nth`; `None` when there is none.
    pub fn video_run(&self, nth: usize, run: VideoRun) -> Option<Invocation> {
        let video = self.videos.get(nth)?;
        let start = self.first_picture(run);
        Some(match video.encoder(run.software) {
            Some(encode) => self.video_encode(video, encode, run, start),
            None => self.video_copy(video, run, start),
        })
    }

    /// Where in the source the first picture of `run` lies; beyond the track's end: its last part.
    pub(super) fn first_picture(&self, run: VideoRun) -> MediaTime {
        let grid = self.timeline.grid();
        let start = self.origin + grid.time_of(run.from);
        match run.padding {
            Padding::After(end) => start.min(self.origin + grid.time_of(end) - LAST_PART),
            Padding::Short => start,
        }
    }

    fn video_encode(
        &self,
        video: &VideoPlan,
        encode: &VideoEncode,
        run: VideoRun,
        start: MediaTime,
    ) -> Invocation {
        // A subtitle that is shown at the first picture began before it.
        let preroll = match encode.burn {
            Some(_) => run.preroll.max(Preroll::Far),
            None => run.preroll,
        };
        let seek = self.video_seek(start, preroll, !encode.before_grid.is_empty());
        let mut filters = self.grid_filters(video, encode, run, seek.is_some());
        filters.extend(finishing_filters(encode));
        let mut output = match encode.burn {
            None => exact_mapping(video.stream),
            Some(_) => exact_mapping_of(GRAPH_OUTPUT),
        };
        output.extend(filter_options(video.stream, encode.burn, &filters));
        output.extend(self.encoded_output(video, encode, run));
        output.push("pipe:1".into());
        let input = video_input(video, encode, seek);
        Invocation { input, output }
    }

    /// Filters that put pictures on the frame grid and cut the units of `run` out; `sought` when the
    /// source is not read from its beginning.
    pub(super) fn grid_filters(
        &self,
        video: &VideoPlan,
        encode: &VideoEncode,
        run: VideoRun,
        sought: bool,
    ) -> Vec<String> {
        let rate = video.rate;
        let mut filters = Vec::new();
        if sought && video.makes_up {
            // Nothing before the first key frame; if that is too late, the run is.
            filters.push("select='st(0,max(ld(0),key))'".to_owned());
        }
        filters.extend(encode.before_grid.iter().cloned());
        filters.push(format!("setpts=PTS-({})/TB", self.origin));
        // Only a run that reads everything may invent pictures before the first one it sees; in
        // others a late first picture shows that the seek went too far.
        let fill = if sought { "" } else { ":start_time=0" };
        filters.push(format!("fps={rate}{fill}"));
        let pad = match run.padding {
            Padding::Short => (PAD_SECONDS as f64 * rate.as_f64()).ceil() as i64,
            Padding::After(_) => -1,
        };
        filters.push(format!("tpad=stop={pad}:stop_mode=clone"));
        filters.push(cut_filter(run));
        filters
    }

    /// Encoder, key frames and muxer of one output of pictures, up to its name.
    pub(super) fn encoded_output(
        &self,
        video: &VideoPlan,
        encode: &VideoEncode,
        run: VideoRun,
    ) -> Vec<String> {
        let rate = video.rate;
        let mut output = strings(&["-an", "-fps_mode", "passthrough"]);
        output.extend(encoder_options(video, encode, self.timeline.units(0)));
        let first = self.timeline.segment_of(run.from);
        let last = self.timeline.segment_of(run.until - 1) + 1;
        let cuts = self.timeline.cuts(first..last);
        if !cuts.is_empty() {
            // A quarter of a frame early: the encoder compares in its own, coarser clock.
            let quarter_early = |cut: &i64| {
                let quarter = rate.time_of(1).as_micros() / 4;
                MediaTime::from_micros(rate.time_of(*cut).as_micros() - quarter).to_string()
            };
            output.push("-force_key_frames".into());
            output.push(cuts.iter().map(quarter_early).collect::<Vec<_>>().join(","));
        }
        let timescale = video_timescale(video).to_string();
        output.extend(strings(&["-video_track_timescale", &timescale]));
        output.extend(video_fragments());
        output
    }

    fn video_copy(&self, video: &VideoPlan, run: VideoRun, start: MediaTime) -> Invocation {
        let seek = match run.preroll {
            Preroll::FromStart => None,
            _ => self.video_seek(start, run.preroll, false),
        };
        let mut output = exact_mapping(video.stream);
        output.extend(strings(&["-an", "-c:v", "copy"]));
        if video.codec == VideoCodec::Hevc {
            output.extend(strings(&["-tag:v", "hvc1"]));
        }
        output.extend(self.output_shift());
        output.extend(strings(&[
            "-video_track_timescale",
            &COPY_TIMESCALE.to_string(),
        ]));
        output.extend(video_fragments());
        output.push("pipe:1".into());
        Invocation {
            input: input_seek(seek),
            output,
        }
    }

    /// Arguments for a run of the audio rendition `nth`; `None` when there is none.
    pub fn audio_run(&self, nth: usize, run: AudioRun) -> Option<Invocation> {
        let audio = self.audios.get(nth)?;
        Some(match &audio.encode {
            Some(encode) => self.audio_encode(audio, encode, run),
            None => self.audio_copy(audio, run),
        })
    }

    fn audio_encode(&self, audio: &AudioPlan, encode: &AudioEncode, run: AudioRun) -> Invocation {
        let frame = i64::from(audio.codec.frame_samples());
        let from = audio_lead(run.from);
        let early = audio.codec.early_samples();
        let (first, last) = (from * frame - early, run.until * frame);
        let start = self.origin + MediaTime::from_ticks(first, audio.sample_rate);
        let start = match run.padding {
            Padding::After(end) => start.min(
                self.origin + MediaTime::from_ticks(end * frame, audio.sample_rate) - LAST_PART,
            ),
            Padding::Short => start,
        };
        let seek = self.audio_seek(start, run.preroll);
        // The first frames after a seek may be damaged, or dated by what the search guessed: sound
        // is taken from a little later on, from a sample of the source that every run could have
        // taken it from.
        let settled = (from - AUDIO_SETTLING_FRAMES) * frame * i64::from(encode.source_rate)
            / i64::from(audio.sample_rate);
        let settle = seek.map(|_| format!("atrim=start_pts={settled}"));
        // Gaps of the source become silence; small deviations are left alone, because stretching
        // would depend on where the run began.
        let mut resample = format!(
            "aresample={}:async=1:min_comp=0.000001:min_hard_comp=0.03",
            audio.sample_rate
        );
        if seek.is_none() || run.preroll == Preroll::VeryFar {
            let known = if seek.is_none() { -early } else { first };
            resample.push_str(&format!(":first_pts={known}"));
        }
        let pad = match run.padding {
            Padding::Short => format!("apad=pad_dur={PAD_SECONDS}"),
            Padding::After(_) => "apad".to_owned(),
        };
        let end = last + AUDIO_TAIL_FRAMES * frame;
        let cut = format!("atrim=start_pts={first}:end_pts={end}");
        let mut filters = clock(encode, self.origin);
        filters.extend(settle);
        filters.extend(few_channels(encode));
        filters.extend([resample, pad, cut]);
        filters.extend(layout(audio));
        let mut output = exact_mapping(audio.stream);
        output.extend(strings(&["-vn", "-af", &filters.join(",")]));
        output.extend(audio_encoder(audio));
        output.extend(audio_fragments(audio.codec));
        output.push("pipe:1".into());
        Invocation {
            input: input_seek(seek),
            output,
        }
    }

    fn audio_copy(&self, audio: &AudioPlan, run: AudioRun) -> Invocation {
        let start = self.origin + self.timeline.grid().time_of(run.from);
        let seek = self.audio_seek(start, run.preroll);
        let mut output = exact_mapping(audio.stream);
        output.extend(strings(&["-vn", "-c:a", "copy"]));
        if audio.codec == AudioCodec::Aac {
            output.extend(strings(&["-bsf:a", "aac_adtstoasc"]));
        }
        output.extend(self.output_shift());
        output.extend(audio_fragments(audio.codec));
        output.push("pipe:1".into());
        Invocation {
            input: input_seek(seek),
            output,
        }
    }

    /// Moves a copied stream's timestamps to the timeline.
    fn output_shift(&self) -> Vec<String> {
        let shift = MediaTime::ZERO - self.origin;
        strings(&["-output_ts_offset", &shift.to_string()])
    }

    /// Where to open the source for a first picture at `start`; `None` = at its beginning.
    ///
    /// `before` asks for a picture before the first one too, for filters that look back.
    pub(super) fn video_seek(
        &self,
        start: MediaTime,
        preroll: Preroll,
        before: bool,
    ) -> Option<MediaTime> {
        let frame = MediaTime::from_micros(5_000);
        let back = |us: i64| Some(start - MediaTime::from_micros(us));
        let target = match preroll {
            Preroll::Near if before => back(700_000),
            Preroll::Near => {
                let next = self.keyframes.partition_point(|k| *k <= start + frame);
                let key = next.checked_sub(1).map(|i| self.keyframes[i]);
                let ahead = self.keyframes.get(next);
                match key {
                    // Past the key frame, so that the moved-back target still finds it, but not
                    // past the next one.
                    Some(key) if ahead.is_none_or(|n| *n > key + SEEK_SLACK + SEEK_SLACK) => {
                        Some(key + SEEK_SLACK)
                    }
                    _ if self.seeks_badly => back(3_000_000),
                    _ => back(200_000),
                }
            }
            Preroll::Far => back(12_000_000),
            Preroll::VeryFar => back(60_000_000),
            Preroll::FromStart => None,
        };
        target.filter(|t| *t > self.source_start + frame && start > self.origin_of_source())
    }

    fn audio_seek(&self, start: MediaTime, preroll: Preroll) -> Option<MediaTime> {
        let back = match preroll {
            Preroll::Near if self.seeks_badly => 3_000_000,
            Preroll::Near => 500_000,
            Preroll::Far => 12_000_000,
            Preroll::VeryFar => 60_000_000,
            Preroll::FromStart => return None,
        };
        let target = start - MediaTime::from_micros(back);
        Some(target).filter(|t| *t > self.source_start)
    }

    /// The timeline's zero without `start_time`.
    fn origin_of_source(&self) -> MediaTime {
        self.origin - self.start_time
    }
}

/// Passes the units of `run` on and nothing else.
pub(super) fn cut_filter(run: VideoRun) -> String {
    format!("trim=start_pts={}:end_pts={}", run.from, run.until)
}

/// Filters after the cut, to what the encoder takes.
pub(super) fn finishing_filters(encode: &VideoEncode) -> impl Iterator<Item = String> + '_ {
    let upload = upload_filters(encode.accelerator).iter();
    encode
        .after_cut
        .iter()
        .cloned()
        .chain(upload.map(|f| (*f).to_owned()))
}

/// The first output frame that a run encodes so that `from` comes out right.
fn audio_lead(from: i64) -> i64 {
    let lead = from - AUDIO_LEAD_FRAMES;
    if lead <= 0 { 0 } else { lead - lead % 6 }
}

/// Filters that move sound to the timeline, from timestamps that tell where its frames really lie.
fn clock(encode: &AudioEncode, origin: MediaTime) -> Vec<String> {
    let zero = origin.to_ticks(encode.source_rate);
    let snap = encode.snap.map(|s| {
        format!(
            "asetpts='st(0,round((PTS+S-({o}))/{f})*{f}+({o})-S);\
             if(lte(abs(PTS-ld(0)),{t}),ld(0),PTS){shift}'",
            o = s.offset,
            f = s.frame,
            t = s.tolerance,
            shift = match encode.counted {
                true => String::new(),
                false => format!("-({zero})"),
            }
        )
    });
    let count = encode.counted.then(|| {
        let gap = encode.source_rate / 20;
        format!(
            "asetpts='st(1,PTS-N);\
             st(0,if(not(N)+gt(abs(ld(1)-ld(0)),{gap}),ld(1),min(ld(0),ld(1))));\
             ld(0)+N-({zero})'"
        )
    });
    let mut filters: Vec<String> = snap.into_iter().chain(count).collect();
    if filters.is_empty() {
        filters.push(format!("asetpts='PTS-({zero})'"));
    }
    filters
}

/// The first channels of a source that has more than any layout names.
pub(super) fn few_channels(encode: &AudioEncode) -> Option<String> {
    const MOST: u32 = 8;
    (encode.source_channels > MOST).then(|| {
        let same: Vec<String> = (0..MOST).map(|c| format!("c{c}=c{c}")).collect();
        format!("pan=7.1|{}", same.join("|"))
    })
}

/// The layouts of the Opus mapping family 1, which its encoder insists on (RFC 7845 section 5.1.1.2).
pub(super) fn layout(audio: &AudioPlan) -> Option<String> {
    let layouts = ["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"];
    let name = layouts.get(audio.channels.checked_sub(1)? as usize)?;
    (audio.codec == AudioCodec::Opus).then(|| format!("aformat=channel_layouts={name}"))
}

/// Encoder of an audio track and its settings, so that frames do not depend on earlier ones more than
/// their transforms must.
pub(super) fn audio_encoder(audio: &AudioPlan) -> Vec<String> {
    let mut out = strings(&["-c:a", audio.codec.encoder()]);
    let frame = audio.codec.frame_samples().to_string();
    match audio.codec {
        // The usual search for quantisers depends on all frames before: at joins of runs its noise
        // differs by a hundred times as much as that of the fast one.
        AudioCodec::Aac => out.extend(strings(&["-aac_coder", "fast"])),
        AudioCodec::Opus => {
            out.extend(strings(&["-application", "audio", "-frame_duration", "20"]))
        }
        AudioCodec::Mp3 => out.extend(strings(&["-reservoir", "0"])),
        AudioCodec::Flac => {
            out.extend(strings(&["-frame_size", &frame, "-sample_fmt", "s16"]));
        }
        AudioCodec::Ac3 | AudioCodec::Eac3 => {}
    }
    out.extend(strings(&["-ac", &audio.channels.to_string()]));
    if audio.codec != AudioCodec::Flac {
        let bitrate = audio.bitrate.bits_per_second().to_string();
        out.extend(strings(&["-b:a", &bitrate]));
    }
    out
}

/// Ticks per second of an encoded video track: a whole number of ticks per frame.
pub fn video_timescale(video: &VideoPlan) -> u32 {
    let num = video.rate.num();
    if num >= 10_000 {
        num
    } else {
        num * 10_000u32.div_ceil(num)
    }
}

/// What comes before the source's name in a run that encodes pictures.
pub(super) fn video_input(
    video: &VideoPlan,
    encode: &VideoEncode,
    seek: Option<MediaTime>,
) -> Vec<String> {
    let mut input = device_options(encode);
    input.extend(input_seek(seek));
    // Where pictures change their size or form, ffmpeg would build all filters anew, and they would
    // count from the beginning again. The grid's own filters never look at pictures, and those that
    // scale take what comes; what turns them or lays others over them does not.
    if video.upright && encode.burn.is_none() {
        input.extend(strings(&["-reinit_filter", "0"]));
    }
    input
}

fn input_seek(seek: Option<MediaTime>) -> Vec<String> {
    match seek {
        Some(t) => strings(&[
            "-seek_timestamp",
            "1",
            "-noaccurate_seek",
            "-ss",
            &t.to_string(),
        ]),
        None => Vec::new(),
    }
}

/// One stream of the source, with the source's own clock.
fn exact_mapping(stream: u32) -> Vec<String> {
    exact_mapping_of(&format!("0:{stream}"))
}

pub(super) fn exact_mapping_of(what: &str) -> Vec<String> {
    let mut out = strings(&["-copyts"]);
    out.extend(mapping_of(what));
    out
}

/// One stream of the source and nothing else.
pub(super) fn mapping(stream: u32) -> Vec<String> {
    mapping_of(&format!("0:{stream}"))
}

/// Name of the pictures that a graph of several inputs gives out.
pub(super) const GRAPH_OUTPUT: &str = "[pictures]";

/// The filters of a video stream; subtitles are laid over the pictures as the source has them.
pub(super) fn filter_options(stream: u32, burn: Option<Burn>, filters: &[String]) -> Vec<String> {
    let Some(burn) = burn else {
        return vec!["-vf".into(), filters.join(",")];
    };
    let graph = format!("{}{}{GRAPH_OUTPUT}", burnt(stream, burn), filters.join(","));
    vec!["-filter_complex".into(), graph]
}

/// The beginning of a graph that lays subtitles over the pictures of a stream.
pub(super) fn burnt(stream: u32, burn: Burn) -> String {
    let Burn {
        stream: text,
        canvas,
    } = burn;
    let (width, height) = (canvas.width, canvas.height);
    format!("[0:{text}]scale={width}:{height}[text];[0:{stream}][text]overlay=eof_action=pass,")
}

fn mapping_of(what: &str) -> Vec<String> {
    let mut out = strings(&["-avoid_negative_ts", "disabled"]);
    // However much of the source is damaged: what is missing is noticed by its absence.
    out.extend(strings(&["-max_error_rate", "1"]));
    out.extend(strings(&["-map", what, "-map_metadata", "-1"]));
    out.extend(strings(&["-map_chapters", "-1", "-sn", "-dn"]));
    out
}

/// A picture is passed on as soon as the next one is encoded.
pub(super) fn video_fragments() -> Vec<String> {
    fragments("frag_every_frame+")
}

/// Sound in tenths of a second: single frames would cost more in headers than they save in time.
pub(super) fn audio_fragments(codec: AudioCodec) -> Vec<String> {
    let mut out = strings(&["-frag_duration", "100000"]);
    out.extend(match codec {
        // What the header says of these is read from their first frame.
        AudioCodec::Ac3 | AudioCodec::Eac3 => fragments("delay_moov+"),
        // Older muxers hold it to be experimental.
        AudioCodec::Flac => [strings(&["-strict", "-2"]), fragments("")].concat(),
        _ => fragments(""),
    });
    out
}

fn fragments(when: &str) -> Vec<String> {
    let flags = format!("{when}empty_moov+default_base_moof+skip_trailer+frag_discont");
    strings(&["-f", "mp4", "-use_editlist", "0", "-movflags", &flags])
}

pub(super) fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::StreamRequest;
    use crate::plan::stream::tests::{machine, probe};
    use crate::plan::{PlanSettings, plan_stream};

    #[test]
    fn runs_over_the_longest_stream_fit_into_a_command_line() {
        let mut source = probe();
        let two_days = MediaTime::from_secs_f64(48.0 * 3600.0);
        source.duration = Some(two_days);
        source.video[0].duration = Some(two_days);
        source.audio.clear();
        let settings = PlanSettings {
            segment_seconds: 1.0,
            ..Default::default()
        };
        let request = StreamRequest::default();
        let plan = plan_stream(&source, None, &request, &machine(), &settings).unwrap();
        let segments = plan.timeline.len();
        let first = segments - 10_000;
        let until = plan.longest_run(first).min(segments);
        assert!(until < segments, "the list would be too long");
        let run = plan.video_run(
            0,
            VideoRun {
                from: plan.timeline.start(first),
                until: plan.timeline.start(until),
                preroll: Preroll::Near,
                padding: Padding::Short,
                software: false,
            },
        );
        let longest = run.unwrap().output.iter().map(String::len).max();
        assert!(longest.unwrap() > 64 * 1024 && longest.unwrap() < 128 * 1024);
    }
}
