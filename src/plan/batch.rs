//! A whole source into one file (`mode: batch`): which container takes what, and ffmpeg's arguments.

use serde::Serialize;

use crate::base::MediaTime;
use crate::hardware::{Accelerator, Hardware};
use crate::media::{OutputFormat, SourceProbe, StreamRequest, VideoChoice};

use super::audio::{AudioCodec, AudioPlan, check_encoder, plan_audio};
use super::encoder::{device_options, encoder_options, upload_filters};
use super::error::PlanError;
use super::run::{
    GRAPH_OUTPUT, Invocation, audio_encoder, few_channels, filter_options, layout, strings,
};
use super::stream::PlanSettings;
use super::subtitle::{is_text, plan_burn};
use super::video::{VideoCodec, VideoPlan, choose, plan_video};

/// A file to be made of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    pub format: OutputFormat,
    pub video: Option<VideoPlan>,
    pub audios: Vec<AudioPlan>,
    /// Stream indexes of the text that goes into the file.
    texts: Vec<u32>,
    two_pass: bool,
    /// Where the source is entered; `None` = at its beginning.
    start: Option<MediaTime>,
    /// Length of the output, as far as the source tells its own.
    pub duration: Option<MediaTime>,
    segment_seconds: f64,
}

/// Where a batch job writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlace {
    /// A folder of its own, as ffmpeg is to name it.
    pub folder: String,
    /// What HLS playlists put before the names of segments.
    pub base_url: String,
}

/// What a batch job makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchFile {
    /// The name of the file, or of the playlist.
    pub name: &'static str,
    pub content_type: &'static str,
}

/// The file of a format.
pub fn batch_file(format: OutputFormat) -> BatchFile {
    let (name, content_type) = match format {
        OutputFormat::Mp4 => ("output.mp4", "video/mp4"),
        OutputFormat::Webm => ("output.webm", "video/webm"),
        OutputFormat::Mkv => ("output.mkv", "video/x-matroska"),
        OutputFormat::Hls => ("output.m3u8", "application/vnd.apple.mpegurl"),
        OutputFormat::Dash => ("output.mpd", "application/dash+xml"),
    };
    BatchFile { name, content_type }
}

/// Refuses what cannot be done whatever the source is.
pub fn check_batch(
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<(), PlanError> {
    let output = &request.output;
    if output.format == OutputFormat::Dash {
        return Err(PlanError::FormatNotMade {
            format: output.format.name(),
        });
    }
    if let Some(codec) = VideoCodec::asked(output.video) {
        let (encoder, wanted) = codec.software_encoder();
        takes_video(output.format, codec)?;
        let chosen = choose(codec, output.hw_accel, hardware, settings)?;
        if chosen.is_none() && !hardware.has_encoder(encoder) {
            return Err(PlanError::NoEncoder { encoder, wanted });
        }
        if output.two_pass && !has_two_passes(codec) {
            return Err(PlanError::NoTwoPasses { codec: wanted });
        }
    } else if output.two_pass && output.video == VideoChoice::Copy {
        return Err(PlanError::NoTwoPasses { codec: "copy" });
    }
    match AudioCodec::asked(output.audio) {
        Some(codec) => {
            takes_audio(output.format, codec)?;
            check_encoder(codec, hardware)
        }
        None => Ok(()),
    }
}

fn has_two_passes(codec: VideoCodec) -> bool {
    codec != VideoCodec::Av1
}

fn takes_video(format: OutputFormat, codec: VideoCodec) -> Result<(), PlanError> {
    let webm = matches!(codec, VideoCodec::Vp9 | VideoCodec::Av1);
    match format == OutputFormat::Webm && !webm {
        true => Err(PlanError::ContainerCodec {
            format: "webm",
            codec: codec.software_encoder().1,
            instead: "vp9 or av1",
        }),
        false => Ok(()),
    }
}

fn takes_audio(format: OutputFormat, codec: AudioCodec) -> Result<(), PlanError> {
    match format == OutputFormat::Webm && codec != AudioCodec::Opus {
        true => Err(PlanError::ContainerCodec {
            format: "webm",
            codec: codec.name(),
            instead: "opus",
        }),
        false => Ok(()),
    }
}

/// Plans the file that `request` asks for.
pub fn plan_batch(
    probe: &SourceProbe,
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<BatchPlan, PlanError> {
    check_batch(request, hardware, settings)?;
    let output = &request.output;
    let (video, audio) = (probe.main_video(), probe.main_audio());
    if video.is_none() && audio.is_none() {
        return Err(PlanError::NothingToPlay);
    }
    let duration = probe.duration.map(|d| d - request.start_time);
    if let (Some(left), Some(whole)) = (duration, probe.duration)
        && !left.is_positive()
    {
        return Err(PlanError::StartBeyondEnd {
            start: format!("{:.3}", request.start_time.as_secs_f64()),
            duration: format!("{:.3}", whole.as_secs_f64()),
        });
    }
    let burn = plan_burn(probe, video, output.burn_subtitle)?;
    // A file is cut nowhere: any key frames will do.
    let mut video = video
        .map(|v| plan_video(v, Ok(()), burn, request, hardware, settings))
        .transpose()?;
    if let Some(video) = &mut video {
        let both = video.encode.iter_mut().chain(&mut video.software);
        both.for_each(|encode| {
            encode.unhurried = true;
            encode.reorders = true;
        });
        takes_video(output.format, video.codec)?;
        if output.two_pass && output.video != VideoChoice::Copy {
            in_two_passes(video)?;
        }
    }
    let mut audios = Vec::new();
    for stream in &probe.audio {
        let main = audio.is_some_and(|a| a.index == stream.index);
        match plan_audio(stream, request, hardware) {
            Ok(plan) if takes_audio(output.format, plan.codec).is_ok() => audios.push(plan),
            Ok(plan) if main => takes_audio(output.format, plan.codec)?,
            Err(error) if main => return Err(error),
            // One that cannot be had as it is asked for is left out.
            Ok(_) | Err(_) => {}
        }
    }
    if output.format == OutputFormat::Hls {
        audios.truncate(1);
    }
    let takes_text = matches!(output.format, OutputFormat::Mp4 | OutputFormat::Mkv);
    let texts = probe
        .subtitles
        .iter()
        .filter(|s| takes_text && is_text(&s.codec));
    Ok(BatchPlan {
        format: output.format,
        two_pass: output.two_pass && video.as_ref().is_some_and(|v| v.encode.is_some()),
        video,
        audios,
        texts: texts.map(|s| s.index).collect(),
        start: Some(request.start_time).filter(|t| t.is_positive()),
        duration,
        segment_seconds: settings.segment_seconds,
    })
}

/// Two passes aim at a rate; hardware has no first pass.
fn in_two_passes(video: &mut VideoPlan) -> Result<(), PlanError> {
    if let Some(software) = video.software.take() {
        video.encode = Some(software);
    }
    let (codec, rate) = (video.codec, video.max_bitrate);
    let encode = video.encode.as_mut().filter(|e| e.accelerator.is_none());
    let encode = encode.filter(|_| has_two_passes(codec));
    let encode = encode.ok_or(PlanError::NoTwoPasses {
        codec: codec.software_encoder().1,
    })?;
    encode.target_bitrate = encode.target_bitrate.or(Some(rate));
    Ok(())
}

impl BatchPlan {
    pub fn passes(&self) -> usize {
        if self.two_pass { 2 } else { 1 }
    }

    /// What encodes the pictures, when that is hardware.
    pub fn accelerator(&self) -> Option<Accelerator> {
        self.video.as_ref()?.encode.as_ref()?.accelerator
    }

    /// The same without hardware, if that can be done.
    pub fn in_software(&self) -> Option<BatchPlan> {
        let mut plan = self.clone();
        let video = plan.video.as_mut()?;
        video.encode = Some(video.software.take()?);
        Some(plan)
    }

    /// Arguments of pass `nth`, counted from 0, in their order.
    pub fn pass(&self, nth: usize, place: &BatchPlace) -> Invocation {
        let first_of_two = self.two_pass && nth == 0;
        let (mut input, mut output) = (Vec::new(), Vec::new());
        if let Some(start) = self.start {
            input.extend(strings(&["-ss", &start.to_string()]));
        }
        if let Some(video) = &self.video {
            if let Some(encode) = &video.encode {
                input.extend(device_options(encode));
            }
            output.extend(self.video_options(video, nth, place));
        }
        if first_of_two {
            output.extend(strings(&["-an", "-sn", "-dn", "-f", "null", "-"]));
            return Invocation { input, output };
        }
        for (nth, audio) in self.audios.iter().enumerate() {
            output.extend(audio_options(audio, nth));
        }
        for text in &self.texts {
            output.extend(strings(&["-map", &format!("0:{text}")]));
        }
        if !self.texts.is_empty() {
            let codec = match self.format {
                OutputFormat::Mp4 => "mov_text",
                _ => "copy",
            };
            output.extend(strings(&["-c:s", codec]));
        }
        output.extend(strings(&[
            "-dn",
            "-map_metadata",
            "0",
            "-map_chapters",
            "0",
        ]));
        output.extend(self.container(place));
        Invocation { input, output }
    }

    fn video_options(&self, video: &VideoPlan, nth: usize, place: &BatchPlace) -> Vec<String> {
        let Some(encode) = &video.encode else {
            let mut out = strings(&["-map", &format!("0:{}", video.stream), "-c:v", "copy"]);
            if video.codec == VideoCodec::Hevc && self.format != OutputFormat::Mkv {
                out.extend(strings(&["-tag:v", "hvc1"]));
            }
            return out;
        };
        let mut filters = encode.before_grid.clone();
        filters.extend(encode.after_cut.iter().cloned());
        filters.extend(
            upload_filters(encode.accelerator)
                .iter()
                .map(|f| (*f).to_owned()),
        );
        let mut out = match encode.burn {
            Some(_) => strings(&["-map", GRAPH_OUTPUT]),
            None => strings(&["-map", &format!("0:{}", video.stream)]),
        };
        out.extend(filter_options(video.stream, encode.burn, &filters));
        // Five seconds between key frames: files are sought too.
        let gop = (video.rate.as_f64() * 5.0).round().max(1.0) as i64;
        let mut encoder = encoder_options(video, encode, gop);
        if self.format == OutputFormat::Mkv || self.format == OutputFormat::Webm {
            // A tag of MP4 means nothing here.
            if let Some(at) = encoder.iter().position(|a| a == "-tag:v") {
                encoder.drain(at..at + 2);
            }
        }
        out.extend(encoder);
        if self.format == OutputFormat::Hls {
            let cuts = format!("expr:gte(t,n_forced*{})", self.segment_seconds);
            out.extend(strings(&["-force_key_frames", &cuts]));
        }
        if self.two_pass {
            let log = format!("{}/passes", place.folder);
            let pass = (nth + 1).to_string();
            match video.codec {
                VideoCodec::Hevc => {
                    if let Some(at) = out.iter().position(|a| a == "-x265-params") {
                        out[at + 1].push_str(&format!(":pass={pass}:stats={log}.x265"));
                    }
                }
                _ => out.extend(strings(&["-pass", &pass, "-passlogfile", &log])),
            }
        }
        out
    }

    fn container(&self, place: &BatchPlace) -> Vec<String> {
        let file = |name: &str| format!("{}/{name}", place.folder);
        let name = file(batch_file(self.format).name);
        match self.format {
            OutputFormat::Mp4 => strings(&[
                "-f",
                "mp4",
                "-movflags",
                "+faststart",
                "-strict",
                "-2",
                &name,
            ]),
            OutputFormat::Webm => strings(&["-f", "webm", &name]),
            OutputFormat::Mkv => strings(&["-f", "matroska", &name]),
            OutputFormat::Hls | OutputFormat::Dash => {
                let plain = self
                    .video
                    .as_ref()
                    .is_none_or(|v| v.codec == VideoCodec::H264)
                    && self.audios.iter().all(|a| a.codec == AudioCodec::Aac);
                let seconds = self.segment_seconds.to_string();
                let mut out = strings(&["-f", "hls", "-hls_time", &seconds]);
                out.extend(strings(&[
                    "-hls_playlist_type",
                    "vod",
                    "-hls_list_size",
                    "0",
                ]));
                out.extend(strings(&["-hls_flags", "independent_segments"]));
                out.extend(strings(&[
                    "-hls_base_url",
                    &place.base_url,
                    "-strict",
                    "-2",
                ]));
                let segments = if plain {
                    "segment_%05d.ts"
                } else {
                    "segment_%05d.m4s"
                };
                if !plain {
                    out.extend(strings(&["-hls_segment_type", "fmp4"]));
                    out.extend(strings(&["-hls_fmp4_init_filename", "init.mp4"]));
                }
                out.extend(strings(&["-hls_segment_filename", &file(segments), &name]));
                out
            }
        }
    }
}

fn audio_options(audio: &AudioPlan, nth: usize) -> Vec<String> {
    let mut out = strings(&["-map", &format!("0:{}", audio.stream)]);
    let Some(encode) = &audio.encode else {
        out.extend(strings(&[&format!("-c:a:{nth}"), "copy"]));
        return out;
    };
    let resample = format!("aresample={}:async=1", audio.sample_rate);
    let filters: Vec<String> = few_channels(encode)
        .into_iter()
        .chain([resample])
        .chain(layout(audio))
        .collect();
    out.extend(strings(&[&format!("-filter:a:{nth}"), &filters.join(",")]));
    // The same options, each for this track.
    let mut options = audio_encoder(audio).into_iter();
    while let (Some(name), Some(value)) = (options.next(), options.next()) {
        let base = name.trim_end_matches(":a");
        out.push(format!("{base}:a:{nth}"));
        out.push(value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioChoice, Mode};
    use crate::plan::stream::tests::{machine, probe};

    fn request(format: OutputFormat, video: VideoChoice, audio: AudioChoice) -> StreamRequest {
        let mut request = StreamRequest {
            mode: Mode::Batch,
            ..Default::default()
        };
        request.output.format = format;
        request.output.video = video;
        request.output.audio = audio;
        request
    }

    fn line(request: &StreamRequest, nth: usize) -> Result<String, PlanError> {
        let plan = plan_batch(&probe(), request, &machine(), &PlanSettings::default())?;
        let place = BatchPlace {
            folder: "/jobs/1".into(),
            base_url: "1/".into(),
        };
        let run = plan.pass(nth, &place);
        Ok([run.input, run.output].concat().join(" "))
    }

    #[test]
    fn containers_take_what_they_can_hold() {
        use OutputFormat::*;
        let mp4 = line(&request(Mp4, VideoChoice::H264, AudioChoice::Aac), 0).unwrap();
        assert!(mp4.contains("-movflags +faststart") && mp4.ends_with("/jobs/1/output.mp4"));
        assert!(
            mp4.contains("-c:a:0 aac") && mp4.contains("-ac:a:0 2"),
            "{mp4}"
        );
        let hls = line(&request(Hls, VideoChoice::H264, AudioChoice::Aac), 0).unwrap();
        assert!(hls.contains("-hls_base_url 1/") && hls.contains("segment_%05d.ts"));
        // Files can be sought: a key frame every five seconds, whatever the codec.
        let hevc = line(&request(Mkv, VideoChoice::H265, AudioChoice::Aac), 0).unwrap();
        assert!(
            hevc.contains(":keyint=150") && mp4.contains("-g 150"),
            "{hevc}"
        );
        let refused = line(&request(Webm, VideoChoice::H264, AudioChoice::Aac), 0);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "webm does not take h264; ask for vp9 or av1"
        );
        let refused = line(&request(Webm, VideoChoice::Vp9, AudioChoice::Aac), 0);
        assert!(matches!(
            refused,
            Err(PlanError::ContainerCodec { codec: "aac", .. })
        ));
        let refused = line(&request(Dash, VideoChoice::H264, AudioChoice::Aac), 0);
        assert!(matches!(refused, Err(PlanError::FormatNotMade { .. })));
    }

    #[test]
    fn two_passes_aim_at_a_rate() {
        let mut wanted = request(OutputFormat::Mkv, VideoChoice::H264, AudioChoice::Aac);
        wanted.output.two_pass = true;
        wanted.output.bitrate = "2M".parse().ok();
        let (first, second) = (line(&wanted, 0).unwrap(), line(&wanted, 1).unwrap());
        assert!(
            first.contains("-pass 1 -passlogfile /jobs/1/passes") && first.ends_with("-f null -")
        );
        assert!(
            second.contains("-pass 2") && second.contains("-b:v 2000000"),
            "{second}"
        );
        wanted.output.video = VideoChoice::Copy;
        assert!(matches!(
            line(&wanted, 0),
            Err(PlanError::NoTwoPasses { .. })
        ));
    }
}
