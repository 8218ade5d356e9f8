use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

use super::*;
use crate::client::{Calls, Endpoint as _};
use crate::clock::{Clock, ManualClock, Now};
use crate::config::LabelTexts;
use crate::label::TextSet;
use crate::report::{CallSummary, FeedReport, FeedStatus, OpenCalls, Queue, ServerReport, UnitSummary};
use crate::report::{Failure, HISTORY_SLOTS};
use crate::snapshot::{CallSnapshot, Discipline, EmergencyKind, Priority, Unit, UnitSnapshot, UnitStatus};
use crate::tracker::{CallStats, Oldest, UnitStats};

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Now {
    Clock::Manual(ManualClock::new(Duration::from_secs(1_795_435_200))).now()
}

type Feed = FeedReport<CallSnapshot, CallStats>;

/// A feed of which nothing is known.
fn unknown() -> Feed {
    let mut feed = Feed::default();
    feed.status.ttl = 25 * SECOND;
    feed
}

/// The same, this long after a good answer.
fn answered(now: Now, age: Duration, body: &str) -> Feed {
    let mut feed = unknown();
    feed.snapshot = Some(Arc::new(
        Calls::decode(body.as_bytes(), &LabelTexts::default()).unwrap(),
    ));
    feed.status.is_up = true;
    feed.status.last_success = Some(now.unix.checked_sub(age).unwrap());
    feed
}

fn failure(at: Now) -> Failure {
    Failure {
        label: "INVALID <API> KEY".into(),
        reason: "the API says \"INVALID\"".to_owned(),
        advice: "copy the key again & again".into(),
        at,
    }
}

fn page(calls: Feed, now: Now) -> String {
    page_of(ServerReport::of_calls(calls), now)
}

fn page_of(server: ServerReport, now: Now) -> String {
    let report = CommunityReport {
        servers: vec![server],
        at: now,
    };
    render(Content::Community { alias: None, report }, "")
}

fn request(query: &str) -> Request {
    let parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Request::from_query(&parameters)
}

fn render(content: Content, query: &str) -> String {
    let page = Page {
        content,
        request: request(query),
        is_reload_successful: true,
        is_shared_state_up: None,
        dashboards: None,
    };
    page.render().into_string()
}

/// The overview of these communities.
fn overview(communities: Vec<(&str, Summary)>, query: &str) -> String {
    let communities = communities.into_iter();
    let communities = communities.map(|(alias, summary)| (Some(alias.to_owned()), summary));
    let overview = Overview {
        at: now(),
        communities: communities.collect(),
    };
    render(Content::Overview(overview), query)
}

/// A community with a server where this many emergency calls have waited for so long.
fn waiting(count: u64, wait: Duration) -> Summary {
    let emergency = Queue {
        count,
        since: now().instant.checked_sub(wait),
    };
    Summary {
        servers: 1,
        calls: Some(CallSummary {
            emergency,
            ..CallSummary::default()
        }),
        ..Summary::default()
    }
}

fn in_state(health: Health) -> Summary {
    Summary {
        servers: 1,
        health,
        ..Summary::default()
    }
}

/// The names in the table of an overview, in their order.
fn names(page: &str) -> Vec<&str> {
    let cells = page.split("<th scope=\"row\">").skip(1);
    cells.map(|cell| cell.split(['<', '>']).nth(2).unwrap()).collect()
}

#[track_caller]
fn assert_shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "no {text:?} in\n{page}");
    }
}

#[test]
fn the_policy_allows_the_style_and_nothing_else() {
    let hash = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    assert_eq!(HEADERS[0].1, expected);
    let page = page(unknown(), now());
    assert_shows(&page, &[&format!("<style>{STYLE}</style>")]);
    for forbidden in ["<script", " style=", "src=", "http://", "https://", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn before_the_first_scrape_it_says_how_to_begin() {
    let page = page(unknown(), now());
    assert_shows(
        &page,
        &[
            "<h2>Server 1</h2>",
            "<span class=\"state waiting\">Not asked yet</span>",
            "Calls have not been read yet. The API is asked when Prometheus scrapes the metrics, or when you open them",
            "http-equiv=\"refresh\" content=\"30\"",
        ],
    );
    assert!(!page.contains("<table"));
}

#[test]
fn calls_are_shown_by_priority_and_status() {
    let now = now();
    let body = r#"{"activeCalls":[{"priority":1,"status":0,"origin":0},{"priority":2,"status":1,"origin":1,"idents":[4,5]},
        {"priority":2,"status":1,"origin":0,"idents":[6]}],"emergencyCalls":[{"isEmergency":true},{"isEmergency":false}]}"#;
    let page = page(answered(now, 12 * SECOND, body), now);
    assert_shows(
        &page,
        &[
            ">Up</span>",
            "<p class=\"quiet\">Calls are 12 s old.</p>",
            "<dt>Pending calls</dt><dd>1<",
            "<dt>Active calls</dt><dd>2<",
            "<dt>Without a unit</dt><dd>1<",
            "<dt>Units attached</dt><dd>3<",
            "<dt>911 calls waiting</dt><dd>1<",
            "<dt>Civil calls</dt><dd>1<",
            "<tr class=\"priority-1\"><th scope=\"row\">1</th><td>1</td><td class=\"zero\">0</td></tr>",
            "<tr class=\"priority-2\"><th scope=\"row\">2</th><td class=\"zero\">0</td><td>2</td></tr>",
        ],
    );
    assert!(!page.contains("other") && !page.contains(">closed<"));
}

#[test]
fn what_is_unusual_is_shown_where_it_occurs() {
    let body = r#"{"activeCalls":[{"priority":"low","status":2,"origin":0}]}"#;
    let page = page(answered(now(), SECOND, body), now());
    assert_shows(
        &page,
        &["<th scope=\"row\">other</th>", "<th scope=\"col\">closed</th>"],
    );
}

#[test]
fn a_failure_is_shown_in_words_with_what_to_do_beside_what_is_still_known() {
    let now = now();
    let mut failing = answered(
        now,
        60 * SECOND,
        r#"{"activeCalls":[{"priority":1,"status":0,"origin":0}]}"#,
    );
    failing.status = FeedStatus {
        is_up: false,
        failure: Some(failure(now)),
        retry_at: Some(now.unix + 90 * SECOND),
        ..failing.status
    };
    let page = page(failing, now + 30 * SECOND);
    assert_shows(
        &page,
        &[
            "<title>Trouble · Sonoran CAD</title>",
            ">Failing</span>",
            "INVALID &lt;API&gt; KEY",
            "Calls: INVALID",
            "30 s ago",
            "the API says &quot;INVALID&quot;",
            "copy the key again &amp; again",
            "Calls are 1 min 30 s old.</p>",
            "<p>The API is asked again in 1 min.</p>",
            "<dt>Pending calls</dt><dd>1<",
        ],
    );
}

#[test]
fn old_data_and_a_pause_by_another_server_are_reported() {
    let now = now();
    let mut old = answered(now, 300 * SECOND, r#"{"activeCalls":[]}"#);
    old.status.is_up = false;
    old.snapshot = None;
    assert_shows(
        &page(old.clone(), now),
        &[
            ">Not asked lately</span>",
            "Calls are 5 min old, too old to be shown. The API is only asked when the metrics are read",
        ],
    );
    let mut paused = old;
    paused.status.retry_at = Some(now.unix + SECOND);
    assert_shows(
        &page(paused, now),
        &[">Paused</span>", "The API is asked again in 1 s."],
    );
}

#[test]
fn a_name_cannot_be_markup() {
    let server = ServerReport {
        name: Some("</style><script>alert(\"1\")</script>".to_owned()),
        ..ServerReport::of_calls(unknown())
    };
    let page = page_of(server, now());
    assert_shows(
        &page,
        &["<h2 dir=\"auto\">&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;</h2>"],
    );
    assert!(!page.contains("<script"));
}

#[test]
fn the_title_begins_with_what_needs_a_person() {
    let title = |summary: Summary| {
        let page = overview(vec![("one", Summary::default()), ("two", summary)], "");
        page.split("<title>")
            .nth(1)
            .unwrap()
            .split("</title>")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(title(Summary::default()), "Sonoran CAD");
    assert_eq!(title(waiting(2, SECOND)), "2 waiting · Sonoran CAD");
    assert_eq!(title(in_state(Health::Failed)), "Trouble · Sonoran CAD");
    assert_eq!(title(in_state(Health::New)), "Sonoran CAD");
    let all = Summary {
        units: Some(UnitSummary {
            on_duty: 3,
            in_panic: 1,
        }),
        health: Health::Failed,
        ..waiting(1, SECOND)
    };
    assert_eq!(title(all), "Panic · 1 waiting · Trouble · Sonoran CAD");
}

#[test]
fn the_longest_wait_has_its_colour() {
    let now = now();
    let body = r#"{"activeCalls":[{"priority":1,"status":0,"origin":0}],"emergencyCalls":[{"isEmergency":true}]}"#;
    for (seconds, expected) in [
        (
            119,
            "<div><dt>911 calls waiting</dt><dd>1<small>oldest 1 min 59 s</small>",
        ),
        (
            120,
            "<div class=\"late\"><dt>911 calls waiting</dt><dd>1<small>oldest 2 min</small>",
        ),
        (
            300,
            "<div class=\"urgent\"><dt>911 calls waiting</dt><dd>1<small>oldest 5 min</small>",
        ),
    ] {
        let mut calls = answered(now, SECOND, body);
        let since = now.instant.checked_sub(seconds * SECOND).unwrap();
        calls.stats.oldest_emergency[EmergencyKind::Emergency] = Oldest::Since(since);
        calls.stats.oldest_pending[Priority::One] = Oldest::Since(since);
        let page = page(calls, now);
        assert_shows(
            &page,
            &[expected, &expected.replace("911 calls waiting", "Pending calls")],
        );
    }
}

#[test]
fn one_community_takes_less_than_60_kb_with_all_its_pictures() {
    let body = r#"{"activeCalls":[{"priority":1,"status":0,"origin":0}]}"#;
    let full = (0..20).map(|id| {
        let mut server = ServerReport::of_calls(answered(now(), SECOND, body));
        server.id = id.to_string();
        server.calls.status.failure = Some(failure(now()));
        // A step at every slot makes the longest picture.
        let calls = |slot| OpenCalls {
            pending: u16::MAX,
            active: if slot % 2 == 0 { u16::MAX } else { 0 },
        };
        server.history = (0..HISTORY_SLOTS).map(|slot| Some(calls(slot))).collect();
        server
    });
    let report = CommunityReport {
        servers: full.collect(),
        at: now(),
    };
    let show = |query| {
        let report = report.clone();
        render(Content::Community { alias: None, report }, query)
    };
    let first = show("");
    assert!(first.len() < 60_000, "{}", first.len());
    assert_shows(
        &first,
        &["<svg", "<h2>Server 4</h2>", "Page 1 of 4", "href=\"?page=2\""],
    );
    assert!(!first.contains("<h2>Server 5</h2>"));
    assert_shows(
        &show("page=4"),
        &["<h2>Server 19</h2>", "Page 4 of 4", "href=\"?page=3\""],
    );
    assert_shows(&show("page=9"), &["<h2>Server 19</h2>"]);
}

#[test]
fn an_overview_begins_with_the_most_urgent_communities() {
    let panic = Summary {
        units: Some(UnitSummary {
            on_duty: 3,
            in_panic: 2,
        }),
        ..Summary::default()
    };
    let page = overview(
        vec![
            ("a", Summary::default()),
            ("b", waiting(1, 130 * SECOND)),
            ("c", in_state(Health::Failed)),
            ("d", panic),
            ("e", in_state(Health::New)),
            ("f", waiting(1, 140 * SECOND)),
        ],
        "",
    );
    assert_eq!(names(&page), ["d", "c", "f", "b", "a", "e"]);
    assert_shows(
        &page,
        &[
            "<a href=\"?community=b\">b</a>",
            "<td class=\"late\">1<small>2 min 10 s</small></td>",
            "<div class=\"late\"><dt>911 calls waiting</dt><dd>2<small>oldest 2 min 20 s<",
            "<dt>Communities in trouble</dt><dd>1<",
            "<dt>Units on duty</dt><dd>3<",
            "Panic: 2 units",
        ],
    );
}

#[test]
fn an_overview_is_filtered_by_the_query() {
    let communities = || {
        vec![
            ("Blaine", waiting(1, SECOND)),
            ("sandy", in_state(Health::Failed)),
            ("sandy-2", Summary::default()),
        ]
    };
    for (query, expected) in [
        ("name=SAND", &["sandy", "sandy-2"][..]),
        ("name=blaine&show=waiting", &["Blaine"]),
        ("show=waiting", &["Blaine"]),
        ("show=trouble", &["sandy"]),
        ("name=nobody", &[]),
    ] {
        let page = overview(communities(), query);
        assert_eq!(names(&page), expected, "{query}");
        // The browser's tab is about all of them.
        let count = format!("<span>{} of 3</span>", expected.len());
        assert_shows(&page, &["<title>1 waiting · Trouble", &count]);
    }
    let hostile = overview(communities(), "name=%22%3E%3Cscript%3E&page=2");
    assert_shows(
        &hostile,
        &["value=\"&quot;&gt;&lt;script&gt;\"", "No community matches."],
    );
    assert!(!hostile.contains("<script"));
}

#[test]
fn ten_thousand_communities_are_pages_of_bounded_size() {
    let aliases: Vec<_> = (0..10_000).map(|number| format!("{number:064}")).collect();
    let all = || {
        let summaries = aliases
            .iter()
            .map(|alias| (alias.as_str(), waiting(1_000_000, 400 * SECOND)));
        summaries.collect::<Vec<_>>()
    };
    let first = overview(all(), "");
    assert!(first.len() < 60_000, "{}", first.len());
    assert_eq!(names(&first).len(), 100);
    assert_shows(&first, &["Page 1 of 100", "href=\"?page=2\"", "<dd>10,000,000,000<"]);
    let last = overview(all(), "page=100&show=waiting");
    assert_eq!(names(&last).last(), aliases.last().map(String::as_str).as_ref());
    assert_shows(&last, &["href=\"?show=waiting&amp;page=99\""]);
}

/// Six columns do not fit there. Active calls need nobody.
#[test]
fn on_a_phone_active_calls_make_room_for_units() {
    let page = overview(vec![("one", Summary::default())], "");
    let heads: Vec<_> = page.split("<th scope=\"col\">").skip(1).collect();
    assert!(heads[4].starts_with("Active</th>"), "{heads:?}");
    let phone = STYLE.split("@media (max-width: 32rem)").nth(1).unwrap();
    assert!(phone.contains(".wide th:nth-child(5), .wide td:nth-child(5) { display: none; }"));
}

#[test]
fn it_says_whether_replicas_reach_what_they_share() {
    let page = |is_shared_state_up| {
        let page = Page {
            content: Content::Unknown,
            request: Request::default(),
            is_reload_successful: true,
            is_shared_state_up,
            dashboards: None,
        };
        page.render().into_string()
    };
    let texts = [
        "The shared state cannot be reached.",
        "The store that they share answers.",
    ];
    for (is_up, shown) in [
        (None, [false, false]),
        (Some(false), [true, false]),
        (Some(true), [false, true]),
    ] {
        let page = page(is_up);
        assert_eq!(texts.map(|text| page.contains(text)), shown, "{is_up:?}");
    }
}

#[test]
fn it_links_to_the_dashboards_of_what_it_shows() {
    let page = |alias: Option<&str>| {
        let report = CommunityReport {
            servers: vec![ServerReport::of_calls(unknown())],
            at: now(),
        };
        let alias = alias.map(str::to_owned);
        let page = Page {
            content: Content::Community { alias, report },
            request: Request::default(),
            is_reload_successful: true,
            is_shared_state_up: None,
            dashboards: Some(Url::parse("https://x.example.org/d/y?orgId=1&a=\"").unwrap()),
        };
        page.render().into_string()
    };
    assert_shows(&page(None), &["href=\"https://x.example.org/d/y?orgId=1&amp;a=%22\""]);
    assert_shows(
        &page(Some("")),
        &["href=\"https://x.example.org/d/y?orgId=1&amp;a=%22\""],
    );
    assert_shows(
        &page(Some("a&b")),
        &[
            "href=\"https://x.example.org/d/y?orgId=1&amp;a=%22&amp;var-community=a%26b\"",
            "<h2 class=\"community\">a&amp;b</h2>",
            "<a href=\"?\">All communities</a>",
        ],
    );
}

#[test]
fn panic_is_shown_over_the_whole_width() {
    let mut server = ServerReport::of_calls(unknown());
    let mut units = UnitSnapshot::empty(&TextSet::default());
    units.add(Some(Unit {
        id: Some(1),
        discipline: Some(Discipline::Police),
        status: UnitStatus::OnScene,
        is_in_panic: true,
        department: TextSet::default().other(),
    }));
    server.units = Some(FeedReport {
        snapshot: Some(Arc::new(units)),
        status: FeedStatus {
            is_up: true,
            last_success: Some(now().unix),
            ..FeedStatus::default()
        },
        stats: UnitStats::default(),
    });
    let page = page_of(server, now());
    assert_shows(
        &page,
        &[
            "<title>Panic · Sonoran CAD</title>",
            "<p class=\"panic\" role=\"alert\">Panic: 1 unit</p>",
            "Units are 0 s old.",
            "<tr><th scope=\"row\">on scene</th><td>1</td><td class=\"zero\">0</td><td class=\"zero\">0</td></tr>",
        ],
    );
}
