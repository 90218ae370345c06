//! Runners, and what lets them register.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{UnixMillis, WorkerId};
use crate::store::{Collection, Store, StoreError};

use super::error::VideoError;
use super::service::Videos;
use super::token::{RegistrationSecret, digest, new_runner_token};

const RUNNERS: Collection = Collection("runners");
const REGISTRATIONS: Collection = Collection("runner_registrations");

/// A runner that registered; kept under the digest of its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    pub number: i64,
    pub name: String,
    pub description: Option<String>,
    pub version: Option<String>,
    pub ip: Option<String>,
    /// Number of the registration token that it came with; `None`: the one of the configuration.
    pub registration: Option<i64>,
    pub created_at: UnixMillis,
    pub last_contact: UnixMillis,
}

impl Runner {
    /// As whom it takes jobs.
    pub fn worker(&self) -> WorkerId {
        WorkerId::new(format!("runner-{}", self.number))
    }

    /// The number of the runner that takes jobs as `worker`.
    pub fn number_of(worker: &WorkerId) -> Option<i64> {
        worker.as_str().strip_prefix("runner-")?.parse().ok()
    }
}

/// What lets runners register; kept under its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationToken {
    pub number: i64,
    pub secret: String,
    pub created_at: UnixMillis,
}

/// Longest fields of a registration, characters.
const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 1000;
/// How exactly the last word of a runner is kept: each note is a write.
const CONTACT_STEP: Duration = Duration::from_secs(10);

impl RegistrationToken {
    /// Makes one in `store`, whether or not a gateway runs.
    pub async fn create(store: &Store, now: UnixMillis) -> Result<RegistrationToken, StoreError> {
        let mut token = RegistrationToken {
            number: now.as_millis(),
            secret: RegistrationSecret::random().0,
            created_at: now,
        };
        loop {
            let id = token.number.to_string();
            match store.insert_document(REGISTRATIONS, &id, &token, now).await {
                Err(StoreError::Exists) => token.number += 1,
                stored => return stored.map(|()| token),
            }
        }
    }
}

impl Videos {
    /// Takes a runner on; the answer is its number and its token, which is told only once.
    pub async fn register(
        &self,
        secret: &str,
        name: &str,
        description: Option<&str>,
        version: Option<&str>,
        ip: Option<String>,
    ) -> Result<(Runner, String), VideoError> {
        let registration = self.registration(secret).await?;
        let length = name.chars().count();
        if !(1..=MAX_NAME).contains(&length) {
            let text = format!("name: must have 1 to {MAX_NAME} characters");
            return Err(VideoError::Bad(text));
        }
        if description.is_some_and(|d| d.chars().count() > MAX_DESCRIPTION) {
            let text = format!("description: must have at most {MAX_DESCRIPTION} characters");
            return Err(VideoError::Bad(text));
        }
        let _one_at_a_time = self.registering.lock().await;
        let runners = self.runners().await?;
        if runners.iter().any(|r| r.name == name) {
            return Err(VideoError::NameTaken);
        }
        let now = self.dispatcher.now();
        let last = runners.iter().map(|r| r.number).max().unwrap_or(0);
        let runner = Runner {
            number: now.as_millis().max(last + 1),
            name: name.to_owned(),
            description: description.map(str::to_owned),
            version: version.map(str::to_owned),
            ip,
            registration,
            created_at: now,
            last_contact: now,
        };
        let token = new_runner_token();
        let store = self.store();
        store
            .insert_document(RUNNERS, &digest(&token), &runner, now)
            .await?;
        tracing::info!(runner = %runner.name, number = runner.number, "a runner registered");
        Ok((runner, token))
    }

    /// Number of the token `secret`; `None`: that of the configuration.
    async fn registration(&self, secret: &str) -> Result<Option<i64>, VideoError> {
        let fixed = self.settings.registration_token.as_deref();
        if fixed.is_some_and(|fixed| digest(fixed) == digest(secret)) {
            return Ok(None);
        }
        let tokens = self.registration_tokens().await?;
        let known = tokens.iter().find(|t| digest(&t.secret) == digest(secret));
        known
            .map(|t| Some(t.number))
            .ok_or(VideoError::UnknownRegistration)
    }

    /// The runner that has `token`. It is there: its last word is noted.
    ///
    /// # Errors
    /// `UnknownRunner`: said only when the store has answered; runners forget us for it.
    pub async fn runner(&self, token: &str) -> Result<Runner, VideoError> {
        let (id, store) = (digest(token), self.store());
        let found = store.document::<Runner>(RUNNERS, &id).await?;
        let found = found.ok_or(VideoError::UnknownRunner)?;
        let (now, mut runner) = (self.dispatcher.now(), found.value);
        if now.since(runner.last_contact) >= CONTACT_STEP {
            runner.last_contact = now;
            // Who is faster notes the same.
            store
                .write_document(RUNNERS, &id, found.version, &runner, now)
                .await?;
        }
        Ok(runner)
    }

    /// All runners, oldest first.
    pub async fn runners(&self) -> Result<Vec<Runner>, VideoError> {
        let all = self.store().documents::<Runner>(RUNNERS).await?;
        Ok(all.into_iter().map(|d| d.value).collect())
    }

    /// A runner leaves; what it has is offered again.
    pub async fn unregister(&self, token: &str) -> Result<(), VideoError> {
        let runner = self.runner(token).await?;
        self.store()
            .remove_document(RUNNERS, &digest(token))
            .await?;
        self.left(&runner).await
    }

    /// Forgets the runner with this number.
    pub async fn remove_runner(&self, number: i64) -> Result<(), VideoError> {
        let all = self.store().documents::<Runner>(RUNNERS).await?;
        let found = all.into_iter().find(|d| d.value.number == number);
        let found = found.ok_or(VideoError::NoSuchRunner)?;
        self.store().remove_document(RUNNERS, &found.id).await?;
        self.left(&found.value).await
    }

    async fn left(&self, runner: &Runner) -> Result<(), VideoError> {
        tracing::info!(runner = %runner.name, "a runner left");
        self.forget_runner(runner.number);
        self.dispatcher.take_back(&runner.worker()).await?;
        self.announce();
        Ok(())
    }

    pub async fn new_registration_token(&self) -> Result<RegistrationToken, VideoError> {
        let now = self.dispatcher.now();
        Ok(RegistrationToken::create(self.store(), now).await?)
    }

    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, VideoError> {
        let all = self.store().documents(REGISTRATIONS).await?;
        Ok(all.into_iter().map(|d| d.value).collect())
    }

    /// Takes a registration token back, and with it the runners that came with it.
    pub async fn remove_registration_token(&self, number: i64) -> Result<(), VideoError> {
        let store = self.store();
        if !store
            .remove_document(REGISTRATIONS, &number.to_string())
            .await?
        {
            return Err(VideoError::NoSuchToken);
        }
        for runner in self.runners().await? {
            if runner.registration == Some(number) {
                self.remove_runner(runner.number).await?;
            }
        }
        Ok(())
    }
}
