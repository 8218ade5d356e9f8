//! The program itself, run as a process: its log, its exit code, signals to it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::{TempDir, tempdir};

use crate::support::cad::Cad;
use crate::support::exporter::{HANG_GUARD, http};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sonorancad-exporter");

pub(crate) const KEY: &str = "k3y-that-n0body-may-see";

/// A running program; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    /// In a mutex, so that tests may share the program.
    lines: Mutex<Receiver<String>>,
    /// All lines so far.
    pub(crate) log: Vec<String>,
    pub(crate) address: SocketAddr,
}

/// The program for `cad`, on a free port, with no other environment than `more`.
pub(crate) fn command(cad: &Cad, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    set_environment(&mut command, cad, more);
    command
}

pub(crate) fn set_environment(command: &mut Command, cad: &Cad, more: &[(&str, &str)]) {
    command
        .env_clear()
        .env("SONORANCAD_COMMUNITY_ID", "mycommunity")
        .env("SONORANCAD_API_KEY", KEY)
        .env("SONORANCAD_API_URL", cad.url())
        .env("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0")
        .envs(more.iter().copied());
}

/// The program with these variables only, run to its end.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Program {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self {
            child,
            lines: Mutex::new(lines),
            log: Vec::new(),
            address: unknown,
        };
        let line = program.wait_for("listening");
        let start = line.find("127.0.0.").or_else(|| line.find("0.0.0.0:"));
        let start = start.expect("an address of IPv4");
        let end = line[start..].find([',', ']', '"']).unwrap();
        program.address = line[start..start + end].parse().unwrap();
        program
    }

    /// Waits for the next line of the log that contains `part`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            match self.lines.get_mut().recv_timeout(HANG_GUARD) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("no {part:?} in the log ({error}):\n{}", self.log.join("\n")),
            }
        }
    }

    /// The first line that contains `part`, which may have been read already: what is not logged is not in order with
    /// the log.
    #[track_caller]
    pub(crate) fn line(&mut self, part: &str) -> String {
        let before = self.log.iter().find(|line| line.contains(part)).cloned();
        before.unwrap_or_else(|| self.wait_for(part))
    }

    /// All lines until now.
    pub(crate) fn lines(&mut self) -> &[String] {
        self.log.extend(self.lines.get_mut().try_iter());
        &self.log
    }

    pub(crate) async fn scrape(&self) -> String {
        let http = http();
        let url = format!("http://{}/metrics", self.address);
        http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// A size in KiB that the system knows of the process: `VmRSS`, its memory, or `VmHWM`, the most that it has had.
    pub(crate) fn kibibytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let (_, rest) = status.split_once(&format!("\n{name}:")).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Sends a signal to this process.
    pub(crate) fn signal(name: &str, process: u32) {
        let status = Command::new("kill")
            .args(["-s", name, &process.to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end, and returns the exit code; `None` after a signal.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < HANG_GUARD, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its whole output, once it has ended.
    pub(crate) fn output(&mut self) -> String {
        while let Ok(line) = self.lines.get_mut().recv_timeout(HANG_GUARD) {
            self.log.push(line);
        }
        let mut output = self.log.join("\n");
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with a file of communities.
pub(crate) struct Communities {
    pub(crate) program: Program,
    http: reqwest::Client,
    folder: TempDir,
}

impl Communities {
    /// Starts it with `more` variables; `file` makes the file for the API's address.
    pub(crate) fn start(cad: &Cad, more: &[(&str, &str)], file: impl FnOnce(&str) -> String) -> Self {
        let folder = tempdir().unwrap();
        let path = folder.path().join("communities.yml");
        std::fs::write(&path, file(&cad.url())).unwrap();
        let variables = [&[("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap())], more].concat();
        Self {
            program: Program::start(command(cad, &variables)),
            http: http(),
            folder,
        }
    }

    /// Reloads it with another file.
    pub(crate) fn reload(&mut self, file: &str) {
        std::fs::write(self.folder.path().join("communities.yml"), file).unwrap();
        Program::signal("HUP", self.program.child.id());
        self.program.wait_for("has been read again");
    }

    /// Probes a community as a client whose time-out is `seconds`.
    pub(crate) fn probe(&self, alias: &str, seconds: u64) -> impl Future<Output = String> + Send + use<> {
        let request = self
            .http
            .get(format!("http://{}/probe?community={alias}", self.program.address))
            .header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
        async move { request.send().await.unwrap().text().await.unwrap() }
    }
}
