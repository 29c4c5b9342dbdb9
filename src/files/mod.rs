//! Where the bytes of attachments are: in a bucket of S3-compatible storage, or in a folder of ours.
//!
//! Clients upload to and download from a bucket themselves, with addresses signed here; a folder is served by `rest`.

mod folder;
mod pictures;
mod s3;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::models::Timestamp;

pub use folder::{Folder, Opened, Refused};
pub use pictures::{MAX_PICTURE_BYTES, Picture, Unfit, look};
pub use s3::{Bucket, BucketSettings};

/// How long an address for an upload is good.
pub const UPLOAD_WITHIN: Duration = Duration::from_secs(300);
/// How long an address of a file is good, once somebody was let through to it.
pub const DOWNLOAD_WITHIN: Duration = Duration::from_secs(300);

/// The place of the bytes. Cheap to clone.
#[derive(Clone)]
pub enum Files {
    /// S3-compatible storage.
    Bucket(Arc<Bucket>),
    /// A folder on this machine.
    Folder(Arc<Folder>),
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bucket(_) => "Bucket",
            Self::Folder(_) => "Folder",
        })
    }
}

/// How a file is to be handed out.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `Content-Type`.
    pub mime: &'static str,
    /// `Content-Disposition`.
    pub disposition: String,
}

impl Files {
    /// A folder, which is made when it is needed.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self::Folder(Arc::new(Folder::new(folder)))
    }

    /// A bucket.
    pub fn in_bucket(bucket: Bucket) -> Self {
        Self::Bucket(Arc::new(bucket))
    }

    /// The size of a file; `None` if it is not there.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        match self {
            Self::Bucket(bucket) => bucket.size(key).await,
            Self::Folder(folder) => folder.size(key).await,
        }
    }

    /// The first bytes of a file, at most `most` of them.
    pub async fn read(&self, key: &str, most: u64) -> Result<Vec<u8>> {
        match self {
            Self::Bucket(bucket) => bucket.read(key, most).await,
            Self::Folder(folder) => folder.read(key, most).await,
        }
    }

    /// Writes a whole file.
    pub async fn write(&self, key: &str, mime: &'static str, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::Bucket(bucket) => bucket.write(key, mime, bytes).await,
            Self::Folder(folder) => folder.write(key, bytes).await,
        }
    }

    /// Removes a file; one that is not there is no error.
    pub async fn remove(&self, key: &str) -> Result<()> {
        match self {
            Self::Bucket(bucket) => bucket.remove(key).await,
            Self::Folder(folder) => folder.remove(key).await,
        }
    }

    /// Where a client uploads a file itself; `None` where the server takes it.
    pub fn upload_address(&self, key: &str, mime: &'static str, size_bytes: u64, now: Timestamp) -> Option<String> {
        match self {
            Self::Bucket(bucket) => Some(bucket.upload_address(key, mime, size_bytes, UPLOAD_WITHIN, now)),
            Self::Folder(_) => None,
        }
    }

    /// Where a client finds a file itself; `None` where the server hands it out.
    pub fn download_address(&self, key: &str, shown: &Shown, now: Timestamp) -> Option<String> {
        match self {
            Self::Bucket(bucket) => Some(bucket.download_address(key, shown, DOWNLOAD_WITHIN, now)),
            Self::Folder(_) => None,
        }
    }
}
