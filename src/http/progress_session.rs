//! One connection of `/ws/progress`: what the client says and what it hears (contract section 7).

use std::str::FromStr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use crate::base::JobId;
use crate::session::{Event, JobState, Listener};

use super::presence::SocketPresence;

/// Between two pings.
const BEAT: Duration = Duration::from_secs(30);
/// Pings in a row that nothing follows: the client is gone.
const MAX_MISSES: u32 = 3;
/// A client that takes longer to read one message is gone.
const SEND_WITHIN: Duration = Duration::from_secs(60);
/// How long we wait for a client to say good-bye too.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Job ids of one message; the rest is not read.
const MAX_IDS: usize = 10_000;
/// Events taken from the hub at one time: what is taken can no longer be replaced by the latest.
const AT_ONCE: usize = 16;

/// The connection is over; nothing more can be said on it.
struct Over;

/// See the module.
pub(super) struct Session<S> {
    socket: WebSocketStream<S>,
    listener: Listener,
    presence: SocketPresence,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        socket: WebSocketStream<S>,
        listener: Listener,
        presence: SocketPresence,
    ) -> Self {
        Session {
            socket,
            listener,
            presence,
        }
    }

    /// Serves the client until it leaves, falls silent, or `stop` fires.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let over = tokio::select! {
            over = self.serve() => over,
            () = stop.cancelled() => {
                return close(self.socket, CloseCode::Normal, "server_shutdown").await;
            }
        };
        if let Some((code, reason)) = over {
            close(self.socket, code, reason).await;
        }
    }

    /// Gives the words to close with, if there is anybody left to hear them.
    async fn serve(&mut self) -> Option<(CloseCode, &'static str)> {
        let mut beats = interval_at(Instant::now() + BEAT, BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut misses = 0;
        loop {
            tokio::select! {
                // What was said before a client's words is told before them.
                biased;
                () = self.listener.changed() => self.tell_news().await.ok()?,
                _ = beats.tick() => {
                    if misses == MAX_MISSES {
                        return Some((CloseCode::Policy, "no sign of life"));
                    }
                    misses += 1;
                    self.ping().await.ok()?;
                }
                message = self.socket.next() => {
                    misses = 0;
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            if let Ok(words) = serde_json::from_str::<Value>(&text) {
                                self.tell_news().await.ok()?;
                                self.answer(&words).await.ok()?;
                            }
                        }
                        // Binary frames mean nothing here; pings are answered by the library.
                        Some(Ok(Message::Close(_))) | None => return None,
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return reason_to_close(&error),
                    }
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over),
        }
    }

    async fn say(&mut self, words: Value) -> Result<(), Over> {
        self.send(Message::text(words.to_string())).await
    }

    async fn ping(&mut self) -> Result<(), Over> {
        self.say(json!({"type": "ping", "ts": now()})).await?;
        // The official client answers this one only, without knowing.
        self.send(Message::Ping(Default::default())).await
    }

    async fn tell_news(&mut self) -> Result<(), Over> {
        loop {
            let news = self.listener.take(AT_ONCE);
            if news.is_empty() {
                return Ok(());
            }
            for (id, event) in news {
                match event {
                    // A job that waits has not changed yet.
                    Event::State(JobState::Queued) => {}
                    Event::State(state) => self.say(status_change(id, state)).await?,
                    Event::Position(p) => {
                        let data = json!({
                            "progress": rounded(p.percent),
                            "frame": p.frame,
                            "fps": rounded(p.fps),
                            "time": rounded(p.seconds),
                            "speed": rounded(p.speed),
                        });
                        let event = json!({"type": "progress", "job_id": id, "data": data});
                        self.say(event).await?;
                    }
                }
            }
        }
    }

    /// What is not understood is passed over, as the original does.
    async fn answer(&mut self, words: &Value) -> Result<(), Over> {
        match words["type"].as_str() {
            Some("ping") => self.say(json!({"type": "pong", "ts": now()})).await,
            Some("subscribe") => self.subscribe(words).await,
            Some("unsubscribe") => {
                if let Some(ids) = words["job_ids"].as_array() {
                    self.listener.drop_choice(job_ids(ids));
                }
                Ok(())
            }
            Some("identify") => {
                if let Some(name) = words["client"].as_str() {
                    self.presence.identify(name);
                }
                Ok(())
            }
            Some("subscribe_all") => {
                self.listener.choose_all();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn subscribe(&mut self, words: &Value) -> Result<(), Over> {
        let Some(ids) = words["job_ids"].as_array() else {
            return Ok(());
        };
        let known = self.listener.choose(job_ids(ids));
        if known.is_empty() && !ids.is_empty() {
            let text = "none of these jobs is known";
            self.say(json!({"type": "error", "data": {"error": text}}))
                .await?;
        }
        for (id, state) in known {
            self.say(status_change(id, state)).await?;
        }
        if ids.len() > MAX_IDS {
            let text = format!("only the first {MAX_IDS} job ids of a message are read");
            self.say(json!({"type": "error", "data": {"error": text}}))
                .await?;
        }
        Ok(())
    }
}

/// Tells one too many to try again later (contract section 7).
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<S>) {
    close(socket, CloseCode::Again, "server overloaded").await;
}

async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    code: CloseCode,
    reason: &'static str,
) {
    let farewell = async {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        if socket.close(Some(frame)).await.is_ok() {
            // Until the client's own close, without which it might see a reset instead of ours.
            while let Some(Ok(_)) = socket.next().await {}
            // The rest of what was too large to be read as a message, for the same reason.
            let mut rest = [0; 4096];
            let raw = socket.get_mut();
            while raw.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        }
    };
    // Closed or not, the connection ends here.
    let _ = timeout(CLOSE_WITHIN, farewell).await;
}

fn reason_to_close(
    error: &tokio_tungstenite::tungstenite::Error,
) -> Option<(CloseCode, &'static str)> {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::Capacity(_) => Some((CloseCode::Size, "the message is too large")),
        Error::Utf8(_) => Some((CloseCode::Invalid, "the text is not UTF-8")),
        Error::Protocol(_) => Some((CloseCode::Protocol, "not a WebSocket frame")),
        _ => None,
    }
}

fn status_change(id: JobId, state: JobState) -> Value {
    json!({"type": "status_change", "job_id": id, "data": {"status": state.name()}})
}

fn job_ids(ids: &[Value]) -> impl Iterator<Item = JobId> + '_ {
    let texts = ids.iter().take(MAX_IDS).filter_map(Value::as_str);
    texts.filter_map(|text| JobId::from_str(text).ok())
}

/// Seconds since 1970.
fn now() -> f64 {
    jiff::Timestamp::now().as_microsecond() as f64 / 1e6
}

fn rounded(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}

#[cfg(test)]
#[path = "progress_session_tests.rs"]
mod tests;
