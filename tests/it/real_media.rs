//! Exactness with files that other people's cameras, phones and programs wrote.
//!
//! `GHOSTSTREAM_TEST_MEDIA` names other files of the folder, separated by colons, for a survey by
//! hand; `all` takes every one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ghoststream::media::{MaxResolution, StreamRequest, Transfer};
use ghoststream::session::Opener;

use crate::app::shared_media;
use crate::media::gateway_ffmpegs;
use crate::runs;

/// One file of each kind that has surprised players.
const CHOSEN: &[&str] = &[
    "plain/video_short.mp4",
    "rotation/sample_portrait.mp4",
    "rotation/internal_emulator_transformer_output_270_rotated.mp4",
    "vfr/street.mp4",
    "phone-vfr/Issue 515 (java).mp4",
    "edit-list/edit_list_positive_shift.mp4",
    "edit-list/mov-1elist-1ctts.mov",
    "edit-list/mov_stream_shorter_than_movie.mov",
    "interlaced/interlaced_crop.mp4",
    "interlaced/scte20.ts",
    "interlaced/xdcam8mp2-1s_small.ts",
    "mpeg-ps/roundup1414.mpg",
    "pts-wrap/pts-wrap-bottle.ts",
    "ts/bbb_2500ms.ts",
    "avi/sample.avi",
    "vp9/bear-vp9-odd-dimensions.webm",
    "webm/bbb_642x642_768kbps_30fps_vp9.webm",
    "webm/bbb_960x540_60fps_vp8.webm",
    "flv/streamloop.flv",
    "camera/100_0306.AVI",
    "timestamps/bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4",
    "timestamps/sample_shorter_audio.mp4",
    "audio-only/bear-opus.mka",
    "audio-only/bear-vbr-xing-header.mp3",
];

/// Longest file that is taken, seconds.
const LONGEST: f64 = 65.0;

async fn examine(
    opener: &Opener,
    ffmpeg: &Path,
    source: &Path,
    folder: &Path,
) -> Result<String, String> {
    let locator = opener
        .resolve(source.to_str().unwrap())
        .await
        .map_err(|e| e.to_string())?;
    let mut request = StreamRequest::default();
    request.output.resolution = MaxResolution::R360;
    let found = opener
        .inspect(&locator, &request)
        .await
        .map_err(|e| format!("refused: {e}"))?;
    let plan = found.plan.map_err(|e| format!("refused: {e}"))?;
    let seconds = plan.duration().map_or(f64::INFINITY, |d| d.as_secs_f64());
    if seconds > LONGEST {
        return Err(format!("left out: {seconds} s"));
    }
    let sdr = found
        .facts
        .probe
        .main_video()
        .is_some_and(|v| v.color.transfer_kind() == Transfer::Sdr);
    let checking = || {
        let joined = runs::apart(ffmpeg, source, plan);
        let files = joined.check(folder);
        let mut notes = format!("{} segments", joined.renditions[0].segments.len());
        if sdr {
            notes += &joined.check_thumbnails(source, &files[0]);
        }
        if joined.plan.main_audio().is_some() {
            joined.check_sound(source, files.last().unwrap(), 0.0);
        }
        notes
    };
    catch_unwind(AssertUnwindSafe(checking)).map_err(|fault| {
        fault
            .downcast::<String>()
            .map_or_else(|_| "?".into(), |f| *f)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_files_are_exact() {
    let Some(media) = shared_media() else { return };
    let asked = std::env::var("GHOSTSTREAM_TEST_MEDIA").unwrap_or_default();
    let manifest = std::fs::read_to_string(media.join("MANIFEST.tsv")).unwrap();
    let every = manifest
        .lines()
        .skip(1)
        .filter_map(|l| l.split('\t').next());
    let chosen: Vec<&str> = match asked.as_str() {
        "" => CHOSEN.to_vec(),
        "all" => every.collect(),
        names => names.split(':').collect(),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut faults = Vec::new();
    for ffmpeg in gateway_ffmpegs() {
        let opener = runs::opener(&ffmpeg, &media).await;
        for name in &chosen {
            let source: PathBuf = media.join(name);
            let begun = std::time::Instant::now();
            let found = examine(&opener, &ffmpeg, &source, folder.path()).await;
            if !asked.is_empty() {
                eprintln!("{name} {} ms: {found:?}", begun.elapsed().as_millis());
            }
            if let Err(fault) = found {
                faults.push(format!("{name} with {}: {fault}", ffmpeg.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
