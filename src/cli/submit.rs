//! `submit`: a stream or a whole file from a gateway that runs already.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::args::{SubmitArgs, WantedArgs};
use super::bar::Bar;
use super::client::{GatewayClient, Refused};
use super::inspect::local_path;
use super::transcode::format_of;
use super::whole;
use crate::media::{Mode, OutputFormat};

/// Starts the stream, waits until its first bytes can be played, and prints where; or has a whole file
/// made.
pub(super) fn submit(args: &SubmitArgs) -> anyhow::Result<()> {
    let file = local_path(&args.source);
    if args.upload && file.is_none() {
        bail!("no such file: {}", args.source);
    }
    let source = file.as_ref().map(|p| p.to_string_lossy().into_owned());
    let source = source.unwrap_or_else(|| args.source.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = GatewayClient::new(args.gateway.clone(), args.api_key.clone());
    if args.is_batch() {
        let format = format(args)?;
        let mut body = body(&source, &args.wanted.clone().into_format(format));
        as_batch(&mut body, format, args.two_pass);
        let order = Order { file, body };
        return runtime.block_on(whole::run(&client, args, order));
    }
    let body = body(&source, &args.wanted);
    let order = Order { file, body };
    let started = runtime.block_on(start(&client, order, args.upload))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = json!({"job_id": started.job, "page_url": started.page.as_str(), "stream_url": started.stream});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        writeln!(
            out,
            "page:    {}\nstream:  {}",
            started.page, started.stream
        )?;
    }
    Ok(())
}

/// The format of the whole file that is wanted.
fn format(args: &SubmitArgs) -> anyhow::Result<OutputFormat> {
    let Some(output) = &args.output else {
        return Ok(args.format.unwrap_or(OutputFormat::Mp4));
    };
    if args.format == Some(OutputFormat::Hls) {
        bail!(
            "HLS has many files: leave --output out and fetch them from the address that is printed"
        );
    }
    let named = args.format.or_else(|| format_of(output));
    named.context("--output must end in .mp4, .mkv or .webm, or --format be given")
}

/// Makes a request for one whole file of it.
fn as_batch(body: &mut Value, format: OutputFormat, two_pass: bool) {
    body["mode"] = Mode::Batch.name().into();
    body["output"]["format"] = format.name().into();
    if two_pass {
        body["output"]["two_pass"] = true.into();
    }
}

/// What is asked of the gateway.
pub(super) struct Order {
    /// The source, when it is a file of this machine.
    file: Option<PathBuf>,
    body: Value,
}

impl Order {
    /// The gateway's answer. A file that it cannot read is sent to it first; with `upload`, in any case.
    pub(super) async fn place(
        mut self,
        client: &GatewayClient,
        upload: bool,
    ) -> anyhow::Result<Value> {
        const START: &str = "api/transcode/start";
        if let Some(file) = self.file.as_ref().filter(|_| upload) {
            self.body["source"] = send(client, file).await?;
            return client.json(Method::POST, START, Some(&self.body)).await;
        }
        let answer = client.json(Method::POST, START, Some(&self.body)).await;
        let (Err(error), Some(file)) = (&answer, &self.file) else {
            return answer;
        };
        let status = error.downcast_ref::<Refused>().map(|r| r.status);
        if !matches!(status, Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)) {
            return answer;
        }
        self.body["source"] = send(client, file).await?;
        client.json(Method::POST, START, Some(&self.body)).await
    }
}

/// Sends a file to the gateway: what it is called there as a source.
async fn send(client: &GatewayClient, path: &Path) -> anyhow::Result<Value> {
    let told = || format!("{} cannot be sent to the gateway", path.display());
    let file = tokio::fs::File::open(path).await.with_context(told)?;
    let size = file.metadata().await.with_context(told)?.len().max(1);
    let bar = Bar::new();
    let sent = move |bytes: u64| bar.show(100.0 * bytes as f64 / size as f64, "sending", None);
    let place = format!("api/v2/uploads/{}", plain_name(path));
    let mut answer = client.upload(&place, file, sent).await.with_context(told)?;
    Ok(answer["source"].take())
}

/// The name of a file with what the gateway does not take replaced; its end, which has the extension.
fn plain_name(path: &Path) -> String {
    const LONGEST: usize = 100;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches('.');
    let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
        true => c,
        false => '_',
    };
    let count = name.chars().count();
    let end = name.chars().skip(count.saturating_sub(LONGEST)).map(plain);
    format!("{:_>1}", end.collect::<String>().trim_start_matches('.'))
}

struct Started {
    job: String,
    page: Url,
    stream: String,
}

async fn start(client: &GatewayClient, order: Order, upload: bool) -> anyhow::Result<Started> {
    let source = order.body["source"].clone();
    let answer = order.place(client, upload).await?;
    let text = |name: &str| {
        let text = answer[name].as_str().map(str::to_owned);
        text.ok_or_else(|| anyhow!("the gateway's answer has no {name}"))
    };
    let (job, stream) = (text("job_id")?, text("stream_url")?);
    if let Err(error) = wait_until_playable(client, &job).await {
        // It is of no use to anybody; if it cannot be deleted, the gateway forgets it in time.
        let _ = client
            .json(Method::DELETE, &format!("api/transcode/{job}"), None)
            .await;
        return Err(error.context(format!("{source} cannot be played")));
    }
    let page = client.url(&format!("?job={job}"))?;
    Ok(Started { job, page, stream })
}

/// Asks for what a player asks for first. The gateway answers when the bytes are there, or with the
/// reason why they never will be.
async fn wait_until_playable(client: &GatewayClient, job: &str) -> anyhow::Result<()> {
    // Below the address that was given: the gateway may name itself as others reach it.
    let mut url = client.url(&format!("stream/{job}/master.m3u8"))?;
    while url.path().ends_with(".m3u8") {
        let playlist = client.text(&url).await?;
        let next = first_uri(&playlist).context("the gateway's playlist is empty")?;
        url = url.join(next)?;
    }
    client.begins(&url).await
}

/// The first URI line of a playlist (RFC 8216 section 4.1).
fn first_uri(playlist: &str) -> Option<&str> {
    let mut lines = playlist.lines().map(str::trim);
    lines.find(|l| !l.is_empty() && !l.starts_with('#'))
}

/// The request body. What was not asked for is left out, so that the gateway's defaults hold.
fn body(source: &str, wanted: &WantedArgs) -> Value {
    let mut output = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        output.extend(value.map(|v| (name.to_owned(), v)));
    };
    put("resolution", wanted.resolution.map(|v| v.name().into()));
    put("video_codec", wanted.video_codec.map(|v| v.name().into()));
    put("audio_codec", wanted.audio_codec.map(|v| v.name().into()));
    put("bitrate", wanted.bitrate.map(|v| v.to_string().into()));
    put("hw_accel", wanted.hw_accel.map(|v| v.name().into()));
    put(
        "max_audio_channels",
        wanted.max_audio_channels.map(Value::from),
    );
    put("burn_subtitle", wanted.burn_subtitle.map(Value::from));
    let mut body = Map::new();
    body.insert("source".into(), source.into());
    body.insert("output".into(), output.into());
    body.extend(wanted.mode.map(|m| ("mode".to_owned(), m.name().into())));
    body.extend(
        wanted
            .start_time
            .map(|t| ("start_time".to_owned(), t.as_secs_f64().into())),
    );
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Bitrate, MediaTime};
    use crate::media::{MaxResolution, VideoChoice};

    #[test]
    fn a_request_says_only_what_was_asked_for() {
        assert_eq!(
            body("f", &WantedArgs::default()),
            json!({"source": "f", "output": {}})
        );
        let wanted = WantedArgs {
            mode: Some(Mode::Stream),
            resolution: Some(MaxResolution::R720),
            video_codec: Some(VideoChoice::Av1),
            bitrate: Some(Bitrate::kbit(2500)),
            start_time: Some(MediaTime::from_micros(1_500_000)),
            max_audio_channels: Some(6),
            ..WantedArgs::default()
        };
        let expected = json!({"source": "f", "mode": "stream", "start_time": 1.5, "output": {
            "resolution": "720p", "video_codec": "av1", "bitrate": "2500k", "max_audio_channels": 6}});
        assert_eq!(body("f", &wanted), expected);
    }

    #[test]
    fn names_are_what_the_gateway_takes() {
        for (path, name) in [
            ("/films/a film (2).mkv", "a_film__2_.mkv"),
            ("Größe.mp4", "Gr__e.mp4"),
            ("..hidden", "hidden"),
            ("...", "_"),
        ] {
            assert_eq!(plain_name(Path::new(path)), name);
        }
        let long = format!("{}.mkv", "x".repeat(300));
        assert!(plain_name(Path::new(&long)).ends_with("x.mkv"));
        assert_eq!(plain_name(Path::new(&long)).len(), 100);
    }

    #[test]
    fn the_first_uri_follows_the_tags() {
        let text = "#EXTM3U\n#EXTINF:1.0,\n\nsegment_00000.ts\n#EXTINF:1.0,\nsegment_00001.ts\n";
        assert_eq!(first_uri(text), Some("segment_00000.ts"));
        assert_eq!(first_uri("#EXTM3U\n"), None);
    }
}
