//! How the gateway is.

use serde_json::json;

use super::build::{
    Described, any, count, field, flag, get, list, map, named, number, object, one_of, optional,
    or_null, text, text_of, time,
};
use super::maybe_text;

pub(super) fn describe() -> Vec<Described> {
    let mut all = health();
    all.extend(figures());
    all
}

fn health() -> Vec<Described> {
    let check = |more: Vec<super::build::Field>| {
        let mut fields = vec![field(
            "status",
            one_of(["healthy", "degraded", "unhealthy"]),
        )];
        fields.extend(more);
        object(fields)
    };
    let percent = || number("Percent");
    let checks = object([
        field("cpu", check(vec![field("usage_percent", percent())])),
        field(
            "memory",
            check(vec![
                field("usage_percent", percent()),
                field("available_mb", count("MiB")),
            ]),
        ),
        field(
            "disk",
            check(vec![
                field("usage_percent", percent()),
                field("free_gb", count("GiB")),
            ]),
        ),
        field(
            "job_queue",
            check(vec![
                field("current", count("Jobs")),
                field("max", count("Jobs")),
                field("usage_percent", percent()),
            ]),
        ),
        field(
            "active_jobs",
            check(vec![
                field("count", count("Jobs")),
                field("max_concurrent", count("Jobs")),
            ]),
        ),
    ]);
    let detailed = object([
        field("status", one_of(["healthy", "degraded", "unhealthy"])),
        optional("reason", text()),
        optional("version", text()),
        optional("environment", text()),
        optional("uptime_seconds", number("Seconds")),
        optional("timestamp", number("Seconds since 1970")),
        optional("checks", checks),
    ]);
    let ready = || {
        object([
            field("ready", flag()),
            optional("reason", text_of("What is missing, when it is not ready")),
            field(
                "checks",
                map(
                    "`ok`, or what is wrong, of queue, database, ffmpeg and disk",
                    text(),
                ),
            ),
        ])
    };
    vec![
        get("/api/health", "health", "Version, uptime and number of jobs")
            .about("Also at `/health`.")
            .open()
            .json(
                200,
                "The gateway runs",
                object([
                    field("status", one_of(["healthy"])),
                    field("version", text()),
                    field("uptime_seconds", number("Seconds")),
                    field("current_jobs", count("Jobs that can be played")),
                    field("queued_jobs", count("Jobs whose source is being looked at")),
                ]),
            ),
        get("/api/health/detailed", "healthDetailed", "How the machine is")
            .json(200, "Healthy or degraded", detailed.clone())
            .json(503, "Something is about to fail", detailed),
        get("/healthz", "alive", "Whether the process is alive")
            .about("Also at `/api/live`.")
            .open()
            .json(
                200,
                "It is",
                object([field("alive", flag()), field("timestamp", time())]),
            ),
        get("/readyz", "ready", "Whether the gateway can take work, and what is missing")
            .about("Looks at the database, ffmpeg, the disk and the queue. Also at `/api/ready`.")
            .open()
            .example(
                200,
                "It can",
                ready(),
                json!({"ready": true, "checks": {"queue": "ok", "database": "ok", "ffmpeg": "ok", "disk": "ok"}}),
            )
            .json(503, "It cannot", ready()),
    ]
}

fn figures() -> Vec<Described> {
    let gpu = object([
        field("name", text()),
        field("memory_mb", or_null(count("MiB"))),
        field("driver_version", maybe_text()),
    ]);
    let accelerator = object([
        field("type", text()),
        field("available", flag()),
        field("encoders", list(text())),
        field("decoders", list(text())),
        optional("reason", text_of("Why it is not available")),
        optional("device_path", text()),
        optional("gpu_info", gpu),
    ]);
    let capabilities = object([
        field("hw_accels", list(accelerator)),
        field("video_codecs", list(text())),
        field("audio_codecs", list(text())),
        field("formats", list(text())),
        field("max_concurrent_jobs", count("Streams")),
        field("ffmpeg_version", text()),
        field("platform", text()),
    ]);
    let stats = object([
        field("total_jobs_processed", count("Jobs")),
        field("successful_jobs", count("Jobs")),
        field("failed_jobs", count("Jobs")),
        field("cancelled_jobs", count("Jobs")),
        field("current_queue_length", count("Jobs")),
        field("active_jobs", count("Jobs")),
        field(
            "average_transcode_speed",
            number("Media time per wall time"),
        ),
        field("uptime_seconds", number("Seconds")),
        field("total_bytes_processed", count("Bytes")),
        field(
            "hw_accel_usage",
            map("Streams by encoder", count("Streams")),
        ),
        field("active_encoders", count("Encoders")),
        field("cache_bytes", count("Bytes")),
    ]);
    let clients = list(object([
        field("id", maybe_text()),
        field("client", text()),
        field("transport", one_of(["ws", "http", "job"])),
    ]));
    let setting = object([
        field("key", text_of("`section.key`")),
        field(
            "value",
            any("Null when it is not set, and when it is secret"),
        ),
        field("origin", text_of("Where the value came from")),
        field("allowed", text_of("What it may hold")),
        field("is_secret", flag()),
        field("is_set", flag()),
        field("is_default", flag()),
    ]);
    let config = object([
        field("version", text()),
        field("license", text()),
        field(
            "url",
            or_null(text_of(
                "Where other devices most likely reach the gateway; null when only its own machine does",
            )),
        ),
        field("settings", list(setting)),
    ]);
    let part = object([
        field("name", text()),
        field("version", text()),
        field("license", text_of("As SPDX writes it")),
    ]);
    vec![
        get("/api/v2/config", "config", "The configuration in effect, without its secrets")
            .json(200, "Every key", config),
        get("/api/v2/licenses", "licenses", "Crates and packages in the program, with their licences")
            .json(200, "By name", object([field("parts", list(part))])),
        get("/api/capabilities", "capabilities", "What this machine encodes with, as tested")
            .about("Also at `/capabilities`. The first answer waits for the tests.")
            .json(200, "Encoders, codecs, versions", capabilities),
        get("/api/stats", "stats", "Counts since the start").json(200, "Counts", stats),
        get("/api/clients", "clients", "Who is there").json(200, "Everybody once", clients),
        get("/metrics", "metrics", "Metrics for Prometheus")
            .bytes(200, "OpenMetrics text", "application/openmetrics-text"),
        get("/openapi.json", "openapi", "This document").json(
            200,
            "OpenAPI 3.1",
            any("An OpenAPI document"),
        ),
        get("/docs", "docs", "A page that shows this document")
            .open()
            .bytes(200, "HTML", "text/html"),
        get("/", "page", "The page, for browsers; a sign of life for everybody else")
            .open()
            .kinds(200, "HTML, or the text OK", &["text/html", "text/plain"]),
        get("/ws/progress", "progress", "The progress of jobs, as a WebSocket (RFC 6455)")
            .about("Send `{\"type\": \"subscribe\", \"job_ids\": [\"...\"]}`, or `subscribe_all`; `ping` is answered.")
            .empty(101, "The connection goes on as a WebSocket")
            .json(400, "The handshake is not one", named("Error"))
            .json(403, "Pages of this origin may not listen", named("Error"))
            .json(426, "The request asks for no WebSocket", named("Error")),
    ]
}
