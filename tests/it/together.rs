//! Renditions of one film that are watched at the same time: one encoder, which decodes once.

use std::time::Duration;

use serde_json::json;

use crate::app::TestApp;
use crate::fake::{FakeFfmpeg, eventually};
use crate::media::{complaints, decode_numbers, make, packets, pictures};

const LIMIT: Duration = Duration::from_secs(60);
/// Segments of a second that the film has.
const LENGTH: u32 = 60;

/// A film of numbered pictures as an adaptive stream of two renditions, 480p and 360p.
async fn ladder(fake: &FakeFfmpeg) -> (TestApp, String) {
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.segment_duration = 1;
        c.transcoding.buffer_ahead_seconds = 4;
        c.transcoding.abr_max_variants = 2;
    })
    .await;
    let film = format!(
        "{},scale=854:480:flags=neighbor,setsar=1",
        pictures("25", f64::from(LENGTH))
    );
    make(
        app.folder.path(),
        "film.mp4",
        &[&film],
        "-c:v libx264 -preset ultrafast -g 50",
    );
    let answer = app
        .post(
            "/api/transcode/start",
            json!({"source": "film.mp4", "mode": "abr"}),
        )
        .await;
    let job = answer.json()["job_id"].as_str().unwrap().to_owned();
    (app, job)
}

/// What somebody who watches rendition `nth` has of it, from segment `from` on.
struct Viewer {
    nth: usize,
    next: u32,
    bytes: Vec<u8>,
}

impl Viewer {
    async fn begin(app: &TestApp, job: &str, nth: usize, from: u32) -> Viewer {
        let bytes = app.file(job, &format!("video{nth}_init.mp4")).await;
        Viewer {
            nth,
            next: from,
            bytes: bytes.to_vec(),
        }
    }

    async fn watch(&mut self, app: &TestApp, job: &str) {
        let name = format!("video{}_{:05}.m4s", self.nth, self.next);
        self.bytes.extend(app.file(job, &name).await);
        self.next += 1;
    }

    /// Every picture once and in order, each segment with a key frame.
    fn check(&self, folder: &std::path::Path, from: u32) {
        let path = folder.join(format!("watched{}.mp4", self.nth));
        std::fs::write(&path, &self.bytes).unwrap();
        assert_eq!(complaints(&path), "");
        let (_, numbers) = decode_numbers(&path, "v:0");
        // The numbers have ten bits.
        let wanted: Vec<u32> = (from * 25..self.next * 25).map(|n| n % 1024).collect();
        assert_eq!(numbers, wanted);
        // A run that begins within a segment begins with one more.
        let keys = packets(&path, "v:0").iter().filter(|p| p.key).count();
        assert!(keys >= (self.next - from) as usize, "{keys} key frames");
    }
}

/// Runs that made several renditions.
fn joint(fake: &FakeFfmpeg) -> usize {
    fake.commands()
        .iter()
        .filter(|c| c.contains("pipe:4"))
        .count()
}

/// Both watch on until a joint run has begun; fails at the end of the film.
async fn watch_until_joint(fake: &FakeFfmpeg, app: &TestApp, job: &str, both: &mut [Viewer; 2]) {
    while joint(fake) == 0 {
        let [first, second] = &mut *both;
        assert!(first.next + 8 < LENGTH, "{:#?}", fake.commands());
        tokio::join!(first.watch(app, job), second.watch(app, job));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_together_is_decoded_once_and_exact() {
    let fake = FakeFfmpeg::new();
    let (app, job) = ladder(&fake).await;
    // Not quite at the same place.
    let mut both = [
        Viewer::begin(&app, &job, 0, 0).await,
        Viewer::begin(&app, &job, 1, 1).await,
    ];
    watch_until_joint(&fake, &app, &job, &mut both).await;
    // The runs of each are gone, and one is there for both.
    eventually(LIMIT, "several encoders", || fake.alive().len() == 1).await;
    let runs = fake.runs().len();
    let [first, second] = &mut both;
    for _ in 0..4 {
        tokio::join!(first.watch(&app, &job), second.watch(&app, &job));
    }
    assert_eq!(fake.runs().len(), runs, "{:#?}", fake.commands());
    // One leaves; the other watches on, with an encoder that makes nothing else.
    let alone = || {
        fake.alive().len() == 1
            && fake
                .commands()
                .last()
                .is_some_and(|c| !c.contains("pipe:4"))
    };
    while !alone() && first.next + 1 < LENGTH {
        first.watch(&app, &job).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert!(alone(), "{:#?}", fake.commands());
    first.watch(&app, &job).await;
    first.check(app.folder.path(), 0);
    second.check(app.folder.path(), 1);
    app.stop().await;
    assert!(fake.alive().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_a_shared_encoder_is_nobodys_trouble() {
    let fake = FakeFfmpeg::with("track=joint error=boom");
    let (app, job) = ladder(&fake).await;
    let mut both = [
        Viewer::begin(&app, &job, 0, 0).await,
        Viewer::begin(&app, &job, 1, 0).await,
    ];
    watch_until_joint(&fake, &app, &job, &mut both).await;
    let [first, second] = &mut both;
    for _ in 0..8 {
        tokio::join!(first.watch(&app, &job), second.watch(&app, &job));
    }
    first.check(app.folder.path(), 0);
    second.check(app.folder.path(), 0);
    // It is not tried again at once.
    assert_eq!(joint(&fake), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_the_rendition_is_not_two() {
    let fake = FakeFfmpeg::new();
    let (app, job) = ladder(&fake).await;
    let mut first = Viewer::begin(&app, &job, 0, 0).await;
    for _ in 0..4 {
        first.watch(&app, &job).await;
    }
    let mut then = Viewer::begin(&app, &job, 1, 4).await;
    for _ in 0..12 {
        then.watch(&app, &job).await;
    }
    assert_eq!(joint(&fake), 0, "{:#?}", fake.commands());
    first.check(app.folder.path(), 0);
    then.check(app.folder.path(), 4);
    app.stop().await;
}
