//! Real files that are broken or made to do harm, each as a local file and over HTTP.

use std::net::{TcpListener, UdpSocket};
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::app::shared_media;
use crate::fake::FakeFfmpeg;
use crate::file_server::FileServer;

const KINDS: [&str; 10] = [
    "exploit",
    "crash",
    "broken",
    "broken-audio",
    "damaged",
    "non-media-or-bomb",
    "header-only",
    "encrypted",
    "fuzz-seed",
    "subtitle-files",
];

fn files(media: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for kind in KINDS {
        let Ok(folder) = std::fs::read_dir(media.join(kind)) else {
            continue;
        };
        let name = |e: std::fs::DirEntry| format!("{kind}/{}", e.file_name().to_str().unwrap());
        names.extend(folder.map(|e| name(e.unwrap())));
    }
    names.sort();
    assert!(!names.is_empty());
    names
}

/// What playlists of the corpus try to reach.
struct Bait {
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
}

impl Bait {
    fn lay() -> Bait {
        let tcp = TcpListener::bind("127.0.0.1:9").ok();
        let udp = UdpSocket::bind("127.0.0.1:5004").ok();
        if tcp.is_none() || udp.is_none() {
            eprintln!("left out: watching port 9 or 5004 of the loopback interface");
        }
        for result in [
            tcp.as_ref().map(|t| t.set_nonblocking(true)),
            udp.as_ref().map(|u| u.set_nonblocking(true)),
        ] {
            result.unwrap_or(Ok(())).unwrap();
        }
        Bait { tcp, udp }
    }

    fn assert_untouched(&self) {
        if let Some(tcp) = &self.tcp {
            assert!(tcp.accept().is_err(), "something connected to port 9");
        }
        if let Some(udp) = &self.udp {
            let mut some = [0; 64];
            assert!(
                udp.recv(&mut some).is_err(),
                "something was sent to port 5004"
            );
        }
    }
}

/// Judges all sources, a few at a time.
async fn judge_all(sources: Vec<String>) -> Vec<(String, Verdict)> {
    count_panics();
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|config| {
        fake.use_in(config);
        config.transcoding.max_concurrent_jobs = 8;
    })
    .await;
    let judged = futures_util::stream::iter(sources)
        .map(|source| {
            let app = &app;
            async move {
                // All that is wrong is told at once.
                let verdict = AssertUnwindSafe(judge(app, &source)).catch_unwind().await;
                (source, verdict)
            }
        })
        .buffer_unordered(3);
    let (good, bad): (Vec<_>, Vec<_>) = judged
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .partition(|(_, verdict)| verdict.is_ok());
    let bad: Vec<String> = bad.into_iter().map(|(source, _)| source).collect();
    assert!(bad.is_empty(), "see above: {bad:?}");
    let verdicts = good.into_iter().map(|(s, v)| (s, v.unwrap())).collect();
    assert_all_ended(&app).await;
    fake.all_ended(Duration::from_secs(2)).await;
    let cache = app.folder.path().join("cache");
    assert_eq!(crate::fake::folder_bytes(&cache), 0, "segments are left");
    app.stop().await;
    assert_no_panic();
    verdicts
}

fn verdict_of<'a>(verdicts: &'a [(String, Verdict)], name: &str) -> &'a Verdict {
    let found = verdicts.iter().find(|(source, _)| source.ends_with(name));
    &found.unwrap_or_else(|| panic!("{name} was not judged")).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_end_in_a_stream_or_in_words() {
    let Some(media) = shared_media() else { return };
    let bait = Bait::lay();
    let verdicts = judge_all(files(&media)).await;
    bait.assert_untouched();
    for (source, verdict) in &verdicts {
        let playlist = [".m3u8", ".ffconcat", ".svg"]
            .iter()
            .any(|e| source.ends_with(e));
        let named = source.contains("hls-")
            || source.contains("concat-")
            || source.contains("mov-external");
        if playlist || source.starts_with("exploit/") && named {
            assert!(
                matches!(verdict, Verdict::Refused(..)),
                "{source}: {verdict:?}"
            );
        }
    }
    for plays in [
        "meta-injection.mp4",
        "odd-319x179-yuv444.mkv",
        "damaged-video_short-cut.mkv",
    ] {
        assert_eq!(verdict_of(&verdicts, plays), &Verdict::Plays, "{plays}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_of_a_web_server_end_in_a_stream_or_in_words() {
    let Some(media) = shared_media() else { return };
    let server = FileServer::start(&media).await;
    let bait = Bait::lay();
    let url = |name: &String| server.url(&format!("/file/{name}"));
    let sources: Vec<String> = files(&media).iter().map(url).collect();
    let verdicts = judge_all(sources).await;
    bait.assert_untouched();
    for harmful in [
        "hls-file-etc-passwd.m3u8",
        "hls-key-file.m3u8",
        "hls-ssrf-loopback.m3u8",
    ] {
        let verdict = verdict_of(&verdicts, harmful);
        assert!(
            matches!(verdict, Verdict::Refused(..)),
            "{harmful}: {verdict:?}"
        );
    }
    for plays in ["meta-injection.mp4", "odd-319x179-yuv444.mkv"] {
        assert_eq!(verdict_of(&verdicts, plays), &Verdict::Plays, "{plays}");
    }
}
