//! The memory that hostile answers take: no more than the body that is kept, and a fixed amount beside it.
//!
//! Each limit is a growth over what the same process needed for a small answer.

use std::io::Write as _;
use std::panic::Location;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use sonorancad_exporter::client::MAX_REQUESTS;

use super::{
    CALLS, CHUNKED, GZIP, MEBIBYTE, SUCCESS, UNTIL_CLOSE, gzip, has_completed, has_recovered, is_up, ok_gzip, outcome,
    small,
};
use crate::support::answer;
use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::{HANG_GUARD, failures, value};
use crate::support::newcomers;
use crate::support::program::Communities;

/// What any answer may take: buffers of sockets, of gzip and of the allocator.
const BUFFERS: usize = 6 * MEBIBYTE;

/// The largest body that is read.
const MAX_BODY: usize = 48 * MEBIBYTE;

/// What large bodies may take together.
const MAX_BODIES: usize = 2 * MAX_BODY;

/// What a body takes while it waits for memory: twice a quarter of a MiB, and the rest of its last chunk.
const WAITING_BODY: usize = MEBIBYTE;

/// The growth for a body that is read: the body, and less than a fifth of it to decode it.
const fn body(bytes: usize) -> usize {
    bytes + bytes / 5 + BUFFERS
}

/// The growth for a body of which the decoder needs a copy, or a byte for each byte that opens a level.
const fn copied_body(bytes: usize) -> usize {
    2 * bytes + BUFFERS
}

/// One answer of a hostile API.
struct Attack {
    name: String,
    answer: Answer,
    /// The label of the failure, or [`SUCCESS`].
    outcome: &'static str,
    /// How much the peak of the process's memory may grow, in bytes.
    max_growth: usize,
    /// Where it is described.
    location: &'static Location<'static>,
}

impl Attack {
    #[track_caller]
    fn new(name: &str, answer: Answer, outcome: &'static str, max_growth: usize) -> Self {
        Self {
            name: name.to_owned(),
            answer,
            outcome,
            max_growth,
            location: Location::caller(),
        }
    }

    /// An attack by the text of the answer's body.
    #[track_caller]
    fn with_text(name: &str, text: &str, outcome: &'static str, max_growth: fn(usize) -> usize) -> Self {
        Self::new(name, Answer::ok(text), outcome, max_growth(text.len()))
    }

    /// Runs the program against it, and returns the scrape that shows the outcome.
    async fn run(self) -> String {
        let context = format!("{} ({})", self.name, self.location);
        let cad = Cad::start().await;
        cad.answer_server(1, self.answer);
        cad.answer_server(2, Answer::ok(&small(1)));
        let communities = Communities::start(&cad, &[], |url| {
            format!(
                "hostile: {{community_id: x, api_key: key1, api_url: '{url}', api_timeout: 60s, cache_ttl: 1s, \
                 requests_per_minute: 60}}\n\
                 good: {{community_id: x, api_key: key2, api_url: '{url}', server_ids: 2}}\n"
            )
        });
        let baseline = peak_after_a_small_answer(&communities).await;

        let text = probe_until(&communities, "hostile", has_completed).await;
        assert_eq!(outcome(&text), self.outcome, "{context}\n{text}");

        cad.answer_server(1, Answer::ok(&small(1)));
        probe_until(&communities, "hostile", has_recovered).await;
        // The connections of the attack and of the valid answers are closed.
        cad.wait_for_connections(0).await;
        let growth = peak(&communities) - baseline;
        eprintln!(
            "{:60} {:18} {:7} of {:7} KiB",
            self.name,
            self.outcome,
            growth >> 10,
            self.max_growth >> 10
        );
        assert!(growth <= self.max_growth, "{context}: {} KiB", growth >> 10);
        text
    }
}

/// Runs attacks at once, each against a program of its own.
async fn run_together(attacks: impl IntoIterator<Item = Attack>) {
    let attacks: Vec<_> = attacks.into_iter().map(|attack| tokio::spawn(attack.run())).collect();
    for attack in attacks {
        attack.await.unwrap();
    }
}

/// The largest amount of memory that the process has had, in bytes.
fn peak(communities: &Communities) -> usize {
    usize::try_from(communities.program.kibibytes("VmHWM")).unwrap() << 10
}

/// The peak once the community "good", whose server is 2, has been read: the baseline.
async fn peak_after_a_small_answer(communities: &Communities) -> usize {
    let text = communities.probe("good", 60).await;
    assert_eq!(value(&text, "sonorancad_up{server_id=\"2\"}"), 1.0, "{text}");
    peak(communities)
}

/// Probes a community until a condition is met, and returns the scrape that meets it: a busy machine may need longer for
/// a large answer than a scrape may wait.
async fn probe_until(communities: &Communities, alias: &str, is_met: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let text = communities.probe(alias, 60).await;
        if is_met(&text) {
            return text;
        }
        assert!(begin.elapsed() < HANG_GUARD, "{alias}: in vain\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Spaces, which gzip compresses to a fraction.
fn gzip_of_spaces(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let spaces = vec![b' '; MEBIBYTE];
    for _ in 0..mebibytes {
        encoder.write_all(&spaces).unwrap();
    }
    encoder.finish().unwrap()
}

/// A valid answer of a little more than this size, with `Content-Length` or in chunks.
fn padded(mebibytes: usize, is_announced: bool) -> Answer {
    let json = r#"{"activeCalls":[]"#;
    let length = json.len() + mebibytes * MEBIBYTE + 1;
    let (head, chunk, end) = if is_announced {
        (
            format!("Content-Length: {length}\r\n\r\n{json}"),
            vec![b' '; MEBIBYTE],
            b"}".to_vec(),
        )
    } else {
        let chunk = [b"100000\r\n", &vec![b' '; MEBIBYTE][..], b"\r\n"].concat();
        let head = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{json}\r\n", json.len());
        (head, chunk, b"1\r\n}\r\n0\r\n\r\n".to_vec())
    };
    Answer::Stream(Stream {
        times: mebibytes,
        end,
        ..Stream::endless(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes(), &chunk)
    })
}

/// A body with a value that is nested a million times.
fn nested(before: &str, open: &str, close: &str, after: &str) -> String {
    const DEPTH: usize = 1_000_000;
    [before, &open.repeat(DEPTH), "1", &close.repeat(DEPTH), after].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_refused_at_the_limit() {
    let chunk = [b"100000\r\n", &vec![b' '; MEBIBYTE][..], b"\r\n"].concat();
    let endless = |start: &[u8], part: &[u8]| Answer::Stream(Stream::endless(start, part));
    let large = vec![b'A'; MEBIBYTE];
    run_together([
        Attack::new(
            "endless body",
            endless(UNTIL_CLOSE, &large),
            "RESPONSE TOO LARGE",
            body(MAX_BODY),
        ),
        Attack::new(
            "endless body in chunks",
            endless(CHUNKED, &chunk),
            "RESPONSE TOO LARGE",
            body(MAX_BODY),
        ),
        Attack::new(
            "endless body of an error",
            endless(b"HTTP/1.1 500 Oops\r\n\r\n", &large),
            "HTTP 5XX",
            BUFFERS,
        ),
        Attack::new("48 MiB in chunks", padded(47, false), SUCCESS, body(MAX_BODY)),
        Attack::new("48 MiB as announced", padded(47, true), SUCCESS, body(MAX_BODY)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_refused_at_the_limit() {
    let bomb = gzip_of_spaces(1000);
    let coded_twice = Answer::status_with_bytes(200, &[("Content-Encoding", "gzip, gzip")], &gzip(&bomb));
    let error = Answer::status_with_bytes(500, &[("Content-Encoding", "gzip")], &bomb);
    let name = [GZIP, b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"].concat();
    let named = Answer::Stream(Stream::endless(&name, &vec![b'A'; MEBIBYTE]));
    run_together([
        Attack::new("gzip of 1000 MiB", ok_gzip(&bomb), "RESPONSE TOO LARGE", body(MAX_BODY)),
        Attack::new(
            "gzip in gzip of 1000 MiB",
            ok_gzip(&gzip(&bomb)),
            "INVALID RESPONSE",
            copied_body(bomb.len()),
        ),
        Attack::new("two codings", coded_twice, "INVALID RESPONSE", BUFFERS),
        Attack::new("gzip of 1000 MiB of an error", error, "HTTP 5XX", BUFFERS),
        Attack::new("gzip with a name without end", named, "INVALID RESPONSE", BUFFERS),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_needs_no_more_than_the_body() {
    let nestings = [
        ("arrays for an answer", nested("", "[", "]", ""), "INVALID RESPONSE"),
        (
            "objects for an answer",
            nested("", "{\"a\":", "}", ""),
            "INVALID RESPONSE",
        ),
        (
            "arrays that do not end",
            nested("{\"a\":", "[", "", ""),
            "INVALID RESPONSE",
        ),
        (
            "arrays for a call",
            nested("{\"activeCalls\":[", "[", "]", "]}"),
            SUCCESS,
        ),
        (
            "arrays in an ignored field",
            nested("{\"activeCalls\":[{\"notes\":", "[", "]", "}]}"),
            SUCCESS,
        ),
        (
            "objects in an ignored field",
            nested("{\"activeCalls\":[{\"notes\":", "{\"a\":", "}", "}]}"),
            SUCCESS,
        ),
        (
            "arrays in priority",
            nested("{\"activeCalls\":[{\"priority\":", "[", "]", "}]}"),
            SUCCESS,
        ),
        (
            "objects in priority",
            nested("{\"activeCalls\":[{\"priority\":", "{\"a\":", "}", "}]}"),
            SUCCESS,
        ),
        (
            "arrays in idents",
            nested("{\"activeCalls\":[{\"idents\":", "[", "]", "}]}"),
            SUCCESS,
        ),
        (
            "objects in idents",
            nested("{\"activeCalls\":[{\"idents\":[", "{\"a\":", "}", "]}]}"),
            SUCCESS,
        ),
        (
            "arrays for closed calls",
            nested("{\"activeCalls\":[],\"closedCalls\":", "[", "]", "}"),
            SUCCESS,
        ),
    ];
    let answer = Answer::Stream(Stream {
        times: 47,
        end: b"\r\n0\r\n\r\n".to_vec(),
        ..Stream::endless(
            &[CHUNKED, format!("{:x}\r\n{{\"a\":", 5 + 47 * MEBIBYTE).as_bytes()].concat(),
            &vec![b'['; MEBIBYTE],
        )
    });
    let deepest = Attack::new("50,000,000 arrays", answer, "INVALID RESPONSE", copied_body(MAX_BODY));
    let attack = |(name, text, outcome): (&str, String, _)| {
        Attack::with_text(&format!("1,000,000 {name}"), &text, outcome, copied_body)
    };
    run_together(nestings.map(attack).into_iter().chain([deepest])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_megabytes_is_refused() {
    const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let large = vec![b'x'; MEBIBYTE];
    let header = Stream {
        times: 10,
        end: b"\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        ..Stream::endless(b"HTTP/1.1 200 OK\r\nX: ", &large)
    };
    let many = [STATUS, &b"X: y\r\n".repeat(100_000), b"Content-Length: 2\r\n\r\n{}"].concat();
    let heads = [
        ("a header of 10 MiB", Answer::Stream(header), "CONNECT"),
        ("100,000 headers", Answer::Bytes(many), "CONNECT"),
        (
            "endless header",
            Answer::Stream(Stream::endless(b"HTTP/1.1 200 OK\r\nX: ", &large)),
            "CONNECT",
        ),
        (
            "endless name of a header",
            Answer::Stream(Stream::endless(STATUS, &large)),
            "CONNECT",
        ),
        (
            "endless headers",
            Answer::Stream(Stream::endless(STATUS, &b"X: y\r\n".repeat(10_000))),
            "CONNECT",
        ),
        (
            "endless status",
            Answer::Stream(Stream::endless(b"HTTP/1.1 200 ", &large)),
            "CONNECT",
        ),
        (
            "endless version",
            Answer::Stream(Stream::endless(b"HTTP/", &large)),
            "CONNECT",
        ),
        (
            "endless empty lines",
            Answer::Stream(Stream::endless(b"", &b"\r\n".repeat(100_000))),
            "CONNECT",
        ),
        (
            "endless extension of a chunk",
            Answer::Stream(Stream::endless(&[CHUNKED, b"1;"].concat(), &large)),
            "INVALID RESPONSE",
        ),
        (
            "endless trailers",
            Answer::Stream(Stream::endless(
                &[CHUNKED, b"2\r\n{}\r\n0\r\n"].concat(),
                &b"X: y\r\n".repeat(10_000),
            )),
            "INVALID RESPONSE",
        ),
    ];
    run_together(heads.map(|(name, answer, outcome)| Attack::new(name, answer, outcome, BUFFERS))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_odd_values_need_no_more_than_the_body() {
    let no_utf8 = [b"{\"activeCalls\":[\"", &vec![0xff; 47 * MEBIBYTE][..], b"\"]}"].concat();
    let no_utf8 = Attack::new(
        "47 MiB that are not UTF-8",
        Answer::status_with_bytes(200, &[], &no_utf8),
        SUCCESS,
        copied_body(no_utf8.len()),
    );
    let keys = "\"activeCalls\":[{}],".repeat(1_000_000);
    let fields = "\"priority\":[],".repeat(1_000_000);
    let units = "12345,".repeat(1_000_000);
    let digits = "9".repeat(10_000_000);
    let escapes = "\\u0041".repeat(1_700_000);
    let attacks = [
        (
            "1,000,000 times the same key",
            format!("{{{keys}\"activeCalls\":[]}}"),
            SUCCESS,
        ),
        (
            "1,000,000 times the same field",
            format!("{{\"activeCalls\":[{{{fields}\"priority\":1}}]}}"),
            SUCCESS,
        ),
        (
            "1,000,000 units of a call",
            format!("{{\"activeCalls\":[{{\"idents\":[{units}0]}}]}}"),
            SUCCESS,
        ),
        (
            "a number of 10 MB",
            format!("{{\"activeCalls\":[{{\"priority\":{digits}}}]}}"),
            SUCCESS,
        ),
        (
            "a key of 10 MB",
            format!("{{\"activeCalls\":[],\"{escapes}\":1}}"),
            SUCCESS,
        ),
        ("10 MB of NUL", "\0".repeat(10_000_000), "INVALID RESPONSE"),
    ];
    let attack = |(name, text, outcome): (&str, String, _)| Attack::with_text(name, &text, outcome, body);
    run_together(attacks.map(attack).into_iter().chain([no_utf8])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_calls_are_counted() {
    let sum = |text: &str, name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum::<f64>()
    };
    let many = answer::with_calls(100_000);
    let text = Attack::with_text("100,000 calls", &many, SUCCESS, body).run().await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);
    assert_eq!(value(&text, "sonorancad_attached_units{server_id=\"1\"}"), 797.0);
    let packed = ok_gzip(&gzip(many.as_bytes()));
    let text = Attack::new("100,000 calls in gzip", packed, SUCCESS, body(many.len()))
        .run()
        .await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);

    let same = r#"{"callId":5,"priority":1,"status":0,"origin":0,"idents":[1]},"#.repeat(99_999);
    let last = r#"{"callId":5,"priority":2,"status":1,"origin":1,"idents":[2]}"#;
    let same = format!("{{\"activeCalls\":[{same}{last}],\"emergencyCalls\":[],\"closedCalls\":[]}}");
    let text = Attack::with_text("100,000 calls of one id", &same, SUCCESS, body)
        .run()
        .await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);
    assert_eq!(value(&text, "sonorancad_attached_units{server_id=\"1\"}"), 2.0);

    let odd =
        r#"{"callId":"Ω","priority":99,"status":[0],"origin":1e999,"idents":["x",null,{}],"Ω":1e-999},"#.repeat(99_999);
    let odd = format!(
        "{{\"Ω\":[],\"activeCalls\":[{odd}17],\"emergencyCalls\":[null,{{\"isEmergency\":\"Ω\"}}],\"closedCalls\":[1]}}"
    );
    let text = Attack::with_text("100,000 calls of unknown values", &odd, SUCCESS, body)
        .run()
        .await;
    let other = "{server_id=\"1\",priority=\"other\",status=\"other\",origin=\"other\"}";
    assert_eq!(value(&text, &format!("sonorancad_active_calls{other}")), 99_999.0);
    for (field, count) in [
        ("priority", 99_999.0),
        ("status", 99_999.0),
        ("origin", 99_999.0),
        ("call", 3.0),
    ] {
        assert_eq!(
            value(
                &text,
                &format!("sonorancad_unreadable_values{{server_id=\"1\",field=\"{field}\"}}")
            ),
            count
        );
    }
    assert_eq!(sum(&text, "sonorancad_attached_units{server_id=\"1\""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_of_many_communities_share_one_budget_of_memory() {
    const COMMUNITIES: usize = 10;
    let cad = Cad::start().await;
    cad.answer_server(1, padded(47, false));
    cad.answer_server(2, Answer::ok(&small(1)));
    let communities = Communities::start(&cad, &[], |url| {
        let large = |number| {
            format!("c{number}: {{community_id: x, api_key: key{number}, api_url: '{url}', api_timeout: 60s}}\n")
        };
        let small =
            |alias| format!("{alias}: {{community_id: x, api_key: {alias}, api_url: '{url}', server_ids: 2}}\n");
        (0..COMMUNITIES)
            .map(large)
            .chain([small("good"), small("other")])
            .collect()
    });
    let baseline = peak_after_a_small_answer(&communities).await;
    let large: Vec<_> = (0..COMMUNITIES)
        .map(|number| tokio::spawn(communities.probe(&format!("c{number}"), 120)))
        .collect();
    cad.wait_for_requests(1 + COMMUNITIES).await;
    let small = communities.probe("other", 60).await;
    assert_eq!(value(&small, "sonorancad_up{server_id=\"2\"}"), 1.0);
    let finished = large.iter().filter(|probe| probe.is_finished()).count();
    assert!(finished <= COMMUNITIES / 2, "a small answer is held up: {finished}");
    let mut outcomes = Vec::new();
    for (number, probe) in large.into_iter().enumerate() {
        probe.await.unwrap();
        let text = probe_until(&communities, &format!("c{number}"), has_completed).await;
        outcomes.push(outcome(&text));
    }
    let growth = peak(&communities) - baseline;
    eprintln!("{COMMUNITIES} answers of 48 MiB: {} MiB, {outcomes:?}", growth >> 20);
    let max_growth = body(MAX_BODIES) + COMMUNITIES * WAITING_BODY;
    assert!(growth <= max_growth, "{growth} bytes");
    // On a machine that is too slow for all of them, some may get no memory in time.
    assert!(
        outcomes
            .iter()
            .all(|outcome| [SUCCESS, "TIMEOUT"].contains(&&**outcome)),
        "{outcomes:?}"
    );
    assert!(outcomes.iter().any(|outcome| outcome == SUCCESS), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_that_gets_no_memory_times_out() {
    let cad = Cad::start().await;
    // Too much for the buffers of the sockets: once it is sent, the exporter has read most of it.
    let most = [CHUNKED, b"1800000\r\n", &vec![b' '; 24 * MEBIBYTE]].concat();
    cad.answer_server(1, Answer::BytesThenStall(most));
    cad.answer_server(2, Answer::ok(&small(1)));
    cad.answer_server(3, padded(3, false));
    let communities = Communities::start(&cad, &[], |url| {
        let community = |alias, server, timeout| {
            format!(
                "{alias}: {{community_id: x, api_key: {alias}, api_url: '{url}', server_ids: {server}, \
                 api_timeout: {timeout}}}\n"
            )
        };
        [
            community("first", 1, "60s"),
            community("second", 1, "60s"),
            community("small", 2, "60s"),
            community("before", 3, "60s"),
            community("meanwhile", 3, "3s"),
        ]
        .concat()
    });
    let is_up = async |alias: &str, server: u32| {
        let text = communities.probe(alias, 60).await;
        (
            value(&text, &format!("sonorancad_up{{server_id=\"{server}\"}}")) == 1.0,
            text,
        )
    };
    let (is_read, text) = is_up("before", 3).await;
    assert!(is_read, "there is memory for it\n{text}");

    let holders = ["first", "second"].map(|alias| tokio::spawn(communities.probe(alias, 60)));
    cad.wait_for_stalls(2).await;
    let (is_read, text) = is_up("meanwhile", 3).await;
    assert!(!is_read && failures(&text) == [("TIMEOUT".to_owned(), 1)], "{text}");
    let (is_read, text) = is_up("small", 2).await;
    assert!(is_read, "a small answer needs no share\n{text}");
    assert!(
        holders.iter().all(|probe| !probe.is_finished()),
        "they have kept the memory"
    );
    for probe in holders {
        probe.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_wait_for_memory_take_little() {
    let plain = [CHUNKED, b"200000\r\n", &vec![b' '; 2 * MEBIBYTE]].concat();
    let packed = gzip_of_spaces(2);
    // All but the end.
    let packed = [GZIP, &packed[..packed.len() - 20]].concat();
    for (name, answer) in [("plain", plain), ("gzip", packed)] {
        let cad = Cad::start().await;
        cad.answer_server(1, Answer::BytesThenStall(answer));
        cad.answer_server(2, Answer::ok(&small(1)));
        let communities = Communities::start(&cad, &[], |url| {
            let community = |number| {
                format!("c{number}: {{community_id: x, api_key: key{number}, api_url: '{url}', api_timeout: 10s}}\n")
            };
            let good = format!("good: {{community_id: x, api_key: good, api_url: '{url}', server_ids: 2}}\n");
            (0..MAX_REQUESTS).map(community).chain([good]).collect()
        });
        let baseline = peak_after_a_small_answer(&communities).await;
        let probes: Vec<_> = (0..MAX_REQUESTS)
            .map(|number| tokio::spawn(communities.probe(&format!("c{number}"), 60)))
            .collect();
        for (number, probe) in probes.into_iter().enumerate() {
            probe.await.unwrap();
            let text = probe_until(&communities, &format!("c{number}"), has_completed).await;
            assert_eq!(outcome(&text), "TIMEOUT");
        }
        let growth = peak(&communities) - baseline;
        eprintln!(
            "{MAX_REQUESTS} answers of 2 MiB that stall, {name}: {} MiB",
            growth >> 20
        );
        assert!(
            growth <= MAX_REQUESTS * WAITING_BODY + BUFFERS,
            "{name}: {growth} bytes"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_ids_in_each_answer_do_not_accumulate() {
    const SERVERS: usize = 4;
    /// What the calls of 2,000 in each list, their units, and the ids that are remembered take.
    const FOLLOWED: usize = 8 * MEBIBYTE;
    let cad = Cad::start().await;
    cad.answer(Answer::ok(&newcomers::answer(0, 1)));
    let communities = Communities::start(&cad, &[], |url| {
        let community = |number| {
            format!(
                "c{number}: {{api_version: v2, api_key: key{number}, api_url: '{url}', api_timeout: 60s, \
                 cache_ttl: 1s, requests_per_minute: 60}}\n"
            )
        };
        (0..SERVERS).map(community).collect()
    });
    let mut first = 1_000_000_000;
    let mut baseline = 0;
    let mut largest = 0;
    // The calls of a list that is too long are counted, and not followed.
    for (round, calls) in [0, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 100_000, 2_000]
        .into_iter()
        .enumerate()
    {
        let text = newcomers::answer(calls, first);
        largest = largest.max(text.len());
        cad.answer(Answer::ok(&text));
        first += calls;
        for number in 0..SERVERS {
            #[expect(clippy::cast_precision_loss, reason = "there are few")]
            let expected = calls as f64;
            probe_until(&communities, &format!("c{number}"), |text| {
                is_up(text) && value(text, CALLS) == expected
            })
            .await;
        }
        if round == 0 {
            baseline = peak(&communities);
        }
        let growth = peak(&communities) - baseline;
        eprintln!("{calls} calls in each list: {} KiB", growth >> 10);
        assert!(
            growth <= body(largest) + SERVERS * FOLLOWED,
            "round {round}: {growth} bytes"
        );
        // Until the snapshots are older than the TTL.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let resident = usize::try_from(communities.program.kibibytes("VmRSS")).unwrap() << 10;
    let kept = resident.saturating_sub(baseline);
    eprintln!("{} KiB kept for each server", (kept / SERVERS) >> 10);
    assert!(kept <= SERVERS * FOLLOWED, "{kept} bytes");
}
