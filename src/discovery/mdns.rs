//! The mDNS service `_ghoststream._tcp` with what the official client's listener reads.

use std::collections::HashSet;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio_util::sync::CancellationToken;

use super::Announcement;

pub(super) const SERVICE_TYPE: &str = "_ghoststream._tcp.local.";
/// Longest wait for the good-bye to be sent.
const GOODBYE: Duration = Duration::from_secs(1);
/// The good-bye is sent again after 120 ms, in case it was lost.
const REPEAT: Duration = Duration::from_millis(200);
/// Three probes, 250 ms apart, and the announcement that follows, with time to spare.
const PROBING: Duration = Duration::from_millis(2500);
/// Time for others to say that they are there.
const LOOK: Duration = Duration::from_millis(1000);
/// Waiting for others on this machine to announce themselves.
const TURN_PAUSE: Duration = Duration::from_millis(100);
const TURN_TRIES: usize = 100;
/// Longest value of a TXT record with the longest key, bytes (RFC 6763 section 6.1).
const MAX_VALUE_BYTES: usize = 240;

/// Announces until `stop`. Names that others have are given a number by the library, which probes
/// first (RFC 6762 sections 8 and 9).
pub(super) async fn announce(about: Announcement, stop: CancellationToken) {
    let turn = take_turn().await;
    let daemon = ServiceDaemon::new().and_then(|daemon| {
        if !about.is_local() {
            // Others would be told to look for us on their own machine.
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        Ok(daemon)
    });
    let started = match daemon {
        Ok(daemon) => register(daemon, &about).await,
        Err(error) => Err(error),
    };
    let (daemon, events, name) = match started {
        Ok(started) => started,
        Err(error) => {
            return tracing::warn!(%error, "mDNS does not work: name this gateway instead");
        }
    };
    tracing::info!(name, "announced by mDNS");
    let probed = tokio::time::sleep(PROBING);
    tokio::pin!(probed);
    let mut turn = turn;
    loop {
        let event = tokio::select! {
            () = &mut probed, if turn.is_some() => {
                turn = None;
                continue;
            }
            event = stop.run_until_cancelled(events.recv_async()) => event,
        };
        let Some(Ok(event)) = event else { break };
        match event {
            DaemonEvent::NameChange(change) => {
                tracing::info!(
                    name = change.new_name,
                    "announced under another name: this one was taken"
                );
            }
            DaemonEvent::Error(error) => tracing::debug!(%error, "mDNS"),
            _ => {}
        }
    }
    if let Ok(done) = daemon.unregister(&name)
        && let Ok(Ok(_)) = tokio::time::timeout(GOODBYE, done.recv_async()).await
    {
        tokio::time::sleep(REPEAT).await;
    }
    if let Ok(done) = daemon.shutdown() {
        // Nothing depends on its thread any more.
        let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
    }
}

/// Gateways on one machine announce themselves one after the other: two that probe for the same name
/// at the same moment would not hear of each other. Without the lock, which somebody else may own, the
/// chance is taken.
async fn take_turn() -> Option<std::fs::File> {
    let lock = std::fs::File::create(std::env::temp_dir().join("ghoststream-mdns.lock")).ok()?;
    for _ in 0..TURN_TRIES {
        if lock.try_lock().is_ok() {
            return Some(lock);
        }
        tokio::time::sleep(TURN_PAUSE).await;
    }
    None
}

type Registered = (ServiceDaemon, Receiver<DaemonEvent>, String);

/// Announces under a name that nobody has. The library would find that out too, but meanwhile answer
/// for the taken name, and clients that are looking would keep what they heard.
async fn register(
    daemon: ServiceDaemon,
    about: &Announcement,
) -> Result<Registered, mdns_sd::Error> {
    let taken = taken_names(&daemon).await?;
    let info = service_info(about, &free_name(&about.name.replace(' ', "-"), &taken))?;
    let name = info.get_fullname().to_owned();
    let events = daemon.monitor()?;
    daemon.register(info)?;
    Ok((daemon, events, name))
}

/// Full names of the gateways that are there.
async fn taken_names(daemon: &ServiceDaemon) -> Result<HashSet<String>, mdns_sd::Error> {
    let found = daemon.browse(SERVICE_TYPE)?;
    let mut taken = HashSet::new();
    let looking = async {
        while let Ok(event) = found.recv_async().await {
            if let ServiceEvent::ServiceFound(_, name) = event {
                taken.insert(name.to_lowercase());
            }
        }
    };
    // Those that are there answer at once.
    let _ = tokio::time::timeout(LOOK, looking).await;
    daemon.stop_browse(SERVICE_TYPE)?;
    Ok(taken)
}

/// `instance`, with a number where that is taken.
fn free_name(instance: &str, taken: &HashSet<String>) -> String {
    let is_free = |name: &String| {
        let full = format!("{name}.{SERVICE_TYPE}").to_lowercase();
        !taken.contains(&full)
    };
    let numbered = (2..).map(|n| format!("{instance} ({n})"));
    let mut names = std::iter::once(instance.to_owned()).chain(numbered);
    names.find(is_free).unwrap_or_else(|| instance.to_owned())
}

fn service_info(about: &Announcement, instance: &str) -> Result<ServiceInfo, mdns_sd::Error> {
    let host = format!("{}.local.", host_label(instance));
    let properties = properties(about);
    let info = |ip: &str| {
        ServiceInfo::new(
            SERVICE_TYPE,
            instance,
            &host,
            ip,
            about.address.port(),
            &properties[..],
        )
    };
    match about.fixed_address() {
        Some(ip) => info(&ip.to_string()),
        None => Ok(info("")?.enable_addr_auto()),
    }
}

/// The keys of the original, none of them without a value, which its clients cannot read.
fn properties(about: &Announcement) -> Vec<(&'static str, String)> {
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(","),
    };
    let short = |text: String| {
        let mut end = text.len().min(MAX_VALUE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    vec![
        ("version", about.version.clone()),
        ("api_version", "1".to_owned()),
        ("hw_accels", short(list(&about.hw_accels))),
        ("video_codecs", short(list(&about.video_codecs))),
        ("audio_codecs", short(list(&about.audio_codecs))),
        ("max_jobs", about.max_jobs.to_string()),
        ("platform", short(about.platform.clone())),
    ]
}

/// A host name that any resolver takes: letters, digits and dashes.
fn host_label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let label: String = name.chars().map(plain).take(60).collect();
    match label.trim_matches('-') {
        "" => "ghoststream".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> Announcement {
        Announcement {
            name: "GhostStream Transcoder".into(),
            address: ([0, 0, 0, 0], 8765).into(),
            version: "0.1.0".into(),
            hw_accels: vec!["nvenc".into(), "software".into()],
            video_codecs: vec!["h264".into()],
            audio_codecs: Vec::new(),
            max_jobs: 16,
            platform: "ö".repeat(200),
        }
    }

    #[test]
    fn the_record_is_what_the_listener_reads() {
        let info = service_info(&about(), "GhostStream-Transcoder").unwrap();
        assert_eq!(
            info.get_fullname(),
            "GhostStream-Transcoder._ghoststream._tcp.local."
        );
        assert_eq!(info.get_hostname(), "GhostStream-Transcoder.local.");
        assert_eq!(info.get_port(), 8765);
        assert!(info.is_addr_auto());
        let value = |key| info.get_property_val_str(key).unwrap();
        assert_eq!(value("hw_accels"), "nvenc,software");
        assert_eq!((value("max_jobs"), value("api_version")), ("16", "1"));
        for key in ["version", "video_codecs", "audio_codecs", "platform"] {
            assert!(!value(key).is_empty(), "{key}");
        }
        let mut one = about();
        one.address = ([192, 168, 4, 2], 80).into();
        let info = service_info(&one, "one").unwrap();
        assert!(!info.is_addr_auto());
        assert_eq!(info.get_addresses_v4().len(), 1);
    }

    #[test]
    fn taken_names_get_a_number() {
        let full = |name: &str| format!("{name}.{SERVICE_TYPE}").to_lowercase();
        let mut taken = HashSet::from([full("TV")]);
        assert_eq!(free_name("Attic", &taken), "Attic");
        assert_eq!(free_name("tv", &taken), "tv (2)");
        taken.insert(full("tv (2)"));
        assert_eq!(free_name("tv", &taken), "tv (3)");
    }

    #[test]
    fn host_names_are_plain() {
        assert_eq!(host_label("Küche-2"), "K-che-2");
        assert_eq!(host_label("台所"), "ghoststream");
    }
}
