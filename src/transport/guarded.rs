//! A TCP stream that fails when it was cut, or when the peer takes nothing for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::links::Link;
use super::places::Place;

/// How long a peer may leave a write pending before its connection is given up.
pub const WRITE_STALL: Duration = Duration::from_secs(10);

/// The stream of one accepted connection.
pub struct GuardedIo {
    stream: TcpStream,
    link: Arc<Link>,
    // Here and not beside the HTTP connection: an upgraded stream outlives that.
    _place: Place,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl GuardedIo {
    /// Guards `stream`; cutting `link` makes every later read and write fail. `place` is given back when the stream is dropped.
    pub fn new(stream: TcpStream, link: Arc<Link>, place: Place) -> Self {
        Self { stream, link, _place: place, stalled: None }
    }

    fn note_written(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = outcome {
            self.link.written(*bytes);
        }
    }

    /// The outcome of a write: pending only as long as the peer is expected to read again.
    fn guard_write<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stalled.take().is_some() {
                self.link.note_halt(false);
            }
            return outcome;
        }
        if self.link.poll_cut_for_writer(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let link = &self.link;
        let stalled = self.stalled.get_or_insert_with(|| {
            link.note_halt(true);
            Box::pin(tokio::time::sleep(WRITE_STALL))
        });
        ready!(stalled.as_mut().poll(cx));
        // The reader must end too, or the session would wait for its heartbeat.
        self.link.cut();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for GuardedIo {
    fn drop(&mut self) {
        // Nothing will be written any more; whoever waits for that must know.
        self.link.cut();
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        if outcome.is_pending() && this.link.poll_cut_for_reader(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        outcome
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_written(&outcome);
        this.guard_write(outcome, cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_written(&outcome);
        this.guard_write(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.guard_write(outcome, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.guard_write(outcome, cx)
    }
}
