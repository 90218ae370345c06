//! The store does the same on both databases, and exactly what `job::apply` says.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ghoststream::base::{LeaseToken, QueueId, UnixMillis, WorkerId};
use ghoststream::job::{
    BatchSpec, Event, Failure, Job, JobKind, JobOutput, JobSpec, JobState, NewJob, Progress, Proof,
    RetryPolicy, TranscodeSpec, Worker, apply,
};
use ghoststream::store::{
    Claim, Collection, Document, JobFilter, JobOrder, Store, StoreError, Wanted,
};
use tokio::task::JoinSet;

use crate::databases::on_each;

const TERM: Duration = Duration::from_secs(30);
const AT_MOST: Duration = Duration::from_secs(600);

fn at(seconds: i64) -> UnixMillis {
    UnixMillis::new(seconds * 1000)
}

fn id(text: &str) -> QueueId {
    text.parse().unwrap()
}

fn new_job(name: &str, codec: &str) -> NewJob {
    NewJob {
        id: id(name),
        spec: JobSpec::Transcode(TranscodeSpec {
            source_url: "http://h/video with spaces & Ωδή!.mp4".into(),
            target_codec: codec.into(),
            size_mb: 12.5,
            max_retries: 3,
        }),
        priority: 0,
        parents: Vec::new(),
        retry: RetryPolicy::at_once(3),
    }
}

fn job(name: &str) -> Job {
    Job::new(new_job(name, "h264"), at(0))
}

fn claim(worker: &str, now: UnixMillis) -> Claim {
    Claim {
        token: LeaseToken::random(),
        worker: WorkerId::new(worker),
        carrier: WorkerId::new(worker),
        term: TERM,
        at_most: AT_MOST,
        now,
    }
}

fn anything() -> Wanted {
    Wanted {
        kinds: JobKind::ALL.to_vec(),
        codecs: None,
    }
}

fn event_of(claim: &Claim) -> Event {
    Event::Claim {
        token: claim.token,
        worker: claim.worker.clone(),
        carrier: claim.carrier.clone(),
        term: claim.term,
        at_most: claim.at_most,
    }
}

/// Applies and writes one event; the job as it is then.
async fn change(store: &Store, job: Job, event: Event, now: UnixMillis) -> Job {
    let (after, _) = apply(job.clone(), event, now).unwrap();
    assert!(store.write(&job, &after).await.unwrap());
    after
}

#[tokio::test]
async fn what_is_written_is_read() {
    on_each(async |database| {
        let store = database.store().await;
        let first = job("1_0");
        store.insert(&first).await.unwrap();
        assert_eq!(store.get(&first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(store.get(&id("none")).await.unwrap(), None);
        let again = store.insert(&first).await.unwrap_err();
        assert!(matches!(again, StoreError::Exists), "{again}");

        let claim = claim("Ω-worker", at(1));
        let leased = change(&store, first, event_of(&claim), at(1)).await;
        let proof = Proof::Token(claim.token);
        let progress = Some(Progress {
            percent: 12.5,
            message: "ώρα".into(),
        });
        let renewal = Event::Renew {
            proof,
            term: TERM,
            progress,
        };
        let renewed = change(&store, leased, renewal, at(2)).await;
        assert_eq!(store.get(&renewed.id).await.unwrap(), Some(renewed.clone()));
        let reason = serde_json::json!({"code": [1, null]});
        let failure = Failure::Unsuited { reason };
        let failed = change(&store, renewed, Event::Fail { proof, failure }, at(3)).await;
        assert_eq!(store.get(&failed.id).await.unwrap(), Some(failed.clone()));
        let output = JobOutput {
            url: Some("http://h/out.mp4".into()),
            size_bytes: Some(1 << 40),
            ..JobOutput::default()
        };
        let proof = Proof::Word;
        let done = change(&store, failed, Event::Complete { proof, output }, at(4)).await;
        // Also by a store that was opened later.
        store.close().await;
        let store = database.store().await;
        assert_eq!(store.get(&done.id).await.unwrap(), Some(done));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_changes_what_apply_changes() {
    on_each(async |database| {
        let store = database.store().await;
        for name in ["a", "b"] {
            store.insert(&job(name)).await.unwrap();
        }
        let first = claim("w", at(5));
        let taken = store.claim_next(&anything(), &first).await.unwrap();
        let (expected, _) = apply(job("a"), event_of(&first), at(5)).unwrap();
        assert_eq!(taken, Some(expected));
        let second = claim("v", at(6));
        let taken = store.claim_one(&id("b"), &second).await.unwrap();
        let (expected, _) = apply(job("b"), event_of(&second), at(6)).unwrap();
        assert_eq!(taken, Some(expected));
        let third = claim("u", at(7));
        assert_eq!(store.claim_next(&anything(), &third).await.unwrap(), None);
        assert_eq!(store.claim_one(&id("b"), &third).await.unwrap(), None);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn workers_get_what_suits_them_in_order() {
    on_each(async |database| {
        let store = database.store().await;
        for (name, codec, priority) in [
            ("1", "av1", 0),
            ("2", "libx264", 0),
            ("3", "h264", 5),
            ("4", "vp9", 0),
        ] {
            let new = NewJob {
                priority,
                ..new_job(name, codec)
            };
            store.insert(&Job::new(new, at(0))).await.unwrap();
        }
        let codecs = |names: &[&str]| Wanted {
            codecs: Some(names.iter().map(|n| (*n).to_owned()).collect()),
            ..anything()
        };
        let names = |jobs: Vec<Job>| jobs.iter().map(|j| j.id.to_string()).collect::<Vec<_>>();
        let worker = WorkerId::new("w");
        let offers = store.offers(&anything(), &worker, at(1), 10).await.unwrap();
        assert_eq!(names(offers), ["3", "1", "2", "4"]);
        let offers = store.offers(&codecs(&["h264"]), &worker, at(1), 10).await;
        assert_eq!(names(offers.unwrap()), ["3", "2"]);
        let none = codecs(&["hologram"]);
        assert_eq!(
            store.claim_next(&none, &claim("w", at(1))).await.unwrap(),
            None
        );
        let batches = Wanted {
            kinds: vec![JobKind::Batch],
            codecs: None,
        };
        assert_eq!(
            store
                .claim_next(&batches, &claim("w", at(1)))
                .await
                .unwrap(),
            None
        );
        // Who said that it cannot is not asked again.
        let claimed = claim("w", at(1));
        let first = store
            .claim_next(&anything(), &claimed)
            .await
            .unwrap()
            .unwrap();
        let reason = "no".into();
        let fail = Event::Fail {
            proof: Proof::Token(claimed.token),
            failure: Failure::Unsuited { reason },
        };
        change(&store, first, fail, at(2)).await;
        let next = |worker, now| {
            let store = store.clone();
            async move {
                let next = store.claim_next(&anything(), &claim(worker, now)).await;
                next.unwrap().map(|j| j.id.to_string())
            }
        };
        assert_eq!(next("w", at(3)).await.as_deref(), Some("1"));
        assert_eq!(next("other", at(3)).await.as_deref(), Some("3"));
        // And who has to wait, waits.
        let job = store.get(&id("2")).await.unwrap().unwrap();
        let mut later = job.clone();
        later.retry.backoff = ghoststream::job::Backoff::Fixed(10_000);
        let failure = Failure::Transient {
            reason: "no".into(),
        };
        let proof = Proof::Word;
        let (later, _) = apply(later, Event::Fail { proof, failure }, at(4)).unwrap();
        assert!(store.write(&job, &later).await.unwrap());
        assert_eq!(next("w", at(13)).await.as_deref(), Some("4"));
        assert_eq!(next("w", at(13)).await, None);
        assert_eq!(next("w", at(14)).await.as_deref(), Some("2"));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_old_version_and_an_old_lease_write_nothing() {
    on_each(async |database| {
        let store = database.store().await;
        let fresh = job("a");
        store.insert(&fresh).await.unwrap();
        let old = claim("w", at(0));
        let leased = store.claim_next(&anything(), &old).await.unwrap().unwrap();
        let expired = change(&store, leased.clone(), Event::Expire, at(30)).await;
        let new = claim("v", at(31));
        let held = change(&store, expired, event_of(&new), at(31)).await;
        // The first worker's program still has the job as it was, and its token.
        let complete = Event::Complete {
            proof: Proof::Token(old.token),
            output: JobOutput::default(),
        };
        let (stale, _) = apply(leased.clone(), complete, at(32)).unwrap();
        assert!(!store.write(&leased, &stale).await.unwrap());
        // Even a version that fits by chance does not help: the lease is another one.
        let mut forged = leased.clone();
        forged.version = held.version;
        assert!(!store.write(&forged, &stale).await.unwrap());
        assert_eq!(store.get(&held.id).await.unwrap(), Some(held));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn leases_that_ran_out_are_found() {
    on_each(async |database| {
        let store = database.store().await;
        for (name, now) in [("a", 0), ("b", 10), ("c", 20)] {
            store.insert(&job(name)).await.unwrap();
            let claimed = store.claim_next(&anything(), &claim(name, at(now))).await;
            claimed.unwrap().unwrap();
        }
        let names = |jobs: Vec<Job>| jobs.iter().map(|j| j.id.to_string()).collect::<Vec<_>>();
        assert_eq!(names(store.expired(at(29), 9).await.unwrap()), [""; 0]);
        assert_eq!(names(store.expired(at(40), 9).await.unwrap()), ["a", "b"]);
        assert_eq!(names(store.expired(at(99), 1).await.unwrap()), ["a"]);
        let held = store.held_by(&WorkerId::new("b")).await.unwrap();
        assert_eq!(names(held), ["b"]);
        let mut booked = store.booked_workers().await.unwrap();
        booked.sort();
        assert_eq!(booked, ["a", "b", "c"].map(WorkerId::new));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn children_are_found_when_their_parents_are_settled() {
    on_each(async |database| {
        let store = database.store().await;
        let child = |name: &str, parents: &[&str]| {
            let parents = parents.iter().map(|p| id(p)).collect();
            let new = NewJob {
                parents,
                ..new_job(name, "h264")
            };
            Job::new(new, at(0))
        };
        for name in ["p", "q"] {
            store.insert(&job(name)).await.unwrap();
        }
        for job in [
            child("both", &["p", "q"]),
            child("one", &["p"]),
            child("orphan", &["gone"]),
        ] {
            store.insert(&job).await.unwrap();
        }
        assert_eq!(
            store.children(&id("p")).await.unwrap(),
            [id("both"), id("one")]
        );
        let settled = || async {
            let found = store.settled_children(9).await.unwrap();
            found
                .iter()
                .map(|(j, all)| (j.id.to_string(), *all))
                .collect::<Vec<_>>()
        };
        assert_eq!(settled().await, [("orphan".to_owned(), false)]);
        let p = store.get(&id("p")).await.unwrap().unwrap();
        let output = JobOutput::default();
        let proof = Proof::Word;
        change(&store, p, Event::Complete { proof, output }, at(1)).await;
        let one = ("one".to_owned(), true);
        assert_eq!(settled().await, [one.clone(), ("orphan".into(), false)]);
        let q = store.get(&id("q")).await.unwrap().unwrap();
        change(&store, q, Event::Cancel, at(1)).await;
        assert_eq!(
            settled().await,
            [("both".into(), false), one, ("orphan".into(), false)]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged() {
    on_each(async |database| {
        let store = database.store().await;
        for name in ["b", "C", "a", "_"] {
            store.insert(&job(name)).await.unwrap();
        }
        let b = store.get(&id("b")).await.unwrap().unwrap();
        change(&store, b, Event::Cancel, at(1)).await;
        let names = |filter: JobFilter| {
            let store = store.clone();
            async move {
                let jobs = store.list(&filter).await.unwrap();
                jobs.iter().map(|j| j.id.to_string()).collect::<Vec<_>>()
            }
        };
        assert_eq!(
            names(JobFilter::default()).await,
            ["C", "_", "a", "b"],
            "by bytes"
        );
        let newest = JobFilter {
            order: JobOrder::NewestFirst,
            limit: Some(2),
            ..JobFilter::default()
        };
        assert_eq!(names(newest.clone()).await, ["_", "a"]);
        let next = JobFilter {
            after: Some(id("a")),
            ..newest
        };
        assert_eq!(names(next).await, ["C", "b"]);
        let ready = JobFilter {
            states: vec![JobState::Ready, JobState::Leased],
            kinds: vec![JobKind::Transcode],
            after: Some(id("C")),
            ..JobFilter::default()
        };
        assert_eq!(names(ready).await, ["_", "a"]);
        let batches = JobFilter {
            kinds: vec![JobKind::Batch],
            ..JobFilter::default()
        };
        assert_eq!(names(batches).await, [""; 0]);
        let counts = store.counts().await.unwrap();
        let counts: Vec<_> = counts.iter().map(|c| (c.state, c.jobs)).collect();
        assert_eq!(counts, [(JobState::Cancelled, 1), (JobState::Ready, 3)]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn workers_are_changed_by_one_at_a_time() {
    on_each(async |database| {
        let store = database.store().await;
        let long = WorkerId::new(format!("Ω{}", "x".repeat(6000)));
        let mut worker = Worker::new(long.clone(), at(1));
        worker.said.insert("engine_id".into(), long.as_str().into());
        assert!(store.put_worker(&worker).await.unwrap());
        assert!(
            !store.put_worker(&worker).await.unwrap(),
            "it is there already"
        );
        let read = store.worker(&long).await.unwrap().unwrap();
        assert_eq!((read.version, &read.said), (1, &worker.said));
        let mut changed = read.clone();
        changed.abilities.benchmark_seconds = Some(0.25);
        changed.abilities.codecs = Some(["h264".to_owned()].into());
        assert!(store.put_worker(&changed).await.unwrap());
        assert!(
            !store.put_worker(&read).await.unwrap(),
            "somebody was faster"
        );
        let other = Worker::new(WorkerId::new("a"), at(2));
        assert!(store.put_worker(&other).await.unwrap());
        let all = store.workers().await.unwrap();
        let names: Vec<_> = all.iter().map(|w| w.id.clone()).collect();
        assert_eq!(names, [WorkerId::new("a"), long.clone()]);
        assert_eq!(all[1].abilities, changed.abilities);
        assert!(store.remove_worker(&long).await.unwrap());
        assert!(!store.remove_worker(&long).await.unwrap());
        assert_eq!(store.worker(&long).await.unwrap(), None);
        store.close().await;
    })
    .await;
}

/// The whole point of a claim in one statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_go_through_fifty_workers_exactly_once() {
    on_each(async |database| {
        let store = database.store().await;
        for n in 0..1000 {
            store.insert(&job(&format!("j{n:04}"))).await.unwrap();
        }
        let done: Arc<Mutex<BTreeMap<QueueId, u32>>> = Arc::default();
        let mut workers = JoinSet::new();
        for w in 0..50 {
            let (store, done) = (store.clone(), done.clone());
            workers.spawn(async move {
                loop {
                    let claim = claim(&format!("w{w}"), at(1));
                    let Some(job) = store.claim_next(&anything(), &claim).await.unwrap() else {
                        return;
                    };
                    assert!(job.is_held_by(claim.token));
                    let complete = Event::Complete {
                        proof: Proof::Token(claim.token),
                        output: JobOutput::default(),
                    };
                    change(&store, job.clone(), complete, at(2)).await;
                    *done.lock().unwrap().entry(job.id).or_default() += 1;
                }
            });
        }
        workers.join_all().await;
        let done = done.lock().unwrap().clone();
        assert_eq!(done.len(), 1000);
        assert!(done.values().all(|n| *n == 1));
        let all = store.list(&JobFilter::default()).await.unwrap();
        assert!(
            all.iter()
                .all(|j| j.state == JobState::Done && j.attempts == 1)
        );
        let workers: HashSet<_> = all.iter().filter_map(|j| j.worker.clone()).collect();
        assert!(workers.len() > 1, "one worker had them all");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn other_gateways_hear_of_work() {
    on_each(async |database| {
        let store = database.store().await;
        let listener = store.listen_for_work().await.unwrap();
        let Some(mut listener) = listener else {
            assert_eq!(database.name(), "SQLite");
            return;
        };
        let other = database.store().await;
        other.announce_work().await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(30), listener.heard()).await;
        heard.expect("a notice").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let open = |url: &'static str| Store::open(url, folder.path());
    let cases = [
        ("mysql://h/db", "neither sqlite:// nor postgres://"),
        ("sqlite:///proc/nothing/x.db", "the SQLite file"),
        ("postgres://secret:secret@127.0.0.1:1/db", "PostgreSQL"),
    ];
    for (url, told) in cases {
        let error = open(url).await.unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn documents_are_changed_by_who_read_them_last() {
    const VIDEOS: Collection = Collection("videos");
    on_each(async |database| {
        let store = database.store().await;
        let value = |title: &str| BTreeMap::from([("title".to_owned(), title.to_owned())]);
        for name in ["b", "a"] {
            let title = value(name);
            let inserted = store.insert_document(VIDEOS, name, &title, at(1));
            inserted.await.unwrap();
        }
        let again = store.insert_document(VIDEOS, "a", &value("x"), at(2)).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        let elsewhere = Collection("projects");
        store
            .insert_document(elsewhere, "a", &value("ώρα"), at(2))
            .await
            .unwrap();

        assert!(
            store
                .write_document(VIDEOS, "a", 0, &value("new"), at(3))
                .await
                .unwrap()
        );
        assert!(
            !store
                .write_document(VIDEOS, "a", 0, &value("late"), at(4))
                .await
                .unwrap()
        );
        assert!(
            !store
                .write_document(VIDEOS, "c", 0, &value("none"), at(4))
                .await
                .unwrap()
        );

        let a: Document<BTreeMap<String, String>> =
            store.document(VIDEOS, "a").await.unwrap().unwrap();
        assert_eq!((a.version, &a.value), (1, &value("new")));
        assert_eq!((a.created_at, a.updated_at), (at(1), at(3)));
        let all: Vec<Document<BTreeMap<String, String>>> = store.documents(VIDEOS).await.unwrap();
        assert_eq!(
            all.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(),
            ["b", "a"]
        );

        assert!(store.remove_document(VIDEOS, "a").await.unwrap());
        assert!(!store.remove_document(VIDEOS, "a").await.unwrap());
        let other = store
            .document::<BTreeMap<String, String>>(elsewhere, "a")
            .await
            .unwrap();
        assert_eq!(other.unwrap().value, value("ώρα"));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn jobs_are_found_by_what_they_belong_to() {
    on_each(async |database| {
        let store = database.store().await;
        for (name, owner) in [
            ("3", Some("film")),
            ("1", Some("other")),
            ("2", Some("film")),
            ("4", None),
        ] {
            let mut new = new_job(name, "h264");
            let request = serde_json::from_str("{}").unwrap();
            let (source, session_id) = ("a.mkv".to_owned(), owner.map(str::to_owned));
            new.spec = JobSpec::Batch(Box::new(BatchSpec {
                source,
                request,
                session_id,
            }));
            store.insert(&Job::new(new, at(0))).await.unwrap();
        }
        let of_film = store.owned_by("film").await.unwrap();
        assert_eq!(
            of_film.iter().map(|j| j.id.as_str()).collect::<Vec<_>>(),
            ["3", "2"]
        );
        assert_eq!(store.owned_by("none").await.unwrap(), []);
        store.close().await;
    })
    .await;
}
