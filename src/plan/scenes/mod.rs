//! A film in scenes: where they begin, how they are cut out, encoded and joined again. Pure.

mod cut;
mod detect;
mod encode;
mod join;
mod options;
mod quality;

pub use cut::{
    CutGroup, FramePick, Lossless, cut_group, cut_groups, lossless, segment_rate, ticks_per_frame,
};
pub use detect::{FrameScore, SceneRules, SceneSpan, ScoreReader, detection, scene_spans};
pub use encode::{EncodePlace, ScenePass, ScenePasses, SceneWork, plan_scene, quantisers};
pub use join::{Joining, join_run, merge_run};
pub use options::{OptionError, SceneOptions};
pub use quality::{Measuring, QuantiserSearch, read_scores, translate};
