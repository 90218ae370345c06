//! Films to be encoded, and looking at what came of them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::app::ffmpeg;

/// 24000/1001 pictures a second: no whole number of milliseconds.
pub(crate) const RATE: &str = "24000/1001";

/// A film of four plain scenes of 72 pictures each, 12 s, with sound, text, chapters and colours.
pub(crate) fn film(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let texts = folder.join("texts.srt");
    std::fs::write(&texts, "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n").unwrap();
    let chapters = folder.join("chapters.ini");
    let ini = ";FFMETADATA1\ntitle=Four scenes\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=6000\ntitle=one\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=6000\nEND=12000\ntitle=two\n";
    std::fs::write(&chapters, ini).unwrap();
    let sources = [
        "testsrc2",
        "mandelbrot=maxiter=50",
        "smptebars",
        "rgbtestsrc",
    ];
    let inputs: Vec<String> = sources
        .iter()
        .map(|s| {
            let glue = if s.contains('=') { ":" } else { "=" };
            format!("{s}{glue}s=160x90:r={RATE}")
        })
        .collect();
    let mut args: Vec<&str> = Vec::new();
    for input in &inputs {
        args.extend(["-f", "lavfi", "-i", input]);
    }
    args.extend(["-f", "lavfi", "-i", "sine=f=330:d=12.012"]);
    args.extend([
        "-i",
        texts.to_str().unwrap(),
        "-i",
        chapters.to_str().unwrap(),
    ]);
    let graph = "[0:v]trim=end_frame=72,format=yuv420p,setsar=1[a];[1:v]trim=end_frame=72,format=yuv420p,setsar=1[b];\
        [2:v]trim=end_frame=72,format=yuv420p,setsar=1[c];[3:v]trim=end_frame=72,format=yuv420p,setsar=1[d];\
        [a][b][c][d]concat=n=4,noise=alls=4:all_seed=7:allf=t[v]";
    args.extend([
        "-filter_complex",
        graph,
        "-map",
        "[v]",
        "-map",
        "4:a",
        "-map",
        "5:s",
    ]);
    args.extend(["-map_metadata", "6", "-map_chapters", "6"]);
    args.extend([
        "-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-g", "250",
    ]);
    args.extend([
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-colorspace",
        "bt709",
    ]);
    args.extend([
        "-color_range",
        "tv",
        "-c:a",
        "aac",
        "-c:s",
        "srt",
        "-frames:v",
        "288",
    ]);
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

/// A film of `scenes` scenes of `frames` pictures each, tiny.
pub(crate) fn small(path: &Path, scenes: u32, frames: u32) {
    let length = scenes * frames;
    let luma = format!("geq=lum='mod(floor(N/{frames})*97,219)+16+mod(N,3)':cb=128:cr=128");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x36:r=25",
        "-vf",
        &luma,
        "-frames:v",
        &length.to_string(),
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-qp",
        "10",
        path.to_str().unwrap(),
    ]);
}

/// What ffprobe says of a file, as JSON; fails when it complains.
#[expect(
    clippy::disallowed_methods,
    reason = "tests look at media with ffprobe"
)]
pub(crate) fn probed(path: &Path, show: &[&str]) -> Value {
    let out = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(show)
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.success() && said.is_empty(),
        "{}: {said}",
        path.display()
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Times of all decoded pictures, seconds.
pub(crate) fn picture_times(path: &Path) -> Vec<f64> {
    let frames = probed(
        path,
        &[
            "-select_streams",
            "v:0",
            "-show_frames",
            "-show_entries",
            "frame=pts_time",
        ],
    );
    let time = |f: &Value| f["pts_time"].as_str().unwrap().parse().unwrap();
    frames["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(time)
        .collect()
}

/// SSIM of each picture of `made` against `original`.
pub(crate) fn likeness(made: &Path, original: &Path) -> Vec<f64> {
    let graph = "[0:v]format=yuv420p,settb=1/25,setpts=N[a];[1:v]format=yuv420p,settb=1/25,setpts=N[b];[a][b]ssim=stats_file=-";
    let out = ffmpeg(&[
        "-i",
        made.to_str().unwrap(),
        "-i",
        original.to_str().unwrap(),
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]);
    let text = String::from_utf8(out).unwrap();
    let all = text.lines().filter_map(|l| l.split_once("All:"));
    all.map(|(_, v)| v.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// The joined file is the source: as many pictures, at the same times, of the same colours, alike.
pub(crate) fn is_the_film(made: &Path, original: &Path, least_likeness: f64) {
    let (mut times, wanted) = (picture_times(made), picture_times(original));
    assert_eq!(times.len(), wanted.len());
    let found = probed(made, &["-show_entries", "stream=codec_name"]).to_string();
    if found.contains("opus") {
        // Its lead-in moves the beginning of a file that may not begin before 0.
        let moved = times[0] - wanted[0];
        assert!(moved.abs() < 0.02, "{moved} s");
        times.iter_mut().for_each(|t| *t -= moved);
    }
    for (nth, (time, wanted)) in times.iter().zip(&wanted).enumerate() {
        assert!(
            (time - wanted).abs() < 0.0021,
            "picture {nth}: {time} s, not {wanted} s"
        );
    }
    let scores = likeness(made, original);
    assert_eq!(scores.len(), wanted.len());
    for (nth, scene) in scores.chunks(72).enumerate() {
        let mean = scene.iter().sum::<f64>() / scene.len() as f64;
        assert!(mean > least_likeness, "scene {nth}: SSIM {mean}");
        let worst = scene.iter().copied().fold(1.0, f64::min);
        assert!(
            worst > least_likeness - 0.1,
            "scene {nth}: a picture has SSIM {worst}"
        );
    }
    let entries = "stream=color_primaries,color_transfer,color_space,color_range";
    let show = ["-select_streams", "v:0", "-show_entries", entries];
    let colours = |path| probed(path, &show)["streams"][0].clone();
    assert_eq!(colours(made), colours(original));
}
