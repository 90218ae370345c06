//! Registering with GhostHub. mDNS and UDP are tested where they are, and with the official clients.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::receiver::{Posted, Receiver};

async fn registering(hub: &str, change: impl FnOnce(&mut ghoststream::config::Config)) -> TestApp {
    TestApp::with(|config| {
        config.ghosthub.url = Some(hub.parse().unwrap());
        config.mdns.service_name = "Living Room".into();
        change(config);
    })
    .await
}

/// Holds a message against its signature under the secret in the gateway's own file.
fn check(posted: &Posted, secret: &[u8]) -> Value {
    let mut words = posted.json();
    let fields = words.as_object_mut().unwrap();
    let signature = fields.remove("signature").unwrap();
    let signature = signature.as_str().unwrap();
    for (header, field) in [("node-id", "node_id"), ("registration-nonce", "nonce")] {
        let header = format!("x-ghoststream-{header}");
        assert_eq!(posted.header(&header), fields[field].as_str());
    }
    let header = posted
        .header("x-ghoststream-registration-timestamp")
        .unwrap();
    assert_eq!(header, fields["timestamp"].to_string());
    let header = posted.header("x-ghoststream-registration-signature");
    assert_eq!(header, Some(signature));
    let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
    let material = serde_json::to_vec(&sorted).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = URL_SAFE_NO_PAD.decode(signature).unwrap();
    hmac::verify(&key, &material, &tag).unwrap();
    words
}

/// Whether this machine hears its own multicasts: some containers have no interface for them.
pub(crate) fn multicast_works() -> bool {
    let group = std::net::Ipv4Addr::new(239, 255, 42, 99);
    let heard = || -> std::io::Result<()> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.join_multicast_v4(&group, &std::net::Ipv4Addr::UNSPECIFIED)?;
        socket.set_multicast_loop_v4(true)?;
        socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
        let port = socket.local_addr()?.port();
        socket.send_to(b"hello", (group, port))?;
        socket.recv_from(&mut [0; 16]).map(|_| ())
    };
    let works = heard();
    if let Err(error) = &works {
        eprintln!("left out: no multicast on this machine ({error})");
    }
    works.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_registers_again_and_again_and_withdraws() {
    let hub = Receiver::start(&[500]).await;
    let app = registering(&hub.url("/base/"), |config| {
        config.ghosthub.register_interval_seconds = 1;
        config.security.registration_secret = Some("shared".into());
    })
    .await;
    let posted = hub.after(3).await;
    let identity = app.folder.path().join("data/node_identity.json");
    let identity: Value = serde_json::from_slice(&std::fs::read(identity).unwrap()).unwrap();
    let secret = URL_SAFE_NO_PAD
        .decode(identity["secret"].as_str().unwrap())
        .unwrap();
    let address = app.gateway.address();
    for posted in &posted {
        assert_eq!(posted.path, "/base/api/ghoststream/servers/register");
        assert_eq!(
            posted.header("x-ghoststream-registration-secret"),
            Some("shared")
        );
        let words = check(posted, &secret);
        assert_eq!(words["address"], address.to_string());
        assert_eq!(words["callback_url"], format!("http://{address}"));
        assert_eq!(
            (&words["name"], &words["node_id"]),
            (&json!("Living Room"), &identity["node_id"])
        );
        assert!(
            words["hw_accels"]
                .as_array()
                .unwrap()
                .contains(&json!("software"))
        );
        assert!(words["video_codecs"].is_array() && words["audio_codecs"].is_array());
        assert_eq!(words["max_jobs"], 16);
    }
    let nonces: std::collections::HashSet<_> = posted
        .iter()
        .map(|p| p.json()["nonce"].to_string())
        .collect();
    assert_eq!(nonces.len(), posted.len());
    app.stop().await;
    let last = hub.posted().pop().unwrap();
    assert_eq!(last.path, "/base/api/ghoststream/servers/unregister");
    assert_eq!(check(&last, &secret)["name"], "Living Room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_not_to_register_does_not() {
    let hub = Receiver::start(&[]).await;
    let app = registering(&hub.url(""), |config| {
        config.ghosthub.auto_register = false;
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    app.stop().await;
    assert!(hub.posted().is_empty());
    let hub = Receiver::start(&[]).await;
    let app = registering(&hub.url(""), |config| {
        config.server.advertised_url = Some("https://media.example.org/gs/".parse().unwrap());
    })
    .await;
    let words = hub.after(1).await[0].json();
    assert_eq!(words["callback_url"], "https://media.example.org/gs");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_found_by_its_name_or_not_at_all() {
    if !multicast_works() {
        return;
    }
    let named = |name: &'static str, enabled: bool| {
        TestApp::with(move |config| {
            config.server.host = "0.0.0.0".into();
            config.mdns.enabled = enabled;
            config.mdns.service_name = format!("{name} {}", std::process::id());
        })
    };
    let (silent, loud) = (named("Silent", false).await, named("Loud", true).await);
    let daemon = mdns_sd::ServiceDaemon::new().unwrap();
    let events = daemon.browse("_ghoststream._tcp.local.").unwrap();
    let wanted = |name: &str| format!("{name}-{}._ghoststream._tcp.local.", std::process::id());
    let looking = async {
        loop {
            let event = events.recv_async().await.unwrap();
            if let mdns_sd::ServiceEvent::ServiceResolved(found) = event {
                let name = found.get_fullname().to_owned();
                assert_ne!(name, wanted("Silent"));
                if name == wanted("Loud") {
                    return found.get_port();
                }
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), looking).await;
    assert_eq!(found.expect("it is found"), loud.gateway.address().port());
    // Its end of the channel goes with it.
    let _ = daemon.shutdown();
    silent.stop().await;
    loud.stop().await;
}
