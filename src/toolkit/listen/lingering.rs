//! A socket that leaves nothing behind in the system.
//!
//! The system keeps data that a client does not take for minutes after the socket is closed, and no limit of ours
//! counts it. So a connection stays open until the client has received everything and has closed as well
//! ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6-8)). A connection that runs out of
//! time before that is reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

/// How often to check whether a client that has closed has received everything.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A socket whose shutdown completes when the connection is over on both sides. When the exporter stops, it
/// completes at once, and the system delivers the rest.
pub(super) struct LingeringStream {
    stream: TcpStream,
    stopping: CancellationToken,
    is_shut: bool,
    /// `Some` once the client has closed.
    looks: Option<Interval>,
}

impl LingeringStream {
    pub(super) fn new(stream: TcpStream, stopping: CancellationToken) -> Self {
        Self {
            stream,
            stopping,
            is_shut: false,
            looks: None,
        }
    }

    pub(super) fn get_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for LingeringStream {
    fn drop(&mut self) {
        if !self.stopping.is_cancelled() {
            // Resets the connection. If it is over, this may fail and changes nothing.
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
        while !self.stopping.is_cancelled() {
            if let Some(looks) = &mut self.looks {
                ready!(looks.poll_tick(context));
                // Once the connection is over, the system no longer knows the other side's address.
                if self.stream.peer_addr().is_err() {
                    break;
                }
            } else {
                let mut buffer = ReadBuf::new(&mut unread);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    self.looks = Some(interval(LOOK_INTERVAL));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
