//! Which version of the API is asked, and when that changes.

use std::time::Duration;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{Running, failures, value};

const SECOND: Duration = Duration::from_secs(1);

const TWO_CALLS: &str = r#"{"activeCalls":[{"callId":1,"priority":1,"status":0,"origin":0},{"callId":2,"priority":1,"status":0,"origin":0}],"emergencyCalls":[],"closedCalls":[]}"#;

/// Everything by which version v1 says that it is gone, or closed to this community.
fn refusals() -> [Answer; 7] {
    [
        Answer::status(404, &[], "Not Found"),
        Answer::status(410, &[], ""),
        Answer::ok("Backend Service Reached"),
        Answer::ok("Sonoran CAD: Backend Service Reached"),
        Answer::status(404, &[], "Sonoran CAD: Backend Service Reached"),
        Answer::status(400, &[], "VERSION PLUS REQUIRED"),
        Answer::status(400, &[], "VERSION PRO REQUIRED"),
    ]
}

/// How many requests came in versions v1 and v2.
fn by_version(cad: &Cad) -> (usize, usize) {
    let requests = cad.requests();
    let v1 = requests.iter().filter(|request| request.version() == "v1").count();
    (v1, requests.len() - v1)
}

fn pending_calls(text: &str, server_id: u32) -> f64 {
    value(
        text,
        &format!(
            "sonorancad_active_calls{{server_id=\"{server_id}\",priority=\"1\",status=\"pending\",origin=\"caller\"}}"
        ),
    )
}

fn up(text: &str) -> f64 {
    value(text, "sonorancad_up{server_id=\"1\"}")
}

/// Scrapes every 15 s for five minutes.
async fn five_minutes(exporter: &Running, clock: &sonorancad_exporter::clock::ManualClock) -> String {
    let mut text = String::new();
    for _ in 0..20 {
        clock.advance(15 * SECOND);
        text = exporter.scrape().await;
    }
    text
}

#[tokio::test]
async fn where_v1_refuses_the_first_scrape_shows_what_v2_answers() {
    for refusal in refusals() {
        let cad = Cad::start().await;
        cad.answer(Answer::ok(TWO_CALLS));
        cad.answer_v1(Some(refusal.clone()));
        let (exporter, clock) = Running::start_at_noon(&cad, &[]);
        let text = exporter.scrape().await;
        assert_eq!(pending_calls(&text, 1), 2.0, "{refusal:?}");
        assert_eq!(up(&text), 1.0, "{refusal:?}");
        assert_eq!(
            value(
                &text,
                "sonorancad_server_info{server_id=\"1\",name=\"\",api_version=\"v2\"}"
            ),
            1.0
        );
        five_minutes(&exporter, &clock).await;
        let (v1, v2) = by_version(&cad);
        assert_eq!(v1, 1, "{refusal:?}: it is for good");
        assert!(v2 > 9, "{refusal:?}: {v2}");
        // Even if it comes back.
        cad.answer_v1(None);
        five_minutes(&exporter, &clock).await;
        assert_eq!(by_version(&cad).0, 1, "{refusal:?}");
    }
}

#[tokio::test]
async fn the_account_changes_its_version_with_all_servers_endpoints_and_budgets() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(TWO_CALLS));
    cad.answer_v1(Some(Answer::status(404, &[], "")));
    let variables = [
        ("SONORANCAD_SERVER_IDS", "1=Main,2=Events,3"),
        ("SONORANCAD_COLLECT", "calls,units"),
    ];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    let text = exporter.scrape().await;
    // Each feed had asked before any of them knew. Of version v2, the budget is two requests for calls, and one for units.
    assert_eq!(by_version(&cad), (6, 3));
    let up: f64 = ["1", "2", "3"]
        .map(|server| value(&text, &format!("sonorancad_up{{server_id=\"{server}\"}}")))
        .iter()
        .sum();
    assert_eq!(up, 2.0);
    let ttl = |endpoint: &str| {
        value(
            &text,
            &format!("sonorancad_cache_ttl_seconds{{server_id=\"3\",api_endpoint=\"{endpoint}\"}}"),
        )
    };
    assert_eq!((ttl("calls"), ttl("units")), (90.0, 180.0));
    let text = five_minutes(&exporter, &clock).await;
    assert_eq!(by_version(&cad).0, 6);
    for server in ["1", "2", "3"] {
        for family in ["sonorancad_up", "sonorancad_units_up"] {
            assert_eq!(value(&text, &format!("{family}{{server_id=\"{server}\"}}")), 1.0);
        }
    }
    // The third server waited for its turn. That is no failure.
    let errors: Vec<_> = failures(&text).into_iter().map(|(error, _)| error).collect();
    assert!(errors.iter().all(|error| error.contains("ENDPOINT GONE")), "{errors:?}");
}

#[tokio::test]
async fn where_v1_answers_v2_is_never_asked() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(TWO_CALLS));
    let (exporter, clock) = Running::start_at_noon(&cad, &[("SONORANCAD_COLLECT", "calls,units")]);
    let refusals = [
        Answer::status(500, &[], ""),
        Answer::status(429, &[("Retry-After", "1")], ""),
        Answer::status(400, &[], "INVALID API KEY"),
        Answer::status(400, &[], "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY"),
        Answer::status(400, &[], "VERSION NINE REQUIRED"),
        Answer::status(401, &[], ""),
        Answer::status(302, &[("Location", "http://localhost/")], ""),
        Answer::ok("<html>"),
        Answer::BytesThenReset(Vec::new()),
    ];
    for refusal in refusals {
        cad.answer_v1(Some(refusal.clone()));
        five_minutes(&exporter, &clock).await;
        five_minutes(&exporter, &clock).await;
        assert_eq!(by_version(&cad).1, 0, "{refusal:?}");
        cad.answer_v1(None);
        five_minutes(&exporter, &clock).await;
        assert_eq!(up(&five_minutes(&exporter, &clock).await), 1.0, "{refusal:?}");
    }
    assert_eq!(by_version(&cad).1, 0);
}

#[tokio::test]
async fn v1_stays_where_v2_fails_too_and_both_are_reported() {
    for failure in [
        Answer::status(500, &[], ""),
        Answer::status(404, &[], ""),
        Answer::problem(401, "{}"),
        Answer::problem(404, "{}"),
        Answer::ok("<html>"),
        Answer::BytesThenReset(Vec::new()),
    ] {
        let cad = Cad::start().await;
        cad.answer(failure.clone());
        cad.answer_v1(Some(Answer::status(404, &[], "")));
        let (exporter, clock) = Running::start_at_noon(&cad, &[]);
        let text = exporter.scrape().await;
        assert_eq!(up(&text), 0.0, "{failure:?}");
        assert_eq!(by_version(&cad), (1, 1));
        let page = exporter.get("/").await;
        let page = String::from_utf8(page.body).unwrap();
        assert!(
            page.contains("ENDPOINT GONE") && page.contains("version v2 of the API failed as well"),
            "{page}"
        );
        // The pause of a refusal is five minutes.
        clock.advance(295 * SECOND);
        exporter.scrape().await;
        assert_eq!(by_version(&cad), (1, 1), "{failure:?}");
        clock.advance(5 * SECOND);
        exporter.scrape().await;
        assert_eq!(by_version(&cad), (2, 2), "{failure:?}");
        // It was a proxy in between, and nothing has changed.
        cad.answer_v1(Some(Answer::ok(TWO_CALLS)));
        clock.advance(300 * SECOND);
        let text = exporter.scrape().await;
        assert_eq!(pending_calls(&text, 1), 2.0);
        assert_eq!(
            value(
                &text,
                "sonorancad_server_info{server_id=\"1\",name=\"\",api_version=\"v1\"}"
            ),
            1.0
        );
        assert_eq!(by_version(&cad), (3, 2), "{failure:?}");
    }
}

/// A single 404 of a proxy is a refusal like any other: where version v2 answers, it is as good.
#[tokio::test]
async fn one_404_among_good_answers_is_enough_where_v2_answers() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(TWO_CALLS));
    let (exporter, clock) = Running::start_at_noon(&cad, &[]);
    five_minutes(&exporter, &clock).await;
    let before = by_version(&cad);
    assert_eq!(before.1, 0);
    cad.answer_v1(Some(Answer::status(404, &[], "<html>")));
    clock.advance(30 * SECOND);
    assert_eq!(up(&exporter.scrape().await), 1.0, "not a scrape is lost");
    cad.answer_v1(None);
    five_minutes(&exporter, &clock).await;
    assert_eq!(by_version(&cad).0, before.0 + 1);
}

#[tokio::test]
async fn the_budget_is_kept_while_the_version_changes() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(TWO_CALLS));
    cad.answer_v1(Some(Answer::status(404, &[], "")));
    let (exporter, clock) = Running::start_at_noon(&cad, &[("SONORANCAD_REQUESTS_PER_MINUTE", "1")]);
    for _ in 0..4 {
        let text = exporter.scrape().await;
        assert_eq!(up(&text), 0.0);
        assert_eq!(by_version(&cad), (1, 0), "the minute's request is spent");
        clock.advance(15 * SECOND);
    }
    assert_eq!(pending_calls(&exporter.scrape().await, 1), 2.0);
    assert_eq!(by_version(&cad), (1, 1), "version v1 is not asked once more");
}

#[tokio::test]
async fn without_a_community_id_version_v2_is_asked_at_once() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(TWO_CALLS));
    let (exporter, _) = Running::start_at_noon(&cad, &[("SONORANCAD_COMMUNITY_ID", "")]);
    assert_eq!(pending_calls(&exporter.scrape().await, 1), 2.0);
    assert_eq!(by_version(&cad), (0, 1));
}

#[tokio::test]
async fn a_version_that_is_fixed_stays() {
    for (version, expected) in [("v1", (2, 0)), ("v2", (0, 2))] {
        let cad = Cad::start().await;
        cad.answer(Answer::status(404, &[], ""));
        let (exporter, clock) = Running::start_at_noon(&cad, &[("SONORANCAD_API_VERSION", version)]);
        exporter.scrape().await;
        clock.advance(301 * SECOND);
        exporter.scrape().await;
        assert_eq!(by_version(&cad), expected);
    }
}
