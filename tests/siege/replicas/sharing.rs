//! Promises of docs/replicas.md about what is shared, and whose clock counts.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::redis::Redis;
use super::{OPENED, PENDING, calls, pass, replica};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::value;

const QUERIES: &str = r#"sonorancad_cache_queries_total{server_id="1",api_endpoint="calls"}"#;
const HITS: &str = r#"sonorancad_cache_hits_total{server_id="1",api_endpoint="calls"}"#;
const LAST_SUCCESS: &str = r#"sonorancad_last_success_timestamp_seconds{server_id="1",api_endpoint="calls"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_of_all_replicas_are_counted_as_of_the_newest_fetch() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let [one, other] = [(); 2].map(|()| replica(&cad, &redis, &[]));
    for replica in [&one, &other, &other, &one] {
        let text = replica.scrape().await;
        assert_eq!((value(&text, QUERIES), value(&text, HITS)), (1.0, 0.0));
    }
    assert_eq!(cad.requests().len(), 1);
    // The other one reports its hits when it asks the store again.
    for (replica, counts) in [(&one, (4.0, 1.0)), (&other, (6.0, 3.0))] {
        pass(1.1).await;
        let text = replica.scrape().await;
        assert_eq!((value(&text, QUERIES), value(&text, HITS)), counts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_lists_of_labels_are_other_counters() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let labelled = |codes, departments| {
        let more = [
            ("SONORANCAD_CALL_CODES", codes),
            ("SONORANCAD_DEPARTMENTS", departments),
        ];
        replica(&cad, &redis, &more)
    };
    let one = labelled("A,B", "C");
    one.scrape().await;
    cad.answer(calls(&[1, 2]));
    pass(1.1).await;
    assert_eq!(value(&one.scrape().await, OPENED), 1.0);
    assert_eq!(value(&labelled("A,B", "C").scrape().await, OPENED), 1.0);
    let requests = cad.requests().len();
    for (codes, departments) in [("A", "B,C"), ("B,A", "C"), ("A,B", "D")] {
        let text = labelled(codes, departments).scrape().await;
        assert_eq!(value(&text, OPENED), 0.0, "{codes} {departments}");
    }
    assert_eq!(cad.requests().len(), requests + 3);
    let text = labelled("A,B", "C").scrape().await;
    assert_eq!(value(&text, OPENED), 1.0, "they are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_one_replica_must_leave_alone_is_left_alone_by_all() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(Answer::status(400, &[], "INVALID SERVER ID"));
    let [one, other] = [(); 2].map(|()| replica(&cad, &redis, &[]));
    one.scrape().await;
    let asked = cad.requests().len();
    pass(1.1).await;
    let retry_at = |text: &str| {
        value(
            text,
            r#"sonorancad_api_retry_timestamp_seconds{server_id="1",api_endpoint="calls"}"#,
        )
    };
    let texts = [one.scrape().await, other.scrape().await];
    assert_eq!(cad.requests().len(), asked);
    assert!(retry_at(&texts[0]) > 0.0);
    assert_eq!(retry_at(&texts[0]), retry_at(&texts[1]));
}

/// A way to the store that changes its answers. One that `change` leaves out ends the connection.
async fn changing_way(redis: &Redis, change: impl Fn(&[u8]) -> Option<Vec<u8>> + Clone + Send + 'static) -> String {
    let store = redis.url.trim_start_matches("redis://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&store).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let change = change.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await
                    && let Some(answer) = change(&bytes[..length])
                {
                    let _ = to_client.write_all(&answer).await;
                }
                requests.abort();
            });
        }
    });
    format!("redis://{own}")
}

/// The same answer of the store an hour later.
fn an_hour_later(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let begin = b"\"now\":";
    if let Some(at) = answer.windows(begin.len()).position(|bytes| bytes == begin) {
        let digits = &mut answer[at + begin.len()..][..13];
        let now: u64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
        digits.copy_from_slice((now + 3_600_000).to_string().as_bytes());
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_stores_clock() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let url = changing_way(&redis, |answer| Some(an_hour_later(answer))).await;
    let replica = replica(&cad, &redis, &[("SONORANCAD_SHARED_STATE_URL", &url)]);
    let text = replica.scrape().await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let ahead = value(&text, LAST_SUCCESS) - now;
    assert!((3500.0..=3600.5).contains(&ahead), "{ahead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_grant_was_lost_on_the_way_is_granted_again() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let is_lost = Arc::new(AtomicBool::new(false));
    let lost = is_lost.clone();
    let lose_first_grant = move |answer: &[u8]| {
        let is_grant = answer.windows(9).any(|bytes| bytes == b"\"granted\"");
        (!is_grant || lost.swap(true, Ordering::Relaxed)).then(|| answer.to_vec())
    };
    let url = changing_way(&redis, lose_first_grant).await;
    let more = [("SONORANCAD_SHARED_STATE_URL", &*url), ("SONORANCAD_API_TIMEOUT", "1m")];
    let replica = replica(&cad, &redis, &more);
    let text = replica.scrape_within("30").await;
    assert!(is_lost.load(Ordering::Relaxed));
    assert_eq!(value(&text, PENDING), 1.0, "its own lease would last for a minute");
    assert_eq!(cad.requests().len(), 1);
    assert_eq!(redis.command(&["ZCARD", &redis.names(":slots:calls:v1")[0]]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_of_an_answer_makes_the_lease_last_longer() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    let closed = |ids: RangeInclusive<u32>| {
        let calls: Vec<_> = ids.map(|id| format!(r#"{{"callId":{id},"priority":1}}"#)).collect();
        Answer::ok(&format!(
            r#"{{"activeCalls":[],"emergencyCalls":[],"closedCalls":[{}]}}"#,
            calls.join(",")
        ))
    };
    cad.answer(closed(1..=10));
    let replica = replica(&cad, &redis, &[]);
    replica.scrape().await;
    cad.answer(closed(11..=20));
    pass(1.1).await;
    let monitor = redis.monitor();
    replica.scrape().await;
    assert_eq!(cad.requests().len(), 3, "the first page is all new");
    let feed = &redis.names(":feed:")[0];
    let lasts_longer = format!(r#""HSET" "{feed}" "lease_until""#);
    assert_eq!(monitor.end().matches(&lasts_longer).count(), 2);
}
