//! Telling who asked (`callback_url`) that a video has ended.

use std::time::Duration;

use super::super::links::Links;
use super::super::state::AppState;
use super::wire::video_shape;

/// Pause after trouble with the store.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Tells until the gateway stops; what was not told is told by the next process.
pub async fn tell(app: AppState) {
    let mut ended = app.videos.ended();
    // What ended before.
    ended.mark_changed();
    loop {
        if ended.changed().await.is_err() {
            return;
        }
        if let Err(error) = tell_all(&app).await {
            tracing::warn!(%error, "the ends of videos cannot be told yet");
            tokio::time::sleep(AGAIN_AFTER).await;
            ended.mark_changed();
        }
    }
}

async fn tell_all(app: &AppState) -> Result<(), crate::videos::VideoError> {
    for (view, callback) in app.videos.ended_untold().await? {
        let links = Links {
            base: callback.base.clone(),
            token: app.video_links(&view.id, callback.base.clone()).token,
        };
        let body = serde_json::json!({"video": video_shape(&view, &links)});
        let host = callback.url.host_str().unwrap_or_default();
        match app.callbacks.deliver(&callback.url, &body).await {
            Ok(()) => tracing::info!(video = view.id, host, "callback delivered"),
            Err(why) => tracing::warn!(video = view.id, host, why, "callback given up"),
        }
        app.videos.told(&view.id).await?;
    }
    Ok(())
}
