//! What a check found, as text and as JSON.

use std::fmt;

use serde::Serialize;
use sonorancad_exporter::report::{CommunityReport, Failure, FeedStatus, ServerReport};
use sonorancad_exporter::snapshot::{
    CallSnapshot, Discipline, EmergencyKind, Priority, Status, UnitSnapshot, UnitStatus, UnreadableField,
};
use sonorancad_exporter::tracker::UnitStats;

use super::{Options, UnknownServers};

/// What was found.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Findings {
    /// Whether nothing is wrong.
    ok: bool,
    /// What is wrong with the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// Where to begin, if nothing is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    /// What is allowed but may surprise.
    warnings: Vec<String>,
    servers: Vec<ServerFindings>,
}

/// The findings for one server.
#[derive(Debug, Serialize)]
struct ServerFindings {
    /// The alias, if it is a community of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    community: Option<String>,
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ok: bool,
    /// The version of the API in use.
    api_version: &'static str,
    /// Why it is in use.
    version_reason: String,
    calls: FeedFindings<Calls>,
    /// Only if units are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<FeedFindings<Units>>,
}

/// The findings for one endpoint of a server.
#[derive(Debug, Serialize)]
struct FeedFindings<T> {
    ok: bool,
    /// The API's response time in seconds; `None` if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_seconds: Option<f64>,
    /// What was counted.
    #[serde(flatten)]
    counts: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureFindings>,
}

#[derive(Debug, Serialize)]
struct FailureFindings {
    error: String,
    reason: String,
    advice: String,
}

/// The calls of one server, counted.
#[derive(Debug, Serialize)]
struct Calls {
    /// The list of active calls; every combination.
    active: Vec<ActiveCalls>,
    emergency: u64,
    civil: u64,
    unassigned: u64,
    attached_units: u64,
    /// Closed calls that the CAD keeps, if the API reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_stored: Option<u64>,
    /// Values that could not be read.
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct ActiveCalls {
    priority: &'static str,
    status: &'static str,
    count: u64,
}

/// The units of one server, counted.
#[derive(Debug, Serialize)]
struct Units {
    /// Every combination.
    on_duty: Vec<UnitsOnDuty>,
    dispatchers: u64,
    in_panic: u64,
    /// Whether there may be more than the API returned.
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct UnitsOnDuty {
    discipline: &'static str,
    status: &'static str,
    count: u64,
}

impl Findings {
    pub(in crate::cli) fn is_ok(&self) -> bool {
        self.ok
    }

    pub(super) fn of_problems(problems: Vec<String>) -> Self {
        Self {
            ok: false,
            problems,
            hint: None,
            warnings: Vec::new(),
            servers: Vec::new(),
        }
    }

    pub(super) fn with_hint(self, hint: Option<&'static str>) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn of_reports(
        reports: &[(Option<String>, CommunityReport)],
        unknown: &UnknownServers,
        warnings: Vec<String>,
    ) -> Self {
        let servers = reports.iter().flat_map(|(alias, report)| {
            report.servers.iter().map(|server| {
                let findings = ServerFindings::of(alias.as_deref(), server);
                match unknown.get(&(alias.clone(), server.id.clone())) {
                    Some(reason) => findings.of_unknown(reason),
                    None => findings,
                }
            })
        });
        let servers: Vec<_> = servers.collect();
        Self {
            ok: servers.iter().all(|server| server.ok),
            problems: Vec::new(),
            hint: None,
            warnings,
            servers,
        }
    }

    /// As text for people, or as one JSON object.
    pub(in crate::cli) fn render(&self, options: Options) -> String {
        if options.json {
            serde_json::to_string_pretty(self).expect("texts and numbers are JSON") + "\n"
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.servers.iter().filter(|server| !server.ok).count();
        match (self.problems.len(), failed, self.servers.len()) {
            (0, 0, _) => writeln!(f, "The configuration is valid, and the API answers for every server.")?,
            (0, 1, 1) => writeln!(f, "The server cannot be read.")?,
            (0, failed, count) => writeln!(f, "{failed} of {count} servers cannot be read.")?,
            (1, ..) => writeln!(f, "There is a problem:")?,
            (count, ..) => writeln!(f, "There are {count} problems:")?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        if let Some(hint) = self.hint {
            writeln!(f, "\n{hint}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "Warning: {warning}.")?;
        }
        self.servers.iter().try_for_each(|server| write!(f, "\n{server}"))
    }
}

impl ServerFindings {
    fn of(community: Option<&str>, server: &ServerReport) -> Self {
        let calls = FeedFindings::of(&server.calls.status, server.calls.snapshot.as_deref().map(Calls::of));
        let units = server.units.as_ref().map(|units| {
            let counts = units.snapshot.as_deref();
            FeedFindings::of(&units.status, counts.map(|list| Units::of(list, &units.stats)))
        });
        Self {
            community: community.map(str::to_owned),
            server_id: server.id.clone(),
            name: server.name.clone(),
            ok: calls.ok && units.as_ref().is_none_or(|units| units.ok),
            api_version: server.api_version.label(),
            version_reason: server.version_reason.to_string(),
            calls,
            units,
        }
    }

    /// The same of a server that does not exist. What the API answered for it means nothing.
    fn of_unknown(self, reason: &str) -> Self {
        let calls = FeedFindings {
            ok: false,
            counts: None,
            failure: Some(FailureFindings {
                error: "UNKNOWN SERVER".to_owned(),
                reason: reason.to_owned(),
                advice: "set SONORANCAD_SERVER_IDS (server_ids in the communities file) to servers that exist"
                    .to_owned(),
            }),
            ..self.calls
        };
        Self {
            ok: false,
            calls,
            units: None,
            ..self
        }
    }
}

impl fmt::Display for ServerFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(community) = &self.community {
            write!(f, "Community {community}, server {}", self.server_id)?;
        } else {
            write!(f, "Server {}", self.server_id)?;
        }
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, ": {}", self.calls)?;
        if let Some(units) = &self.units {
            write!(f, "  Units: {units}")?;
        }
        writeln!(
            f,
            "  Version {} of the API is in use, {}.",
            self.api_version, self.version_reason
        )
    }
}

impl<T> FeedFindings<T> {
    fn of(status: &FeedStatus, counts: Option<T>) -> Self {
        let seconds = || status.counts.request_seconds.sum().as_secs_f64();
        Self {
            ok: status.is_up,
            answer_seconds: status.is_asked().then(seconds),
            counts,
            failure: status.failure.as_ref().map(FailureFindings::of),
        }
    }
}

impl<T: fmt::Display> fmt::Display for FeedFindings<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.answer_seconds.unwrap_or_default();
        match (&self.counts, &self.failure) {
            (_, Some(FailureFindings { error, reason, advice })) => writeln!(
                f,
                "{error}\n  What happened: {reason}, after {seconds:.2} s.\n  What to do: {advice}."
            ),
            (Some(counts), None) => write!(f, "the API answered in {seconds:.2} s.\n{counts}"),
            (None, None) => writeln!(
                f,
                "not asked, because the API accepts no more requests with this key for now."
            ),
        }
    }
}

impl FailureFindings {
    fn of(failure: &Failure) -> Self {
        Self {
            error: failure.label.to_string(),
            reason: failure.reason.clone(),
            advice: failure.advice.to_string(),
        }
    }
}

impl Calls {
    fn of(snapshot: &CallSnapshot) -> Self {
        let active = Priority::ALL.iter().flat_map(|priority| {
            let with_status = Status::ALL.iter().map(move |status| (priority, status));
            with_status.map(|(priority, status)| ActiveCalls {
                priority: priority.label(),
                status: status.label(),
                count: snapshot.active.by_status(*priority, *status),
            })
        });
        Self {
            active: active.collect(),
            emergency: snapshot.emergency.count(EmergencyKind::Emergency),
            civil: snapshot.emergency.count(EmergencyKind::Civil),
            unassigned: Priority::ALL
                .iter()
                .map(|priority| snapshot.active.unassigned(*priority))
                .sum(),
            attached_units: snapshot.active.attached_units(),
            closed_stored: snapshot.closed_stored,
            unreadable: UnreadableField::ALL
                .iter()
                .map(|field| snapshot.unreadable(*field))
                .sum(),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  priority")?;
        for status in Status::ALL {
            write!(f, "{:>9}", status.label())?;
        }
        for of_priority in self.active.chunk_by(|one, other| one.priority == other.priority) {
            write!(f, "\n  {:8}", of_priority[0].priority)?;
            for calls in of_priority {
                write!(f, "{:9}", calls.count)?;
            }
        }
        writeln!(
            f,
            "\n  Emergency calls {}, civil calls {}, calls without a unit {}, units attached {}.",
            self.emergency, self.civil, self.unassigned, self.attached_units
        )?;
        if let Some(closed) = self.closed_stored {
            writeln!(f, "  Closed calls stored {closed}.")?;
        }
        if self.unreadable > 0 {
            writeln!(
                f,
                "  Values that could not be read, and count as \"other\": {}.",
                self.unreadable
            )?;
        }
        Ok(())
    }
}

impl Units {
    fn of(snapshot: &UnitSnapshot, stats: &UnitStats) -> Self {
        let counts = snapshot.counts();
        let on_duty = Discipline::ALL.iter().flat_map(|discipline| {
            let by_status = counts.units[*discipline].iter();
            by_status.map(|(status, count)| UnitsOnDuty {
                discipline: discipline.label(),
                status: status.label(),
                count: *count,
            })
        });
        Self {
            on_duty: on_duty.collect(),
            dispatchers: counts.dispatchers,
            in_panic: counts.in_panic,
            truncated: stats.is_truncated,
        }
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  discipline")?;
        for status in UnitStatus::ALL {
            write!(f, "{:>13}", status.label())?;
        }
        for of_discipline in self.on_duty.chunk_by(|one, other| one.discipline == other.discipline) {
            write!(f, "\n  {:10}", of_discipline[0].discipline)?;
            for units in of_discipline {
                write!(f, "{:13}", units.count)?;
            }
        }
        writeln!(
            f,
            "\n  Dispatchers {}, units in panic {}.",
            self.dispatchers, self.in_panic
        )?;
        if self.truncated {
            writeln!(f, "  There may be more units than the API returned.")?;
        }
        Ok(())
    }
}
