//! Installing the subscriber.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::{LogFormat, LogLevel};

/// What is logged, how, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub level: LogLevel,
    pub format: LogFormat,
    /// File that lines are appended to; `None` = standard error.
    pub file: Option<PathBuf>,
    /// Content of `RUST_LOG`: directives as `tracing_subscriber::EnvFilter` reads them. Replaces
    /// `level` when it is set and not empty.
    pub directives: Option<String>,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("logging.file: cannot append to {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("RUST_LOG: {0}")]
    Directives(#[from] ParseError),
    #[error("a log subscriber is installed already")]
    Installed,
}

/// Changes the log while it is written.
pub struct LogControl {
    /// Gives the filter's level another value.
    set_level: Box<dyn Fn(LogLevel) -> bool + Send + Sync>,
    /// Where lines go, when that is a file.
    file: Option<(PathBuf, LogFile)>,
    /// Whether `RUST_LOG` decides what is logged.
    is_directed: bool,
}

impl LogControl {
    /// Logs from `level` on, unless `RUST_LOG` decides. Whether it does so now.
    pub fn set_level(&self, level: LogLevel) -> bool {
        !self.is_directed && (self.set_level)(level)
    }

    /// Opens the log file anew, if there is one: a program that rotates logs has moved it.
    ///
    /// # Errors
    /// The file cannot be opened; lines go on to where they went.
    pub fn reopen(&self) -> Result<(), SetupError> {
        if let Some((path, file)) = &self.file {
            file.replace(open(path)?);
        }
        Ok(())
    }
}

/// A log file that can be replaced.
#[derive(Clone)]
struct LogFile(Arc<Mutex<File>>);

impl LogFile {
    fn replace(&self, file: File) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

impl io::Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Installs the process's subscriber. Called once, before anything is worth logging.
///
/// # Errors
/// When the log file cannot be opened, `directives` cannot be read, or a subscriber is installed.
pub fn init(settings: &Settings) -> Result<LogControl, SetupError> {
    let file = match &settings.file {
        Some(path) => {
            let file = LogFile(Arc::new(Mutex::new(open(path)?)));
            Some((path.clone(), file))
        }
        None => None,
    };
    let (writer, ansi) = match file.clone() {
        Some((_, file)) => (BoxMakeWriter::new(move || file.clone()), false),
        None => (
            BoxMakeWriter::new(io::stderr),
            io::IsTerminal::is_terminal(&io::stderr()),
        ),
    };
    let (subscriber, mut control) = subscriber(settings, writer, ansi)?;
    control.file = file;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| SetupError::Installed)?;
    Ok(control)
}

fn open(path: &PathBuf) -> Result<File, SetupError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| SetupError::File {
            path: path.clone(),
            source,
        })
}

fn level_filter(level: LogLevel) -> EnvFilter {
    EnvFilter::default().add_directive(level.filter().into())
}

fn subscriber<W>(
    settings: &Settings,
    writer: W,
    ansi: bool,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogControl), SetupError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let directives = settings.directives.as_deref();
    let directives = directives.filter(|d| !d.trim().is_empty());
    let filter = match directives {
        Some(directives) => EnvFilter::try_new(directives)?,
        None => level_filter(settings.level),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(ansi)
        .with_env_filter(filter);
    let (subscriber, set_level): (Box<dyn Subscriber + Send + Sync>, _) = match settings.format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level| handle.reload(level_filter(level)).is_ok();
            (Box::new(builder.finish()), boxed(set))
        }
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level| handle.reload(level_filter(level)).is_ok();
            (Box::new(builder.finish()), boxed(set))
        }
    };
    let control = LogControl {
        set_level,
        file: None,
        is_directed: directives.is_some(),
    };
    Ok((subscriber, control))
}

fn boxed(
    set: impl Fn(LogLevel) -> bool + Send + Sync + 'static,
) -> Box<dyn Fn(LogLevel) -> bool + Send + Sync> {
    Box::new(set)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::field;
    use super::*;

    /// Collects what is written, as one text.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &Settings) -> String {
        let sink = Sink::default();
        let target = sink.clone();
        let (subscriber, _) = subscriber(settings, move || target.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(job.id = "j1", duration_ms = 12, "ready");
            tracing::debug!("detail");
        });
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_the_fields_at_the_top_level() {
        let text = logged(&Settings::default());
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "ready");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line[field::JOB_ID], "j1");
        assert_eq!(line[field::DURATION_MS], 12);
    }

    #[test]
    fn level_and_directives_decide_what_is_logged() {
        let text = Settings {
            format: LogFormat::Text,
            ..Settings::default()
        };
        assert!(!logged(&text).contains("detail"));
        let debug = Settings {
            level: LogLevel::Debug,
            ..text.clone()
        };
        assert!(logged(&debug).contains("detail"));
        let directives = Settings {
            directives: Some("off".into()),
            ..debug
        };
        assert_eq!(logged(&directives), "");
    }

    #[test]
    fn the_level_can_be_changed_unless_directives_decide() {
        for (directives, lines) in [(None, 1), (Some("info".to_owned()), 0)] {
            let settings = Settings {
                format: LogFormat::Text,
                directives,
                ..Settings::default()
            };
            let sink = Sink::default();
            let target = sink.clone();
            let (subscriber, control) =
                subscriber(&settings, move || target.clone(), false).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!("unheard");
                assert_eq!(control.set_level(LogLevel::Debug), lines == 1);
                tracing::debug!("heard");
            });
            let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(!text.contains("unheard"), "{text}");
        }
    }

    #[test]
    fn a_file_that_was_moved_is_made_anew() {
        use io::Write;
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut file = LogFile(Arc::new(Mutex::new(open(&path).unwrap())));
        let (_, mut control) = subscriber(&Settings::default(), io::sink, false).unwrap();
        control.file = Some((path.clone(), file.clone()));
        file.write_all(b"first\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        control.reopen().unwrap();
        file.write_all(b"second\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "first\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
    }

    #[test]
    fn a_log_file_is_appended_to_and_a_bad_path_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.log");
        std::fs::write(&path, "before\n").unwrap();
        drop(open(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\n");
        let error = open(&dir.path().join("no/such/folder.log"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("logging.file: cannot append to "),
            "{error}"
        );
    }

    #[test]
    fn unreadable_directives_name_their_variable() {
        let settings = Settings {
            directives: Some("ghoststream=loud".into()),
            ..Settings::default()
        };
        let error = match subscriber(&settings, io::sink, false) {
            Ok(_) => panic!("directives were taken"),
            Err(e) => e.to_string(),
        };
        assert!(error.starts_with("RUST_LOG: "), "{error}");
    }
}
