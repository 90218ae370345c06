//! Flags and subcommands, as clap reads them.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand};
use url::Url;

use crate::base::{Bitrate, MediaTime};
use crate::config::Overrides;
use crate::media::{AudioChoice, HwAccel, MaxResolution, Mode, OutputFormat, VideoChoice};
use crate::telemetry::{LogFormat, LogLevel};

const EXAMPLES: &str = "\
Examples:
  ghoststream                                   serve with the configuration that is found
  ghoststream --port 9000 --log-format text     serve on another port, with readable log lines
  ghoststream probe film.mkv                    show what a file holds
  ghoststream plan film.mkv --resolution 720p   show how it would be streamed
  ghoststream submit film.mkv                   play it with the gateway that runs on this machine
  ghoststream submit film.mkv --wait -o out.mp4 have a gateway make a whole file, and fetch it
  ghoststream transcode film.mkv film.mp4       make a whole file here, without a gateway
  ghoststream engine --gateway nas:8765         do queued work of a gateway on this machine
  ghoststream token create peertube             print how a PeerTube runner registers
  ghoststream config check                      tell everything that is wrong with the configuration

Without a subcommand the gateway serves. The configuration file is the first of ./ghoststream.yaml,
./ghoststream.yml, ./config/ghoststream.yaml, ~/.config/ghoststream/ghoststream.yaml and
/etc/ghoststream/ghoststream.yaml, or none: every key has a default. The ghoststream.yaml of the
distribution explains them all. GHOSTSTREAM__SECTION__KEY in the environment overrides a key.";

/// Streaming media gateway: any video file or URL becomes a stream that plays at once and seeks anywhere.
#[derive(Debug, Parser)]
#[command(
    name = "ghoststream",
    bin_name = "ghoststream",
    display_name = "GhostStream",
    version = concat!("v", env!("CARGO_PKG_VERSION")),
    disable_version_flag = true,
    after_help = EXAMPLES
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file; without it the usual places are searched
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Least severe event that is logged: trace, debug, info, warning or error [config: logging.level]
    #[arg(long, value_name = "LEVEL", global = true, value_parser = log_level)]
    pub log_level: Option<LogLevel>,

    /// Shape of log lines [config: logging.format]
    #[arg(long, value_name = "FORMAT", global = true, value_parser = names::<LogFormat>(LogFormat::NAMES))]
    pub log_format: Option<LogFormat>,

    /// Test what encodes on this machine, print it and exit
    #[arg(long)]
    pub detect_hw: bool,

    /// Print the version and exit
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,

    /// Flags of `serve`, which may stand without the word.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do; without one, serve.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Serve(ServeArgs),
    /// Show what a source holds: container, tracks, sizes, rates
    Probe(ProbeArgs),
    /// Show how a source would be streamed: copied or encoded tracks and the ffmpeg command lines
    Plan(PlanArgs),
    /// Start a stream on a running gateway and print where to watch it, or have it make a whole file
    Submit(SubmitArgs),
    /// Make a whole file of a source on this machine, without a gateway
    Transcode(TranscodeArgs),
    /// Do queued work of a gateway until SIGTERM or Ctrl-C, then give back what is not done
    Engine(EngineArgs),
    /// Make tokens with which others work for the gateway
    Token(TokenArgs),
    /// Work on the configuration
    Config(ConfigArgs),
    /// Print the description of the API, as OpenAPI 3.1
    Openapi,
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// Address or host name to listen on [config: server.host]
    #[arg(long, value_name = "ADDR")]
    pub host: Option<String>,

    /// TCP port; 0 takes any free one [config: server.port]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,

    /// Do not announce the gateway on the local network [config: mdns.enabled]
    #[arg(long)]
    pub no_mdns: bool,

    /// Write the gateway's address, http://ADDR:PORT, to this file as soon as it answers
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// File or URL
    pub source: String,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// File or URL
    pub source: String,

    #[command(flatten)]
    pub wanted: WantedArgs,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct SubmitArgs {
    /// File or URL; the gateway reads it. A file that lies in none of its sources.roots is sent to it
    pub source: String,

    /// Address of the gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8765", value_parser = gateway)]
    pub gateway: Url,

    /// Key of the gateway, if it has one [its config: security.api_key]
    #[arg(
        long,
        value_name = "KEY",
        env = "GHOSTSTREAM_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,

    #[command(flatten)]
    pub wanted: WantedArgs,

    /// Send the file, even if the gateway has one of the same name
    #[arg(long)]
    pub upload: bool,

    /// Have a whole file made and wait until it is there
    #[arg(long)]
    pub wait: bool,

    /// Fetch the whole file when it is made; its ending chooses the format, unless --format does
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Have a whole file of this format made
    #[arg(long, value_name = "FORMAT", value_parser = names::<OutputFormat>(&["mp4", "mkv", "webm", "hls"]))]
    pub format: Option<OutputFormat>,

    /// Encode a whole file in two passes; needs --bitrate
    #[arg(long)]
    pub two_pass: bool,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl SubmitArgs {
    /// Whether a whole file is wanted, and not a stream.
    pub fn is_batch(&self) -> bool {
        let named = self.output.is_some() || self.format.is_some();
        self.wait || named || self.two_pass || self.wanted.mode == Some(Mode::Batch)
    }
}

#[derive(Debug, clap::Args)]
pub struct TranscodeArgs {
    /// File or URL
    pub source: String,

    /// The file to make: .mp4, .mkv or .webm
    pub output: PathBuf,

    #[command(flatten)]
    pub wanted: WantedArgs,

    /// Encode in two passes; needs --bitrate
    #[arg(long)]
    pub two_pass: bool,

    /// Replace the output if it is there
    #[arg(short = 'y', long)]
    pub overwrite: bool,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// What stream is wanted; what is absent is left to the configuration of the gateway.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WantedArgs {
    /// stream = one quality, abr = several to choose from, batch = a whole file
    #[arg(long, value_parser = names::<Mode>(&["stream", "abr", "batch"]))]
    pub mode: Option<Mode>,

    /// Largest picture; nothing is scaled up
    #[arg(long, value_name = "SIZE", value_parser = names::<MaxResolution>(MaxResolution::NAMES))]
    pub resolution: Option<MaxResolution>,

    /// Video codec [config: transcoding.default_video_codec]
    #[arg(long, value_name = "CODEC", visible_alias = "codec", value_parser = names::<VideoChoice>(VideoChoice::NAMES))]
    pub video_codec: Option<VideoChoice>,

    /// Audio codec [config: transcoding.default_audio_codec]
    #[arg(long, value_name = "CODEC", value_parser = names::<AudioChoice>(AudioChoice::NAMES))]
    pub audio_codec: Option<AudioChoice>,

    /// Video bit rate: 8M, 800k, or a bare number of Mbit/s. Without it the picture size decides
    #[arg(long, value_name = "RATE")]
    pub bitrate: Option<Bitrate>,

    /// Hardware that encodes
    #[arg(long, value_name = "NAME", value_parser = names::<HwAccel>(HwAccel::NAMES))]
    pub hw_accel: Option<HwAccel>,

    /// Where in the source the stream begins, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub start_time: Option<MediaTime>,

    /// Most audio channels, 1 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub max_audio_channels: Option<u32>,

    /// Draw picture subtitles into the video: number of the track, from 0
    #[arg(long, value_name = "N")]
    pub burn_subtitle: Option<u32>,
}

impl WantedArgs {
    /// The same for a file of `format`, which may not take the usual codecs.
    pub fn into_format(mut self, format: OutputFormat) -> WantedArgs {
        if format == OutputFormat::Webm {
            self.video_codec.get_or_insert(VideoChoice::Vp9);
            self.audio_codec.get_or_insert(AudioChoice::Opus);
        }
        self
    }
}

#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Address of the gateway; without it, one that announces itself on the local network is taken
    #[arg(long, value_name = "URL", visible_alias = "server", value_parser = gateway)]
    pub gateway: Option<Url>,

    /// The gateway's API key
    #[arg(
        long,
        value_name = "KEY",
        env = "GHOSTSTREAM_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,

    /// Name of this engine, as the gateway lists it; without it one is made up
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,

    /// Jobs done at the same time, 1 to 256 [config: local_engine.concurrency]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print how it is used; works whether or not the gateway runs
    Create {
        /// For whom
        kind: TokenKind,

        /// Address under which they reach the gateway [config: server.advertised_url]
        #[arg(long, value_name = "URL", value_parser = gateway)]
        url: Option<Url>,

        /// Name of the runner
        #[arg(long, value_name = "NAME", default_value = "my-runner")]
        name: String,
    },
}

/// Whom a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenKind {
    /// PeerTube's runners, which transcode videos for the gateway
    Peertube,
}

#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration, tell everything that is wrong with it, and exit (0 = valid, 1 = not)
    Check {
        /// File to check instead of the one that `--config` or the search finds
        file: Option<PathBuf>,
    },
}

impl Args {
    /// The flags of `serve`, whether they stand before the word, after it, or without it; behind the
    /// word wins.
    pub fn serve_args(&self) -> ServeArgs {
        let Some(Command::Serve(after)) = &self.command else {
            return self.serve.clone();
        };
        ServeArgs {
            host: after.host.clone().or_else(|| self.serve.host.clone()),
            port: after.port.or(self.serve.port),
            no_mdns: after.no_mdns || self.serve.no_mdns,
            ready_file: after
                .ready_file
                .clone()
                .or_else(|| self.serve.ready_file.clone()),
        }
    }

    /// What the flags say of the configuration.
    pub fn overrides(&self) -> Overrides {
        let serve = self.serve_args();
        Overrides {
            host: serve.host,
            port: serve.port,
            no_mdns: serve.no_mdns,
            log_level: self.log_level,
            log_format: self.log_format,
        }
    }
}

/// A parser that lists the names a type knows, in the help text and in errors.
fn names<T>(known: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(known).try_map(|name| {
        name.parse::<T>()
            .map_err(|_| format!("'{name}' is not known"))
    })
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    text.parse()
        .map_err(|e| format!("{e}; there are {}", LogLevel::NAMES.join(", ")))
}

fn seconds(text: &str) -> Result<MediaTime, &'static str> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=1e9).contains(&s) => Ok(MediaTime::from_secs_f64(s)),
        _ => Err("not a number of seconds, 0 or more"),
    }
}

/// The folder below which a gateway's paths lie; `http://` may be left out.
fn gateway(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let mut url = Url::parse(&full).map_err(|e| e.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("a gateway is reached by http or https".into());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let folder = format!("{}/", url.path());
        url.set_path(&folder);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_stand_before_after_or_without_the_word() {
        for line in [
            "ghoststream --port 0 --ready-file r -c f.yaml --log-level warn",
            "ghoststream serve --port 0 --ready-file r -c f.yaml --log-level warn",
            "ghoststream --log-level warn -c f.yaml --port 1 --ready-file r serve --port 0",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.serve_args().port, Some(0), "{line}");
            assert_eq!(args.serve_args().ready_file, Some("r".into()), "{line}");
            assert_eq!(args.config, Some("f.yaml".into()), "{line}");
            assert_eq!(
                args.overrides().log_level,
                Some(LogLevel::Warning),
                "{line}"
            );
        }
    }

    #[test]
    fn no_flag_overrides_nothing() {
        assert_eq!(
            parse("ghoststream").unwrap().overrides(),
            Overrides::default()
        );
    }

    #[test]
    fn the_version_is_one_line_with_the_name() {
        for flag in ["-v", "--version"] {
            let text = parse(&format!("ghoststream {flag}")).unwrap_err();
            assert_eq!(text.kind(), ErrorKind::DisplayVersion);
            assert_eq!(
                text.to_string(),
                format!("GhostStream v{}\n", env!("CARGO_PKG_VERSION"))
            );
        }
    }

    #[test]
    fn plan_reads_what_a_request_may_hold() {
        let line = "ghoststream plan f.mkv --mode abr --resolution 720p --video-codec av1 \
                    --audio-codec opus --bitrate 8 --start-time 1.5 --hw-accel vaapi";
        let Some(Command::Plan(PlanArgs { wanted: plan, .. })) = parse(line).unwrap().command
        else {
            panic!("no plan")
        };
        assert_eq!(plan.mode, Some(Mode::Abr));
        assert_eq!(plan.resolution, Some(MaxResolution::R720));
        assert_eq!(plan.video_codec, Some(VideoChoice::Av1));
        assert_eq!(plan.audio_codec, Some(AudioChoice::Opus));
        assert_eq!(plan.bitrate, Some(Bitrate::kbit(8_000)));
        assert_eq!(plan.start_time, Some(MediaTime::from_micros(1_500_000)));
        assert_eq!(plan.hw_accel, Some(HwAccel::Vaapi));
    }

    #[test]
    fn a_gateway_is_named_by_url_or_by_host_and_port() {
        let cases = [
            ("submit f", "http://127.0.0.1:8765/"),
            ("submit f --gateway nas:9000", "http://nas:9000/"),
            ("submit f --gateway [::1]:9000", "http://[::1]:9000/"),
            ("submit f --gateway https://h/video?x#y", "https://h/video/"),
        ];
        for flag in ["gateway", "server"] {
            let args = parse(&format!("ghoststream engine --{flag} nas:1"));
            let Some(Command::Engine(engine)) = args.unwrap().command else {
                panic!("no engine")
            };
            assert_eq!(engine.gateway.unwrap().as_str(), "http://nas:1/");
        }
        for (line, url) in cases {
            let args = parse(&format!("ghoststream {line}")).unwrap();
            let Some(Command::Submit(submit)) = args.command else {
                panic!("no submit")
            };
            assert_eq!(submit.gateway.as_str(), url, "{line}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_the_known_ones() {
        let cases = [
            ("ghoststream --port 65536", "65535"),
            ("ghoststream --log-format xml", "json, text"),
            (
                "ghoststream --log-level loud",
                "TRACE, DEBUG, INFO, WARNING, ERROR",
            ),
            ("ghoststream plan f --resolution 8k", "1440p"),
            ("ghoststream plan f --start-time -1", "--start-time"),
            ("ghoststream plan f --start-time nan", "seconds"),
            ("ghoststream plan f --bitrate fast", "bitrate"),
            ("ghoststream submit f --gateway ftp://h", "http or https"),
            ("ghoststream submit f --gateway :80", "--gateway"),
            ("ghoststream engine --server h --concurrency 0", "1..=256"),
            ("ghoststream play f", "play"),
        ];
        for (line, told) in cases {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
