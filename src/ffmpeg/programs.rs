//! The encoders' own programs, `aomenc` and `vpxenc`, where they are installed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// A program of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderProgram {
    pub path: PathBuf,
    /// As it names itself: `AOMedia Project AV1 Encoder v3.6.0`.
    pub version: String,
}

/// Which there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncoderPrograms {
    pub aomenc: Option<EncoderProgram>,
    pub vpxenc: Option<EncoderProgram>,
}

/// Time for a program to list its encoders.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl EncoderPrograms {
    /// Looks on the search path. What is there but does not answer is not there.
    pub(super) async fn find() -> EncoderPrograms {
        let (aomenc, vpxenc) = tokio::join!(program("aomenc", "av1"), program("vpxenc", "vp9"));
        EncoderPrograms { aomenc, vpxenc }
    }
}

async fn program(name: &str, codec: &str) -> Option<EncoderProgram> {
    let path = std::env::var_os("PATH")?;
    let path = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where processes start"
    )]
    let mut command = Command::new(&path);
    command
        .arg("--help")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let answer = tokio::time::timeout(ANSWER_WITHIN, command.output()).await;
    let answer = answer.ok()?.ok()?;
    let said = [answer.stdout, answer.stderr].concat();
    let version = version_of(&String::from_utf8_lossy(&said), codec)?;
    Some(EncoderProgram { path, version })
}

/// The version on the line `av1 - NAME (default)`, as grav1's workers read it (grav1 contract, section 3.2).
fn version_of(help: &str, codec: &str) -> Option<String> {
    let lines = help.lines().filter_map(|l| l.trim().strip_prefix(codec));
    let mut named = lines.filter_map(|l| l.trim_start().strip_prefix("- "));
    let version = named.next()?.replace("(default)", "");
    Some(version.trim().to_owned()).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_workers_read_them() {
        let aom = "Usage\nIncluded encoders:\n\n    av1    - AOMedia Project AV1 Encoder v3.6.0 (default)\n";
        let version = version_of(aom, "av1");
        assert_eq!(
            version.as_deref(),
            Some("AOMedia Project AV1 Encoder v3.6.0")
        );
        let vpx = "    vp8    - WebM Project VP8 Encoder v1.12.0\n    vp9    - WebM Project VP9 Encoder v1.12.0 (default)\n";
        let version = version_of(vpx, "vp9");
        assert_eq!(version.as_deref(), Some("WebM Project VP9 Encoder v1.12.0"));
        assert_eq!(version_of("nothing", "av1"), None);
    }
}
