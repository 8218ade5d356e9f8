//! The socket of a connection: it tells the connection how far it has come, and leaves nothing behind in the system.
//!
//! The system keeps data that a client does not take for minutes after the socket is closed, and no limit of ours
//! counts it. So a connection stays open until the client has received everything and has closed as well
//! ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6-8)). A connection that runs out of
//! time before that is reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::connection::Connection;

/// How often to check whether a client that has closed has received everything.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The socket of a connection.
pub(super) struct ClientStream<'a> {
    pub(super) tcp: TcpStream,
    pub(super) connection: &'a Connection,
}

impl ClientStream<'_> {
    /// Waits until the client has closed and has received everything; what it still sends is dropped.
    ///
    /// # Errors
    ///
    /// The client has reset the connection.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        while self.tcp.read(&mut [0; 4096]).await? > 0 {}
        // Once the connection is over, the system no longer knows the other side's address.
        while self.tcp.peer_addr().is_ok() {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Closes the connection. If it is not over, it is reset.
    pub(super) fn reset(self) {
        // If the connection is over, this may fail and changes nothing.
        let _ = self.tcp.set_zero_linger();
    }
}

impl AsyncRead for ClientStream<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.connection.receive();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.tcp).poll_write_vectored(context, slices))?;
        self.connection.send();
        Poll::Ready(Ok(length))
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
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
