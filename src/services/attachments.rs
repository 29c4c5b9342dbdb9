//! Files that messages carry: announced, uploaded by the client, looked at, then named by a message; and removed when nobody needs them.
//!
//! The bytes go past the rules wherever they can: into a bucket clients upload by themselves. Source: docs/media.md.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::files::{Files, MAX_PICTURE_BYTES, Opened, Refused, Shown, UPLOAD_WITHIN, Unfit, look};
use crate::models::media::{Attachment, AttachmentState, MediaId, MediaType};
use crate::models::message::Media;
use crate::models::{Membership, Message, MessageType, Timestamp};

use super::Core;
use super::content::without_controls;
use super::conversations::Conversations;
use super::limits::Limited;
use super::media_links::{Good, MediaLinks, Part, is_stored};
use super::permissions::Operation;

/// How many first bytes tell what a file is.
const SIGN_BYTES: u64 = 8 * 1024;
/// Pictures looked at together: each takes a core and up to 320 MiB.
const LOOKED_AT_ONCE: usize = 2;
/// The longest name of a file, in characters.
const MAX_NAME_CHARS: usize = 200;
/// How long an announced file may take to arrive and be completed.
const PENDING_FOR: Duration = Duration::from_secs(3600);
/// How long a completed file waits for its message.
const UNUSED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked for files nobody needs, and how many are removed at once.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const TIDIED_AT_ONCE: usize = 100;

/// Settings of attachments.
#[derive(Clone, Debug)]
pub struct MediaRules {
    /// Where the bytes are; nothing is attached without.
    pub files: Option<Files>,
    /// `PUBLIC_URL`, `MEDIA_SECRET`, `MEDIA_LINK_SECONDS`.
    pub links: MediaLinks,
    /// `MEDIA_MAX_BYTES`.
    pub max_bytes: u64,
}

impl Default for MediaRules {
    fn default() -> Self {
        let secret: [u8; 32] = rand::random();
        Self { files: None, links: MediaLinks::new(&secret, "", Duration::from_secs(24 * 3600)), max_bytes: 50 << 20 }
    }
}

/// A request to upload.
pub struct Announce {
    /// The conversation as the client names it.
    pub conversation: String,
    /// What the client calls the file.
    pub name: String,
    /// What it says the file is.
    pub mime: String,
    /// Its exact size.
    pub size_bytes: u64,
}

/// Where and how to upload.
pub struct Upload {
    /// What was announced.
    pub attachment: Attachment,
    /// To be `PUT` there, with the type and the size that were announced.
    pub address: String,
    /// By then.
    pub expires_at: Timestamp,
}

/// A file this server hands out itself.
pub struct Served {
    /// The bytes.
    pub opened: Opened,
    /// How.
    pub shown: Shown,
}

/// What an upload to this server says about itself.
pub struct Declared {
    /// `Content-Type`.
    pub mime: Option<String>,
    /// `Content-Length`.
    pub size_bytes: Option<u64>,
}

/// Keeps attachments. Cheap to clone.
#[derive(Clone)]
pub struct Attachments {
    core: Arc<Core>,
    conversations: Conversations,
    looks: Arc<Semaphore>,
    /// Being received or looked at: never both, or what was looked at is not what stays.
    busy: Arc<Mutex<HashSet<MediaId>>>,
    untidy: Arc<Notify>,
}

/// Nobody else touches the file meanwhile.
struct Turn<'a>(&'a Attachments, MediaId);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Attachments {
    pub(super) fn start(core: &Arc<Core>, conversations: Conversations) -> Self {
        let looks = Arc::new(Semaphore::new(LOOKED_AT_ONCE));
        let this = Self { core: core.clone(), conversations, looks, busy: Arc::default(), untidy: Arc::default() };
        if core.rules.media.files.is_some() {
            let (keeper, stop) = (this.clone(), core.stop.clone());
            core.tasks.spawn(async move {
                stop.run_until_cancelled(keeper.keep_tidy()).await;
            });
        }
        this
    }

    fn files(&self) -> Result<&Files> {
        self.core.rules.media.files.as_ref().ok_or_else(|| Error::unavailable("there is no place for files"))
    }

    fn turn(&self, id: MediaId) -> Result<Turn<'_>> {
        if self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            Ok(Turn(self, id))
        } else {
            Err(Error::Conflict("the file is being uploaded or looked at".into()))
        }
    }

    /// Announces a file for a conversation and says where to upload it.
    ///
    /// Errors: `MEDIA_REFUSED` for its type, `PAYLOAD_TOO_LARGE`, `CONVERSATION_NOT_FOUND`, `RATE_LIMITED`.
    pub async fn announce(&self, user: &CurrentUser, announced: Announce) -> Result<Upload> {
        let limits = &self.conversations.guard.limits;
        limits.count(user, Limited::Uploads)?;
        let files = self.files()?;
        let refused = || Error::MediaRefused("files of this type cannot be attached".into());
        let media_type = MediaType::find(&announced.mime).ok_or_else(refused)?;
        let most =
            if media_type.is_picture() { MAX_PICTURE_BYTES.min(self.core.rules.media.max_bytes) } else { self.core.rules.media.max_bytes };
        if announced.size_bytes == 0 {
            return Err(Error::invalid("size must be at least 1"));
        }
        if announced.size_bytes > most {
            return Err(Error::PayloadTooLarge { limit: usize::try_from(most).unwrap_or(usize::MAX) });
        }
        let known = self.conversations.require(user, &announced.conversation, Operation::Write).await?;
        limits.count_upload(user, announced.size_bytes)?;
        let now = self.core.now();
        let attachment = Attachment {
            id: MediaId::random(),
            conversation: known.key().clone(),
            owner: user.identity(),
            name: clean_name(&announced.name, media_type),
            media_type,
            size_bytes: announced.size_bytes,
            state: AttachmentState::Pending,
            pixels: None,
            created_at: now,
        };
        self.core.store.announce_media(attachment.clone()).await?;
        let address = files
            .upload_address(&attachment.key(), media_type.mime, attachment.size_bytes, now)
            .unwrap_or_else(|| self.core.rules.media.links.sign(attachment.id, Good::Writing, UPLOAD_WITHIN, now));
        Ok(Upload { attachment, address, expires_at: now.plus(UPLOAD_WITHIN) })
    }

    /// Looks at what was uploaded: size, first bytes, and of a picture its pixels, of which a small one is made. Repeating is safe.
    ///
    /// Errors: `MEDIA_NOT_FOUND`; `CONFLICT` if nothing was uploaded yet; `MEDIA_REFUSED` if it is not what was announced, and then the
    /// file is removed.
    pub async fn complete(&self, user: &CurrentUser, id: MediaId) -> Result<Attachment> {
        self.conversations.guard.limits.count(user, Limited::Other)?;
        let attachment = self.find(id).await?;
        if !attachment.owner.is_same_identity(user.participant()) {
            return Err(Error::MediaNotFound);
        }
        if attachment.state == AttachmentState::Ready {
            return Ok(attachment);
        }
        let _turn = self.turn(id)?;
        let pixels = match self.look_at(&attachment).await {
            Err(refused @ Error::MediaRefused(_)) => {
                self.discard(&attachment).await?;
                return Err(refused);
            }
            looked_at => looked_at?,
        };
        self.core.store.complete_media(id, pixels).await?;
        let attachment = self.find(id).await?;
        if attachment.state != AttachmentState::Ready {
            return Err(Error::MediaNotFound);
        }
        info!(
            media.id = %id,
            conversation.key = %attachment.conversation,
            participant = %user.participant(),
            size_bytes = attachment.size_bytes,
            "an attachment was completed"
        );
        Ok(attachment)
    }

    /// Width and height of a picture.
    async fn look_at(&self, attachment: &Attachment) -> Result<Option<(u32, u32)>> {
        let (files, media_type) = (self.files()?, attachment.media_type);
        let refused = |why: &str| Err(Error::MediaRefused(why.into()));
        let key = attachment.key();
        match files.size(&key).await? {
            None => return Err(Error::Conflict("nothing was uploaded yet".into())),
            Some(size) if size != attachment.size_bytes => return refused("the file is not as large as was announced"),
            Some(_) => {}
        }
        let first = files.read(&key, SIGN_BYTES).await?;
        if !infer::get(&first).is_some_and(|found| media_type.begins_as(found.mime_type())) {
            return refused("the file is not of the type that was announced");
        }
        if !media_type.is_picture() {
            return Ok(None);
        }
        // Never closed; without it there would only be more at once.
        let _permit = self.looks.acquire().await.ok();
        let bytes = files.read(&key, MAX_PICTURE_BYTES).await?;
        let looked_at = tokio::task::spawn_blocking(move || look(&bytes, media_type.mime)).await.map_err(Error::internal)?;
        match looked_at {
            Ok(picture) => {
                files.write(&attachment.preview_key(), "image/jpeg", picture.preview).await?;
                Ok(Some(picture.pixels))
            }
            Err(Unfit::TooManyPixels) => refused("the picture has more pixels than 40 million"),
            Err(Unfit::Broken) => refused("the picture cannot be read"),
        }
    }

    /// Where somebody who takes part (or an admin) finds a file, for some minutes.
    ///
    /// Errors: `MEDIA_NOT_FOUND`, also where it is other people's.
    pub async fn lead(&self, user: &CurrentUser, id: MediaId, part: Part) -> Result<String> {
        self.conversations.guard.limits.count(user, Limited::Other)?;
        let attachment = self.find(id).await?;
        match self.conversations.require(user, attachment.conversation.as_str(), Operation::Read).await {
            Err(Error::ConversationNotFound) => Err(Error::MediaNotFound),
            allowed => allowed.and_then(|_| self.address(&attachment, part)),
        }
    }

    /// The same for whoever has an address that proves it. Errors: `FORBIDDEN`, `MEDIA_NOT_FOUND`.
    pub async fn lead_by_address(&self, id: MediaId, part: Part, expires: &str, signature: &str) -> Result<String> {
        self.core.rules.media.links.check(id, Good::For(part), expires, signature, self.core.now())?;
        self.address(&self.find(id).await?, part)
    }

    fn address(&self, attachment: &Attachment, part: Part) -> Result<String> {
        let (key, shown) = handed_out(attachment, part)?;
        let now = self.core.now();
        let ours = || self.core.rules.media.links.sign(attachment.id, Good::Reading(part), crate::files::DOWNLOAD_WITHIN, now);
        Ok(self.files()?.download_address(&key, &shown, now).unwrap_or_else(ours))
    }

    /// Takes an upload, where this server keeps the files. Never more bytes than announced.
    ///
    /// Errors: `FORBIDDEN` for a bad address; `MEDIA_REFUSED` for another type or size; `CONFLICT` if it is looked at already.
    pub async fn receive<B: AsRef<[u8]> + Send, E: Send>(
        &self,
        id: MediaId,
        (expires, signature): (&str, &str),
        declared: Declared,
        pieces: impl Stream<Item = std::result::Result<B, E>> + Send,
    ) -> Result<()> {
        self.core.rules.media.links.check(id, Good::Writing, expires, signature, self.core.now())?;
        let Files::Folder(folder) = self.files()? else { return Err(Error::NotFound) };
        let _turn = self.turn(id)?;
        let attachment = self.find(id).await?;
        if attachment.state != AttachmentState::Pending {
            return Err(Error::Conflict("the file is complete".into()));
        }
        let is_type = declared.mime.as_deref().and_then(MediaType::find) == Some(attachment.media_type);
        if !is_type || declared.size_bytes.is_some_and(|size| size != attachment.size_bytes) {
            return Err(Error::MediaRefused("type and size must be those that were announced".into()));
        }
        folder.receive(&attachment.key(), attachment.size_bytes, pieces).await.map_err(|refused| match refused {
            Refused::Size => Error::MediaRefused("the file is not as large as was announced".into()),
            Refused::Broken => Error::invalid("the upload broke off"),
            Refused::Failed(error) => error,
        })
    }

    /// Opens a file this server keeps, for whoever has a good address. Errors: `FORBIDDEN`, `MEDIA_NOT_FOUND`.
    pub async fn serve(&self, id: MediaId, part: Part, expires: &str, signature: &str) -> Result<Served> {
        self.core.rules.media.links.check(id, Good::Reading(part), expires, signature, self.core.now())?;
        let Files::Folder(folder) = self.files()? else { return Err(Error::NotFound) };
        let (key, shown) = handed_out(&self.find(id).await?, part)?;
        let opened = folder.open(&key).await?.ok_or(Error::MediaNotFound)?;
        Ok(Served { opened, shown })
    }

    /// Addresses a client may open without a credential, for a while.
    pub fn addresses(&self, attachment: &Attachment) -> (String, Option<String>) {
        let (links, now) = (&self.core.rules.media.links, self.core.now());
        let sign = |part| links.sign(attachment.id, Good::For(part), crate::files::DOWNLOAD_WITHIN, now);
        (sign(Part::File), attachment.pixels.map(|_| sign(Part::Preview)))
    }

    /// What a message that names this attachment says, which stays from now on.
    ///
    /// Errors: `MEDIA_NOT_FOUND` unless it is the sender's own, complete, and of this conversation.
    pub(super) async fn attach(&self, user: &CurrentUser, known: &Membership, id: MediaId, said: Media) -> Result<(MessageType, Media)> {
        if !self.core.store.use_media(id, &user.identity(), known.key()).await? {
            return Err(Error::MediaNotFound);
        }
        let attachment = self.find(id).await?;
        let media = Media {
            url: Some(id.path()),
            size_bytes: i64::try_from(attachment.size_bytes).ok(),
            duration_seconds: said.duration_seconds,
            thumbnail_url: attachment.pixels.map(|_| format!("{}/thumbnail", id.path())),
        };
        Ok((attachment.media_type.message_type, media))
    }

    /// A message that was to name this attachment was refused for good: nobody shall keep it for its sake. Not waited for.
    pub(super) fn detach(&self, id: MediaId) {
        let store = Arc::clone(&self.core.store);
        self.core.tasks.spawn(async move {
            if let Err(e) = store.release_media(id).await {
                // Then it stays without a message, which costs its place and nothing else.
                debug!(media.id = %id, "a file is kept for a message that is none: {e}");
            }
        });
    }

    /// Puts addresses that can be opened into a message that goes to a client.
    pub(super) fn show(&self, message: &mut Message) {
        self.core.rules.media.links.show(message, self.core.now());
    }

    /// A message is gone for everyone: so is its file, from now on.
    pub(super) async fn erase(&self, message: &Message) -> Result<()> {
        if let Some(id) = message.media.url.as_deref().filter(|url| is_stored(url)).and_then(MediaId::of_address) {
            self.core.store.erase_media(id).await?;
            self.untidy.notify_one();
        }
        Ok(())
    }

    async fn find(&self, id: MediaId) -> Result<Attachment> {
        let found = self.core.store.find_media(id).await?;
        found.filter(|attachment| attachment.state != AttachmentState::Erased).ok_or(Error::MediaNotFound)
    }

    async fn discard(&self, attachment: &Attachment) -> Result<()> {
        self.core.store.erase_media(attachment.id).await?;
        self.untidy.notify_one();
        Ok(())
    }

    async fn keep_tidy(&self) {
        loop {
            match self.tidy().await {
                Ok(0) => {}
                Ok(count) => {
                    info!(files = count, "files nobody needs were removed");
                    continue;
                }
                Err(e) => debug!("files nobody needs are removed later: {e}"),
            }
            tokio::select! {
                () = sleep(TIDY_EVERY) => {}
                () = self.untidy.notified() => {}
            }
        }
    }

    /// Removes some files nobody needs. Returns how many.
    pub(super) async fn tidy(&self) -> Result<usize> {
        let (files, store, now) = (self.files()?, &self.core.store, self.core.now());
        let abandoned = store.abandoned_media(now.minus(PENDING_FOR), now.minus(UNUSED_FOR), TIDIED_AT_ONCE).await?;
        let mut removed = 0;
        for attachment in &abandoned {
            // A message may name it at this very moment, or its owner complete it: whoever is first in the store decides.
            if attachment.state != AttachmentState::Erased && !store.give_up_media(attachment.id).await? {
                continue;
            }
            // It is known until its bytes are gone, or nobody would look for them again.
            match remove(files, attachment).await {
                Ok(()) => removed += store.forget_media(&[attachment.id]).await?.len(),
                Err(e) => warn!(media.id = %attachment.id, "a file cannot be removed, which is tried again: {e}"),
            }
        }
        Ok(removed)
    }
}

async fn remove(files: &Files, attachment: &Attachment) -> Result<()> {
    files.remove(&attachment.key()).await?;
    files.remove(&attachment.preview_key()).await
}

/// Which file, and how it is shown. Errors: `MEDIA_NOT_FOUND` while it is not looked at, and for a preview nobody made.
fn handed_out(attachment: &Attachment, part: Part) -> Result<(String, Shown)> {
    if attachment.state != AttachmentState::Ready || (part == Part::Preview && attachment.pixels.is_none()) {
        return Err(Error::MediaNotFound);
    }
    Ok(match part {
        Part::Preview => (attachment.preview_key(), Shown { mime: "image/jpeg", disposition: "inline".into() }),
        Part::File => {
            let (kind, name) = (attachment.media_type.disposition(), quoted(&attachment.name));
            (attachment.key(), Shown { mime: attachment.media_type.mime, disposition: format!("{kind}; {name}") })
        }
    })
}

/// The name as downloads show it: without folders and controls, and not endless.
fn clean_name(name: &str, media_type: &MediaType) -> String {
    let name = without_controls(name);
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().trim().trim_matches('.');
    let name: String = last.chars().filter(|c| *c != '\n' && *c != '\t').take(MAX_NAME_CHARS).collect();
    if name.is_empty() { format!("file.{}", media_type.extension) } else { name }
}

/// A name in a header: in ASCII for old browsers, and as it is (RFC 8187).
fn quoted(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    format!("filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path_and_never_breaks_a_header() {
        let pdf = MediaType::find("application/pdf").expect("a kind");
        for (given, kept) in [
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("..", "file.pdf"),
            ("a\r\nSet-Cookie: x.pdf", "aSet-Cookie: x.pdf"),
            ("जन्म कुंडली.pdf", "जन्म कुंडली.pdf"),
            ("", "file.pdf"),
        ] {
            assert_eq!(clean_name(given, pdf), kept);
        }
        assert_eq!(clean_name(&"x".repeat(5_000), pdf).chars().count(), MAX_NAME_CHARS);
        let header = quoted("a\"b\\é%.pdf");
        assert_eq!(header, "filename=\"a_b___.pdf\"; filename*=UTF-8''a%22b%5C%C3%A9%25.pdf");
    }
}
