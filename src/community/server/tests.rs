use tokio::sync::oneshot;

use super::*;
use crate::client::{Client, Retry};
use crate::clock::ManualClock;
use crate::config::{Config, Setting};
use crate::snapshot::{Origin, Priority};

const SECOND: Duration = Duration::from_secs(1);

/// Servers of one account on a clock that is moved by hand. Nothing here opens a socket: each fetch
/// is handed in.
struct House {
    clock: ManualClock,
    servers: Vec<Arc<Server>>,
}

impl House {
    fn new(server_ids: &str, requests_per_minute: &str) -> Self {
        let variables = [
            ("SONORANCAD_COMMUNITY_ID", "c"),
            ("SONORANCAD_API_KEY", "k"),
            ("SONORANCAD_SERVER_IDS", server_ids),
            ("SONORANCAD_REQUESTS_PER_MINUTE", requests_per_minute),
        ];
        let variables = variables.map(|(name, text)| (name.into(), text.into()));
        let config = Config::read(Setting::from_environment(variables)).unwrap();
        let config = config.community.unwrap();
        let account = Arc::new(Account::new(config.account.requests_per_minute));
        let client = Arc::new(Client::new(false).unwrap());
        let clock = ManualClock::new(Duration::from_secs(1_795_392_000));
        let new = |server| {
            Arc::new(Server::new(
                None,
                server,
                &config,
                Arc::new(config.api.clone()),
                account.clone(),
                client.clone(),
                Clock::Manual(clock.clone()),
            ))
        };
        Self {
            servers: config.servers.iter().map(new).collect(),
            clock,
        }
    }

    /// Scrapes one server; the fetch, if one starts, ends at once like this.
    async fn scrape(&self, index: usize, outcome: Result<Snapshot, FetchError>) -> ServerReport {
        if let Some(mut landing) = self.servers[index].join_or_start_with(|_| async { outcome }) {
            landing.changed().await.unwrap();
        }
        self.servers[index].report()
    }

    fn pass(&self, seconds: u32) {
        self.clock.advance(SECOND * seconds);
    }
}

fn rate_limited(seconds: u32) -> Result<Snapshot, FetchError> {
    Err(FetchError::RateLimited(Retry::After(SECOND * seconds)))
}

#[expect(clippy::unnecessary_wraps, reason = "the outcome of a fetch, like the others")]
fn good() -> Result<Snapshot, FetchError> {
    Ok(Snapshot::default())
}

#[tokio::test]
async fn scrapes_at_the_same_time_share_one_fetch() {
    let house = House::new("1", "4");
    let (sender, receiver) = oneshot::channel();
    let first = house.servers[0].join_or_start_with(|_| async { receiver.await.unwrap() });
    let mut others: Vec<_> = (0..500)
        .map(|_| {
            house.servers[0]
                .join_or_start_with(|_| async { panic!("a second fetch") })
                .unwrap()
        })
        .collect();
    drop(first);
    sender.send(good()).unwrap();
    for landing in &mut others {
        landing.changed().await.unwrap();
    }
    let report = house.servers[0].report();
    assert_eq!(
        (report.counts.requests, report.counts.queries, report.counts.hits),
        (1, 501, 0)
    );
    assert!(report.is_up);
}

#[tokio::test]
async fn a_fetch_goes_on_when_everyone_has_hung_up() {
    let house = House::new("1", "4");
    let (sender, receiver) = oneshot::channel();
    drop(house.servers[0].join_or_start_with(|_| async { receiver.await.unwrap() }));
    let mut watcher = house.servers[0].landings.subscribe();
    sender.send(good()).unwrap();
    watcher.changed().await.unwrap();
    assert!(
        house.scrape(0, rate_limited(60)).await.is_up,
        "found in the cache, without a second fetch"
    );
}

#[tokio::test]
async fn a_panic_in_a_fetch_is_a_failure_like_any_other() {
    let house = House::new("1", "4");
    let mut landing = house.servers[0]
        .join_or_start_with(|_| async { panic!("a fault, as this test plays it") })
        .unwrap();
    landing.changed().await.unwrap();
    let report = house.servers[0].report();
    assert_eq!(report.counts.errors["OTHER"], 1);
    assert!(!report.is_up);
    house.pass(25);
    assert!(house.scrape(0, good()).await.is_up, "and the next fetch is well");
}

#[tokio::test]
async fn a_rate_limit_pauses_every_server_of_the_account() {
    let house = House::new("1,2", "4");
    assert!(house.scrape(0, good()).await.is_up);
    let report = house.scrape(1, rate_limited(90)).await;
    assert_eq!(report.retry_at, Some(Duration::from_secs(1_795_392_090)));
    let sibling = house.scrape(0, good()).await;
    assert!(!sibling.is_up && sibling.snapshot.is_some() && sibling.retry_at == report.retry_at);
    house.pass(89);
    assert_eq!(
        house.scrape(0, good()).await.counts.requests,
        1,
        "the pause holds for the sibling"
    );
    house.pass(1);
    let report = house.scrape(0, good()).await;
    assert!(report.is_up && report.counts.requests == 2 && report.retry_at.is_none());
}

#[tokio::test]
async fn a_success_that_began_before_a_pause_does_not_lift_it() {
    let house = House::new("1,2", "4");
    let (sender, receiver) = oneshot::channel();
    let mut slow = house.servers[0]
        .join_or_start_with(|_| async { receiver.await.unwrap() })
        .unwrap();
    house.scrape(1, rate_limited(60)).await;
    sender.send(good()).unwrap();
    slow.changed().await.unwrap();
    let report = house.servers[0].report();
    assert!(!report.is_up && report.snapshot.is_some() && report.retry_at.is_some());
    house.pass(60);
    assert!(
        house.servers[0].report().is_up,
        "its answer was good, and nothing forbids asking any more"
    );
}

#[tokio::test]
async fn a_short_pause_does_not_cut_a_long_one() {
    let house = House::new("1,2", "4");
    let (sender, receiver) = oneshot::channel();
    let mut slow = house.servers[0]
        .join_or_start_with(|_| async { receiver.await.unwrap() })
        .unwrap();
    house.scrape(1, rate_limited(3600)).await;
    sender.send(rate_limited(0)).unwrap();
    slow.changed().await.unwrap();
    house.pass(3599);
    assert!(house.servers[0].report().retry_at.is_some());
}

#[tokio::test]
async fn an_unknown_server_takes_nothing_from_its_sibling() {
    let house = House::new("1,2", "4");
    house.scrape(0, Err(FetchError::UnknownServer)).await;
    assert!(house.scrape(1, good()).await.is_up);
    house.pass(299);
    assert_eq!(house.scrape(0, good()).await.counts.requests, 1);
    house.pass(1);
    assert_eq!(house.scrape(0, good()).await.counts.requests, 2);
}

#[tokio::test]
async fn a_refused_key_pauses_the_account_for_five_minutes() {
    let house = House::new("1,2", "4");
    house.scrape(0, Err(FetchError::Unauthorized)).await;
    house.pass(299);
    assert_eq!(house.scrape(1, good()).await.counts.requests, 0);
    house.pass(1);
    assert_eq!(house.scrape(1, good()).await.counts.requests, 1);
}

#[tokio::test]
async fn without_a_slot_the_snapshot_is_served_until_it_is_stale() {
    let house = House::new("1,2", "1");
    assert_eq!(house.scrape(0, good()).await.ttl, SECOND * 120);
    assert!(
        house.scrape(1, good()).await.snapshot.is_none(),
        "the only slot is taken"
    );
    house.pass(60);
    assert!(house.scrape(1, good()).await.is_up);
    house.pass(59);
    assert!(house.scrape(0, good()).await.is_up);
    house.pass(241 - 119);
    let report = house.servers[0].report();
    assert!(!report.is_up && report.snapshot.is_none() && report.last_success.is_some());
}

#[tokio::test]
async fn a_step_of_the_wall_clock_changes_only_what_is_shown() {
    let house = House::new("1", "4");
    house.scrape(0, rate_limited(60)).await;
    house.clock.set_unix(Duration::from_secs(9_000_000_000));
    house.pass(59);
    assert_eq!(house.scrape(0, good()).await.counts.requests, 1);
    house.clock.set_unix(Duration::ZERO);
    house.pass(1);
    let report = house.scrape(0, good()).await;
    assert_eq!((report.counts.requests, report.last_success), (2, Some(SECOND)));
}

#[tokio::test]
async fn what_a_fetch_brings_is_as_of_its_start() {
    let house = House::new("1", "4");
    let pending = |id| {
        let json =
            format!(r#"{{"activeCalls":[{{"callId":{id},"priority":1,"status":0,"origin":0}}],"closedCalls":[]}}"#);
        client::decode_snapshot(json.as_bytes())
    };
    let begin = Clock::Manual(house.clock.clone()).now();
    let (sender, receiver) = oneshot::channel();
    let mut landing = house.servers[0]
        .join_or_start_with(|closed_limit| async move {
            assert_eq!(closed_limit, 100);
            receiver.await.unwrap()
        })
        .unwrap();
    house.pass(5);
    sender.send(pending(1)).unwrap();
    landing.changed().await.unwrap();
    let oldest = house.servers[0].report().lifecycles.oldest_pending(Priority::One);
    assert_eq!(oldest, Some(begin));

    house.pass(30);
    let mut landing = house.servers[0]
        .join_or_start_with(|closed_limit| async move {
            assert_eq!(closed_limit, 10);
            pending(2)
        })
        .unwrap();
    landing.changed().await.unwrap();
    let report = house.servers[0].report();
    assert_eq!(report.lifecycles.opened(Priority::One, Origin::Caller), 1);
    assert_eq!(report.last_success, Some((begin + 35 * SECOND).unix));
}

#[tokio::test]
async fn the_next_fetch_starts_only_after_waiters_of_the_last_have_been_told() {
    let house = House::new("1", "60");
    let mut first = house.servers[0].join_or_start_with(|_| async { good() }).unwrap();
    first.changed().await.unwrap();
    house.pass(30);
    let (sender, receiver) = oneshot::channel();
    let mut second = house.servers[0]
        .join_or_start_with(|_| async { receiver.await.unwrap() })
        .unwrap();
    assert!(!second.has_changed().unwrap(), "the first landing is not the second's");
    sender.send(good()).unwrap();
    second.changed().await.unwrap();
}
