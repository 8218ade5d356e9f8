mod states;

use enum_map::EnumMap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::*;
use crate::client::{Calls, Retry};
use crate::clock::ManualClock;
use crate::config::{Config, LabelTexts, ServerConfig, Setting};
use crate::snapshot::{CallSnapshot, Origin, Priority};
use crate::tracker::{CallStats, Oldest};

const SECOND: Duration = Duration::from_secs(1);

/// The feeds of several servers of one account, on a clock that is moved by hand. Nothing here opens a socket: each
/// fetch is handed in.
struct Fixture {
    clock: ManualClock,
    feeds: Vec<Arc<Feed<Calls>>>,
}

type Report = FeedReport<CallSnapshot, CallStats>;

impl Fixture {
    fn new(server_ids: &str, requests_per_minute: &str) -> Self {
        Self::of_version("v1", server_ids, requests_per_minute)
    }

    fn of_version(version: &str, server_ids: &str, requests_per_minute: &str) -> Self {
        let variables = [
            ("SONORANCAD_API_VERSION", version),
            ("SONORANCAD_COMMUNITY_ID", "c"),
            ("SONORANCAD_API_KEY", "k"),
            ("SONORANCAD_SERVER_IDS", server_ids),
            ("SONORANCAD_REQUESTS_PER_MINUTE", requests_per_minute),
        ];
        let variables = variables.map(|(name, text)| (name.into(), text.into()));
        let config = Config::read(Setting::from_environment(variables)).unwrap();
        let config = config.community.unwrap();
        let clock = ManualClock::new(Duration::from_secs(1_795_392_000));
        let plans = Plans::from_fn(|version| Calls::plan(&config, version));
        let budgets = EnumMap::from_fn(|_| plans.map(|_, plan| plan.requests_per_minute));
        let account = Arc::new(Account::new(&budgets, &Clock::Manual(clock.clone())));
        let client = Arc::new(Client::new(false).unwrap());
        let new = |server: &ServerConfig| {
            let source = Source {
                community: None,
                server_id: server.id,
                api: Arc::new(config.api.clone()),
                account: account.clone(),
                client: client.clone(),
                clock: Clock::Manual(clock.clone()),
            };
            Arc::new(Feed::new(source, plans))
        };
        Self {
            feeds: config.servers.iter().map(new).collect(),
            clock,
        }
    }

    /// Scrapes one server; the fetch, if one starts, ends at once with this outcome.
    async fn scrape(&self, index: usize, outcome: Result<CallSnapshot, FetchError>) -> Report {
        self.scrape_pages(index, [outcome]).await
    }

    /// The same with the outcomes of several pages.
    async fn scrape_pages<const PAGES: usize>(
        &self,
        index: usize,
        outcomes: [Result<CallSnapshot, FetchError>; PAGES],
    ) -> Report {
        let outcomes = Mutex::new(outcomes.into_iter());
        let fetch = move |_| {
            let outcome = outcomes.lock().next().expect("no more pages are asked for");
            async { outcome }
        };
        if let Some(mut completion) = self.feeds[index].join_or_start_with(fetch) {
            completion.changed().await.unwrap();
        }
        self.feeds[index].report()
    }

    fn pass(&self, seconds: u32) {
        self.clock.advance(SECOND * seconds);
    }
}

fn rate_limited(seconds: u32) -> Result<CallSnapshot, FetchError> {
    Err(FetchError::RateLimited(Retry::After(SECOND * seconds)))
}

#[expect(clippy::unnecessary_wraps, reason = "the outcome of a fetch, like the others")]
fn good() -> Result<CallSnapshot, FetchError> {
    Ok(CallSnapshot::default())
}

/// A fetch that ends with the outcome that is sent to it.
fn sent_to(
    receiver: oneshot::Receiver<Result<CallSnapshot, FetchError>>,
) -> impl Fn(Page<Calls>) -> BoxFuture<'static, Result<CallSnapshot, FetchError>> {
    let receiver = Mutex::new(Some(receiver));
    move |_| {
        let receiver = receiver.lock().take().expect("one page is asked for");
        async { receiver.await.unwrap() }.boxed()
    }
}

#[tokio::test]
async fn scrapes_at_the_same_time_share_one_fetch() {
    let fixture = Fixture::new("1", "4");
    let (sender, receiver) = oneshot::channel();
    let first = fixture.feeds[0].join_or_start_with(sent_to(receiver));
    let mut others: Vec<_> = (0..500)
        .map(|_| {
            fixture.feeds[0]
                .join_or_start_with(|_| async { panic!("a second fetch") })
                .unwrap()
        })
        .collect();
    drop(first);
    sender.send(good()).unwrap();
    for completion in &mut others {
        completion.changed().await.unwrap();
    }
    let report = fixture.feeds[0].report();
    assert_eq!(
        (
            report.status.counts.requests,
            report.status.counts.queries,
            report.status.counts.hits
        ),
        (1, 501, 0)
    );
    assert!(report.status.is_up);
}

#[tokio::test]
async fn a_fetch_goes_on_when_everyone_has_hung_up() {
    let fixture = Fixture::new("1", "4");
    let (sender, receiver) = oneshot::channel();
    drop(fixture.feeds[0].join_or_start_with(sent_to(receiver)));
    let mut watcher = fixture.feeds[0].completions.subscribe();
    sender.send(good()).unwrap();
    watcher.changed().await.unwrap();
    assert!(
        fixture.scrape(0, rate_limited(60)).await.status.is_up,
        "found in the cache, without a second fetch"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permit_is_given_back_before_the_end_is_announced() {
    let fixture = Fixture::new("1", "1");
    let feed = fixture.feeds[0].clone();
    let (sender, receiver) = oneshot::channel();
    let mut completion = feed.join_or_start_with(sent_to(receiver)).unwrap();
    while feed.report().status.counts.requests == 0 {
        tokio::task::yield_now().await;
    }
    let account = feed.source.account.clone();
    let waiting = tokio::task::spawn_blocking(move || {
        // While this is held, no fetch can end.
        let _state = feed.state.lock();
        sender.send(good()).unwrap();
        // Far more often than it takes.
        (0..60_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            // A slot that was given back is free a minute later.
            fixture.pass(60);
            !account.is_in_use()
        })
    });
    assert!(waiting.await.unwrap());
    completion.changed().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_fetch_is_a_failure_like_any_other() {
    let fixture = Fixture::new("1", "4");
    let mut completion = fixture.feeds[0]
        .join_or_start_with(|_| async { panic!("a fault, as this test plays it") })
        .unwrap();
    completion.changed().await.unwrap();
    let report = fixture.feeds[0].report();
    assert_eq!(report.status.counts.errors["OTHER"], 1);
    assert!(!report.status.is_up);
    fixture.pass(25);
    assert!(
        fixture.scrape(0, good()).await.status.is_up,
        "and the next fetch is well"
    );
}

#[tokio::test]
async fn a_rate_limit_pauses_every_server_of_the_account() {
    let fixture = Fixture::new("1,2", "4");
    assert!(fixture.scrape(0, good()).await.status.is_up);
    let report = fixture.scrape(1, rate_limited(90)).await;
    assert_eq!(report.status.retry_at, Some(Duration::from_secs(1_795_392_090)));
    let sibling = fixture.scrape(0, good()).await;
    assert!(!sibling.status.is_up && sibling.snapshot.is_some() && sibling.status.retry_at == report.status.retry_at);
    fixture.pass(89);
    assert_eq!(
        fixture.scrape(0, good()).await.status.counts.requests,
        1,
        "the pause holds for the sibling"
    );
    fixture.pass(1);
    let report = fixture.scrape(0, good()).await;
    assert!(report.status.is_up && report.status.counts.requests == 2 && report.status.retry_at.is_none());
}

#[tokio::test]
async fn a_success_that_began_before_a_pause_does_not_lift_it() {
    let fixture = Fixture::new("1,2", "4");
    let (sender, receiver) = oneshot::channel();
    let mut slow = fixture.feeds[0].join_or_start_with(sent_to(receiver)).unwrap();
    fixture.scrape(1, rate_limited(60)).await;
    sender.send(good()).unwrap();
    slow.changed().await.unwrap();
    let report = fixture.feeds[0].report();
    assert!(!report.status.is_up && report.snapshot.is_some() && report.status.retry_at.is_some());
    fixture.pass(60);
    assert!(
        fixture.feeds[0].report().status.is_up,
        "its answer was good, and nothing forbids asking any more"
    );
}

#[tokio::test]
async fn a_short_pause_does_not_cut_a_long_one() {
    let fixture = Fixture::new("1,2", "4");
    let (sender, receiver) = oneshot::channel();
    let mut slow = fixture.feeds[0].join_or_start_with(sent_to(receiver)).unwrap();
    fixture.scrape(1, rate_limited(3600)).await;
    sender.send(rate_limited(0)).unwrap();
    slow.changed().await.unwrap();
    fixture.pass(3599);
    assert!(fixture.feeds[0].report().status.retry_at.is_some());
}

#[tokio::test]
async fn an_unknown_server_takes_nothing_from_its_sibling() {
    let fixture = Fixture::new("1,2", "4");
    fixture.scrape(0, Err(FetchError::UnknownServer)).await;
    assert!(fixture.scrape(1, good()).await.status.is_up);
    fixture.pass(299);
    assert_eq!(fixture.scrape(0, good()).await.status.counts.requests, 1);
    fixture.pass(1);
    assert_eq!(fixture.scrape(0, good()).await.status.counts.requests, 2);
}

#[tokio::test]
async fn a_refused_key_pauses_the_account_for_five_minutes() {
    let fixture = Fixture::new("1,2", "4");
    fixture.scrape(0, Err(FetchError::Unauthorized)).await;
    fixture.pass(299);
    assert_eq!(fixture.scrape(1, good()).await.status.counts.requests, 0);
    fixture.pass(1);
    assert_eq!(fixture.scrape(1, good()).await.status.counts.requests, 1);
}

#[tokio::test]
async fn without_a_slot_the_snapshot_is_served_until_it_is_stale() {
    let fixture = Fixture::new("1,2", "1");
    assert_eq!(fixture.scrape(0, good()).await.status.ttl, SECOND * 120);
    assert!(
        fixture.scrape(1, good()).await.snapshot.is_none(),
        "the only slot is taken"
    );
    fixture.pass(60);
    assert!(fixture.scrape(1, good()).await.status.is_up);
    fixture.pass(59);
    assert!(fixture.scrape(0, good()).await.status.is_up);
    fixture.pass(241 - 119);
    let report = fixture.feeds[0].report();
    assert!(!report.status.is_up && report.snapshot.is_none() && report.status.last_success.is_some());
}

#[tokio::test]
async fn a_step_of_the_wall_clock_changes_only_what_is_shown() {
    let fixture = Fixture::new("1", "4");
    fixture.scrape(0, rate_limited(60)).await;
    fixture.clock.set_unix(Duration::from_secs(9_000_000_000));
    fixture.pass(59);
    assert_eq!(fixture.scrape(0, good()).await.status.counts.requests, 1);
    fixture.clock.set_unix(Duration::ZERO);
    fixture.pass(1);
    let report = fixture.scrape(0, good()).await;
    assert_eq!(
        (report.status.counts.requests, report.status.last_success),
        (2, Some(SECOND))
    );
}

#[tokio::test]
async fn what_a_fetch_brings_is_as_of_its_start() {
    let fixture = Fixture::new("1", "4");
    let pending = |id| {
        let json =
            format!(r#"{{"activeCalls":[{{"callId":{id},"priority":1,"status":0,"origin":0}}],"closedCalls":[]}}"#);
        Calls::decode(json.as_bytes(), &LabelTexts::default())
    };
    let begin = Clock::Manual(fixture.clock.clone()).now();
    let (started, has_started) = oneshot::channel();
    let (sender, receiver) = oneshot::channel();
    let channels = Mutex::new(Some((started, receiver)));
    let mut completion = fixture.feeds[0]
        .join_or_start_with(move |page| {
            assert_eq!(page.query.closed_limit, 100);
            let (started, receiver) = channels.lock().take().unwrap();
            async {
                started.send(()).unwrap();
                receiver.await.unwrap()
            }
        })
        .unwrap();
    has_started.await.unwrap();
    fixture.pass(5);
    sender.send(pending(1)).unwrap();
    completion.changed().await.unwrap();
    let oldest = fixture.feeds[0].report().stats.oldest_pending[Priority::One];
    assert_eq!(oldest, Oldest::Since(begin.instant));

    fixture.pass(30);
    let mut completion = fixture.feeds[0]
        .join_or_start_with(move |page| {
            assert_eq!(page.query.closed_limit, 10);
            async move { pending(2) }
        })
        .unwrap();
    completion.changed().await.unwrap();
    let report = fixture.feeds[0].report();
    assert_eq!(report.stats.opened[Priority::One][Origin::Caller], 1);
    assert_eq!(report.status.last_success, Some((begin + 35 * SECOND).unix));
}

#[tokio::test]
async fn the_next_fetch_starts_only_after_waiters_of_the_last_have_been_told() {
    let fixture = Fixture::new("1", "60");
    let mut first = fixture.feeds[0].join_or_start_with(|_| async { good() }).unwrap();
    first.changed().await.unwrap();
    fixture.pass(30);
    let (sender, receiver) = oneshot::channel();
    let mut second = fixture.feeds[0].join_or_start_with(sent_to(receiver)).unwrap();
    assert!(
        !second.has_changed().unwrap(),
        "the first completion is not the second's"
    );
    sender.send(good()).unwrap();
    second.changed().await.unwrap();
}

#[tokio::test]
async fn a_fetch_without_a_permit_sends_nothing_and_wakes_its_scrapes() {
    let fixture = Fixture::new("1,2", "1");
    assert!(fixture.scrape(0, good()).await.status.is_up);
    let mut completion = fixture.feeds[1]
        .join_or_start_with(|_| async { panic!("a request without a permit") })
        .unwrap();
    completion.changed().await.unwrap();
    let report = fixture.feeds[1].report();
    assert!(!report.status.is_asked() && report.status.failure.is_none());
    assert_eq!((report.status.counts.requests, report.status.counts.queries), (0, 1));
    assert!(fixture.feeds[1].attempted_at().is_none(), "it is still first in line");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_pauses_the_servers_of_its_account() {
    let fixture = Fixture::new("1,2", "4");
    fixture.scrape(0, Err(FetchError::EndpointGone)).await;
    fixture.pass(299);
    assert_eq!(fixture.scrape(1, good()).await.status.counts.requests, 0);
    fixture.pass(1);
    assert_eq!(fixture.scrape(1, good()).await.status.counts.requests, 1);
}

/// An answer with the open call 5 and these closed calls.
fn closed(ids: std::ops::RangeInclusive<u64>) -> CallSnapshot {
    let closed: Vec<_> = ids
        .map(|id| format!(r#"{{"callId":{id},"priority":1,"origin":0}}"#))
        .collect();
    let json = format!(
        r#"{{"activeCalls":[{{"callId":5,"priority":1,"status":1,"origin":0}}],"closedCalls":[{}]}}"#,
        closed.join(",")
    );
    Calls::decode(json.as_bytes(), &LabelTexts::default()).unwrap()
}

fn opened(report: &Report) -> u64 {
    report.stats.opened[Priority::One][Origin::Caller]
}

#[tokio::test]
async fn more_pages_are_fetched_while_all_is_new_and_slots_are_free() {
    let fixture = Fixture::new("1", "12");
    fixture.scrape(0, Ok(closed(1..=4))).await;
    fixture.pass(30);
    let pages = [closed(211..=220), closed(111..=210), closed(11..=110), closed(3..=10)];
    let report = fixture.scrape_pages(0, pages.map(Ok)).await;
    assert_eq!(report.status.counts.requests, 5);
    assert_eq!(report.status.counts.request_seconds.count(), 5);
    assert_eq!(opened(&report), 220 - 5, "6 to 220");

    // Without a slot, what was left out is asked for next time.
    let fixture = Fixture::new("1", "3");
    fixture.scrape(0, Ok(closed(1..=4))).await;
    fixture.pass(30);
    let report = fixture
        .scrape_pages(0, [closed(211..=220), closed(111..=210)].map(Ok))
        .await;
    assert_eq!((report.status.counts.requests, opened(&report)), (3, 110));
    fixture.pass(60);
    let pages = [closed(121..=220), closed(21..=120), closed(4..=20)];
    let report = fixture.scrape_pages(0, pages.map(Ok)).await;
    assert_eq!(opened(&report), 110, "121 is known, so no second page");
}

#[tokio::test]
async fn an_answer_has_five_pages_at_most() {
    let fixture = Fixture::new("1", "60");
    fixture.scrape(0, Ok(closed(1..=4))).await;
    fixture.pass(30);
    let page = |number: u64| Ok(closed(1000 - 100 * number..=1099 - 100 * number));
    let report = fixture
        .scrape_pages(0, [Ok(closed(1000..=1009)), page(1), page(2), page(3), page(4)])
        .await;
    assert_eq!((report.status.counts.requests, opened(&report)), (6, 410));
}

#[tokio::test]
async fn a_page_that_fails_leaves_the_others_and_is_counted() {
    let fixture = Fixture::new("1", "12");
    fixture.scrape(0, Ok(closed(1..=4))).await;
    fixture.pass(30);
    let report = fixture
        .scrape_pages(
            0,
            [Ok(closed(11..=20)), Err(FetchError::RateLimited(Retry::After(SECOND)))],
        )
        .await;
    assert_eq!((report.status.counts.requests, opened(&report)), (3, 10));
    assert_eq!(report.status.counts.errors["RATE LIMITED"], 1);
    assert!(
        report.status.failure.is_none() && report.status.retry_at.is_some(),
        "the account waits"
    );
}
