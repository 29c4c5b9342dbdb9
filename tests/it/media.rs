//! Attachments: a file on its whole way, through a folder and through S3-compatible storage, and everything that is refused.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use image::{DynamicImage, ImageFormat};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use samvad::files::{Bucket, BucketSettings};
use samvad::models::media::{Attachment, AttachmentState, MediaId, MediaType};
use samvad::models::{ConversationKey, ParticipantKind, Timestamp};
use samvad::services::Clock;
use samvad::store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http::request;
use crate::support::nodes::to_astrologer;
use crate::support::people::{astrologer, at, user};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores::{self, on_every_driver};

on_every_driver!(
    an_attachment_is_used_once_it_is_ready_by_its_owner_in_its_conversation,
    who_names_it_first_keeps_it_and_what_is_given_up_is_erased,
    what_nobody_needs_is_found_and_forgotten_and_what_is_used_stays,
    a_message_that_is_refused_for_good_keeps_no_file,
    a_file_goes_its_whole_way_through_a_folder,
    a_file_goes_its_whole_way_through_a_bucket,
);

fn key(text: &str) -> ConversationKey {
    ConversationKey::parse(text).expect("legal")
}

fn announced(at_ms: i64) -> Attachment {
    Attachment {
        id: MediaId::random(),
        conversation: key("user_u1_a1"),
        owner: user("u1"),
        name: "कुंडली.png".into(),
        media_type: MediaType::find("image/png").expect("a kind"),
        size_bytes: 5_000_000_000,
        state: AttachmentState::Pending,
        pixels: None,
        created_at: at(at_ms),
    }
}

async fn an_attachment_is_used_once_it_is_ready_by_its_owner_in_its_conversation(store: Arc<dyn Store>) {
    let new = announced(0);
    store.announce_media(new.clone()).await.expect("kept");
    assert_eq!(store.find_media(new.id).await.expect("read"), Some(new.clone()));
    assert_eq!(store.find_media(MediaId::random()).await.expect("read"), None);
    let mine = || store.use_media(new.id, &new.owner, &new.conversation);
    assert!(!mine().await.expect("asked"), "not ready");
    assert!(store.complete_media(new.id, Some((640, 480))).await.expect("changed"));
    assert!(!store.complete_media(new.id, None).await.expect("asked"), "once");
    let ready = Attachment { state: AttachmentState::Ready, pixels: Some((640, 480)), ..new.clone() };
    assert_eq!(store.find_media(new.id).await.expect("read"), Some(ready));
    assert!(!store.use_media(new.id, &astrologer("a1"), &new.conversation).await.expect("asked"), "somebody else's");
    assert!(!store.use_media(new.id, &astrologer("u1"), &new.conversation).await.expect("asked"), "the same id of another kind");
    assert!(!store.use_media(new.id, &new.owner, &key("user_u1_a2")).await.expect("asked"), "another conversation");
    assert!(mine().await.expect("used") && mine().await.expect("used again"));
    // Two messages named it, or were to; one of them was refused, then the other.
    let is_abandoned = async || !store.abandoned_media(at(0), at(1), 1).await.expect("read").is_empty();
    store.release_media(new.id).await.expect("released");
    assert!(!is_abandoned().await, "the other one may be there");
    store.release_media(new.id).await.expect("released");
    assert!(is_abandoned().await, "no message names it");
    store.release_media(new.id).await.expect("nobody held it");
    assert!(mine().await.expect("used"));
    assert!(!is_abandoned().await);
    store.release_media(MediaId::random()).await.expect("nobody's");
    store.erase_media(new.id).await.expect("erased");
    assert!(!mine().await.expect("asked"), "erased");
    assert!(!store.complete_media(new.id, None).await.expect("asked"));
    store.erase_media(MediaId::random()).await.expect("nobody's");
}

async fn who_names_it_first_keeps_it_and_what_is_given_up_is_erased(store: Arc<dyn Store>) {
    let all: Vec<Attachment> = (0..3).map(|n| announced(n * 1_000)).collect();
    for attachment in &all {
        store.announce_media(attachment.clone()).await.expect("kept");
    }
    let [pending, unnamed, named] = [0, 1, 2].map(|n| all[n].id);
    for id in [unnamed, named] {
        assert!(store.complete_media(id, None).await.expect("changed"));
    }
    let names = |id| store.use_media(id, &all[0].owner, &all[0].conversation);
    assert!(names(named).await.expect("used"));
    assert!(!store.give_up_media(named).await.expect("asked"), "a message shows it");
    for id in [pending, unnamed] {
        assert!(store.give_up_media(id).await.expect("given up"));
        assert!(!store.give_up_media(id).await.expect("asked"), "once");
        assert_eq!(store.find_media(id).await.expect("read").expect("known").state, AttachmentState::Erased);
        assert!(!store.complete_media(id, None).await.expect("asked") && !names(id).await.expect("asked"));
    }
    assert!(!store.give_up_media(MediaId::random()).await.expect("asked"), "nobody's");
    assert_eq!(store.find_media(named).await.expect("read").expect("known").state, AttachmentState::Ready);
    assert_eq!(store.abandoned_media(at(0), at(0), 10).await.expect("read").len(), 2);
}

async fn what_nobody_needs_is_found_and_forgotten_and_what_is_used_stays(store: Arc<dyn Store>) {
    let all: Vec<Attachment> = (0..5).map(|n| announced(n * 1_000)).collect();
    for attachment in &all {
        store.announce_media(attachment.clone()).await.expect("kept");
    }
    let [pending, ready, used, erased, _] = [0, 1, 2, 3, 4].map(|n| all[n].id);
    for id in [ready, used, erased] {
        assert!(store.complete_media(id, None).await.expect("changed"));
    }
    assert!(store.use_media(used, &user("u1"), &key("user_u1_a1")).await.expect("used"));
    assert!(store.use_media(erased, &user("u1"), &key("user_u1_a1")).await.expect("used"));
    store.erase_media(erased).await.expect("erased");
    let abandoned = |pending_before, unused_before, limit| {
        let store = store.clone();
        async move {
            let found = store.abandoned_media(at(pending_before), at(unused_before), limit).await.expect("read");
            let mut ids: Vec<String> = found.into_iter().map(|one| one.id.to_string()).collect();
            ids.sort();
            ids
        }
    };
    let ids = |of: &[MediaId]| {
        let mut ids: Vec<String> = of.iter().map(ToString::to_string).collect();
        ids.sort();
        ids
    };
    assert_eq!(abandoned(0, 0, 10).await, ids(&[erased]));
    assert_eq!(abandoned(1, 0, 10).await, ids(&[pending, erased]));
    assert_eq!(abandoned(1, 1_001, 10).await, ids(&[pending, ready, erased]));
    assert_eq!(abandoned(1, 1_001, 2).await.len(), 2);
    let forgotten = store.forget_media(&[pending, ready, used, erased, MediaId::random()]).await.expect("forgotten");
    assert_eq!(ids(&forgotten), ids(&[pending, ready, erased]), "what is used stays");
    assert!(store.find_media(used).await.expect("read").is_some());
    assert_eq!(abandoned(1, 1_001, 10).await, Vec::<String>::new());
}

pub(super) const ACCESS_KEY: &str = "AKIATESTONLY";
pub(super) const SECRET_KEY: &str = "a secret key of the tests";

/// S3-compatible storage in this process, with one bucket.
pub(super) async fn storage(folder: &Path) -> String {
    std::fs::create_dir(folder.join("chat-media")).expect("a bucket is a folder");
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).expect("a folder"));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    url
}

/// An answer with its bytes.
pub(super) struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A request without a credential, to an address as a client was given it.
pub(super) async fn ask(server: &TestServer, method: &str, address: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let address = if address.starts_with('/') { format!("{}{address}", server.url) } else { address.to_owned() };
    let (host, path) = address.strip_prefix("http://").expect("http").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).await.expect("connects");
    let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if method == "PUT" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("written");
    // A server that refuses need not read what it refuses.
    let _ = stream.write_all(body).await;
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await.expect("an answer in time");
    let end =
        heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("an answer: {:?}", String::from_utf8_lossy(&heard)));
    let head = String::from_utf8_lossy(&heard[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head, body: heard[end + 4..].to_vec() }
}

/// The file an address of a message leads to.
pub(super) async fn open(server: &TestServer, address: &Value) -> Reply {
    let led = ask(server, "GET", address.as_str().expect("an address"), &[], &[]).await;
    assert_eq!(led.status, 302, "{}", led.head);
    ask(server, "GET", led.header("location").expect("an address"), &[], &[]).await
}

pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 99]));
    DynamicImage::ImageRgb8(picture).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).expect("written");
    bytes
}

/// A JPEG that says it is to be turned by a quarter, and where it was taken.
fn turned_jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::ImageRgb8(image::RgbImage::new(width, height))
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg)
        .expect("written");
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    exif.extend(b"28.6139N 77.2090E");
    let mut turned = bytes[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend(u16::try_from(exif.len() + 2).expect("short").to_be_bytes());
    turned.extend(exif);
    turned.extend(&bytes[2..]);
    turned
}

/// The first bytes of a picture of two and a half billion pixels.
fn bomb() -> Vec<u8> {
    let mut bytes = png(1, 1);
    bytes[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
    let mut crc = u32::MAX;
    for byte in &bytes[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

/// A server and two people who talk.
pub(super) struct House {
    pub server: TestServer,
    pub conversation: String,
    pub user: String,
    pub expert: String,
    pub stranger: String,
}

impl House {
    /// `u1` has written to `a1`.
    pub async fn start(store: Arc<dyn Store>, settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")].iter().chain(settings).copied().collect();
        let server = TestServer::start_with(store, &settings).await;
        let [user, expert, stranger] = [(ParticipantKind::User, "u1"), (ParticipantKind::Astrologer, "a1"), (ParticipantKind::User, "u9")]
            .map(|(kind, id)| server.token(kind, id));
        let sent = server.user("u1").await.call("dm:send_message", &to_astrologer("a1", "hello")).await;
        let conversation = sent["message"]["conversationKey"].as_str().expect("a key").to_owned();
        Self { server, conversation, user, expert, stranger }
    }

    pub async fn announce(&self, token: &str, body: &Value) -> (u16, Value) {
        request(&self.server.url, "POST", "/api/media/uploads", Some(token), Some(body)).await
    }

    pub fn of(&self, mime: &str, size: usize) -> Value {
        json!({ "conversationId": self.conversation, "name": "../../etc/a \"name\".x", "mimeType": mime, "size": size })
    }

    /// Announces and uploads. Id and address.
    pub async fn upload(&self, mime: &str, bytes: &[u8]) -> (String, String) {
        let (status, answer) = self.announce(&self.user, &self.of(mime, bytes.len())).await;
        assert_eq!(status, 201, "{answer}");
        let address = answer["data"]["upload"]["url"].as_str().expect("an address").to_owned();
        assert_eq!(answer["data"]["upload"]["headers"], json!({ "Content-Type": mime }));
        let put = ask(&self.server, "PUT", &address, &[("Content-Type", mime)], bytes).await;
        assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
        (answer["data"]["mediaId"].as_str().expect("an id").to_owned(), address)
    }

    pub async fn complete(&self, token: &str, id: &str) -> (u16, Value) {
        request(&self.server.url, "POST", &format!("/api/media/{id}/complete"), Some(token), None).await
    }

    pub async fn lead(&self, token: &str, path: &str) -> Reply {
        ask(&self.server, "GET", path, &[("Authorization", &format!("Bearer {token}"))], &[]).await
    }
}

async fn a_message_that_is_refused_for_good_keeps_no_file(store: Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("DATA_DIR", folder.path().to_str().expect("text"))];
    let house = House::start(Arc::clone(&store), &settings).await;
    let mut client = house.server.user("u1").await;
    let [refused, named] = [house.upload("image/png", &png(4, 2)).await.0, house.upload("image/png", &png(4, 2)).await.0];
    for id in [&refused, &named] {
        assert_eq!(house.complete(&house.user, id).await.0, 200);
    }
    let send = |name: &str, id: &str| json!({ "conversationId": house.conversation, "clientMessageId": name, "mediaId": id });
    let text = json!({ "conversationId": house.conversation, "clientMessageId": "one", "content": "hello" });
    assert_eq!(client.call("dm:send_message", &text).await["ok"], true);
    assert_eq!(client.call("dm:send_message", &send("two", &named)).await["ok"], true);
    // Refused for good: with a name that is taken, the file that no message names and the one that a message does.
    for id in [&refused, &named] {
        assert_eq!(client.call("dm:send_message", &send("one", id)).await["code"], "CONFLICT");
    }
    // The same once more is no refusal.
    assert_eq!(client.call("dm:send_message", &send("two", &named)).await["duplicate"], true);
    let unused = async || store.abandoned_media(at(0), Timestamp::now().plus(Duration::from_secs(1)), 10).await.expect("read");
    until("what was refused keeps no file", async || unused().await.iter().any(|one| one.id.to_string() == refused)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(unused().await.len(), 1, "the other one is shown by a message");
    // It is as before, and may be sent.
    assert_eq!(client.call("dm:send_message", &send("three", &refused)).await["ok"], true);
    assert!(unused().await.is_empty());
    house.server.stop().await;
}

async fn a_file_goes_its_whole_way_through_a_folder(store: Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text").to_owned();
    let kept = folder.path().join("media/media");
    whole_way(store, &[("DATA_DIR", &data)], &kept, true).await;
}

async fn a_file_goes_its_whole_way_through_a_bucket(store: Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = storage(folder.path()).await;
    let settings = [
        ("S3_ENDPOINT", url.as_str()),
        ("S3_BUCKET", "chat-media"),
        ("S3_ACCESS_KEY_ID", ACCESS_KEY),
        ("S3_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    // An address that was signed an hour ago is too old, and one of somebody with another key is nothing.
    let late = |secret: &str, ago: u64| {
        let settings = BucketSettings {
            endpoint: url.clone(),
            public_endpoint: url.clone(),
            name: "chat-media".into(),
            region: "us-east-1".into(),
            path_style: true,
            access_key: ACCESS_KEY.into(),
            secret_key: secret.into(),
        };
        let now = Timestamp::now().minus(Duration::from_secs(ago));
        Bucket::new(&settings).expect("a bucket").upload_address("media/x.png", "image/png", 3, Duration::from_secs(300), now)
    };
    whole_way(store, &settings, &folder.path().join("chat-media/media"), false).await;
    let (other, _guard) = stores::sqlite();
    let server = TestServer::start(other).await;
    for (address, status) in [(late(SECRET_KEY, 3_600), 403), (late("another secret key", 0), 403), (late(SECRET_KEY, 0), 200)] {
        assert_eq!(ask(&server, "PUT", &address, &[("Content-Type", "image/png")], b"abc").await.status, status, "{address}");
    }
    server.stop().await;
}

#[expect(clippy::too_many_lines, reason = "one file's way, step by step")]
async fn whole_way(store: Arc<dyn Store>, settings: &[(&str, &str)], kept: &Path, is_ours: bool) {
    let settings: Vec<_> = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")].iter().chain(settings).copied().collect();
    let server = TestServer::start_with(store, &settings).await;
    let token = |kind, id| server.token(kind, id);
    let (user, expert) = (token(ParticipantKind::User, "u1"), token(ParticipantKind::Astrologer, "a1"));
    let stranger = token(ParticipantKind::User, "u9");
    let (mut client, mut other) = (server.user("u1").await, server.astrologer("a1").await);
    let sent = client.call("dm:send_message", &to_astrologer("a1", "hello")).await;
    let conversation = sent["message"]["conversationKey"].as_str().expect("a key").to_owned();
    client.call("dm:send_message", &to_astrologer("a2", "hello")).await;
    other.expect("dm:new_message").await;
    let house = House { server, conversation, user, expert, stranger };

    // What is not announced as it should be.
    let code = |answer: &(u16, Value)| (answer.0, answer.1["code"].as_str().unwrap_or_default().to_owned());
    for mime in ["image/svg+xml", "text/html", "application/javascript", "image/gif", "application/x-msdownload", "nonsense"] {
        assert_eq!(code(&house.announce(&house.user, &house.of(mime, 10)).await), (422, "MEDIA_REFUSED".into()), "{mime}");
    }
    assert_eq!(code(&house.announce(&house.user, &house.of("image/png", 0)).await), (400, "INVALID_PAYLOAD".into()));
    assert_eq!(code(&house.announce(&house.user, &house.of("image/png", 30 << 20)).await), (413, "PAYLOAD_TOO_LARGE".into()));
    assert_eq!(code(&house.announce(&house.user, &house.of("video/mp4", 90 << 20)).await), (413, "PAYLOAD_TOO_LARGE".into()));
    for token in [&house.stranger, &ADMIN_KEY.to_owned()] {
        assert_eq!(code(&house.announce(token, &house.of("image/png", 10)).await), (404, "CONVERSATION_NOT_FOUND".into()));
    }

    // What is not uploaded as it was announced.
    let picture = png(1_000, 500);
    let (status, answer) = house.announce(&house.user, &house.of("image/png", picture.len())).await;
    assert_eq!(status, 201, "{answer}");
    let (id, address) = (answer["data"]["mediaId"].as_str().expect("an id"), answer["data"]["upload"]["url"].as_str().expect("an address"));
    assert_eq!(code(&house.complete(&house.user, id).await), (409, "CONFLICT".into()), "nothing is there");
    let longer = [&picture[..], b"!"].concat();
    let elsewhere = address.replace(id, &MediaId::random().to_string());
    let forged = address.replace("ignature=", "ignature=0");
    let put =
        async |address: &str, mime: &str, bytes: &[u8]| ask(&house.server, "PUT", address, &[("Content-Type", mime)], bytes).await.status;
    for (what, status) in [
        ("longer", put(address, "image/png", &longer).await),
        ("shorter", put(address, "image/png", &picture[1..]).await),
        ("another type", put(address, "text/html", &picture).await),
        ("another file", put(&elsewhere, "image/png", &picture).await),
        ("another signature", put(&forged, "image/png", &picture).await),
    ] {
        assert!((400..500).contains(&status), "{what}: {status}");
    }
    assert_eq!(code(&house.complete(&house.user, id).await), (409, "CONFLICT".into()), "still nothing");
    let message = json!({ "conversationId": house.conversation, "mediaId": id, "clientMessageId": "one" });
    assert_eq!(put(address, "image/png", &picture).await, 200);
    assert_eq!(client.call("dm:send_message", &message).await["code"], "MEDIA_NOT_FOUND", "not complete");

    // Complete: a preview, and the way there for those who take part.
    assert_eq!(code(&house.complete(&house.expert, id).await), (404, "MEDIA_NOT_FOUND".into()), "not his");
    let (status, done) = house.complete(&house.user, id).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(
        (&done["data"]["width"], &done["data"]["height"], &done["data"]["messageType"]),
        (&json!(1000), &json!(500), &json!("image"))
    );
    assert_eq!(house.complete(&house.user, id).await.0, 200, "again");
    if is_ours {
        assert_eq!(put(address, "image/png", &picture).await, 409, "what was looked at stays");
    }
    let path = format!("/api/media/{id}");
    let unknown = format!("/api/media/{}", MediaId::random());
    let [hidden, nobody] = [house.lead(&house.stranger, &path).await, house.lead(&house.stranger, &unknown).await];
    assert_eq!((hidden.status, &hidden.body), (404, &nobody.body), "the same");
    assert_eq!(ask(&house.server, "GET", &path, &[], &[]).await.status, 401);
    for token in [&house.user, &house.expert, &ADMIN_KEY.to_owned()] {
        for path in [path.clone(), format!("{path}/thumbnail")] {
            assert_eq!(house.lead(token, &path).await.status, 302, "{path}");
        }
    }
    assert_eq!(code(&house.complete(&house.user, "../../etc/passwd").await).0, 404);
    assert_eq!(code(&house.complete(&house.user, "not-an-id").await), (400, "INVALID_ID".into()));

    // The message, as both hear it and as it is read later.
    assert_eq!(other.call("dm:send_message", &message).await["code"], "MEDIA_NOT_FOUND", "not his");
    let other_one = json!({ "conversationId": "user_u1_a2", "mediaId": id });
    assert_eq!(client.call("dm:send_message", &other_one).await["code"], "MEDIA_NOT_FOUND", "of another conversation");
    let both = json!({ "conversationId": house.conversation, "mediaId": id, "mediaUrl": "https://cdn.example/a.png" });
    assert_eq!(client.call("dm:send_message", &both).await["code"], "INVALID_PAYLOAD");
    let sent = client.call("dm:send_message", &message).await;
    assert_eq!(sent["ok"], true, "{sent}");
    assert_eq!(client.call("dm:send_message", &message).await["duplicate"], true);
    let heard = other.expect("dm:new_message").await;
    let history = other.call("dm:history", &json!({ "conversationId": house.conversation })).await;
    let synced = client.call("dm:sync", &json!({ "conversationId": house.conversation })).await;
    let read = |page: &Value| page["messages"].as_array().expect("a list").last().expect("a message").clone();
    for message in [&sent["message"], &heard, &read(&history), &read(&synced)] {
        assert_eq!((&message["messageType"], &message["mediaId"]), (&json!("image"), &json!(id)), "{message}");
        assert_eq!(message["mediaSize"], picture.len());
        let file = open(&house.server, &message["mediaUrl"]).await;
        assert_eq!((file.status, file.body == picture), (200, true));
        let preview = open(&house.server, &message["thumbnailUrl"]).await;
        let preview = image::load_from_memory_with_format(&preview.body, ImageFormat::Jpeg).expect("a JPEG");
        assert_eq!((preview.width(), preview.height()), (320, 160));
    }
    let address = heard["mediaUrl"].as_str().expect("an address");
    for bad in [address.replace("signature=", "signature=0"), address.replace("expires=", "expires=9"), address.replace(id, &unknown[11..])]
    {
        assert_eq!(ask(&house.server, "GET", &bad, &[], &[]).await.status, 403, "{bad}");
    }
    if is_ours {
        let led = ask(&house.server, "GET", address, &[], &[]).await;
        let place = led.header("location").expect("an address").to_owned();
        let part = ask(&house.server, "GET", &place, &[("Range", "bytes=1-3")], &[]).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &b"PNG"[..]));
        assert_eq!(part.header("content-range"), Some(format!("bytes 1-3/{}", picture.len()).as_str()));
        for (name, value) in [
            ("content-type", "image/png"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox; frame-ancestors 'none'"),
        ] {
            assert_eq!(part.header(name), Some(value), "{name}");
        }
        assert_eq!(
            part.header("content-disposition"),
            Some("inline; filename=\"a _name_.x\"; filename*=UTF-8''a%20%22name%22.x"),
            "no path"
        );
        let (id, _) = house.upload("application/pdf", b"%PDF-1.7 and so on").await;
        let (_, done) = house.complete(&house.user, &id).await;
        let file = open(&house.server, &done["data"]["mediaUrl"]).await;
        assert!(file.header("content-disposition").expect("there").starts_with("attachment;"), "{}", file.head);
    }

    // A turned picture stands upright, and says nothing of where it was taken.
    let (turned, _) = house.upload("image/jpeg", &turned_jpeg(640, 320)).await;
    let (status, done) = house.complete(&house.user, &turned).await;
    assert_eq!((status, &done["data"]["width"], &done["data"]["height"]), (200, &json!(320), &json!(640)), "{done}");
    let preview = open(&house.server, &done["data"]["thumbnailUrl"]).await.body;
    let small = image::load_from_memory(&preview).expect("a picture");
    assert_eq!((small.width(), small.height()), (160, 320));
    assert!(!preview.windows(4).any(|four| four == b"Exif" || four == b"77.2"));

    // What is not what it says is refused, and gone.
    for (what, mime, bytes) in [
        ("a page", "image/png", b"<html><script>alert(1)</script></html>".to_vec()),
        ("a drawing", "image/jpeg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec()),
        ("another picture", "image/jpeg", png(4, 4)),
        ("half a picture", "image/png", png(400, 400)[..600].to_vec()),
        ("a bomb", "image/png", bomb()),
        ("a program", "video/mp4", b"\x7fELF\x02\x01\x01 and so on".to_vec()),
    ] {
        let (id, _) = house.upload(mime, &bytes).await;
        assert_eq!(code(&house.complete(&house.user, &id).await), (422, "MEDIA_REFUSED".into()), "{what}");
        assert_eq!(code(&house.complete(&house.user, &id).await), (404, "MEDIA_NOT_FOUND".into()), "{what}");
    }

    // Deleted for everyone: nothing leads there any more, and the file goes.
    assert!(kept.join(format!("{id}.png")).exists() && kept.join(format!("{id}.preview.jpg")).exists(), "{}", kept.display());
    let deleted = client.call("dm:delete_message", &json!({ "messageId": sent["message"]["_id"], "scope": "everyone" })).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    assert_eq!(ask(&house.server, "GET", address, &[], &[]).await.status, 404);
    assert_eq!(house.lead(&house.user, &path).await.status, 404);
    for _ in 0..200 {
        if !kept.join(format!("{id}.png")).exists() && !kept.join(format!("{id}.preview.jpg")).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!kept.join(format!("{id}.png")).exists() && !kept.join(format!("{id}.preview.jpg")).exists());
    house.server.stop().await;
}

/// So much has passed for the rules; and for the tasks, which look by themselves, a minute and another, until it is so. What asks MongoDB
/// just then is given up and takes a while to begin anew.
async fn once_passed(passed: &AtomicU64, minutes: u64, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    passed.store(minutes * 60, Ordering::Relaxed);
    for _ in 0..12 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        for _ in 0..250 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("{what}");
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(std::time::Instant::now() < give_up, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Uploads that are begun and left, as the task finds them that runs by itself.
async fn abandoned(store: Arc<dyn Store>, settings: &[(&str, &str)], kept: &Path, is_ours: bool) {
    let passed = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&passed);
    let clock: Clock = Arc::new(move || Timestamp::now().plus(Duration::from_secs(clock.load(Ordering::Relaxed))));
    let settings: Vec<_> = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")].iter().chain(settings).copied().collect();
    let server = TestServer::start_by(Arc::clone(&store), &settings, clock).await;
    let [user, expert, stranger] = [(ParticipantKind::User, "u1"), (ParticipantKind::Astrologer, "a1"), (ParticipantKind::User, "u9")]
        .map(|(kind, id)| server.token(kind, id));
    let mut client = server.user("u1").await;
    let sent = client.call("dm:send_message", &to_astrologer("a1", "hello")).await;
    let conversation = sent["message"]["conversationKey"].as_str().expect("a key").to_owned();
    let house = House { server, conversation, user, expert, stranger };
    let picture = png(40, 20);
    let media_id = |text: &str| MediaId::parse(text).expect("an id");
    let is_known = async |id: &str| loop {
        match store.find_media(media_id(id)).await {
            Ok(found) => break found.is_some(),
            Err(e) => assert!(e.is_retryable(), "{e}"),
        }
    };
    let has_bytes = |id: &str| kept.join(format!("{id}.png")).exists();
    let has_preview = |id: &str| kept.join(format!("{id}.preview.jpg")).exists();

    let (_, announced) = house.announce(&house.user, &house.of("image/png", picture.len())).await;
    let announced = announced["data"]["mediaId"].as_str().expect("an id").to_owned();
    let (uploaded, _) = house.upload("image/png", &picture).await;
    let mut complete = Vec::new();
    for _ in 0..4 {
        let (id, _) = house.upload("image/png", &picture).await;
        assert_eq!(house.complete(&house.user, &id).await.0, 200);
        complete.push(id);
    }
    let [unnamed, named, taken_back, another] = &complete[..] else { panic!("four") };
    let mut messages = Vec::new();
    for id in [named, taken_back, another] {
        let sent = client.call("dm:send_message", &json!({ "conversationId": house.conversation, "mediaId": id })).await;
        assert_eq!(sent["ok"], true, "{sent}");
        messages.push(sent["message"]["_id"].clone());
    }
    assert!(has_bytes(&uploaded) && !has_bytes(&announced));
    assert!(complete.iter().all(|id| has_bytes(id) && has_preview(id)));

    // A minute too early; what goes at once shows that it was looked, twice.
    passed.store(59 * 60, Ordering::Relaxed);
    for (message, id) in messages[1..].iter().zip([taken_back, another]) {
        let deleted = client.call("dm:delete_message", &json!({ "messageId": message, "scope": "everyone" })).await;
        assert_eq!(deleted["ok"], true, "{deleted}");
        until("what was taken back is removed", async || !is_known(id).await && !has_bytes(id) && !has_preview(id)).await;
    }
    assert!(is_known(&announced).await && is_known(&uploaded).await && has_bytes(&uploaded));

    // An hour: what was never completed goes, also where nothing was uploaded.
    let gone = async || !is_known(&announced).await && !is_known(&uploaded).await;
    once_passed(&passed, 61, "what was not completed is removed", gone).await;
    assert!(!has_bytes(&uploaded));
    assert_eq!(house.complete(&house.user, &uploaded).await.1["code"], "MEDIA_NOT_FOUND");

    // Less than a day: a message may still name what is complete. Another one that is not shows that it was looked.
    let another = async || {
        let (_, announced) = house.announce(&house.user, &house.of("image/png", picture.len())).await;
        announced["data"]["mediaId"].as_str().expect("an id").to_owned()
    };
    let second = another().await;
    once_passed(&passed, 23 * 60, "it is looked again", async || !is_known(&second).await).await;
    assert!(is_known(unnamed).await && has_bytes(unnamed));

    // A day: what no message has named goes. What a message shows stays.
    let gone = async || !is_known(unnamed).await && !has_bytes(unnamed) && !has_preview(unnamed);
    once_passed(&passed, 25 * 60, "what no message names is removed", gone).await;
    // What cannot be removed now holds nobody up, and is not forgotten.
    let [stuck, third] = [another().await, another().await];
    let in_the_way = kept.join(format!("{stuck}.png"));
    if is_ours {
        std::fs::create_dir(&in_the_way).expect("made");
    }
    once_passed(&passed, 400 * 24 * 60, "it is looked again", async || !is_known(&third).await).await;
    if is_ours {
        assert!(is_known(&stuck).await);
        std::fs::remove_dir(&in_the_way).expect("removed");
        let minutes = 401 * 24 * 60;
        once_passed(&passed, minutes, "what could not be removed is", async || !is_known(&stuck).await).await;
    }
    let left = std::fs::read_dir(kept).expect("the folder").map(|file| file.expect("read").file_name().into_string().expect("text"));
    let mut left: Vec<String> = left.filter(|name| !name.starts_with('.')).collect();
    left.sort();
    assert_eq!(left, [format!("{named}.png"), format!("{named}.preview.jpg")]);
    assert!(is_known(named).await);
    house.server.stop().await;
}

/// On one thread, because time is turned. Both stores with both places.
macro_rules! abandoned_uploads {
    ($($place:ident),+) => {
        mod abandoned_uploads_are_removed_by_themselves {
            $(mod $place {
                #[tokio::test]
                async fn sqlite() {
                    let (store, _folder) = crate::support::stores::sqlite();
                    super::super::$place(store).await;
                }

                #[tokio::test]
                async fn mongodb() {
                    let database = crate::support::stores::fresh_database();
                    super::super::$place(crate::support::stores::mongodb(&database).await).await;
                    crate::support::stores::drop_database(&database).await;
                }
            })+
        }
    };
}

abandoned_uploads!(from_a_folder, from_a_bucket);

async fn from_a_folder(store: Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text").to_owned();
    abandoned(store, &[("DATA_DIR", &data)], &folder.path().join("media/media"), true).await;
}

async fn from_a_bucket(store: Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = storage(folder.path()).await;
    let settings = [
        ("S3_ENDPOINT", url.as_str()),
        ("S3_BUCKET", "chat-media"),
        ("S3_ACCESS_KEY_ID", ACCESS_KEY),
        ("S3_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    abandoned(store, &settings, &folder.path().join("chat-media/media"), false).await;
}
