//! An ffmpeg that misbehaves as told, for the tests; never shipped.
//!
//! It is started by a link to it; the link's folder steers it. Each encoder run appends its process
//! id and its track to `runs` there and its command line to `commands`, then does what the first rule of `rules` that fits says; without
//! one it becomes the real ffmpeg. A rule is a line of words: `times=N` (fits only N runs; default
//! all), `track=video|audio|joint` (several videos; default all), and one of
//!
//! - `die=N`: delivers N bytes, then exits with 1; `abort=N`: then dies of a signal
//! - `end=N`: delivers N bytes, then exits with 0
//! - `hang=N`: delivers N bytes, then nothing more; `deaf=N`: and ignores SIGTERM too
//! - `error=TEXT`: prints TEXT (`_` for a space) as an error, exits with 1
//! - `garbage=N`: writes N bytes that are no media, exits with 0
//! - `chatter=N`: works, and writes N bytes without a line end to standard error first; dies if it cannot
//! - `late=MS`: works, but begins after MS milliseconds
//! - `slow=N`: delivers N bytes a second
//! - `spoil=NAME`: makes a whole file, then cuts NAME beside it down to 100 bytes; exits with 0
//! - `orphan=N`: as `die`, but leaves a process behind that keeps standard error open
//! - `steps=NAME:N`: says N times that another second is made, then works; `blind=NAME:N`: says so of
//!   pictures only, as encoders do that write nothing; each word as soon as the file NAME allows it
//! - `parts=NAME:N`: delivers N bytes as often as the file NAME allows it
//! - `tail=N`: makes a whole file, then says nothing for N seconds, but writes to it; exits with 0
//!
//! With `encoder=NAME` a rule fits only encoders of that hardware (see `fake_hardware.rs`), with `with=TEXT` only
//! command lines that hold TEXT.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of one thread that starts the real ffmpeg"
)]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio, exit};
use std::thread::sleep;
use std::time::Duration;

#[path = "fake_hardware.rs"]
mod hardware;

fn main() {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let link = PathBuf::from(args.remove(0));
    let folder = link.parent().unwrap_or(Path::new("."));
    if args.iter().any(|a| a == "-encoders") {
        list_encoders(&args);
    }
    let used = hardware::used(&args);
    let test = args.iter().any(|a| a == "lavfi");
    let encodes = args.iter().any(|a| a == "-i") && !test;
    let rule = match encodes {
        true => match rule_for(folder, &args) {
            Ok(rule) => rule,
            Err(error) => fail(&format!("fake-ffmpeg: {error}")),
        },
        _ => None,
    };
    if let Some(accelerator) = used {
        if !hardware::has(folder, accelerator) {
            fail(hardware::missing(accelerator));
        }
        args = hardware::played(&args);
    }
    let Some((verb, argument)) = rule else {
        become_real(&args)
    };
    let number = || -> u64 {
        let parsed = argument.parse();
        parsed.unwrap_or_else(|_| fail(&format!("{verb} needs a number")))
    };
    match verb.as_str() {
        "die" => {
            deliver(&args, number(), None);
            exit(1)
        }
        "abort" => {
            deliver(&args, number(), None);
            std::process::abort()
        }
        "end" => deliver(&args, number(), None),
        "hang" => {
            deliver(&args, number(), None);
            loop {
                sleep(Duration::from_secs(60));
            }
        }
        "deaf" => {
            deliver(&args, number(), None);
            // Ignored signals stay ignored over exec.
            let script = "trap '' TERM; while :; do sleep 1; done";
            let error = Command::new("sh").args(["-c", script]).exec();
            fail(&error.to_string())
        }
        "error" => fail(&argument.replace('_', " ")),
        "garbage" => garbage(number()),
        "chatter" => {
            let line = vec![b'x'; 4096];
            let mut left = number() as usize;
            while left > 0 {
                let part = left.min(line.len());
                if io::stderr().write_all(&line[..part]).is_err() {
                    exit(9);
                }
                left -= part;
            }
            become_real(&args)
        }
        "late" => {
            sleep(Duration::from_millis(number()));
            become_real(&args)
        }
        "spoil" => spoil(&args, &argument),
        "slow" => deliver(&args, u64::MAX, Some(number())),
        "steps" | "blind" => {
            let (gate, steps) = gated(folder, &argument);
            for step in 1..=steps {
                wait_for(&gate, step);
                report(step, verb == "blind");
            }
            wait_for(&gate, steps + 1);
            become_real(&args)
        }
        "parts" => {
            let (gate, bytes) = gated(folder, &argument);
            deliver_parts(&args, &gate, bytes)
        }
        "tail" => tail(&args, number()),
        "orphan" => {
            deliver(&args, number(), None);
            let child = Command::new("sleep")
                .arg("600")
                .stdout(Stdio::null())
                .spawn();
            exit(if child.is_ok() { 1 } else { 2 })
        }
        other => fail(&format!("fake-ffmpeg: no such verb: {other}")),
    }
}

/// The real list, and hardware.
fn list_encoders(args: &[OsString]) -> ! {
    let output = Command::new("ffmpeg").args(args).output();
    let mut text = output.map(|o| o.stdout).unwrap_or_default();
    text.extend(hardware::listing().into_bytes());
    let written = io::stdout().write_all(&text);
    exit(if written.is_ok() { 0 } else { 1 })
}

fn fail(text: &str) -> ! {
    // Nobody may be listening.
    let _ = writeln!(io::stderr(), "[error] {text}");
    exit(1)
}

/// Notes the run and finds the verb and argument of its rule.
fn rule_for(folder: &Path, args: &[OsString]) -> io::Result<Option<(String, String)>> {
    let has = |word: &str| args.iter().any(|a| a == word);
    let track = match (has("-vn"), has("pipe:4")) {
        (true, _) => "audio",
        (false, true) => "joint",
        (false, false) => "video",
    };
    let mut runs = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("runs"))?;
    runs.write_all(format!("{} {track}\n", std::process::id()).as_bytes())?;
    let words: Vec<_> = args.iter().map(|a| a.to_string_lossy()).collect();
    let mut commands = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("commands"))?;
    commands.write_all(format!("{}\n", words.join(" ").replace('\n', " ")).as_bytes())?;
    let rules = match std::fs::read_to_string(folder.join("rules")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        rules => rules?,
    };
    for (nth, line) in rules.lines().enumerate() {
        let (mut times, mut verb) = (u64::MAX, None);
        let mut fits = true;
        for (key, value) in line.split_whitespace().filter_map(|w| w.split_once('=')) {
            match key {
                "times" => times = value.parse().map_err(io::Error::other)?,
                "track" => fits &= value == track,
                "encoder" => fits &= hardware::used(args) == Some(value),
                "with" => fits &= words.iter().any(|w| w.contains(value)),
                _ => verb = Some((key.to_owned(), value.to_owned())),
            }
        }
        if fits && verb.is_some() && take_turn(folder, nth, times)? {
            return Ok(verb);
        }
    }
    Ok(None)
}

/// Whether one of the `times` turns of a rule is left; takes it. Runs may be started at one time.
fn take_turn(folder: &Path, rule: usize, times: u64) -> io::Result<bool> {
    if times == u64::MAX {
        return Ok(true);
    }
    for turn in 0..times {
        match File::create_new(folder.join(format!("turn-{rule}-{turn}"))) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn become_real(args: &[OsString]) -> ! {
    let error = Command::new("ffmpeg").args(args).exec();
    fail(&format!("cannot start ffmpeg: {error}"))
}

fn start_real(args: &[OsString]) -> (Child, ChildStdout) {
    let started = Command::new("ffmpeg")
        .args(args)
        .stdout(Stdio::piped())
        .spawn();
    match started {
        Ok(mut child) => match child.stdout.take() {
            Some(out) => (child, out),
            None => fail("ffmpeg has no output"),
        },
        Err(error) => fail(&format!("cannot start ffmpeg: {error}")),
    }
}

/// Passes on the first `limit` bytes of the real ffmpeg's output, then kills it; with all passed on,
/// ends as it did.
fn deliver(args: &[OsString], limit: u64, bytes_per_second: Option<u64>) {
    if limit == 0 {
        return;
    }
    let (mut child, out) = start_real(args);
    let mut out = out.take(limit);
    let step = bytes_per_second.map_or(64 * 1024, |b| (b / 20).max(1)) as usize;
    let mut buffer = vec![0; step];
    let mut passed = 0;
    loop {
        let n = match out.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) => exit(1),
        };
        if io::stdout().write_all(&buffer[..n]).is_err() || io::stdout().flush().is_err() {
            exit(1);
        }
        passed += n as u64;
        if bytes_per_second.is_some() {
            sleep(Duration::from_millis(50));
        }
    }
    if passed < limit {
        let status = child.wait();
        exit(status.ok().and_then(|s| s.code()).unwrap_or(1));
    }
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// The file and the number of `NAME:N`.
fn gated(folder: &Path, argument: &str) -> (PathBuf, u64) {
    let parsed = argument.split_once(':');
    let parsed = parsed.and_then(|(name, number)| Some((folder.join(name), number.parse().ok()?)));
    parsed.unwrap_or_else(|| fail("a name, a colon and a number are needed"))
}

/// Waits until `gate` holds a number that is not less than `turn`.
fn wait_for(gate: &Path, turn: u64) {
    let allowed = || {
        std::fs::read_to_string(gate)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    while allowed().is_none_or(|most| most < turn) {
        sleep(Duration::from_millis(10));
    }
}

/// Statistics as ffmpeg prints them after `seconds` of 25 pictures each.
fn report(seconds: u64, is_blind: bool) {
    let (time, speed) = match is_blind {
        true => (0, 0),
        false => (seconds, 1),
    };
    let line = format!(
        "frame={:5} fps= 25 q=28.0 size=    0kB time=00:00:{time:02}.00 bitrate=   0.0kbits/s speed={speed}x    \r",
        seconds * 25
    );
    if io::stderr().write_all(line.as_bytes()).is_err() {
        exit(1);
    }
}

/// Passes the real ffmpeg's output on, `bytes` for each turn that `gate` allows.
fn deliver_parts(args: &[OsString], gate: &Path, bytes: u64) {
    let (mut child, mut out) = start_real(args);
    for turn in 1.. {
        wait_for(gate, turn);
        match io::copy(&mut (&mut out).take(bytes), &mut io::stdout()) {
            Ok(passed) if passed == bytes && io::stdout().flush().is_ok() => {}
            _ => break,
        }
    }
    let _ = io::stdout().flush();
    let _ = child.kill();
    let _ = child.wait();
}

/// Lets the real ffmpeg end, then writes to the folder of its file for a while.
fn tail(args: &[OsString], seconds: u64) {
    let ended = Command::new("ffmpeg").args(args).status();
    // The output, which comes after the source.
    let is_file = |file: &&Path| file.extension().is_some_and(|e| e == "mkv" || e == "mp4");
    let file = args.iter().map(Path::new).rfind(is_file);
    let beside = file.map(|file| file.with_extension("part"));
    for turn in 0..seconds * 5 {
        let written = beside
            .as_ref()
            .map(|file| std::fs::write(file, turn.to_string()));
        if !matches!(written, Some(Ok(()))) {
            exit(1);
        }
        sleep(Duration::from_millis(200));
    }
    exit(if ended.is_ok_and(|s| s.success()) {
        0
    } else {
        1
    })
}

/// Lets the real ffmpeg end, then damages a file in the folder of its playlist.
fn spoil(args: &[OsString], name: &str) {
    let ended = Command::new("ffmpeg").args(args).status();
    let playlist = args
        .iter()
        .map(Path::new)
        .find(|a| a.extension().is_some_and(|e| e == "m3u8"));
    let file = playlist.map(|p| p.with_file_name(name));
    let cut = file.and_then(|f| OpenOptions::new().write(true).open(f).ok());
    let cut = cut.is_some_and(|f| f.set_len(100).is_ok());
    exit(if cut && ended.is_ok_and(|s| s.success()) {
        0
    } else {
        1
    })
}

/// Bytes of xorshift.
fn garbage(count: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state as u8);
    }
    if io::stdout().write_all(&bytes).is_err() {
        exit(1);
    }
}
