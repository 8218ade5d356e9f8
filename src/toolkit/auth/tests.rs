use std::net::Ipv4Addr;

use axum::http::HeaderValue;
use serde_saphyr::Location;

use super::*;

/// A text of a file, wherever.
fn spanned(text: &str) -> Spanned<String> {
    Spanned::new(text.to_owned(), Location::UNKNOWN, Location::UNKNOWN)
}

pub(super) fn users(list: &[(&str, &str, u32)]) -> Users {
    let texts = list.iter().map(|(user, password, cost)| {
        let hash = bcrypt::hash_with_salt(password, *cost, [7; 16]).unwrap();
        (spanned(user), Some(hash.to_string().into()))
    });
    let mut findings = Findings::default();
    let users = Users::new(texts.collect(), &mut findings);
    assert_eq!(findings.problems, [""; 0]);
    users
}

pub(super) fn credentials(client: IpAddr, user: &str, password: &str) -> Credentials {
    Credentials {
        client,
        user: user.to_owned(),
        password: password.into(),
    }
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
        let credentials = credentials(Ipv4Addr::LOCALHOST.into(), user, password);
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

#[test]
fn credentials_are_read_as_the_rfc_writes_them() {
    let read = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        let credentials = Credentials::from_headers(&headers, Ipv4Addr::LOCALHOST.into())?;
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
        &["Bearer Og==", "Basic Og=="],
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
