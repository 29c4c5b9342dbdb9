//! Listening, and going down without losing anything.

pub mod gate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::transport::{GuardedIo, Link};

/// How long a client may take for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Read buffer of one connection; it also limits the headers.
const READ_BUFFER: usize = 16 * 1024;
/// How long what is under way may take to be finished and stored at shutdown.
const CLOSING: Duration = Duration::from_secs(6);
/// How long the socket library may take to close.
const LIBRARY_CLOSING: Duration = Duration::from_secs(1);

/// A bound server that does not answer yet.
pub struct Server {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the address. Errors: it cannot be bound.
    pub async fn bind(app: App, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
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

    /// Serves until `stop` is cancelled, then goes down: no new work, what is under way is finished and stored, clients are cut
    /// so that they reconnect elsewhere. Takes at most ten seconds.
    pub async fn run(self, stop: CancellationToken) {
        let Self { app, listener, .. } = self;
        let closing = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => drop(tokio::spawn(serve_connection(app.router.clone(), stream, peer, closing.clone()))),
                // Mostly "too many open files": wait for some to close instead of spinning.
                Err(e) => {
                    warn!("a connection could not be accepted: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        shut_down(app, &closing).await;
    }
}

/// Serves one TCP connection until either side ends it.
async fn serve_connection(router: Router, stream: TcpStream, peer: SocketAddr, closing: CancellationToken) {
    // Small frames must not wait for each other.
    if let Err(e) = stream.set_nodelay(true) {
        return debug!("a connection went away: {e}");
    }
    let link = Link::new(peer);
    let io = TokioIo::new(GuardedIo::new(stream, Arc::clone(&link)));
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&link));
        request
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_BUFFER);
    let mut connection = std::pin::pin!(http.serve_connection(io, TowerToHyperService::new(service)).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        debug!("a connection ended: {e}");
    }
}

async fn shut_down(app: App, closing: &CancellationToken) {
    info!("going down: no new clients");
    app.draining.store(true, Ordering::SeqCst);
    closing.cancel();
    // Transports are cut, not namespaces left: the clients then reconnect by themselves, and what they sent before is still handled.
    let delivery = Arc::clone(&app.services.core().delivery);
    for connection in delivery.all_connections() {
        delivery.close(&connection);
    }
    if tokio::time::timeout(CLOSING, app.services.close()).await.is_err() {
        warn!("the store did not finish in time");
    }
    // The library's own close can hang on a client that reads nothing.
    let _ = tokio::time::timeout(LIBRARY_CLOSING, app.io.close()).await;
    info!("down");
}
