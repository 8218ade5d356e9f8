//! `sonorancad-exporter check`: its findings as text and as JSON.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::demo;
use tempfile::tempdir;

use crate::support::cad::{Answer, Cad};
use crate::support::program::{BINARY, run, text};
use crate::support::simulated;

const BUSY: &str = include_str!("../fixtures/busy_v2.json");

/// Runs a check of `cad` with these arguments and `more` variables, without blocking the CAD.
async fn check(cad: &Cad, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("SONORANCAD_COMMUNITY_ID", "mycommunity")
        .env("SONORANCAD_API_KEY", "the-secret-key")
        .env("SONORANCAD_API_VERSION", "v1")
        .env("SONORANCAD_API_URL", cad.url())
        .envs(more.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn check_says_how_long_it_waits_for_the_budget() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(BUSY));
    let mut check = Command::new(BINARY)
        .arg("check")
        .env_clear()
        .env("SONORANCAD_API_KEY", "the-secret-key")
        .env("SONORANCAD_API_URL", cad.url())
        // Four servers leave one request per minute for calls.
        .env("SONORANCAD_SERVER_IDS", "1,2,3,4")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(check.stderr.take().unwrap());
    let line = tokio::task::spawn_blocking(|| stderr.lines().next());
    let line = line.await.unwrap().expect("a line").unwrap();
    check.kill().unwrap();
    check.wait().unwrap();
    assert_eq!(
        line,
        "waiting: the budget of requests per minute is used up; with this many servers, this takes about 3 min"
    );
}

#[tokio::test]
async fn check_prints_a_table_of_what_it_found() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(BUSY));
    let output = check(&cad, &[], &[("SONORANCAD_SERVER_IDS", "1=Main")]).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert!(
        found.starts_with(
            "The configuration is valid, and the API answers for every server.\n\nServer 1 (Main): the API answered in 0."
        ),
        "{found}"
    );
    let (_, table) = found.split_once(" s.\n").unwrap();
    assert_eq!(
        table,
        "  priority  pending   active   closed    other\n\
         \x20 1               1        1        0        0\n\
         \x20 2               0        1        0        0\n\
         \x20 3               0        1        1        0\n\
         \x20 other           0        0        0        0\n\
         \x20 Emergency calls 2, civil calls 1, calls without a unit 1, units attached 5.\n\
         \x20 Closed calls stored 1843.\n\
         \x20 Version v1 of the API is in use, as configured.\n"
    );
    assert_eq!(text(&output.stderr), "");
    // The calls, and the list of servers.
    assert_eq!(cad.requests().len(), 2);
}

#[tokio::test]
async fn check_prints_json() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(BUSY));
    cad.answer_server(2, Answer::status(502, &[], "<html>"));
    let output = check(&cad, &["--json"], &[("SONORANCAD_SERVER_IDS", "1=Main,2")]).await;
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let [main, other] = [&found["servers"][0], &found["servers"][1]];
    assert_eq!(
        (&main["server_id"], &main["name"], &main["ok"]),
        (&"1".into(), &"Main".into(), &true.into())
    );
    assert!(
        main["calls"]["answer_seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert_eq!(
        main["calls"]["active"][0],
        serde_json::json!({"priority": "1", "status": "pending", "count": 1})
    );
    assert_eq!(main["calls"]["emergency"], 2);
    assert_eq!(
        (&other["ok"], &other["calls"]["failure"]["error"]),
        (&false.into(), &"HTTP 5XX".into())
    );
    assert!(main["calls"].get("failure").is_none() && other["calls"].get("active").is_none());
}

/// Every failure of the API, with the advice on it.
#[tokio::test]
async fn check_gives_advice_on_each_failure() {
    for (version, answer, error, advice) in [
        (
            "v1",
            Answer::status(400, &[], "INVALID API KEY"),
            "INVALID API KEY",
            "copy the key again",
        ),
        (
            "v1",
            Answer::status(400, &[], "INVALID COMMUNITY ID"),
            "INVALID COMMUNITY ID",
            "SONORANCAD_COMMUNITY_ID",
        ),
        (
            "v1",
            Answer::status(400, &[], "INVALID REQUEST TYPE"),
            "INVALID REQUEST TYPE",
            "SONORANCAD_API_VERSION=v2",
        ),
        (
            "v1",
            Answer::status(400, &[], "API IS NOT ENABLED FOR THIS COMMUNITY"),
            "API IS NOT ENABLED",
            "enable the API",
        ),
        (
            "v1",
            Answer::status(400, &[], "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY"),
            "API ENDPOINT IS NOT ENABLED",
            "enable this endpoint",
        ),
        (
            "v1",
            Answer::status(400, &[], "VERSION PLUS REQUIRED"),
            "VERSION PLUS REQUIRED",
            "SONORANCAD_API_VERSION=v2",
        ),
        (
            "v1",
            Answer::status(400, &[], "VERSION PRO REQUIRED"),
            "VERSION PRO REQUIRED",
            "SONORANCAD_API_VERSION=v2",
        ),
        (
            "v1",
            Answer::ok("Backend Service Reached"),
            "ENDPOINT GONE",
            "try SONORANCAD_API_VERSION=v2",
        ),
        (
            "v1",
            Answer::status(410, &[], ""),
            "ENDPOINT GONE",
            "try SONORANCAD_API_VERSION=v2",
        ),
        ("v2", Answer::problem(401, "{}"), "UNAUTHORIZED", "copy the key again"),
        ("v2", Answer::problem(402, "{}"), "PLAN REQUIRED", "plan"),
        (
            "v2",
            Answer::problem(403, "{}"),
            "FORBIDDEN",
            "check the key and the plan",
        ),
        (
            "v2",
            Answer::problem(404, "{}"),
            "UNKNOWN SERVER",
            "SONORANCAD_SERVER_IDS",
        ),
        (
            "v2",
            Answer::status(429, &[("Retry-After", "30")], "{}"),
            "RATE LIMITED",
            "one exporter per key",
        ),
        ("v1", Answer::status(522, &[], "<html>"), "HTTP 5XX", "wait"),
        ("v1", Answer::BytesThenReset(Vec::new()), "CONNECT", "check the network"),
        ("v1", Answer::ok("<html>"), "INVALID RESPONSE", "SONORANCAD_API_URL"),
        (
            "v1",
            Answer::status(302, &[("Location", "https://example.org")], ""),
            "REDIRECTED",
            "SONORANCAD_API_URL",
        ),
    ] {
        let cad = Cad::start().await;
        cad.answer(answer);
        let output = check(&cad, &[], &[("SONORANCAD_API_VERSION", version)]).await;
        let found = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{found}");
        assert!(found.contains(&format!("Server 1: {error}")), "{found}");
        let (_, to_do) = found.split_once("  What to do: ").unwrap();
        assert!(to_do.contains(advice), "{advice}: {found}");
        // The list of servers tells more about this one.
        let requests = if error == "UNKNOWN SERVER" { 2 } else { 1 };
        assert_eq!(cad.requests().len(), requests, "{error}");
        assert!(
            !found.contains("the-secret-key") && found.starts_with("The server cannot be read.\n"),
            "{found}"
        );
    }
}

#[tokio::test]
async fn advice_fits_what_is_odd_about_the_configuration() {
    let refusal = || Answer::status(400, &[], "INVALID API KEY");
    let unauthorized = || Answer::problem(401, "{}");
    let gone = || Answer::status(404, &[], "");
    let path = "SONORANCAD_API_URL contains a path";
    for (version, answer, url_path, key, advice) in [
        ("v1", gone(), "/emergency/get_calls", "key", path),
        (
            "v1",
            Answer::ok("Backend Service Reached"),
            "/emergency/get_calls/",
            "key",
            path,
        ),
        (
            "v1",
            Answer::status(400, &[], "INVALID REQUEST TYPE"),
            "/x",
            "key",
            path,
        ),
        ("v1", Answer::ok("<html>"), "/x", "key", path),
        ("v1", Answer::status(302, &[("Location", "/")], ""), "/x", "key", path),
        ("v2", gone(), "/v2", "key", path),
        ("v1", gone(), "", "key", "try SONORANCAD_API_VERSION=v2"),
        ("v1", refusal(), "/x", "key", "copy the key again"),
        (
            "v2",
            Answer::status(403, &[], "VERSION PLUS REQUIRED"),
            "",
            "key",
            "check which plan",
        ),
        (
            "v1",
            refusal(),
            "",
            "mycommunity",
            "the configured key is the same as the community's id",
        ),
        (
            "v1",
            refusal(),
            "",
            "/run/secrets/key",
            "looks like the path of a file: set it as SONORANCAD_API_KEY_FILE",
        ),
        (
            "v2",
            unauthorized(),
            "",
            "${API_KEY}",
            "looks like a variable that was not replaced",
        ),
        ("v2", unauthorized(), "", "0f8a...", "looks like a placeholder"),
        ("v2", unauthorized(), "", "<key>", "looks like a placeholder"),
        // As the documentation of the API writes it.
        ("v2", unauthorized(), "", "YOUR_API_KEY", "looks like a placeholder"),
        ("v2", unauthorized(), "", "********", "consists of asterisks"),
        ("v2", unauthorized(), "", "abc%", "ends with `%`"),
        ("v1", Answer::status(500, &[], ""), "/x", "0f8a...", "wait"),
    ] {
        let cad = Cad::start().await;
        cad.answer(answer);
        let url = cad.url() + url_path;
        let variables = [
            ("SONORANCAD_API_VERSION", version),
            ("SONORANCAD_API_URL", &url),
            ("SONORANCAD_API_KEY", key),
        ];
        let found = text(&check(&cad, &[], &variables).await.stdout);
        let (_, to_do) = found.split_once("  What to do: ").unwrap();
        assert!(to_do.contains(advice), "{advice}: {found}");
    }
}

#[tokio::test]
async fn no_server_is_asked_after_the_key_was_refused() {
    let cad = Cad::start().await;
    cad.answer(Answer::status(400, &[], "INVALID API KEY"));
    let variables = [
        ("SONORANCAD_SERVER_IDS", "1,2"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "1"),
    ];
    let output = check(&cad, &[], &variables).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        found.contains("Server 1: INVALID API KEY") && found.contains("Server 2: not asked"),
        "{found}"
    );
    assert_eq!(cad.requests().len(), 1);
}

#[tokio::test]
async fn problems_of_the_configuration_are_findings() {
    let cad = Cad::start().await;
    let variables = [("SONORANCAD_CACHE_TTL", "soon"), ("SONORANCAD_SERVER_IDS", "x")];
    let output = check(&cad, &[], &variables).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        found.starts_with("There are 2 problems:\n  SONORANCAD_SERVER_IDS "),
        "{found}"
    );
    let output = check(&cad, &["--json"], &variables).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (found["ok"].as_bool(), found["problems"].as_array().unwrap().len()),
        (Some(false), 2)
    );
    assert!(cad.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_the_community_does_not_have_is_a_failure() {
    for (version, line, answer) in [
        ("v1", "POST /general/get_servers HTTP/1.1", Answer::ok(BUSY)),
        ("v2", "GET /v2/general/servers HTTP/1.1", Answer::ok(BUSY)),
        ("v2", "GET /v2/general/servers HTTP/1.1", Answer::problem(404, "{}")),
        // Of a gateway, which says nothing of servers.
        (
            "v2",
            "GET /v2/general/servers HTTP/1.1",
            Answer::status(404, &[], "<html>"),
        ),
    ] {
        let cad = Cad::start().await;
        cad.answer(Answer::ok(BUSY));
        cad.answer_server(2, answer);
        cad.answer_servers(Answer::ok(
            r#"{"servers":[{"id":1,"name":"Main","mapIp":"203.0.113.10","outboundIp":"198.51.100.7"},
                {"id":3,"name":"Events\u001b[2J"},{"id":4}]}"#,
        ));
        let variables = [("SONORANCAD_SERVER_IDS", "1,2"), ("SONORANCAD_API_VERSION", version)];
        let output = check(&cad, &[], &variables).await;
        let found = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{found}");
        assert!(found.starts_with("1 of 2 servers cannot be read.\n"), "{found}");
        assert!(
            found.contains(
                "Server 2: UNKNOWN SERVER\n  What happened: there is no server 2; the servers of the community are 1 (Main), \
                 3 (Events[2J, not configured), 4 (not configured)"
            ),
            "{found}"
        );
        assert!(found.contains("What to do: set SONORANCAD_SERVER_IDS"), "{found}");
        // Its numbers would mean nothing.
        assert_eq!(found.matches("Emergency calls").count(), 1, "{found}");
        assert!(!found.contains("203.0.113") && !found.contains("198.51.100") && !found.contains('\u{1b}'));
        let requests = cad.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.line, line);
        if version == "v1" {
            assert_eq!(
                request.body,
                r#"{"id":"mycommunity","key":"the-secret-key","type":"GET_SERVERS","data":[]}"#
            );
        } else {
            assert_eq!(request.header("authorization"), Some("Bearer the-secret-key"));
        }
        let output = check(&cad, &["--json"], &variables).await;
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&found["ok"], &found["servers"][1]["ok"]),
            (&false.into(), &false.into())
        );
        assert_eq!(found["servers"][1]["calls"]["failure"]["error"], "UNKNOWN SERVER");
        assert!(found["servers"][1]["calls"].get("active").is_none());
    }
}

#[tokio::test]
async fn warnings_of_communities_that_share_a_key_come_once() {
    let cad = Cad::start().await;
    cad.answer(Answer::status(400, &[], "INVALID API KEY"));
    let folder = tempdir().unwrap();
    let path = folder.path().join("communities.yml");
    let community = |number| {
        let key = if number == 13 { "other" } else { "shared" };
        let url = cad.url();
        format!("c{number:02}: {{api_version: v2, api_key: {key}, api_url: '{url}', requests_per_minute: 5}}\n")
    };
    std::fs::write(&path, (1..=13).map(community).collect::<String>()).unwrap();
    let variables = [
        ("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap()),
        ("SONORANCAD_COMMUNITY_ID", ""),
        ("SONORANCAD_API_KEY", ""),
        ("SONORANCAD_API_URL", ""),
        ("SONORANCAD_API_VERSION", ""),
    ];
    let found = text(&check(&cad, &[], &variables).await.stdout);
    let warnings: Vec<_> = found.lines().filter(|line| line.starts_with("Warning: ")).collect();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(
        warnings[0].starts_with("Warning: c01, c02, c03, c04, c05 and 7 more: 12 servers use up the API's limit"),
        "{warnings:#?}"
    );
    assert!(
        warnings[2].starts_with("Warning: c13: 5 requests for calls per minute"),
        "{warnings:#?}"
    );
}

#[test]
fn with_nothing_set_it_says_where_to_begin() {
    for (arguments, variables) in [
        (&["check"][..], &[][..]),
        (&["check", "--json"], &[]),
        (&["serve"], &[]),
        (
            &["check"],
            &[("SONORANCAD_LISTEN_ADDRESS", ":1"), ("SONORANCAD_API_KEY", " ")],
        ),
    ] {
        let output = run(arguments, variables);
        let found = text(&[output.stdout, output.stderr].concat());
        assert!(
            found.contains("in the CAD, under Admin > Advanced > In-Game Integration > Web API")
                && found.contains("sonorancad-exporter demo"),
            "{found}"
        );
    }
    for variable in [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_APIKEY", "k"),
        ("SONORANCAD_COMMUNITIES_FILE", "/x"),
    ] {
        let found = text(&run(&["check"], &[variable]).stdout);
        assert!(found.contains("problem") && !found.contains("demo"), "{found}");
    }
}

#[tokio::test]
async fn an_unreadable_list_of_servers_is_not_a_failure() {
    let long = "x".repeat(2 << 20);
    for answer in [
        Answer::status(403, &[], "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY"),
        Answer::ok("<html>"),
        Answer::ok(r#"{"servers":[{"id":"the-secret-key"}]}"#),
        Answer::ok(&long),
        Answer::BytesThenReset(Vec::new()),
    ] {
        let cad = Cad::start().await;
        cad.answer_servers(answer.clone());
        let output = check(&cad, &[], &[]).await;
        let found = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{found}");
        assert!(
            found.contains("Warning: cannot check whether the servers exist: "),
            "{found}"
        );
        assert!(!found.contains("the-secret-key"), "{found}");
    }
}

#[tokio::test]
async fn what_has_no_effect_in_the_web_configuration_is_warned_of() {
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let path = folder.path().join("web.yml");
    std::fs::write(&path, "http_server_config:\n  http2: true\n").unwrap();
    let variables = [("SONORANCAD_WEB_CONFIG_FILE", path.to_str().unwrap())];
    let output = check(&cad, &[], &variables).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert!(
        found.contains("Warning: http_server_config: http2 has no effect: HTTP/1.1 is served"),
        "{found}"
    );
}

#[tokio::test]
async fn every_community_of_a_file_is_checked() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(BUSY));
    cad.answer_server(2, Answer::status(400, &[], "INVALID API KEY"));
    let folder = tempdir().unwrap();
    let path = folder.path().join("communities.yml");
    let file = "blaine: {community_id: x, api_key: k, api_url: API}\n\
                sandy: {community_id: y, api_key: l, api_url: API, server_ids: 2}\n";
    std::fs::write(&path, file.replace("API", &cad.url())).unwrap();
    let path = path.to_str().unwrap();
    let output = check(&cad, &[], &[("SONORANCAD_COMMUNITIES_FILE", path)]).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{found}");
    for part in [
        "\nServer 1: the API answered",
        "\nCommunity blaine, server 1: the API answered",
        "\nCommunity sandy, server 2: INVALID API KEY",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let output = check(&cad, &["--json"], &[("SONORANCAD_COMMUNITIES_FILE", path)]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["servers"][1]["community"], "blaine");
    assert!(found["servers"][0].get("community").is_none());
}

#[tokio::test]
async fn the_simulated_cad_lists_its_servers() {
    let (_, url) = simulated::start(1, 100, 2, &Clock::system()).await;
    let unused = Cad::start().await;
    for (version, id, failure) in [
        ("v1", "2", None),
        ("v2", "2", None),
        (
            "v1",
            "3",
            Some("there is no server 3; the servers of the community are 1 (Simulated 1, not configured), 2 (Sim"),
        ),
    ] {
        let variables = [
            ("SONORANCAD_API_URL", &*url),
            ("SONORANCAD_API_KEY", demo::API_KEY),
            ("SONORANCAD_COMMUNITY_ID", demo::COMMUNITY_ID),
            ("SONORANCAD_API_VERSION", version),
            ("SONORANCAD_SERVER_IDS", id),
        ];
        let found = text(&check(&unused, &[], &variables).await.stdout);
        assert_eq!(found.contains("UNKNOWN SERVER"), failure.is_some(), "{found}");
        assert!(found.contains(failure.unwrap_or("the API answered")), "{found}");
    }
}

#[tokio::test]
async fn check_asks_for_units_where_they_are_read() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(BUSY));
    cad.answer_units(Answer::ok(
        r#"[{"id":1,"status":2,"data":{"page":0}},{"id":2,"status":4,"isPanic":true,"data":{"page":2}},{"id":3,"isDispatch":true}]"#,
    ));
    let units = ("SONORANCAD_COLLECT", "calls,units");
    let output = check(&cad, &[], &[units]).await;
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{found}");
    let (_, of_units) = found.split_once("  Units: the API answered in ").unwrap();
    let (_, table) = of_units.split_once(" s.\n").unwrap();
    assert_eq!(
        table,
        "  discipline  unavailable         busy    available      enroute     on_scene        other\n\
         \x20 police                0            0            1            0            0            0\n\
         \x20 fire                  0            0            0            0            0            0\n\
         \x20 ems                   0            0            0            0            1            0\n\
         \x20 other                 0            0            0            0            0            0\n\
         \x20 Dispatchers 1, units in panic 1.\n\
         \x20 Version v1 of the API is in use, as configured.\n"
    );
    // Each endpoint says what it needs.
    let refusal = "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY";
    cad.answer_units(Answer::status(400, &[], refusal));
    let output = check(&cad, &["--json"], &[units]).await;
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = &found["servers"][0];
    assert_eq!((&server["ok"], &server["calls"]["ok"]), (&false.into(), &true.into()));
    assert_eq!(server["calls"]["emergency"], 2);
    assert_eq!(server["units"]["failure"]["error"], refusal);
}

#[tokio::test]
async fn check_says_which_version_is_in_use_and_why() {
    for (v1, variables, expected) in [
        (
            None,
            [("SONORANCAD_API_VERSION", "auto"); 2],
            "Version v1 of the API is in use, which is asked first",
        ),
        (
            Some(Answer::status(404, &[], "")),
            [("SONORANCAD_API_VERSION", "auto"); 2],
            "Version v2 of the API is in use, since version v1 said ENDPOINT GONE.",
        ),
        (
            None,
            [("SONORANCAD_API_VERSION", "auto"), ("SONORANCAD_COMMUNITY_ID", "")],
            "Version v2 of the API is in use, since no community id is set",
        ),
        (
            None,
            [("SONORANCAD_API_VERSION", "v2"); 2],
            "Version v2 of the API is in use, as configured.",
        ),
    ] {
        let cad = Cad::start().await;
        cad.answer_v1(v1);
        let output = check(&cad, &[], &variables).await;
        let found = text(&output.stdout);
        assert!(found.contains(expected), "{expected}: {found}");
        assert_eq!(output.status.code(), Some(0), "{found}");
    }
}
