//! What each subcommand does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::Gateway;
use crate::config::{Config, Inputs, Loaded, load};
use crate::telemetry::LogControl;
use crate::{app, http, telemetry};

use super::args::{Args, Command, ConfigCommand, EngineArgs, ServeArgs};
use super::{detect, inspect, service, submit, token, transcode};

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
        Some(Command::Token(args_of)) => configured(&args).and_then(|c| token::token(&c, args_of)),
        Some(Command::Config(config)) => match &config.command {
            ConfigCommand::Check { file } => check(&args, file.clone()),
        },
        Some(Command::Openapi) => print(http::text_of_document().as_bytes()),
        Some(Command::Completions { shell }) => print(&completions(*shell)),
        Some(Command::Man) => manual().and_then(|page| print(&page)),
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

fn print(text: &[u8]) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text)?)
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ghoststream", &mut text);
    text
}

/// One page of all subcommands.
fn manual() -> anyhow::Result<Vec<u8>> {
    let command = Args::command().display_name("ghoststream");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        let name = format!("ghoststream {}", sub.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let manual = clap_mangen::Man::new(sub.clone().bin_name(name));
        let mut part = Vec::new();
        manual.render_description_section(&mut part)?;
        manual.render_options_section(&mut part)?;
        // Its sections lie within this one.
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        page.write_all(part.as_bytes())?;
    }
    Ok(page)
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

fn start_log(config: &Config) -> anyhow::Result<LogControl> {
    let control = telemetry::init(&telemetry::Settings {
        level: config.logging.level,
        format: config.logging.format,
        file: config.logging.file.clone(),
        directives: std::env::var("RUST_LOG").ok(),
    })?;
    Ok(control)
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
            url: engine.gateway.clone(),
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
    let inputs = Inputs::of_process(args.config.clone(), args.overrides());
    let loaded = load(&inputs)?;
    let log = start_log(&loaded.config)?;
    raise_file_limit();
    let socket = service::socket()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let gateway = app::start_on(&loaded.config, &loaded.origins, socket).await?;
        serve_until_signal(gateway, args.serve_args(), &inputs, &log).await
    })?;
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

async fn serve_until_signal(
    gateway: Gateway,
    args: ServeArgs,
    inputs: &Inputs,
    log: &LogControl,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    if let Some(file) = &args.ready_file {
        gateway.write_ready_file(file).await?;
    }
    service::tell_ready(&gateway.url());
    let serving = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => service::reload(&gateway, inputs, log),
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = service::feed_watchdog(&gateway) => {}
    }
    service::tell_stopping();
    tokio::select! {
        () = gateway.stop() => {}
        // A second signal ends everything at once; the kernel ends the encoders.
        _ = terminate.recv() => anyhow::bail!("stopped without waiting"),
        _ = interrupt.recv() => anyhow::bail!("stopped without waiting"),
    }
    Ok(())
}
