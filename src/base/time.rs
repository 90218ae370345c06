//! Points in time that outlive the process.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time by the wall clock, in milliseconds since 1970-01-01T00:00Z. Arithmetic saturates.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(i64);

impl UnixMillis {
    pub const fn new(ms: i64) -> Self {
        UnixMillis(ms)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is not over yet.
    pub fn since(self, earlier: UnixMillis) -> Duration {
        let ms = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_millis(ms.unsigned_abs())
    }
}

impl std::ops::Add<Duration> for UnixMillis {
    type Output = UnixMillis;
    fn add(self, span: Duration) -> UnixMillis {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        UnixMillis(self.0.saturating_add(ms))
    }
}

impl std::ops::Sub<Duration> for UnixMillis {
    type Output = UnixMillis;
    fn sub(self, span: Duration) -> UnixMillis {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        UnixMillis(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
