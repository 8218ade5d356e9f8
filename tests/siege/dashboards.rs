//! The dashboards: their queries, the rules for their files, and their values in a real Prometheus.

mod expected;
mod invented;
mod looks;
mod rules;
mod values;

use std::path::Path;

use promql_parser::label::Matcher;
use promql_parser::parser::{Expr, VectorSelector};
use serde_json::Value;

/// The files and their contents.
fn dashboards() -> Vec<(&'static str, Value)> {
    ["community-activity", "exporter-health", "dispatch-board"]
        .map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dashboards/{name}.json"));
            let text = std::fs::read_to_string(path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .to_vec()
}

/// Every panel that is not a row, those in collapsed rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = items(&dashboard["panels"]);
    all.flat_map(|panel| std::iter::once(panel).chain(items(&panel["panels"])))
        .filter(|panel| panel["type"] != "row")
        .collect()
}

/// The items of a list; empty for any other value.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The text of a field; empty if it is missing.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The least step of a target: its own, or its panel's.
fn interval<'a>(panel: &'a Value, target: &'a Value) -> &'a str {
    let own = text(target, "interval");
    if own.is_empty() { text(panel, "interval") } else { own }
}

/// The metric that a selector names.
fn metric(selector: &VectorSelector) -> &str {
    selector.name.as_deref().unwrap_or_default()
}

/// A selector's matcher of a label.
fn matcher<'a>(selector: &'a VectorSelector, label: &str) -> Option<&'a Matcher> {
    selector.matchers.matchers.iter().find(|matcher| matcher.name == label)
}

/// Visits every part of an expression, with the parts around it, outermost first.
fn walk<'a>(expr: &'a Expr, around: &mut Vec<&'a Expr>, visit: &mut impl FnMut(&'a Expr, &[&'a Expr])) {
    visit(expr, around);
    around.push(expr);
    match expr {
        Expr::Aggregate(aggregate) => {
            walk(&aggregate.expr, around, visit);
            if let Some(parameter) = &aggregate.param {
                walk(parameter, around, visit);
            }
        }
        Expr::Binary(binary) => {
            walk(&binary.lhs, around, visit);
            walk(&binary.rhs, around, visit);
        }
        Expr::Unary(unary) => walk(&unary.expr, around, visit),
        Expr::Paren(paren) => walk(&paren.expr, around, visit),
        Expr::Subquery(subquery) => walk(&subquery.expr, around, visit),
        Expr::Call(call) => {
            for argument in &call.args.args {
                walk(argument, around, visit);
            }
        }
        _ => {}
    }
    around.pop();
}
