//! Answers that break HTTP or its content coding: each is one failure, and no part of one is taken for an answer.

use std::time::Duration;

use super::{CALLS, CHUNKED, Fixture, SUCCESS, UNTIL_CLOSE, gzip, ok_gzip, small};
use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::value;
use crate::support::program::Communities;

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
        ([UNTIL_CLOSE, body.as_bytes()].concat(), ["CONNECT", "INVALID RESPONSE"]),
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
async fn a_surplus_answer_is_not_taken_for_the_next_one() {
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
    // An answer that is sent before the request is read is an answer or a failure, whichever comes first.
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
async fn a_late_surplus_answer_is_not_taken_for_another_communitys() {
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
