//! Waiting longer after each failure.

use std::time::Duration;

/// Exponential delays with a cap and jitter. Pure: the caller sleeps and supplies the randomness.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The delay before retry `attempt` (0 = first retry). `jitter` in 0.0..=1.0 adds up to a tenth.
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let factor = 2f64.powi(attempt.min(30) as i32);
        let base = self.first.as_secs_f64() * factor;
        let capped = base.min(self.cap.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 + 0.1 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap() {
        let b = Backoff {
            first: Duration::from_secs(2),
            cap: Duration::from_secs(60),
        };
        assert_eq!(b.delay(0, 0.0), Duration::from_secs(2));
        assert_eq!(b.delay(3, 0.0), Duration::from_secs(16));
        assert_eq!(b.delay(99, 1.0), Duration::from_secs(66));
    }
}
