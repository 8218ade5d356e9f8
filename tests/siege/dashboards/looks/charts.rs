//! Rules for charts: they show something in every range, and all that happened in it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{interval, items, text};
use super::changes;

/// A ring is too narrow for labels, a bar by the hour may begin before a short range does, and what is missing has a reason.
pub(super) fn check_charts(panel: &Value, faults: &mut Vec<String>) {
    let config = &panel["fieldConfig"]["defaults"];
    let is_chart = panel["type"] == "timeseries";
    let has_axis_end = !config["custom"]["axisSoftMax"].is_null();
    let by_unit = items(&panel["targets"]).any(|target| {
        let expr = text(target, "expr");
        expr.contains("sonorancad_units{") && expr.ends_with(" > 0)")
    });
    if is_chart && by_unit && !text(config, "noValue").starts_with("No unit") {
        faults.push("blames the configuration where nobody is free".to_owned());
    }
    if panel["type"] == "piechart" && items(&panel["options"]["displayLabels"]).count() > 0 {
        faults.push("its labels do not fit into the ring".to_owned());
    }
    if is_chart && by_unit && !has_axis_end {
        faults.push("two labels of an axis are the same".to_owned());
    }
    // Grafana draws nothing but zeros on an axis up to 100.
    let may_be_zero = |target: &Value| {
        let expr = text(target, "expr");
        !expr.ends_with(" > 0") && !expr.contains("scrape_samples_scraped")
    };
    let counts = is_chart && config["unit"] == "locale";
    if counts && !has_axis_end && items(&panel["targets"]).any(may_be_zero) {
        faults.push("an axis of zeros ends at 100".to_owned());
    }
    let by_the_hour = items(&panel["targets"])
        .filter(|target| interval(panel, target) == "1h")
        .count();
    if by_the_hour > 0 && items(&panel["targets"]).count() < 2 * by_the_hour {
        faults.push("is empty when the range is shorter than an hour".to_owned());
    }
    let limits = items(&panel["targets"])
        .filter(|target| text(target, "legendFormat").ends_with("(v2)"))
        .count();
    let colours: BTreeSet<_> = changes(&panel["fieldConfig"], "color")
        .map(|colour| text(colour, "fixedColor"))
        .collect();
    if limits > colours.len() {
        faults.push("has two limits of one colour".to_owned());
    }
}

/// Between two points of a long range, much can happen; and there is room for some names only.
pub(super) fn check_states(panel: &Value, faults: &mut Vec<String>) {
    let looks_between = |target: &Value| {
        ["[$__interval]", ":1m]"]
            .iter()
            .any(|range| text(target, "expr").contains(range))
    };
    if panel["type"] == "state-timeline" && !items(&panel["targets"]).all(looks_between) {
        faults.push("leaves out what is shorter than a step".to_owned());
    }
    let is_long = |target: &Value| {
        let by_server = text(target, "legendFormat").contains("{{server_id}}");
        by_server && !text(target, "expr").contains("bottomk(")
    };
    if panel["type"] == "state-timeline" && items(&panel["targets"]).any(is_long) {
        faults.push("writes many names over each other".to_owned());
    }
    // A function drops the name of a metric; where there is one besides, a series becomes two.
    let splits = |target: &Value| {
        text(target, "expr").contains("[$__interval]) or ") && !text(target, "expr").contains("[$__interval]) or 1 * ")
    };
    if items(&panel["targets"]).any(splits) {
        faults.push("makes two series of one".to_owned());
    }
}
