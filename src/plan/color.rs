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
    if video.color.dolby_vision_profile == Some(5) && !has_base_layer_colors(&video.color) {
        return Err(PlanError::DolbyVision5);
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
    Ok(vec![
        format!("setparams=color_primaries=bt2020:color_trc={curve}:colorspace=bt2020nc"),
        format!("zscale=w={}:h={}:t=linear:npl=100", size.width, size.height),
        "format=gbrpf32le".into(),
        "zscale=p=bt709".into(),
        "tonemap=tonemap=hable:desat=0".into(),
        "zscale=t=bt709:m=bt709:r=tv".into(),
        "format=yuv420p".into(),
        "setsar=1".into(),
    ])
}

/// Profile 5 keeps its colours in IPT form unless the stream is tagged otherwise.
fn has_base_layer_colors(color: &ColorInfo) -> bool {
    color
        .matrix
        .as_deref()
        .is_some_and(|m| m.starts_with("bt2020") || m == "bt709")
}
