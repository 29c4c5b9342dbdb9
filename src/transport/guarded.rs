//! A TCP stream that fails when it was cut, or when the peer takes nothing for too long, that can keep back what goes with what follows,
//! and that reads more at once than it is asked for.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
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
/// Bytes kept back at most; more leave although the link is corked.
const KEPT_BACK: usize = 4 * 1024;
/// Bytes read at once at least: a usual message. The library's buffer of a websocket is smaller, and would have the system asked several
/// times for each. Not much more, because what is read ahead counts as one read for the runtime, which lets others have their turn after 128.
const READ_AT_ONCE: usize = 1024;

/// The stream of one accepted connection.
pub struct GuardedIo {
    stream: TcpStream,
    link: Arc<Link>,
    // Here and not beside the HTTP connection: an upgraded stream outlives that.
    _place: Place,
    stalled: Option<Pin<Box<Sleep>>>,
    /// What was written while the link was corked.
    kept_back: Vec<u8>,
    /// What was read already and is wanted next: before the stream came to whoever reads it now, or beyond what he had room for.
    unread: Vec<u8>,
}

impl GuardedIo {
    /// Guards `stream`; cutting `link` makes every later read and write fail. `place` is given back when the stream is dropped.
    pub fn new(stream: TcpStream, link: Arc<Link>, place: Place) -> Self {
        Self { stream, link, _place: place, stalled: None, kept_back: Vec::new(), unread: Vec::new() }
    }

    /// Gives back what was read too much; it is read again first.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.unread.splice(..0, bytes.iter().copied());
    }

    /// Writes or keeps back. The outcome counts the bytes of `buf` alone.
    fn poll_write_behind(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.link.is_corked() && self.kept_back.len() + buf.len() <= KEPT_BACK {
            self.kept_back.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        while !self.kept_back.is_empty() {
            let both = [IoSlice::new(&self.kept_back), IoSlice::new(buf)];
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let kept_back = self.kept_back.len();
            if written < kept_back {
                self.kept_back.drain(..written);
                continue;
            }
            // Seldom needed again.
            self.kept_back = Vec::new();
            if written > kept_back {
                return Poll::Ready(Ok(written - kept_back));
            }
        }
        if buf.is_empty() { Poll::Ready(Ok(0)) } else { Pin::new(&mut self.stream).poll_write(cx, buf) }
    }

    /// Reads what there is, and keeps what `buf` has no room for.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() >= READ_AT_ONCE {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let mut bytes = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes))?;
        let (wanted, rest) = bytes.filled().split_at(bytes.filled().len().min(buf.remaining()));
        buf.put_slice(wanted);
        self.give_back(rest);
        Poll::Ready(Ok(()))
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
        if !this.unread.is_empty() {
            let wanted = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread[..wanted]);
            this.unread.drain(..wanted);
            if this.unread.is_empty() {
                // Most connections say nothing most of the time.
                this.unread = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let outcome = this.poll_read_ahead(cx, buf);
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
        let outcome = this.poll_write_behind(cx, buf);
        this.note_written(&outcome);
        this.guard_write(outcome, cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = if this.kept_back.is_empty() && !this.link.is_corked() {
            Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
        } else {
            this.poll_write_behind(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf))
        };
        this.note_written(&outcome);
        this.guard_write(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What is kept back leaves with what comes next; nothing below has a buffer.
        let outcome = if this.link.is_corked() { Poll::Ready(Ok(0)) } else { this.poll_write_behind(cx, &[]) };
        let outcome = outcome.map_ok(drop);
        this.guard_write(outcome, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.link.uncork();
        let outcome = match this.poll_write_behind(cx, &[]) {
            Poll::Ready(Ok(_)) => Pin::new(&mut this.stream).poll_shutdown(cx),
            other => other.map_ok(drop),
        };
        this.guard_write(outcome, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::transport::{Admission, Places};

    /// A guarded stream, its link, and the other end.
    async fn pair() -> (GuardedIo, Arc<Link>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
        let (stream, peer) = listener.accept().await.expect("a connection");
        let Admission::Seated(place) = Places::new(1, 1).take(None) else { panic!("there is room") };
        let link = Link::new(peer);
        (GuardedIo::new(stream, Arc::clone(&link), place), link, far)
    }

    async fn heard(far: &mut TcpStream) -> String {
        let mut bytes = [0; 16 * 1024];
        let count = far.read(&mut bytes).await.expect("heard");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn what_is_written_under_a_cork_leaves_in_one_piece_with_what_is_written_next() {
        let (mut near, link, mut far) = pair().await;
        link.cork();
        near.write_all(b"answer, ").await.expect("kept back");
        near.write_all(b"session, ").await.expect("kept back");
        near.flush().await.expect("nothing to do");
        let nothing = tokio::time::timeout(Duration::from_millis(50), far.readable()).await;
        assert!(nothing.is_err(), "nothing has left");
        link.uncork();
        assert_eq!(near.write(b"greeting").await.expect("written"), "greeting".len());
        assert_eq!(heard(&mut far).await, "answer, session, greeting");
        near.write_all(b"more").await.expect("written");
        assert_eq!(heard(&mut far).await, "more");
    }

    #[tokio::test]
    async fn nothing_is_lost_when_no_more_follows_or_too_much_does() {
        let (mut near, link, mut far) = pair().await;
        link.cork();
        near.write_all(b"alone").await.expect("kept back");
        link.uncork();
        near.flush().await.expect("written");
        assert_eq!(heard(&mut far).await, "alone");

        link.cork();
        near.write_all(b"small ").await.expect("kept back");
        near.write_all(&[b'x'; KEPT_BACK]).await.expect("written");
        assert_eq!(heard(&mut far).await.len(), "small ".len() + KEPT_BACK, "a cork does not hold that much");

        near.write_all(b"last").await.expect("kept back");
        near.shutdown().await.expect("closed");
        assert_eq!(heard(&mut far).await, "last");
        assert_eq!(heard(&mut far).await, "", "the end");
    }

    #[tokio::test]
    async fn what_was_kept_back_and_what_follows_arrive_whole_at_a_slow_reader() {
        let (mut near, link, mut far) = pair().await;
        let said = vec![b'y'; 8 << 20];
        let reader = tokio::spawn(async move {
            let (mut all, mut bytes) = (Vec::new(), [0; 1000]);
            while let Ok(count @ 1..) = far.read(&mut bytes).await {
                all.extend_from_slice(&bytes[..count]);
            }
            all
        });
        link.cork();
        near.write_all(b"first ").await.expect("kept back");
        link.uncork();
        near.write_all(&said).await.expect("written");
        near.shutdown().await.expect("closed");
        assert_eq!(reader.await.expect("read"), [b"first ".as_slice(), &said].concat());
    }

    #[tokio::test]
    async fn what_was_read_too_much_is_read_again_first() {
        let (mut near, _link, mut far) = pair().await;
        near.give_back(b"ly");
        near.give_back(b"ear");
        far.write_all(b"later").await.expect("written");
        let mut bytes = [0; 3];
        near.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"ear");
        let mut bytes = [0; 7];
        near.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"lylater");
        near.give_back(b"");
        drop(far);
        assert_eq!(near.read(&mut bytes).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn what_is_given_back_comes_before_what_was_read_ahead_and_a_cut_ends_both() {
        let (mut near, link, mut far) = pair().await;
        far.write_all(b"0123456789").await.expect("written");
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).await.expect("read");
        assert_eq!(near.unread, b"456789", "read with one call");
        near.give_back(&bytes);
        assert_eq!(near.read(&mut []).await.expect("no room"), 0);
        let mut bytes = [0; 8];
        near.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"01234567");
        link.cut();
        assert!(near.read(&mut bytes).await.is_err(), "nothing is read of a connection that was cut");
    }

    #[tokio::test]
    async fn a_small_buffer_gets_everything_in_order_and_nothing_twice() {
        let (mut near, _link, mut far) = pair().await;
        let said: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_be_bytes()).collect();
        let copy = said.clone();
        let writer = tokio::spawn(async move {
            for piece in copy.chunks(1_717) {
                far.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
        });
        let (mut all, mut bytes, mut sizes) = (Vec::new(), [0; READ_AT_ONCE * 2], [100, 1, 512, READ_AT_ONCE * 2].into_iter().cycle());
        while let Ok(count @ 1..) = near.read(&mut bytes[..sizes.next().expect("a cycle")]).await {
            all.extend_from_slice(&bytes[..count]);
        }
        writer.await.expect("written");
        assert!(all == said, "{} bytes of {}", all.len(), said.len());
    }
}
