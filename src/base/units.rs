//! Quantities with their unit in the type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point or span on a media time line, in microseconds (ffmpeg's `AV_TIME_BASE`).
///
/// Range: about +-292,000 years; arithmetic saturates, so hostile containers cannot overflow it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MediaTime(i64);

impl MediaTime {
    pub const ZERO: MediaTime = MediaTime(0);

    pub const fn from_micros(us: i64) -> Self {
        MediaTime(us)
    }

    /// Seconds to the nearest microsecond; values that are not finite become zero.
    pub fn from_secs_f64(seconds: f64) -> Self {
        if seconds.is_finite() {
            MediaTime((seconds * 1e6).round() as i64)
        } else {
            MediaTime(0)
        }
    }

    /// `ticks / timescale` seconds, rounded to the nearest microsecond. `timescale` 0 counts as 1.
    pub fn from_ticks(ticks: i64, timescale: u32) -> Self {
        let scale = i128::from(timescale.max(1));
        let us = div_round(i128::from(ticks) * 1_000_000, scale);
        MediaTime(clamp_i64(us))
    }

    /// This time in ticks of `timescale`, rounded to the nearest tick.
    pub fn to_ticks(self, timescale: u32) -> i64 {
        clamp_i64(div_round(
            i128::from(self.0) * i128::from(timescale),
            1_000_000,
        ))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl std::ops::Add for MediaTime {
    type Output = MediaTime;
    fn add(self, other: MediaTime) -> MediaTime {
        MediaTime(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for MediaTime {
    type Output = MediaTime;
    fn sub(self, other: MediaTime) -> MediaTime {
        MediaTime(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for MediaTime {
    /// Seconds with six decimals, as ffmpeg's options take them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let us = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}

/// Rounds `a / b` (b > 0) to the nearest integer, halves away from zero.
fn div_round(a: i128, b: i128) -> i128 {
    let half = b / 2;
    if a >= 0 {
        (a + half) / b
    } else {
        (a - half) / b
    }
}

fn clamp_i64(v: i128) -> i64 {
    v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Frames per second as an exact fraction, both parts positive and reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrameRate {
    num: u32,
    den: u32,
}

impl FrameRate {
    /// 25 pictures a second, for sources that do not say.
    pub const PAL: FrameRate = FrameRate { num: 25, den: 1 };
    /// What cameras, broadcasters and screens use.
    pub const USUAL: [FrameRate; 9] = [
        FrameRate {
            num: 24_000,
            den: 1001,
        },
        FrameRate { num: 24, den: 1 },
        FrameRate::PAL,
        FrameRate {
            num: 30_000,
            den: 1001,
        },
        FrameRate { num: 30, den: 1 },
        FrameRate { num: 50, den: 1 },
        FrameRate {
            num: 60_000,
            den: 1001,
        },
        FrameRate { num: 60, den: 1 },
        FrameRate { num: 15, den: 1 },
    ];

    /// The usual rate that `per_second` stands for, which was rounded on its way (2997/100, whole
    /// nanoseconds).
    pub fn usual(per_second: f64) -> Option<FrameRate> {
        let mut rates = Self::USUAL.into_iter();
        rates.find(|usual| (per_second / usual.as_f64() - 1.0).abs() < 2e-5)
    }

    /// `None` when either part is zero.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        let g = gcd(num, den);
        Some(FrameRate {
            num: num / g,
            den: den / g,
        })
    }

    pub fn num(self) -> u32 {
        self.num
    }

    pub fn den(self) -> u32 {
        self.den
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// The start of frame `frame` on this grid, rounded to a microsecond.
    pub fn time_of(self, frame: i64) -> MediaTime {
        let us = div_round(
            i128::from(frame) * i128::from(self.den) * 1_000_000,
            i128::from(self.num),
        );
        MediaTime(clamp_i64(us))
    }

    /// The frame whose start is nearest to `t`.
    pub fn frame_near(self, t: MediaTime) -> i64 {
        let n = div_round(
            i128::from(t.0) * i128::from(self.num),
            i128::from(self.den) * 1_000_000,
        );
        clamp_i64(n)
    }

    /// The start of frame `frame` in ticks of `timescale`, rounded to the nearest tick.
    pub fn ticks_of(self, frame: i64, timescale: u32) -> i64 {
        let t = i128::from(frame) * i128::from(self.den) * i128::from(timescale);
        clamp_i64(div_round(t, i128::from(self.num)))
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl FromStr for FrameRate {
    type Err = ParseUnitError;
    /// `30000/1001` or `25`, as ffprobe prints them.
    fn from_str(s: &str) -> Result<Self, ParseUnitError> {
        let bad = || ParseUnitError {
            what: "frame rate",
            text: s.chars().take(40).collect(),
        };
        let (n, d) = s.split_once('/').unwrap_or((s, "1"));
        let n: u32 = n.parse().map_err(|_| bad())?;
        let d: u32 = d.parse().map_err(|_| bad())?;
        FrameRate::new(n, d).ok_or_else(bad)
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// A picture size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resolution {
    pub width: u32,
    pub height: u32,
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bitrate(pub u64);

impl Bitrate {
    pub const fn kbit(k: u64) -> Self {
        Bitrate(k * 1000)
    }

    pub fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Bitrate {
    type Err = ParseUnitError;
    /// `8M`, `800k`, `2.5M`, or a bare number, which counts **megabits** as in GhostStream
    /// (contract 3.1). Accepted range: 10 kbit/s to 1 Gbit/s.
    fn from_str(s: &str) -> Result<Self, ParseUnitError> {
        let bad = || ParseUnitError {
            what: "bitrate",
            text: s.chars().take(40).collect(),
        };
        let t = s.trim();
        let (digits, unit) = match t.char_indices().last() {
            Some((i, 'k' | 'K')) => (&t[..i], 1e3),
            Some((i, 'm' | 'M')) => (&t[..i], 1e6),
            _ => (t, 1e6),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad());
        }
        let v: f64 = digits.parse().map_err(|_| bad())?;
        let bits = v * unit;
        if !(10_000.0..=1e9).contains(&bits) {
            return Err(bad());
        }
        Ok(Bitrate(bits.round() as u64))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000_000) {
            write!(f, "{}M", self.0 / 1_000_000)
        } else {
            write!(f, "{}k", self.0 / 1000)
        }
    }
}

/// A text that does not spell the quantity that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}")]
pub struct ParseUnitError {
    what: &'static str,
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn media_time_prints_as_ffmpeg_reads_it() {
        assert_eq!(MediaTime::from_micros(-1_500_000).to_string(), "-1.500000");
        assert_eq!(MediaTime::from_secs_f64(0.021).to_string(), "0.021000");
    }

    #[test]
    fn bitrates_follow_the_contract() {
        assert_eq!("8M".parse(), Ok(Bitrate(8_000_000)));
        assert_eq!("800k".parse(), Ok(Bitrate(800_000)));
        assert_eq!("4".parse(), Ok(Bitrate(4_000_000)));
        for bad in ["", "fast", "-3M", "0", "nan", "infM", "9999M", "M"] {
            assert!(bad.parse::<Bitrate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ntsc_ticks_are_exact() {
        let r = FrameRate::new(30000, 1001).unwrap();
        assert_eq!(r.ticks_of(1, 90_000), 3003);
        assert_eq!(r.ticks_of(1000, 90_000), 3_003_000);
    }

    proptest! {
        #[test]
        fn a_frame_start_is_nearest_to_its_own_frame(n in 0i64..10_000_000, i in 0usize..6) {
            let rates = [(24000, 1001), (25, 1), (30000, 1001), (60, 1), (60000, 1001), (10, 1)];
            let r = FrameRate::new(rates[i].0, rates[i].1).unwrap();
            prop_assert_eq!(r.frame_near(r.time_of(n)), n);
        }

        #[test]
        fn ticks_and_time_agree(us in -1_000_000_000_000i64..1_000_000_000_000) {
            let t = MediaTime::from_micros(us);
            prop_assert_eq!(MediaTime::from_ticks(t.to_ticks(1_000_000), 1_000_000), t);
        }
    }
}
