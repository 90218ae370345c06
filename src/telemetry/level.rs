//! The words of the `logging` section.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;

/// Least severe event that is logged. Names as in GhostStream; upper and lower case count the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", try_from = "String")]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warning,
    Error,
}

impl LogLevel {
    /// All names, least severe first.
    pub const NAMES: &'static [&'static str] = &["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"];

    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warning => "WARNING",
            LogLevel::Error => "ERROR",
        }
    }

    pub(super) fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Trace => LevelFilter::TRACE,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Error => LevelFilter::ERROR,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLogWord;
    fn from_str(s: &str) -> Result<Self, UnknownLogWord> {
        match s.to_ascii_uppercase().as_str() {
            "TRACE" => Ok(LogLevel::Trace),
            "DEBUG" => Ok(LogLevel::Debug),
            "INFO" => Ok(LogLevel::Info),
            "WARNING" | "WARN" => Ok(LogLevel::Warning),
            "ERROR" => Ok(LogLevel::Error),
            _ => Err(UnknownLogWord::new(s)),
        }
    }
}

impl TryFrom<String> for LogLevel {
    type Error = UnknownLogWord;
    fn try_from(s: String) -> Result<Self, UnknownLogWord> {
        s.parse()
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line for people.
    Text,
}

impl LogFormat {
    /// All names.
    pub const NAMES: &'static [&'static str] = &["json", "text"];

    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        }
    }
}

impl FromStr for LogFormat {
    type Err = UnknownLogWord;
    fn from_str(s: &str) -> Result<Self, UnknownLogWord> {
        match s.to_ascii_lowercase().as_str() {
            "json" => Ok(LogFormat::Json),
            "text" => Ok(LogFormat::Text),
            _ => Err(UnknownLogWord::new(s)),
        }
    }
}

impl TryFrom<String> for LogFormat {
    type Error = UnknownLogWord;
    fn try_from(s: String) -> Result<Self, UnknownLogWord> {
        s.parse()
    }
}

/// A text that names no level and no format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLogWord {
    text: String,
}

impl UnknownLogWord {
    fn new(text: &str) -> Self {
        UnknownLogWord {
            text: text.chars().take(40).collect(),
        }
    }
}

impl fmt::Display for UnknownLogWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not known", self.text)
    }
}

impl std::error::Error for UnknownLogWord {}
