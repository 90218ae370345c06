//! Who said that they work.

use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::base::{UnixMillis, WorkerId};
use crate::job::Worker;

use super::error::StoreError;
use super::open::{Store, on_either};
use super::row::{from_json, to_json};

const INSERT: &str = "INSERT INTO workers (key, id, version, abilities_json, said_json, last_contact) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key) DO NOTHING";

const UPDATE: &str = "UPDATE workers SET version = $2, abilities_json = $3, said_json = $4, \
     last_contact = $5 WHERE key = $1 AND version = $6";

/// Names longer than an index takes are kept under their digest, bytes.
const LONGEST_KEY: usize = 200;

fn key(id: &WorkerId) -> String {
    let name = id.as_str();
    if name.len() <= LONGEST_KEY && !name.starts_with("sha256:") {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{digits}")
}

fn worker(row: (String, i64, String, String, i64)) -> Result<Worker, StoreError> {
    let (id, version, abilities, said, last_contact) = row;
    Ok(Worker {
        id: WorkerId::new(id),
        version,
        abilities: from_json(&abilities)?,
        said: from_json(&said)?,
        last_contact: UnixMillis::new(last_contact),
    })
}

/// The columns of a worker, whatever the database.
macro_rules! columns {
    ($row:expr) => {
        (
            $row.try_get::<String, _>("id")?,
            $row.try_get::<i64, _>("version")?,
            $row.try_get::<String, _>("abilities_json")?,
            $row.try_get::<String, _>("said_json")?,
            $row.try_get::<i64, _>("last_contact")?,
        )
    };
}

impl Store {
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<Worker>, StoreError> {
        let row = on_either!(self, read, |pool| {
            let row = sqlx::query("SELECT * FROM workers WHERE key = $1")
                .bind(key(id))
                .fetch_optional(pool)
                .await?;
            match row {
                None => return Ok(None),
                Some(row) => columns!(row),
            }
        });
        worker(row).map(Some)
    }

    /// All workers, by name.
    pub async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let mut rows = Vec::new();
        on_either!(self, read, |pool| {
            for row in sqlx::query("SELECT * FROM workers").fetch_all(pool).await? {
                rows.push(columns!(row));
            }
        });
        let mut workers = rows
            .into_iter()
            .map(worker)
            .collect::<Result<Vec<_>, _>>()?;
        // By bytes, whatever the database's collation.
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(workers)
    }

    /// Stores `worker` under the next version, if nobody changed it since it was read (or made).
    pub async fn put_worker(&self, worker: &Worker) -> Result<bool, StoreError> {
        let abilities = to_json(&worker.abilities)?;
        let said = to_json(&worker.said)?;
        let contact = worker.last_contact.as_millis();
        let rows = on_either!(self, write, |pool| {
            let query = match worker.version {
                0 => sqlx::query(INSERT)
                    .bind(key(&worker.id))
                    .bind(worker.id.as_str())
                    .bind(1_i64)
                    .bind(abilities)
                    .bind(said)
                    .bind(contact),
                version => sqlx::query(UPDATE)
                    .bind(key(&worker.id))
                    .bind(version + 1)
                    .bind(abilities)
                    .bind(said)
                    .bind(contact)
                    .bind(version),
            };
            query.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }

    /// Whether there was such a worker.
    pub async fn remove_worker(&self, id: &WorkerId) -> Result<bool, StoreError> {
        let rows = on_either!(self, write, |pool| {
            let delete = sqlx::query("DELETE FROM workers WHERE key = $1").bind(key(id));
            delete.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }
}
