//! Registration tokens for runners, made on the store, whether or not the gateway runs.

use crate::config::Config;
use crate::dispatch::Clock;
use crate::store::Store;
use crate::videos::RegistrationToken;

use super::build::StartError;

/// Makes a registration token for PeerTube's runners.
pub async fn new_registration_token(config: &Config) -> Result<String, StartError> {
    let store = Store::open(&config.store.url, &config.storage.directory).await?;
    let token = RegistrationToken::create(&store, Clock::System.now()).await;
    store.close().await;
    Ok(token?.secret)
}

/// Where others most likely reach the gateway, without a slash behind.
pub fn own_url(config: &Config) -> String {
    if let Some(url) = &config.server.advertised_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let host = match config.server.host.as_str() {
        "0.0.0.0" | "::" => sysinfo::System::host_name().unwrap_or_else(|_| "127.0.0.1".into()),
        host => host.to_owned(),
    };
    match host.contains(':') {
        true => format!("http://[{host}]:{}", config.server.port),
        false => format!("http://{host}:{}", config.server.port),
    }
}
