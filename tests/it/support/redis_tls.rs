//! A real Redis that speaks TLS only and asks for a user and a password, with an authority and a certificate of the test's own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::redis::{Redis, free_port};

/// The password of both users.
pub const PASSWORD: &str = "what only nodes know";
/// The same as an address spells it.
const PASSWORD_IN_URL: &str = "what%20only%20nodes%20know";

/// Where its authority is written down.
pub struct RedisTls {
    /// Give it to whoever starts nodes; it must go before this does.
    pub port: u16,
    folder: TempDir,
}

impl RedisTls {
    /// Starts one: the user `samvad` may do what docs/scaling.md asks for, `deaf` may not listen.
    pub fn start() -> (Redis, Self) {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address").signed_by(&key, &authority);
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
        write("ca.pem", authority.pem());
        write("redis.pem", certificate.expect("signed").pem());
        write("redis.key", key.serialize_pem());
        write("stranger.pem", self::authority().pem());

        let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        let port = free_port();
        let mut arguments: Vec<String> = ["--port", "0", "--tls-auth-clients", "no", "--tls-port"].map(str::to_owned).into();
        arguments.push(port.to_string());
        for (name, value) in [("cert", "redis.pem"), ("key", "redis.key"), ("ca-cert", "ca.pem")] {
            arguments.extend([format!("--tls-{name}-file"), file(value)]);
        }
        let rights = "~{samvad:}* +@all -@admin -@dangerous +info";
        for user in [format!("samvad on #{} {rights} &{{samvad:}}*", hash()), format!("deaf on #{} {rights}", hash()), "default off".into()]
        {
            arguments.push("--user".into());
            arguments.extend(user.split(' ').map(str::to_owned));
        }
        (Redis::with(port, arguments), Self { port, folder })
    }

    /// Its address for a user with a password.
    pub fn url(&self, user: &str) -> String {
        format!("rediss://{user}:{PASSWORD_IN_URL}@127.0.0.1:{}", self.port)
    }

    /// The file with its authority.
    pub fn authority(&self) -> String {
        self.file("ca.pem")
    }

    /// The file with another one of the same name, which has signed nothing.
    pub fn stranger(&self) -> String {
        self.file("stranger.pem")
    }

    fn file(&self, name: &str) -> String {
        let path: &Path = &self.folder.path().join(name);
        path.to_str().expect("text").to_owned()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A command line splits at spaces, so Redis is given the password's SHA-256.
fn hash() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, PASSWORD.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
