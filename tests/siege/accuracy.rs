//! How far the exporter's counts are from the truth, at the settings that people have.
//!
//! A day of a community whose every call is known is read through the real exporter, in simulated time. What it counts is
//! compared with the truth, and with an oracle: what somebody could count from the same answers who recognises every
//! call. Where the exporter knows less than the oracle, or more than the truth, the test fails.
//!
//! `UPDATE_DOCS=1` writes the table of `docs/accuracy.md` anew.

mod gaps;
mod units;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde_json::Value;
use sonorancad_exporter::clock::{Clock, ManualClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::world::{Habits, OBSERVED, Seen, World, seconds};
use crate::support::exporter::{NOON, Running, move_to};

/// How long the CAD takes to answer.
const LATENCY: Duration = Duration::from_millis(300);

/// What people set.
#[derive(Clone, Copy, Debug)]
struct Setting {
    version: &'static str,
    servers: u32,
    /// Seconds between scrapes.
    interval: u32,
}

/// What a CAD does besides answering, by the seconds since the beginning and the number of the answer.
type Trouble = fn(f64, usize) -> Option<Fault>;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Failure,
    Null(&'static str),
}

/// A CAD with several servers.
struct Cad {
    worlds: Vec<World>,
    clock: ManualClock,
    trouble: Trouble,
    /// Of each server: when it was asked, and what it showed.
    answers: Mutex<Vec<Vec<(f64, Seen)>>>,
}

/// What was counted, or would have been.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: f64,
    closed: f64,
    emergency_opened: f64,
    emergency_cleared: f64,
    waits: f64,
    waited: f64,
    within_two_minutes: f64,
    durations: f64,
    lasted: f64,
}

/// A setting, and what came of it.
struct Outcome {
    setting: Setting,
    exporter: Counts,
    truth: Counts,
    oracle: Counts,
    /// Seconds between two answers of a server, on average.
    between_answers: f64,
}

impl Cad {
    async fn start(worlds: Vec<World>, clock: &ManualClock, trouble: Trouble) -> (Arc<Self>, String) {
        let cad = Arc::new(Self {
            answers: Mutex::new(vec![Vec::new(); worlds.len()]),
            worlds,
            clock: clock.clone(),
            trouble,
        });
        let router = Router::new()
            .route("/emergency/get_calls", post(v1))
            .route("/v2/emergency/servers/{id}/calls", get(v2))
            .with_state(cad.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (cad, url)
    }

    fn answer(&self, server: usize, limit: usize, offset: usize) -> Response {
        self.clock.advance(LATENCY);
        let at = seconds(Clock::Manual(self.clock.clone()).now().unix, NOON);
        let mut answers = self.answers.lock();
        let answers = &mut answers[server];
        let fault = (self.trouble)(at, answers.len());
        if let Some(Fault::Failure) = fault {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        let (mut answer, mut seen) = self.worlds[server].answer(at, limit, offset);
        if let Some(Fault::Null(list)) = fault {
            answer[list] = Value::Null;
            match list {
                "activeCalls" => seen.open.clear(),
                "closedCalls" => seen.closed.clear(),
                _ => seen.emergency.clear(),
            }
        }
        answers.push((at, seen));
        axum::Json(answer).into_response()
    }
}

async fn v1(State(cad): State<Arc<Cad>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let number = |name: &str| usize::try_from(body["data"][0][name].as_u64().unwrap()).unwrap();
    cad.answer(number("serverId") - 1, number("closedLimit"), number("closedOffset"))
}

async fn v2(
    State(cad): State<Arc<Cad>>,
    Path(id): Path<usize>,
    Query(query): Query<std::collections::HashMap<String, String>>,
) -> Response {
    cad.answer(
        id - 1,
        query["closedLimit"].parse().unwrap(),
        query["closedOffset"].parse().unwrap(),
    )
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.emergency_opened += other.emergency_opened;
        self.emergency_cleared += other.emergency_cleared;
        self.waits += other.waits;
        self.waited += other.waited;
        self.within_two_minutes += other.within_two_minutes;
        self.durations += other.durations;
        self.lasted += other.lasted;
    }

    /// What the exporter says of all servers.
    fn scraped(text: &str) -> Self {
        let sum = |start: &str| -> f64 {
            let samples = text
                .lines()
                .filter(|line| line.starts_with(&format!("sonorancad_{start}")));
            samples
                .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
                .sum()
        };
        Self {
            opened: sum("calls_opened_total"),
            closed: sum("calls_closed_total"),
            emergency_opened: sum("emergency_calls_opened_total"),
            emergency_cleared: sum("emergency_calls_cleared_total"),
            waits: sum("call_wait_seconds_count"),
            waited: sum("call_wait_seconds_sum"),
            within_two_minutes: sum("call_wait_seconds_bucket{le=\"120.0\""),
            durations: sum("call_duration_seconds_count"),
            lasted: sum("call_duration_seconds_sum"),
        }
    }

    /// What happened on a server between two moments.
    fn truth(world: &World, first: f64, last: f64) -> Self {
        let mut counts = Self::default();
        let is_in = |at: f64| at > first && at <= last;
        for call in &world.dispatch {
            counts.opened += f64::from(u8::from(is_in(call.came)));
            counts.closed += f64::from(u8::from(is_in(call.closed)));
            if is_in(call.came) && call.taken <= last && call.taken < call.closed && call.origin != OBSERVED {
                let wait = call.taken - call.came;
                counts.waits += 1.0;
                counts.waited += wait;
                counts.within_two_minutes += f64::from(u8::from(wait <= 120.0));
            }
            if is_in(call.came) && is_in(call.closed) {
                counts.durations += 1.0;
                counts.lasted += call.closed - call.came;
            }
        }
        for call in &world.emergency {
            counts.emergency_opened += f64::from(u8::from(is_in(call.came)));
            counts.emergency_cleared += f64::from(u8::from(is_in(call.left)));
        }
        counts
    }

    /// What these answers show to somebody who recognises every call.
    fn oracle(world: &World, answers: &[(f64, Seen)]) -> Self {
        let Some((first, _)) = answers.first() else {
            return Self::default();
        };
        let is_new = |index: &usize| world.dispatch[*index].came > *first;
        let mut opened = BTreeSet::new();
        let mut known: BTreeSet<usize> = BTreeSet::new();
        let mut closed = BTreeSet::new();
        let mut emergencies = BTreeSet::new();
        for (_, seen) in answers {
            known.extend(&seen.open);
            closed.extend(
                seen.closed
                    .iter()
                    .copied()
                    .filter(|index| is_new(index) || known.contains(index)),
            );
            let shown = seen.open.iter().chain(&seen.closed).copied();
            opened.extend(shown.filter(is_new));
            emergencies.extend(seen.emergency.iter().copied());
        }
        // The newest two answers decide what is gone.
        let late: BTreeSet<usize> = answers
            .iter()
            .rev()
            .take(2)
            .flat_map(|(_, seen)| seen.open.clone())
            .collect();
        closed.extend(known.iter().copied().filter(|index| !late.contains(index)));
        emergencies.extend(opened.iter().filter_map(|index| world.made_from(*index)));
        let late: BTreeSet<usize> = answers
            .iter()
            .rev()
            .take(2)
            .flat_map(|(_, seen)| seen.emergency.clone())
            .collect();
        let is_new = |index: &&usize| world.emergency[**index].came > *first;
        Self {
            opened: count(opened.len()),
            closed: count(closed.len()),
            emergency_opened: count(emergencies.iter().filter(is_new).count()),
            emergency_cleared: count(emergencies.iter().filter(|index| !late.contains(index)).count()),
            ..Self::default()
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// Plays a setting; the exporter is restarted so often.
async fn play(setting: Setting, habits: Habits, trouble: Trouble, restarts: u32) -> Outcome {
    let clock = ManualClock::new(NOON);
    let worlds: Vec<_> = (0..setting.servers)
        .map(|server| {
            World::new(Habits {
                seed: habits.seed + u64::from(server),
                ..habits
            })
        })
        .collect();
    let (cad, url) = Cad::start(worlds, &clock, trouble).await;
    let ids: Vec<_> = (1..=setting.servers).map(|id| id.to_string()).collect();
    let variables = [
        ("SONORANCAD_API_VERSION", setting.version),
        ("SONORANCAD_SERVER_IDS", &ids.join(",")),
    ];
    let mut outcome = Outcome {
        setting,
        exporter: Counts::default(),
        truth: Counts::default(),
        oracle: Counts::default(),
        between_answers: 0.0,
    };
    let scrapes = habits.length / setting.interval;
    let mut scrape = 0;
    for life in 1..=restarts + 1 {
        let exporter = Running::start_with(&url, &variables, &Clock::Manual(clock.clone()));
        while scrape < scrapes * life / (restarts + 1) {
            move_to(&clock, NOON + Duration::from_secs((scrape * setting.interval).into()));
            exporter.communities.scrape(Duration::from_secs(60)).await;
            scrape += 1;
        }
        outcome.exporter.add(Counts::scraped(&exporter.scrape().await));
        for (world, answers) in cad.worlds.iter().zip(cad.answers.lock().iter_mut()) {
            let answers = std::mem::take(answers);
            let (first, last) = (answers.first().unwrap().0, answers.last().unwrap().0);
            outcome.truth.add(Counts::truth(world, first, last));
            outcome.oracle.add(Counts::oracle(world, &answers));
            outcome.between_answers += (last - first) / count(answers.len() - 1);
        }
        exporter.stop().await;
        clock.advance(Duration::from_secs(20));
    }
    outcome.between_answers /= f64::from(setting.servers * (restarts + 1));
    outcome
}

impl Outcome {
    /// Panics if the exporter knows less than the oracle, or more than the truth.
    ///
    /// After a wipe, one emergency call can come and go before a dispatch call shows that its id is not that of a call from
    /// before. The oracle does not go by ids.
    fn check(&self, what: &str, wipes: u32) {
        let Self {
            exporter,
            truth,
            oracle,
            ..
        } = self;
        for (name, of) in [
            ("opened", (|counts| counts.opened) as fn(&Counts) -> f64),
            ("closed", |counts| counts.closed),
            ("emergency opened", |counts| counts.emergency_opened),
            ("emergency cleared", |counts| counts.emergency_cleared),
        ] {
            let context = format!("{what}: {:?}: {name}", self.setting);
            let is_emergency = name.starts_with("emergency");
            let ambiguous = f64::from(if is_emergency { wipes * self.setting.servers } else { 0 });
            assert!(
                of(exporter) >= of(oracle) - ambiguous,
                "{context}: {} of {} that could be known",
                of(exporter),
                of(oracle)
            );
            assert!(
                of(exporter) <= of(truth),
                "{context}: {} of {} that happened",
                of(exporter),
                of(truth)
            );
        }
    }

    /// Panics if a number is further from the truth than is promised.
    fn check_bounds(&self) {
        let Self { exporter, truth, .. } = self;
        let row = self.row();
        assert!(
            exporter.opened >= 0.98 * truth.opened && exporter.closed >= 0.98 * truth.closed,
            "{row}"
        );
        assert!(
            exporter.waits >= 0.95 * truth.waits && exporter.durations >= 0.95 * truth.durations,
            "{row}"
        );
        let error = |sum: fn(&Counts) -> f64, number: fn(&Counts) -> f64| {
            (sum(exporter) / number(exporter)) / (sum(truth) / number(truth)) - 1.0
        };
        // With an answer every five minutes, a wait is 0 s or 300 s: a day's mean is off by 2 % by chance.
        assert!(
            error(|counts| counts.waited, |counts| counts.waits).abs() < 0.06,
            "{row}"
        );
        assert!(
            error(|counts| counts.lasted, |counts| counts.durations).abs() < 0.03,
            "{row}"
        );
        let share = |counts: &Counts| counts.within_two_minutes / counts.waits;
        assert!((share(exporter) - share(truth)).abs() < 0.03, "{row}");
    }

    fn row(&self) -> String {
        let Self {
            setting,
            exporter,
            truth,
            ..
        } = self;
        let percent = |of: f64, all: f64| format!("{:.0} %", 100.0 * of / all);
        let error = |mean: f64, true_mean: f64| format!("{:+.0} %", 100.0 * (mean / true_mean - 1.0));
        let share = |counts: &Counts| 100.0 * counts.within_two_minutes / counts.waits;
        format!(
            "| {} | {} | {} s | {:.0} s | {} | {} | {} | {} | {} | {} | {:+.0} | {} | {} |",
            setting.version,
            setting.servers,
            setting.interval,
            self.between_answers,
            percent(exporter.opened, truth.opened),
            percent(exporter.closed, truth.closed),
            percent(exporter.emergency_opened, truth.emergency_opened),
            percent(exporter.waits, truth.waits),
            error(exporter.waited / exporter.waits, truth.waited / truth.waits),
            format_args!("{:.0} %", share(truth)),
            share(exporter) - share(truth),
            percent(exporter.durations, truth.durations),
            error(exporter.lasted / exporter.durations, truth.lasted / truth.durations),
        )
    }
}

const DAY: Habits = Habits {
    seed: 1,
    length: 24 * 3600,
    calls_per_hour: 60.0,
    wiped_every: None,
    has_odd_emergency_ids: false,
};

/// The table's first columns, as they stand in the documentation.
const HEAD: &str = "\
| API | servers | scrape | answers | opened | closed | emergency | waits | mean wait | in 2 min | error | durations | mean |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_times_are_as_true_as_the_documentation_says() {
    let mut runs = JoinSet::new();
    for version in ["v2", "v1"] {
        for servers in [1, 2, 3, 5] {
            for interval in [15, 30, 60] {
                let setting = Setting {
                    version,
                    servers,
                    interval,
                };
                let place = runs.len();
                runs.spawn(async move { (place, play(setting, DAY, |_, _| None, 0).await) });
            }
        }
    }
    let mut outcomes = runs.join_all().await;
    outcomes.sort_by_key(|(place, _)| *place);
    let mut table = HEAD.to_owned();
    for (_, outcome) in &outcomes {
        writeln!(table, "{}", outcome.row()).unwrap();
    }
    eprintln!("{table}");
    for (_, outcome) in &outcomes {
        outcome.check("a day", 0);
        outcome.check_bounds();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/accuracy.md");
    let page = std::fs::read_to_string(path).unwrap();
    let begin = page.find(HEAD).expect("docs/accuracy.md has the table");
    let documented: String =
        page[begin..]
            .lines()
            .take_while(|line| line.starts_with('|'))
            .fold(String::new(), |mut table, line| {
                writeln!(table, "{line}").unwrap();
                table
            });
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page.replace(&documented, &table)).unwrap();
    } else {
        assert_alike(&documented, &table);
    }
}

/// Panics if a number of the documentation is off by more than 5. The simulation differs a little from run to run, since
/// servers are asked side by side.
#[track_caller]
fn assert_alike(documented: &str, measured: &str) {
    let number = |cell: &str| {
        let digits: String = cell
            .chars()
            .filter(|part| part.is_ascii_digit() || *part == '-')
            .collect();
        digits.parse::<i64>()
    };
    assert_eq!(documented.lines().count(), measured.lines().count());
    for (documented, measured) in documented.lines().zip(measured.lines()).skip(2) {
        for (one, other) in documented.split('|').zip(measured.split('|')) {
            let is_alike = match (number(one), number(other)) {
                (Ok(one), Ok(other)) => (one - other).abs() <= 5,
                _ => one == other,
            };
            assert!(
                is_alike,
                "the documentation says\n{documented}, but this was measured:\n{measured}"
            );
        }
    }
}

/// The CAD is wiped four times a day, in the middle of calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_cad_that_is_wiped_every_six_hours_loses_no_call() {
    check_all(
        "wiped",
        Habits {
            wiped_every: Some(6 * 3600 + 17),
            ..DAY
        },
        |_, _| None,
        0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_emergency_calls_in_any_order_lose_no_call() {
    let habits = Habits {
        has_odd_emergency_ids: true,
        ..DAY
    };
    check_all("odd ids", habits, |_, _| None, 0).await;
}

/// An exporter that starts anew counts what comes from its first answer on.
#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_restarts_counts_all_from_its_first_answer_on() {
    check_all("restarts", DAY, |_, _| None, 7).await;
}

/// Ten minutes without an answer every two hours, and one answer in twenty without a list of closed calls.
#[tokio::test(flavor = "multi_thread")]
async fn outages_and_null_lists_lose_no_call() {
    let trouble: Trouble = |at, number| match (at % 7200.0, number % 20) {
        (second, _) if (3600.0..4200.0).contains(&second) => Some(Fault::Failure),
        (_, 7) => Some(Fault::Null("closedCalls")),
        _ => None,
    };
    check_all("outages", DAY, trouble, 0).await;
}

/// More than a hundred calls close between two answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_calls_in_an_outage_is_counted() {
    let trouble: Trouble = |at, _| (3600.0..5400.0).contains(&(at % 7200.0)).then_some(Fault::Failure);
    let habits = Habits {
        length: 12 * 3600,
        calls_per_hour: 600.0,
        ..DAY
    };
    let setting = Setting {
        version: "v1",
        servers: 1,
        interval: 30,
    };
    let outcome = play(setting, habits, trouble, 0).await;
    outcome.check("a burst", 0);
    let missed = outcome.truth.opened - outcome.exporter.opened;
    eprintln!("of {} calls, {missed} are missed", outcome.truth.opened);
    assert!(missed < 0.02 * outcome.truth.opened, "{missed} missed");
}

/// Plays settings that differ in all that matters, side by side.
async fn check_all(what: &'static str, habits: Habits, trouble: Trouble, restarts: u32) {
    let mut runs = JoinSet::new();
    for (version, servers, interval) in [("v2", 1, 30), ("v2", 1, 60), ("v2", 3, 15), ("v1", 2, 60)] {
        let setting = Setting {
            version,
            servers,
            interval,
        };
        runs.spawn(play(setting, habits, trouble, restarts));
    }
    for outcome in runs.join_all().await {
        eprintln!("{}", outcome.row());
        let wipes = habits.wiped_every.map_or(0, |every| habits.length / every);
        outcome.check(what, wipes);
    }
}
