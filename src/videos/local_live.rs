//! A live stream that no runner takes: ffmpeg writes it into a folder, from where it goes the way of a
//! runner's segments and playlists.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::hls::LiveList;
use crate::job::runner::Rendition;
use crate::media::SourceLocator;
use crate::plan::runner::live;
use crate::session::SessionError;

use super::error::VideoError;
use super::live::LiveUpdate;
use super::local::Bench;
use super::work::Working;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn trouble(error: &VideoError) -> SessionError {
    SessionError::Encoder(error.to_string())
}

impl Bench<'_> {
    pub(super) async fn live(
        &self,
        held: &Working,
        source: &SourceLocator,
        renditions: &[Rendition],
    ) -> Result<(), SessionError> {
        let opener = &self.videos.opener;
        let facts = opener.facts_without_index(source).await?;
        let sound = facts.probe.main_audio().is_some();
        let facts = super::intake::facts_of(&facts.probe);
        let mut wanted: Vec<Rendition> = renditions.to_vec();
        wanted.retain(|r| r.resolution <= facts.side());
        if wanted.is_empty() {
            wanted.extend(renditions.iter().min_by_key(|r| r.resolution));
        }
        let folder = self.folder.to_string_lossy();
        let run = live(&wanted, sound, self.preset(), &folder);
        let (input, gate) = opener.input(source)?;
        let process = self.start(&input, None, &run).await?;
        let mut sent = BTreeSet::new();
        loop {
            let ended = tokio::select! {
                () = self.stop.cancelled() => {
                    process.stop();
                    process.wait().await;
                    self.clear().await;
                    return Err(SessionError::Cancelled);
                }
                _ = process.wait() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            self.send(held, wanted.len(), &mut sent)
                .await
                .map_err(|e| trouble(&e))?;
            if ended {
                break;
            }
        }
        let ended = self.ended(process, &input, gate.as_ref()).await;
        self.clear().await;
        ended
    }

    /// Sends what is new.
    async fn send(
        &self,
        held: &Working,
        variants: usize,
        sent: &mut BTreeSet<String>,
    ) -> Result<(), VideoError> {
        let read = async |name: &str| tokio::fs::read(self.folder.join(name)).await;
        let master = read("master.m3u8").await.ok();
        let master = master.and_then(|m| String::from_utf8(m).ok());
        for variant in 0..variants {
            let name = format!("{variant}.m3u8");
            let text = read(&name).await.ok();
            let Some(text) = text.and_then(|t| String::from_utf8(t).ok()) else {
                continue;
            };
            let Ok(list) = LiveList::parse(&text) else {
                continue;
            };
            for (_, chunk) in &list.segments {
                if sent.contains(chunk) {
                    continue;
                }
                let bytes = read(chunk).await.map_err(VideoError::disk)?;
                let mut upload = self.videos.live_chunk(held, chunk).await?;
                upload.write(Bytes::from(bytes)).await?;
                upload.finish().await?;
                sent.insert(chunk.clone());
                let mut open = list.clone();
                open.ended = false;
                let update = LiveUpdate {
                    kind: "add-chunk".into(),
                    chunk: chunk.clone(),
                    list_name: Some(name.clone()),
                    list: Some(open.text()),
                    master: master.clone(),
                };
                self.videos.live_update(held, &update).await?;
            }
        }
        Ok(())
    }
}
