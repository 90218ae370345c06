//! Where a video stream can be cut.

use crate::base::MediaTime;

/// The presentation times of a video stream's keyframes, as ffmpeg reports them with `-copyts`:
/// in ascending order, none twice, at least one. An index from a container may leave some out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyframeIndex {
    pts: Vec<MediaTime>,
}

impl KeyframeIndex {
    /// Sorts `pts`. `None` when it is empty.
    pub fn new(mut pts: Vec<MediaTime>) -> Option<Self> {
        pts.sort_unstable();
        pts.dedup();
        if pts.is_empty() {
            None
        } else {
            Some(KeyframeIndex { pts })
        }
    }

    /// Never empty, ascending.
    pub fn pts(&self) -> &[MediaTime] {
        &self.pts
    }

    /// The last keyframe at or before `t`, where decoding starts to show `t`.
    pub fn at_or_before(&self, t: MediaTime) -> Option<MediaTime> {
        let after = self.pts.partition_point(|&k| k <= t);
        self.pts[..after].last().copied()
    }

    /// The longest span between two neighbouring keyframes; zero for a single one.
    pub fn longest_gap(&self) -> MediaTime {
        let gaps = self.pts.windows(2).map(|w| w[1] - w[0]);
        gaps.max().unwrap_or(MediaTime::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(v: i64) -> MediaTime {
        MediaTime::from_micros(v)
    }

    #[test]
    fn is_sorted_and_finds_the_one_before() {
        let k = KeyframeIndex::new(vec![us(50), us(10), us(50), us(20)]).unwrap();
        assert_eq!(k.pts(), [us(10), us(20), us(50)]);
        assert_eq!(k.at_or_before(us(9)), None);
        assert_eq!(k.at_or_before(us(20)), Some(us(20)));
        assert_eq!(k.at_or_before(us(49)), Some(us(20)));
        assert_eq!(k.at_or_before(us(99)), Some(us(50)));
        assert_eq!(k.longest_gap(), us(30));
        assert_eq!(KeyframeIndex::new(vec![]), None);
    }
}
