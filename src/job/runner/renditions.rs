//! Which renditions a video gets, and how many pictures a second they have (contract section 9).

use serde::{Deserialize, Serialize};

/// What is made of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// The shorter side of the picture, pixels; 0 = sound alone.
    pub resolution: u32,
    /// Pictures a second.
    pub fps: u32,
}

/// Above this many pictures a second, small renditions are thinned out.
const SMALL_BELOW: u32 = 720;
const MOST_OF_SMALL: f64 = 30.0;
const MOST: f64 = 60.0;
/// Usual rates, for small renditions and for large ones.
const SMALL_RATES: [u32; 3] = [30, 25, 24];
const RATES: [u32; 2] = [60, 50];
/// What is asked for when there are no pictures.
const NO_PICTURES: u32 = 25;

/// The renditions of a source whose shorter side has `side` pixels (0: it has no picture), smallest
/// first. Nothing is made larger; a source smaller than all that is wanted keeps its own size, and
/// with `keeps_original` every source does so beside what is wanted.
pub fn renditions(
    side: u32,
    source_fps: Option<f64>,
    wanted: &[u32],
    keeps_original: bool,
    most_fps: Option<u32>,
) -> Vec<Rendition> {
    // H.264 in 4:2:0 has no odd sides.
    let own = side - side % 2;
    let mut sides: Vec<u32> = wanted.iter().copied().filter(|w| *w <= side).collect();
    if keeps_original || sides.is_empty() {
        sides.push(own);
    }
    sides.sort_unstable();
    sides.dedup();
    let rendition = |resolution| Rendition {
        resolution,
        fps: fps_for(resolution, source_fps, most_fps),
    };
    sides.into_iter().map(rendition).collect()
}

/// Pictures a second of one rendition: the source's, but at most 30 below 720 and 60 above, where a
/// usual rate that divides the source's is taken.
pub fn fps_for(resolution: u32, source_fps: Option<f64>, most: Option<u32>) -> u32 {
    let Some(fps) = source_fps.filter(|f| f.is_finite() && resolution > 0 && *f > 0.0) else {
        return NO_PICTURES;
    };
    let (limit, rates): (f64, &[u32]) = match resolution < SMALL_BELOW {
        true => (MOST_OF_SMALL, &SMALL_RATES),
        false => (MOST, &RATES),
    };
    // A rate such as 30000/1001 is no more than 30.
    let rounded = fps.round();
    let fps = match rounded > limit {
        false => rounded as u32,
        true => closest(rounded as u32, rates),
    };
    most.map_or(fps, |most| fps.min(most)).max(1)
}

/// The largest of `rates` that divides `fps`, else the one that is nearest to doing so.
fn closest(fps: u32, rates: &[u32]) -> u32 {
    let off = |rate: &&u32| fps % **rate;
    rates.iter().min_by_key(off).copied().unwrap_or(fps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(side: u32, wanted: &[u32], original: bool) -> Vec<u32> {
        let made = renditions(side, Some(25.0), wanted, original, None);
        made.iter().map(|r| r.resolution).collect()
    }

    #[test]
    fn nothing_is_scaled_up_and_nothing_is_left_out() {
        let usual = [360, 480, 720, 1080];
        assert_eq!(sides(720, &usual, true), [360, 480, 720]);
        assert_eq!(sides(800, &usual, true), [360, 480, 720, 800]);
        assert_eq!(sides(800, &usual, false), [360, 480, 720]);
        assert_eq!(sides(241, &usual, false), [240]);
        assert_eq!(sides(1080, &[1080, 360, 360], true), [360, 1080]);
        // Sound alone is one rendition of its own.
        assert_eq!(sides(0, &usual, true), [0]);
    }

    #[test]
    fn rates_are_kept_up_to_the_limits() {
        for (resolution, source, fps) in [
            (720, 25.0, 25),
            (360, 25.0, 25),
            (1080, 29.97, 30),
            (360, 29.97, 30),
            (360, 23.976, 24),
            (1080, 60.0, 60),
            (480, 60.0, 30),
            (480, 50.0, 25),
            (480, 59.94, 30),
            (1080, 120.0, 60),
            (1080, 100.0, 50),
            (720, 0.4, 1),
        ] {
            assert_eq!(
                fps_for(resolution, Some(source), None),
                fps,
                "{resolution} {source}"
            );
        }
        assert_eq!(fps_for(0, Some(30.0), None), 25);
        assert_eq!(fps_for(720, None, None), 25);
        assert_eq!(fps_for(720, Some(50.0), Some(24)), 24);
    }
}
