//! The ffmpeg arguments for a source without a known end: one run for both tracks, since a live
//! source can be opened only once and its tracks belong together.

use super::audio::AudioPlan;
use super::encoder::{device_options, encoder_options, upload_filters};
use super::run::{
    Invocation, audio_encoder, audio_fragments, few_channels, layout, mapping, strings,
    video_fragments, video_timescale,
};
use super::stream::StreamPlan;
use super::video::{VideoEncode, VideoPlan};

impl StreamPlan {
    /// Arguments for the only run over an open-ended source: video on standard output, audio on
    /// file descriptor 3 (on standard output when there is no video).
    ///
    /// Timestamps count from the moment of opening: those of the probe mean nothing any more.
    pub fn live_run(&self) -> Invocation {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        let video = self.main_video().and_then(|v| Some((v, v.encoder(false)?)));
        if let Some((video, encode)) = video {
            input.extend(device_options(encode));
            output.extend(self.live_video(video, encode));
            output.push("pipe:1".into());
        }
        if let Some(audio) = self.main_audio() {
            output.extend(live_audio(audio));
            output.push(
                if self.main_video().is_some() {
                    "pipe:3"
                } else {
                    "pipe:1"
                }
                .into(),
            );
        }
        Invocation { input, output }
    }

    fn live_video(&self, video: &VideoPlan, encode: &VideoEncode) -> Vec<String> {
        let mut filters = encode.before_grid.clone();
        filters.push(format!("fps={}:start_time=0", video.rate));
        filters.extend(encode.after_cut.iter().cloned());
        filters.extend(
            upload_filters(encode.accelerator)
                .iter()
                .map(|f| (*f).to_owned()),
        );
        let mut out = mapping(video.stream);
        out.extend(strings(&[
            "-an",
            "-fps_mode",
            "passthrough",
            "-vf",
            &filters.join(","),
        ]));
        out.extend(encoder_options(video, encode, self.timeline.units(0)));
        out.extend(strings(&["-force_key_frames", &self.regular_cuts()]));
        let timescale = video_timescale(video).to_string();
        out.extend(strings(&["-video_track_timescale", &timescale]));
        out.extend(video_fragments());
        out
    }

    /// Cuts of the timeline as an expression over the frame number: a list would have no end.
    fn regular_cuts(&self) -> String {
        let t = &self.timeline;
        let (a, b, c, step) = (t.start(1), t.start(2), t.start(3), t.units(3).max(1));
        format!("expr:eq(n,{a})+eq(n,{b})+gte(n,{c})*eq(mod(n-{c},{step}),0)")
    }
}

fn live_audio(audio: &AudioPlan) -> Vec<String> {
    let mut out = mapping(audio.stream);
    let mut filters: Vec<String> = audio
        .encode
        .as_ref()
        .and_then(few_channels)
        .into_iter()
        .collect();
    filters.push(format!(
        "aresample={}:async=1:min_hard_comp=0.03:first_pts={}",
        audio.sample_rate,
        -audio.codec.early_samples()
    ));
    filters.extend(layout(audio));
    out.extend(strings(&["-vn", "-af", &filters.join(",")]));
    out.extend(audio_encoder(audio));
    out.extend(audio_fragments(audio.codec));
    out
}
