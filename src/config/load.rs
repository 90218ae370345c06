//! Reading the configuration from file, environment and flags.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::describe::Origins;
use super::error::{ConfigError, Origin};
use super::file::Config;
use super::layers::Layers;
use super::values::ToolPath;
use crate::telemetry::{LogFormat, LogLevel};

/// Values given as flags; `None` leaves what file and environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Neither mDNS nor the answer on UDP.
    pub no_mdns: bool,
    pub log_level: Option<LogLevel>,
    pub log_format: Option<LogFormat>,
}

/// All that [`load`] reads from: nothing else is looked at.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// File named by the user; it must exist. `None`: the first of `search` that exists, if any.
    pub file: Option<PathBuf>,
    pub search: Vec<PathBuf>,
    /// The process's environment; names that are not ours are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// What a leading `~/` of a path stands for.
    pub home: Option<PathBuf>,
    pub overrides: Overrides,
}

impl Inputs {
    /// The inputs of this process, with what its command line says.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        let home = std::env::var_os("HOME")
            .filter(|h| !h.is_empty())
            .map(PathBuf::from);
        Inputs {
            file,
            search: search_paths(home.as_deref()),
            environment: std::env::vars_os().collect(),
            home,
            overrides,
        }
    }
}

/// A valid configuration and the file it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// `None` when there is no file: defaults, environment and flags only.
    pub file: Option<PathBuf>,
    pub origins: Origins,
}

/// Where a configuration file is looked for when none is named, first match first.
pub fn search_paths(home: Option<&Path>) -> Vec<PathBuf> {
    let near = [
        "./ghoststream.yaml",
        "./ghoststream.yml",
        "./config/ghoststream.yaml",
    ];
    let mut paths: Vec<PathBuf> = near.map(PathBuf::from).into();
    paths.extend(home.map(|h| h.join(".config/ghoststream/ghoststream.yaml")));
    paths.push("/etc/ghoststream/ghoststream.yaml".into());
    paths
}

/// Reads, overlays and validates the configuration.
///
/// # Errors
/// A named file that is not there, a file that cannot be read or is not YAML, or the list of everything
/// that is wrong with keys and values.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::default();
    let found = find_file(inputs)?;
    if let Some((path, text)) = &found {
        layers
            .add_file(path, text)
            .map_err(|e| ConfigError::Syntax {
                path: path.clone(),
                reason: e.to_string(),
            })?;
    }
    add_environment(&mut layers, &inputs.environment);
    add_flags(&mut layers, &inputs.overrides);
    let origins = layers.origins();
    let mut config = layers.finish().map_err(ConfigError::Invalid)?;
    if let Some(home) = &inputs.home {
        expand_home(&mut config, home);
    }
    Ok(Loaded {
        config,
        file: found.map(|(path, _)| path),
        origins,
    })
}

fn find_file(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let candidates = inputs
        .file
        .as_ref()
        .map_or(inputs.search.as_slice(), std::slice::from_ref);
    for path in candidates {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(Some((path.clone(), text))),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.clone(),
                    source,
                });
            }
        }
    }
    match &inputs.file {
        Some(path) => Err(ConfigError::Missing { path: path.clone() }),
        None => Ok(None),
    }
}

/// The short names come first, so that the long name of the same key wins.
fn add_environment(layers: &mut Layers, environment: &[(OsString, OsString)]) {
    let short = [
        ("GHOSTSTREAM_FFMPEG_PATH", "transcoding.ffmpeg_path"),
        ("GHOSTSTREAM_FFPROBE_PATH", "transcoding.ffprobe_path"),
        ("GHOSTSTREAM_ENV", "server.environment"),
        ("GHOSTHUB_URL", "ghosthub.url"),
    ];
    for (variable, key) in short {
        let value = environment.iter().find(|(name, _)| name == variable);
        if let Some(path) = value
            .and_then(|(_, v)| v.to_str())
            .filter(|v| !v.is_empty())
        {
            layers.set(key, Value::from(path), Origin::Environment(variable.into()));
        }
    }
    for (name, value) in environment {
        layers.add_variable(&name.to_string_lossy(), value.to_str());
    }
}

fn add_flags(layers: &mut Layers, flags: &Overrides) {
    if let Some(host) = &flags.host {
        layers.set("server.host", host.as_str().into(), Origin::Flag("--host"));
    }
    if let Some(port) = flags.port {
        layers.set("server.port", port.into(), Origin::Flag("--port"));
    }
    if flags.no_mdns {
        layers.set("mdns.enabled", false.into(), Origin::Flag("--no-mdns"));
    }
    if let Some(level) = flags.log_level {
        layers.set(
            "logging.level",
            level.name().into(),
            Origin::Flag("--log-level"),
        );
    }
    if let Some(format) = flags.log_format {
        layers.set(
            "logging.format",
            format.name().into(),
            Origin::Flag("--log-format"),
        );
    }
}

/// `~` is the shell's, and no shell reads the file: done here, since users write it.
fn expand_home(config: &mut Config, home: &Path) {
    let expand = |path: &mut PathBuf| {
        if let Ok(rest) = path.strip_prefix("~") {
            *path = home.join(rest);
        }
    };
    config.sources.roots.iter_mut().for_each(expand);
    expand(&mut config.transcoding.temp_directory);
    expand(&mut config.storage.directory);
    let state = &mut config.security.state_directory;
    state.iter_mut().for_each(expand);
    config.logging.file.iter_mut().for_each(expand);
    for tool in [
        &mut config.transcoding.ffmpeg_path,
        &mut config.transcoding.ffprobe_path,
    ] {
        if let ToolPath::Path(path) = tool {
            expand(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    #[test]
    fn a_named_file_must_exist_and_the_searched_ones_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("mine.yaml");
        let searched = vec![dir.path().join("no/a.yaml"), dir.path().join("b.yaml")];
        let mut inputs = Inputs {
            search: searched.clone(),
            ..Inputs::default()
        };
        assert_eq!(
            load(&inputs).unwrap(),
            Loaded {
                config: Config::default(),
                file: None,
                origins: Origins::new(),
            }
        );

        std::fs::write(&searched[1], "server: {port: 1}").unwrap();
        let loaded = load(&inputs).unwrap();
        assert_eq!(
            (loaded.config.server.port, loaded.file.as_ref()),
            (1, Some(&searched[1]))
        );

        inputs.file = Some(named.clone());
        let error = load(&inputs).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("--config: no such file: {}", named.display())
        );

        std::fs::write(&named, "server: {port: 2}").unwrap();
        assert_eq!(load(&inputs).unwrap().config.server.port, 2);
        std::fs::write(&named, "server: {port: 2").unwrap();
        assert!(matches!(load(&inputs), Err(ConfigError::Syntax { .. })));
        inputs.file = Some(dir.path().into());
        assert!(matches!(load(&inputs), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn environment_and_flags_win_in_this_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.yaml");
        std::fs::write(
            &path,
            "server: {port: 1, host: 10.0.0.1}\ntranscoding: {ffmpeg_path: /f}\n",
        )
        .unwrap();
        let mut inputs = Inputs {
            file: Some(path),
            ..Inputs::default()
        };
        inputs.environment = environment(&[
            ("GHOSTSTREAM__SERVER__PORT", "2"),
            ("GHOSTSTREAM__SERVER__HOST", "10.0.0.2"),
            ("GHOSTSTREAM_ENV", "production"),
            ("GHOSTHUB_URL", "http://hub:5000"),
            ("GHOSTSTREAM_FFMPEG_PATH", "/e"),
            ("GHOSTSTREAM_FFPROBE_PATH", "/p"),
            ("GHOSTSTREAM__TRANSCODING__FFPROBE_PATH", "/q"),
        ]);
        inputs.overrides = Overrides {
            port: Some(3),
            no_mdns: true,
            log_level: Some(LogLevel::Warning),
            log_format: Some(LogFormat::Text),
            ..Overrides::default()
        };
        let Loaded {
            config, origins, ..
        } = load(&inputs).unwrap();
        assert_eq!(origins["server.port"], Origin::Flag("--port"));
        let variable = Origin::Environment("GHOSTSTREAM__SERVER__HOST".into());
        assert_eq!(origins["server.host"], variable);
        assert_eq!(
            (config.server.port, config.server.host.as_str()),
            (3, "10.0.0.2")
        );
        assert_eq!(config.transcoding.ffmpeg_path, ToolPath::Path("/e".into()));
        assert_eq!(config.transcoding.ffprobe_path, ToolPath::Path("/q".into()));
        assert_eq!(config.server.environment, "production");
        assert_eq!(config.ghosthub.url.unwrap().as_str(), "http://hub:5000/");
        assert!(!config.mdns.enabled);
        assert_eq!(config.logging.level, LogLevel::Warning);
        assert_eq!(config.logging.format, LogFormat::Text);
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let inputs = Inputs {
            environment: environment(&[
                ("GHOSTSTREAM__SOURCES__ROOTS", "['~/films', '/a/~/b', '~x']"),
                ("GHOSTSTREAM__LOGGING__FILE", "~/gs.log"),
            ]),
            home: Some("/home/ann".into()),
            ..Inputs::default()
        };
        let config = load(&inputs).unwrap().config;
        let roots = ["/home/ann/films", "/a/~/b", "~x"];
        assert_eq!(config.sources.roots, roots.map(PathBuf::from));
        assert_eq!(config.logging.file, Some("/home/ann/gs.log".into()));
    }

    #[test]
    fn a_variable_that_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(vec![b'/', 0xff]);
        let inputs = Inputs {
            environment: vec![("GHOSTSTREAM__LOGGING__FILE".into(), value)],
            ..Inputs::default()
        };
        let error = load(&inputs).unwrap_err().to_string();
        let told =
            "configuration: logging.file: is not UTF-8 (environment GHOSTSTREAM__LOGGING__FILE)";
        assert_eq!(error, told);
    }

    #[test]
    fn the_manual_file_holds_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ghoststream.yaml");
        let loaded = load(&Inputs {
            file: Some(path.clone()),
            ..Inputs::default()
        })
        .unwrap();
        assert_eq!(loaded.config, Config::default());

        let text = std::fs::read_to_string(path).unwrap();
        let written: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(written, serde_yaml::to_value(Config::default()).unwrap());
        let mut explained = false;
        for line in text.lines() {
            let is_comment = line.trim_start().starts_with('#');
            let is_key = line.starts_with("  ") && !line[2..].starts_with([' ', '#']);
            assert!(!is_key || explained, "no comment above: {line}");
            explained = is_comment;
        }
    }
}
