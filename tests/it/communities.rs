//! Several communities in one process: probes, discovery, shared keys, and reloads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sonorancad_exporter::client::MAX_REQUESTS;
use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::config::{Config, Setting, parse_communities};
use sonorancad_exporter::report::Health;
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::authority::Authority;
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{NOON, Running, eventually, failures, has, http, reply, value};
use crate::support::program::Communities;

/// An exporter with a file of communities, on a manual clock.
struct Fixture {
    cad: Cad,
    exporter: Running,
    clock: ManualClock,
    folder: TempDir,
}

/// Variables that remove the community of the environment.
const NOTHING_ELSE: [(&str, &str); 3] = [
    ("SONORANCAD_COMMUNITY_ID", ""),
    ("SONORANCAD_API_KEY", ""),
    ("SONORANCAD_API_URL", ""),
];

/// A file of two communities; `API` stands for the fake CAD's address.
const TWO: &str = "blaine: {community_id: id-of-blaine, api_key: key-of-blaine, api_url: API, server_ids: '1=Main,2'}\n\
                   sandy: {community_id: id-of-sandy, api_key: key-of-sandy, api_url: API}\n";

impl Fixture {
    async fn start(file: &str) -> Self {
        Self::start_with(file, &NOTHING_ELSE).await
    }

    async fn start_with(file: &str, more: &[(&str, &str)]) -> Self {
        let cad = Cad::start().await;
        let folder = tempdir().unwrap();
        let clock = ManualClock::new(NOON);
        let path = folder.path().join("communities.yml");
        std::fs::write(&path, file.replace("API", &cad.url())).unwrap();
        let variables = [&[("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap())], more].concat();
        let exporter = Running::start_with(&cad.url(), &variables, &Clock::Manual(clock.clone()));
        Self {
            cad,
            exporter,
            clock,
            folder,
        }
    }

    async fn probe(&self, alias: &str) -> String {
        let reply = self.exporter.get(&format!("/probe?community={alias}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().to_owned()
    }

    /// Reloads the file, as a signal does.
    fn reload(&self, file: &str) {
        let path = self.folder.path().join("communities.yml");
        std::fs::write(&path, file.replace("API", &self.cad.url())).unwrap();
        let variables = [("SONORANCAD_COMMUNITIES_FILE".into(), path.into())];
        match Config::read(Setting::from_environment(variables)) {
            Ok(config) => self.exporter.communities.reload(&config).unwrap(),
            Err(_) => self.exporter.communities.fail_reload(),
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn calls(count: u64) -> Answer {
    let calls: Vec<_> = (1..=count)
        .map(|id| json!({"callId": id, "priority": 1, "status": 0, "origin": 0, "idents": []}))
        .collect();
    Answer::ok(&json!({"activeCalls": calls, "emergencyCalls": [], "closedCalls": []}).to_string())
}

#[tokio::test]
async fn a_probe_contains_one_community_and_no_metrics_of_the_exporter() {
    let fixture = Fixture::start(TWO).await;
    fixture.cad.answer(calls(3));
    let blaine = fixture.probe("blaine").await;
    for id in ["1", "2"] {
        assert_eq!(value(&blaine, &format!("sonorancad_up{{server_id=\"{id}\"}}")), 1.0);
    }
    assert_eq!(
        value(
            &blaine,
            "sonorancad_server_info{server_id=\"1\",name=\"Main\",api_version=\"v1\"}"
        ),
        1.0
    );
    for name in ["process_", "sonorancad_exporter_", "sonorancad_config_"] {
        assert!(!has(&blaine, name), "{name}");
    }
    assert_eq!(fixture.cad.requests().len(), 2);
    // Of the other community, only its own server is asked, with its own key.
    let sandy = fixture.probe("sandy").await;
    assert_eq!(value(&sandy, "sonorancad_up{server_id=\"1\"}"), 1.0);
    assert!(!sandy.contains("server_id=\"2\""));
    let requests = fixture.cad.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].body.contains("key-of-sandy") && requests[2].body.contains("id-of-sandy"));
    // A second Prometheus costs nothing.
    fixture.probe("sandy").await;
    assert_eq!(fixture.cad.requests().len(), 3);
}

#[tokio::test]
async fn metrics_contain_the_exporter_and_the_community_of_the_environment() {
    let fixture = Fixture::start(TWO).await;
    let text = fixture.exporter.scrape().await;
    assert!(
        !has(&text, "sonorancad_up") && !text.contains("sonorancad_active_calls"),
        "{text}"
    );
    assert_eq!(value(&text, "sonorancad_config_last_reload_successful"), 1.0);
    assert!(has(&text, "sonorancad_exporter_build_info{") && has(&text, "process_open_fds "));
    assert!(fixture.cad.requests().is_empty());

    let fixture = Fixture::start_with(TWO, &[]).await;
    let text = fixture.exporter.scrape().await;
    assert_eq!(value(&text, "sonorancad_up{server_id=\"1\"}"), 1.0);
    assert_eq!(fixture.cad.requests().len(), 1);
    fixture.probe("blaine").await;
}

/// The labels of each community in the list, without those that every group has.
async fn labels(fixture: &Fixture) -> Value {
    let reply = fixture.exporter.get("/sd").await;
    let groups: Vec<Value> = serde_json::from_str(reply.text()).unwrap();
    let own = |group: Value| {
        let mut labels = group["labels"].as_object().unwrap().clone();
        labels.retain(|name, _| !name.starts_with("__") && name != "community");
        Value::from(labels)
    };
    groups.into_iter().map(own).collect()
}

#[tokio::test]
async fn discovery_passes_labels_on_and_a_new_label_changes_nothing_else() {
    let fixture = Fixture::start(TWO).await;
    assert_eq!(labels(&fixture).await, json!([{}, {}]));
    fixture.cad.answer(calls(1));
    fixture.probe("blaine").await;

    let labelled = TWO.replace("'1=Main,2'}", "'1=Main,2', labels: {team: north, tier: 1}}");
    fixture.reload(&labelled);
    assert_eq!(labels(&fixture).await, json!([{"team": "north", "tier": "1"}, {}]));
    fixture.probe("blaine").await;
    // It has kept its cache.
    assert_eq!(fixture.cad.requests().len(), 2);
}

/// Prometheus would rename the metric's own label.
#[test]
fn no_label_of_a_metric_can_be_a_label_of_a_community() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/situations");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let before = line
                .split("=\"")
                .map(|part| part.rsplit(['{', ',']).next().unwrap().to_owned());
            names.extend(before.take(line.matches("=\"").count()));
        }
    }
    assert!(names.len() > 8 && names.contains("server_id"), "{names:?}");
    for name in names {
        let file = format!("a: {{api_key: k, labels: {{{name}: x}}}}");
        let problems = parse_communities(&file).unwrap_err().to_string();
        assert!(
            problems.contains("a target or a metric has already"),
            "{name}: {problems}"
        );
    }
}

#[tokio::test]
async fn discovery_lists_the_communities_as_prometheus_reads_them() {
    let fixture = Fixture::start(TWO).await;
    let reply = fixture.exporter.get("/sd").await;
    assert_eq!(reply.header("content-type"), "application/json");
    let groups: Value = serde_json::from_str(reply.text()).unwrap();
    let group = |alias: &str| {
        json!({
            "targets": [fixture.exporter.address.to_string()],
            "labels": {"community": alias, "__metrics_path__": "/probe", "__param_community": alias},
        })
    };
    assert_eq!(groups, json!([group("blaine"), group("sandy")]));
    for secret in ["key-of", "id-of", "http"] {
        assert!(!reply.text().contains(secret), "{secret}");
    }
    let long = "x".repeat(254);
    for host in [
        "",
        "a b",
        "user@host:1",
        "host/path",
        "<script>",
        &format!("{long}:65535"),
    ] {
        let request = fixture.exporter.request("GET", "/sd").header("Host", host);
        let status = crate::support::exporter::reply(request).await.status;
        assert_eq!(status, 400, "{host}");
    }
    let longest = format!("{}:65535", &long[1..]);
    let request = fixture.exporter.request("GET", "/sd").header("Host", &longest);
    let reply = crate::support::exporter::reply(request).await;
    let groups: Value = serde_json::from_str(reply.text()).unwrap();
    assert_eq!(groups[1]["targets"], json!([longest]));
}

#[tokio::test]
async fn discovery_lists_the_address_of_the_proxy_that_the_configuration_names() {
    // A client could send these to a proxy that does not replace them.
    let forwarded = [
        ("X-Forwarded-Host", "evil.example.org"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example.org;proto=https"),
    ];
    let groups = async |url: &str| -> Value {
        let variables = [&[("SONORANCAD_EXTERNAL_URL", url)], &NOTHING_ELSE[..]].concat();
        let fixture = Fixture::start_with(TWO, &variables).await;
        let mut request = fixture.exporter.request("GET", "/sd");
        for (name, value) in forwarded {
            request = request.header(name, value);
        }
        let reply = crate::support::exporter::reply(request).await;
        assert!(!reply.text().contains("evil"), "{}", reply.text());
        serde_json::from_str(reply.text()).unwrap()
    };
    assert!(groups("").await[0]["labels"].get("__scheme__").is_none());
    for (url, target, scheme, path) in [
        (
            "https://example.org/sonorancad/",
            "example.org",
            "https",
            "/sonorancad/probe",
        ),
        (
            "https://example.org:8443/a/b",
            "example.org:8443",
            "https",
            "/a/b/probe",
        ),
        ("http://[2001:db8::1]:80", "[2001:db8::1]", "http", "/probe"),
    ] {
        let labels = |alias: &str| {
            json!({
                "community": alias, "__scheme__": scheme, "__metrics_path__": path, "__param_community": alias,
            })
        };
        let expected = ["blaine", "sandy"].map(|alias| json!({"targets": [target], "labels": labels(alias)}));
        assert_eq!(groups(url).await, json!(expected), "{url}");
    }
}

#[tokio::test]
async fn a_probe_reaches_only_communities_of_the_file() {
    let fixture = Fixture::start(TWO).await;
    let long = "a".repeat(4000);
    for (query, status) in [
        ("", 400),
        ("?", 400),
        ("?target=blaine", 400),
        ("?community=blaine&community=sandy", 400),
        ("?community=", 404),
        ("?community=nobody", 404),
        ("?community=BLAINE", 404),
        ("?community=blaine%00", 404),
        ("?community=blaine%20", 404),
        ("?community=blaine%0d%0aX-Injected:%201", 404),
        ("?community=../blaine", 404),
        ("?community=..%2f..%2fetc%2fpasswd", 404),
        ("?community=http://127.0.0.1:1/", 404),
        ("?community=127.0.0.1", 404),
        ("?community=key-of-blaine", 404),
        ("?community=id-of-blaine", 404),
        ("?community=%62laine%2e", 404),
        ("?community=%ff%fe", 404),
        (&*format!("?community={long}"), 404),
    ] {
        let reply = fixture.exporter.get(&format!("/probe{query}")).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
        assert!(
            reply.text().contains("/sd lists the aliases"),
            "{query}: {}",
            reply.text()
        );
        assert!(
            !reply.text().contains("blaine") && !reply.text().contains("aaaa"),
            "{query}: echoed"
        );
    }
    assert!(fixture.cad.requests().is_empty(), "nothing was asked");
    // An encoding of the alias is the alias.
    assert_eq!(fixture.exporter.get("/probe?community=%62laine").await.status, 200);
    let post = reply(fixture.exporter.request("POST", "/probe?community=blaine")).await;
    assert_eq!(post.status, 405);
}

#[tokio::test]
async fn the_same_key_has_one_budget_and_one_pause() {
    let fixture = Fixture::start(
        "one: {api_version: v2, api_key: shared, api_url: API}\n\
         two: {api_version: v2, api_key: shared, api_url: API}\n\
         other: {community_id: z, api_key: another, api_url: API}\n",
    )
    .await;
    assert_eq!(
        value(
            &fixture.probe("one").await,
            "sonorancad_cache_ttl_seconds{server_id=\"1\",api_endpoint=\"calls\"}"
        ),
        40.0
    );
    fixture.cad.answer(Answer::status(429, &[("Retry-After", "300")], ""));
    assert_eq!(
        value(&fixture.probe("two").await, "sonorancad_up{server_id=\"1\"}"),
        0.0
    );
    fixture.pass(60);
    fixture.cad.answer(calls(1));
    // The pause applies to both communities with the key, and to no other.
    assert_eq!(
        value(&fixture.probe("one").await, "sonorancad_up{server_id=\"1\"}"),
        0.0
    );
    assert_eq!(fixture.cad.requests().len(), 2);
    assert_eq!(
        value(&fixture.probe("other").await, "sonorancad_up{server_id=\"1\"}"),
        1.0
    );
    fixture.pass(300);
    assert_eq!(
        value(&fixture.probe("one").await, "sonorancad_up{server_id=\"1\"}"),
        1.0
    );
}

#[tokio::test]
async fn a_reload_keeps_what_has_not_changed() {
    let fixture = Fixture::start(TWO).await;
    let requests = |text: &str| {
        value(
            text,
            "sonorancad_api_requests_total{server_id=\"1\",api_endpoint=\"calls\"}",
        )
    };
    let opened = "sonorancad_calls_opened_total{server_id=\"1\",priority=\"1\",origin=\"caller\"}";
    for count in 1..=3 {
        fixture.cad.answer(calls(count));
        fixture.probe("sandy").await;
        fixture.probe("blaine").await;
        fixture.pass(60);
    }
    let before = fixture.probe("sandy").await;
    assert_eq!((requests(&before), value(&before, opened)), (4.0, 2.0));

    // Blaine gets another key, sandy now shares it, and a community is added.
    let file = TWO.replace("key-of-blaine", "key-of-sandy, requests_per_minute: 2")
        + "new: {api_version: v2, api_key: k, api_url: API}\n";
    fixture.reload(&file);
    let sandy = fixture.probe("sandy").await;
    assert_eq!((requests(&sandy), value(&sandy, opened)), (4.0, 2.0));
    assert_eq!(
        value(
            &sandy,
            "sonorancad_cache_ttl_seconds{server_id=\"1\",api_endpoint=\"calls\"}"
        ),
        90.0
    );
    assert_eq!(requests(&fixture.probe("blaine").await), 1.0);
    assert_eq!(fixture.exporter.get("/probe?community=new").await.status, 200);
    // An invalid file changes nothing, and is reported.
    fixture.reload("sandy: {api_version: v1, api_key: x}\n");
    assert_eq!(
        value(
            &fixture.exporter.scrape().await,
            "sonorancad_config_last_reload_successful"
        ),
        0.0
    );
    assert!(fixture.exporter.get("/").await.text().contains("cannot be used"));
    assert_eq!(fixture.exporter.get("/probe?community=blaine").await.status, 200);
    // What is gone is gone.
    fixture.reload("sandy: {community_id: id-of-sandy, api_key: key-of-sandy, api_url: API}\n");
    assert_eq!(
        value(
            &fixture.exporter.scrape().await,
            "sonorancad_config_last_reload_successful"
        ),
        1.0
    );
    assert_eq!(fixture.exporter.get("/probe?community=blaine").await.status, 404);
    let sandy = fixture.probe("sandy").await;
    assert_eq!(value(&sandy, opened), 2.0);
    assert_eq!(
        value(
            &sandy,
            "sonorancad_cache_ttl_seconds{server_id=\"1\",api_endpoint=\"calls\"}"
        ),
        25.0
    );
    // Other servers are other servers.
    fixture.reload("sandy: {community_id: id-of-sandy, api_key: key-of-sandy, api_url: API, server_ids: 2}\n");
    let sandy = fixture.probe("sandy").await;
    assert_eq!(value(&sandy, "sonorancad_up{server_id=\"2\"}"), 1.0);
    assert!(!sandy.contains("server_id=\"1\""));
}

#[tokio::test]
async fn a_reload_changes_a_budget_and_keeps_what_is_spent() {
    let file = |budget: u32| {
        format!("one: {{community_id: x, api_key: k, api_url: API, cache_ttl: 1s, requests_per_minute: {budget}}}\n")
    };
    let fixture = Fixture::start(&file(60)).await;
    for _ in 0..3 {
        fixture.probe("one").await;
        fixture.pass(2);
    }
    assert_eq!(fixture.cad.requests().len(), 3);
    fixture.reload(&file(4));
    for _ in 0..3 {
        fixture.pass(15);
        fixture.probe("one").await;
    }
    // Three of four are spent in this minute.
    assert_eq!(fixture.cad.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn reloads_under_load_fail_no_scrape() {
    let fixture = Fixture::start(TWO).await;
    fixture.cad.answer(calls(2));
    let other = TWO.replace("blaine:", "changing:");
    let scrapes = async {
        let mut seen = BTreeSet::new();
        let mut highest = 0.0;
        for _ in 0..300 {
            let text = fixture.probe("sandy").await;
            let queries = value(
                &text,
                "sonorancad_cache_queries_total{server_id=\"1\",api_endpoint=\"calls\"}",
            );
            assert!(queries > highest, "a counter fell");
            highest = queries;
            seen.insert(value(&text, "sonorancad_up{server_id=\"1\"}").to_string());
        }
        seen
    };
    let reloads = async {
        for turn in 0..100 {
            fixture.reload(if turn % 2 == 0 { &other } else { TWO });
            tokio::task::yield_now().await;
        }
    };
    let (seen, ()) = tokio::join!(scrapes, reloads);
    assert_eq!(seen, BTreeSet::from(["1".to_owned()]));
    assert_eq!(fixture.cad.requests().len(), 1);
}

#[test]
#[ignore = "slow"]
fn ten_thousand_communities_may_have_every_setting_and_a_million_values_are_too_many() {
    let community = |number: u32| {
        format!(
            "c{number}:\n  community_id: id{number}\n  api_key: k{number}\n  server_ids: [1=Main, 2=Events, 3=Training]\n  \
             collect: [calls, units]\n  api_version: auto\n  cache_ttl: 30s\n  max_stale: 2m\n  call_codes: [10-31, 10-50]\n  \
             departments: [LSPD, LSFD]\n  labels: {{team: north, tier: gold, region: eu}}\n",
        )
    };
    let file: String = (0..10_000).map(community).collect();
    assert_eq!(parse_communities(&file).unwrap().len(), 10_000);

    // Nine values, nine times as many, and so on.
    let levels = (1..9).map(|level| format!("c{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9)));
    let file: String = std::iter::once("c0: &a0 [x]\n".to_owned()).chain(levels).collect();
    let message = parse_communities(&file).unwrap_err().to_string();
    assert!(message.contains("has too many values"), "{message}");
}

#[tokio::test]
async fn the_status_page_lists_every_community_and_no_secret() {
    let fixture = Fixture::start(TWO).await;
    fixture.cad.answer(calls(3));
    fixture.probe("blaine").await;
    let page = fixture.exporter.get("/").await;
    let overview = fixture.exporter.communities.overview();
    let health = overview.communities.iter().map(|(_, summary)| summary.health);
    assert_eq!(health.collect::<Vec<_>>(), [Health::Up, Health::New]);
    for part in [
        "<a href=\"?community=blaine\">blaine</a></th><td><span class=\"state well\">Up</span></td><td class=\"zero\">0</td><td>6<small>0 s</small></td>",
        "<a href=\"?community=sandy\">sandy</a></th><td><span class=\"state waiting\">Not asked yet</span></td><td class=\"zero\">–</td>",
        "Not asked yet",
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    assert!(!page.text().contains("key-of") && !page.text().contains("id-of"));
    assert_eq!(fixture.cad.requests().len(), 2);
}

#[tokio::test]
async fn the_status_page_shows_one_community_in_full() {
    let fixture = Fixture::start(TWO).await;
    fixture.cad.answer(calls(3));
    fixture.probe("blaine").await;
    let page = async |query: &str| fixture.exporter.get(&format!("/{query}")).await;
    let blaine = page("?community=blaine").await;
    assert!(blaine.text().contains("<h2 dir=\"auto\">Main</h2>") && !blaine.text().contains("sandy"));
    assert!(page("?community=sandy").await.text().contains("have not been read yet"));
    // The environment describes none, and a request cannot name what the file does not.
    for query in ["?community=", "?community=BLAINE", "?community=%22%3E%3Cscript%3E"] {
        let unknown = page(query).await;
        assert_eq!(unknown.status, 404, "{query}");
        assert!(unknown.text().contains("There is no such community") && !unknown.text().contains("<script"));
    }
    // The only one needs no overview.
    fixture.reload("sandy: {community_id: id-of-sandy, api_key: key-of-sandy, api_url: API}\n");
    let only = page("").await;
    assert!(only.text().contains("<h2>Server 1</h2>") && !only.text().contains("community="));
    assert_eq!(fixture.cad.requests().len(), 2);
}

#[tokio::test]
async fn the_status_page_of_many_communities_has_a_filter_and_pages() {
    let community = |number| format!("c{number:03}: {{api_version: v2, api_key: k{number}, api_url: API}}\n");
    let file = (0..=100).map(community).collect::<Vec<_>>().concat();
    let fixture = Fixture::start(&file).await;
    fixture.cad.answer(Answer::status(500, &[], ""));
    fixture.probe("c100").await;
    let shown = async |query: &str| {
        let page = fixture.exporter.get(&format!("/{query}")).await;
        let page = page.text();
        let rows = page.split("<a href=\"?community=").skip(1);
        rows.map(|row| row[..4].to_owned()).collect::<Vec<_>>()
    };
    // Trouble first.
    let first = shown("").await;
    assert_eq!(first.len(), 100);
    assert_eq!(first[..2], ["c100", "c000"]);
    assert_eq!(shown("?page=2").await, ["c099"]);
    assert_eq!(shown("?name=C10").await, ["c100"]);
    assert_eq!(shown("?show=waiting").await, [""; 0]);
    assert_eq!(fixture.cad.requests().len(), 1);
}

#[tokio::test]
async fn a_community_that_is_removed_and_added_again_keeps_its_budget_and_its_pause() {
    let other = "other: {community_id: x, api_key: other, api_url: API}\n";
    let one = "one: {community_id: x, api_key: k, api_url: API, requests_per_minute: 1}\n";
    let refused = Answer::status(429, &[("Retry-After", "600")], "");
    for (answer, seconds) in [(calls(1), 60), (refused, 600)] {
        let fixture = Fixture::start(&[one, other].concat()).await;
        let come_and_go = async |requests: usize| {
            fixture.reload(other);
            fixture.reload(&[other, one].concat());
            fixture.probe("one").await;
            assert_eq!(fixture.cad.requests().len(), requests);
        };
        fixture.cad.answer(answer);
        fixture.probe("one").await;
        come_and_go(1).await;
        // A slot that will be free within 3 s would be waited for.
        fixture.pass(seconds - 4);
        come_and_go(1).await;
        fixture.pass(4);
        come_and_go(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_never_exceed_the_limit() {
    let community =
        |number| format!("c{number}: {{community_id: c, api_key: k{number}, api_url: API, api_timeout: 1m}}");
    let file = (0..150).map(community).collect::<Vec<_>>().join("\n");
    let fixture = Arc::new(Fixture::start(&file).await);
    fixture.cad.hold();
    let mut probes = JoinSet::new();
    for number in 0..150 {
        let fixture = fixture.clone();
        probes.spawn(async move {
            let request = fixture.exporter.request("GET", &format!("/probe?community=c{number}"));
            let request = request.header("X-Prometheus-Scrape-Timeout-Seconds", "29");
            reply(request)
                .await
                .text()
                .contains("sonorancad_up{server_id=\"1\"} 1\n")
        });
    }
    fixture.cad.wait_for_requests(MAX_REQUESTS).await;
    // More of them would come at once. A machine too slow for that only lets a fault pass.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fixture.cad.requests().len(), MAX_REQUESTS);
    fixture.cad.release();
    assert!(probes.join_all().await.into_iter().all(|is_up| is_up));
    assert_eq!(fixture.cad.requests().len(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_community_fails() {
    let cad = Cad::start().await;
    cad.answer(Answer::status(400, &[], "INVALID API KEY"));
    let mut communities = Communities::start(&cad, &[], |url| TWO.replace("API", url));
    for alias in ["blaine", "sandy"] {
        communities.probe(alias, 10).await;
        let line = communities
            .program
            .wait_for(&format!("community=\"{alias}\" server_id=1"));
        assert!(line.contains("the API cannot be read"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_to_https_keeps_every_limit() {
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, Authority::new().pem()).unwrap();
    // Each meets an error that is not known in advance, and only twenty of those become labels.
    let entries: Vec<_> = ('A'..='U')
        .zip(1..)
        .map(|(letter, server_id)| {
            cad.answer_server(server_id, Answer::status(400, &[], &format!("FAULT {letter}")));
            let url = cad.url();
            format!(
                "{letter}: {{api_version: v2, api_key: key{server_id}, api_url: '{url}', server_ids: {server_id}}}\n"
            )
        })
        .collect();
    let variables = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let mut communities = Communities::start(&cad, &variables, |_| entries[..20].concat());
    for letter in 'A'..='T' {
        let text = communities.probe(&letter.to_string(), 10).await;
        assert_eq!(failures(&text), [(format!("FAULT {letter}"), 1)]);
    }
    let secure = "secure: {api_version: v2, api_key: k, api_url: 'https://localhost:1'}\n";
    communities.reload(&(entries.concat() + secure));
    for (alias, failure) in [("secure", "CONNECT"), ("U", "HTTP 4XX")] {
        assert_eq!(failures(&communities.probe(alias, 10).await), [(failure.to_owned(), 1)]);
    }
}

/// The program for this many communities of the CAD.
fn start_with_many(count: u32, cad: &Cad) -> Communities {
    Communities::start(cad, &[], |url| {
        let community = |number| format!("c{number}: {{api_version: v2, api_key: k{number}, api_url: '{url}'}}\n");
        (0..count).map(community).collect::<Vec<_>>().concat()
    })
}

/// The memory in KiB of a program after it has answered probes of this many communities.
async fn memory_of(count: u32) -> u64 {
    let cad = Cad::start().await;
    cad.answer(calls(3));
    let communities = start_with_many(count, &cad);
    for number in 0..count {
        let text = communities.probe(&format!("c{number}"), 10).await;
        assert!(text.contains("sonorancad_up{server_id=\"1\"} 1\n"), "{text}");
    }
    communities.program.kibibytes("VmRSS")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn a_thousand_communities_take_less_than_three_times_the_memory_of_one() {
    let [one, thousand] = [memory_of(1).await, memory_of(1000).await];
    eprintln!("one {one} KiB, a thousand {thousand} KiB");
    assert!(thousand < 3 * one, "{thousand} KiB, {one} KiB");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn a_client_that_probes_thousands_of_communities_and_reads_nothing_takes_little_memory() {
    let cad = Cad::start().await;
    let program = start_with_many(4000, &cad).program;
    let request = format!("GET /sd HTTP/1.1\r\nHost: {}:65535\r\n\r\n", "x".repeat(253));
    let ask = async || {
        let mut client = TcpStream::connect(program.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        client
    };
    ask().await;
    let before = program.kibibytes("VmRSS");
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(ask().await);
    }
    let after = program.kibibytes("VmRSS");
    eprintln!("before {before} KiB, after {after} KiB");
    // One answer takes 1.5 MiB.
    assert!(after < before + (20 << 10), "before {before} KiB, after {after} KiB");

    // A client that reads gets the whole answer.
    let url = format!("http://{}/sd", program.address);
    let groups: Value = serde_json::from_str(&http().get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    let aliases: BTreeSet<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["labels"]["community"])
        .map(Value::to_string)
        .collect();
    assert_eq!(aliases.len(), 4000);
}

/// More communities than requests may be in progress at once: the others wait for their turn, and their API's time has not
/// begun.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_turn_is_no_failure_of_the_api() {
    const COMMUNITIES: usize = 300;
    let file = (0..COMMUNITIES).map(|number| {
        format!("c{number}: {{api_version: v2, api_key: k{number}, api_url: 'API', api_timeout: 500ms}}\n")
    });
    let fixture = Fixture::start(&file.collect::<Vec<_>>().concat()).await;
    // Its answers never come in time.
    fixture.cad.hold();
    let probes = (0..COMMUNITIES).map(|number| {
        let alias = format!("c{number}");
        let request = fixture.exporter.request("GET", &format!("/probe?community={alias}"));
        async move { request.send().await.unwrap().text().await.unwrap() }
    });
    let texts = futures_util::future::join_all(probes).await;
    assert_eq!(texts.len(), COMMUNITIES);
    // A request that waited for longer than the time-out of the API is sent all the same, and nothing fails without one. On a
    // busy machine some do not arrive within the time-out.
    eventually("every request has ended", async || {
        let reports = fixture.exporter.communities.reports();
        let failed = reports.iter().filter(|(_, report)| {
            let calls = &report.servers[0].calls.status;
            calls.counts.requests == 1 && calls.counts.errors["TIMEOUT"] == 1
        });
        failed.count() == COMMUNITIES
    })
    .await;
}
