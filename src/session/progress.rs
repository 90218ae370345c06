//! Who listens to jobs, and what they hear: a table of the latest, and a bell.
//!
//! Nothing is queued for anybody. A listener holds its place in the order of events and what it
//! listens to; one that reads slowly finds, when it reads on, every state change and of each job the
//! latest position.

mod table;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::base::JobId;

use table::Table;
pub use table::{Event, JobState, Position};

/// Deleted jobs whose end can still be asked for.
const KEEP_FORGOTTEN: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct ProgressHub {
    table: Mutex<Table>,
    /// The place of the newest event.
    bell: watch::Sender<u64>,
    listeners: AtomicUsize,
    first: Notify,
    /// Jobs whose end somebody waits for, with how many do.
    awaited: Mutex<HashMap<JobId, usize>>,
}

impl ProgressHub {
    pub fn new() -> Arc<ProgressHub> {
        Arc::new(ProgressHub {
            table: Mutex::new(Table::new(KEEP_FORGOTTEN)),
            bell: watch::Sender::new(0),
            listeners: AtomicUsize::new(0),
            first: Notify::new(),
            awaited: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Table) -> bool) -> bool {
        let mut table = self.lock();
        let changed = change(&mut table);
        if changed {
            // With the lock held: places are rung in their order.
            self.bell.send_replace(table.last());
        }
        changed
    }

    /// Tells of a state; whether it is news.
    pub fn state(&self, id: JobId, state: JobState) -> bool {
        self.change(|table| table.state(id, state))
    }

    pub fn position(&self, id: JobId, position: Position) {
        self.change(|table| table.position(id, position));
    }

    pub(super) fn position_of(&self, id: JobId) -> Option<Position> {
        self.lock().position_of(id)
    }

    pub(super) fn forget(&self, id: JobId) {
        self.lock().forget(id);
    }

    /// The state a job is in or ended in; `None` for one that is not known, or no longer.
    pub fn state_of(&self, id: JobId) -> Option<JobState> {
        self.lock().state_of(id)
    }

    /// Notes that somebody waits for the end of a job, for as long as the guard lives.
    fn awaiting(self: &Arc<Self>, id: JobId) -> Awaiting {
        *self.lock_awaited().entry(id).or_default() += 1;
        Awaiting {
            hub: self.clone(),
            id,
        }
    }

    fn lock_awaited(&self) -> MutexGuard<'_, HashMap<JobId, usize>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs whose end somebody waits for.
    pub(super) fn awaited(&self) -> Vec<JobId> {
        self.lock_awaited().keys().copied().collect()
    }

    /// Waits until a job has ended. Cancel-safe.
    pub async fn ended(self: &Arc<Self>, id: JobId) -> Option<JobState> {
        let _awaiting = self.awaiting(id);
        let mut bell = self.bell.subscribe();
        loop {
            let state = self.state_of(id)?;
            if state.is_end() {
                return Some(state);
            }
            bell.changed().await.ok()?;
        }
    }

    /// Whether anybody wants to hear positions.
    pub fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::Acquire) > 0
    }

    /// Waits until somebody listens. Cancel-safe.
    pub(super) async fn heard(&self) {
        while !self.is_heard() {
            self.first.notified().await;
        }
    }

    /// A listener that hears all jobs from now on.
    pub fn listen(self: &Arc<Self>) -> Listener {
        let bell = self.bell.subscribe();
        let place = self.lock().last();
        self.listeners.fetch_add(1, Ordering::AcqRel);
        self.first.notify_one();
        Listener {
            hub: self.clone(),
            bell,
            place,
            only: None,
        }
    }
}

/// Somebody waits for the end of a job.
#[derive(Debug)]
struct Awaiting {
    hub: Arc<ProgressHub>,
    id: JobId,
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let mut awaited = self.hub.lock_awaited();
        if let Some(count) = awaited.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                awaited.remove(&self.id);
            }
        }
    }
}

/// One who listens: its place in the order of events, and the jobs it listens to.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<ProgressHub>,
    bell: watch::Receiver<u64>,
    place: u64,
    /// `None`: all of them, waiting for the end of none.
    only: Option<HashMap<JobId, Awaiting>>,
}

impl Listener {
    /// Waits for something new; it may be of jobs not listened to. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.bell.changed().await.is_err() {
            // The hub lives as long as its listeners.
            std::future::pending::<()>().await;
        }
    }

    /// The next events, at most `most`; fewer when there are no more.
    pub fn take(&mut self, most: usize) -> Vec<(JobId, Event)> {
        let only = &self.only;
        let wanted = |id: JobId| only.as_ref().is_none_or(|set| set.contains_key(&id));
        let (events, place) = self.hub.lock().after(self.place, most, wanted);
        self.place = place;
        events
    }

    /// Listens to these jobs, beside those already chosen, and to no others; their streams are made to
    /// the end for it. Gives the state of each
    /// that is known; the others can never become jobs, as ids are not reused, and are not kept.
    pub fn choose(&mut self, ids: impl IntoIterator<Item = JobId>) -> Vec<(JobId, JobState)> {
        let table = self.hub.lock();
        let mut seen = HashSet::new();
        let ids = ids.into_iter().filter(|id| seen.insert(*id));
        let known: Vec<_> = ids
            .filter_map(|id| Some((id, table.state_of(id)?)))
            .collect();
        drop(table);
        let chosen = self.only.get_or_insert_default();
        // What was forgotten meanwhile would add up in a connection that lives for weeks.
        if chosen.len() + known.len() > 2 * KEEP_FORGOTTEN {
            chosen.retain(|id, _| self.hub.state_of(*id).is_some());
        }
        for (id, _) in &known {
            chosen.insert(*id, self.hub.awaiting(*id));
        }
        known
    }

    /// Hears these jobs no more, as far as they were chosen.
    pub fn drop_choice(&mut self, ids: impl IntoIterator<Item = JobId>) {
        if let Some(chosen) = &mut self.only {
            for id in ids {
                chosen.remove(&id);
            }
        }
    }

    pub fn choose_all(&mut self) {
        self.only = None;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_are_counted_and_choices_kept_small() {
        let hub = ProgressHub::new();
        assert!(!hub.is_heard());
        let mut listener = hub.listen();
        hub.heard().await;
        let (a, b) = (JobId::random(), JobId::random());
        hub.state(a, JobState::Processing);
        hub.state(b, JobState::Processing);
        let unknown = (0..10_000).map(|_| JobId::random());
        let known = listener.choose(unknown.chain([a, a]));
        assert_eq!(known, [(a, JobState::Processing)]);
        assert_eq!(listener.only.as_ref().map(HashMap::len), Some(1));
        assert_eq!(hub.awaited(), [a]);
        hub.state(b, JobState::Error);
        hub.state(a, JobState::Ready);
        let last = listener.take(100).into_iter().map(|(id, e)| (id == a, e));
        assert!(last.clone().all(|(is_a, _)| is_a));
        assert_eq!(
            last.into_iter().next_back().unwrap().1,
            Event::State(JobState::Ready)
        );
        drop(listener);
        assert!(!hub.is_heard() && hub.awaited().is_empty());
    }

    #[tokio::test]
    async fn an_end_is_awaited_or_found() {
        let hub = ProgressHub::new();
        let id = JobId::random();
        assert_eq!(hub.ended(id).await, None);
        hub.state(id, JobState::Processing);
        let (end, _) = tokio::join!(hub.ended(id), async { hub.state(id, JobState::Cancelled) });
        assert_eq!(end, Some(JobState::Cancelled));
        assert_eq!(hub.ended(id).await, Some(JobState::Cancelled));
    }
}
