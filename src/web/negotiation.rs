//! Which format and which encoding a client wants: `Accept` and `Accept-Encoding`.
//!
//! By [RFC 9110, section 12.5](https://www.rfc-editor.org/rfc/rfc9110#section-12.5): the most
//! specific range that fits gives the quality, which is 1 where none is said; 0 excludes. No request
//! is refused: a client that accepts neither format gets the classic one, uncompressed. No library chooses
//! by media type parameters such as `version`, so this is written here.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams as _, names};

use crate::exposition::Format;

const VERSION: Name = Name::new_unchecked("version");

/// How a client wants the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The format to answer in.
    pub format: Format,
    /// Whether to compress the answer.
    pub is_gzip: bool,
}

impl Negotiated {
    /// What the headers of a request say.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            format: format(headers),
            is_gzip: accepts_gzip(headers),
        }
    }
}

/// The format to answer in: OpenMetrics where it is wanted no less than the classic one.
fn format(headers: &HeaderMap) -> Format {
    let ranges: Vec<MediaType> = texts(headers, ACCEPT)
        .flat_map(|text| MediaTypeList::new(text).flatten())
        .collect();
    let quality = |format| {
        let fitting = ranges
            .iter()
            .filter_map(|range| Some((specificity(range, format)?, media_quality(range)?)));
        // Of equally specific ranges, the kindest.
        let best = fitting.max_by(|(one, one_quality), (other, other_quality)| {
            one.cmp(other).then(one_quality.total_cmp(other_quality))
        });
        best.map_or(0.0, |(_, quality)| quality)
    };
    let open_metrics = quality(Format::OpenMetrics);
    if open_metrics > 0.0 && open_metrics >= quality(Format::Text) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Whether to compress the answer.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let codings: Vec<(&str, f32)> = texts(headers, ACCEPT_ENCODING)
        .flat_map(|text| text.split(','))
        .filter_map(coding)
        .collect();
    let quality = |names: &[&str]| {
        let named = codings
            .iter()
            .find(|(coding, _)| names.iter().any(|name| coding.eq_ignore_ascii_case(name)));
        named.map(|(_, quality)| *quality)
    };
    let gzip = quality(&["gzip", "x-gzip"]).or_else(|| quality(&["*"])).unwrap_or(0.0);
    gzip > 0.0 && gzip >= quality(&["identity"]).unwrap_or(0.0)
}

/// How exactly `range` describes `format`; `None` where it does not.
fn specificity(range: &MediaType, format: Format) -> Option<u8> {
    let (ty, subty, version) = match format {
        Format::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        Format::Text => ("text", "plain", "0.0.4"),
    };
    match (range.ty.as_str(), range.subty.as_str()) {
        // With a suffix it is another type, though `subty` lacks it.
        _ if range.suffix.is_some() => None,
        // Who takes anything gets what every tool reads.
        ("*", "*") => (format == Format::Text).then_some(0),
        (range, _) if !range.eq_ignore_ascii_case(ty) => None,
        (_, "*") => Some(1),
        (_, range) if !range.eq_ignore_ascii_case(subty) => None,
        _ => match range.get_param(VERSION) {
            None => Some(2),
            Some(wanted) => (wanted.unquoted_str() == version).then_some(3),
        },
    }
}

fn media_quality(range: &MediaType) -> Option<f32> {
    range
        .get_param(names::Q)
        .map_or(Some(1.0), |quality| parse_quality(quality.as_str()))
}

/// One item of `Accept-Encoding`.
fn coding(item: &str) -> Option<(&str, f32)> {
    let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
    let quality = match parameters.trim().split_once('=') {
        Some((name, quality)) if name.trim().eq_ignore_ascii_case("q") => parse_quality(quality.trim())?,
        _ => 1.0,
    };
    Some((coding.trim(), quality))
}

/// A quality from 0 to 1; an item with anything else is ignored.
fn parse_quality(text: &str) -> Option<f32> {
    text.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))
}

/// The texts of a header that can come several times.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| HeaderValue::from_str(line).expect("a header value");
        lines.iter().map(|line| (name.clone(), value(line))).collect()
    }

    #[track_caller]
    fn assert_format(accept: &str, expected: Format) {
        assert_eq!(format(&headers(&ACCEPT, &[accept])), expected, "{accept}");
    }

    #[track_caller]
    fn assert_gzip(accept_encoding: &str, expected: bool) {
        let headers = headers(&ACCEPT_ENCODING, &[accept_encoding]);
        assert_eq!(accepts_gzip(&headers), expected, "{accept_encoding}");
    }

    #[test]
    fn prometheus_gets_openmetrics() {
        for accept in [
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"",
            "text/plain, application/openmetrics-text",
            "application/*",
            "application/openmetrics-text;q=0.6, application/openmetrics-text;q=0.1, text/plain;q=0.3",
            "text/plain;q=0, application/openmetrics-text;q=0.001",
        ] {
            assert_format(accept, Format::OpenMetrics);
        }
    }

    #[test]
    fn everyone_else_gets_the_classic_format() {
        assert_eq!(format(&HeaderMap::new()), Format::Text);
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0, */*;q=0.1",
            "application/*, application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=7",
            "application/json",
            ";;;,,,/",
        ] {
            assert_format(accept, Format::Text);
        }
    }

    #[test]
    fn the_most_specific_range_gives_the_quality() {
        for accept in [
            "text/plain;version=0.0.4;q=0.1, text/plain, application/openmetrics-text;q=0.5",
            "text/plain;q=0.1, text/*, application/openmetrics-text;q=0.5",
            "text/*;q=0.1, */*, application/openmetrics-text;q=0.5",
            "text/*;q=0.5, application/*;q=0.5",
            "text/plain;q=0.5, application/*;q=0.1, application/openmetrics-text",
            "text/plain;version=0.0.1, text/html, application/openmetrics-text;q=0.1",
        ] {
            assert_format(accept, Format::OpenMetrics);
        }
        for accept in [
            "text/plain;q=0.5, application/openmetrics-text, application/openmetrics-text;version=1.0.0;q=0.1",
            "text/plain;q=0.5, application/*, application/openmetrics-text;q=0.1",
            "text/*, application/openmetrics-text;q=0.5",
            "*/*, application/openmetrics-text;q=0.5",
            "text/plain;charset=utf-8, application/openmetrics-text;q=0.5",
        ] {
            assert_format(accept, Format::Text);
        }
    }

    #[test]
    fn qualities_are_compared_to_three_digits_whatever_their_case() {
        assert_format(
            "text/plain;q=0.998, application/openmetrics-text; Q=0.999",
            Format::OpenMetrics,
        );
        assert_format("text/plain;Q=0.999, application/openmetrics-text;q=0.998", Format::Text);
        assert_format("text/plain;q=0, application/openmetrics-text;q=0.000", Format::Text);
        assert_format(
            "text/plain;q=0.5, application/openmetrics-text;q=1.",
            Format::OpenMetrics,
        );
        assert_gzip("gzip;Q=0.998, identity;q=0.999", false);
        assert_gzip("gzip;q=0.999, identity; Q=0.998", true);
        assert_gzip("gzip;q=0.000", false);
        assert_gzip("gzip;q=1.000, identity", true);
    }

    #[test]
    fn a_header_may_come_several_times() {
        let accept = headers(&ACCEPT, &["text/plain;q=0.5", "", "application/openmetrics-text"]);
        assert_eq!(format(&accept), Format::OpenMetrics);
        let accept = headers(&ACCEPT, &["application/openmetrics-text;q=0.5", "text/plain"]);
        assert_eq!(format(&accept), Format::Text);
        assert!(accepts_gzip(&headers(&ACCEPT_ENCODING, &["br", "gzip"])));
        assert!(!accepts_gzip(&headers(&ACCEPT_ENCODING, &["gzip;q=0.5", "identity"])));
    }

    #[test]
    fn a_type_with_a_suffix_is_another_type() {
        for accept in [
            "application/openmetrics-text+xml",
            "application/*+xml",
            "text/plain+xml;q=0.1, text/plain;q=0.2, application/openmetrics-text;q=0.1",
        ] {
            assert_format(accept, Format::Text);
        }
        assert_format(
            "text/plain+xml, text/plain;q=0.1, application/openmetrics-text;q=0.2",
            Format::OpenMetrics,
        );
    }

    #[test]
    fn gzip_is_sent_only_where_it_is_wanted() {
        for accept_encoding in [
            "gzip",
            "GZIP",
            "x-gzip",
            "X-GZip;q=0.5, *;q=0",
            "gzip;q=0.5, identity;q=0.5",
            "*;q=0.5, identity;q=0.4",
            "gzip;q=0.5, *",
            "deflate, gzip;q=0.5",
            "*",
            "gzip;q=0.2, identity;q=0.1",
            "identity;q=0, *",
        ] {
            assert_gzip(accept_encoding, true);
        }
        for accept_encoding in [
            "",
            "identity",
            "deflate, br",
            "gzip;q=0",
            "gzip ; q = 0",
            "*;q=0",
            "gzip;q=0, *",
            "gzip;q=0.1, identity",
            "gzip;q=x",
            "x-gzip;q=0, *",
            "*;q=0.4, identity;q=0.5",
            "identity;q=0, br",
        ] {
            assert_gzip(accept_encoding, false);
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
