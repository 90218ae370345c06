//! The packager against the real thing: what ffmpeg writes is read, repackaged, and decoded by
//! ffmpeg again to the same pictures and sound with the same times.

use std::path::{Path, PathBuf};
use std::process::Output;

use ghoststream::package::*;

const FRAGMENTED: [&str; 6] = [
    "-use_editlist",
    "0",
    "-movflags",
    "empty_moov+default_base_moof+skip_trailer+frag_discont+frag_every_frame",
    "-f",
    "mp4",
];

const PICTURES: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6"];
const SOUND: [&str; 4] = [
    "-f",
    "lavfi",
    "-i",
    "aevalsrc=sin(440*2*PI*t)|sin(600*2*PI*t*t/9):s=48000:d=6",
];

#[expect(
    clippy::disallowed_methods,
    reason = "the test is its own use of ffmpeg"
)]
fn run(program: &str, args: &[&str]) -> Output {
    let out = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}\n{stderr}");
    out
}

/// The standard output of ffmpeg.
fn encode(parts: &[&[&str]]) -> Vec<u8> {
    let args = [&["-v", "error"], &parts.concat()[..], &["-"]].concat();
    run("ffmpeg", &args).stdout
}

/// Reads a stream in pieces of changing size.
fn read(stream: &[u8]) -> (TrackConfig, Vec<Sample>) {
    let mut reader = Fmp4Reader::new();
    let mut events = Vec::new();
    let (mut rest, mut size) = (stream, 1);
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(size.min(rest.len()));
        events.extend(reader.push(head).unwrap());
        (rest, size) = (tail, size * 7 % 4099);
    }
    reader.finish().unwrap();
    let mut events = events.into_iter();
    let Some(Fmp4Event::Config(config)) = events.next() else {
        panic!("no configuration first")
    };
    let samples = events.map(|e| match e {
        Fmp4Event::Sample(s) => s,
        Fmp4Event::Config(_) => panic!("a second configuration"),
    });
    (config, samples.collect())
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The hashes of what one stream decodes to, frame by frame. The decoder must not complain, and the
/// demuxer must see no break in the continuity counters.
fn decode(path: &Path, stream: &str) -> Vec<String> {
    let path = path.to_str().unwrap();
    let args = [
        "-v",
        "debug",
        "-copyts",
        "-i",
        path,
        "-map",
        stream,
        "-fps_mode",
        "passthrough",
    ];
    let loud = run("ffmpeg", &[&args[..], &["-f", "framemd5", "-"]].concat());
    let log = String::from_utf8_lossy(&loud.stderr);
    for complaint in ["Continuity", "corrupt", "non monotonically"] {
        assert!(!log.contains(complaint), "{complaint}: {log}");
    }
    let quiet = run(
        "ffmpeg",
        &[
            "-v", "warning", "-copyts", "-i", path, "-map", stream, "-f", "null", "-",
        ],
    );
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "");
    let text = String::from_utf8(loud.stdout).unwrap();
    let hash = |line: &str| line.rsplit(", ").next().unwrap().to_owned();
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(hash)
        .collect()
}

/// Presentation and decode times of the packets of a stream, in its time base.
fn packet_times(path: &Path, stream: &str) -> Vec<(i64, i64)> {
    let args = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        "packet=pts,dts",
        "-of",
        "csv=p=0",
    ];
    let out = run("ffprobe", &[&args[..], &[path.to_str().unwrap()]].concat());
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .filter(|l| !l.is_empty())
        .map(|l| {
            let mut it = l
                .trim_end_matches(',')
                .split(',')
                .map(|n| n.parse().unwrap());
            (it.next().unwrap(), it.next().unwrap())
        })
        .collect()
}

/// Cuts samples at the first sync sample from each of these presentation times on.
fn cut(samples: &[Sample], at: &[i64]) -> Vec<Vec<Sample>> {
    let mut segments = vec![Vec::new()];
    let mut at = at.iter().peekable();
    for s in samples {
        if s.sync && at.next_if(|t| s.pts >= **t).is_some() {
            segments.push(Vec::new());
        }
        segments.last_mut().unwrap().push(s.clone());
    }
    segments
}

fn cmaf(config: &TrackConfig, segments: &[Vec<Sample>], shift: i64) -> Vec<u8> {
    let mut out = init_segment(config).to_vec();
    for (number, samples) in (0..).zip(segments) {
        let mut segment = CmafSegment::new(config, number, shift);
        samples
            .iter()
            .for_each(|s| segment.push(s.clone()).unwrap());
        segment.finish();
        out.extend_from_slice(&segment.take());
    }
    out
}

/// Reads an encode, writes it as CMAF in segments of two seconds, and compares.
fn through_cmaf(input: &[&str], codec: &[&str], expected_name: &str) -> Vec<Sample> {
    let original = encode(&[input, codec, &FRAGMENTED]);
    let (config, samples) = read(&original);
    assert_eq!(config.codec_string(), expected_name);
    assert!(samples[0].sync);
    let second = i64::from(config.timescale);
    let segments = cut(&samples, &[2 * second, 4 * second]);
    assert_eq!(segments.len(), 3);
    let stream = if config.is_video() { "0:v" } else { "0:a" };
    let folder = Folder::new();
    let theirs = decode(&folder.file("theirs.mp4", &original), stream);

    let plain = folder.file("plain.mp4", &cmaf(&config, &segments, 0));
    assert_eq!(decode(&plain, stream), theirs);
    let times: Vec<_> = samples.iter().map(|s| (s.pts, s.dts)).collect();
    assert_eq!(packet_times(&plain, &stream[2..]), times);

    let shift = samples[0].pts - samples[0].dts;
    let shifted = folder.file("shifted.mp4", &cmaf(&config, &segments, shift));
    assert_eq!(decode(&shifted, stream), theirs);
    // Where composition offsets are negative, ffmpeg's demuxer adds the largest to all presentation
    // times; decode times are what it leaves alone.
    let lead = times
        .iter()
        .map(|(pts, dts)| dts + shift - pts)
        .max()
        .unwrap();
    let times: Vec<_> = times
        .iter()
        .map(|(pts, dts)| (pts + lead, dts + shift))
        .collect();
    assert_eq!(packet_times(&shifted, &stream[2..]), times);
    samples
}

fn video_through_cmaf(codec: &[&str], name: &str) {
    let samples = through_cmaf(
        &PICTURES,
        &[codec, &["-pix_fmt", "yuv420p", "-g", "50"]].concat(),
        name,
    );
    assert_eq!(samples.len(), 150);
}

#[test]
fn h264_through_cmaf() {
    video_through_cmaf(&["-c:v", "libx264", "-preset", "veryfast"], "avc1.64000c");
}

#[test]
fn hevc_through_cmaf() {
    let codec = [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-tag:v",
        "hvc1",
        "-x265-params",
        "open-gop=0",
    ];
    video_through_cmaf(&codec, "hvc1.1.6.L60.90");
}

#[test]
fn vp9_through_cmaf() {
    video_through_cmaf(
        &[
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
        ],
        "vp09.00.11.08",
    );
}

#[test]
fn av1_through_cmaf() {
    video_through_cmaf(&["-c:v", "libsvtav1", "-preset", "12"], "av01.0.00M.08");
}

#[test]
fn aac_through_cmaf() {
    let samples = through_cmaf(&SOUND, &["-c:a", "aac"], "mp4a.40.2");
    assert_eq!(samples.len(), 283);
}

#[test]
fn other_audio_through_cmaf() {
    through_cmaf(&SOUND, &["-c:a", "libopus"], "opus");
    through_cmaf(&SOUND, &["-c:a", "flac", "-strict", "-2"], "fLaC");
    through_cmaf(&SOUND, &["-c:a", "libmp3lame"], "mp4a.40.34");
}

#[test]
fn dolby_audio_says_its_channels_with_delayed_headers() {
    for (codec, name) in [("ac3", "ac-3"), ("eac3", "ec-3")] {
        let six = [
            "-af",
            "pan=5.1|FL=c0|FR=c1|FC=c0|LFE=c0|BL=c1|BR=c1",
            "-c:a",
            codec,
        ];
        let movflags = format!("{}+delay_moov", FRAGMENTED[3]);
        let mut format = FRAGMENTED;
        format[3] = &movflags;
        let (config, samples) = read(&encode(&[&SOUND, &six, &format]));
        assert_eq!(config.codec_string(), name);
        assert_eq!(
            config.media,
            TrackMedia::Audio {
                sample_rate: 48000,
                channels: 6
            }
        );
        assert_eq!(samples.len(), 188);
    }
}

#[test]
fn fragments_may_hold_one_frame_or_a_group() {
    let codec = [
        "-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-threads", "1",
    ];
    let (config, samples) = read(&encode(&[&PICTURES, &codec, &FRAGMENTED]));
    for flags in [
        "frag_keyframe",
        "frag_keyframe+delay_moov",
        "frag_every_frame+delay_moov",
    ] {
        let flags = format!("empty_moov+default_base_moof+skip_trailer+frag_discont+{flags}");
        let mut format = FRAGMENTED;
        format[3] = &flags;
        let other = read(&encode(&[&PICTURES, &codec, &format]));
        assert!((&config, &samples) == (&other.0, &other.1), "{flags}");
    }
}

#[test]
fn times_before_zero_stay_before_zero() {
    let keep = ["-copyts", "-avoid_negative_ts", "disabled"];
    let video = ["-c:v", "libx264", "-preset", "veryfast"];
    let (_, video) = read(&encode(&[&PICTURES, &video, &keep, &FRAGMENTED]));
    assert_eq!((video[0].dts, video[0].pts), (-1024, 0));
    let (config, audio) = read(&encode(&[&SOUND, &["-c:a", "aac"], &keep, &FRAGMENTED]));
    assert_eq!(
        (audio[0].dts, audio[0].pts, audio[1].pts),
        (-1024, -1024, 0)
    );
    assert_eq!(
        config.media,
        TrackMedia::Audio {
            sample_rate: 48000,
            channels: 2
        }
    );
}

#[test]
fn runs_with_other_bitrates_share_their_init_segment() {
    let init = |input: &[&str], codec: &[&str]| {
        init_segment(&read(&encode(&[input, codec, &FRAGMENTED])).0)
    };
    let a = init(&SOUND, &["-c:a", "aac", "-b:a", "96k"]);
    assert_eq!(a, init(&SOUND, &["-c:a", "aac", "-b:a", "160k"]));
    let hevc = |rate| {
        let codec = [
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-tag:v",
            "hvc1",
            "-b:v",
            rate,
            "-t",
            "1",
        ];
        init(
            &PICTURES,
            &[&codec[..], &["-x265-params", "log-level=error"]].concat(),
        )
    };
    let a = hevc("200k");
    assert_eq!(a, hevc("300k"));
    assert!(
        !a.windows(4).any(|w| w == b"opti" || w == b"btrt"),
        "no settings text"
    );
}

struct Movie {
    video: (TrackConfig, Vec<Sample>),
    audio: (TrackConfig, Vec<Sample>),
    /// The pictures as the encoder wrote them.
    original: Vec<u8>,
}

/// H.264 with B-frames and AAC of the same six seconds, from an encoder each.
fn movie() -> Movie {
    let keep = ["-copyts", "-avoid_negative_ts", "disabled"];
    let codec = [
        "-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p",
    ];
    let original = encode(&[&PICTURES, &codec, &keep, &FRAGMENTED]);
    let mut audio = read(&encode(&[&SOUND, &["-c:a", "aac"], &keep, &FRAGMENTED]));
    audio.1.retain(|s| s.pts >= 0);
    Movie {
        video: read(&original),
        audio,
        original,
    }
}

/// Independent segments of two seconds, numbered from `first`.
fn transport_segments(
    movie: &Movie,
    with_video: bool,
    with_audio: bool,
    first: u64,
) -> Vec<Vec<u8>> {
    let ((vc, vs), (ac, audio)) = (&movie.video, &movie.audio);
    let layout = TsLayout {
        video: with_video.then(|| vc.clone()),
        audio: with_audio.then(|| ac.clone()),
    };
    let cuts = |c: &TrackConfig| [2, 4].map(|s| s * i64::from(c.timescale));
    let tracks = cut(vs, &cuts(vc)).into_iter().zip(cut(audio, &cuts(ac)));
    (first..)
        .zip(tracks)
        .map(|(index, (video, audio))| {
            let mut segment = TsSegment::new(&layout, index).unwrap();
            if with_video {
                video
                    .into_iter()
                    .for_each(|s| segment.push_video(s).unwrap());
            }
            segment.finish_video();
            if with_audio {
                audio
                    .into_iter()
                    .for_each(|s| segment.push_audio(s).unwrap());
            }
            segment.finish_audio();
            assert!(segment.is_complete());
            segment.take().to_vec()
        })
        .collect()
}

#[test]
fn transport_stream_segments_join_and_decode_to_the_same_pictures() {
    let movie = movie();
    let folder = Folder::new();
    let original = folder.file("original.mp4", &movie.original);
    let segments = transport_segments(&movie, true, true, 14);
    assert_eq!(segments.len(), 3);
    let joined = folder.file("joined.ts", &segments.concat());
    assert_eq!(decode(&joined, "0:v"), decode(&original, "0:v"));
    let (config, samples) = &movie.video;
    let clock = |ticks: i64| TS_ORIGIN + ticks * 90_000 / i64::from(config.timescale);
    let expected: Vec<_> = samples
        .iter()
        .map(|s| (clock(s.pts), clock(s.dts)))
        .collect();
    assert_eq!(packet_times(&joined, "v"), expected);
    let audio: Vec<_> = packet_times(&joined, "a")
        .into_iter()
        .map(|(pts, _)| pts)
        .collect();
    let expected: Vec<_> = movie
        .audio
        .1
        .iter()
        .map(|s| TS_ORIGIN + s.pts * 15 / 8)
        .collect();
    assert_eq!(audio, expected);
    for (i, segment) in segments.iter().enumerate() {
        let alone = folder.file(&format!("{i}.ts"), segment);
        assert_eq!(decode(&alone, "0:v").len(), 50);
    }
}

#[test]
fn transport_streams_of_one_track_decode() {
    let movie = movie();
    let folder = Folder::new();
    let original = folder.file("original.mp4", &movie.original);
    let video = folder.file("v.ts", &transport_segments(&movie, true, false, 0).concat());
    assert_eq!(decode(&video, "0:v"), decode(&original, "0:v"));
    let audio = folder.file("a.ts", &transport_segments(&movie, false, true, 0).concat());
    assert_eq!(packet_times(&audio, "a").len(), movie.audio.1.len());
    let (config, samples) = &movie.audio;
    let in_mp4 = folder.file("a.mp4", &cmaf(config, std::slice::from_ref(samples), 0));
    assert_eq!(decode(&audio, "0:a"), decode(&in_mp4, "0:a"));
}

#[test]
fn cached_samples_make_the_same_segments() {
    let mut movie = movie();
    let direct = transport_segments(&movie, true, true, 3);
    for track in [&mut movie.video, &mut movie.audio] {
        track.1 = decode_samples(encode_samples(&track.1).into()).unwrap();
    }
    assert!(direct == transport_segments(&movie, true, true, 3));
}
