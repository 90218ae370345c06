//! `submit` of a whole file: queued on a gateway, watched, fetched.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::args::SubmitArgs;
use super::bar::Bar;
use super::client::{GatewayClient, Refused};
use super::interrupt::interrupted;
use super::submit::Order;

/// How often the gateway is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Questions in a row that may go unanswered: a gateway that was started anew has its jobs still.
const MOST_UNANSWERED: u32 = 120;

/// Queues the work that `order` describes; with `--wait` or `--output`, stays until it is done.
pub(super) async fn run(
    client: &GatewayClient,
    args: &SubmitArgs,
    order: Order,
) -> anyhow::Result<()> {
    let answer = order.place(client, args.upload).await?;
    let job = answer["job_id"].as_str();
    let job = job
        .context("the gateway's answer has no job_id")?
        .to_owned();
    let waits = args.wait || args.output.is_some();
    if !waits {
        return say(args, &job, &answer, None);
    }
    let working = async {
        let done = wait(client, &job).await;
        let done = done.with_context(|| format!("job {job}"))?;
        let fetched = match &args.output {
            None => None,
            Some(path) => Some(fetch(client, &job, path).await?),
        };
        Ok::<_, anyhow::Error>((done, fetched))
    };
    let (done, fetched) = tokio::select! {
        worked = working => worked?,
        () = interrupted() => bail!(
            "interrupted; job {job} goes on at the gateway: its file will be {}, and DELETE {} ends it",
            client.url(&format!("download/{job}"))?,
            client.url(&format!("api/transcode/{job}"))?,
        ),
    };
    say(args, &job, &done, fetched)
}

fn say(args: &SubmitArgs, job: &str, status: &Value, fetched: Option<u64>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = json!({"job_id": job, "status": status["status"], "download_url": status["download_url"],
            "output": args.output, "size_bytes": fetched});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "job:     {job} ({})",
        status["status"].as_str().unwrap_or("queued")
    )?;
    if let Some(url) = status["download_url"].as_str() {
        writeln!(out, "file:    {url}")?;
    }
    if let (Some(path), Some(size)) = (&args.output, fetched) {
        let size = indicatif::HumanBytes(size);
        writeln!(out, "fetched: {} ({size})", path.display())?;
    }
    Ok(())
}

/// Asks until the job is over: its last status.
async fn wait(client: &GatewayClient, job: &str) -> anyhow::Result<Value> {
    let bar = Bar::new();
    let path = format!("api/transcode/{job}/status");
    let mut unanswered = 0;
    loop {
        let status = match client.json(Method::GET, &path, None).await {
            Ok(status) => status,
            Err(error) => {
                unanswered += 1;
                // It knows the job no more, or not us.
                let refused = error.downcast_ref::<Refused>();
                let is_final = refused.is_some_and(|r| r.status.is_client_error());
                if unanswered >= MOST_UNANSWERED || is_final {
                    return Err(error);
                }
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
        };
        unanswered = 0;
        let state = status["status"].as_str().unwrap_or_default();
        match state {
            "ready" => return Ok(status),
            "error" | "cancelled" => {
                let reason = status["error_message"].as_str();
                bail!(reason.unwrap_or("it was cancelled").to_owned());
            }
            _ => {}
        }
        let percent = status["progress"].as_f64().unwrap_or(0.0);
        let speed = status["speed"].as_f64().filter(|s| *s > 0.0);
        let what = speed.map_or(state.to_owned(), |s| format!("speed {s:.2}x"));
        bar.show(percent, &what, status["eta_seconds"].as_f64());
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Fetches the file of a finished job: its size. `path` appears whole or not at all.
async fn fetch(client: &GatewayClient, job: &str, path: &Path) -> anyhow::Result<u64> {
    let url = client.url(&format!("download/{job}"))?;
    let answer = client.answer(Method::GET, &url).await?;
    let length = answer.headers().get(http::header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|v| v.to_str().ok()?.parse().ok());
    let part = Part::of(path);
    let written = async {
        let written = write(answer.into_body(), length, &part.0).await?;
        tokio::fs::rename(&part.0, path).await?;
        Ok::<_, anyhow::Error>(written)
    };
    let written = written.await;
    written.with_context(|| format!("cannot fetch {}", path.display()))
}

/// What is fetched, until it is whole; gone when it is dropped before.
struct Part(PathBuf);

impl Part {
    fn of(path: &Path) -> Part {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Part(path.with_file_name(format!(".{name}.part-{}", std::process::id())))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has its own name by now, or was never made.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn write(
    mut body: hyper::body::Incoming,
    length: Option<u64>,
    part: &Path,
) -> anyhow::Result<u64> {
    let bar = Bar::new();
    let mut file = tokio::fs::File::create(part).await?;
    let mut written: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| anyhow!("the download broke off: {e}"))?;
        if let Ok(data) = frame.into_data() {
            file.write_all(&data).await?;
            written += data.len() as u64;
            if let Some(length) = length {
                bar.show(
                    100.0 * written as f64 / length.max(1) as f64,
                    "fetching",
                    None,
                );
            }
        }
    }
    file.flush().await?;
    if length.is_some_and(|l| l != written) {
        bail!("the download broke off after {written} bytes");
    }
    Ok(written)
}
