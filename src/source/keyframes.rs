//! Reading a source's keyframe index.

use super::reader::RangeReader;
use crate::media::index::{ContainerHint, IndexReader, Step};
use crate::media::{KeyframeIndex, SourceProbe};

/// The keyframes of the video stream `v:nth_video` from the container's own index: at most ten
/// reads of at most 64 MiB. `None` when there is no index that can be trusted, or it cannot be
/// read; then only ffprobe tells. With it what the source most likely is, by its header; see
/// [`IndexReader::outline`]. Cancel-safe.
pub async fn read_keyframe_index(
    reader: &RangeReader,
    container: ContainerHint,
    nth_video: usize,
) -> (Option<KeyframeIndex>, Option<SourceProbe>) {
    let mut index = IndexReader::new(container, nth_video);
    let mut step = index.start();
    loop {
        match step {
            Step::Need { offset, len } => match reader.read_at(offset, len).await {
                Ok(bytes) => step = index.feed(&bytes),
                Err(_) => return (None, None),
            },
            Step::Done(found) => return (found, index.outline()),
        }
    }
}
