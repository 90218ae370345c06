//! Segments that different encoder runs made fit together without a fault: every picture of the
//! frame grid is there once and shows what it must, every audio frame is there once, sound and
//! picture lie where the source has them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use ghoststream::base::JobId;
use ghoststream::config::ToolPath;
use ghoststream::plan::StreamPlan;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::media::{
    self, Packet, complaints, decode_numbers, decode_sound, gateway_ffmpegs, make, packets,
    pictures, rms, shift, sweeps,
};

/// In which order segments are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Each one is the start of a run of its own.
    Backward,
    /// Last, middle, first, then as chance has it.
    Shuffled,
    Forward,
}

impl Order {
    fn of(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        match self {
            Order::Forward => {}
            Order::Backward => order.reverse(),
            Order::Shuffled => {
                let mut state = 0x2545_f491_u64;
                for i in (1..count).rev() {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    order.swap(i, (state >> 33) as usize % (i + 1));
                }
                for first in [0, count / 2, count - 1] {
                    order.retain(|i| *i != first);
                    order.insert(0, first);
                }
            }
        }
        order
    }
}

/// A media playlist with all its segments.
pub(crate) struct Rendition {
    init: Bytes,
    lengths: Vec<f64>,
    target: f64,
    segments: Vec<Bytes>,
}

impl Rendition {
    /// The segments in their order, and where each begins.
    fn joined(&self) -> (Vec<u8>, Vec<u64>) {
        let mut all = self.init.to_vec();
        let mut starts = Vec::new();
        for segment in &self.segments {
            starts.push(all.len() as u64);
            all.extend_from_slice(segment);
        }
        (all, starts)
    }

    fn seconds(&self) -> f64 {
        self.lengths.iter().sum()
    }

    /// RFC 8216 section 4.3.3.1.
    fn check_lengths(&self) {
        for length in &self.lengths {
            assert!(
                *length > 0.0 && length.round() <= self.target,
                "EXTINF {length}"
            );
        }
    }
}

/// A stream of `source` with all its segments, fetched in `order`.
pub(crate) struct Fetched {
    pub(crate) plan: StreamPlan,
    pub(crate) renditions: Vec<Rendition>,
}

/// A gateway that keeps few segments ahead, so that most requests start an encoder.
pub(crate) async fn gateway(ffmpeg: &Path) -> TestApp {
    TestApp::with(|config| {
        config.transcoding.segment_duration = 2;
        config.transcoding.buffer_ahead_seconds = 1;
        if ffmpeg != Path::new("ffmpeg") {
            config.transcoding.ffmpeg_path = ToolPath::Path(ffmpeg.to_owned());
        }
    })
    .await
}

async fn plan_of(app: &TestApp, job: &str) -> StreamPlan {
    let job = app
        .gateway
        .registry()
        .job(JobId::from_str(job).unwrap())
        .unwrap();
    match job.stream().await {
        Ok(stream) => stream.plan().clone(),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn fetch(app: &TestApp, source: &str, output: Value, order: Order) -> Fetched {
    let job = app.stream(source, output).await;
    let plan = plan_of(app, &job).await;
    let master = app.file(&job, "master.m3u8").await;
    let master = String::from_utf8(master.to_vec()).unwrap();
    let mut lists = vec![master.clone()];
    if master.contains("#EXT-X-STREAM-INF") {
        lists.clear();
        for name in ["video.m3u8", "audio.m3u8"]
            .into_iter()
            .filter(|n| master.contains(n))
        {
            lists.push(String::from_utf8(app.file(&job, name).await.to_vec()).unwrap());
        }
    }
    let mut renditions = Vec::new();
    let mut names = Vec::new();
    for list in &lists {
        assert!(list.ends_with("#EXT-X-ENDLIST\n"), "{list}");
        let tag = |name| list.lines().filter_map(move |l| l.strip_prefix(name));
        let map = tag("#EXT-X-MAP:URI=").next().map(|m| m.trim_matches('"'));
        let init = match map {
            Some(name) => app.file(&job, name).await,
            None => Bytes::new(),
        };
        let lengths: Vec<f64> = tag("#EXTINF:")
            .map(|l| l.trim_end_matches(',').parse().unwrap())
            .collect();
        let uris: Vec<&str> = list.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(uris.len(), lengths.len());
        renditions.push(Rendition {
            init,
            target: tag("#EXT-X-TARGETDURATION:")
                .next()
                .unwrap()
                .parse()
                .unwrap(),
            segments: vec![Bytes::new(); uris.len()],
            lengths,
        });
        names.push(uris);
    }
    for i in order.of(names[0].len()) {
        for (rendition, names) in renditions.iter_mut().zip(&names) {
            rendition.segments[i] = app.file(&job, names[i]).await;
        }
    }
    app.delete(&format!("/api/transcode/{job}")).await;
    Fetched { plan, renditions }
}

impl Fetched {
    /// Where the timeline's zero is on the clock of the output, and that clock's rate.
    fn video_clock(&self) -> (i64, i64) {
        let video = self.plan.video.as_ref().unwrap();
        if self.renditions[0].init.is_empty() {
            (900_000, 90_000)
        } else {
            let scale = i64::from(ghoststream::plan::video_timescale(video));
            (10 * scale, scale)
        }
    }

    fn rate(&self) -> (i64, i64) {
        let rate = self.plan.video.as_ref().unwrap().rate;
        (i64::from(rate.num()), i64::from(rate.den()))
    }

    fn picture_count(&self, seconds: f64) -> i64 {
        let (num, den) = self.rate();
        (seconds * num as f64 / den as f64).round() as i64
    }

    /// All pictures lie on the grid, each once, in the segment that they belong to.
    fn check_pictures(&self, found: &[Packet], starts: &[u64]) {
        let rendition = &self.renditions[0];
        let (origin, scale) = self.video_clock();
        let (num, den) = self.rate();
        let tick = |n: i64| origin + (2 * n * scale * den + num).div_euclid(2 * num);
        let mut at = 0;
        let mut last_dts = i64::MIN;
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(u64::MAX);
            let within = |p: &&Packet| (*start..end).contains(&p.position);
            let here: Vec<Packet> = found.iter().filter(within).copied().collect();
            let count = self.picture_count(rendition.lengths[..=i].iter().sum()) - at;
            let mut times: Vec<i64> = here.iter().map(|p| p.pts).collect();
            times.sort_unstable();
            let planned: Vec<i64> = (at..at + count).map(tick).collect();
            assert_eq!(times, planned, "pictures of segment {i}");
            assert!(
                here[0].key && here[0].pts == tick(at),
                "segment {i} begins with no key frame"
            );
            for p in &here {
                assert!(
                    p.dts > last_dts && p.dts <= p.pts,
                    "decoding times of segment {i}"
                );
                last_dts = p.dts;
            }
            at += count;
        }
        assert_eq!(found.len() as i64, at);
    }

    /// All audio frames are there, each once, in the segment in which they start.
    fn check_frames(&self, found: &[Packet], starts: &[u64], alone: bool) {
        let rendition = self.renditions.last().unwrap();
        let rate = i64::from(self.plan.audio.as_ref().unwrap().sample_rate);
        let (origin, scale) = if rendition.init.is_empty() {
            (900_000, 90_000)
        } else {
            (10 * rate, rate)
        };
        let segment_ends: Vec<f64> = self.renditions[0]
            .lengths
            .iter()
            .scan(0.0, |sum, l| {
                *sum += l;
                Some(*sum)
            })
            .collect();
        for (n, p) in (0_i64..).zip(found) {
            let planned = origin as f64 + (n * 1024 * scale) as f64 / rate as f64;
            // Within a packet of the transport stream the demuxer adds up rounded lengths.
            assert!(
                (p.pts as f64 - planned).abs() <= 2.0,
                "frame {n} at {} not {planned}",
                p.pts
            );
            let segment = starts.partition_point(|s| *s <= p.position) - 1;
            let time = (n * 1024) as f64 / rate as f64;
            let begin = if segment == 0 {
                0.0
            } else {
                segment_ends[segment - 1]
            };
            assert!(
                time > begin - 1e-4 && time < segment_ends[segment] + 1e-4,
                "frame {n} lies in segment {segment}"
            );
        }
        let frames = found.len() as f64 * 1024.0 / rate as f64;
        let missing = self.renditions[0].seconds() - frames;
        assert!(
            missing < 1e-4 && missing > -1024.0 / rate as f64 - 1e-4,
            "{missing} s of sound are missing"
        );
        if alone {
            assert!(
                (rendition.seconds() - frames).abs() < 1e-4,
                "EXTINF of sound"
            );
        }
    }

    /// Everything that can be said without knowing what the source shows. Gives the joined files.
    pub(crate) fn check(&self, folder: &Path) -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        for (n, rendition) in self.renditions.iter().enumerate() {
            rendition.check_lengths();
            let (bytes, starts) = rendition.joined();
            let name = if rendition.init.is_empty() {
                "joined.ts"
            } else {
                "joined.mp4"
            };
            let path = folder.join(format!("{n}_{name}"));
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(complaints(&path), "");
            let both = self.renditions.len() == 1;
            if self.plan.video.is_some() && n == 0 {
                self.check_pictures(&packets(&path, "v:0"), &starts);
            }
            if self.plan.audio.is_some() && (both || n == 1) {
                self.check_frames(&packets(&path, "a:0"), &starts, !both);
            }
            files.push(path);
        }
        files
    }

    /// Grid pictures show the numbers that the source shows at their times.
    fn check_numbers(&self, source: &Path, joined: &Path) {
        let video = self.plan.video.as_ref().unwrap();
        let (times, numbers) = decode_numbers(source, &format!("0:{}", video.stream));
        let (_, shown) = decode_numbers(joined, "0:v:0");
        let (num, den) = self.rate();
        let origin = self.plan.origin.as_secs_f64();
        let slots = |shift: f64| -> Vec<i64> {
            let slot = |t: &f64| ((t + shift - origin) * num as f64 / den as f64).round() as i64;
            times.iter().map(slot).collect()
        };
        // Timestamps exactly between two places may fall to either.
        let variants = [slots(0.0), slots(1e-4), slots(-1e-4)];
        let planned = |n: i64, slots: &[i64]| {
            let last = slots.iter().rposition(|s| *s <= n).unwrap_or(0);
            numbers[last]
        };
        let wrong: Vec<_> = (0_i64..)
            .zip(&shown)
            .filter(|(n, s)| !variants.iter().any(|v| planned(*n, v) == **s))
            .map(|(n, s)| (n, *s, planned(n, &variants[0])))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} pictures are wrong: (place, shown, planned) {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(12)]
        );
    }

    /// Sound lies where the source has it, at every join and between.
    fn check_sound(&self, source: &Path, joined: &Path) {
        const WINDOW: usize = 2048;
        let audio = self.plan.audio.as_ref().unwrap();
        let rate = audio.sample_rate;
        let theirs = decode_sound(source, &format!("0:{}", audio.stream), rate);
        let ours = decode_sound(joined, "0:a:0", rate);
        let origin = self.plan.origin.as_secs_f64();
        let reach = rate as usize / 250;
        let window = WINDOW as f64 / f64::from(rate);
        let mut at = 0.0;
        for length in &self.renditions[0].lengths {
            for time in [at - window / 2.0, at + length / 2.0] {
                let mine = ours.at(10.0 + time, WINDOW);
                let begin = origin + time - reach as f64 / f64::from(rate);
                let other = theirs.at(begin, WINDOW + 2 * reach);
                let whole = time > 0.05
                    && origin + time > theirs.start + 0.05
                    && origin + time + window < theirs.end() - 0.05;
                if whole {
                    let (lag, likeness) = shift(&mine, &other);
                    let late = -lag as f64 / f64::from(rate) * 1000.0;
                    assert!(
                        late.abs() <= 1.0 && likeness > 0.8,
                        "sound at {time:.3} s is {late:.2} ms late, likeness {likeness:.3}"
                    );
                } else if rms(&other) < 1e-4 {
                    assert!(
                        rms(&mine) < 1e-3,
                        "noise at {time:.3} s, where the source is silent"
                    );
                }
            }
            at += length;
        }
    }

    /// The timeline is as long as what the source shows.
    fn check_length(&self, source: &Path) {
        let mut end: f64 = 0.0;
        let origin = self.plan.origin.as_secs_f64();
        let mut slack = 0.0;
        if let Some(video) = &self.plan.video {
            let (times, _) = decode_numbers(source, &format!("0:{}", video.stream));
            let frame = 1.0 / video.rate.as_f64();
            end = end.max(times.iter().copied().fold(f64::MIN, f64::max) + frame - origin);
            slack = frame;
        }
        if let Some(audio) = &self.plan.audio {
            let sound = decode_sound(source, &format!("0:{}", audio.stream), audio.sample_rate);
            end = end.max(sound.end() - origin);
            slack = f64::max(slack, 1024.0 / f64::from(audio.sample_rate));
        }
        let listed = self.renditions[0].seconds();
        assert!(
            (listed - end).abs() <= slack * 1.5,
            "{listed} s are listed, the source has {end} s"
        );
    }
}

/// A synthetic source.
struct Clip {
    name: &'static str,
    inputs: Vec<String>,
    options: &'static str,
    order: Order,
    output: Value,
}

fn clip(name: &'static str, inputs: &[String], options: &'static str) -> Clip {
    Clip {
        name,
        inputs: inputs.to_vec(),
        options,
        order: Order::Backward,
        output: json!({}),
    }
}

fn both(rate: &str, sample_rate: u32) -> [String; 2] {
    [pictures(rate, 9.3), sweeps(sample_rate, 9.3)]
}

/// Makes each clip, streams it with each ffmpeg, and checks everything; says all that failed.
async fn check_clips(clips: Vec<Clip>) {
    let mut faults = Vec::new();
    for ffmpeg in gateway_ffmpegs() {
        let app = gateway(&ffmpeg).await;
        for clip in &clips {
            let folder = app.folder.path();
            let inputs: Vec<&str> = clip.inputs.iter().map(String::as_str).collect();
            let source = make(folder, clip.name, &inputs, clip.options);
            let begun = std::time::Instant::now();
            let starts = app.gateway.registry().encoder_starts();
            let result = check_clip(&app, clip, &source).await;
            let runs = app.gateway.registry().encoder_starts() - starts;
            eprintln!(
                "{:28} {:5} ms, {runs} runs",
                clip.name,
                begun.elapsed().as_millis()
            );
            if let Err(fault) = result {
                faults.push(format!("{} with {}: {fault}", clip.name, ffmpeg.display()));
            }
        }
        app.stop().await;
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

async fn check_clip(app: &TestApp, clip: &Clip, source: &Path) -> Result<(), String> {
    use futures_util::FutureExt;
    let text = |cause: Box<dyn std::any::Any + Send>| match cause.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "a panic without words".into(),
    };
    let fetching = AssertUnwindSafe(fetch(app, clip.name, clip.output.clone(), clip.order));
    let fetched = fetching.catch_unwind().await.map_err(text)?;
    let checking = || {
        let files = fetched.check(app.folder.path());
        fetched.check_length(source);
        if fetched.plan.video.is_some() {
            fetched.check_numbers(source, &files[0]);
        }
        if fetched.plan.audio.is_some() {
            fetched.check_sound(source, files.last().unwrap());
        }
    };
    catch_unwind(AssertUnwindSafe(checking)).map_err(text)
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

fn sources(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
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
        clip("a.ogv", plain, "-c:v libtheora -b:v 1M -c:a libvorbis"),
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
    ])
    .await;
}
