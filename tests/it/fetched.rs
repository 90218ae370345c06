//! The segments of a stream as they come over HTTP, asked for in no order.

use bytes::Bytes;
use ghoststream::plan::StreamPlan;
use serde_json::Value;

use crate::app::TestApp;
use crate::joined::{Joined, Rendition};

/// Streams `source` with `output` and fetches every segment that is listed, far from the order in
/// which they are played. `plan` is what the gateway makes of the same request.
pub(crate) async fn fetched(
    app: &TestApp,
    source: &str,
    output: Value,
    plan: StreamPlan,
) -> Joined {
    let job = app.stream(source, output).await;
    let master = text(app, &job, "master.m3u8").await;
    let mut renditions = Vec::new();
    if master.contains("#EXTINF:") {
        renditions.push(rendition(app, &job, &master).await);
    } else {
        let video = plan.main_video().map(|_| "video0.m3u8");
        let audio = plan.main_audio().map(|_| "audio0.m3u8");
        for name in [video, audio].into_iter().flatten() {
            let playlist = text(app, &job, name).await;
            renditions.push(rendition(app, &job, &playlist).await);
        }
    }
    app.delete(&format!("/api/transcode/{job}")).await;
    Joined { plan, renditions }
}

async fn text(app: &TestApp, job: &str, name: &str) -> String {
    String::from_utf8(app.file(job, name).await.to_vec()).unwrap()
}

async fn rendition(app: &TestApp, job: &str, playlist: &str) -> Rendition {
    let values = |tag: &'static str| playlist.lines().filter_map(move |l| l.strip_prefix(tag));
    assert!(playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    let names: Vec<&str> = playlist.lines().filter(|l| !l.starts_with('#')).collect();
    let init = match values("#EXT-X-MAP:URI=").next() {
        Some(name) => app.file(job, name.trim_matches('"')).await,
        None => Bytes::new(),
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|i| (i.wrapping_mul(0x9E37_79B9) >> 3) % 257);
    let mut segments = vec![Bytes::new(); names.len()];
    for i in order {
        segments[i] = app.file(job, names[i]).await;
    }
    Rendition {
        init,
        lengths: values("#EXTINF:")
            .map(|l| l.trim_end_matches(',').parse().unwrap())
            .collect(),
        target: values("#EXT-X-TARGETDURATION:")
            .next()
            .unwrap()
            .parse()
            .unwrap(),
        segments,
    }
}
