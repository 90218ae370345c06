//! Names of event and span fields, so that one search finds every event of a session or process.
//!
//! `tracing`'s macros take field names as tokens, therefore events spell them out; these constants are
//! the list to spell from, and what code that reads log lines (tests, log processors) uses.

/// Job as its client knows it.
pub const JOB_ID: &str = "job.id";
/// Running stream session; several jobs may share one.
pub const SESSION_ID: &str = "session.id";
/// Rendition within a session.
pub const RENDITION: &str = "rendition";
/// Number of a segment in its playlist, from 0.
pub const SEGMENT: &str = "segment";
/// Operating system's id of an ffmpeg or ffprobe process.
pub const FFMPEG_PID: &str = "ffmpeg.pid";
/// Wall time something took, in milliseconds.
pub const DURATION_MS: &str = "duration_ms";
/// Text of an error, with its causes.
pub const ERROR: &str = "error";

/// Request, as the answer's header `X-Request-Id` names it.
pub const REQUEST_ID: &str = "request.id";
/// Template of the route that answered, as in `/metrics`.
pub const ROUTE: &str = "route";
/// Status code of an answer.
pub const STATUS: &str = "status";
/// Bytes of a body that were sent.
pub const BYTES: &str = "bytes";
