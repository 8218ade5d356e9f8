//! A socket that leaves nothing behind in the system when it is closed.
//!
//! The system keeps data that a client does not read for minutes after the socket is closed, outside all our limits.
//! So a connection stays open until the client has read all of it and has closed as well
//! ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6-8)). A connection whose time is up before
//! that is reset. No library does this, because no other limit depends on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Interval, interval};

/// How often to check whether a client that has closed has read everything.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A socket whose shutdown completes when both sides have closed. While the exporter stops, it completes at once, and
/// the system takes care of the rest.
pub(super) struct LingeringStream {
    stream: TcpStream,
    stopping: watch::Receiver<()>,
    is_shut: bool,
    /// `Some` once the client has closed.
    checks: Option<Interval>,
}

impl LingeringStream {
    pub(super) fn new(stream: TcpStream, stopping: watch::Receiver<()>) -> Self {
        Self {
            stream,
            stopping,
            is_shut: false,
            checks: None,
        }
    }

    pub(super) fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the exporter is stopping: the other end of the channel is gone then.
    fn is_stopping(&self) -> bool {
        self.stopping.has_changed().is_err()
    }
}

impl Drop for LingeringStream {
    fn drop(&mut self) {
        if !self.is_stopping() {
            // Has no effect, and may fail, if the connection is over.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for LingeringStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LingeringStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        let mut unread = [0; 4096];
        while !self.is_stopping() {
            if let Some(checks) = &mut self.checks {
                ready!(checks.poll_tick(context));
                // When a connection is over, the system forgets the other side.
                if self.stream.peer_addr().is_err() {
                    break;
                }
            } else {
                let mut buffer = ReadBuf::new(&mut unread);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    self.checks = Some(interval(CHECK_INTERVAL));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
