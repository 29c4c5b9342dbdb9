//! The server in this process, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use samvad::app::App;
use samvad::auth::{RefreshPace, Verifier};
use samvad::config::{Config, Raw};
use samvad::models::{Participant, ParticipantKind, Timestamp};
use samvad::server::Server;
use samvad::services::{Clock, Services};
use samvad::store::Store;
use samvad::transport::{Links, Places};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The shared admin key of every test server.
pub const ADMIN_KEY: &str = "an admin key of the tests";

const SECRET: &str = "a secret of the tests";

/// A running server; dropping it cuts it off without ceremony.
pub struct TestServer {
    /// Where it listens, as `http://…`.
    pub url: String,
    /// Its rules.
    pub services: Services,
    /// Its TCP connections.
    pub places: Places,
    /// Which session runs over which of them.
    pub links: Links,
    verifier: Verifier,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl TestServer {
    /// Starts one over this store. Nobody is too fast for it.
    pub async fn start(store: Arc<dyn Store>) -> Self {
        Self::start_with(store, &[("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")]).await
    }

    /// Starts one with these settings, which believes [`ADMIN_KEY`] and tokens of [`TestServer::sign`].
    pub async fn start_with(store: Arc<dyn Store>, settings: &[(&str, &str)]) -> Self {
        Self::start_by(store, settings, Arc::new(Timestamp::now)).await
    }

    /// The same, whose rules go by this clock.
    pub async fn start_by(store: Arc<dyn Store>, settings: &[(&str, &str)], clock: Clock) -> Self {
        Self::serve(store, settings, clock, |_| Verifier::new(SECRET, Some(ADMIN_KEY.into()))).await
    }

    /// Starts one with these settings, which believes whom they make known.
    pub async fn start_believing(store: Arc<dyn Store>, settings: &[(&str, &str)], pace: RefreshPace) -> Self {
        Self::serve(store, settings, Arc::new(Timestamp::now), |config| Verifier::from_config(config, pace).expect("readable keys")).await
    }

    async fn serve(store: Arc<dyn Store>, settings: &[(&str, &str)], clock: Clock, verifier: impl FnOnce(&Config) -> Verifier) -> Self {
        let pairs = [("PORT", "0")].into_iter().chain(settings.iter().copied());
        let config = Config::parse(&Raw::from_pairs(pairs)).expect("legal settings");
        let verifier = verifier(&config);
        let app = App::with_clock(&config, verifier.clone(), store, clock);
        let (services, places, links) = (app.services.clone(), app.places.clone(), app.links.clone());
        let server = Server::bind(app, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { url, services, places, links, verifier, stop, running }
    }

    /// A token for this person.
    pub fn token(&self, kind: ParticipantKind, id: &str) -> String {
        let person = Participant::new(kind, id).expect("a legal id");
        self.verifier.mint(&person, Some(&format!("Name of {id}")), Duration::from_secs(600)).expect("signs")
    }

    /// Claims signed with the server's secret.
    pub fn sign(&self, claims: &serde_json::Value) -> String {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("signs")
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
