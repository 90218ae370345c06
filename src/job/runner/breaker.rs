//! Keeping work of a type away from a runner that fails at it again and again, because it lacks what
//! the work needs (contract section 7, item 8).

use std::time::Duration;

use crate::base::{QueueId, UnixMillis};

/// What one runner failed at, of one type, since it last succeeded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FailureStreak {
    failures: u32,
    /// The first job of the streak, and whether there was another one.
    first: Option<QueueId>,
    several: bool,
    last: UnixMillis,
}

/// When work is kept away.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// Failures in a row, when another runner could do the work.
    pub with_others: u32,
    /// The same, on several jobs, when there is no other: one job may be at fault itself.
    pub alone: u32,
    /// How long work is kept away from who is not alone; the next failure renews it.
    pub rest: Duration,
    /// The same for who is alone, at first: doubled with each failure, up to `rest`. The jobs may have
    /// been at fault after all, and nobody else does what waits.
    pub first_rest: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            with_others: 3,
            alone: 5,
            rest: Duration::from_secs(600),
            first_rest: Duration::from_secs(30),
        }
    }
}

impl FailureStreak {
    pub fn failed(&mut self, job: &QueueId, now: UnixMillis) {
        self.failures += 1;
        self.several |= self.first.as_ref().is_some_and(|first| first != job);
        self.first.get_or_insert_with(|| job.clone());
        self.last = now;
    }
}

impl Breaker {
    /// Whether the runner with this streak is not offered the work now.
    pub fn keeps_away(&self, streak: &FailureStreak, others: bool, now: UnixMillis) -> bool {
        let ago = now.since(streak.last);
        if others && streak.failures >= self.with_others {
            return ago < self.rest;
        }
        streak.several && streak.failures >= self.alone && ago < self.rest_after(streak.failures)
    }

    /// Rest of who is alone, after so many failures in a row.
    fn rest_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(self.alone).min(16);
        self.rest.min(self.first_rest * (1_u32 << doublings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::new(seconds * 1000)
    }

    fn streak(jobs: &[&str]) -> FailureStreak {
        let mut streak = FailureStreak::default();
        for job in jobs {
            streak.failed(&job.parse().unwrap(), at(100));
        }
        streak
    }

    #[test]
    fn one_bad_job_does_not_shut_the_only_runner_out() {
        let breaker = Breaker::default();
        let same = streak(&["a", "a", "a", "a", "a"]);
        assert!(!breaker.keeps_away(&same, false, at(100)));
        assert!(breaker.keeps_away(&same, true, at(100)));
        let several = streak(&["a", "a", "b", "c", "c"]);
        assert!(breaker.keeps_away(&several, false, at(100)));
        assert!(!breaker.keeps_away(&streak(&["a", "b"]), true, at(100)));
    }

    #[test]
    fn it_may_try_again_after_a_rest() {
        let breaker = Breaker::default();
        let mut streak = streak(&["a", "a", "b", "b", "c"]);
        // A runner that is alone is not shut out for long: a few bad films do not stop the rest.
        assert!(breaker.keeps_away(&streak, false, at(129)));
        assert!(!breaker.keeps_away(&streak, false, at(130)));
        streak.failed(&"d".parse().unwrap(), at(131));
        assert!(breaker.keeps_away(&streak, false, at(190)));
        assert!(!breaker.keeps_away(&streak, false, at(191)));
        for _ in 0..50 {
            streak.failed(&"e".parse().unwrap(), at(200));
        }
        assert!(breaker.keeps_away(&streak, false, at(799)));
        assert!(!breaker.keeps_away(&streak, false, at(800)));
        // With others it rests for long at once.
        assert!(breaker.keeps_away(&streak, true, at(799)));
    }
}
