//! Room that runs out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ghoststream::config::ByteSize;
use http::StatusCode;

use super::*;
use crate::fake::folder_bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_keeps_to_its_limit_while_a_film_is_played() {
    const LIMIT: u64 = 400_000;
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 100, |c| {
        c.transcoding.cache_max_bytes = ByteSize(LIMIT);
    })
    .await;
    let (peak, largest, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let cache = app.folder.path().join("cache");
    let mut names = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(folder_bytes(&cache), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                names = segments(&app, &job).await;
                for name in &names {
                    let bytes = within(SOON, name, app.file(&job, name)).await;
                    largest.fetch_max(bytes.len() as u64, Ordering::Relaxed);
                }
            });
        });
        done.store(true, Ordering::Relaxed);
    });
    let (peak, largest) = (peak.into_inner(), largest.into_inner());
    assert!(
        peak <= LIMIT + largest,
        "{peak} bytes, largest segment {largest}"
    );
    assert!(peak > LIMIT / 2, "only {peak} bytes: nothing was kept");
    // Those that had to go are made again.
    let runs = fake.runs().len();
    assert!(
        runs <= 6,
        "{runs} encoder runs: it made what it had to drop again"
    );
    for name in &names[..2] {
        app.file(&job, name).await;
    }
    assert!(fake.runs().len() > runs, "nothing had to go");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_larger_than_the_cache_is_still_served() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 12, |c| {
        c.transcoding.cache_max_bytes = ByteSize(5_000)
    })
    .await;
    assert_whole(&play(&app, &job).await, 12);
    assert!(folder_bytes(&app.folder.path().join("cache")) <= 5_000);
    app.stop().await;
}

/// Plays a film whose segments the disk does not take, and says what the status warns of.
async fn play_without_a_disk(app: &TestApp, fake: &FakeFfmpeg, job: &str) {
    let names = segments(app, job).await;
    for name in &names {
        within(SOON, name, app.file(job, name)).await;
    }
    let warnings = app.status(job).await["warnings"].to_string();
    assert!(warnings.contains("cannot be stored"), "{warnings}");
    assert!(
        !warnings.contains(app.folder.path().to_str().unwrap()),
        "{warnings}"
    );
    let runs = fake.runs().len();
    assert!(
        runs <= 6,
        "{runs} encoder runs for {} segments",
        names.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_served_from_memory_while_the_disk_takes_none() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 60, |_| {}).await;
    app.file(&job, "segment_00000.ts").await;
    // Whoever may do everything may write into a read-only folder, but not into a file.
    let cache = app.gateway.registry().cache().folder().to_owned();
    let aside = app.folder.path().join("aside");
    std::fs::rename(&cache, &aside).unwrap();
    std::fs::write(&cache, "not a folder").unwrap();
    play_without_a_disk(&app, &fake, &job).await;
    expect_status(&app, "/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    // The disk is back.
    std::fs::remove_file(&cache).unwrap();
    std::fs::rename(&aside, &cache).unwrap();
    let two = app
        .stream("clip.mkv", serde_json::json!({"video_bitrate": "300k"}))
        .await;
    assert_eq!(play(&app, &two).await.len() % 188, 0);
    expect_status(&app, "/readyz", StatusCode::OK).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_no_end() {
    let disk = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(disk.path()) else {
        eprintln!("left out: a full disk (mounting one is not permitted)");
        return;
    };
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 60, |c| {
        c.transcoding.temp_directory = disk.path().to_owned();
    })
    .await;
    play_without_a_disk(&app, &fake, &job).await;
    app.stop().await;
}

/// A file system of 300 kB; unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    #[expect(clippy::disallowed_methods, reason = "the test's own disk")]
    fn tmpfs(folder: &Path) -> Option<Mounted> {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"]);
        let done = command.arg(folder).output().ok()?;
        done.status.success().then(|| Mounted(folder.to_owned()))
    }
}

impl Drop for Mounted {
    #[expect(clippy::disallowed_methods, reason = "the test's own disk")]
    fn drop(&mut self) {
        let mut command = std::process::Command::new("umount");
        let done = command.arg("-l").arg(&self.0).output();
        assert!(done.is_ok_and(|d| d.status.success()), "cannot unmount");
    }
}
