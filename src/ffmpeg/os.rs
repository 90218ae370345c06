//! What differs between operating systems: process groups and the parent-death signal.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

/// Puts the child into its own process group, and on Linux has the kernel kill it when the thread
/// that started it ends, so that a gateway killed by SIGKILL leaves no encoder behind.
///
/// The signal belongs to the *thread*: commands must be spawned by one that lives as long as the
/// gateway (see `launcher`).
pub(super) fn isolate(command: &mut Command) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = nix::unistd::getpid();
        let die_with_parent = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the call took effect.
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::other("the gateway has ended"));
            }
            Ok(())
        };
        #[expect(
            unsafe_code,
            reason = "pre_exec is unsafe; both calls are async-signal-safe"
        )]
        unsafe {
            command.pre_exec(die_with_parent);
        }
    }
}

/// Gives the child a pipe as file descriptor `number`, 3..=9; returns the end to read from. The command
/// owns the other end until it is dropped, so drop it after spawning.
pub(super) fn further_output(command: &mut Command, number: RawFd) -> io::Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // A number that cannot be one of theirs: duplicating onto itself would keep close-on-exec, and
    // another's would be closed.
    let write = nix::fcntl::fcntl(&write, FcntlArg::F_DUPFD_CLOEXEC(10))?;
    #[expect(
        unsafe_code,
        reason = "fcntl has just made this descriptor, and nobody else owns it"
    )]
    let write = unsafe { OwnedFd::from_raw_fd(write) };
    let place = move || {
        #[expect(
            unsafe_code,
            reason = "dup2 is async-signal-safe; the result must stay open"
        )]
        let placed = unsafe { nix::unistd::dup2_raw(&write, number) }?;
        let _ = placed.into_raw_fd();
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "pre_exec is unsafe; the closure only calls dup2"
    )]
    unsafe {
        command.pre_exec(place);
    }
    Ok(read)
}

/// Asks the group led by `pid` to end, also when it is suspended.
pub(super) fn terminate(pid: u32) {
    signal(pid, Signal::SIGTERM);
    resume(pid);
}

/// Stops the group led by `pid` from running until [`resume`].
pub(super) fn suspend(pid: u32) {
    signal(pid, Signal::SIGSTOP);
}

/// Lets a suspended group go on.
pub(super) fn resume(pid: u32) {
    signal(pid, Signal::SIGCONT);
}

/// Ends the group led by `pid`.
pub(super) fn kill(pid: u32) {
    signal(pid, Signal::SIGKILL);
}

fn signal(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // ESRCH: the group has ended by itself, which is what was wanted.
    if let Err(error) = killpg(Pid::from_raw(pid), signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::warn!(ffmpeg.pid = pid, %error, "cannot signal a process group");
    }
}
