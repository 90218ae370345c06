//! The answer to `GHOSTSTREAM_DISCOVER`, for clients without mDNS.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::Announcement;

/// Where clients ask.
pub const DISCOVERY_PORT: u16 = 8766;
const QUESTION: &[u8] = b"GHOSTSTREAM_DISCOVER";
/// The version of the answer, not of the gateway: clients of the original know this one only.
const PROTOCOL_VERSION: &str = "1.0.0";

/// Answers on `place` until `stop`. Several gateways of one machine share the port.
pub(super) async fn answer(about: Announcement, place: SocketAddr, stop: CancellationToken) {
    let socket = match listen(place) {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(%error, "UDP discovery does not work"),
    };
    stop.run_until_cancelled(serve(&socket, &about)).await;
}

fn listen(place: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(place), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&place.into())?;
    UdpSocket::from_std(socket.into())
}

async fn serve(socket: &UdpSocket, about: &Announcement) {
    let accels = about.hw_accels.join(",");
    let port = about.address.port();
    let told = format!("GHOSTSTREAM_ANNOUNCE:{port}:{PROTOCOL_VERSION}:{accels}");
    // A byte more than the question: longer datagrams are cut off, and are none.
    let mut buffer = [0; QUESTION.len() + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) if &buffer[..length] == QUESTION => {
                if let Err(error) = socket.send_to(told.as_bytes(), from).await {
                    tracing::debug!(%error, "a discovery answer was not sent");
                }
            }
            // An earlier answer may not have arrived; that is said here.
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_exact_question_is_answered() {
        let about = Announcement {
            name: String::new(),
            address: ([127, 0, 0, 1], 8765).into(),
            version: String::new(),
            hw_accels: vec!["vaapi".into(), "software".into()],
            video_codecs: Vec::new(),
            audio_codecs: Vec::new(),
            max_jobs: 1,
            platform: String::new(),
        };
        let socket = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let place = socket.local_addr().unwrap();
        listen(place).expect("another gateway may listen too");
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asking = async {
            for other in [
                "",
                "GHOSTSTREAM",
                "GHOSTSTREAM_DISCOVER!",
                "ghoststream_discover",
            ] {
                client.send_to(other.as_bytes(), place).await.unwrap();
            }
            client.send_to(QUESTION, place).await.unwrap();
            let mut buffer = [0; 100];
            let answer = client.recv(&mut buffer);
            let length = tokio::time::timeout(Duration::from_secs(10), answer).await;
            String::from_utf8_lossy(&buffer[..length.unwrap().unwrap()]).into_owned()
        };
        let answer = tokio::select! {
            answer = asking => answer,
            () = serve(&socket, &about) => unreachable!(),
        };
        assert_eq!(answer, "GHOSTSTREAM_ANNOUNCE:8765:1.0.0:vaapi,software");
        // Nothing else was answered.
        assert!(client.try_recv(&mut [0; 10]).is_err());
    }
}
