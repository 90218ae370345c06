//! The configuration in effect, for people: every key, its value and where that came from. Pure.

use std::collections::BTreeMap;

use serde_yaml::Value;
use url::Url;

use super::error::Origin;
use super::file::Config;
use super::validate::KEYS;

/// What set each key; what is absent has its default.
pub type Origins = BTreeMap<&'static str, Origin>;

/// How the names of keys end whose values are nobody's business.
const SECRET_ENDINGS: &[&str] = &["api_key", "_secret", "_token", "password"];

/// What stands for a part of a value that is not shown.
const HIDDEN: &str = "***";

/// A key and what it is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// Null when it is not set, and when it is secret.
    pub value: Value,
    pub origin: Origin,
    /// What it may hold, to follow "must be".
    pub allowed: &'static str,
    /// Its value is never shown.
    pub is_secret: bool,
    pub is_set: bool,
    /// It is what it would be had nobody set it. A file may well say what holds anyway.
    pub is_default: bool,
}

/// All keys in the order of the manual, without secrets: values of secret keys are left out, passwords
/// within URLs are blotted out.
pub fn describe(config: &Config, origins: &Origins) -> Vec<Setting> {
    // What was read from YAML can be written as YAML.
    let tree = serde_yaml::to_value(config).unwrap_or_default();
    let defaults = serde_yaml::to_value(Config::default()).unwrap_or_default();
    let told = KEYS.iter().map(|key| {
        let value = value_of(&tree, key.name);
        let is_secret = SECRET_ENDINGS.iter().any(|end| key.name.ends_with(end));
        Setting {
            key: key.name,
            is_set: !value.is_null(),
            is_default: value == value_of(&defaults, key.name),
            value: match is_secret {
                true => Value::Null,
                false => without_passwords(value),
            },
            origin: origins.get(key.name).cloned().unwrap_or(Origin::Default),
            allowed: key.allowed,
            is_secret,
        }
    });
    told.collect()
}

fn value_of(tree: &Value, key: &str) -> Value {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let value = tree.get(section).and_then(|s| s.get(name));
    value.cloned().unwrap_or_default()
}

fn without_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_password(text)),
        Value::Sequence(values) => values.into_iter().map(without_passwords).collect(),
        other => other,
    }
}

fn without_password(text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    let in_query = |name: &str| name.to_ascii_lowercase().contains("password");
    let told = url.password().is_some() || url.query_pairs().any(|(name, _)| in_query(&name));
    if !told {
        return text;
    }
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if !pairs.is_empty() {
        let shown = pairs.iter().map(|(name, value)| match in_query(name) {
            true => (name.as_str(), HIDDEN),
            false => (name.as_str(), value.as_str()),
        });
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting<'a>(all: &'a [Setting], key: &str) -> &'a Setting {
        all.iter().find(|s| s.key == key).unwrap()
    }

    #[test]
    fn every_key_is_told_with_its_origin() {
        let mut config = Config::default();
        config.server.port = 9000;
        let origins = Origins::from([("server.port", Origin::Flag("--port"))]);
        let all = describe(&config, &origins);
        let keys: Vec<_> = all.iter().map(|s| s.key).collect();
        assert_eq!(keys, KEYS.iter().map(|k| k.name).collect::<Vec<_>>());
        let port = setting(&all, "server.port");
        assert_eq!(port.value, Value::from(9000));
        assert_eq!(port.origin, Origin::Flag("--port"));
        assert_eq!(setting(&all, "server.host").origin, Origin::Default);
    }

    #[test]
    fn what_a_file_says_as_it_is_anyway_is_the_default() {
        let mut config = Config::default();
        config.server.max_connections += 1;
        config.security.api_key = Some("opensesame".into());
        let file = || Origin::File("ghoststream.yaml".into());
        let origins = Origins::from([("server.port", file()), ("server.max_connections", file())]);
        let all = describe(&config, &origins);
        assert!(setting(&all, "server.port").is_default);
        assert!(!setting(&all, "server.max_connections").is_default);
        assert!(!setting(&all, "security.api_key").is_default);
    }

    #[test]
    fn no_secret_is_told() {
        let mut config = Config::default();
        config.security.api_key = Some("opensesame".into());
        config.security.callback_secret = Some("opensesame".into());
        config.security.registration_secret = Some("opensesame".into());
        config.store.url = "postgres://ann:opensesame@h/db?password=opensesame&host=h".into();
        let all = describe(&config, &Origins::new());
        assert!(!format!("{all:?}").contains("opensesame"), "{all:?}");
        let key = setting(&all, "security.api_key");
        assert!(key.is_secret && key.is_set && key.value.is_null());
        let url = setting(&all, "store.url").value.as_str().unwrap();
        assert_eq!(url, "postgres://ann:***@h/db?password=***&host=h");
        assert!(
            !setting(
                &describe(&Config::default(), &Origins::new()),
                "security.api_key"
            )
            .is_set
        );
    }

    /// A key that sounds secret and is not is named here, by hand.
    #[test]
    fn what_sounds_secret_is_hidden() {
        let all = describe(&Config::default(), &Origins::new());
        for word in ["key", "secret", "token", "password", "credential"] {
            for told in all.iter().filter(|s| s.key.contains(word)) {
                let harmless = told.key == "security.job_token_ttl_seconds";
                assert!(told.is_secret || harmless, "{}", told.key);
            }
        }
    }
}
