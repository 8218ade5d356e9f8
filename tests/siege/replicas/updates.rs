//! Updates and rollbacks: replicas of two builds run side by side, of which the newer one writes the next format.

use std::path::Path;

use super::chaos::World;
use super::pass;
use super::redis::Redis;
use crate::support::exporter::has;
use crate::support::program::{BINARY, Program};

/// The build with the feature `next-format`, as `.ci/run` makes it; `None` where it is missing.
fn next_build() -> Option<&'static str> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/next-format/sonorancad-exporter");
    let is_there = Path::new(path).exists();
    assert!(is_there || std::env::var_os("CI").is_none(), "{path} is not built");
    if !is_there {
        eprintln!("skipped: {path} is not built");
    }
    is_there.then_some(path)
}

/// How often a replica has said that it leaves the state alone.
fn leaves_it_alone(replica: &mut Program) -> usize {
    let lines = replica.lines();
    lines
        .iter()
        .filter(|line| line.contains("a newer exporter has written"))
        .count()
}

fn format(world: &World) -> String {
    world.redis.command(&["HGET", &feed(world), "format"])
}

fn feed(world: &World) -> String {
    world.redis.names(":feed:")[0].clone()
}

const OPENED: &str = "sonorancad_calls_opened_total";

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_through_an_update_and_begin_anew_after_a_rollback() {
    let (Some(redis), Some(next)) = (Redis::start(), next_build()) else {
        return;
    };
    let mut world = World::start(redis, 2000).await;
    // It is never updated.
    let old = world.replica(BINARY);
    let look = async {
        pass(0.7).await;
        assert!(has(&old.scrape().await, OPENED));
    };
    tokio::join!(update(&mut world, next), look);
    let before = world.sum(OPENED);
    assert!(before > 0.0);
    assert!(!has(&old.scrape().await, OPENED));
    roll_back(&mut world).await;
    assert_eq!(world.empty, 0, "every scrape shows calls");

    // Ten minutes later, the older ones begin anew.
    pass(2.1).await;
    world.redis.command(&["HSET", &feed(&world), "asked", "0"]);
    world.text = old.scrape().await;
    assert_eq!(
        world.sum("sonorancad_api_requests_total"),
        2.0,
        "this one, and the last one by itself"
    );
    assert!(has(&world.text, OPENED) && world.sum(OPENED) == 0.0);
    assert_eq!(format(&world), "1");
    world.scrape().await;
    assert!(has(&world.text, OPENED));
}

/// In the end, the newer replicas have carried on what the older ones counted.
async fn update(world: &mut World, next: &str) {
    let mut said = Vec::new();
    let disturb = |world: &mut World, round: usize| {
        assert_eq!(format(world), if round <= 2 { "1" } else { "2" });
        if let 2 | 8 | 14 = round {
            said.push(leaves_it_alone(&mut world.replicas[round / 6]));
            world.replace_by(round / 6, next);
        }
        if round == 2 {
            // It is the next one that fetches.
            world.redis.command(&["HSET", &feed(world), "fetched", "0"]);
            world.turn = 2;
        }
    };
    world.run_for(17, 0.5, 2.5, disturb).await;
    assert_eq!(
        said,
        [0, 1, 1],
        "how often the older ones have said that they leave it alone"
    );
}

/// As long as a newer replica is there, the counters are its own. Then there are none.
async fn roll_back(world: &mut World) {
    for index in 0..3 {
        for _ in 0..4 {
            pass(0.5).await;
            world.scrape().await;
        }
        world.replace_by(index, BINARY);
    }
    assert_eq!(world.falls, Vec::<String>::new());
    for _ in 0..2 {
        world.scrape().await;
        assert!(!has(&world.text, OPENED));
    }
}
