//! `GET /api/v2/events`: what changes, as server-sent events, for pages that show it.
//!
//! A page reads it with `fetch`, which can send the key. Every second at most one event of a kind:
//! `jobs` (each changed job of the queue as it is now), `progress` (files that are being made),
//! `streams` (all that is played, when something of it has changed), and `missed` when jobs changed
//! faster than the page reads: it asks for the list anew.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use tokio::time::{MissedTickBehavior, interval};

use crate::job::Job;

use super::jobs::shown;
use super::state::AppState;
use super::streams::{rounded, summaries};

/// Between two looks at what has changed.
const EVERY: Duration = Duration::from_secs(1);

/// Ends with the gateway or its client.
pub(super) async fn listen(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Before the first look, so that nothing falls in between.
    let mut changes = app.dispatcher.changes();
    let told = stream! {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut streams, mut progress) = (Value::Null, Value::Null);
        // The first tick comes at once: a page hears of all streams when it comes.
        while app.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match changed(&mut changes) {
                Changed::Missed => yield Ok(event("missed", &json!({}))),
                Changed::Jobs(jobs) if jobs.is_empty() => {}
                Changed::Jobs(jobs) => {
                    let jobs: Vec<Value> = jobs.values().map(|j| shown(&app, &headers, j)).collect();
                    yield Ok(event("jobs", &json!({"jobs": jobs})));
                }
            }
            for (name, last, now) in [
                ("progress", &mut progress, json!({"jobs": files(&app)})),
                ("streams", &mut streams, json!({"streams": summaries(&app)})),
            ] {
                if *last != now {
                    yield Ok(event(name, &now));
                    *last = now;
                }
            }
        }
    };
    Sse::new(told).keep_alive(KeepAlive::default())
}

enum Changed {
    /// Each job once, as it is after its last change.
    Jobs(BTreeMap<String, Arc<Job>>),
    Missed,
}

fn changed(changes: &mut Receiver<Arc<Job>>) -> Changed {
    let (mut jobs, mut missed) = (BTreeMap::new(), false);
    loop {
        match changes.try_recv() {
            Ok(job) => {
                jobs.insert(job.id.as_str().to_owned(), job);
            }
            Err(TryRecvError::Lagged(_)) => missed = true,
            // It is never closed while the gateway runs.
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    match missed {
        true => Changed::Missed,
        false => Changed::Jobs(jobs),
    }
}

/// Files that this gateway makes now: their queued jobs hear of progress only with each renewal.
fn files(app: &AppState) -> Vec<Value> {
    let jobs = app.registry.jobs();
    let made = jobs.iter().filter(|j| j.is_batch() && j.is_live());
    made.map(|job| {
        let status = job.status();
        json!({
            "id": job.id.to_string(),
            "percent": rounded(status.progress),
            "speed": rounded(status.speed),
            "eta_seconds": status.eta_seconds,
            "phase": status.activity,
            "encoded_by": status.encoded_by,
        })
    })
    .collect()
}

fn event(name: &'static str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::base::UnixMillis;
    use crate::job::{JobSpec, NewJob, RetryPolicy, TranscodeSpec};

    fn job(id: &str, version: i64) -> Arc<Job> {
        let spec = TranscodeSpec {
            source_url: "http://h/v.mp4".into(),
            target_codec: "h264".into(),
            size_mb: 1.0,
            max_retries: 3,
        };
        let new = NewJob {
            id: id.parse().unwrap(),
            spec: JobSpec::Transcode(spec),
            priority: 0,
            parents: Vec::new(),
            retry: RetryPolicy::at_once(1),
        };
        let job = Job::new(new, UnixMillis::new(0));
        Arc::new(Job { version, ..job })
    }

    #[test]
    fn each_job_is_told_once_and_a_page_that_missed_some_hears_so() {
        let sender = broadcast::Sender::new(4);
        let mut changes = sender.subscribe();
        for (id, version) in [("a", 1), ("b", 1), ("a", 2)] {
            sender.send(job(id, version)).unwrap();
        }
        let Changed::Jobs(jobs) = changed(&mut changes) else {
            panic!("nothing was missed");
        };
        let versions: Vec<_> = jobs.values().map(|j| (j.id.as_str(), j.version)).collect();
        assert_eq!(versions, [("a", 2), ("b", 1)]);
        for version in 0..9 {
            sender.send(job("a", version)).unwrap();
        }
        assert!(matches!(changed(&mut changes), Changed::Missed));
        assert!(matches!(changed(&mut changes), Changed::Jobs(j) if j.is_empty()));
    }
}
