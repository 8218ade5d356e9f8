//! Other programs that the tests use: promtool, Prometheus, Python.
//!
//! Tests that need one are skipped where it is not installed; with `CI` set, that is a failure.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::exporter::http;

/// Whether a tool is installed.
pub(crate) fn has(tool: &str, arguments: &[&str]) -> bool {
    let found = Command::new(tool)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is not installed");
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// The complaints of a tool about this input; empty if it accepts it.
pub(crate) fn complaints(tool: &mut Command, input: &str) -> String {
    let mut child = tool
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.success() {
        said
    } else {
        format!("{} {said}", output.status)
    }
}

/// A port that was free a moment ago, for a program that cannot be given port 0.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A program that serves, without its output; killed when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running Prometheus; killed when dropped, with its data.
pub(crate) struct Prometheus {
    _daemon: Daemon,
    url: String,
    /// Dropped last.
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one with this configuration; its data is in `data` of the folder.
    pub(crate) fn start(folder: TempDir, config: &str) -> Self {
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--storage.tsdb.retention.time=90d")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self {
            _daemon: Daemon::start(&mut command),
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        }
    }

    /// The JSON that its HTTP API answers; `None` without an answer or JSON.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("{}{path}", self.url);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let body = http().get(url).send().await.ok()?.text().await.ok()?;
        serde_json::from_str(&body).ok()
    }

    /// The values of a query's result.
    pub(crate) async fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.get("/api/v1/query", &[("query", query)]).await.unwrap_or_default();
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        results
            .iter()
            .map(|result| result["value"][1].as_str().unwrap().parse().unwrap())
            .collect()
    }
}
