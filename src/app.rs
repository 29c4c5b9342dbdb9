//! The house put together: services over a store, socket handlers and routes over the services.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use socketioxide::{ParserConfig, SocketIo};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, Any, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::{Instrument, error, info_span};

use crate::auth::Verifier;
use crate::bus::Bus;
use crate::config::{self, ApplePush, Config, Cors, Firebase, PushConfig, StoreConfig};
use crate::contract;
use crate::delivery::{Delivery, SocketLimits};
use crate::files::{Bucket, BucketSettings, Files};
use crate::handlers::{self, Handlers, WireSettings};
use crate::metrics::Metrics;
use crate::models::{ProcessId, Timestamp};
use crate::observability::Notice;
use crate::outside::{Apns, ApnsKey, Fcm, Outside, ServiceAccount, Webhook};
use crate::rest::{self, Documents, MetricsAccess, Offers, RestSettings, RestState};
use crate::server::gate::{self, Gate};
use crate::server::handshakes::HandshakeRate;
use crate::services::attachments::MediaRules;
use crate::services::calling::CallRules;
use crate::services::content::MediaHosts;
use crate::services::limits::{Limited, RateProfile, RateRules};
use crate::services::media_links::MediaLinks;
use crate::services::media_tokens::MediaTokens;
use crate::services::push::{PushMessages, PushRules};
use crate::services::relations::RelationCheck;
use crate::services::{Clock, Core, Rules, Services};
use crate::store::Store;
use crate::transport::{Links, Places, TrustedProxies};

/// The largest packet a client may send, alike on polling and websocket.
pub const MAX_PACKET_BYTES: usize = 256 * 1024;
/// Bytes of a websocket's read buffer, which is kept while nothing comes; a larger packet makes it grow. It costs no more reading, for
/// [`crate::transport::GuardedIo`] reads ahead.
const READ_BUFFER: usize = 128;
/// Packets waiting for one client; beyond it the connection is closed. Allocated in blocks as it fills.
const MAX_BUFFERED_PACKETS: usize = 4096;

/// A server that is ready to be listened for.
pub struct App {
    /// Sockets and routes.
    pub router: Router,
    /// The rules.
    pub services: Services,
    /// The socket library, for its shutdown.
    pub io: SocketIo,
    /// The connections of all sessions.
    pub links: Links,
    /// How many TCP connections there may be.
    pub places: Places,
    /// Whose word counts about where a client is.
    pub proxies: TrustedProxies,
    /// Set once the server goes down.
    pub draining: Arc<AtomicBool>,
    /// `DRAIN_SECONDS`.
    pub drain: Duration,
}

impl App {
    /// Puts the server together. Must be called inside a runtime.
    pub fn new(config: &Config, verifier: Verifier, store: Arc<dyn Store>) -> Self {
        Self::with_clock(config, verifier, store, Arc::new(Timestamp::now))
    }

    /// The same with another clock for the rules; credentials go by the machine's all the same.
    pub fn with_clock(config: &Config, verifier: Verifier, store: Arc<dyn Store>, clock: Clock) -> Self {
        let process = ProcessId::random();
        let bus = config.bus.as_ref().map(|bus| Bus::start(bus.clients.clone(), &bus.prefix, process));
        let metrics = Arc::new(Metrics::with(store.metrics()));
        let core = Core {
            store,
            delivery: Arc::new(
                Delivery::new(SocketLimits::new(config.max_sockets_per_identity), bus.clone()).counting(Arc::clone(&metrics)),
            ),
            process,
            bus,
            metrics: Arc::clone(&metrics),
            clock,
            tasks: tokio_util::task::TaskTracker::new(),
            stop: tokio_util::sync::CancellationToken::new(),
            rules: Rules {
                delete_window: config.delete_window,
                token_max_age: config.token_max_age,
                rates: rate_rules(config),
                relation_check: relation_check(config),
                media_hosts: MediaHosts::new(config.media_hosts.clone()),
                media: media_rules(config, &verifier),
                calls: call_rules(config),
                push: push_rules(config),
            },
        };
        let (tasks, stop) = (core.tasks.clone(), core.stop.clone());
        tasks.spawn(verifier.clone().keep_keys_fresh(stop).instrument(info_span!("token_keys")));
        let services = Services::start(core);
        let links = Links::default();
        let draining = Arc::new(AtomicBool::new(false));

        let (sockets, io) = SocketIo::builder()
            .max_payload(MAX_PACKET_BYTES as u64)
            .ws_max_message_size(MAX_PACKET_BYTES)
            .ws_max_frame_size(MAX_PACKET_BYTES)
            .ws_read_buffer_size(READ_BUFFER)
            .max_buffer_size(MAX_BUFFERED_PACKETS)
            .connect_timeout(Duration::from_secs(10))
            .with_parser(ParserConfig::common().max_incoming_binaries(8).max_incoming_binary_buf_size(MAX_PACKET_BYTES))
            .build_svc();
        let wire = WireSettings {
            allow_query_token: config.allow_query_token,
            legacy_history_response: config.legacy_history_response,
            echo_to_flutter_sender: config.echo_to_flutter_sender,
        };
        handlers::register(&io, Handlers { services: services.clone(), verifier: verifier.clone(), links: links.clone(), wire });

        let proxies = TrustedProxies::new(config.trusted_proxies.clone());
        let entrance = {
            let sockets = sockets.clone();
            // It is refused by being dropped; what the library would refuse did not get here.
            move |stream, request| drop(hyper::service::Service::call(&sockets, (stream, request)))
        };
        let gate = Gate {
            entrance: Arc::new(entrance),
            links: links.clone(),
            draining: Arc::clone(&draining),
            origins: match &config.cors {
                Cors::Any => None,
                Cors::Only(origins) => Some(origins.clone()),
            },
            engine_io_3: config.engine_io_3,
            rate: config.handshakes_per_minute.map(HandshakeRate::per_minute),
            proxies: proxies.clone(),
            too_often: Notice::default(),
            metrics,
        };
        let sockets = Router::new()
            .route_service("/socket.io/", sockets.clone())
            .route_service("/socket.io", sockets)
            .layer(RequestBodyTimeoutLayer::new(rest::BODY_PAUSE))
            .layer(from_fn_with_state(Arc::new(gate), gate::pass));
        let places = Places::new(config.max_connections, config.max_connections_per_address);
        let settings = RestSettings {
            places: places.clone(),
            metrics_access: MetricsAccess::new(config.metrics_token.clone()),
            offers: Offers { console: config.console, demo: config.offer_demo },
            documents: Documents { openapi: contract::openapi, asyncapi: contract::asyncapi },
        };
        let rest = rest::routes(RestState::new(services.clone(), verifier, Arc::clone(&draining), settings));
        let router = sockets.merge(rest).layer(cors(&config.cors));
        Self { router, services, io, links, places, proxies, draining, drain: config.drain }
    }
}

/// Where the bytes of attachments are; nowhere if the settings name a bucket that cannot be one.
pub fn attachment_files(config: &Config) -> Option<Files> {
    let Some(s3) = &config.attachments.bucket else { return Some(Files::in_folder(config.attachments.folder.clone())) };
    let opened = Bucket::new(&BucketSettings {
        endpoint: s3.endpoint.clone(),
        public_endpoint: s3.public_endpoint.clone(),
        name: s3.bucket.clone(),
        region: s3.region.clone(),
        path_style: s3.path_style,
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.clone(),
    });
    if opened.is_none() {
        tracing::error!("S3_ENDPOINT and S3_BUCKET name no bucket: nothing can be attached");
    }
    opened.map(Files::in_bucket)
}

fn media_rules(config: &Config, verifier: &Verifier) -> MediaRules {
    let config::Attachments { public_url, max_bytes, link_lifetime, secret, .. } = &config.attachments;
    let files = attachment_files(config);
    let secret = secret.as_ref().map(|secret| secret.as_bytes().to_vec());
    let secret = secret.or_else(|| verifier.derived_secret("addresses of attachments")).unwrap_or_else(|| {
        tracing::warn!("MEDIA_SECRET is not set: addresses of attachments end with this process, and no other node knows them");
        rand::random::<[u8; 32]>().to_vec()
    });
    MediaRules { files, links: MediaLinks::new(&secret, public_url, *link_lifetime), max_bytes: *max_bytes }
}

fn rate_rules(config: &Config) -> RateRules {
    let profile = match config.rate_profile {
        config::RateProfile::Default => RateProfile::Default,
        config::RateProfile::Strict => RateProfile::Strict,
        config::RateProfile::Off => RateProfile::Off,
    };
    let limits = &config.limits;
    let overrides = [
        (Limited::Messages, limits.messages_per_minute),
        (Limited::Calls, limits.calls_per_hour),
        (Limited::Joins, limits.joins_per_minute),
        (Limited::History, limits.history_per_minute),
        (Limited::Other, limits.other_per_minute),
    ];
    RateRules {
        profile,
        overrides: overrides.into_iter().filter_map(|(what, count)| Some((what, count?))).collect(),
        store_is_elsewhere: matches!(config.store, StoreConfig::Mongo { .. }),
    }
}

/// Which check of relations these settings mean. Without a word it is on with MongoDB, which knows who consulted whom; the embedded
/// store knows nothing until it is told.
pub fn relation_check(config: &Config) -> RelationCheck {
    match (config.relation_check, &config.store) {
        (Some(true), _) | (None, StoreConfig::Mongo { .. }) => RelationCheck::On,
        (Some(false), _) => RelationCheck::Off,
        (None, StoreConfig::Embedded(_)) => RelationCheck::OnceNoted,
    }
}

fn call_rules(config: &Config) -> CallRules {
    let media = config.agora.as_ref().map(|agora| MediaTokens::new(agora.credentials.clone(), agora.version, agora.lifetime));
    CallRules {
        ring_for: config.ring_timeout,
        busy: config.call_busy,
        logs: config.call_logs,
        caller_phone: config.caller_phone,
        media: media.unwrap_or_default(),
    }
}

/// Who is told outside of the sockets. What cannot be used is said and left out.
fn push_rules(config: &Config) -> PushRules {
    let PushConfig { messages, firebase, apple, webhook } = config.push.clone();
    let messages = match messages {
        config::PushMessages::Always => PushMessages::Always,
        config::PushMessages::NotInRoom => PushMessages::NotInRoom,
        config::PushMessages::Offline => PushMessages::Offline,
    };
    let fcm = firebase.map(|Firebase { project_id, client_email, key_id, key, token_url, url }| {
        Fcm::new(ServiceAccount { project_id, client_email, key_id, key, token_url }, &url)
    });
    let apns = apple.map(|ApplePush { key, key_id, team_id, bundle_id, url }| Apns::new(ApnsKey { team_id, key_id, bundle_id, key }, url));
    let webhook = webhook.map(|(url, secret)| Webhook::new(url, &secret));
    PushRules { messages, outside: Outside { fcm: usable("FCM", fcm), apns: usable("APNS", apns), webhook: usable("WEBHOOK", webhook) } }
}

/// Where traces go.
#[cfg(feature = "otel")]
pub fn trace_target(config: &config::TraceConfig) -> crate::outside::TraceTarget {
    let config::TraceConfig { url, headers, service_name, ratio } = config.clone();
    crate::outside::TraceTarget { url, headers, service_name, ratio }
}

fn usable<T>(what: &str, made: Option<Result<T, String>>) -> Option<T> {
    made?.inspect_err(|why| error!("{what} is not used: {why}")).ok()
}

fn cors(allowed: &Cors) -> CorsLayer {
    match allowed {
        Cors::Any => CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(AllowHeaders::mirror_request()),
        Cors::Only(origins) => CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods(AllowMethods::mirror_request())
            .allow_headers(AllowHeaders::mirror_request())
            .allow_credentials(true),
    }
}
