//! Which encoder run serves which segment: start, wait, pause, give up, stop.
//!
//! One [`Scheduler`] per track. It is told what happens and answers with actions; it starts no
//! process and reads no clock. Invariants (held by the property tests below): never more than
//! `max_heads` heads; every waiter is served as long as heads make progress; a player that asks for
//! one segment after the other never makes a second head.

use std::collections::{BTreeMap, HashMap};

/// An encoder run. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadId(u64);

/// A request that waits for a segment. Numbers rise with time, so a larger one is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// What the caller must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start an encoder at `segment`; it ends before segment `until`.
    Start {
        head: HeadId,
        segment: u32,
        until: u32,
    },
    /// End this encoder; its unfinished segment is dropped.
    Stop { head: HeadId },
    /// Answer this request with an error: heads failed at its segment too often.
    GiveUp { waiter: WaiterId },
}

/// How a head ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It made what it was started for, or was stopped.
    Done,
    /// Before that; another one may fare better.
    Failed,
    /// Before that, and another one at the same place would fare no better.
    Hopeless,
}

#[derive(Debug)]
struct Head {
    /// The segment it makes now.
    next: u32,
    until: u32,
    /// The last segment a client asked for in what this head made or makes.
    wanted: u32,
    /// Age of that question, in waiter numbers.
    asked: u64,
}

#[derive(Debug)]
struct Waiter {
    segment: u32,
    head: Option<HeadId>,
}

/// A head this few segments before the wanted one is always waited for, however slow it is:
/// players fetch a little ahead, and a second encoder would only take the first one's processor.
const ALWAYS_WAIT_SEGMENTS: u32 = 2;
/// Failures of heads at one segment, without progress, after which its requests are given up: three times
/// it is tried again.
const MAX_FAILURES: u32 = 4;

/// Ranges of what is set, first and last inclusive, in order.
fn ranges(set: &[bool]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for (i, _) in set.iter().enumerate().filter(|(_, is_set)| **is_set) {
        let i = i as u32;
        match out.last_mut() {
            Some((_, last)) if *last + 1 == i => *last = i,
            _ => out.push((i, i)),
        }
    }
    out
}

/// The state of one track's heads.
#[derive(Debug)]
pub struct Scheduler {
    lengths_ms: Vec<u32>,
    ready: Vec<bool>,
    /// Segments that were ready once; the cache may have dropped them since.
    made: Vec<bool>,
    made_count: u32,
    heads: BTreeMap<HeadId, Head>,
    waiters: BTreeMap<WaiterId, Waiter>,
    failures: HashMap<u32, u32>,
    max_heads: usize,
    goal_ms: u64,
    next_number: u64,
    start_latency_ms: f64,
    speed: f64,
    /// The only head there will be was started by the caller.
    passive: bool,
}

impl Scheduler {
    /// `lengths_ms` are the lengths of all segments, `goal_ms` how far a head runs ahead of its
    /// player before it is paused.
    pub fn new(lengths_ms: Vec<u32>, max_heads: usize, goal_ms: u64) -> Self {
        Scheduler {
            ready: vec![false; lengths_ms.len()],
            made: vec![false; lengths_ms.len()],
            made_count: 0,
            lengths_ms,
            heads: BTreeMap::new(),
            waiters: BTreeMap::new(),
            failures: HashMap::new(),
            max_heads: max_heads.max(1),
            goal_ms,
            next_number: 0,
            // Until measured: a process start and a little decoding; an encoder as fast as the film.
            start_latency_ms: 800.0,
            speed: 1.0,
            passive: false,
        }
    }

    fn len(&self) -> u32 {
        self.ready.len() as u32
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn is_ready(&self, segment: u32) -> bool {
        self.ready.get(segment as usize).copied().unwrap_or(false)
    }

    /// Ranges of ready segments, first and last inclusive, in order.
    pub fn ready_ranges(&self) -> Vec<(u32, u32)> {
        ranges(&self.ready)
    }

    /// The same of segments that were ready at some time.
    pub fn made_ranges(&self) -> Vec<(u32, u32)> {
        ranges(&self.made)
    }

    /// Segments that were ready at some time.
    pub fn made_count(&self) -> u32 {
        self.made_count
    }

    /// Whether `segment` was made by the only head there will be, and is lost.
    pub fn is_lost(&self, segment: u32) -> bool {
        let made = self.made.get(segment as usize).copied().unwrap_or(false);
        self.passive && made && !self.is_ready(segment)
    }

    /// Whether `waiter` still waits: neither answered nor given up.
    pub fn is_waiting(&self, waiter: WaiterId) -> bool {
        self.waiters.contains_key(&waiter)
    }

    /// The segment each live head makes now.
    pub fn heads(&self) -> impl Iterator<Item = (HeadId, u32)> + '_ {
        self.heads.iter().map(|(id, h)| (*id, h.next))
    }

    /// Takes on a head that the caller has started and that makes all segments in turn; no other
    /// will be started.
    pub fn attach(&mut self) -> HeadId {
        self.passive = true;
        let number = self.number();
        let head = HeadId(number);
        let until = self.len();
        self.heads.insert(
            head,
            Head {
                next: 0,
                until,
                wanted: 0,
                asked: number,
            },
        );
        head
    }

    /// Starts a head at `segment` though nobody waits for it yet, if none covers it.
    pub fn prefetch(&mut self, segment: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        let idle = self.heads.len() < self.max_heads && !self.passive;
        if segment < self.len()
            && !self.is_ready(segment)
            && idle
            && self.covering(segment).is_none()
        {
            self.start(segment, &mut actions);
        }
        actions
    }

    /// Somebody waits for the end of the track and for no segment of it: the head before the first
    /// segment that was never made goes on, as if its player were there; without one a head starts
    /// there, if there is room. Players come first.
    pub fn advance(&mut self) -> Vec<Action> {
        let Some(first) = self.made.iter().position(|made| !made) else {
            return Vec::new();
        };
        let first = first as u32;
        match self.covering(first) {
            Some(id) => {
                if let Some(head) = self.heads.get_mut(&id) {
                    head.wanted = head.wanted.max(head.next);
                }
                Vec::new()
            }
            None => self.prefetch(first),
        }
    }

    /// A client asks for `segment`. `None` for the waiter means that the segment is ready.
    pub fn request(&mut self, segment: u32) -> (Option<WaiterId>, Vec<Action>) {
        let mut actions = Vec::new();
        let number = self.number();
        self.note_demand(segment, number);
        if self.is_ready(segment) || segment >= self.len() {
            return (None, actions);
        }
        if !self.waiters.values().any(|w| w.segment == segment) {
            // What failed before anybody waited is no answer to this request.
            self.failures.remove(&segment);
        }
        let id = WaiterId(number);
        self.waiters.insert(
            id,
            Waiter {
                segment,
                head: None,
            },
        );
        self.assign(id, true, &mut actions);
        (Some(id), actions)
    }

    /// The request was answered or its client has gone.
    pub fn leave(&mut self, waiter: WaiterId) -> Vec<Action> {
        let mut actions = Vec::new();
        self.waiters.remove(&waiter);
        self.assign_rest(&mut actions);
        actions
    }

    /// `head` finished `segment`.
    pub fn finished(&mut self, head: HeadId, segment: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(slot) = self.ready.get_mut(segment as usize) {
            *slot = true;
        }
        if let Some(slot) = self.made.get_mut(segment as usize)
            && !std::mem::replace(slot, true)
        {
            self.made_count += 1;
        }
        self.failures.remove(&segment);
        self.waiters.retain(|_, w| w.segment != segment);
        let next = segment + 1;
        let met = self
            .heads
            .iter()
            .any(|(id, h)| *id != head && h.next == next);
        let end = self.is_ready(next) || next >= self.len() || met;
        if let Some(h) = self.heads.get_mut(&head) {
            h.next = next;
            // A head that has reached its planned end ends by itself.
            if end && next < h.until {
                self.heads.remove(&head);
                self.release(head);
                actions.push(Action::Stop { head });
            }
        }
        self.assign_rest(&mut actions);
        actions
    }

    /// `head` is gone.
    pub fn ended(&mut self, head: HeadId, how: Ending) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(gone) = self.heads.remove(&head) else {
            return actions;
        };
        self.release(head);
        if how != Ending::Done {
            let count = self.failures.entry(gone.next).or_insert(0);
            *count += if how == Ending::Hopeless {
                MAX_FAILURES
            } else {
                1
            };
            if *count >= MAX_FAILURES {
                self.failures.remove(&gone.next);
                let lost: Vec<WaiterId> = self
                    .waiters
                    .iter()
                    .filter(|(_, w)| w.segment == gone.next)
                    .map(|(id, _)| *id)
                    .collect();
                for waiter in lost {
                    self.waiters.remove(&waiter);
                    actions.push(Action::GiveUp { waiter });
                }
            }
        }
        self.assign_rest(&mut actions);
        actions
    }

    /// Which of the further attempts at `segment` follows when a head fails there now, from 1; `None` when
    /// its requests would be given up.
    pub fn next_retry(&self, segment: u32) -> Option<u32> {
        let failures = self.failures.get(&segment).map_or(1, |before| before + 1);
        (failures < MAX_FAILURES).then_some(failures)
    }

    /// The cache dropped `segment`.
    pub fn evicted(&mut self, segment: u32) {
        if let Some(slot) = self.ready.get_mut(segment as usize) {
            *slot = false;
        }
    }

    /// Whether a request waits.
    pub fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Whether a request waits for `head`.
    pub fn serves_request(&self, head: HeadId) -> bool {
        self.waiters.values().any(|w| w.head == Some(head))
    }

    /// Ends all heads; waiters stay and get new heads by the next event.
    pub fn stop_all(&mut self) -> Vec<Action> {
        let heads: Vec<HeadId> = self.heads.keys().copied().collect();
        for head in &heads {
            self.heads.remove(head);
            self.release(*head);
        }
        heads
            .into_iter()
            .map(|head| Action::Stop { head })
            .collect()
    }

    /// Whether `head` should not be read from now.
    ///
    /// A head that nobody waits for yields the processor to those that somebody waits for. Else the
    /// head whose player asked last runs ahead to the goal, and others, which a seek has left
    /// behind or whose players are less hungry, to a quarter of it; and none further than
    /// `most_ahead` segments, which are all that can be kept until the player comes.
    pub fn should_pause(&self, head: HeadId, most_ahead: u32) -> bool {
        let Some(h) = self.heads.get(&head) else {
            return false;
        };
        let mut served = self.waiters.values().filter_map(|w| w.head).peekable();
        if served.peek().is_some() {
            return !served.any(|s| s == head);
        }
        let newest = self.heads.values().all(|other| other.asked <= h.asked);
        let goal_ms = if newest {
            self.goal_ms
        } else {
            self.goal_ms / 4
        };
        let first = h.wanted.saturating_add(1);
        h.next.saturating_sub(first) >= most_ahead || self.span_ms(first, h.next) >= goal_ms
    }

    /// Media time per wall time, as measured.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Measurements: milliseconds from start to first sample of a head.
    pub fn observe_start(&mut self, latency_ms: u32) {
        self.start_latency_ms = 0.5 * self.start_latency_ms + 0.5 * f64::from(latency_ms);
    }

    /// Measurements: media time per wall time of a head that was not paused.
    pub fn observe_speed(&mut self, ratio: f64) {
        if ratio.is_finite() && ratio > 0.0 {
            self.speed = 0.7 * self.speed + 0.3 * ratio;
        }
    }

    /// Media milliseconds in segments `from..to`, as far as needed to reach the goal.
    fn span_ms(&self, from: u32, to: u32) -> u64 {
        let mut sum = 0;
        for i in from..to.min(self.len()) {
            sum += u64::from(self.lengths_ms[i as usize]);
            if sum >= self.goal_ms.max(3_600_000) {
                break;
            }
        }
        sum
    }

    /// Tells the head whose output a player follows where the player is.
    fn note_demand(&mut self, segment: u32, number: u64) {
        let ahead = |h: &Head| h.next >= segment && (segment..h.next).all(|i| self.is_ready(i));
        let nearest = self
            .heads
            .iter()
            .filter(|(_, h)| ahead(h))
            .min_by_key(|(_, h)| h.next);
        if let Some(id) = nearest.map(|(id, _)| *id)
            && let Some(h) = self.heads.get_mut(&id)
        {
            h.wanted = segment;
            h.asked = number;
        }
    }

    /// The head that will make `segment` sooner than a new one would.
    fn covering(&self, segment: u32) -> Option<HeadId> {
        let reaches = |h: &Head| {
            h.next <= segment && segment < h.until && !(h.next..segment).any(|i| self.is_ready(i))
        };
        let (id, h) = self
            .heads
            .iter()
            .filter(|(_, h)| reaches(h))
            .max_by_key(|(_, h)| h.next)?;
        let wait_ms = self.span_ms(h.next, segment) as f64 / self.speed;
        let near = segment - h.next <= ALWAYS_WAIT_SEGMENTS || wait_ms <= self.start_latency_ms;
        near.then_some(*id)
    }

    fn assign(&mut self, id: WaiterId, newest: bool, actions: &mut Vec<Action>) {
        let Some(segment) = self.waiters.get(&id).map(|w| w.segment) else {
            return;
        };
        let head = match self.covering(segment) {
            Some(head) => head,
            None if self.passive => return,
            None => {
                if self.heads.len() >= self.max_heads {
                    let Some(victim) = self.victim(newest) else {
                        return;
                    };
                    self.heads.remove(&victim);
                    self.release(victim);
                    actions.push(Action::Stop { head: victim });
                }
                self.start(segment, actions)
            }
        };
        if let Some(h) = self.heads.get_mut(&head) {
            h.wanted = h.wanted.max(segment);
            h.asked = h.asked.max(id.0);
        }
        if let Some(w) = self.waiters.get_mut(&id) {
            w.head = Some(head);
        }
    }

    /// The head to end for another one: one that nobody waits for; for a newest request also the
    /// one whose requests are oldest. Each request displaces others at most once, when it comes, so
    /// displaced requests cannot fight.
    fn victim(&self, newest: bool) -> Option<HeadId> {
        let newest_waiter = |head: HeadId| {
            self.waiters
                .iter()
                .rev()
                .find(|(_, w)| w.head == Some(head))
        };
        let idle = self
            .heads
            .iter()
            .filter(|(id, _)| newest_waiter(**id).is_none());
        let idle = idle.min_by_key(|(_, h)| h.asked).map(|(id, _)| *id);
        if idle.is_some() || !newest {
            return idle;
        }
        self.heads
            .keys()
            .copied()
            .min_by_key(|id| newest_waiter(*id).map(|(w, _)| *w))
    }

    fn start(&mut self, segment: u32, actions: &mut Vec<Action>) -> HeadId {
        let number = self.number();
        let head = HeadId(number);
        let until = (segment + 1..self.len())
            .find(|i| self.is_ready(*i))
            .unwrap_or(self.len());
        self.heads.insert(
            head,
            Head {
                next: segment,
                until,
                wanted: segment,
                asked: number,
            },
        );
        actions.push(Action::Start {
            head,
            segment,
            until,
        });
        head
    }

    fn release(&mut self, head: HeadId) {
        for w in self.waiters.values_mut().filter(|w| w.head == Some(head)) {
            w.head = None;
        }
    }

    /// Finds heads for the requests that have none, newest first.
    fn assign_rest(&mut self, actions: &mut Vec<Action>) {
        let open: Vec<WaiterId> = self
            .waiters
            .iter()
            .rev()
            .filter(|(_, w)| w.head.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.assign(id, false, actions);
        }
    }
}

#[cfg(test)]
mod tests;
