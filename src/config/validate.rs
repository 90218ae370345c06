//! The list of all keys, and the ranges that their types do not express. Pure.

use std::net::IpAddr;
use std::path::Path;

use url::Url;

use super::file::Config;
use super::values::{ByteSize, ToolPath};
use crate::media::MaxResolution;
use crate::source::{SourcePolicy, SourceSettings};

/// One key of the configuration.
pub(super) struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it may hold, to follow "must be".
    pub allowed: &'static str,
}

const fn key(name: &'static str, allowed: &'static str) -> Key {
    Key { name, allowed }
}

/// Every key there is, in the order of `ghoststream.yaml`.
pub(super) const KEYS: &[Key] = &[
    key("server.host", "an address or host name to listen on"),
    key("server.port", "0 to 65535 (0 = any free port)"),
    key(
        "server.advertised_url",
        "null or an http or https URL without query and fragment",
    ),
    key("server.environment", "a word of up to 64 characters"),
    key("server.max_connections", "1 to 100000"),
    key("server.max_websocket_connections", "1 to 100000"),
    key("server.header_timeout_seconds", "1 to 300 (seconds)"),
    key("sources.roots", "a list of folders"),
    key(
        "sources.allow_hosts",
        "a list of host names, *.suffixes, addresses and CIDR networks",
    ),
    key(
        "sources.deny_hosts",
        "a list of host names, *.suffixes, addresses and CIDR networks",
    ),
    key("transcoding.ffmpeg_path", "auto or the path of a program"),
    key("transcoding.ffprobe_path", "auto or the path of a program"),
    key("transcoding.temp_directory", "the path of a folder"),
    key("transcoding.max_concurrent_jobs", "1 to 256"),
    key("transcoding.segment_duration", "1 to 10 (seconds)"),
    key("transcoding.idle_timeout_seconds", "1 to 86400 (seconds)"),
    key(
        "transcoding.cache_max_bytes",
        "at least 1MiB, as bytes or a text such as 20GiB",
    ),
    key("transcoding.max_heads_per_session", "2 to 16"),
    key("transcoding.buffer_ahead_seconds", "1 to 3600 (seconds)"),
    key("transcoding.stall_timeout", "1 to 3600 (seconds)"),
    key("transcoding.retry_count", "0 to 20"),
    key("transcoding.retry_delay", "0 to 60 (seconds)"),
    key("transcoding.cleanup_after_hours", "1 to 87600 (hours)"),
    key("transcoding.tone_map_hdr", "true or false"),
    key("transcoding.enable_abr", "true or false"),
    key("transcoding.abr_max_variants", "1 to 5"),
    key(
        "transcoding.video_preset",
        "ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow or placebo",
    ),
    key(
        "transcoding.default_video_codec",
        "h264, h265, vp9, av1, copy or auto",
    ),
    key(
        "transcoding.default_audio_codec",
        "aac, opus, mp3, flac, ac3, copy or auto",
    ),
    key("hardware.prefer_hw_accel", "true or false"),
    key("hardware.fallback_to_software", "true or false"),
    key("hardware.nvenc_preset", "p1 (fast) to p7 (slow)"),
    key(
        "hardware.qsv_preset",
        "veryfast, faster, fast, medium, slow, slower or veryslow",
    ),
    key("hardware.vaapi_device", "auto or the path of a device"),
    key(
        "limits.max_resolution",
        "4k, 1440p, 1080p, 720p, 480p or 360p",
    ),
    key(
        "limits.max_bitrate",
        "10k to 1000M (a bare number counts Mbit/s)",
    ),
    key(
        "security.api_key",
        "null or a text of 1 to 512 visible ASCII characters",
    ),
    key(
        "security.allowed_origins",
        "a list of origins such as https://tv.example.org",
    ),
    key(
        "security.rate_limit_per_minute",
        "0 to 1000000 (0 = any number)",
    ),
    key("security.job_token_ttl_seconds", "1 to 31536000 (seconds)"),
    key(
        "security.callback_secret",
        "null or a text of 1 to 512 characters",
    ),
    key(
        "security.registration_secret",
        "null or a text of 1 to 512 visible ASCII characters",
    ),
    key("storage.directory", "the path of a folder"),
    key("store.url", "sqlite://FILE or a postgres:// URL"),
    key(
        "artifacts.url",
        "null, file:///FOLDER or s3://BUCKET/PREFIX",
    ),
    key(
        "artifacts.max_bytes",
        "at least 1MiB, as bytes or a text such as 64GiB",
    ),
    key("dispatch.lease_seconds", "1 to 86400 (seconds)"),
    key("dispatch.engine_expiry_seconds", "1 to 86400 (seconds)"),
    key("dispatch.job_timeout_seconds", "1 to 2592000 (seconds)"),
    key("dispatch.keep_hours", "0 to 87600 (hours; 0 = for ever)"),
    key("local_engine.enabled", "true or false"),
    key("local_engine.concurrency", "null or 1 to 256"),
    key("local_engine.patience_seconds", "0 to 86400 (seconds)"),
    key(
        "peertube.registration_token",
        "null or a text of 1 to 512 visible ASCII characters",
    ),
    key("peertube.stalled_after_seconds", "1 to 86400 (seconds)"),
    key(
        "peertube.live_stalled_after_seconds",
        "1 to 86400 (seconds)",
    ),
    key(
        "peertube.resolutions",
        "a list of pixels, each 16 to 8192, such as [360, 720]",
    ),
    key(
        "peertube.always_transcode_original_resolution",
        "true or false",
    ),
    key(
        "peertube.local_fallback_seconds",
        "null or 0 to 86400 (seconds)",
    ),
    key(
        "peertube.max_upload_bytes",
        "null or at least 1MiB, as bytes or a text such as 16GiB",
    ),
    key("grav1.password", "null or a text of 1 to 512 characters"),
    key(
        "grav1.worker_token",
        "null or 1 to 128 letters, digits, - and _",
    ),
    key("grav1.lease_seconds", "1 to 86400 (seconds)"),
    key("grav1.max_attempts", "1 to 1000"),
    key(
        "grav1.encoder_versions",
        "a mapping of aom and vpx to null or a line of ASCII text",
    ),
    key("mdns.enabled", "true or false"),
    key(
        "mdns.service_name",
        "1 to 48 characters, none of them a dot",
    ),
    key(
        "ghosthub.url",
        "null or an http or https URL without query and fragment",
    ),
    key("ghosthub.auto_register", "true or false"),
    key("ghosthub.register_interval_seconds", "1 to 86400 (seconds)"),
    key("queries.concurrency", "1 to 256"),
    key("queries.queue_timeout_seconds", "1 to 3600 (seconds)"),
    key("queries.timeout_seconds", "1 to 3600 (seconds)"),
    key("queries.legacy_errors", "true or false"),
    key(
        "queries.cache_max_bytes",
        "a size, as bytes or a text such as 512MiB",
    ),
    key(
        "queries.max_download_bytes",
        "a size, as bytes or a text such as 1GiB",
    ),
    key("logging.level", "TRACE, DEBUG, INFO, WARNING or ERROR"),
    key("logging.format", "json or text"),
    key("logging.file", "null or the path of a file"),
    key("logging.requests", "true or false"),
];

const NVENC_PRESETS: [&str; 7] = ["p1", "p2", "p3", "p4", "p5", "p6", "p7"];
const QSV_PRESETS: [&str; 7] = [
    "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
];

/// The keys whose values are out of range.
pub(super) fn out_of_range(config: &Config) -> Vec<&'static str> {
    let Config {
        server,
        sources,
        transcoding: t,
        hardware: h,
        limits,
        security,
        storage,
        store,
        artifacts,
        dispatch,
        local_engine,
        peertube,
        grav1,
        mdns,
        ghosthub,
        queries,
        logging,
    } = config;
    let checks = [
        ("server.host", is_host(&server.host)),
        (
            "server.advertised_url",
            server.advertised_url.as_ref().is_none_or(is_base),
        ),
        ("server.environment", is_word(&server.environment)),
        (
            "server.max_connections",
            (1..=100_000).contains(&server.max_connections),
        ),
        (
            "server.max_websocket_connections",
            (1..=100_000).contains(&server.max_websocket_connections),
        ),
        (
            "server.header_timeout_seconds",
            (1..=300).contains(&server.header_timeout_seconds),
        ),
        ("sources.roots", sources.roots.iter().all(|p| is_path(p))),
        ("sources.allow_hosts", are_host_rules(&sources.allow_hosts)),
        ("sources.deny_hosts", are_host_rules(&sources.deny_hosts)),
        ("transcoding.ffmpeg_path", is_tool(&t.ffmpeg_path)),
        ("transcoding.ffprobe_path", is_tool(&t.ffprobe_path)),
        ("transcoding.temp_directory", is_path(&t.temp_directory)),
        (
            "transcoding.max_concurrent_jobs",
            (1..=256).contains(&t.max_concurrent_jobs),
        ),
        (
            "transcoding.segment_duration",
            (1..=10).contains(&t.segment_duration),
        ),
        (
            "transcoding.idle_timeout_seconds",
            (1..=86_400).contains(&t.idle_timeout_seconds),
        ),
        (
            "transcoding.cache_max_bytes",
            t.cache_max_bytes >= ByteSize::mib(1),
        ),
        (
            "hardware.nvenc_preset",
            NVENC_PRESETS.contains(&h.nvenc_preset.as_str()),
        ),
        (
            "hardware.qsv_preset",
            QSV_PRESETS.contains(&h.qsv_preset.as_str()),
        ),
        ("hardware.vaapi_device", !h.vaapi_device.trim().is_empty()),
        ("transcoding.retry_count", t.retry_count <= 20),
        ("transcoding.retry_delay", t.retry_delay <= 60),
        (
            "transcoding.cleanup_after_hours",
            (1..=87_600).contains(&t.cleanup_after_hours),
        ),
        (
            "transcoding.abr_max_variants",
            (1..=5).contains(&t.abr_max_variants),
        ),
        (
            "transcoding.max_heads_per_session",
            (2..=16).contains(&t.max_heads_per_session),
        ),
        (
            "transcoding.buffer_ahead_seconds",
            (1..=3_600).contains(&t.buffer_ahead_seconds),
        ),
        (
            "transcoding.stall_timeout",
            (1..=3_600).contains(&t.stall_timeout),
        ),
        (
            "limits.max_resolution",
            limits.max_resolution != MaxResolution::Original,
        ),
        (
            "security.api_key",
            security.api_key.as_deref().is_none_or(is_header_text),
        ),
        (
            "security.allowed_origins",
            security.allowed_origins.iter().all(|o| is_origin(o)),
        ),
        (
            "security.rate_limit_per_minute",
            security.rate_limit_per_minute <= 1_000_000,
        ),
        (
            "security.job_token_ttl_seconds",
            (1..=31_536_000).contains(&security.job_token_ttl_seconds),
        ),
        (
            "security.callback_secret",
            security
                .callback_secret
                .as_ref()
                .is_none_or(|s| (1..=512).contains(&s.len())),
        ),
        (
            "security.registration_secret",
            security
                .registration_secret
                .as_deref()
                .is_none_or(is_header_text),
        ),
        ("storage.directory", is_path(&storage.directory)),
        ("store.url", is_store(&store.url)),
        (
            "artifacts.url",
            artifacts.url.as_ref().is_none_or(is_artifacts),
        ),
        (
            "artifacts.max_bytes",
            artifacts.max_bytes >= ByteSize::mib(1),
        ),
        (
            "dispatch.lease_seconds",
            (1..=86_400).contains(&dispatch.lease_seconds),
        ),
        (
            "dispatch.engine_expiry_seconds",
            (1..=86_400).contains(&dispatch.engine_expiry_seconds),
        ),
        (
            "dispatch.job_timeout_seconds",
            (1..=2_592_000).contains(&dispatch.job_timeout_seconds),
        ),
        ("dispatch.keep_hours", dispatch.keep_hours <= 87_600),
        (
            "local_engine.concurrency",
            local_engine
                .concurrency
                .is_none_or(|n| (1..=256).contains(&n)),
        ),
        (
            "local_engine.patience_seconds",
            local_engine.patience_seconds <= 86_400,
        ),
        (
            "peertube.registration_token",
            peertube
                .registration_token
                .as_deref()
                .is_none_or(is_header_text),
        ),
        (
            "peertube.stalled_after_seconds",
            (1..=86_400).contains(&peertube.stalled_after_seconds),
        ),
        (
            "peertube.live_stalled_after_seconds",
            (1..=86_400).contains(&peertube.live_stalled_after_seconds),
        ),
        (
            "peertube.resolutions",
            peertube
                .resolutions
                .iter()
                .all(|side| (16..=8192).contains(side)),
        ),
        (
            "peertube.local_fallback_seconds",
            peertube.local_fallback_seconds.is_none_or(|s| s <= 86_400),
        ),
        (
            "peertube.max_upload_bytes",
            peertube
                .max_upload_bytes
                .is_none_or(|b| b >= ByteSize::mib(1)),
        ),
        (
            "grav1.password",
            grav1
                .password
                .as_ref()
                .is_none_or(|p| (1..=512).contains(&p.len())),
        ),
        (
            "grav1.worker_token",
            grav1.worker_token.as_deref().is_none_or(is_path_word),
        ),
        (
            "grav1.lease_seconds",
            (1..=86_400).contains(&grav1.lease_seconds),
        ),
        (
            "grav1.max_attempts",
            (1..=1_000).contains(&grav1.max_attempts),
        ),
        ("grav1.encoder_versions", {
            let versions = &grav1.encoder_versions;
            let all = [&versions.aom, &versions.vpx];
            all.into_iter().flatten().all(|v| is_line(v))
        }),
        ("mdns.service_name", is_service_name(&mdns.service_name)),
        ("ghosthub.url", ghosthub.url.as_ref().is_none_or(is_base)),
        (
            "ghosthub.register_interval_seconds",
            (1..=86_400).contains(&ghosthub.register_interval_seconds),
        ),
        (
            "queries.concurrency",
            (1..=256).contains(&queries.concurrency),
        ),
        (
            "queries.queue_timeout_seconds",
            (1..=3_600).contains(&queries.queue_timeout_seconds),
        ),
        (
            "queries.timeout_seconds",
            (1..=3_600).contains(&queries.timeout_seconds),
        ),
        ("logging.file", logging.file.as_deref().is_none_or(is_path)),
    ];
    checks
        .iter()
        .filter(|(_, holds)| !holds)
        .map(|(key, _)| *key)
        .collect()
}

fn is_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// What can stand in a header as it is.
fn is_header_text(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What can stand in a header, blanks included.
fn is_line(text: &str) -> bool {
    let plain = |b: u8| b == b' ' || b.is_ascii_graphic();
    (1..=512).contains(&text.len()) && text.bytes().all(plain)
}

/// What can stand in a path as it is.
fn is_path_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(plain)
}

/// As browsers write it: scheme, host and port, nothing else (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| is_base(&url) && url.origin().ascii_serialization() == text)
}

/// One label of DNS, with room for the ` (2)` of a second gateway.
fn is_service_name(name: &str) -> bool {
    is_word(name) && name.len() <= 48 && !name.contains('.')
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 64 && !text.chars().any(char::is_control)
}

fn is_store(url: &str) -> bool {
    match url.split_once("://") {
        Some(("sqlite", file)) => !file.is_empty(),
        Some(("postgres" | "postgresql", _)) => Url::parse(url).is_ok(),
        _ => false,
    }
}

fn is_artifacts(url: &Url) -> bool {
    match url.scheme() {
        "file" => url.to_file_path().is_ok(),
        "s3" => url.has_host(),
        _ => false,
    }
}

fn is_path(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn is_tool(tool: &ToolPath) -> bool {
    match tool {
        ToolPath::Auto => true,
        ToolPath::Path(path) => is_path(path),
    }
}

/// An address or a host name of letters, digits, `-`, `_` and dots (RFC 1123, with the underscore that
/// local names use).
fn is_host(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// Whether the module that applies these rules takes them.
fn are_host_rules(rules: &[String]) -> bool {
    let settings = SourceSettings {
        allow_hosts: rules.to_vec(),
        deny_hosts: Vec::new(),
        ..SourceSettings::default()
    };
    SourcePolicy::new(settings).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_list_is_the_shape_of_the_file() {
        let tree = serde_yaml::to_value(Config::default()).unwrap();
        let mut shape = Vec::new();
        for (section, keys) in tree.as_mapping().unwrap() {
            for key in keys.as_mapping().unwrap().keys() {
                shape.push(format!(
                    "{}.{}",
                    section.as_str().unwrap(),
                    key.as_str().unwrap()
                ));
            }
        }
        assert_eq!(KEYS.iter().map(|k| k.name).collect::<Vec<_>>(), shape);
    }

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(out_of_range(&Config::default()), Vec::<&str>::new());
    }

    #[test]
    fn listeners_are_names_and_addresses() {
        for good in ["nas", "a.example.org", "0.0.0.0", "::", "my_box.lan"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "a b",
            "http://a",
            "a..b",
            "a/b",
            "10.0.0.0/8",
            "[::1]",
            "a:80",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn host_rules_are_those_of_the_source_module() {
        let rules = |text: &str| are_host_rules(&["nas".into(), text.into()]);
        assert!(rules("*.example.org") && rules("10.0.0.0/8") && rules("::1"));
        assert!(!rules("") && !rules("http://a") && !rules("10.0.0.0/40"));
    }
}
