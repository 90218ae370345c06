//! Parameters of encoders as clients write them, and what of them is taken.
//!
//! They reach programs of this machine, so nothing in them may name a file, and nothing may be an input
//! or an output. Workers elsewhere get them word by word.

use std::fmt::Write as _;

use crate::media::SceneEncoder;
use crate::plan::run::strings;

/// Parameters that our own engines do not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("encoder_params: '{0}' is no option")]
    NoOption(String),
    #[error("encoder_params: {0} needs a value")]
    NoValue(String),
    #[error("encoder_params: the value of {0} may not hold '{1}'")]
    Value(String, char),
    #[error("encoder_params: {0} is decided by the gateway, or names a file")]
    Reserved(String),
    #[error("encoder_params: {0} needs {1}, which is not installed here")]
    NeedsTool(String, &'static str),
    #[error("encoder_params: {0} is not known for {1}")]
    Unknown(String, &'static str),
    #[error(
        "ffmpeg_params: {0} is not taken by this engine; it takes -vf, -pix_fmt and -sws_flags"
    )]
    FfmpegOption(String),
    #[error("ffmpeg_params: the filter {0} is not taken by this engine")]
    Filter(String),
    #[error("the installed ffmpeg has no encoder {0}")]
    NoEncoder(&'static str),
    #[error("quality: the installed ffmpeg can measure neither VMAF, XPSNR nor SSIM")]
    NoMetric,
}

/// Options of an encoder, each with its name without dashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SceneOptions {
    options: Vec<(String, Option<String>)>,
}

/// Short options of `aomenc` and `vpxenc` with a value behind a space.
const SHORT: [(&str, &str); 5] = [
    ("b", "bit-depth"),
    ("t", "threads"),
    ("u", "usage"),
    ("p", "passes"),
    ("w", "width"),
];
/// Options that are ours to set, or that would make other files of it.
const RESERVED: &[&str] = &[
    "o",
    "c",
    "h",
    "i",
    "y",
    "f",
    "D",
    "help",
    "debug",
    "passes",
    "pass",
    "fpf",
    "fwf",
    "limit",
    "skip",
    "ivf",
    "webm",
    "obu",
    "i420",
    "i422",
    "i444",
    "yv12",
    "nv12",
    "rawvideo",
    "input",
    "output",
    "width",
    "height",
    "annexb",
    "csv",
    "stats",
    "recon",
    "dump-yuv",
    "frames",
    "seek",
    "level-dump",
    "timebase",
    "verbose",
    "muxer",
    "demuxer",
];
/// Parts of names of options that name files.
const FILES: [&str; 14] = [
    "file",
    "path",
    "table",
    "output",
    "input",
    "config",
    "cfg",
    "info",
    "recon",
    "analysis",
    "rpu",
    "scaling-list",
    "opencl",
    "csv",
];

impl SceneOptions {
    /// # Errors
    /// What is no option, and what may not be set.
    pub fn parse(encoder: SceneEncoder, text: &str) -> Result<Self, OptionError> {
        let mut options = Vec::new();
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let plain = word.trim_start_matches('-');
            let dashes = word.len() - plain.len();
            if !(1..=2).contains(&dashes) || plain.is_empty() {
                return Err(OptionError::NoOption(shown(word)));
            }
            let (name, mut value) = match plain.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (plain, None),
            };
            // `-b:v 0` and the like are ffmpeg's.
            let of_ffmpeg = encoder == SceneEncoder::Vp9;
            let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
            if !name.chars().all(letters) {
                return Err(OptionError::NoOption(shown(word)));
            }
            let spaced = match encoder {
                SceneEncoder::Aom | SceneEncoder::Vpx => dashes == 1,
                _ => true,
            };
            let next_is_value = |w: &&str| {
                let number = w.strip_prefix('-').unwrap_or(w);
                number.starts_with(|c: char| c.is_ascii_digit()) || !w.starts_with('-')
            };
            if value.is_none() && spaced {
                value = words.next_if(next_is_value).map(str::to_owned);
            }
            let long = SHORT
                .iter()
                .find(|s| dashes == 1 && s.0 == name && !of_ffmpeg);
            let name = long.map_or(name, |s| s.1).to_owned();
            if RESERVED.contains(&name.as_str()) || FILES.iter().any(|f| name.contains(f)) {
                return Err(OptionError::Reserved(name));
            }
            if let Some(value) = &value {
                let allowed = |c: char| c.is_ascii_alphanumeric() || ".,:+-_".contains(c);
                if let Some(bad) = value.chars().find(|c| !allowed(*c)) {
                    return Err(OptionError::Value(name, bad));
                }
            }
            options.push((name, value));
        }
        Ok(SceneOptions { options })
    }

    /// Takes out an option; the last one of its name counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        self.options.retain(|(n, value)| {
            let is = n == name;
            if is {
                found = Some(value.clone().unwrap_or_else(|| "1".to_owned()));
            }
            !is
        });
        found
    }

    pub(super) fn set(&mut self, name: &str, value: impl ToString) {
        self.take(name);
        self.options
            .push((name.to_owned(), Some(value.to_string())));
    }

    /// As `aomenc` and `vpxenc` take them.
    pub(super) fn words(&self) -> Vec<String> {
        let word = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        };
        self.options.iter().map(word).collect()
    }

    /// `a=1:b=2`, as ffmpeg hands options on to a library.
    fn dictionary(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.options {
            let glue = if out.is_empty() { "" } else { ":" };
            // A colon parts options there.
            let value = value.as_deref().unwrap_or("1").replace(':', ",");
            let _ = write!(out, "{glue}{name}={value}");
        }
        out
    }

    fn first_left(&self) -> Option<&str> {
        self.options.first().map(|(name, _)| name.as_str())
    }

    /// ffmpeg's arguments for its encoder of the same library.
    ///
    /// # Errors
    /// Options that ffmpeg has no name for.
    pub(super) fn for_ffmpeg(mut self, encoder: SceneEncoder) -> Result<Vec<String>, OptionError> {
        let mut out = strings(&["-c:v", ffmpeg_encoder(encoder)]);
        match encoder {
            SceneEncoder::Aom => self.library(&mut out, true)?,
            SceneEncoder::Vpx => self.library(&mut out, false)?,
            SceneEncoder::Vp9 => {
                for (name, value) in &self.options {
                    if !VP9.contains(&name.as_str()) {
                        return Err(OptionError::Unknown(name.clone(), "vp9"));
                    }
                    let value = value.clone();
                    let value = value.ok_or_else(|| OptionError::NoValue(name.clone()))?;
                    out.extend([format!("-{name}"), value]);
                }
            }
            SceneEncoder::SvtAv1 => {
                self.rename(
                    &mut out,
                    &[("preset", "-preset"), ("crf", "-crf"), ("qp", "-qp")],
                );
                self.bitrate(&mut out, "tbr");
                self.depth(&mut out, "input-depth");
                self.rest(&mut out, "-svtav1-params");
            }
            SceneEncoder::Rav1e => {
                let names = [
                    ("speed", "-speed"),
                    ("s", "-speed"),
                    ("quantizer", "-qp"),
                    ("tiles", "-tiles"),
                ];
                self.rename(&mut out, &names);
                self.bitrate(&mut out, "bitrate");
                self.rest(&mut out, "-rav1e-params");
            }
            SceneEncoder::X265 => {
                let names = [
                    ("preset", "-preset"),
                    ("crf", "-crf"),
                    ("tune", "-tune"),
                    ("profile", "-profile:v"),
                ];
                self.rename(&mut out, &names);
                self.bitrate(&mut out, "bitrate");
                self.depth(&mut out, "output-depth");
                self.options
                    .push(("log-level".into(), Some("error".into())));
                self.rest(&mut out, "-x265-params");
            }
            SceneEncoder::X264 => {
                let names = [
                    ("preset", "-preset"),
                    ("crf", "-crf"),
                    ("tune", "-tune"),
                    ("profile", "-profile:v"),
                ];
                self.rename(&mut out, &names);
                self.bitrate(&mut out, "bitrate");
                self.depth(&mut out, "output-depth");
                self.rest(&mut out, "-x264-params");
            }
        }
        Ok(out)
    }

    fn rename(&mut self, out: &mut Vec<String>, names: &[(&str, &str)]) {
        for (name, theirs) in names {
            if let Some(value) = self.take(name) {
                out.extend([(*theirs).to_owned(), value]);
            }
        }
    }

    /// Kilobits per second.
    fn bitrate(&mut self, out: &mut Vec<String>, name: &str) {
        if let Some(kbit) = self.take(name) {
            out.extend(["-b:v".to_owned(), format!("{kbit}k")]);
        }
    }

    fn depth(&mut self, out: &mut Vec<String>, name: &str) {
        if self.take(name).as_deref() == Some("10") {
            out.extend(strings(&["-pix_fmt", "yuv420p10le"]));
        }
    }

    fn rest(&mut self, out: &mut Vec<String>, option: &str) {
        if !self.options.is_empty() {
            out.extend([option.to_owned(), self.dictionary()]);
        }
    }

    /// Options of `aomenc` (`av1`) and `vpxenc` for ffmpeg's libaom and libvpx.
    fn library(&mut self, out: &mut Vec<String>, av1: bool) -> Result<(), OptionError> {
        let quality = self.take("cq-level");
        let mode = self.take("end-usage");
        let rate = self.take("target-bitrate");
        if let Some(quality) = quality {
            out.extend(["-crf".to_owned(), quality]);
        }
        match (mode.as_deref(), rate) {
            (Some("q" | "3"), _) => out.extend(strings(&["-b:v", "0"])),
            (_, Some(rate)) => out.extend(["-b:v".to_owned(), format!("{rate}k")]),
            // What both programs take when nothing is said.
            (_, None) => out.extend(strings(&["-b:v", "256k"])),
        }
        for (flag, usage) in [("good", "good"), ("rt", "realtime"), ("best", "best")] {
            if self.take(flag).is_some() {
                let name = if av1 { "-usage" } else { "-deadline" };
                out.extend(strings(&[name, usage]));
            }
        }
        self.depth(out, "bit-depth");
        self.take("codec");
        let names = [
            ("cpu-used", "-cpu-used"),
            ("threads", "-threads"),
            ("lag-in-frames", "-lag-in-frames"),
            ("kf-max-dist", "-g"),
            ("kf-min-dist", "-keyint_min"),
            ("tile-columns", "-tile-columns"),
            ("tile-rows", "-tile-rows"),
            ("row-mt", "-row-mt"),
            ("auto-alt-ref", "-auto-alt-ref"),
            ("arnr-strength", "-arnr-strength"),
            ("aq-mode", "-aq-mode"),
            ("min-q", "-qmin"),
            ("max-q", "-qmax"),
            ("undershoot-pct", "-undershoot-pct"),
            ("overshoot-pct", "-overshoot-pct"),
            ("frame-parallel", "-frame-parallel"),
            ("tune", "-tune"),
        ];
        let mut names = names.to_vec();
        names.push(match av1 {
            true => ("arnr-maxframes", "-arnr-max-frames"),
            false => ("arnr-maxframes", "-arnr-maxframes"),
        });
        self.rename(out, &names);
        if av1 {
            self.rest(out, "-aom-params");
            return Ok(());
        }
        match self.first_left() {
            Some(name) => Err(OptionError::NeedsTool(name.to_owned(), "vpxenc")),
            None => Ok(()),
        }
    }
}

/// Options of ffmpeg that G1's VP9 projects may use.
const VP9: &[&str] = &[
    "crf",
    "b:v",
    "minrate",
    "maxrate",
    "bufsize",
    "g",
    "keyint_min",
    "cpu-used",
    "speed",
    "deadline",
    "quality",
    "row-mt",
    "tile-columns",
    "tile-rows",
    "frame-parallel",
    "auto-alt-ref",
    "lag-in-frames",
    "arnr-maxframes",
    "arnr-strength",
    "arnr-type",
    "aq-mode",
    "threads",
    "static-thresh",
    "qmin",
    "qmax",
    "tune-content",
    "pix_fmt",
    "profile:v",
    "enable-tpl",
    "undershoot-pct",
    "overshoot-pct",
    "sharpness",
    "noise-sensitivity",
];

/// ffmpeg's name of an encoder.
pub(super) fn ffmpeg_encoder(encoder: SceneEncoder) -> &'static str {
    match encoder {
        SceneEncoder::Aom => "libaom-av1",
        SceneEncoder::Vpx | SceneEncoder::Vp9 => "libvpx-vp9",
        SceneEncoder::SvtAv1 => "libsvtav1",
        SceneEncoder::Rav1e => "librav1e",
        SceneEncoder::X265 => "libx265",
        SceneEncoder::X264 => "libx264",
    }
}

/// What `ffmpeg_params` ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FfmpegOptions {
    pub(super) filters: Option<String>,
    pub(super) pixel_format: Option<String>,
    pub(super) scaler: Option<String>,
}

/// Filters that change pictures, not their number, and open nothing.
const FILTERS: &[&str] = &[
    "scale",
    "crop",
    "pad",
    "setsar",
    "setdar",
    "format",
    "hqdn3d",
    "nlmeans",
    "unsharp",
    "deband",
    "gradfun",
    "yadif",
    "bwdif",
    "eq",
    "hue",
    "hflip",
    "vflip",
    "transpose",
    "noise",
    "cas",
    "smartblur",
    "atadenoise",
    "colorspace",
    "zscale",
    "tonemap",
    "deblock",
    "limiter",
    "lutyuv",
    "null",
    "setparams",
    "setrange",
    "vaguedenoiser",
    "removegrain",
    "bm3d",
    "dctdnoiz",
    "colormatrix",
    "curves",
];

pub(super) fn ffmpeg_options(text: &str) -> Result<FfmpegOptions, OptionError> {
    let mut found = FfmpegOptions::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = || {
            let value = words.next().map(|v| v.trim_matches(['"', '\'']).to_owned());
            value.ok_or_else(|| OptionError::FfmpegOption(shown(word)))
        };
        match word {
            "-vf" | "-filter:v" => {
                let graph = value()?;
                check_filters(&graph)?;
                found.filters = Some(graph);
            }
            "-pix_fmt" => found.pixel_format = Some(plain(word, value()?)?),
            "-sws_flags" => found.scaler = Some(plain(word, value()?)?),
            // What they do is done anyway.
            "-an" | "-sn" | "-dn" => {}
            "-strict" => {
                value()?;
            }
            other => return Err(OptionError::FfmpegOption(shown(other))),
        }
    }
    Ok(found)
}

fn plain(option: &str, value: String) -> Result<String, OptionError> {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+');
    match value.chars().all(letters) {
        true => Ok(value),
        false => Err(OptionError::FfmpegOption(option.to_owned())),
    }
}

/// A chain of filters of the list, with options that name no file and no other stream.
fn check_filters(graph: &str) -> Result<(), OptionError> {
    let refused = |name: &str| Err(OptionError::Filter(shown(name)));
    if let Some(bad) = graph.chars().find(|c| "[];'\"\\@/".contains(*c)) {
        return refused(&bad.to_string());
    }
    for filter in graph.split(',') {
        let (name, options) = filter.split_once('=').unwrap_or((filter, ""));
        let opens = ["file", "path", "stats"]
            .iter()
            .any(|w| options.contains(w));
        if !FILTERS.contains(&name.trim()) || opens {
            return refused(name);
        }
    }
    Ok(())
}

fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(encoder: SceneEncoder, text: &str) -> Result<String, OptionError> {
        Ok(SceneOptions::parse(encoder, text)?.words().join(" "))
    }

    fn ffmpeg(encoder: SceneEncoder, text: &str) -> Result<String, OptionError> {
        let options = SceneOptions::parse(encoder, text)?;
        Ok(options.for_ffmpeg(encoder)?.join(" "))
    }

    #[test]
    fn options_of_grav1_are_understood() {
        let text = "-b 10 --cpu-used=3 --end-usage=q --cq-level=20 --enable-qm";
        let aom = "--bit-depth=10 --cpu-used=3 --end-usage=q --cq-level=20 --enable-qm";
        assert_eq!(words(SceneEncoder::Aom, text).as_deref(), Ok(aom));
        let lib = "-c:v libaom-av1 -crf 20 -b:v 0 -pix_fmt yuv420p10le -cpu-used 3 \
            -aom-params enable-qm=1";
        assert_eq!(ffmpeg(SceneEncoder::Aom, text).as_deref(), Ok(lib));
        let vp9 = "-c:v libvpx-vp9 -crf 30 -b:v 0";
        assert_eq!(
            ffmpeg(SceneEncoder::Vp9, "-crf 30 -b:v 0").as_deref(),
            Ok(vp9)
        );
        let svt = "-c:v libsvtav1 -preset 8 -crf 35 -svtav1-params tune=0:keyint=-1";
        let text = "--preset 8 --crf=35 --tune 0 --keyint -1";
        assert_eq!(ffmpeg(SceneEncoder::SvtAv1, text).as_deref(), Ok(svt));
        let x264 = "-c:v libx264 -crf 20 -x264-params deblock=-1,-1";
        assert_eq!(
            ffmpeg(SceneEncoder::X264, "--crf 20 --deblock -1:-1").as_deref(),
            Ok(x264)
        );
    }

    #[test]
    fn nothing_names_a_file() {
        for bad in [
            "-o /etc/passwd",
            "--fpf=x",
            "--film-grain-table=x",
            "--vmaf-model-path=x",
            "--cfg=x",
            "--two-pass-output=x",
            "/etc/passwd",
            "-",
            "--cpu-used=/x",
            "--cpu-used=$(x)",
            "--passes=1",
        ] {
            assert!(words(SceneEncoder::Aom, bad).is_err(), "{bad}");
        }
        for bad in ["--csv x", "--qpfile x", "--stats x", "--analysis-save x"] {
            assert!(ffmpeg(SceneEncoder::X265, bad).is_err(), "{bad}");
        }
        for bad in [
            "-passlogfile x",
            "-f mp4",
            "-i x",
            "-vstats_file x",
            "-report",
        ] {
            assert!(ffmpeg(SceneEncoder::Vp9, bad).is_err(), "{bad}");
        }
        for bad in [
            "-vf movie=x",
            "-vf scale=1:1,subtitles=x",
            "-filter_complex x",
            "-i x",
            "-vf scale=1[a];[a]null",
            "-vf curves=psfile=x",
            "-vf",
        ] {
            assert!(ffmpeg_options(bad).is_err(), "{bad}");
        }
        let good = ffmpeg_options("-pix_fmt yuv420p10le -vf scale=1280:-2,hqdn3d=2").unwrap();
        assert_eq!(good.filters.as_deref(), Some("scale=1280:-2,hqdn3d=2"));
    }
}
