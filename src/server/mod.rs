//! Listening, and going down without losing anything.

pub mod gate;
pub mod handshakes;
pub mod websockets;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::delivery::Cut;
use crate::error::Error;
use crate::observability::Notice;
use crate::rest;
use crate::transport::{Admission, GuardedIo, Link, Place, Places, TrustedProxies};

/// How long a client may take for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection beyond the limit may take altogether.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a connection beyond the limit may ask.
const PROBES: [&str; 3] = ["/health", "/api/health", "/ready"];
/// Read buffer of one connection; it also limits the headers.
const READ_BUFFER: usize = 16 * 1024;
/// What the kernel keeps for a client that does not read; it takes twice as much, for its own book-keeping.
const SEND_BUFFER: u32 = 128 * 1024;
/// Connections waiting to be accepted.
const BACKLOG: u32 = 1024;
/// How long what is under way may take to be finished and stored at shutdown.
const CLOSING: Duration = Duration::from_secs(6);
/// How long the socket library may take to close.
const LIBRARY_CLOSING: Duration = Duration::from_secs(1);

/// The time between two batches of clients that are cut while going down.
const DRAIN_STEP: Duration = Duration::from_millis(100);
/// The fewest clients cut at once: so few come back elsewhere without anybody noticing.
const DRAINED_AT_ONCE: usize = 50;

/// A bound server that does not answer yet.
pub struct Server {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the address. Errors: it cannot be bound.
    pub async fn bind(app: App, address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self { app, listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The application behind it.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until `stop` is cancelled, then goes down: no new sessions; clients are cut in batches over `DRAIN_SECONDS`, so that they
    /// reconnect elsewhere without a stampede; what is under way is finished and stored. Takes at most ten seconds more than that.
    pub async fn run(self, stop: CancellationToken) {
        let Self { app, listener, .. } = self;
        let closing = CancellationToken::new();
        let doors = Doors {
            router: app.router.clone(),
            places: app.places.clone(),
            proxies: app.proxies.clone(),
            closing: closing.clone(),
            notices: Arc::default(),
        };
        accept(&app, &listener, &doors, &stop).await;
        drop(listener);
        shut_down(app, &closing).await;
    }
}

/// A listener whose connections may keep little in the kernel. Its own measure goes up to several megabytes for each, which a thousand
/// clients that do not read would fill; this is enough for a megabyte a second over a tenth of a second of distance.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections in until the server has drained.
async fn accept(app: &App, listener: &TcpListener, doors: &Doors, stop: &CancellationToken) {
    let mut drained = std::pin::pin!(async {
        stop.cancelled().await;
        drain(app).await;
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = drained.as_mut() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => doors.receive(stream, peer),
            // Mostly "too many open files": wait for some to close instead of spinning.
            Err(e) => {
                warn!("a connection could not be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Where accepted connections go.
#[derive(Clone)]
struct Doors {
    router: Router,
    places: Places,
    proxies: TrustedProxies,
    closing: CancellationToken,
    notices: Arc<Notices>,
}

#[derive(Default)]
struct Notices {
    full: Notice,
    too_many: Notice,
}

impl Doors {
    /// Serves a connection in a task of its own, or closes it.
    ///
    /// At a limit it is closed at once and not left in the backlog: its client hears so immediately and backs off, or a balancer goes
    /// elsewhere, while in the backlog it would wait for its own timeout and the server would later serve those who have given up.
    /// A few connections beyond the total are served one question each, because a full server must not look like a dead one.
    fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        let address = peer.ip().to_canonical();
        // Behind a proxy are many clients; they are counted at the gate, one by one.
        let counted = (!self.proxies.contains(address)).then_some(address);
        match self.places.take(counted) {
            Admission::Seated(place) => drop(tokio::spawn(self.clone().serve(stream, peer, place))),
            Admission::Spare(place) => {
                self.notices.full.give(|| "MAX_CONNECTIONS are open and new clients are turned away".into());
                drop(tokio::spawn(self.clone().serve_probe(stream, peer, place)));
            }
            Admission::Full => self.notices.full.give(|| "MAX_CONNECTIONS are open and new connections are closed".into()),
            Admission::TooManyFromAddress => {
                self.notices.too_many.give(|| format!("{address} has MAX_CONNECTIONS_PER_ADDRESS open; further ones are closed"));
            }
        }
    }

    /// Serves one TCP connection until either side ends it.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        // Small frames must not wait for each other.
        if let Err(e) = stream.set_nodelay(true) {
            return debug!("a connection went away: {e}");
        }
        let link = Link::new(peer);
        let io = TokioIo::new(Box::new(GuardedIo::new(stream, Arc::clone(&link), place)));
        let proxies = self.proxies;
        let service = self.router.map_request(move |mut request: Request<Incoming>| {
            let client = proxies.client(link.peer().ip(), request.headers());
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(Arc::clone(&link));
            request
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_BUFFER);
        let mut connection = std::pin::pin!(http.serve_connection(io, TowerToHyperService::new(service)).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(e) = ended {
            debug!("a connection ended: {e}");
        }
    }

    /// Answers one question of a connection beyond the limit: how the server is, or else that it is full.
    async fn serve_probe(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let io = TokioIo::new(GuardedIo::new(stream, Link::new(peer), place));
        let router = self.router;
        let answer = move |request: Request<Incoming>| {
            let router = router.clone();
            async move {
                if PROBES.contains(&request.uri().path()) {
                    return router.oneshot(request).await;
                }
                Ok::<Response, Infallible>(rest::refusal(Error::overloaded()))
            }
        };
        let mut http = http1::Builder::new();
        http.keep_alive(false).max_buf_size(READ_BUFFER);
        let connection = http.serve_connection(io, TowerToHyperService::new(tower::service_fn(answer)));
        // Short, so that those who say nothing do not keep a probe out.
        let _ = tokio::time::timeout(SPARE_TIMEOUT, connection).await;
    }
}

/// Refuses new sessions and cuts the clients there are, some at a time. The listener still answers: probes learn that the server is
/// not ready, and clients that polled are told to begin elsewhere.
async fn drain(app: &App) {
    info!("going down: no new clients");
    app.draining.store(true, Ordering::SeqCst);
    let delivery = &app.services.core().delivery;
    let steps = (app.drain.as_millis() / DRAIN_STEP.as_millis()).max(1);
    let at_once = delivery.connections().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX)).max(DRAINED_AT_ONCE);
    for _ in 0..steps {
        // Transports are cut, not namespaces left: the clients then reconnect by themselves, and what they sent before is still handled.
        for connection in delivery.all_connections().into_iter().take(at_once) {
            delivery.close(&connection, Cut::Draining);
        }
        if delivery.connections() == 0 {
            return;
        }
        tokio::time::sleep(DRAIN_STEP).await;
    }
}

async fn shut_down(app: App, closing: &CancellationToken) {
    closing.cancel();
    // Whoever came in the last instant.
    let delivery = Arc::clone(&app.services.core().delivery);
    for connection in delivery.all_connections() {
        delivery.close(&connection, Cut::Draining);
    }
    if tokio::time::timeout(CLOSING, app.services.close()).await.is_err() {
        warn!("the store did not finish in time");
    }
    // The library's own close can hang on a client that reads nothing.
    let _ = tokio::time::timeout(LIBRARY_CLOSING, app.io.close()).await;
    info!("down");
}
