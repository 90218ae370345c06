//! Taking the pictures of an overview or a sheet, one after the other into one file.

use std::path::Path;

use futures_util::{FutureExt, StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::media::SourceLocator;
use crate::plan::Invocation;
use crate::plan::query::SampleRun;
use crate::session::Opener;

use super::error::QueryError;
use super::run::{Permit, TemporaryFile, copy_output};

/// Processes of one query that take pictures at one time.
const AT_ONCE: usize = 2;

/// Takes all pictures of `samples`. One that cannot be taken is the one before it again. Cancel-safe.
///
/// # Errors
/// When there is none at all: why not.
pub(super) async fn take(
    opener: &Opener,
    permit: &Permit,
    source: &SourceLocator,
    samples: &SampleRun,
    folder: &Path,
) -> Result<TemporaryFile, QueryError> {
    let raw = TemporaryFile::new(folder);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let file = options.open(&raw.path).await;
    let mut file = file.map_err(|e| QueryError::disk(&e))?;
    let bytes = samples.picture_bytes();
    if let [attempts] = samples.runs.as_slice()
        && samples.count > 1
    {
        pass(opener, permit, source, attempts, samples, &mut file).await?;
    } else {
        // Boxed one by one: the compiler does not see that futures of a closure are `Send`.
        let mut all = Vec::new();
        for attempts in &samples.runs {
            all.push(take_one(opener, permit, source, attempts, bytes).boxed());
        }
        let mut pictures = stream::iter(all).buffered(AT_ONCE);
        let (mut missing, mut last, mut failure) = (0, None, None);
        while let Some(taken) = pictures.next().await {
            match taken {
                Ok(picture) => last = Some(picture),
                Err(error @ (QueryError::Undecodable(_) | QueryError::Source { .. })) => {
                    failure = Some(error);
                }
                Err(error) => return Err(error),
            }
            missing += 1;
            if let Some(picture) = &last {
                // Those before the first one that could be taken are it.
                for _ in 0..missing {
                    write(&mut file, picture).await?;
                }
                missing = 0;
            }
        }
        if last.is_none() {
            let none = || QueryError::Undecodable("it holds no picture".into());
            return Err(failure.unwrap_or_else(none));
        }
    }
    file.flush().await.map_err(|e| QueryError::disk(&e))?;
    Ok(raw)
}

/// One run takes them all; what is missing at its end is the last one again.
async fn pass(
    opener: &Opener,
    permit: &Permit,
    source: &SourceLocator,
    attempts: &[Invocation],
    samples: &SampleRun,
    file: &mut File,
) -> Result<(), QueryError> {
    let bytes = samples.picture_bytes() as u64;
    let limit = bytes * u64::from(samples.count);
    let Some(invocation) = attempts.first() else {
        return Ok(());
    };
    let copied = copy_output(opener, permit, source, None, invocation, file, limit).await?;
    let have = copied / bytes;
    if have == 0 {
        return Err(QueryError::Undecodable("it holds no picture".into()));
    }
    let (have, all) = (have * bytes, limit);
    // ffmpeg may have broken off in the middle of a picture.
    file.set_len(have).await.map_err(|e| QueryError::disk(&e))?;
    if have < all {
        let picture = read_last(file, have, bytes).await;
        let picture = picture.map_err(|e| QueryError::disk(&e))?;
        for _ in 0..(all - have) / bytes {
            write(file, &picture).await?;
        }
    }
    Ok(())
}

/// The last `bytes` before `end`; the file is then at `end`.
async fn read_last(file: &mut File, end: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
    use std::io::SeekFrom;
    use tokio::io::{AsyncReadExt, AsyncSeekExt};

    let mut picture = vec![0; usize::try_from(bytes).unwrap_or_default()];
    file.seek(SeekFrom::Start(end - bytes)).await?;
    file.read_exact(&mut picture).await?;
    Ok(picture)
}

async fn take_one(
    opener: &Opener,
    permit: &Permit,
    source: &SourceLocator,
    attempts: &[Invocation],
    bytes: usize,
) -> Result<Vec<u8>, QueryError> {
    let mut failure = QueryError::Undecodable("it holds no picture".into());
    for invocation in attempts {
        let mut picture = Vec::with_capacity(bytes);
        let limit = bytes as u64;
        let copied = copy_output(
            opener,
            permit,
            source,
            None,
            invocation,
            &mut picture,
            limit,
        );
        match copied.await {
            Ok(_) if picture.len() == bytes => return Ok(picture),
            Ok(_) => {}
            Err(error @ QueryError::Undecodable(_)) => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

async fn write(file: &mut File, picture: &[u8]) -> Result<(), QueryError> {
    let written = file.write_all(picture).await;
    written.map_err(|e| QueryError::disk(&e))
}
