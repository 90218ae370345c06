//! A film in scenes: where they begin, how they are cut out, encoded and joined again. Pure.

mod cut;
mod detect;
mod encode;
mod grain;
mod join;
mod options;
mod quality;

pub use cut::{
    CutGroup, FramePick, Lossless, SceneSize, Surroundings, copy_group, cut_group, cut_groups,
    longest_first, lossless, may_be_copied, segment_rate, surrounded, surroundings,
    ticks_per_frame,
};
pub use detect::{
    FrameScore, SceneRules, SceneSpan, ScoreReader, detection, mark_keys, scene_spans,
};
pub use encode::{EncodePlace, ScenePass, ScenePasses, SceneWork, plan_scene, quantisers};
pub use grain::{
    GRAIN_FILE, GRAIN_OPTION, GrainError, GrainTable, MOST_GRAIN_BYTES, take_grain_option,
};
pub use join::{Joining, Merging, join_run, line_up_run, merge_run};
pub use options::{OptionError, SceneOptions};
pub use quality::{Measuring, QuantiserSearch, read_scores, translate};
