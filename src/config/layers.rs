//! Values of several origins laid over each other, and the problems found on the way. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::describe::Origins;
use super::error::{Origin, Problem};
use super::file::Config;
use super::validate::{KEYS, Key, out_of_range};

/// Prefix of the environment variables that set a key.
const PREFIX: &str = "GHOSTSTREAM__";

/// The values of all origins read so far: the later one wins.
#[derive(Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Layers {
    /// Lays the content of a file over what is there.
    ///
    /// # Errors
    /// The text is no YAML document.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), serde_yaml::Error> {
        let origin = Origin::File(path.to_path_buf());
        let sections = match serde_yaml::from_str(text)? {
            Value::Null => return Ok(()),
            Value::Mapping(sections) => sections,
            other => {
                let text = format!("must be a mapping of sections, is {}", shown(&other));
                self.problem("configuration", &origin, text);
                return Ok(());
            }
        };
        for (section, keys) in sections {
            let section = shown(&section);
            if !KEYS.iter().any(|k| section_of(k.name) == section) {
                self.unknown_section(&section, &origin);
                continue;
            }
            let keys = match keys {
                Value::Null => continue,
                Value::Mapping(keys) => keys,
                other => {
                    let text = format!("must be a mapping of keys, is {}", shown(&other));
                    self.problem(&section, &origin, text);
                    continue;
                }
            };
            for (key, value) in keys {
                let name = format!("{section}.{}", shown(&key));
                match find(&name) {
                    Some(key) => self.set(key.name, value, origin.clone()),
                    None => self.unknown_key(&name, &origin),
                }
            }
        }
        Ok(())
    }

    /// Lays one environment variable over what is there. Variables without our prefix are none of
    /// ours and pass.
    pub(super) fn add_variable(&mut self, name: &str, text: Option<&str>) {
        let Some(path) = name.strip_prefix(PREFIX) else {
            return;
        };
        let origin = Origin::Environment(name.into());
        let path = path.to_ascii_lowercase().replacen("__", ".", 1);
        match (find(&path), text) {
            (None, _) => self.unknown_key(&path, &origin),
            (Some(key), None) => self.problem(key.name, &origin, "is not UTF-8".into()),
            (Some(key), Some(text)) => self.set(key.name, from_variable(key.name, text), origin),
        }
    }

    /// Sets one key, whatever set it before.
    pub(super) fn set(&mut self, name: &'static str, value: Value, origin: Origin) {
        self.values.insert(name, (value, origin));
    }

    /// What set each key that is set.
    pub(super) fn origins(&self) -> Origins {
        let values = self.values.iter();
        values
            .map(|(name, (_, origin))| (*name, origin.clone()))
            .collect()
    }

    /// The configuration these values make.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub(super) fn finish(mut self) -> Result<Config, Vec<Problem>> {
        let mut problems = std::mem::take(&mut self.problems);
        let mut tree = Mapping::new();
        for (name, (value, _)) in &self.values {
            if read(document(name, value.clone())).is_ok() {
                insert(&mut tree, name, value.clone());
            } else {
                problems.extend(self.not_allowed(name));
            }
        }
        match read(Value::Mapping(tree)) {
            Ok(config) => {
                problems.extend(
                    out_of_range(&config)
                        .into_iter()
                        .filter_map(|k| self.not_allowed(k)),
                );
                if problems.is_empty() {
                    Ok(config)
                } else {
                    Err(problems)
                }
            }
            Err(error) => {
                let (key, text) = ("configuration".into(), error.to_string());
                problems.push(Problem {
                    key,
                    origin: Origin::Default,
                    text,
                });
                Err(problems)
            }
        }
    }

    fn not_allowed(&self, name: &str) -> Option<Problem> {
        let (key, (value, origin)) = (find(name)?, self.values.get(name)?);
        let text = format!("must be {}, is {}", key.allowed, shown(value));
        Some(Problem {
            key: name.into(),
            origin: origin.clone(),
            text,
        })
    }

    fn problem(&mut self, key: &str, origin: &Origin, text: String) {
        self.problems.push(Problem {
            key: key.into(),
            origin: origin.clone(),
            text,
        });
    }

    fn unknown_section(&mut self, section: &str, origin: &Origin) {
        let mut sections: Vec<_> = KEYS.iter().map(|k| section_of(k.name)).collect();
        sections.dedup();
        self.problem(
            section,
            origin,
            format!("unknown section; there are {}", sections.join(", ")),
        );
    }

    fn unknown_key(&mut self, name: &str, origin: &Origin) {
        let section = section_of(name);
        let of_section = |k: &Key| k.name.strip_prefix(section)?.strip_prefix('.');
        let keys: Vec<_> = KEYS.iter().filter_map(of_section).collect();
        if keys.is_empty() {
            return self.unknown_section(section, origin);
        }
        self.problem(
            name,
            origin,
            format!("unknown key; {section} has {}", keys.join(", ")),
        );
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

fn section_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(section, _)| section)
}

/// The one place where a YAML tree becomes the configuration.
fn read(tree: Value) -> Result<Config, serde_yaml::Error> {
    serde_yaml::from_value(tree)
}

/// A document that holds one key only.
fn document(name: &str, value: Value) -> Value {
    let mut tree = Mapping::new();
    insert(&mut tree, name, value);
    Value::Mapping(tree)
}

fn insert(tree: &mut Mapping, name: &str, value: Value) {
    let (section, key) = name.split_once('.').unwrap_or(("", name));
    let keys = tree
        .entry(section.into())
        .or_insert_with(|| Value::Mapping(Mapping::new()));
    if let Value::Mapping(keys) = keys {
        keys.insert(key.into(), value);
    }
}

/// Reads a variable's text as YAML. Where that is no value of the key, the text itself counts (an IPv6
/// address is a mapping to YAML), then a list of that one text.
fn from_variable(name: &str, text: &str) -> Value {
    let parsed = serde_yaml::from_str(text).unwrap_or_else(|_| Value::from(text));
    let list = if text.is_empty() {
        Vec::new()
    } else {
        vec![Value::from(text)]
    };
    let readings = [parsed.clone(), Value::from(text), Value::Sequence(list)];
    let fits = |value: &Value| read(document(name, value.clone())).is_ok();
    readings.into_iter().find(fits).unwrap_or(parsed)
}

/// A value in one short line.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_else(|_| "a value of another kind".into()),
    };
    let mut short: String = text
        .chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    match value {
        Value::String(_) if short.is_empty() || short.contains(' ') => format!("'{short}'"),
        _ => short,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::values::{ByteSize, ToolPath};
    use super::*;
    use crate::base::Bitrate;
    use crate::media::{MaxResolution, VideoChoice};
    use crate::telemetry::LogLevel;

    fn file(text: &str) -> Result<Config, Vec<Problem>> {
        let mut layers = Layers::default();
        layers.add_file(Path::new("f.yaml"), text).unwrap();
        layers.finish()
    }

    fn variable(name: &str, text: &str) -> Result<Config, Vec<Problem>> {
        let mut layers = Layers::default();
        layers.add_variable(name, Some(text));
        layers.finish()
    }

    fn texts(result: Result<Config, Vec<Problem>>) -> Vec<String> {
        result.unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn nothing_is_the_default() {
        for empty in [
            "",
            "# only a comment\n",
            "server:\n",
            "server: {}\nlogging:\n",
        ] {
            assert_eq!(file(empty).unwrap(), Config::default(), "{empty:?}");
        }
    }

    #[test]
    fn values_of_every_kind_are_read() {
        let config = file(
            "server: {port: 0, advertised_url: 'https://m.example.org/gs'}\n\
             sources: {roots: [/srv/films, ./clips], allow_hosts: ['10.0.0.0/8']}\n\
             transcoding: {ffmpeg_path: /opt/ffmpeg, cache_max_bytes: 1500MB, default_video_codec: auto}\n\
             limits: {max_resolution: 720p, max_bitrate: 8}\n\
             logging: {level: debug}\n",
        )
        .unwrap();
        assert_eq!(config.server.port, 0);
        assert_eq!(
            config.server.advertised_url.unwrap().as_str(),
            "https://m.example.org/gs"
        );
        assert_eq!(
            config.sources.roots,
            [PathBuf::from("/srv/films"), "./clips".into()]
        );
        assert_eq!(
            config.transcoding.ffmpeg_path,
            ToolPath::Path("/opt/ffmpeg".into())
        );
        assert_eq!(config.transcoding.cache_max_bytes, ByteSize(1_500_000_000));
        assert_eq!(config.transcoding.default_video_codec, VideoChoice::Auto);
        assert_eq!(config.limits.max_resolution, MaxResolution::R720);
        assert_eq!(config.limits.max_bitrate, Bitrate::kbit(8_000));
        assert_eq!(config.logging.level, LogLevel::Debug);
        assert_eq!(config.transcoding.segment_duration, 4);
    }

    #[test]
    fn all_problems_are_told_at_once_with_key_range_and_origin() {
        let mut layers = Layers::default();
        let text = "server: {port: 70000, prot: 1, host: 'a b'}\n\
                    transcoding: {segment_duration: 0, max_heads_per_session: four}\n\
                    hardware: {gpu: 1}\nlimits: 3\n";
        layers.add_file(Path::new("f.yaml"), text).unwrap();
        layers.add_variable("GHOSTSTREAM__LOGGING__FORMAT", Some("xml"));
        layers.add_variable("GHOSTSTREAM__SERVER__PROT", Some("1"));
        layers.add_variable("GHOSTSTREAM__NOSUCH", Some("1"));
        layers.add_variable("GHOSTSTREAM_ENV", Some("production"));
        layers.set(
            "server.max_connections",
            0.into(),
            Origin::Flag("--max-connections"),
        );
        let mut told = texts(layers.finish());
        told.sort();
        let keys = "server has host, port, advertised_url, environment, max_connections, \
                    max_websocket_connections, header_timeout_seconds";
        let sections = "unknown section; there are server, sources, transcoding, hardware, limits, \
                        security, storage, store, artifacts, dispatch, local_engine, peertube, grav1, \
                        mdns, ghosthub, queries, logging";
        assert_eq!(
            told,
            [
                "hardware.gpu: unknown key; hardware has prefer_hw_accel, fallback_to_software, \
                 nvenc_preset, qsv_preset, videotoolbox_preset, vaapi_device (f.yaml)"
                    .into(),
                "limits: must be a mapping of keys, is 3 (f.yaml)".into(),
                "logging.format: must be json or text, is xml (environment GHOSTSTREAM__LOGGING__FORMAT)".into(),
                format!("nosuch: {sections} (environment GHOSTSTREAM__NOSUCH)"),
                "server.host: must be an address or host name to listen on, is 'a b' (f.yaml)".into(),
                "server.max_connections: must be 1 to 100000, is 0 (--max-connections)".into(),
                "server.port: must be 0 to 65535 (0 = any free port), is 70000 (f.yaml)".into(),
                format!("server.prot: unknown key; {keys} (environment GHOSTSTREAM__SERVER__PROT)"),
                format!("server.prot: unknown key; {keys} (f.yaml)"),
                "transcoding.max_heads_per_session: must be 2 to 16, is four (f.yaml)".into(),
                "transcoding.segment_duration: must be 1 to 10 (seconds), is 0 (f.yaml)".into(),
            ]
        );
    }

    #[test]
    fn ranges_end_where_they_say() {
        let cases = [
            ("server: {port: 65535}", "server: {port: 65536}"),
            (
                "transcoding: {segment_duration: 10}",
                "transcoding: {segment_duration: 11}",
            ),
            (
                "transcoding: {max_heads_per_session: 2}",
                "transcoding: {max_heads_per_session: 1}",
            ),
            (
                "transcoding: {max_heads_per_session: 16}",
                "transcoding: {max_heads_per_session: 17}",
            ),
            (
                "transcoding: {cache_max_bytes: 1MiB}",
                "transcoding: {cache_max_bytes: 1048575}",
            ),
            (
                "hardware: {nvenc_preset: p7}",
                "hardware: {nvenc_preset: p8}",
            ),
            ("hardware: {qsv_preset: slow}", "hardware: {qsv_preset: p4}"),
            (
                "transcoding: {video_preset: slow}",
                "transcoding: {video_preset: p4}",
            ),
            (
                "limits: {max_bitrate: 1000M}",
                "limits: {max_bitrate: 1001M}",
            ),
            (
                "limits: {max_resolution: 360p}",
                "limits: {max_resolution: original}",
            ),
            (
                "server: {advertised_url: 'http://a:1/b'}",
                "server: {advertised_url: 'ftp://a'}",
            ),
            (
                "server: {advertised_url: null}",
                "server: {advertised_url: 'http://a/?b'}",
            ),
            ("sources: {roots: []}", "sources: {roots: ['']}"),
            (
                "sources: {deny_hosts: []}",
                "sources: {deny_hosts: ['http://a']}",
            ),
            ("logging: {file: null}", "logging: {file: ''}"),
            (
                "store: {url: 'postgres://h/db'}",
                "store: {url: 'mysql://h/db'}",
            ),
            (
                "artifacts: {url: 's3://bucket/a'}",
                "artifacts: {url: 'http://h/a'}",
            ),
            (
                "artifacts: {max_bytes: 1MiB}",
                "artifacts: {max_bytes: 1023KiB}",
            ),
            (
                "dispatch: {lease_seconds: 1}",
                "dispatch: {lease_seconds: 0}",
            ),
            (
                "dispatch: {engine_expiry_seconds: 86400}",
                "dispatch: {engine_expiry_seconds: 86401}",
            ),
            (
                "dispatch: {job_timeout_seconds: 2592000}",
                "dispatch: {job_timeout_seconds: 0}",
            ),
            (
                "dispatch: {keep_hours: 87600}",
                "dispatch: {keep_hours: 87601}",
            ),
            (
                "local_engine: {concurrency: null}",
                "local_engine: {concurrency: 0}",
            ),
            (
                "local_engine: {patience_seconds: 0}",
                "local_engine: {patience_seconds: 86401}",
            ),
            (
                "peertube: {registration_token: ptrrt-a}",
                "peertube: {registration_token: 'a b'}",
            ),
            (
                "peertube: {stalled_after_seconds: 1}",
                "peertube: {stalled_after_seconds: 0}",
            ),
            (
                "peertube: {live_stalled_after_seconds: 86400}",
                "peertube: {live_stalled_after_seconds: 86401}",
            ),
            (
                "peertube: {resolutions: [16, 8192]}",
                "peertube: {resolutions: [360, 15]}",
            ),
            (
                "peertube: {local_fallback_seconds: 0}",
                "peertube: {local_fallback_seconds: -1}",
            ),
            (
                "peertube: {max_upload_bytes: 1MiB}",
                "peertube: {max_upload_bytes: 1023KiB}",
            ),
            ("security: {api_key: k}", "security: {api_key: 'a b'}"),
            (
                "security: {allowed_origins: ['https://a:8443']}",
                "security: {allowed_origins: ['https://a/']}",
            ),
            (
                "security: {rate_limit_per_minute: 0}",
                "security: {rate_limit_per_minute: 1000001}",
            ),
            (
                "security: {job_token_ttl_seconds: 1}",
                "security: {job_token_ttl_seconds: 0}",
            ),
            (
                "security: {callback_secret: null}",
                "security: {callback_secret: ''}",
            ),
            (
                "security: {registration_secret: s}",
                "security: {registration_secret: 'ö'}",
            ),
            ("storage: {directory: /d}", "storage: {directory: ''}"),
            ("mdns: {service_name: Küche 2}", "mdns: {service_name: a.b}"),
            (
                "ghosthub: {url: 'http://h:5000'}",
                "ghosthub: {url: 'h:5000'}",
            ),
            (
                "ghosthub: {register_interval_seconds: 1}",
                "ghosthub: {register_interval_seconds: 0}",
            ),
            (
                "server: {max_websocket_connections: 1}",
                "server: {max_websocket_connections: 0}",
            ),
            ("server: {environment: a}", "server: {environment: ''}"),
        ];
        for (good, bad) in cases {
            assert!(file(good).is_ok(), "{good}");
            assert_eq!(file(bad).unwrap_err().len(), 1, "{bad}");
        }
    }

    #[test]
    fn variables_are_yaml_or_the_plain_text() {
        let host = |text| {
            variable("GHOSTSTREAM__SERVER__HOST", text)
                .unwrap()
                .server
                .host
        };
        assert_eq!(host("::"), "::");
        assert_eq!(host("'127.0.0.1'"), "127.0.0.1");
        let roots = |text| {
            variable("GHOSTSTREAM__SOURCES__ROOTS", text)
                .unwrap()
                .sources
                .roots
        };
        assert_eq!(roots("/a b #c"), [PathBuf::from("/a b #c")]);
        assert_eq!(
            roots(r#"["/a", "/b: c"]"#),
            [PathBuf::from("/a"), "/b: c".into()]
        );
        assert!(roots("").is_empty());
        let file = |text| {
            variable("GHOSTSTREAM__LOGGING__FILE", text)
                .unwrap()
                .logging
                .file
        };
        assert_eq!(file(""), None);
        assert_eq!(file("a.log"), Some("a.log".into()));
        let tone_map = |text| variable("GHOSTSTREAM__TRANSCODING__TONE_MAP_HDR", text);
        assert!(!tone_map("false").unwrap().transcoding.tone_map_hdr);
        assert_eq!(texts(tone_map("maybe")).len(), 1);
    }

    #[test]
    fn the_later_layer_wins_and_a_mended_value_is_no_problem() {
        let mut layers = Layers::default();
        layers
            .add_file(Path::new("f.yaml"), "server: {port: nine, host: 10.0.0.1}")
            .unwrap();
        layers.add_variable("GHOSTSTREAM__SERVER__PORT", Some("9000"));
        layers.set("server.host", "127.0.0.1".into(), Origin::Flag("--host"));
        let server = layers.finish().unwrap().server;
        assert_eq!((server.port, server.host.as_str()), (9000, "127.0.0.1"));
    }

    #[test]
    fn texts_that_are_no_single_mapping_are_refused() {
        let add = |text| Layers::default().add_file(Path::new("f.yaml"), text);
        for bad in [
            "server: {port: 1",
            "a: 1\na: 2\n",
            "a: 1\n---\nb: 2\n",
            "\tserver:",
        ] {
            assert!(add(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            texts(file("just words")),
            ["configuration: must be a mapping of sections, is 'just words' (f.yaml)"]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let mut layers = Layers::default();
            if layers.add_file(Path::new("f.yaml"), &text).is_ok() {
                let _ = layers.finish().is_ok();
            }
            let _ = variable("GHOSTSTREAM__SOURCES__ROOTS", &text).is_ok();
        }

        #[test]
        fn what_is_written_is_read_back(port: u16, seconds in 1u32..=10, mib in 1u64..1_000_000) {
            let mut config = Config::default();
            config.server.port = port;
            config.transcoding.segment_duration = seconds;
            config.transcoding.cache_max_bytes = ByteSize::mib(mib);
            prop_assert_eq!(file(&serde_yaml::to_string(&config).unwrap()).unwrap(), config);
        }
    }
}
