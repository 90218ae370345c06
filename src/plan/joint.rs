//! One run for several renditions of the same pictures: the source is read and decoded once.

use super::run::{
    Invocation, Padding, Preroll, VideoRun, burnt, cut_filter, exact_mapping_of, finishing_filters,
    video_input,
};
use super::stream::StreamPlan;
use super::video::{VideoEncode, VideoPlan};

/// The file descriptor of the first output of a joint run; the others follow.
const FIRST_OUTPUT: usize = 3;

impl StreamPlan {
    /// Arguments for a run that makes several renditions, each from its own unit on, on the file
    /// descriptors from 3 on, in the order of `parts`. `None` when they do not begin with
    /// the same pictures of the source or are made on different devices; then each needs a run of its own.
    pub fn joint_run(&self, parts: &[(usize, VideoRun)]) -> Option<Invocation> {
        let part = |(nth, run): &(usize, VideoRun)| {
            let video = self.videos.get(*nth)?;
            Some((video, video.encoder(run.software)?, *run))
        };
        let parts: Vec<(&VideoPlan, &VideoEncode, VideoRun)> =
            parts.iter().map(part).collect::<Option<_>>()?;
        let (video, encode, first) = *parts.first()?;
        let alike = parts.iter().all(|(v, e, _)| {
            (v.stream, v.rate, e.accelerator, &e.device)
                == (video.stream, video.rate, encode.accelerator, &encode.device)
                && e.before_grid == encode.before_grid
                && e.burn == encode.burn
        });
        if !alike {
            return None;
        }
        let known_end = |(_, _, run): &(_, _, VideoRun)| {
            matches!(run.padding, Padding::After(_)).then_some(run.padding)
        };
        let all = VideoRun {
            from: parts.iter().map(|(_, _, run)| run.from).min()?,
            until: parts.iter().map(|(_, _, run)| run.until).max()?,
            preroll: parts.iter().map(|(_, _, run)| run.preroll).max()?,
            padding: parts.iter().find_map(known_end).unwrap_or(Padding::Short),
            software: first.software,
        };
        let preroll = match encode.burn {
            // A subtitle that is shown at the first picture began before it.
            Some(_) => all.preroll.max(Preroll::Far),
            None => all.preroll,
        };
        let looks_back = !encode.before_grid.is_empty();
        let seek = self.video_seek(self.first_picture(all), preroll, looks_back);
        let mut graph = match encode.burn {
            Some(burn) => burnt(video.stream, burn),
            None => format!("[0:{}]", video.stream),
        };
        graph.push_str(
            &self
                .grid_filters(video, encode, all, seek.is_some())
                .join(","),
        );
        graph.push_str(&format!(",split={}", parts.len()));
        (0..parts.len()).for_each(|i| graph.push_str(&format!("[same{i}]")));
        let mut outputs = Vec::new();
        for (i, (video, encode, run)) in parts.iter().enumerate() {
            let mut filters = vec![cut_filter(*run)];
            filters.extend(finishing_filters(encode));
            graph.push_str(&format!(";[same{i}]{}[made{i}]", filters.join(",")));
            outputs.extend(exact_mapping_of(&format!("[made{i}]")));
            outputs.extend(self.encoded_output(video, encode, *run));
            outputs.push(format!("pipe:{}", FIRST_OUTPUT + i));
        }
        let mut output = vec!["-filter_complex".into(), graph];
        output.extend(outputs);
        let input = video_input(video, encode, seek);
        Some(Invocation { input, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Accelerator;
    use crate::media::{Mode, StreamRequest};
    use crate::plan::stream::tests::{machine, probe};
    use crate::plan::{PlanSettings, plan_stream};

    fn run(from: i64) -> VideoRun {
        VideoRun {
            from,
            until: 1000,
            preroll: Preroll::Near,
            padding: Padding::Short,
            software: false,
        }
    }

    #[test]
    fn renditions_share_what_comes_before_the_cut() {
        let request = StreamRequest {
            mode: Mode::Abr,
            ..Default::default()
        };
        let mut plan = plan_stream(
            &probe(),
            None,
            &request,
            &machine(),
            &PlanSettings::default(),
        )
        .unwrap();
        assert!(plan.videos.len() > 1);
        let later = VideoRun {
            padding: Padding::After(900),
            preroll: Preroll::Far,
            ..run(200)
        };
        let joint = plan.joint_run(&[(0, run(100)), (1, later)]).unwrap();
        let graph = &joint.output[1];
        assert_eq!(graph.matches("fps=").count(), 1, "{graph}");
        assert!(
            graph.contains("trim=start_pts=100:end_pts=1000,split=2[same0][same1];"),
            "{graph}"
        );
        assert!(graph.contains("[same0]trim=start_pts=100:"), "{graph}");
        assert!(graph.contains("[same1]trim=start_pts=200:"), "{graph}");
        assert!(graph.contains("tpad=stop=-1:"), "{graph}");
        let pipes: Vec<_> = joint
            .output
            .iter()
            .filter(|a| a.starts_with("pipe:"))
            .collect();
        assert_eq!(pipes, ["pipe:3", "pipe:4"]);
        // One of them has lost its hardware.
        if let Some(encode) = &mut plan.videos[1].encode {
            encode.accelerator = Some(Accelerator::Nvenc);
        }
        assert_eq!(plan.joint_run(&[(0, run(100)), (1, run(100))]), None);
        assert_eq!(plan.joint_run(&[(0, run(100)), (9, run(100))]), None);
    }
}
