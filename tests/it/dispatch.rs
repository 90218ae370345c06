//! Work is handed out once, comes back when its worker is gone, and is never lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ghoststream::artifact::{ArtifactName, ArtifactStore};
use ghoststream::base::{QueueId, UnixMillis, WorkerId};
use ghoststream::dispatch::{Clock, DispatchError, DispatchParts, DispatchSettings, Dispatcher};
use ghoststream::job::{
    Failure, Job, JobKind, JobOutput, JobSpec, JobState, NewJob, Progress, Proof, Refused,
    RetryPolicy, TranscodeSpec, Worker,
};
use ghoststream::store::{JobFilter, Wanted};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::databases::{Database, on_each};

const LEASE: Duration = Duration::from_secs(30);

/// A dispatcher on a clock that only the test moves.
struct Desk {
    dispatcher: Arc<Dispatcher>,
    clock: Clock,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Desk {
    async fn on(database: &Database) -> Desk {
        Self::with(database, LEASE, Duration::from_secs(60)).await
    }

    async fn with(database: &Database, lease: Duration, worker_expiry: Duration) -> Desk {
        let clock = Clock::manual(UnixMillis::new(1_700_000_000_000));
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let dispatcher = Dispatcher::new(DispatchParts {
            store: database.store().await,
            settings: DispatchSettings {
                lease,
                worker_expiry,
                job_timeout: Duration::from_secs(3600),
            },
            clock: clock.clone(),
            tracker: tracker.clone(),
            cancel: cancel.clone(),
        });
        Desk {
            dispatcher,
            clock,
            tracker,
            cancel,
        }
    }

    /// Moves the clock on and ends what is over by then.
    async fn after(&self, time: Duration) {
        self.clock.advance(time);
        self.dispatcher.reap().await.unwrap();
    }

    async fn submit(&self, name: &str, parents: &[&str]) -> Job {
        self.dispatcher
            .submit(new_job(name, 1.0, parents))
            .await
            .unwrap()
    }

    async fn claim(&self, worker: &str) -> Option<Job> {
        let (worker, wanted) = (WorkerId::new(worker), anything());
        let claim = self.dispatcher.claim(&worker, &wanted, Duration::ZERO);
        claim.await.unwrap()
    }

    async fn state(&self, name: &str) -> JobState {
        self.dispatcher.get(&id(name)).await.unwrap().state
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.dispatcher.store().close().await;
    }
}

fn id(text: &str) -> QueueId {
    text.parse().unwrap()
}

fn new_job(name: &str, size_mb: f64, parents: &[&str]) -> NewJob {
    NewJob {
        id: id(name),
        spec: JobSpec::Transcode(TranscodeSpec {
            source_url: "http://h/v.mp4".into(),
            target_codec: "h264".into(),
            size_mb,
            max_retries: 3,
        }),
        priority: 0,
        parents: parents.iter().map(|p| id(p)).collect(),
        retry: RetryPolicy::at_once(3),
    }
}

fn anything() -> Wanted {
    Wanted {
        kinds: JobKind::ALL.to_vec(),
        codecs: None,
    }
}

fn proof(job: &Job) -> Proof {
    Proof::Token(job.lease.as_ref().unwrap().token)
}

fn transient() -> Failure {
    Failure::Transient {
        reason: "no".into(),
    }
}

fn refused(result: Result<Job, DispatchError>) -> Refused {
    match result {
        Err(DispatchError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn work_of_a_vanished_worker_goes_to_another_and_the_first_is_heard_no_more() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        desk.submit("a", &[]).await;
        let first = desk.claim("first").await.unwrap();
        assert!(desk.claim("second").await.is_none());
        desk.after(LEASE - Duration::from_millis(1)).await;
        assert!(desk.claim("second").await.is_none());
        desk.after(Duration::from_millis(1)).await;
        let second = desk.claim("second").await.unwrap();
        assert_eq!(
            (second.attempts, second.failures, second.expiries),
            (2, 0, 1)
        );
        let late = proof(&first);
        let desk_ = &desk.dispatcher;
        assert_eq!(
            refused(desk_.renew(&first.id, late, None).await),
            Refused::NotYours
        );
        assert_eq!(
            refused(desk_.fail(&first.id, late, transient()).await),
            Refused::NotYours
        );
        assert_eq!(
            refused(desk_.release(&first.id, late).await),
            Refused::NotYours
        );
        let wrong = desk_.complete(&first.id, late, JobOutput::default()).await;
        assert_eq!(refused(wrong), Refused::NotYours);
        let output = JobOutput {
            url: Some("http://h/right.mp4".into()),
            ..JobOutput::default()
        };
        let done = desk_
            .complete(&second.id, proof(&second), output.clone())
            .await
            .unwrap();
        assert_eq!(done.output, Some(output.clone()));
        let again = desk_
            .complete(&second.id, proof(&second), JobOutput::default())
            .await;
        assert_eq!(refused(again), Refused::Final(JobState::Done));
        assert_eq!(desk_.get(&second.id).await.unwrap().output, Some(output));
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_outlasts_the_time_in_which_no_gateway_was_there() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        desk.submit("a", &[]).await;
        let a = desk.claim("w").await.unwrap();
        let (id, proof) = (a.id.clone(), proof(&a));
        desk.stop().await;
        // The lease is long over when the next one starts, which looks at once.
        let lease = Duration::from_millis(1500);
        let next = Desk::with(database, lease, Duration::from_secs(60)).await;
        next.clock.advance(LEASE * 100);
        tokio::time::sleep(lease / 3).await;
        let renewed = next.dispatcher.renew(&id, proof, None).await.unwrap();
        assert_eq!((renewed.state, renewed.attempts), (JobState::Leased, 1));
        // Who does not say so in time has lost it.
        next.clock.advance(lease);
        let ended = async {
            while next.dispatcher.get(&id).await.unwrap().state == JobState::Leased {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        ended.expect("it is offered again");
        next.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_clients_sent_stays_as_long_as_a_job_needs_it() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let uploads = ArtifactStore::open(&url, 1 << 20).unwrap();
        for name in ["1/needed.mkv", "2/left.mkv"] {
            let name: ArtifactName = name.parse().unwrap();
            let mut upload = uploads.upload(&name).await.unwrap();
            upload
                .write(bytes::Bytes::from_static(b"film"))
                .await
                .unwrap();
            upload.finish().await.unwrap();
        }
        let mut job = new_job("a", 1.0, &[]);
        if let JobSpec::Transcode(spec) = &mut job.spec {
            spec.source_url = "uploaded/1/needed.mkv".into();
        }
        desk.dispatcher.submit(job).await.unwrap();
        let keep = Duration::from_secs(3600);
        let forget = async || {
            desk.dispatcher
                .forget_uploads(&uploads, keep)
                .await
                .unwrap()
        };
        assert_eq!(forget().await, 0, "they are new");
        // The files are as old as the test, whatever its clock says.
        desk.clock.advance(Duration::from_secs(40 * 365 * 86_400));
        assert_eq!(forget().await, 1);
        let left = uploads.list().await.unwrap();
        assert_eq!(left[0].name.to_string(), "1/needed.mkv");
        desk.dispatcher.cancel(&id("a")).await.unwrap();
        assert_eq!(forget().await, 1);
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_waits_is_woken_by_work_on_any_gateway() {
    on_each(async |database| {
        let here = Desk::on(database).await;
        let there = Desk::on(database).await;
        let worker = WorkerId::new("w");
        let wanted = anything();
        let waiting = here
            .dispatcher
            .claim(&worker, &wanted, Duration::from_secs(120));
        let submitting = async { there.submit("a", &[]).await };
        let (claimed, submitted) = tokio::join!(waiting, submitting);
        assert_eq!(claimed.unwrap().unwrap().id, submitted.id);
        here.stop().await;
        there.stop().await;
    })
    .await;
}

#[tokio::test]
async fn children_follow_their_parents() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        for (name, parents) in [
            ("p", &[] as &[&str]),
            ("q", &[]),
            ("both", &["p", "q"]),
            ("one", &["p"]),
            ("grandchild", &["both"]),
        ] {
            desk.submit(name, parents).await;
        }
        let p = desk.claim("w").await.unwrap();
        desk.dispatcher
            .complete(&p.id, proof(&p), JobOutput::default())
            .await
            .unwrap();
        assert_eq!(desk.state("one").await, JobState::Ready);
        assert_eq!(desk.state("both").await, JobState::Waiting);
        desk.dispatcher.cancel(&id("q")).await.unwrap();
        assert_eq!(desk.state("both").await, JobState::Failed);
        assert_eq!(desk.state("grandchild").await, JobState::Failed);
        // Begun anew from the top, all goes its way.
        desk.dispatcher.retry(&id("q")).await.unwrap();
        desk.dispatcher.retry(&id("both")).await.unwrap();
        assert_eq!(desk.state("both").await, JobState::Waiting);
        let proof = Proof::Word;
        desk.dispatcher
            .complete(&id("q"), proof, JobOutput::default())
            .await
            .unwrap();
        assert_eq!(desk.state("both").await, JobState::Ready);
        // A child that comes late finds its parents done.
        desk.submit("late", &["p"]).await;
        assert_eq!(desk.state("late").await, JobState::Ready);
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_word_of_a_worker_keeps_all_its_leases_and_silence_ends_them() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let worker = WorkerId::new("w");
        for name in ["a", "b"] {
            desk.submit(name, &[]).await;
            desk.claim("w").await.unwrap();
        }
        for _ in 0..5 {
            desk.after(LEASE - Duration::from_secs(1)).await;
            desk.dispatcher.heartbeat(&worker, |_| {}).await.unwrap();
        }
        assert_eq!(desk.state("a").await, JobState::Leased);
        let a = desk.dispatcher.get(&id("a")).await.unwrap();
        let progress = Some(Progress {
            percent: 50.0,
            message: String::new(),
        });
        desk.after(LEASE - Duration::from_secs(1)).await;
        desk.dispatcher
            .renew(&a.id, proof(&a), progress.clone())
            .await
            .unwrap();
        desk.after(Duration::from_secs(1)).await;
        assert_eq!(desk.state("b").await, JobState::Ready);
        let a = desk.dispatcher.get(&id("a")).await.unwrap();
        assert_eq!((a.state, a.progress), (JobState::Leased, progress));
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn asking_for_more_keeps_no_lease_of_which_the_worker_never_heard() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let worker = WorkerId::new("w");
        desk.submit("a", &[]).await;
        desk.claim("w").await.unwrap();
        for _ in 0..4 {
            desk.after(LEASE / 4).await;
            desk.dispatcher.heard_from(&worker, |_| {}).await.unwrap();
        }
        assert_eq!(desk.state("a").await, JobState::Ready);
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn with_long_leases_a_silent_worker_loses_its_work_before() {
    on_each(async |database| {
        let minute = Duration::from_secs(60);
        let desk = Desk::with(database, minute * 60, minute).await;
        let worker = WorkerId::new("w");
        desk.dispatcher.heartbeat(&worker, |_| {}).await.unwrap();
        desk.submit("a", &[]).await;
        desk.claim("w").await.unwrap();
        desk.after(minute).await;
        assert_eq!(desk.state("a").await, JobState::Leased);
        desk.after(Duration::from_secs(1)).await;
        assert_eq!(desk.state("a").await, JobState::Ready);
        let seen = desk.dispatcher.workers().await.unwrap();
        assert!(!seen[0].alive && !seen[0].booked);
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_ended_whatever_its_worker_says() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        desk.submit("a", &[]).await;
        let a = desk.claim("w").await.unwrap();
        for _ in 0..150 {
            desk.clock.advance(Duration::from_secs(24));
            let renewed = desk.dispatcher.renew(&a.id, proof(&a), None).await;
            let over = desk.clock.now().since(a.updated_at) >= Duration::from_secs(3600);
            assert!(renewed.is_ok() || over);
        }
        desk.dispatcher.reap().await.unwrap();
        let a = desk.dispatcher.get(&a.id).await.unwrap();
        assert_eq!((a.state, a.failures), (JobState::Ready, 1));
        desk.stop().await;
    })
    .await;
}

async fn engine(desk: &Desk, name: &str, change: impl Fn(&mut Worker)) {
    let id = WorkerId::new(name);
    desk.dispatcher.heartbeat(&id, change).await.unwrap();
}

#[tokio::test]
async fn size_and_benchmark_choose_the_worker_whoever_asks() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let bench = |seconds| move |w: &mut Worker| w.abilities.benchmark_seconds = Some(seconds);
        engine(&desk, "fast", bench(100.0)).await;
        engine(&desk, "slow", bench(200.0)).await;
        engine(&desk, "unmeasured", |_| {}).await;
        engine(&desk, "gone", |w| {
            w.abilities.benchmark_seconds = Some(1.0);
            w.last_contact = UnixMillis::new(0);
        })
        .await;
        let kinds = [JobKind::Transcode];
        let ask = |who: &'static str| {
            let dispatcher = desk.dispatcher.clone();
            async move {
                let job = dispatcher
                    .assign(Some(&WorkerId::new(who)), &kinds)
                    .await
                    .unwrap();
                job.map(|j| j.worker.unwrap().to_string())
            }
        };
        assert_eq!(ask("fast").await, None, "there is no work");
        desk.dispatcher
            .submit(new_job("1", 10.0, &[]))
            .await
            .unwrap();
        assert_eq!(ask("fast").await.as_deref(), Some("slow"));
        desk.dispatcher
            .submit(new_job("2", 75.0, &[]))
            .await
            .unwrap();
        assert_eq!(ask("slow").await.as_deref(), Some("fast"));
        desk.dispatcher
            .submit(new_job("3", 75.0, &[]))
            .await
            .unwrap();
        assert_eq!(ask("slow").await, None, "all are booked");
        // The one that fetched a job renews its lease, whoever it is booked on.
        for _ in 0..3 {
            desk.after(LEASE - Duration::from_secs(1)).await;
            engine(&desk, "fast", |_| {}).await;
        }
        assert_eq!(desk.state("1").await, JobState::Leased);
        assert_eq!(
            desk.state("2").await,
            JobState::Leased,
            "it is booked on the fast one"
        );
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_keeps_asking_has_lost_its_work() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let measured = |w: &mut Worker| w.abilities.benchmark_seconds = Some(1.0);
        engine(&desk, "w", measured).await;
        desk.submit("a", &[]).await;
        let worker = WorkerId::new("w");
        let ask = || async {
            // It is alive, and says so.
            engine(&desk, "w", |_| {}).await;
            desk.dispatcher
                .assign(Some(&worker), &[JobKind::Transcode])
                .await
                .unwrap()
        };
        let first = ask().await.unwrap();
        assert_eq!(first.attempts, 1);
        for _ in 0..4 {
            assert_eq!(ask().await, None);
            desk.clock.advance(LEASE / 4);
        }
        assert_eq!(ask().await, None, "exactly a lease");
        desk.clock.advance(Duration::from_millis(1));
        let again = ask().await.unwrap();
        assert_eq!((again.id, again.attempts), (first.id, 2));
        desk.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_drains_finishes_and_who_leaves_gives_back() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        engine(&desk, "w", |w| w.abilities.benchmark_seconds = Some(1.0)).await;
        desk.submit("a", &[]).await;
        let worker = WorkerId::new("w");
        let kinds = [JobKind::Transcode];
        let ask = || desk.dispatcher.assign(Some(&worker), &kinds);
        desk.dispatcher.drain(&worker, true).await.unwrap();
        assert_eq!(ask().await.unwrap(), None);
        desk.dispatcher.drain(&worker, false).await.unwrap();
        assert!(ask().await.unwrap().is_some());
        desk.dispatcher.deregister(&worker).await.unwrap();
        assert_eq!(desk.state("a").await, JobState::Ready);
        let again = desk.dispatcher.deregister(&worker).await.unwrap_err();
        assert!(matches!(again, DispatchError::NoSuchWorker));
        desk.stop().await;
    })
    .await;
}

/// Workers that vanish, fail, give back and come late, all at once, on two gateways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_and_does_nothing_twice() {
    const JOBS: usize = 200;
    on_each(async |database| {
        let desks = [Desk::on(database).await, Desk::on(database).await];
        for n in 0..JOBS {
            let mut new = new_job(&format!("j{n:03}"), 1.0, &[]);
            new.retry = RetryPolicy {
                max_expiries: u32::MAX,
                ..RetryPolicy::at_once(u32::MAX)
            };
            desks[n % 2].dispatcher.submit(new).await.unwrap();
        }
        let completions: Arc<Mutex<BTreeMap<QueueId, u32>>> = Arc::default();
        let finished = Arc::new(AtomicU32::new(0));
        let mut workers = JoinSet::new();
        for w in 0..16_u32 {
            let (dispatcher, clock) = (
                desks[w as usize % 2].dispatcher.clone(),
                desks.each_ref().map(|d| d.clock.clone()),
            );
            let (completions, finished) = (completions.clone(), finished.clone());
            workers.spawn(async move {
                let worker = WorkerId::new(format!("w{w}"));
                let mut dice = w.wrapping_mul(2_654_435_761) | 1;
                let mut roll = move |sides: u32| {
                    dice ^= dice << 13;
                    dice ^= dice >> 17;
                    dice ^= dice << 5;
                    dice % sides
                };
                let mut late: Vec<(QueueId, Proof)> = Vec::new();
                while (finished.load(Ordering::SeqCst) as usize) < JOBS {
                    let job = dispatcher
                        .claim(&worker, &anything(), Duration::from_millis(20))
                        .await
                        .unwrap();
                    let Some(job) = job else {
                        clock.iter().for_each(|c| c.advance(LEASE));
                        continue;
                    };
                    let mine = proof(&job);
                    match roll(6) {
                        0 => late.push((job.id, mine)),
                        1 => drop(dispatcher.fail(&job.id, mine, transient()).await),
                        2 => drop(dispatcher.release(&job.id, mine).await),
                        _ => {
                            let done = dispatcher
                                .complete(&job.id, mine, JobOutput::default())
                                .await;
                            if done.is_ok() {
                                *completions.lock().unwrap().entry(job.id).or_default() += 1;
                                finished.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                    if roll(4) == 0
                        && let Some((id, old)) = late.pop()
                    {
                        let done = dispatcher.complete(&id, old, JobOutput::default()).await;
                        if done.is_ok() {
                            *completions.lock().unwrap().entry(id).or_default() += 1;
                            finished.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        workers.join_all().await;
        let completions = completions.lock().unwrap().clone();
        assert_eq!(completions.len(), JOBS);
        assert!(completions.values().all(|n| *n == 1), "{completions:?}");
        let all = desks[0]
            .dispatcher
            .list(&JobFilter::default())
            .await
            .unwrap();
        assert!(all.iter().all(|j| j.state == JobState::Done));
        assert!(all.iter().any(|j| j.expiries > 0) && all.iter().any(|j| j.failures > 0));
        for desk in desks {
            desk.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_with_its_results() {
    on_each(async |database| {
        let desk = Desk::on(database).await;
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let artifacts = ArtifactStore::open(&url, 1 << 20).unwrap();
        for name in ["old", "open", "late"] {
            desk.submit(name, &[]).await;
            for file in ["1-output.mp4", "2-output.mp4"] {
                let artifact = ArtifactName::new(id(name), file).unwrap();
                let mut upload = artifacts.upload(&artifact).await.unwrap();
                upload
                    .write(bytes::Bytes::from_static(b"film"))
                    .await
                    .unwrap();
                upload.finish().await.unwrap();
            }
        }
        let keep = Duration::from_secs(3600);
        desk.dispatcher.cancel(&id("old")).await.unwrap();
        desk.after(keep).await;
        desk.dispatcher.cancel(&id("late")).await.unwrap();
        let forget = async || {
            desk.dispatcher
                .forget_ended(&artifacts, keep)
                .await
                .unwrap()
        };
        assert_eq!(forget().await, 0);
        desk.after(Duration::from_secs(1)).await;
        assert_eq!(forget().await, 1);
        let gone = desk.dispatcher.get(&id("old")).await.unwrap_err();
        assert!(matches!(gone, DispatchError::NoSuchJob), "{gone}");
        assert_eq!(desk.state("open").await, JobState::Ready);
        assert_eq!(desk.state("late").await, JobState::Cancelled);
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["late", "open"]);
        desk.stop().await;
    })
    .await;
}
