//! Which format a client wants, by `Accept`.
//!
//! By [RFC 9110, section 12.5](https://www.rfc-editor.org/rfc/rfc9110#section-12.5): the most
//! specific range that fits gives the quality, which is 1 if none is given; 0 excludes. No request
//! is refused: a client that accepts neither format gets the classic one. No library chooses by media type
//! parameters such as `version`, so this is written here.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use mediatype::{MediaType, MediaTypeList, Name, ReadParams as _, names};

use crate::exposition::Format;

const VERSION: Name = Name::new_unchecked("version");

/// The format to answer in: OpenMetrics if the client accepts it and does not prefer the classic one.
#[must_use]
pub fn negotiate_format(headers: &HeaderMap) -> Format {
    let ranges: Vec<MediaType> = headers
        .get_all(ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| MediaTypeList::new(text).flatten())
        .collect();
    let best_quality = |format| {
        let fitting = ranges
            .iter()
            .filter_map(|range| Some((specificity(range, format)?, quality(range)?)));
        // Of equally specific ranges, the one with the highest quality counts.
        let best = fitting.max_by(|(one, one_quality), (other, other_quality)| {
            one.cmp(other).then(one_quality.total_cmp(other_quality))
        });
        best.map_or(0.0, |(_, quality)| quality)
    };
    let open_metrics = best_quality(Format::OpenMetrics);
    if open_metrics > 0.0 && open_metrics >= best_quality(Format::Text) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// How exactly `range` describes `format`; `None` where it does not.
fn specificity(range: &MediaType, format: Format) -> Option<u8> {
    let (ty, subty, version) = match format {
        Format::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        Format::Text => ("text", "plain", "0.0.4"),
    };
    match (range.ty.as_str(), range.subty.as_str()) {
        // A suffix (`+json`) makes it another type, and `subty` does not include it.
        _ if range.suffix.is_some() => None,
        // A client that takes anything gets the format that every tool reads.
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

/// The quality of a range, from 0 to 1; a range with anything else is ignored.
fn quality(range: &MediaType) -> Option<f32> {
    let Some(quality) = range.get_param(names::Q) else {
        return Some(1.0);
    };
    quality
        .as_str()
        .parse()
        .ok()
        .filter(|quality| (0.0..=1.0).contains(quality))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn assert_format(accept: &str, expected: Format) {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).expect("a header value"))]);
        assert_eq!(negotiate_format(&headers), expected, "{accept}");
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
        assert_eq!(negotiate_format(&HeaderMap::new()), Format::Text);
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
}
