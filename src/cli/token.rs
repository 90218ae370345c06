//! `token create`: secrets that let others work for this gateway.

use std::io::Write;

use anyhow::Context;

use crate::app;
use crate::config::Config;

use super::args::{TokenArgs, TokenCommand, TokenKind};

/// Makes a token and prints how it is used.
pub(super) fn token(config: &Config, args: &TokenArgs) -> anyhow::Result<()> {
    let TokenCommand::Create { kind, url, name } = &args.command;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    match kind {
        TokenKind::Peertube => {
            let secret = runtime.block_on(app::new_registration_token(config))?;
            let url = match url {
                Some(url) => url.as_str().trim_end_matches('/').to_owned(),
                None => app::own_url(config),
            };
            // Runners take the address without a slash behind it.
            writeln!(
                std::io::stdout(),
                "peertube-runner register --url {url} --registration-token {secret} --runner-name {name}"
            )?;
        }
    }
    Ok(())
}
