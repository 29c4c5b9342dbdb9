//! What may be said: the limits of a message's text and media, checked once where a request comes in.

use crate::error::{Error, Result};
use crate::models::MessageType;
use crate::models::media::MediaId;
use crate::models::message::Media;

/// Unicode code points a text may have. Source: docs/protocol.md#limits.
pub const MAX_CONTENT_CHARS: usize = 4_000;
const MAX_URL_CHARS: usize = 2_048;

/// From where media may come; see `MEDIA_HOSTS`. None named: from anywhere.
#[derive(Clone, Debug, Default)]
pub struct MediaHosts(Vec<String>);

impl MediaHosts {
    /// These hosts in lower case; `*.example.com` stands for every name under it, itself left out.
    pub fn new(hosts: Vec<String>) -> Self {
        Self(hosts)
    }

    fn include(&self, url: &str) -> bool {
        self.0.is_empty() || host_of(url).is_some_and(|host| self.0.iter().any(|allowed| is_named(&host, allowed)))
    }
}

fn is_named(host: &str, allowed: &str) -> bool {
    match allowed.strip_prefix('*') {
        Some(under) => host.len() > under.len() && host.ends_with(under) && !host.starts_with('.'),
        None => host == allowed,
    }
}

/// The host of an https address, if every program reads the same one. Userinfo (`https://known@other`) and backslashes, which browsers
/// take for slashes, are there to deceive, and a percent sign may hide either.
fn host_of(url: &str) -> Option<String> {
    let authority = url.get(8..)?.split(['/', '?', '#']).next()?;
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    (is_plain && port.bytes().all(|b| b.is_ascii_digit())).then(|| host.to_ascii_lowercase())
}

/// The checked content of a message to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    message_type: MessageType,
    text: String,
    media: Media,
    attachment: Option<MediaId>,
}

impl Content {
    /// Checks text and media of a message a client wants to send.
    ///
    /// Control characters other than newline and tab are removed; everything else stays as written. Text may be empty only beside media.
    /// Errors: `CONTENT_TOO_LONG`; `INVALID_PAYLOAD` for a missing text, an address that is not `https`, or a kind only the server makes.
    pub fn parse(message_type: MessageType, text: &str, media: Media) -> Result<Self> {
        Self::parse_all(message_type, text, media, None)
    }

    /// The same with a file of this server, which decides the kind; text may then be empty too.
    pub fn parse_with_attachment(message_type: MessageType, text: &str, media: Media, attachment: MediaId) -> Result<Self> {
        Self::parse_all(message_type, text, media, Some(attachment))
    }

    fn parse_all(message_type: MessageType, text: &str, media: Media, attachment: Option<MediaId>) -> Result<Self> {
        if matches!(message_type, MessageType::CallLog | MessageType::System) {
            return Err(Error::invalid(format!("messageType {} is made by the server only", message_type.as_str())));
        }
        let text = without_controls(text);
        if text.chars().count() > MAX_CONTENT_CHARS {
            return Err(Error::ContentTooLong { limit: MAX_CONTENT_CHARS });
        }
        if text.trim().is_empty() && media.url.is_none() && attachment.is_none() {
            return Err(Error::invalid("content is required unless there is a mediaUrl or mediaId"));
        }
        for (name, url) in [("mediaUrl", &media.url), ("thumbnailUrl", &media.thumbnail_url)] {
            if url.as_deref().is_some_and(|url| !is_https(url)) {
                return Err(Error::invalid(format!("{name} must be an https address of at most {MAX_URL_CHARS} characters")));
            }
        }
        if media.size_bytes.is_some_and(|n| n < 0) || media.duration_seconds.is_some_and(|n| !n.is_finite() || n < 0.0) {
            return Err(Error::invalid("mediaSize and mediaDuration must not be negative"));
        }
        Ok(Self { message_type, text, media, attachment })
    }

    /// Errors: `INVALID_PAYLOAD` if its media come from anywhere else.
    pub(super) fn require_media_from(&self, hosts: &MediaHosts) -> Result<()> {
        for (name, url) in [("mediaUrl", &self.media.url), ("thumbnailUrl", &self.media.thumbnail_url)] {
            if url.as_deref().is_some_and(|url| !hosts.include(url)) {
                return Err(Error::invalid(format!("{name} names a host media may not come from")));
            }
        }
        Ok(())
    }

    /// The file of this server it carries.
    pub fn attachment(&self) -> Option<MediaId> {
        self.attachment
    }

    /// Its parts: kind, text and media.
    pub fn into_parts(self) -> (MessageType, String, Media) {
        (self.message_type, self.text, self.media)
    }
}

/// The text without control characters other than newline and tab; everything else stays as written.
pub fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn is_https(url: &str) -> bool {
    let host = url.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).map(|_| &url[8..]);
    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    url.len() <= MAX_URL_CHARS && !url.chars().any(|c| c.is_whitespace() || c.is_control()) && host.is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<Content> {
        Content::parse(MessageType::Text, text, Media::default())
    }

    #[test]
    fn the_limit_counts_code_points_and_text_is_kept_as_written() {
        assert_eq!(text(" नमस्ते\u{200d} \n").expect("legal").text, " नमस्ते\u{200d} \n");
        assert!(text(&"क".repeat(MAX_CONTENT_CHARS)).is_ok());
        assert!(matches!(text(&"x".repeat(MAX_CONTENT_CHARS + 1)), Err(Error::ContentTooLong { .. })));
        assert_eq!(text("a\u{0}b\u{7f}c\r\nd").expect("legal").text, "abc\nd");
        assert!(text(" \n ").is_err());
    }

    #[test]
    fn media_must_be_https_and_may_stand_without_text() {
        let media = |url: &str| Media { url: Some(url.into()), ..Media::default() };
        assert!(Content::parse(MessageType::Image, "", media("https://cdn.example.com/a.png")).is_ok());
        for bad in ["http://cdn.example.com/a.png", "https://", "javascript:alert(1)", "https:///x", "https://a b/"] {
            assert!(Content::parse(MessageType::Image, "", media(bad)).is_err(), "{bad}");
        }
        assert!(Content::parse(MessageType::CallLog, "x", Media::default()).is_err());
    }

    #[test]
    fn media_come_from_the_hosts_named_and_no_spelling_deceives() {
        let hosts = MediaHosts::new(vec!["cdn.example.com".into(), "*.images.example".into()]);
        let from = |url: &str, hosts: &MediaHosts| {
            let content = |media| Content::parse(MessageType::Image, "x", media).expect("https").require_media_from(hosts).is_ok();
            let [url, thumbnail_url] = [Some(url.to_owned()), Some(url.to_owned())];
            let both = [content(Media { url, ..Media::default() }), content(Media { thumbnail_url, ..Media::default() })];
            assert_eq!(both[0], both[1], "thumbnails too");
            both[0]
        };
        for good in [
            "https://cdn.example.com/a.png",
            "HTTPS://CDN.Example.COM:8443?a",
            "https://cdn.example.com#a@b",
            "https://a.images.example/",
            "https://a.b.images.example",
        ] {
            assert!(from(good, &hosts), "{good}");
        }
        for bad in [
            "https://evil.example/cdn.example.com",
            "https://cdn.example.com.evil.example/",
            "https://evilcdn.example.com/",
            "https://cdn.example.com@evil.example/",
            "https://evil.example@cdn.example.com/",
            "https://cdn.example.com:x@evil.example/",
            "https://evil.example\\@cdn.example.com/",
            "https://cdn.example.com\\.evil.example/",
            "https://cdn.example.com%2eevil.example/",
            "https://images.example/",
            "https://.images.example/",
            "https://evilimages.example/",
            "https://[::1]/",
            "https://cdn.example.com:1:2/",
        ] {
            assert!(!from(bad, &hosts), "{bad}");
            assert!(from(bad, &MediaHosts::default()), "{bad}: nobody said where from");
        }
    }
}
