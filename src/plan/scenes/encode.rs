//! Encoding one scene: the programs and their arguments, pass by pass.

use crate::base::FrameRate;
use crate::hardware::Hardware;
use crate::media::SceneEncoder;
use crate::plan::Invocation;
use crate::plan::run::strings;

use super::grain::{GRAIN_FILE, GRAIN_OPTION};
use super::options::{FfmpegOptions, OptionError, SceneOptions, ffmpeg_encoder, ffmpeg_options};

/// Where and with what a scene is encoded.
#[derive(Debug, Clone, Copy)]
pub struct EncodePlace<'a> {
    /// A folder of its own, as the programs are to name it.
    pub folder: &'a str,
    pub hardware: &'a Hardware,
    /// Whether `aomenc` and `vpxenc` are installed.
    pub has_aomenc: bool,
    pub has_vpxenc: bool,
    /// Threads of one encoder, at least 1.
    pub threads: usize,
}

/// One run, or two at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenePass {
    pub ffmpeg: Invocation,
    /// Arguments of the encoder's own program, which reads what ffmpeg writes to file descriptor 3.
    pub tool: Option<Vec<String>>,
}

/// How a scene is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenePasses {
    pub passes: Vec<ScenePass>,
    /// Name of the result in the folder.
    pub file: String,
}

/// What is to be encoded, of which segment.
#[derive(Debug, Clone, Copy)]
pub struct SceneWork<'a> {
    pub encoder: SceneEncoder,
    pub encoder_params: &'a str,
    pub ffmpeg_params: &'a str,
    /// Pictures of the segment that come before those of the scene.
    pub lead: u32,
    pub frames: u32,
    pub rate: FrameRate,
    /// In place of what the parameters say; see [`quantisers`].
    pub quantiser: Option<u32>,
    /// Whether it is only to tell how good the result would be.
    pub is_probe: bool,
    /// Whether [`GRAIN_FILE`] lies in the folder, with the grain that decoders are to add.
    pub has_grain: bool,
}

/// Quantisers that are tried for a goal of quality, best first.
pub fn quantisers(encoder: SceneEncoder) -> (u32, u32) {
    match encoder {
        SceneEncoder::X264 | SceneEncoder::X265 => (8, 45),
        _ => (8, 62),
    }
}

/// rav1e counts to 255, the others to 63.
const RAV1E_STEP: u32 = 4;
/// How much faster than the encode itself a probe is, in the encoder's own steps.
const FASTER: u32 = 2;

fn set_quantiser(options: &mut SceneOptions, encoder: SceneEncoder, quantiser: u32) {
    match encoder {
        SceneEncoder::Aom | SceneEncoder::Vpx => {
            options.take("target-bitrate");
            options.set("end-usage", "q");
            options.set("cq-level", quantiser);
        }
        SceneEncoder::Vp9 => {
            options.set("b:v", 0);
            options.set("crf", quantiser);
        }
        SceneEncoder::Rav1e => {
            options.take("bitrate");
            options.set("quantizer", quantiser * RAV1E_STEP);
        }
        SceneEncoder::SvtAv1 | SceneEncoder::X264 | SceneEncoder::X265 => {
            ["tbr", "bitrate", "qp"].iter().for_each(|name| {
                options.take(name);
            });
            options.set("crf", quantiser);
        }
    }
}

fn hurry(options: &mut SceneOptions, encoder: SceneEncoder) {
    let (name, most) = match encoder {
        SceneEncoder::Aom => ("cpu-used", 6),
        SceneEncoder::Vpx | SceneEncoder::Vp9 => ("cpu-used", 5),
        SceneEncoder::SvtAv1 => ("preset", 10),
        SceneEncoder::Rav1e => ("speed", 10),
        SceneEncoder::X264 | SceneEncoder::X265 => return,
    };
    let set = options.take(name).and_then(|v| v.parse::<u32>().ok());
    let faster = set.map_or(most, |v| (v + FASTER).min(most.max(v)));
    options.set(name, faster);
}

/// Plans the encode of a scene from its segment.
///
/// # Errors
/// Parameters that are not taken; an encoder that is not there.
pub fn plan_scene(
    work: &SceneWork<'_>,
    place: &EncodePlace<'_>,
) -> Result<ScenePasses, OptionError> {
    let encoder = work.encoder;
    let mut options = SceneOptions::parse(encoder, work.encoder_params)?;
    let filters = ffmpeg_options(work.ffmpeg_params)?;
    if let Some(quantiser) = work.quantiser {
        set_quantiser(&mut options, encoder, quantiser);
    }
    if work.is_probe {
        hurry(&mut options, encoder);
    }
    let has_tool = match encoder {
        SceneEncoder::Aom => place.has_aomenc,
        SceneEncoder::Vpx => place.has_vpxenc,
        _ => false,
    };
    if has_tool {
        return Ok(with_tool(work, place, &options, &filters));
    }
    let name = ffmpeg_encoder(encoder);
    if !place.hardware.has_encoder(name) {
        return Err(OptionError::NoEncoder(name));
    }
    with_ffmpeg(work, place, options, &filters)
}

/// The filter that leaves out the first pictures of a segment.
pub(super) fn behind(lead: u32) -> Option<String> {
    (lead > 0).then(|| format!("trim=start_frame={lead},setpts=PTS-STARTPTS"))
}

/// Pictures as grav1's workers take them from a segment.
fn pictures(work: &SceneWork<'_>, filters: &FfmpegOptions, regrid: bool) -> Vec<String> {
    let mut chain: Vec<String> = behind(work.lead).into_iter().collect();
    chain.extend(filters.filters.iter().cloned());
    if regrid {
        let (num, den) = (work.rate.num(), work.rate.den());
        chain.push(format!("settb={den}/{num},setpts=N"));
    }
    let mut out = strings(&["-map", "0:v:0", "-an", "-sn", "-dn"]);
    if !chain.is_empty() {
        out.extend(["-vf".to_owned(), chain.join(",")]);
    }
    if let Some(flags) = &filters.scaler {
        out.extend(["-sws_flags".to_owned(), flags.clone()]);
    }
    out.extend(["-frames:v".to_owned(), work.frames.to_string()]);
    out
}

fn with_tool(
    work: &SceneWork<'_>,
    place: &EncodePlace<'_>,
    options: &SceneOptions,
    filters: &FfmpegOptions,
) -> ScenePasses {
    let format = filters.pixel_format.as_deref().unwrap_or("yuv420p");
    let mut out = pictures(work, filters, false);
    out.extend(strings(&["-strict", "-1", "-pix_fmt", format]));
    out.extend(strings(&["-f", "yuv4mpegpipe", "pipe:3"]));
    let file = "scene.ivf".to_owned();
    let count = if work.is_probe { 1 } else { 2 };
    let pass = |nth: usize| {
        let mut tool = strings(&["-", "--ivf", &format!("--threads={}", place.threads)]);
        let mut options = options.clone();
        if count == 2 {
            tool.push(format!("--fpf={}/first-pass", place.folder));
            tool.push(format!("--pass={nth}"));
            if nth == 1 {
                // grav1's workers do the same: it is only for the second pass.
                options.take("denoise-noise-level");
            }
        }
        if work.has_grain && nth == count {
            options.set(GRAIN_OPTION, format!("{}/{GRAIN_FILE}", place.folder));
        }
        tool.push(format!("--passes={count}"));
        tool.extend(options.words());
        let to = match nth == count {
            true => format!("{}/{file}", place.folder),
            false => "/dev/null".to_owned(),
        };
        tool.extend(["-o".to_owned(), to]);
        ScenePass {
            ffmpeg: Invocation {
                input: Vec::new(),
                output: out.clone(),
            },
            tool: Some(tool),
        }
    };
    ScenePasses {
        passes: (1..=count).map(pass).collect(),
        file,
    }
}

fn with_ffmpeg(
    work: &SceneWork<'_>,
    place: &EncodePlace<'_>,
    mut options: SceneOptions,
    filters: &FfmpegOptions,
) -> Result<ScenePasses, OptionError> {
    let encoder = work.encoder;
    if work.has_grain {
        options.set(GRAIN_OPTION, format!("{}/{GRAIN_FILE}", place.folder));
    }
    let mut out = pictures(work, filters, true);
    let rate = format!("{}:{}", work.rate.den(), work.rate.num());
    out.extend(strings(&[
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        &rate,
    ]));
    let grav1 = matches!(encoder, SceneEncoder::Aom | SceneEncoder::Vpx);
    let format = filters.pixel_format.clone();
    // Workers elsewhere make the other scenes of the same film like this.
    let format = format.or_else(|| grav1.then(|| "yuv420p".to_owned()));
    if let Some(format) = format {
        out.extend(["-pix_fmt".to_owned(), format]);
    }
    if encoder == SceneEncoder::SvtAv1 {
        // It takes all cores otherwise, and more than it makes use of.
        out.extend(strings(&[
            "-svtav1-params",
            &format!("lp={}", place.threads),
        ]));
    }
    out.extend(strings(&["-threads", &place.threads.to_string()]));
    let own = options.for_ffmpeg(encoder)?;
    merge(&mut out, own, "-svtav1-params");
    let extension = encoder.extension();
    let file = format!("scene.{extension}");
    let path = format!("{}/{file}", place.folder);
    let two = grav1 || encoder == SceneEncoder::Vp9;
    let count = if two && !work.is_probe { 2 } else { 1 };
    let pass = |nth: usize| {
        let mut out = out.clone();
        if count == 2 {
            let log = format!("{}/passes", place.folder);
            out.extend(strings(&["-pass", &nth.to_string(), "-passlogfile", &log]));
        }
        match nth == count {
            false => out.extend(strings(&["-f", "null", "-"])),
            true if extension == "mp4" => {
                let scale = work.rate.num().to_string();
                out.extend(strings(&[
                    "-video_track_timescale",
                    &scale,
                    "-f",
                    "mp4",
                    &path,
                ]));
            }
            true => out.extend(strings(&["-f", extension, &path])),
        }
        ScenePass {
            ffmpeg: Invocation {
                input: Vec::new(),
                output: out,
            },
            tool: None,
        }
    };
    Ok(ScenePasses {
        passes: (1..=count).map(pass).collect(),
        file,
    })
}

/// Appends `own`; what both say of `list` is one list.
fn merge(out: &mut Vec<String>, own: Vec<String>, list: &str) {
    let mut own = own.into_iter();
    while let Some(word) = own.next() {
        match out.iter().position(|o| *o == list) {
            Some(at) if word == list => {
                let more = own.next().unwrap_or_default();
                let replaced = more.split(':').any(|o| o.starts_with("lp="));
                out[at + 1] = match replaced {
                    true => more,
                    false => format!("{}:{more}", out[at + 1]),
                };
            }
            _ => out.push(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(encoder: SceneEncoder, params: &str, tool: bool) -> Vec<String> {
        let mut hardware = Hardware::default();
        for name in ["libaom-av1", "libvpx-vp9", "libsvtav1", "libx264"] {
            hardware.encoders.insert(name.into());
        }
        let work = SceneWork {
            encoder,
            encoder_params: params,
            ffmpeg_params: "",
            lead: 0,
            frames: 48,
            rate: FrameRate::PAL,
            quantiser: None,
            is_probe: false,
            has_grain: params.contains("-b 10"),
        };
        let place = EncodePlace {
            folder: "/w",
            hardware: &hardware,
            has_aomenc: tool,
            has_vpxenc: tool,
            threads: 2,
        };
        let passes = plan_scene(&work, &place).unwrap().passes;
        let line = |p: &ScenePass| {
            let tool = p.tool.as_ref().map(|t| t.join(" ")).unwrap_or_default();
            format!("{} | {tool}", p.ffmpeg.output.join(" "))
        };
        passes.iter().map(line).collect()
    }

    #[test]
    fn aomenc_is_called_as_workers_call_it() {
        let lines = plan(
            SceneEncoder::Aom,
            "--cq-level=20 --denoise-noise-level=5",
            true,
        );
        assert_eq!(lines.len(), 2);
        let first = "-map 0:v:0 -an -sn -dn -frames:v 48 -strict -1 -pix_fmt yuv420p -f yuv4mpegpipe \
            pipe:3 | - --ivf --threads=2 --fpf=/w/first-pass --pass=1 --passes=2 --cq-level=20 \
            -o /dev/null";
        assert_eq!(lines[0], first);
        let end = "--passes=2 --cq-level=20 --denoise-noise-level=5 -o /w/scene.ivf";
        assert!(lines[1].ends_with(end), "{}", lines[1]);
    }

    #[test]
    fn ffmpeg_stands_in_for_what_is_not_installed() {
        let lines = plan(
            SceneEncoder::Vpx,
            "--cpu-used=4 --end-usage=q --cq-level=30",
            false,
        );
        assert!(
            lines[0].contains("-c:v libvpx-vp9 -crf 30 -b:v 0 -cpu-used 4 -pass 1"),
            "{lines:?}"
        );
        assert!(lines[1].ends_with("-pass 2 -passlogfile /w/passes -f ivf /w/scene.ivf | "));
        let grain = plan(SceneEncoder::Aom, "-b 10", false);
        let table = " -aom-params film-grain-table=/w/grain.table ";
        assert!(grain[1].contains(table), "{grain:?}");
        let grain = plan(SceneEncoder::Aom, "-b 10", true);
        let table = " --film-grain-table=/w/grain.table ";
        assert!(
            !grain[0].contains(table) && grain[1].contains(table),
            "{grain:?}"
        );
        let svt = plan(SceneEncoder::SvtAv1, "--preset 8 --tune 0", false);
        assert!(svt[0].contains("-svtav1-params lp=2:tune=0 "), "{svt:?}");
        let x264 = plan(SceneEncoder::X264, "--crf 20", false);
        assert!(x264[0].ends_with("-video_track_timescale 25 -f mp4 /w/scene.mp4 | "));
    }
}
