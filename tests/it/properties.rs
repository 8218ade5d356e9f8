//! Random input from outside: what must be true of it is in `promises`.

use std::time::Duration;

use axum::http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use sonorancad_exporter::client::{Calls, Endpoint as _, Units};
use sonorancad_exporter::config::LabelTexts;

use crate::support::promises::{self, SECRET, TODAY};

/// Texts, and JSON that comes in their place: what a parser cannot represent, and what it has several words for.
const ODD: [(&str, &str); 6] = [
    ("<large>", "1e999"),
    ("<half>", r#""\ud800""#),
    ("<key>", r#"{"\ud800":1}"#),
    ("<deep>", "[[[[[[[[1]]]]]]]]"),
    ("<escape>", r#""\u0032""#),
    ("<float>", "2.0"),
];

/// The JSON with the odd values in it.
fn odd_text(json: &Value) -> String {
    ODD.iter().fold(json.to_string(), |text, (name, odd)| {
        text.replace(&format!("\"{name}\""), odd)
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(ODD.map(|(name, _)| Value::from(name)).to_vec()),
        "[0-3]( |\\.0)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Mostly keys that mean something.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec![
            "activeCalls", "ActiveCalls", "emergencyCalls", "EmergencyCalls", "closedCalls", "ClosedCalls",
            "ClosedCallCount", "callId", "priority", "status", "origin", "idents", "units", "isEmergency", "title",
            "metaData", "createdFromId", "id", "isPanic", "data", "page",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// An answer with lists where they belong, so that most of them are read.
fn any_answer() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(any_json(), 0..8);
    (list(), list(), any_json())
        .prop_map(|(active, emergency, count)| json!({"activeCalls": active, "EmergencyCalls": emergency, "ClosedCallCount": count}))
}

/// A list of items that are calls of both kinds and units at once. One in ten has an odd value.
fn any_almost_items() -> impl Strategy<Value = Value> {
    let item = (0..4_u8, any::<bool>(), prop::collection::vec(0..9_u8, 0..3)).prop_map(|(number, is_set, units)| {
        json!({"callId": number, "status": number, "priority": number, "origin": number, "isEmergency": is_set, "idents": units,
               "metaData": {"createdFromId": number.to_string()}, "code": "10-31", "id": number, "isPanic": is_set,
               "isDispatch": !is_set, "data": {"page": number, "department": "LSPD"}})
    });
    let odd = prop::option::weighted(0.1, (any_key(), any_json()));
    let item = (item, odd).prop_map(|(mut item, odd)| {
        if let Some((key, odd)) = odd {
            item[key] = odd;
        }
        item
    });
    prop::collection::vec(item, 0..4).prop_map(Value::Array)
}

/// An answer of calls with few ids, so that they come and go.
fn any_calls() -> impl Strategy<Value = Value> {
    let call = || (1..6_u64, 0..4_u64, 0..4_u64, any::<bool>());
    let list = || {
        prop::collection::vec(call(), 0..5).prop_map(|calls| {
            let calls = calls.into_iter().map(|(id, status, priority, is_emergency)| {
            json!({"callId": id, "status": status, "priority": priority, "isEmergency": is_emergency})
        });
            calls.collect::<Value>()
        })
    };
    (list(), list(), list())
        .prop_map(|(active, emergency, closed)| json!({"activeCalls": active, "emergencyCalls": emergency, "closedCalls": closed}))
}

/// A list of units with few ids, so that they come and go, and odd ones among them.
fn any_units() -> impl Strategy<Value = Value> {
    let unit = (0..6_i64, 0..8_i64, -1..4_i64, any::<bool>());
    let unit = unit.prop_map(|(id, status, page, is_set)| {
        json!({"id": id, "status": status, "isPanic": is_set, "isDispatch": !is_set, "data": {"page": page, "department": "lspd"}})
    });
    prop::collection::vec(prop_oneof![4 => unit, 1 => any_json()], 0..6).prop_map(Value::Array)
}

/// A header of one or more lists of items like these, or of no item at all.
fn any_lists(item: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    let list = prop::collection::vec(item, 0..5).prop_map(|items| items.join(", "));
    prop::collection::vec(list, 0..3)
}

fn headers(fields: impl IntoIterator<Item = (HeaderName, String)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in fields {
        headers.append(name, HeaderValue::from_str(&text).unwrap());
    }
    headers
}

/// A header with the end of a rate limit.
fn any_reset() -> impl Strategy<Value = HeaderName> {
    let names = ["retry-after", "ratelimit-reset", "x-ratelimit-reset"];
    select(names.map(HeaderName::from_static).to_vec())
}

/// Its value: seconds, times around today's, numbers of any size and shape, and any other text.
fn any_reset_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,4}",
        "179539[0-9]{4}",
        "[-+]?[0-9]{1,20}(\\.[0-9]{0,3})?([eE][0-9]{1,3})?",
        "(-?inf|NaN)",
        "[ -~]{0,40}",
    ]
}

/// Text that is nearly YAML: pieces of its grammar, these words, and the secret anywhere.
fn any_yaml(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let grammar = [
        "\n", "\n  ", "\n    ", ": ", "- ", ", ", "{", "}", "[", "]", "'", "\"", "|\n", ">\n", "? ", "# ", "&a ", "*a",
        "<<: *a", "!!str ", "!!int ", "!x ", "!", "&", "*", "%YAML ", "%", "---\n", "...\n", "\t", "\\", "@", "`",
    ];
    let piece = prop_oneof![
        4 => select(grammar.to_vec()).prop_map(str::to_owned),
        3 => select(words.to_vec()).prop_map(str::to_owned),
        2 => Just(SECRET.to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const SECTIONS: &[&str] = &[
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
    "cert",
    "key",
    "client_auth_type",
    "client_allowed_sans",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
    "headers",
    "http2",
    "X-Frame-Options",
    "true",
    "john",
];

/// A value of any setting: invalid ones contain the secret, and some are valid.
fn any_value() -> impl Strategy<Value = String> {
    let wrong = vec![
        SECRET.to_owned(),
        format!("'{SECRET}\\'"),
        format!("\"{SECRET}\\n\""),
        format!("[{SECRET}]"),
        format!("{{a: {SECRET}}}"),
        format!("!!int {SECRET}"),
    ];
    let right = vec![
        "true",
        "deny",
        "TLS12",
        "RequireAndVerifyClientCert",
        "''",
        "[]",
        "[localhost]",
    ];
    prop_oneof![select(wrong), select(right).prop_map(str::to_owned)]
}

/// A web configuration with the right structure, in which the secret replaces names and values.
fn any_sections() -> impl Strategy<Value = String> {
    let mapping = |names: &'static [&'static str]| {
        // Each name once, since a second one hides all that comes after it.
        btree_map(select(names), any_value(), 0..5).prop_map(|entries| {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        })
    };
    let tls = mapping(&[
        "cert",
        "key",
        "client_ca",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
        SECRET,
    ]);
    let headers = mapping(&[
        "X-Frame-Options",
        "X-Content-Type-Options",
        "X-XSS-Protection",
        "Server",
        SECRET,
    ]);
    let users = mapping(&["john", "a:b", SECRET, "SE/CRET:b"]);
    let http2 = prop_oneof![3 => select(vec!["true", "false"]).prop_map(str::to_owned), 1 => any_value()];
    (tls, http2, headers, users, any_value()).prop_map(|(tls, http2, headers, users, rate_limit)| {
        format!(
            "tls_server_config: {tls}\nhttp_server_config: {{http2: {http2}, headers: {headers}}}\n\
             basic_auth_users: {users}\nrate_limit: {rate_limit}\n"
        )
    })
}

/// Without the file of a key, which would be read.
const SETTINGS: &[&str] = &[
    "blaine",
    "community_id",
    "api_key",
    "server_ids",
    "api_version",
    "api_url",
    "api_timeout",
    "cache_ttl",
    "max_stale",
    "requests_per_minute",
    "allow_http",
    "v2",
    "25s",
    "1,2",
    "https://",
];

/// A file of communities with the right structure, with values that are mostly invalid.
fn any_communities() -> impl Strategy<Value = String> {
    let alias = prop_oneof![
        3 => "[a-c.]{1,2}",
        1 => Just(SECRET.to_owned()),
    ];
    let value = prop_oneof![
        select(SETTINGS.to_vec()).prop_map(str::to_owned),
        Just(SECRET.to_owned()),
        Just(format!("1={SECRET}")),
        Just(format!("1={SECRET},1")),
        "[1-4]",
    ];
    let key = prop_oneof![
        8 => select(SETTINGS.to_vec()),
        1 => Just(SECRET),
    ];
    let setting = (key, value).prop_map(|(key, value)| format!("  {key}: {value}\n"));
    let settings = prop::collection::vec(setting, 0..4).prop_map(|settings| settings.concat());
    let community = (alias, any::<bool>(), settings).prop_map(|(alias, is_whole, settings)| {
        let least = if is_whole {
            "  api_version: v2\n  api_key: k\n"
        } else {
            ""
        };
        format!("{alias}:\n{least}{settings}")
    });
    prop::collection::vec(community, 1..4).prop_map(|communities| communities.concat())
}

fn check(bodies: &[&[u8]]) -> Result<(), TestCaseError> {
    check_scrape(&promises::answers(bodies))
}

fn check_scrape(scrape: &promises::Scrape) -> Result<(), TestCaseError> {
    let promises::Scrape { classic, open_metrics } = scrape;
    prop_assert!(parse_prometheus(classic).is_ok(), "{}", classic);
    prop_assert!(
        parse_openmetrics(open_metrics).is_ok(),
        "{:?}\n{}",
        parse_openmetrics(open_metrics).err(),
        open_metrics
    );
    Ok(())
}

proptest! {
    #[test]
    #[ignore = "slow"]
    fn any_json_can_be_answered(json in any_json()) {
        check(&[json.to_string().as_bytes()])?;
    }

    #[test]
    #[ignore = "slow"]
    fn any_list_of_anything_can_be_answered(json in any_answer()) {
        let body = json.to_string();
        prop_assert!(Calls::decode(body.as_bytes(), &LabelTexts::default()).is_ok());
        check(&[body.as_bytes()])?;
    }

    #[test]
    fn an_answer_reads_the_same_in_both_passes(lists in prop::collection::vec(any_almost_items(), 3), count in any_json()) {
        let answer = json!({"activeCalls": lists[0], "emergencyCalls": lists[1], "closedCalls": lists[2], "ClosedCallCount": count});
        promises::decode::<Calls>(odd_text(&answer).as_bytes());
        promises::decode::<Units>(odd_text(&lists[0]).as_bytes());
    }

    #[test]
    #[ignore = "slow"]
    fn any_answers_in_a_row_can_be_answered(answers in prop::collection::vec(any_calls(), 2..6)) {
        let bodies: Vec<_> = answers.iter().map(Value::to_string).collect();
        check(&bodies.iter().map(String::as_bytes).collect::<Vec<_>>())?;
    }

    #[test]
    #[ignore = "slow"]
    fn any_units_in_a_row_can_be_answered(answers in prop::collection::vec(any_units(), 1..6), other in any_json()) {
        let bodies: Vec<_> = answers.iter().chain([&other]).map(Value::to_string).collect();
        let bodies: Vec<_> = bodies.iter().map(String::as_bytes).collect();
        for count in 1..=bodies.len() {
            check_scrape(&promises::unit_answers(&bodies[..count]))?;
        }
    }

    #[test]
    #[ignore = "slow"]
    fn any_bytes_can_be_answered(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        check(&[&bytes])?;
    }

    #[test]
    fn a_truncated_answer_is_refused(json in any_answer(), cut in 0.0..1.0) {
        let body = json.to_string();
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "an index into a short text")]
        let end = (body.len() as f64 * cut) as usize;
        prop_assert!(Calls::decode(&body.as_bytes()[..end], &LabelTexts::default()).is_err());
    }

    #[test]
    fn any_client_is_answered(accept in any_lists("[ -~\t]{0,60}")) {
        promises::negotiation(&headers(accept.into_iter().map(|text| (ACCEPT, text))));
    }

    #[test]
    fn any_rate_limit_ends(fields in prop::collection::vec((any_reset(), any_reset_text()), 0..4)) {
        promises::rate_limit(&headers(fields));
    }

    #[test]
    fn a_rate_limit_lasts_for_the_seconds_in_its_header(name in any_reset(), seconds in 0_u64..10_000) {
        let pause = promises::rate_limit(&headers([(name, seconds.to_string())]));
        prop_assert_eq!(pause, Duration::from_secs(seconds.clamp(1, 3600)));
    }

    #[test]
    fn a_rate_limit_lasts_until_the_date_in_its_header(from_today in -5_000_i64..5_000) {
        let time = Timestamp::from_second(i64::try_from(TODAY).unwrap() + from_today).unwrap();
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap();
        let pause = promises::rate_limit(&headers([(HeaderName::from_static("retry-after"), date)]));
        prop_assert_eq!(pause, Duration::from_secs(from_today.clamp(1, 3600).unsigned_abs()));
    }

    #[test]
    fn any_web_configuration_is_read_or_refused(text in any_yaml(SECTIONS)) {
        promises::web_config(&text);
    }

    #[test]
    fn any_sections_are_read_or_refused(text in any_sections()) {
        promises::web_config(&text);
    }

    #[test]
    fn any_file_of_communities_is_read_or_refused(text in any_yaml(SETTINGS)) {
        promises::communities(&text);
    }

    #[test]
    fn any_communities_are_read_or_refused(text in any_communities()) {
        promises::communities(&text);
    }
}
