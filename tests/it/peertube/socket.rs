//! The bell: Socket.IO frames as they were recorded.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async};

use super::runner::Runner;
use super::{REGISTRATION, configured, is_problem, one_job, registered, start};
use crate::app::TestApp;

struct Bell(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Bell {
    /// Connects and says who it is; the answer to that.
    async fn hello(app: &TestApp, namespace: &str, token: &str) -> (Bell, String) {
        let address = app.gateway.address();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let socket = TcpStream::connect(address).await.unwrap();
        let socket = MaybeTlsStream::Plain(socket);
        let (socket, _) = client_async(url, socket).await.unwrap();
        let mut bell = Bell(socket);
        let open = bell.next().await;
        assert!(open.starts_with("0{\"sid\":"), "{open}");
        assert!(open.contains("\"pingInterval\":25000"), "{open}");
        bell.say(format!("40{namespace},{{\"runnerToken\":\"{token}\"}}"))
            .await;
        let answer = bell.next().await;
        (bell, answer)
    }

    async fn say(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame that is no ping.
    async fn next(&mut self) -> String {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await;
            let text = frame.expect("a frame").unwrap().unwrap();
            match text.to_text().unwrap() {
                "2" => self.say("3".into()).await,
                text => return text.to_owned(),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_hear_of_work() {
    let app = start().await;
    let runner = registered(&app, "one").await;
    let (mut bell, answer) = Bell::hello(&app, "/runners", &runner.token).await;
    assert!(answer.starts_with("40/runners,{\"sid\":\""), "{answer}");
    let (mut slashed, answer) = Bell::hello(&app, "//runners", &runner.token).await;
    assert!(answer.starts_with("40//runners,{\"sid\":\""), "{answer}");
    one_job(&app).await;
    assert_eq!(bell.next().await, "42/runners,[\"available-jobs\"]");
    assert_eq!(slashed.next().await, "42//runners,[\"available-jobs\"]");
    // An error and a return are work again.
    let job = runner.take("vod-hls-transcoding").await;
    runner.error(&job, "no").await;
    assert_eq!(bell.next().await, "42/runners,[\"available-jobs\"]");
    let job = runner.take("vod-hls-transcoding").await;
    runner.abort(&job).await;
    assert_eq!(bell.next().await, "42/runners,[\"available-jobs\"]");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_rings_too() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.stalled_after_seconds = 1;
    })
    .await;
    let runner = registered(&app, "one").await;
    one_job(&app).await;
    runner.take("vod-hls-transcoding").await;
    let (mut bell, _) = Bell::hello(&app, "/runners", &runner.token).await;
    assert_eq!(bell.next().await, "42/runners,[\"available-jobs\"]");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_told_that_they_are() {
    let app = start().await;
    let (_, answer) = Bell::hello(&app, "/runners", "ptrt-nobody").await;
    assert_eq!(answer, "44/runners,{\"message\":\"Invalid runner token.\"}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_was_registered_with_a_slash_works() {
    let app = TestApp::with(|config| {
        configured(config);
        config.security.api_key = Some("secret".into());
    })
    .await;
    // The path of every call begins with two slashes then, and redirects are not followed.
    let runner = Runner::register(&format!("{}/", app.gateway.url()), REGISTRATION, "one").await;
    assert!(runner.offers(None).await.is_empty());
    let unknown = runner.accept("6f2a3b52-7e0e-4a3e-9b55-0f3a3f7d2f9c").await;
    is_problem(&unknown, 404, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_came_through_a_proxy_hears_of_work() {
    let app = TestApp::with(|config| {
        configured(config);
        config.server.advertised_url = Some("https://media.example/gs".parse().unwrap());
    })
    .await;
    let runner = registered(&app, "one").await;
    let (mut bell, answer) = Bell::hello(&app, "/gs/runners", &runner.token).await;
    assert!(answer.starts_with("40/gs/runners,{\"sid\":\""), "{answer}");
    one_job(&app).await;
    assert_eq!(bell.next().await, "42/gs/runners,[\"available-jobs\"]");
    app.stop().await;
}
