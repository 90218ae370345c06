//! `transcode`: a whole file, made here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app;
use crate::config::Config;
use crate::media::{Mode, OutputFormat};
use crate::session::{FileOrder, FileProgress, MadeFile};

use super::args::TranscodeArgs;
use super::bar::{Bar, clock};
use super::inspect::{local_path, request};
use super::interrupt::interrupted;

/// Makes the file, showing how far it is. The output appears whole or not at all.
pub(super) fn transcode(config: &Config, args: &TranscodeArgs) -> anyhow::Result<()> {
    let format = format_of(&args.output).with_context(|| {
        let name = args.output.display();
        format!("{name}: the output must end in .mp4, .mkv or .webm")
    })?;
    if args.output.exists() && !args.overwrite {
        bail!(
            "{} exists already; --overwrite replaces it",
            args.output.display()
        );
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let began = Instant::now();
    let made = runtime.block_on(make(config, args, format));
    runtime.shutdown_background();
    let (made, size_bytes) = made?;
    let elapsed = began.elapsed().as_secs_f64();
    let duration = made.duration.map(|d| d.as_secs_f64());
    let by = made.accelerator.map_or("software", |a| a.name());
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = json!({"output": args.output, "size_bytes": size_bytes, "duration_seconds": duration,
            "elapsed_seconds": elapsed, "encoded_by": by});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        let speed = duration.map_or(String::new(), |d| {
            format!(", {:.1} times as fast as it plays", d / elapsed)
        });
        let size = indicatif::HumanBytes(size_bytes);
        writeln!(
            out,
            "{}: {size}, made in {}{speed}",
            args.output.display(),
            clock(elapsed)
        )?;
    }
    Ok(())
}

/// The format that a file's ending stands for.
pub(super) fn format_of(path: &Path) -> Option<OutputFormat> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "mp4" | "m4v" => Some(OutputFormat::Mp4),
        "mkv" => Some(OutputFormat::Mkv),
        "webm" => Some(OutputFormat::Webm),
        _ => None,
    }
}

async fn make(
    config: &Config,
    args: &TranscodeArgs,
    format: OutputFormat,
) -> anyhow::Result<(MadeFile, u64)> {
    let mut config = config.clone();
    let mut source = args.source.clone();
    if let Some(path) = local_path(&source) {
        // Whoever types the command can read it anyway.
        let folder = path.parent().map(Path::to_owned);
        config.sources.roots.extend(folder);
        source = path.to_string_lossy().into_owned();
    } else if !source.contains("://") {
        bail!("no such file: {source}");
    }
    let mut wanted = request(&config, &args.wanted.clone().into_format(format));
    wanted.mode = Mode::Batch;
    wanted.output.format = format;
    wanted.output.two_pass = args.two_pass;
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let opener = app::opener(&config, &tracker, &cancel).await?;
    let order = FileOrder {
        locator: opener.resolve(&source).await?,
        request: wanted,
        base_url: String::new(),
        stall_timeout: Duration::from_secs(u64::from(config.transcoding.stall_timeout)),
    };
    // Beside the output, so that the finished file needs only a new name.
    let folder = beside(&args.output);
    tokio::fs::create_dir(&folder)
        .await
        .with_context(|| format!("cannot write beside {}", args.output.display()))?;
    let (progress, watched) = watch::channel(FileProgress::default());
    let making = opener.make_file(&order, &folder, &progress, &cancel);
    let made = tokio::select! {
        made = making => made.map_err(anyhow::Error::from),
        never = show(watched) => match never {},
        () = interrupted() => Err(anyhow!("interrupted; nothing was written")),
    };
    let finished = match made {
        Ok(made) => finish(made, &folder, &args.output).await,
        Err(error) => Err(error),
    };
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
    let removed = tokio::fs::remove_dir_all(&folder).await;
    let finished = finished?;
    removed.with_context(|| format!("{} is left behind", folder.display()))?;
    Ok(finished)
}

/// A folder of our own in the output's.
fn beside(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.part-{}", std::process::id()))
}

async fn finish(made: MadeFile, folder: &Path, output: &Path) -> anyhow::Result<(MadeFile, u64)> {
    let file = folder.join(made.file.name);
    let size = tokio::fs::metadata(&file).await?.len();
    tokio::fs::rename(&file, output)
        .await
        .with_context(|| format!("cannot write {}", output.display()))?;
    Ok((made, size))
}

async fn show(mut progress: watch::Receiver<FileProgress>) -> std::convert::Infallible {
    let bar = Bar::new();
    loop {
        let at = *progress.borrow_and_update();
        let left = at.duration.map(|d| (d - at.seconds).max(0.0) / at.speed);
        let left = left.filter(|l| l.is_finite());
        let what = format!("{:.0} pictures/s, speed {:.2}x", at.fps, at.speed);
        bar.show(at.percent, &what, left);
        if progress.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
