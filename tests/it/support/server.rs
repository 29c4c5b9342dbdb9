//! The server in this process, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use samvad::app::App;
use samvad::auth::Verifier;
use samvad::config::{Config, Raw};
use samvad::models::{Participant, ParticipantKind};
use samvad::server::Server;
use samvad::services::Services;
use samvad::store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The shared admin key of every test server.
pub const ADMIN_KEY: &str = "an admin key of the tests";

/// A running server; dropping it cuts it off without ceremony.
pub struct TestServer {
    /// Where it listens, as `http://…`.
    pub url: String,
    /// Its rules.
    pub services: Services,
    verifier: Verifier,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl TestServer {
    /// Starts one over this store.
    pub async fn start(store: Arc<dyn Store>) -> Self {
        let config = Config::parse(&Raw::from_pairs([("PORT", "0")])).expect("legal settings");
        let verifier = Verifier::new("a secret of the tests", Some(ADMIN_KEY.into()));
        let app = App::new(&config, verifier.clone(), store);
        let services = app.services.clone();
        let server = Server::bind(app, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { url, services, verifier, stop, running }
    }

    /// A token for this person.
    pub fn token(&self, kind: ParticipantKind, id: &str) -> String {
        let person = Participant::new(kind, id).expect("a legal id");
        self.verifier.mint(&person, Some(&format!("Name of {id}")), Duration::from_secs(600)).expect("signs")
    }

    /// A connected user.
    pub async fn user(&self, id: &str) -> Client {
        Client::connect(&self.url, &self.token(ParticipantKind::User, id)).await
    }

    /// A connected astrologer.
    pub async fn astrologer(&self, id: &str) -> Client {
        Client::connect(&self.url, &self.token(ParticipantKind::Astrologer, id)).await
    }

    /// A connected admin, by the shared key.
    pub async fn admin(&self) -> Client {
        Client::connect(&self.url, ADMIN_KEY).await
    }

    /// Stops it as SIGTERM would, and waits until it is down.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("the server does not panic");
    }
}
