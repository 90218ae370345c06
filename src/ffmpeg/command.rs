//! From an [`Invocation`] and a source to a command line.

use std::ffi::OsString;
use std::process::Stdio;

use ffmpeg_sidecar::command::FfmpegCommand;
use tokio::process::Command;

use crate::plan::Invocation;
use crate::source::InputOptions;

use super::toolchain::Toolchain;

/// The command that runs `invocation` on `input`, with media on standard output and statistics on
/// standard error twice a second.
pub fn encoder_command(
    tools: &Toolchain,
    input: &InputOptions,
    invocation: &Invocation,
) -> Command {
    picture_command(tools, input, None, invocation)
}

/// As [`encoder_command`], with a second input: a picture to lay over the first one's.
pub fn picture_command(
    tools: &Toolchain,
    input: &InputOptions,
    overlay: Option<&InputOptions>,
    invocation: &Invocation,
) -> Command {
    let mut builder = FfmpegCommand::new_with_path(&tools.ffmpeg);
    builder.args(["-hide_banner", "-nostdin", "-loglevel", "level+warning"]);
    builder.args(["-stats", "-stats_period", "0.5"]);
    builder.args(&input.args);
    builder.args(&invocation.input);
    builder.args([OsString::from("-i"), input.url.clone()]);
    if let Some(overlay) = overlay {
        builder.args(&overlay.args);
        builder.args([OsString::from("-i"), overlay.url.clone()]);
    }
    builder.args(&invocation.output);
    let mut command = Command::from(std::process::Command::from(builder));
    apply_environment(&mut command, input);
    command
}

/// The environment in which `input` may be opened, and closed standard input.
pub(super) fn apply_environment(command: &mut Command, input: &InputOptions) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in input.env_remove {
        command.env_remove(name);
    }
    command.envs(input.env.iter().map(|(k, v)| (k, v)));
}
