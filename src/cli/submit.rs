//! `submit`: a stream or a whole file from a gateway that runs already.

use std::io::Write;

use anyhow::{Context, anyhow, bail};
use http::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::args::{SubmitArgs, WantedArgs};
use super::client::GatewayClient;
use super::inspect::local_path;
use super::transcode::format_of;
use super::whole;
use crate::media::{Mode, OutputFormat};

/// Starts the stream, waits until its first bytes can be played, and prints where; or has a whole file
/// made.
pub(super) fn submit(args: &SubmitArgs) -> anyhow::Result<()> {
    let source =
        local_path(&args.source).map_or(args.source.clone(), |p| p.to_string_lossy().into_owned());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = GatewayClient::new(args.gateway.clone(), args.api_key.clone());
    if args.is_batch() {
        let format = format(args)?;
        let mut body = body(&source, &args.wanted.clone().into_format(format));
        as_batch(&mut body, format, args.two_pass);
        return runtime.block_on(whole::run(&client, args, &body));
    }
    let body = body(&source, &args.wanted);
    let started = runtime.block_on(start(&client, &body))?;
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

struct Started {
    job: String,
    page: Url,
    stream: String,
}

async fn start(client: &GatewayClient, body: &Value) -> anyhow::Result<Started> {
    let post = client.json(Method::POST, "api/transcode/start", Some(body));
    let answer = post.await?;
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
        return Err(error.context(format!("{} cannot be played", body["source"])));
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
    fn the_first_uri_follows_the_tags() {
        let text = "#EXTM3U\n#EXTINF:1.0,\n\nsegment_00000.ts\n#EXTINF:1.0,\nsegment_00001.ts\n";
        assert_eq!(first_uri(text), Some("segment_00000.ts"));
        assert_eq!(first_uri("#EXTM3U\n"), None);
    }
}
