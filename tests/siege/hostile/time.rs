//! Answers that take for ever: a fetch ends at its time-out, and scrapes do not wait for it.
//!
//! Each attack has a control beside it in the same process: a server that never answers. So the load of the machine
//! cancels out.

use std::net::SocketAddr;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::{CALLS, CHUNKED, GZIP, MEBIBYTE, UNTIL_CLOSE, gzip, small};
use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::{HANG_GUARD, failures, has, http, value};
use crate::support::program::{Program, command};

/// The server that never answers.
const CONTROL: u32 = 1;

/// The hostile server.
const HOSTILE: u32 = 2;

/// One answer of a hostile API that takes longer than the time-out.
struct Attack {
    name: &'static str,
    answer: Answer,
    /// The label of the failure.
    outcome: &'static str,
    api_timeout: &'static str,
    /// Where it is described.
    location: &'static Location<'static>,
}

impl Attack {
    #[track_caller]
    fn new(name: &'static str, answer: Answer, outcome: &'static str) -> Self {
        Self {
            name,
            answer,
            outcome,
            api_timeout: "6s",
            location: Location::caller(),
        }
    }

    /// Runs the program against it and against the control.
    async fn run(self) {
        let context = format!("{} ({})", self.name, self.location);
        let cad = Cad::start().await;
        cad.answer_server(CONTROL, Answer::BytesThenStall(Vec::new()));
        cad.answer_server(HOSTILE, self.answer);
        let program = Program::start(command(
            &cad,
            &[
                ("SONORANCAD_SERVER_IDS", "1,2"),
                ("SONORANCAD_CACHE_TTL", "1s"),
                ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
                ("SONORANCAD_API_TIMEOUT", self.api_timeout),
            ],
        ));
        let address = program.address;
        let text = scrape(address).await;
        assert_eq!(failures(&text), [], "{context}: the scrape waited for the time-out");

        let text = scrape_until(address, &context, |text| {
            [CONTROL, HOSTILE].iter().all(|server| fetches(text, *server) > 0.0)
        })
        .await;
        assert_eq!(errors(&text, CONTROL, "TIMEOUT"), 1.0, "{context}\n{text}");
        assert_eq!(errors(&text, HOSTILE, self.outcome), 1.0, "{context}\n{text}");
        assert_eq!(
            failures(&text).iter().map(|(_, count)| count).sum::<u64>(),
            2,
            "{context}\n{text}"
        );
        let ratio = fetch_seconds(&text, HOSTILE) / fetch_seconds(&text, CONTROL);
        eprintln!(
            "{:45} {:10} {ratio:.2} times as long as the control",
            self.name, self.outcome
        );
        assert!(ratio < 1.5, "{context}: {ratio} times as long as the control");

        cad.answer(Answer::ok(&small(1)));
        scrape_until(address, &context, |text| {
            [CONTROL, HOSTILE]
                .iter()
                .all(|server| calls(text, *server) == Some(1.0))
        })
        .await;
        // The connections of the attack and of the valid answer are both closed.
        cad.wait_for_connections(0).await;
    }
}

/// A scrape whose client waits for a second, so that it is answered after half of that.
async fn scrape(exporter: SocketAddr) -> String {
    let request = http()
        .get(format!("http://{exporter}/metrics"))
        .header("X-Prometheus-Scrape-Timeout-Seconds", 1);
    request.send().await.unwrap().text().await.unwrap()
}

/// Scrapes until a condition is met, and returns the scrape that meets it.
async fn scrape_until(exporter: SocketAddr, context: &str, is_met: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let text = scrape(exporter).await;
        if is_met(&text) {
            return text;
        }
        assert!(begin.elapsed() < HANG_GUARD, "{context}: in vain\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The fetches of a server that have ended.
fn fetches(text: &str, server: u32) -> f64 {
    value(
        text,
        &format!("sonorancad_api_request_duration_seconds_count{{server_id=\"{server}\",api_endpoint=\"calls\"}}"),
    )
}

/// The mean duration of a server's fetches.
fn fetch_seconds(text: &str, server: u32) -> f64 {
    let sum = format!("sonorancad_api_request_duration_seconds_sum{{server_id=\"{server}\",api_endpoint=\"calls\"}}");
    value(text, &sum) / fetches(text, server)
}

/// The failures of a server with this label.
fn errors(text: &str, server: u32, label: &str) -> f64 {
    let labels = format!("server_id=\"{server}\",api_endpoint=\"calls\",error=\"{label}\"");
    value(text, &format!("sonorancad_api_errors_total{{{labels}}}"))
}

/// The calls that are shown of a server.
fn calls(text: &str, server: u32) -> Option<f64> {
    let series = CALLS.replace("server_id=\"1\"", &format!("server_id=\"{server}\""));
    has(text, &series).then(|| value(text, &series))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_missing_answer_ends_at_the_time_out() {
    let drip = |start: &[u8], part: &[u8]| {
        Answer::Stream(Stream {
            pause: Duration::from_millis(20),
            ..Stream::endless(start, part)
        })
    };
    // As fast as a debug build can read it.
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
        ("a body, byte by byte", drip(UNTIL_CLOSE, b" "), "TIMEOUT"),
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
    let attacks = attacks.map(|(name, answer, outcome)| tokio::spawn(Attack::new(name, answer, outcome).run()));
    for attack in attacks {
        attack.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tiny_pieces_delays_no_scrape_and_no_time_out() {
    // A connection is read for as long as there is something to read. In a debug build, the digits of a chunk's size keep
    // a thread busy for far longer than the time-out.
    let zeros = Stream {
        times: 96,
        ..Stream::endless(CHUNKED, &vec![b'0'; MEBIBYTE])
    };
    let attack = Attack::new("a chunk's size without end", Answer::Stream(zeros), "TIMEOUT");
    let api_timeout = "3s";
    Attack { api_timeout, ..attack }.run().await;
}
