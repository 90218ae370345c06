//! Graphics processors that are not there: their encoders are played by software, with other headers
//! than the software encoder's own.
//!
//! The file `hardware` in the fake's folder names the accelerators that work; the others fail as they
//! do on a machine without them.

use std::ffi::OsString;
use std::path::Path;

/// Ends of the names of encoders, by accelerator.
const ACCELERATORS: [&str; 5] = ["nvenc", "qsv", "vaapi", "amf", "videotoolbox"];

/// The accelerator that a command encodes with.
pub(crate) fn used(args: &[OsString]) -> Option<&'static str> {
    let place = args.iter().position(|a| a == "-c:v")?;
    let (_, accelerator) = args.get(place + 1)?.to_str()?.rsplit_once('_')?;
    ACCELERATORS.into_iter().find(|a| *a == accelerator)
}

/// Whether the machine that is played has `accelerator`.
pub(crate) fn has(folder: &Path, accelerator: &str) -> bool {
    let list = std::fs::read_to_string(folder.join("hardware")).unwrap_or_default();
    list.split_whitespace().any(|a| a == accelerator)
}

/// What ffmpeg prints when the device is missing.
pub(crate) fn missing(accelerator: &str) -> &'static str {
    match accelerator {
        "nvenc" => "[h264_nvenc @ 0x1] OpenEncodeSessionEx failed: unsupported device (2)",
        "qsv" => "[h264_qsv @ 0x1] Error initializing an internal MFX session: unsupported (-3)",
        "vaapi" => "[AVHWDeviceContext @ 0x1] No VA display found for device /dev/dri/renderD128.",
        _ => "Error while opening encoder",
    }
}

/// All encoders of hardware, as lines of `ffmpeg -encoders`.
pub(crate) fn listing() -> String {
    let mut out = String::new();
    for accelerator in ACCELERATORS {
        for codec in ["h264", "hevc"] {
            out.push_str(&format!(
                " V....D {codec}_{accelerator}  played by software\n"
            ));
        }
    }
    out
}

/// The same command in software.
pub(crate) fn played(args: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        match text {
            "-vaapi_device" | "-rc" | "-rc_mode" | "-no-scenecut" | "-quality" | "-forced_idr"
            | "-preset" | "-realtime" => {
                args.next();
            }
            "-c:v" => {
                let name = args.next().and_then(|n| n.to_str()).unwrap_or_default();
                let hevc = name.starts_with("hevc");
                out.push(arg.clone());
                out.push(if hevc { "libx265" } else { "libx264" }.into());
                let options = match hevc {
                    true => ["-x265-params", "scenecut=0:open-gop=0:log-level=error"],
                    false => ["-sc_threshold", "0"],
                };
                out.extend(options.map(OsString::from));
                out.extend(["-preset", "ultrafast", "-forced-idr", "1"].map(OsString::from));
                // Headers of its own.
                out.extend(["-refs", "3"].map(OsString::from));
            }
            filters if filters.contains(",hwupload") => {
                out.push(filters.replace(",hwupload", "").into());
            }
            _ => out.push(arg.clone()),
        }
    }
    out
}
