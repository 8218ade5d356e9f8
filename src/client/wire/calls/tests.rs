use super::*;
use crate::snapshot::EmergencyCall;

fn decode_text(json: &str) -> CallSnapshot {
    decode_calls(json.as_bytes(), Pass::Quick, &TextSet::default()).unwrap()
}

/// The snapshot of one dispatch call with these fields.
fn one_call(fields: &str) -> CallSnapshot {
    decode_text(&format!(r#"{{"activeCalls":[{{{fields}}}]}}"#))
}

#[track_caller]
fn assert_call(fields: &str, expected: (Priority, Status, Origin), unreadable: u64) {
    let snapshot = one_call(fields);
    let (priority, status, origin) = expected;
    assert_eq!(
        snapshot.active.count(priority, status, origin),
        1,
        "{fields}: {snapshot:?}"
    );
    let sum: u64 = UnreadableField::ALL.iter().map(|what| snapshot.unreadable(*what)).sum();
    // None of these calls has an id.
    assert_eq!(sum - snapshot.unreadable(UnreadableField::Id), unreadable, "{fields}");
}

#[test]
fn numbers_may_be_texts_or_have_an_empty_fraction() {
    let expected = (Priority::Two, Status::Active, Origin::WalkUp);
    assert_call(r#""priority":2,"status":1,"origin":3"#, expected, 0);
    assert_call(r#""priority":"2","status":" 1 ","origin":"3""#, expected, 0);
    assert_call(r#""priority":2.0,"status":1.00,"origin":"3.0""#, expected, 0);
}

#[test]
fn what_cannot_be_read_is_other_and_counted() {
    let other = (Priority::Other, Status::Other, Origin::Other);
    for value in [
        "null",
        "9",
        "-1",
        "true",
        "1.5",
        "[1]",
        "{}",
        "1e999",
        "99999999999999999999",
        "[[[[[[]]]]]]",
    ] {
        assert_call(
            &format!(r#""priority":{value},"status":{value},"origin":{value}"#),
            other,
            3,
        );
    }
    assert_call("", other, 3);
}

#[test]
fn a_text_priority_belongs_to_a_custom_layout() {
    let expected = (Priority::Other, Status::Pending, Origin::Caller);
    for text in ["Code 3", "", "7", "\\ud800"] {
        assert_call(&format!(r#""priority":"{text}","status":0,"origin":0"#), expected, 0);
    }
}

#[test]
fn an_odd_item_loses_no_other() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for odd in ["null", "7", "-7", "1.5", "true", "\"x\"", "[]", "[0,0,1]", &deep] {
        let call = r#"{"priority":1,"status":0,"origin":0,"idents":[1]}"#;
        let snapshot = decode_text(&format!(
            r#"{{"activeCalls":[{call},{odd},{call}],"emergencyCalls":[{{"isEmergency":true}},{odd}]}}"#
        ));
        assert_eq!(snapshot.active.count(Priority::One, Status::Pending, Origin::Caller), 2);
        assert_eq!(snapshot.emergency.count(EmergencyKind::Emergency), 1);
        assert_eq!(snapshot.unreadable(UnreadableField::Call), 2);
    }
}

#[test]
fn a_field_that_comes_twice_counts_as_it_came_last() {
    let expected = (Priority::Two, Status::Active, Origin::WalkUp);
    assert_call(
        r#""status":0,"priority":1,"status":1,"origin":3,"priority":2"#,
        expected,
        0,
    );
}

#[test]
fn units_are_numbers_in_idents_or_before_2022_in_units() {
    let units = |fields: &str| {
        let snapshot = one_call(&format!(r#""priority":1,"status":1,"origin":0{fields}"#));
        (
            snapshot.active.attached_units(),
            snapshot.active.unassigned(Priority::One),
        )
    };
    assert_eq!(units(r#","idents":[1,2,2,"3"]"#), (3, 0));
    assert_eq!(units(r#","units":[4,5]"#), (2, 0));
    assert_eq!(units(r#","idents":[],"units":[4]"#), (0, 1));
    for nobody in [
        "",
        r#","idents":null"#,
        r#","idents":[]"#,
        r#","idents":{}"#,
        r#","idents":[null]"#,
    ] {
        assert_eq!(units(nobody), (0, 1), "{nobody}");
    }
}

#[test]
fn units_that_cannot_be_read_are_unknown_rather_than_none() {
    for (idents, attached) in [
        (r#""1,2""#, 0),
        (r#""""#, 0),
        ("12", 0),
        ("true", 0),
        (r#"{"unit":1}"#, 0),
        (r#"["A-10",{"id":1}]"#, 0),
        ("[3,null,4,1.5]", 2),
    ] {
        let snapshot = one_call(&format!(r#""priority":1,"status":1,"origin":0,"idents":{idents}"#));
        assert_eq!(snapshot.active.unassigned(Priority::One), 0, "{idents}");
        assert_eq!(snapshot.active.attached_units(), attached, "{idents}");
        assert_eq!(snapshot.unreadable(UnreadableField::Units), 1, "{idents}");
    }
}

#[test]
fn a_call_knows_the_emergency_call_that_it_was_made_from() {
    let made_from = |meta_data: &str| {
        let call = format!(r#"{{"callId":7,"priority":1,"status":1,"origin":0,"metaData":{meta_data}}}"#);
        let active = decode_text(&format!(r#"{{"activeCalls":[{call}]}}"#));
        let closed = decode_text(&format!(r#"{{"closedCalls":[{call}]}}"#));
        let calls: Vec<_> = active.dispatch_calls().chain(closed.dispatch_calls()).collect();
        let [made_from, of_closed] = [0, 1].map(|index| calls[index].made_from);
        assert_eq!(made_from, of_closed, "{meta_data}");
        made_from
    };
    assert_eq!(made_from(r#"{"x":"1","createdFromId":"41","postal":"9"}"#), Some(41));
    assert_eq!(made_from(r#"{"createdFromId":41}"#), Some(41));
    for none in [
        "null",
        "{}",
        "[\"41\"]",
        "\"41\"",
        r#"{"createdFromId":null}"#,
        r#"{"createdFromId":"-1"}"#,
        r#"{"createdFromId":"0"}"#,
        r#"{"createdFromId":""}"#,
        r#"{"createdFromId":{"id":41}}"#,
    ] {
        assert_eq!(made_from(none), None, "{none}");
    }
}

#[test]
fn the_kind_of_an_emergency_call_may_be_a_text_or_a_number() {
    let count = |value: &str| {
        let snapshot = decode_text(&format!(r#"{{"emergencyCalls":[{{"isEmergency":{value}}}]}}"#));
        (
            snapshot.emergency.count(EmergencyKind::Emergency),
            snapshot.emergency.count(EmergencyKind::Civil),
            snapshot.unreadable(UnreadableField::Call),
        )
    };
    for value in ["true", "\"True\"", "1", "\"1\""] {
        assert_eq!(count(value), (1, 0, 0), "{value}");
    }
    for value in ["false", "\"FALSE\"", "0", "\"0\""] {
        assert_eq!(count(value), (0, 1, 0), "{value}");
    }
    for value in ["null", "2", "\"\"", "[]", "{}"] {
        assert_eq!(count(value), (1, 0, 1), "{value}");
    }
}

#[test]
fn both_spellings_of_the_keys_are_read() {
    let camel = r#"{"activeCalls":[{"priority":1,"status":0,"origin":0}],"emergencyCalls":[{"isEmergency":false}],"closedCalls":[]}"#;
    let pascal = camel
        .replace("activeC", "ActiveC")
        .replace("emergencyC", "EmergencyC")
        .replace("closedC", "ClosedC");
    assert_eq!(decode_text(camel), decode_text(&pascal));
    assert_eq!(decode_text(camel).emergency.count(EmergencyKind::Civil), 1);
}

#[test]
fn a_list_in_both_spellings_counts_as_it_came_last_but_null_counts_for_nothing() {
    let call = r#"[{"priority":1,"status":0,"origin":0}]"#;
    for (json, expected) in [
        (format!(r#"{{"activeCalls":[],"ActiveCalls":{call}}}"#), 1),
        (format!(r#"{{"ActiveCalls":{call},"activeCalls":[]}}"#), 0),
        (format!(r#"{{"ActiveCalls":{call},"activeCalls":null}}"#), 1),
    ] {
        let snapshot = decode_text(&json);
        assert_eq!(
            snapshot.active.count(Priority::One, Status::Pending, Origin::Caller),
            expected,
            "{json}"
        );
    }
}

#[test]
fn a_missing_or_null_list_is_empty_but_unknown() {
    for json in [
        r#"{"closedCalls":null}"#,
        r#"{"activeCalls":null,"emergencyCalls":null,"closedCalls":null}"#,
    ] {
        assert_eq!(decode_text(json), CallSnapshot::default(), "{json}");
    }
    let snapshot = decode_text(r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#);
    assert_eq!(snapshot.active, ActiveCalls::empty());
    assert_eq!(snapshot.emergency, EmergencyCalls::empty());
    assert_eq!(snapshot.closed, IdentifiedCalls::empty());
    assert_ne!(ActiveCalls::empty(), ActiveCalls::default());
}

#[test]
fn an_empty_object_is_an_empty_list() {
    let lists = r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#;
    let expected = decode_text(lists);
    assert_eq!(decode_text(&lists.replace("[]", "{}")), expected);
    assert_eq!(decode_text(&lists.replace("[]", " { } ")), expected);
    let active = decode_text(r#"{"activeCalls":{}}"#);
    assert_eq!(active.active, ActiveCalls::empty());
    assert_eq!(active.closed, IdentifiedCalls::default(), "unknown");
}

#[test]
fn an_object_of_indices_is_a_list_with_gaps() {
    let list = r#"{"activeCalls":[{"callId":5,"priority":1,"status":0,"origin":0,"idents":[7,9]},null],
        "emergencyCalls":[{"callId":1,"isEmergency":true}],"closedCalls":[{"callId":4}]}"#;
    let sparse = r#"{"activeCalls":{"1":{"callId":5,"priority":1,"status":0,"origin":0,"idents":{"2":7,"\u0035":9}},"3":null},
        "emergencyCalls":{"0":{"callId":1,"isEmergency":true}},"closedCalls":{"10":{"callId":4}}}"#;
    assert_eq!(decode_text(sparse), decode_text(list));
}

#[test]
fn an_object_that_is_no_list_is_unreadable_and_loses_no_other_list() {
    let call = r#"{"callId":5,"priority":1,"status":0,"origin":0,"idents":[]}"#;
    for odd in [
        r#"{"message":"x"}"#,
        r#"{"1":{},"n":2}"#,
        r#"{"-1":{}}"#,
        r#"{"1.5":{}}"#,
        r#"{"":{}}"#,
    ] {
        let snapshot = decode_text(&format!(
            r#"{{"activeCalls":[{call}],"emergencyCalls":{odd},"closedCalls":{odd}}}"#
        ));
        assert_eq!(snapshot.active.count(Priority::One, Status::Pending, Origin::Caller), 1);
        assert_eq!(snapshot.emergency.identified().calls(), None, "{odd}");
        assert_eq!(snapshot.closed, IdentifiedCalls::default(), "{odd}");
        assert_eq!(snapshot.unreadable(UnreadableField::Call), 1, "{odd}");

        let snapshot = decode_text(&format!(r#"{{"activeCalls":{odd},"emergencyCalls":[{{}}]}}"#));
        assert_eq!(snapshot.active.identified().calls(), None, "{odd}");
        assert_eq!(snapshot.unreadable(UnreadableField::Call), 2, "{odd}");
    }
}

#[test]
fn closed_calls_that_cannot_be_represented_are_unknown_and_lose_no_other() {
    for odd in ["1e999", r#""\ud800""#, r#"{"\ud800":1}"#] {
        let snapshot = decode_text(&format!(
            r#"{{"activeCalls":[{{"priority":1,"status":0,"origin":0}}],"closedCalls": [{odd}]}}"#
        ));
        assert_eq!(snapshot.active.count(Priority::One, Status::Pending, Origin::Caller), 1);
        assert_eq!(snapshot.closed, IdentifiedCalls::default(), "{odd}");
    }
}

#[test]
fn calls_are_known_by_their_ids() {
    let snapshot = decode_text(
        r#"{"activeCalls":[{"callId":7,"priority":1,"status":0,"origin":3},{"callId":"8","priority":"low"}],
            "emergencyCalls":[{"callId":7,"isEmergency":false}],
            "closedCalls":[{"callId":6,"priority":2,"status":0,"origin":1,"notes":[1e999]},null,5,{"callId":5}]}"#,
    );
    let call = |id, priority, status, origin| DispatchCall {
        id,
        priority,
        status,
        origin,
        made_from: None,
        code: TextSet::default().other(),
    };
    let seven = call(7, Priority::One, Status::Pending, Origin::WalkUp);
    let eight = call(8, Priority::Other, Status::Other, Origin::Other);
    assert_eq!(snapshot.active.identified().calls().unwrap(), [seven, eight]);
    let six = call(6, Priority::Two, Status::Closed, Origin::RadioDispatch);
    let five = call(5, Priority::Other, Status::Closed, Origin::Other);
    assert_eq!(snapshot.closed.calls().unwrap(), [six, five]);
    let civil = EmergencyCall {
        id: 7,
        kind: EmergencyKind::Civil,
    };
    assert_eq!(snapshot.emergency.identified().calls().unwrap(), [civil]);
}

#[test]
fn an_unusable_id_is_none() {
    for id in ["-1", "null", "1.5", "\"x\"", "[1]", "1e999", "18446744073709551616"] {
        let snapshot = one_call(&format!(r#""callId":{id},"priority":1,"status":0,"origin":0"#));
        assert_eq!(snapshot.active.identified().calls(), Some(&[][..]), "{id}");
        assert_eq!(snapshot.unreadable(UnreadableField::Id), 1, "{id}");
        assert_eq!(snapshot.active.count(Priority::One, Status::Pending, Origin::Caller), 1);
    }
}

#[test]
fn closed_calls_are_only_counted_by_the_api() {
    let stored = |json: &str| decode_text(json).closed_stored;
    assert_eq!(
        stored(r#"{"ClosedCalls":[{"callId":1}],"ClosedCallCount":1843}"#),
        Some(1843)
    );
    assert_eq!(
        stored(r#"{"ClosedCalls":[{"callId":1}],"ClosedCallCount":"12"}"#),
        Some(12)
    );
    for count in ["null", "-1", "\"many\"", "[]"] {
        assert_eq!(
            stored(&format!(r#"{{"ClosedCalls":[],"ClosedCallCount":{count}}}"#)),
            None
        );
    }
}

#[test]
fn a_byte_order_mark_and_white_space_are_ignored() {
    let json = "\u{feff} \r\n\t{\"activeCalls\":[]} \n";
    assert_eq!(decode_text(json), decode_text(r#"{"activeCalls":[]}"#));
}

#[test]
fn bytes_that_are_not_utf8_lose_no_call() {
    let json = b"{\"activeCalls\":[\"\xff\",{\"priority\":\"\xff\"},{\"title\":\"\xff\",\"priority\":1,\"status\":0,\"origin\":0}]}";
    let snapshot = decode_calls(json, Pass::Quick, &TextSet::default()).unwrap();
    assert_eq!(snapshot.active.count(Priority::One, Status::Pending, Origin::Caller), 1);
}

#[test]
fn an_answer_that_lists_no_calls_is_refused() {
    for json in [
        "",
        "null",
        "[]",
        "[[],[],[]]",
        "{}",
        "\"INVALID API KEY\"",
        r#"{"message":"API rate limit exceeded"}"#,
        r#"{"ClosedCallCount":3}"#,
        r#"{"activeCalls":{"odd":1}}"#,
        r#"{"activeCalls":{"odd":1},"emergencyCalls":{"":[]},"closedCalls":{"x":{}}}"#,
        r#"{"activeCalls":"none"}"#,
        r#"{"activeCalls":[],"emergencyCalls":7}"#,
        r#"{"closedCalls":"x"}"#,
        r#"{"closedCalls":{"odd":[1]}}"#,
        r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":7}"#,
        r#"{"activeCalls":[],"ClosedCalls": false}"#,
        r#"{"activeCalls":[{"callId":1}"#,
        r#"{"activeCalls":[]}x"#,
        "<html>",
    ] {
        assert!(
            decode_calls(json.as_bytes(), Pass::Quick, &TextSet::default()).is_err(),
            "{json}"
        );
    }
}
