//! What a runner is told of a job (contract sections 5 and 6).

use serde_json::{Value, json};

use super::renditions::Rendition;
use super::spec::{RunnerWork, StudioTask};

/// The payload of a job whose files lie below `files`: `BASE/api/v1/runners/jobs/JOB/files/videos/VIDEO`.
/// Runners drop the query of an address, so there is none.
pub fn payload(work: &RunnerWork, files: &str) -> Value {
    let video = format!("{files}/max-quality");
    let output = |r: &Rendition| json!({"resolution": r.resolution, "fps": r.fps});
    match work {
        RunnerWork::WebVideo { rendition } => json!({
            "input": {"videoFileUrl": video, "separatedAudioFileUrl": []},
            "output": output(rendition),
        }),
        RunnerWork::Hls { rendition } => {
            let mut output = output(rendition);
            output["separatedAudio"] = false.into();
            json!({
                "input": {"videoFileUrl": video, "separatedAudioFileUrl": []},
                "output": output,
            })
        }
        RunnerWork::AudioMerge { rendition } => json!({
            "input": {
                "audioFileUrl": video,
                "previewFileUrl": format!("{files}/previews/max-quality"),
            },
            "output": output(rendition),
        }),
        RunnerWork::Studio { tasks } => {
            let place = |task: &StudioTask| match task.file() {
                Some(name) => task
                    .clone()
                    .with_file(&format!("{files}/studio/task-files/{name}")),
                None => task.clone(),
            };
            let tasks: Vec<Value> = tasks.iter().map(|t| both_names(json!(place(t)))).collect();
            json!({
                "input": {"videoFileUrl": video, "separatedAudioFileUrl": []},
                "tasks": tasks,
                "output": {},
            })
        }
        RunnerWork::Live { source, renditions } => json!({
            "input": {"rtmpUrl": source},
            "output": {
                "toTranscode": renditions.iter().map(output).collect::<Vec<_>>(),
                "segmentDuration": LIVE_SEGMENT_SECONDS,
                "segmentListSize": LIVE_LIST_SIZE,
            },
        }),
        RunnerWork::Transcription => json!({"input": {"videoFileUrl": video}, "output": {}}),
        RunnerWork::Storyboard { sheet } => json!({
            "input": {"videoFileUrl": video},
            "sprites": {
                "size": {"width": sheet.width, "height": sheet.height},
                "count": {"width": sheet.columns, "height": sheet.rows},
                "duration": sheet.interval_seconds,
            },
            "output": {},
        }),
    }
}

/// A ratio was misspelt on the wire until PeerTube 8; newer runners read it under its right name, and
/// fail without it.
fn both_names(mut task: Value) -> Value {
    let options = &mut task["options"];
    if let Some(ratio) = options.get("horitonzalMarginRatio").cloned() {
        options["horizontalMarginRatio"] = ratio;
    }
    task
}

/// As PeerTube; runners set a key frame every two seconds.
pub(super) const LIVE_SEGMENT_SECONDS: u32 = 4;
const LIVE_LIST_SIZE: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "http://h/api/v1/runners/jobs/j/files/videos/v";

    #[test]
    fn payloads_have_the_shape_of_the_contract() {
        let rendition = Rendition {
            resolution: 360,
            fps: 25,
        };
        let hls = payload(&RunnerWork::Hls { rendition }, FILES);
        let wanted = json!({
            "input": {"videoFileUrl": format!("{FILES}/max-quality"), "separatedAudioFileUrl": []},
            "output": {"resolution": 360, "fps": 25, "separatedAudio": false},
        });
        assert_eq!(hls, wanted);
        let file = "task-0".to_owned();
        let tasks = vec![StudioTask::AddIntro { file }];
        let studio = payload(&RunnerWork::Studio { tasks }, FILES);
        let told = &studio["tasks"][0]["options"]["file"];
        assert_eq!(told, &format!("{FILES}/studio/task-files/task-0"));
    }

    #[test]
    fn old_and_new_runners_find_the_margin_of_a_watermark() {
        let asked = json!({"name": "add-watermark", "options": {
            "file": "w", "horizontalMarginRatio": 0.1,
        }});
        let task: StudioTask = serde_json::from_value(asked).unwrap();
        let told = payload(&RunnerWork::Studio { tasks: vec![task] }, FILES);
        let options = &told["tasks"][0]["options"];
        for name in ["horitonzalMarginRatio", "horizontalMarginRatio"] {
            assert_eq!(options[name], 0.1, "{options}");
        }
    }

    #[test]
    fn live_segments_end_at_key_frames() {
        assert_eq!(LIVE_SEGMENT_SECONDS % 2, 0);
    }
}
