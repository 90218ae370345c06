//! Installing the subscriber.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

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

/// Installs the process's subscriber. Called once, before anything is worth logging.
///
/// # Errors
/// When the log file cannot be opened, `directives` cannot be read, or a subscriber is installed.
pub fn init(settings: &Settings) -> Result<(), SetupError> {
    let (writer, ansi) = match &settings.file {
        Some(path) => (BoxMakeWriter::new(Mutex::new(open(path)?)), false),
        None => (
            BoxMakeWriter::new(io::stderr),
            io::IsTerminal::is_terminal(&io::stderr()),
        ),
    };
    let subscriber = subscriber(settings, writer, ansi)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| SetupError::Installed)
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

fn subscriber<W>(
    settings: &Settings,
    writer: W,
    ansi: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, SetupError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = match settings
        .directives
        .as_deref()
        .filter(|d| !d.trim().is_empty())
    {
        Some(directives) => EnvFilter::try_new(directives)?,
        None => EnvFilter::default().add_directive(settings.level.filter().into()),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(ansi)
        .with_env_filter(filter);
    Ok(match settings.format {
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
        LogFormat::Text => Box::new(builder.with_target(false).finish()),
    })
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
        let subscriber = subscriber(settings, move || target.clone(), false).unwrap();
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
