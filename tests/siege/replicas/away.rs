//! What replicas show and ask while the store is away or slow, and when it is back.

use std::time::{Duration, SystemTime};

use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID};
use tempfile::tempdir;

use super::redis::Redis;
use super::{OPENED, PENDING, REQUESTS, calls, pass, replica};
use crate::support::cad::Cad;
use crate::support::exporter::{Running, eventually, failures, has, value};
use crate::support::program::Program;
use crate::support::simulated;

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_there_are_no_counters_and_they_go_on_when_it_is_back() {
    let Some(mut redis) = Redis::start_with(tempdir().unwrap(), &["--appendonly", "yes"]) else {
        return;
    };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let replica = replica(&cad, &redis, &[]);
    replica.scrape().await;
    cad.answer(calls(&[1, 2]));
    pass(1.1).await;
    let before = replica.scrape().await;
    assert_eq!(value(&before, OPENED), 1.0);
    redis.kill();
    cad.answer(calls(&[1, 2, 3]));
    pass(1.1).await;
    let away = replica.scrape().await;
    assert_eq!(value(&away, "sonorancad_shared_state_up"), 0.0);
    let page = replica.get("/").await;
    assert!(page.text().contains("The shared state cannot be reached."));
    assert_eq!(value(&away, PENDING), 2.0, "the last known value");
    assert!(
        !has(&away, OPENED) && !has(&away, REQUESTS),
        "another replica may have counted more"
    );
    for _ in 0..3 {
        pass(1.1).await;
        replica.scrape().await;
    }
    assert_eq!(cad.requests().len(), 2, "those of another replica may still count");
    redis.start_again();
    eventually("the store is used again", async || {
        pass(0.2).await;
        let text = replica.scrape().await;
        value(&text, "sonorancad_shared_state_up") == 1.0 && value(&text, OPENED) == 2.0
    })
    .await;
}

/// In simulated time, for the replicas.
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_the_store_costs_one_request_per_minute_and_replica_and_no_count() {
    let Some(mut redis) = Redis::start_with(tempdir().unwrap(), &["--appendonly", "yes"]) else {
        return;
    };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let variables = [
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_SHARED_STATE_URL", &redis.url),
    ];
    let start = || Running::start_with(&cad.url(), &variables, &Clock::Manual(clock.clone()));
    let replicas = [start(), start()];
    replicas[0].scrape().await;
    cad.answer(calls(&[1, 2]));
    for replica in &replicas {
        eventually("both calls are known", async || {
            pass(0.2).await;
            clock.advance(Duration::from_millis(200));
            value(&replica.scrape().await, PENDING) == 2.0
        })
        .await;
    }
    redis.kill();
    let mut asked_at = [vec![], vec![]];
    for second in (15..=3600).step_by(15) {
        clock.advance(Duration::from_secs(15));
        for (replica, asked_at) in replicas.iter().zip(&mut asked_at) {
            let before = cad.requests().len();
            let text = replica.scrape().await;
            asked_at.extend((before..cad.requests().len()).map(|_| second));
            assert_eq!(value(&text, "sonorancad_shared_state_up"), 0.0);
            assert_eq!(value(&text, PENDING), 2.0);
            assert!(!has(&text, OPENED));
            if !asked_at.is_empty() {
                let oldest = r#"sonorancad_oldest_pending_call_timestamp_seconds{server_id="1",priority="1"}"#;
                assert!(!has(&text, oldest));
            }
        }
    }
    for asked_at in &asked_at {
        assert_eq!((asked_at[0], asked_at.len()), (60, 60), "{asked_at:?}");
        assert!(asked_at.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{asked_at:?}");
    }
    cad.answer(calls(&[1, 2, 3]));
    redis.start_again();
    for replica in &replicas {
        eventually("the store is used again", async || {
            pass(0.2).await;
            clock.advance(Duration::from_secs(1));
            let text = replica.scrape().await;
            value(&text, "sonorancad_shared_state_up") == 1.0 && value(&text, OPENED) == 2.0
        })
        .await;
    }
}

/// In simulated time.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_without_the_store_asks_as_rarely_as_one_that_loses_it() {
    let Some(mut redis) = Redis::start() else { return };
    redis.kill();
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let variables = [
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_SHARED_STATE_URL", &redis.url),
    ];
    let start = || Running::start_with(&cad.url(), &variables, &Clock::Manual(manual.clone()));
    // It crashes every ten seconds.
    for _ in 0..18 {
        let replica = start();
        let text = replica.scrape().await;
        assert_eq!(value(&text, "sonorancad_shared_state_up"), 0.0);
        assert_eq!(value(&text, r#"sonorancad_up{server_id="1"}"#), 0.0);
        replica.stop().await;
        manual.advance(Duration::from_secs(10));
    }
    assert_eq!(cad.requests().len(), 0, "those that it sent before may still count");
    let replica = start();
    for second in (0..=180).step_by(15) {
        replica.scrape().await;
        assert_eq!(cad.requests().len(), second / 60, "after {second} s");
        manual.advance(Duration::from_secs(15));
    }
}

/// At the limit of version v2, beside a game server, in simulated time for all but the store.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_an_hour_without_the_store_is_counted_when_it_is_back() {
    let Some(mut redis) = Redis::start_with(tempdir().unwrap(), &["--appendonly", "yes"]) else {
        return;
    };
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let clock = Clock::Manual(manual.clone());
    let (cad, url) = simulated::start(5, rate_for_a_busy_hour(&manual).await, 1, &clock).await;
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
        ("SONORANCAD_API_KEY", API_KEY),
        ("SONORANCAD_API_VERSION", "v2"),
        ("SONORANCAD_SHARED_STATE_URL", &redis.url),
    ];
    let replicas = [(); 3].map(|()| Running::start_with(&url, &variables, &clock));
    let before = cad.statistics(1).unwrap().opened();
    for replica in &replicas {
        replica.scrape().await;
    }
    // One of them knows more than the others.
    let feed = &redis.names(":feed:")[0];
    redis.command(&["HSET", feed, "fetched", "1"]);
    manual.advance(Duration::from_secs(30));
    replicas[0].scrape().await;
    redis.kill();
    for _ in 0..240 {
        manual.advance(Duration::from_secs(15));
        for replica in &replicas {
            replica.scrape().await;
        }
    }
    redis.start_again();
    redis.command(&["HSET", feed, "fetched", "1"]);
    let slots = &redis.names(":slots:calls:v2")[0];
    let alone = || redis.command(&["ZRANGE", slots, "0", "-1"]).matches("alone:").count();
    // What they show is no longer fresh.
    manual.advance(Duration::from_secs(30));
    for replica in &replicas {
        eventually("the store is used again", async || {
            pass(0.2).await;
            let text = replica.scrape().await;
            assert_eq!(value(&text, r#"sonorancad_up{server_id="1"}"#), 1.0);
            value(&text, "sonorancad_shared_state_up") == 1.0
        })
        .await;
    }
    assert_eq!(alone(), 1, "what the first one has sent in the last minute counts");
    // That minute passes.
    redis.command(&["DEL", slots, &slots.replace(":v2", ":v1")]);
    manual.advance(Duration::from_secs(60));
    let text = replicas[0].scrape().await;
    assert_eq!(failures(&text), []);
    let opened = cad.statistics(1).unwrap().opened() - before;
    let series = text
        .lines()
        .filter(|line| line.starts_with("sonorancad_calls_opened_total{"));
    let counted: u64 = series
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert!(opened > 200);
    assert_eq!(counted, opened);
}

/// The calls per hour, on average over a week, of a community to which 300 come in the next hour, whatever the time of day.
/// More than 400 would be too many to list.
async fn rate_for_a_busy_hour(clock: &ManualClock) -> u32 {
    const PROBED: u32 = 1000;
    let probing = ManualClock::new(Clock::Manual(clock.clone()).now().unix);
    let (cad, _) = simulated::start(5, PROBED, 1, &Clock::Manual(probing.clone())).await;
    let before = cad.statistics(1).unwrap().opened();
    probing.advance(Duration::from_secs(3600));
    let opened = u32::try_from(cad.statistics(1).unwrap().opened() - before).unwrap();
    300 * PROBED / opened
}

/// Two replicas, of which one knows both requests that have been sent, and the other one only the first.
async fn one_knows_more(cad: &Cad, redis: &Redis) -> [Running; 2] {
    let replicas = [(); 2].map(|()| replica(cad, redis, &[]));
    for replica in &replicas {
        replica.scrape().await;
    }
    pass(1.1).await;
    replicas[0].scrape().await;
    assert_eq!(cad.requests().len(), 2);
    replicas
}

/// Lets time pass since a replica has first met a store that has lost the state. With a TTL of 1 s, all of them have 12 s to say
/// what they know, and the one that knows most has as much again to write it.
fn let_search_last(redis: &Redis, seconds: u64) {
    let now: u64 = redis.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let lost_at = (now - seconds).to_string() + "000";
    redis.command(&["HSET", &redis.names(":feed:")[0], "lost_at", &lost_at]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_is_filled_by_the_replica_that_knows_the_newest_state() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let [knows_most, knows_less] = one_knows_more(&cad, &redis).await;
    redis.command(&["FLUSHALL"]);
    let newcomer = replica(&cad, &redis, &[]);
    for is_over in [false, true] {
        if is_over {
            let_search_last(&redis, 13);
        }
        for replica in [&knows_less, &newcomer] {
            pass(1.1).await;
            let text = replica.scrape().await;
            assert!(!has(&text, REQUESTS), "it shows less than another one has shown");
        }
        assert_eq!(cad.requests().len(), 2, "another one may know more");
        if !is_over {
            pass(1.1).await;
            let text = knows_most.scrape().await;
            assert_eq!(value(&text, PENDING), 1.0, "the last known value");
        }
    }
    for replica in [&knows_most, &knows_less, &newcomer] {
        assert_eq!(value(&replica.scrape().await, REQUESTS), 3.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_does_not_wait_for_a_replica_that_is_gone() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let [gone, other] = one_knows_more(&cad, &redis).await;
    redis.command(&["FLUSHALL"]);
    pass(1.1).await;
    gone.scrape().await;
    gone.stop().await;
    let_search_last(&redis, 25);
    other.scrape().await;
    assert_eq!(value(&other.scrape().await, REQUESTS), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_flight_outlives_the_stores_memory_forgets_nothing() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let [flying, other] = one_knows_more(&cad, &redis).await;
    pass(1.1).await;
    cad.hold();
    let flight = async {
        flying.scrape().await;
    };
    let loss = async {
        eventually("it asks", async || cad.requests().len() == 3).await;
        redis.command(&["FLUSHALL"]);
        cad.release();
    };
    tokio::join!(flight, loss);
    for replica in [&other, &flying] {
        pass(1.1).await;
        replica.scrape().await;
    }
    let_search_last(&redis, 13);
    assert!(!has(&other.scrape().await, REQUESTS));
    for replica in [&flying, &other] {
        assert_eq!(value(&replica.scrape().await, REQUESTS), 4.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_delays_no_scrape_beyond_its_deadline() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let replica = replica(&cad, &redis, &[]);
    replica.scrape().await;
    pass(1.1).await;
    // All of its clients wait.
    Program::signal("STOP", redis.process());
    let text = replica.scrape_within("1").await;
    assert_eq!(value(&text, PENDING), 1.0, "the last known value");
    eventually("the store counts as away", async || {
        value(&replica.scrape_within("1").await, "sonorancad_shared_state_up") == 0.0
    })
    .await;
    Program::signal("CONT", redis.process());
    eventually("the store is used again", async || {
        pass(0.2).await;
        value(&replica.scrape().await, "sonorancad_shared_state_up") == 1.0
    })
    .await;
    // What it executes late takes no lease, for which the next fetch would wait.
    let feed = &redis.names(":feed:")[0];
    assert_eq!(redis.command(&["HEXISTS", feed, "lease"]), "0");
    let requests = cad.requests().len();
    eventually("the API is asked", async || {
        pass(0.2).await;
        replica.scrape().await;
        cad.requests().len() > requests
    })
    .await;
}
