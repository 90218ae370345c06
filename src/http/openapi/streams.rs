//! Playing and making files.

use serde_json::json;

use crate::media::{AudioChoice, HwAccel, MaxResolution, Mode, OutputFormat, VideoChoice};

use super::build::{
    Described, Shape, count, delete, field, flag, get, list, map, named, number, number_in, object,
    one_of, optional, or_null, pair, post, some_text, text, text_of, time, whole,
};
use super::{job_id, maybe_text};

const STATES: [&str; 5] = ["queued", "processing", "ready", "error", "cancelled"];

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    vec![
        ("Output", output()),
        ("StartRequest", start()),
        ("Started", object(common())),
        ("Status", status()),
    ]
}

fn output() -> Shape {
    let names = |names: &'static [&'static str]| one_of(names.iter().copied());
    object([
        optional("format", names(OutputFormat::NAMES)),
        optional("resolution", names(MaxResolution::NAMES)),
        optional("video_codec", names(VideoChoice::NAMES)),
        optional("audio_codec", names(AudioChoice::NAMES)),
        optional(
            "bitrate",
            or_null(text_of("`8M`, `800k`, a bare number of Mbit/s, or `auto`")),
        ),
        optional("hw_accel", names(HwAccel::NAMES)),
        optional("tone_map", flag()),
        optional("max_audio_channels", whole("Channels of sound", 1, 8)),
        optional("two_pass", flag()),
        optional(
            "burn_subtitle",
            or_null(whole(
                "Number of a track of picture subtitles, from 0",
                0,
                999,
            )),
        ),
    ])
}

fn start() -> Shape {
    let subtitle = object([
        field("url", text_of("URL or file")),
        optional("label", maybe_text()),
        optional("language", maybe_text()),
        optional("default", flag()),
    ]);
    object([
        field(
            "source",
            some_text(
                "URL, or a file below sources.roots: /abs/path, file:///abs/path, path/in/root",
            ),
        ),
        optional("mode", one_of(Mode::NAMES.iter().copied())),
        optional("output", named("Output")),
        optional("start_time", number_in("Seconds into the source", 0.0, 1e9)),
        optional(
            "session_id",
            or_null(text_of("Who asks: asking again gives the same job")),
        ),
        optional(
            "callback_url",
            or_null(text_of("Told by POST of ready, error and cancelled")),
        ),
        optional("subtitles", or_null(list(subtitle))),
    ])
}

/// What the answer to a start and a status have in common.
fn common() -> Vec<super::build::Field> {
    let null = || or_null(text());
    vec![
        field("job_id", job_id()),
        field("status", one_of(STATES)),
        field("progress", number("Percent")),
        field(
            "stream_url",
            or_null(text_of("The playlist; null for batch jobs")),
        ),
        field(
            "download_url",
            or_null(text_of("The file, once it is made")),
        ),
        field("control_token", null()),
        field(
            "duration",
            or_null(number("Seconds; null until it is known")),
        ),
        field("eta_seconds", or_null(number("Seconds"))),
        field("hw_accel_used", null()),
        field("error_message", null()),
        field("start_time", number("Seconds")),
        field("is_shared", flag()),
        field("viewer_count", count("Clients")),
        optional("variants", null()),
        optional("media_info", null()),
    ]
}

fn status() -> Shape {
    let segments = object([
        field("total", or_null(count("Segments"))),
        field(
            "ready",
            list(pair(count(
                "First and last of a run of segments that are ready",
            ))),
        ),
    ]);
    let mut fields = common();
    fields.truncate(fields.len() - 2);
    fields.extend([
        field("current_time", number("Seconds of the film that are made")),
        field("created_at", time()),
        field("started_at", or_null(time())),
        field("completed_at", or_null(time())),
        field("mode", one_of(Mode::NAMES.iter().copied())),
        field("source", text()),
        field("speed", number("Media time per wall time")),
        field("phase", or_null(text_of("What is being done"))),
        field("segments", or_null(segments)),
        field("warnings", list(text())),
    ]);
    object(fields)
}

pub(super) fn describe() -> Vec<Described> {
    let mut all = jobs();
    all.extend(files());
    all.extend(sharing());
    all.extend(maps());
    all
}

const GONE: (u16, &str) = (404, "There is no such job");

fn jobs() -> Vec<Described> {
    let ended = || object([field("status", text()), field("job_id", job_id())]);
    let example = json!({
        "source": "/srv/films/film.mkv", "mode": "stream",
        "output": {"resolution": "720p", "video_codec": "h264", "audio_codec": "aac"}, "start_time": 0
    });
    vec![
        post("/api/transcode/start", "start", "Start a stream or a batch job")
            .about(
                "Answers at once; the source is looked at afterwards. Numbers and booleans may be written as \
                texts. Also at `/transcode`.",
            )
            .body(named("StartRequest"), example)
            .json(200, "The job", named("Started"))
            .json(422, "Fields that are wrong", named("InvalidRequest"))
            .errors(&[
                (400, "What is asked for cannot be made of any source"),
                (403, "The source or callback is not allowed"),
                (404, "There is no such file"),
                (413, "The body is too large"),
                (502, "The source's server cannot be found"),
                (503, "Too many jobs; try again as Retry-After says"),
                (504, "The source's server was not found in time"),
            ]),
        get("/api/transcode/{id}/status", "status", "How far a job is")
            .about("Also `GET /transcode/{id}`.")
            .part("id", "Id of the job", text())
            .json(200, "The job", named("Status"))
            .errors(&[GONE]),
        get("/api/transcode/{id}/stream", "streamInfo", "Where a job can be played")
            .part("id", "Id of the job", text())
            .json(
                200,
                "The address",
                object([
                    field("job_id", job_id()),
                    field("stream_url", maybe_text()),
                    field("status", one_of(STATES)),
                ]),
            )
            .errors(&[(400, "The job ended without a stream"), GONE]),
        post("/api/transcode/{id}/cancel", "cancel", "End a job's work; its status stays")
            .about("Also `DELETE /transcode/{id}`.")
            .part("id", "Id of the job", text())
            .json(200, "It was cancelled", ended())
            .errors(&[(400, "There is no such job, or it has ended")]),
        delete("/api/transcode/{id}", "delete", "End a job and remove what was made for it")
            .part("id", "Id of the job", text())
            .json(200, "It was deleted", ended())
            .errors(&[GONE]),
    ]
}

fn files() -> Vec<Described> {
    const KINDS: [&str; 5] = [
        "application/vnd.apple.mpegurl",
        "video/mp2t",
        "video/mp4",
        "audio/mp4",
        "text/vtt",
    ];
    const MADE: [&str; 5] = [
        "video/mp4",
        "video/webm",
        "video/x-matroska",
        "application/vnd.apple.mpegurl",
        "application/octet-stream",
    ];
    let range = || text_of("`bytes=0-99`");
    let errors = [
        (
            400,
            "The name of the file is none, or the job has no file yet",
        ),
        (404, "There is no such job or file"),
        (416, "The range lies beyond the end"),
    ];
    vec![
        get("/stream/{id}/{file}", "streamFile", "A playlist or a segment")
            .about("`master.m3u8` names all others. A segment that is not there yet is made, and sent while it is made.")
            .part("id", "Id of the job", text())
            .part("file", "Name of the file", text())
            .signed()
            .header("Range", "Part of it", range())
            .kinds(200, "The file", &KINDS)
            .kinds(206, "The part", &KINDS)
            .errors(&errors)
            .errors(&[
                (403, "The source is not allowed any more"),
                (410, "The job was cancelled"),
                (415, "The source is no media"),
                (500, "An encoder could not be started"),
                (502, "The source or an encoder failed"),
                (503, "All encoders are in use"),
                (504, "The source was too slow"),
            ]),
        get("/download/{id}", "download", "The file of a batch job")
            .part("id", "Id of the job", text())
            .signed()
            .header("Range", "Part of it", range())
            .header("If-Range", "Entity tag of the file that the part belongs to", text())
            .header("If-None-Match", "Entity tag of an earlier answer", text())
            .empty(304, "The file has not changed")
            .kinds(200, "The file", &MADE)
            .kinds(206, "The part", &MADE)
            .errors(&errors),
        get("/download/{id}/{part}", "downloadPart", "A part of a file in HLS")
            .part("id", "Id of the job", text())
            .part("part", "Name, as the playlist has it", text())
            .signed()
            .header("Range", "Part of it", range())
            .header("If-Range", "Entity tag of the file that the part belongs to", text())
            .header("If-None-Match", "Entity tag of an earlier answer", text())
            .empty(304, "The file has not changed")
            .kinds(200, "The part", &KINDS)
            .kinds(206, "The part of the part", &KINDS)
            .errors(&errors),
        get("/api/v2/files", "files", "What may be played from sources.roots")
            .query("path", "Folder; without it the top", text())
            .json(
                200,
                "Folders first",
                object([
                    field("path", text()),
                    field(
                        "entries",
                        list(object([
                            field("name", text()),
                            field("path", text_of("As a source names it")),
                            field("is_dir", flag()),
                            field("size_bytes", count("Bytes")),
                        ])),
                    ),
                ]),
            )
            .errors(&[
                (400, "It is no folder, or no path"),
                (403, "There are no roots"),
                (404, "There is no such folder"),
            ]),
    ]
}

fn sharing() -> Vec<Described> {
    let stream = object([
        field("job_id", job_id()),
        field("viewers", count("Clients")),
        field("status", one_of(STATES)),
        field("progress", number("Percent")),
    ]);
    vec![
        post(
            "/api/transcode/{id}/leave",
            "leave",
            "A client does not watch a job any more",
        )
        .part("id", "Id of the job", text())
        .query("session_id", "Who leaves", text())
        .json(
            200,
            "Who is left",
            object([
                field("job_id", job_id()),
                field("viewers_remaining", count("Clients")),
                field("is_shared", flag()),
            ]),
        )
        .errors(&[GONE]),
        get(
            "/api/streams/shared",
            "sharedStreams",
            "Streams that several clients watch",
        )
        .json(
            200,
            "By the beginning of their source",
            object([
                field("active_shared_streams", count("Streams")),
                field("total_viewers", count("Clients")),
                field("viewer_sessions", count("Sessions")),
                field("streams", map("By the beginning of their source", stream)),
            ]),
        ),
        get(
            "/api/cleanup/stats",
            "cleanupStats",
            "What cleaning up would find",
        )
        .json(
            200,
            "Jobs",
            object([
                field("total_jobs", count("Jobs")),
                field("active_jobs", count("Jobs")),
                field("ready_jobs", count("Jobs")),
                field("cleaned_jobs", count("Jobs")),
                field("nearly_stale", count("Jobs")),
                field("temp_dir", maybe_text()),
            ]),
        ),
        post(
            "/api/cleanup/run",
            "cleanupRun",
            "Remove what nobody asks for",
        )
        .json(
            200,
            "What was removed",
            object([
                field("stale_jobs_cleaned", count("Jobs")),
                field("orphaned_dirs_cleaned", count("Folders")),
            ]),
        ),
    ]
}

/// What is played now.
fn maps() -> Vec<Described> {
    let summary = || {
        vec![
            field("job_id", job_id()),
            field("stream", maybe_text()),
            field("source", text()),
            field("mode", one_of(Mode::NAMES.iter().copied())),
            field("client", maybe_text()),
            field("state", one_of(STATES)),
            field("phase", maybe_text()),
            field("progress", number("Percent")),
            field("duration", or_null(number("Seconds"))),
            field("speed", number("Media time per wall time")),
            field("eta_seconds", or_null(number("Seconds"))),
            field("encoded_by", maybe_text()),
            field("encoders", count("Encoders")),
            field("viewers", count("Clients")),
            field("error", maybe_text()),
            field("warnings", list(text())),
            field("created_at", time()),
        ]
    };
    let head = object([
        field("segment", count("Number")),
        field("position", number("Seconds of the stream")),
        field("paused", flag()),
        field("speed", or_null(number("Media time per wall time"))),
    ]);
    let track = object([
        field("id", text()),
        field("kind", text()),
        field("name", maybe_text()),
        field("codec", maybe_text()),
        field("encoder", maybe_text()),
        field("accelerator", maybe_text()),
        field(
            "ready",
            list(pair(number("From and to, seconds of the stream"))),
        ),
        field("ready_segments", count("Segments")),
        field("heads", list(head)),
        field("last_failure", maybe_text()),
    ]);
    let map = object([
        field("duration", or_null(number("Seconds"))),
        field("open_ended", flag()),
        field("segments", or_null(count("Segments"))),
        field("tracks", list(track)),
    ]);
    let mut mapped = summary();
    mapped.push(field("map", or_null(map)));
    vec![
        get(
            "/api/v2/streams",
            "streams",
            "What is played now, newest first",
        )
        .json(
            200,
            "Streams",
            object([field("streams", list(object(summary())))]),
        ),
        get(
            "/api/v2/streams/{id}",
            "stream",
            "What of a stream is there, and who makes the rest",
        )
        .about("Looking keeps nothing alive.")
        .part("id", "Id of the job", text())
        .json(200, "The stream and its map", object(mapped))
        .errors(&[GONE]),
    ]
}
