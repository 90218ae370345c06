//! Segments that different encoder runs made fit together without a fault: every picture of the
//! frame grid is there once and shows what it must, every audio frame is there once, sound and
//! picture lie where the source has them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ghoststream::media::{AudioChoice, StreamRequest, VideoChoice};
use ghoststream::plan::StreamPlan;

use crate::joined::Joined;
use crate::media::{decode_sound, gateway_ffmpegs, make, pictures, rms, sweeps};
use crate::runs;

/// A synthetic source.
struct Clip {
    name: &'static str,
    inputs: Vec<String>,
    options: &'static str,
    request: StreamRequest,
}

fn clip(name: &'static str, inputs: &[String], options: &'static str) -> Clip {
    Clip {
        name,
        inputs: inputs.to_vec(),
        options,

        request: StreamRequest::default(),
    }
}

fn both(rate: &str, sample_rate: u32) -> [String; 2] {
    [pictures(rate, 9.3), sweeps(sample_rate, 9.3)]
}

/// Makes each clip, streams it with each ffmpeg, and checks everything; says all that failed.
async fn check_clips(clips: Vec<Clip>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut faults = Vec::new();
    for ffmpeg in gateway_ffmpegs() {
        let opener = runs::opener(&ffmpeg, folder).await;
        for clip in &clips {
            let inputs: Vec<&str> = clip.inputs.iter().map(String::as_str).collect();
            let source = make(folder, clip.name, &inputs, clip.options);
            let plan = runs::plan(&opener, &source, &clip.request).await;
            let checking = || check_clip(&ffmpeg, &source, plan, folder);
            if let Err(fault) = catch_unwind(AssertUnwindSafe(checking)) {
                let fault = fault
                    .downcast::<String>()
                    .map_or_else(|_| String::new(), |f| *f);
                faults.push(format!("{} with {}: {fault}", clip.name, ffmpeg.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn check_clip(ffmpeg: &Path, source: &Path, plan: StreamPlan, folder: &Path) {
    let joined = runs::apart(ffmpeg, source, plan);
    let files = joined.check(folder);
    joined.check_length(source, None);
    match joined.plan.main_video() {
        None => {}
        Some(video) if video.encode.is_none() => joined.check_copied_pictures(source, &files[0]),
        Some(_) => joined.check_numbers(source, &files[0]),
    }
    if joined.plan.main_audio().is_some() {
        joined.check_sound(source, files.last().unwrap(), 0.8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_rates_are_exact() {
    check_clips(vec![
        clip("30.mp4", &both("30", 48000), "-c:v libx264 -c:a aac"),
        clip(
            "23.976.mkv",
            &both("24000/1001", 48000),
            "-c:v libx264 -c:a aac",
        ),
        clip(
            "29.97.mp4",
            &both("30000/1001", 44100),
            "-c:v libx264 -c:a aac",
        ),
        clip(
            "59.94.mkv",
            &both("60000/1001", 48000),
            "-c:v libx264 -c:a libopus",
        ),
        clip("10.mp4", &both("10", 48000), "-c:v libx264 -c:a aac"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_time_lines_are_exact() {
    let vfr = |seconds: f64| {
        format!(
            "{},select='gt(mod(n,7),2)+lt(mod(n,60),30)'",
            pictures("30", seconds)
        )
    };
    let sound = sweeps(48000, 9.3);
    let late = |stream: &str, by: f64| format!("-itsoffset {by}|{stream}");
    let plain = &both("25", 48000);
    check_clips(vec![
        clip(
            "vfr.mkv",
            &[vfr(9.3), sound.clone()],
            "-fps_mode vfr -c:v libx264 -c:a aac",
        ),
        clip(
            "vfr.mp4",
            &[vfr(9.3), sound.clone()],
            "-fps_mode vfr -c:v libx264 -c:a aac",
        ),
        clip(
            "start.mkv",
            plain,
            "-c:v libx264 -c:a aac -output_ts_offset 7.3",
        ),
        clip(
            "late-video.mp4",
            &[late(&pictures("25", 8.0), 1.3), sound.clone()],
            "-c:v libx264 -c:a aac",
        ),
        clip(
            "late-audio.mp4",
            &[pictures("25", 9.0), late(&sweeps(48000, 7.0), 1.7)],
            "-c:v libx264 -c:a aac",
        ),
        clip(
            "late-audio.mkv",
            &[pictures("25", 9.0), late(&sweeps(48000, 7.0), 1.7)],
            "-c:v libx264 -c:a libopus",
        ),
        clip(
            "one-key.mp4",
            plain,
            "-c:v libx264 -g 9999 -sc_threshold 0 -c:a aac",
        ),
        clip(
            "short-audio.mkv",
            &[pictures("25", 9.3), sweeps(48000, 3.1)],
            "-c:v libx264 -c:a aac",
        ),
        clip(
            "short-video.mp4",
            &[pictures("25", 5.1), sound.clone()],
            "-c:v libx264 -c:a aac",
        ),
        clip("silent.mp4", &plain[..1], "-c:v libx264"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transport_streams_are_exact() {
    let plain = &both("25", 48000);
    check_clips(vec![
        clip("25.ts", plain, "-c:v libx264 -g 50 -c:a aac"),
        clip(
            "open-gop.ts",
            plain,
            "-c:v libx264 -x264-params open-gop=1:keyint=40 -c:a mp2",
        ),
        clip(
            "one-key.ts",
            plain,
            "-c:v libx264 -g 9999 -sc_threshold 0 -c:a ac3",
        ),
        clip(
            "mpeg2.ts",
            &both("30000/1001", 44100),
            "-c:v mpeg2video -b:v 2M -bf 2 -c:a mp2",
        ),
        clip(
            "wrap.ts",
            plain,
            "-c:v libx264 -g 50 -c:a aac -output_ts_offset 95437",
        ),
        clip(
            "program.mpg",
            plain,
            "-c:v mpeg2video -b:v 2M -c:a mp2 -f vob",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_are_exact() {
    let plain = &both("25", 44100);
    check_clips(vec![
        clip("a.flv", plain, "-c:v libx264 -c:a aac"),
        clip("old.flv", plain, "-c:v flv1 -b:v 1M -c:a libmp3lame"),
        clip("a.avi", plain, "-c:v mpeg4 -b:v 1M -c:a libmp3lame"),
        clip("b.avi", plain, "-c:v mpeg4 -bf 2 -b:v 1M -c:a ac3"),
        clip("a.wmv", plain, "-c:v wmv2 -b:v 1M -c:a wmav2"),
        clip(
            "a.webm",
            &both("30", 48000),
            "-c:v libvpx -b:v 1M -deadline realtime -c:a libopus",
        ),
        clip(
            "frag.mp4",
            plain,
            "-c:v libx264 -c:a aac -movflags frag_keyframe+empty_moov",
        ),
        clip("pcm.mov", plain, "-c:v mjpeg -q:v 2 -c:a pcm_s16le"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_is_exact() {
    let of = |rate| [sweeps(rate, 9.3)];
    let with = |rate| [pictures("25", 9.3), sweeps(rate, 9.3)];
    check_clips(vec![
        clip("22050.mkv", &with(22050), "-c:v libx264 -c:a aac"),
        clip("8000.mkv", &with(8000), "-c:v libx264 -c:a pcm_s16le"),
        clip("96000.mkv", &with(96000), "-c:v libx264 -c:a flac"),
        clip("vorbis.mkv", &with(44100), "-c:v libx264 -c:a libvorbis"),
        clip("alone.mp3", &of(44100), "-c:a libmp3lame"),
        clip("alone.flac", &of(48000), "-c:a flac"),
        clip("alone.m4a", &of(44100), "-c:a aac"),
        clip("alone.wav", &of(22050), "-c:a pcm_s16le"),
        clip("alone.ogg", &of(48000), "-c:a libopus"),
        // Whose length does not follow from the bit rate of its beginning.
        clip(
            "quiet.aac",
            &[format!("{},volume=0:enable='lt(t,4)'", sweeps(44100, 9.3))],
            "-c:a aac -q:a 2",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_codecs_are_exact() {
    let of = |video| {
        let mut request = StreamRequest::default();
        request.output.video = video;
        request
    };
    let clip_of = |name, video| Clip {
        request: of(video),
        ..clip(name, &both("24000/1001", 48000), "-c:v libx264 -c:a aac")
    };
    check_clips(vec![
        clip_of("hevc.mkv", VideoChoice::H265),
        clip_of("vp9.mkv", VideoChoice::Vp9),
        clip_of("av1.mkv", VideoChoice::Av1),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copied_pictures_are_exact() {
    let clip_of = |name, inputs: &[String], options, audio| {
        let mut request = StreamRequest::default();
        request.output.video = VideoChoice::Copy;
        request.output.audio = audio;
        Clip {
            request,
            ..clip(name, inputs, options)
        }
    };
    let (auto, copy) = (AudioChoice::Aac, AudioChoice::Copy);
    let late = |stream: &str, by: f64| format!("-itsoffset {by}|{stream}");
    let plain = &both("25", 48000);
    let h264 = "-c:v libx264 -g 40 -c:a aac";
    check_clips(vec![
        clip_of("copy.mp4", plain, h264, auto),
        clip_of("copy.mkv", &both("24000/1001", 44100), h264, auto),
        clip_of("both.mp4", &both("30000/1001", 48000), h264, copy),
        clip_of("both.mkv", plain, h264, copy),
        clip_of(
            "start.mkv",
            plain,
            "-c:v libx264 -g 33 -c:a aac -output_ts_offset 7.3",
            auto,
        ),
        clip_of(
            "late-audio.mp4",
            &[pictures("25", 9.0), late(&sweeps(48000, 7.0), 1.7)],
            h264,
            auto,
        ),
        clip_of(
            "late-video.mp4",
            &[late(&pictures("25", 8.0), 1.3), sweeps(48000, 9.3)],
            h264,
            auto,
        ),
        clip_of(
            "open-gop.mp4",
            plain,
            "-c:v libx264 -x264-params open-gop=1:keyint=40 -c:a aac",
            auto,
        ),
        clip_of(
            "one-key.mp4",
            plain,
            "-c:v libx264 -g 9999 -sc_threshold 0 -c:a aac",
            auto,
        ),
        clip_of(
            "vfr.mp4",
            &[
                format!("{},select='gt(mod(n,7),2)'", pictures("30", 9.3)),
                sweeps(48000, 9.3),
            ],
            "-fps_mode vfr -c:v libx264 -g 33 -c:a aac",
            auto,
        ),
        clip_of(
            "copy-hevc.mp4",
            plain,
            "-c:v libx265 -x265-params keyint=40:log-level=error -tag:v hvc1 -c:a aac",
            auto,
        ),
        clip_of(
            "copy.webm",
            &both("30", 48000),
            "-c:v libvpx-vp9 -b:v 1M -deadline realtime -cpu-used 8 -g 40 -c:a libopus",
            copy,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sound_is_exact() {
    let clip_of = |name, audio, rate: u32, options| {
        let mut request = StreamRequest::default();
        request.output.audio = audio;
        Clip {
            request,
            ..clip(name, &both("25", rate), options)
        }
    };
    let aac = "-c:v libx264 -c:a aac";
    check_clips(vec![
        clip_of("opus.mp4", AudioChoice::Opus, 48000, aac),
        clip_of("opus44.mkv", AudioChoice::Opus, 44100, aac),
        clip_of("mp3.mp4", AudioChoice::Mp3, 44100, aac),
        clip_of("mp3.ts", AudioChoice::Mp3, 48000, aac),
        clip_of("flac.mp4", AudioChoice::Flac, 44100, aac),
        clip_of("ac3.mkv", AudioChoice::Ac3, 48000, aac),
        clip_of("copied.mp4", AudioChoice::Copy, 48000, aac),
        clip_of(
            "opus.webm",
            AudioChoice::Copy,
            48000,
            "-c:v libvpx -b:v 1M -deadline realtime -c:a libopus",
        ),
    ])
    .await;
}

/// Around joins the sound differs from what one run over the whole source makes by no more than
/// encoders' noise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_sound_do_not_click() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut faults = Vec::new();
    for ffmpeg in gateway_ffmpegs() {
        let opener = runs::opener(&ffmpeg, folder).await;
        for (name, rate, options) in [
            ("aac.mp4", 44100, "-c:a aac"),
            ("aac.mkv", 44100, "-c:a aac"),
            ("aac.ts", 44100, "-c:a aac"),
            ("aac.flv", 44100, "-c:a aac"),
            ("mp3.mp3", 48000, "-c:a libmp3lame"),
            ("mp3.mkv", 48000, "-c:a libmp3lame"),
            ("mp3.avi", 44100, "-c:a libmp3lame"),
            ("ac3.mkv", 48000, "-c:a ac3"),
            ("opus.webm", 48000, "-c:a libopus"),
            ("opus.ogg", 48000, "-c:a libopus"),
            ("vorbis.mkv", 44100, "-c:a libvorbis"),
            ("vorbis.ogg", 44100, "-c:a libvorbis"),
            ("flac.mkv", 96000, "-c:a flac"),
            ("pcm.mkv", 44100, "-c:a pcm_s16le"),
            ("pcm.mov", 8000, "-c:a pcm_s16le"),
            ("wma.wma", 44100, "-c:a wmav2"),
            ("mp2.mpg", 48000, "-c:a mp2 -f vob"),
        ] {
            // These two count from zero whatever they are told.
            let counts = name.ends_with(".avi") || name == "opus.ogg";
            for start in ["0", "3.3337"].into_iter().take(2 - usize::from(counts)) {
                let name = format!("{start}-{name}");
                let sine = format!("sine=f=440:r={rate}:d=9.3,volume=3");
                let options = format!("{options} -output_ts_offset {start}");
                let source = make(folder, &name, &[&sine], &options);
                let plan = runs::plan(&opener, &source, &StreamRequest::default()).await;
                let checking = || check_clicks(&ffmpeg, &source, plan, folder);
                if let Err(fault) = catch_unwind(AssertUnwindSafe(checking)) {
                    let fault = fault
                        .downcast::<String>()
                        .map_or_else(|_| String::new(), |f| *f);
                    faults.push(format!("{name} with {}: {fault}", ffmpeg.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn check_clicks(ffmpeg: &Path, source: &Path, plan: StreamPlan, folder: &Path) {
    const WINDOW: usize = 4096;
    let rate = plan.main_audio().unwrap().sample_rate;
    let decode = |joined: &Joined, name: &str| {
        let file = folder.join(name);
        std::fs::write(&file, joined.renditions[0].segments.concat()).unwrap();
        decode_sound(&file, "0:a:0", rate)
    };
    let whole = decode(&runs::whole(ffmpeg, source, plan.clone()), "whole.ts");
    let joined = runs::apart(ffmpeg, source, plan);
    let ours = decode(&joined, "joined.ts");
    let mut at = 10.0;
    let mut worst: (f64, f64) = (0.0, 0.0);
    for length in &joined.renditions[0].lengths {
        let begin = at - WINDOW as f64 / 2.0 / f64::from(rate);
        let (a, b) = (ours.at(begin, WINDOW), whole.at(begin, WINDOW));
        let difference: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        worst = if rms(&difference) > worst.0 {
            (rms(&difference), at - 10.0)
        } else {
            worst
        };
        at += length;
    }
    assert!(
        worst.0 < 100.0 / 32768.0,
        "a click of {:.0}/32768 at {:.3} s",
        worst.0 * 32768.0,
        worst.1
    );
}
