//! Names of artifacts.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;

use crate::base::{ParseIdError, QueueId};

/// `JOB/FILE`: the job that an artifact belongs to, and a plain file name. Nothing else can be named,
/// so no name leads out of the storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArtifactName {
    job: QueueId,
    file: String,
}

const LONGEST_FILE: usize = 100;

impl ArtifactName {
    /// `file`: letters, digits, `.`, `_` and `-` of ASCII, not beginning with a dot, at most 100.
    pub fn new(job: QueueId, file: &str) -> Result<Self, ParseIdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=LONGEST_FILE).contains(&file.len()) && file.bytes().all(plain);
        match fits && !file.starts_with('.') {
            true => Ok(ArtifactName {
                job,
                file: file.to_owned(),
            }),
            false => Err(ParseIdError),
        }
    }

    pub fn job(&self) -> &QueueId {
        &self.job
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn below(&self, prefix: &Path) -> Path {
        prefix
            .clone()
            .join(self.job.as_str())
            .join(self.file.as_str())
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.file)
    }
}

impl FromStr for ArtifactName {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let (job, file) = s.split_once('/').ok_or(ParseIdError)?;
        ArtifactName::new(job.parse()?, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lead_anywhere_else() {
        let name: ArtifactName = "1795176268121300_0/output.mp4".parse().unwrap();
        assert_eq!(name.to_string(), "1795176268121300_0/output.mp4");
        for bad in [
            "a", "a/", "/b", "../b", "a/../b", "a/b/c", "a/.b", "a/..", "a/b c", "a/b%2f", "a/ö",
            "a\\b/c",
        ] {
            assert!(bad.parse::<ArtifactName>().is_err(), "{bad}");
        }
    }
}
