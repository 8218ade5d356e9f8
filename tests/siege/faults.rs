//! Faults of everything around the exporter, at random and for long: what it shows stays true, and it asks no more than it
//! may. `docs/faults.md` says what holds under which fault.

mod limits;
mod watch;

use std::time::Duration;

use fastrand::Rng;
use sonorancad_exporter::clock::{Clock, ManualClock};

use self::watch::{Fault, Watch};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{NOON, Running};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an answer takes.
const LATENCY: Duration = Duration::from_millis(200);

/// The servers that are read.
const SERVERS: [u32; 2] = [1, 2];

/// A CAD whose calls come and go, and which fails as it is told.
struct World {
    random: Rng,
    open: Vec<u32>,
    closed: Vec<u32>,
    next_id: u32,
    /// The number of the newest answers, which good ones contain.
    serial: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            open: Vec::new(),
            closed: Vec::new(),
            next_id: 1,
            serial: 0,
        }
    }

    /// Lets calls come and go. Now and then, all is deleted, and the ids begin anew.
    fn live(&mut self) {
        self.serial += 1;
        if self.random.u32(..400) == 0 {
            *self = Self {
                random: self.random.clone(),
                serial: self.serial,
                ..Self::new(0)
            };
        }
        for _ in 0..self.random.u32(..3) {
            self.open.push(self.next_id);
            self.next_id += 1;
        }
        while self.open.len() > 3 && self.random.bool() {
            let index = self.random.usize(..self.open.len());
            self.closed.insert(0, self.open.remove(index));
        }
        self.closed.truncate(10);
    }

    /// A good answer with calls. It is odd now and then: a list is missing, or a call is there twice.
    fn calls(&mut self) -> Answer {
        let call = |id: &u32| {
            format!(
                "{{\"callId\":{id},\"priority\":{},\"status\":{},\"origin\":0}}",
                id % 3 + 1,
                id % 2
            )
        };
        let list = |ids: &[u32]| ids.iter().map(call).collect::<Vec<_>>().join(",");
        let mut open = format!("[{}]", list(&self.open));
        let mut closed = format!("[{}]", list(&self.closed));
        match self.random.u32(..30) {
            0 => open = String::from("null"),
            1 => closed = String::from("null"),
            2 => open = open.replacen('[', "[{\"callId\":1},{\"callId\":1},", 1),
            _ => {}
        }
        let serial = self.serial;
        Answer::ok(&format!(
            "{{\"activeCalls\":{open},\"emergencyCalls\":[{}],\"closedCalls\":{closed},\"ClosedCallCount\":{serial}}}",
            self.next_id
        ))
    }

    /// A good answer with units: as many dispatchers as its number says.
    fn units(&self) -> Answer {
        let rows = (0..self.serial % 50).map(|id| format!("{{\"id\":{id},\"status\":2,\"isDispatch\":true}}"));
        Answer::ok(&format!("[{}]", rows.collect::<Vec<_>>().join(",")))
    }

    /// A bad answer, and what it asks for.
    fn bad(&mut self, now: Duration) -> (Answer, Fault) {
        let seconds = self.random.u64(1..400);
        let date = |unix: Duration| httpdate::fmt_http_date(std::time::UNIX_EPOCH + unix);
        let pause = Duration::from_secs(seconds);
        match self.random.u32(..14) {
            0 => (Answer::status(500, &[], "<html>"), Fault::Plain),
            1 => (Answer::BytesThenReset(Vec::new()), Fault::Plain),
            2 => (
                Answer::BytesThenEnd(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"act".to_vec()),
                Fault::Plain,
            ),
            3 => (Answer::ok("{\"activeCalls\":7}"), Fault::Plain),
            4 => (Answer::ok(""), Fault::Plain),
            5 => (Answer::status(302, &[("Location", "/login")], ""), Fault::Plain),
            6 => (
                Answer::status(503, &[("Retry-After", &seconds.to_string())], ""),
                Fault::PauseFeed(pause),
            ),
            7 => (
                Answer::status(429, &[("Retry-After", &seconds.to_string())], ""),
                Fault::PauseEndpoint(pause),
            ),
            8 => {
                let headers = [("Date", &*date(now)), ("Retry-After", &date(now + pause))];
                (Answer::status(429, &headers, ""), Fault::PauseEndpoint(pause))
            }
            9 => (
                Answer::status(429, &[("X-RateLimit-Reset", "nonsense")], ""),
                Fault::PauseEndpoint(60 * SECOND),
            ),
            10 => (
                Answer::status(429, &[("Retry-After", "999999999")], ""),
                Fault::PauseEndpoint(HOUR),
            ),
            11 => (Answer::status(401, &[], ""), Fault::PauseAccount(300 * SECOND)),
            12 => (
                Answer::status(400, &[], "INVALID REQUEST TYPE"),
                Fault::PauseEndpoint(300 * SECOND),
            ),
            _ => (Answer::status(404, &[], "not here"), Fault::Plain),
        }
    }
}

/// The exporter beside the CAD, on one clock.
struct Setup {
    cad: Cad,
    clock: ManualClock,
    variables: Vec<(&'static str, &'static str)>,
}

impl Setup {
    async fn new(variables: &[(&'static str, &'static str)]) -> Self {
        let cad = Cad::start().await;
        let clock = ManualClock::new(NOON);
        cad.keep_time(&clock, LATENCY);
        Self {
            cad,
            clock,
            variables: [
                &[("SONORANCAD_API_VERSION", "v1"), ("SONORANCAD_SERVER_IDS", "1,2")],
                variables,
            ]
            .concat(),
        }
    }

    fn start(&self) -> Running {
        Running::start_with(&self.cad.url(), &self.variables, &self.clock())
    }

    fn clock(&self) -> Clock {
        Clock::Manual(self.clock.clone())
    }

    /// Chooses the next answers, so many of 40 bad ones.
    fn expect(&self, world: &mut World, watch: &mut Watch, bad: u32) {
        let now = self.clock().now().unix;
        for server in SERVERS.map(Some).into_iter().chain([None]) {
            let (answer, fault) = match server {
                _ if world.random.u32(..40) < bad => world.bad(now),
                Some(_) => (world.calls(), Fault::None),
                None => (world.units(), Fault::None),
            };
            watch.expect(server, fault, world.serial);
            match server {
                Some(server) => self.cad.answer_server(server, answer),
                None => self.cad.answer_units(answer),
            }
        }
    }

    /// Scrapes, and checks what the scrape shows.
    async fn scrape(&self, exporter: &Running, watch: &mut Watch) {
        let text = exporter.scrape_within("60").await;
        watch.note_requests(self.cad.take_requests());
        watch.check(&text, self.clock().now());
    }
}

/// A day with faults of every kind, each of which lasts for some scrapes, with restarts and a wall clock that steps.
async fn play_day(seed: u64) -> Watch {
    let variables = [
        ("SONORANCAD_REQUESTS_PER_MINUTE", "4"),
        ("SONORANCAD_UNIT_REQUESTS_PER_MINUTE", "2"),
        ("SONORANCAD_COLLECT", "calls,units"),
    ];
    let setup = Setup::new(&variables).await;
    let mut world = World::new(seed);
    let mut watch = Watch::new([4, 2], 120 * SECOND);
    let mut exporter = setup.start();
    let begin = setup.clock().now();
    let mut trouble = 0;
    while setup.clock().now().since(begin) < DAY {
        setup.clock.advance(SECOND * world.random.u32(5..110));
        match world.random.u32(..300) {
            0 => setup.clock.set_unix(setup.clock().now().unix.saturating_sub(HOUR)),
            1 => setup.clock.set_unix(setup.clock().now().unix + DAY),
            2 => {
                exporter.stop().await;
                exporter = setup.start();
                watch.restart();
            }
            _ => {}
        }
        world.live();
        // It fails for a while, and for a while it does not.
        if trouble == 0 && world.random.u32(..25) == 0 {
            trouble = world.random.u32(1..12);
        }
        trouble = u32::saturating_sub(trouble, 1);
        setup.expect(&mut world, &mut watch, if trouble > 0 { 30 } else { 1 });
        setup.scrape(&exporter, &mut watch).await;
    }
    // No pause is longer than an hour.
    setup.clock.advance(HOUR + SECOND);
    setup.expect(&mut world, &mut watch, 0);
    setup.scrape(&exporter, &mut watch).await;
    assert!(watch.are_all_up(), "it recovers");
    watch
}

async fn assert_promises(seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        let watch = play_day(seed).await;
        eprintln!("seed {seed}: {watch}");
        // The day is worth the name.
        assert!(watch.scrapes > 1000 && watch.good > 500 && watch.bad > 100, "{watch}");
        assert!(watch.stale > 20, "{watch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_random_faults_breaks_no_promise() {
    assert_promises(1..=1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn ten_more_days_of_random_faults_break_no_promise() {
    assert_promises(2..=11).await;
}

/// Each request gets the other answer. No scrape comes away with a lie, and the failures back off no further than a TTL, since
/// each success ends the row.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_alternates_at_every_request_for_ten_minutes_breaks_no_promise() {
    let variables = [
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ("SONORANCAD_CACHE_TTL", "5s"),
        ("SONORANCAD_SERVER_IDS", "1"),
    ];
    let setup = Setup::new(&variables).await;
    let mut world = World::new(3);
    let mut watch = Watch::new([60, 60], 120 * SECOND);
    let exporter = setup.start();
    let mut is_bad = false;
    let mut requests = 0;
    for _ in 0..120 {
        setup.clock.advance(5 * SECOND);
        world.live();
        let (answer, fault) = if is_bad {
            (Answer::status(502, &[], ""), Fault::Plain)
        } else {
            (world.calls(), Fault::None)
        };
        watch.expect(Some(1), fault, world.serial);
        setup.cad.answer_server(1, answer);
        setup.scrape(&exporter, &mut watch).await;
        if watch.good + watch.bad > requests {
            requests = watch.good + watch.bad;
            is_bad = !is_bad;
        }
    }
    eprintln!("{watch}");
    assert!(watch.good >= 50 && watch.good.abs_diff(watch.bad) <= 1, "{watch}");
}
