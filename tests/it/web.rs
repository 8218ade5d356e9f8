//! The web configuration file, on the real program: TLS, client certificates, users, headers, and changes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rcgen::SanType;
use reqwest::{Certificate, ClientBuilder, Response};
use tempfile::{TempDir, tempdir};

use crate::support::authority::{Authority, Identity};
use crate::support::cad::Cad;
use crate::support::exporter::{eventually, http, value};
use crate::support::program::{BINARY, Program, command, run, text};
use crate::support::tools::{Prometheus, has};

/// Bcrypt hashes of "secret" and of "other".
const SECRET: &str = "$2y$04$Lt7wxwoC9d8RLvNUGd2HW.wN6bpFhCoJbEeM66j6UlobLA5wCe9zW";
const OTHER: &str = "$2y$04$1ehRmQhr5cg5iFm2./FrkerHzwlUIv2U.WPk.8ejQkBfwLGDiBnt6";

/// A CAD, a folder with `web.yml` and a certificate for localhost, and the authority that signed it.
struct Fixture {
    cad: Cad,
    folder: TempDir,
    authority: Authority,
}

impl Fixture {
    async fn new() -> Self {
        let fixture = Self {
            cad: Cad::start().await,
            folder: tempdir().unwrap(),
            authority: Authority::new(),
        };
        fixture
            .authority
            .issue(&["localhost", "127.0.0.1"])
            .write(fixture.path(), "server");
        fixture
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Writes the web configuration.
    fn configure(&self, text: &str) {
        self.write("web.yml", text);
    }

    /// Writes a web configuration with TLS; `more` is added to the certificate's section.
    fn configure_tls(&self, more: &str) {
        self.configure(&format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key, {more}}}\n"
        ));
    }

    fn web_config(&self) -> String {
        self.path().join("web.yml").display().to_string()
    }

    fn start(&self) -> Program {
        let mut command = command(&self.cad, &[]);
        command.args(["--web.config.file", &self.web_config()]);
        Program::start(command)
    }

    /// A client that trusts the authority.
    fn client(&self) -> ClientBuilder {
        trusting(&self.authority)
    }
}

fn trusting(authority: &Authority) -> ClientBuilder {
    // The provider is there once a client is.
    drop(http());
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([certificate])
        .pool_max_idle_per_host(0)
}

/// The result of a scrape with this client.
async fn ask(client: ClientBuilder, program: &Program) -> Result<Response, reqwest::Error> {
    let url = format!("https://localhost:{}/metrics", program.address.port());
    client.build().unwrap().get(url).send().await
}

async fn is_served(client: ClientBuilder, program: &Program) -> bool {
    ask(client, program)
        .await
        .is_ok_and(|response| response.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_and_plain_http_gets_an_explanation() {
    let fixture = Fixture::new().await;
    fixture.configure_tls("");
    let program = fixture.start();
    let response = ask(fixture.client(), &program).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("sonorancad_up{server_id=\"1\"} 1")
    );
    assert!(
        !is_served(trusting(&Authority::new()), &program).await,
        "another authority"
    );

    let url = format!("http://{}/metrics", program.address);
    let response = http().get(url).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.text().await.unwrap(), "This port speaks HTTPS only.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_tls_are_those_of_the_file() {
    let fixture = Fixture::new().await;
    let (v12, v13) = (reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3);
    for (more, has_12, has_13) in [
        ("", true, true),
        ("min_version: TLS13", false, true),
        ("max_version: TLS12", true, false),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", true, true),
        // The certificate's key is no RSA key.
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]", false, true),
        ("curve_preferences: [CurveP384]", true, true),
    ] {
        fixture.configure_tls(more);
        let program = fixture.start();
        let is_12 = is_served(fixture.client().tls_version_max(v12), &program).await;
        let is_13 = is_served(fixture.client().tls_version_min(v13), &program).await;
        assert_eq!((is_12, is_13), (has_12, has_13), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_of_the_right_authority_and_name() {
    let fixture = Fixture::new().await;
    let clients = Authority::new();
    fixture.write("clients.crt", &clients.pem());
    let names: [SanType; 4] = [
        SanType::DnsName("prometheus.example.org".try_into().unwrap()),
        SanType::Rfc822Name("prometheus@example.org".try_into().unwrap()),
        SanType::URI("spiffe://example.org/prometheus".try_into().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let asks_as = async |program: &Program, identity: &Identity| {
        is_served(fixture.client().identity(identity.for_client()), program).await
    };

    fixture.configure_tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt");
    let program = fixture.start();
    assert!(!is_served(fixture.client(), &program).await, "no certificate");
    assert!(
        !asks_as(&program, &fixture.authority.issue(&["x"])).await,
        "another authority"
    );
    assert!(asks_as(&program, &clients.issue(&["x"])).await);

    fixture.configure_tls("client_auth_type: VerifyClientCertIfGiven, client_ca_file: clients.crt");
    let program = fixture.start();
    assert!(is_served(fixture.client(), &program).await, "none is needed");
    assert!(
        !asks_as(&program, &fixture.authority.issue(&["x"])).await,
        "another authority"
    );
    assert!(asks_as(&program, &clients.issue(&["x"])).await);

    // Without a client_ca, those of the machine count.
    fixture.configure_tls("client_auth_type: RequireAndVerifyClientCert");
    let mut command = command(
        &fixture.cad,
        &[("SSL_CERT_FILE", fixture.path().join("clients.crt").to_str().unwrap())],
    );
    command.args(["--web.config.file", &fixture.web_config()]);
    let program = Program::start(command);
    assert!(program.log[0].contains("client_ca is missing"), "{:?}", program.log);
    assert!(!asks_as(&program, &fixture.authority.issue(&["x"])).await);
    assert!(asks_as(&program, &clients.issue(&["x"])).await);

    for (name, allowed) in names.into_iter().zip([
        "prometheus.example.org",
        "prometheus@example.org",
        "spiffe://example.org/prometheus",
        "'2001:db8::1'",
    ]) {
        fixture.configure_tls(&format!(
            "client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt, client_allowed_sans: [x, {allowed}]"
        ));
        let program = fixture.start();
        assert!(asks_as(&program, &clients.issue_for(name)).await, "{allowed}");
        assert!(
            !asks_as(&program, &clients.issue(&["other.example.org"])).await,
            "{allowed}"
        );
        assert!(
            !asks_as(&program, &clients.issue(&["*.example.org"])).await,
            "{allowed}: only the exact name"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn users_and_headers_apply_to_every_path() {
    let fixture = Fixture::new().await;
    fixture.configure(&format!(
        "basic_auth_users: {{alice: {SECRET}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    ));
    let program = fixture.start();
    for path in ["/", "/metrics", "/probe", "/sd", "/-/healthy", "/-/ready", "/nowhere"] {
        let url = format!("http://{}{path}", program.address);
        let refused = http().get(&url).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(refused.headers()["x-frame-options"], "deny", "{path}");
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        let answer = http()
            .get(&url)
            .basic_auth("alice", Some("secret"))
            .send()
            .await
            .unwrap();
        assert_ne!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["x-frame-options"], "deny", "{path}");
    }
    let url = format!("http://{}/metrics", program.address);
    for (user, password) in [("alice", Some("other")), ("alice", None), ("bob", Some("secret"))] {
        let answer = http().get(&url).basic_auth(user, password).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{user} {password:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn a_changed_web_configuration_is_used_at_once_and_a_broken_one_is_ignored() {
    let fixture = Fixture::new().await;
    fixture.configure(&format!("basic_auth_users: {{alice: {SECRET}}}\n"));
    let mut program = fixture.start();
    let url = format!("http://{}/metrics", program.address);
    let status = async |password: &str| {
        let request = http().get(&url).basic_auth("alice", Some(password));
        request.send().await.unwrap().status().as_u16()
    };
    let reloaded = async |password: &str| {
        let answer = http()
            .get(&url)
            .basic_auth("alice", Some(password))
            .send()
            .await
            .unwrap();
        value(
            &answer.text().await.unwrap(),
            "sonorancad_config_last_reload_successful",
        )
    };
    assert_eq!(status("secret").await, 200);

    fixture.configure("basic_auth_users: {alice: THE-SECRET}\n");
    let line = program.wait_for("stays as it was");
    assert!(
        line.contains("basic_auth_users: line 1: the user has no bcrypt hash") && !line.contains("THE-SECRET"),
        "{line}"
    );
    assert_eq!(reloaded("secret").await, 0.0);

    // As while it is being written, or on a full disk.
    fixture.configure("");
    let line = program.wait_for("stays as it was");
    assert!(line.contains("it is empty"), "{line}");
    assert_eq!(reloaded("secret").await, 0.0);

    fixture.configure(&format!("basic_auth_users: {{alice: {OTHER}}}\n"));
    program.wait_for("has been read again");
    assert_eq!((status("secret").await, reloaded("other").await), (401, 1.0));

    // From HTTP to HTTPS.
    fixture.configure(&format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{alice: {OTHER}}}\n"
    ));
    program.wait_for("has been read again");
    let is_used = async || {
        let answer = ask(fixture.client(), &program).await;
        answer.is_ok_and(|answer| answer.status() == 401)
    };
    assert!(is_used().await);

    std::fs::remove_file(fixture.path().join("server.key")).unwrap();
    let line = program.wait_for("stays as it was");
    assert!(line.contains("server.key cannot be read"), "{line}");
    let answer = ask(fixture.client(), &program).await;
    assert_eq!(answer.unwrap().status(), 401, "the old one is still in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_configuration_that_lets_in_more_clients_is_used_only_after_a_restart() {
    const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key";
    let fixture = Fixture::new().await;
    fixture.write("clients.crt", &Authority::new().pem());
    let users = format!("basic_auth_users: {{alice: {SECRET}}}\n");
    let clients = format!("{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt}}\n");
    for (before, after, lost, status) in [
        (&users, "{}\n", "users", 401),
        // As if it were cut off.
        (&users, "basic_auth_users:\n", "users", 401),
        (&users, &format!("{TLS}}}\n"), "users", 401),
        (&format!("{TLS}}}\n"), "http_server_config:\n", "TLS", 400),
        (&clients, &format!("{TLS}}}\n"), "required client certificates", 400),
    ] {
        fixture.configure(before);
        let mut program = fixture.start();
        fixture.configure(after);
        Program::signal("HUP", program.child.id());
        let line = program.wait_for("the web configuration");
        assert!(
            line.contains("stays as it was") && line.contains(&format!("it no longer has {lost}, ")),
            "{line}"
        );
        let url = format!("http://{}/metrics", program.address);
        let answer = http().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{before}");
        fixture.configure(&format!("{before}# the same\n"));
        Program::signal("HUP", program.child.id());
        program.wait_for("the web configuration has been read again");

        fixture.configure(after);
        let program = fixture.start();
        let answer = http().get(format!("http://{}/metrics", program.address)).send().await;
        let expected = if after.starts_with(TLS) { 400 } else { 200 };
        assert_eq!(answer.unwrap().status(), expected, "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn an_empty_list_of_users_admits_everyone_and_is_logged_as_a_warning() {
    let fixture = Fixture::new().await;
    let warning = "basic_auth_users is empty: no password is required";
    for text in ["basic_auth_users:\n", "basic_auth_users: {}\n"] {
        fixture.configure(text);
        let mut program = fixture.start();
        let warnings = |program: &Program| program.log.iter().filter(|line| line.contains(warning)).count();
        assert_eq!(warnings(&program), 1, "{text}{:?}", program.log);
        assert!(program.log[0].contains(" WARN "), "{:?}", program.log);

        fixture.configure(&format!("{text}# again\n"));
        program.wait_for("has been read again");
        assert_eq!(warnings(&program), 2, "{text}{:?}", program.log);
    }
    // Without a list of users, there is nothing to warn of.
    for text in ["{}\n", "http_server_config:\n"] {
        fixture.configure(text);
        let program = fixture.start();
        assert!(
            !program.log.iter().any(|line| line.contains(" WARN ")),
            "{:?}",
            program.log
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn a_certificate_is_rotated_under_load_without_a_failed_scrape() {
    let fixture = Fixture::new().await;
    fixture.configure_tls("");
    let mut program = fixture.start();
    let next = Authority::new();
    let url = format!("https://localhost:{}/metrics", program.address.port());
    let is_over = Arc::new(AtomicBool::new(false));
    let good = Arc::new(AtomicU32::new(0));
    let mut load = tokio::task::JoinSet::new();
    // Some keep their connections, and some make a new one each time; all trust both authorities.
    for idle in [0, 0, 1, 1] {
        let both =
            [&fixture.authority, &next].map(|authority| Certificate::from_pem(authority.pem().as_bytes()).unwrap());
        let client = fixture
            .client()
            .tls_certs_only(both)
            .pool_max_idle_per_host(idle)
            .build()
            .unwrap();
        let (url, is_over, good) = (url.clone(), is_over.clone(), good.clone());
        load.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let response = client.get(&url).send().await.expect("no scrape fails");
                assert_eq!(response.status(), 200);
                assert!(
                    response
                        .text()
                        .await
                        .expect("no answer breaks off")
                        .contains("sonorancad_up")
                );
                good.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // A client from before keeps its connection, until the next answer tells it to make a new one.
    let old = fixture.client().pool_max_idle_per_host(1).build().unwrap();
    let close = async |client: &reqwest::Client| {
        let response = client.get(&url).send().await?;
        let headers = response.headers().clone();
        // Only read to its end does it leave the connection to the next one.
        response.bytes().await?;
        Ok::<_, reqwest::Error>(headers.get("connection").is_some_and(|value| value == "close"))
    };
    assert!(!close(&old).await.unwrap());

    next.issue(&["localhost"]).write(fixture.path(), "server");
    program.wait_for("has been read again");
    let before = good.load(Ordering::Relaxed);
    assert!(close(&old).await.unwrap(), "the old connection ends");
    assert!(close(&old).await.is_err(), "a new one needs the new authority");
    eventually("the load goes on", async || good.load(Ordering::Relaxed) > before + 50).await;
    assert!(is_served(trusting(&next), &program).await);
    is_over.store(true, Ordering::Relaxed);
    load.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_logs_the_url_scheme_it_serves() {
    let fixture = Fixture::new().await;
    fixture.configure_tls("");
    let mut command = Command::new(BINARY);
    command
        .args(["demo", "--web.config.file", &fixture.web_config()])
        .env_clear()
        .env("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0");
    let mut program = Program::start(command);
    let metrics = program.line("Metrics");
    assert!(
        metrics.ends_with(&format!(" https://{}/metrics", program.address)),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_works_with_tls_and_users() {
    let fixture = Fixture::new().await;
    for text in [
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
        &format!("basic_auth_users: {{alice: {SECRET}}}\n"),
        "{}",
    ] {
        fixture.configure(text);
        let program = fixture.start();
        let address = program.address.to_string();
        let check = |more: &[(&str, &str)]| {
            let variables: Vec<_> = [("SONORANCAD_LISTEN_ADDRESS", &*address)]
                .iter()
                .chain(more)
                .copied()
                .collect();
            run(&["healthcheck"], &variables).status.code()
        };
        let guarded = check(&[("SONORANCAD_WEB_CONFIG_FILE", "whatever")]);
        assert_eq!(guarded, Some(0), "{text}");
        let unguarded = check(&[]);
        assert_eq!(unguarded, Some(i32::from(text != "{}")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_exits_with_2_and_a_check_finds_it() {
    let fixture = Fixture::new().await;
    fixture.configure("tls_server_config: {cert_file: absent.crt, key_file: server.key}\n");
    let file = fixture.web_config();
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", "k"),
        ("SONORANCAD_API_URL", &*fixture.cad.url()),
        ("SONORANCAD_WEB_CONFIG_FILE", &*file),
    ];
    let output = run(&[], &variables);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.starts_with(&format!(
            "sonorancad-exporter: the web configuration {file} cannot be used: tls_server_config: cert_file: "
        )) && message.contains("absent.crt cannot be read: No such file"),
        "{message}"
    );
    let output = run(&["check"], &variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("absent.crt cannot be read"),
        "{}",
        text(&output.stdout)
    );
    // Nor is a file that cannot be read itself, which is named once.
    std::fs::remove_file(&file).unwrap();
    for (arguments, code) in [(&[][..], 2), (&["check"], 1)] {
        let output = run(arguments, &variables);
        assert_eq!(output.status.code(), Some(code));
        let said = text(&output.stdout) + &text(&output.stderr);
        let reason = format!("the web configuration {file} cannot be used: it cannot be read: No such file");
        assert!(said.contains(&reason), "{said}");
        assert_eq!(said.matches(&file).count(), 1, "{said}");
    }
    assert!(fixture.cad.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn a_real_prometheus_scrapes_with_a_certificate_and_a_password() {
    if !has("prometheus", &["--version"]) {
        return;
    }
    let fixture = Fixture::new().await;
    let clients = Authority::new();
    fixture.write("clients.crt", &clients.pem());
    clients.issue(&["prometheus"]).write(fixture.path(), "client");
    fixture.write("ca.crt", &fixture.authority.pem());
    fixture.configure(&format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key, client_ca_file: clients.crt, \
         client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [prometheus], min_version: TLS13}}\n\
         basic_auth_users: {{alice: {SECRET}}}\n"
    ));
    let program = fixture.start();
    let path = fixture.path().display();
    let target = format!("localhost:{}", program.address.port());
    let prometheus = Prometheus::start(
        tempdir().unwrap(),
        &format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: right\n  scheme: https\n  basic_auth: {{username: alice, password: secret}}\n  \
             tls_config: {{ca_file: {path}/ca.crt, cert_file: {path}/client.crt, key_file: {path}/client.key}}\n  \
             static_configs: [{{targets: ['{target}']}}]\n\
             - job_name: no_password\n  scheme: https\n  \
             tls_config: {{ca_file: {path}/ca.crt, cert_file: {path}/client.crt, key_file: {path}/client.key}}\n  \
             static_configs: [{{targets: ['{target}']}}]\n\
             - job_name: no_certificate\n  scheme: https\n  basic_auth: {{username: alice, password: secret}}\n  \
             tls_config: {{ca_file: {path}/ca.crt}}\n  static_configs: [{{targets: ['{target}']}}]\n"
        ),
    );
    eventually("all three have been scraped", async || {
        prometheus.query("up{job='right'} == 1").await == [1.0]
            && prometheus.query("up{job='no_password'} == 0").await == [0.0]
            && prometheus.query("up{job='no_certificate'} == 0").await == [0.0]
    })
    .await;
    assert_eq!(prometheus.query("sonorancad_up{job='right'}").await, [1.0]);
    assert_eq!(prometheus.query("count(sonorancad_up)").await, [1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_agrees_on_versions_and_certificates() {
    if !has("openssl", &["version"]) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.write("ca.crt", &fixture.authority.pem());
    fixture.configure_tls("min_version: TLS13");
    let program = fixture.start();
    let shakes_hands = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &program.address.to_string(),
                "-verify_return_error",
            ])
            .args(["-verify_hostname", "localhost", "-CAfile", "ca.crt", "-brief"])
            .args(arguments)
            .current_dir(fixture.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        text(&output.stderr).contains("Verification: OK")
    };
    assert!(shakes_hands(&["-tls1_3"]));
    assert!(!shakes_hands(&["-tls1_2"]));
    assert!(!shakes_hands(&["-alpn", "h2"]), "only HTTP/1.1 is spoken");
    assert!(shakes_hands(&["-alpn", "h2,http/1.1"]));
}
