//! Whether a file that was made is whole, as far as a look at it tells.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::plan::BatchFile;

/// Length of a packet of a transport stream, and the byte that each begins with (ISO 13818-1).
const TS_PACKET_BYTES: u64 = 188;
const TS_SYNC: u8 = 0x47;

/// Bytes of all files in `folder`; 0 when it cannot be read.
pub(super) async fn size_of(folder: &Path) -> u64 {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return 0;
    };
    let mut bytes = 0;
    while let Ok(Some(entry)) = entries.next_entry().await {
        bytes += entry.metadata().await.map_or(0, |m| m.len());
    }
    bytes
}

/// Whether a file in `folder` was written to in the last `span`.
pub(super) async fn written_within(folder: &Path, span: Duration) -> bool {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return false;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let written = entry.metadata().await.and_then(|m| m.modified());
        // No age: it was written a moment ago, by a clock that was set back since.
        if written.is_ok_and(|at| at.elapsed().unwrap_or_default() < span) {
            return true;
        }
    }
    false
}

/// Looks at `file` in `folder`, and at the segments that it names when it is a playlist.
///
/// # Errors
/// What is wrong, without paths.
pub(super) async fn look_over(folder: &Path, file: BatchFile) -> Result<(), String> {
    if !file.name.ends_with(".m3u8") {
        let bytes = tokio::fs::metadata(folder.join(file.name)).await;
        return match bytes.map_or(0, |m| m.len()) {
            0 => Err(format!("it ended well, but {} is empty", file.name)),
            _ => Ok(()),
        };
    }
    let list = tokio::fs::read_to_string(folder.join(file.name)).await;
    let list = list.map_err(|_| "it ended well, but made no playlist".to_owned())?;
    if !list.trim_end().ends_with("#EXT-X-ENDLIST") {
        return Err("its playlist has no end".into());
    }
    let mut segments = 0;
    for line in list
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let name = line.rsplit('/').next().unwrap_or(line);
        let whole = is_whole(&folder.join(name)).await;
        if !whole.map_err(|_| format!("segment {name} is not there"))? {
            return Err(format!("segment {name} is damaged"));
        }
        segments += 1;
    }
    match segments {
        0 => Err("its playlist names no segment".into()),
        _ => Ok(()),
    }
}

/// Whether a segment consists of whole packets, or of boxes that reach to its end.
async fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    if path.extension().is_some_and(|e| e == "ts") {
        let mut at = 0;
        // The first packet and the last one.
        for packet in [0, (length / TS_PACKET_BYTES).saturating_sub(1)] {
            file.seek(io::SeekFrom::Start(packet * TS_PACKET_BYTES))
                .await?;
            at += u32::from(length > 0 && file.read_u8().await? == TS_SYNC);
        }
        return Ok(at == 2 && length.is_multiple_of(TS_PACKET_BYTES));
    }
    let mut at = 0;
    while at + 8 <= length {
        file.seek(io::SeekFrom::Start(at)).await?;
        // ffmpeg's segments have no boxes of 4 GiB, nor any that reaches to an end it does not know.
        let bytes = u64::from(file.read_u32().await?);
        if bytes < 8 {
            return Ok(false);
        }
        at += bytes;
    }
    Ok(length > 0 && at == length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::OutputFormat;
    use crate::plan::batch_file;

    async fn looked(format: OutputFormat, files: &[(&str, &[u8])]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        look_over(folder.path(), batch_file(format)).await
    }

    #[tokio::test]
    async fn what_is_not_whole_is_named() {
        let list: &[u8] = b"#EXTM3U\n#EXTINF:4,\n1/segment_00000.ts\n#EXTINF:4,\n1/segment_00001.ts\n#EXT-X-ENDLIST\n";
        let packet = [&[0x47][..], &[0; 187]].concat();
        let two = packet.repeat(2);
        let hls = async |first: &[u8], second: &[u8]| {
            let files = [
                ("output.m3u8", list),
                ("segment_00000.ts", first),
                ("segment_00001.ts", second),
            ];
            looked(OutputFormat::Hls, &files).await
        };
        assert_eq!(hls(&two, &packet).await, Ok(()));
        let damaged = Err("segment segment_00001.ts is damaged".to_owned());
        assert_eq!(hls(&two, &two[..300]).await, damaged);
        assert_eq!(hls(&two, b"").await, damaged);
        assert_eq!(hls(&two, &[0; 376]).await, damaged);
        let gone = looked(OutputFormat::Hls, &[("output.m3u8", list)]).await;
        assert_eq!(gone.unwrap_err(), "segment segment_00000.ts is not there");
        let open = looked(OutputFormat::Hls, &[("output.m3u8", b"#EXTM3U\n")]).await;
        assert_eq!(open.unwrap_err(), "its playlist has no end");
        let boxed: &[u8] = b"\0\0\0\x0cmoofdata\0\0\0\x08mdat";
        let list: &[u8] = b"#EXTM3U\n#EXTINF:4,\nsegment_00000.m4s\n#EXT-X-ENDLIST\n";
        let fmp4 = async |segment: &[u8]| {
            let files = [("output.m3u8", list), ("segment_00000.m4s", segment)];
            looked(OutputFormat::Hls, &files).await
        };
        assert_eq!(fmp4(boxed).await, Ok(()));
        assert!(fmp4(&boxed[..18]).await.is_err());
        assert_eq!(
            looked(OutputFormat::Mp4, &[("output.mp4", b"x")]).await,
            Ok(())
        );
        assert!(
            looked(OutputFormat::Mp4, &[("output.mp4", b"")])
                .await
                .is_err()
        );
    }
}
