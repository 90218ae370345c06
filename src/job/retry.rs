//! How often work is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::QueueId;

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
    /// Doubled with each failure, from `first_ms` to at most `max_ms`; up to a tenth less of it, so that what
    /// failed together does not come back together.
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

    /// Wait after the failure number `failures` (from 1) of the job `of`, always the same for both.
    pub fn wait(&self, failures: u32, of: &QueueId) -> Duration {
        self.backoff.wait(failures, of.as_str())
    }
}

impl Backoff {
    /// Wait after the failure number `failures` (from 1) of what is called `of`, always the same for both.
    pub fn wait(self, failures: u32, of: &str) -> Duration {
        let ms = match self {
            Backoff::None => 0,
            Backoff::Fixed(ms) => ms,
            Backoff::Exponential { first_ms, max_ms } => {
                let doublings = failures.saturating_sub(1).min(63);
                let whole = first_ms.saturating_mul(1 << doublings).min(max_ms);
                whole - (whole / 10).saturating_mul(spread(failures, of)) / SPREAD
            }
        };
        Duration::from_millis(ms)
    }
}

/// Values of [`spread`].
const SPREAD: u64 = 1024;

/// Below [`SPREAD`], evenly: FNV-1a of the name and the number of its failure.
fn spread(failures: u32, of: &str) -> u64 {
    let bytes = of.bytes().chain(failures.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) % SPREAD
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
    use crate::base::JobId;

    #[test]
    fn waits_double_up_to_a_bound_and_differ_by_job() {
        let policy = RetryPolicy::default();
        let jobs: Vec<QueueId> = (0..200).map(|_| JobId::random().into()).collect();
        for (failures, most) in [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (99, 600)] {
            let waits = jobs
                .iter()
                .map(|job| policy.wait(failures, job).as_millis());
            let waits: std::collections::BTreeSet<u128> = waits.collect();
            let (least, longest) = (waits.first().unwrap(), waits.last().unwrap());
            assert!(
                *least >= most * 900 && *longest <= most * 1000,
                "{least} to {longest}"
            );
            assert!(
                longest - least > most * 50 && waits.len() > 100,
                "{waits:?}"
            );
        }
        assert_eq!(policy.wait(2, &jobs[0]), policy.wait(2, &jobs[0]));
        assert_eq!(RetryPolicy::at_once(3).wait(2, &jobs[0]), Duration::ZERO);
    }
}
