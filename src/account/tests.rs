use super::*;
use crate::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn account(requests_per_minute: u32) -> (Arc<Account>, ManualClock) {
    let clock = ManualClock::new(Duration::from_secs(1_795_392_000));
    let budgets = EnumMap::from_fn(|_| EnumMap::from_fn(|_| requests_per_minute));
    (Arc::new(Account::new(&budgets, &Clock::Manual(clock.clone()))), clock)
}

#[tokio::test]
async fn a_permit_counts_until_a_minute_after_it_is_dropped() {
    let (account, clock) = account(1);
    let permit = account.permit(ApiEndpoint::Calls, ApiVersion::V1).await;
    assert!(permit.is_some() && account.is_in_use());
    clock.advance(3600 * SECOND);
    assert!(
        account.permit(ApiEndpoint::Calls, ApiVersion::V1).await.is_none(),
        "not answered yet"
    );
    drop(permit);
    clock.advance(59 * SECOND);
    assert!(account.permit_now(ApiEndpoint::Calls, ApiVersion::V1).is_none());
    assert!(account.is_in_use());
    clock.advance(SECOND);
    assert!(!account.is_in_use());
    assert!(account.permit_now(ApiEndpoint::Calls, ApiVersion::V1).is_some());
}

#[tokio::test]
async fn permits_are_granted_in_the_order_of_calls() {
    let (account, _) = account(1);
    let (first, second) = (
        account.permit(ApiEndpoint::Calls, ApiVersion::V1),
        account.permit(ApiEndpoint::Calls, ApiVersion::V1),
    );
    assert!(second.await.is_none());
    assert!(first.await.is_some());
}

#[tokio::test]
async fn a_slot_that_is_about_to_come_free_is_waited_for() {
    let (account, clock) = account(1);
    drop(account.permit(ApiEndpoint::Calls, ApiVersion::V1).await);
    clock.advance(Duration::from_millis(56_999));
    assert!(
        account.permit(ApiEndpoint::Calls, ApiVersion::V1).await.is_none(),
        "too long"
    );
    clock.advance(Duration::from_millis(1));
    assert!(account.permit_now(ApiEndpoint::Calls, ApiVersion::V1).is_none());
    let before = account.clock.now();
    let (first, second) = (
        account.permit(ApiEndpoint::Calls, ApiVersion::V1),
        account.permit(ApiEndpoint::Calls, ApiVersion::V1),
    );
    assert!(second.await.is_none(), "the other one takes it");
    let permit = first.await;
    assert!(permit.is_some());
    assert_eq!(account.clock.now(), before + 3 * SECOND);
    drop(permit);
    clock.advance(59 * SECOND);
    assert!(
        account.permit_now(ApiEndpoint::Calls, ApiVersion::V1).is_none(),
        "from its own answer on"
    );
}

#[tokio::test]
async fn a_pause_that_begins_while_a_slot_is_waited_for_counts() {
    let (account, clock) = account(1);
    drop(account.permit(ApiEndpoint::Calls, ApiVersion::V1).await);
    clock.advance(58 * SECOND);
    let permit = account.permit(ApiEndpoint::Calls, ApiVersion::V1);
    account.pause_endpoint(ApiEndpoint::Calls, 10 * SECOND);
    assert!(permit.await.is_none());
}

#[tokio::test]
async fn a_pause_of_the_key_or_of_the_endpoint_stops_permits() {
    for pause in [Account::pause_all, |account: &Account, duration| {
        account.pause_endpoint(ApiEndpoint::Calls, duration);
    }] {
        let (account, clock) = account(5);
        pause(&account, 60 * SECOND);
        pause(&account, SECOND);
        clock.advance(59 * SECOND);
        assert!(account.permit(ApiEndpoint::Calls, ApiVersion::V1).await.is_none());
        assert!(account.is_in_use());
        clock.advance(SECOND);
        assert!(!account.is_in_use());
        assert!(account.permit(ApiEndpoint::Calls, ApiVersion::V1).await.is_some());
    }
}

#[test]
fn the_longer_pause_is_shown() {
    let (account, clock) = account(5);
    let start = Clock::Manual(clock).now();
    account.pause_endpoint(ApiEndpoint::Calls, 60 * SECOND);
    assert_eq!(
        account.pause(ApiEndpoint::Calls).ends_at(start),
        Some(start.unix + 60 * SECOND)
    );
    account.pause_all(300 * SECOND);
    assert_eq!(
        account.pause(ApiEndpoint::Calls).ends_at(start),
        Some(start.unix + 300 * SECOND)
    );
}

#[test]
fn short_pauses_in_a_row_get_longer_until_a_success() {
    let (account, clock) = account(5);
    let now = || Clock::Manual(clock.clone()).now();
    let left = || {
        account
            .pause(ApiEndpoint::Calls)
            .ends_at(now())
            .map(|end| end.saturating_sub(now().unix))
    };
    for expected in [1, 2, 4] {
        account.pause_endpoint(ApiEndpoint::Calls, SECOND);
        // Those of other servers, whose requests were under way.
        account.pause_endpoint(ApiEndpoint::Calls, SECOND);
        assert_eq!(left(), Some(SECOND * expected));
        clock.advance(SECOND * expected);
        assert_eq!(left(), None);
    }
    account.note_success(ApiEndpoint::Calls);
    account.pause_endpoint(ApiEndpoint::Calls, SECOND);
    assert_eq!(left(), Some(SECOND));
}
