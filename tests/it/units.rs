//! Units on duty, from the API's answer to the metrics.

use std::fmt::Write as _;
use std::time::Duration;

use crate::support::cad::{Answer, Cad, Request};
use crate::support::exporter::{OPEN_METRICS, Running, value};

const SECOND: Duration = Duration::from_secs(1);

const COLLECT: (&str, &str) = ("SONORANCAD_COLLECT", "calls,units");

/// One unit of each kind, as version v2 writes them.
const ODD: &str = r#"[
    {"id":1,"status":2,"isPanic":false,"isDispatch":false,"data":{"page":0,"department":"LSPD"}},
    {"id":2,"status":"3","isPanic":"true","isDispatch":0,"data":{"page":"1","department":" lsfd "}},
    {"id":3,"status":4,"isPanic":1,"data":{"page":2.0,"department":"Hospital"}},
    {"id":4,"status":100,"isPanic":true,"data":{"page":0,"department":"LSPD"}},
    {"id":5,"status":1,"isDispatch":true,"data":{"page":0,"department":"LSPD"}},
    {"id":6,"status":0,"data":{"page":3}},
    {"id":7,"status":7,"data":null},
    {"id":-1,"status":0,"data":{"page":-1}},
    {"id":"x","status":null,"data":["page",0]},
    null, 5, "unit", ["id", 8]
]"#;

/// How many units of this discipline and status there are.
fn units(text: &str, discipline: &str, status: &str) -> f64 {
    value(
        text,
        &format!("sonorancad_units{{server_id=\"1\",discipline=\"{discipline}\",status=\"{status}\"}}"),
    )
}

fn single(text: &str, family: &str) -> f64 {
    value(text, &format!("{family}{{server_id=\"1\"}}"))
}

/// A page of police officers.
fn page(ids: std::ops::Range<u32>) -> String {
    let mut json = String::new();
    for id in ids {
        let comma = if json.is_empty() { "" } else { "," };
        write!(json, r#"{comma}{{"id":{id},"status":2,"data":{{"page":0}}}}"#).unwrap();
    }
    format!("[{json}]")
}

#[tokio::test]
async fn odd_units_lose_nothing_but_themselves() {
    for (version, body) in [
        ("v1", ODD.to_owned()),
        ("v2", ODD.to_owned()),
        ("v2", format!(r#"{{"count":9,"units":{ODD}}}"#)),
        ("v2", format!(r#"{{"Units":{ODD},"units":null}}"#)),
    ] {
        let cad = Cad::start().await;
        cad.answer_units(Answer::ok(&body));
        let variables = [
            COLLECT,
            ("SONORANCAD_API_VERSION", version),
            ("SONORANCAD_DEPARTMENTS", "LSPD, LSFD"),
        ];
        let exporter = Running::start(&cad, &variables);
        let text = exporter.scrape().await;
        for (discipline, status, count) in [
            ("police", "available", 1.0),
            ("police", "busy", 0.0),
            ("fire", "enroute", 1.0),
            ("ems", "on_scene", 1.0),
            ("other", "unavailable", 1.0),
            ("other", "other", 2.0),
        ] {
            assert_eq!(units(&text, discipline, status), count, "{discipline} {status}");
        }
        assert_eq!(single(&text, "sonorancad_dispatchers"), 2.0);
        assert_eq!(
            single(&text, "sonorancad_units_in_panic"),
            2.0,
            "not the one that is offline"
        );
        assert_eq!(single(&text, "sonorancad_units_up"), 1.0);
        assert_eq!(single(&text, "sonorancad_units_truncated"), 0.0);
        let department = |name: &str| {
            value(
                &text,
                &format!("sonorancad_department_units{{server_id=\"1\",department=\"{name}\"}}"),
            )
        };
        assert_eq!(
            (department("LSPD"), department("LSFD"), department("other")),
            (1.0, 1.0, 4.0)
        );
    }
}

#[tokio::test]
async fn both_formats_say_the_same_of_units() {
    let cad = Cad::start().await;
    cad.answer_units(Answer::ok(ODD));
    let variables = [COLLECT, ("SONORANCAD_SERVER_IDS", "1=Main,2=Events,3=Training")];
    let exporter = Running::start(&cad, &variables);
    exporter.scrape().await;
    let samples = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("unit"));
        let mut lines: Vec<_> = lines
            .filter(|line| !line.contains("_bucket") && !line.contains("cache_"))
            .map(|line| line.trim_end_matches(".0").to_owned())
            .collect();
        lines.sort_unstable();
        lines
    };
    let classic = samples(&exporter.scrape().await);
    let open_metrics = exporter.scrape_as(OPEN_METRICS).await;
    assert!(classic.len() > 100, "{classic:#?}");
    assert_eq!(classic, samples(&open_metrics));
}

/// Where they are not read, nothing of them is asked for or shown.
#[tokio::test]
async fn units_are_read_only_where_that_is_asked_for() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    let text = exporter.scrape().await;
    assert!(
        !text.contains("sonorancad_units") && !text.contains("api_endpoint=\"units\""),
        "{text}"
    );
    assert!(cad.requests().iter().all(|request| !request.is_for_units()));
}

#[tokio::test]
async fn a_list_that_is_none_is_a_failure_of_units_only() {
    for body in [
        "null",
        "{\"message\":\"hello\"}",
        "5",
        "{\"units\":null}",
        "{\"units\":5}",
        "",
        "[{\"id\":1}",
    ] {
        let cad = Cad::start().await;
        cad.answer_units(Answer::ok(body));
        let exporter = Running::start(&cad, &[COLLECT]);
        let text = exporter.scrape().await;
        assert_eq!(single(&text, "sonorancad_units_up"), 0.0, "{body}");
        assert_eq!(single(&text, "sonorancad_up"), 1.0, "{body}");
        let errors = "sonorancad_api_errors_total{server_id=\"1\",api_endpoint=\"units\",error=\"INVALID RESPONSE\"}";
        assert_eq!(value(&text, errors), 1.0, "{body}");
        assert!(!text.contains("sonorancad_units{"), "{body}: zeros would be a lie");
    }
}

#[tokio::test]
async fn an_empty_list_is_a_list() {
    for body in ["[]", "{}", "{\"units\":{}}"] {
        let cad = Cad::start().await;
        cad.answer_units(Answer::ok(body));
        let exporter = Running::start(&cad, &[COLLECT]);
        let text = exporter.scrape().await;
        assert_eq!(single(&text, "sonorancad_units_up"), 1.0, "{body}");
        assert_eq!(units(&text, "ems", "available"), 0.0, "{body}");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_what_the_api_documents() {
    for (version, line, body) in [
        (
            "v1",
            "POST /emergency/get_active_units HTTP/1.1",
            r#"{"id":"mycommunity","key":"the-secret-key","type":"GET_ACTIVE_UNITS","data":[{"serverId":3,"onlyUnits":false,"includeOffline":false,"limit":100,"offset":0}]}"#,
        ),
        (
            "v2",
            "GET /v2/emergency/servers/3/units?includeOffline=false&onlyUnits=false&limit=100&offset=0 HTTP/1.1",
            "",
        ),
    ] {
        let cad = Cad::start().await;
        let variables = [
            COLLECT,
            ("SONORANCAD_API_VERSION", version),
            ("SONORANCAD_SERVER_IDS", "3"),
        ];
        Running::start(&cad, &variables).scrape().await;
        let requests = cad.requests();
        let request = requests.iter().find(|request| request.is_for_units()).unwrap();
        assert_eq!((&*request.line, &*request.body), (line, body));
    }
}

/// The next page costs a request, so it is asked for while a slot is free.
#[tokio::test]
async fn full_pages_are_followed_by_others_within_the_budget() {
    let cad = Cad::start().await;
    cad.answer_units(Answer::ok(&page(0..100)));
    let (exporter, clock) = Running::start_at_noon(&cad, &[COLLECT, ("SONORANCAD_UNIT_REQUESTS_PER_MINUTE", "2")]);
    let text = exporter.scrape().await;
    // The fake CAD ignores the offset: the second page is the first one once more.
    let asked: Vec<_> = cad.requests().into_iter().filter(Request::is_for_units).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].body.contains("\"offset\":100"), "{}", asked[1].body);
    assert_eq!(units(&text, "police", "available"), 100.0);
    assert_eq!(single(&text, "sonorancad_units_truncated"), 1.0);
    // More than were asked for are all of them.
    cad.answer_units(Answer::ok(&page(0..150)));
    clock.advance(61 * SECOND);
    let text = exporter.scrape().await;
    assert_eq!(units(&text, "police", "available"), 150.0);
    assert_eq!(single(&text, "sonorancad_units_truncated"), 0.0);
    // A page fewer leaves nothing to ask.
    cad.answer_units(Answer::ok(&page(0..99)));
    clock.advance(61 * SECOND);
    let text = exporter.scrape().await;
    assert_eq!(units(&text, "police", "available"), 99.0);
    let asked = cad.requests().into_iter().filter(Request::is_for_units).count();
    assert_eq!(asked, 4);
    let off = "sonorancad_units_signed_off_total{server_id=\"1\",discipline=\"police\"}";
    assert_eq!(value(&text, off), 0.0, "absent once");
    clock.advance(61 * SECOND);
    assert_eq!(value(&exporter.scrape().await, off), 51.0);
}

/// An endpoint that is refused or gone silences itself and not the calls; a refused key silences both.
#[tokio::test]
async fn a_pause_is_as_wide_as_what_was_refused() {
    for (answer, silences_calls) in [
        (
            Answer::status(400, &[], "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY"),
            false,
        ),
        (Answer::status(404, &[], ""), false),
        (Answer::status(429, &[("Retry-After", "300")], ""), false),
        (Answer::status(400, &[], "INVALID API KEY"), true),
        (Answer::status(403, &[], ""), true),
    ] {
        let cad = Cad::start().await;
        let variables = [COLLECT, ("SONORANCAD_API_VERSION", "v1")];
        let (exporter, clock) = Running::start_at_noon(&cad, &variables);
        exporter.scrape().await;
        clock.advance(30 * SECOND);
        cad.answer_units(answer.clone());
        exporter.scrape().await;
        clock.advance(30 * SECOND);
        exporter.scrape().await;
        let requests = cad.requests();
        let of_units = requests.iter().filter(|request| request.is_for_units()).count();
        let of_calls = requests.len() - of_units;
        assert_eq!(of_units, 2, "{answer:?}");
        // Both were sent side by side, before the refusal was known.
        assert_eq!(of_calls, if silences_calls { 2 } else { 3 }, "{answer:?}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_the_codes_that_are_listed() {
    let call = |id: u32, code: &str| format!(r#"{{"callId":{id},"priority":1,"status":0,"origin":0,"code":{code}}}"#);
    let cad = Cad::start().await;
    cad.answer(Answer::ok(r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#));
    let variables = [("SONORANCAD_CALL_CODES", "10-39, 211 ,Code \u{e9}")];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    let count = |text: &str, code: &str| {
        value(
            text,
            &format!("sonorancad_calls_opened_by_code_total{{server_id=\"1\",code=\"{code}\"}}"),
        )
    };
    let text = exporter.scrape().await;
    assert_eq!(count(&text, "10-39") + count(&text, "211") + count(&text, "other"), 0.0);
    let codes = [
        r#""10-39""#,
        r#"" 10-39 - Traffic Stop""#,
        r#""10-390""#,
        "211",
        r#""CODE \u00c9""#,
        "null",
        r#""THE-SECRET""#,
        r#"{"a":1}"#,
        r#""Traffic - 10-39""#,
    ];
    let calls: Vec<_> = (1..).zip(codes).map(|(id, code)| call(id, code)).collect();
    let open = format!(
        r#"{{"activeCalls":[{}],"closedCalls":[{}]}}"#,
        calls.join(","),
        call(20, "\"211\"")
    );
    cad.answer(Answer::ok(&open));
    clock.advance(30 * SECOND);
    let text = exporter.scrape().await;
    assert_eq!(count(&text, "10-39"), 2.0);
    assert_eq!(count(&text, "211"), 2.0, "one of them came and closed unseen");
    assert_eq!(count(&text, "Code \u{e9}"), 1.0);
    assert_eq!(count(&text, "other"), 5.0);
    assert!(!text.contains("SECRET") && !text.contains("Traffic"), "{text}");
}
