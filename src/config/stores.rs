//! Where documents are kept, and how several nodes on them hear each other.

use std::path::PathBuf;

use redis::{IntoConnectionInfo, TlsCertificates};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::reader::Reader;

/// Which store to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// SQLite in this folder (`DATA_DIR`).
    Embedded(PathBuf),
    /// MongoDB (`MONGODB_URI`, `MONGODB_DB`).
    Mongo {
        /// Connection string.
        uri: String,
        /// Database name.
        database: String,
    },
}

/// How nodes hear each other. Has no `Debug`: the address may hold a password.
#[derive(Clone)]
pub struct BusConfig {
    /// `REDIS_URL`, understood, with `REDIS_CA_FILE`.
    pub clients: Vec<redis::Client>,
    /// `REDIS_PREFIX`.
    pub prefix: String,
}

impl Reader<'_> {
    pub(super) fn bus(&mut self, embedded: bool) -> Option<BusConfig> {
        let prefix = self.text("REDIS_PREFIX");
        let url = self.raw.get("REDIS_URL")?;
        if embedded {
            self.mistakes.push("REDIS_URL needs MONGODB_URI: the embedded store is one node's alone".into());
        }
        let urls: Vec<&str> = url.split(',').map(str::trim).collect();
        let authority = self.redis_authority(urls.iter().any(|url| url.starts_with("rediss://")));
        let clients: Option<Vec<redis::Client>> = urls.iter().map(|url| redis_client(url, authority.as_deref())).collect();
        if prefix.contains(['{', '}']) {
            self.mistakes.push("REDIS_PREFIX may not contain braces, which mean something to a cluster".into());
        }
        if clients.is_none() {
            // Without the value, which may hold a password.
            self.mistakes
                .push("REDIS_URL must be like redis://host:6379 or rediss://user:password@host:6379, several separated by commas".into());
        }
        Some(BusConfig { clients: clients?, prefix })
    }

    /// The content of `REDIS_CA_FILE`. An empty one would be taken as well, and trust nobody.
    fn redis_authority(&mut self, is_encrypted: bool) -> Option<Vec<u8>> {
        let file = self.raw.get("REDIS_CA_FILE")?;
        if !is_encrypted {
            self.mistakes.push("REDIS_CA_FILE needs an address in REDIS_URL that begins with rediss://".into());
            return None;
        }
        let mut roots = rustls::RootCertStore::empty();
        let read = std::fs::read(file).map_err(|e| e.to_string()).and_then(|pem| {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
            let (_, wrong) = roots.add_parsable_certificates(certificates);
            if roots.is_empty() || wrong > 0 { Err("holds no certificate as PEM, or a broken one".into()) } else { Ok(pem) }
        });
        read.inspect_err(|why| self.mistakes.push(format!("REDIS_CA_FILE {why}"))).ok()
    }
}

/// A client that speaks RESP3, in which messages and answers share a connection.
fn redis_client(url: &str, authority: Option<&[u8]>) -> Option<redis::Client> {
    let address = url.into_connection_info().ok().filter(|_| url.starts_with("redis://") || url.starts_with("rediss://"))?;
    let settings = address.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
    let address = address.set_redis_settings(settings);
    match authority.filter(|_| url.starts_with("rediss://")) {
        Some(pem) => redis::Client::build_with_tls(address, TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) }).ok(),
        None => redis::Client::open(address).ok(),
    }
}

/// The database a MongoDB address names.
pub fn database_in(uri: &str) -> Option<String> {
    let after_scheme = uri.split_once("://")?.1;
    let path = after_scheme.split_once('/')?.1;
    let name = path.split('?').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}
