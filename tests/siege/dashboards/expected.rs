//! What the script and the invented exporters imply for each target of each panel.

use super::invented::{available, by_the_minute, hour, last_of_gone, open_a_week_before};
use super::values::{END, OUTAGE, RATE_LIMIT};

/// The time of a query.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// A minute of the script.
    Minute(f64),
    /// While Prometheus scrapes.
    Live,
}

/// The instance that a query is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// The exporter that read the script.
    Exporter,
    /// The invented one with 29 days.
    Invented,
    /// The invented one that has stopped.
    Gone,
    /// All of them.
    All,
}

/// The expected result of a query: values by labels without those of the target, or any result.
#[derive(Debug)]
pub(super) enum Implied {
    Values(Vec<(&'static str, f64)>),
    Something,
}

/// The expected result for the target of a panel.
pub(super) struct Expectation {
    pub(super) title: &'static str,
    pub(super) target: &'static str,
    pub(super) of: Of,
    pub(super) at: At,
    pub(super) implied: Implied,
}

fn at(title: &'static str, target: &'static str, minute: f64, values: &[(&'static str, f64)]) -> Expectation {
    Expectation {
        title,
        target,
        of: Of::Exporter,
        at: At::Minute(minute),
        implied: Implied::Values(values.to_vec()),
    }
}

/// At the end of the script, for another instance.
fn of(of: Of, title: &'static str, target: &'static str, values: &[(&'static str, f64)]) -> Expectation {
    Expectation {
        of,
        ..at(title, target, END, values)
    }
}

fn live(title: &'static str, target: &'static str) -> Expectation {
    Expectation {
        at: At::Live,
        implied: Implied::Something,
        ..at(title, target, END, &[])
    }
}

/// The board of the community's activity. `end` is the script's last minute in Unix time.
pub(super) fn community(end: f64) -> Vec<Expectation> {
    let mut all = now(end);
    all.extend(over_time(end));
    all.extend(units(end));
    all.extend(response());
    all.extend(mix());
    all.extend(servers(end));
    all
}

fn now(end: f64) -> Vec<Expectation> {
    vec![
        at("Open calls", "A", END, &[("", 5.0)]),
        at("Open calls", "A", 99.0, &[("", 1.0)]),
        // In an outage: no number, rather than the last one.
        at("Open calls", "A", OUTAGE, &[]),
        at("Pending calls", "A", END, &[("", 2.0)]),
        at("Pending calls", "A", 99.0, &[("", 0.0)]),
        at("Pending calls", "A", OUTAGE, &[]),
        at("Oldest pending call", "A", END, &[("", 600.0)]),
        at("Oldest pending call", "A", 99.0, &[("", 0.0)]),
        at("Oldest pending call", "A", OUTAGE, &[]),
        at("Priority 1 open", "A", END, &[("", 1.0)]),
        at("Emergency calls", "A", END, &[("", 1.0)]),
        at("Oldest emergency call", "A", END, &[("", 60.0)]),
        at("Oldest emergency call", "A", 99.0, &[("", 0.0)]),
        at("Civil calls", "A", END, &[("", 2.0)]),
        at("New calls", "A", END, &[("", 10.0)]),
        // There was no week before; where there was, it was like this one.
        at("New calls", "B", END, &[("", f64::NAN)]),
        of(Of::Invented, "New calls", "B", &[("", 0.0)]),
        at("Data age", "A", END, &[("", 0.0)]),
        at("Data age", "A", OUTAGE, &[("", 570.0)]),
        of(Of::Gone, "Data age", "A", &[("", end - last_of_gone(end))]),
        at("Data", "A", END, &[("server_id=1", 0.0)]),
        at("Data", "A", OUTAGE, &[("server_id=1", 1.0)]),
        at("Data", "A", RATE_LIMIT + 0.5, &[("server_id=1", 2.0)]),
        of(Of::Gone, "Data", "A", &[("server_id=1", 3.0)]),
    ]
}

fn over_time(end: f64) -> Vec<Expectation> {
    vec![
        at(
            "Open calls by priority",
            "A",
            END,
            &[("priority=1", 1.0), ("priority=2", 2.0), ("priority=3", 2.0)],
        ),
        at("Open calls by priority", "B", END, &[("", 5.0)]),
        // The hour that begins there.
        at(
            "New calls per hour",
            "A",
            0.0,
            &[("priority=1", 1.0), ("priority=2", 2.0), ("priority=3", 1.0)],
        ),
        // The hour before.
        at(
            "New calls per hour",
            "B",
            60.0,
            &[("priority=1", 1.0), ("priority=2", 2.0), ("priority=3", 1.0)],
        ),
        at(
            "Pending and active calls",
            "A",
            END,
            &[("status=active", 3.0), ("status=pending", 2.0)],
        ),
        // Three calls for five minutes, then four, then five.
        at("This week and last", "A", END, &[("", 4.0)]),
        of(
            Of::Invented,
            "This week and last",
            "B",
            &[("", open_a_week_before(end))],
        ),
        // Two wait on average; the busiest hours are those of a quiet community: six.
        at("Dispatch load", "A", END, &[("", 1.0)]),
        at("Dispatch load", "A", 99.0, &[("", 0.0)]),
        at(
            "Emergency and civil calls",
            "A",
            END,
            &[("kind=civil", 2.0), ("kind=emergency", 1.0)],
        ),
        of(Of::Invented, "Peak open calls", "A", &[("", 26.0)]),
        of(Of::Invented, "Days of data", "A", &[("", 28.0)]),
    ]
}

fn units(end: f64) -> Vec<Expectation> {
    let invented = |title, target, values: &[(&'static str, f64)]| of(Of::Invented, title, target, values);
    let free = available(end);
    vec![
        invented("Units on duty", "A", &[("", free + 10.0)]),
        invented("Available units", "A", &[("", free)]),
        invented("Dispatchers", "A", &[("", 2.0)]),
        invented(
            "Units by discipline",
            "A",
            &[
                ("discipline=ems", 3.0),
                ("discipline=fire", 2.0),
                ("discipline=police", free + 5.0),
            ],
        ),
        invented(
            "Units by status",
            "A",
            &[
                ("status=available", free),
                ("status=busy", 2.0),
                ("status=enroute", 3.0),
                ("status=on_scene", 1.0),
                ("status=unavailable", 4.0),
            ],
        ),
        invented("Calls per available unit", "A", &[("", hour(end) / free)]),
        // No unit is of another department.
        invented("Units by department", "A", &[("department=LSPD", 7.0)]),
        Expectation {
            at: At::Minute(60.0),
            ..invented("Signed on and off per hour", "A", &[("", 24.0)])
        },
        Expectation {
            at: At::Minute(60.0),
            ..invented("Signed on and off per hour", "B", &[("", -12.0)])
        },
        invented("Signed on and off per hour", "C", &[("", 24.0)]),
        invented("Signed on and off per hour", "D", &[("", -12.0)]),
        invented(
            "Unit hours",
            "A",
            &[("", 3.0 * by_the_minute(end, 180, |time| available(time) + 10.0))],
        ),
        invented("Units in panic", "A", &[("", 1.0)]),
    ]
}

fn response() -> Vec<Expectation> {
    vec![
        // Two of three pending calls in the first hour were taken within 120 s.
        at("Time to active", "A", 60.0, &[("", 1.5)]),
        at("Time to active", "B", 60.0, &[("", 2.7)]),
        at("Time to active", "A", 1.0, &[]),
        // A duration on the edge of a bucket can count in the bucket above.
        at("Call duration", "A", 60.0, &[("", 10.0)]),
        at("Call duration", "B", 60.0, &[("", 24.0)]),
        // Seven waits: 60, 180, 90, 120, 360, 60 and 30 s. The one of 120 s can be up to 30 s shorter or longer, and counts
        // in the bucket above.
        at("Taken within 2 min", "A", END, &[("", 4.0 / 7.0)]),
        at("Taken within 2 min", "A", 1.0, &[]),
        at("Average wait", "A", END, &[("", 900.0 / 7.0)]),
        at("Average wait", "A", 1.0, &[]),
        at("Emergency calls cleared within 2 min", "A", END, &[("", 0.5)]),
        at("Emergency calls cleared within 2 min", "A", 1.0, &[]),
        at("Closed calls", "A", END, &[("", 6.0)]),
        at("Units attached", "A", END, &[("", 3.0)]),
        at(
            "Unassigned calls",
            "A",
            END,
            &[("priority=1", 1.0), ("priority=2", 1.0), ("priority=3", 0.0)],
        ),
        at(
            "Longest wait by priority",
            "A",
            END,
            &[("priority=1", 5.0), ("priority=2", 10.0), ("priority=3", 0.0)],
        ),
    ]
}

/// The mix of calls. What is "other" is there only where there was one.
fn mix() -> Vec<Expectation> {
    vec![
        at(
            "Calls by origin",
            "A",
            END,
            &[
                ("origin=caller", 5.0),
                ("origin=observed", 2.0),
                ("origin=radio_dispatch", 2.0),
                ("origin=walk_up", 1.0),
            ],
        ),
        at(
            "Calls by priority",
            "A",
            END,
            &[("priority=1", 3.0), ("priority=2", 4.0), ("priority=3", 3.0)],
        ),
        of(Of::Invented, "Calls by code", "A", &[("code=10-50", 108.0)]),
        at("Calls on the lines", "A", END, &[("", 3.0)]),
        at("Calls on the lines", "B", END, &[("", 2.0)]),
        at("Calls on the lines", "C", END, &[("", 3.0)]),
        at("Calls on the lines", "D", END, &[("", 1.0)]),
    ]
}

fn servers(end: f64) -> Vec<Expectation> {
    let units = available(end) + 10.0;
    vec![
        at("Servers", "A", END, &[("server_id=1", 0.0)]),
        of(Of::Gone, "Servers", "A", &[("server_id=1", 3.0)]),
        at("Servers", "B", END, &[]),
        // Five requests failed by then.
        at(
            "Servers",
            "B",
            OUTAGE,
            &[("api_endpoint=calls,error=HTTP 5XX,server_id=1", 5.0)],
        ),
        at("Servers", "C", END, &[("server_id=1", 5.0)]),
        at("Servers", "D", END, &[("server_id=1", 2.0)]),
        of(Of::Invented, "Servers", "E", &[("community=beta,server_id=1", units)]),
        at("Servers", "F", OUTAGE, &[("server_id=1", 570.0)]),
        at("Servers", "G", END, &[("name=Main,server_id=1", 1.0)]),
        of(Of::Gone, "Servers", "G", &[("server_id=1", 1.0)]),
    ]
}

/// The board for the dispatchers' screen.
pub(super) fn dispatch(end: f64) -> Vec<Expectation> {
    vec![
        at("Data", "A", END, &[("why=Data is fresh", 0.0)]),
        at(
            "Data",
            "A",
            RATE_LIMIT + 0.5,
            &[("why=Data is old: rate limited", 60.0)],
        ),
        at("Data", "A", OUTAGE, &[("why=Data is old: the API fails", 570.0)]),
        of(
            Of::Gone,
            "Data",
            "A",
            &[("why=Data is old: the exporter is down", end - last_of_gone(end))],
        ),
        of(Of::Invented, "Units in panic", "A", &[("", 1.0)]),
        at(
            "Pending calls",
            "A",
            END,
            &[("priority=1", 1.0), ("priority=2", 1.0), ("priority=3", 0.0)],
        ),
        at(
            "Longest wait of a pending call",
            "A",
            END,
            &[("priority=1", 300.0), ("priority=2", 600.0), ("priority=3", 0.0)],
        ),
        at("Emergency line", "A", END, &[("", 1.0)]),
        at("Emergency line", "B", END, &[("", 60.0)]),
        of(Of::Invented, "Units", "A", &[("", available(end))]),
        of(Of::Invented, "Units", "B", &[("", 2.0)]),
        of(Of::Invented, "Units", "C", &[("", 3.0)]),
        of(Of::Invented, "Units", "D", &[("", 1.0)]),
        at("Load", "A", END, &[("status=active", 3.0), ("status=pending", 2.0)]),
    ]
}

/// The board of the exporter's health: the requests that the API received, and when it may be asked again after the
/// rate limit.
pub(super) fn health(requests: f64, retry: f64) -> Vec<Expectation> {
    let mut all = health_now(requests, retry);
    all.extend(health_of_the_api());
    all.extend(health_of_the_data());
    all.extend(health_of_the_process());
    all
}

fn health_now(requests: f64, retry: f64) -> Vec<Expectation> {
    vec![
        of(Of::All, "Exporters up", "A", &[("", 0.5)]),
        at("API reachable", "A", END, &[("", 1.0)]),
        at("API reachable", "A", OUTAGE, &[("", 0.0)]),
        of(Of::Gone, "API reachable", "A", &[("", 0.0)]),
        at("Data age", "A", OUTAGE, &[("", 570.0)]),
        at("Request success", "A", END, &[("", 1.0 - 6.0 / requests)]),
        at("Errors", "A", END, &[("", 6.0)]),
        at(
            "Version",
            "A",
            END,
            &[(concat!("version=", env!("CARGO_PKG_VERSION")), 1.0)],
        ),
        at("Waiting until", "A", RATE_LIMIT, &[("", retry * 1000.0)]),
        at("Waiting until", "A", END, &[("", 0.0)]),
        at("Configuration", "A", END, &[("", 1.0)]),
        live("Firing alerts", "A"),
        of(Of::Invented, "Units reachable", "A", &[("", 1.0)]),
        of(Of::Invented, "Shared state", "A", &[("", 1.0)]),
        at("Faults", "A", END, &[("", 0.0)]),
    ]
}

fn health_of_the_api() -> Vec<Expectation> {
    let per_second = 4.0 / 120.0;
    vec![
        at("Exporters up over time", "A", END, &[("", 1.0)]),
        of(Of::Gone, "Exporters up over time", "A", &[("", 0.0)]),
        of(Of::Invented, "Exporters up over time", "B", &[("", 1.0)]),
        at("API reachable over time", "A", END, &[("server_id=1", 1.0)]),
        at("API reachable over time", "A", OUTAGE, &[("server_id=1", 0.0)]),
        of(
            Of::Invented,
            "API reachable over time",
            "B",
            &[("community=beta,server_id=1", 1.0)],
        ),
        at("Errors by error string", "A", 84.5, &[("error=HTTP 5XX", 2.0)]),
        at("Errors by error string", "A", END, &[]),
        at(
            "Top errors",
            "A",
            END,
            &[("error=HTTP 5XX", 5.0), ("error=RATE LIMITED", 1.0)],
        ),
        // Every answer took 0.3 s, between the bounds 0.25 and 0.5.
        at("API latency", "A", END, &[("", 0.375)]),
        at("API latency", "B", END, &[("", 0.475)]),
        at("API latency", "C", END, &[("", 0.4975)]),
        at(
            "API latency, distribution",
            "A",
            END,
            &[
                ("le=+Inf", per_second),
                ("le=0.05", 0.0),
                ("le=0.1", 0.0),
                ("le=0.25", 0.0),
                ("le=0.5", per_second),
                ("le=1.0", per_second),
                ("le=10.0", per_second),
                ("le=2.5", per_second),
                ("le=5.0", per_second),
            ],
        ),
        at("API requests per minute", "A", END, &[("api_endpoint=calls", 2.0)]),
        at("API requests per minute", "B", END, &[("", 5.0)]),
        of(Of::Invented, "API requests per minute", "C", &[("", 3.0)]),
        at("API requests per minute", "D", END, &[]),
        Expectation {
            at: At::Minute(60.0),
            ..of(Of::Gone, "API requests per minute", "D", &[("", 60.0)])
        },
    ]
}

fn health_of_the_data() -> Vec<Expectation> {
    vec![
        at(
            "Data age and TTL",
            "A",
            OUTAGE,
            &[("api_endpoint=calls,server_id=1", 9.5)],
        ),
        at(
            "Data age and TTL",
            "B",
            END,
            &[("api_endpoint=calls,server_id=1", 25.0 / 60.0)],
        ),
        // Every answer is scraped twice.
        at("Cache hit share", "A", END, &[("", 0.5)]),
        at(
            "Unreadable values",
            "A",
            END,
            &[
                ("field=call", 0.0),
                ("field=id", 0.0),
                ("field=origin", 1.0),
                ("field=priority", 0.0),
                ("field=status", 0.0),
                ("field=units", 0.0),
            ],
        ),
        at("Servers", "A", END, &[("server_id=1", 0.0)]),
        of(Of::Gone, "Servers", "A", &[("server_id=1", 3.0)]),
        at("Servers", "B", OUTAGE, &[("server_id=1", 570.0)]),
        at("Servers", "C", END, &[("server_id=1", 25.0)]),
        at("Servers", "D", END, &[("server_id=1", 1843.0)]),
        at("Servers", "E", END, &[("api_version=v2,name=Main,server_id=1", 1.0)]),
        of(Of::Invented, "Servers", "F", &[("community=beta,server_id=1", 0.0)]),
    ]
}

fn health_of_the_process() -> Vec<Expectation> {
    vec![
        live("CPU", "A"),
        live("Memory", "A"),
        live("File descriptors", "A"),
        live("Scrape duration", "A"),
        live("Samples per scrape", "A"),
        at("Restarts", "A", 30.0, &[("", 1.0)]),
        at("Restarts", "A", END, &[("", 0.0)]),
    ]
}
