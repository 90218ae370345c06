//! Another configuration for a gateway that runs.

use std::sync::PoisonError;

use crate::config::{Changes, Config};
use crate::source::SourceSettingsError;

use super::build::{StartError, access_settings, source_settings};
use super::node::NodeIdentity;
use super::running::Gateway;

/// A new configuration cannot be obeyed; the old one still is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Sources(#[from] SourceSettingsError),
    #[error(transparent)]
    Identity(#[from] StartError),
}

impl Gateway {
    /// Obeys what of `new` can be obeyed without a restart (`config::RELOADABLE`), but for the log's level,
    /// which is the process's; says which keys changed. All of it, or nothing. Blocks on the disk
    /// for a moment.
    pub fn reload(&self, new: &Config) -> Result<Changes, ReloadError> {
        let mut running = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = running.changes(new);
        if changes.reloaded.is_empty() {
            return Ok(changes);
        }
        let next = running.reloaded(new);
        let keyed = next.security.api_key.is_some();
        let node = keyed.then(|| NodeIdentity::of(&next));
        let node = node.transpose()?;
        self.registry().policy().replace(&source_settings(&next))?;
        self.access.replace(access_settings(&next, node.as_ref()));
        let limit = next.transcoding.cache_max_bytes.bytes();
        self.registry().cache().set_limit_bytes(limit);
        self.observer.log_requests(next.logging.requests);
        *running = next;
        Ok(changes)
    }
}
