//! Files that messages carry: what kinds there are, and what is known of one.

use std::fmt;

use super::conversation::ConversationKey;
use super::message::MessageType;
use super::participant::Participant;
use super::time::Timestamp;

/// Names an attachment: 32 hex digits nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaId(u128);

impl MediaId {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        legal.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }

    /// Where it is asked for, as messages store it.
    pub fn path(self) -> String {
        format!("{MEDIA_PATH}{self}")
    }

    /// The attachment that a stored address names, or an address made of one.
    pub fn of_address(address: &str) -> Option<Self> {
        let at = address.find(MEDIA_PATH)?;
        let rest = &address[at + MEDIA_PATH.len()..];
        Self::parse(rest.get(..32)?).filter(|_| rest[32..].is_empty() || rest[32..].starts_with(['?', '/']))
    }
}

/// What the paths of attachments begin with.
pub const MEDIA_PATH: &str = "/api/media/";

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A kind of file that may be attached: nothing that a browser would run.
#[derive(Debug, PartialEq, Eq)]
pub struct MediaType {
    /// As clients declare it, and as it is handed out.
    pub mime: &'static str,
    /// Of the stored file.
    pub extension: &'static str,
    /// Of the message that carries it.
    pub message_type: MessageType,
    /// What its first bytes may look like.
    signs: &'static [&'static str],
}

const fn kind(mime: &'static str, extension: &'static str, message_type: MessageType, signs: &'static [&'static str]) -> MediaType {
    MediaType { mime, extension, message_type, signs }
}

/// Every kind there is. Source: docs/media.md#kinds.
pub const MEDIA_TYPES: &[MediaType] = &[
    kind("image/jpeg", "jpg", MessageType::Image, &["image/jpeg"]),
    kind("image/png", "png", MessageType::Image, &["image/png"]),
    kind("image/webp", "webp", MessageType::Image, &["image/webp"]),
    kind("audio/mpeg", "mp3", MessageType::Audio, &["audio/mpeg"]),
    kind("audio/mp4", "m4a", MessageType::Audio, &["audio/m4a", "video/mp4"]),
    kind("audio/aac", "aac", MessageType::Audio, &["audio/aac"]),
    kind("audio/ogg", "ogg", MessageType::Audio, &["audio/ogg", "audio/opus"]),
    kind("audio/wav", "wav", MessageType::Audio, &["audio/x-wav"]),
    kind("audio/webm", "weba", MessageType::Audio, &["video/webm"]),
    kind("video/mp4", "mp4", MessageType::Video, &["video/mp4", "video/x-m4v"]),
    kind("video/webm", "webm", MessageType::Video, &["video/webm"]),
    kind("video/quicktime", "mov", MessageType::Video, &["video/quicktime"]),
    kind("application/pdf", "pdf", MessageType::File, &["application/pdf"]),
];

impl MediaType {
    /// The kind a client declares. `None` for whatever may not be attached.
    pub fn find(mime: &str) -> Option<&'static Self> {
        let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let mime = match mime.as_str() {
            "image/jpg" => "image/jpeg",
            "audio/x-m4a" | "audio/m4a" => "audio/mp4",
            "audio/x-wav" => "audio/wav",
            other => other,
        };
        MEDIA_TYPES.iter().find(|kind| kind.mime == mime)
    }

    /// Whether what was found in the first bytes is what this kind begins with.
    pub fn begins_as(&self, found: &str) -> bool {
        self.signs.contains(&found)
    }

    /// Whether a preview is made of it.
    pub fn is_picture(&self) -> bool {
        self.message_type == MessageType::Image
    }

    /// How browsers are to show it: in place what they cannot run, the rest as a download.
    pub fn disposition(&self) -> &'static str {
        if self.message_type == MessageType::File { "attachment" } else { "inline" }
    }
}

/// How far an attachment got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// Announced; perhaps uploaded, not looked at yet.
    Pending,
    /// Looked at: it is what was announced.
    Ready,
    /// Its message was deleted for everyone; the file goes.
    Erased,
}

impl AttachmentState {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Erased => "erased",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Ready, Self::Erased].into_iter().find(|state| state.as_str() == text)
    }
}

/// A file that somebody attaches to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub id: MediaId,
    /// Where it may be used and seen.
    pub conversation: ConversationKey,
    /// Who uploads it, and may name it in a message.
    pub owner: Participant,
    /// What the client called the file, for downloads. Never part of a path.
    pub name: String,
    /// What it is.
    pub media_type: &'static MediaType,
    /// How large it is, exactly.
    pub size_bytes: u64,
    /// How far it got.
    pub state: AttachmentState,
    /// Width and height of a picture, of which there is a preview then.
    pub pixels: Option<(u32, u32)>,
    /// When it was announced.
    pub created_at: Timestamp,
}

impl Attachment {
    /// The file's name where files are kept: ours alone, nothing of it is a client's.
    pub fn key(&self) -> String {
        format!("media/{}.{}", self.id, self.media_type.extension)
    }

    /// The preview's name there.
    pub fn preview_key(&self) -> String {
        format!("media/{}.preview.jpg", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_the_addresses_made_of_it_and_nowhere_else() {
        let id = MediaId::random();
        for address in [id.path(), format!("https://chat.example{}?expires=1", id.path()), format!("{}/thumbnail", id.path())] {
            assert_eq!(MediaId::of_address(&address), Some(id), "{address}");
        }
        for address in [format!("{}0", id.path()), "/api/media/..".into(), "/api/media/".into(), format!("/media/{id}")] {
            assert_eq!(MediaId::of_address(&address), None, "{address}");
        }
    }

    #[test]
    fn what_a_browser_runs_is_no_kind() {
        for mime in ["text/html", "image/svg+xml", "application/javascript", "application/xhtml+xml", "text/xml", "", "*/*", "image/gif"] {
            assert!(MediaType::find(mime).is_none(), "{mime}");
        }
        assert_eq!(MediaType::find("IMAGE/JPG; charset=x").map(|kind| kind.mime), Some("image/jpeg"));
    }
}
