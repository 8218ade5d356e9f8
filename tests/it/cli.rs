//! The command line: exit codes, signals, logs.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use sonorancad_exporter::config::VARIABLES;
use tempfile::tempdir;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{eventually, http, value};
use crate::support::program::{BINARY, KEY, Program, command, run, set_environment, text};
use crate::support::tools::has;

#[test]
fn help_lists_every_variable_with_its_default() {
    let output = run(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for variable in VARIABLES {
        let default = variable
            .default
            .map_or(String::new(), |default| format!(" [default: {default}]"));
        assert!(
            help.contains(&format!("{}{default}\n", variable.name())),
            "{}",
            variable.name()
        );
    }
    assert!(help.contains("--web.listen-address") && help.contains("healthcheck"));
}

#[test]
fn version_shows_the_version_and_the_revision() {
    for flag in ["--version", "-V"] {
        let output = run(&[flag], &[]);
        assert_eq!(output.status.code(), Some(0));
        let expected = concat!("sonorancad-exporter ", env!("CARGO_PKG_VERSION"), " (revision ");
        assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
    }
}

#[test]
fn a_wrong_configuration_or_command_line_exits_with_2() {
    let output = run(
        &[],
        &[
            ("SONORANCAD_CACHE_TTL", "soon"),
            ("SONORANCAD_API_VERSION", "v1"),
            ("SONORANCAD_API_KEY", "a key with spaces"),
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.starts_with("sonorancad-exporter: the configuration has 3 problems:\n  SONORANCAD_"),
        "{message}"
    );
    assert!(!message.contains("a key with"), "{message}");
    for arguments in [&["--nonsense"][..], &["demo-does-not-exist"], &["--web.listen-address"]] {
        assert_eq!(run(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
    let valid = [("SONORANCAD_COMMUNITY_ID", "c"), ("SONORANCAD_API_KEY", KEY)];
    assert_eq!(run(&["--web.listen-address", "nowhere"], &valid).status.code(), Some(2));
}

#[test]
#[ignore = "slow"]
fn cargo_run_adds_no_variable_that_the_program_refuses() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SONORANCAD_")) {
        command.env_remove(name);
    }
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", KEY),
        ("SONORANCAD_CACHE_TTL", "soon"),
    ];
    let message = text(&command.envs(variables).output().unwrap().stderr);
    assert!(
        message.starts_with("sonorancad-exporter: the configuration has a problem:\n  SONORANCAD_CACHE_TTL "),
        "{message}"
    );
}

/// An address in use, and what listens there.
fn taken_address() -> (String, TcpListener) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    (taken.local_addr().unwrap().to_string(), taken)
}

/// The least that is needed to listen on `address`.
fn listening_on(address: &str) -> [(&str, &str); 3] {
    [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", KEY),
        ("SONORANCAD_LISTEN_ADDRESS", address),
    ]
}

#[test]
fn a_listen_address_in_use_exits_with_1_and_is_named() {
    let (address, _taken) = taken_address();
    let variables = listening_on(&address);
    let output = run(&[], &variables);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    let expected = format!("sonorancad-exporter: cannot listen on {address}: Address already in use");
    assert!(message.contains(&expected), "{message}");
}

/// The exit code where nothing can be written to standard error.
fn code_without_stderr(arguments: &[&str], variables: &[(&str, &str)]) -> Option<i32> {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(full).status().unwrap().code()
}

#[test]
fn exit_codes_do_not_depend_on_standard_error() {
    let (address, taken) = taken_address();
    let variables = listening_on(&address);
    assert_eq!(code_without_stderr(&[], &[]), Some(2));
    assert_eq!(code_without_stderr(&["--nonsense"], &[]), Some(2));
    assert_eq!(code_without_stderr(&["check"], &[]), Some(1));
    assert_eq!(code_without_stderr(&[], &variables), Some(1));
    assert_eq!(code_without_stderr(&["demo"], &variables[2..]), Some(1));
    // It is taken, but not by an exporter.
    drop(taken);
    assert_eq!(code_without_stderr(&["healthcheck"], &variables[2..]), Some(1));
}

#[test]
fn missing_ca_certificates_are_explained() {
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", KEY),
        ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_DIR", "/nowhere"),
    ];
    let output = run(&[], &variables);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("\n  SSL_CERT_FILE cannot be read: ") && message.contains("\n  SSL_CERT_DIR names a folder"),
        "{message}"
    );
}

/// A demo on a free port, in an environment that names a real API, of a machine without certificates.
fn demo(options: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .arg("demo")
        .args(options)
        .env_clear()
        .env("SONORANCAD_API_KEY_FILE", "/nowhere/key")
        .env("SONORANCAD_API_URL", "https://api.example.org")
        .env("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0")
        .env("SSL_CERT_FILE", "/nowhere/ca.pem")
        .env("SSL_CERT_DIR", "/nowhere")
        .env("HTTPS_PROXY", "no proxy");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_needs_no_key_and_shows_calls_at_once() {
    for options in [
        &["--seed", "7"][..],
        &["--seed", "7", "--servers", "3", "--api-version", "v2"],
        &["--seed", "7", "--v1-gone"],
    ] {
        let mut program = Program::start(demo(options));
        let banner = program.line("Metrics");
        let said = program.log.join("\n");
        assert!(said.contains("every call is simulated (--seed 7,"), "{said}");
        assert!(
            banner.contains(&format!("http://{}/metrics", program.address)),
            "{banner}"
        );
        let truth_url = program.line("Simulated CAD");
        // Before anything is scraped.
        let page = http().get(format!("http://{}/", program.address)).send().await.unwrap();
        let page = page.text().await.unwrap();
        assert!(
            // With three servers, one request a minute is left for units, and two for calls.
            page.contains("Simulated 1") && page.matches("Not asked yet").count() <= 3,
            "{page}"
        );
        let scrape = program.scrape().await;
        assert_eq!(value(&scrape, "sonorancad_up{server_id=\"1\"}"), 1.0);
        let calls = scrape
            .lines()
            .filter(|line| line.starts_with("sonorancad_active_calls{"));
        let active: f64 = calls
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert!(active > 3.0, "{scrape}");
        assert!(scrape.contains("name=\"Simulated 1\""));

        let url = truth_url
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap();
        let truth = http().get(url).send().await.unwrap().text().await.unwrap();
        let truth: serde_json::Value = serde_json::from_str(&truth).unwrap();
        for count in [&truth["opened"][0][0], &truth["units"]["signed_on"][0]] {
            assert!(count.as_u64().is_some_and(|count| count > 0), "{truth}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_says_which_variables_have_an_effect() {
    let help = text(&demo(&["--help"]).output().unwrap().stdout);
    for variable in VARIABLES {
        let is_listed = help.contains(&format!("\n  {}\n", variable.name()))
            || help.trim_end().ends_with(&format!("\n  {}", variable.name()));
        assert_eq!(is_listed, variable.in_demo, "{}: {help}", variable.name());
    }
    let mut command = demo(&[]);
    command
        .env("SONORANCAD_REQUESTS_PER_MINUTE", "3")
        .env("SONORANCAD_CACHE_TLT", "3s")
        .env("SONORANCAD_CACHE_TTL", "3s")
        .env("SONORANCAD_COMMUNITY_ID", "")
        .env("SONORANCAD_SERVICE_HOST", "10.0.0.1");
    let mut program = Program::start(command);
    let warning = program.log.iter().find(|line| line.starts_with("Warning: "));
    assert_eq!(
        warning.unwrap(),
        "Warning: these variables have no effect in a demo: SONORANCAD_API_KEY_FILE, SONORANCAD_API_URL, \
         SONORANCAD_CACHE_TLT, SONORANCAD_REQUESTS_PER_MINUTE."
    );
    program.line("Simulated CAD");
}

#[test]
fn a_demo_refuses_what_it_cannot_simulate() {
    for options in [
        ["--calls-per-hour", "0"],
        ["--servers", "5"],
        ["--api-version", "v3"],
        ["--seed", "x"],
    ] {
        let output = demo(&options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains(options[0]), "{}", text(&output.stderr));
    }
}

/// The log line of a stop that had to cut connections off.
const DRAIN_ENDED: &str = "some connections were still open at the end";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^53")]
async fn it_shows_its_own_memory_descriptors_cpu_time_and_start() {
    let cad = Cad::start().await;
    let unix = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let before = unix();
    let program = Program::start(command(&cad, &[]));
    program.scrape().await;
    let text = program.scrape().await;
    let listed = std::fs::read_dir(format!("/proc/{}/fd", program.child.id()))
        .unwrap()
        .count();
    // A connection may have come or gone meanwhile.
    assert!(
        (value(&text, "process_open_fds") - listed as f64).abs() <= 3.0,
        "{listed}\n{text}"
    );
    let resident = program.kibibytes("VmRSS") as f64 * 1024.0;
    assert!(
        (0.5..2.0).contains(&(value(&text, "process_resident_memory_bytes") / resident)),
        "{resident}\n{text}"
    );
    // The system knows its own start to the second.
    let start = value(&text, "process_start_time_seconds");
    assert!((before - 2.0..unix() + 2.0).contains(&start), "{before}\n{text}");
    assert!(value(&text, "process_cpu_seconds_total") > 0.0, "{text}");
}

/// A scrape that is willing to wait for longer than a stop may take.
const WAITING_SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_either_signal_without_waiting_for_idle_connections() {
    let cad = Cad::start().await;
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(command(&cad, &[("SONORANCAD_LOG", "debug")]));
        let idle = http();
        let url = format!("http://{}/metrics", program.address);
        idle.get(url).send().await.unwrap().text().await.unwrap();
        Program::signal(signal, program.child.id());
        assert_eq!(program.wait(), Some(0), "{signal}");
        let output = program.output();
        assert!(output.contains(&format!("stopping signal=\"SIG{signal}\"")), "{output}");
        assert!(output.contains("stopped"), "{output}");
        assert!(!output.contains(DRAIN_ENDED), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn it_stops_before_a_scrape_that_waits_for_a_hanging_api_would_end() {
    let cad = Cad::start().await;
    cad.hold();
    let program = Program::start(command(
        &cad,
        &[("SONORANCAD_API_TIMEOUT", "60s"), ("SONORANCAD_LOG", "debug")],
    ));
    let mut half_sent = std::net::TcpStream::connect(program.address).unwrap();
    std::io::Write::write_all(&mut half_sent, b"GET /metrics HT").unwrap();
    let mut waiting = std::net::TcpStream::connect(program.address).unwrap();
    std::io::Write::write_all(&mut waiting, WAITING_SCRAPE).unwrap();
    cad.wait_for_requests(1).await;
    let mut program = program;
    Program::signal("TERM", program.child.id());
    assert_eq!(program.wait(), Some(0));
    // The scrape would have been answered after 29 s.
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut waiting, &mut answer);
    assert_eq!(text(&answer), "", "it was cut off");
    let output = program.output();
    assert!(output.contains("stopped") && !output.contains("WARN"), "{output}");
    assert!(output.contains(DRAIN_ENDED), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_as_the_first_process_of_a_container() {
    let cad = Cad::start().await;
    let mut first = Command::new("unshare");
    first.args(["--pid", "--fork", BINARY]);
    set_environment(&mut first, &cad, &[("PATH", "/usr/bin:/bin")]);
    if !can_unshare() {
        return;
    }
    let mut program = Program::start(first);
    let children = format!("/proc/{0}/task/{0}/children", program.child.id());
    let child = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    Program::signal("TERM", child);
    assert_eq!(program.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_unprivileged_on_a_read_only_root() {
    if !can_unshare() {
        return;
    }
    let cad = Cad::start().await;
    // A clone below a private folder could not be reached by another user.
    let folder = tempdir().unwrap();
    let binary = folder.path().join("sonorancad-exporter");
    std::fs::copy(BINARY, &binary).unwrap();
    for path in [folder.path(), &binary] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("unshare");
    let script = "mount --make-rprivate / && mount -o remount,bind,ro / && if touch /can-write 2>/dev/null; then exit 9; fi && \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \"$0\"";
    command.args(["--mount", "sh", "-c", script]).arg(&binary);
    set_environment(&mut command, &cad, &[("PATH", "/usr/bin:/bin")]);
    let mut program = Program::start(command);
    assert_eq!(value(&program.scrape().await, "sonorancad_up{server_id=\"1\"}"), 1.0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    assert!(
        status.contains("\nUid:\t65534\t65534") && status.contains("\nCapEff:\t0000000000000000"),
        "{status}"
    );
    assert!(is_healthy(program.address));
    Program::signal("TERM", program.child.id());
    assert_eq!(program.wait(), Some(0));
}

/// Starts the program with its default address in a network of its own, after `setup`. Says whether its health check
/// succeeds by itself, over IPv4 and over IPv6.
fn health_in_network(setup: &str) -> [bool; 3] {
    let script = format!(
        r#"ip link set lo up && {setup} || exit 9
        "$0" 2>log & exporter=$!
        until grep -q listening log; do kill -0 $exporter || exit 9; sleep 0.05; done
        for address in :10911 127.0.0.1:10911 '[::1]:10911'; do
            "$0" healthcheck --web.listen-address "$address" 2>>log && echo true || echo false
        done
        kill $exporter"#
    );
    let folder = tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script, BINARY]);
    command.current_dir(folder.path()).env_clear().envs([
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", KEY),
        ("SONORANCAD_API_URL", "http://127.0.0.1:9"),
    ]);
    let output = command.output().unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{}{log}", text(&output.stderr));
    let lines = text(&output.stdout);
    let health: Vec<bool> = lines.lines().map(|line| line.parse().unwrap()).collect();
    health.try_into().unwrap()
}

#[test]
fn it_serves_the_families_of_addresses_that_there_are() {
    let prepare = "ip link set lo up && echo 0 > /proc/sys/net/ipv6/bindv6only";
    let can = Command::new("unshare").args(["--net", "sh", "-c", prepare]).output();
    // Many containers forbid it, also in CI.
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespaces, or no IPv6");
        return;
    }
    let sysctl = "/proc/sys/net/ipv6";
    for (setup, by_itself, ipv4, ipv6) in [
        ("true", true, true, true),
        (&*format!("echo 1 > {sysctl}/bindv6only"), true, true, true),
        (&*format!("echo 1 > {sysctl}/conf/all/disable_ipv6"), true, true, false),
        ("ip address del 127.0.0.1/8 dev lo", true, false, true),
    ] {
        assert_eq!(health_in_network(setup), [by_itself, ipv4, ipv6], "{setup}");
    }
}

#[test]
fn without_ipv6_in_the_kernel_it_serves_ipv4() {
    if !has("strace", &["--version"]) {
        return;
    }
    let cad = "http://127.0.0.1:9";
    // A kernel without IPv6 refuses the socket; some sandboxes refuse the address.
    for refusal in ["socket:error=EAFNOSUPPORT", "bind:error=EADDRNOTAVAIL"] {
        let mut command = Command::new("strace");
        command.args(["--daemonize", "--follow-forks", "--quiet=all", "--output=/dev/null"]);
        command.arg(format!("--inject={refusal}:when=1")).arg(BINARY);
        command.env_clear().envs([
            ("SONORANCAD_COMMUNITY_ID", "c"),
            ("SONORANCAD_API_KEY", KEY),
            ("SONORANCAD_API_URL", cad),
            ("SONORANCAD_LISTEN_ADDRESS", ":0"),
        ]);
        let program = Program::start(command);
        assert!(is_healthy(program.address), "{refusal}");
    }
}

fn is_healthy(address: SocketAddr) -> bool {
    let output = run(&["healthcheck"], &[("SONORANCAD_LISTEN_ADDRESS", &address.to_string())]);
    output.status.success()
}

/// Whether namespaces can be used: they need root or a permissive kernel. In CI, they must be there.
fn can_unshare() -> bool {
    let can = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "true"])
        .status()
        .is_ok_and(|status| status.success());
    assert!(can || std::env::var_os("CI").is_none(), "unshare does not work");
    can
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_exits_with_0_only_if_the_exporter_serves() {
    let cad = Cad::start().await;
    cad.hold();
    let program = Program::start(command(&cad, &[]));
    let port = program.address.port();
    for arguments in [
        &["healthcheck", "--web.listen-address", &format!("127.0.0.1:{port}")][..],
        &["--web.listen-address", &format!(":{port}"), "healthcheck"],
    ] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let address = program.address.to_string();
    drop(program);
    let output = run(&["healthcheck"], &[("SONORANCAD_LISTEN_ADDRESS", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with(&format!("sonorancad-exporter: not healthy at {address}: ")),
        "{}",
        text(&output.stderr)
    );
    let output = run(&["healthcheck", "--web.listen-address", &format!(":{port}")], &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.starts_with(&format!("sonorancad-exporter: not healthy at 127.0.0.1:{port}: "))
            && message.contains(&format!("; nor at [::1]:{port}: ")),
        "{message}"
    );
    let output = run(&["healthcheck"], &[("SONORANCAD_LISTEN_ADDRESS", "nowhere")]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn it_logs_the_start_and_when_a_failure_begins_changes_and_ends() {
    let cad = Cad::start().await;
    cad.answer(Answer::status(500, &[], ""));
    let quick = [("SONORANCAD_CACHE_TTL", "1s"), ("SONORANCAD_REQUESTS_PER_MINUTE", "60")];
    let mut program = Program::start(command(&cad, &quick));
    let start = program.log.join("\n");
    for part in ["api_version=auto", "servers=[1]", "ttl=1s", "addresses=[127.0.0.1:"] {
        assert!(start.contains(part), "{start}");
    }
    let scrape_until = async |count: usize| {
        eventually("it asks again", async || {
            program.scrape().await;
            cad.requests().len() >= count
        })
        .await;
    };
    scrape_until(2).await;
    cad.answer(Answer::status(503, &[], ""));
    scrape_until(3).await;
    cad.answer(Answer::ok("{}"));
    scrape_until(4).await;
    cad.answer(Answer::ok(r#"{"activeCalls":[]}"#));
    scrape_until(5).await;
    scrape_until(7).await;
    Program::signal("TERM", program.child.id());
    program.wait_for("stopped");
    let about_api: Vec<_> = program.log.iter().filter(|line| line.contains("server_id=1")).collect();
    assert_eq!(about_api.len(), 3, "{about_api:#?}");
    assert!(about_api[0].contains("error=HTTP 5XX") && about_api[0].contains("advice="));
    assert!(about_api[1].contains("error=INVALID RESPONSE"));
    assert!(about_api[2].contains("the API can be read again") && about_api[2].contains("INFO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_can_be_json() {
    let cad = Cad::start().await;
    cad.answer(Answer::status(400, &[], "INVALID API KEY"));
    let mut program = Program::start(command(&cad, &[("SONORANCAD_LOG_FORMAT", "json")]));
    program.scrape().await;
    Program::signal("TERM", program.child.id());
    program.wait_for("stopped");
    for line in &program.log {
        let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(json["level"].is_string() && json["message"].is_string(), "{line}");
    }
    assert!(
        program
            .log
            .iter()
            .any(|line| line.contains(r#""error":"INVALID API KEY""#))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_the_communities() {
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let path = folder.path().join("communities.yml");
    let write = |text: &str| std::fs::write(&path, text.replace("API", &cad.url())).unwrap();
    write("one: {community_id: x, api_key: k, api_url: API}\n");
    let mut program = Program::start(command(
        &cad,
        &[("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap())],
    ));
    assert!(
        program.log.iter().any(|line| line.contains("community=\"one\"")),
        "{:?}",
        program.log
    );

    write("one: {community_id: x, api_key: THE-SECRET, api_url: nowhere}\n");
    Program::signal("HUP", program.child.id());
    let line = program.wait_for("stays as it was");
    assert!(line.contains("line 1: one: api_url must begin with https:"), "{line}");
    assert!(!program.log.join("").contains("THE-SECRET"));
    let reloaded = "sonorancad_config_last_reload_successful";
    assert_eq!(value(&program.scrape().await, reloaded), 0.0);

    // An unreadable file delays nothing.
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    Program::signal("HUP", program.child.id());
    program.wait_for("it is not a regular file");
    std::fs::remove_file(&path).unwrap();

    write("two: {community_id: x, api_key: k, api_url: API}\n");
    Program::signal("HUP", program.child.id());
    program.wait_for("has been read again");
    assert_eq!(value(&program.scrape().await, reloaded), 1.0);
    let probe = |alias: &str| {
        let url = format!("http://{}/probe?community={alias}", program.address);
        async move { http().get(url).send().await.unwrap().status().as_u16() }
    };
    assert_eq!((probe("one").await, probe("two").await), (404, 200));
}
