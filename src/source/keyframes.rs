//! Reading a source's keyframe index.

use super::reader::RangeReader;
use crate::media::KeyframeIndex;
use crate::media::index::{ContainerHint, IndexReader, Step};

/// The keyframes of the video stream `v:nth_video` from the container's own index: at most ten
/// reads of at most 64 MiB. `None` when there is no index that can be trusted, or it cannot be
/// read; then only ffprobe tells. Cancel-safe.
pub async fn read_keyframe_index(
    reader: &RangeReader,
    container: ContainerHint,
    nth_video: usize,
) -> Option<KeyframeIndex> {
    let mut index = IndexReader::new(container, nth_video);
    let mut step = index.start();
    loop {
        match step {
            Step::Need { offset, len } => {
                step = index.feed(&reader.read_at(offset, len).await.ok()?);
            }
            Step::Done(found) => return found,
        }
    }
}
