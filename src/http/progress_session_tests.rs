//! Connections over pipes in memory, on a clock that jumps: no wall-clock time passes.

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::TaskTracker;

use super::super::presence::Presence;
use super::*;
use crate::session::{Position, ProgressHub};

type Client = WebSocketStream<DuplexStream>;

/// A client of `hub`, and the task that serves it.
async fn connect(
    hub: &Arc<ProgressHub>,
    stop: &CancellationToken,
    buffer_bytes: usize,
) -> (Client, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(buffer_bytes);
    let socket = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let presence = Arc::new(Presence::default()).connect();
    let session = Session::new(socket, hub.listen(), presence);
    let stop = stop.clone();
    let served = TaskTracker::new().spawn(async move { session.run(&stop).await });
    let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    (client, served)
}

async fn next(client: &mut Client) -> Message {
    let next = timeout(Duration::from_secs(3600), client.next()).await;
    next.expect("something is said").unwrap().unwrap()
}

/// The next message that is JSON.
async fn heard(client: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = next(client).await {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// How the server said good-bye.
async fn farewell(client: &mut Client) -> (u16, String) {
    loop {
        if let Message::Close(frame) = next(client).await {
            let frame = frame.unwrap();
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_reads_lives_as_long_as_the_gateway() {
    let (hub, stop) = (ProgressHub::new(), CancellationToken::new());
    let (mut client, served) = connect(&hub, &stop, 4096).await;
    // The library answers pings of the protocol when it is polled, as that of the official client.
    for _ in 0..20 {
        let ping = heard(&mut client).await;
        assert_eq!(ping["type"], "ping");
        assert!(ping["ts"].is_f64());
    }
    stop.cancel();
    assert_eq!(
        farewell(&mut client).await,
        (1000, "server_shutdown".into())
    );
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_nothing_is_closed_after_three_pings() {
    let (hub, stop) = (ProgressHub::new(), CancellationToken::new());
    let (client, served) = connect(&hub, &stop, 4096).await;
    let began = Instant::now();
    served.await.unwrap();
    let lived = began.elapsed().as_secs();
    assert!((120..=122).contains(&lived), "{lived} s");
    assert!(!hub.is_heard());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_late_finds_all_states_and_the_latest_position() {
    let (hub, stop) = (ProgressHub::new(), CancellationToken::new());
    let (mut client, _served) = connect(&hub, &stop, 256).await;
    let id = JobId::random();
    hub.state(id, JobState::Processing);
    for i in 0..10_000 {
        let percent = f64::from(i) / 100.0;
        hub.position(
            id,
            Position {
                percent,
                ..Position::default()
            },
        );
        tokio::task::yield_now().await;
    }
    hub.state(id, JobState::Ready);
    let (mut states, mut positions) = (Vec::new(), Vec::new());
    while states.last().is_none_or(|s| s != "ready") {
        let event = heard(&mut client).await;
        match event["type"].as_str() {
            Some("status_change") => {
                states.push(event["data"]["status"].as_str().unwrap().to_owned())
            }
            Some("progress") => positions.push(event["data"]["progress"].as_f64().unwrap()),
            _ => {}
        }
    }
    assert_eq!(states, ["processing", "ready"]);
    assert!(positions.len() < 50, "{} are queued", positions.len());
    assert!(
        positions.is_sorted() && positions.last() == Some(&100.0),
        "{positions:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_subscribers_hear_every_state_change() {
    let (hub, stop) = (ProgressHub::new(), CancellationToken::new());
    let ids: Vec<JobId> = (0..10).map(|_| JobId::random()).collect();
    ids.iter().for_each(|id| {
        hub.state(*id, JobState::Processing);
    });
    let mut clients = Vec::new();
    for i in 0..1000 {
        let (mut client, served) = connect(&hub, &stop, 4096).await;
        let words = json!({"type": "subscribe", "job_ids": [ids[i % 10]]});
        client.send(Message::text(words.to_string())).await.unwrap();
        let now = heard(&mut client).await;
        assert_eq!(now, status_change(ids[i % 10], JobState::Processing));
        clients.push((client, served));
    }
    let ends = [JobState::Ready, JobState::Error, JobState::Cancelled];
    let end = |job: usize| ends[job % 3];
    for (job, id) in ids.iter().enumerate() {
        hub.state(*id, end(job));
    }
    for (i, (client, _)) in clients.iter_mut().enumerate() {
        let job = i % 10;
        let mut event = heard(client).await;
        if end(job) == JobState::Ready {
            assert_eq!(event["data"]["progress"], 100.0);
            event = heard(client).await;
        }
        assert_eq!(event, status_change(ids[job], end(job)));
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_added_taken_back_and_given_up() {
    let (hub, stop) = (ProgressHub::new(), CancellationToken::new());
    let (mut client, _served) = connect(&hub, &stop, 4096).await;
    let (a, b, c) = (JobId::random(), JobId::random(), JobId::random());
    let say = async |client: &mut Client, words: Value| {
        client.send(Message::text(words.to_string())).await.unwrap();
        // What follows is told after it was heard.
        client
            .send(Message::text(r#"{"type":"ping"}"#))
            .await
            .unwrap();
        let mut told = Vec::new();
        loop {
            let event = heard(client).await;
            if event["type"] == "pong" {
                return told;
            }
            told.push(event);
        }
    };
    hub.state(a, JobState::Processing);
    hub.state(b, JobState::Cancelled);
    let told = say(&mut client, json!({"type": "nothing"})).await;
    let both = [
        status_change(a, JobState::Processing),
        status_change(b, JobState::Cancelled),
    ];
    assert_eq!(told, both, "without a choice it is all of them");
    let told = say(
        &mut client,
        json!({"type": "subscribe", "job_ids": [a, "x", 7]}),
    )
    .await;
    assert_eq!(told, both[..1]);
    let told = say(&mut client, json!({"type": "subscribe", "job_ids": [b]})).await;
    assert_eq!(told, both[1..], "also of one that has ended");
    hub.state(c, JobState::Processing);
    say(&mut client, json!({"type": "unsubscribe", "job_ids": [a]})).await;
    hub.state(a, JobState::Ready);
    let told = say(
        &mut client,
        json!({"type": "subscribe", "job_ids": [JobId::random()]}),
    )
    .await;
    assert_eq!(told[0]["type"], "error");
    assert_eq!(told.len(), 1, "{told:?}");
    say(&mut client, json!({"type": "subscribe_all"})).await;
    hub.state(c, JobState::Error);
    assert_eq!(heard(&mut client).await, status_change(c, JobState::Error));
}
