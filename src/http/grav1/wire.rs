//! The JSON of the protocol: one object that has the keys of both generations, and ours. Pure.

use serde_json::{Map, Value, json};

use crate::scenes::{Activity, ProjectView, SceneView};

/// A whole number without a fraction, as clients wrote it.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 9e15 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// `status` as grav1 has it (contract, section 5), and `failed` and `paused` besides.
fn status(project: &ProjectView) -> String {
    let total = project.scenes.len();
    match project.activity {
        Activity::Starting => "starting".into(),
        Activity::Looking(_) => "splitting".into(),
        Activity::Cutting(0) => "splitting".into(),
        Activity::Cutting(_) => "verifying split".into(),
        Activity::Ready if project.paused => "paused".into(),
        Activity::Ready => "ready".into(),
        Activity::Joining(0) => "done! joining files".into(),
        Activity::Joining(done) => format!("concat {done}/{total}"),
        Activity::Complete => "complete".into(),
        Activity::Failed => "failed".into(),
    }
}

/// How far a step is that is no encoding.
fn step(project: &ProjectView) -> Value {
    let total = project.scenes.len();
    match project.activity {
        Activity::Looking(frames) => json!({"name": "looking", "frames": frames}),
        Activity::Cutting(done) => json!({"name": "cutting", "scenes": done, "of": total}),
        Activity::Joining(done) => json!({"name": "joining", "scenes": done, "of": total}),
        _ => Value::Null,
    }
}

/// `address` makes the address of a file of the project from its path.
pub(super) fn project(project: &ProjectView, address: impl Fn(&str) -> String) -> Value {
    let scenes: Map<String, Value> = project
        .scenes
        .iter()
        .map(|s| (s.name.clone(), scene(project, s, &address)))
        .collect();
    let held = project.scenes.iter().filter(|s| !s.workers.is_empty());
    let held: Vec<&str> = held.map(|s| s.name.as_str()).collect();
    let size: u64 = project.scenes.iter().map(|s| s.bytes).sum();
    let completed = project
        .completed_bytes
        .filter(|_| project.activity == Activity::Complete);
    let quality = project.quality.map(|q| json!({q.metric.name(): q.value}));
    json!({
        "projectid": project.id,
        "input": project.input,
        "frames": project.frames,
        "total_frames": project.total_frames,
        "fps": (project.fps * 100.0).round() / 100.0,
        "jobs": project.remaining,
        "total_jobs": project.scenes.len(),
        "status": status(project),
        "reason": project.reason,
        "size": size,
        "encoder": project.encoder.name(),
        "encoder_params": project.encoder_params,
        "ffmpeg_params": project.ffmpeg_params,
        "priority": number(project.priority),
        "on_complete": project.on_complete.name(),
        "quality": quality,
        "grain_table": project.grain_table,
        "paused": project.paused,
        "step": step(project),
        "frame_rate": project.rate.map(|r| r.to_string()),
        "workers": held,
        "scenes": scenes,
        "notes": project.notes,
        "completed_size": completed,
        "completed_url": completed.map(|_| address(&format!("/completed/{}", project.id))),
    })
}

fn scene(project: &ProjectView, scene: &SceneView, address: impl Fn(&str) -> String) -> Value {
    let state = match (&scene.file, scene.is_given_up) {
        (Some(_), _) => "done",
        (None, true) => "failed",
        (None, false) if !scene.workers.is_empty() => "working",
        (None, false) => "open",
    };
    let seconds = project.rate.map(|r| f64::from(scene.frames) / r.as_f64());
    let bitrate = seconds
        .filter(|s| *s > 0.0 && scene.bytes > 0)
        .map(|s| (scene.bytes as f64 * 8.0 / s).round() as u64);
    let quality = scene
        .measured
        .as_ref()
        .map(|m| json!({"metric": m.metric.name(), "value": m.value, "quantiser": m.quantiser}));
    let mut out = json!({
        "segment": format!("{}.mkv", scene.name),
        "start": scene.start,
        "frames": scene.frames,
        "filesize": scene.bytes,
        "encoder_params": scene.encoder_params,
        "state": state,
        "attempts": scene.failures,
        "error": scene.error,
        "workers": scene.workers,
        "progress": scene.progress.as_ref().map(|p| p.percent),
        "bitrate": bitrate,
        "quality": quality,
        "notes": scene.notes,
        "url": scene.file.as_ref().map(|f| address(&format!("/scene/{}/{f}", project.id))),
    });
    if scene.is_given_up {
        let why = scene.error.as_deref().unwrap_or("it was given up");
        out["bad"] = why.into();
    }
    out
}
