use proptest::prelude::*;

use super::super::model::NewJob;
use super::super::retry::{Backoff, RetryPolicy};
use super::super::spec::{JobSpec, TranscodeSpec};
use super::*;

const TERM: Duration = Duration::from_secs(30);
const AT_MOST: Duration = Duration::from_secs(300);

fn job(max_failures: u32, parents: usize) -> Job {
    let spec = JobSpec::Transcode(TranscodeSpec {
        source_url: "http://h/v.mp4".into(),
        target_codec: "h264".into(),
        size_mb: 1.0,
        max_retries: 3,
    });
    let new = NewJob {
        id: "1_0".parse().unwrap(),
        spec,
        priority: 0,
        parents: (0..parents)
            .map(|n| format!("p{n}").parse().unwrap())
            .collect(),
        retry: RetryPolicy::at_once(max_failures),
    };
    Job::new(new, UnixMillis::new(0))
}

fn claim(token: LeaseToken) -> Event {
    let worker = WorkerId::new("w");
    Event::Claim {
        token,
        carrier: worker.clone(),
        worker,
        term: TERM,
        at_most: AT_MOST,
    }
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis::new(seconds * 1000)
}

fn failed(proof: Proof, text: &str) -> Event {
    let reason = text.into();
    Event::Fail {
        proof,
        failure: Failure::Transient { reason },
    }
}

fn done(proof: Proof) -> Event {
    let output = JobOutput::default();
    Event::Complete { proof, output }
}

#[test]
fn three_retries_are_three_attempts() {
    let mut job = job(3, 0);
    for (n, state) in [JobState::Ready, JobState::Ready, JobState::Failed]
        .into_iter()
        .enumerate()
    {
        let token = LeaseToken::random();
        job = apply(job, claim(token), at(1)).unwrap().0;
        let (after, effects) = apply(job, failed(Proof::Token(token), "no"), at(2)).unwrap();
        job = after;
        assert_eq!((job.state, job.failures as usize), (state, n + 1));
        assert_eq!(effects.ready, state == JobState::Ready);
        assert_eq!(effects.settled, state == JobState::Failed);
    }
    assert_eq!(job.error, Some("no".into()));
    let (again, effects) = apply(job, Event::Retry, at(3)).unwrap();
    assert_eq!((again.state, again.failures), (JobState::Ready, 0));
    assert!(effects.ready);
}

#[test]
fn a_failed_job_waits_as_its_policy_says() {
    let mut first = job(3, 0);
    first.retry.backoff = Backoff::Fixed(5_000);
    let (again, _) = apply(first, failed(Proof::Word, "no"), at(10)).unwrap();
    assert_eq!(again.not_before, at(15));
    let early = apply(again.clone(), claim(LeaseToken::random()), at(14));
    assert_eq!(early.unwrap_err(), Refused::NotReady(JobState::Ready));
    assert!(apply(again, claim(LeaseToken::random()), at(15)).is_ok());
}

#[test]
fn an_old_token_changes_nothing() {
    let (old, new) = (LeaseToken::random(), LeaseToken::random());
    let leased = apply(job(3, 0), claim(old), at(0)).unwrap().0;
    let (back, _) = apply(leased, Event::Expire, at(30)).unwrap();
    let leased = apply(back, claim(new), at(31)).unwrap().0;
    let proof = Proof::Token(old);
    let renewal = Event::Renew {
        proof,
        term: TERM,
        progress: None,
    };
    let events = [
        renewal,
        done(proof),
        failed(proof, "no"),
        Event::Release { proof },
    ];
    for event in events {
        assert_eq!(
            apply(leased.clone(), event, at(32)).unwrap_err(),
            Refused::NotYours
        );
    }
    assert_eq!(
        apply(leased, done(Proof::Token(new)), at(32))
            .unwrap()
            .0
            .state,
        JobState::Done
    );
}

#[test]
fn a_lease_lasts_as_long_as_it_is_renewed_but_not_for_ever() {
    let token = LeaseToken::random();
    let mut job = apply(job(3, 0), claim(token), at(0)).unwrap().0;
    assert_eq!(
        apply(job.clone(), Event::Expire, at(29)).unwrap_err(),
        Refused::StillHeld
    );
    for s in (20..300).step_by(20) {
        let renewal = Event::Renew {
            proof: Proof::Token(token),
            term: TERM,
            progress: None,
        };
        job = apply(job, renewal, at(s)).unwrap().0;
    }
    assert_eq!(job.lease.as_ref().unwrap().expires_at, at(300));
    let (over, _) = apply(job, Event::Expire, at(300)).unwrap();
    // Too long counts as a failure, a lost worker would not.
    assert_eq!(
        (over.state, over.failures, over.expiries),
        (JobState::Ready, 1, 0)
    );
}

#[test]
fn a_job_that_ends_its_workers_is_given_up() {
    let mut job = job(1, 0);
    job.retry.max_expiries = 3;
    for n in 1..=3 {
        job = apply(job, claim(LeaseToken::random()), at(0)).unwrap().0;
        job = apply(job, Event::Abandon, at(1)).unwrap().0;
        assert_eq!((job.expiries, job.failures), (n, 0));
    }
    assert_eq!(job.state, JobState::Failed);
}

#[test]
fn a_worker_that_cannot_is_remembered_and_not_counted() {
    let token = LeaseToken::random();
    let leased = apply(job(1, 0), claim(token), at(0)).unwrap().0;
    let reason = "no encoder".into();
    let unsuited = Event::Fail {
        proof: Proof::Token(token),
        failure: Failure::Unsuited { reason },
    };
    let (back, _) = apply(leased, unsuited, at(1)).unwrap();
    assert_eq!((back.state, back.failures), (JobState::Ready, 0));
    assert!(back.unsuited.contains(&WorkerId::new("w")));
}

#[test]
fn children_wait_for_their_parents() {
    let child = job(3, 2);
    assert_eq!(child.state, JobState::Waiting);
    let claimed = apply(child.clone(), claim(LeaseToken::random()), at(1));
    assert_eq!(claimed.unwrap_err(), Refused::NotReady(JobState::Waiting));
    let settled = |all_done| apply(child.clone(), Event::ParentsSettled { all_done }, at(1));
    assert_eq!(settled(true).unwrap().0.state, JobState::Ready);
    let (lost, effects) = settled(false).unwrap();
    assert_eq!(lost.state, JobState::Failed);
    assert!(effects.settled, "its own children hear of it");
}

#[test]
fn progress_stays_within_its_bounds() {
    let token = LeaseToken::random();
    let leased = apply(job(3, 0), claim(token), at(0)).unwrap().0;
    let renewal = |percent| Event::Renew {
        proof: Proof::Token(token),
        term: TERM,
        progress: Some(Progress {
            percent,
            message: "x".repeat(9999),
        }),
    };
    for (said, kept) in [(150.0, 100.0), (-1.0, 0.0), (f64::NAN, 0.0), (12.5, 12.5)] {
        let (job, _) = apply(leased.clone(), renewal(said), at(1)).unwrap();
        let progress = job.progress.unwrap();
        assert_eq!((progress.percent, progress.message.len()), (kept, 500));
    }
}

#[test]
fn a_turn_is_changed_until_the_job_is_final() {
    let sooner = Event::Prioritise { priority: 7 };
    let (first, effects) = apply(job(1, 0), sooner.clone(), at(0)).unwrap();
    assert_eq!((first.priority, effects), (7, Effects::default()));
    let leased = apply(first, claim(LeaseToken::random()), at(1)).unwrap().0;
    let later = Event::Prioritise { priority: -1 };
    let (leased, _) = apply(leased, later, at(2)).unwrap();
    assert_eq!((leased.priority, leased.state), (-1, JobState::Leased));
    let (over, _) = apply(leased, done(Proof::Word), at(3)).unwrap();
    assert_eq!(
        apply(over, sooner, at(4)).unwrap_err(),
        Refused::Final(JobState::Done)
    );
}

/// What the model of the properties may do next; numbers choose tokens and how far the clock goes.
fn events() -> impl Strategy<Value = Vec<(u8, usize, u16)>> {
    proptest::collection::vec((0u8..12, 0usize..4, 0u16..60), 1..80)
}

proptest! {
    /// No two live leases, an old token changes nothing, what is final stays so, no job is lost: it is
    /// final, or somebody has it, or somebody can have it.
    #[test]
    fn invariants_hold_over_any_history(history in events(), max_failures in 0u32..4) {
        let mut job = job(max_failures, 0);
        let mut tokens: Vec<LeaseToken> = Vec::new();
        let mut now = at(0);
        let mut completions = 0;
        for (kind, pick, step) in history {
            now = now + Duration::from_secs(u64::from(step));
            let token = tokens.iter().rev().nth(pick).copied();
            let proof = token.map_or(Proof::Word, Proof::Token);
            let event = match kind {
                0..=2 => claim(LeaseToken::random()),
                3 => Event::Renew { proof, term: TERM, progress: None },
                4 => done(proof),
                5 | 6 => failed(proof, "no"),
                7 => Event::Release { proof },
                8 => Event::Expire,
                9 => Event::Cancel,
                10 => Event::Prioritise { priority: i32::from(step) - 30 },
                _ => Event::Retry,
            };
            let before = job.clone();
            let result = apply(job.clone(), event.clone(), now);
            let Ok((after, effects)) = result else { continue };
            prop_assert_eq!(after.version, before.version + 1);
            prop_assert_eq!(after.lease.is_some(), after.state == JobState::Leased);
            prop_assert_eq!(after.output.is_some(), after.state == JobState::Done);
            prop_assert_ne!(after.state, JobState::Waiting);
            if before.state.is_final() {
                prop_assert_eq!(&event, &Event::Retry);
                prop_assert_ne!(before.state, JobState::Done);
            }
            if let (Some(old), Some(new)) = (&before.lease, &after.lease) {
                prop_assert_eq!(old.token, new.token, "a held job is not given to another");
            }
            let uses = matches!(&event, Event::Renew { .. } | Event::Complete { .. }
                | Event::Fail { .. } | Event::Release { .. });
            if let (true, Proof::Token(token)) = (uses, proof) {
                prop_assert!(before.is_held_by(token), "only the holder's token changes a job");
            }
            match event {
                Event::Prioritise { priority } => {
                    let changed = Job { priority, version: after.version, updated_at: now, ..before };
                    prop_assert_eq!(&after, &changed, "nothing but its turn changes");
                }
                _ => prop_assert_eq!(after.priority, before.priority),
            }
            if let Event::Claim { token, .. } = event {
                tokens.push(token);
                prop_assert!(after.lease.as_ref().is_some_and(|l| l.expires_at > now));
            }
            if let Some(lease) = &after.lease {
                prop_assert!(lease.expires_at <= lease.deadline_at);
            }
            completions += u32::from(after.state == JobState::Done && effects.settled);
            prop_assert_eq!(effects.ready, after.state == JobState::Ready
                && before.state != JobState::Ready);
            job = after;
        }
        prop_assert!(completions <= 1, "done twice");
    }
}
