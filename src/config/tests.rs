use std::time::Duration;

use enum_map::enum_map;

use super::*;
use crate::account::Plan;
use crate::client::{Calls, Endpoint as _};

const LEAST: [(&str, &str); 2] = [
    ("SONORANCAD_COMMUNITY_ID", "mycommunity"),
    ("SONORANCAD_API_KEY", "secret"),
];

fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    Config::read(Setting::from_environment(variables)).map_err(|problems| problems.to_string())
}

fn plan(community: &CommunityConfig) -> Plan {
    Calls::plan(community, ApiVersion::V1)
}

/// Reads the least that is needed, and `more`.
fn read_with(more: &[(&str, &str)]) -> Result<Config, String> {
    read(&[&LEAST, more].concat())
}

#[track_caller]
fn assert_problem(more: &[(&str, &str)], expected: &str) {
    let message = read_with(more).expect_err("this is a problem");
    assert_eq!(message, format!("the configuration has a problem:\n  {expected}"));
}

#[test]
fn an_id_and_a_key_are_enough() {
    let config = read(&LEAST).unwrap();
    let community = config.community.as_ref().unwrap();
    assert!(matches!(&community.api.version, VersionChoice::Auto { community_id } if community_id == "mycommunity"));
    assert_eq!(community.api.url.as_str(), "https://api.sonorancad.com/");
    assert_eq!(community.api.key.expose_secret(), "secret");
    assert_eq!(community.api.timeout, Duration::from_secs(8));
    assert_eq!(community.servers, [ServerConfig { id: 1, name: None }]);
    let expected = Plan {
        requests_per_minute: 12,
        ttl: Duration::from_secs(25),
        stale_bound: Duration::from_secs(120),
        max_ids: 10_000,
        published_limit: 60,
    };
    assert_eq!(plan(community), expected);
    assert_eq!(config.listen, Listen::Addresses(vec!["[::]:10911".parse().unwrap()]));
    assert_eq!(config.web_config_file, None);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn version_v2_needs_no_community_id() {
    let config = read(&[("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_API_KEY", "secret")]).unwrap();
    assert_eq!(
        config.community.unwrap().api.version,
        VersionChoice::V2 { is_by_name: true }
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let message = read(&[
        ("SONORANCAD_APIKEY", "secret"),
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_SERVER_IDS", "1,x"),
        ("SONORANCAD_CACHE_TTL", "25"),
        ("SONORANCAD_LISTEN_ADDRESS", "everywhere"),
        ("SONORANCAD_LOG_FORMAT", "xml"),
    ])
    .unwrap_err();
    assert_eq!(
        message,
        "the configuration has 7 problems:\n  \
         SONORANCAD_APIKEY is not a variable of this program; the nearest one is SONORANCAD_API_KEY (if Kubernetes sets \
         it for a Service, rename the Service or set `enableServiceLinks: false`)\n  \
         SONORANCAD_API_KEY is missing (or set SONORANCAD_API_KEY_FILE); for example: 0f8a...\n  \
         SONORANCAD_COMMUNITY_ID is missing; API version v1 needs it; for example: mycommunity\n  \
         SONORANCAD_SERVER_IDS must list server ids: whole numbers from 1, separated by commas; for example: 1=Main,2=Events\n  \
         SONORANCAD_CACHE_TTL is not a duration; for example: 25s\n  \
         SONORANCAD_LISTEN_ADDRESS must be an IP address or localhost with a port, or a colon and a port; for example: :10911\n  \
         SONORANCAD_LOG_FORMAT must be text or json; for example: json"
    );
}

#[test]
fn each_bad_value_has_its_reason() {
    for (short, text, reason) in [
        (
            // As a web page may have it.
            "COMMUNITY_ID",
            "my\u{200b}community",
            "contains an invisible character; type it instead of copying it; for example: mycommunity",
        ),
        ("API_VERSION", "v3", "must be auto, v1 or v2; for example: v2"),
        ("API_TIMEOUT", "2m", "must be from 100ms to 1m; for example: 8s"),
        ("CACHE_TTL", "0s", "must be from 1s to 1h; for example: 25s"),
        ("MAX_STALE", "-1s", "is not a duration; for example: 2m"),
        (
            "REQUESTS_PER_MINUTE",
            "0",
            "must be a whole number from 1 to 60; for example: 4",
        ),
        (
            "REQUESTS_PER_MINUTE",
            "1.5",
            "must be a whole number from 1 to 60; for example: 4",
        ),
        ("ALLOW_HTTP", "yes", "must be true or false; for example: true"),
        (
            "SERVER_IDS",
            "0",
            "must list server ids: whole numbers from 1, separated by commas; for example: 1=Main,2=Events",
        ),
        (
            "SERVER_IDS",
            "1,",
            "must list server ids: whole numbers from 1, separated by commas; for example: 1=Main,2=Events",
        ),
        (
            "SERVER_IDS",
            "2=A,2",
            "lists server 2 twice; for example: 1=Main,2=Events",
        ),
        (
            "SERVER_IDS",
            "2=",
            "gives server 2 an empty name, or one with control characters; for example: 1=Main,2=Events",
        ),
        (
            "LISTEN_ADDRESS",
            ":99999",
            "must be an IP address or localhost with a port, or a colon and a port; for example: :10911",
        ),
        (
            "LOG",
            "loud",
            "must be a level (error, warn, info, debug, trace, off), or `module=level` pairs; for example: info,hyper=warn",
        ),
        (
            "API_URL",
            "nowhere",
            "must begin with https://; for example: https://api.sonorancad.com",
        ),
        (
            "API_URL",
            "https://",
            "is not an address: empty host; for example: https://api.sonorancad.com",
        ),
        (
            "API_URL",
            "ftp://example.com",
            "must begin with https://; for example: https://api.sonorancad.com",
        ),
        (
            "API_URL",
            "https://user:pass@example.com",
            "must not contain a user, a password, a query or a fragment; for example: https://api.sonorancad.com",
        ),
        (
            "API_KEY_FILE",
            "/nowhere/key",
            "and SONORANCAD_API_KEY_FILE are both set; keep one of them",
        ),
    ] {
        let name = format!("SONORANCAD_{short}");
        let subject = if short == "API_KEY_FILE" {
            "SONORANCAD_API_KEY"
        } else {
            &name
        };
        assert_problem(&[(&name, text)], &format!("{subject} {reason}"));
    }
}

#[test]
fn addresses_that_would_take_each_others_port_are_refused() {
    for text in [
        ":1,0.0.0.0:1",
        "[::]:1,127.0.0.1:1",
        "[::1]:1,:1",
        "0.0.0.0:1,127.0.0.1:1",
        "[::1]:1,[::1]:1",
    ] {
        assert_problem(
            &[("SONORANCAD_LISTEN_ADDRESS", text)],
            "SONORANCAD_LISTEN_ADDRESS lists an address twice: `:10911` and `[::]:10911` mean all addresses, and \
             `0.0.0.0:10911` all of IPv4; for example: :10911",
        );
    }
    for text in [
        "127.0.0.1:1,[::1]:1",
        "0.0.0.0:1,[::1]:1",
        ":1,:2",
        "127.0.0.1:0,127.0.0.1:0",
    ] {
        assert!(read_with(&[("SONORANCAD_LISTEN_ADDRESS", text)]).is_ok(), "{text}");
    }
}

#[test]
fn plain_http_goes_to_this_machine_only_unless_allowed() {
    for url in [
        "http://127.0.0.1:8080",
        "http://127.9.9.9/",
        "http://localhost:1",
        "http://[::1]:8080/base",
    ] {
        let config = read_with(&[("SONORANCAD_API_URL", url)]).unwrap();
        assert!(config.community.unwrap().api.is_local(), "{url}");
    }
    for url in [
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://api.sonorancad.com",
    ] {
        assert_problem(
            &[("SONORANCAD_API_URL", url)],
            "SONORANCAD_API_URL would send the key in plain text; use https://, or set SONORANCAD_ALLOW_HTTP=true; \
             for example: https://api.sonorancad.com",
        );
        let config = read_with(&[("SONORANCAD_API_URL", url), ("SONORANCAD_ALLOW_HTTP", "true")]).unwrap();
        assert!(!config.community.unwrap().api.is_local(), "{url}");
    }
}

#[test]
fn the_api_address_may_end_in_a_slash_or_not() {
    for (text, expected) in [
        ("https://example.com", "https://example.com/"),
        ("https://example.com/cad", "https://example.com/cad/"),
        ("https://example.com/cad/", "https://example.com/cad/"),
    ] {
        let config = read_with(&[("SONORANCAD_API_URL", text)]).unwrap();
        assert_eq!(config.community.unwrap().api.url.as_str(), expected);
    }
}

#[test]
fn the_budget_leaves_room_for_the_game_servers() {
    for (version, servers, budget, ttl) in [
        ("v2", "1", 4, 25),
        ("v2", "1,2", 3, 40),
        ("v2", "1,2,3", 2, 90),
        ("v2", "1,2,3,4", 1, 240),
        ("v2", "1,2,3,4,5", 1, 300),
        // It allows one request per second.
        ("v1", "1", 12, 25),
        ("v1", "1,2,3,4,5", 12, 25),
        ("v1", "1,2,3,4,5,6", 12, 30),
    ] {
        let variables = [("SONORANCAD_API_VERSION", version), ("SONORANCAD_SERVER_IDS", servers)];
        let community = read_with(&variables).unwrap().community.unwrap();
        let plan = plan(&community);
        assert_eq!(
            (plan.requests_per_minute, plan.ttl.as_secs()),
            (budget, ttl),
            "{version} {servers}"
        );
    }
}

#[test]
fn stale_values_are_kept_for_at_least_twice_the_ttl_in_force() {
    let variables = [("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_SERVER_IDS", "1,2,3")];
    let community = read_with(&variables).unwrap().community.unwrap();
    assert_eq!(plan(&community).stale_bound, Duration::from_secs(180));
}

#[test]
fn a_budget_over_the_apis_limit_is_warned_of() {
    let warnings = |version: &str, more: &[(&str, &str)]| {
        let version = [("SONORANCAD_API_VERSION", version)];
        let community = read_with(&[&version, more].concat()).unwrap().community.unwrap();
        plan(&community).warnings(ApiEndpoint::Calls, &community).len()
    };
    let servers = |ids| ("SONORANCAD_SERVER_IDS", ids);
    let budget = |requests| ("SONORANCAD_REQUESTS_PER_MINUTE", requests);
    assert_eq!(warnings("v2", &[]), 0);
    assert_eq!(warnings("v2", &[servers("1,2,3")]), 0);
    // Data gets older than two minutes.
    assert_eq!(warnings("v2", &[servers("1,2,3,4")]), 1);
    assert_eq!(warnings("v2", &[servers("1,2,3,4"), ("SONORANCAD_CACHE_TTL", "5m")]), 0);
    assert_eq!(warnings("v2", &[servers("1,2,3,4,5")]), 2);
    assert_eq!(warnings("v2", &[budget("5")]), 1);
    assert_eq!(warnings("v1", &[budget("5")]), 0);
    assert_eq!(warnings("v1", &[servers("1,2,3,4,5")]), 0);
    assert_eq!(warnings("v1", &[budget("59")]), 0);
    assert_eq!(warnings("v1", &[budget("60")]), 1);
}

#[test]
fn servers_can_have_names() {
    let config = read_with(&[("SONORANCAD_SERVER_IDS", " 1 = Main = One , 22=Events")]).unwrap();
    let names: Vec<_> = config
        .community
        .iter()
        .flat_map(|community| &community.servers)
        .map(|server| (server.id, server.name.as_deref()))
        .collect();
    assert_eq!(names, [(1, Some("Main = One")), (22, Some("Events"))]);
}

#[test]
fn empty_variables_count_as_not_set() {
    let config = read_with(&[
        ("SONORANCAD_CACHE_TTL", ""),
        ("SONORANCAD_API_KEY_FILE", ""),
        ("SONORANCAD_TYPO", ""),
    ]);
    assert_eq!(config.unwrap().community.unwrap().cache_ttl, Duration::from_secs(25));
}

#[test]
fn links_of_a_kubernetes_service_are_ignored() {
    assert!(
        read_with(&[
            ("SONORANCAD_EXPORTER_SERVICE_HOST", "10.0.0.1"),
            ("SONORANCAD_PORT", "tcp://10.0.0.1:1")
        ])
        .is_ok()
    );
}

/// The environment that needs nothing else, with more variables and these flags.
fn read_with_flags(more: &[(&str, &str)], flags: &Flags) -> Result<Config, Problems> {
    let own = [("SONORANCAD_COMMUNITY_ID", "c"), ("SONORANCAD_API_KEY", "k")];
    let variables = own.iter().chain(more);
    let mut settings = Setting::from_environment(variables.map(|(name, text)| (name.into(), text.into())));
    settings.extend(Setting::from_flags(flags));
    Config::read(settings)
}

#[test]
fn flags_win() {
    let flags = Flags {
        listen_addresses: [":2", "localhost:3", "[::1]:4"].map(str::to_owned).to_vec(),
        systemd_socket: false,
        external_url: Some("https://flag.example.org".to_owned()),
        web_config_file: Some("flag.yml".to_owned()),
    };
    let environment = [
        ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:1"),
        ("SONORANCAD_EXTERNAL_URL", "https://variable.example.org"),
        ("SONORANCAD_WEB_CONFIG_FILE", "variable.yml"),
    ];
    let config = read_with_flags(&environment, &flags).unwrap();
    let addresses = ["[::]:2", "127.0.0.1:3", "[::1]:4"].map(|address| address.parse().unwrap());
    assert_eq!(config.listen, Listen::Addresses(addresses.to_vec()));
    assert_eq!(config.external_url.unwrap().as_str(), "https://flag.example.org/");
    assert_eq!(config.web_config_file, Some("flag.yml".into()));
}

#[test]
fn an_external_url_is_an_address_and_nothing_else() {
    let read = |text: &str| {
        let flags = Flags {
            external_url: Some(text.to_owned()),
            ..Flags::default()
        };
        read_with_flags(&[], &flags)
    };
    assert_eq!(read("").unwrap().external_url, None);
    for text in ["http://exporter", "https://[::1]:8443/a/b/"] {
        assert!(read(text).unwrap().external_url.is_some(), "{text}");
    }
    for (text, reason) in [
        ("/sonorancad", "must begin with http:// or https://"),
        ("example.org", "must begin with http:// or https://"),
        ("example.org:443/sonorancad", "must begin with http:// or https://"),
        ("https://", "is not an address: empty host"),
        (
            "https://user:secret@example.org",
            "must not contain a user, a password, a query or a fragment",
        ),
    ] {
        assert_eq!(
            read(text).unwrap_err().to_string(),
            format!(
                "the configuration has a problem:\n  --web.external-url {reason}; for example: \
                 https://example.org/sonorancad"
            )
        );
    }
}

#[test]
fn the_address_of_dashboards_is_one_that_a_browser_can_open() {
    let read = |text| read_with(&[("SONORANCAD_DASHBOARD_URL", text)]);
    assert_eq!(read("").unwrap().dashboard_url, None);
    for text in [
        "http://localhost:3000",
        "https://x.example.org/grafana/d/a/b?orgId=1&from=now-6h#x",
    ] {
        assert!(read(text).unwrap().dashboard_url.is_some(), "{text}");
    }
    for (text, reason) in [
        ("localhost:3000/d", "must begin with http:// or https://"),
        ("javascript:alert(1)", "must begin with http:// or https://"),
        ("/d/x", "must begin with http:// or https://"),
        (
            "https://user:secret@example.org",
            "must not contain a user or a password",
        ),
    ] {
        let problems = read(text).unwrap_err();
        let expected = format!("SONORANCAD_DASHBOARD_URL {reason}");
        assert!(
            problems.contains(&expected) && !problems.contains("secret"),
            "{problems}"
        );
    }
}

#[test]
fn an_empty_flag_counts_as_not_given() {
    let flags = Flags {
        listen_addresses: vec![String::new(), " ".to_owned()],
        web_config_file: Some(String::new()),
        external_url: Some(String::new()),
        ..Flags::default()
    };
    let config = read_with_flags(&[("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:7")], &flags).unwrap();
    assert_eq!(config.listen, Listen::Addresses(vec!["127.0.0.1:7".parse().unwrap()]));
    assert_eq!(config.web_config_file, None);
}

#[test]
fn sockets_of_systemd_stand_instead_of_addresses() {
    let flags = Flags {
        systemd_socket: true,
        ..Flags::default()
    };
    assert_eq!(read_with_flags(&[], &flags).unwrap().listen, Listen::SystemdSocket);
    let variable = [("SONORANCAD_SYSTEMD_SOCKET", "true")];
    let config = read_with_flags(&variable, &Flags::default()).unwrap();
    assert_eq!(config.listen, Listen::SystemdSocket);
    let both = read_with_flags(&[("SONORANCAD_LISTEN_ADDRESS", ":1")], &flags);
    assert_eq!(
        both.unwrap_err().to_string(),
        "the configuration has a problem:\n  SONORANCAD_LISTEN_ADDRESS has no effect with --web.systemd-socket; the \
         socket unit says where to listen"
    );
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    for name in ["SONORANCAD_API_KEY_FILE", "SONORANCAD_COMMUNITIES_FILE"] {
        let settings = [("SONORANCAD_COMMUNITY_ID", "c"), (name, "/dev/zero")];
        let settings = settings.map(|(name, text)| (name.into(), text.into()));
        let message = Config::read(Setting::from_environment(settings))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(&format!("{name} cannot be read: it is not a regular file")),
            "{message}"
        );
    }
}

#[cfg(unix)]
#[test]
fn text_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt as _;

    let bytes = std::ffi::OsString::from_vec(vec![0xff]);
    let settings = Setting::from_environment([("SONORANCAD_LOG".into(), bytes.clone()), ("OTHER".into(), bytes)]);
    let message = Config::read(settings).unwrap_err().to_string();
    assert!(message.contains("SONORANCAD_LOG is not valid UTF-8"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_key_that_is_not_utf8_is_not_missing_as_well() {
    use std::os::unix::ffi::OsStringExt as _;

    for name in ["SONORANCAD_API_KEY", "SONORANCAD_API_KEY_FILE"] {
        let bytes = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
        let settings = Setting::from_environment([(name.into(), bytes)]);
        let message = Config::read(settings).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("the configuration has a problem:\n  {name} is not valid UTF-8")
        );
    }
}

#[test]
fn the_key_can_come_from_a_file() {
    let directory = std::env::temp_dir().join(format!("sonorancad-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("key");
    let read_file = |content: &str| {
        std::fs::write(&path, content).unwrap();
        read(&[LEAST[0], ("SONORANCAD_API_KEY_FILE", path.to_str().unwrap())])
    };
    for content in [
        "secret",
        "secret\n",
        "secret\r\n",
        "secret\n\n",
        "secret ",
        "\u{feff}secret\r\n",
        "\n secret",
    ] {
        assert_eq!(
            read_file(content).unwrap().community.unwrap().api.key.expose_secret(),
            "secret",
            "{content:?}"
        );
    }
    for (content, reason) in [
        ("", "names a file that is empty"),
        (" \n", "names a file that is empty"),
        ("'secret'\n", "names a file whose key has quotes around it"),
        ("\"secret\n", "names a file whose key begins or ends with a quote"),
        (
            "SONORANCAD_API_KEY=secret\n",
            "names a file whose key is of the form NAME=value",
        ),
        (
            "export API_KEY=secret\nOTHER=x\n",
            "names a file whose key is of the form NAME=value",
        ),
        ("secret # of blaine", "names a file whose key is followed by a comment"),
        ("sec ret", "names a file whose key contains white space"),
        (
            "schlüssel",
            "names a file whose key contains characters that no key has",
        ),
        (
            "s\0\0e\0\0",
            "names a file whose key contains characters that no key has",
        ),
        ("s\0e\0c\0", "cannot be read: it is UTF-16"),
    ] {
        let message = read_file(content).unwrap_err();
        assert!(message.contains(&format!("_FILE {reason}")), "{content:?}: {message}");
        assert!(message.contains("has a problem:"), "{message}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let message = read(&[LEAST[0], ("SONORANCAD_API_KEY_FILE", path.to_str().unwrap())]).unwrap_err();
    assert!(
        message.contains("SONORANCAD_API_KEY_FILE cannot be read: No such file"),
        "{message}"
    );
}

/// A folder with a key file and a communities file; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sonorancad-values-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("key"), "secret").unwrap();
        std::fs::write(path.join("store"), "redis://localhost").unwrap();
        std::fs::write(path.join("communities.yml"), "a: {api_version: v2, api_key: k}\n").unwrap();
        Self(path)
    }

    /// A good value of the variable.
    fn example(&self, variable: &Variable) -> String {
        let in_folder = |name: &str| self.0.join(name).to_str().unwrap().to_owned();
        match variable.short {
            "API_KEY_FILE" => in_folder("key"),
            "COMMUNITIES_FILE" => in_folder("communities.yml"),
            "SHARED_STATE_URL_FILE" => in_folder("store"),
            _ => variable.example.to_owned(),
        }
    }

    /// What the configuration becomes if the variable has this text, beside the least that is needed.
    fn read(variable: &Variable, text: &str) -> Result<Config, String> {
        let mut variables = LEAST.to_vec();
        let is_key = |name: &str| name == "SONORANCAD_API_KEY" && variable.short == "API_KEY_FILE";
        variables.retain(|(name, _)| *name != variable.name() && !is_key(name));
        let name = variable.name();
        variables.push((&name, text));
        read(&variables)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_surrounds_the_value_of_any_variable_is_removed() {
    let folder = Folder::new();
    for variable in VARIABLES {
        let example = folder.example(variable);
        let expected = format!("{:?}", Folder::read(variable, &example).unwrap());
        for text in [
            format!("{example}\r"),
            format!("{example}\r\n\n"),
            format!("\u{feff} \t{example} "),
        ] {
            let config = Folder::read(variable, &text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(format!("{config:?}"), expected, "{text:?}");
        }
        for text in ["\r\n", " ", "\u{feff}"] {
            assert_eq!(
                Folder::read(variable, text).map(drop).map_err(drop),
                Folder::read(variable, "").map(drop).map_err(drop),
                "{}={text:?}",
                variable.name()
            );
        }
    }
}

#[test]
fn a_value_in_quotes_or_after_its_own_name_or_before_a_comment_is_refused_for_that() {
    let folder = Folder::new();
    for variable in VARIABLES {
        let example = folder.example(variable);
        let name = variable.name();
        for (text, reason) in [
            (
                format!("\"{example}\""),
                "has quotes around it, which would become part of it; remove them",
            ),
            (
                format!("'{example}'\r"),
                "has quotes around it, which would become part of it; remove them",
            ),
            (
                format!("{name}={example}"),
                "repeats its own name and an equals sign; keep only what follows them",
            ),
            (
                format!("{example} # since 2026"),
                "is followed by a comment, which became part of it; move the comment to a line of its own",
            ),
        ] {
            let message = Folder::read(variable, &text).unwrap_err();
            assert_eq!(message, format!("the configuration has a problem:\n  {name} {reason}"));
        }
    }
    let flags = Flags {
        web_config_file: Some("\"web.yml\"".to_owned()),
        ..Flags::default()
    };
    let message = read_with_flags(&[], &flags).unwrap_err().to_string();
    assert!(message.contains("--web.config.file has quotes around it"), "{message}");
}

#[test]
fn the_settings_of_a_file_are_cleaned_in_the_same_way() {
    for variable in variable::community_variables() {
        let folder = Folder::new();
        let example = folder.example(variable);
        let other = match variable.key {
            "api_key" | "api_key_file" => "community_id: c",
            "community_id" => "api_key: secret",
            _ => "community_id: c\n  api_key: secret",
        };
        let file = |text: &str| format!("a:\n  {other}\n  {}: {}\n", variable.key, serde_json::json!(text));
        for text in [
            example.clone(),
            format!("{example}\n"),
            format!("\u{feff}{example} \r\n"),
        ] {
            let config = read_communities(&file(&text), &[]);
            assert!(config.is_ok(), "{}: {text:?}: {config:?}", variable.key);
        }
        assert_eq!(
            read_communities(&file(&format!("'{example}'")), &[]).unwrap_err(),
            format!(
                "the configuration has a problem:\n  FILE, line {}: a: {} has quotes around it, which would become part of \
                 it; remove them",
                2 + other.lines().count(),
                variable.key
            )
        );
    }
    // Empty counts as not set, as in the environment.
    let config = read_communities("a: {api_version: v2, api_key: k, server_ids: , cache_ttl: ''}\n", &[]);
    assert_eq!(config.unwrap().communities["a"].cache_ttl, Duration::from_secs(25));
    // A block of YAML ends in a line end.
    let config = read_communities("\u{feff}a:\n  api_version: v2\n  api_key: |\n    abc123\n", &[]);
    assert_eq!(config.unwrap().communities["a"].api.key.expose_secret(), "abc123");
}

#[test]
fn no_message_and_no_debug_output_shows_a_secret() {
    let config = read(&LEAST).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    for short in VARIABLES.iter().map(|variable| variable.name()) {
        if let Err(message) = read(&[(&short, "secret key")]) {
            assert!(!message.contains("secret key"), "{message}");
        }
    }
}

#[test]
fn every_default_and_example_is_a_value() {
    for variable in VARIABLES {
        for text in variable.default.into_iter().chain([variable.example]) {
            if ["API_KEY_FILE", "COMMUNITIES_FILE", "SHARED_STATE_URL_FILE"].contains(&variable.short) {
                continue;
            }
            let mut variables = LEAST.to_vec();
            variables.retain(|(name, _)| *name != variable.name());
            let name = variable.name();
            variables.push((&name, text));
            assert!(read(&variables).is_ok(), "{name}={text}: {:?}", read(&variables).err());
        }
    }
}

#[test]
fn an_address_of_the_shared_state_is_one_that_the_client_understands() {
    let read = |url: &str| {
        let variables = [LEAST.as_slice(), &[("SONORANCAD_SHARED_STATE_URL", url)]].concat();
        read(&variables).map(|config| config.shared_state.map(|url| url.expose_secret().to_owned()))
    };
    for url in [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://:p%23ss@10.0.0.1/1",
        "redis://user:pass@[::1]:6380/15",
        "rediss://valkey.example.org",
        "unix:/run/valkey.sock",
        "unix:///run/valkey.sock?db=1&pass=secret",
    ] {
        assert_eq!(read(url), Ok(Some(url.to_owned())));
    }
    for (url, reason) in [
        ("localhost:6379", "must begin with redis://"),
        ("valkey.example.org", "is not an address"),
        ("http://localhost", "must begin with redis://"),
        ("redis://localhost:0", "has port 0"),
        ("redis://localhost/x", "the number of a database"),
        ("redis://localhost/1/2", "the number of a database"),
        ("rediss://localhost#insecure", "contains `#`"),
        ("redis://localhost?protocol=resp3", "contains `?`"),
        ("redis:/run/valkey.sock", "names no host"),
        ("unix:", "must name the path of a socket"),
        ("unix:valkey.sock", "must name the path of a socket"),
    ] {
        let message = read(url).expect_err(url);
        assert!(message.contains(reason), "{url}: {message}");
        assert!(message.contains("SONORANCAD_SHARED_STATE_URL "), "{message}");
    }
    let both = [
        LEAST.as_slice(),
        &[
            ("SONORANCAD_SHARED_STATE_URL", "redis://localhost"),
            ("SONORANCAD_SHARED_STATE_URL_FILE", "/nowhere"),
        ],
    ];
    let message = super::tests::read(&both.concat()).unwrap_err();
    assert!(message.contains("are both set"), "{message}");
}

/// Reads a file of communities with this content, and `more` variables; the file's path is `FILE` in messages.
fn read_communities(content: &str, more: &[(&str, &str)]) -> Result<Config, String> {
    let folder = std::env::temp_dir().join(format!("sonorancad-exporter-{:?}", std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("communities.yml");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap();
    let outcome = read(&[&[("SONORANCAD_COMMUNITIES_FILE", path)], more].concat());
    std::fs::remove_dir_all(&folder).unwrap();
    outcome.map_err(|message| message.replace(path, "FILE"))
}

#[test]
fn a_file_describes_communities_by_alias() {
    let config = read_communities(
        "blaine:\n  community_id: abc\n  api_key: 007\n  server_ids: 1=Main,2\nsandy.shores:\n  api_version: v2\n  api_key: k\n",
        &[],
    );
    let config = config.unwrap();
    assert!(config.community.is_none());
    let blaine = &config.communities["blaine"];
    assert!(matches!(&blaine.api.version, VersionChoice::Auto { community_id } if community_id == "abc"));
    // As it is written, though it could be a number.
    assert_eq!(blaine.api.key.expose_secret(), "007");
    assert_eq!((blaine.servers.len(), plan(blaine).requests_per_minute), (2, 12));
    assert_eq!(plan(&config.communities["sandy.shores"]).ttl, Duration::from_secs(25));
}

#[test]
fn relative_paths_start_from_the_folder_of_their_file() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("keys")).unwrap();
    std::fs::write(folder.0.join("keys/blaine"), "secret").unwrap();
    let read_key = |key_file: &str| {
        let file = format!("blaine: {{api_version: v2, api_key_file: '{key_file}'}}\n");
        std::fs::write(folder.0.join("communities.yml"), file).unwrap();
        let path = folder.0.join("communities.yml");
        read(&[("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap())])
    };
    let absolute = folder.0.join("key");
    for key_file in ["key", "./key", "keys/blaine", "keys/../key", absolute.to_str().unwrap()] {
        let config = read_key(key_file).unwrap_or_else(|error| panic!("{key_file}: {error}"));
        assert_eq!(config.communities["blaine"].api.key.expose_secret(), "secret");
    }
    assert!(
        read_key("other")
            .unwrap_err()
            .contains("blaine: api_key_file cannot be read")
    );
}

#[test]
fn the_environment_may_describe_one_beside_the_file() {
    let file = "other:\n  community_id: abc\n  api_key: k\n";
    assert!(read_communities(file, &LEAST).unwrap().community.is_some());
    // Half of one is a mistake, rather than none.
    assert!(
        read_communities(file, &LEAST[..1])
            .unwrap_err()
            .contains("SONORANCAD_API_KEY is missing")
    );
    assert_eq!(
        read_communities(file, &[("SONORANCAD_CACHE_TTL", "30s")]).unwrap_err(),
        "the configuration has a problem:\n  SONORANCAD_CACHE_TTL needs SONORANCAD_API_KEY; move it \
         into the communities file"
    );
    let variables = variable::community_variables().filter(|variable| variable.scope == Scope::Community);
    for name in variables.map(Variable::name) {
        let message = read_communities(file, &[(&name, "whatever")]).unwrap_err();
        assert!(
            message.contains(&format!("{name} needs SONORANCAD_API_KEY")),
            "{message}"
        );
    }
}

#[test]
fn communities_that_use_the_same_key_share_one_budget() {
    // The lower limits of v2 are those of the key.
    let shared = "a: {community_id: x, api_key: k}\nb: {api_version: v2, api_key: k, server_ids: '1,2'}\n\
                  c: {community_id: z, api_key: other}\n";
    let config = read_communities(shared, &[]).unwrap();
    let account = |alias: &str| config.communities[alias].account;
    let of_calls = |servers, requests_per_minute| EndpointConfig {
        requests_per_minute,
        servers,
    };
    let together = AccountConfig {
        servers: 3,
        endpoints: enum_map! { ApiEndpoint::Calls => of_calls(3, None), ApiEndpoint::Units => of_calls(0, None) },
        uses_v2: true,
    };
    assert_eq!((account("a"), account("b")), (together, together));
    assert_eq!(plan(&config.communities["a"]).ttl, Duration::from_secs(90));
    assert_eq!(plan(&config.communities["a"]).requests_per_minute, 2);
    assert_eq!(plan(&config.communities["c"]).requests_per_minute, 12);
    // One budget that is set holds for all; two do not go together.
    let with = |one: &str, other: &str| {
        let file = format!("a: {{community_id: x, api_key: k{one}}}\nb: {{community_id: y, api_key: k{other}}}\n");
        read_communities(&file, &[])
    };
    let config = with(", requests_per_minute: 1", "").unwrap();
    assert_eq!(
        config.communities["b"].account.endpoints[ApiEndpoint::Calls],
        of_calls(2, Some(1))
    );
    assert!(with(", requests_per_minute: 1", ", requests_per_minute: 1").is_ok());
    assert_eq!(
        with(", requests_per_minute: 1", ", requests_per_minute: 2").unwrap_err(),
        "the configuration has a problem:\n  requests_per_minute differs between communities that use the same key, and \
         so share one budget: a, b"
    );
    let budget = ("SONORANCAD_REQUESTS_PER_MINUTE", "3");
    let file = "a: {community_id: x, api_key: secret, requests_per_minute: 1}\n";
    assert_eq!(
        read_communities(file, &[LEAST[0], LEAST[1], budget]).unwrap_err(),
        "the configuration has a problem:\n  SONORANCAD_REQUESTS_PER_MINUTE differs between communities that use the \
         same key, and so share one budget: the environment's own, a"
    );
}

#[test]
fn every_problem_of_a_file_is_reported_with_its_line() {
    let message = read_communities(
        "one:\n  community_id: x\n  api_kye: SECRET\n  cache_ttl: 5\n  log: debug\none:\n  community_id: x\n  api_key: SECRET\n  \
         api_key: SECRET\n'no such/alias SECRET':\n  api_version: v2\n  api_key:\nlast:\n  community_id: x\n  \
         api_key_file: /nowhere/SECRET\n",
        &[("SONORANCAD_LOG_FORMAT", "xml")],
    );
    assert_eq!(
        message.unwrap_err(),
        "the configuration has 10 problems:\n  \
         FILE, line 3: one has a setting that does not exist; the nearest one is api_key\n  \
         FILE, line 5: one has a setting of the whole program, which is SONORANCAD_LOG\n  \
         FILE, line 1: one: api_key is missing (or set api_key_file); for example: 0f8a...\n  \
         FILE, line 4: one: cache_ttl is not a duration; for example: 25s\n  \
         FILE, line 6: one is given twice\n  \
         FILE, line 9: one: api_key is given twice\n  \
         FILE, line 10: the alias must be 1 to 64 letters, digits, dots, dashes or underscores\n  \
         FILE, line 12: the alias: api_key is missing (or set api_key_file); for example: 0f8a...\n  \
         FILE, line 15: last: api_key_file cannot be read: No such file or directory (os error 2)\n  \
         SONORANCAD_LOG_FORMAT must be text or json; for example: json"
    );
}

#[test]
fn servers_can_be_a_list() {
    let servers = |text: &str| {
        let file = format!("blaine:\n  community_id: blaine\n  api_key: abc123\n  server_ids: {text}\n");
        let community = read_communities(&file, &[])?.communities.remove("blaine").unwrap();
        let pairs = community.servers.into_iter().map(|server| (server.id, server.name));
        Ok::<_, String>(pairs.collect::<Vec<_>>())
    };
    let named = |id, name: &str| (id, Some(name.to_owned()));
    assert_eq!(servers("[1, 2]").unwrap(), [(1, None), (2, None)]);
    assert_eq!(
        servers("\n  - 1=Main\n  - 02\n").unwrap(),
        [named(1, "Main"), (2, None)]
    );
    assert_eq!(
        servers("['3=The \"Events\"', 4]").unwrap(),
        [named(3, "The \"Events\""), (4, None)]
    );
    assert_eq!(servers("[]").unwrap(), [(1, None)]);
    for (text, reason) in [
        (
            "['1=Los Santos, Main']",
            "contains an item with a comma, which would divide it",
        ),
        ("[x]", "must list server ids: whole numbers from 1"),
        ("[1, ]", ""),
        ("[1, '']", "must list server ids"),
        ("[1, [2]]", "contains an item that is neither a number nor a text"),
        ("[{1: Main}]", "contains an item that is neither a number nor a text"),
        ("[1, ~]", "contains an item that is neither a number nor a text"),
        ("['\"1\"']", "contains an item that has quotes around it"),
        ("{1: Main}", "must be a text or a list, not a mapping"),
        ("[1, 1]", "lists server 1 twice"),
    ] {
        if reason.is_empty() {
            assert!(servers(text).is_ok());
            continue;
        }
        let message = servers(text).unwrap_err();
        assert!(
            message.contains(&format!("FILE, line 4: blaine: server_ids {reason}"))
                && message.ends_with("for example: 1=Main,2=Events")
                && message.contains("has a problem:"),
            "{text}: {message}"
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_hides_no_other_mistake() {
    let message = read_communities(
        "one:\n  community_id: [SECRET]\n  api_key: {SECRET: SECRET}\n  server_ids: {1: SECRET}\n  cache_ttl: [1, 2]\n\
         two: SECRET\nthree: [SECRET]\nfour:\n  api_version: v4\n  api_kye: SECRET\n  [SECRET]: x\n  ~: x\n'fi ve':\n  \
         api_version: v2\n  api_key: k\n[a, b]:\n  api_version: v2\n  api_key: l\n",
        &[],
    );
    assert_eq!(
        message.unwrap_err(),
        "the configuration has 13 problems:\n  \
         FILE, line 2: one: community_id must be a text, not a list; for example: mycommunity\n  \
         FILE, line 3: one: api_key must be a text, not a mapping; for example: 0f8a...\n  \
         FILE, line 4: one: server_ids must be a text or a list, not a mapping; for example: 1=Main,2=Events\n  \
         FILE, line 5: one: cache_ttl must be a text, not a list; for example: 25s\n  \
         FILE, line 6: two must be followed by settings, a line each; for example: community_id: mycommunity\n  \
         FILE, line 7: three must be followed by settings, a line each; for example: community_id: mycommunity\n  \
         FILE, line 10: four has a setting that does not exist; the nearest one is api_key\n  \
         FILE, line 11: four has a setting whose name is not a text\n  \
         FILE, line 12: four has a setting whose name is not a text\n  \
         FILE, line 8: four: api_key is missing (or set api_key_file); for example: 0f8a...\n  \
         FILE, line 9: four: api_version must be auto, v1 or v2; for example: v2\n  \
         FILE, line 13: the alias must be 1 to 64 letters, digits, dots, dashes or underscores\n  \
         FILE, line 16: the alias must be 1 to 64 letters, digits, dots, dashes or underscores"
    );
}

#[test]
fn what_people_often_get_wrong_in_a_file_has_a_reason_that_helps() {
    for (file, reason) in [
        (
            "communities:\n  blaine:\n    api_key: k\n",
            "FILE, line 2: communities contains a mapping; the alias of a community must be at the start of its line",
        ),
        (
            "a: {zzz: 1}\n",
            "FILE, line 1: a has a setting that does not exist; these do: community_id, api_key, api_key_file, ",
        ),
        (
            "- a: {api_key: k}\n",
            "FILE must map an alias to the settings of each community",
        ),
        ("", "FILE contains no community"),
    ] {
        let message = read_communities(file, &[]).unwrap_err();
        assert!(message.contains(reason), "{file}: {message}");
    }
    let folder = std::env::temp_dir();
    let message = read(&[("SONORANCAD_COMMUNITIES_FILE", folder.to_str().unwrap())]).unwrap_err();
    assert!(
        message.contains("cannot be read: it is a folder (Docker makes one"),
        "{message}"
    );
}

#[test]
fn words_may_be_in_capitals() {
    let config = read_with(&[
        ("SONORANCAD_API_VERSION", "V2"),
        ("SONORANCAD_ALLOW_HTTP", "True"),
        ("SONORANCAD_LOG_FORMAT", "JSON"),
        ("SONORANCAD_LOG", "INFO"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(
        config.community.unwrap().api.version,
        VersionChoice::V2 { is_by_name: true }
    );
}

#[test]
fn scalars_of_a_file_are_read_as_they_are_written() {
    for text in [
        "007",
        "0x10",
        "1e5",
        "1_000",
        "1.50",
        "true",
        "yes",
        ".nan",
        "1e999",
        "2026-01-01",
        "-0",
        "0o17",
    ] {
        let config = read_communities(&format!("a: {{api_version: v2, api_key: {text}}}\n"), &[]);
        let config = config.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(config.communities["a"].api.key.expose_secret(), text);
    }
    // Anchors and merged mappings stay what they are.
    let config = read_communities(
        "a: &a {api_version: v2, api_key: &key '08', server_ids: [1, 2]}\nb: {<<: *a, api_key: x}\nc: {api_version: v2, api_key: \
         *key}\n",
        &[],
    );
    let communities = config.unwrap().communities;
    assert_eq!(communities["b"].servers.len(), 2);
    assert_eq!(communities["c"].api.key.expose_secret(), "08");
}

#[test]
fn hundreds_of_communities_may_share_a_list_by_aliases() {
    let first = "c0: {api_key: k0, departments: &departments [LSPD, LSFD]}\n".to_owned();
    let others = (1..300).map(|number| format!("c{number}: {{api_key: k{number}, departments: *departments}}\n"));
    let file: String = std::iter::once(first).chain(others).collect();
    assert_eq!(read_communities(&file, &[]).unwrap().communities.len(), 300);
}

#[test]
fn lists_that_are_nested_too_deep_are_refused() {
    let file = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
    let message = read_communities(&file, &[]).unwrap_err();
    assert!(
        message.contains("FILE cannot be read: line 1: has too many values, or is nested too deep"),
        "{message}"
    );
}

#[test]
fn a_file_that_is_no_yaml_is_a_problem_that_shows_nothing_of_it() {
    for content in [
        "SECRET",
        "- SECRET",
        "a: SECRET",
        "a: [SECRET]",
        "a:\n  api_key: [SECRET]\n",
        "a:\n  api_key: 'SECRET\n",
        "a:\n  api_key: *SECRET\n",
        "a:\n  api_key: \"\\qSECRET\"\n",
        "a:\n  api_key: SECRET: x\n",
        "a:\n\tapi_key: SECRET\n",
        "a:\n  api_key: @SECRET\n",
        "a: {}\n---\nb: {api_key: SECRET}\n",
        "",
        "# nothing\n",
        "a:\n",
    ] {
        let message = read_communities(content, &[]).unwrap_err();
        assert!(message.contains("\n  FILE"), "{content}: {message}");
        assert!(!message.contains("SECRET"), "{content}: {message}");
    }
    let missing = read(&[("SONORANCAD_COMMUNITIES_FILE", "/nowhere/at/all")]).unwrap_err();
    assert!(
        missing.contains("SONORANCAD_COMMUNITIES_FILE cannot be read: No such file"),
        "{missing}"
    );
}

#[test]
fn an_api_is_the_same_if_all_of_it_is_and_an_account_if_address_and_key_are() {
    let api = |more: &[(&str, &str)]| read_with(more).unwrap().community.unwrap().api;
    let first = api(&[]);
    assert!(first == api(&[]) && first.account() == api(&[]).account());
    for (name, text, is_same_account) in [
        ("SONORANCAD_API_URL", "https://cad.example.org", false),
        ("SONORANCAD_API_KEY", "another", false),
        ("SONORANCAD_COMMUNITY_ID", "another", true),
        ("SONORANCAD_API_VERSION", "v2", true),
        ("SONORANCAD_API_TIMEOUT", "3s", true),
    ] {
        let other = api(&[(name, text)]);
        assert!(first != other, "{name}");
        assert_eq!(first.account() == other.account(), is_same_account, "{name}");
    }
}

#[test]
fn servers_share_the_ids_that_may_be_kept() {
    for (communities, expected) in [
        (1, 10_000),
        (10, 10_000),
        (40, 2_500),
        (200, 500),
        (1_000, 100),
        (10_000, 100),
    ] {
        let file = (0..communities).map(|number| format!("c{number}: {{api_key: k{number}}}\n"));
        let config = read_communities(&file.collect::<Vec<_>>().concat(), &[]).unwrap();
        let mut shares = config.communities.values().map(|community| community.max_ids);
        assert!(shares.all(|share| share == expected), "{communities}");
    }
}
