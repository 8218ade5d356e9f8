//! The program where the system gives it less than it needs, or takes it away.

use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::support::cad::Cad;
use crate::support::exporter::{HANG_GUARD, eventually, http, value};
use crate::support::program::{BINARY, Program, command, set_environment};
use crate::support::tools::free_port;

const UP: &str = "sonorancad_up{server_id=\"1\"}";

/// The program on a known port, whose standard error nobody reads.
struct Unread {
    child: Child,
    port: u16,
    http: reqwest::Client,
}

impl Unread {
    async fn start(cad: &Cad, port: u16, stderr: Stdio) -> Self {
        let address = format!("127.0.0.1:{port}");
        let variables = [("SONORANCAD_LISTEN_ADDRESS", &*address), ("SONORANCAD_LOG", "trace")];
        let child = command(cad, &variables).stderr(stderr).spawn().unwrap();
        let unread = Self {
            child,
            port,
            http: http(),
        };
        eventually("it listens", async || TcpStream::connect(&address).is_ok()).await;
        unread
    }

    async fn scrape(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        self.http
            .get(url)
            .timeout(HANG_GUARD)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that takes no byte more, and its other end.
fn full_pipe() -> (PipeWriter, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (writer, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_is_full_or_unread_delays_no_scrape() {
    let cad = Cad::start().await;
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (pipe, _unread) = full_pipe();
    for stderr in [Stdio::from(full), Stdio::from(pipe)] {
        let mut program = Unread::start(&cad, free_port(), stderr).await;
        for _ in 0..20 {
            assert_eq!(value(&program.scrape().await, UP), 1.0);
        }
        Program::signal("TERM", program.child.id());
        assert!(program.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_open_files_suffice_whatever_clients_do() {
    let cad = Cad::start().await;
    let mut command = Command::new("sh");
    set_environment(&mut command, &cad, &[("PATH", "/usr/bin:/bin")]);
    command.args(["-c", "ulimit -n 24; exec \"$0\"", BINARY]);
    let program = Program::start(command);
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(program.address).unwrap()).collect();
    assert_eq!(value(&program.scrape().await, UP), 1.0);
    drop(idle);
    assert_eq!(value(&program.scrape().await, UP), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_in_mid_fetch_the_next_process_begins_anew() {
    let cad = Cad::start().await;
    let port = free_port();
    let mut killed = Unread::start(&cad, port, Stdio::null()).await;
    cad.hold();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let scrape = tokio::spawn(http().get(url).send());
    cad.wait_for_requests(1).await;
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(scrape.await.unwrap().is_err(), "the scrape ends with the process");
    cad.release();
    let next = Unread::start(&cad, port, Stdio::null()).await;
    let text = next.scrape().await;
    assert_eq!(value(&text, UP), 1.0);
    let requests = "sonorancad_api_requests_total{server_id=\"1\",api_endpoint=\"calls\"}";
    assert_eq!(
        value(&text, requests),
        1.0,
        "counters begin at zero, as Prometheus expects"
    );
}
