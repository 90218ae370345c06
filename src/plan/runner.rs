//! What PeerTube's runners do, done by this gateway: ffmpeg's arguments for each type of job, with the
//! results that runners deliver (contract `peertube-runner`, section 6).

use std::fmt::Write as _;

use crate::job::runner::{Rendition, Storyboard};

use super::run::{Invocation, strings};

/// Seconds of a segment; a key frame begins each, and one lies in its middle.
const SEGMENT_SECONDS: u32 = 4;
const KEY_SECONDS: u32 = 2;
const AUDIO_BITRATE: &str = "128k";

/// What a source has that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub pictures: bool,
    pub sound: bool,
    /// Whether the picture is taller than wide: then its width is the shorter side.
    pub portrait: bool,
}

fn invocation(output: Vec<String>) -> Invocation {
    Invocation {
        input: Vec::new(),
        output,
    }
}

/// Scales to the rendition's shorter side.
fn scale(rendition: Rendition, portrait: bool) -> String {
    match portrait {
        true => format!("scale=w={}:h=-2", rendition.resolution),
        false => format!("scale=w=-2:h={}", rendition.resolution),
    }
}

fn h264(rendition: Rendition, preset: &str) -> Vec<String> {
    let gop = (rendition.fps * KEY_SECONDS).to_string();
    let fps = rendition.fps.to_string();
    let mut out = strings(&["-c:v", "libx264", "-preset", preset, "-pix_fmt", "yuv420p"]);
    out.extend(strings(&["-r", &fps, "-g", &gop, "-keyint_min", &gop]));
    out.extend(strings(&["-sc_threshold", "0", "-crf", "23"]));
    out
}

fn aac() -> Vec<String> {
    strings(&["-c:a", "aac", "-b:a", AUDIO_BITRATE, "-ac", "2"])
}

fn streams(rendition: Rendition, kinds: Kinds, preset: &str) -> Vec<String> {
    let mut out = Vec::new();
    if kinds.pictures && rendition.resolution > 0 {
        out.extend(strings(&["-map", "0:v:0"]));
        out.extend(strings(&["-vf", &scale(rendition, kinds.portrait)]));
        out.extend(h264(rendition, preset));
    }
    if kinds.sound {
        out.extend(strings(&["-map", "0:a:0"]));
        out.extend(aac());
    }
    out.extend(strings(&["-sn", "-dn", "-map_metadata", "-1"]));
    out
}

/// One rendition as a file of fragmented MP4 with its playlist beside it.
pub fn hls_rendition(
    rendition: Rendition,
    kinds: Kinds,
    preset: &str,
    file: &str,
    playlist: &str,
) -> Invocation {
    let mut out = streams(rendition, kinds, preset);
    let seconds = SEGMENT_SECONDS.to_string();
    out.extend(strings(&["-f", "hls", "-hls_time", &seconds]));
    out.extend(strings(&[
        "-hls_list_size",
        "0",
        "-hls_playlist_type",
        "vod",
    ]));
    out.extend(strings(&[
        "-hls_segment_type",
        "fmp4",
        "-hls_flags",
        "single_file",
    ]));
    out.extend(strings(&["-hls_segment_filename", file, playlist]));
    invocation(out)
}

/// One rendition as an MP4 that plays while it loads.
pub fn web_video(rendition: Rendition, kinds: Kinds, preset: &str, file: &str) -> Invocation {
    let mut out = streams(rendition, kinds, preset);
    out.extend(strings(&["-f", "mp4", "-movflags", "+faststart", file]));
    invocation(out)
}

/// A sound (first input) under a still picture (second input).
pub fn audio_merge(rendition: Rendition, preset: &str, seconds: f64, file: &str) -> Invocation {
    let mut out = strings(&["-filter_complex"]);
    let (side, fps) = (rendition.resolution, rendition.fps);
    out.push(format!(
        "[1:v]scale=w=-2:h={side}:force_original_aspect_ratio=decrease:force_divisible_by=2,\
         loop=loop=-1:size=1:start=0,fps={fps}[picture]"
    ));
    out.extend(strings(&["-map", "[picture]", "-map", "0:a:0"]));
    out.extend(h264(rendition, preset));
    out.extend(aac());
    out.extend(["-t".to_owned(), format!("{seconds:.3}")]);
    out.extend(strings(&["-f", "mp4", "-movflags", "+faststart", file]));
    invocation(out)
}

/// What stays of a film between two moments, seconds.
pub fn cut(start: Option<f64>, end: Option<f64>, preset: &str, file: &str) -> Invocation {
    let mut out = Vec::new();
    if let Some(start) = start {
        out.extend(["-ss".to_owned(), format!("{start:.3}")]);
    }
    if let Some(end) = end {
        out.extend(["-to".to_owned(), format!("{end:.3}")]);
    }
    out.extend(edited(preset, file));
    invocation(out)
}

fn edited(preset: &str, file: &str) -> Vec<String> {
    let mut out = strings(&["-c:v", "libx264", "-preset", preset, "-pix_fmt", "yuv420p"]);
    out.extend(strings(&[
        "-crf",
        "20",
        "-c:a",
        "aac",
        "-b:a",
        AUDIO_BITRATE,
    ]));
    out.extend(strings(&[
        "-sn",
        "-dn",
        "-f",
        "mp4",
        "-movflags",
        "+faststart",
        file,
    ]));
    out
}

/// A film that is joined with another: its size and rate, and what both have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Joined {
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    /// Lengths of the two, seconds; which has sound.
    pub seconds: [f64; 2],
    pub sound: [bool; 2],
}

/// Puts the second input before the first one (`intro`) or behind it, in the first one's size.
pub fn join(film: Joined, intro: bool, preset: &str, file: &str) -> Invocation {
    let (w, h) = (film.width - film.width % 2, film.height - film.height % 2);
    let any_sound = film.sound.contains(&true);
    let mut graph = String::new();
    for nth in 0..2 {
        let _ = write!(
            graph,
            "[{nth}:v:0]scale={w}:{h}:force_original_aspect_ratio=decrease,pad={w}:{h}:-1:-1,\
             setsar=1,fps={:.3},format=yuv420p[v{nth}];",
            film.fps
        );
        let seconds = film.seconds[nth];
        let _ = match film.sound[nth] {
            true => write!(
                graph,
                "[{nth}:a:0]aresample=48000,aformat=channel_layouts=stereo[a{nth}];"
            ),
            false if any_sound => write!(
                graph,
                "anullsrc=r=48000:cl=stereo,atrim=duration={seconds:.3}[a{nth}];"
            ),
            false => Ok(()),
        };
    }
    for nth in if intro { [1, 0] } else { [0, 1] } {
        let _ = write!(graph, "[v{nth}]");
        if any_sound {
            let _ = write!(graph, "[a{nth}]");
        }
    }
    let sounds = u32::from(any_sound);
    let _ = write!(graph, "concat=n=2:v=1:a={sounds}[v]");
    if any_sound {
        graph.push_str("[a]");
    }
    let mut out = vec!["-filter_complex".to_owned(), graph];
    out.extend(strings(&["-map", "[v]"]));
    if any_sound {
        out.extend(strings(&["-map", "[a]"]));
    }
    out.extend(edited(preset, file));
    invocation(out)
}

/// Lays a picture (second input) over the upper right corner, as runners do; the shares are of the
/// film's height.
pub fn watermark(
    size: f64,
    horizontal: f64,
    vertical: f64,
    preset: &str,
    file: &str,
) -> Invocation {
    let graph = format!(
        "[1:v][0:v]scale2ref=w=oh*mdar:h=ih*{size:.4}[mark][film];\
         [film][mark]overlay=x=W-w-H*{horizontal:.4}:y=H*{vertical:.4}[v]"
    );
    let mut out = vec!["-filter_complex".to_owned(), graph];
    out.extend(strings(&["-map", "[v]", "-map", "0:a?"]));
    out.extend(edited(preset, file));
    invocation(out)
}

/// A sheet of pictures.
pub fn storyboard(sheet: Storyboard, file: &str) -> Invocation {
    let filters = format!(
        "fps=1/{}:round=up,scale={}:{},tile={}x{}",
        sheet.interval_seconds, sheet.width, sheet.height, sheet.columns, sheet.rows
    );
    let mut out = strings(&[
        "-map",
        "0:v:0",
        "-vf",
        &filters,
        "-frames:v",
        "1",
        "-q:v",
        "3",
    ]);
    out.extend(strings(&["-an", "-sn", "-dn", "-f", "mjpeg", file]));
    invocation(out)
}

/// A live stream in `renditions`, each with its sound, as runners name their files: `N.m3u8`,
/// `N-000000.ts` and `master.m3u8` in `folder`.
pub fn live(renditions: &[Rendition], sound: bool, preset: &str, folder: &str) -> Invocation {
    let count = renditions.len();
    let names = |of: &str| -> String { (0..count).map(|n| format!("[{of}{n}]")).collect() };
    let mut graph = format!("[0:v:0]split={count}{};", names("s"));
    for (nth, rendition) in renditions.iter().enumerate() {
        let (side, fps) = (rendition.resolution, rendition.fps);
        let _ = write!(graph, "[s{nth}]scale=w=-2:h={side},fps={fps}[v{nth}];");
    }
    graph.pop();
    let mut out = vec!["-filter_complex".to_owned(), graph];
    let mut map = Vec::new();
    for (nth, rendition) in renditions.iter().enumerate() {
        out.extend(strings(&["-map", &format!("[v{nth}]")]));
        let gop = (rendition.fps * KEY_SECONDS).to_string();
        out.extend(strings(&[&format!("-g:v:{nth}"), &gop]));
        if sound {
            out.extend(strings(&["-map", "0:a:0"]));
        }
        map.push(match sound {
            true => format!("v:{nth},a:{nth}"),
            false => format!("v:{nth}"),
        });
    }
    out.extend(strings(&[
        "-c:v",
        "libx264",
        "-preset",
        preset,
        "-tune",
        "zerolatency",
    ]));
    out.extend(strings(&["-pix_fmt", "yuv420p", "-sc_threshold", "0"]));
    out.extend(aac());
    let seconds = SEGMENT_SECONDS.to_string();
    out.extend(strings(&[
        "-f",
        "hls",
        "-hls_time",
        &seconds,
        "-hls_list_size",
        "15",
    ]));
    out.extend(strings(&["-hls_flags", "independent_segments+temp_file"]));
    out.extend(strings(&[
        "-hls_segment_filename",
        &format!("{folder}/%v-%06d.ts"),
    ]));
    out.extend(strings(&[
        "-master_pl_name",
        "master.m3u8",
        "-var_stream_map",
        &map.join(" "),
    ]));
    out.push(format!("{folder}/%v.m3u8"));
    invocation(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Rendition = Rendition {
        resolution: 360,
        fps: 25,
    };

    #[test]
    fn sound_alone_has_no_pictures() {
        let kinds = Kinds {
            pictures: true,
            sound: true,
            portrait: false,
        };
        let sound = Rendition {
            resolution: 0,
            fps: 25,
        };
        let line = hls_rendition(sound, kinds, "veryfast", "a.mp4", "a.m3u8")
            .output
            .join(" ");
        assert!(
            !line.contains("libx264") && line.contains("-map 0:a:0"),
            "{line}"
        );
        let line = hls_rendition(SMALL, kinds, "veryfast", "a.mp4", "a.m3u8")
            .output
            .join(" ");
        assert!(
            line.contains("scale=w=-2:h=360") && line.contains("-g 50"),
            "{line}"
        );
        let tall = Kinds {
            portrait: true,
            ..kinds
        };
        let line = web_video(SMALL, tall, "veryfast", "a.mp4").output.join(" ");
        assert!(line.contains("scale=w=360:h=-2"), "{line}");
    }

    #[test]
    fn marks_lie_in_the_corner_where_runners_put_them() {
        let line = watermark(0.2, 0.015, 0.03, "veryfast", "o.mp4")
            .output
            .join(" ");
        let place = "overlay=x=W-w-H*0.0150:y=H*0.0300[v]";
        assert!(line.contains(place), "{line}");
    }

    #[test]
    fn films_are_joined_in_the_order_that_was_asked_for() {
        let film = Joined {
            width: 161,
            height: 90,
            fps: 25.0,
            seconds: [4.0, 2.0],
            sound: [true, false],
        };
        let intro = join(film, true, "veryfast", "o.mp4").output.join(" ");
        assert!(
            intro.contains("[v1][a1][v0][a0]concat=n=2:v=1:a=1[v][a]"),
            "{intro}"
        );
        assert!(intro.contains("scale=160:90") && intro.contains("atrim=duration=2.000"));
        let silent = Joined {
            sound: [false, false],
            ..film
        };
        let outro = join(silent, false, "veryfast", "o.mp4").output.join(" ");
        assert!(outro.contains("[v0][v1]concat=n=2:v=1:a=0[v]"), "{outro}");
    }
}
