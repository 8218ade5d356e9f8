//! The units of systemd: checked by systemd's own tools, and fitting the program.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use sonorancad_exporter::config::VARIABLES;
use tempfile::tempdir;

use super::{default_port, path, run};
use crate::support::exporter::HANG_GUARD;
use crate::support::program::{self, BINARY, Program};
use crate::support::tools::has;

const SERVICE: &str = "sonorancad-exporter.service";
const SOCKET: &str = "sonorancad-exporter.socket";
const DROP_IN: &str = "sonorancad-exporter.service.d/socket.conf";

fn text(unit: &str) -> String {
    std::fs::read_to_string(path("deploy/systemd").join(unit)).unwrap()
}

/// The values of a setting in a unit, without empty ones.
fn values<'unit>(unit: &'unit str, name: &str) -> Vec<&'unit str> {
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.filter(|value| !value.is_empty()).collect()
}

/// The complaints of systemd about these units, with the program where it has just been built.
fn verify(units: &[&str]) -> String {
    let folder = tempdir().unwrap();
    for unit in units {
        let file = folder.path().join(unit);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text = text(unit);
        assert!(
            unit.ends_with("socket") || text.contains("\nExecStart=/usr/local/bin/sonorancad-exporter"),
            "{unit}"
        );
        std::fs::write(file, text.replace("/usr/local/bin/sonorancad-exporter", BINARY)).unwrap();
    }
    let file = folder.path().join(units[0]);
    run("systemd-analyze", &["verify", "--man=no", file.to_str().unwrap()])
}

#[test]
fn systemd_accepts_the_units() {
    if has("systemd-analyze", &["--version"]) {
        assert_eq!(verify(&[SERVICE]), "");
        assert_eq!(verify(&[SERVICE, SOCKET, DROP_IN]), "");
        assert_eq!(verify(&[SOCKET, SERVICE, DROP_IN]), "");
    }
}

#[test]
fn systemd_finds_the_service_well_sandboxed() {
    if has("systemd-analyze", &["--version"]) {
        let unit = path("deploy/systemd").join(SERVICE);
        // In tenths: 2.0 of 10, where less is better. Most of what is left is the network.
        let arguments = ["security", "--offline=true", "--no-pager", "--threshold=20"];
        run("systemd-analyze", &[&arguments[..], &[unit.to_str().unwrap()]].concat());
    }
}

#[test]
fn the_units_fit_the_program() {
    let service = text(SERVICE);
    // The exit code of a wrong configuration.
    assert_eq!(values(&service, "RestartPreventExitStatus"), ["2"]);
    assert_eq!(values(&service, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    // With "pid" there is no /proc/stat, and without that no metric of the process at all.
    assert!(values(&service, "ProcSubset").is_empty());
    let key = "SONORANCAD_API_KEY_FILE=%d/api_key";
    assert_eq!(values(&service, "Environment"), [key]);
    assert!(
        VARIABLES
            .iter()
            .any(|variable| key.starts_with(variable.name().as_str()))
    );
    assert_eq!(
        values(&service, "LoadCredential"),
        ["api_key:/etc/sonorancad-exporter/api_key"]
    );
    let is_variable = |name: &str| VARIABLES.iter().any(|variable| variable.name() == name);
    assert!(service.contains("SONORANCAD_WEB_CONFIG_FILE") && is_variable("SONORANCAD_WEB_CONFIG_FILE"));
    let drop_in = text(DROP_IN);
    let start = *values(&drop_in, "ExecStart").last().unwrap();
    let help = program::run(&["--help"], &[]);
    let flag = start.split(' ').nth(1).unwrap();
    assert!(program::text(&help.stdout).contains(flag), "{flag}");
    assert_eq!(values(&text(SOCKET), "ListenStream"), [default_port().to_string()]);
}

/// The system calls that a filter names; the name of a group begins with an @.
fn calls(names: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for name in names.split_whitespace() {
        if name.starts_with('@') {
            let group = run("systemd-analyze", &["--no-pager", "syscall-filter", name]);
            let lines = group.lines().skip(1).map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                calls.append(&mut self::calls(line));
            }
        } else {
            calls.insert(name.to_owned());
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_allows_every_system_call_of_the_program() {
    if !has("systemd-analyze", &["--version"]) || !has("strace", &["--version"]) {
        return;
    }
    let service = text(SERVICE);
    let mut allowed = BTreeSet::new();
    for filter in values(&service, "SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(denied) => allowed = &allowed - &calls(denied),
            None => allowed.append(&mut calls(filter)),
        }
    }
    assert!(allowed.contains("read") && !allowed.contains("chown"), "{allowed:?}");

    let folder = tempdir().unwrap();
    let trace = folder.path().join("trace");
    // The simulated CAD runs in the same process: so a scrape and a request to an API are both in the trace.
    let mut command = Command::new("strace");
    command
        .args([
            "--daemonize",
            "--follow-forks",
            "--quiet=attach,personality",
            "--output",
        ])
        .arg(&trace)
        .args([BINARY, "demo", "--web.listen-address", "127.0.0.1:0"]);
    let mut program = Program::start(command);
    assert!(program.scrape().await.contains("sonorancad_up{server_id=\"1\"} 1"));
    Program::signal("HUP", program.child.id());
    program.wait_for("read again");
    Program::signal("TERM", program.child.id());
    assert_eq!(program.wait(), Some(0));

    // The tracer ends a little after the traced.
    let process = format!("{} ", program.child.id());
    let is_end = |line: &str| line.starts_with(&process) && line.ends_with("+++ exited with 0 +++");
    let begin = Instant::now();
    let trace = loop {
        let text = std::fs::read_to_string(&trace).unwrap();
        if text.lines().any(is_end) {
            break text;
        }
        assert!(begin.elapsed() < HANG_GUARD, "{text}");
        std::thread::yield_now();
    };
    let made: BTreeSet<String> = trace
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned()))
        .filter(|call| call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .collect();
    assert!(made.contains("accept4") && made.contains("connect"), "{made:?}");
    let denied = &made - &allowed;
    assert!(denied.is_empty(), "{denied:?}");
}
