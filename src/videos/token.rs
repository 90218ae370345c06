//! The secrets of runners, in the forms of the contract (section 1).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::base::{LeaseToken, ParseIdError};

const JOB: &str = "ptrjt-";

/// What proves that a runner has a job: the token of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobToken(pub LeaseToken);

impl fmt::Display for JobToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOB}{}", self.0)
    }
}

impl FromStr for JobToken {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let token = text.strip_prefix(JOB).ok_or(ParseIdError)?;
        Ok(JobToken(token.parse()?))
    }
}

/// What lets a runner register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationSecret(pub String);

impl RegistrationSecret {
    pub fn random() -> Self {
        RegistrationSecret(format!("ptrrt-{}", Uuid::new_v4()))
    }
}

pub(super) fn new_runner_token() -> String {
    format!("ptrt-{}", Uuid::new_v4())
}

/// Under which a secret is kept: who reads the database cannot use it.
pub(super) fn digest(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
