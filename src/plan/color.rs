//! HDR to SDR: which pictures need it and the filters that do it.

use crate::base::Resolution;
use crate::hardware::Hardware;
use crate::media::{ColorInfo, Transfer, VideoStream};

use super::error::PlanError;

/// Filters that take a picture of the source's size to `size`, 8-bit 4:2:0 in limited range,
/// mapped to BT.709 SDR when the source is HDR and `tone_map` asks for it.
///
/// HDR pictures are scaled inside the step that makes them linear: mapping costs by the pixel, and
/// mapping first was measured to take twice as long.
pub(super) fn scale_and_map(
    video: &VideoStream,
    size: Resolution,
    tone_map: bool,
    hardware: &Hardware,
) -> Result<Vec<String>, PlanError> {
    let transfer = video.color.transfer_kind();
    if is_dolby_vision_5(&video.color) {
        return match hardware.maps_dolby_vision {
            true => Ok(dolby_vision_5(size, tone_map)),
            false => Err(PlanError::DolbyVision5),
        };
    }
    if transfer == Transfer::Sdr || !tone_map {
        return Ok(vec![
            format!(
                "scale={}:{}:flags=bicubic:out_range=tv",
                size.width, size.height
            ),
            "format=yuv420p".into(),
            "setsar=1".into(),
        ]);
    }
    if !hardware.has_filter("zscale") || !hardware.has_filter("tonemap") {
        return Err(PlanError::NoToneMapping);
    }
    // Streams often name the transfer but leave primaries or matrix out; zscale refuses to guess.
    let curve = if transfer == Transfer::Pq {
        "smpte2084"
    } else {
        "arib-std-b67"
    };
    let mut filters = Vec::new();
    if video.coded.width % 2 + video.coded.height % 2 > 0 {
        // zscale takes no odd sizes where colours are kept for every other pixel.
        filters.push("format=yuv444p10".to_owned());
    }
    filters.extend([
        format!("setparams=color_primaries=bt2020:color_trc={curve}:colorspace=bt2020nc"),
        format!("zscale=w={}:h={}:t=linear:npl=100", size.width, size.height),
        "format=gbrpf32le".into(),
        "zscale=p=bt709".into(),
        "tonemap=tonemap=hable:desat=0".into(),
        "zscale=t=bt709:m=bt709:r=tv".into(),
        "format=yuv420p".into(),
        "setsar=1".into(),
    ]);
    Ok(filters)
}

/// What a file format takes the numbers of a picture for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureColors {
    /// JFIF: BT.601 in full range.
    Jpeg,
    /// WebP (lossy VP8): BT.601 in limited range.
    Webp,
    /// Red, green and blue.
    Rgb,
    /// As moving pictures are: BT.709 in limited range.
    Video,
}

impl PictureColors {
    /// Filters that take a picture of `matrix` (`None`: one of RGB) to these colours.
    pub(super) fn filters_from(self, matrix: Option<&str>) -> Vec<String> {
        let from = matrix.map_or(String::new(), |m| format!("in_color_matrix={m}:"));
        let (to, format) = match self {
            PictureColors::Jpeg => ("out_color_matrix=bt601:out_range=pc", "yuvj420p"),
            PictureColors::Webp => ("out_color_matrix=bt601:out_range=tv", "yuv420p"),
            PictureColors::Rgb => ("out_range=pc", "gbrp"),
            PictureColors::Video => ("out_color_matrix=bt709:out_range=tv", "yuv420p"),
        };
        vec![format!("scale={from}{to}"), format!("format={format}")]
    }
}

/// Filters that take a picture of the source to one of `size` with square pixels, for a file that is
/// read as `colors`. As [`scale_and_map`], but with the matrix converted: files of pictures do not
/// say theirs.
pub(super) fn picture(
    video: &VideoStream,
    size: Resolution,
    colors: PictureColors,
    tone_map: bool,
    hardware: &Hardware,
) -> Result<Vec<String>, PlanError> {
    let mut filters = Vec::new();
    let mapped = video.color.transfer_kind() != Transfer::Sdr && tone_map;
    if mapped {
        // zscale refuses odd sizes of 4:2:0.
        let even = Resolution {
            width: size.width.next_multiple_of(2),
            height: size.height.next_multiple_of(2),
        };
        filters = scale_and_map(video, even, true, hardware)?;
    } else if is_dolby_vision_5(&video.color) {
        return Err(PlanError::DolbyVision5);
    }
    let from = if mapped { "bt709" } else { matrix(video) };
    let scale = format!("scale={}:{}:flags=bicubic:", size.width, size.height);
    for filter in colors.filters_from(Some(from)) {
        filters.push(filter.replacen("scale=", &scale, 1));
    }
    filters.push("setsar=1".into());
    Ok(filters)
}

/// The matrix of a source, as the filter `scale` names it. Where the source does not say, players
/// go by its height.
fn matrix(video: &VideoStream) -> &'static str {
    match video.color.matrix.as_deref() {
        Some("bt709") => "bt709",
        Some("smpte170m" | "bt470bg") => "bt601",
        Some("smpte240m") => "smpte240m",
        Some("fcc") => "fcc",
        Some("bt2020nc" | "bt2020c") => "bt2020",
        _ if video.coded.height >= 720 => "bt709",
        _ => "bt601",
    }
}

/// Whether the colours are those of Dolby Vision profile 5: in IPT form, unless the stream is tagged
/// otherwise, and right only with the metadata of each picture.
pub fn is_dolby_vision_5(color: &ColorInfo) -> bool {
    let tagged = |m: &str| m.starts_with("bt2020") || m == "bt709";
    color.dolby_vision_profile == Some(5) && !color.matrix.as_deref().is_some_and(tagged)
}

/// Such pictures at `size`, by libplacebo, which runs on Vulkan: as BT.709 SDR, or as the PQ that they
/// are meant as.
fn dolby_vision_5(size: Resolution, tone_map: bool) -> Vec<String> {
    let colors = match tone_map {
        true => "colorspace=bt709:color_primaries=bt709:color_trc=bt709",
        false => "colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084",
    };
    let Resolution { width, height } = size;
    vec![
        "hwupload".into(),
        format!("libplacebo=w={width}:h={height}:{colors}:range=tv:format=yuv420p"),
        "hwdownload".into(),
        "format=yuv420p".into(),
        "setsar=1".into(),
    ]
}

/// Arguments, input and all, of a test that shows whether [`dolby_vision_5`] works.
pub fn dolby_vision_test() -> Vec<String> {
    let size = Resolution {
        width: 64,
        height: 64,
    };
    let mut args = vulkan_options();
    let filters = dolby_vision_5(size, true).join(",");
    let source = "color=s=64x64:r=25:d=0.04,format=yuv420p10";
    args.extend(["-f", "lavfi", "-i", source, "-vf", &filters].map(str::to_owned));
    args.extend(["-f", "null", "-"].map(str::to_owned));
    args
}

/// Opens the device of [`dolby_vision_5`].
pub(super) fn vulkan_options() -> Vec<String> {
    [
        "-init_hw_device",
        "vulkan=colors",
        "-filter_hw_device",
        "colors",
    ]
    .map(str::to_owned)
    .into()
}
