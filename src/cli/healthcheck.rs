//! Asks a running exporter for its health, as a container's health check does.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks `/-/healthy` at `address`.
///
/// One that `is_guarded` may want TLS or a password, and to say so is healthy as well.
///
/// # Errors
///
/// Nobody answers there in time, or with another status.
pub(super) fn ask(address: SocketAddr, is_guarded: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 13];
    stream.read_exact(&mut head)?;
    match &head {
        b"HTTP/1.1 200 " => Ok(()),
        b"HTTP/1.1 400 " | b"HTTP/1.1 401 " if is_guarded => Ok(()),
        b"HTTP/1.1 400 " | b"HTTP/1.1 401 " => Err(io::Error::other(
            "it wants TLS or a password; is SONORANCAD_WEB_CONFIG_FILE set as for the exporter?",
        )),
        _ => Err(io::Error::other("the answer is not that of a healthy exporter")),
    }
}

/// An address of this machine to connect to: for one that means "all addresses", this machine's own.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
