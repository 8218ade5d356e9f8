//! Rules for what people see: plain names, readable numbers, and panels that show all that they have.

mod charts;
mod wrong;

use serde_json::{Value, json};

use super::{items, panels, text};

/// The pixels of a grid column of a window 1280 px wide, of a grid row, and of a panel's border and title.
const COLUMN: usize = 51;
const ROW: usize = 38;
const HEADER: usize = 48;

/// The pixels of a table's row, of a gap between bars, of a character of a title, and of what surrounds a title.
const TABLE_ROW: usize = 36;
const BAR_GAP: usize = 8;
const CHARACTER: usize = 7;
const AROUND_TITLE: usize = 100;

/// The hours of a day: the rows of the panels about hours.
const HOURS: usize = 24;

/// Colours that ask for somebody's attention.
const ALARMING: [&str; 3] = ["red", "orange", "#e02f7b"];

/// The labels of the alerts that a table shows.
const OF_ALERTS: [&str; 8] = [
    "instance",
    "community",
    "server_id",
    "name",
    "api_endpoint",
    "priority",
    "kind",
    "error",
];

/// Boards that people who do not operate the exporter look at.
const FOR_PEOPLE: [&str; 2] = ["sonorancad-community", "sonorancad-dispatch"];

/// Labels with a closed set of values that are no words of people, and these values.
const RAW: [(&str, &[&str]); 7] = [
    ("priority", &["1", "2", "3", "other"]),
    ("status", &["pending", "active"]),
    ("origin", &["caller", "radio_dispatch", "observed", "walk_up", "other"]),
    ("kind", &["emergency", "civil"]),
    ("discipline", &["police", "fire", "ems", "other"]),
    ("department", &["other"]),
    ("code", &["other"]),
];

/// The values of `status` where it is about units.
const UNIT_STATUS: &[&str] = &["unavailable", "busy", "available", "enroute", "on_scene", "other"];

/// The faults that a person would see.
pub(super) fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check_board(dashboard, &mut faults);
    check_stats(dashboard, &mut faults);
    for panel in panels(dashboard) {
        let mut said = Vec::new();
        check_numbers(panel, &mut said);
        check_names(panel, &mut said);
        check_size(panel, &mut said);
        charts::check_charts(panel, &mut said);
        charts::check_states(panel, &mut said);
        let title = text(panel, "title");
        faults.extend(said.into_iter().map(|fault| format!("{title}: {fault}")));
    }
    faults
}

/// Annotations do not bury charts, and the data source is Grafana's default.
fn check_board(dashboard: &Value, faults: &mut Vec<String>) {
    for annotation in items(&dashboard["annotations"]["list"]).filter(|annotation| annotation["builtIn"] != 1) {
        let name = text(annotation, "name");
        let must_be_off = FOR_PEOPLE.contains(&text(dashboard, "uid")) || name == "API down";
        if must_be_off && annotation["enable"] != false {
            faults.push(format!("annotation {name} is on by default"));
        }
    }
    // An empty value selects the alphabetically first Prometheus.
    if dashboard["templating"]["list"][0]["current"]["value"] != "default" {
        faults.push("variable datasource does not begin with the default".to_owned());
    }
}

/// The stats side by side have numbers of one size, and no line behind them.
fn check_stats(dashboard: &Value, faults: &mut Vec<String>) {
    let is_stat = |panel: &&Value| panel["type"] == "stat";
    let stats: Vec<_> = panels(dashboard).into_iter().filter(is_stat).collect();
    let size = |stat: &Value| stat["options"]["text"]["valueSize"].clone();
    for stat in &stats {
        let title = text(stat, "title");
        if stat["options"]["graphMode"] != "none" {
            faults.push(format!("{title}: a line lies behind the number"));
        }
        let beside = |other: &&&Value| other["gridPos"]["y"] == stat["gridPos"]["y"];
        if stats.iter().filter(beside).any(|other| size(other) != size(stat)) {
            faults.push(format!("{title}: its number has a size of its own"));
        }
        if stat["fieldConfig"].to_string().contains("\"yellow\"") {
            faults.push(format!("{title}: yellow cannot be read on white"));
        }
        if is_wide(stat) && !stat["options"]["text"].is_null() {
            faults.push(format!("{title}: its text is cut on a phone"));
        }
        if !is_calm_at_zero(stat) {
            faults.push(format!("{title}: nothing to do is in the colour of an alarm"));
        }
    }
}

/// Whether a stat takes a whole row, with a sentence in it.
fn is_wide(stat: &Value) -> bool {
    stat["gridPos"]["w"] == 24 && stat["options"]["textMode"] == "value_and_name"
}

/// Whether a number with a fixed colour that alarms loses it at zero.
fn is_calm_at_zero(stat: &Value) -> bool {
    let config = &stat["fieldConfig"];
    let has_zero = |mappings: &Value| items(mappings).any(|mapping| mapping["options"]["0"]["color"] == "text");
    let by_default = has_zero(&config["defaults"]["mappings"]);
    items(&config["overrides"]).all(|change| {
        let properties = || items(&change["properties"]);
        let alarms =
            properties().any(|changed| ALARMING.iter().any(|colour| changed["value"]["fixedColor"] == *colour));
        let is_calm = properties().any(|changed| changed["id"] == "mappings" && has_zero(&changed["value"]));
        !alarms || is_calm || by_default
    })
}

/// `short` makes "2 K" of 1,500, and `s` makes "2 mins" of 113 s and axes with ticks of 1.67 mins.
fn check_numbers(panel: &Value, faults: &mut Vec<String>) {
    let kind = text(panel, "type");
    let config = &panel["fieldConfig"];
    // "100.0%" beside 18 errors.
    let is_share_of_success = items(&panel["targets"]).any(|target| text(target, "expr").starts_with("1 - "));
    if is_share_of_success && config["defaults"]["decimals"] != 2 {
        faults.push("hides that some failed".to_owned());
    }
    for unit in changes(config, "unit").chain([&config["defaults"]["unit"]]) {
        if unit == "short" {
            faults.push("its unit shortens numbers".to_owned());
        }
        if unit == "s" && kind != "timeseries" {
            faults.push("rounds seconds to minutes".to_owned());
        }
    }
    let is_duration = items(&panel["targets"]).any(|target| {
        let expr = text(target, "expr");
        expr.contains("_request_duration_") || expr.contains("scrape_duration_")
    });
    if kind == "timeseries" && config["defaults"]["unit"] == "s" && !is_duration {
        faults.push("its axis is not in minutes".to_owned());
    }
}

/// The values that overrides give to a property.
fn changes<'a>(config: &'a Value, property: &'a str) -> impl Iterator<Item = &'a Value> {
    items(&config["overrides"])
        .flat_map(|change| items(&change["properties"]))
        .filter(move |changed| changed["id"] == property)
        .map(|changed| &changed["value"])
}

/// A legend has words of people: each begins with a capital, or is renamed.
fn check_names(panel: &Value, faults: &mut Vec<String>) {
    let columns = &panel["transformations"][0]["options"]["renameByName"];
    for label in OF_ALERTS.iter().filter(|label| columns[**label].is_null()) {
        if items(&panel["targets"]).any(|target| text(target, "expr").contains("ALERTS{")) {
            faults.push(format!("shows {label} as it is"));
        }
    }
    // A refused key is no outage.
    let config = &panel["fieldConfig"];
    let mappings = changes(config, "mappings").chain([&config["defaults"]["mappings"]]);
    if mappings
        .flat_map(items)
        .any(|mapping| mapping["options"]["1"]["text"] == "API down")
    {
        faults.push("calls every failure an outage".to_owned());
    }
    for target in items(&panel["targets"]) {
        let legend = text(target, "legendFormat");
        let of_units = text(target, "expr").contains("sonorancad_units{");
        for (label, values) in RAW {
            let placeholder = format!("{{{{{label}}}}}");
            let values = if label == "status" && of_units {
                UNIT_STATUS
            } else {
                values
            };
            for name in values.iter().map(|value| legend.replace(&placeholder, value)) {
                let is_plain = name.starts_with(char::is_uppercase) && !name.ends_with("other");
                if legend.contains(&placeholder) && !is_plain && !is_renamed(panel, &name) {
                    faults.push(format!("shows {name} as it is"));
                }
            }
        }
        if legend.contains("{{server_id}}") && !legend.contains("{{where}}") {
            faults.push("merges the servers of two exporters".to_owned());
        }
    }
}

fn is_renamed(panel: &Value, name: &str) -> bool {
    items(&panel["fieldConfig"]["overrides"])
        .filter(|change| change["matcher"] == json!({"id": "byName", "options": name}))
        .flat_map(|change| items(&change["properties"]))
        .any(|changed| changed["id"] == "displayName" && text(changed, "value").starts_with(char::is_uppercase))
}

/// Titles are whole, and all rows and columns are in sight.
fn check_size(panel: &Value, faults: &mut Vec<String>) {
    let [width, height] = ["w", "h"].map(|side| pixels(&panel["gridPos"][side]));
    if text(panel, "title").len() * CHARACTER + AROUND_TITLE > width * COLUMN {
        faults.push("its title is cut at 1280 px".to_owned());
    }
    let (options, config) = (&panel["options"], &panel["fieldConfig"]);
    let has_hours = items(&panel["targets"]).any(|target| text(target, "expr").contains("count_values(\"hour\""));
    if panel["type"] == "table" {
        if config["defaults"]["custom"]["minWidth"].is_null() {
            faults.push("its columns take 150 px each".to_owned());
        }
        if config["defaults"]["noValue"] != "–" && changes(config, "noValue").all(|value| value != "–") {
            faults.push("says in a cell what is wrong there".to_owned());
        }
        // On a phone, only the first columns are in sight.
        let columns = &panel["transformations"][1]["options"];
        if columns["renameByName"]["Value #A"] == "Data" && columns["indexByName"]["Value #A"] != 0 {
            faults.push("does not begin with the state".to_owned());
        }
        if columns["renameByName"]["name"] == "Name" && changes(config, "custom.width").count() == 0 {
            faults.push("its numbers take the room of names".to_owned());
        }
        if has_hours && height * ROW < (HOURS + 1) * TABLE_ROW + HEADER {
            faults.push("hides hours".to_owned());
        }
    }
    // Without "manual", Grafana ignores the heights.
    let is_high =
        options["sizing"] == "manual" && HOURS * (pixels(&options["minVizHeight"]) + BAR_GAP) + HEADER <= height * ROW;
    if panel["type"] == "bargauge" && has_hours && !is_high {
        faults.push("hides hours".to_owned());
    }
}

fn pixels(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}
