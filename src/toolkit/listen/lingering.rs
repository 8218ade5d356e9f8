//! A socket of which nothing stays behind in the system.
//!
//! What a client has been sent but does not take is kept by the system for minutes after the socket is
//! closed, and counts for no limit of ours. So a connection stays open until the client has all of it, and
//! has closed as well ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6-8)); one
//! whose time is up before that is reset.

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

/// A socket whose shutdown completes when the connection is over on both sides; where the exporter is to
/// stop, at once, and then the system sees to the rest.
pub(super) struct LingeringStream {
    stream: TcpStream,
    stopping: CancellationToken,
    is_shut: bool,
    /// There once the client has closed.
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
            // Means nothing, and may fail, where the connection is over.
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
                // Of a connection that is over, the system does not know the other side any more.
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
