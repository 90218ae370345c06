//! Telling other gateways that there is work.

use sqlx::postgres::PgListener;

use super::error::StoreError;
use super::open::Store;

/// PostgreSQL's channel for it.
const CHANNEL: &str = "ghoststream_work";

/// Hears when another gateway on the same PostgreSQL has new work.
pub struct WorkListener(PgListener);

impl Store {
    /// Says that there is work. SQLite has no other gateways.
    pub async fn announce_work(&self) -> Result<(), StoreError> {
        if let Store::Postgres(s) = self {
            sqlx::query("SELECT pg_notify($1, '')")
                .bind(CHANNEL)
                .execute(&s.write)
                .await?;
        }
        Ok(())
    }

    /// `None`: this database has no such thing.
    pub async fn listen_for_work(&self) -> Result<Option<WorkListener>, StoreError> {
        let Store::Postgres(s) = self else {
            return Ok(None);
        };
        let mut listener = PgListener::connect_with(&s.read).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(WorkListener(listener)))
    }
}

impl WorkListener {
    /// Waits until there may be work: a notice, or a connection that broke, during which notices are
    /// lost. Cancel-safe.
    pub async fn heard(&mut self) -> Result<(), StoreError> {
        // `None` after a reconnection.
        self.0.try_recv().await?;
        Ok(())
    }
}
