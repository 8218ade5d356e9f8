use std::time::Instant;

use proptest::prelude::*;
use reqwest::header::{HeaderName, HeaderValue};

use super::*;

/// 2026-11-23T00:00:00Z.
const TODAY: u64 = 1_795_392_000;

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix: Duration::from_secs(TODAY),
    }
}

/// The pause in seconds that a 429 with these headers asks for.
fn pause(headers: &[(&'static str, &str)]) -> u64 {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    match FetchError::RateLimited(Retry::from_headers(&headers)).pause(now()) {
        PauseRequest::For(Scope::Endpoint, duration) => duration.as_secs(),
        other => panic!("a rate limit pauses the endpoint, not {other:?}"),
    }
}

#[test]
fn a_rate_limit_lasts_as_long_as_the_api_says() {
    assert_eq!(pause(&[("retry-after", "17")]), 17);
    assert_eq!(pause(&[("retry-after", "Mon, 23 Nov 2026 00:00:42 GMT")]), 42);
    assert_eq!(pause(&[("ratelimit-reset", "18")]), 18);
    assert_eq!(pause(&[("x-ratelimit-reset", "19")]), 19);
    assert_eq!(pause(&[("x-ratelimit-reset", "1795392020")]), 20);
}

#[test]
fn the_first_header_that_can_be_read_counts() {
    let all = [
        ("x-ratelimit-reset", "19"),
        ("ratelimit-reset", "18"),
        ("retry-after", "17"),
    ];
    assert_eq!(pause(&all), 17);
    assert_eq!(pause(&all[..2]), 18);
    assert_eq!(pause(&[("retry-after", "soon"), ("x-ratelimit-reset", "19")]), 19);
    assert_eq!(pause(&[("retry-after", "NaN")]), 60);
    assert_eq!(pause(&[]), 60);
}

#[test]
fn a_rate_limit_lasts_between_a_second_and_an_hour() {
    for past in [
        "0",
        "-5",
        "Sun, 22 Nov 2026 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "-inf",
    ] {
        assert_eq!(pause(&[("retry-after", past)]), 1, "{past}");
    }
    for absurd in [
        "3601",
        "1e300",
        "inf",
        "99999999999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        assert_eq!(pause(&[("retry-after", absurd)]), 3600, "{absurd}");
    }
}

#[test]
fn a_large_number_is_a_point_in_time() {
    for name in ["retry-after", "ratelimit-reset", "x-ratelimit-reset"] {
        assert_eq!(pause(&[(name, "1000000000")]), 3600, "{name}: seconds");
        assert_eq!(pause(&[(name, "1000000001")]), 1, "{name}: long past");
        assert_eq!(pause(&[(name, "1795392030")]), 30, "{name}");
        assert_eq!(pause(&[(name, "100000000000")]), 3600, "{name}: the year 5138");
        assert_eq!(pause(&[(name, "100000000001")]), 1, "{name}: 1973, in milliseconds");
        assert_eq!(pause(&[(name, "1795392030000")]), 30, "{name}: milliseconds");
        assert_eq!(pause(&[(name, "1795392030999.9")]), 30, "{name}: milliseconds");
    }
}

#[test]
fn a_point_in_time_is_compared_with_the_date_of_the_answer() {
    // An hour and more before this machine's clock.
    let date = ("date", "Sun, 22 Nov 2026 22:00:00 GMT");
    assert_eq!(pause(&[date, ("retry-after", "Sun, 22 Nov 2026 22:00:40 GMT")]), 40);
    assert_eq!(pause(&[date, ("x-ratelimit-reset", "1795384850")]), 50);
    assert_eq!(pause(&[date, ("x-ratelimit-reset", "1795384850000")]), 50);
    assert_eq!(pause(&[date, ("retry-after", "60")]), 60);
    let unreadable = ("date", "yesterday");
    assert_eq!(pause(&[unreadable, ("x-ratelimit-reset", "1795392030")]), 30);
}

#[test]
fn only_a_503_says_when_its_trouble_ends() {
    let pause = |status: u16, header: (&'static str, &str)| {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(header.0), header.1.parse().unwrap())]);
        FetchError::from_status(StatusCode::from_u16(status).unwrap(), &headers).pause(now())
    };
    let back_off = |seconds| PauseRequest::BackOff(Duration::from_secs(seconds));
    for (text, seconds) in [
        ("600", 600),
        ("0", 1),
        ("86400", 3600),
        ("Mon, 23 Nov 2026 00:10:00 GMT", 600),
        ("soon", 0),
    ] {
        assert_eq!(pause(503, ("retry-after", text)), back_off(seconds), "{text}");
        assert_eq!(pause(500, ("retry-after", text)), back_off(0), "{text}");
    }
    assert_eq!(pause(503, ("x-ratelimit-reset", "600")), back_off(0));
}

#[test]
fn a_text_like_the_apis_own_is_recognised() {
    for text in ["NOT FOUND", "COMMUNITY SUSPENDED", "ABC", &"A".repeat(64)] {
        assert!(is_api_string(text), "{text}");
    }
    for text in [
        "",
        "AB",
        "Not Found",
        "A  B",
        " ABC",
        "ABC ",
        "ABC 1",
        "ABC\nDEF",
        "ABC\"",
        "TIMEOUT",
        "RATE LIMITED",
        &"A".repeat(65),
    ] {
        assert!(!is_api_string(text), "{text}");
    }
}

#[test]
fn a_pause_is_as_wide_as_what_was_refused() {
    let scope = |error: FetchError| match error.pause(now()) {
        PauseRequest::For(scope, duration) if duration == Duration::from_secs(300) => Some(scope),
        _ => None,
    };
    for (text, expected) in [
        ("API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY", Scope::Endpoint),
        ("API IS NOT ENABLED FOR THIS COMMUNITY", Scope::Account),
        ("INVALID API KEY", Scope::Account),
        ("INVALID REQUEST TYPE", Scope::Endpoint),
        ("VERSION PLUS REQUIRED", Scope::Account),
    ] {
        assert_eq!(scope(FetchError::from_text(text).unwrap()), Some(expected), "{text}");
    }
    assert_eq!(scope(FetchError::EndpointGone), Some(Scope::Endpoint));
    assert_eq!(scope(FetchError::Unauthorized), Some(Scope::Account));
    assert_eq!(scope(FetchError::UnknownServer), Some(Scope::Server));
    assert_eq!(scope(FetchError::Timeout), None);
}

#[test]
fn labels_known_in_advance_are_all_different() {
    let mut all: Vec<_> = labels().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), KNOWN_ERRORS.len() + FIXED_LABELS.len());
}

#[test]
fn a_foreign_text_becomes_one_short_line() {
    let text = printable(&format!("a\nb\u{1b}[31m{}", "x".repeat(1000)));
    assert!(text.starts_with("a b [31mx"));
    assert_eq!(text.chars().count(), 200);
}

/// Mostly what means something: numbers of any size, dates, and words that numbers are read from.
fn any_header_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<f64>().prop_map(|number| number.to_string().into_bytes()),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        "[-+]?[0-9]{0,40}(\\.[0-9]{0,3})?(e-?[0-9]{1,4})?".prop_map(String::into_bytes),
        "(Mon|Sun), [0-9]{2} (Jan|Nov) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
        prop::sample::select(vec!["inf", "-inf", "NaN", "infinity", ""]).prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec!["retry-after", "ratelimit-reset", "x-ratelimit-reset"]);
    prop::collection::vec((name, any_header_text()), 0..6).prop_map(|headers| {
        let mut map = HeaderMap::new();
        for (name, text) in headers {
            // Some bytes cannot be in a header.
            if let Ok(value) = HeaderValue::from_bytes(&text) {
                map.append(name, value);
            }
        }
        map
    })
}

proptest! {
    #[test]
    fn whatever_the_headers_say_a_rate_limit_lasts_between_a_second_and_an_hour(headers in any_headers()) {
        let pause = FetchError::RateLimited(Retry::from_headers(&headers)).pause(now());
        let PauseRequest::For(Scope::Endpoint, duration) = pause else {
            panic!("a rate limit pauses the endpoint, not {pause:?}");
        };
        prop_assert!((1..=3600).contains(&duration.as_secs()) && duration <= Duration::from_secs(3600), "{duration:?}");
    }

    #[test]
    fn seconds_are_taken_as_they_are(seconds in 1_u64..=3600) {
        for name in ["retry-after", "ratelimit-reset", "x-ratelimit-reset"] {
            prop_assert_eq!(pause(&[(name, &seconds.to_string())]), seconds);
        }
    }
}

#[test]
fn an_error_of_tls_names_neither_hosts_nor_certificates() {
    use rustls::{CertificateError as Certificate, Error, PeerIncompatible};
    let name = Certificate::NotValidForNameContext {
        expected: "cad.example.org".try_into().unwrap(),
        presented: vec!["DnsName(\"gateway.example.org\")".to_owned()],
    };
    assert!(name.to_string().contains("example.org"));
    for (error, reason) in [
        (Error::InvalidCertificate(name), "its certificate is for another name"),
        (
            Error::InvalidCertificate(Certificate::UnknownIssuer),
            "its certificate is of an unknown authority",
        ),
        (
            Error::InvalidCertificate(Certificate::Expired),
            "its certificate has expired",
        ),
        (Error::General("cad.example.org".to_owned()), "the handshake has failed"),
        (
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            "it shares no version or cipher suite of TLS",
        ),
    ] {
        let error = FetchError::Tls(tls_reason(&error));
        assert_eq!(error.to_string(), format!("no trusted connection to the API: {reason}"));
    }
}
