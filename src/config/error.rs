//! What can be wrong with a configuration, in words an administrator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--config: no such file: {}", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: not YAML: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    /// Name of the environment variable.
    Environment(String),
    /// The flag with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as `section.key`, or the section alone.
    pub key: String,
    pub origin: Origin,
    /// What is wrong and what is allowed, without the key.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.key, self.text, self.origin)
    }
}

fn list(problems: &[Problem]) -> String {
    if let [one] = problems {
        return format!("configuration: {one}");
    }
    let mut text = format!("configuration: {} problems", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
