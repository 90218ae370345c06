//! What HDR10 says of the display on which a film was graded (SMPTE ST 2086) and of its light (CTA-861.3),
//! parsed from ffprobe's JSON.

use serde::Deserialize;

/// What is said of a film as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HdrMetadata {
    pub mastering: Option<MasteringDisplay>,
    pub light: Option<LightLevel>,
}

/// A display: its colours as CIE 1931 coordinates, its light in candela per square metre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MasteringDisplay {
    /// Red, green, blue.
    pub primaries: [(f64, f64); 3],
    pub white: (f64, f64),
    pub darkest: f64,
    pub brightest: f64,
}

/// Candela per square metre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LightLevel {
    /// Of the brightest pixel.
    pub content: u16,
    /// Of the brightest picture, on average.
    pub average: u16,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    streams: Vec<Holder>,
    frames: Vec<Holder>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Holder {
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SideData {
    side_data_type: String,
    red_x: Option<String>,
    red_y: Option<String>,
    green_x: Option<String>,
    green_y: Option<String>,
    blue_x: Option<String>,
    blue_y: Option<String>,
    white_point_x: Option<String>,
    white_point_y: Option<String>,
    min_luminance: Option<String>,
    max_luminance: Option<String>,
    max_content: Option<u32>,
    max_average: Option<u32>,
}

fn ratio(text: &Option<String>) -> Option<f64> {
    let (num, den) = text.as_deref()?.split_once('/')?;
    let (num, den): (f64, f64) = (num.parse().ok()?, den.parse().ok()?);
    Some(num / den).filter(|v| v.is_finite() && *v >= 0.0)
}

impl SideData {
    fn mastering(&self) -> Option<MasteringDisplay> {
        let point = |x, y| Some((ratio(x)?, ratio(y)?));
        let display = MasteringDisplay {
            primaries: [
                point(&self.red_x, &self.red_y)?,
                point(&self.green_x, &self.green_y)?,
                point(&self.blue_x, &self.blue_y)?,
            ],
            white: point(&self.white_point_x, &self.white_point_y)?,
            darkest: ratio(&self.min_luminance)?,
            brightest: ratio(&self.max_luminance)?,
        };
        Some(display).filter(|d| d.brightest > 0.0)
    }

    fn light(&self) -> Option<LightLevel> {
        let level = |v: Option<u32>| u16::try_from(v?).ok();
        Some(LightLevel {
            content: level(self.max_content)?,
            average: level(self.max_average)?,
        })
    }
}

impl HdrMetadata {
    /// Of a container, else of a stream's first picture. `None`: neither says anything.
    pub fn from_ffprobe_json(json: &[u8]) -> Option<HdrMetadata> {
        let answer: Answer = serde_json::from_slice(json).ok()?;
        let holders = answer.streams.iter().chain(&answer.frames);
        let said: Vec<&SideData> = holders.flat_map(|h| &h.side_data_list).collect();
        let of = |kind| said.iter().filter(move |s| s.side_data_type == kind);
        let found = HdrMetadata {
            mastering: of("Mastering display metadata").find_map(|s| s.mastering()),
            light: of("Content light level metadata").find_map(|s| s.light()),
        };
        (found != HdrMetadata::default()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffprobe_says_is_read() {
        let json = br#"{"frames":[{"side_data_list":[{"side_data_type":"Content light level metadata",
            "max_content":1100,"max_average":180}]}],"streams":[{"side_data_list":[{"side_data_type":"Display Matrix"},
            {"side_data_type":"Mastering display metadata","red_x":"34000/50000","red_y":"16000/50000",
            "green_x":"13250/50000","green_y":"34500/50000","blue_x":"7500/50000","blue_y":"3000/50000",
            "white_point_x":"15635/50000","white_point_y":"16450/50000","min_luminance":"50/10000",
            "max_luminance":"10000000/10000"}]}]}"#;
        let found = HdrMetadata::from_ffprobe_json(json).unwrap();
        let light = LightLevel {
            content: 1100,
            average: 180,
        };
        assert_eq!(found.light, Some(light));
        let display = found.mastering.unwrap();
        assert_eq!(display.primaries[1], (0.265, 0.69));
        assert_eq!((display.darkest, display.brightest), (0.005, 1000.0));
        for nothing in [&b"{}"[..], b"", br#"{"streams":[{"side_data_list":[{}]}]}"#] {
            assert_eq!(HdrMetadata::from_ffprobe_json(nothing), None);
        }
        let broken = br#"{"streams":[{"side_data_list":[{"side_data_type":"Mastering display metadata","red_x":"1/0"}]}]}"#;
        assert_eq!(HdrMetadata::from_ffprobe_json(broken), None);
    }
}
