//! An API that does its worst: what it is counted as, what it may cost, and that the exporter gets over it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use sonorancad_exporter::client::MAX_REQUESTS;
use sonorancad_exporter::clock::ManualClock;

use crate::support::answer;
use crate::support::authority::{Authority, Identity};
use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::{Running, failures, has, http, value};
use crate::support::newcomers;
use crate::support::program::{Communities, KEY, Program, command};
use crate::support::tools::Folder;

/// What an attack comes to where it does no harm.
const SUCCESS: &str = "success";

/// The start of an answer whose body lasts as long as the connection.
const UNTIL_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

const GZIP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";

const MEBIBYTE: usize = 1 << 20;

/// How long a scrape of an attack lets the exporter wait; it answers 0.5 s earlier.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a busy machine of two cores adds to any time.
const SLACK: Duration = Duration::from_secs(5);

/// How long anything may take here before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// One answer of a hostile API, and what it may come to.
struct Attack {
    name: String,
    answer: Answer,
    /// The label of the failure, or [`SUCCESS`].
    outcome: &'static str,
    /// The peak of the process's memory, in a debug build.
    most_mebibytes: u64,
    api_timeout: Duration,
    /// Where it is described.
    place: &'static Location<'static>,
}

impl Attack {
    /// An attack on the memory: there is time enough for its answer.
    #[track_caller]
    fn new(name: &str, answer: Answer, outcome: &'static str, most_mebibytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            answer,
            outcome,
            most_mebibytes,
            api_timeout: Duration::from_secs(60),
            place: Location::caller(),
        }
    }

    /// An attack on the time.
    #[track_caller]
    fn timed(name: &str, answer: Answer, outcome: &'static str) -> Self {
        Self {
            api_timeout: SCRAPE_TIMEOUT + 2 * SLACK,
            ..Self::new(name, answer, outcome, LITTLE)
        }
    }

    /// Runs the program against it, and gives the scrape that tells its outcome.
    async fn run(self) -> String {
        let context = format!("{} ({})", self.name, self.place);
        let cad = Cad::start().await;
        cad.answer(self.answer);
        let program = Program::start(command(
            &cad,
            &[
                ("SONORANCAD_CACHE_TTL", "1s"),
                ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
                ("SONORANCAD_API_TIMEOUT", &format!("{}ms", self.api_timeout.as_millis())),
            ],
        ));

        let address = program.address;
        let begin = Instant::now();
        scrape_within(address, SCRAPE_TIMEOUT).await;
        let took = begin.elapsed();
        assert!(took < SCRAPE_TIMEOUT + SLACK, "{context}: the scrape took {took:?}");

        let text = scrape_until(address, &context, has_landed).await;
        assert_eq!(outcome(&text), self.outcome, "{context}\n{text}");
        let fetch = fetch_time(&text);
        assert!(fetch < self.api_timeout + SLACK, "{context}: the fetch took {fetch:?}");

        cad.answer(Answer::ok(&small(1)));
        scrape_until(address, &context, is_well).await;
        // What the attack came through is closed, and so is what a good answer came through.
        cad.wait_for_connections(0).await;
        let peak = peak_mebibytes(&program);
        eprintln!(
            "{:60} {:18} {peak:4} MiB  scrape {took:>8.1?}  fetch {fetch:>8.1?}",
            self.name, self.outcome
        );
        assert!(peak <= self.most_mebibytes, "{context}: {peak} MiB");
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

/// The calls of [`small`] answers.
const CALLS: &str = "sonorancad_active_calls{server_id=\"1\",priority=\"1\",status=\"pending\",origin=\"caller\"}";

/// The memory of a process that holds nothing large.
const LITTLE: u64 = 25;

async fn scrape_within(exporter: SocketAddr, timeout: Duration) -> String {
    let request = http()
        .get(format!("http://{exporter}/metrics"))
        .header("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_secs());
    request.send().await.unwrap().text().await.unwrap()
}

/// Scrapes until something is so, and gives the scrape that says so.
async fn scrape_until(exporter: SocketAddr, context: &str, is_so: fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let text = scrape_within(exporter, SCRAPE_TIMEOUT).await;
        if is_so(&text) {
            return text;
        }
        assert!(begin.elapsed() < PATIENCE, "{context}: in vain\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_up(text: &str) -> bool {
    value(text, "sonorancad_up{server_id=\"1\"}") == 1.0
}

/// Whether a fetch has come to something.
fn has_landed(text: &str) -> bool {
    is_up(text) || !failures(text).is_empty()
}

/// Whether the answer of [`small`] with one call is there.
fn is_well(text: &str) -> bool {
    is_up(text) && has(text, CALLS) && value(text, CALLS) == 1.0
}

/// The label of the failures of server 1, or [`SUCCESS`].
#[track_caller]
fn outcome(text: &str) -> String {
    let labels: Vec<_> = failures(text).into_iter().map(|(label, _)| label).collect();
    match &labels[..] {
        [] if is_up(text) => SUCCESS.to_owned(),
        [label] => {
            assert!(!has(text, "sonorancad_active_calls{server_id=\"1\""), "{text}");
            label.clone()
        }
        _ => panic!("no outcome, or several: {labels:?}\n{text}"),
    }
}

/// How long the fetches of server 1 took.
fn fetch_time(text: &str) -> Duration {
    let series = |name: &str| {
        let labels = "{server_id=\"1\",api_endpoint=\"calls\"}";
        value(text, &format!("sonorancad_api_request_duration_seconds_{name}{labels}"))
    };
    Duration::from_secs_f64(series("sum") / series("count"))
}

/// The most memory that the process has had.
fn peak_mebibytes(program: &Program) -> u64 {
    program.kibibytes("VmHWM") >> 10
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// So many spaces, compressed 1000:1.
fn gzip_of_spaces(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let spaces = vec![b' '; MEBIBYTE];
    for _ in 0..mebibytes {
        encoder.write_all(&spaces).unwrap();
    }
    encoder.finish().unwrap()
}

fn ok_gzip(body: &[u8]) -> Answer {
    Answer::status_with_bytes(200, &[("Content-Encoding", "gzip")], body)
}

/// A good answer of so many mebibytes, whose length is announced or not.
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
fn nested(before: &str, open: &str, close: &str, after: &str) -> Answer {
    const DEPTH: usize = 1_000_000;
    Answer::ok(&[before, &open.repeat(DEPTH), "1", &close.repeat(DEPTH), after].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_refused_at_the_limit() {
    let chunk = [b"100000\r\n", &vec![b' '; MEBIBYTE][..], b"\r\n"].concat();
    let endless = |start: &[u8], part: &[u8]| Answer::Stream(Stream::endless(start, part));
    let large = vec![b'A'; MEBIBYTE];
    run_together([
        Attack::new("endless body", endless(UNTIL_THE_END, &large), "RESPONSE TOO LARGE", 80),
        Attack::new(
            "endless body in chunks",
            endless(CHUNKED, &chunk),
            "RESPONSE TOO LARGE",
            80,
        ),
        Attack::new(
            "endless body of an error",
            endless(b"HTTP/1.1 500 Oops\r\n\r\n", &large),
            "HTTP 5XX",
            LITTLE,
        ),
        Attack::new("48 MiB in chunks", padded(47, false), SUCCESS, 80),
        Attack::new("48 MiB as announced", padded(47, true), SUCCESS, 80),
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
        Attack::new("gzip of 1000 MiB", ok_gzip(&bomb), "RESPONSE TOO LARGE", 80),
        Attack::new(
            "gzip in gzip of 1000 MiB",
            ok_gzip(&gzip(&bomb)),
            "INVALID RESPONSE",
            35,
        ),
        Attack::new("two codings", coded_twice, "INVALID RESPONSE", LITTLE),
        Attack::new("gzip of 1000 MiB of an error", error, "HTTP 5XX", LITTLE),
        Attack::new("gzip with a name without end", named, "INVALID RESPONSE", LITTLE),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_ignored() {
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
    let deepest = Attack::new("50,000,000 arrays", answer, "INVALID RESPONSE", 130);
    let attack = |(name, answer, outcome)| Attack::new(&format!("1,000,000 {name}"), answer, outcome, 35);
    run_together(nestings.map(attack).into_iter().chain([deepest])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drips_or_never_comes_ends_at_the_time_out() {
    let drip = |start: &[u8], part: &[u8]| {
        Answer::Stream(Stream {
            pause: Duration::from_millis(20),
            ..Stream::endless(start, part)
        })
    };
    // No faster than a debug build reads it.
    let flood = |start: &[u8], part: &[u8]| drip(start, &part.repeat((16 << 10) / part.len()));
    let stall = |start: &[u8]| Answer::BytesThenStall(start.to_vec());
    let continued = b"HTTP/1.1 100 Continue\r\n\r\n";
    let attacks = [
        ("nothing", stall(b""), "TIMEOUT"),
        ("half a status line", stall(b"HTTP/1.1 20"), "TIMEOUT"),
        ("a head, then nothing", stall(CHUNKED), "TIMEOUT"),
        ("a status, byte by byte", drip(b"HTTP/1.1 200 ", b"O"), "TIMEOUT"),
        (
            "a header, byte by byte",
            drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            "TIMEOUT",
        ),
        ("a body, byte by byte", drip(UNTIL_THE_END, b" "), "TIMEOUT"),
        ("a chunk, byte by byte", drip(CHUNKED, b"1\r\n \r\n"), "TIMEOUT"),
        (
            "a body of an error, byte by byte",
            drip(b"HTTP/1.1 503 Oops\r\n\r\n", b" "),
            "HTTP 5XX",
        ),
        ("informational answers now and then", drip(b"", continued), "TIMEOUT"),
        ("informational answers without end", flood(b"", continued), "TIMEOUT"),
        (
            "early hints without end",
            flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
            "TIMEOUT",
        ),
        ("a size of a chunk without end", flood(CHUNKED, b"0"), "TIMEOUT"),
        (
            "chunks of one byte without end",
            flood(CHUNKED, b"1\r\n \r\n"),
            "TIMEOUT",
        ),
        (
            "members of gzip without end, each empty",
            flood(GZIP, &gzip(b"")),
            "TIMEOUT",
        ),
    ];
    run_together(attacks.map(|(name, answer, outcome)| Attack::timed(name, answer, outcome))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pieces_holds_up_no_scrape() {
    // In one go, a connection is read for as long as there is something to read.
    let zeros = Stream {
        times: 96,
        ..Stream::endless(CHUNKED, &vec![b'0'; MEBIBYTE])
    };
    let attack = Attack::timed("96 MiB of a chunk's size", Answer::Stream(zeros), "TIMEOUT");
    // In a debug build, it is read for much longer than that, and than a scrape may take.
    let api_timeout = Duration::from_secs(3);
    Attack { api_timeout, ..attack }.run().await;
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
    run_together(heads.map(|(name, answer, outcome)| Attack::new(name, answer, outcome, LITTLE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bytes_have_their_outcome() {
    let text = [b"{\"activeCalls\":[\"", &vec![0xff; 47 * MEBIBYTE][..], b"\"]}"].concat();
    let invalid = Answer::status_with_bytes(200, &[], &text);
    let attacks = [
        ("47 MiB that are no UTF-8", invalid, SUCCESS, 150),
        (
            "1,000,000 times the same key",
            Answer::ok(&format!(
                "{{{}\"activeCalls\":[]}}",
                "\"activeCalls\":[{}],".repeat(1_000_000)
            )),
            SUCCESS,
            45,
        ),
        (
            "1,000,000 times the same field",
            Answer::ok(&format!(
                "{{\"activeCalls\":[{{{}\"priority\":1}}]}}",
                "\"priority\":[],".repeat(1_000_000)
            )),
            SUCCESS,
            45,
        ),
        (
            "1,000,000 units of a call",
            Answer::ok(&format!(
                "{{\"activeCalls\":[{{\"idents\":[{}0]}}]}}",
                "12345,".repeat(1_000_000)
            )),
            SUCCESS,
            45,
        ),
        (
            "a number of 10 MB",
            Answer::ok(&format!(
                "{{\"activeCalls\":[{{\"priority\":{}}}]}}",
                "9".repeat(10_000_000)
            )),
            SUCCESS,
            45,
        ),
        (
            "a key of 10 MB",
            Answer::ok(&format!("{{\"activeCalls\":[],\"{}\":1}}", "\\u0041".repeat(1_700_000))),
            SUCCESS,
            45,
        ),
        (
            "10 MB of NUL",
            Answer::ok(&"\0".repeat(10_000_000)),
            "INVALID RESPONSE",
            45,
        ),
    ];
    let attack = |(name, answer, outcome, most_mebibytes)| Attack::new(name, answer, outcome, most_mebibytes);
    run_together(attacks.map(attack)).await;
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
    let text = Attack::new("100,000 calls", Answer::ok(&many), SUCCESS, 100)
        .run()
        .await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);
    assert_eq!(value(&text, "sonorancad_attached_units{server_id=\"1\"}"), 797.0);
    let text = Attack::new("100,000 calls in gzip", ok_gzip(&gzip(many.as_bytes())), SUCCESS, 100)
        .run()
        .await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);

    let same = r#"{"callId":5,"priority":1,"status":0,"origin":0,"idents":[1]},"#.repeat(99_999);
    let last = r#"{"callId":5,"priority":2,"status":1,"origin":1,"idents":[2]}"#;
    let same = Answer::ok(&format!(
        "{{\"activeCalls\":[{same}{last}],\"emergencyCalls\":[],\"closedCalls\":[]}}"
    ));
    let text = Attack::new("100,000 calls of one id", same, SUCCESS, 40).run().await;
    assert_eq!(sum(&text, "sonorancad_active_calls{server_id=\"1\""), 100_000.0);
    assert_eq!(value(&text, "sonorancad_attached_units{server_id=\"1\"}"), 2.0);

    let odd =
        r#"{"callId":"Ω","priority":99,"status":[0],"origin":1e999,"idents":["x",null,{}],"Ω":1e-999},"#.repeat(99_999);
    let odd = format!(
        "{{\"Ω\":[],\"activeCalls\":[{odd}17],\"emergencyCalls\":[null,{{\"isEmergency\":\"Ω\"}}],\"closedCalls\":[1]}}"
    );
    let text = Attack::new("100,000 calls of unknown values", Answer::ok(&odd), SUCCESS, 40)
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
async fn large_answers_of_many_communities_share_one_room() {
    const COMMUNITIES: usize = 10;
    let cad = Cad::start().await;
    cad.answer_server(1, padded(47, false));
    let communities = Communities::start(&cad, &[], |url| {
        let large = |number| {
            format!("c{number}: {{community_id: x, api_key: key{number}, api_url: '{url}', api_timeout: 60s}}\n")
        };
        let small = format!("small: {{community_id: x, api_key: small, api_url: '{url}', server_ids: 2}}\n");
        (0..COMMUNITIES).map(large).chain([small]).collect()
    });
    let begin = Instant::now();
    let large: Vec<_> = (0..COMMUNITIES)
        .map(|number| tokio::spawn(communities.probe(&format!("c{number}"), 120)))
        .collect();
    cad.wait_for_requests(COMMUNITIES).await;
    let small = communities.probe("small", 60).await;
    assert_eq!(value(&small, "sonorancad_up{server_id=\"2\"}"), 1.0);
    let finished = large.iter().filter(|probe| probe.is_finished()).count();
    assert!(finished <= COMMUNITIES / 2, "a small answer is held up: {finished}");
    let mut outcomes = Vec::new();
    for probe in large {
        outcomes.push(outcome(&probe.await.unwrap()));
    }
    let peak = peak_mebibytes(&communities.program);
    eprintln!(
        "{COMMUNITIES} answers of 48 MiB: {peak} MiB in {:?}, {outcomes:?}",
        begin.elapsed()
    );
    assert!(peak <= 160, "{peak} MiB");
    // A machine that is too slow for all of them may leave some without their turn.
    assert!(
        outcomes
            .iter()
            .all(|outcome| [SUCCESS, "TIMEOUT"].contains(&&**outcome)),
        "{outcomes:?}"
    );
    assert!(outcomes.iter().any(|outcome| outcome == SUCCESS), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_waits_for_memory_in_vain_times_out() {
    let cad = Cad::start().await;
    let large = [CHUNKED, b"200000\r\n", &vec![b' '; 2 * MEBIBYTE]].concat();
    cad.answer_server(1, Answer::BytesThenStall(large.clone()));
    cad.answer_server(2, Answer::BytesThenStall(large));
    let variables = [
        ("SONORANCAD_SERVER_IDS", "1,2,3,4"),
        ("SONORANCAD_API_TIMEOUT", "14s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
    ];
    let exporter = Running::start(&cad, &variables);
    // Once the two hold all the room there is.
    let Answer::Stream(third) = padded(3, false) else {
        unreachable!("it is made while it is sent")
    };
    let pause = Duration::from_secs(2);
    cad.answer_server(3, Answer::Stream(Stream { pause, ..third }));
    let text = exporter.scrape_within("10").await;
    assert_eq!(
        value(&text, "sonorancad_up{server_id=\"4\"}"),
        1.0,
        "a small answer needs no room"
    );
    assert_eq!(value(&text, "sonorancad_up{server_id=\"3\"}"), 0.0);
    let text = exporter.scrape_within("60").await;
    assert_eq!(failures(&text), vec![("TIMEOUT".to_owned(), 1); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_for_room_hold_little() {
    let plain = [CHUNKED, b"200000\r\n", &vec![b' '; 2 * MEBIBYTE]].concat();
    let packed = gzip_of_spaces(2);
    // All but the end.
    let packed = [GZIP, &packed[..packed.len() - 20]].concat();
    for (name, answer, most_mebibytes) in [("plain", plain, 200), ("gzip", packed, 120)] {
        let cad = Cad::start().await;
        cad.answer(Answer::BytesThenStall(answer));
        let communities = Communities::start(&cad, &[], |url| {
            let community = |number| {
                format!("c{number}: {{community_id: x, api_key: key{number}, api_url: '{url}', api_timeout: 10s}}\n")
            };
            (0..MAX_REQUESTS).map(community).collect()
        });
        let probes: Vec<_> = (0..MAX_REQUESTS)
            .map(|number| tokio::spawn(communities.probe(&format!("c{number}"), 60)))
            .collect();
        for probe in probes {
            assert_eq!(outcome(&probe.await.unwrap()), "TIMEOUT");
        }
        let peak = peak_mebibytes(&communities.program);
        eprintln!("{MAX_REQUESTS} answers of 2 MiB that stall, {name}: {peak} MiB");
        assert!(peak <= most_mebibytes, "{name}: {peak} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_ids_in_each_answer_fill_no_memory() {
    const SERVERS: usize = 4;
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
    let memory = || communities.program.kibibytes("VmRSS");
    let mut first = 1_000_000_000;
    let mut before = 0;
    // Those of a list that is too long are counted alone.
    for (round, calls) in [0, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 100_000, 2_000]
        .into_iter()
        .enumerate()
    {
        cad.answer(Answer::ok(&newcomers::answer(calls, first)));
        first += calls;
        for number in 0..SERVERS {
            let text = communities.probe(&format!("c{number}"), 60).await;
            #[expect(clippy::cast_precision_loss, reason = "there are few")]
            let expected = calls as f64;
            assert_eq!(value(&text, CALLS), expected, "round {round}");
        }
        if round == 0 {
            before = memory();
        }
        eprintln!(
            "{calls} calls in each list: {} KiB, peak {} MiB",
            memory(),
            peak_mebibytes(&communities.program)
        );
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let each = memory().saturating_sub(before) / SERVERS as u64;
    eprintln!("{each} KiB for each server");
    assert!(each <= 8 << 10, "{each} KiB for each server");
    let peak = peak_mebibytes(&communities.program);
    assert!(peak <= 120, "{peak} MiB");
}

/// An exporter on a clock that is moved by hand, whose API answers each time in another way.
struct Fixture {
    cad: Cad,
    exporter: Running,
    clock: ManualClock,
    failures: BTreeMap<String, u64>,
}

impl Fixture {
    async fn start() -> Self {
        let cad = Cad::start().await;
        let (exporter, clock) = Running::start_at_noon(&cad, &[("SONORANCAD_API_TIMEOUT", "30s")]);
        Self {
            cad,
            exporter,
            clock,
            failures: BTreeMap::new(),
        }
    }

    /// What one answer comes to: the label of one failure that leaves no snapshot, or [`SUCCESS`]; and
    /// the scrape that says so.
    async fn answer_with(&mut self, answer: &Answer) -> (String, String) {
        self.clock.advance(Duration::from_secs(3600));
        self.cad.answer(answer.clone());
        let text = self.exporter.scrape_within("60").await;
        let failures: BTreeMap<_, _> = failures(&text).into_iter().collect();
        let before = std::mem::replace(&mut self.failures, failures);
        let is_new = |(label, count): &(&String, &u64)| before.get(*label).is_none_or(|before| before < count);
        let new: Vec<_> = self
            .failures
            .iter()
            .filter(is_new)
            .map(|(label, _)| label.clone())
            .collect();
        let count = |failures: &BTreeMap<_, u64>| failures.values().sum::<u64>();
        let is_up = value(&text, "sonorancad_up{server_id=\"1\"}") == 1.0;
        match &new[..] {
            [] if is_up => (SUCCESS.to_owned(), text),
            [label] if !is_up && count(&self.failures) == count(&before) + 1 => {
                assert!(!has(&text, "sonorancad_active_calls"), "{answer:?}\n{text}");
                (label.clone(), text)
            }
            _ => panic!("{answer:?}: no outcome, or several: {new:?}\n{text}"),
        }
    }
}

/// A good answer with so many calls, as `head` says it.
fn small(calls: usize) -> String {
    let calls = vec![r#"{"priority":1,"status":0,"origin":0}"#; calls].join(",");
    format!("{{\"activeCalls\":[{calls}]}}")
}

#[tokio::test]
async fn an_answer_that_breaks_off_at_any_byte_is_one_failure() {
    let mut fixture = Fixture::start().await;
    let body = small(1);
    let packed = gzip(body.as_bytes());
    let length = |coding: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\n{coding}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let (first, second) = body.split_at(9);
    let chunks = format!("9\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
    for (answer, labels) in [
        (length("", body.as_bytes()), ["CONNECT", "INVALID RESPONSE"]),
        (
            length("Content-Encoding: gzip\r\n", &packed),
            ["CONNECT", "INVALID RESPONSE"],
        ),
        ([CHUNKED, chunks.as_bytes()].concat(), ["CONNECT", "INVALID RESPONSE"]),
        (
            [UNTIL_THE_END, body.as_bytes()].concat(),
            ["CONNECT", "INVALID RESPONSE"],
        ),
    ] {
        let name = String::from_utf8_lossy(&answer);
        for cut in 0..answer.len() {
            let part = &answer[..cut];
            for broken in [
                Answer::BytesThenEnd(part.to_vec()),
                Answer::BytesThenReset(part.to_vec()),
            ] {
                let (outcome, _) = fixture.answer_with(&broken).await;
                assert!(labels.contains(&&*outcome), "{outcome} after {cut} bytes of {name}");
            }
        }
        let (outcome, text) = fixture.answer_with(&Answer::BytesThenEnd(answer.clone())).await;
        assert_eq!(outcome, SUCCESS, "{name}");
        assert!(value(&text, CALLS) == 1.0, "{text}");
    }
}

#[tokio::test]
async fn a_wrong_length_is_a_failure_and_never_a_part_of_an_answer() {
    const NINE: &str = "Content-Length: 9\r\n";
    let mut fixture = Fixture::start().await;
    let body = small(1);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = body.len();
    let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let own = |length: &str| format!("Content-Length: {length}\r\n");
    for (headers, body, outcome) in [
        (own("9"), body.clone(), "INVALID RESPONSE"),
        (own("0"), body.clone(), "INVALID RESPONSE"),
        (own(&(length + 1).to_string()), body.clone(), "INVALID RESPONSE"),
        (own("50331649"), body.clone(), "RESPONSE TOO LARGE"),
        (own("18446744073709551615"), body.clone(), "CONNECT"),
        (own("18446744073709551614"), body.clone(), "CONNECT"),
        (own("18446744073709551616"), body.clone(), "CONNECT"),
        (own("-1"), body.clone(), "CONNECT"),
        (own(&format!("-{length}")), body.clone(), "CONNECT"),
        (own(&format!("+{length}")), body.clone(), "CONNECT"),
        (own("0x10"), body.clone(), "CONNECT"),
        (own(""), body.clone(), "CONNECT"),
        (own(&length.to_string()).repeat(2), body.clone(), SUCCESS),
        (own(&length.to_string()) + NINE, body.clone(), "CONNECT"),
        (NINE.to_owned() + chunked, chunk.clone(), SUCCESS),
        (chunked.to_owned() + NINE, chunk.clone(), SUCCESS),
        (chunked.to_owned(), body.clone(), "INVALID RESPONSE"),
        (chunked.to_owned(), chunk.replacen("\r\n", "\n", 1), "INVALID RESPONSE"),
        (chunked.to_owned(), format!("-{chunk}"), "INVALID RESPONSE"),
        (
            chunked.to_owned(),
            format!("zz\r\n{body}\r\n0\r\n\r\n"),
            "INVALID RESPONSE",
        ),
        (
            chunked.to_owned(),
            format!("9\r\n{body}\r\n0\r\n\r\n"),
            "INVALID RESPONSE",
        ),
        (
            chunked.to_owned(),
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", length + 1),
            "INVALID RESPONSE",
        ),
        (
            chunked.to_owned(),
            format!("ffffffffffffffff\r\n{body}"),
            "INVALID RESPONSE",
        ),
        (
            chunked.to_owned(),
            format!("10000000000000000\r\n{body}"),
            "INVALID RESPONSE",
        ),
        (
            chunked.to_owned(),
            format!("1000000000000000000000000000000{chunk}"),
            "INVALID RESPONSE",
        ),
        ("Transfer-Encoding: gzip\r\n".to_owned(), body.clone(), SUCCESS),
        (
            "Transfer-Encoding: chunked, identity\r\n".to_owned(),
            chunk.clone(),
            "INVALID RESPONSE",
        ),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
        let (found, text) = fixture.answer_with(&Answer::BytesThenEnd(answer.clone().into())).await;
        assert_eq!(found, outcome, "{answer}");
        assert!(outcome != SUCCESS || value(&text, CALLS) == 1.0, "{text}");
    }
}

#[tokio::test]
async fn broken_gzip_is_an_invalid_response() {
    let mut fixture = Fixture::start().await;
    let body = small(1);
    let packed = gzip(body.as_bytes());
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    let mut wrong_sum = packed.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 0xff;
    for (name, bytes, outcome) in [
        (
            "two members",
            [gzip(&body.as_bytes()[..9]), gzip(&body.as_bytes()[9..])].concat(),
            SUCCESS,
        ),
        ("garbage behind", [&packed[..], b"garbage"].concat(), "INVALID RESPONSE"),
        (
            "another answer behind",
            [&packed[..], &packed[..]].concat(),
            "INVALID RESPONSE",
        ),
        ("gzip in gzip", gzip(&packed), "INVALID RESPONSE"),
        ("plain text", body.clone().into_bytes(), "INVALID RESPONSE"),
        ("nothing", Vec::new(), "INVALID RESPONSE"),
        ("a broken middle", corrupt, "INVALID RESPONSE"),
        ("a wrong sum", wrong_sum, "INVALID RESPONSE"),
    ] {
        let (found, text) = fixture.answer_with(&ok_gzip(&bytes)).await;
        assert_eq!(found, outcome, "{name}");
        assert!(outcome != SUCCESS || value(&text, CALLS) == 1.0, "{text}");
    }
    for cut in 0..packed.len() {
        let (found, _) = fixture.answer_with(&ok_gzip(&packed[..cut])).await;
        assert_eq!(found, "INVALID RESPONSE", "{cut} bytes");
    }
}

#[tokio::test]
async fn odd_text_has_its_outcome() {
    let mut fixture = Fixture::start().await;
    let good = small(1);
    for (body, outcome) in [
        (format!("\u{feff}{good}\r\n "), SUCCESS),
        (format!("{good}garbage"), "INVALID RESPONSE"),
        (format!("{good}{good}"), "INVALID RESPONSE"),
        (format!("{good}\0"), "INVALID RESPONSE"),
        (format!("\0{good}"), "INVALID RESPONSE"),
        (good.replace("{\"p", "{\"\0\":1,\"p"), "INVALID RESPONSE"),
        (good.replace("{\"p", "{\"\\u0000\":\"\\u0000\",\"p"), SUCCESS),
        (good.replace("{\"p", "{\"x\":1e999,\"p"), SUCCESS),
        (good.replace("{\"p", "{\"x\":-0.0e-999,\"p"), SUCCESS),
        (
            good.replace("{\"p", "{\"callId\":1e999,\"idents\":[1e999],\"p"),
            SUCCESS,
        ),
        (good.replace("{\"p", "{\"callId\":18446744073709551616,\"p"), SUCCESS),
        (good.replace("{\"p", "{\"x\":NaN,\"p"), "INVALID RESPONSE"),
        (good.replace("{\"p", "{\"priority\":2,\"status\":7,\"p"), SUCCESS),
        (format!("[{good}]"), "INVALID RESPONSE"),
        (format!("\"{good}\""), "INVALID RESPONSE"),
    ] {
        let (found, text) = fixture.answer_with(&Answer::ok(&body)).await;
        assert_eq!(found, outcome, "{body:?}");
        if outcome == SUCCESS {
            let calls = text
                .lines()
                .filter(|line| line.starts_with("sonorancad_active_calls{") && line.ends_with(" 1"));
            assert_eq!(calls.count(), 1, "{body}\n{text}");
        }
    }
    let bytes = [b"{\"\xff\":\"\xc0\x80\xed\xa0\x80\",", &good.as_bytes()[1..]].concat();
    let (found, text) = fixture.answer_with(&Answer::status_with_bytes(200, &[], &bytes)).await;
    assert!(found == SUCCESS && value(&text, CALLS) == 1.0, "{found}\n{text}");
}

#[tokio::test]
async fn an_answer_to_no_request_is_nobodys() {
    let mut fixture = Fixture::start().await;
    let ok = |calls: usize| {
        let body = small(calls);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for _ in 0..20 {
        let (found, text) = fixture
            .answer_with(&Answer::Bytes([ok(1), ok(9)].concat().into()))
            .await;
        assert!(found == SUCCESS && value(&text, CALLS) == 1.0, "{text}");
        let (found, text) = fixture.answer_with(&Answer::Bytes(ok(2).into())).await;
        assert!(
            found == SUCCESS && value(&text, CALLS) == 2.0,
            "the answer behind the first is not the second's: {text}"
        );
    }
    // Before the request is read: whichever comes first, it is an answer or a failure.
    let mut fixture = Fixture::start().await;
    fixture.cad.greet(ok(3).as_bytes());
    for _ in 0..20 {
        let (found, text) = fixture.answer_with(&Answer::BytesThenEnd(Vec::new())).await;
        assert!(
            found == "CONNECT" || found == SUCCESS && value(&text, CALLS) == 3.0,
            "{found}\n{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_is_not_another_communitys() {
    let ok = |calls: usize| {
        let body = small(calls);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let cad = Cad::start().await;
    let surplus = Stream {
        times: 1,
        pause: Duration::from_millis(300),
        ..Stream::endless(ok(1).as_bytes(), ok(9).as_bytes())
    };
    cad.answer_server(1, Answer::Stream(surplus));
    cad.answer_server(2, Answer::ok(&small(2)));
    for _ in 0..3 {
        let communities = Communities::start(&cad, &[], |url| {
            format!(
                "first: {{community_id: x, api_key: key1, api_url: '{url}'}}\n\
                 second: {{community_id: y, api_key: key2, api_url: '{url}', server_ids: 2}}\n"
            )
        });
        let first = communities.probe("first", 60).await;
        assert_eq!(value(&first, CALLS), 1.0, "{first}");
        // While the other answer is still on its way.
        let second = communities.probe("second", 60).await;
        let calls = CALLS.replacen("server_id=\"1\"", "server_id=\"2\"", 1);
        assert_eq!(value(&second, &calls), 2.0, "{second}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_nowhere_else_and_comes_back_in_nothing() {
    let other = Cad::start().await;
    let headers = [
        ("Location", &*other.url()),
        ("Refresh", &*other.url()),
        ("Content-Location", &*other.url()),
    ];
    for version in ["v1", "v2"] {
        for status in [301, 302, 303, 307, 308] {
            let cad = Cad::start().await;
            cad.answer(Answer::status(status, &headers, &KEY.repeat(100_000)));
            let variables = [("SONORANCAD_API_VERSION", version), ("SONORANCAD_LOG", "trace")];
            let mut program = Program::start(command(&cad, &variables));
            let text = program.scrape().await;
            assert_eq!(outcome(&text), "REDIRECTED");
            Program::signal("TERM", program.child.id());
            program.wait();
            let output = program.output();
            assert!(!text.contains(KEY) && !output.contains(KEY), "{output}");
        }
    }
    assert!(other.requests().is_empty());
    for status in [200, 400, 401, 404, 429, 500] {
        let line = format!("HTTP/1.1 {status} {KEY}\r\nX-{KEY}: {KEY}\r\nRetry-After: 1\r\n\r\n");
        let answer = Answer::Stream(Stream::endless(line.as_bytes(), KEY.repeat(100_000).as_bytes()));
        let cad = Cad::start().await;
        cad.answer(answer);
        let mut program = Program::start(command(&cad, &[("SONORANCAD_LOG", "debug")]));
        let text = program.scrape().await;
        assert_ne!(outcome(&text), SUCCESS);
        Program::signal("TERM", program.child.id());
        program.wait();
        let output = program.output();
        assert!(!text.contains(KEY) && !output.contains(KEY), "{status}\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_fit_gets_no_key() {
    let folder = Folder::new();
    let path = folder.path().join("ca.pem");
    let trusted = Authority::new();
    std::fs::write(&path, trusted.pem()).unwrap();
    for (name, identity, outcome_there) in [
        ("one that fits", trusted.issue(&["localhost"]), SUCCESS),
        ("another name", trusted.issue(&["example.org"]), "TLS"),
        ("another authority", Authority::new().issue(&["localhost"]), "TLS"),
        ("expired", trusted.issue_expired("localhost"), "TLS"),
        ("self-signed", Identity::self_signed("localhost"), "TLS"),
    ] {
        let cad = Cad::start_tls(identity.acceptor()).await;
        let found = outcome(&scrape_over_tls(&cad, &path).await);
        assert_eq!(found, outcome_there, "{name}");
        assert_eq!(cad.requests().len(), usize::from(found == SUCCESS), "{name}");
    }
    let cad = Cad::start().await;
    assert_eq!(
        outcome(&scrape_over_tls(&cad, &path).await),
        "TIMEOUT",
        "a greeting without an answer"
    );
}

async fn scrape_over_tls(cad: &Cad, authority: &Path) -> String {
    let variables = [
        (
            "SONORANCAD_API_URL",
            &*format!("https://localhost:{}", cad.address.port()),
        ),
        ("SONORANCAD_API_TIMEOUT", "8s"),
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
    ];
    Program::start(command(cad, &variables)).scrape().await
}
