//! Who this gateway is: an id and a secret that outlive it.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::build::StartError;
use crate::config::Config;

const FILE: &str = "node_identity.json";
const SECRET_BYTES: usize = 32;

/// What `node_identity.json` holds, in the original's fields (contract section 9).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeIdentity {
    pub(super) node_id: String,
    /// Signs registrations and the addresses that are handed out.
    pub(super) secret: String,
    pub(super) created_at: String,
}

impl NodeIdentity {
    /// The identity that `config` tells the folder of.
    pub(super) fn of(config: &Config) -> Result<NodeIdentity, StartError> {
        let folder = config.security.state_directory.as_ref();
        Self::load_or_create(folder.unwrap_or(&config.storage.directory))
    }

    /// Reads the identity kept in `folder`, or makes one there that only its owner may read. Blocks
    /// on the disk: called once at start.
    fn load_or_create(folder: &Path) -> Result<NodeIdentity, StartError> {
        let fail = |source| StartError::Identity {
            path: folder.join(FILE).display().to_string(),
            source,
        };
        match std::fs::read(folder.join(FILE)) {
            Ok(text) => {
                let broken = |e: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, e);
                serde_json::from_slice(&text).map_err(|e| fail(broken(e)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(folder).map_err(fail),
            Err(error) => Err(fail(error)),
        }
    }
}

fn create(folder: &Path) -> io::Result<NodeIdentity> {
    let mut secret = [0; SECRET_BYTES];
    rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no randomness"))?;
    let identity = NodeIdentity {
        node_id: Uuid::new_v4().to_string(),
        secret: URL_SAFE_NO_PAD.encode(secret),
        created_at: jiff::Timestamp::now().to_string(),
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    // Whole or not at all, and never another's: of two that start at once, one wins.
    let part = folder.join(format!("{FILE}.{}", Uuid::new_v4()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    let written = serde_json::to_vec(&identity)
        .map_err(io::Error::other)
        .and_then(|text| file.write_all(&text))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&part, folder.join(FILE)));
    std::fs::remove_file(&part)?;
    match written {
        Ok(()) => Ok(identity),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = std::fs::read(folder.join(FILE))?;
            serde_json::from_slice(&text).map_err(io::Error::other)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let load = || NodeIdentity::load_or_create(&folder).ok().unwrap();
        let first = load();
        assert!(load() == first);
        assert_eq!(URL_SAFE_NO_PAD.decode(&first.secret).unwrap().len(), 32);
        let mode = std::fs::metadata(folder.join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert!(create(&folder).unwrap() == first, "the first one wins");
        std::fs::write(folder.join(FILE), "{").unwrap();
        let error = NodeIdentity::load_or_create(&folder).err().unwrap();
        assert!(error.to_string().contains("storage.directory"), "{error}");
    }
}
