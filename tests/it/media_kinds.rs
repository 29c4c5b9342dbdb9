//! Every kind that may be attached, on its whole way: in a folder of the server and in a bucket.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use samvad::models::media::MEDIA_TYPES;
use serde_json::json;

use crate::media::{ACCESS_KEY, House, SECRET_KEY, ask, open, png, storage};
use crate::support::stores;

/// A picture nothing can make small: so many bytes at least as it has pixels.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    let picture = image::RgbImage::from_fn(width, height, |_, _| image::Rgb(next()[..3].try_into().expect("three")));
    encoded(picture, ImageFormat::Png)
}

fn encoded(picture: image::RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::ImageRgb8(picture).write_to(&mut Cursor::new(&mut bytes), format).expect("written");
    bytes
}

/// The first box of an ISO media file, of this brand.
fn ftyp(brand: &str) -> Vec<u8> {
    [&[0, 0, 0, 20][..], b"ftyp", brand.as_bytes(), &[0, 0, 2, 0], brand.as_bytes()].concat()
}

/// The head of an EBML file that says it is this.
fn ebml(kind: &str) -> Vec<u8> {
    let length = 0x80 | u8::try_from(kind.len()).expect("short");
    let mut bytes = [&[0x1A, 0x45, 0xDF, 0xA3, 0x9F, 0x42, 0x82, length][..], kind.as_bytes()].concat();
    bytes.resize(300, 0);
    bytes
}

/// The first page of an Ogg file, with this packet.
fn ogg(packet: &[u8]) -> Vec<u8> {
    let mut bytes = b"OggS\0\x02".to_vec();
    bytes.resize(26, 0);
    bytes.extend([1, u8::try_from(packet.len()).expect("short")]);
    [&bytes, packet].concat()
}

/// The type, what it is, the file, the type of the message and, of a picture, width and height.
type Kind = (&'static str, &'static str, Vec<u8>, &'static str, Option<(u32, u32)>);

fn kinds() -> Vec<Kind> {
    let small = || image::RgbImage::new(6, 4);
    let wav = [&b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0"[..], &[0; 20]].concat();
    vec![
        ("image/jpeg", "JPEG", encoded(small(), ImageFormat::Jpeg), "image", Some((6, 4))),
        ("image/png", "PNG", png(6, 4), "image", Some((6, 4))),
        ("image/png", "more than a request by REST may hold", noise(700, 700), "image", Some((700, 700))),
        ("image/webp", "WebP", encoded(small(), ImageFormat::WebP), "image", Some((6, 4))),
        ("audio/mpeg", "with ID3", b"ID3\x04\0\0\0\0\0\0".to_vec(), "audio", None),
        ("audio/mpeg", "without", b"\xff\xfb\x90\x00".to_vec(), "audio", None),
        ("audio/mp4", "of a phone by Apple", ftyp("M4A "), "audio", None),
        ("audio/mp4", "of a phone by Google", ftyp("isom"), "audio", None),
        ("audio/aac", "MPEG-4", b"\xff\xf1\x50\x80".to_vec(), "audio", None),
        ("audio/aac", "MPEG-2", b"\xff\xf9\x50\x80".to_vec(), "audio", None),
        ("audio/ogg", "Vorbis", ogg(b"\x01vorbis\0\0\0\0"), "audio", None),
        ("audio/ogg", "Opus", ogg(b"OpusHead\x01\x01\0\0"), "audio", None),
        ("audio/wav", "WAV", wav, "audio", None),
        ("audio/webm", "of a browser", ebml("webm"), "audio", None),
        ("video/mp4", "MP4", ftyp("mp42"), "video", None),
        ("video/mp4", "by Apple", ftyp("M4V "), "video", None),
        ("video/webm", "WebM", ebml("webm"), "video", None),
        ("video/quicktime", "of a phone by Apple", ftyp("qt  "), "video", None),
        ("application/pdf", "PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(), "file", None),
    ]
}

async fn every_kind(settings: &[(&str, &str)], is_ours: bool) {
    let (store, _folder) = stores::sqlite();
    let house = House::start(store, settings).await;
    let mut client = house.server.user("u1").await;
    let kinds = kinds();
    for known in MEDIA_TYPES {
        assert!(kinds.iter().any(|(mime, ..)| *mime == known.mime), "{} is not tried", known.mime);
    }
    assert!(kinds.iter().any(|(_, _, bytes, ..)| bytes.len() > 1 << 20), "one is large");
    for (mime, what, bytes, message_type, pixels) in &kinds {
        let (id, _) = house.upload(mime, bytes).await;
        let (status, done) = house.complete(&house.user, &id).await;
        assert_eq!(status, 200, "{mime}, {what}: {done}");
        let done = &done["data"];
        assert_eq!((&done["mimeType"], &done["messageType"], &done["size"]), (&json!(mime), &json!(message_type), &json!(bytes.len())));
        assert_eq!((done["width"].as_u64(), done["height"].as_u64()), (pixels.map(|p| p.0.into()), pixels.map(|p| p.1.into())), "{mime}");
        assert_eq!(done["thumbnailUrl"].is_string(), pixels.is_some(), "{mime}, {what}");
        let sent = client.call("dm:send_message", &json!({ "conversationId": house.conversation, "mediaId": id })).await;
        assert_eq!((&sent["ok"], &sent["message"]["messageType"]), (&json!(true), &json!(message_type)), "{mime}, {what}: {sent}");
        let address = &sent["message"]["mediaUrl"];
        let file = open(&house.server, address).await;
        assert_eq!((file.status, file.body == *bytes), (200, true), "{mime}, {what}");
        let disposition = if *mime == "application/pdf" { "attachment" } else { "inline" };
        if is_ours {
            assert_eq!(file.header("content-type"), Some(*mime));
            assert!(
                file.header("content-disposition").is_some_and(|said| said.starts_with(&format!("{disposition}; filename="))),
                "{mime}"
            );
        } else {
            // What storage is told to answer with is signed with the rest. The one of the tests does not heed it, that of others does.
            let led = ask(&house.server, "GET", address.as_str().expect("an address"), &[], &[]).await;
            let place: reqwest::Url = led.header("location").expect("an address").parse().expect("an address");
            let told = |name: &str| place.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
            assert_eq!(told("response-content-type").as_deref(), Some(*mime));
            let said = told("response-content-disposition").expect("how it is shown");
            assert!(said.starts_with(&format!("{disposition}; filename=")), "{mime}: {said}");
            let forged = place.as_str().replacen(disposition, if disposition == "inline" { "attachment" } else { "inline" }, 1);
            assert_eq!(ask(&house.server, "GET", &forged, &[], &[]).await.status, 403, "{mime}");
        }
        if pixels.is_some() {
            let preview = open(&house.server, &sent["message"]["thumbnailUrl"]).await;
            image::load_from_memory_with_format(&preview.body, ImageFormat::Jpeg).expect("a JPEG");
        }
    }
    // Near, but none of them.
    for (mime, bytes) in [("video/webm", ebml("matroska")), ("audio/wav", ogg(b"OpusHead")), ("video/quicktime", ftyp("isom"))] {
        let (id, _) = house.upload(mime, &bytes).await;
        let (status, answer) = house.complete(&house.user, &id).await;
        assert_eq!((status, &answer["code"]), (422, &json!("MEDIA_REFUSED")), "{mime}");
    }
    house.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_goes_its_whole_way_through_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    every_kind(&[("DATA_DIR", folder.path().to_str().expect("text"))], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_goes_its_whole_way_through_a_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = storage(folder.path()).await;
    let bucket = [("S3_ENDPOINT", url.as_str()), ("S3_BUCKET", "chat-media")];
    let keys = [("S3_ACCESS_KEY_ID", ACCESS_KEY), ("S3_SECRET_ACCESS_KEY", SECRET_KEY)];
    every_kind(&[bucket, keys].concat(), false).await;
}
