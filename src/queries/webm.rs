//! `/webm`: a stream that is read while it is made.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::ffmpeg::ExitReport;

use super::error::QueryError;
use super::run::{CHUNK_BYTES, Run};
use super::source::Opened;

/// A run that has given its first bytes.
pub(super) struct Begun {
    run: Run,
    first: Bytes,
}

impl Begun {
    /// Waits for the first bytes of `run`.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn wait(mut run: Run, patience: Duration) -> Result<Begun, QueryError> {
        match next(&mut run, patience).await? {
            Next::Bytes(first) => Ok(Begun { run, first }),
            Next::End(exit) => Err(run.failure(&exit)),
        }
    }
}

/// A WebM stream that has begun. The encoder works only as fast as it is read, and ends when this or
/// the stream made of it is dropped.
pub struct WebmBody {
    begun: Begun,
    /// Holds the copy that is read.
    source: Opened,
    patience: Duration,
}

impl WebmBody {
    pub(super) fn new(begun: Begun, source: Opened, patience: Duration) -> WebmBody {
        WebmBody {
            begun,
            source,
            patience,
        }
    }

    /// The stream from its first byte on. An error means that what came before it is not the whole.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Arc<QueryError>>> + Send {
        let WebmBody {
            begun: Begun { mut run, first },
            source,
            patience,
        } = self;
        async_stream::stream! {
            let _source = source;
            yield Ok(first);
            loop {
                match next(&mut run, patience).await {
                    Ok(Next::Bytes(bytes)) => yield Ok(bytes),
                    Ok(Next::End(exit)) if exit.success() => return,
                    Ok(Next::End(exit)) => {
                        let reason = run.reason(&exit);
                        yield Err(Arc::new(QueryError::BrokeOff(reason)));
                        return;
                    }
                    Err(error) => {
                        yield Err(Arc::new(error));
                        return;
                    }
                }
            }
        }
    }
}

enum Next {
    Bytes(Bytes),
    End(ExitReport),
}

/// The next output. The time runs only while it is waited for, not while the client reads.
async fn next(run: &mut Run, patience: Duration) -> Result<Next, QueryError> {
    let process = run.process.as_mut().ok_or(QueryError::Stopping)?;
    let work = async {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        match process.stdout.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => Next::End(process.wait().await),
            Ok(_) => Next::Bytes(chunk.freeze()),
        }
    };
    let waited = timeout(patience, work).await;
    waited.map_err(|_| QueryError::TooSlow(patience.as_secs()))
}
