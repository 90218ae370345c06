//! Live streams: segments and playlists as they come, in any order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::artifact::Upload;
use crate::hls::{
    LiveList, UploadedError, is_chunk_name, is_list_name, live_master, playable_master,
};
use crate::job::runner::RunnerWork;
use crate::job::{Job, JobSpec};
use crate::store::{Collection, StoreError};

use super::error::VideoError;
use super::service::Videos;
use super::work::Working;

const LIVE: Collection = Collection("live_streams");

/// What is served of a live stream besides its segments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LiveStream {
    master: Option<String>,
    /// Playlists by their names, as they are served.
    lists: BTreeMap<String, String>,
    /// The newest ones that were told. Updates overtake each other, so they may name segments that are
    /// not here yet.
    #[serde(default)]
    told: BTreeMap<String, String>,
    /// Segments that came.
    #[serde(default)]
    there: BTreeSet<String>,
    /// Segments that may be deleted as soon as no playlist names them.
    removed: BTreeSet<String>,
}

impl LiveStream {
    /// Takes a playlist unless a newer one is here.
    fn hear(&mut self, name: &str, list: &LiveList) {
        let before = self.told.get(name).map(|text| LiveList::parse(text));
        if !matches!(before, Some(Ok(before)) if !list.follows(&before)) {
            self.told.insert(name.to_owned(), list.text());
        }
    }

    /// Serves of what was told all whose segments are here.
    fn move_on(&mut self) {
        for (name, told) in &self.told {
            let before = self.lists.get(name).map(|text| LiveList::parse(text));
            let before = before.and_then(Result::ok);
            let is_there =
                |chunk: &str| self.there.contains(chunk) || before.iter().any(|b| b.lists(chunk));
            let now = LiveList::parse(told).ok();
            let now = now.and_then(|now| now.up_to_missing(is_there));
            if let Some(now) = now
                && before.as_ref().is_none_or(|before| now.follows(before))
            {
                self.lists.insert(name.clone(), now.text());
            }
        }
    }

    /// The master playlist, once players find all that it names.
    fn playable(&self) -> Option<String> {
        let ended = |text: &String| LiveList::parse(text).is_ok_and(|list| list.ended);
        let is_there = |name: &str| self.lists.contains_key(name);
        playable_master(
            self.master.as_deref()?,
            is_there,
            self.lists.values().all(ended),
        )
    }

    /// Removed segments that no playlist names; they are no longer kept in mind.
    fn take_unlisted(&mut self) -> Vec<String> {
        let texts = self.lists.values().chain(self.told.values());
        let lists: Vec<LiveList> = texts.filter_map(|t| LiveList::parse(t).ok()).collect();
        let named = |chunk: &String| lists.iter().any(|l| l.lists(chunk));
        let gone: Vec<String> = self.removed.iter().filter(|c| !named(c)).cloned().collect();
        for chunk in &gone {
            self.removed.remove(chunk);
            self.there.remove(chunk);
        }
        gone
    }
}

/// What a runner says of a live stream. The segment itself has been stored before.
#[derive(Debug, Clone, Default)]
pub struct LiveUpdate {
    /// `add-chunk` or `remove-chunk`.
    pub kind: String,
    pub chunk: String,
    pub list_name: Option<String>,
    pub list: Option<String>,
    pub master: Option<String>,
}

const MOST_TRIES: usize = 64;

fn bad(text: &str) -> VideoError {
    VideoError::Bad(text.to_owned())
}

/// A playlist without segments says nothing yet.
fn understood<T>(field: &str, read: Result<T, UploadedError>) -> Result<Option<T>, VideoError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(UploadedError::Empty) => Ok(None),
        Err(error) => Err(VideoError::Bad(format!("{field}: {error}"))),
    }
}

impl Videos {
    /// Begins to store a segment.
    ///
    /// # Errors
    /// `Bad` for a name that no segment has.
    pub async fn live_chunk(&self, held: &Working, chunk: &str) -> Result<Upload, VideoError> {
        if !held.work.is_live() || !is_chunk_name(chunk) {
            return Err(bad("payload[videoChunkFilename]: is no name of a segment"));
        }
        let name = self.artifact_name(&held.video, chunk)?;
        Ok(self.artifacts.upload(&name).await?)
    }

    /// Takes what a runner says; playlists only move on, whatever the order in which they come.
    pub async fn live_update(&self, held: &Working, update: &LiveUpdate) -> Result<(), VideoError> {
        let RunnerWork::Live { renditions, .. } = &held.work else {
            return Err(bad("payload[type]: the job is no live stream"));
        };
        if !is_chunk_name(&update.chunk) {
            return Err(bad("payload[videoChunkFilename]: is no name of a segment"));
        }
        let removes = match update.kind.as_str() {
            "add-chunk" => false,
            "remove-chunk" => true,
            _ => return Err(bad("payload[type]: must be add-chunk or remove-chunk")),
        };
        let list = match (&update.list_name, &update.list) {
            (Some(name), Some(text)) if is_list_name(name) => {
                let field = "payload[resolutionPlaylistFile]";
                understood(field, LiveList::parse(text))?.map(|list| (name.clone(), list))
            }
            (Some(_), Some(_)) => {
                return Err(bad(
                    "payload[resolutionPlaylistFilename]: is no name of a playlist",
                ));
            }
            _ => None,
        };
        let fps = renditions.iter().map(|r| (r.resolution, r.fps)).collect();
        let master = match &update.master {
            Some(text) => understood("payload[masterPlaylistFile]", live_master(text, &fps))?,
            None => None,
        };
        self.update(held, None).await?;
        let mut gone = Vec::new();
        self.change_live(&held.video, |stream| {
            if let Some(master) = &master {
                stream.master = Some(master.clone());
            }
            if let Some((name, list)) = &list {
                stream.hear(name, list);
            }
            match removes {
                true => stream.removed.insert(update.chunk.clone()),
                false => stream.there.insert(update.chunk.clone()),
            };
            stream.move_on();
            gone = stream.take_unlisted();
        })
        .await?;
        for chunk in gone {
            let name = self.artifact_name(&held.video, &chunk)?;
            self.artifacts.delete(&name).await?;
        }
        Ok(())
    }

    /// Ends a live stream whose runner is through with it.
    pub async fn live_done(&self, held: &Working) -> Result<(), VideoError> {
        self.live_ended(held).await?;
        self.close_live(&held.video).await
    }

    pub(super) async fn close_if_live(&self, job: &Job) -> Result<(), VideoError> {
        match &job.spec {
            JobSpec::Runner(spec) if spec.work.is_live() => self.close_live(&spec.video).await,
            _ => Ok(()),
        }
    }

    async fn close_live(&self, video: &str) -> Result<(), VideoError> {
        if self.live_stream(video).await?.is_none() {
            return Ok(());
        }
        self.change_live(video, |stream| {
            for text in stream.lists.values_mut() {
                if let Ok(mut list) = LiveList::parse(text) {
                    list.ended = true;
                    *text = list.text();
                }
            }
        })
        .await
    }

    /// The text of a playlist of a live stream; `None`: there is none of this name.
    pub async fn live_playlist(&self, id: &str, name: &str) -> Result<Option<String>, VideoError> {
        let Some(mut stream) = self.live_stream(id).await? else {
            return Ok(None);
        };
        Ok(match name {
            "master.m3u8" => stream.playable(),
            name => stream.lists.remove(name),
        })
    }

    async fn live_stream(&self, id: &str) -> Result<Option<LiveStream>, VideoError> {
        let found = self.store().document::<LiveStream>(LIVE, id).await?;
        Ok(found.map(|d| d.value))
    }

    pub(super) async fn remove_live(&self, id: &str) -> Result<(), VideoError> {
        self.store().remove_document(LIVE, id).await?;
        Ok(())
    }

    async fn change_live(
        &self,
        id: &str,
        mut change: impl FnMut(&mut LiveStream),
    ) -> Result<(), VideoError> {
        let (store, now) = (self.store(), self.now());
        for _ in 0..MOST_TRIES {
            let written = match store.document::<LiveStream>(LIVE, id).await? {
                None => {
                    let mut stream = LiveStream::default();
                    change(&mut stream);
                    match store.insert_document(LIVE, id, &stream, now).await {
                        Err(StoreError::Exists) => false,
                        inserted => inserted.map(|()| true)?,
                    }
                }
                Some(before) => {
                    let mut stream = before.value.clone();
                    change(&mut stream);
                    stream == before.value
                        || store
                            .write_document(LIVE, id, before.version, &stream, now)
                            .await?
                }
            };
            if written {
                return Ok(());
            }
        }
        Err(VideoError::Contended)
    }
}
