//! What the page asks beside the protocols.

use serde_json::json;

use crate::job::{JobKind, JobState};
use crate::media::Mode;

use super::build::{
    Described, Shape, any, count, field, flag, get, list, named, number, object, one_of, or_null,
    post, text, text_of, time,
};
use super::maybe_text;

fn summary() -> Vec<super::build::Field> {
    vec![
        field("job_id", text()),
        field(
            "stream",
            or_null(text_of(
                "Equal for jobs that share it; null until the source was probed",
            )),
        ),
        field("source", text_of("Without credentials")),
        field("mode", one_of(Mode::NAMES.iter().copied())),
        field("client", maybe_text()),
        field(
            "state",
            text_of("queued, processing, ready, error or cancelled"),
        ),
        field(
            "phase",
            text_of(
                "What happens now: probing, starting, encoding, paused, idle, live, ready, error or cancelled",
            ),
        ),
        field("progress", number("0 to 100")),
        field("duration", or_null(number("Seconds"))),
        field("speed", number("Media time made per wall time")),
        field(
            "eta_seconds",
            or_null(count("Seconds until all of it is made")),
        ),
        field("encoded_by", maybe_text()),
        field(
            "encoders",
            count("At work for it, those included that are held back"),
        ),
        field("viewers", count("Jobs that share the stream")),
        field("error", maybe_text()),
        field("warnings", list(text())),
        field("created_at", time()),
    ]
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let head = object([
        field("segment", count("The one it makes")),
        field("position", number("Seconds of the stream")),
        field("paused", flag()),
        field("speed", or_null(number("Media time per wall time"))),
    ]);
    let track = object([
        field("id", text_of("As in the names of files: video0")),
        field("kind", one_of(["video", "audio"])),
        field("name", text()),
        field("codec", text()),
        field("encoder", text_of("ffmpeg's name of it, or copy")),
        field("accelerator", maybe_text()),
        field("ready", list(list(number("Seconds: from, to")))),
        field("ready_segments", count("Segments that are there")),
        field("heads", list(head)),
        field("last_failure", maybe_text()),
    ]);
    let map = object([
        field(
            "duration",
            number("Seconds; so far, while the end is not known"),
        ),
        field("open_ended", flag()),
        field("segments", or_null(count("Segments of each track"))),
        field("tracks", list(track)),
    ]);
    let whole = summary().into_iter().chain([field("map", or_null(map))]);
    vec![
        ("Stream", object(summary())),
        ("StreamDetail", object(whole)),
    ]
}

pub(super) fn describe() -> Vec<Described> {
    let setting = object([
        field("key", text_of("section.key")),
        field(
            "value",
            any("Null when it is not set, and when it is secret"),
        ),
        field(
            "origin",
            text_of("default, a file, a variable of the environment, or a flag"),
        ),
        field(
            "allowed",
            text_of("What it may hold, to follow \"must be\""),
        ),
        field("is_secret", flag()),
        field("is_set", flag()),
    ]);
    let settings = object([
        field("version", text()),
        field("license", text()),
        field("settings", list(setting)),
    ]);
    let counted = object([
        field("kind", one_of(JobKind::ALL.iter().map(|k| k.name()))),
        field("state", one_of(JobState::ALL.iter().map(|s| s.name()))),
        field("jobs", count("How many")),
    ]);
    let busy = (503, "The database does not answer");
    vec![
        get("/api/v2/streams", "streams", "What is played now, newest first")
            .json(200, "Streams", object([field("streams", list(named("Stream")))])),
        get(
            "/api/v2/streams/{id}",
            "streamMap",
            "What of a stream is there, who makes the rest, and how fast; looking does not count as watching",
        )
        .part("id", "Id of its job", text())
        .json(200, "The stream; its map is null until the source was probed", named("StreamDetail"))
        .errors(&[(404, "There is no such stream")]),
        get(
            "/api/v2/events",
            "events",
            "What changes, once a second, as server-sent events: jobs, progress, streams, missed",
        )
        .bytes(200, "Events until the connection ends", "text/event-stream"),
        get("/api/v2/queue", "queue", "How many jobs of each kind stand where")
            .json(200, "Counts", object([field("counts", list(counted))]))
            .errors(&[busy]),
        post("/api/v2/jobs/{id}/priority", "prioritiseJob", "Let a job come sooner or later")
            .part("id", "Id of the job", text())
            .body(
                object([field("priority", number("A whole number; higher comes first, 0 is usual"))]),
                json!({"priority": 5}),
            )
            .json(200, "The job", named("Job"))
            .errors(&[
                (400, "priority is not a whole number"),
                (404, "There is no such job"),
                (409, "It has ended"),
                busy,
            ]),
        get("/api/v2/config", "configuration", "The configuration the gateway started with, without secrets")
            .json(200, "All keys, in the order of the manual", settings),
    ]
}
