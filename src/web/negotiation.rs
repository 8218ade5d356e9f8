//! Which format a client wants, by `Accept`, and whether compressed, by `Accept-Encoding`.
//!
//! The format is chosen as Go's
//! [expfmt](https://pkg.go.dev/github.com/prometheus/common/expfmt#NegotiateIncludingOpenMetrics) does for most
//! exporters, so that a client gets from this one what it gets from others: of the ranges that name a format, the one with
//! the highest quality counts, and of equal ones the first. Wildcards name none. A version is compared as it is written,
//! so one in quotes is unknown. Differently from Go, a quality of 0 excludes
//! ([RFC 9110, section 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)), and OpenMetrics without a version
//! is 1.0.0. No request is refused: a client that names no format gets the classic one. No library chooses by media type
//! parameters such as `version`, so this is written here.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams as _, names};

use crate::exposition::{Coding, Format};

const VERSION: Name = Name::new_unchecked("version");

/// A format that the exporter writes, as `Accept` names it.
struct Offer {
    name: (&'static str, &'static str),
    version: &'static str,
    format: Format,
    content_type: &'static str,
}

const TEXT: Offer = Offer {
    name: ("text", "plain"),
    version: "0.0.4",
    format: Format::Text,
    content_type: "text/plain; version=0.0.4; charset=utf-8",
};

/// Of two with the same name, the first is for clients that name no version.
const OFFERS: [Offer; 3] = [
    TEXT,
    Offer {
        name: ("application", "openmetrics-text"),
        version: "1.0.0",
        format: Format::OpenMetrics,
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
    },
    // The draft, which Prometheus asked for before 2.23. It differs in nothing that is written here.
    Offer {
        name: ("application", "openmetrics-text"),
        version: "0.0.1",
        format: Format::OpenMetrics,
        content_type: "application/openmetrics-text; version=0.0.1; charset=utf-8",
    },
];

/// How a client wants the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The format to answer in.
    pub format: Format,
    /// The exact value of `Content-Type`. Prometheus 3 fails a target that sends another one.
    pub content_type: &'static str,
    /// How to compress the answer.
    pub coding: Coding,
}

impl Negotiated {
    /// What the headers of a request say.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let Offer {
            format, content_type, ..
        } = *offer(headers);
        Self {
            format,
            content_type,
            coding: coding(headers),
        }
    }
}

/// What to answer with.
fn offer(headers: &HeaderMap) -> &'static Offer {
    let texts = headers.get_all(ACCEPT).into_iter();
    let wanted = texts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| MediaTypeList::new(text).flatten())
        .filter_map(|range| {
            Some((
                media_quality(&range).filter(|quality| *quality > 0.0)?,
                named_by(&range)?,
            ))
        });
    let best = wanted.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or(&TEXT, |(_, offer)| offer)
}

/// The offer that a range names.
fn named_by(range: &MediaType) -> Option<&'static Offer> {
    let version = range.get_param(VERSION);
    OFFERS.iter().find(|offer| {
        let (ty, subty) = offer.name;
        range.ty.as_str().eq_ignore_ascii_case(ty)
            && range.subty.as_str().eq_ignore_ascii_case(subty)
            // With a suffix it is another type, though `subty` lacks it.
            && range.suffix.is_none()
            && version.is_none_or(|version| version.as_str() == offer.version)
    })
}

/// gzip if the client names it, and does not prefer a text that is not compressed.
fn coding(headers: &HeaderMap) -> Coding {
    let texts = headers.get_all(ACCEPT_ENCODING).into_iter();
    let codings: Vec<_> = texts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|item| {
            let (name, parameter) = item.split_once(';').unwrap_or((item, "q=1"));
            let quality: f32 = parameter.trim().strip_prefix("q=")?.parse().ok()?;
            Some((name.trim(), quality))
        })
        .collect();
    let quality = |wanted: &str| {
        codings
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map_or(0.0, |(_, quality)| *quality)
    };
    let gzip = quality("gzip");
    if gzip > 0.0 && gzip >= quality("identity") {
        Coding::Gzip
    } else {
        Coding::Identity
    }
}

/// The quality of a range, from 0 to 1; a range with anything else is ignored.
fn media_quality(range: &MediaType) -> Option<f32> {
    let Some(quality) = range.get_param(names::Q) else {
        return Some(1.0);
    };
    let quality = quality.as_str().parse().ok();
    quality.filter(|quality| (0.0..=1.0).contains(quality))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OPEN_METRICS: &str = OFFERS[1].content_type;
    const DRAFT: &str = OFFERS[2].content_type;

    #[track_caller]
    fn assert_type(accept: &str, expected: &str) {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).expect("a header value"))]);
        let negotiated = Negotiated::from_headers(&headers);
        assert_eq!(negotiated.content_type, expected, "{accept}");
        assert_eq!(
            negotiated.format == Format::OpenMetrics,
            expected != TEXT.content_type,
            "{accept}"
        );
    }

    #[test]
    fn prometheus_gets_openmetrics() {
        for accept in [
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=1.0.0",
            "application/openmetrics-text;q=0.6, application/openmetrics-text;q=0.1, text/plain;q=0.3",
            "text/plain;q=0, application/openmetrics-text;q=0.001",
        ] {
            assert_type(accept, OPEN_METRICS);
        }
    }

    #[test]
    fn everyone_else_gets_the_classic_format() {
        assert_eq!(offer(&HeaderMap::new()).format, Format::Text);
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0, */*;q=0.1",
            "application/*, application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=7",
            "application/json",
            "application/*",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            "application/openmetrics-text; version=\"1.0.0\"",
            "application/openmetrics-text; version=\"1.0.0\", text/plain;q=0.1",
            ";;;,,,/",
        ] {
            assert_type(accept, TEXT.content_type);
        }
    }

    #[test]
    fn the_draft_of_openmetrics_is_answered_as_such() {
        for accept in [
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1",
        ] {
            assert_type(accept, DRAFT);
        }
    }

    #[test]
    fn of_equal_qualities_the_first_counts() {
        for (first, first_type) in [
            ("text/plain", TEXT.content_type),
            ("text/plain;version=0.0.4", TEXT.content_type),
            ("application/openmetrics-text;version=1.0.0", OPEN_METRICS),
            ("application/openmetrics-text;version=0.0.1", DRAFT),
        ] {
            for second in [
                "text/plain",
                "application/openmetrics-text",
                "application/openmetrics-text;version=0.0.1",
                "*/*",
            ] {
                assert_type(&format!("{first}, {second}"), first_type);
                assert_type(&format!("*/*, {first};q=0.5, {second};q=0.5"), first_type);
            }
        }
    }

    #[test]
    fn qualities_are_compared_to_three_digits_whatever_their_case() {
        let open_metrics = "application/openmetrics-text";
        assert_type(&format!("text/plain;q=0.998, {open_metrics}; Q=0.999"), OPEN_METRICS);
        assert_type(
            &format!("text/plain;Q=0.999, {open_metrics};q=0.998"),
            TEXT.content_type,
        );
        assert_type(&format!("text/plain;q=0, {open_metrics};q=0.000"), TEXT.content_type);
        assert_type(&format!("text/plain;q=0.5, {open_metrics};q=1."), OPEN_METRICS);
    }

    #[test]
    fn a_header_may_come_several_times() {
        for (lines, expected) in [
            (["text/plain;q=0.5", "", "application/openmetrics-text"], OPEN_METRICS),
            (
                ["application/openmetrics-text;q=0.5", "", "text/plain"],
                TEXT.content_type,
            ),
        ] {
            let headers = lines.map(|line| (ACCEPT, HeaderValue::from_static(line)));
            let headers: HeaderMap = headers.into_iter().collect();
            assert_eq!(Negotiated::from_headers(&headers).content_type, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_type_with_a_suffix_is_another_type() {
        for accept in [
            "application/openmetrics-text+xml",
            "application/*+xml",
            "text/plain+xml;q=0.1, text/plain;q=0.2, application/openmetrics-text;q=0.1",
        ] {
            assert_type(accept, TEXT.content_type);
        }
        assert_type(
            "text/plain+xml, text/plain;q=0.1, application/openmetrics-text;q=0.2",
            OPEN_METRICS,
        );
    }

    #[test]
    fn gzip_is_for_those_that_ask_for_it() {
        for (accepted, expected) in [
            ("gzip", Coding::Gzip),
            ("deflate, GZIP", Coding::Gzip),
            ("br, gzip;q=0.8, *;q=0.1", Coding::Gzip),
            ("gzip; q=0.5, identity;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("identity, gzip;q=0.5", Coding::Identity),
            ("gzip;q=nonsense", Coding::Identity),
            ("xgzip, br", Coding::Identity),
            ("", Coding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(Negotiated::from_headers(&headers).coding, expected, "{accepted}");
        }
        assert_eq!(Negotiated::from_headers(&HeaderMap::new()).coding, Coding::Identity);
    }
}
