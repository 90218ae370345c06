//! Jobs, runners and videos as JSON.

use serde_json::{Value, json};

use crate::base::UnixMillis;
use crate::job::runner::payload;
use crate::job::{Job, JobSpec};
use crate::videos::{JobView, Made, RegistrationToken, Runner, RunnerJobState, VideoView};

use super::super::links::Links;

/// PeerTube counts the other way: smaller is sooner.
const USUAL_PRIORITY: i32 = 100;

pub(super) fn time(at: UnixMillis) -> Value {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok();
    at.map_or(Value::Null, |at| format!("{at:.3}").into())
}

/// Kind and payload, as runners take them.
fn work(job: &Job, base: &str) -> Option<(&'static str, Value)> {
    let JobSpec::Runner(spec) = &job.spec else {
        return None;
    };
    let files = format!(
        "{base}/api/v1/runners/jobs/{}/files/videos/{}",
        job.id, spec.video
    );
    Some((spec.work.kind().runner_type()?, payload(&spec.work, &files)))
}

/// A job as it is offered.
pub(super) fn offer_shape(job: &Job, base: &str) -> Option<Value> {
    let (kind, payload) = work(job, base)?;
    Some(json!({"uuid": job.id, "type": kind, "payload": payload}))
}

/// A job as PeerTube shows it.
pub(super) fn job_shape(
    job: &Job,
    state: RunnerJobState,
    base: &str,
    runner: Option<&Runner>,
) -> Value {
    let (kind, payload) = work(job, base).unwrap_or_default();
    let begun = job.lease.as_ref().map(|l| l.begun_at);
    let ended = job.state.is_final().then_some(job.updated_at);
    json!({
        "uuid": job.id,
        "type": kind,
        "state": {"id": state.id(), "label": state.label()},
        "progress": job.progress.as_ref().map(|p| p.percent.floor()),
        "priority": USUAL_PRIORITY.saturating_sub(job.priority),
        "failures": job.failures,
        "error": job.error,
        "payload": payload,
        "startedAt": begun.map_or(Value::Null, time),
        "finishedAt": ended.map_or(Value::Null, time),
        "createdAt": time(job.created_at),
        "updatedAt": time(job.updated_at),
        "parent": null,
        "runner": runner.map(|r| json!({
            "id": r.number,
            "name": r.name,
            "description": r.description,
        })),
    })
}

pub(super) fn runner_shape(runner: &Runner) -> Value {
    json!({
        "id": runner.number,
        "name": runner.name,
        "description": runner.description,
        "version": runner.version,
        "ip": runner.ip,
        "lastContact": time(runner.last_contact),
        "createdAt": time(runner.created_at),
        "updatedAt": time(runner.last_contact),
    })
}

pub(super) fn token_shape(token: &RegistrationToken, runners: usize) -> Value {
    json!({
        "id": token.number,
        "registrationToken": token.secret,
        "createdAt": time(token.created_at),
        "updatedAt": time(token.created_at),
        "registeredRunnersCount": runners,
    })
}

/// A video, with addresses by `links`.
pub(super) fn video_shape(view: &VideoView, links: &Links) -> Value {
    let file = |name: &str| links.to(&format!("/video/{}/{name}", view.id));
    let renditions: Vec<Value> = view
        .jobs
        .iter()
        .filter_map(|job| rendition(job, &file))
        .collect();
    let made = || view.jobs.iter().filter_map(|j| j.made.as_ref());
    let captions: Vec<Value> = made()
        .filter_map(|made| match made {
            Made::Captions {
                file: name,
                language,
            } => Some(json!({"language": language, "url": file(name)})),
            _ => None,
        })
        .collect();
    let storyboard = made().find_map(|made| match made {
        Made::Storyboard { file: name } => Some(file(name)),
        _ => None,
    });
    json!({
        "id": view.id,
        "uuid": view.id,
        "name": view.video.name,
        "state": view.state().name(),
        "error": view.error(),
        "thumbnail_url": view.video.thumbnail.as_deref().map(file),
        "master_url": view.has_master.then(|| file("master.m3u8")),
        "renditions": renditions,
        "captions": captions,
        "storyboard_url": storyboard,
        "duration_seconds": view.video.facts.duration_seconds,
        "destination": view.video.destination,
        "created_at": time(view.created_at),
        "updated_at": time(view.updated_at),
        "jobs": view.jobs.iter().map(job_line).collect::<Vec<_>>(),
    })
}

fn job_line(job: &JobView) -> Value {
    json!({
        "uuid": job.job.id,
        "type": job.work.kind().runner_type(),
        "progress": job.job.progress.as_ref().map(|p| p.percent.floor()),
        "failures": job.job.failures,
        "error": job.error,
        "state": {"id": job.state.id(), "label": job.state.label()},
    })
}

fn rendition(job: &JobView, file: &impl Fn(&str) -> String) -> Option<Value> {
    use crate::job::runner::RunnerWork as W;
    let kind = match &job.work {
        W::Hls { .. } => "hls",
        W::WebVideo { .. } => "web-video",
        W::AudioMerge { .. } => "audio-merge",
        W::Studio { .. } => "studio",
        W::Live { .. } | W::Transcription | W::Storyboard { .. } => return None,
    };
    let url = match &job.made {
        Some(Made::Hls { playlist, .. }) => Some(file(playlist)),
        Some(Made::File { file: name, .. }) => Some(file(name)),
        _ => None,
    };
    let planned = job.work.rendition();
    Some(json!({
        "kind": kind,
        "resolution": planned.map(|r| r.resolution),
        "fps": planned.map(|r| r.fps),
        "url": url,
    }))
}
