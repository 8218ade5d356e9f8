//! Replicas that share state through a real server of Redis.

mod away;
mod chaos;
mod connection;
mod deployed;
mod redis;
mod setups;
mod sharing;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use enum_map::EnumMap;
use sonorancad_exporter::account::{Account, Asking, Begin, Store};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::config::{ApiEndpoint, ApiVersion, Config, Setting};

use self::redis::Redis;
use crate::support::cad::{Answer, Cad, Request};
use crate::support::exporter::{Running, eventually, has, value};
use crate::support::program::{Program, command};

/// Calls with these ids, pending.
fn calls(ids: &[u32]) -> Answer {
    let calls: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"callId":{id},"priority":1,"status":0,"origin":0,"idents":[]}}"#))
        .collect();
    Answer::ok(&format!(
        r#"{{"activeCalls":[{}],"emergencyCalls":[],"closedCalls":[]}}"#,
        calls.join(",")
    ))
}

/// A replica with a TTL of a second.
fn replica(cad: &Cad, redis: &Redis, more: &[(&str, &str)]) -> Running {
    let mut variables = vec![
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ("SONORANCAD_SHARED_STATE_URL", &*redis.url),
    ];
    variables.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    variables.extend(more);
    Running::start_with(&cad.url(), &variables, &Clock::system())
}

/// What replicas have in common: everything but the exporter itself.
fn common(text: &str) -> String {
    let is_own = |line: &&str| {
        let own = ["process_", "sonorancad_exporter_", "sonorancad_config_"];
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        own.iter().any(|own| name.starts_with(own))
    };
    text.lines().filter(|line| !is_own(line)).collect::<Vec<_>>().join("\n")
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

const OPENED: &str = r#"sonorancad_calls_opened_total{server_id="1",priority="1",origin="caller"}"#;
const PENDING: &str = r#"sonorancad_active_calls{server_id="1",priority="1",status="pending",origin="caller"}"#;
const REQUESTS: &str = r#"sonorancad_api_requests_total{server_id="1",api_endpoint="calls"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_fetch_once_and_say_the_same() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let replicas = [(); 3].map(|()| replica(&cad, &redis, &[("SONORANCAD_CACHE_TTL", "30s")]));
    let mut texts = Vec::new();
    for replica in &replicas {
        texts.push(common(&replica.scrape().await));
    }
    assert_eq!(cad.requests().len(), 1);
    assert_eq!(value(&texts[0], PENDING), 1.0);
    assert_eq!(value(&texts[0], "sonorancad_shared_state_up"), 1.0);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_whichever_replica_fetches_and_when_all_are_replaced() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    let mut ids = vec![1];
    cad.answer(calls(&ids));
    let mut replicas = [(); 2].map(|()| replica(&cad, &redis, &[]));
    replicas[0].scrape().await;
    for round in 0..6_u32 {
        ids.push(round + 2);
        cad.answer(calls(&ids));
        pass(1.1).await;
        if round == 3 {
            for old in std::mem::replace(&mut replicas, [(); 2].map(|()| replica(&cad, &redis, &[]))) {
                old.stop().await;
            }
        }
        let texts = [
            common(&replicas[usize::from(round % 2 == 0)].scrape().await),
            common(&replicas[usize::from(round % 2 == 1)].scrape().await),
        ];
        assert_eq!(texts[0], texts[1]);
        assert_eq!(value(&texts[0], OPENED), f64::from(round + 1));
        assert_eq!(value(&texts[0], REQUESTS), f64::from(round + 2));
        assert_eq!(cad.requests().len(), round as usize + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_budget_counts_for_all_and_a_dead_replica_frees_its_slot() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    let more = [
        ("SONORANCAD_REQUESTS_PER_MINUTE", "3"),
        ("SONORANCAD_SERVER_IDS", "1,2,3,4,5"),
    ];
    let replicas = [(); 3].map(|()| replica(&cad, &redis, &more));
    for _ in 0..3 {
        let scrapes = replicas.iter().map(Running::scrape);
        futures_util::future::join_all(scrapes).await;
    }
    assert_eq!(cad.requests().len(), 3);
    let slots = redis.names(":slots:calls:v1");
    assert_eq!(redis.command(&["ZCARD", &slots[0]]), "3");
    // Every slot has a moment at which it is free, whatever becomes of its replica.
    let now: f64 = redis.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let scores = redis.command(&["ZRANGE", &slots[0], "0", "-1", "WITHSCORES"]);
    for score in scores.lines().skip(1).step_by(2) {
        let free_in = score.parse::<f64>().unwrap() / 1000.0 - now;
        assert!((50.0..=61.0).contains(&free_in), "{free_in}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_given_back_unused_is_free_at_once() {
    let Some(redis) = Redis::start() else { return };
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", "c"),
        ("SONORANCAD_API_KEY", "k"),
        ("SONORANCAD_API_VERSION", "v2"),
        ("SONORANCAD_SHARED_STATE_URL", &redis.url),
    ];
    let config = Config::read(Setting::from_environment(
        variables.map(|(name, text)| (name.into(), text.into())),
    ));
    let config = config.unwrap();
    let (api, clock) = (config.community.unwrap().api, Clock::system());
    let store = Store::new(&config.shared_state.unwrap(), &config.network, &clock).unwrap();
    let budgets = EnumMap::from_fn(|_| EnumMap::from_fn(|_| 1));
    let account = Account::new_shared(&budgets, &clock, &Arc::new(store), api.account());
    let feed = Arc::new(account).shared_feed(ApiEndpoint::Calls, 1, &api).unwrap();
    let asking = Asking {
        api: ApiVersion::V2,
        may_change: false,
        known: 0,
        ttl: Duration::from_secs(30),
        known_scrapes: (0, 0),
        scrapes: (1, 0),
        is_forced: false,
    };
    let (Begin::Granted(_, (permit, _)), _) = feed.begin(asking).await else {
        panic!("no permit")
    };
    let taken = || redis.names(":slots:").len();
    assert_eq!(taken(), 2, "of both versions");
    permit.give_back().await;
    assert_eq!(taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_begins_while_a_slot_is_waited_for_counts() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    let more = [
        ("SONORANCAD_COLLECT", "calls,units"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "1"),
        ("SONORANCAD_CACHE_TTL", "1s"),
    ];
    replica(&cad, &redis, &more).scrape().await;
    // The slot for units is free, and that for calls will be in two seconds.
    for (endpoint, free_in) in [("units", -1), ("calls", 2)] {
        let slots = redis.names(&format!(":slots:{endpoint}:v1"));
        redis.command(&["DEL", &slots[0]]);
        let now = redis.command(&["TIME"]).lines().next().unwrap().parse::<i64>().unwrap();
        redis.command(&["ZADD", &slots[0], &format!("{}000", now + free_in), "another"]);
    }
    for feed in redis.names(":feed:") {
        redis.command(&["HSET", &feed, "fetched", "0"]);
    }
    cad.answer_units(Answer::status(401, &[], ""));
    let before = cad.requests().len();
    replica(&cad, &redis, &more).scrape().await;
    let requests = cad.requests().split_off(before);
    let units: Vec<_> = requests.iter().map(Request::is_for_units).collect();
    assert_eq!(units, [true], "the key was refused before the slot was free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_that_one_replica_meets_pauses_all() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(Answer::status(429, &[("Retry-After", "300")], ""));
    let more = [("SONORANCAD_SERVER_IDS", "1,2")];
    let (one, other) = (replica(&cad, &redis, &more), replica(&cad, &redis, &more));
    let begun = cad.requests().len();
    one.scrape().await;
    // The two servers are asked at the same time.
    let asked = cad.requests().len();
    assert!((begun + 1..=begun + 2).contains(&asked));
    pass(1.1).await;
    let text = other.scrape().await;
    assert_eq!(cad.requests().len(), asked);
    assert_eq!(value(&text, r#"sonorancad_up{server_id="1"}"#), 0.0);
    let retry_at = value(
        &text,
        r#"sonorancad_api_retry_timestamp_seconds{server_id="1",api_endpoint="calls"}"#,
    );
    assert!(retry_at > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_learns_the_version_of_the_api_from_the_others() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer_v1(Some(Answer::status(410, &[], "")));
    let more = [("SONORANCAD_API_VERSION", "auto")];
    let one = replica(&cad, &redis, &more);
    one.scrape().await;
    assert_eq!(cad.requests().len(), 2);
    pass(1.1).await;
    let other = replica(&cad, &redis, &more);
    let text = other.scrape().await;
    assert!(
        has(
            &text,
            r#"sonorancad_server_info{server_id="1",name="",api_version="v2"}"#
        ),
        "{text}"
    );
    let requests = cad.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].line.contains("/v2/"), "{}", requests[2].line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stood_still_overwrites_nothing() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let variables = [
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_API_TIMEOUT", "1s"),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ("SONORANCAD_SHARED_STATE_URL", &*redis.url),
    ];
    let still = Program::start(command(&cad, &variables));
    still.scrape().await;
    pass(1.1).await;
    cad.hold();
    let scrape = tokio::spawn({
        let url = format!("http://{}/metrics", still.address);
        async move { crate::support::exporter::http().get(url).send().await }
    });
    eventually("it asks", async || cad.requests().len() == 2).await;
    Program::signal("STOP", still.child.id());
    cad.release();
    // Its lease ends by itself.
    let other = Program::start(command(&cad, &variables));
    for id in 2..5 {
        cad.answer(calls(&(1..=id).collect::<Vec<_>>()));
        eventually("another replica goes on", async || {
            value(&other.scrape().await, OPENED) == f64::from(id - 1)
        })
        .await;
    }
    let requests = value(&other.scrape().await, REQUESTS);
    Program::signal("CONT", still.child.id());
    let _ = scrape.await;
    // Calls would be found again, but not these.
    for _ in 0..3 {
        pass(1.1).await;
        assert!(value(&other.scrape().await, REQUESTS) > requests);
    }
    eventually("it knows what the other one wrote", async || {
        value(&still.scrape().await, OPENED) == 3.0
    })
    .await;
    assert_eq!(value(&other.scrape().await, OPENED), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_content_is_ignored_and_overwritten() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let one = replica(&cad, &redis, &[]);
    one.scrape().await;
    let names = redis.names("sonorancad:");
    assert_eq!(names.len(), 2, "{names:?}");
    let (feed, slots) = (redis.names(":feed:").remove(0), redis.names(":slots:").remove(0));
    let now: u64 = redis.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let in_an_hour = ((now + 3600) * 1000).to_string();
    for (round, break_it) in [
        vec!["HSET", &feed, "state", "nonsense", "version", "9000000000000"],
        vec!["HSET", &feed, "version", "x", "fetched", "-1", "pause", "1e300"],
        vec!["HSET", &feed, "lease_until", "nan"],
        vec!["HSET", &feed, "queries", "x", "hits", "", "format", "y"],
        vec!["HSET", &feed, "lease", "x", "lease_until", &in_an_hour],
        vec!["SET", &feed, "text"],
    ]
    .into_iter()
    .enumerate()
    {
        redis.command(&break_it);
        for slot in 0..60 {
            redis.command(&["ZADD", &slots, &in_an_hour, &slot.to_string()]);
        }
        if round == 5 {
            for name in &names {
                redis.command(&["SET", name, "text"]);
            }
        }
        let requests = cad.requests().len();
        let newcomer = replica(&cad, &redis, &[]);
        pass(1.1).await;
        let text = newcomer.scrape().await;
        assert_eq!(value(&text, PENDING), 1.0, "{break_it:?}");
        assert_eq!(value(&text, "sonorancad_shared_state_up"), 1.0, "{break_it:?}");
        assert_eq!(cad.requests().len(), requests + 1, "{break_it:?}");
        let next = replica(&cad, &redis, &[]);
        assert_eq!(value(&next.scrape().await, PENDING), 1.0, "{break_it:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_newer_exporter_is_left_alone() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let one = replica(&cad, &redis, &[]);
    one.scrape().await;
    let feed = redis.names(":feed:")[0].clone();
    redis.command(&["HSET", &feed, "format", "2"]);
    let state = || ["version", "state"].map(|field| redis.command(&["HGET", &feed, field]));
    let before = state();
    pass(1.1).await;
    cad.answer(calls(&[1, 2]));
    let text = one.scrape().await;
    assert_eq!(value(&text, PENDING), 2.0, "it goes on by itself");
    assert!(!has(&text, OPENED));
    assert_eq!(state(), before);
    let slots = &redis.names(":slots:calls:v1")[0];
    assert_eq!(redis.command(&["ZCARD", slots]), "2", "within the common budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_nowhere_in_the_store() {
    use crate::support::program::KEY;
    let Some(redis) = Redis::start() else { return };
    redis.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    let monitor = redis.monitor();
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let variables = [
        ("SONORANCAD_SHARED_STATE_URL", &*redis.url),
        ("SONORANCAD_CACHE_TTL", "1s"),
    ];
    let program = Program::start(command(&cad, &variables));
    for _ in 0..3 {
        program.scrape().await;
        pass(1.1).await;
    }
    let mut said = monitor.end();
    assert!(said.contains("begin") && said.contains("commit"), "{said}");
    said += &redis.command(&["SLOWLOG", "GET", "1000"]);
    for name in redis.names("") {
        let reading = if name.contains(":slots:") {
            ["ZRANGE", &name, "0", "-1"].to_vec()
        } else {
            vec!["HGETALL", &name]
        };
        said += &redis.command(&reading);
        said += &name;
        let life: u64 = redis.command(&["TTL", &name]).parse().unwrap();
        assert!((600_000..=604_800).contains(&life), "{name}: {life}");
    }
    for secret in [KEY, "mycommunity", "callId"] {
        assert!(!said.to_lowercase().contains(secret), "{secret}");
    }
}
