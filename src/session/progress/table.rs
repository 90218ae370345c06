//! The latest of every job, in the order in which it was said. Decides only: no clock, no tasks.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::base::JobId;

/// A job's state, in the contract's words (section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    Queued,
    Processing,
    Ready,
    Error,
    Cancelled,
}

impl JobState {
    pub fn name(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Processing => "processing",
            JobState::Ready => "ready",
            JobState::Error => "error",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether the work is over.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            JobState::Ready | JobState::Error | JobState::Cancelled
        )
    }
}

/// How far a job is, for the event `progress` (contract section 7).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Position {
    /// 0.0..=100.0.
    pub percent: f64,
    /// Pictures made.
    pub frame: u64,
    /// Pictures made a second, now.
    pub fps: f64,
    /// Media made, seconds.
    pub seconds: f64,
    /// Media time per wall time, now.
    pub speed: f64,
}

impl Position {
    /// What has been reached stays reached; rates may fall.
    fn after(self, before: Position) -> Position {
        Position {
            percent: self.percent.max(before.percent),
            frame: self.frame.max(before.frame),
            seconds: self.seconds.max(before.seconds),
            ..self
        }
    }
}

/// Something that a listener hears.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    State(JobState),
    Position(Position),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    State(JobState),
    Position,
}

#[derive(Debug, Default)]
struct Entry {
    /// Every state so far with its place in the order. A job passes through a handful of them.
    states: Vec<(u64, JobState)>,
    position: Option<(u64, Position)>,
    forgotten: bool,
}

/// A table that grows with the number of jobs and with nothing else: positions replace each other,
/// and states are few. Listeners keep a place in the order (`0` = before everything) and read on from
/// there, each at its own pace.
#[derive(Debug)]
pub(super) struct Table {
    last: u64,
    jobs: HashMap<JobId, Entry>,
    order: BTreeMap<u64, (JobId, Kind)>,
    forgotten: VecDeque<JobId>,
    keep_forgotten: usize,
}

impl Table {
    /// `keep_forgotten`: jobs whose last state is still known after they were forgotten.
    pub(super) fn new(keep_forgotten: usize) -> Table {
        Table {
            last: 0,
            jobs: HashMap::new(),
            order: BTreeMap::new(),
            forgotten: VecDeque::new(),
            keep_forgotten,
        }
    }

    /// The place of the newest event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    fn note(&mut self, id: JobId, kind: Kind) -> u64 {
        self.last += 1;
        self.order.insert(self.last, (id, kind));
        self.last
    }

    /// Notes a state. `false` when the job is in it already, or has ended: an end is final.
    pub(super) fn state(&mut self, id: JobId, state: JobState) -> bool {
        let before = self.state_of(id);
        if before.is_some_and(|s| s == state || s.is_end()) {
            return false;
        }
        if state == JobState::Ready {
            let reached = self.jobs.get(&id).and_then(|e| e.position);
            let position = Position {
                percent: 100.0,
                ..Position::default()
            };
            let position = position.after(reached.map(|(_, p)| p).unwrap_or_default());
            self.position(id, position);
        }
        let at = self.note(id, Kind::State(state));
        self.jobs.entry(id).or_default().states.push((at, state));
        true
    }

    /// Notes how far a job is; `false` when it is not at work.
    pub(super) fn position(&mut self, id: JobId, position: Position) -> bool {
        if self.state_of(id).is_none_or(JobState::is_end) {
            return false;
        }
        let at = self.note(id, Kind::Position);
        let entry = self.jobs.entry(id).or_default();
        let position = position.after(entry.position.map(|(_, p)| p).unwrap_or_default());
        if let Some((old, _)) = entry.position.replace((at, position)) {
            self.order.remove(&old);
        }
        true
    }

    pub(super) fn position_of(&self, id: JobId) -> Option<Position> {
        self.jobs.get(&id)?.position.map(|(_, p)| p)
    }

    /// The state a job is in, or ended in.
    pub(super) fn state_of(&self, id: JobId) -> Option<JobState> {
        self.jobs.get(&id)?.states.last().map(|(_, state)| *state)
    }

    /// A deleted job: what was said of it is kept for those who have not heard it yet, until enough
    /// others were forgotten after it.
    pub(super) fn forget(&mut self, id: JobId) {
        match self.jobs.get_mut(&id) {
            Some(entry) if !entry.forgotten => entry.forgotten = true,
            _ => return,
        }
        self.forgotten.push_back(id);
        while self.forgotten.len() > self.keep_forgotten {
            let Some(gone) = self
                .forgotten
                .pop_front()
                .and_then(|id| self.jobs.remove(&id))
            else {
                return;
            };
            let places = gone.states.iter().map(|(at, _)| at);
            for at in places.chain(gone.position.iter().map(|(at, _)| at)) {
                self.order.remove(at);
            }
        }
    }

    /// The first events behind `place` that `wanted` lets through, at most `most`, in their order;
    /// and the place to read on from.
    pub(super) fn after(
        &self,
        place: u64,
        most: usize,
        wanted: impl Fn(JobId) -> bool,
    ) -> (Vec<(JobId, Event)>, u64) {
        let mut events = Vec::new();
        for (at, (id, kind)) in self.order.range(place + 1..) {
            if !wanted(*id) {
                continue;
            }
            let event = match kind {
                Kind::State(state) => Event::State(*state),
                Kind::Position => Event::Position(self.position_of(*id).unwrap_or_default()),
            };
            events.push((*id, event));
            if events.len() == most {
                return (events, *at);
            }
        }
        (events, self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(percent: f64) -> Position {
        Position {
            percent,
            ..Position::default()
        }
    }

    fn heard(table: &Table, place: u64) -> Vec<Event> {
        let (events, _) = table.after(place, usize::MAX, |_| true);
        events.into_iter().map(|(_, event)| event).collect()
    }

    #[test]
    fn a_late_listener_hears_every_state_and_the_latest_position_only() {
        let (mut table, id) = (Table::new(4), JobId::random());
        table.state(id, JobState::Processing);
        for i in 0..50 {
            table.position(id, percent(f64::from(i)));
        }
        assert_eq!(
            heard(&table, 0),
            [
                Event::State(JobState::Processing),
                Event::Position(percent(49.0))
            ]
        );
        table.state(id, JobState::Ready);
        assert_eq!(
            heard(&table, 1),
            [
                Event::Position(percent(100.0)),
                Event::State(JobState::Ready)
            ]
        );
    }

    #[test]
    fn an_end_is_final_and_nothing_follows_it() {
        let (mut table, id) = (Table::new(4), JobId::random());
        assert!(!table.position(id, percent(1.0)), "nobody knows it");
        assert!(table.state(id, JobState::Processing));
        assert!(!table.state(id, JobState::Processing));
        assert!(table.state(id, JobState::Cancelled));
        assert!(!table.state(id, JobState::Error));
        assert!(!table.position(id, percent(50.0)));
        assert_eq!(table.state_of(id), Some(JobState::Cancelled));
    }

    #[test]
    fn forgotten_jobs_make_room_for_each_other() {
        let mut table = Table::new(2);
        let ids: Vec<JobId> = (0..5).map(|_| JobId::random()).collect();
        for id in &ids {
            table.state(*id, JobState::Processing);
            table.position(*id, percent(1.0));
            table.state(*id, JobState::Cancelled);
            table.forget(*id);
            table.forget(*id);
        }
        assert_eq!(table.jobs.len(), 2);
        assert_eq!(table.order.len(), 6);
        assert_eq!(table.state_of(ids[0]), None);
        assert_eq!(table.state_of(ids[4]), Some(JobState::Cancelled));
    }

    proptest! {
        /// Whatever the pace at which a listener reads: it hears all states of every job in their
        /// order, its positions never fall, and the last one it hears is the last one said.
        #[test]
        fn readers_at_any_pace_miss_no_state(
            steps in proptest::collection::vec((0usize..3, 0u8..4, 0.0f64..100.0, 0usize..4), 1..80),
        ) {
            let ids: Vec<JobId> = (0..3).map(|_| JobId::random()).collect();
            let mut table = Table::new(8);
            let (mut place, mut said, mut got) = (0, Vec::new(), Vec::new());
            for (job, what, value, most) in steps {
                let id = ids[job];
                let state = match what {
                    0 => Some(JobState::Queued),
                    1 => Some(JobState::Processing),
                    2 if value > 90.0 => Some(JobState::Ready),
                    _ => None,
                };
                match state {
                    Some(state) => if table.state(id, state) { said.push((id, state)) },
                    None => { table.position(id, percent(value)); }
                }
                if most > 0 {
                    let (events, next) = table.after(place, most, |_| true);
                    place = next;
                    got.extend(events);
                }
            }
            got.extend(table.after(place, usize::MAX, |_| true).0);
            let states: Vec<_> = got.iter().filter_map(|(id, event)| match event {
                Event::State(state) => Some((*id, *state)),
                Event::Position(_) => None,
            }).collect();
            prop_assert_eq!(states, said);
            for id in ids {
                let positions: Vec<f64> = got.iter().filter(|(i, _)| *i == id).filter_map(|(_, e)| match e {
                    Event::Position(p) => Some(p.percent),
                    Event::State(_) => None,
                }).collect();
                prop_assert!(positions.windows(2).all(|w| w[0] <= w[1]));
                prop_assert_eq!(positions.last().copied(), table.position_of(id).map(|p| p.percent));
            }
        }
    }
}
