//! GhostStream's JSON: requests checked as the original checked them, answers field by field
//! (contract sections 3 to 5).

use std::str::FromStr;

use serde_json::{Map, Value, json};
use url::Url;

use super::links::Links;
use super::presence;
use crate::base::{Bitrate, MediaTime};
use crate::media::{
    AudioChoice, HwAccel, MaxResolution, Mode, OutputFormat, OutputRequest, StreamRequest,
    SubtitleRequest, UnknownName, VideoChoice,
};
use crate::session::{Job, JobOrigin, JobStatus, ViewerCount};

/// Subtitle files that one request may name.
const MAX_SUBTITLES: usize = 32;

/// A request to start a job.
#[derive(Debug, PartialEq)]
pub(super) struct StartRequest {
    pub(super) source: String,
    pub(super) origin: JobOrigin,
    pub(super) callback: Option<Url>,
    pub(super) request: StreamRequest,
}

/// Values used where a request says nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) video: VideoChoice,
    pub(super) audio: AudioChoice,
}

/// Reads a start request; `Err` is the `detail` list of a 422. Unknown fields are ignored; numeric
/// strings and the usual spellings of booleans are taken, as pydantic does.
pub(super) fn parse_start(body: &Value, defaults: Defaults) -> Result<StartRequest, Vec<Value>> {
    let Value::Object(fields) = body else {
        let kind = "model_attributes_type";
        let text = "Input should be a valid dictionary or object to extract fields from";
        return Err(vec![problem(kind, &["body"], text, body)]);
    };
    let mut r = Reader { errors: Vec::new() };
    let source = match fields.get("source") {
        None => {
            r.errors.push(problem(
                "missing",
                &["body", "source"],
                "Field required",
                body,
            ));
            String::new()
        }
        Some(Value::String(s)) => s.clone(),
        Some(other) => {
            r.wrong(
                "string_type",
                &["body", "source"],
                "Input should be a valid string",
                other,
            );
            String::new()
        }
    };
    let mode = r.name(fields, &["body", "mode"], Mode::Stream);
    let session_id = r.optional_text(fields, &["body", "session_id"]);
    let callback = r.callback(fields, &["body", "callback_url"]);
    let start = r.number(fields, &["body", "start_time"], 0.0);
    if start < 0.0 {
        let text = "Input should be greater than or equal to 0";
        r.wrong(
            "greater_than_equal",
            &["body", "start_time"],
            text,
            &json!(start),
        );
    }
    let output = match fields.get("output") {
        None => r.output(&Map::new(), defaults),
        Some(Value::Object(output)) => r.output(output, defaults),
        Some(other) => {
            let text = "Input should be a valid dictionary or object to extract fields from";
            r.wrong("model_attributes_type", &["body", "output"], text, other);
            OutputRequest::default()
        }
    };
    let subtitles = r.subtitles(fields);
    if !r.errors.is_empty() {
        return Err(r.errors);
    }
    let start_time = MediaTime::from_secs_f64(start);
    Ok(StartRequest {
        source,
        origin: JobOrigin {
            session_id,
            client: presence::name_in(fields),
        },
        callback,
        request: StreamRequest {
            mode,
            output,
            start_time,
            subtitles,
        },
    })
}

fn problem(kind: &str, place: &[&str], text: &str, input: &Value) -> Value {
    // Inputs are echoed as far as a message needs.
    let input = match input {
        Value::String(s) => Value::String(s.chars().take(100).collect()),
        Value::Array(_) | Value::Object(_) => Value::Null,
        other => other.clone(),
    };
    let mut problem = json!({"type": kind, "loc": place, "msg": text, "input": input});
    if let ("enum", Some(expected)) = (kind, text.strip_prefix("Input should be ")) {
        problem["ctx"] = json!({"expected": expected});
    }
    problem
}

struct Reader {
    errors: Vec<Value>,
}

impl Reader {
    fn wrong(&mut self, kind: &str, place: &[&str], text: &str, input: &Value) {
        self.errors.push(problem(kind, place, text, input));
    }

    fn output(&mut self, fields: &Map<String, Value>, defaults: Defaults) -> OutputRequest {
        let bitrate = match self.optional_text(fields, &["body", "output", "bitrate"]) {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("auto") => None,
            Some(text) => match Bitrate::from_str(&text) {
                Ok(bitrate) => Some(bitrate),
                Err(error) => {
                    let text = json!(text);
                    let place = ["body", "output", "bitrate"];
                    self.wrong(
                        "value_error",
                        &place,
                        &format!("Value error, {error}"),
                        &text,
                    );
                    None
                }
            },
        };
        let channels = self.channels(fields, &["body", "output", "max_audio_channels"]);
        let place = |name| ["body", "output", name];
        OutputRequest {
            format: self.name(fields, &place("format"), OutputFormat::Hls),
            video: self.name(fields, &place("video_codec"), defaults.video),
            audio: self.name(fields, &place("audio_codec"), defaults.audio),
            resolution: self.name(fields, &place("resolution"), MaxResolution::Original),
            hw_accel: self.name(fields, &place("hw_accel"), HwAccel::Auto),
            tone_map: self.boolean(fields, &place("tone_map"), true),
            bitrate,
            max_audio_channels: channels,
            two_pass: self.boolean(fields, &place("two_pass"), false),
            burn_subtitle: self.optional_count(fields, &place("burn_subtitle")),
        }
    }

    fn name<T>(&mut self, fields: &Map<String, Value>, place: &[&str], default: T) -> T
    where
        T: FromStr<Err = UnknownName>,
    {
        let value = match fields.get(place[place.len() - 1]) {
            None => return default,
            Some(value) => value,
        };
        let parsed = T::from_str(value.as_str().unwrap_or("\u{0}"));
        parsed.unwrap_or_else(|unknown| {
            self.wrong("enum", place, &unknown.to_string(), value);
            default
        })
    }

    fn number(&mut self, fields: &Map<String, Value>, place: &[&str], default: f64) -> f64 {
        let Some(value) = fields.get(place[place.len() - 1]) else {
            return default;
        };
        let parsed = match value {
            Value::Number(n) => n.as_f64(),
            Value::String(s) => s.trim().parse().ok(),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => None,
        };
        if let Some(n) = parsed.filter(|n: &f64| n.is_finite()) {
            return n;
        }
        let (kind, text) = match value {
            _ if parsed.is_some() => ("finite_number", "Input should be a finite number"),
            Value::String(_) => (
                "float_parsing",
                "Input should be a valid number, unable to parse string as a number",
            ),
            _ => ("float_type", "Input should be a valid number"),
        };
        self.wrong(kind, place, text, value);
        default
    }

    /// A whole number from 1 to 8.
    fn channels(&mut self, fields: &Map<String, Value>, place: &[&str]) -> u32 {
        const DEFAULT: u32 = 2;
        let Some(value) = fields.get(place[place.len() - 1]) else {
            return DEFAULT;
        };
        let parsed: Option<f64> = match value {
            Value::Number(n) => n.as_f64(),
            // As `int()` reads it: no fraction but zeros.
            Value::String(s) => s.trim().parse().ok().filter(|n: &f64| n.fract() == 0.0),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => None,
        };
        let (kind, text) = match (parsed, value) {
            (Some(n), _) if n.fract() != 0.0 => (
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            ),
            (Some(n), _) if n < 1.0 => (
                "greater_than_equal",
                "Input should be greater than or equal to 1",
            ),
            (Some(n), _) if n > 8.0 => {
                ("less_than_equal", "Input should be less than or equal to 8")
            }
            (Some(n), _) => return n as u32,
            (None, Value::String(_)) => (
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            ),
            (None, _) => ("int_type", "Input should be a valid integer"),
        };
        self.wrong(kind, place, text, value);
        DEFAULT
    }

    /// A small whole number, or `None` for nothing and null.
    fn optional_count(&mut self, fields: &Map<String, Value>, place: &[&str]) -> Option<u32> {
        match fields.get(place[place.len() - 1]) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = self.number(fields, place, 0.0);
                if number.fract() == 0.0 && (0.0..1000.0).contains(&number) {
                    return Some(number as u32);
                }
                let text = "Input should be a whole number from 0 to 999";
                self.wrong("int_parsing", place, text, value);
                None
            }
        }
    }

    /// The list of subtitle files (contract 3.1).
    fn subtitles(&mut self, fields: &Map<String, Value>) -> Vec<SubtitleRequest> {
        let list = match fields.get("subtitles") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) if list.len() <= MAX_SUBTITLES => list,
            Some(other) => {
                let text = format!("Input should be a list of at most {MAX_SUBTITLES} subtitles");
                self.wrong("list_type", &["body", "subtitles"], &text, other);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (nth, entry) in list.iter().enumerate() {
            let nth = nth.to_string();
            let place = |name| ["body", "subtitles", nth.as_str(), name];
            let Value::Object(entry) = entry else {
                let text = "Input should be a valid dictionary or object to extract fields from";
                self.wrong("model_attributes_type", &place("")[..3], text, entry);
                continue;
            };
            let Some(url) = self.optional_text(entry, &place("url")) else {
                self.wrong("missing", &place("url"), "Field required", &Value::Null);
                continue;
            };
            let language = self.optional_text(entry, &place("language"));
            all.push(SubtitleRequest {
                url,
                label: self.optional_text(entry, &place("label")),
                language: language.unwrap_or_else(|| "und".into()),
                default: self.boolean(entry, &place("default"), false),
            });
        }
        all
    }

    fn boolean(&mut self, fields: &Map<String, Value>, place: &[&str], default: bool) -> bool {
        let Some(value) = fields.get(place[place.len() - 1]) else {
            return default;
        };
        let parsed = match value {
            Value::Bool(b) => Some(*b),
            Value::Number(n) if n.as_f64() == Some(0.0) => Some(false),
            Value::Number(n) if n.as_f64() == Some(1.0) => Some(true),
            Value::String(s) => match s.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
                "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
                _ => None,
            },
            _ => None,
        };
        parsed.unwrap_or_else(|| {
            let (kind, text) = match value {
                Value::String(_) | Value::Number(_) => (
                    "bool_parsing",
                    "Input should be a valid boolean, unable to interpret input",
                ),
                _ => ("bool_type", "Input should be a valid boolean"),
            };
            self.wrong(kind, place, text, value);
            default
        })
    }

    fn callback(&mut self, fields: &Map<String, Value>, place: &[&str]) -> Option<Url> {
        let text = self.optional_text(fields, place)?;
        // Some clients send an empty text for none.
        if text.is_empty() {
            return None;
        }
        let url = Url::parse(&text).ok();
        let url = url.filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        if url.is_none() {
            let words = "Value error, callback_url must be an http or https URL";
            self.wrong("value_error", place, words, &Value::String(text));
        }
        url
    }

    fn optional_text(&mut self, fields: &Map<String, Value>, place: &[&str]) -> Option<String> {
        match fields.get(place[place.len() - 1]) {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(s.clone()),
            Some(Value::Number(n)) if place.contains(&"bitrate") => Some(n.to_string()),
            Some(other) => {
                self.wrong(
                    "string_type",
                    place,
                    "Input should be a valid string",
                    other,
                );
                None
            }
        }
    }
}

/// The answer to a start request (contract 3.3).
pub(super) fn start_response(
    job: &Job,
    status: &JobStatus,
    links: &Links,
    viewers: ViewerCount,
) -> Value {
    json!({
        "job_id": job.id,
        "status": status.name,
        "progress": rounded(status.progress),
        "stream_url": stream_url(job, links),
        "control_token": null,
        "download_url": download_url(job, links),
        "duration": status.duration,
        "eta_seconds": status.eta_seconds,
        "hw_accel_used": hardware(status),
        "error_message": status.error,
        "variants": null,
        "media_info": null,
        "start_time": status.start_time.as_secs_f64(),
        "is_shared": viewers.is_shared,
        "viewer_count": viewers.viewers,
    })
}

/// A job's status (contract 3.4); `speed`, `phase`, `segments` and `warnings` are ours.
pub(super) fn status_response(
    job: &Job,
    status: &JobStatus,
    links: &Links,
    viewers: ViewerCount,
) -> Value {
    let segments = status.segments.as_ref();
    let segments = segments.map(|s| json!({"total": s.total, "ready": s.ready}));
    json!({
        "job_id": job.id,
        "status": status.name,
        "progress": rounded(status.progress),
        "current_time": rounded(status.current_time),
        "duration": status.duration,
        "stream_url": stream_url(job, links),
        "download_url": download_url(job, links),
        "control_token": null,
        "eta_seconds": status.eta_seconds,
        "hw_accel_used": hardware(status),
        "error_message": status.error,
        "created_at": job.created_at.to_string(),
        "started_at": (status.name != "queued").then(|| job.created_at.to_string()),
        "completed_at": job.ended_at().map(|t| t.to_string()),
        "start_time": status.start_time.as_secs_f64(),
        "is_shared": viewers.is_shared,
        "viewer_count": viewers.viewers,
        "mode": job.request.mode,
        "source": job.source,
        "speed": rounded(status.speed),
        "phase": status.activity,
        "segments": segments,
        "warnings": status.warnings,
    })
}

/// `None` for batch jobs, which make no stream.
pub(super) fn stream_url(job: &Job, links: &Links) -> Option<String> {
    let playlist = || links.to(&format!("/stream/{}/master.m3u8", job.id));
    (!job.is_batch()).then(playlist)
}

/// Where the file of a batch job is, once it is there.
fn download_url(job: &Job, links: &Links) -> Option<String> {
    let file = |_| links.to(&format!("/download/{}", job.id));
    job.made_file().map(file)
}

fn hardware(status: &JobStatus) -> Option<&'static str> {
    status.encoded_by
}

fn rounded(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        video: VideoChoice::H264,
        audio: AudioChoice::Aac,
    };

    #[test]
    fn coercions_are_pydantics() {
        let body = json!({"source": "http://h/a.mkv", "start_time": "30", "unknown": 1,
            "output": {"tone_map": "false", "bitrate": 4, "max_audio_channels": "6"}});
        let parsed = parse_start(&body, DEFAULTS).unwrap();
        assert_eq!(
            parsed.request.start_time,
            MediaTime::from_micros(30_000_000)
        );
        assert!(!parsed.request.output.tone_map);
        assert_eq!(parsed.request.output.bitrate, Some(Bitrate::kbit(4000)));
        assert_eq!(parsed.request.output.max_audio_channels, 6);
    }

    /// As pydantic 2 tells them for the same inputs.
    #[test]
    fn bad_values_are_told_apart() {
        let told = |output: Value| {
            let body = json!({"source": "a", "output": output});
            let errors = parse_start(&body, DEFAULTS).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors[0]["type"].as_str().unwrap().to_owned()
        };
        for (value, kind) in [
            (json!("six"), "int_parsing"),
            (json!(2.5), "int_from_float"),
            (json!(null), "int_type"),
            (json!(0), "greater_than_equal"),
            (json!("9"), "less_than_equal"),
        ] {
            assert_eq!(told(json!({"max_audio_channels": value})), kind, "{value}");
        }
        for (value, kind) in [
            (json!("maybe"), "bool_parsing"),
            (json!(2), "bool_parsing"),
            (json!([]), "bool_type"),
        ] {
            assert_eq!(told(json!({"two_pass": value})), kind, "{value}");
        }
        let start = |value: Value| {
            let body = json!({"source": "a", "start_time": value});
            parse_start(&body, DEFAULTS).unwrap_err().remove(0)
        };
        assert_eq!(start(json!("soon"))["type"], "float_parsing");
        assert_eq!(start(json!("inf"))["type"], "finite_number");
        assert_eq!(start(json!({}))["type"], "float_type");
        assert_eq!(start(json!(-1))["type"], "greater_than_equal");
        let errors = parse_start(&json!({"source": "a", "mode": "fast"}), DEFAULTS).unwrap_err();
        let wanted = json!({"type": "enum", "loc": ["body", "mode"], "input": "fast",
            "msg": "Input should be 'stream', 'abr' or 'batch'",
            "ctx": {"expected": "'stream', 'abr' or 'batch'"}});
        assert_eq!(errors, [wanted]);
    }

    #[test]
    fn every_bad_field_is_named() {
        let body = json!({"mode": "fast", "start_time": -1, "output": {"video_codec": "mpeg2",
            "bitrate": "lots", "tone_map": 7, "resolution": null}});
        let errors = parse_start(&body, DEFAULTS).unwrap_err();
        let places: Vec<String> = errors.iter().map(|e| e["loc"].to_string()).collect();
        assert_eq!(errors.len(), 7, "{places:?}");
        assert_eq!(errors[0]["type"], "missing");
        assert!(errors.iter().any(|e| {
            e["msg"] == "Input should be 'h264', 'h265', 'vp9', 'av1', 'copy' or 'auto'"
        }));
        for odd in [
            json!([]),
            json!(null),
            json!("x"),
            json!({"source": 1}),
            json!({"source": "a", "output": null}),
        ] {
            assert!(parse_start(&odd, DEFAULTS).is_err(), "{odd}");
        }
    }
}
