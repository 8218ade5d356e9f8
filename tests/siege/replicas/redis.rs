//! A server of Redis, or of Valkey, as Debian packages them.

use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use crate::support::exporter::HANG_GUARD;
use crate::support::tools::{Daemon, free_port, has};

/// A running server; killed when dropped, with its data.
pub(super) struct Redis {
    /// `None` while it is away.
    daemon: Option<Daemon>,
    /// For `SONORANCAD_SHARED_STATE_URL`.
    pub(super) url: String,
    port: u16,
    folder: TempDir,
    more: Vec<String>,
}

impl Redis {
    /// Starts an empty one; `None` where it is not installed.
    pub(super) fn start() -> Option<Self> {
        Self::start_with(tempdir().unwrap(), &[])
    }

    /// The same with more options, in a folder with what they need.
    pub(super) fn start_with(folder: TempDir, more: &[&str]) -> Option<Self> {
        if !has(&program(), &["--version"]) {
            return None;
        }
        let port = free_port();
        let more: Vec<_> = more.iter().copied().map(str::to_owned).collect();
        let mut redis = Self {
            daemon: Some(spawn(port, &folder, &more)),
            url: format!("redis://127.0.0.1:{port}"),
            port,
            folder,
            more,
        };
        redis.wait();
        Some(redis)
    }

    /// The path of something in its folder.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Ends it; what it contained is lost, unless it has written it to its folder.
    pub(super) fn kill(&mut self) {
        self.daemon = None;
    }

    /// Starts it again at the same address, with nothing but what it has written to its folder.
    pub(super) fn start_again(&mut self) {
        self.daemon = Some(spawn(self.port, &self.folder, &self.more));
        self.wait();
    }

    /// Removes what it has written with `--appendonly yes`.
    pub(super) fn forget(&self) {
        std::fs::remove_dir_all(self.path("appendonlydir")).unwrap();
    }

    pub(super) fn process(&self) -> u32 {
        self.daemon.as_ref().unwrap().process()
    }

    /// What a command of the server prints.
    pub(super) fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Everything that its clients say from now on.
    pub(super) fn monitor(&self) -> Monitor {
        let folder = tempdir().unwrap();
        let path = folder.path().join("said");
        let child = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "MONITOR"])
            .stdout(std::fs::File::create(&path).unwrap())
            .spawn()
            .unwrap();
        let monitor = Monitor { child, folder };
        while monitor.read().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        monitor
    }

    /// The names of everything that it contains whose names contain `part`.
    pub(super) fn names(&self, part: &str) -> Vec<String> {
        let names = self.command(&["KEYS", &format!("*{part}*")]);
        names
            .lines()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn wait(&mut self) {
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < HANG_GUARD, "it does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the clients of a server say.
pub(super) struct Monitor {
    child: Child,
    folder: TempDir,
}

impl Monitor {
    fn read(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("said")).unwrap()).into_owned()
    }

    /// What was said until now.
    pub(super) fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read()
    }
}

/// The server's program. The variable `REPLICAS_SERVER` of a test run names another one than that of Redis.
pub(super) fn program() -> String {
    std::env::var("REPLICAS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

fn spawn(port: u16, folder: &TempDir, more: &[String]) -> Daemon {
    let mut command = Command::new(program());
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(folder.path())
        .args(more);
    Daemon::start(&mut command)
}
