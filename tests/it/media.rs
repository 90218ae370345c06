//! Clips whose every picture and every moment of sound can be told apart, and what is found of them
//! again in the output.
//!
//! A picture shows its number as ten black or white columns. The sound sweeps through the audible
//! range four times a second, so that a shift of a tenth of a millisecond shows.

use std::path::{Path, PathBuf};

/// The binaries of ffmpeg that the gateway is tested with: `GHOSTSTREAM_TEST_FFMPEGS`, separated
/// by colons, else the one of the search path.
pub(crate) fn gateway_ffmpegs() -> Vec<PathBuf> {
    match std::env::var_os("GHOSTSTREAM_TEST_FFMPEGS") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => vec![PathBuf::from("ffmpeg")],
    }
}

/// Standard output and standard error of a program that must succeed.
#[expect(
    clippy::disallowed_methods,
    reason = "tests make and examine media with ffmpeg"
)]
pub(crate) fn run(program: &str, args: &[&str]) -> (Vec<u8>, String) {
    let out = std::process::Command::new(program)
        .arg("-hide_banner")
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{program} {args:?}\n{log}");
    (out.stdout, log)
}

/// Columns of a picture: bits of its number.
const BITS: u32 = 10;

/// A lavfi source of numbered pictures, 160x90.
pub(crate) fn pictures(rate: &str, seconds: f64) -> String {
    format!(
        "nullsrc=s={BITS}x2:r={rate}:d={seconds},format=gray,\
         geq=lum='16+219*mod(floor(N/pow(2,X)),2)',\
         scale=160:90:flags=neighbor,format=yuv420p"
    )
}

/// A lavfi source of sweeps, two channels.
pub(crate) fn sweeps(rate: u32, seconds: f64) -> String {
    let sweep = "0.4*sin(2*PI*(300*mod(t,0.25)+7000*pow(mod(t,0.25),2)))";
    format!("aevalsrc='{sweep}|{sweep}':s={rate}:d={seconds}")
}

/// Makes `name` in `folder` of the lavfi sources in `inputs`, with the options in `more`.
pub(crate) fn make(folder: &Path, name: &str, inputs: &[&str], more: &str) -> PathBuf {
    let path = folder.join(name);
    let mut args = vec!["-loglevel", "error", "-y"];
    for input in inputs {
        // Options of an input come before it, set off by a bar.
        let (options, source) = input
            .split_once('|')
            .filter(|(o, _)| o.starts_with('-'))
            .unwrap_or(("", input));
        args.extend(options.split_whitespace());
        args.extend(["-f", "lavfi", "-i", source]);
    }
    args.extend(more.split_whitespace());
    args.push(path.to_str().unwrap());
    run("ffmpeg", &args);
    path
}

/// A packet as ffprobe sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    /// Ticks of the stream's time base.
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    /// Position in the file, of its container's packet.
    pub(crate) position: u64,
    pub(crate) key: bool,
}

/// The packets of a stream (`v:0`, `a:0`), in the order of the file.
pub(crate) fn packets(path: &Path, stream: &str) -> Vec<Packet> {
    let entries = "packet=pts,dts,pos,flags";
    let args = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        entries,
    ];
    let rest = ["-of", "compact=p=0", path.to_str().unwrap()];
    let (text, _) = run("ffprobe", &[&args[..], &rest[..]].concat());
    let mut position = 0;
    let mut out = Vec::new();
    for line in String::from_utf8(text).unwrap().lines() {
        let field = |name: &str| line.split('|').find_map(|f| f.strip_prefix(name));
        let Some(flags) = field("flags=") else {
            continue;
        };
        let number = |name| field(name).and_then(|v| v.parse::<i64>().ok());
        // Further frames of one container packet have no position of their own.
        position = number("pos=").map_or(position, |p| p as u64);
        let pts = number("pts=").unwrap_or_else(|| panic!("a packet without time: {line}"));
        let dts = number("dts=").unwrap_or(pts);
        out.push(Packet {
            pts,
            dts,
            position,
            key: flags.contains('K'),
        });
    }
    out
}

/// Presentation times of a stream's packets in seconds, in rising order.
pub(crate) fn packet_times(path: &Path, stream: &str) -> Vec<f64> {
    let args = ["-v", "error", "-select_streams", stream];
    let rest = ["-show_entries", "packet=pts_time", "-of", "csv=p=0"];
    let path = path.to_str().unwrap();
    let (text, _) = run("ffprobe", &[&args[..], &rest[..], &[path]].concat());
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().map(|l| l.trim_end_matches(','));
    let numbers = lines.filter(|l| !l.is_empty());
    let mut times: Vec<f64> = numbers.map(|n| n.parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// What ffmpeg says of a file when it decodes all of it; empty for a perfect one.
pub(crate) fn complaints(path: &Path) -> String {
    let path = path.to_str().unwrap();
    let (_, log) = run("ffmpeg", &["-v", "warning", "-i", path, "-f", "null", "-"]);
    log
}

/// Decoded pictures, each reduced to `width`x`height` levels of grey.
pub(crate) struct Pictures {
    /// Presentation times in seconds.
    pub(crate) times: Vec<f64>,
    pub(crate) levels: Vec<Vec<u8>>,
}

/// Decodes the stream with index `stream`, with `filters` before the reduction.
pub(crate) fn decode_pictures(
    path: &Path,
    stream: &str,
    filters: &str,
    size: (u32, u32),
) -> Pictures {
    let (w, h) = size;
    let comma = if filters.is_empty() { "" } else { "," };
    let filter =
        format!("{filters}{comma}scale={w}:{h}:flags=area,format=gray,showinfo=checksum=0");
    let (bytes, log) = run(
        "ffmpeg",
        &[
            "-loglevel",
            "info",
            "-nostats",
            "-copyts",
            "-max_error_rate",
            "1",
            "-i",
            path.to_str().unwrap(),
            "-map",
            stream,
            "-vf",
            &filter,
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "-",
        ],
    );
    let times = frame_times(&log);
    let levels: Vec<Vec<u8>> = bytes
        .chunks_exact((w * h) as usize)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(times.len(), levels.len(), "{}", path.display());
    Pictures { times, levels }
}

/// The numbers that the pictures of [`pictures`] show.
pub(crate) fn decode_numbers(path: &Path, stream: &str) -> (Vec<f64>, Vec<u32>) {
    let decoded = decode_pictures(path, stream, "", (BITS, 1));
    let number = |levels: &Vec<u8>| {
        let bits = levels.iter().enumerate();
        bits.map(|(i, l)| u32::from(*l > 127) << i).sum()
    };
    (decoded.times, decoded.levels.iter().map(number).collect())
}

/// Times of the frames that filter showinfo or ashowinfo printed.
fn frame_times(log: &str) -> Vec<f64> {
    let mut base = None;
    let mut times = Vec::new();
    for line in log.lines().filter(|l| l.contains("showinfo")) {
        if let Some((_, rest)) = line.split_once("config in time_base: ") {
            let (n, d) = rest.split(',').next().unwrap().split_once('/').unwrap();
            base = Some(n.trim().parse::<f64>().unwrap() / d.trim().parse::<f64>().unwrap());
        } else if let Some((_, rest)) = line.split_once(" pts:")
            && let Ok(pts) = rest.split_whitespace().next().unwrap().parse::<i64>()
        {
            times.push((pts, rest));
        }
    }
    let seconds = |(pts, rest): (i64, &str)| match base {
        Some(base) => pts as f64 * base,
        // ashowinfo does not name its time base; the filters before it make it one sample.
        None => {
            let rate = rest
                .split("rate:")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap();
            pts as f64 / rate.parse::<f64>().unwrap()
        }
    };
    times.into_iter().map(seconds).collect()
}

/// Decoded sound of one channel (the mean of two), on its own time line.
pub(crate) struct Sound {
    pub(crate) rate: u32,
    /// Time of the first sample in seconds.
    pub(crate) start: f64,
    pub(crate) samples: Vec<f32>,
}

impl Sound {
    pub(crate) fn end(&self) -> f64 {
        self.start + self.samples.len() as f64 / f64::from(self.rate)
    }

    /// `count` samples from `time` on; silence outside.
    pub(crate) fn at(&self, time: f64, count: usize) -> Vec<f32> {
        let first = ((time - self.start) * f64::from(self.rate)).round() as i64;
        let sample = |i: i64| {
            usize::try_from(i)
                .ok()
                .and_then(|i| self.samples.get(i))
                .copied()
        };
        (first..first + count as i64)
            .map(|i| sample(i).unwrap_or(0.0))
            .collect()
    }
}

/// Decodes the stream with index `stream` to `rate`. Gaps of the source are silence; deviations of
/// its timestamps below 30 ms are taken for faults of the container.
pub(crate) fn decode_sound(path: &Path, stream: &str, rate: u32) -> Sound {
    let filter = format!(
        "aresample={rate},aformat=sample_fmts=flt:channel_layouts=stereo,\
         pan=mono|c0=0.5*c0+0.5*c1,ashowinfo"
    );
    let (bytes, log) = run(
        "ffmpeg",
        &[
            "-loglevel",
            "info",
            "-nostats",
            "-copyts",
            "-max_error_rate",
            "1",
            "-i",
            path.to_str().unwrap(),
            "-map",
            stream,
            "-af",
            &filter,
            "-f",
            "f32le",
            "-c:a",
            "pcm_f32le",
            "-",
        ],
    );
    let counts = log.lines().filter_map(|l| l.split_once("nb_samples:"));
    let counts: Vec<usize> = counts
        .map(|(_, r)| r.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    let times = frame_times(&log);
    assert_eq!(times.len(), counts.len());
    let mut data = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let start = times.first().copied().unwrap_or(0.0);
    let mut samples = Vec::new();
    for (time, count) in times.iter().zip(counts) {
        let gap = (time - start) * f64::from(rate) - samples.len() as f64;
        if gap > 0.03 * f64::from(rate) {
            samples.resize(samples.len() + gap.round() as usize, 0.0);
        }
        samples.extend(data.by_ref().take(count));
    }
    Sound {
        rate,
        start,
        samples,
    }
}

/// Root mean square.
pub(crate) fn rms(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    (sum / samples.len().max(1) as f64).sqrt()
}

/// How like `ours` is to each stretch of `theirs` of the same length, by how many samples the
/// stretch is behind the middle one; 1 = the same. Every third shift outside of `fine` samples.
pub(crate) fn likeness(ours: &[f32], theirs: &[f32], fine: i64) -> Vec<(i64, f64)> {
    let middle = (theirs.len() - ours.len()) as i64 / 2;
    let mut sums = vec![0.0; theirs.len() + 1];
    for (i, s) in theirs.iter().enumerate() {
        sums[i + 1] = sums[i] + f64::from(*s) * f64::from(*s);
    }
    let power = rms(ours) * (ours.len() as f64).sqrt();
    let mut out = Vec::new();
    for lag in (-middle..=middle).filter(|l| l.abs() <= fine || l % 3 == 0) {
        let first = (middle + lag) as usize;
        let window = &theirs[first..first + ours.len()];
        let product: f32 = ours.iter().zip(window).map(|(a, b)| a * b).sum();
        let scale = power * (sums[first + ours.len()] - sums[first]).max(0.0).sqrt();
        out.push((
            lag,
            if scale > 1e-9 {
                f64::from(product) / scale
            } else {
                0.0
            },
        ));
    }
    out
}
