//! What each subcommand does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Inputs, Loaded, load};
use crate::{app, telemetry};

use super::args::{Args, Command, ConfigCommand, EngineArgs, ServeArgs};
use super::{detect, inspect, submit, transcode};

/// Runs the program; the exit code is 0 after a graceful stop, 1 after an error that is printed in
/// one message.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        _ if args.detect_hw => configured(&args).and_then(|c| detect::print(&c)),
        None | Some(Command::Serve(_)) => serve(&args),
        Some(Command::Probe(probe)) => configured(&args).and_then(|c| inspect::probe(&c, probe)),
        Some(Command::Plan(plan)) => configured(&args).and_then(|c| inspect::plan(&c, plan)),
        Some(Command::Submit(submit)) => submit::submit(submit),
        Some(Command::Transcode(wanted)) => {
            configured(&args).and_then(|c| transcode::transcode(&c, wanted))
        }
        Some(Command::Engine(engine)) => work(&args, engine),
        Some(Command::Config(config)) => match &config.command {
            ConfigCommand::Check { file } => check(&args, file.clone()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when standard error is closed too.
            let _ = writeln!(std::io::stderr(), "ghoststream: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn loaded(args: &Args) -> anyhow::Result<Loaded> {
    let inputs = Inputs::of_process(args.config.clone(), args.overrides());
    Ok(load(&inputs)?)
}

fn configured(args: &Args) -> anyhow::Result<Config> {
    Ok(loaded(args)?.config)
}

fn check(args: &Args, file: Option<PathBuf>) -> anyhow::Result<()> {
    let inputs = Inputs::of_process(file.or_else(|| args.config.clone()), args.overrides());
    let loaded = load(&inputs)?;
    app::source_policy(&loaded.config)?;
    let place = loaded
        .file
        .map_or("the defaults".to_owned(), |f| f.display().to_string());
    writeln!(std::io::stdout(), "{place}: valid")?;
    Ok(())
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    telemetry::init(&telemetry::Settings {
        level: config.logging.level,
        format: config.logging.format,
        file: config.logging.file.clone(),
        directives: std::env::var("RUST_LOG").ok(),
    })?;
    Ok(())
}

fn work(args: &Args, engine: &EngineArgs) -> anyhow::Result<()> {
    let mut config = configured(args)?;
    config.local_engine.concurrency = engine.concurrency.or(config.local_engine.concurrency);
    start_log(&config)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let desk = app::RemoteGateway {
            url: engine.server.clone(),
            key: engine.api_key.clone(),
            engine: engine.id.clone(),
        };
        let engine = app::start_engine(&config, desk).await?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        engine.stop().await;
        anyhow::Ok(())
    })?;
    // Blocking file reads under way need not be waited for.
    runtime.shutdown_background();
    Ok(())
}

fn serve(args: &Args) -> anyhow::Result<()> {
    let loaded = loaded(args)?;
    start_log(&loaded.config)?;
    raise_file_limit();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(serve_until_signal(&loaded, args.serve_args()))?;
    // Blocking file reads under way need not be waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Every player and every WebSocket is an open file to the system, which allows 1024 unless asked.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const ENOUGH: u64 = 65_536;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(ENOUGH)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH), hard)
    {
        tracing::warn!(%error, "the number of open files stays at {soft}");
    }
}

async fn serve_until_signal(loaded: &Loaded, args: ServeArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let gateway = app::start_from(&loaded.config, &loaded.origins).await?;
    if let Some(file) = &args.ready_file {
        gateway.write_ready_file(file).await?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = gateway.stop() => {}
        // A second signal ends everything at once; the kernel ends the encoders.
        _ = terminate.recv() => anyhow::bail!("stopped without waiting"),
        _ = interrupt.recv() => anyhow::bail!("stopped without waiting"),
    }
    Ok(())
}
