//! A bucket of S3-compatible storage. Addresses are signed here without asking anybody; the server itself asks for sizes and first bytes,
//! and writes previews.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::models::Timestamp;

use super::Shown;

/// How long storage may take for one request of ours.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long an address is good that only this server uses.
const OURS: Duration = Duration::from_secs(60);

/// Where the bucket is, and who may use it. Has no `Debug`: it holds a key.
#[derive(Clone)]
pub struct BucketSettings {
    /// Where this server reaches the storage.
    pub endpoint: String,
    /// Where clients reach it; the host is part of what is signed.
    pub public_endpoint: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// True: the name is in the path. False: in the host.
    pub path_style: bool,
    /// Who.
    pub access_key: String,
    /// With which secret.
    pub secret_key: String,
}

/// A bucket.
pub struct Bucket {
    inside: rusty_s3::Bucket,
    outside: rusty_s3::Bucket,
    credentials: Credentials,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Bucket {
    /// `None` where an address or the name cannot be one. Asks nothing.
    pub fn new(settings: &BucketSettings) -> Option<Self> {
        let style = || if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket =
            |endpoint: &str| rusty_s3::Bucket::new(endpoint.parse().ok()?, style(), settings.name.clone(), settings.region.clone()).ok();
        // Redirects are not followed: one could lead away from https.
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Some(Self {
            inside: bucket(&settings.endpoint)?,
            outside: bucket(&settings.public_endpoint)?,
            credentials: Credentials::new(settings.access_key.clone(), settings.secret_key.clone()),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Where a client may `PUT` exactly so many bytes of this type; both are signed headers.
    pub fn upload_address(&self, key: &str, mime: &str, size_bytes: u64, within: Duration, now: Timestamp) -> String {
        let mut put = self.outside.put_object(Some(&self.credentials), key);
        put.headers_mut().insert("content-length", size_bytes.to_string());
        put.headers_mut().insert("content-type", mime.to_owned());
        put.sign_with_time(within, &moment(now)).into()
    }

    /// Where a client may `GET` a file, and how storage is to show it.
    pub fn download_address(&self, key: &str, shown: &Shown, within: Duration, now: Timestamp) -> String {
        let mut get = self.outside.get_object(Some(&self.credentials), key);
        get.query_mut().insert("response-content-disposition", shown.disposition.clone());
        get.query_mut().insert("response-content-type", shown.mime);
        get.query_mut().insert("response-cache-control", "private, max-age=86400");
        get.sign_with_time(within, &moment(now)).into()
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>> {
        let head = self.inside.head_object(Some(&self.credentials), key).sign(OURS);
        let answer = self.ask(Method::HEAD, head.as_str(), None, Bytes::new()).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = expect(answer)?;
        let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        length.map(Some).ok_or_else(|| Error::unavailable("storage does not say how large a file is"))
    }

    pub(super) async fn read(&self, key: &str, most: u64) -> Result<Vec<u8>> {
        let get = self.inside.get_object(Some(&self.credentials), key).sign(OURS);
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        let mut body = expect(self.ask(Method::GET, get.as_str(), Some((header::RANGE, &range)), Bytes::new()).await?)?.into_body();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        // Storage that ignores the range sends more than is wanted.
        while bytes.len() < most
            && let Some(frame) = timeout(ANSWER_WITHIN, body.frame()).await.map_err(Error::unavailable)?
        {
            if let Ok(piece) = frame.map_err(Error::unavailable)?.into_data() {
                bytes.extend_from_slice(&piece);
            }
        }
        bytes.truncate(most);
        Ok(bytes)
    }

    pub(super) async fn write(&self, key: &str, mime: &'static str, bytes: Vec<u8>) -> Result<()> {
        let mut put = self.inside.put_object(Some(&self.credentials), key);
        put.headers_mut().insert("content-type", mime);
        let address = put.sign(OURS);
        let answer = self.ask(Method::PUT, address.as_str(), Some((header::CONTENT_TYPE, mime)), bytes.into()).await?;
        expect(answer).map(drop)
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        let delete = self.inside.delete_object(Some(&self.credentials), key).sign(OURS);
        let answer = self.ask(Method::DELETE, delete.as_str(), None, Bytes::new()).await?;
        if answer.status() == StatusCode::NOT_FOUND { Ok(()) } else { expect(answer).map(drop) }
    }

    async fn ask(
        &self,
        method: Method,
        address: &str,
        header: Option<(header::HeaderName, &str)>,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(address);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(Error::internal)?;
        // Without the address: whoever reads it in a log could use it.
        let answer =
            timeout(ANSWER_WITHIN, self.client.request(request)).await.map_err(|_| Error::unavailable("storage does not answer"))?;
        answer.map_err(|e| Error::unavailable(format!("storage cannot be reached: {e}")))
    }
}

fn moment(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default()
}

fn expect(answer: Response<Incoming>) -> Result<Response<Incoming>> {
    if answer.status().is_success() { Ok(answer) } else { Err(Error::unavailable(format!("storage answers {}", answer.status()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(endpoint: &str, name: &str, path_style: bool) -> Bucket {
        let settings = BucketSettings {
            endpoint: endpoint.into(),
            public_endpoint: endpoint.into(),
            name: name.into(),
            region: "us-east-1".into(),
            path_style,
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        Bucket::new(&settings).expect("legal settings")
    }

    #[test]
    fn an_upload_signs_the_size_and_the_type_as_others_do() {
        let at = Timestamp::parse("2025-01-01T00:00:00.000Z").expect("a time");
        let address = bucket("http://127.0.0.1:9000", "chat-media", true).upload_address(
            "u/42/image one+é.jpg",
            "image/jpeg",
            12_345,
            Duration::from_secs(300),
            at,
        );
        assert!(address.starts_with("http://127.0.0.1:9000/chat-media/u/42/image%20one%2B%C3%A9.jpg?"), "{address}");
        assert!(address.contains("X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost"), "{address}");
        assert!(address.ends_with("X-Amz-Signature=b9a3d11faaf5cd7d0e1a445552ca064b99e69939513e28eee27c4d81f456a609"), "{address}");
    }

    #[test]
    fn the_published_example_of_a_download_is_signed_alike() {
        let at = Timestamp::parse("2013-05-24T00:00:00.000Z").expect("a time");
        let bucket = bucket("https://s3.amazonaws.com", "examplebucket", false);
        let get = bucket.outside.get_object(Some(&bucket.credentials), "test.txt");
        let address = get.sign_with_time(Duration::from_secs(86_400), &moment(at));
        assert!(address.as_str().starts_with("https://examplebucket.s3.amazonaws.com/test.txt?"), "{address}");
        assert!(
            address.as_str().ends_with("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"),
            "{address}"
        );
    }

    #[test]
    fn clients_get_the_public_name_and_what_is_shown_is_part_of_the_address() {
        let mut settings_of = bucket("http://127.0.0.1:9000", "b", true);
        settings_of.outside = bucket("https://files.example", "b", true).outside;
        let shown = Shown { mime: "application/pdf", disposition: "attachment".into() };
        let address = settings_of.download_address("media/x.pdf", &shown, Duration::from_secs(60), Timestamp::from_millis(0));
        assert!(address.starts_with("https://files.example/b/media/x.pdf?"), "{address}");
        assert!(address.contains("response-content-disposition=attachment") && address.contains("response-content-type=application%2Fpdf"));
    }
}
