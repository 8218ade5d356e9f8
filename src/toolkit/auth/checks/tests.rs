use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, timeout};

use super::super::tests::{credentials, users};
use super::*;

/// How long a test waits before it fails as hung: simulated time, which passes only while nothing is checked.
const HANG_GUARD: Duration = Duration::from_secs(3600);

/// The address of the scraper, which attackers may have as well.
const SCRAPER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn admits(authenticator: &Arc<Authenticator>, users: &Arc<Users>, user: &str, password: &str) -> bool {
    let admitted = authenticator.admits(users, credentials(SCRAPER, user, password));
    timeout(HANG_GUARD, admitted).await.expect("a turn")
}

fn fixture() -> (Arc<Authenticator>, Arc<Users>) {
    (
        Arc::new(Authenticator::new()),
        Arc::new(users(&[("alice", "secret", 4), ("bob", "other", 4)])),
    )
}

/// Gives nobody a turn any more.
fn pause(authenticator: &Authenticator) {
    authenticator.turns.forget_permits(MAX_RUNNING);
}

/// Gives turns again.
fn resume(authenticator: &Arc<Authenticator>) {
    authenticator.turns.add_permits(MAX_RUNNING);
    let (this, turn) = (authenticator.clone(), authenticator.turns.clone());
    spawn_blocking(move || this.run(turn.try_acquire_owned().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_right_password_of_the_right_user_is_admitted() {
    let (authenticator, users) = fixture();
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    assert!(admits(&authenticator, &users, "bob", "other").await);
    for (user, password) in [("alice", "other"), ("bob", "secret"), ("", ""), ("carol", "secret")] {
        let begin = Instant::now();
        assert!(!admits(&authenticator, &users, user, password).await, "{user}");
        assert_eq!(begin.elapsed().as_secs(), 1, "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_right_is_not_checked_again() {
    let (authenticator, users) = fixture();
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    pause(&authenticator);
    assert!(admits(&authenticator, &users, "alice", "secret").await);
}

#[tokio::test(start_paused = true)]
async fn a_new_hash_makes_the_old_password_worthless_at_once() {
    let (authenticator, before) = fixture();
    assert!(admits(&authenticator, &before, "alice", "secret").await);
    let after = Arc::new(users(&[("alice", "new", 4)]));
    assert!(!admits(&authenticator, &after, "alice", "secret").await);
    assert!(admits(&authenticator, &after, "alice", "new").await);
    let gone = Arc::new(users(&[("bob", "other", 4)]));
    assert!(!admits(&authenticator, &gone, "alice", "new").await);
    let hash = after.hashes["alice"].expose_secret();
    assert!(!admits(&authenticator, &gone, "alice", &format!("{hash}new")).await);
    assert_eq!(gone.no_hash.expose_secret().len(), hash.len());
}

/// Attackers each send one wrong password after the other, for ever.
fn guess(authenticator: &Arc<Authenticator>, users: &Arc<Users>, attackers: usize) -> (JoinSet<()>, Arc<AtomicUsize>) {
    let mut guessing = JoinSet::new();
    let answered = Arc::<AtomicUsize>::default();
    for attacker in 0..attackers {
        let (authenticator, users, answered) = (authenticator.clone(), users.clone(), answered.clone());
        guessing.spawn(async move {
            for number in 0.. {
                let password = format!("guess {attacker} {number}");
                assert!(
                    !authenticator
                        .admits(&users, credentials(SCRAPER, "alice", &password))
                        .await
                );
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    (guessing, answered)
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_delay_nobody_else() {
    let (authenticator, users) = fixture();
    let (_guessing, answered) = guess(&authenticator, &users, 12);
    sleep(FAILURE_PAUSE * 10).await;
    assert!(answered.load(Ordering::Relaxed) >= 12 * 8, "they go on");
    let begin = Instant::now();
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    // Checks take no simulated time, but each wrong password in front of it would take a second.
    assert!(begin.elapsed() < FAILURE_PAUSE, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_with_the_same_credentials_share_one_check() {
    let (authenticator, users) = fixture();
    pause(&authenticator);
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let (authenticator, users) = (authenticator.clone(), users.clone());
        requests.spawn(async move {
            authenticator
                .admits(&users, credentials(SCRAPER, "alice", "secret"))
                .await
        });
    }
    sleep(FAILURE_PAUSE).await;
    assert_eq!(authenticator.state.lock().waiting.len(), 1);
    resume(&authenticator);
    assert_eq!(requests.join_all().await, [true; 100]);
    assert_eq!(authenticator.state.lock().waiting.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_right_meanwhile_is_not_checked_again() {
    let (authenticator, users) = fixture();
    pause(&authenticator);
    let waiting = {
        let (authenticator, users) = (authenticator.clone(), users.clone());
        tokio::spawn(async move { admits(&authenticator, &users, "alice", "a check would refuse it").await })
    };
    sleep(FAILURE_PAUSE).await;
    let tag = authenticator.state.lock().waiting[0].tag.clone();
    authenticator.state.lock().verified.insert("alice".to_owned(), tag);
    resume(&authenticator);
    assert!(waiting.await.unwrap());
}

#[test]
fn two_passwords_are_checked_at_a_time() {
    assert_eq!(Authenticator::new().turns.available_permits(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_check_is_finished_and_remembered_though_its_client_has_disconnected() {
    let (authenticator, users) = fixture();
    pause(&authenticator);
    let request = authenticator.admits(&users, credentials(SCRAPER, "alice", "secret"));
    timeout(FAILURE_PAUSE, request).await.expect_err("there is no turn");
    resume(&authenticator);
    sleep(FAILURE_PAUSE).await;
    pause(&authenticator);
    assert!(admits(&authenticator, &users, "alice", "secret").await);
}

#[tokio::test(start_paused = true)]
async fn clients_that_disconnect_fill_no_queue_and_push_no_waiting_client_out() {
    let (authenticator, users) = fixture();
    pause(&authenticator);
    let waiting = {
        let (authenticator, users) = (authenticator.clone(), users.clone());
        tokio::spawn(async move { admits(&authenticator, &users, "alice", "secret").await })
    };
    sleep(FAILURE_PAUSE).await;
    for number in 0..3 * MAX_WAITING {
        let password = format!("guess {number}");
        let request = authenticator.admits(&users, credentials(SCRAPER, "alice", &password));
        let _ = timeout(Duration::from_millis(1), request).await;
    }
    assert_eq!(authenticator.state.lock().waiting.len(), MAX_WAITING);
    resume(&authenticator);
    assert!(waiting.await.unwrap());
}

/// The passwords of waiting checks, in the order of their turns.
fn turns(state: &mut State) -> Vec<String> {
    let passwords = std::iter::from_fn(|| state.next()).map(|check| check.credentials.password);
    passwords.map(|password| password.expose_secret().to_owned()).collect()
}

#[tokio::test]
async fn the_client_whose_last_turn_is_longest_ago_is_next_with_its_newest_check() {
    let (authenticator, users) = fixture();
    pause(&authenticator);
    let mut requests = JoinSet::new();
    let mut queue = |client: u32, password: &str| {
        let credentials = credentials(Ipv4Addr::from_bits(client).into(), "alice", password);
        let (authenticator, users) = (authenticator.clone(), users.clone());
        requests.spawn(async move { authenticator.admits(&users, credentials).await });
    };
    for password in ["1 old", "1 new"] {
        queue(1, password);
        yield_now().await;
    }
    queue(2, "2");
    yield_now().await;
    assert_eq!(turns(&mut authenticator.state.lock()), ["2", "1 new", "1 old"]);
    for (client, password) in [(1, "1 old"), (2, "2"), (1, "1 new"), (3, "3"), (1, "1 old")] {
        queue(client, password);
        yield_now().await;
    }
    // The one that came again is the newest one.
    assert_eq!(turns(&mut authenticator.state.lock()), ["3", "2", "1 old", "1 new"]);
}
