use std::net::Ipv4Addr;
use std::time::Instant;

use axum::http::HeaderValue;
use serde_saphyr::Location;

use super::*;

/// How long a test waits before it fails as hung. Far above what a busy machine needs.
const HANG_GUARD: Duration = Duration::from_secs(60);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A text of a file, wherever.
fn spanned(text: &str) -> Spanned<String> {
    Spanned::new(text.to_owned(), Location::UNKNOWN, Location::UNKNOWN)
}

fn users(list: &[(&str, &str, u32)]) -> Arc<Users> {
    let texts = list.iter().map(|(user, password, cost)| {
        let hash = bcrypt::hash_with_salt(password, *cost, [7; 16]).unwrap();
        (spanned(user), Some(hash.to_string().into()))
    });
    let mut findings = Findings::default();
    let users = Users::new(texts.collect(), &mut findings);
    assert_eq!(findings.problems, [""; 0]);
    Arc::new(users)
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.into(),
    }
}

async fn admits(authenticator: &Arc<Authenticator>, users: &Arc<Users>, user: &str, password: &str) -> bool {
    authenticator.admits(users, CLIENT, credentials(user, password)).await
}

#[tokio::test]
async fn the_right_password_of_the_right_user_is_admitted() {
    let users = users(&[("alice", "secret", 4), ("bob", "other", 4)]);
    let authenticator = Arc::new(Authenticator::new());
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    assert!(admits(&authenticator, &users, "bob", "other").await);
    for (user, password) in [("alice", "other"), ("bob", "secret"), ("", ""), ("carol", "secret")] {
        assert!(!admits(&authenticator, &users, user, password).await, "{user}");
    }
}

#[tokio::test]
async fn a_password_that_was_right_is_not_checked_again() {
    let users = users(&[("alice", "secret", 4)]);
    let authenticator = Arc::new(Authenticator::new());
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    // Nobody gets a turn any more.
    let _turn = authenticator.turn.clone().acquire_owned().await.unwrap();
    let again = admits(&authenticator, &users, "alice", "secret");
    assert!(tokio::time::timeout(HANG_GUARD, again).await.expect("no check"));
}

#[tokio::test]
async fn a_new_hash_makes_the_old_password_worthless_at_once() {
    let authenticator = Arc::new(Authenticator::new());
    let before = users(&[("alice", "secret", 4)]);
    assert!(admits(&authenticator, &before, "alice", "secret").await);
    let after = users(&[("alice", "new", 4)]);
    assert!(!admits(&authenticator, &after, "alice", "secret").await);
    assert!(admits(&authenticator, &after, "alice", "new").await);
    let gone = users(&[("bob", "other", 4)]);
    assert!(!admits(&authenticator, &gone, "alice", "new").await);
    let hash = after.hashes["alice"].expose_secret();
    assert!(!admits(&authenticator, &gone, "alice", &format!("{hash}new")).await);
    assert_eq!(NO_HASH.len(), hash.len());
}

/// The time that this thread has had of a processor, in nanoseconds.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_check_costs_the_same_for_every_user() {
    let users = users(&[("low", "secret", 5), ("high", "secret", 9)]);
    let time = |user: &str, password: &str| {
        let credentials = credentials(user, password);
        let times = (0..7).map(|_| {
            let begin = cpu_time();
            users.check(&credentials);
            cpu_time() - begin
        });
        // The least of several is nearest to the work itself.
        times.min().unwrap()
    };
    let high = time("high", "wrong");
    for (user, password) in [
        ("low", "wrong"),
        ("low", "secret"),
        ("high", "secret"),
        ("nobody", "wrong"),
    ] {
        let percent = time(user, password) * 100 / high;
        // Without its filling, the least is 6 %; a busy machine makes the bounds wide.
        assert!((50..200).contains(&percent), "{user} {password}: {percent} %");
    }
}

#[tokio::test]
async fn one_clients_wrong_passwords_hold_up_nobody_else() {
    let users = users(&[("alice", "secret", 4)]);
    let authenticator = Arc::new(Authenticator::new());
    let mut attacks = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for number in 0..100 {
        let (authenticator, users) = (authenticator.clone(), users.clone());
        attacks.spawn(async move {
            let password = format!("guess {number}");
            authenticator
                .admits(&users, CLIENT, credentials("alice", &password))
                .await
        });
    }
    tokio::task::yield_now().await;
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let known = async {
        let right = credentials("alice", "secret");
        // And once she is known, in the attackers' own line too.
        authenticator.admits(&users, other, right).await && admits(&authenticator, &users, "alice", "secret").await
    };
    // Behind 100 attacks, it would take 100 s.
    assert!(tokio::time::timeout(HANG_GUARD, known).await.expect("no wait"));
    assert!(attacks.join_next().await.is_some());
    sleep(FAILURE_PAUSE).await;
    let mut tried = 1;
    while attacks.try_join_next().is_some() {
        tried += 1;
    }
    assert!(
        tried <= begin.elapsed().as_secs(),
        "{tried} guesses in {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_disconnects_still_serves_its_penalty() {
    let users = users(&[("alice", "secret", 4)]);
    let authenticator = Arc::new(Authenticator::new());
    let begin = Instant::now();
    for number in 0..3 {
        let password = format!("guess {number}");
        let attempt = authenticator.admits(&users, CLIENT, credentials("alice", &password));
        let _ = tokio::time::timeout(Duration::from_millis(300), attempt).await;
    }
    assert!(admits(&authenticator, &users, "alice", "secret").await);
    assert!(begin.elapsed() >= FAILURE_PAUSE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn lines_in_which_nobody_stands_are_forgotten() {
    let users = users(&[("alice", "secret", 4)]);
    let authenticator = Arc::new(Authenticator::new());
    for last in 0..50 {
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        authenticator
            .admits(&users, client, credentials("alice", "secret"))
            .await;
        authenticator.verified.lock().clear();
    }
    assert!(authenticator.lines.lock().len() <= 2);
}

#[test]
fn credentials_are_read_as_the_rfc_writes_them() {
    let read = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        let credentials = Credentials::from_headers(&headers)?;
        Some(format!("{}|{}", credentials.user, credentials.password.expose_secret()))
    };
    assert_eq!(
        read(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]).unwrap(),
        "Aladdin|open sesame"
    );
    assert_eq!(read(&["basic dGVzdDoxMjPCow=="]).unwrap(), "test|123£");
    assert_eq!(read(&["BASIC YTpiOmM="]).unwrap(), "a|b:c");
    assert_eq!(read(&["Basic Og=="]).unwrap(), "|");
    for values in [
        &[][..],
        &["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
        &["Basic"],
        &["Basic "],
        &["Basic ===="],
        &["Basic YQ=="],
        &["Basic /////w=="],
        &["Basic Og==", "Basic Og=="],
    ] {
        assert_eq!(read(values), None, "{values:?}");
    }
}

#[test]
fn only_bcrypt_hashes_are_hashes() {
    let rest = "abcdefghijklmnopqrstuuE3E6zKzgWyqNV1sDzfIbXCLy4w2u7Lm";
    for version in ["2a", "2b", "2y"] {
        assert_eq!(cost(&format!("${version}$10${rest}")), Some(10));
    }
    for hash in [
        String::new(),
        "secret".to_owned(),
        format!("$2x$10${rest}"),
        format!("$2y$03${rest}"),
        format!("$2y$32${rest}"),
        format!("$2y$10${rest}x"),
        format!("$2y$10${}", &rest[1..]),
        format!("$2y$10${}", rest.replace('a', "!")),
        "$apr1$abcdefgh$abcdefghijklmnopqrstuv".to_owned(),
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(),
    ] {
        assert_eq!(cost(&hash), None, "{hash}");
    }
}

#[test]
fn a_hash_that_would_take_days_and_one_that_has_lost_its_space_are_refused() {
    let rest = "abcdefghijklmnopqrstuuE3E6zKzgWyqNV1sDzfIbXCLy4w2u7Lm";
    let problems = |user: &str, hash: Option<String>| {
        let mut findings = Findings::default();
        Users::new(vec![(spanned(user), hash.map(Into::into))], &mut findings);
        findings.problems
    };
    assert!(problems("alice", Some(format!("$2y$18${rest}"))).is_empty());
    let costly = problems("alice", Some(format!("$2y$19${rest}")));
    assert!(costly[0].contains("a cost above 18"), "{costly:?}");
    let near = problems(&format!("alice:$2y$10${rest}"), None);
    assert_eq!(near.len(), 1);
    assert!(
        near[0].contains("followed by a colon") && !near[0].contains("alice") && !near[0].contains("$2y"),
        "{near:?}"
    );
}
