//! The wall clock, by which leases are counted: they outlive the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::base::UnixMillis;

/// Tells the time. Clones tell the same time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until it is moved on: for tests of what takes hours.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(start: UnixMillis) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(start.as_millis())))
    }

    pub fn now(&self) -> UnixMillis {
        match self {
            Clock::System => UnixMillis::new(jiff::Timestamp::now().as_millisecond()),
            Clock::Manual(ms) => UnixMillis::new(ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock on; nothing moves the system's.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(ms) = self {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            ms.fetch_add(by, Ordering::SeqCst);
        }
    }
}
