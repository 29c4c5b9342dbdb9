//! A folder of ours. Keys are made by this program, never by a client, and are the paths below the folder.

use std::io;
use std::path::PathBuf;

use futures_util::{Stream, StreamExt};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Error, Result};

/// Files below one folder.
pub struct Folder(PathBuf);

/// A file that is open for reading.
pub struct Opened {
    /// At its beginning.
    pub file: File,
    /// Its size.
    pub size_bytes: u64,
}

/// Why bytes were not taken.
#[derive(Debug)]
pub enum Refused {
    /// There are more, or fewer, than was said.
    Size,
    /// They stopped coming.
    Broken,
    /// They cannot be kept.
    Failed(Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Failed(Error::unavailable(error))
    }
}

impl Folder {
    /// Makes nothing yet.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// Takes a file of exactly this size, piece by piece; beyond it no further piece is written. A file is there whole or not at all.
    pub async fn receive<B, E>(
        &self,
        key: &str,
        size_bytes: u64,
        pieces: impl Stream<Item = std::result::Result<B, E>> + Send,
    ) -> std::result::Result<(), Refused>
    where
        B: AsRef<[u8]> + Send,
        E: Send,
    {
        let path = self.path(key);
        let part = path.with_extension(format!("{:016x}.part", rand::random::<u64>()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await?;
        }
        let received = receive_into(&part, size_bytes, pieces).await;
        let kept = match received {
            Ok(()) => fs::rename(&part, &path).await.map_err(Refused::from),
            refused => refused,
        };
        if kept.is_err() {
            // What is left of it would never be asked for.
            let _ = fs::remove_file(&part).await;
        }
        kept
    }

    /// Opens a file; `None` if it is not there.
    pub async fn open(&self, key: &str) -> Result<Option<Opened>> {
        let file = match File::open(self.path(key)).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Error::unavailable)?,
        };
        let size_bytes = file.metadata().await.map_err(Error::unavailable)?.len();
        Ok(Some(Opened { file, size_bytes }))
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.open(key).await?.map(|opened| opened.size_bytes))
    }

    pub(super) async fn read(&self, key: &str, most: u64) -> Result<Vec<u8>> {
        let opened = self.open(key).await?.ok_or_else(|| Error::unavailable("a file is gone"))?;
        let mut bytes = Vec::new();
        opened.file.take(most).read_to_end(&mut bytes).await.map_err(Error::unavailable)?;
        Ok(bytes)
    }

    pub(super) async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let size_bytes = bytes.len() as u64;
        let pieces = futures_util::stream::iter([Ok::<_, io::Error>(bytes)]);
        self.receive(key, size_bytes, pieces).await.map_err(|refused| match refused {
            Refused::Failed(error) => error,
            Refused::Size | Refused::Broken => Error::internal("a file of ours was not taken"),
        })
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        match fs::remove_file(self.path(key)).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::unavailable(e)),
            _ => Ok(()),
        }
    }
}

async fn receive_into<B: AsRef<[u8]> + Send, E: Send>(
    part: &std::path::Path,
    size_bytes: u64,
    pieces: impl Stream<Item = std::result::Result<B, E>> + Send,
) -> std::result::Result<(), Refused> {
    let mut file = File::create(part).await?;
    let mut taken = 0_u64;
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refused::Broken)?;
        taken += piece.as_ref().len() as u64;
        if taken > size_bytes {
            return Err(Refused::Size);
        }
        file.write_all(piece.as_ref()).await?;
    }
    if taken < size_bytes {
        return Err(Refused::Size);
    }
    file.sync_all().await?;
    Ok(())
}
