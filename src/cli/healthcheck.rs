//! Checks the health of a running exporter, for the health check of a container.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Time limit of each step: to connect, to send, to receive.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks `/-/healthy` of an exporter that listens at `address`.
///
/// An exporter that `is_guarded` may require TLS or a password; refusing the request for that is healthy too.
///
/// # Errors
///
/// For each address that leads there: there is no answer in time, or it has another status.
pub(super) fn ask(address: SocketAddr, is_guarded: bool) -> Result<(), Vec<(SocketAddr, io::Error)>> {
    let mut failures = Vec::new();
    for address in reachable(address) {
        match ask_at(address, is_guarded) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push((address, error)),
        }
    }
    Err(failures)
}

/// Where to connect to reach a server that listens at `address`. One that listens at all addresses may have either
/// family's loopback address only.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    let loopback: &[IpAddr] = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        _ => return vec![address],
    };
    let port = address.port();
    loopback.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}

fn ask_at(address: SocketAddr, is_guarded: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 13];
    stream.read_exact(&mut head)?;
    match &head {
        b"HTTP/1.1 200 " => Ok(()),
        b"HTTP/1.1 400 " | b"HTTP/1.1 401 " if is_guarded => Ok(()),
        b"HTTP/1.1 400 " | b"HTTP/1.1 401 " => Err(io::Error::other(
            "it wants TLS or a password; is SONORANCAD_WEB_CONFIG_FILE set as for the exporter?",
        )),
        _ => Err(io::Error::other("the exporter does not answer that it is healthy")),
    }
}
