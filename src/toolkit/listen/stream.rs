//! The socket of a connection: it tells the connection how far it has come, and leaves nothing behind in the system.
//!
//! The system keeps data that a client does not take for minutes after the socket is closed, and no limit of ours
//! counts it. So a connection stays open until the client has received everything and has closed as well
//! ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6-8)). A connection that runs out of
//! time before that is reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// How often to check whether a client that has closed has received everything.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A socket whose shutdown completes when the connection is over on both sides. When the exporter stops, it
/// completes at once, and the system delivers the rest.
pub(super) struct ClientStream {
    pub(super) tcp: TcpStream,
    connection: Arc<Connection>,
    stopping: CancellationToken,
    is_shut: bool,
    /// `Some` once the client has closed.
    looks: Option<Interval>,
}

impl ClientStream {
    pub(super) fn new(tcp: TcpStream, connection: Arc<Connection>, stopping: CancellationToken) -> Self {
        Self {
            tcp,
            connection,
            stopping,
            is_shut: false,
            looks: None,
        }
    }

    /// Tells the connection that some bytes are sent, if so.
    fn note_sent<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Ok(_)) = outcome {
            self.connection.send();
        }
        outcome
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if !self.stopping.is_cancelled() {
            // Resets the connection. If it is over, this may fail and changes nothing.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.connection.receive();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.note_sent(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.note_sent(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        // What was written is with the system already.
        self.connection.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.connection.shut_down();
            ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
            self.is_shut = true;
        }
        let mut unread = [0; 4096];
        while !self.stopping.is_cancelled() {
            if let Some(looks) = &mut self.looks {
                ready!(looks.poll_tick(context));
                // Once the connection is over, the system no longer knows the other side's address.
                if self.tcp.peer_addr().is_err() {
                    break;
                }
            } else {
                let mut buffer = ReadBuf::new(&mut unread);
                ready!(Pin::new(&mut self.tcp).poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    self.looks = Some(interval(LOOK_INTERVAL));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
