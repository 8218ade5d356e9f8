//! Units on duty beside the truth: a week of the simulated community, through the real exporter and the simulated API.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad, UnitStatistics};
use tokio::task::JoinSet;

use super::Setting;
use crate::support::exporter::{NOON, Running, move_to};
use crate::support::simulated;

const DAY: u32 = 24 * 3600;
const WEEK: u32 = 7 * DAY;

/// The labels of the truth's indices.
const DISCIPLINES: [&str; 3] = ["police", "fire", "ems"];
const STATUSES: [&str; 5] = ["unavailable", "busy", "available", "enroute", "on_scene"];

/// The departments that are counted one by one.
const DEPARTMENTS: [&str; 2] = ["LSPD", "EMS"];

/// The samples of one scrape, by how they are written.
type Samples<'a> = BTreeMap<&'a str, f64>;

/// The units of an answer, with their disciplines: dispatchers are none.
type Units = BTreeMap<u64, usize>;

/// By discipline.
type Counts = [u64; 3];

/// What the answers for one server showed, and what was true then.
struct Server {
    id: u32,
    begin: UnitStatistics,
    /// At the newest answer, which every scrape shows until the next one.
    now: UnitStatistics,
    /// The units of the newest answer, and of the one before.
    units: Units,
    earlier: Units,
    signs: Signs,
    answers: u32,
    /// The sum of the gauges of all scrapes, by discipline.
    gauges: [f64; 3],
}

/// How many units signed on and off, and why the exporter counts fewer.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    on: Counts,
    off: Counts,
    /// Visits and absences that begin and end between two answers: in no answer is there a trace of them.
    unseen: Counts,
    /// Absences that only one answer shows. An API that leaves out a unit once looks the same.
    short: Counts,
    /// Units that only the newest answer lacks.
    pending: Counts,
}

impl Server {
    fn new(cad: &Cad, id: u32) -> Self {
        let begin = cad.statistics(id).unwrap().units;
        let units = units(cad, id);
        Self {
            id,
            now: begin.clone(),
            begin,
            earlier: units.clone(),
            units,
            signs: Signs::default(),
            answers: 1,
            gauges: [0.0; 3],
        }
    }

    /// Notes what is true while an answer is made.
    fn note(&mut self, cad: &Cad) {
        let now = cad.statistics(self.id).unwrap().units;
        // To read the list takes most of the time.
        let has_changed = (now.signed_on, now.signed_off) != (self.now.signed_on, self.now.signed_off);
        let units = if has_changed {
            units(cad, self.id)
        } else {
            self.units.clone()
        };
        let Signs {
            on,
            off,
            unseen,
            short,
            pending,
        } = &mut self.signs;
        *pending = lacking(&self.units, &units);
        let new = lacking(&units, &self.units);
        for discipline in 0..3 {
            let signed_on = now.signed_on[discipline] - self.now.signed_on[discipline];
            let signed_off = now.signed_off[discipline] - self.now.signed_off[discipline];
            on[discipline] += signed_on;
            off[discipline] += signed_off;
            unseen[discipline] += signed_on - new[discipline];
            assert_eq!(signed_on - new[discipline], signed_off - pending[discipline]);
        }
        for (id, discipline) in &units {
            short[*discipline] += u64::from(!self.units.contains_key(id) && self.earlier.contains_key(id));
        }
        self.earlier = std::mem::replace(&mut self.units, units);
        self.now = now;
        self.answers += 1;
    }

    /// Panics if a scrape shows something else than the newest answer.
    fn check(&mut self, samples: &Samples, context: &str) {
        let id = self.id;
        let value = |series: &str| {
            let found = samples.get(series);
            *found.unwrap_or_else(|| panic!("{context}: no {series}"))
        };
        let Self { now, signs, .. } = self;
        for (index, discipline) in DISCIPLINES.iter().enumerate() {
            for (status, true_count) in STATUSES.iter().zip(now.on_duty[index]) {
                let series =
                    format!("sonorancad_units{{server_id=\"{id}\",discipline=\"{discipline}\",status=\"{status}\"}}");
                assert_eq!(value(&series), number(true_count), "{context}: {series}");
                self.gauges[index] += value(&series);
            }
            let of = |what: &str| {
                value(&format!(
                    "sonorancad_units_signed_{what}_total{{server_id=\"{id}\",discipline=\"{discipline}\"}}"
                ))
            };
            let lost = signs.unseen[index] + signs.short[index];
            assert_eq!(of("on"), number(signs.on[index] - lost), "{context}: on, {discipline}");
            let lost = lost + signs.pending[index];
            assert_eq!(
                of("off"),
                number(signs.off[index] - lost),
                "{context}: off, {discipline}"
            );
        }
        // None of another discipline or status is shown.
        let units = samples
            .iter()
            .filter(|(series, _)| series.starts_with(&format!("sonorancad_units{{server_id=\"{id}\",")));
        let all: f64 = units.map(|(_, value)| value).sum();
        assert_eq!(all, number(now.on_duty.iter().flatten().sum()), "{context}: all units");
        for (series, true_count) in [("dispatchers", now.dispatchers), ("units_in_panic", now.in_panic)] {
            let series = format!("sonorancad_{series}{{server_id=\"{id}\"}}");
            assert_eq!(value(&series), number(true_count), "{context}: {series}");
        }
        for (name, true_count) in departments(now) {
            let series = format!("sonorancad_department_units{{server_id=\"{id}\",department=\"{name}\"}}");
            let shown = samples.get(&*series).copied().unwrap_or_default();
            assert_eq!(shown, number(true_count), "{context}: {series}");
        }
    }
}

/// The units on duty by department, those that are not listed together.
fn departments(truth: &UnitStatistics) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from([("other", 0)]);
    for (department, count) in &truth.departments {
        let is_listed = DEPARTMENTS.contains(department);
        *counts.entry(if is_listed { department } else { "other" }).or_default() += count;
    }
    counts
}

/// How many of these units are not among the others, by discipline.
fn lacking(units: &Units, others: &Units) -> Counts {
    let mut counts = Counts::default();
    for (id, discipline) in units {
        counts[*discipline] += u64::from(!others.contains_key(id));
    }
    counts
}

/// The units on duty that the CAD lists now.
fn units(cad: &Cad, server_id: u32) -> Units {
    let list: Vec<Value> = serde_json::from_str(&cad.units(server_id, 1000, 0).unwrap()).unwrap();
    let units = list
        .iter()
        .filter(|unit| unit["isDispatch"] == false && unit["data"]["page"] != 3);
    units
        .map(|unit| {
            let page = usize::try_from(unit["data"]["page"].as_u64().unwrap()).unwrap();
            (unit["id"].as_u64().unwrap(), page)
        })
        .collect()
}

/// Every sample that is about units.
fn samples(text: &str) -> Samples<'_> {
    let is_about_units = |line: &&str| {
        let starts = [
            "sonorancad_units",
            "sonorancad_dispatchers",
            "sonorancad_department_units",
            "sonorancad_last_success",
        ];
        starts.iter().any(|start| line.starts_with(start))
    };
    let lines = text.lines().filter(is_about_units);
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn sum(counts: Counts) -> f64 {
    counts.into_iter().map(number).sum()
}

/// Scrapes a community with so many calls per hour for `length` seconds. Every scrape is compared with the truth.
async fn play(setting: Setting, calls_per_hour: u32, length: u32) -> Vec<Server> {
    let clock = ManualClock::new(NOON);
    let (cad, url) = simulated::start(3, calls_per_hour, setting.servers, &Clock::Manual(clock.clone())).await;
    let ids: Vec<_> = (1..=setting.servers).map(|id| id.to_string()).collect();
    let variables = [
        ("SONORANCAD_API_VERSION", setting.version),
        ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
        ("SONORANCAD_API_KEY", API_KEY),
        ("SONORANCAD_SERVER_IDS", &ids.join(",")),
        ("SONORANCAD_COLLECT", "calls,units"),
        // They cost most of the time, and nothing is said of them here.
        ("SONORANCAD_REQUESTS_PER_MINUTE", "1"),
        ("SONORANCAD_DEPARTMENTS", &DEPARTMENTS.join(",")),
    ];
    let exporter = Running::start_with(&url, &variables, &Clock::Manual(clock.clone()));
    let mut servers: Vec<Option<Server>> = (0..setting.servers).map(|_| None).collect();
    for scrape in 0..length / setting.interval {
        let at = NOON + Duration::from_secs((scrape * setting.interval).into());
        move_to(&clock, at);
        let text = exporter.scrape().await;
        assert_eq!(
            Clock::Manual(clock.clone()).now().unix,
            at,
            "no request waited for a slot"
        );
        let samples = samples(&text);
        for (id, server) in (1..).zip(&mut servers) {
            let success =
                format!("sonorancad_last_success_timestamp_seconds{{server_id=\"{id}\",api_endpoint=\"units\"}}");
            let is_new = samples[&*success] == at.as_secs_f64();
            match server {
                None if is_new => *server = Some(Server::new(&cad, id)),
                Some(server) if is_new => server.note(&cad),
                _ => {}
            }
            if let Some(server) = server {
                server.check(&samples, &format!("{setting:?}, scrape {scrape}"));
            }
        }
    }
    servers.into_iter().map(Option::unwrap).collect()
}

impl Server {
    /// How far the sum of the gauges is from the truth, for the discipline where it is furthest.
    fn error_of_hours(&self, interval: u32) -> f64 {
        let Self { begin, now, gauges, .. } = self;
        let errors = (0..3).map(|discipline| {
            let truth = now.unit_seconds[discipline] - begin.unit_seconds[discipline];
            gauges[discipline] * f64::from(interval) / truth - 1.0
        });
        errors.max_by(|one, other| one.abs().total_cmp(&other.abs())).unwrap()
    }

    /// Writes what was counted; panics where it is too far from the truth.
    fn row(&self, setting: Setting, length: u32) -> String {
        let Setting {
            version,
            servers,
            interval,
        } = setting;
        let Signs { on, unseen, short, .. } = self.signs;
        let counted = sum(on) - sum(unseen) - sum(short);
        let error = self.error_of_hours(interval);
        let hours = self.gauges.iter().sum::<f64>() * f64::from(interval) / 3600.0;
        let row = format!(
            "{version:3}  {servers:7}  {interval:4} s  {:4}  {:7}  {:9}  {counted:7}  {:6}  {:5}  {hours:5.0}  {:+.2} %",
            length / DAY,
            self.answers,
            sum(on),
            sum(unseen),
            sum(short),
            100.0 * error,
        );
        assert!(error.abs() < 0.01 && counted > 0.9 * sum(on), "{row}");
        // The cache answers in between.
        assert_eq!(self.answers, length / interval.max(30), "{row}");
        row
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn units_on_duty_are_true_at_every_scrape_of_a_week() {
    let mut runs = JoinSet::new();
    // A day where a week would only take longer.
    for (version, servers, interval, length) in [
        ("v1", 1, 15, DAY),
        ("v1", 1, 30, WEEK),
        ("v1", 1, 60, WEEK),
        ("v1", 3, 15, DAY),
        ("v1", 3, 30, DAY),
        ("v1", 3, 60, DAY),
        ("v2", 1, 30, DAY),
        ("v2", 1, 60, DAY),
    ] {
        let setting = Setting {
            version,
            servers,
            interval,
        };
        let place = runs.len();
        runs.spawn(async move { (place, setting, length, play(setting, 60, length).await) });
    }
    let mut outcomes = runs.join_all().await;
    outcomes.sort_by_key(|(place, ..)| *place);
    let mut table =
        String::from("\nAPI  servers  scrape  days  answers  signed on  counted  unseen  short  hours   error\n");
    for (_, setting, length, servers) in outcomes {
        for server in servers {
            writeln!(table, "{}", server.row(setting, length)).unwrap();
        }
    }
    eprintln!("{table}");
}

/// There are more units than one page of an answer holds.
#[tokio::test(flavor = "multi_thread")]
async fn units_of_several_pages_are_true_at_every_scrape() {
    let setting = Setting {
        version: "v1",
        servers: 1,
        interval: 30,
    };
    for server in play(setting, 800, 4 * 3600).await {
        let most = server.now.on_duty.iter().flatten().sum::<u64>();
        eprintln!("{most} units at the end; signed on: {:?}", server.signs.on);
        assert!(
            most > 100 && server.answers == 480,
            "{most} units, {} answers",
            server.answers
        );
    }
}
