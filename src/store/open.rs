//! Connecting, and bringing the tables up to date.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::error::StoreError;

/// The two databases there are. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// SQLite takes one writer at a time: it has its own connection, so that writers wait here and not in
/// the database, and readers never wait.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(super) write: SqlitePool,
    pub(super) read: SqlitePool,
}

#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(super) write: PgPool,
    pub(super) read: PgPool,
}

/// Runs the same statement on whichever database it is: `$pool` is its writer or its readers.
macro_rules! on_either {
    ($store:expr, $role:ident, |$pool:ident| $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite(s) => {
                let $pool = &s.$role;
                $body
            }
            $crate::store::Store::Postgres(s) => {
                let $pool = &s.$role;
                $body
            }
        }
    };
}
pub(super) use on_either;

/// How long a statement waits for a lock or a connection.
const PATIENCE: Duration = Duration::from_secs(10);
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 10;

/// Migrations, oldest first. Those that were ever released never change.
const SQLITE: &[(&str, &str)] = &[
    ("jobs", include_str!("sqlite/0001_jobs.sql")),
    ("documents", include_str!("sqlite/0002_documents.sql")),
    ("children", include_str!("sqlite/0003_children.sql")),
];
const POSTGRES: &[(&str, &str)] = &[
    ("jobs", include_str!("postgres/0001_jobs.sql")),
    ("documents", include_str!("postgres/0002_documents.sql")),
    ("children", include_str!("postgres/0003_children.sql")),
];

fn migrator(scripts: &'static [(&'static str, &'static str)]) -> Migrator {
    let migrations = scripts.iter().zip(1..).map(|((name, sql), version)| {
        let up = MigrationType::Simple;
        Migration::new(version, (*name).into(), up, (*sql).into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

impl Store {
    /// Opens the database that `url` names: `sqlite://FILE` or `postgres://...`. A relative file lies
    /// below `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a text that names what is wrong.
    pub async fn open(url: &str, directory: &Path) -> Result<Store, StoreError> {
        match url.split_once("://") {
            Some(("sqlite", file)) => Self::sqlite(&directory.join(file)).await,
            Some(("postgres" | "postgresql", _)) => Self::postgres(url).await,
            _ => Err(StoreError::Open(
                "it begins with neither sqlite:// nor postgres://".into(),
            )),
        }
    }

    async fn sqlite(file: &Path) -> Result<Store, StoreError> {
        let fail = |e: &dyn std::fmt::Display| {
            StoreError::Open(format!("the SQLite file {}: {e}", file.display()))
        };
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(|e| fail(&e))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered must be there after a power cut too.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(PATIENCE * 3)
        };
        let write = pool(1).connect_with(options.clone()).await;
        let write = write.map_err(|e| fail(&e))?;
        migrator(SQLITE).run(&write).await.map_err(|e| fail(&e))?;
        let read = pool(SQLITE_READERS).connect_lazy_with(options);
        Ok(Store::Sqlite(SqliteStore { write, read }))
    }

    async fn postgres(url: &str) -> Result<Store, StoreError> {
        // Its words may repeat the URL, which may hold a password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Open("it is no PostgreSQL URL".into()))?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(|e| StoreError::Open(format!("PostgreSQL does not take us: {e}")))?;
        migrator(POSTGRES)
            .run(&pool)
            .await
            .map_err(|e| StoreError::Open(format!("PostgreSQL's tables: {e}")))?;
        Ok(Store::Postgres(PostgresStore {
            write: pool.clone(),
            read: pool,
        }))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_either!(self, read, |pool| {
            sqlx::query("SELECT 1").execute(pool).await?;
        });
        Ok(())
    }

    /// Ends all connections; what was written stays.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(s) => {
                s.read.close().await;
                s.write.close().await;
            }
            Store::Postgres(s) => s.write.close().await,
        }
    }
}
