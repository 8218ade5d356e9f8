use super::*;

const LEAST: [(&str, &str); 2] = [
    ("SONORANCAD_COMMUNITY_ID", "mycommunity"),
    ("SONORANCAD_API_KEY", "secret"),
];

fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    Config::read(Setting::from_environment(variables)).map_err(|problems| problems.to_string())
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
    let community = config.community;
    assert!(matches!(&community.api.version, ApiVersion::V1 { community_id } if community_id == "mycommunity"));
    assert_eq!(community.api.url.as_str(), "https://api.sonorancad.com/");
    assert_eq!(community.api.key.expose_secret(), "secret");
    assert_eq!(community.api.timeout, Duration::from_secs(8));
    assert_eq!(community.servers, [ServerConfig { id: 1, name: None }]);
    assert_eq!(community.requests_per_minute, 4);
    assert_eq!(community.ttl_in_force(), Duration::from_secs(25));
    assert_eq!(community.stale_bound(), Duration::from_secs(120));
    assert_eq!(config.listen_addresses, ["0.0.0.0:10911".parse().unwrap()]);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn version_v2_needs_no_community_id() {
    let config = read(&[("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_API_KEY", "secret")]).unwrap();
    assert!(matches!(config.community.api.version, ApiVersion::V2));
}

#[test]
fn every_problem_is_reported_at_once() {
    let message = read(&[
        ("SONORANCAD_APIKEY", "secret"),
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
         SONORANCAD_LISTEN_ADDRESS must be an IP address with a port, or a colon and a port; for example: 0.0.0.0:10911\n  \
         SONORANCAD_LOG_FORMAT must be text or json; for example: json"
    );
}

#[test]
fn each_bad_value_has_its_reason() {
    for (short, text, reason) in [
        ("API_VERSION", "v3", "must be v1 or v2; for example: v2"),
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
            "must be an IP address with a port, or a colon and a port; for example: 0.0.0.0:10911",
        ),
        (
            "LOG",
            "loud",
            "must be a level (error, warn, info, debug, trace, off), or `module=level` pairs; for example: info,hyper=warn",
        ),
        (
            "API_URL",
            "nowhere",
            "is not an address: relative URL without a base; for example: https://api.sonorancad.com",
        ),
        (
            "API_URL",
            "ftp://example.com",
            "must begin with https://; for example: https://api.sonorancad.com",
        ),
        (
            "API_URL",
            "https://user:pass@example.com",
            "must not hold a user, a password, a query or a fragment; for example: https://api.sonorancad.com",
        ),
        (
            "API_KEY_FILE",
            "/nowhere/key",
            "and SONORANCAD_API_KEY_FILE are both set; keep one of them; for example: 0f8a...",
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
fn plain_http_goes_to_this_machine_only_unless_allowed() {
    for url in [
        "http://127.0.0.1:8080",
        "http://127.9.9.9/",
        "http://localhost:1",
        "http://[::1]:8080/base",
    ] {
        let config = read_with(&[("SONORANCAD_API_URL", url)]).unwrap();
        assert!(config.community.api.is_local(), "{url}");
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
        assert!(!config.community.api.is_local(), "{url}");
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
        assert_eq!(config.community.api.url.as_str(), expected);
    }
}

#[test]
fn the_budget_leaves_room_for_the_game_servers() {
    for (servers, budget, ttl) in [
        ("1", 4, 25),
        ("1,2", 3, 40),
        ("1,2,3", 2, 90),
        ("1,2,3,4", 1, 240),
        ("1,2,3,4,5", 1, 300),
    ] {
        let community = read_with(&[("SONORANCAD_SERVER_IDS", servers)]).unwrap().community;
        assert_eq!(community.requests_per_minute, budget, "{servers}");
        assert_eq!(community.ttl_in_force(), Duration::from_secs(ttl), "{servers}");
    }
}

#[test]
fn stale_values_are_kept_for_at_least_twice_the_ttl_in_force() {
    let community = read_with(&[("SONORANCAD_SERVER_IDS", "1,2,3")]).unwrap().community;
    assert_eq!(community.stale_bound(), Duration::from_secs(180));
}

#[test]
fn a_budget_over_the_apis_limit_is_warned_of() {
    let warnings = |more: &[(&str, &str)]| read_with(more).unwrap().community.warnings().len();
    assert_eq!(warnings(&[]), 0);
    assert_eq!(warnings(&[("SONORANCAD_SERVER_IDS", "1,2,3,4")]), 0);
    assert_eq!(warnings(&[("SONORANCAD_SERVER_IDS", "1,2,3,4,5")]), 1);
    assert_eq!(
        warnings(&[
            ("SONORANCAD_API_VERSION", "v2"),
            ("SONORANCAD_REQUESTS_PER_MINUTE", "5")
        ]),
        1
    );
    assert_eq!(
        warnings(&[
            ("SONORANCAD_API_VERSION", "v1"),
            ("SONORANCAD_REQUESTS_PER_MINUTE", "5")
        ]),
        0
    );
}

#[test]
fn servers_can_have_names() {
    let config = read_with(&[("SONORANCAD_SERVER_IDS", " 1 = Main = One , 22=Events")]).unwrap();
    let names: Vec<_> = config
        .community
        .servers
        .iter()
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
    assert_eq!(config.unwrap().community.cache_ttl, Duration::from_secs(25));
}

#[test]
fn links_of_a_kubernetes_service_are_passed_over() {
    assert!(
        read_with(&[
            ("SONORANCAD_EXPORTER_SERVICE_HOST", "10.0.0.1"),
            ("SONORANCAD_PORT", "tcp://10.0.0.1:1")
        ])
        .is_ok()
    );
}

#[test]
fn the_listen_flag_wins() {
    let environment = [("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:1")].map(|(name, text)| (name.into(), text.into()));
    let mut settings = Setting::from_environment(environment);
    settings.extend(Setting::from_listen_flags(&[
        ":2".to_owned(),
        "localhost:3".to_owned(),
        "[::1]:4".to_owned(),
    ]));
    let addresses = read_listen_addresses(settings).unwrap();
    assert_eq!(
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["0.0.0.0:2", "127.0.0.1:3", "[::1]:4"]
    );
}

#[test]
fn an_empty_listen_flag_is_a_problem() {
    let settings = Setting::from_listen_flags(&[String::new()]);
    assert!(read_listen_addresses(settings).is_err());
}

#[cfg(unix)]
#[test]
fn text_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt as _;

    let bytes = OsString::from_vec(vec![0xff]);
    let settings = Setting::from_environment([("SONORANCAD_LOG".into(), bytes.clone()), ("OTHER".into(), bytes)]);
    let message = Config::read(settings).unwrap_err().to_string();
    assert!(message.contains("SONORANCAD_LOG is not valid UTF-8"), "{message}");
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
    for content in ["secret", "secret\n", "secret\r\n"] {
        assert_eq!(
            read_file(content).unwrap().community.api.key.expose_secret(),
            "secret",
            "{content:?}"
        );
    }
    for content in ["", "\n", "secret\n\n", "sec ret", "schlüssel"] {
        assert!(read_file(content).is_err(), "{content:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let message = read_file_error(&path);
    assert!(
        message.contains("SONORANCAD_API_KEY_FILE cannot be read: No such file"),
        "{message}"
    );
}

fn read_file_error(path: &std::path::Path) -> String {
    read(&[LEAST[0], ("SONORANCAD_API_KEY_FILE", path.to_str().unwrap())]).unwrap_err()
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
fn the_table_of_variables_and_the_fields_are_the_same() {
    for variable in VARIABLES {
        let texts: Result<Texts, _> = envy::prefixed(PREFIX).from_iter([(variable.name(), "x".to_owned())]);
        assert!(texts.is_ok(), "{} is no field", variable.name());
    }
    let source = include_str!("../config.rs");
    let fields = source
        .split_once("struct Texts {")
        .unwrap()
        .1
        .split_once("\n}")
        .unwrap()
        .0;
    assert_eq!(fields.matches("Option<").count(), VARIABLES.len());
}

#[test]
fn every_default_and_example_is_a_value() {
    for variable in VARIABLES {
        for text in variable.default.into_iter().chain([variable.example]) {
            if variable.short == "API_KEY_FILE" {
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
