use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::ApiVersion;
use crate::report::{CommunityReport, FeedReport, FeedStatus, RequestCounts, ServerReport};
use crate::snapshot::{CallSnapshot, Priority};
use crate::tracker::{CallStats, Oldest, UnitStats};

/// A report of servers with these names, each with such an error.
fn report(error: &str, names: &[&str]) -> Arc<Report> {
    let servers = (1..).zip(names).map(|(id, name): (u32, _)| {
        let counts = RequestCounts {
            errors: BTreeMap::from([(Cow::Owned(error.to_owned()), 1)]),
            ..RequestCounts::default()
        };
        let calls = FeedReport {
            status: FeedStatus {
                retry_at: Some(Duration::from_micros(1_795_392_000_123_456)),
                ttl: Duration::from_secs(25),
                counts,
                ..FeedStatus::default()
            },
            snapshot: None,
            stats: CallStats::default(),
        };
        ServerReport {
            id: id.to_string(),
            name: Some((*name).to_owned()),
            api_version: ApiVersion::V2,
            ..ServerReport::of_calls(calls)
        }
    });
    Arc::new(Report {
        community: CommunityReport {
            servers: servers.collect(),
            at: Clock::system().now(),
        },
        exporter: None,
    })
}

#[test]
fn quotes_backslashes_and_line_breaks_are_escaped() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text = render(&report("a\"b\\c\nd", &["e\"f\\g\nh"]), format).unwrap();
        assert!(text.contains(r#",error="a\"b\\c\nd"} 1"#), "{text}");
        assert!(text.contains(r#",name="e\"f\\g\nh",api_version="v2"} 1"#), "{text}");
    }
}

#[test]
fn the_formats_differ_in_what_the_specifications_demand() {
    let report = report("E", &["Main", "Events", "Training"]);
    let classic = render(&report, Format::Text).unwrap();
    let open_metrics = render(&report, Format::OpenMetrics).unwrap();
    assert!(classic.contains("# TYPE sonorancad_api_requests_total counter\nsonorancad_api_requests_total{"));
    assert!(open_metrics.contains("# TYPE sonorancad_api_requests counter\nsonorancad_api_requests_total{"));
    assert!(classic.contains("# TYPE sonorancad_server_info gauge\nsonorancad_server_info{"));
    assert!(open_metrics.contains("# TYPE sonorancad_server info\nsonorancad_server_info{"));
    assert!(!classic.contains("# EOF"));
    assert!(open_metrics.ends_with("\n# EOF\n"));
    let samples = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(samples(&classic), samples(&open_metrics));
    let infos = samples(&open_metrics);
    let infos = infos
        .iter()
        .filter(|sample| sample.starts_with("sonorancad_server_info{"));
    assert_eq!(infos.count(), 3, "one for each server, in either format");
}

#[test]
fn points_in_time_are_shown_to_the_millisecond() {
    let text = render(&report("E", &["Main", "Events", "Training"]), Format::Text).unwrap();
    assert!(
        text.contains(
            "sonorancad_api_retry_timestamp_seconds{server_id=\"1\",api_endpoint=\"calls\"} 1795392000.123\n"
        ),
        "{text}"
    );
    assert!(text.contains("sonorancad_last_success_timestamp_seconds{server_id=\"1\",api_endpoint=\"calls\"} 0.0\n"));
}

/// Every change that a scrape can find, one after the other.
const CHANGES: [fn(&mut CommunityReport); 16] = [
    |report| report.servers[0].id.push('0'),
    |report| report.servers[0].name = None,
    |report| report.servers[0].api_version = ApiVersion::V1,
    |report| report.servers[0].calls.status.is_up = true,
    |report| report.servers[0].calls.status.last_success = Some(Duration::from_secs(1)),
    |report| report.servers[0].calls.status.retry_at = None,
    |report| report.servers[0].calls.status.ttl = Duration::from_secs(60),
    |report| report.servers[0].calls.status.counts.requests += 1,
    |report| {
        *report.servers[0]
            .calls
            .status
            .counts
            .errors
            .entry("E".into())
            .or_default() += 1;
    },
    |report| {
        let counts = &mut report.servers[0].calls.status.counts;
        counts.request_seconds.observe(Duration::from_secs(1));
    },
    |report| report.servers[0].calls.snapshot = Some(Arc::default()),
    |report| {
        report.servers[0].calls.snapshot = Some(Arc::new(CallSnapshot {
            closed_stored: Some(1),
            ..CallSnapshot::default()
        }));
    },
    |report| {
        let stats = &mut report.servers[0].calls.stats;
        stats.oldest_pending[Priority::ALL[0]] = Oldest::Since(report.at.instant);
    },
    |report| report.at.unix += Duration::from_secs(3600),
    |report| {
        report.servers[0].units = Some(FeedReport {
            status: FeedStatus::default(),
            snapshot: None,
            stats: UnitStats::default(),
        });
    },
    |report| {
        let removed = report.servers.pop();
        assert!(removed.is_some());
    },
];

#[test]
fn nothing_that_has_changed_is_shown_as_it_was() {
    let renderer = Renderer::default();
    let mut report = Report::clone(&report("E", &["Main", "Events"]));
    for (index, change) in CHANGES.iter().enumerate() {
        for format in [Format::Text, Format::OpenMetrics] {
            renderer.render(report.clone(), format, Coding::Identity).unwrap();
        }
        let before = report.clone();
        change(&mut report.community);
        let expected = |format| render(&Arc::new(report.clone()), format).unwrap();
        for format in [Format::Text, Format::OpenMetrics] {
            let written = renderer.render(report.clone(), format, Coding::Identity).unwrap();
            assert!(
                String::from_utf8(written).unwrap() == expected(format),
                "change {index} is not shown"
            );
            let shown_before = render(&Arc::new(before.clone()), format).unwrap();
            assert!(shown_before != expected(format), "change {index} changes nothing");
        }
    }
}

#[test]
fn a_family_is_written_once() {
    let text = render(&report("E", &["Main", "Events", "Training"]), Format::Text).unwrap();
    let mut families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);
}
