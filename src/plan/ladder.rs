//! The renditions of an adaptive stream: which sizes, at which rates, at which level.

use crate::base::{Bitrate, FrameRate, Resolution};
use crate::hardware::Hardware;
use crate::media::{MaxResolution, StreamRequest, VideoChoice, VideoStream};

use super::error::PlanError;
use super::stream::PlanSettings;
use super::video::{Burn, VideoCodec, VideoPlan, Wish, auto_bitrate, encoded, output_size};

/// The rungs of the ladder (contract 6.2), best first.
const LADDER: [(MaxResolution, Bitrate); 5] = [
    (MaxResolution::R4k, Bitrate::kbit(20_000)),
    (MaxResolution::R1080, Bitrate::kbit(8000)),
    (MaxResolution::R720, Bitrate::kbit(4000)),
    (MaxResolution::R480, Bitrate::kbit(1500)),
    (MaxResolution::R360, Bitrate::kbit(800)),
];

/// How many times the pictures of the rung below the source itself must have to be worth a rung.
const WORTH_A_RUNG: f64 = 1.3;

/// Sizes and rates of the renditions of an adaptive stream, best first, at least one: the rungs that
/// are not larger than the picture, and the picture's own size where it lies well between two.
fn ladder(
    display: Resolution,
    asked: MaxResolution,
    settings: &PlanSettings,
) -> Vec<(Resolution, Bitrate)> {
    let largest = output_size(display, asked, settings.max_resolution);
    let pixels = |r: Resolution| f64::from(r.width) * f64::from(r.height);
    let fits = |rung: MaxResolution| {
        let (long, short) = rung.sides().unwrap_or_default();
        let longest = largest.width.max(largest.height);
        // Films are often a few rows or columns short of the box.
        longest * 50 >= long * 49 || largest.width.min(largest.height) * 50 >= short * 49
    };
    let mut rungs: Vec<(Resolution, Bitrate)> = LADDER
        .iter()
        .filter(|(rung, _)| fits(*rung))
        .map(|(rung, rate)| (output_size(largest, *rung, *rung), *rate))
        .collect();
    let between = rungs
        .first()
        .is_none_or(|(top, _)| pixels(largest) >= pixels(*top) * WORTH_A_RUNG);
    if between {
        rungs.insert(0, (largest, auto_bitrate(largest)));
    }
    let most = settings.abr_max_variants.max(1);
    // Pictures of unusual shape may have the rate of the rung below.
    rungs.dedup_by(|lower, upper| lower.1 >= upper.1);
    let last = rungs.len() - 1;
    if rungs.len() > most {
        // Best and least, and what lies evenly between.
        let kept: Vec<usize> = match most {
            1 => vec![0],
            _ => (0..most)
                .map(|i| (i * last + (most - 1) / 2) / (most - 1))
                .collect(),
        };
        rungs = kept.into_iter().map(|i| rungs[i]).collect();
    }
    for (_, rate) in &mut rungs {
        *rate = (*rate).min(settings.max_bitrate);
    }
    rungs
}

/// The renditions of an adaptive stream of `video`, best first. All have the same frame grid.
pub(super) fn plan_ladder(
    video: &VideoStream,
    burn: Option<Burn>,
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<Vec<VideoPlan>, PlanError> {
    let output = &request.output;
    if output.video == VideoChoice::Copy {
        return Err(PlanError::LadderOfCopies);
    }
    let codec = VideoCodec::asked(output.video).unwrap_or(VideoCodec::H264);
    let mut rungs = ladder(video.display_size(), output.resolution, settings);
    // A rate that is asked for is that of the best rendition, and none has more.
    if let (Some(asked), Some(first)) = (output.bitrate, rungs.first_mut()) {
        first.1 = asked.min(settings.max_bitrate);
        rungs.iter_mut().for_each(|r| r.1 = r.1.min(asked));
    }
    rungs.dedup();
    let plan = |(size, rate): (Resolution, Bitrate)| {
        let wish = Wish {
            codec,
            size,
            max_bitrate: rate,
            target_bitrate: Some(rate),
            burn,
        };
        let mut rung = encoded(video, wish, request, hardware, settings)?;
        // The least of all presets turns off what makes the profile High.
        let software = rung
            .encode
            .as_ref()
            .is_some_and(|e| e.accelerator.is_none());
        if codec == VideoCodec::H264 && software && settings.video_preset != "ultrafast" {
            rung.level = h264_level(size, rung.rate, rate);
        }
        Ok(rung)
    };
    rungs.into_iter().map(plan).collect()
}

/// Frame size in macroblocks, macroblocks per second and rate in kbit/s of profile High that the
/// levels allow (ITU-T H.264 tables ), by ten times the level.
const LEVELS: [(u8, u32, u32, u64); 14] = [
    (13, 396, 11_880, 960),
    (21, 792, 19_800, 5000),
    (22, 1620, 20_250, 5000),
    (30, 1620, 40_500, 12_500),
    (31, 3600, 108_000, 17_500),
    (32, 5120, 216_000, 25_000),
    (40, 8192, 245_760, 25_000),
    (41, 8192, 245_760, 62_500),
    (42, 8704, 522_240, 62_500),
    (50, 22_080, 589_824, 168_750),
    (51, 36_864, 983_040, 300_000),
    (52, 36_864, 2_073_600, 300_000),
    (60, 139_264, 4_177_920, 300_000),
    (61, 139_264, 8_355_840, 600_000),
];

/// The least level for pictures of `size` with four reference frames; `None` beyond all levels.
fn h264_level(size: Resolution, rate: FrameRate, bitrate: Bitrate) -> Option<u8> {
    let blocks = size.width.div_ceil(16) * size.height.div_ceil(16);
    let per_second = f64::from(blocks) * rate.as_f64();
    let fits = |(_, frame, second, kbit): &&(u8, u32, u32, u64)| {
        blocks <= *frame
            && per_second <= f64::from(*second)
            && bitrate.bits_per_second() <= kbit * 1000
    };
    LEVELS.iter().find(fits).map(|(level, ..)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn res(width: u32, height: u32) -> Resolution {
        Resolution { width, height }
    }

    fn rungs(width: u32, height: u32, most: usize) -> Vec<String> {
        let settings = PlanSettings {
            abr_max_variants: most,
            ..Default::default()
        };
        let rungs = ladder(res(width, height), MaxResolution::Original, &settings);
        rungs.iter().map(|(r, b)| format!("{r}@{b}")).collect()
    }

    #[test]
    fn ladders_follow_the_contract_and_never_scale_up() {
        let all = [
            "3840x2160@20M",
            "1920x1080@8M",
            "1280x720@4M",
            "854x480@1500k",
            "640x360@800k",
        ];
        assert_eq!(rungs(3840, 2160, 5), all);
        assert_eq!(rungs(3840, 2160, 4), [all[0], all[1], all[3], all[4]]);
        assert_eq!(rungs(3840, 2160, 1), [all[0]]);
        assert_eq!(rungs(1920, 1080, 4), all[1..]);
        assert_eq!(rungs(854, 480, 4), all[3..]);
        assert_eq!(rungs(1920, 800, 4)[0], "1920x800@8M");
        assert_eq!(rungs(1080, 1920, 4)[1], "720x1280@4M");
        assert_eq!(rungs(320, 180, 4), ["320x180@800k"]);
        assert_eq!(rungs(1100, 620, 4)[0], "1100x620@4M");
    }

    #[test]
    fn levels_hold_size_speed_and_rate() {
        let level = |w, h, fps: u32, kbit| {
            h264_level(
                res(w, h),
                FrameRate::new(fps, 1).unwrap(),
                Bitrate::kbit(kbit),
            )
        };
        assert_eq!(level(640, 360, 30, 800), Some(30));
        assert_eq!(level(1280, 720, 30, 4000), Some(31));
        assert_eq!(level(1920, 1080, 30, 8000), Some(40));
        assert_eq!(level(1920, 1080, 60, 8000), Some(42));
        assert_eq!(level(3840, 2160, 30, 20_000), Some(51));
        assert_eq!(level(30_000, 30_000, 30, 8000), None);
    }

    proptest! {
        #[test]
        fn ladders_descend(w in 2u32..9000, h in 2u32..9000, most in 1usize..6) {
            let settings = PlanSettings { abr_max_variants: most, ..Default::default() };
            let rungs = ladder(res(w, h), MaxResolution::Original, &settings);
            prop_assert!(!rungs.is_empty() && rungs.len() <= most);
            for pair in rungs.windows(2) {
                prop_assert!(pair[0].0.width > pair[1].0.width || pair[0].0.height > pair[1].0.height);
                prop_assert!(pair[0].1 > pair[1].1);
            }
            prop_assert!(rungs.iter().all(|(r, _)| r.width <= w.max(2) && r.height <= h.max(2)));
        }
    }
}
