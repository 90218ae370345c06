//! The misbehaving ffmpeg of `tests/support`, and what the system says of its processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ghoststream::config::{Config, ToolPath};

/// A folder that steers a fake ffmpeg; its rules are explained there.
pub(crate) struct FakeFfmpeg {
    folder: tempfile::TempDir,
}

/// A run of an encoder, as it noted itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncoderRun {
    pub(crate) pid: u32,
    pub(crate) track: String,
}

impl FakeFfmpeg {
    /// One that behaves, but notes its runs.
    pub(crate) fn new() -> FakeFfmpeg {
        let folder = tempfile::tempdir().unwrap();
        // A link rather than a script: a file that was just written cannot always be executed
        // while another thread forks.
        let program = env!("CARGO_BIN_EXE_fake-ffmpeg");
        std::os::unix::fs::symlink(program, folder.path().join("ffmpeg")).unwrap();
        FakeFfmpeg { folder }
    }

    pub(crate) fn with(rules: &str) -> FakeFfmpeg {
        let fake = FakeFfmpeg::new();
        fake.set(rules);
        fake
    }

    /// What runs do from now on.
    pub(crate) fn set(&self, rules: &str) {
        let part = self.folder.path().join("rules.part");
        std::fs::write(&part, rules).unwrap();
        std::fs::rename(part, self.folder.path().join("rules")).unwrap();
    }

    /// Lets runs that wait at the file `gate` go on to turn `most`.
    pub(crate) fn allow(&self, gate: &str, most: u64) {
        let part = self.folder.path().join(format!("{gate}.part"));
        std::fs::write(&part, most.to_string()).unwrap();
        std::fs::rename(part, self.folder.path().join(gate)).unwrap();
    }

    /// The accelerators of the machine that it plays.
    pub(crate) fn set_hardware(&self, names: &str) {
        std::fs::write(self.folder.path().join("hardware"), names).unwrap();
    }

    /// The command lines of all runs so far.
    pub(crate) fn commands(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("commands")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("ffmpeg")
    }

    pub(crate) fn use_in(&self, config: &mut Config) {
        config.transcoding.ffmpeg_path = ToolPath::Path(self.path());
    }

    /// All runs so far.
    pub(crate) fn runs(&self) -> Vec<EncoderRun> {
        let text = std::fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default();
        let run = |line: &str| {
            let (pid, track) = line.split_once(' ').unwrap();
            let (pid, track) = (pid.parse().unwrap(), track.to_owned());
            EncoderRun { pid, track }
        };
        text.lines().map(run).collect()
    }

    /// Runs that have not ended.
    pub(crate) fn alive(&self) -> Vec<EncoderRun> {
        self.runs().into_iter().filter(|r| alive(r.pid)).collect()
    }

    /// Waits until no run is alive.
    pub(crate) async fn all_ended(&self, limit: Duration) {
        eventually(limit, "encoders are alive", || self.alive().is_empty()).await;
    }

    /// Seconds of processor time that the live runs have used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let fields = |pid: u32| stat(pid).unwrap_or_default();
        let ticks = |pid: u32| -> f64 {
            let fields = fields(pid);
            let of = |i: usize| fields.get(i).and_then(|t| t.parse::<f64>().ok());
            of(11).unwrap_or(0.0) + of(12).unwrap_or(0.0)
        };
        self.alive().iter().map(|r| ticks(r.pid)).sum::<f64>() / 100.0
    }
}

/// The fields of `/proc/PID/stat` behind the name: state first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Whether a process runs or is stopped; one that waits to be reaped does not count.
pub(crate) fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Whether a process is held in place by a signal.
pub(crate) fn suspended(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// Waits until `wanted` holds.
pub(crate) async fn eventually(limit: Duration, what: &str, mut wanted: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + limit;
    while !wanted() {
        assert!(
            tokio::time::Instant::now() < until,
            "after {limit:?} still: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bytes of all files below `folder`.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(m) if m.is_dir() => folder_bytes(&entry.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}
