//! How often work is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a job that failed is tried again, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Failures after which the job is given up; 0 counts as 1.
    pub max_failures: u32,
    /// Leases that ran out without a word (a worker vanished) after which the job is given up: most
    /// likely it is what ends its workers. Not counted as failures. 0 counts as 1.
    pub max_expiries: u32,
    pub backoff: Backoff,
}

/// Wait between a failure and the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    None,
    /// Always the same, milliseconds.
    Fixed(u64),
    /// Doubled with each failure, from `first_ms` to at most `max_ms`.
    Exponential {
        first_ms: u64,
        max_ms: u64,
    },
}

/// Workers vanish for reasons of their own far more often than a job ends them.
const MAX_EXPIRIES: u32 = 50;

impl RetryPolicy {
    /// Given up after `max_failures` failures, tried again at once before.
    pub const fn at_once(max_failures: u32) -> Self {
        RetryPolicy {
            max_failures,
            max_expiries: MAX_EXPIRIES,
            backoff: Backoff::None,
        }
    }

    /// Wait after the failure number `failures` (from 1).
    pub fn wait(&self, failures: u32) -> Duration {
        let ms = match self.backoff {
            Backoff::None => 0,
            Backoff::Fixed(ms) => ms,
            Backoff::Exponential { first_ms, max_ms } => {
                let doublings = failures.saturating_sub(1).min(63);
                first_ms.saturating_mul(1 << doublings).min(max_ms)
            }
        };
        Duration::from_millis(ms)
    }
}

impl Default for RetryPolicy {
    /// Three attempts, half a minute and a minute apart.
    fn default() -> Self {
        RetryPolicy {
            max_failures: 3,
            max_expiries: MAX_EXPIRIES,
            backoff: Backoff::Exponential {
                first_ms: 30_000,
                max_ms: 600_000,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = [1, 2, 3, 5, 6, 99]
            .iter()
            .map(|n| policy.wait(*n).as_secs())
            .collect();
        assert_eq!(waits, [30, 60, 120, 480, 600, 600]);
        assert_eq!(RetryPolicy::at_once(3).wait(2), Duration::ZERO);
    }
}
