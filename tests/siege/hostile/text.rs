//! Odd texts in answers that are valid HTTP.

use super::{CALLS, Fixture, SUCCESS, small};
use crate::support::cad::Answer;
use crate::support::exporter::value;

#[tokio::test]
async fn odd_text_is_a_snapshot_or_an_invalid_response() {
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
