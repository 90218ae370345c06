//! Exactness with files that other people's cameras, phones and programs wrote.
//!
//! `GHOSTSTREAM_TEST_MEDIA` names other files of the folder, separated by colons, for a survey by
//! hand; `all` takes every one.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use ghoststream::media::{MaxResolution, StreamRequest, Transfer};
use ghoststream::session::Opener;
use serde_json::json;

use crate::app::{TestApp, shared_media};
use crate::fetched::fetched;
use crate::media::gateway_ffmpegs;
use crate::runs;

/// One file of each kind that has surprised players.
const CHOSEN: &[&str] = &[
    "subs/sample_with_ass_subtitles.mkv",
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
    "5.1-audio/6.ogg",
    "5.1-audio/latin_192_mulitchannel_cut.wma",
    "flv/brokensps.flv",
    "old/packed_bframes.avi",
    "old/vc1-wmapro.mp4",
    "wmv/testWMV.wmv",
    "display-matrix/displaymatrix.mov",
    "resize/resolution-change.webm",
    "alpha/vp8_video_with_alpha.mkv",
    "frag/sample_fragmented.mp4",
];

/// Files that are played whole, as a player plays them that seeks all the time.
const PLAYED: &[&str] = &[
    "plain/realshort.mp4",
    "edit-list/mov-1elist-1ctts.mov",
    "ts/bbb_2500ms.ts",
    "resize/resolution-change.webm",
    "audio-only/bear-opus.mka",
];

/// Longest file that is taken, seconds; a survey by hand takes longer ones too.
const LONGEST: f64 = 65.0;
const LONGEST_BY_HAND: f64 = 400.0;

/// How the segments of a file come about.
#[derive(Clone, Copy)]
enum Makers<'a> {
    /// Each by runs of its own.
    Runs(&'a Path),
    /// By the gateway, asked for in no order.
    Gateway(&'a TestApp),
}

async fn examine(
    opener: &Opener,
    makers: Makers<'_>,
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
    let longest = if by_hand() { LONGEST_BY_HAND } else { LONGEST };
    if seconds > longest {
        return Err(format!("left out: {seconds} s"));
    }
    let sdr = found
        .facts
        .probe
        .main_video()
        .is_some_and(|v| v.color.transfer_kind() == Transfer::Sdr);
    let checking = async {
        let joined = match makers {
            Makers::Runs(ffmpeg) => runs::apart(ffmpeg, source, plan),
            Makers::Gateway(app) => {
                let output = json!({"resolution": "360p"});
                fetched(app, source.to_str().unwrap(), output, plan).await
            }
        };
        let files = joined.check(folder);
        let probe = &found.facts.probe;
        let end = probe.duration.map(|d| probe.start_time + d);
        let claimed = end.map(|e| (e - joined.plan.origin).as_secs_f64());
        joined.check_length(source, claimed);
        let mut notes = format!("{} segments", joined.renditions[0].segments.len());
        if sdr {
            notes += &joined.check_thumbnails(source, &files[0]);
        }
        if joined.plan.main_audio().is_some() {
            joined.check_sound(source, files.last().unwrap(), 0.0);
        }
        notes
    };
    let checked = AssertUnwindSafe(checking).catch_unwind().await;
    checked.map_err(|fault| match fault.downcast::<String>() {
        Ok(words) => *words,
        Err(fault) => fault.downcast_ref::<&str>().unwrap_or(&"?").to_string(),
    })
}

/// Whether somebody asks for files of their choice.
fn by_hand() -> bool {
    std::env::var_os("GHOSTSTREAM_TEST_MEDIA").is_some()
}

/// The files that are asked for, else `usual`.
fn chosen(media: &Path, usual: &[&str]) -> Vec<String> {
    let asked = std::env::var("GHOSTSTREAM_TEST_MEDIA").unwrap_or_default();
    let manifest = std::fs::read_to_string(media.join("MANIFEST.tsv")).unwrap();
    let every = manifest
        .lines()
        .skip(1)
        .filter_map(|l| l.split('\t').next());
    let chosen: Vec<&str> = match asked.as_str() {
        "" => usual.to_vec(),
        "all" => every.collect(),
        names => names.split(':').collect(),
    };
    chosen.into_iter().map(str::to_owned).collect()
}

/// Examines files one after the other and says which have faults.
async fn survey(
    opener: &Opener,
    makers: Makers<'_>,
    media: &Path,
    chosen: &[String],
    faults: &mut Vec<String>,
) {
    let folder = tempfile::tempdir().unwrap();
    for name in chosen {
        let source: PathBuf = media.join(name);
        let begun = std::time::Instant::now();
        let found = examine(opener, makers, &source, folder.path()).await;
        if by_hand() {
            eprintln!("{name} {} ms: {found:?}", begun.elapsed().as_millis());
        }
        if let Err(fault) = found {
            faults.push(format!("{name}: {fault}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_files_are_exact() {
    let Some(media) = shared_media() else { return };
    let chosen = chosen(&media, CHOSEN);
    let mut faults = Vec::new();
    for ffmpeg in gateway_ffmpegs() {
        faults.push(format!("with {}:", ffmpeg.display()));
        let opener = runs::opener(&ffmpeg, &media).await;
        survey(&opener, Makers::Runs(&ffmpeg), &media, &chosen, &mut faults).await;
        faults.pop_if(|last| last.ends_with(':'));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every listed segment answers, whatever was asked for before it, and all of them fit together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_files_are_played_in_any_order() {
    let Some(media) = shared_media() else { return };
    let chosen = chosen(&media, PLAYED);
    let app = TestApp::with(|c| c.transcoding.segment_duration = 2).await;
    let opener = runs::opener(Path::new("ffmpeg"), &media).await;
    let mut faults = Vec::new();
    survey(&opener, Makers::Gateway(&app), &media, &chosen, &mut faults).await;
    app.stop().await;
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
