//! `/api/media…`: announcing, completing and finding attachments; and the bytes, where this server keeps them.

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::error::Error;
use crate::models::media::{Attachment, MediaId};
use crate::services::attachments::{Declared, Served};
use crate::services::media_links::Part;
use crate::wire::{self, Payload};

use super::RestState;
use super::error::Failure;
use super::extract::{Asker, Body, Id, Query};

type Answer = Result<Response, Failure>;

/// What a browser may do with a file: show it, and nothing else.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");
/// A file never changes, and its address ends.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=86400, immutable");

fn media_id(text: &str) -> Result<MediaId, Error> {
    MediaId::parse(text).ok_or_else(|| Error::InvalidId("a media id has 32 hex digits".into()))
}

/// POST `/api/media/uploads`.
pub(super) async fn announce(state: State<RestState>, Asker(user): Asker, Body(payload): Body) -> Answer {
    let upload = state.services.attachments().announce(&user, wire::announce(&payload)?).await?;
    let data = json!({
        "mediaId": upload.attachment.id.to_string(),
        "upload": {
            "method": "PUT",
            "url": upload.address,
            "headers": { "Content-Type": upload.attachment.media_type.mime },
            "expiresAt": upload.expires_at,
        },
    });
    Ok((StatusCode::CREATED, Json(json!({ "success": true, "data": data }))).into_response())
}

/// POST `/api/media/{id}/complete`.
pub(super) async fn complete(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Result<Json<Value>, Failure> {
    let attachments = state.services.attachments();
    let attachment = attachments.complete(&user, media_id(&id)?).await?;
    let (url, thumbnail_url) = attachments.addresses(&attachment);
    Ok(Json(json!({ "success": true, "data": view(&attachment, &url, thumbnail_url) })))
}

fn view(attachment: &Attachment, url: &str, thumbnail_url: Option<String>) -> Value {
    let mut data = json!({
        "mediaId": attachment.id.to_string(),
        "name": attachment.name,
        "mimeType": attachment.media_type.mime,
        "size": attachment.size_bytes,
        "messageType": attachment.media_type.message_type,
        "mediaUrl": url,
    });
    if let (Some((width, height)), Some(thumbnail_url)) = (attachment.pixels, thumbnail_url) {
        data["width"] = width.into();
        data["height"] = height.into();
        data["thumbnailUrl"] = thumbnail_url.into();
    }
    data
}

/// GET `/api/media/{id}`: leads to the file, for those who take part or have an address that proves it.
pub(super) async fn lead(state: State<RestState>, asker: Result<Asker, Failure>, Id(id): Id, query: Query) -> Answer {
    lead_to(&state, asker, &id, &query.0, Part::File).await
}

/// GET `/api/media/{id}/thumbnail`: the same to the preview.
pub(super) async fn lead_to_preview(state: State<RestState>, asker: Result<Asker, Failure>, Id(id): Id, query: Query) -> Answer {
    lead_to(&state, asker, &id, &query.0, Part::Preview).await
}

async fn lead_to(state: &RestState, asker: Result<Asker, Failure>, id: &str, query: &Payload, part: Part) -> Answer {
    let attachments = state.services.attachments();
    let address = match (query.text(&["expires"])?, query.text(&["signature"])?) {
        (Some(expires), Some(signature)) => attachments.lead_by_address(media_id(id)?, part, expires, signature).await?,
        _ => {
            let Asker(user) = asker?;
            attachments.lead(&user, media_id(id)?, part).await?
        }
    };
    let location = HeaderValue::from_str(&address).map_err(Error::internal)?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

/// PUT `/api/media/{id}/content`: the bytes, straight to the disk.
pub(super) async fn receive(state: State<RestState>, Id(id): Id, query: Query, request: Request) -> Answer {
    let declared = declared(request.headers());
    let proof = (query.0.require_text(&["expires"])?.to_owned(), query.0.require_text(&["signature"])?.to_owned());
    let pieces = request.into_body().into_data_stream();
    state.services.attachments().receive(media_id(&id)?, (&proof.0, &proof.1), declared, pieces).await?;
    Ok(Json(json!({ "success": true })).into_response())
}

fn declared(headers: &HeaderMap) -> Declared {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Declared {
        mime: text(header::CONTENT_TYPE).map(str::to_owned),
        size_bytes: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    }
}

/// GET `/api/media/{id}/content`: the bytes, whole or a range.
pub(super) async fn serve(state: State<RestState>, Id(id): Id, query: Query, headers: HeaderMap) -> Answer {
    serve_part(&state, &id, &query.0, &headers, Part::File).await
}

/// GET `/api/media/{id}/thumbnail/content`: those of the preview.
pub(super) async fn serve_preview(state: State<RestState>, Id(id): Id, query: Query, headers: HeaderMap) -> Answer {
    serve_part(&state, &id, &query.0, &headers, Part::Preview).await
}

async fn serve_part(state: &RestState, id: &str, query: &Payload, headers: &HeaderMap, part: Part) -> Answer {
    let (expires, signature) = (query.require_text(&["expires"])?, query.require_text(&["signature"])?);
    let Served { opened, shown } = state.services.attachments().serve(media_id(id)?, part, expires, signature).await?;
    let (mut file, size) = (opened.file, opened.size_bytes);
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let range = asked.and_then(|text| range(text, size));
    let (from, length) = range.unwrap_or((0, size));
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(Error::unavailable)?;
    let mut response = Bytes::from_stream(ReaderStream::new(file.take(length))).into_response();
    let value = |text: String| HeaderValue::from_str(&text).map_err(Error::internal);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shown.mime));
    headers.insert(header::CONTENT_DISPOSITION, value(shown.disposition)?);
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, KEPT);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    if range.is_some() {
        headers.insert(header::CONTENT_RANGE, value(format!("bytes {from}-{}/{size}", from + length - 1))?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The one range players ask for, as its beginning and length; anything else is answered with the whole.
fn range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1)?;
    let (from, to) = match (from, to) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), end),
        (from, "") => (from.parse().ok()?, end),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.min(end)),
    };
    (from <= to).then(|| (from, to - from + 1))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_stay_within_the_file() {
        for (text, expected) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=2-4", Some((2, 3))),
            ("bytes=9-99", Some((9, 1))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=10-", None),
            ("bytes=4-2", None),
            ("bytes=-", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), None);
    }
}
