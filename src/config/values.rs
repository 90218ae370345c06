//! Value types of the configuration, each with the texts it accepts.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Unit texts in lower case. A bare letter counts 1024, as in `du` and `ls`.
const UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];

impl ByteSize {
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    pub const fn gib(n: u64) -> Self {
        ByteSize(n << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = NotAValue;
    /// `20GiB`, `1.5 TB`, `500M` or a bare number of bytes.
    fn from_str(s: &str) -> Result<Self, NotAValue> {
        let text = s.trim().to_ascii_lowercase();
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((&text, 1));
        let digits = digits.trim_end();
        if let Ok(whole) = digits.parse::<u64>() {
            return whole.checked_mul(factor).map(ByteSize).ok_or(NotAValue);
        }
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NotAValue);
        }
        let bytes = digits.parse::<f64>().map_err(|_| NotAValue)? * factor as f64;
        if bytes < u64::MAX as f64 {
            Ok(ByteSize(bytes.round() as u64))
        } else {
            Err(NotAValue)
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("TiB", 1u64 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        match units
            .iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
        {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text_or_number(d)
    }
}

/// Where a program is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolPath {
    /// Looked for on `PATH`.
    #[default]
    Auto,
    Path(PathBuf),
}

impl Serialize for ToolPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            ToolPath::Auto => s.serialize_str("auto"),
            ToolPath::Path(path) => path.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for ToolPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(d)?;
        Ok(if path.as_os_str() == "auto" {
            ToolPath::Auto
        } else {
            ToolPath::Path(path)
        })
    }
}

/// Speed of the x264 encoder against size, fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoPreset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
    Placebo,
}

impl VideoPreset {
    /// The name x264 and ffmpeg's `-preset` know.
    pub fn name(self) -> &'static str {
        match self {
            VideoPreset::Ultrafast => "ultrafast",
            VideoPreset::Superfast => "superfast",
            VideoPreset::Veryfast => "veryfast",
            VideoPreset::Faster => "faster",
            VideoPreset::Fast => "fast",
            VideoPreset::Medium => "medium",
            VideoPreset::Slow => "slow",
            VideoPreset::Slower => "slower",
            VideoPreset::Veryslow => "veryslow",
            VideoPreset::Placebo => "placebo",
        }
    }
}

/// The text spells no value of its type; the key's allowed values are said beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a value")]
pub struct NotAValue;

/// Reads a text that `T` parses.
pub(super) fn by_name<'de, T: FromStr, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    let text = String::deserialize(d)?;
    text.parse()
        .map_err(|_| D::Error::custom(format_args!("'{text}' is not known")))
}

/// Reads a text that `T` parses, or a number by way of its digits.
pub(super) fn text_or_number<'de, T: FromStr, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    struct Digits<T>(PhantomData<T>);

    impl<T: FromStr> Visitor<'_> for Digits<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a number with a unit")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse()
                .map_err(|_| E::custom(format_args!("'{text}' is not understood")))
        }

        fn visit_u64<E: Error>(self, n: u64) -> Result<T, E> {
            self.visit_str(&n.to_string())
        }

        fn visit_i64<E: Error>(self, n: i64) -> Result<T, E> {
            self.visit_str(&n.to_string())
        }

        fn visit_f64<E: Error>(self, n: f64) -> Result<T, E> {
            self.visit_str(&n.to_string())
        }
    }

    d.deserialize_any(Digits(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let cases = [
            ("20GiB", 20 << 30),
            ("20 GB", 20_000_000_000),
            ("500M", 500 << 20),
            ("1.5k", 1536),
            ("7", 7),
            ("8 b", 8),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "-1",
            "1 parsec",
            "nan",
            "infGB",
            "99999999999999TiB",
            "1e300TB",
        ] {
            assert_eq!(bad.parse::<ByteSize>(), Err(NotAValue), "{bad}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_read() {
        for bytes in [0, 1, 1023, 1024, 5 << 20, 20 << 30, 3 << 40, 123_456_789] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize::gib(20).to_string(), "20GiB");
    }

    #[test]
    fn preset_names_are_those_of_the_file() {
        let names = "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo";
        for name in names.split(' ') {
            let preset: VideoPreset = serde_yaml::from_str(name).unwrap();
            assert_eq!(preset.name(), name);
        }
    }
}
