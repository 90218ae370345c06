//! From a query and what a source is to ffmpeg's arguments. Pure.
//!
//! Everything that goes into a filter is a number of ours or a name of a closed list.

mod error;
mod picture;
mod samples;
mod webm;

pub use error::QueryPlanError;
pub use picture::{Output, PictureRun, WatermarkPlan, picture_runs, watermark_plan};
pub use samples::{
    SampleRun, SampleTimes, SampledPlan, Storyboard, plan_preview, plan_sheet, plan_storyboard,
};
pub use webm::{guess_webm, is_as_guessed, plan_webm};

use crate::base::{MediaTime, Resolution};
use crate::media::query::{Fit, MAX_SIDE, Position};
use crate::media::{FieldOrder, SourceProbe, VideoStream};

/// Longest source that is searched.
const MAX_LENGTH: MediaTime = MediaTime::from_micros(48 * 3600 * 1_000_000);

/// The size of a picture of `display` in a box, at least one pixel.
fn fit_size(display: Resolution, fit: Fit) -> Resolution {
    let (w, h) = (f64::from(display.width), f64::from(display.height));
    let side = |limit: Option<u32>, of: f64| f64::from(limit.unwrap_or(MAX_SIDE)) / of;
    let most = side(None, w).min(side(None, h));
    let asked = match (fit.width, fit.height) {
        (None, None) => 1.0,
        _ => side(fit.width, w).min(side(fit.height, h)),
    };
    let factor = if fit.upscale { asked } else { asked.min(1.0) }.min(most);
    let pixels = |v: f64| ((v * factor).round() as u32).clamp(1, MAX_SIDE);
    Resolution {
        width: pixels(w),
        height: pixels(h),
    }
}

/// The same in even numbers, as encoders of moving pictures need them.
fn fit_even(display: Resolution, fit: Fit) -> Resolution {
    let size = fit_size(display, fit);
    let even = |v: u32| (v / 2 * 2).max(2);
    Resolution {
        width: even(size.width),
        height: even(size.height),
    }
}

/// The time of a position, from the first timestamp on.
///
/// # Errors
/// When it lies beyond the end, or the length that it needs is not known.
fn time_of(position: Position, probe: &SourceProbe) -> Result<MediaTime, QueryPlanError> {
    let share = |length: MediaTime, share: f64| {
        MediaTime::from_micros((length.as_micros() as f64 * share) as i64)
    };
    let auto = MediaTime::from_micros(2_000_000);
    match (position, probe.duration) {
        (Position::Auto, Some(length)) => Ok(auto.min(share(length, 0.5))),
        (Position::Auto, None) => Ok(auto),
        (Position::At(t), Some(length)) if t >= length => Err(QueryPlanError::BeyondEnd {
            t: t.as_secs_f64(),
            duration: length.as_secs_f64(),
        }),
        (Position::At(t), _) => Ok(t),
        (Position::Share(s), Some(length)) => Ok(share(length, s)),
        (Position::Share(_), None) => Err(QueryPlanError::ShareWithoutLength),
    }
}

/// Filters that come before all others.
fn deinterlaced(video: &VideoStream) -> Vec<String> {
    match video.field_order {
        // One picture per frame.
        FieldOrder::Interlaced => vec!["bwdif=mode=send_frame:deint=all".to_owned()],
        FieldOrder::Progressive | FieldOrder::Unknown => vec![],
    }
}

fn args<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests;
