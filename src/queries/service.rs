//! All queries of a gateway: which of them run, which wait, and what was found out before.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::HeaderValue;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::media::SourceLocator;
use crate::media::query::{MetaQuery, PreviewQuery, StoryboardQuery, ThumbQuery, WebmQuery};
use crate::plan::Invocation;
use crate::plan::query::{
    SampledPlan, Storyboard, guess_webm, is_as_guessed, picture_runs, plan_preview, plan_sheet,
    plan_storyboard, plan_webm, watermark_plan,
};
use crate::scratch::ScratchFolder;
use crate::session::Opener;
use crate::source::Authorization;
use crate::telemetry::metrics::QueueLabels;

use super::cache::ResultCache;
use super::error::QueryError;
use super::run::{Permit, Run, encode_raw, result_of};
use super::source::{Found, Opened, copy, find, open, open_watermark};
use super::webm::{Begun, WebmBody};
use super::{meta, samples};

/// The section `queries` of the configuration.
#[derive(Debug, Clone)]
pub struct QuerySettings {
    /// Queries that run at one time.
    pub concurrency: usize,
    /// How long one waits while none gets its turn.
    pub queue_timeout: Duration,
    /// How long a source may give nothing: to the first bytes, and between bytes.
    pub timeout: Duration,
    pub cache_max_bytes: u64,
    /// Largest copy of a source that cannot be read where it lies.
    pub max_download_bytes: u64,
}

/// What queries are made with.
pub struct QueryParts {
    pub opener: Opener,
    /// For results and temporary files.
    pub folder: ScratchFolder,
    pub settings: QuerySettings,
}

/// A question about a source.
#[derive(Debug, Clone)]
pub enum Query {
    Thumb(ThumbQuery),
    Preview(PreviewQuery),
    Storyboard(StoryboardQuery),
    Meta(MetaQuery),
    Webm(WebmQuery),
}

/// What an answer is kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(parts: &[&[u8]]) -> Key {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Key(hash.finalize().into())
    }

    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

type Answer = Result<Bytes, Arc<QueryError>>;
type Flight = Shared<BoxFuture<'static, Answer>>;

/// The queries of a gateway.
pub struct Queries {
    opener: Opener,
    settings: QuerySettings,
    folder: ScratchFolder,
    cache: ResultCache,
    places: Arc<Semaphore>,
    /// Queries that got a place so far.
    begun: watch::Sender<u64>,
    /// Queries under way. They live as long as somebody waits for them.
    flights: Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Answer>>>>,
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queries").finish_non_exhaustive()
    }
}

/// A query whose source was found.
pub struct Prepared {
    queries: Arc<Queries>,
    /// With the source's credentials.
    opener: Opener,
    query: Query,
    source: Found,
    watermark: Option<Found>,
    key: Key,
    /// Whether the source tells its versions apart.
    is_versioned: bool,
}

impl Queries {
    pub fn new(parts: QueryParts) -> Arc<Queries> {
        let QueryParts {
            mut opener,
            folder,
            settings,
        } = parts;
        opener.is_sparing = true;
        opener.open_within = settings.timeout;
        Arc::new(Queries {
            cache: ResultCache::new(folder.path(), settings.cache_max_bytes),
            places: Arc::new(Semaphore::new(settings.concurrency)),
            begun: watch::Sender::new(0),
            flights: Mutex::default(),
            opener,
            settings,
            folder,
        })
    }

    /// What `ffmpeg -version` prints.
    pub fn ffmpeg_version_text(&self) -> &str {
        &self.opener.tools.version_text
    }

    /// The version alone.
    pub fn ffmpeg_version(&self) -> &str {
        &self.opener.tools.hardware.ffmpeg_version
    }

    /// Bytes of the results that are kept.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.used_bytes()
    }

    /// Places that nobody holds.
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Finds the source of a query, with one small read. `authorization` is a header for the source's
    /// own host. Cancel-safe.
    ///
    /// # Errors
    /// Why there is no such source.
    pub async fn prepare(
        self: &Arc<Self>,
        url: &str,
        authorization: Option<HeaderValue>,
        query: Query,
    ) -> Result<Prepared, Arc<QueryError>> {
        let limit = self.settings.timeout;
        let work = self.prepare_now(url, authorization, query);
        let prepared = timeout(limit, work).await;
        let prepared = prepared.unwrap_or(Err(QueryError::TooSlow(limit.as_secs())));
        prepared.map_err(Arc::new)
    }

    /// As [`Queries::prepare`], for a source that is known to be allowed: a file of the gateway's own.
    pub async fn prepare_known(
        self: &Arc<Self>,
        locator: SourceLocator,
        query: Query,
    ) -> Result<Prepared, Arc<QueryError>> {
        let opener = self.opener_of(&query);
        let found = super::source::found(&opener, locator).await;
        let source = found.map_err(|e| Arc::new(QueryError::source(e)))?;
        let name = source.version.clone();
        let name = name.unwrap_or_else(|| source.locator.identity());
        Ok(Prepared {
            queries: self.clone(),
            opener,
            key: Key::of(&[format!("{query:?}").as_bytes(), name.as_bytes()]),
            is_versioned: source.version.is_some(),
            query,
            source,
            watermark: None,
        })
    }

    /// For all runs of one query. They share what they read of the beginning, where the index of a film
    /// often is, but for a stream: what it read would be kept until its end.
    fn opener_of(&self, query: &Query) -> Opener {
        let is_stream = matches!(query, Query::Webm(_));
        Opener {
            beginning: (!is_stream).then(Arc::default),
            ..self.opener.clone()
        }
    }

    async fn prepare_now(
        self: &Arc<Self>,
        url: &str,
        authorization: Option<HeaderValue>,
        query: Query,
    ) -> Result<Prepared, QueryError> {
        let mut opener = self.opener_of(&query);
        let resolved = opener.policy.resolve(url).await;
        let locator = resolved.map_err(QueryError::source)?;
        if let Some(given) = authorization.and_then(|v| Authorization::new(&locator, v)) {
            opener = opener.authorized(given);
        }
        let found = super::source::found(&opener, locator).await;
        let source = found.map_err(QueryError::source)?;
        let watermark = match &query {
            Query::Thumb(ThumbQuery {
                watermark: Some(mark),
                ..
            }) => Some(
                find(&opener, &mark.url)
                    .await
                    .map_err(QueryError::watermark)?,
            ),
            _ => None,
        };
        let all = std::iter::once(&source).chain(&watermark);
        let is_versioned = all.clone().all(|f| f.version.is_some());
        // Without a version, it is at least the same place with the same credentials.
        let credentials = opener
            .authorization
            .as_ref()
            .map(Authorization::fingerprint);
        let name = |f: &Found| f.version.clone().unwrap_or_else(|| f.locator.identity());
        let names: Vec<String> = all.map(name).collect();
        let key = Key::of(&[
            env!("CARGO_PKG_VERSION").as_bytes(),
            format!("{query:?}").as_bytes(),
            format!("{names:?}{credentials:?}").as_bytes(),
        ]);
        Ok(Prepared {
            queries: self.clone(),
            opener,
            query,
            source,
            watermark,
            key,
            is_versioned,
        })
    }

    /// A place among the queries that run. Who waits gets nearer with each query that gets one, so
    /// patience ends only with a queue that stands still. Cancel-safe.
    async fn place(&self) -> Result<Permit, QueryError> {
        let since = Instant::now();
        let place = self.place_in_turn().await;
        let labels = QueueLabels { queue: "query" };
        let metrics = self.opener.launcher.metrics();
        let waits = metrics.queue_wait.get_or_create_owned(&labels);
        waits.observe(since.elapsed().as_secs_f64());
        place
    }

    async fn place_in_turn(&self) -> Result<Permit, QueryError> {
        let mut begun = self.begun.subscribe();
        let mut waiting = pin!(self.places.clone().acquire_owned());
        loop {
            tokio::select! {
                biased;
                permit = &mut waiting => {
                    let permit = permit.map_err(|_| QueryError::Stopping)?;
                    self.begun.send_modify(|n| *n += 1);
                    return Ok(Arc::new(permit));
                }
                Ok(()) = begun.changed() => {}
                () = sleep(self.settings.queue_timeout) => return Err(QueryError::Busy),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, WeakShared<BoxFuture<'static, Answer>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flight of `key` that is under way, or a new one.
    fn join(&self, key: Key, work: impl FnOnce() -> BoxFuture<'static, Answer>) -> Flight {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let flight = work().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

impl Prepared {
    /// An entity tag of the answer, without quotes; `None` when the source does not tell its versions
    /// apart.
    pub fn tag(&self) -> Option<String> {
        self.is_versioned.then(|| self.key.hex()[..32].to_owned())
    }

    /// The whole answer to a query that is no stream: kept from before, shared with whoever asks the
    /// same, or made. Cancel-safe; the work ends with the last of those who wait for it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn answer(self) -> Answer {
        let (queries, key) = (self.queries.clone(), self.key);
        if self.is_versioned
            && let Some(kept) = queries.cache.get(&key).await
        {
            return Ok(kept);
        }
        let flight = queries.join(key, || {
            async move { self.make().await.map_err(Arc::new) }.boxed()
        });
        flight.await
    }

    async fn make(self) -> Result<Bytes, QueryError> {
        let permit = self.queries.place().await?;
        // It may have been made while this one waited.
        if self.is_versioned
            && let Some(kept) = self.queries.cache.get(&self.key).await
        {
            return Ok(kept);
        }
        let made = Bytes::from(self.in_time(self.run(&permit)).await?);
        if self.is_versioned {
            self.queries.cache.put(self.key, made.clone()).await;
        }
        Ok(made)
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let limit = self.queries.settings.timeout;
        let done = timeout(limit, work).await;
        done.unwrap_or(Err(QueryError::TooSlow(limit.as_secs())))
    }

    fn folder(&self) -> &Path {
        self.queries.folder.path()
    }

    async fn open(&self, with_index: bool) -> Result<Opened, QueryError> {
        let limit = self.queries.settings.max_download_bytes;
        open(&self.opener, &self.source, self.folder(), limit, with_index).await
    }

    async fn run(&self, permit: &Permit) -> Result<Vec<u8>, QueryError> {
        match &self.query {
            Query::Thumb(query) => self.thumb(permit, query).await,
            Query::Preview(query) => self.preview(permit, query).await,
            Query::Storyboard(query) => self.sheet(permit, query).await,
            Query::Meta(query) => self.meta(query).await,
            Query::Webm(_) => Err(QueryError::Stopping),
        }
    }

    async fn thumb(&self, permit: &Permit, query: &ThumbQuery) -> Result<Vec<u8>, QueryError> {
        let source = self.open(false).await?;
        let (mark, overlay) = match (&query.watermark, &self.watermark) {
            (Some(mark), Some(found)) => {
                let open = open_watermark(&self.opener, &found.locator, self.folder()).await?;
                (Some(watermark_plan(mark)), Some(open))
            }
            _ => (None, None),
        };
        let plan = picture_runs(
            &source.facts.probe,
            query,
            mark,
            source.is_live(),
            &self.opener.tools.hardware,
            &self.opener.plan,
        )?;
        let mut failure = None;
        for invocation in &plan.attempts {
            let made = result_of(
                &self.opener,
                permit,
                &source.locator,
                overlay.as_ref().map(|o| &o.input),
                invocation,
                plan.output,
                self.folder(),
            );
            match made.await {
                Ok(picture) => return Ok(picture),
                // What there was to say was said at the first attempt.
                Err(error @ QueryError::Undecodable(_)) => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| QueryError::Undecodable("it holds no picture".into())))
    }

    async fn preview(&self, permit: &Permit, query: &PreviewQuery) -> Result<Vec<u8>, QueryError> {
        let source = self.open(true).await?;
        let (facts, opener) = (&source.facts, &self.opener);
        let (keyframes, hardware) = (facts.keyframes.as_ref(), &opener.tools.hardware);
        let plan = plan_preview(&facts.probe, keyframes, query, hardware, &opener.plan)?;
        self.sampled(permit, &source, &plan).await
    }

    async fn sheet(&self, permit: &Permit, query: &StoryboardQuery) -> Result<Vec<u8>, QueryError> {
        let source = self.open(true).await?;
        let (facts, opener) = (&source.facts, &self.opener);
        let (keyframes, hardware) = (facts.keyframes.as_ref(), &opener.tools.hardware);
        let sheet = query.sheet.unwrap_or(0);
        let plan = plan_sheet(
            &facts.probe,
            keyframes,
            query,
            sheet,
            hardware,
            &opener.plan,
        )?;
        self.sampled(permit, &source, &plan).await
    }

    async fn sampled(
        &self,
        permit: &Permit,
        source: &Opened,
        plan: &SampledPlan,
    ) -> Result<Vec<u8>, QueryError> {
        let (opener, folder) = (&self.opener, self.folder());
        let raw = samples::take(opener, permit, &source.locator, &plan.samples, folder).await?;
        encode_raw(opener, permit, &raw, &plan.encode, plan.output, folder).await
    }

    async fn meta(&self, query: &MetaQuery) -> Result<Vec<u8>, QueryError> {
        let limit = self.queries.settings.max_download_bytes;
        let copy = copy(&self.opener, &self.source, self.folder(), limit).await?;
        let locator = match &copy {
            Some(copy) => copy.locator(),
            None => self.source.locator.clone(),
        };
        let unreached = self.source.unreached.as_deref();
        let described = self.opener.describe(&locator, unreached).await;
        let (json, input) = described.map_err(QueryError::source)?;
        let answer = meta::answer(&json, &input, &self.source.locator, query.fields);
        let unreadable = || QueryError::Undecodable("ffprobe's answer cannot be read".into());
        answer.ok_or_else(unreadable)
    }

    /// The layout of the storyboard that is asked for. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn storyboard(&self, query: &StoryboardQuery) -> Result<Storyboard, Arc<QueryError>> {
        let work = async {
            let _place = self.queries.place().await?;
            let source = self.in_time(self.open(false)).await?;
            Ok(plan_storyboard(&source.facts.probe, query)?)
        };
        work.await.map_err(Arc::new)
    }

    /// Begins the stream that is asked for; `None` when only `is_wanted` it would be looked at whether
    /// it can be made. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn webm(
        &self,
        query: &WebmQuery,
        is_wanted: bool,
    ) -> Result<Option<WebmBody>, Arc<QueryError>> {
        let work = async {
            let permit = self.queries.place().await?;
            self.in_time(self.begin_webm(&permit, query, is_wanted))
                .await
        };
        work.await.map_err(Arc::new)
    }

    async fn begin_webm(
        &self,
        permit: &Permit,
        query: &WebmQuery,
        is_wanted: bool,
    ) -> Result<Option<WebmBody>, QueryError> {
        let opener = &self.opener;
        let (hardware, settings) = (&opener.tools.hardware, &opener.plan);
        let guess = self.guess(query).filter(|_| is_wanted);
        let opening = self.open(false);
        let guessing = async {
            match &guess {
                Some(guess) => self
                    .first_bytes(permit, &self.source.locator, guess)
                    .await
                    .ok(),
                None => None,
            }
        };
        tokio::pin!(opening, guessing);
        let (source, guessed) = tokio::select! {
            source = &mut opening => (source?, None),
            guessed = &mut guessing, if guess.is_some() => (opening.await?, Some(guessed)),
        };
        let probe = &source.facts.probe;
        let plan = plan_webm(probe, query, source.is_live(), hardware, settings)?;
        if !is_wanted {
            return Ok(None);
        }
        let guessed = match (guessed, guess.is_some() && is_as_guessed(probe)) {
            (None, true) => guessing.await,
            (Some(guessed), true) => guessed,
            (_, false) => None,
        };
        let begun = match guessed {
            Some(begun) => begun,
            None => self.first_bytes(permit, &source.locator, &plan).await?,
        };
        let patience = self.queries.settings.timeout;
        Ok(Some(WebmBody::new(begun, source, patience)))
    }

    /// What will most likely be planned for a source that is not known: its encoder starts while the
    /// source is looked at.
    fn guess(&self, query: &WebmQuery) -> Option<Invocation> {
        let found = &self.source;
        let plain = match &found.locator {
            SourceLocator::File(_) => true,
            SourceLocator::Http(_) => found.validators.accepts_ranges,
            SourceLocator::Live(_) => false,
        };
        let known = found
            .version
            .as_deref()
            .is_some_and(|v| self.opener.knows(v));
        if !plain || known {
            return None;
        }
        guess_webm(query, &self.opener.tools.hardware, &self.opener.plan)
    }

    async fn first_bytes(
        &self,
        permit: &Permit,
        locator: &SourceLocator,
        plan: &Invocation,
    ) -> Result<Begun, QueryError> {
        let mut plan = plan.clone();
        plan.output.push("pipe:1".into());
        let run = Run::start(&self.opener, permit, locator, None, &plan).await?;
        Begun::wait(run, self.queries.settings.timeout).await
    }
}
