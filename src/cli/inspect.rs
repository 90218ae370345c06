//! `probe` and `plan`: what the gateway would see and do, without serving.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app;
use crate::base::MediaTime;
use crate::config::Config;
use crate::media::{Mode, OutputFormat, OutputRequest, SourceProbe, StreamRequest};
use crate::plan::{AudioPlan, AudioRun, Invocation, Padding, Preroll, StreamPlan, VideoRun};
use crate::session::Inspection;

use super::args::{PlanArgs, ProbeArgs, WantedArgs};

pub(super) fn probe(config: &Config, args: &ProbeArgs) -> anyhow::Result<()> {
    let (found, _) = look(config, &args.source, &StreamRequest::default())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let index = found.facts.keyframes.as_ref();
        let keyframes: Option<Vec<f64>> =
            index.map(|k| k.pts().iter().map(|t| t.as_secs_f64()).collect());
        let all = serde_json::json!({"probe": found.facts.probe, "keyframes": keyframes});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    write_probe(&mut out, &found.facts.probe)?;
    match &found.facts.keyframes {
        Some(index) => writeln!(
            out,
            "key frames: {} in the index, at most {:.3} s apart",
            index.pts().len(),
            index.longest_gap().as_secs_f64()
        )?,
        None => writeln!(out, "key frames: the source has no index of them")?,
    }
    Ok(())
}

fn write_probe(out: &mut impl Write, probe: &SourceProbe) -> anyhow::Result<()> {
    let duration = probe
        .duration
        .map_or("unknown".into(), |d| format!("{:.3} s", d.as_secs_f64()));
    writeln!(
        out,
        "container:  {}, duration {duration}, start {}",
        probe.format, probe.start_time
    )?;
    for v in &probe.video {
        let rate = v.average_rate.map_or(0.0, |r| r.as_f64());
        writeln!(
            out,
            "video #{}:   {} {} {} {}, shown as {}, {rate:.3} pictures/s, rotated {} degrees, {:?}",
            v.index,
            v.codec,
            v.profile,
            v.pixel_format,
            v.coded,
            v.display_size(),
            v.rotation,
            v.field_order
        )?;
    }
    for a in &probe.audio {
        let language = a.language.as_deref().unwrap_or("language unknown");
        writeln!(
            out,
            "audio #{}:   {} {} Hz, {} channels, {language}",
            a.index, a.codec, a.sample_rate, a.channels
        )?;
    }
    for s in &probe.subtitles {
        let language = s.language.as_deref().unwrap_or("language unknown");
        writeln!(out, "subtitle #{}: {}, {language}", s.index, s.codec)?;
    }
    Ok(())
}

pub(super) fn plan(config: &Config, args: &PlanArgs) -> anyhow::Result<()> {
    let request = request(config, &args.wanted);
    let (found, ffmpeg) = look(config, &args.source, &request)?;
    let plan = found.plan?;
    let commands = commands(&plan, &ffmpeg, &args.source);
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = serde_json::json!({
            "packaging": plan.packaging,
            "videos": plan.videos,
            "audios": plan.audios,
            "subtitles": plan.subtitles,
            "origin_seconds": plan.origin.as_secs_f64(),
            "duration_seconds": plan.duration().map(MediaTime::as_secs_f64),
            "segments": plan.timeline.len(),
            "commands": commands,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    let duration = plan
        .duration()
        .map_or("open-ended".into(), |d| format!("{:.3} s", d.as_secs_f64()));
    writeln!(
        out,
        "segments:   {} of {duration}, {:?}",
        plan.timeline.len(),
        plan.packaging
    )?;
    for v in &plan.videos {
        let what = v.encode.as_ref().map_or("copied", |e| e.encoder);
        writeln!(
            out,
            "video:      {what}, {}, {} pictures/s, at most {}bit/s",
            v.size, v.rate, v.max_bitrate
        )?;
    }
    for s in &plan.subtitles {
        let language = s.language.as_deref().unwrap_or("language unknown");
        writeln!(out, "subtitles:  {}, {language}", s.name)?;
    }
    for a in &plan.audios {
        let what = if a.encode.is_some() { "" } else { " copied" };
        writeln!(
            out,
            "audio:      {}{what}, {} Hz, {} channels, {}bit/s",
            a.codec.name(),
            a.sample_rate,
            a.channels,
            a.bitrate
        )?;
    }
    for command in commands {
        writeln!(out, "\n{command}")?;
    }
    Ok(())
}

/// The request as a gateway with this configuration would understand it.
pub(super) fn request(config: &Config, wanted: &WantedArgs) -> StreamRequest {
    let base = OutputRequest::default();
    let defaults = &config.transcoding;
    StreamRequest {
        mode: wanted.mode.unwrap_or(Mode::Stream),
        output: OutputRequest {
            format: OutputFormat::Hls,
            video: wanted.video_codec.unwrap_or(defaults.default_video_codec),
            audio: wanted.audio_codec.unwrap_or(defaults.default_audio_codec),
            resolution: wanted.resolution.unwrap_or(base.resolution),
            bitrate: wanted.bitrate,
            hw_accel: wanted.hw_accel.unwrap_or(base.hw_accel),
            tone_map: base.tone_map,
            max_audio_channels: wanted.max_audio_channels.unwrap_or(base.max_audio_channels),
            two_pass: base.two_pass,
            burn_subtitle: wanted.burn_subtitle,
        },
        start_time: wanted.start_time.unwrap_or_default(),
        subtitles: Vec::new(),
    }
}

/// The command lines of the first run of each track, ready for a shell.
fn commands(plan: &StreamPlan, ffmpeg: &Path, source: &str) -> Vec<String> {
    let (preroll, padding) = (Preroll::Near, Padding::Short);
    let timeline = &plan.timeline;
    let until = timeline.start(timeline.len());
    let run = VideoRun {
        from: timeline.start(0),
        until,
        preroll,
        padding,
        software: false,
    };
    let videos = (0..plan.videos.len()).filter_map(|nth| plan.video_run(nth, run));
    let audio = |(nth, audio): (usize, &AudioPlan)| {
        let until = match audio.encode {
            Some(_) => plan.audio_frames(audio),
            None => until,
        };
        let run = AudioRun {
            from: 0,
            until,
            preroll,
            padding,
        };
        plan.audio_run(nth, run)
    };
    let audios = plan.audios.iter().enumerate().filter_map(audio);
    let line = |i: Invocation| {
        let mut words = vec![ffmpeg.display().to_string(), "-hide_banner".into()];
        words.extend(i.input);
        words.extend(["-i".to_owned(), source.to_owned()]);
        words.extend(i.output);
        words
            .iter()
            .map(|w| quoted(w))
            .collect::<Vec<_>>()
            .join(" ")
    };
    videos.chain(audios).map(line).collect()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:/.,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Probes and plans `source` as a gateway with this configuration would; the folder of a local file
/// counts as one of its roots, since whoever types the command can read it anyway.
fn look(
    config: &Config,
    source: &str,
    request: &StreamRequest,
) -> anyhow::Result<(Inspection, PathBuf)> {
    let mut config = config.clone();
    let mut source = source.to_owned();
    if let Some(path) = local_path(&source) {
        config
            .sources
            .roots
            .extend(path.parent().map(Path::to_owned));
        source = path.to_string_lossy().into_owned();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let found = runtime.block_on(async {
        let opener = app::opener(&config, &TaskTracker::new(), &CancellationToken::new()).await?;
        let locator = opener.resolve(&source).await?;
        let found = opener.inspect(&locator, request).await?;
        Ok::<_, anyhow::Error>((found, opener.tools.ffmpeg.clone()))
    });
    runtime.shutdown_background();
    found
}

/// The absolute path of `source` when something of this machine is named by it.
pub(super) fn local_path(source: &str) -> Option<PathBuf> {
    Path::new(source).canonicalize().ok()
}
