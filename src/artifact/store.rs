//! Where artifacts lie, writing and reading them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use sha2::{Digest, Sha256};
use url::Url;

use crate::base::{QueueId, UnixMillis};

use super::error::ArtifactError;
use super::name::ArtifactName;

/// Keeps artifacts. Cheap to clone.
#[derive(Clone)]
pub struct ArtifactStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Largest artifact, bytes.
    max_bytes: u64,
}

/// What is known of an artifact without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFacts {
    pub size_bytes: u64,
    /// Changes with the content; as in the header, with quotes.
    pub etag: Option<String>,
}

/// One of all artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: ArtifactName,
    /// When it was written.
    pub changed: UnixMillis,
}

/// An artifact, or a part of one, that is being read.
pub struct Artifact {
    pub facts: ArtifactFacts,
    pub bytes: BoxStream<'static, Result<Bytes, ArtifactError>>,
}

/// An artifact that is whole and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    pub size_bytes: u64,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

/// Parts under way to the storage at one time.
const PARTS_UNDER_WAY: usize = 4;
/// S3 takes no smaller ones but the last.
const SMALLEST_PART_BYTES: u64 = 5 << 20;
/// S3 takes 10,000.
const MOST_PARTS: u64 = 9_000;
/// How long S3 may be silent before it counts as gone, as the client of `object_store` reads times. Its
/// limit on a whole request is lifted instead: a client that plays what it fetches takes hours.
const S3_SILENCE: &str = "60 seconds";
const S3_WHOLE_REQUEST: &str = "7 days";
/// How long a request to S3 that fails is tried again: somebody waits for the answer.
const S3_TRY_AGAIN: Duration = Duration::from_secs(20);

impl ArtifactStore {
    /// `url`: `file:///FOLDER` (made if it is missing) or `s3://BUCKET/PREFIX`, whose endpoint and
    /// credentials are those of the usual `AWS_*` variables. An endpoint without TLS is taken as it is
    /// written.
    ///
    /// # Errors
    /// [`ArtifactError::Open`] with a text that names what is wrong.
    pub fn open(url: &Url, max_bytes: u64) -> Result<ArtifactStore, ArtifactError> {
        let fail = |e: &dyn std::fmt::Display| ArtifactError::Open(e.to_string());
        let (objects, prefix): (Arc<dyn ObjectStore>, Path) = match url.scheme() {
            "file" => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| fail(&"it names no local folder"))?;
                std::fs::create_dir_all(&folder)
                    .map_err(|e| fail(&format_args!("{}: {e}", folder.display())))?;
                let files = LocalFileSystem::new_with_prefix(&folder).map_err(|e| fail(&e))?;
                // What was answered must be there after a power cut too.
                let files = files.with_fsync(true).with_automatic_cleanup(true);
                (Arc::new(files), Path::default())
            }
            "s3" => {
                let bucket = s3(url).build();
                let prefix = Path::from_url_path(url.path()).map_err(|e| fail(&e))?;
                (Arc::new(bucket.map_err(|e| fail(&e))?), prefix)
            }
            _ => return Err(fail(&"it begins with neither file:// nor s3://")),
        };
        Ok(ArtifactStore {
            objects,
            prefix,
            max_bytes,
        })
    }

    /// Looks whether the storage takes us. One that does not answer may do so later, and is not judged.
    ///
    /// # Errors
    /// [`ArtifactError::Open`]: there is no such bucket, or it is not for us.
    pub async fn check(&self) -> Result<(), ArtifactError> {
        let found = self.objects.list(Some(&self.prefix)).try_next().await;
        match found.map_err(ArtifactError::from) {
            Err(error @ ArtifactError::Denied(_)) => Err(ArtifactError::Open(error.to_string())),
            Err(ArtifactError::NotFound) => {
                Err(ArtifactError::Open("there is no such bucket".into()))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Begins to write an artifact. Until [`Upload::finish`], readers see what was there before.
    pub async fn upload(&self, name: &ArtifactName) -> Result<Upload, ArtifactError> {
        let parts = self
            .objects
            .put_multipart(&name.below(&self.prefix))
            .await?;
        Ok(Upload {
            parts: Some(WriteMultipart::new_with_chunk_size(
                parts,
                part_bytes(self.max_bytes),
            )),
            digest: Sha256::new(),
            size_bytes: 0,
            max_bytes: self.max_bytes,
        })
    }

    /// # Errors
    /// `NotFound`.
    pub async fn facts(&self, name: &ArtifactName) -> Result<ArtifactFacts, ArtifactError> {
        let meta = self.objects.head(&name.below(&self.prefix)).await?;
        Ok(facts(&meta))
    }

    /// Reads an artifact, or the bytes `range` of it, which must lie within.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn read(
        &self,
        name: &ArtifactName,
        range: Option<Range<u64>>,
    ) -> Result<Artifact, ArtifactError> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let path = name.below(&self.prefix);
        let found = self.objects.get_opts(&path, options).await?;
        Ok(Artifact {
            facts: facts(&found.meta),
            bytes: found.into_stream().map_err(ArtifactError::from).boxed(),
        })
    }

    /// All artifacts, in no order.
    pub async fn list(&self) -> Result<Vec<Listed>, ArtifactError> {
        let mut all = self.objects.list(Some(&self.prefix));
        let mut listed = Vec::new();
        while let Some(meta) = all.try_next().await? {
            let parts = meta.location.prefix_match(&self.prefix);
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            // What others laid there is not ours.
            if let [job, file] = &parts[..]
                && let Ok(name) = format!("{}/{}", job.as_ref(), file.as_ref()).parse()
            {
                let changed = UnixMillis::new(meta.last_modified.timestamp_millis());
                listed.push(Listed { name, changed });
            }
        }
        Ok(listed)
    }

    /// Deletes all artifacts of `job`.
    pub async fn delete_all(&self, job: &QueueId) -> Result<(), ArtifactError> {
        let folder = self.prefix.clone().join(job.as_str());
        let all = self
            .objects
            .list(Some(&folder))
            .map_ok(|meta| meta.location);
        let mut deleted = self.objects.delete_stream(all.boxed());
        while let Some(one) = deleted.next().await {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Deletes an artifact; one that is not there is no error.
    pub async fn delete(&self, name: &ArtifactName) -> Result<(), ArtifactError> {
        match self.objects.delete(&name.below(&self.prefix)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn s3(url: &Url) -> AmazonS3Builder {
    let client = AmazonS3ConfigKey::Client;
    AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_allow_http(true)
        .with_config(client(ClientConfigKey::Timeout), S3_WHOLE_REQUEST)
        .with_config(client(ClientConfigKey::ReadTimeout), S3_SILENCE)
        .with_retry(RetryConfig {
            retry_timeout: S3_TRY_AGAIN,
            ..RetryConfig::default()
        })
}

/// Size of a part such that a file of `max_bytes` has no more parts than S3 takes.
fn part_bytes(max_bytes: u64) -> usize {
    let bytes = max_bytes.div_ceil(MOST_PARTS).max(SMALLEST_PART_BYTES);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn facts(meta: &object_store::ObjectMeta) -> ArtifactFacts {
    let quoted = |tag: &String| match tag.starts_with('"') {
        true => tag.clone(),
        false => format!("\"{tag}\""),
    };
    ArtifactFacts {
        size_bytes: meta.size,
        etag: meta.e_tag.as_ref().map(quoted),
    }
}

/// An artifact that is being written. Dropped before its end, it leaves nothing behind.
pub struct Upload {
    /// Gone at its end.
    parts: Option<WriteMultipart>,
    digest: Sha256,
    size_bytes: u64,
    max_bytes: u64,
}

impl Upload {
    /// Adds bytes; waits while the storage is slower than the sender.
    ///
    /// # Errors
    /// `TooLarge`, `Unavailable`: the upload cannot be finished any more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactError> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > self.max_bytes {
            return Err(ArtifactError::TooLarge(self.max_bytes));
        }
        self.digest.update(&bytes);
        if let Some(parts) = &mut self.parts {
            parts.put(bytes);
            parts.wait_for_capacity(PARTS_UNDER_WAY).await?;
        }
        Ok(())
    }

    /// Puts the artifact in its place, whole.
    pub async fn finish(mut self) -> Result<Uploaded, ArtifactError> {
        if self.size_bytes == 0 {
            self.abort().await?;
            return Err(ArtifactError::Empty);
        }
        if let Some(parts) = self.parts.take() {
            parts.finish().await?;
        }
        let digest = std::mem::take(&mut self.digest).finalize();
        Ok(Uploaded {
            size_bytes: self.size_bytes,
            sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    pub async fn abort(mut self) -> Result<(), ArtifactError> {
        match self.parts.take() {
            Some(parts) => Ok(parts.abort().await?),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    /// Who sent it has left. Parts that lie on S3 already are paid for until they are deleted; that is
    /// done on its own, as nobody is left who could wait for it.
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(%error, "parts of a broken-off upload stay in the storage of results");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &std::path::Path, max_bytes: u64) -> ArtifactStore {
        let url = Url::from_directory_path(folder).unwrap();
        ArtifactStore::open(&url, max_bytes).unwrap()
    }

    fn name(text: &str) -> ArtifactName {
        text.parse().unwrap()
    }

    async fn whole(artifact: Artifact) -> Vec<u8> {
        let parts: Vec<Bytes> = artifact.bytes.try_collect().await.unwrap();
        parts.concat()
    }

    /// All files below a folder.
    fn files(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path());
        entries
            .map(|p| if p.is_dir() { files(&p) } else { 1 })
            .sum()
    }

    #[tokio::test]
    async fn what_is_written_is_read_whole_and_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let (store, name) = (store(folder.path(), 1 << 30), name("1_0/out.mp4"));
        let bytes: Vec<u8> = (0..12_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut upload = store.upload(&name).await.unwrap();
        for part in bytes.chunks(70_001) {
            upload.write(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let unfinished = store.facts(&name).await.unwrap_err();
        assert!(matches!(unfinished, ArtifactError::NotFound));
        let uploaded = upload.finish().await.unwrap();
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!((uploaded.size_bytes, uploaded.sha256), (12_000_000, digest));
        assert_eq!(whole(store.read(&name, None).await.unwrap()).await, bytes);
        let part = store.read(&name, Some(5_000_000..7_000_001)).await.unwrap();
        assert_eq!(part.facts.size_bytes, 12_000_000);
        assert_eq!(whole(part).await, &bytes[5_000_000..7_000_001]);
        let listed = store.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(listed[0].name == name && listed[0].changed > UnixMillis::new(0));
        store.delete(&name).await.unwrap();
        store.delete(&name).await.unwrap();
        assert!(store.list().await.unwrap().is_empty());
        let gone = store.read(&name, None).await.err();
        assert!(matches!(gone, Some(ArtifactError::NotFound)));
    }

    #[tokio::test]
    async fn what_is_too_large_or_empty_or_broken_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 1000);
        let name = name("1_0/out.mp4");
        let mut upload = store.upload(&name).await.unwrap();
        upload.write(Bytes::from(vec![0; 1000])).await.unwrap();
        let too_large = upload.write(Bytes::from_static(b"x")).await.unwrap_err();
        assert!(
            matches!(too_large, ArtifactError::TooLarge(1000)),
            "{too_large}"
        );
        upload.abort().await.unwrap();
        let empty = store
            .upload(&name)
            .await
            .unwrap()
            .finish()
            .await
            .unwrap_err();
        assert!(matches!(empty, ArtifactError::Empty));
        assert_eq!(files(folder.path()), 0);
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 1 << 30);
        let mut upload = store.upload(&name("1_0/out.mp4")).await.unwrap();
        upload.write(Bytes::from(vec![0; 6 << 20])).await.unwrap();
        assert_eq!(files(folder.path()), 1);
        drop(upload);
        while files(folder.path()) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn the_largest_file_has_no_more_parts_than_s3_takes() {
        assert_eq!(part_bytes(1), 5 << 20);
        for max_bytes in [64_u64 << 30, 5 << 40] {
            let parts = max_bytes.div_ceil(part_bytes(max_bytes) as u64);
            assert!(parts <= MOST_PARTS, "{parts}");
        }
    }

    #[test]
    fn a_storage_that_cannot_be_opened_says_why() {
        let open = |text: &str| {
            ArtifactStore::open(&Url::parse(text).unwrap(), 1)
                .err()
                .unwrap()
        };
        let told = open("ftp://h/x").to_string();
        assert!(told.contains("neither file:// nor s3://"), "{told}");
        let told = open("file:///proc/nothing/here").to_string();
        assert!(told.contains("artifacts.url"), "{told}");
    }
}
