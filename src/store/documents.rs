//! What use cases keep besides jobs: one JSON text for each thing, with a version.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;

use crate::base::UnixMillis;

use super::error::StoreError;
use super::open::{Store, on_either};
use super::row::{from_json, to_json};

/// One stored thing. Rows outlive programs: fields that are added to `T` have defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T> {
    pub id: String,
    /// Number of changes since it was made: who writes a change has read this version.
    pub version: i64,
    pub value: T,
    pub created_at: UnixMillis,
    pub updated_at: UnixMillis,
}

/// Kind of things, and first half of their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection(pub &'static str);

const INSERT: &str = "INSERT INTO documents (collection, id, version, body_json, created_at, \
     updated_at) VALUES ($1, $2, 0, $3, $4, $4)";

const WRITE: &str = "UPDATE documents SET version = version + 1, body_json = $4, updated_at = $5 \
     WHERE collection = $1 AND id = $2 AND version = $3";

/// The columns of a document, whatever the database.
macro_rules! document {
    ($row:expr) => {
        Document {
            id: $row.try_get("id")?,
            version: $row.try_get("version")?,
            value: from_json(&$row.try_get::<String, _>("body_json")?)?,
            created_at: UnixMillis::new($row.try_get("created_at")?),
            updated_at: UnixMillis::new($row.try_get("updated_at")?),
        }
    };
}

impl Store {
    /// Stores something new, under version 0. When this returns, it survives the process.
    ///
    /// # Errors
    /// `Exists` when there is one with its id.
    pub async fn insert_document<T: Serialize>(
        &self,
        collection: Collection,
        id: &str,
        value: &T,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let body = to_json(value)?;
        on_either!(self, write, |pool| {
            sqlx::query(INSERT)
                .bind(collection.0)
                .bind(id)
                .bind(body)
                .bind(now.as_millis())
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    pub async fn document<T: DeserializeOwned>(
        &self,
        collection: Collection,
        id: &str,
    ) -> Result<Option<Document<T>>, StoreError> {
        on_either!(self, read, |pool| {
            let row = sqlx::query("SELECT * FROM documents WHERE collection = $1 AND id = $2")
                .bind(collection.0)
                .bind(id)
                .fetch_optional(pool)
                .await?;
            row.map(|row| Ok(document!(row))).transpose()
        })
    }

    /// All of `collection`, oldest first.
    pub async fn documents<T: DeserializeOwned>(
        &self,
        collection: Collection,
    ) -> Result<Vec<Document<T>>, StoreError> {
        on_either!(self, read, |pool| {
            let rows = sqlx::query("SELECT * FROM documents WHERE collection = $1 ORDER BY seq")
                .bind(collection.0)
                .fetch_all(pool)
                .await?;
            rows.iter().map(|row| Ok(document!(row))).collect()
        })
    }

    /// Replaces what was read as `version`, unless somebody was faster: then nothing is written, and
    /// the answer is `false`.
    pub async fn write_document<T: Serialize>(
        &self,
        collection: Collection,
        id: &str,
        version: i64,
        value: &T,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let body = to_json(value)?;
        let rows = on_either!(self, write, |pool| {
            let update = sqlx::query(WRITE)
                .bind(collection.0)
                .bind(id)
                .bind(version)
                .bind(body)
                .bind(now.as_millis());
            update.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }

    /// Deletes one. Whether it was there.
    pub async fn remove_document(
        &self,
        collection: Collection,
        id: &str,
    ) -> Result<bool, StoreError> {
        let rows = on_either!(self, write, |pool| {
            let delete = sqlx::query("DELETE FROM documents WHERE collection = $1 AND id = $2")
                .bind(collection.0)
                .bind(id);
            delete.execute(pool).await?.rows_affected()
        });
        Ok(rows == 1)
    }
}
