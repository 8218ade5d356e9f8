//! Boards that break a rule for what people see.

use serde_json::{Value, json};

use super::super::rules::panel;
use super::super::{dashboards, items, panels, text};
use super::faults;

/// The board for a screen on the wall has little on it, and nothing to choose but the server.
#[test]
fn the_dispatch_board_is_for_a_wall() {
    let board = dashboards().remove(2).1;
    assert!(panels(&board).len() <= 8);
    assert_eq!(board["refresh"], "30s");
    assert_eq!(board["time"]["from"], "now-1h");
    let in_sight: Vec<_> = items(&board["templating"]["list"])
        .filter(|variable| variable["hide"] != 2)
        .map(|variable| text(variable, "name"))
        .collect();
    assert_eq!(in_sight, ["server_id"]);
}

/// A wrong value, at a JSON pointer in the dashboard or, after its title, in a panel.
type Wrong<'a> = (&'a str, &'a str, &'a str, Value);

#[track_caller]
fn assert_all_found<'a>(wrong: impl IntoIterator<Item = Wrong<'a>>) {
    let sound = dashboards().remove(0).1;
    assert_eq!(faults(&sound), [""; 0]);
    for (fault, title, pointer, value) in wrong {
        let mut board = sound.clone();
        let within = if title.is_empty() {
            &mut board
        } else {
            panel(&mut board, title)
        };
        set(within, pointer, value);
        assert_found(&board, fault);
    }
}

#[test]
fn wrong_numbers_and_names_are_found() {
    let unit = "/fieldConfig/defaults/unit";
    let override_1 = "/fieldConfig/overrides/1";
    assert_all_found([
        ("API down is on", "", "/annotations/list/2/enable", json!(true)),
        ("restarts is on", "", "/annotations/list/1/enable", json!(true)),
        ("with the default", "", "/templating/list/0/current", json!({})),
        ("a line lies behind", "Open calls", "/options/graphMode", json!("area")),
        ("a size of its own", "Open calls", "/options/text/valueSize", json!(60)),
        ("shortens numbers", "Open calls", unit, json!("short")),
        (
            "shortens numbers",
            "New calls",
            "/fieldConfig/overrides/0/properties/0/value",
            json!("short"),
        ),
        ("rounds seconds", "Data age", unit, json!("s")),
        ("not in minutes", "Time to active", unit, json!("s")),
        (
            "shows radio_dispatch",
            "Calls by origin",
            &format!("{override_1}/properties/0/value"),
            json!("radio"),
        ),
        (
            "shows enroute",
            "Units by status",
            &format!("{override_1}/matcher/options"),
            json!("en_route"),
        ),
        (
            "shows Priority other",
            "Unassigned calls",
            "/fieldConfig/overrides",
            json!([]),
        ),
        ("merges", "Data", "/targets/0/legendFormat", json!("{{server_id}}")),
        ("title is cut", "Oldest emergency call", "/gridPos/w", json!(4)),
    ]);
}

#[test]
fn charts_and_tables_that_hide_something_are_found() {
    assert_all_found([
        (
            "do not fit into the ring",
            "Calls by priority",
            "/options/displayLabels",
            json!(["percent"]),
        ),
        (
            "two labels of an axis",
            "Calls per available unit",
            "/fieldConfig/defaults/custom/axisSoftMax",
            json!(null),
        ),
        (
            "over each other",
            "Data",
            "/targets/0/expr",
            json!("sonorancad_up[$__interval]"),
        ),
        (
            "where nobody is free",
            "Calls per available unit",
            "/fieldConfig/defaults/noValue",
            json!("No data: units are off"),
        ),
        ("shorter than a step", "Data", "/targets/0/expr", json!("sonorancad_up")),
        (
            "calls every failure an outage",
            "Data",
            "/fieldConfig/defaults/mappings/0/options/1/text",
            json!("API down"),
        ),
        (
            "begin with the state",
            "Servers",
            "/transformations/1/options/indexByName/Value #A",
            json!(4),
        ),
        (
            "shorter than an hour",
            "New calls per hour",
            "/targets/1/interval",
            json!("1h"),
        ),
        (
            "150 px each",
            "Servers",
            "/fieldConfig/defaults/custom/minWidth",
            json!(null),
        ),
        (
            "says in a cell",
            "Servers",
            "/fieldConfig/defaults/noValue",
            json!("No servers"),
        ),
        ("hides hours", "Busy hours of the week", "/gridPos/h", json!(15)),
        (
            "hides hours",
            "Typical open calls by hour",
            "/options/sizing",
            json!("auto"),
        ),
        ("hides hours", "Typical units on duty by hour", "/gridPos/h", json!(15)),
    ]);
}

#[test]
fn faults_of_the_other_boards_are_found() {
    let mut health = dashboards().remove(1).1;
    let up = &mut panel(&mut health, "Exporters up over time")["targets"][0];
    up["expr"] = json!(text(up, "expr").replace("or 1 * up", "or up"));
    assert_found(&health, "makes two series of one");
    panel(&mut health, "Restarts")["fieldConfig"]["defaults"]["custom"]["axisSoftMax"] = json!(null);
    assert_found(&health, "an axis of zeros ends at 100");
    panel(&mut health, "Servers")["fieldConfig"]["overrides"] = json!([]);
    assert_found(&health, "its numbers take the room of names");
    panel(&mut health, "Request success")["fieldConfig"]["defaults"]["decimals"] = json!(1);
    assert_found(&health, "hides that some failed");
    panel(&mut health, "API requests per minute")["fieldConfig"]["overrides"][1] = json!({});
    assert_found(&health, "two limits of one colour");
    panel(&mut health, "Firing alerts")["transformations"][0]["options"]["renameByName"]["name"] = json!(null);
    assert_found(&health, "shows name as it is");
    let mut wall = dashboards().remove(2).1;
    panel(&mut wall, "Data")["options"]["text"] = json!({"titleSize": 30});
    assert_found(&wall, "its text is cut on a phone");
    panel(&mut wall, "Pending calls")["fieldConfig"]["defaults"]["mappings"] = json!([]);
    assert_found(&wall, "Pending calls: nothing to do is in the colour of an alarm");
    panel(&mut wall, "Pending calls")["fieldConfig"]["defaults"]["color"]["fixedColor"] = json!("yellow");
    assert_found(&wall, "yellow cannot be read");
}

/// Sets a value at a JSON pointer; its last part may be new.
fn set(value: &mut Value, pointer: &str, new: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match key.parse::<usize>() {
        Ok(index) => parent[index] = new,
        Err(_) => parent[key] = new,
    }
}

#[track_caller]
fn assert_found(board: &Value, fault: &str) {
    let found = faults(board);
    assert!(
        found.iter().any(|found| found.contains(fault)),
        "{fault} is not in {found:?}"
    );
}
