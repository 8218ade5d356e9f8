use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

use super::*;
use crate::client::{Calls, Endpoint as _};
use crate::clock::{Clock, ManualClock};
use crate::config::{ApiVersion, LabelTexts};
use crate::report::{FeedReport, VersionReason};
use crate::tracker::CallStats;

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

/// A server with this feed.
fn server(calls: Feed) -> ServerReport {
    ServerReport {
        id: "1".to_owned(),
        name: None,
        api_version: ApiVersion::V1,
        version_reason: VersionReason::Documented,
        calls,
        units: None,
    }
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
    page_of(server(calls), now)
}

fn page_of(server: ServerReport, now: Now) -> String {
    let report = Report {
        community: CommunityReport {
            servers: vec![server],
            at: now,
        },
        exporter: None,
    };
    render(&report, &[], 0).into_string()
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
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
            "The API has not answered yet.",
            "The first scrape asks it: let Prometheus scrape the metrics",
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
            "As of 12s ago. The first scrape after 13s asks the API again.",
            "<dt>Pending</dt><dd>1<",
            "<dt>Active</dt><dd>2<",
            "<dt>Without a unit</dt><dd>1<",
            "<dt>Units attached</dt><dd>3<",
            "<dt>Emergency calls</dt><dd>1<",
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
            "<title>Trouble · Sonoran CAD exporter</title>",
            ">Failing</span>",
            "INVALID &lt;API&gt; KEY",
            "30s ago",
            "the API says &quot;INVALID&quot;",
            "copy the key again &amp; again",
            "As of 1m 30s ago. The first scrape after 1m asks the API again.",
            "<dt>Pending</dt><dd>1<",
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
            "The last good answer is 5m old, too old to be shown. The next scrape asks the API again.",
        ],
    );
    let mut paused = old;
    paused.status.retry_at = Some(now.unix + SECOND);
    assert_shows(
        &page(paused, now),
        &[">Paused</span>", "The first scrape after 1s asks the API again."],
    );
}

#[test]
fn a_name_cannot_be_markup() {
    let server = ServerReport {
        name: Some("</style><script>alert(\"1\")</script>".to_owned()),
        ..server(unknown())
    };
    let page = page_of(server, now());
    assert_shows(
        &page,
        &["<h2>&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;</h2>"],
    );
    assert!(!page.contains("<script"));
}

#[test]
fn with_very_many_communities_it_says_that_it_shows_some() {
    let community = CommunityReport {
        servers: vec![server(unknown())],
        at: now(),
    };
    let others = ["one", "two"].map(|alias| (alias.to_owned(), community.clone()));
    let report = Report {
        community,
        exporter: None,
    };
    let page = |count| render(&report, &others, count).into_string();
    assert!(page(2).contains(">one<") && page(2).contains(">two<") && !page(2).contains("with trouble first"));
    assert!(page(3).contains("These are 2 of 3 communities, those with trouble first"));
}
