//! What of a new configuration a running gateway can obey. Pure.

use serde_yaml::Value;

use super::file::Config;
use super::validate::KEYS;

/// Keys that are obeyed anew on SIGHUP; all others need a restart.
pub const RELOADABLE: &[&str] = &[
    "sources.roots",
    "sources.allow_hosts",
    "sources.deny_hosts",
    "transcoding.cache_max_bytes",
    "security.api_key",
    "security.rate_limit_per_minute",
    "security.job_token_ttl_seconds",
    "logging.level",
    "logging.requests",
];

/// The keys that a new configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub reloaded: Vec<&'static str>,
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// The keys whose values in `new` differ from these.
    pub fn changes(&self, new: &Config) -> Changes {
        let (old, new) = (tree(self), tree(new));
        let differs = |name: &&str| value(&old, name) != value(&new, name);
        let (reloaded, needs_restart) = KEYS
            .iter()
            .map(|key| key.name)
            .filter(differs)
            .partition(|name| RELOADABLE.contains(name));
        Changes {
            reloaded,
            needs_restart,
        }
    }

    /// This configuration with the values of [`RELOADABLE`] from `new`.
    #[must_use]
    pub fn reloaded(&self, new: &Config) -> Config {
        let mut all = self.clone();
        all.sources = new.sources.clone();
        all.transcoding.cache_max_bytes = new.transcoding.cache_max_bytes;
        all.security.api_key.clone_from(&new.security.api_key);
        all.security.rate_limit_per_minute = new.security.rate_limit_per_minute;
        all.security.job_token_ttl_seconds = new.security.job_token_ttl_seconds;
        all.logging.level = new.logging.level;
        all.logging.requests = new.logging.requests;
        all
    }
}

/// A configuration is a tree of plain values: that it cannot be written as one does not happen, and
/// would look like no change.
fn tree(config: &Config) -> Value {
    serde_yaml::to_value(config).unwrap_or_default()
}

fn value<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    let (section, key) = name.split_once('.')?;
    tree.get(section)?.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;
    use crate::telemetry::{LogFormat, LogLevel};

    #[test]
    fn what_can_be_reloaded_is_taken_over_and_the_rest_named() {
        let old = Config::default();
        let mut new = Config::default();
        assert_eq!(old.changes(&new), Changes::default());
        new.sources.roots.push("/srv".into());
        new.sources.allow_hosts.push("example.org".into());
        new.sources.deny_hosts.clear();
        new.transcoding.cache_max_bytes = ByteSize::gib(1);
        new.security.api_key = Some("secret".into());
        new.security.rate_limit_per_minute = 7;
        new.security.job_token_ttl_seconds = 7;
        new.logging.level = LogLevel::Debug;
        new.logging.requests = false;
        new.server.port = 9;
        new.logging.format = LogFormat::Text;
        let changes = old.changes(&new);
        assert_eq!(changes.reloaded, RELOADABLE);
        assert_eq!(changes.needs_restart, ["server.port", "logging.format"]);
        let running = old.reloaded(&new);
        let left = running.changes(&new);
        assert_eq!(left.reloaded, Vec::<&str>::new());
        assert_eq!(left.needs_restart, changes.needs_restart);
    }

    #[test]
    fn the_manual_file_says_which_keys_are_reloaded() {
        let manual = include_str!("../../ghoststream.yaml");
        let (mut section, mut comment, mut said) = (String::new(), String::new(), Vec::new());
        for line in manual.lines() {
            let text = line.trim();
            if let Some(words) = text.strip_prefix('#') {
                comment.push_str(words);
                continue;
            }
            let name = text.split(':').next().unwrap_or_default();
            match line.starts_with(' ') {
                true if comment.contains("SIGHUP") => said.push(format!("{section}.{name}")),
                true => {}
                false => section = name.to_owned(),
            }
            comment.clear();
        }
        assert_eq!(said, RELOADABLE);
    }
}
