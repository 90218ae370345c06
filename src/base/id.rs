//! Identifiers handed out by this gateway.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A GhostStream job: one request to transcode, as its client knows it. A random UUID (version 4),
/// because knowing the id is what lets a client without a key read and delete the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    pub fn random() -> Self {
        JobId(Uuid::new_v4())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(s).map(JobId).map_err(|_| ParseIdError)
    }
}

/// A piece of work in the queue, in the form its front door gives it: distconv counts
/// (`1795176268121300_0`), GhostStream uses UUIDs. 1 to 64 letters, digits, `_` and `-` of ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueId(String);

const MAX_QUEUE_ID: usize = 64;

impl QueueId {
    /// A time in microseconds since 1970 and a number, as distconv counts its jobs.
    pub fn counted(micros: u64, n: u64) -> Self {
        QueueId(format!("{micros}_{n}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<JobId> for QueueId {
    fn from(id: JobId) -> Self {
        QueueId(id.to_string())
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for QueueId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        match (1..=MAX_QUEUE_ID).contains(&s.len()) && s.bytes().all(plain) {
            true => Ok(QueueId(s.to_owned())),
            false => Err(ParseIdError),
        }
    }
}

impl TryFrom<String> for QueueId {
    type Error = ParseIdError;
    fn try_from(s: String) -> Result<Self, ParseIdError> {
        s.parse()
    }
}

impl From<QueueId> for String {
    fn from(id: QueueId) -> Self {
        id.0
    }
}

/// Who does queued work: any text that is not empty, as the worker names itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    pub fn new(name: impl Into<String>) -> Self {
        WorkerId(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What proves that a lease is still held; made anew for each lease, so an old one opens nothing. A
/// random UUID (version 4): it is a secret of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseToken(Uuid);

impl LeaseToken {
    pub fn random() -> Self {
        LeaseToken(Uuid::new_v4())
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LeaseToken {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(s).map(LeaseToken).map_err(|_| ParseIdError)
    }
}

/// The text is not an identifier of this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier")]
pub struct ParseIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_are_short_and_plain() {
        assert!("1795176268121300_0".parse::<QueueId>().is_ok());
        assert!(JobId::random().to_string().parse::<QueueId>().is_ok());
        for bad in ["", "malformed-id-!@#$", "a/b", "é", &"a".repeat(65)] {
            assert_eq!(bad.parse::<QueueId>(), Err(ParseIdError), "{bad}");
        }
    }
}
