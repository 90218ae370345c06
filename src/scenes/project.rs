//! What is kept of a project.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{FrameRate, QueueId, UnixMillis};
use crate::media::{OnComplete, QualityGoal, SceneEncoder};
use crate::plan::scenes::{SceneRules, SceneSpan};
use crate::store::Collection;

pub(super) const PROJECTS: Collection = Collection("scene-projects");

/// One film that is encoded scene by scene. Documents outlive programs: fields that are added have
/// defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Project {
    /// The gateway that it belongs to.
    pub(super) node: String,
    /// Names its artifacts and jobs; never used twice, unlike ids that clients choose.
    pub(super) key: String,
    /// As the client wrote it.
    pub(super) input: String,
    pub(super) encoder: SceneEncoder,
    pub(super) encoder_params: String,
    #[serde(default)]
    pub(super) ffmpeg_params: String,
    pub(super) rules: SceneRules,
    pub(super) priority: f64,
    #[serde(default)]
    pub(super) on_complete: OnComplete,
    #[serde(default)]
    pub(super) quality: Option<QualityGoal>,
    /// The source of the table of film grain, as the client named it.
    #[serde(default)]
    pub(super) grain_table: Option<String>,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) stage: Stage,
    /// Why the stage is `Failed`.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Known from the end of the first pass on.
    #[serde(default)]
    pub(super) rate: Option<FrameRate>,
    #[serde(default)]
    pub(super) scenes: Vec<SceneSpan>,
    /// Parameters of single scenes, by number.
    #[serde(default)]
    pub(super) scene_params: BTreeMap<usize, String>,
    /// How scenes were cut out, by number, that could not be copied from key frame to key frame.
    #[serde(default)]
    pub(super) cuts: BTreeMap<usize, SceneCut>,
    #[serde(default)]
    pub(super) encode_began: Option<UnixMillis>,
    /// The joined file.
    #[serde(default)]
    pub(super) completed: Option<Completed>,
}

/// How a scene was cut out of a source that has no key frames at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SceneCut {
    /// By copy, between key frames: so many `pictures`, of which `lead` come before the scene.
    Around { lead: u32, pictures: u32 },
    /// Decoded, and stored without loss.
    Lossless,
}

/// How far a project is. What a stage made is in the store before the next one is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Nothing is known of the source yet.
    #[default]
    Starting,
    /// Where the scenes are is known; not all are cut out.
    Splitting,
    /// Scenes are handed out.
    Ready,
    /// All are encoded.
    Joining,
    Complete,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Completed {
    /// Name in the artifact store.
    pub(super) artifact: String,
    pub(super) bytes: u64,
    /// What of the source did not come through as it was.
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// Name of a scene in the protocol: its number with at least five digits, so that the order of names is
/// that of scenes.
pub(super) fn scene_name(nth: usize) -> String {
    format!("{nth:05}")
}

impl Project {
    pub(super) fn total_frames(&self) -> u64 {
        self.scenes.last().map_or(0, SceneSpan::end)
    }

    /// The job of a scene.
    pub(super) fn job_id(&self, nth: usize) -> Option<QueueId> {
        format!("{}-{}", self.key, scene_name(nth)).parse().ok()
    }

    /// The id under which what belongs to no scene is kept.
    pub(super) fn own_id(&self) -> Option<QueueId> {
        self.key.parse().ok()
    }

    pub(super) fn params_of(&self, nth: usize) -> &str {
        let own = self.scene_params.get(&nth).filter(|p| !p.is_empty());
        own.unwrap_or(&self.encoder_params)
    }

    /// Whether the segment of a scene has more pictures than the scene.
    pub(super) fn has_surroundings(&self, nth: usize) -> bool {
        self.surroundings(nth).is_some()
    }

    /// Of the segment of a scene that has more pictures than the scene: how many come before it, and all.
    pub(super) fn surroundings(&self, nth: usize) -> Option<(u32, u32)> {
        match self.cuts.get(&nth)? {
            SceneCut::Around { lead, pictures } => Some((*lead, *pictures)),
            SceneCut::Lossless => None,
        }
    }

    /// As the queue counts: higher comes first.
    pub(super) fn queue_priority(&self) -> i32 {
        // Three decimals are kept; the cast saturates.
        (-self.priority * 1000.0).round() as i32
    }

    /// Whether grav1's workers can do its scenes: they find no quantisers.
    pub(super) fn is_for_workers(&self) -> bool {
        self.encoder.is_grav1() && self.quality.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form that was ever stored.
    #[test]
    fn stored_projects_are_read() {
        let old = r#"{"node":"n","key":"0f","input":"a.mkv","encoder":"aom","encoder_params":"",
            "rules":{"threshold":30.0,"min_frames":24,"max_frames":240},"priority":0.5}"#;
        let project: Project = serde_json::from_str(old).unwrap();
        assert_eq!(
            (project.stage, project.queue_priority()),
            (Stage::Starting, -500)
        );
        assert_eq!(project.job_id(7).unwrap().as_str(), "0f-00007");
        let again = serde_json::to_string(&project).unwrap();
        assert_eq!(serde_json::from_str::<Project>(&again).unwrap(), project);
    }
}
