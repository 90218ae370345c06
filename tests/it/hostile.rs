//! Sources that are broken, or made to do harm.

mod corpus;
mod names;
mod servers;

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{Answer, TestApp};

/// Panics of the gateway; those of tests are told by the tests.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |l| l.file());
            if !place.starts_with("tests/") {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}

fn assert_no_panic() {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "the gateway panicked");
}

/// What became of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Its first segment was served.
    Plays,
    /// Refused, with this status and reason.
    Refused(u16, String),
}

/// Time for an answer on a busy machine: shorter than the time after which the gateway gives up a
/// segment, so that a hang is told from an answer.
const PATIENCE: Duration = Duration::from_secs(45);

/// Asks for a stream of `source` as a player would, and checks everything that comes back.
async fn judge(app: &TestApp, source: &str) -> Verdict {
    let began = Instant::now();
    let judging = try_to_play(app, source);
    let verdict = match tokio::time::timeout(2 * PATIENCE, judging).await {
        Ok(verdict) => verdict,
        Err(_) => panic!("{source}: no answer within {:?}", 2 * PATIENCE),
    };
    if let Verdict::Refused(status, reason) = &verdict {
        assert!((400..600).contains(status), "{source}: {status}");
        assert_ne!(*status, 500, "{source}: {reason}");
        let words = reason.split_whitespace().filter(|w| w.len() > 1).count();
        assert!(words >= 2, "{source}: '{reason}' is no reason in words");
    }
    eprintln!(
        "{:>6} ms {source}: {verdict:?}",
        began.elapsed().as_millis()
    );
    verdict
}

async fn try_to_play(app: &TestApp, source: &str) -> Verdict {
    let started = app
        .post(
            "/api/transcode/start",
            json!({"source": source, "output": {}}),
        )
        .await;
    assert_clean(app, source, &started);
    if !started.status.is_success() {
        return refused(&started);
    }
    let job = started.json()["job_id"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let list = app.get(&format!("/stream/{job}/master.m3u8")).await;
    assert!(
        began.elapsed() < PATIENCE,
        "{source}: the playlist took {:?}",
        began.elapsed()
    );
    assert_clean(app, source, &list);
    let mut verdict = refused(&list);
    let status = app.get(&format!("/api/transcode/{job}/status")).await;
    assert_clean(app, source, &status);
    if list.status.is_success() {
        let segment_of = |text: &str| {
            let segment = |l: &&str| l.ends_with(".ts") || l.ends_with(".m4s");
            text.lines().find(segment).map(str::to_owned)
        };
        let first = match segment_of(&list.text()) {
            Some(first) => first,
            // A source with more than one sound, or with text, has a list of lists.
            None => {
                let variant = app.get(&format!("/stream/{job}/video0.m3u8")).await;
                segment_of(&variant.text()).expect("a segment")
            }
        };
        let began = Instant::now();
        let segment = app.get(&format!("/stream/{job}/{first}")).await;
        assert!(
            began.elapsed() < PATIENCE,
            "{source}: a segment took {:?}",
            began.elapsed()
        );
        assert_clean(app, source, &segment);
        verdict = refused(&segment);
        if segment.status.is_success() {
            let whole = !first.ends_with(".ts") || segment.body.len() % 188 == 0;
            assert!(!segment.body.is_empty() && whole, "{source}");
            verdict = Verdict::Plays;
        }
    } else {
        let status = status.json();
        assert_eq!(status["status"], "error", "{source}: {status}");
        assert!(status["error_message"].is_string(), "{source}: {status}");
    }
    let status = app.get(&format!("/api/transcode/{job}/status")).await;
    assert_clean(app, source, &status);
    assert!(
        app.delete(&format!("/api/transcode/{job}"))
            .await
            .status
            .is_success()
    );
    verdict
}

fn refused(answer: &Answer) -> Verdict {
    if answer.status.is_success() {
        return Verdict::Plays;
    }
    let detail = answer.json()["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Verdict::Refused(answer.status.as_u16(), detail)
}

/// Nothing of this machine is in an answer.
fn assert_clean(app: &TestApp, source: &str, answer: &Answer) {
    let has = |needle: &[u8]| answer.body.windows(needle.len()).any(|w| w == needle);
    let passwd = std::fs::read("/etc/passwd").unwrap();
    let first_line = passwd.split(|b| *b == b'\n').next().unwrap();
    assert!(!has(first_line), "{source}: /etc/passwd leaks");
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    if name.trim().len() >= 6 {
        assert!(
            !has(name.trim().as_bytes()),
            "{source}: /etc/hostname leaks"
        );
    }
    // A client may hear what it wrote, and nothing more.
    let text = answer.text().replace(source, "");
    let media = crate::app::shared_media();
    let roots = [Some(app.folder.path().to_owned()), media];
    for root in roots.into_iter().flatten() {
        let root: &Path = &root;
        assert!(!text.contains(root.to_str().unwrap()), "{source}: {text}");
    }
    for word in [
        "-protocol_whitelist",
        "-hide_banner",
        "pipe:1",
        "http_proxy",
        "ffmpeg -",
    ] {
        assert!(!text.contains(word), "{source}: {text}");
    }
}

/// Every encoder ends with its jobs.
async fn assert_all_ended(app: &TestApp) {
    let registry = app.gateway.registry();
    let limit = Duration::from_secs(3);
    crate::fake::eventually(limit, "encoders run", || registry.active_encoders() == 0).await;
}
