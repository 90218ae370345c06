use super::*;
use proptest::prelude::*;

fn scheduler(segments: usize, max_heads: usize) -> Scheduler {
    Scheduler::new(vec![4000; segments], max_heads, 30_000)
}

fn start_of(actions: &[Action]) -> Option<(HeadId, u32, u32)> {
    actions.iter().find_map(|a| match a {
        Action::Start {
            head,
            segment,
            until,
        } => Some((*head, *segment, *until)),
        _ => None,
    })
}

/// Without a player a head stops at its goal; when somebody waits for the end, it goes on.
#[test]
fn a_track_whose_end_is_awaited_is_made_to_the_end() {
    let mut s = Scheduler::new(vec![4000; 30], 2, 8_000);
    let Some(Action::Start { head, .. }) = s.prefetch(0).pop() else {
        panic!("no head");
    };
    let mut steps = 0;
    while s.made_count() < 30 {
        while !s.should_pause(head, u32::MAX) && s.made_count() < 30 {
            let next = s.made_count();
            s.finished(head, next);
        }
        s.advance();
        steps += 1;
        assert!(steps < 30, "it stands at {}", s.made_count());
    }
    assert!(steps > 1, "it never paused");
    assert!(s.advance().is_empty());
}

#[test]
fn forward_play_uses_one_head() {
    let mut s = scheduler(100, 2);
    let (_, actions) = s.request(0);
    let (head, at, until) = start_of(&actions).unwrap();
    assert_eq!((at, until), (0, 100));
    for i in 0..100 {
        let (_, actions) = s.request(i);
        assert_eq!(actions, [], "segment {i}");
        assert!(!s.should_pause(head, u32::MAX));
        assert_eq!(s.finished(head, i), []);
    }
    assert_eq!(s.ended(head, Ending::Done), []);
    assert_eq!(s.ready_ranges(), [(0, 99)]);
}

#[test]
fn a_head_far_ahead_is_paused_and_resumed() {
    let mut s = scheduler(100, 2);
    let head = start_of(&s.request(0).1).unwrap().0;
    for i in 0..8 {
        s.finished(head, i);
    }
    assert!(!s.should_pause(head, u32::MAX));
    assert!(s.should_pause(head, 7) && !s.should_pause(head, 8));
    s.finished(head, 8);
    assert!(s.should_pause(head, u32::MAX));
    s.request(2);
    assert!(!s.should_pause(head, u32::MAX));
}

#[test]
fn a_head_left_behind_yields_to_the_new_one() {
    let mut s = scheduler(100, 2);
    let old = start_of(&s.request(0).1).unwrap().0;
    s.finished(old, 0);
    let new = start_of(&s.request(50).1).unwrap().0;
    assert!(s.should_pause(old, u32::MAX) && !s.should_pause(new, u32::MAX));
    s.finished(new, 50);
    assert!(!s.should_pause(old, u32::MAX) && !s.should_pause(new, u32::MAX));
    s.finished(old, 1);
    s.finished(old, 2);
    assert!(s.should_pause(old, u32::MAX) && !s.should_pause(new, u32::MAX));
}

#[test]
fn a_far_seek_gets_its_own_head_and_ends_where_segments_are() {
    let mut s = scheduler(100, 2);
    let first = start_of(&s.request(50).1).unwrap().0;
    s.finished(first, 50);
    s.finished(first, 51);
    let (second, at, until) = start_of(&s.request(10).1).unwrap();
    assert_eq!((at, until), (10, 50));
    for i in 10..49 {
        assert_eq!(s.finished(second, i), []);
    }
    assert_eq!(s.finished(second, 49), []);
    assert_eq!(s.ended(second, Ending::Done), []);
}

#[test]
fn the_newest_seek_wins_and_the_displaced_one_is_served_later() {
    let mut s = scheduler(100, 1);
    let a = start_of(&s.request(10).1).unwrap().0;
    let (_, actions) = s.request(80);
    assert_eq!(actions[0], Action::Stop { head: a });
    let b = start_of(&actions).unwrap().0;
    let again = start_of(&s.finished(b, 80)).unwrap();
    assert_eq!(again.1, 10);
}

#[test]
fn a_segment_that_cannot_be_made_is_given_up() {
    let mut s = scheduler(10, 2);
    let (waiter, mut actions) = s.request(3);
    for retry in 1..MAX_FAILURES {
        let head = start_of(&actions).unwrap().0;
        assert_eq!(s.next_retry(3), Some(retry));
        actions = s.ended(head, Ending::Failed);
    }
    let head = start_of(&actions).unwrap().0;
    assert_eq!(s.next_retry(3), None);
    assert_eq!(
        s.ended(head, Ending::Failed),
        [Action::GiveUp {
            waiter: waiter.unwrap()
        }]
    );
}

#[test]
fn a_hopeless_head_is_not_replaced() {
    let mut s = scheduler(10, 2);
    let (waiter, actions) = s.request(3);
    let head = start_of(&actions).unwrap().0;
    let gives_up = Action::GiveUp {
        waiter: waiter.unwrap(),
    };
    assert_eq!(s.ended(head, Ending::Hopeless), [gives_up]);
    assert!(start_of(&s.request(3).1).is_some(), "asked again, it tries");
}

#[test]
fn failures_before_a_request_do_not_count_against_it() {
    let mut s = scheduler(10, 2);
    let (waiter, mut actions) = s.request(3);
    for _ in 1..MAX_FAILURES {
        let head = start_of(&actions).unwrap().0;
        actions = s.ended(head, Ending::Failed);
    }
    let last = start_of(&actions).unwrap().0;
    assert_eq!(s.leave(waiter.unwrap()), []);
    assert_eq!(s.request(3).1, [], "the head in flight is waited for");
    assert!(start_of(&s.ended(last, Ending::Failed)).is_some());
}

#[test]
fn what_the_cache_dropped_counts_as_made_and_is_asked_for_anew() {
    let mut s = scheduler(10, 2);
    let (waiter, actions) = s.request(0);
    let head = start_of(&actions).unwrap().0;
    for i in 0..3 {
        s.finished(head, i);
        s.evicted(i);
    }
    assert_eq!((s.made_count(), s.ready_ranges()), (3, vec![]));
    assert!(!s.is_waiting(waiter.unwrap()) && !s.is_lost(0));
    assert!(s.request(0).0.is_some());
}

#[test]
fn what_an_only_head_made_is_lost_when_it_is_dropped() {
    let mut s = scheduler(10, 2);
    let head = s.attach();
    s.finished(head, 0);
    assert!(!s.is_lost(0) && !s.is_lost(1));
    s.evicted(0);
    assert!(s.is_lost(0));
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u32),
    Abort(usize),
    Work(usize),
    Crash(usize),
    Evict(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..40).prop_map(Step::Ask),
        1 => (0usize..8).prop_map(Step::Abort),
        6 => (0usize..4).prop_map(Step::Work),
        1 => (0usize..4).prop_map(Step::Crash),
        1 => (0u32..40).prop_map(Step::Evict),
    ]
}

/// A world of encoders that do what the scheduler says.
struct World {
    s: Scheduler,
    live: BTreeMap<HeadId, (u32, u32)>,
    open: Vec<(WaiterId, u32)>,
    max: usize,
}

impl World {
    fn apply(&mut self, actions: Vec<Action>) {
        for a in actions {
            match a {
                Action::Start {
                    head,
                    segment,
                    until,
                } => {
                    assert!(self.live.insert(head, (segment, until)).is_none());
                }
                Action::Stop { head } => assert!(self.live.remove(&head).is_some()),
                Action::GiveUp { waiter } => self.open.retain(|(w, _)| *w != waiter),
            }
        }
        assert!(self.live.len() <= self.max);
        assert_eq!(self.live.len(), self.s.heads.len());
    }

    fn work(&mut self, head: HeadId) {
        let (next, until) = self.live[&head];
        if next == until {
            self.live.remove(&head);
            let actions = self.s.ended(head, Ending::Done);
            self.apply(actions);
            return;
        }
        self.live.insert(head, (next + 1, until));
        self.open.retain(|(_, segment)| *segment != next);
        let actions = self.s.finished(head, next);
        self.apply(actions);
    }
}

proptest! {
    #[test]
    fn every_waiter_is_served(
        steps in proptest::collection::vec(step(), 1..200), max in 1usize..4,
    ) {
        let mut w = World { s: scheduler(40, max), live: BTreeMap::new(), open: vec![], max };
        for step in steps {
            let nth = |i: usize, w: &World| w.live.keys().nth(i % w.live.len().max(1)).copied();
            match step {
                Step::Ask(segment) => {
                    let (waiter, actions) = w.s.request(segment);
                    w.open.extend(waiter.map(|id| (id, segment)));
                    w.apply(actions);
                }
                Step::Abort(i) if !w.open.is_empty() => {
                    let (id, _) = w.open.remove(i % w.open.len());
                    let actions = w.s.leave(id);
                    w.apply(actions);
                }
                Step::Work(i) => if let Some(head) = nth(i, &w) { w.work(head) },
                Step::Crash(i) => if let Some(head) = nth(i, &w) {
                    w.live.remove(&head);
                    let actions = w.s.ended(head, Ending::Failed);
                    w.apply(actions);
                },
                Step::Evict(i) => w.s.evicted(i),
                Step::Abort(_) => {}
            }
        }
        // From now on encoders only work: all must be served in bounded time, and heads that
        // nobody waits for are paused rather than run to the end of the film.
        let mut rounds = 0;
        while !w.open.is_empty() {
            let busy: Vec<HeadId> =
                w.live.keys().copied().filter(|h| !w.s.should_pause(*h, u32::MAX)).collect();
            prop_assert!(!busy.is_empty(), "requests wait but every head is paused");
            for head in busy {
                if w.live.contains_key(&head) { w.work(head); }
            }
            rounds += 1;
            prop_assert!(rounds < 2000);
        }
    }
}
