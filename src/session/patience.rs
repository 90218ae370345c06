//! How a source in trouble is asked again while somebody waits for its pictures.

use std::time::Duration;

use tokio::time::Instant;

use crate::job::Backoff;

use super::error::SessionError;

/// Pauses before further attempts; far shorter than those of batch jobs, since a player waits.
pub(super) const PAUSES: Backoff = Backoff::Exponential {
    first_ms: 500,
    max_ms: 4000,
};

/// How long after the first attempt another one may begin, and when all must have ended: who waits is to
/// hear what the trouble is within ten seconds.
const BEGIN_WITHIN: Duration = Duration::from_secs(6);
const END_WITHIN: Duration = Duration::from_millis(9500);

/// Does `work`, and does it again when it fails for a reason that may pass: at most `retries` times, with
/// growing pauses. `of` is what is waited for, so that not everybody comes back at once. Cancel-safe if
/// `work` is.
pub(super) async fn patiently<T, F>(
    retries: u32,
    of: &str,
    mut work: impl FnMut() -> F,
) -> Result<T, SessionError>
where
    F: Future<Output = Result<T, SessionError>>,
{
    let began = Instant::now();
    let mut failures = 0;
    let mut last = None;
    loop {
        let attempt = work();
        let answer = match last {
            None => attempt.await,
            // What went wrong before says more than that the time is over.
            Some(error) => match tokio::time::timeout_at(began + END_WITHIN, attempt).await {
                Ok(answer) => answer,
                Err(_) => return Err(error),
            },
        };
        let error = match answer {
            Err(error) if error.may_pass() => error,
            answer => return answer,
        };
        failures += 1;
        if failures > retries || began.elapsed() >= BEGIN_WITHIN {
            return Err(error);
        }
        tracing::info!(%error, attempt = failures + 1, "the source is asked again");
        last = Some(error);
        tokio::time::sleep(PAUSES.wait(failures, of)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    /// How often work that always fails, each time after `lasting`, is done, and how long all of it takes.
    async fn spent(
        retries: u32,
        lasting: Duration,
        error: fn() -> SessionError,
    ) -> (u32, Duration) {
        let (began, mut times) = (Instant::now(), 0);
        let failing = || {
            times += 1;
            async move {
                tokio::time::sleep(lasting).await;
                Err::<(), _>(error())
            }
        };
        assert!(patiently(retries, "job", failing).await.is_err());
        (times, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_waited_out_with_growing_pauses() {
        let trouble = || SourceError::Unreachable("host 'h' refuses the connection".into()).into();
        let (times, whole) = spent(3, Duration::ZERO, trouble).await;
        assert_eq!(times, 4);
        // Half a second, one and two, each up to a tenth less.
        let (least, most) = (Duration::from_millis(3150), Duration::from_millis(3510));
        assert!((least..most).contains(&whole), "{whole:?}");
        assert_eq!(spent(0, Duration::ZERO, trouble).await.0, 1);
        // Whoever waits for a server that says nothing is told so in time.
        let silence = || SourceError::Timeout.into();
        assert_eq!(spent(3, Duration::from_secs(9), silence).await.0, 1);
        let (times, whole) = spent(3, Duration::from_secs(5), silence).await;
        assert!(times == 2 && whole == END_WITHIN, "{times} in {whole:?}");
        let answer = || SourceError::NotFound(404).into();
        assert_eq!(spent(3, Duration::ZERO, answer).await.0, 1);
    }
}
