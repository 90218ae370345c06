//! Streams that offer more than one picture, sound or text.

use std::collections::BTreeMap;

use ghoststream::base::MediaTime;
use ghoststream::hls::{Cue, parse_webvtt};
use ghoststream::plan::{SubtitleSpan, subtitle_run};
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::{TestApp, ffmpeg};
use crate::file_server::FileServer;
use crate::media::{make, pictures, run, sweeps};

async fn start(app: &TestApp, body: Value) -> String {
    let answer = app.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

async fn master(app: &TestApp, job: &str) -> String {
    let answer = app.get(&format!("/stream/{job}/master.m3u8")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text()
}

/// The attributes of a tag, without their quotes.
fn attributes(line: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut rest = line.split_once(':').unwrap().1;
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').unwrap();
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => value.split_once(',').unwrap_or((value, "")),
        };
        all.insert(name.to_owned(), value.to_owned());
        rest = after;
    }
    all
}

fn tags(master: &str, tag: &str) -> Vec<BTreeMap<String, String>> {
    let lines = master.lines().filter(|l| l.starts_with(tag));
    lines.map(attributes).collect()
}

fn lengths(playlist: &str) -> Vec<f64> {
    let infs = playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:"));
    infs.map(|l| l.trim_end_matches(',').parse().unwrap())
        .collect()
}

/// What ffprobe says of a file, as lines of `show`.
fn probed(file: &std::path::Path, show: &str) -> Vec<String> {
    let file = file.to_str().unwrap();
    let args = [
        "-loglevel",
        "error",
        "-show_entries",
        show,
        "-of",
        "csv=p=0",
        file,
    ];
    let (out, _) = run("ffprobe", &args);
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|l| l.trim_end_matches(',').to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_says_the_truth_and_switches_at_every_boundary() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let noise = "testsrc2=s=1280x720:r=25:d=12,noise=alls=20:allf=t";
    make(
        folder,
        "film.mkv",
        &[noise, &sweeps(48000, 12.0)],
        "-c:v mpeg4 -q:v 3 -c:a aac",
    );
    let job = start(&app, json!({"source": "film.mkv", "mode": "abr"})).await;
    let text = master(&app, &job).await;
    let variants = tags(&text, "#EXT-X-STREAM-INF");
    let sizes: Vec<&str> = variants.iter().map(|v| v["RESOLUTION"].as_str()).collect();
    assert_eq!(sizes, ["1280x720", "854x480", "640x360"]);
    let sound = lengths(core::str::from_utf8(&app.file(&job, "audio0.m3u8").await).unwrap());
    let mut audio_bytes = 0;
    for i in 0..sound.len() {
        audio_bytes += app.file(&job, &format!("audio0_{i:05}.m4s")).await.len();
    }
    let mut playlists = Vec::new();
    let mut made = Vec::new();
    for (nth, variant) in variants.iter().enumerate() {
        let init = app.file(&job, &format!("video{nth}_init.mp4")).await;
        let list = app.file(&job, &format!("video{nth}.m3u8")).await;
        let list = String::from_utf8(list.to_vec()).unwrap();
        let lengths = lengths(&list);
        // The headers are those that the master promised before they were made.
        let place = init.windows(4).position(|w| w == b"avcC").unwrap() + 5;
        let named = format!(
            "avc1.{:02x}{:02x}{:02x}",
            init[place],
            init[place + 1],
            init[place + 2]
        );
        assert_eq!(variant["CODECS"], format!("{named},mp4a.40.2"));
        assert_eq!(variant["FRAME-RATE"], "25.000");
        let mut segments = Vec::new();
        for i in 0..lengths.len() {
            segments.push(app.file(&job, &format!("video{nth}_{i:05}.m4s")).await);
        }
        let bits = |bytes: usize, seconds: f64| (bytes * 8) as f64 / seconds;
        let whole: f64 = lengths.iter().sum();
        let sound_rate = bits(audio_bytes, whole);
        let all: usize = segments.iter().map(|s| s.len()).sum();
        let average: f64 = variant["AVERAGE-BANDWIDTH"].parse().unwrap();
        let measured = bits(all, whole) + sound_rate;
        assert!(
            measured < average * 1.1 && measured > average * 0.6,
            "{measured:.0} bit/s, announced as {average} on average"
        );
        let peak: f64 = variant["BANDWIDTH"].parse().unwrap();
        // Two seconds and more, half a target duration (RFC 8216 section 4.3.4.2).
        for i in 2..lengths.len() {
            let measured = bits(segments[i].len(), lengths[i]) + sound_rate;
            assert!(
                measured <= peak,
                "segment {i} has {measured:.0} bit/s of {peak}"
            );
        }
        made.push((init, segments));
        playlists.push(lengths);
    }
    assert!(playlists.windows(2).all(|w| w[0] == w[1]), "cuts differ");
    // The same pictures in each rendition, each segment beginning with a key frame.
    for i in 0..playlists[0].len() {
        let times = |(init, segments): &(bytes::Bytes, Vec<bytes::Bytes>)| {
            let file = folder.join("one.mp4");
            std::fs::write(&file, [init.clone(), segments[i].clone()].concat()).unwrap();
            let mut packets = probed(&file, "packet=pts,flags");
            assert!(
                packets[0].contains(",K"),
                "segment {i} begins with {}",
                packets[0]
            );
            packets
                .iter_mut()
                .for_each(|p| *p = p.split(',').next().unwrap().to_owned());
            packets.sort();
            packets
        };
        let all: Vec<_> = made.iter().map(times).collect();
        assert!(all.windows(2).all(|w| w[0] == w[1]), "segment {i}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ladders_obey_their_keys_and_what_is_asked_for() {
    let app = TestApp::with(|c| {
        c.transcoding.abr_max_variants = 2;
        c.limits.max_bitrate = "1M".parse().unwrap();
    })
    .await;
    let source = "testsrc2=s=1280x720:r=25:d=2";
    make(
        app.folder.path(),
        "film.mp4",
        &[source],
        "-c:v libx264 -preset ultrafast",
    );
    let job = start(&app, json!({"source": "film.mp4", "mode": "abr"})).await;
    let variants = tags(&master(&app, &job).await, "#EXT-X-STREAM-INF");
    let sizes: Vec<&str> = variants.iter().map(|v| v["RESOLUTION"].as_str()).collect();
    assert_eq!(sizes, ["1280x720", "640x360"]);
    let most: u64 = variants[0]["AVERAGE-BANDWIDTH"].parse().unwrap();
    assert!(most < 1_100_000, "{most}");
    let refused = app
        .post(
            "/api/transcode/start",
            json!({"source": "film.mp4", "mode": "abr", "output": {"video_codec": "copy"}}),
        )
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("copies"), "{}", refused.text());
    app.stop().await;

    let app = TestApp::with(|c| c.transcoding.enable_abr = false).await;
    make(
        app.folder.path(),
        "film.mp4",
        &[source],
        "-c:v libx264 -preset ultrafast",
    );
    let job = start(&app, json!({"source": "film.mp4", "mode": "abr"})).await;
    let variants = tags(&master(&app, &job).await, "#EXT-X-STREAM-INF");
    assert_eq!(variants.len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_audio_stream_is_a_rendition_with_its_language() {
    let app = TestApp::start().await;
    let sounds = [sweeps(48000, 5.0), sweeps(44100, 5.0), sweeps(48000, 3.0)];
    let inputs = [
        pictures("25", 5.0),
        sounds[0].clone(),
        sounds[1].clone(),
        sounds[2].clone(),
    ];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    make(
        app.folder.path(),
        "film.mkv",
        &inputs,
        "-map 0 -map 1 -map 2 -map 3 -c:v libx264 -c:a:0 aac -c:a:1 libmp3lame -c:a:2 libopus \
         -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng -metadata:s:a:2 language=eng \
         -disposition:a:0 0 -disposition:a:1 default",
    );
    let job = start(&app, json!({"source": "film.mkv"})).await;
    let text = master(&app, &job).await;
    let sounds = tags(&text, "#EXT-X-MEDIA");
    let told: Vec<_> = sounds
        .iter()
        .map(|s| {
            (
                s["NAME"].as_str(),
                s["LANGUAGE"].as_str(),
                s["DEFAULT"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("eng", "eng", "YES"),
            ("ger", "ger", "NO"),
            ("eng 2", "eng", "NO")
        ]
    );
    for (nth, sound) in sounds.iter().enumerate() {
        let list = app.file(&job, &sound["URI"]).await;
        let count = lengths(core::str::from_utf8(&list).unwrap()).len();
        let mut file = app
            .file(&job, &format!("audio{nth}_init.mp4"))
            .await
            .to_vec();
        for i in (0..count).rev() {
            app.file(&job, &format!("audio{nth}_{i:05}.m4s")).await;
        }
        for i in 0..count {
            file.extend(app.file(&job, &format!("audio{nth}_{i:05}.m4s")).await);
        }
        let path = app.folder.path().join("sound.mp4");
        std::fs::write(&path, file).unwrap();
        let packets = probed(&path, "packet=pts_time");
        let frames: Vec<f64> = packets.iter().map(|p| p.parse().unwrap()).collect();
        // The shortest one is filled with silence.
        assert!(
            (frames.last().unwrap() - 15.0).abs() < 0.05,
            "rendition {nth}"
        );
        assert!(
            frames
                .windows(2)
                .all(|w| w[1] - w[0] < 0.0233 && w[1] > w[0])
        );
    }
    app.stop().await;
}

/// Cues of all lengths, some of them on top of each other.
fn cues(count: i64) -> Vec<(i64, i64, String)> {
    let mut all: Vec<_> = (0..count)
        .map(|i| {
            (
                i * 700 + 137,
                i * 700 + 137 + 100 + i * 37 % 1900,
                format!("cue {i}"),
            )
        })
        .collect();
    all.push((400, 19_000, "long".into()));
    all.sort();
    all
}

fn srt(cues: &[(i64, i64, String)]) -> String {
    let clock = |ms: i64| {
        let (s, ms) = (ms / 1000, ms % 1000);
        format!("{:02}:{:02}:{:02},{ms:03}", s / 3600, s / 60 % 60, s % 60)
    };
    let block = |(n, (from, until, text)): (usize, &(i64, i64, String))| {
        format!("{n}\n{} --> {}\n{text}\n\n", clock(*from), clock(*until))
    };
    cues.iter().enumerate().map(block).collect()
}

fn ms(t: MediaTime) -> i64 {
    t.as_micros() / 1000
}

/// Asserts that each segment of a subtitle rendition has just the cues that are shown in it.
async fn check_text(
    app: &TestApp,
    job: &str,
    uri: &str,
    planned: &[(i64, i64, String)],
    shift: i64,
) {
    let list = String::from_utf8(app.file(job, uri).await.to_vec()).unwrap();
    let names: Vec<&str> = list.lines().filter(|l| l.ends_with(".vtt")).collect();
    let lengths = lengths(&list);
    // Segments in any order.
    for i in (0..names.len()).rev() {
        let begin: f64 = lengths[..i].iter().sum();
        let (from, until) = ((begin * 1e3) as i64, ((begin + lengths[i]) * 1e3) as i64);
        let text = String::from_utf8(app.file(job, names[i]).await.to_vec()).unwrap();
        assert!(text.starts_with("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n"));
        let mut found: Vec<_> = parse_webvtt(&text)
            .into_iter()
            .map(|c: Cue| (ms(c.start), ms(c.end), c.text))
            .collect();
        let mut expected: Vec<_> = planned
            .iter()
            .map(|(a, b, t)| ((a + shift).max(0), b + shift, t.clone()))
            .filter(|(a, b, _)| *a < until && *b > from)
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(
            found.len(),
            expected.len(),
            "segment {i}: {text}\n{expected:?}"
        );
        for (f, e) in found.iter().zip(&expected) {
            assert!(
                (f.0 - e.0).abs() <= 1 && (f.1 - e.1).abs() <= 1 && f.2 == e.2,
                "segment {i}: {f:?}, not {e:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_right_at_every_place() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let text = folder.join("s.srt");
    let video = folder.join("v.mp4");
    let picture = pictures("25", 20.0);
    make(folder, "v.mp4", &[&picture], "-c:v libx264 -g 50");
    for (name, codec) in [
        ("a.mkv", "srt"),
        ("b.mkv", "ass"),
        ("c.mp4", "mov_text"),
        ("d.webm", "webvtt"),
    ] {
        // MP4 cannot show two texts at a time.
        let mut planned = cues(26);
        if codec == "mov_text" {
            planned = (0..26)
                .map(|i| (i * 700 + 37, i * 700 + 637, format!("cue {i}")))
                .collect();
        }
        std::fs::write(&text, srt(&planned)).unwrap();
        let file = folder.join(name);
        let mut args = vec!["-i", video.to_str().unwrap(), "-i", text.to_str().unwrap()];
        args.extend(["-map", "0", "-map", "1", "-c:v"]);
        args.push(if name.ends_with("webm") {
            "libvpx"
        } else {
            "copy"
        });
        args.extend([
            "-metadata:s:s:0",
            "language=eng",
            "-metadata:s:s:0",
            "title=The text",
        ]);
        args.extend(["-c:s", codec, file.to_str().unwrap()]);
        ffmpeg(&args);
        for (start_time, shift) in [(0.0, 0), (6.0, -6000)] {
            let job = start(&app, json!({"source": name, "start_time": start_time})).await;
            let told = tags(&master(&app, &job).await, "#EXT-X-MEDIA");
            // MP4 keeps no titles of streams.
            let title = if codec == "mov_text" {
                "eng"
            } else {
                "The text"
            };
            let told = told.iter().find(|t| t["TYPE"] == "SUBTITLES").unwrap();
            assert_eq!(
                (told["NAME"].as_str(), told["LANGUAGE"].as_str()),
                (title, "eng")
            );
            check_text(&app, &job, &told["URI"], &planned, shift).await;
        }
    }
    app.stop().await;
}

/// Long remote sources are read in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_the_text_is_that_part() {
    let folder = tempfile::tempdir().unwrap();
    let planned = cues(26);
    let text = folder.path().join("s.srt");
    std::fs::write(&text, srt(&planned)).unwrap();
    let file = folder.path().join("a.mkv");
    let picture = pictures("25", 20.0);
    let video = make(folder.path(), "v.mp4", &[&picture], "-c:v libx264 -g 50");
    let (video, text) = (video.to_str().unwrap(), text.to_str().unwrap());
    let file = file.to_str().unwrap();
    ffmpeg(&["-i", video, "-i", text, "-c:v", "copy", "-c:s", "srt", file]);
    let seconds = |s: i64| MediaTime::from_micros(s * 1_000_000);
    for tool in crate::media::gateway_ffmpegs() {
        let (from, until) = (8, 14);
        let span = SubtitleSpan {
            from: seconds(from),
            until: seconds(until),
        };
        let run_of = subtitle_run(1, Some(span), None);
        let mut args: Vec<&str> = run_of.input.iter().map(String::as_str).collect();
        args.extend(["-i", file]);
        args.extend(run_of.output.iter().map(String::as_str));
        let (out, _) = run(tool.to_str().unwrap(), &args);
        let found: Vec<i64> = parse_webvtt(&String::from_utf8(out).unwrap())
            .iter()
            .map(|c| ms(c.start))
            .collect();
        let within = |c: &&(i64, i64, String)| (from * 1000..until * 1000).contains(&c.0);
        for cue in planned.iter().filter(within) {
            assert!(
                found.iter().any(|f| (f - cue.0).abs() <= 1),
                "{cue:?} is missing of {found:?}"
            );
        }
        assert!(found.iter().all(|f| *f < until * 1000), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subtitle_files_are_offered_and_missing_ones_are_told() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    make(
        folder,
        "film.mp4",
        &[&pictures("25", 20.0)],
        "-c:v libx264 -g 50",
    );
    let planned = cues(26);
    std::fs::write(folder.join("s.srt"), srt(&planned)).unwrap();
    std::fs::write(
        folder.join("latin.srt"),
        b"1\n00:00:01,000 --> 00:00:02,000\nGr\xfc\xdfe\n",
    )
    .unwrap();
    let server = FileServer::start(folder).await;
    let job = start(
        &app,
        json!({"source": "film.mp4", "subtitles": [
            {"url": server.url("/file/s.srt"), "label": "English \"best\"", "language": "en", "default": true},
            {"url": server.url("/status/404"), "label": "Klingon", "language": "tlh"},
            {"url": "file:///etc/passwd", "language": "x"},
            {"url": server.url("/file/latin.srt"), "language": "de"},
        ]}),
    )
    .await;
    let told = tags(&master(&app, &job).await, "#EXT-X-MEDIA");
    let told: Vec<_> = told
        .iter()
        .map(|t| {
            (
                t["NAME"].as_str(),
                t["LANGUAGE"].as_str(),
                t["DEFAULT"].as_str(),
            )
        })
        .collect();
    assert_eq!(told, [("English 'best'", "en", "YES"), ("de", "de", "NO")]);
    check_text(&app, &job, "subtitles0.m3u8", &planned, 0).await;
    let german = app.file(&job, "subtitles1_00001.vtt").await;
    let german = String::from_utf8(german.to_vec()).unwrap();
    assert!(german.contains("Grüße"), "{german}");
    let warnings = app.status(&job).await["warnings"].to_string();
    assert!(
        warnings.contains("Klingon") && warnings.contains("404"),
        "{warnings}"
    );
    assert!(
        warnings.contains("'x'") && !warnings.contains("passwd"),
        "{warnings}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn picture_subtitles_are_drawn_on_request() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    // Subtitles that are pictures: made by drawing, as DVDs have them.
    std::fs::write(
        folder.join("s.srt"),
        "1\n00:00:00,500 --> 00:00:05,000\nX\n",
    )
    .unwrap();
    let file = folder.join("film.mkv");
    let Some(media) = crate::app::shared_media() else {
        return;
    };
    let pgs = media.join("subs/sample_with_pgs_subtitles.mkv");
    let black = make(
        folder,
        "v.mp4",
        &["color=black:s=1280x720:r=25:d=8"],
        "-c:v libx264",
    );
    ffmpeg(&[
        "-i",
        black.to_str().unwrap(),
        "-i",
        pgs.to_str().unwrap(),
        "-map",
        "0:v",
        "-map",
        "1:s",
        "-c",
        "copy",
        file.to_str().unwrap(),
    ]);
    let light = |bytes: &[u8]| {
        let file = folder.join("seen.ts");
        std::fs::write(&file, bytes).unwrap();
        let args = [
            "-loglevel",
            "error",
            "-i",
            file.to_str().unwrap(),
            "-frames:v",
            "20",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "gray",
            "-",
        ];
        let (out, _) = run("ffmpeg", &args);
        let last = &out[out.len() - 1280 * 720..];
        last.iter().filter(|p| **p > 128).count()
    };
    let burnt = start(
        &app,
        json!({"source": "film.mkv", "output": {"burn_subtitle": 0}}),
    )
    .await;
    let plain = start(&app, json!({"source": "film.mkv"})).await;
    let with = light(&app.file(&burnt, "segment_00000.ts").await);
    let without = light(&app.file(&plain, "segment_00000.ts").await);
    assert!(
        with > 2000 && without == 0,
        "{with} and {without} light pixels"
    );
    // It was shown from 0 s to 1.24 s: nothing of it is left later on, wherever a run begins.
    assert_eq!(light(&app.file(&burnt, "segment_00002.ts").await), 0);
    let refused = app
        .post(
            "/api/transcode/start",
            json!({"source": "film.mkv", "output": {"burn_subtitle": "x"}}),
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    app.stop().await;
}
