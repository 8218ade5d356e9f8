//! The exporter under systemd: sockets that are handed over, and word of how it stands.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use tempfile::tempdir;

use crate::support::cad::Cad;
use crate::support::exporter::{HANG_GUARD, http};
use crate::support::program::{BINARY, Program, command, set_environment, text};
use crate::support::tools::has;

/// Opens sockets as systemd does, hands them over from number 3 on, and becomes the program.
const HAND_OVER: &str = "
import os, socket, sys
kinds, arguments = sys.argv[1].split(), sys.argv[2:]
sockets = [socket.socket(type=getattr(socket, kind.replace('DEAF', 'STREAM'))) for kind in kinds]
for kind, each in zip(kinds, sockets):
    each.bind(('127.0.0.1', 0))
    if kind == 'SOCK_STREAM':
        each.listen()
high = [os.dup2(each.fileno(), 100 + number) for number, each in enumerate(sockets)]
for number, file in enumerate(high):
    os.dup2(file, 3 + number)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()))
os.execv(arguments[0], arguments)
";

/// The program with sockets of these kinds from a stand-in for systemd.
fn with_sockets(cad: &Cad, kinds: &str) -> Command {
    let mut command = Command::new("python3");
    set_environment(&mut command, cad, &[("PATH", "/usr/bin:/bin")]);
    command.env_remove("SONORANCAD_LISTEN_ADDRESS");
    command.args(["-c", HAND_OVER, kinds, BINARY, "--web.systemd-socket"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_that_systemd_hands_over_is_served() {
    if !has("python3", &["--version"]) {
        return;
    }
    let cad = Cad::start().await;
    let program = Program::start(with_sockets(&cad, "SOCK_STREAM SOCK_STREAM"));
    let line = program.log.last().unwrap();
    let (_, addresses) = line.split_once("addresses=[").unwrap();
    let (addresses, _) = addresses.split_once(']').unwrap();
    let addresses: Vec<SocketAddr> = addresses.split(", ").map(|address| address.parse().unwrap()).collect();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let response = http().get(format!("http://{address}/-/healthy")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_unusable_sockets_of_systemd_are_explained() {
    if !has("python3", &["--version"]) {
        return;
    }
    let cad = Cad::start().await;
    for (kinds, reason) in [
        ("", "systemd has handed over no socket"),
        (
            "SOCK_DGRAM",
            "cannot listen on socket 1 of systemd, which must be a TCP listener",
        ),
        ("SOCK_STREAM SOCK_DGRAM", "cannot listen on socket 2 of systemd"),
        (
            "SOCK_STREAM SOCK_DEAF",
            "(`ListenStream=` with a port): it does not listen",
        ),
    ] {
        let output = with_sockets(&cad, kinds).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{kinds}");
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_is_logged() {
    let cad = Cad::start().await;
    let mut command = Command::new("sh");
    set_environment(&mut command, &cad, &[("PATH", "/usr/bin:/bin")]);
    command.args(["-c", "ulimit -n 250; exec \"$0\"", BINARY]);
    let line = Program::start(command).wait_for("the limit of open files");
    assert!(line.contains("WARN") && line.contains("max_fds=250"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_when_it_listens_and_when_it_stops() {
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(HANG_GUARD)).unwrap();
    let receive = || {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        text(&bytes[..length])
    };
    let mut program = Program::start(command(&cad, &[("NOTIFY_SOCKET", path.to_str().unwrap())]));
    assert_eq!(receive(), "READY=1\n");
    Program::signal("TERM", program.child.id());
    assert_eq!(receive(), "STOPPING=1\n");
    assert_eq!(program.wait(), Some(0));

    // One that cannot listen is never ready.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let held = std::net::TcpListener::bind(taken).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let variables = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("SONORANCAD_LISTEN_ADDRESS", &address),
    ];
    assert_eq!(command(&cad, &variables).output().unwrap().status.code(), Some(1));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err());
}
