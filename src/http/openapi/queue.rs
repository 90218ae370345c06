//! Queued work.

use serde_json::json;

use crate::hardware::Accelerator;
use crate::job::{JobKind, JobState};

use super::build::{
    Described, Shape, any, count, delete, field, flag, get, list, named, number, object, one_of,
    optional, or_null, post, put, some_text, text, text_of, time, uuid, whole,
};
use super::maybe_text;

fn kinds() -> Shape {
    one_of(JobKind::ALL.iter().map(|k| k.name()))
}

fn states() -> Shape {
    one_of(JobState::ALL.iter().map(|s| s.name()))
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let progress = object([
        field("percent", number("0 to 100")),
        field("message", text()),
    ]);
    let output = object([
        field("url", or_null(text_of("Where it can be fetched"))),
        field("size_bytes", or_null(count("Bytes"))),
        field("sha256", maybe_text()),
        field("duration_seconds", or_null(number("How long it plays"))),
        field(
            "encoded_by",
            or_null(text_of("Hardware; null: software, or it is not known")),
        ),
        field("notes", list(text_of("What could not be had"))),
    ]);
    let job = object([
        field("id", text()),
        field("kind", kinds()),
        field("state", states()),
        field("source", maybe_text()),
        field(
            "requires",
            or_null(text_of("Codec that its worker must encode to")),
        ),
        field("priority", number("Higher first; 0 is usual")),
        field("parents", list(text_of("Job that must be done before"))),
        field("attempts", count("Leases so far")),
        field("failures", count("Failures so far")),
        field(
            "max_failures",
            or_null(count("Failures after which it is given up")),
        ),
        field("worker", or_null(text_of("Who has it, or had it last"))),
        field("lease_expires_at", or_null(time())),
        field("progress", or_null(progress)),
        field("output", or_null(output)),
        field("error", any("Reason of the last failure, or null")),
        field("created_at", or_null(time())),
        field("updated_at", or_null(time())),
    ]);
    vec![("Job", job)]
}

pub(super) fn describe() -> Vec<Described> {
    let mut all = jobs();
    all.extend(more());
    all.extend(engines());
    all.extend([source(), upload()]);
    all.extend(artifacts());
    all
}

const GONE: (u16, &str) = (404, "There is no such job");
const BUSY: (u16, &str) = (503, "The database does not answer");

fn jobs() -> Vec<Described> {
    let names = |all: String| format!("Some of {all}, separated by commas");
    let state = JobState::ALL.map_names(|s| s.name());
    let kind = JobKind::ALL.map_names(|k| k.name());
    vec![
        get("/api/v2/jobs", "jobs", "Queued work, newest first")
            .query("state", &names(state), text())
            .query("kind", &names(kind), text())
            .query("worker", "Who has it, or had it last", text())
            .query("limit", "Jobs of one page", whole("50 unless said", 1, 500))
            .query(
                "after",
                "`next` of the page before",
                some_text("Id of a job"),
            )
            .json(
                200,
                "A page",
                object([
                    field("jobs", list(named("Job"))),
                    field("next", or_null(text_of("Null on the last page"))),
                ]),
            )
            .errors(&[(400, "A parameter is not understood"), BUSY]),
        get("/api/v2/jobs/{id}", "job", "One job")
            .part("id", "Id of the job", text())
            .json(200, "The job", named("Job"))
            .errors(&[GONE, BUSY]),
        post("/api/v2/jobs/{id}/cancel", "cancelJob", "Withdraw a job")
            .part("id", "Id of the job", text())
            .json(200, "The job", named("Job"))
            .errors(&[GONE, (409, "It has ended"), BUSY]),
        post(
            "/api/v2/jobs/{id}/retry",
            "retryJob",
            "Begin a failed or cancelled job anew",
        )
        .part("id", "Id of the job", text())
        .json(200, "The job", named("Job"))
        .errors(&[
            GONE,
            (409, "It has neither failed nor been cancelled"),
            BUSY,
        ]),
    ]
}

fn more() -> Vec<Described> {
    let counted = object([
        field("kind", kinds()),
        field("state", states()),
        field("jobs", count("Jobs")),
    ]);
    vec![
        post("/api/v2/jobs/{id}/priority", "prioritise", "Let a job come sooner or later")
            .part("id", "Id of the job", text())
            .body(
                object([field("priority", whole("Higher first; 0 is usual", i32::MIN, i32::MAX))]),
                json!({"priority": 10}),
            )
            .json(200, "The job", named("Job"))
            .errors(&[
                (400, "The priority is no whole number"),
                GONE,
                (409, "It has ended"),
                (413, "The body is too large"),
                BUSY,
            ]),
        get("/api/v2/queue", "queue", "How many jobs of each kind stand where")
            .json(200, "Counts", object([field("counts", list(counted))]))
            .errors(&[BUSY]),
        get("/api/v2/events", "events", "What changes, as server-sent events")
            .about("Every second at most one event each: `jobs`, `progress`, `streams`, and `missed` when jobs changed faster than they were read.")
            .events(
                200,
                "Until the client or the gateway leaves",
                &["jobs", "progress", "streams", "missed"],
            ),
    ]
}

fn engines() -> Vec<Described> {
    let id = |d: Described| d.part("id", "Name of the engine", text());
    let drained = || object([field("id", text()), field("draining", flag())]);
    let none = (404, "There is no such engine");
    let abilities = object([
        field("kinds", list(kinds())),
        field("codecs", or_null(list(text()))),
        field("benchmark_seconds", or_null(number("Less is faster"))),
        field("streams", flag()),
        field("busy", flag()),
        field("draining", flag()),
    ]);
    let engine = object([
        field("id", text()),
        field("alive", flag()),
        field("busy", flag()),
        field("abilities", abilities),
        field("last_contact_seconds", number("Seconds ago")),
    ]);
    let claim = object([
        field("kinds", list(kinds())),
        optional("codecs", or_null(list(text_of("Codec that it encodes to")))),
        optional(
            "wait_seconds",
            number("Longest wait for work; what is beyond 0 and 30 counts as these"),
        ),
    ]);
    let lease = object([
        field("job_id", text()),
        field("attempt", count("1 = the first")),
        field("spec", any("What is to be done, by `kind`")),
        field("has_source", flag()),
        field("lease_token", maybe_text()),
        field("lease_seconds", number("Renew it within this time")),
    ]);
    let verbs = [
        "renew",
        "complete",
        "fail",
        "fail_for_good",
        "unsuited",
        "release",
    ];
    let report = object([
        field("lease_token", uuid("Of the lease that is held")),
        optional(
            "progress",
            or_null(object([
                field("percent", number("0 to 100")),
                optional("message", text()),
            ])),
        ),
        optional(
            "output",
            or_null(object([
                optional("url", maybe_text()),
                optional(
                    "artifact",
                    or_null(text_of("Name of an upload: `JOB/FILE`")),
                ),
                optional("size_bytes", or_null(count("Bytes"))),
                optional("sha256", maybe_text()),
                optional("duration_us", or_null(count("Microseconds that it plays"))),
                optional(
                    "encoded_by",
                    or_null(one_of(Accelerator::ALL.iter().map(|a| a.name()))),
                ),
                optional("notes", list(text())),
            ])),
        ),
        optional("reason", any("Why it failed")),
    ]);
    let token = "0190f0a4-0000-7000-8000-000000000000";
    vec![
        get("/api/v2/engines", "engines", "Who does queued work").json(
            200,
            "By name",
            object([field("engines", list(engine))]),
        ),
        id(delete(
            "/api/v2/engines/{id}",
            "deregister",
            "Forget an engine; its work is offered again",
        ))
        .empty(204, "It is forgotten")
        .errors(&[none, BUSY]),
        id(post(
            "/api/v2/engines/{id}/drain",
            "drain",
            "Let an engine finish what it has, and give it no more",
        ))
        .json(200, "Whether it drains", drained())
        .errors(&[none, BUSY]),
        id(post(
            "/api/v2/engines/{id}/resume",
            "resume",
            "Give an engine work again",
        ))
        .json(200, "Whether it drains", drained())
        .errors(&[none, BUSY]),
        id(post(
            "/api/v2/engines/{id}/claim",
            "claim",
            "Take the first job that suits an engine",
        ))
        .body(
            claim,
            json!({"kinds": ["transcode"], "codecs": ["h264"], "wait_seconds": 20}),
        )
        .json(200, "A lease", lease)
        .empty(204, "There was no work in time")
        .errors(&[
            (400, "The body is not understood"),
            (413, "The body is too large"),
            BUSY,
        ]),
        post(
            "/api/v2/jobs/{id}/lease/{verb}",
            "report",
            "Say how a leased job goes",
        )
        .part("id", "Id of the job", text())
        .part("verb", "What happened", one_of(verbs))
        .body(
            report,
            json!({"lease_token": token, "progress": {"percent": 40, "message": "encoding"}}),
        )
        .json(
            200,
            "Where the job stands",
            object([field("job_id", text()), field("state", states())]),
        )
        .errors(&[
            (400, "The body is not understood"),
            GONE,
            (409, "The lease is lost: stop"),
            (413, "The body is too large"),
            BUSY,
        ]),
    ]
}

fn source() -> Described {
    get(
        "/api/v2/jobs/{id}/source",
        "source",
        "The file that a leased job transcodes, when it is one of the gateway's",
    )
    .part("id", "Id of the job", text())
    .query(
        "lease_token",
        "Of the lease that is held",
        uuid("A lease's token"),
    )
    .header("Range", "Part of it", text_of("`bytes=0-99`"))
    .bytes(200, "The file", "application/octet-stream")
    .bytes(206, "The part", "application/octet-stream")
    .errors(&[
        (404, "There is no such job, or its source is no such file"),
        (409, "The lease is lost"),
        (416, "The range lies beyond the end"),
        BUSY,
    ])
}

fn upload() -> Described {
    put(
        "/api/v2/uploads/{file}",
        "uploadSource",
        "Send a file that is to be transcoded and that the gateway cannot read by itself",
    )
    .part("file", "Name of the file", text())
    .upload("application/octet-stream")
    .json(
        200,
        "It is kept until no job needs it, and for two days at least",
        object([
            field("source", text_of("What to name it by as a source")),
            field("size_bytes", count("Bytes")),
            field("sha256", text()),
        ]),
    )
    .errors(&[
        (400, "It is empty, broke off, or has no plain name"),
        (413, "It is larger than artifacts.max_bytes"),
        BUSY,
    ])
}

fn artifacts() -> Vec<Described> {
    let name = |d: Described| {
        d.part("job", "Id of the job", text())
            .part("file", "Name of the file", text())
    };
    let none = (404, "There is no such file");
    vec![
        name(get(
            "/api/v2/artifacts/{job}/{file}",
            "artifact",
            "The result of a job",
        ))
        .signed()
        .header("Range", "Part of it", text_of("`bytes=0-99`"))
        .header(
            "If-Range",
            "Entity tag of the file that the part belongs to",
            text(),
        )
        .header("If-None-Match", "Entity tag of an earlier answer", text())
        .empty(304, "The file has not changed")
        .bytes(200, "The file", "*/*")
        .bytes(206, "The part", "*/*")
        .errors(&[none, (416, "The range lies beyond the end"), BUSY]),
        name(put(
            "/api/v2/artifacts/{job}/{file}",
            "uploadArtifact",
            "Deliver the result of a leased job",
        ))
        .query(
            "lease_token",
            "Of the lease that is held",
            uuid("A lease's token"),
        )
        .upload("application/octet-stream")
        .json(
            200,
            "It is kept",
            object([
                field("artifact", text_of("Its name, for `complete`")),
                field("size_bytes", count("Bytes")),
                field("sha256", text()),
            ]),
        )
        .errors(&[
            (400, "It is empty, or broke off"),
            none,
            (409, "The lease is lost"),
            (413, "It is larger than artifacts.max_bytes"),
            BUSY,
        ]),
    ]
}

/// The names of a closed list, for a sentence.
trait Names<T> {
    fn map_names(&self, name: impl Fn(&T) -> &'static str) -> String;
}

impl<T> Names<T> for [T] {
    fn map_names(&self, name: impl Fn(&T) -> &'static str) -> String {
        let names: Vec<&str> = self.iter().map(name).collect();
        names.join(", ")
    }
}
