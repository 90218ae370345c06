//! Who does the work, and who of several gets it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{UnixMillis, WorkerId};

use super::spec::JobKind;

/// Somebody who said that they work.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub id: WorkerId,
    /// Number of changes since it was first heard of.
    pub version: i64,
    pub abilities: Abilities,
    /// What it said of itself, word by word, for those who ask.
    pub said: Map<String, Value>,
    pub last_contact: UnixMillis,
}

/// What a worker can do, as far as it said so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Abilities {
    /// Kinds of jobs; empty: those that its protocol can express.
    pub kinds: BTreeSet<JobKind>,
    /// Families of codecs (`codec_family`) it encodes to. `None`: it did not say, and is offered all.
    pub codecs: Option<BTreeSet<String>>,
    /// Seconds of its benchmark; less is faster. `None`: it has not run one.
    pub benchmark_seconds: Option<f64>,
    /// Whether it need not store a whole file.
    pub streams: bool,
    /// Whether it said that it has no time.
    pub busy: bool,
    /// Whether it finishes what it has and takes no more.
    pub draining: bool,
}

impl Worker {
    pub fn new(id: WorkerId, now: UnixMillis) -> Worker {
        Worker {
            id,
            version: 0,
            abilities: Abilities::default(),
            said: Map::new(),
            last_contact: now,
        }
    }

    /// Whether it was heard of within `term`.
    pub fn is_alive(&self, now: UnixMillis, term: Duration) -> bool {
        now.since(self.last_contact) <= term
    }
}

impl Abilities {
    /// Whether it would be offered work that requires `requires`.
    pub fn suits(&self, requires: Option<&str>) -> bool {
        match (&self.codecs, requires) {
            (Some(codecs), Some(wanted)) => codecs.contains(wanted),
            _ => true,
        }
    }
}

/// Jobs of this size and more (MB) go to who can stream them.
const LARGE_MB: f64 = 100.0;
/// Jobs below this size (MB) go to the slowest, who keep the fast ones free.
const SMALL_MB: f64 = 50.0;

/// The worker for a job of `size_mb` by the results of benchmarks (distconv contract, section 1): the
/// fastest that streams for large jobs, the slowest for small ones, else the fastest. Those without
/// a benchmark get nothing.
pub fn choose_by_size<'a>(
    size_mb: f64,
    workers: impl Iterator<Item = &'a Worker>,
) -> Option<&'a Worker> {
    let speed = |w: &Worker| w.abilities.benchmark_seconds.unwrap_or(f64::INFINITY);
    let mut known: Vec<&Worker> = workers
        .filter(|w| w.abilities.benchmark_seconds.is_some())
        .collect();
    // Of equally fast ones the first by name, so that the choice does not depend on who asked.
    known.sort_by(|a, b| speed(a).total_cmp(&speed(b)).then_with(|| a.id.cmp(&b.id)));
    if size_mb >= LARGE_MB {
        let streaming = known.iter().find(|w| w.abilities.streams);
        return streaming.or(known.first()).copied();
    }
    match size_mb < SMALL_MB {
        true => known.last().copied(),
        false => known.first().copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str, benchmark: Option<f64>, streams: bool) -> Worker {
        let mut worker = Worker::new(WorkerId::new(id), UnixMillis::new(0));
        worker.abilities.benchmark_seconds = benchmark;
        worker.abilities.streams = streams;
        worker
    }

    #[test]
    fn size_and_benchmark_decide() {
        let workers = [
            worker("never-measured", None, true),
            worker("slow", Some(300.0), false),
            worker("streaming", Some(200.0), true),
            worker("fast", Some(100.0), false),
        ];
        let chosen =
            |mb, among: &[Worker]| choose_by_size(mb, among.iter()).map(|w| w.id.to_string());
        for (mb, name) in [
            (0.0, "slow"),
            (49.9, "slow"),
            (50.0, "fast"),
            (99.9, "fast"),
            (100.0, "streaming"),
        ] {
            assert_eq!(chosen(mb, &workers).as_deref(), Some(name), "{mb} MB");
        }
        let without = [
            worker("slow", Some(2.0), false),
            worker("fast", Some(1.0), false),
        ];
        assert_eq!(chosen(200.0, &without).as_deref(), Some("fast"));
        assert_eq!(chosen(10.0, &workers[..1]), None);
    }

    #[test]
    fn who_lists_codecs_gets_no_others() {
        let mut abilities = Abilities::default();
        assert!(abilities.suits(Some("av1")));
        abilities.codecs = Some(["h264".to_owned()].into());
        assert!(abilities.suits(Some("h264")) && abilities.suits(None));
        assert!(!abilities.suits(Some("av1")));
    }
}
