//! The JSON of the protocol, and its words. Pure.

use serde_json::{Map, Value, json};

use crate::job::{Job, JobSpec, JobState, Progress, TranscodeSpec, Worker, codec_family};

/// A refusal: the text of a 400.
pub(super) type Refusal = String;

fn bad(field: &str, what: &str) -> Refusal {
    format!("Bad Request: '{field}' {what}")
}

/// A body as the original's JSON library reads it, and complains of it.
pub(super) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let blank = body.iter().all(u8::is_ascii_whitespace);
        let (line, column) = match blank {
            true => (1, body.len() + 1),
            false => (error.line(), error.column()),
        };
        let why = match blank {
            true => "syntax error while parsing value - unexpected end of input; expected '[', \
                     '{', or a literal"
                .to_owned(),
            false => format!("syntax error - {}", without_place(&error.to_string())),
        };
        format!(
            "Invalid JSON: [json.exception.parse_error.101] parse error at line {line}, column \
             {column}: {why}"
        )
    })
}

fn without_place(text: &str) -> &str {
    text.split(" at line ").next().unwrap_or(text)
}

/// What `POST /jobs/` asks for; the first thing that is wrong with it.
pub(super) fn parse_submission(body: &Value) -> Result<TranscodeSpec, Refusal> {
    let text = |name| match body.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(bad(name, "is missing or not a string.")),
    };
    let (source_url, target_codec) = (text("source_url")?, text("target_codec")?);
    let size_mb = match body.get("job_size") {
        None => 0.0,
        Some(size) => {
            let number = size.as_f64();
            let number = number.ok_or_else(|| bad("job_size", "must be a number."))?;
            if number < 0.0 {
                return Err(bad("job_size", "must be a non-negative number."));
            }
            number
        }
    };
    let max_retries = match body.get("max_retries") {
        None => 3,
        Some(Value::Number(n)) if n.is_u64() => n.as_u64().unwrap_or_default(),
        Some(Value::Number(n)) if n.is_i64() => {
            return Err(bad("max_retries", "must be a non-negative integer."));
        }
        Some(_) => return Err(bad("max_retries", "must be an integer.")),
    };
    Ok(TranscodeSpec {
        source_url,
        target_codec,
        size_mb,
        max_retries,
    })
}

/// A heartbeat: the engine's name and everything it says of itself.
pub(super) fn parse_heartbeat(body: Value) -> Result<(String, Map<String, Value>), Refusal> {
    let Value::Object(said) = body else {
        return Err(bad("engine_id", "is missing."));
    };
    let id = match said.get("engine_id") {
        None => return Err(bad("engine_id", "is missing.")),
        Some(Value::String(id)) => id.clone(),
        Some(_) => return Err(bad("engine_id", "must be a string.")),
    };
    if let Some(capacity) = said.get("storage_capacity_gb") {
        let number = capacity.as_f64();
        let number = number.ok_or_else(|| bad("storage_capacity_gb", "must be a number."))?;
        if number < 0.0 {
            return Err(bad("storage_capacity_gb", "must be a non-negative number."));
        }
    }
    if said
        .get("streaming_support")
        .is_some_and(|s| !s.is_boolean())
    {
        return Err(bad("streaming_support", "must be a boolean."));
    }
    Ok((id, said))
}

/// Lays what an engine says over what is known of it: what it omits is kept (contract, section 4.1).
pub(super) fn merge_heartbeat(worker: &mut Worker, said: &Map<String, Value>) {
    for (name, value) in said {
        worker.said.insert(name.clone(), value.clone());
    }
    let abilities = &mut worker.abilities;
    if let Some(Value::Array(codecs)) = said.get("supported_codecs") {
        let names = codecs.iter().filter_map(Value::as_str);
        abilities.codecs = Some(names.map(codec_family).collect());
    }
    if let Some(streams) = said.get("streaming_support").and_then(Value::as_bool) {
        abilities.streams = streams;
    }
    if let Some(seconds) = said.get("benchmark_time").and_then(Value::as_f64)
        && seconds >= 0.0
    {
        abilities.benchmark_seconds = Some(seconds);
    }
    if let Some(status) = said.get("status").and_then(Value::as_str) {
        abilities.busy = status == "busy";
    }
}

/// The engine and its time of a benchmark, in seconds.
pub(super) fn parse_benchmark(body: &Value) -> Result<(String, f64), Refusal> {
    let id = match body.get("engine_id") {
        Some(Value::String(id)) => id.clone(),
        None => return Err(bad("engine_id", "is missing.")),
        Some(_) => return Err(bad("engine_id", "must be a string.")),
    };
    let seconds = body.get("benchmark_time").and_then(Value::as_f64);
    let seconds = seconds.ok_or_else(|| bad("benchmark_time", "must be a number."))?;
    if seconds < 0.0 {
        return Err(bad("benchmark_time", "must be a non-negative number."));
    }
    Ok((id, seconds))
}

pub(super) fn merge_benchmark(worker: &mut Worker, seconds: f64) {
    worker.abilities.benchmark_seconds = Some(seconds);
    worker.said.insert("benchmark_time".into(), seconds.into());
}

/// An engine that has ended its job is free, whatever it said before.
pub(super) fn set_idle(worker: &mut Worker) {
    worker.abilities.busy = false;
    if let Some(status) = worker.said.get_mut("status") {
        *status = "idle".into();
    }
}

pub(super) fn parse_output_url(body: &Value) -> Result<String, Refusal> {
    match body.get("output_url") {
        Some(Value::String(url)) => Ok(url.clone()),
        _ => Err(bad("output_url", "must be a string.")),
    }
}

/// Any JSON will do as a message.
pub(super) fn parse_error_message(body: &Value) -> Result<Value, Refusal> {
    let message = body.get("error_message").cloned();
    message.ok_or_else(|| bad("error_message", "is missing."))
}

pub(super) fn parse_progress(body: &Value) -> Result<Progress, Refusal> {
    let percent = body.get("progress").and_then(Value::as_f64);
    let percent = percent.ok_or_else(|| bad("progress", "must be a number."))?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(bad("progress", "must be between 0 and 100."));
    }
    let message = match body.get("message") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(bad("message", "must be a string.")),
    };
    Ok(Progress { percent, message })
}

fn status(state: JobState) -> &'static str {
    match state {
        JobState::Waiting | JobState::Ready => "pending",
        JobState::Leased => "assigned",
        JobState::Done => "completed",
        JobState::Failed => "failed_permanently",
        JobState::Cancelled => "cancelled",
    }
}

/// A job as the original shows it; `None` for work of other kinds. `artifact_url` makes the address
/// of a result that lies with us.
pub(super) fn job(job: &Job, artifact_url: impl Fn(&str) -> String) -> Option<Value> {
    let JobSpec::Transcode(spec) = &job.spec else {
        return None;
    };
    let output = job.output.as_ref().and_then(|output| {
        let ours = output.artifact.as_deref().map(artifact_url);
        output.url.clone().or(ours)
    });
    let mut shown = json!({
        "assigned_engine": job.worker.as_ref().map(|w| w.as_str()),
        "job_id": job.id.as_str(),
        "job_size": spec.size_mb,
        "max_retries": spec.max_retries,
        "output_url": output,
        "retries": job.failures,
        "source_url": spec.source_url,
        "status": status(job.state),
        "target_codec": spec.target_codec,
    });
    if let Some(error) = &job.error {
        shown["error_message"] = error.clone();
    }
    if let Some(progress) = &job.progress {
        shown["progress"] = progress.percent.into();
        shown["progress_message"] = progress.message.clone().into();
    }
    Some(shown)
}

/// An engine as it described itself, with what the dispatcher knows better.
pub(super) fn engine(worker: &Worker, booked: bool) -> Value {
    let mut said = worker.said.clone();
    if booked {
        said.insert("status".into(), "busy".into());
    } else if worker.abilities.draining {
        said.insert("status".into(), "draining".into());
    }
    said.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{UnixMillis, WorkerId};
    use crate::job::{NewJob, RetryPolicy};

    #[test]
    fn the_first_fault_of_a_submission_is_told_in_the_originals_words() {
        let cases = [
            (json!([]), "'source_url' is missing or not a string."),
            (Value::Null, "'source_url' is missing or not a string."),
            (
                json!({"source_url": 1}),
                "'source_url' is missing or not a string.",
            ),
            (
                json!({"source_url": "a"}),
                "'target_codec' is missing or not a string.",
            ),
            (json!({"job_size": "1"}), "'job_size' must be a number."),
            (json!({"job_size": null}), "'job_size' must be a number."),
            (
                json!({"job_size": -0.5}),
                "'job_size' must be a non-negative number.",
            ),
            (
                json!({"max_retries": 3.5}),
                "'max_retries' must be an integer.",
            ),
            (
                json!({"max_retries": "3"}),
                "'max_retries' must be an integer.",
            ),
            (
                json!({"max_retries": -1}),
                "'max_retries' must be a non-negative integer.",
            ),
        ];
        for (mut body, told) in cases {
            if let (Some(fields), false) = (
                body.as_object_mut(),
                told.contains("_url' is") || told.contains("_codec'"),
            ) {
                fields.insert("source_url".into(), "a".into());
                fields.insert("target_codec".into(), "h264".into());
            }
            let refusal = parse_submission(&body).unwrap_err();
            assert_eq!(refusal, format!("Bad Request: {told}"), "{body}");
        }
        let least = parse_submission(&json!({"source_url": "", "target_codec": ""})).unwrap();
        assert_eq!((least.size_mb, least.max_retries), (0.0, 3));
    }

    #[test]
    fn jobs_are_shown_with_sorted_keys() {
        let spec = TranscodeSpec {
            source_url: "http://h/v.mp4".into(),
            target_codec: "h264".into(),
            size_mb: 0.0,
            max_retries: 3,
        };
        let new = NewJob {
            id: "1795176268121300_0".parse().unwrap(),
            spec: JobSpec::Transcode(spec),
            priority: 0,
            parents: Vec::new(),
            retry: RetryPolicy::at_once(3),
        };
        let job_ = Job::new(new, UnixMillis::new(0));
        let shown = job(&job_, str::to_owned).unwrap().to_string();
        assert_eq!(
            shown,
            r#"{"assigned_engine":null,"job_id":"1795176268121300_0","job_size":0.0,"max_retries":3,"output_url":null,"retries":0,"source_url":"http://h/v.mp4","status":"pending","target_codec":"h264"}"#
        );
    }

    #[test]
    fn what_a_heartbeat_omits_is_kept() {
        let mut worker = Worker::new(WorkerId::new("e"), UnixMillis::new(0));
        let heartbeat = |text: &str| {
            parse_heartbeat(serde_json::from_str(text).unwrap())
                .unwrap()
                .1
        };
        let first = heartbeat(
            r#"{"engine_id":"e","supported_codecs":["H264","libvpx-vp9"],"streaming_support":true,"x":[1]}"#,
        );
        merge_heartbeat(&mut worker, &first);
        merge_benchmark(&mut worker, 125.75);
        merge_heartbeat(
            &mut worker,
            &heartbeat(r#"{"engine_id":"e","status":"idle"}"#),
        );
        assert!(worker.abilities.suits(Some("vp9")) && !worker.abilities.suits(Some("av1")));
        assert!(worker.abilities.streams && !worker.abilities.busy);
        let shown = engine(&worker, true);
        assert_eq!(shown["benchmark_time"], 125.75);
        assert_eq!(
            (&shown["x"], &shown["status"]),
            (&json!([1]), &json!("busy"))
        );
    }

    #[test]
    fn broken_json_is_told_as_the_original_tells_it() {
        assert_eq!(
            parse(b"").unwrap_err(),
            "Invalid JSON: [json.exception.parse_error.101] parse error at line 1, column 1: syntax \
             error while parsing value - unexpected end of input; expected '[', '{', or a literal"
        );
        let told = parse(b"{b").unwrap_err();
        assert!(
            told.starts_with(
                "Invalid JSON: [json.exception.parse_error.101] parse error at line 1, column 2:"
            ),
            "{told}"
        );
    }
}
