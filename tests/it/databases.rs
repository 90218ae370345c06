//! The databases that the store's tests run on: SQLite in a temporary folder, and PostgreSQL where
//! `GHOSTSTREAM_TEST_POSTGRES` names one on which databases may be made.

use ghoststream::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

/// An empty database, gone with [`Database::drop_it`].
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    /// The server and the name of a database made on it.
    made: Option<(PgConnectOptions, String)>,
}

impl Database {
    fn sqlite() -> Database {
        Database {
            url: "sqlite://test.db".into(),
            folder: tempfile::tempdir().unwrap(),
            made: None,
        }
    }

    async fn postgres() -> Option<Database> {
        let Ok(server) = std::env::var("GHOSTSTREAM_TEST_POSTGRES") else {
            eprintln!("left out: PostgreSQL (set GHOSTSTREAM_TEST_POSTGRES)");
            return None;
        };
        let options: PgConnectOptions = server.parse().unwrap();
        let name = format!("ghoststream_{}", uuid::Uuid::new_v4().simple());
        let mut connection = options.connect().await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection.execute(AssertSqlSafe(create)).await.unwrap();
        let (before, after) = server.split_once("://").unwrap();
        let (authority, rest) = after.split_once('/').unwrap();
        let query = rest.find('?').map_or("", |at| &rest[at..]);
        Some(Database {
            url: format!("{before}://{authority}/{name}{query}"),
            folder: tempfile::tempdir().unwrap(),
            made: Some((options, name)),
        })
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.url, self.folder.path()).await.unwrap()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.made {
            None => "SQLite",
            Some(_) => "PostgreSQL",
        }
    }

    async fn drop_it(self) {
        if let Some((options, name)) = self.made {
            let mut connection = options.connect().await.unwrap();
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(drop)).await.unwrap();
        }
    }
}

/// Runs `test` on every database there is.
pub(crate) async fn on_each(test: impl AsyncFn(&Database)) {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    for database in databases {
        eprintln!("on {}", database.name());
        test(&database).await;
        database.drop_it().await;
    }
}
